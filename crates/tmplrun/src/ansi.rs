//! Terminal colour codes in kernels' texts: taking them out, and turning them into HTML.

/// `text` without escape sequences.
#[must_use]
pub fn strip(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    each(text, |piece| {
        if let Piece::Text(text) = piece {
            out.push_str(text);
        }
    });
    out
}

/// `text` as HTML, colours as classes `a30`…`a37`, `a90`…`a97` and `bold`.
#[must_use]
pub fn to_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut open = false;
    each(text, |piece| match piece {
        Piece::Text(text) => out.push_str(&escape_html(text)),
        Piece::Style(codes) => {
            if std::mem::take(&mut open) {
                out.push_str("</span>");
            }
            let classes: Vec<String> = codes
                .split(';')
                .filter_map(|code| match code.parse::<u8>().ok()? {
                    1 => Some("bold".to_owned()),
                    code @ (30..=37 | 90..=97) => Some(format!("a{code}")),
                    _ => None,
                })
                .collect();
            if !classes.is_empty() {
                out.push_str("<span class=\"");
                out.push_str(&classes.join(" "));
                out.push_str("\">");
                open = true;
            }
        }
    });
    if open {
        out.push_str("</span>");
    }
    out
}

/// `text` safe inside an element or a quoted attribute.
#[must_use]
pub fn escape_html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Neither HTML nor XML has a place for the other control characters.
            c if c.is_control() && !matches!(c, '\n' | '\t' | '\r') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

enum Piece<'a> {
    Text(&'a str),
    Style(&'a str),
}

fn each<'a>(text: &'a str, mut take: impl FnMut(Piece<'a>)) {
    let mut rest = text;
    while let Some(at) = rest.find('\u{1b}') {
        take(Piece::Text(&rest[..at]));
        rest = &rest[at + 1..];
        if let Some(sequence) = rest.strip_prefix('[') {
            let end = sequence
                .find(|c: char| ('@'..='~').contains(&c))
                .unwrap_or(sequence.len());
            if sequence[end..].starts_with('m') {
                take(Piece::Style(&sequence[..end]));
            }
            rest = sequence.get(end + 1..).unwrap_or("");
        } else if let Some(sequence) = rest.strip_prefix(']') {
            // Titles and links end with a bell or with a string terminator.
            let end = sequence.find(['\u{7}', '\u{1b}']).unwrap_or(sequence.len());
            rest = sequence.get(end..).unwrap_or("").trim_start_matches('\u{7}');
            rest = rest.strip_prefix("\u{1b}\\").unwrap_or(rest);
        }
    }
    take(Piece::Text(rest));
}
