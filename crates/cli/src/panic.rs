//! A panic is a fault of ours: it is said so, with what a report needs, and the program ends with its own exit status.

use std::io::Write as _;
use std::panic::PanicHookInfo;

/// Exit status of a fault of ours.
const BUG: i32 = 70;

/// Replaces Rust's own message. Ending at once is safe at any point: the next apply finds and finishes what was begun.
pub(crate) fn install_hook() {
    std::panic::set_hook(Box::new(|info| {
        // Where even this can't be written, the exit status still tells.
        let _ = anstream::stderr().write_all(report(info).as_bytes());
        std::process::exit(BUG);
    }));
}

fn report(info: &PanicHookInfo<'_>) -> String {
    let what = info.payload_as_str().unwrap_or("no message");
    let place = info
        .location()
        .map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
    format!(
        "Error: clusterbook {} met a fault of its own at {place}\nCaused by: {what}\n\
         Hint: please report it with this text and the command that you gave. \
         A cluster that was being changed goes on with the next `clusterbook apply`.\n",
        env!("CARGO_PKG_VERSION")
    )
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::process::Command;

    #[test]
    fn a_panic_asks_for_a_report_and_exits_70() {
        const AGAIN: &str = "CLUSTERBOOK_TEST_PANIC";
        if std::env::var_os(AGAIN).is_some() {
            super::install_hook();
            panic!("the impossible happened");
        }
        // The hook ends the process, so the test runs itself in another one.
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "panic::tests::a_panic_asks_for_a_report_and_exits_70",
                "--nocapture",
            ])
            .env(AGAIN, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(super::BUG), "{text}");
        assert!(
            text.contains("the impossible happened") && text.contains("please report"),
            "{text}"
        );
    }
}
