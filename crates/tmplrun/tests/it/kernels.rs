//! Notebooks in real kernels.

use serde_json::Value;

use crate::lab::{Lab, code, stream, tagged, text};

fn statuses(notebook: &Value) -> Vec<String> {
    let cells = notebook["cells"].as_array().unwrap();
    cells
        .iter()
        .filter_map(|cell| cell["metadata"]["papermill"]["status"].as_str())
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_kernels_file_is_filled_in_as_by_jupyter() {
    let lab = Lab::new();
    for (name, program, rest) in [
        ("plain", "{prefix}/bin/python", vec![]),
        (
            "other",
            "{prefix}/bin/python",
            vec!["--IPKernelApp.extra={resource_dir}/{prefix}/{none}"],
        ),
    ] {
        let mut argv = vec![program, "-m", "ipykernel_launcher", "-f", "{connection_file}"];
        argv.extend(rest);
        let spec = serde_json::json!({"argv": argv, "display_name": name, "language": "python",
            "env": {"A": "$HOME/a:${LANG}", "B": "${NOWHERE} $$ $NOWHERE"}});
        lab.write(
            &format!("home/.local/share/jupyter/kernels/{name}/kernel.json"),
            spec.to_string(),
        );
        lab.notebook(
            "n.ipynb",
            &[code(
                "import os, sys\nprint(os.environ['A'], os.environ['B'], sys.prefix, *sys.argv[3:])",
            )],
        );
        lab.run(&["n.ipynb", "o.ipynb", "-k", name]).expect(0);
        let prefix = crate::lab::python()
            .parent()
            .unwrap()
            .parent()
            .unwrap()
            .display()
            .to_string();
        let home = lab.path("home").display().to_string();
        let mut expected = format!("{home}/a:C.UTF-8 ${{NOWHERE}} $ $NOWHERE {prefix}");
        if name == "other" {
            let folder = format!("{home}/.local/share/jupyter/kernels/other");
            expected.push_str(&format!(" --IPKernelApp.extra={folder}/{prefix}/{{none}}"));
        }
        assert_eq!(stream(&lab.read("o.ipynb"), 0).trim_end(), expected);
    }
}

#[test]
fn outputs_are_put_together_as_jupyter_does() {
    let lab = Lab::new();
    lab.notebook(
        "n.ipynb",
        &[
            text("# Title"),
            tagged("x = 1", &["parameters"]),
            code("import sys\nprint('a')\nprint('b', file=sys.stderr)\nprint('c')\nx"),
            code("from IPython.display import display, clear_output\nh = display('one', display_id=True)\nprint('between')"),
            code("h.update('two')"),
            code("print('gone')\nclear_output(wait=True)\nprint('kept')"),
            tagged("1/0", &["raises-exception"]),
            tagged("open('ran', 'w')", &["skip-execution"]),
            code("for i in range(3): print(i, end='\\r')\nprint('done')"),
            code("print('\\udc80 lone', '日本')"),
            code("input('?')"),
        ],
    );
    let run = lab
        .run(&[
            "n.ipynb",
            "o.ipynb",
            "-p",
            "x",
            "2",
            "--log-output",
            "--events",
            "e.jsonl",
        ])
        .expect(1);
    assert!(run.stderr.contains("StdinNotImplementedError"), "{}", run.stderr);
    let all = lab.read("o.ipynb");
    let outputs = |cell: usize| all["cells"][cell]["outputs"].clone();
    // One marker at the top and the injected cell shift the places by two.
    let kinds = |cell: usize| -> Vec<String> {
        outputs(cell)
            .as_array()
            .unwrap()
            .iter()
            .map(|o| o["output_type"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(kinds(4), ["stream", "stream", "execute_result"]);
    assert_eq!(stream(&all, 4), "a\nc\nb\n");
    assert_eq!(outputs(4)[2]["data"]["text/plain"][0], "2");
    assert_eq!(outputs(5)[0]["data"]["text/plain"][0], "'two'");
    assert_eq!(stream(&all, 7), "kept\n");
    assert_eq!(kinds(8), ["error"]);
    assert!(!lab.path("ran").exists());
    assert_eq!(stream(&all, 10), "done\n");
    assert!(stream(&all, 11).contains("日本"), "{}", stream(&all, 11));
    assert_eq!(all["metadata"]["papermill"]["parameters"]["x"], 2);
    assert_eq!(all["metadata"]["language_info"]["name"], "python");
    assert!(all["cells"][4]["metadata"]["execution"]["shell.execute_reply"].is_string());
    let events = lab.text("e.jsonl");
    for event in [
        "run_started",
        "notebook_started",
        "cell_started",
        "output",
        "cell_finished",
        "notebook_finished",
        "run_finished",
    ] {
        assert!(events.contains(&format!("\"event\":\"{event}\"")), "{event}");
    }
    lab.assert_clean();
}

#[test]
fn a_failing_cell_is_saved_marked_and_shown() {
    let lab = Lab::new();
    lab.notebook(
        "n.ipynb",
        &[
            text("# T"),
            code("print('before')"),
            text("## Divide"),
            code("1/0"),
            code("print('never')"),
        ],
    );
    lab.run(&["n.ipynb", "o.ipynb"])
        .expect(1)
        .says("under \"Divide\"")
        .says("    1/0")
        .says("ZeroDivisionError");
    let all = lab.read("o.ipynb");
    assert_eq!(
        statuses(&all),
        ["completed", "completed", "completed", "failed", "pending"]
    );
    assert_eq!(all["metadata"]["papermill"]["exception"], true);
    let tags: Vec<_> = all["cells"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cell| cell["metadata"]["tags"][0].clone())
        .collect();
    assert_eq!(tags[0], "papermill-error-cell-tag");
    assert_eq!(tags[4], "papermill-error-cell-tag");
    // What was executed can be executed again.
    lab.run(&["o.ipynb", "o2.ipynb"]).expect(1);
    assert_eq!(lab.read("o2.ipynb")["cells"].as_array().unwrap().len(), 7);
    lab.run(&["n.ipynb", "o.ipynb", "--allow-errors"]).expect(0);
    assert_eq!(stream(&lab.read("o.ipynb"), 4), "never\n");
}

#[test]
fn leaving_early_with_success_is_success() {
    let lab = Lab::new();
    for exit in ["import sys; sys.exit(0)", "raise SystemExit", "exit()"] {
        lab.notebook("n.ipynb", &[code(exit), code("open('ran', 'w')")]);
        lab.run(&["n.ipynb", "o.ipynb"]).expect(0);
        assert_eq!(statuses(&lab.read("o.ipynb")), ["completed", "pending"], "{exit}");
        assert!(!lab.path("ran").exists());
    }
    lab.notebook("n.ipynb", &[code("import sys; sys.exit(3)")]);
    lab.run(&["n.ipynb", "o.ipynb"]).expect(1).says("SystemExit");
}

#[test]
fn cells_are_repeated_when_asked() {
    let lab = Lab::new();
    lab.notebook(
        "n.ipynb",
        &[code("n = globals().get('n', 0) + 1\nprint(n)"), code("assert n == 3")],
    );
    lab.run(&["n.ipynb", "o.ipynb", "--repeat-cells", "3"]).expect(0);
    assert_eq!(stream(&lab.read("o.ipynb"), 0), "3\n");
    lab.notebook("n.ipynb", &[code("assert 'n' not in globals()\nn = 1")]);
    lab.run(&["n.ipynb", "o.ipynb", "--repeat-cells", "2"])
        .expect(1)
        .says("AssertionError");
}

#[test]
fn a_notebook_goes_through_standard_streams() {
    let lab = Lab::new();
    let path = lab.notebook("n.ipynb", &[code("print('through')")]);
    let mut command = lab.command(&["-", "-"]);
    command.stdin(std::fs::File::open(path).unwrap());
    let run = crate::lab::Run::from(command.output().unwrap()).expect(0);
    let notebook: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(stream(&notebook, 0), "through\n");
}

#[test]
fn the_log_shows_whole_lines() {
    let lab = Lab::new();
    lab.notebook(
        "n.ipynb",
        &[code(
            "import sys\nfor c in 'a line\\nand no end':\n    sys.stdout.write(c); sys.stdout.flush()",
        )],
    );
    lab.run(&["n.ipynb", "o.ipynb", "--log-output"])
        .expect(0)
        .says("a line\nand no end\n  cell 1/1");
    assert_eq!(stream(&lab.read("o.ipynb"), 0), "a line\nand no end");
}

#[test]
fn many_small_outputs_arrive_complete_and_in_order() {
    let lab = Lab::new();
    // On a busy machine a limited queue loses some.
    let limit = "t = get_ipython().kernel.iopub_thread\nassert t.socket.getsockopt(23) == 0";
    lab.notebook("limit.ipynb", &[code(limit)]);
    lab.run(&["limit.ipynb", "o.ipynb"]).expect(0);
    lab.notebook(
        "n.ipynb",
        &[code(
            "import sys\nfor i in range(3000):\n    print(i); sys.stdout.flush()",
        )],
    );
    lab.run(&["n.ipynb", "o.ipynb"]).expect(0);
    let expected: String = (0..3000).map(|i| format!("{i}\n")).collect();
    assert_eq!(stream(&lab.read("o.ipynb"), 0), expected);
}

#[test]
fn the_report_is_whole_and_harmless() {
    let lab = Lab::new();
    lab.notebook(
        "n.ipynb",
        &[
            text("# <script>alert(1)</script>"),
            code(
                "from IPython.display import HTML, SVG, display\ndisplay(HTML('<b onclick=\"x()\">bold</b>'))\n\
                  display(SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"/>'))\nprint('\\x1b[31mred\\x1b[0m <i>')",
            ),
        ],
    );
    lab.run(&["n.ipynb", "o.ipynb", "--report", "r.html"]).expect(0);
    let page = lab.text("r.html");
    assert!(!page.contains("<script") && page.contains("&lt;script&gt;"));
    assert!(page.contains("<iframe sandbox class=\"out\"") && page.contains("data:image/svg+xml;base64,"));
    assert!(page.contains("<span class=\"a31\">red</span> &lt;i&gt;"));
    assert!(!page.contains("src=\"http") && !page.contains("href=\"http") && !page.contains("@import"));
    assert!(page.contains("prefers-color-scheme: dark"));
}
