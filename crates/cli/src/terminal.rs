//! Questions to a person at a terminal.

use std::io::{self, IsTerminal as _};

use rustix::termios::{LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr};

use crate::error::CommandError;
use crate::output::Output;

/// Whether somebody is there to be asked.
pub(crate) fn is_there() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks and returns the answer, without space around it.
pub(crate) fn ask(output: &Output, question: &str) -> Result<String, CommandError> {
    output.ask(question);
    let mut answer = String::new();
    io::stdin()
        .read_line(&mut answer)
        .map_err(|error| CommandError::input("the answer can't be read").because(&error))?;
    Ok(answer.trim().to_owned())
}

/// Asks without showing what is typed.
pub(crate) fn ask_unseen(output: &Output, question: &str) -> Result<String, CommandError> {
    let failed = |error: io::Error| CommandError::input("the answer can't be read").because(&error);
    let typed = {
        // Before the question, which may be answered as soon as it is seen.
        let _unseen = Unseen::begin().map_err(|error| failed(error.into()))?;
        output.ask(question);
        read_line(io::stdin().lock())
    };
    output.note("");
    match typed.map_err(failed)? {
        Some(text) => Ok(text),
        None => Err(CommandError::interrupted("stopped before anything was done")),
    }
}

/// The terminal gives keys one by one and shows none. Ctrl-C arrives as a key too, so that the terminal is put back first.
struct Unseen(Termios);

impl Unseen {
    fn begin() -> rustix::io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut unseen = before.clone();
        unseen
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
        unseen.special_codes[SpecialCodeIndex::VMIN] = 1;
        unseen.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(io::stdin(), OptionalActions::Flush, &unseen)?;
        Ok(Self(before))
    }
}

impl Drop for Unseen {
    fn drop(&mut self) {
        // A terminal that can't be put back has gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.0);
    }
}

/// One line of keys; none where Ctrl-C or Ctrl-D ended it.
fn read_line(keys: impl io::BufRead) -> io::Result<Option<String>> {
    const CTRL_C: u8 = 3;
    const CTRL_D: u8 = 4;
    const CTRL_U: u8 = 21;
    const BACKSPACE: [u8; 2] = [8, 127];
    let mut line = Vec::new();
    for key in keys.bytes() {
        match key? {
            b'\n' | b'\r' => {
                return String::from_utf8(line)
                    .map(Some)
                    .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"));
            }
            CTRL_C | CTRL_D => return Ok(None),
            CTRL_U => line.clear(),
            key if BACKSPACE.contains(&key) => {
                // A character may be several bytes.
                while line.pop().is_some_and(|byte| byte & 0xC0 == 0x80) {}
            }
            key => line.push(key),
        }
    }
    Ok(None)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_edit_do_so() {
        let typed = |keys: &str| read_line(keys.as_bytes()).unwrap();
        assert_eq!(typed("ab\u{7f}c\n").as_deref(), Some("ac"));
        assert_eq!(typed("wé\u{7f}x\r").as_deref(), Some("wx"));
        assert_eq!(typed("wrong\u{15}right\n").as_deref(), Some("right"));
        assert_eq!(typed("abc\u{3}\n"), None);
        assert_eq!(typed("abc"), None, "an end without a line is no answer");
    }
}
