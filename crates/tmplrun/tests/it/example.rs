//! The library's example, compiled and run.

use tmplrun::Environment;
use tmplrun::events::Status;

use crate::lab::{Lab, code, python, tagged, text};

#[allow(dead_code)]
#[path = "../../examples/watch.rs"]
mod watch;

#[tokio::test(flavor = "current_thread")]
async fn the_example_shows_events_as_they_come() {
    let lab = Lab::new();
    let notebook = lab.notebook(
        "n.ipynb",
        &[
            tagged("greeting = ''", &["parameters"]),
            text("# Say it"),
            code("print(greeting)"),
        ],
    );
    let prefix = python().parent().unwrap().parent().unwrap().to_path_buf();
    let environment = Environment {
        jupyter_paths: vec![prefix.join("share/jupyter")],
        variables: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        python: Some(python()),
        programs: Vec::new(),
        temporary: lab.path("t"),
        kept: lab.path("kept"),
        current: lab.path(""),
    };
    let mut lines = Vec::new();
    let result = watch::watch(&notebook, lab.path("o.ipynb"), &environment, |line| lines.push(line))
        .await
        .unwrap();
    assert_eq!(result.status, Status::Completed);
    assert!(lines[0].starts_with("n.ipynb: "), "{lines:?}");
    assert_eq!(
        lines[1..],
        [
            "cell 1: no heading",
            "  completed",
            "cell 2: no heading",
            "  completed",
            "cell 3: Say it",
            "  Stdout: hello",
            "  completed",
            "n.ipynb: completed",
        ]
    );
    lab.assert_clean();
}
