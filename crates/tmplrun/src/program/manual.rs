//! The manual page.

use std::io::{Result, Write};

use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::arguments::{AFTER, Arguments};

/// Writes the page: the options, and what stands below them in the help.
pub(crate) fn write(out: &mut dyn Write) -> Result<()> {
    // Left to the page's maker, that would be one long paragraph, and an example must stay as it is to be copied.
    Man::new(Arguments::definition().after_long_help(None)).render(out)?;
    let mut page = Roff::new();
    page.control("SH", ["EXAMPLES AND NOTES"]);
    for part in AFTER.split("\n\n") {
        page.control("PP", []);
        let (plain, indented): (Vec<&str>, Vec<&str>) = part.lines().partition(|line| !line.starts_with(' '));
        page.text([roman(plain.join("\n"))]);
        if !indented.is_empty() {
            page.control("nf", []);
            page.text([roman(indented.join("\n"))]);
            page.control("fi", []);
        }
    }
    page.to_writer(out)
}
