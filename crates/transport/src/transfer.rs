//! Files to and from a machine, over the standard input and output of a small command.

use std::fmt::Write as _;

use bytes::Bytes;
use rand::Rng;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::exec::{Output, RemoteCommand};
use crate::pool::Pool;
use crate::quote::quote;
use crate::target::Target;

impl Pool {
    /// Writes a file: it appears whole, with its final mode, or not at all.
    ///
    /// `path` is absolute or relative to the user's home; `mode` is e.g. `0o600`. The bytes go to a file next to it,
    /// readable by nobody else, which is renamed when all of them have arrived. The folder has to exist. A symbolic link at `path` is replaced.
    pub async fn upload(
        &self,
        target: &Target,
        path: &str,
        mode: u32,
        bytes: impl Into<Bytes>,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        let bytes = bytes.into();
        let command = RemoteCommand::argv(["/bin/sh", "-c", &upload_script(path, mode, bytes.len())]).with_stdin(bytes);
        let output = self.run(target, &command, &mut |_, _| {}, cancel).await?;
        if output.success() {
            Ok(())
        } else {
            Err(failure(target, "writing", path, &output))
        }
    }

    /// Reads a file.
    pub async fn download(&self, target: &Target, path: &str, cancel: &CancellationToken) -> Result<Bytes, Error> {
        // The shell opens the file, so a path that starts with a dash is nothing special.
        let script = format!("exec cat < {}", quote(path));
        let command = RemoteCommand::argv(["/bin/sh", "-c", &script]);
        let output = self.run(target, &command, &mut |_, _| {}, cancel).await?;
        if output.success() {
            Ok(output.stdout.into())
        } else {
            Err(failure(target, "reading", path, &output))
        }
    }
}

fn failure(target: &Target, doing: &'static str, path: &str, output: &Output) -> Error {
    Error::Transfer {
        target: target.id.clone(),
        doing,
        path: path.to_owned(),
        code: output.code,
        stderr: output.stderr_text(),
    }
}

/// The commands that write a file, on one line because some login shells can't pass on quoted line ends.
///
/// * The temporary name can't be guessed, and `set -C` makes the shell refuse a file that exists: nobody can
///   prepare a link for us in a folder that is open to all.
/// * The size is compared before the rename, because a lost connection looks to `cat` like the end of the file.
fn upload_script(path: &str, mode: u32, size: usize) -> String {
    let mut suffix = String::new();
    let _ = write!(suffix, "{:016x}", rand::rng().next_u64());
    let target = quote(path_operand(path).as_str());
    let part = quote(&format!("{}.{suffix}.part", path_operand(path)));
    format!(
        "p={target}; t={part}; if [ -d \"$p\" ]; then echo \"$p is a directory\" >&2; exit 1; fi; \
         umask 077; set -C; trap 'rm -f \"$t\"' EXIT; trap 'exit 1' HUP INT TERM; cat > \"$t\" || exit 1; \
         if [ \"$(($(wc -c < \"$t\")))\" -ne {size} ]; then echo 'not all of the file arrived' >&2; exit 1; fi; \
         chmod {mode:04o} \"$t\" && mv -f \"$t\" \"$p\" || exit 1; trap - EXIT"
    )
}

/// The same path in a form that no program takes for an option.
fn path_operand(path: &str) -> String {
    if path.starts_with('-') {
        format!("./{path}")
    } else {
        path.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Stdio};

    use super::upload_script;

    fn run(script: &str, input: &[u8]) -> std::process::Output {
        let mut child = Command::new("/bin/sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A script that gave up before reading makes this fail, which is fine.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    #[test]
    fn a_file_appears_whole_with_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("it's a $file");
        let output = run(&upload_script(path.to_str().unwrap(), 0o640, 5), b"hello");
        assert!(output.status.success(), "{output:?}");
        assert_eq!(fs_err::read(&path).unwrap(), b"hello");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o640);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_short_file_leaves_the_old_one_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("conf");
        fs_err::write(&path, "old").unwrap();
        let output = run(&upload_script(path.to_str().unwrap(), 0o644, 500), b"cut off");
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("not all of the file arrived"));
        assert_eq!(fs_err::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_is_not_replaced_nor_filled() {
        let folder = tempfile::tempdir().unwrap();
        let output = run(&upload_script(folder.path().to_str().unwrap(), 0o644, 1), b"x");
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_missing_folder_is_an_error_with_the_shells_words() {
        let output = run(&upload_script("/nonexistent/folder/file", 0o644, 1), b"x");
        assert!(!output.status.success());
        assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent/folder/file"));
    }
}
