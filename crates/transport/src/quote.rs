//! Quoting for a POSIX shell.

/// Quotes one word so that a POSIX shell reads back exactly this word.
///
/// Words made of harmless characters stay as they are, so that commands remain readable in a log.
///
/// ```
/// use clusterbook_transport::quote;
/// assert_eq!(quote("/etc/hosts"), "/etc/hosts");
/// assert_eq!(quote("it's"), r"'it'\''s'");
/// assert_eq!(quote(""), "''");
/// ```
pub fn quote(word: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "_-./:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(harmless) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::quote;

    #[test]
    fn a_shell_reads_back_the_same_word() {
        let words = [
            "",
            "plain",
            "two words",
            "it's",
            "$HOME `id` \\ \"",
            "-n",
            "a\nb",
            "~root",
            "ü*?[!]#",
            "=ls",
            "a=b",
        ];
        for word in words {
            let line = format!("printf %s {}", quote(word));
            let output = std::process::Command::new("/bin/sh")
                .arg("-c")
                .arg(line)
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
    }
}
