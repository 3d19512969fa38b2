//! Papermill's options, by their names.

use serde_json::{Value, json};

use crate::lab::{Lab, code, stream, tagged};

fn written(lab: &Lab, name: &str) -> String {
    let all = lab.read(name);
    let cells = all["cells"].as_array().unwrap();
    let injected = cells
        .iter()
        .find(|cell| cell["metadata"]["tags"][0] == "injected-parameters")
        .expect("an injected cell");
    injected["source"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line.as_str().unwrap())
        .collect()
}

#[test]
fn paths_are_injected_below_everything_else() {
    let lab = Lab::new();
    lab.notebook("n.ipynb", &[code("1")]);
    lab.run(&[
        "n.ipynb",
        "o-{x}.ipynb",
        "--prepare-only",
        "--strict",
        "--inject-paths",
        "-y",
        "{x: 5}",
    ])
    .expect(2)
    .says("no cell tagged `parameters`, which would declare `x`");
    lab.notebook("n.ipynb", &[tagged("x = 1", &["parameters"])]);
    // The paths themselves need not be declared, and their places are those that are used.
    lab.run(&[
        "n.ipynb",
        "o-{x}.ipynb",
        "--prepare-only",
        "--strict",
        "--inject-paths",
        "-y",
        "{x: 5}",
    ])
    .expect(0);
    assert_eq!(
        written(&lab, "o-5.ipynb"),
        "# Parameters\nPAPERMILL_INPUT_PATH = \"n.ipynb\"\nPAPERMILL_OUTPUT_PATH = \"o-5.ipynb\"\nx = 5\n"
    );
    lab.run(&[
        "n.ipynb",
        "o.ipynb",
        "--prepare-only",
        "--inject-input-path",
        "-b",
        "e1BBUEVSTUlMTF9JTlBVVF9QQVRIOiBvd259",
    ])
    .expect(0);
    assert_eq!(
        written(&lab, "o.ipynb"),
        "# Parameters\nPAPERMILL_INPUT_PATH = \"own\"\n"
    );
    lab.run(&["n.ipynb", "o.ipynb", "--prepare-only", "--inject-output-path"])
        .expect(0);
    assert_eq!(
        written(&lab, "o.ipynb"),
        "# Parameters\nPAPERMILL_OUTPUT_PATH = \"o.ipynb\"\n"
    );
    lab.notebook("f/1.ipynb", &[code("1")]);
    lab.write("f/flow.yaml", "schema: 1\nflows:\n  main:\n    steps: [1.ipynb]\n");
    lab.run(&["f", "o", "--prepare-only", "--strict", "--inject-paths"])
        .expect(0);
    assert_eq!(
        written(&lab, "o/1.ipynb"),
        "# Parameters\nPAPERMILL_INPUT_PATH = \"f/1.ipynb\"\nPAPERMILL_OUTPUT_PATH = \"o/1.ipynb\"\n"
    );
}

#[test]
fn streams_go_to_files_masked() {
    let lab = Lab::new();
    lab.notebook(
        "n.ipynb",
        &[
            code("import os, sys\nprint('out', os.environ['KEY'])\nprint('err', os.environ['KEY'], file=sys.stderr)"),
            code("sys.stdout.flush()\nprint('last', end='')\n'a value'"),
        ],
    );
    let mut command = lab.command(&[
        "n.ipynb",
        "o.ipynb",
        "--stdout-file",
        "s/out.txt",
        "--stderr-file",
        "err.txt",
        "--secret",
        "key=env:KEY",
    ]);
    command.env("KEY", "s3cr3t-0123456789");
    crate::lab::Run::from(command.output().unwrap()).expect(0);
    assert_eq!(lab.text("s/out.txt"), "out ••••••\nlast");
    assert_eq!(lab.text("err.txt"), "err ••••••\n");
    let both = lab
        .run(&["n.ipynb", "o.ipynb", "--stdout-file", "-", "--json"])
        .expect(2);
    assert!(
        both.stderr
            .contains("standard output is taken by --json and by what the cells print"),
        "{}",
        both.stderr
    );
    lab.notebook(
        "m.ipynb",
        &[code("import sys\nprint('out')\nprint('err', file=sys.stderr)")],
    );
    lab.run(&[
        "m.ipynb",
        "o.ipynb",
        "--stdout_file",
        "both.txt",
        "--stderr_file",
        "both.txt",
    ])
    .expect(0);
    let both = lab.text("both.txt");
    assert!(both.contains("out\n") && both.contains("err\n"), "{both}");
    let run = lab.run(&["m.ipynb", "o.ipynb", "--stdout-file", "-"]).expect(0);
    assert_eq!(run.stdout, "out\n");
    lab.run(&["m.ipynb", "o.ipynb", "--stderr-file", "t/x/../../n.ipynb/e"])
        .expect(2)
        .says("the output cannot be written");
}

#[test]
fn the_level_says_which_lines_are_shown() {
    let lab = Lab::new();
    lab.notebook(
        "n.ipynb",
        &[code(
            "import sys\nprint('from out')\nprint('from err', file=sys.stderr)",
        )],
    );
    let shown = |level: &str| {
        let run = lab
            .run(&[
                "n.ipynb",
                "o.ipynb",
                "--log-output",
                "--log-level",
                level,
                "-p",
                "unknown",
                "1",
            ])
            .expect(0);
        ["cell 1/2", "completed", "from out", "from err", "warning:"].map(|text| run.stderr.contains(text))
    };
    assert_eq!(shown("INFO"), [true; 5]);
    assert_eq!(shown("NOTSET"), [true; 5]);
    assert_eq!(shown("warning"), [false, false, false, true, true]);
    assert_eq!(shown("ERROR"), [false; 5]);
    assert_eq!(shown("CRITICAL"), [false; 5]);
    lab.run(&["n.ipynb", "o.ipynb", "--log-level", "LOUD"])
        .expect(2)
        .says("NOTSET");
    lab.notebook("bad.ipynb", &[code("1/0")]);
    lab.run(&["bad.ipynb", "o.ipynb", "--log-level", "CRITICAL"])
        .expect(1)
        .says("ZeroDivisionError");
}

#[test]
fn engines_are_refused_with_what_there_is() {
    let lab = Lab::new();
    lab.notebook("n.ipynb", &[code("1")]);
    lab.run(&["n.ipynb", "o.ipynb", "--engine", "my-engine"])
        .expect(2)
        .says("--engine my-engine")
        .says("--kernel")
        .says("EventSink");
    assert!(!lab.path("o.ipynb").exists());
}

#[test]
fn both_spellings_and_both_senses_are_taken() {
    let lab = Lab::new();
    lab.notebook("n.ipynb", &[tagged("x = 1", &["parameters"])]);
    lab.write("p.yaml", "f: 2020-01-01\n");
    for joint in ["_", "-"] {
        let option = |name: &str| format!("--{}", name.replace('_', joint));
        lab.run(&[
            "n.ipynb",
            "o.ipynb",
            &option("parameters_raw"),
            "r",
            "1",
            &option("parameters_file"),
            "p.yaml",
            &option("parameters_yaml"),
            "y: 1",
            &option("parameters_base64"),
            "YjogMQ==",
            &option("start_timeout"),
            "60",
            &option("execution_timeout"),
            "60",
            &option("prepare_only"),
            &option("report_mode"),
            "--no-report-mode",
            "--no-request-save-on-cell-execute",
            "--request-save-on-cell-execute",
            "--no-log-output",
            "--no-progress-bar",
        ])
        .expect(0);
        assert_eq!(
            written(&lab, "o.ipynb"),
            "# Parameters\nb = 1\nf = \"2020-01-01\"\ny = 1\nr = \"1\"\n"
        );
        assert!(!lab.text("o.ipynb").contains("source_hidden"));
    }
    lab.run(&["n.ipynb", "o.ipynb", "--prepare-only", "--prepare-execute"])
        .expect(0);
    assert_eq!(lab.read("o.ipynb")["cells"][0]["execution_count"], 1);
}

#[test]
fn the_command_line_is_read_as_papermill_reads_it() {
    let lab = Lab::new();
    lab.notebook("n.ipynb", &[tagged("x = 1", &["parameters"])]);
    let written_with = |arguments: &[&str]| {
        lab.run(&[&["n.ipynb", "o.ipynb", "--prepare-only"], arguments].concat())
            .expect(0);
        written(&lab, "o.ipynb")
    };
    // What begins with a hyphen is a value where one is due: a whole document, or a number.
    assert_eq!(written_with(&["-y", "---\nx: 3\n"]), "# Parameters\nx = 3\n");
    assert_eq!(
        written_with(&["-p", "x", "-1", "-r", "y", "--z"]),
        "# Parameters\nx = -1\ny = \"--z\"\n"
    );
    lab.write("-p.yaml", "x: 4");
    assert_eq!(written_with(&["-f", "-p.yaml"]), "# Parameters\nx = 4\n");
    for option in [
        "-k",
        "--language",
        "--engine",
        "--cwd",
        "--stdout-file",
        "--stderr-file",
    ] {
        let run = lab.run(&["n.ipynb", "o.ipynb", "--prepare-only", option, "--odd/"]);
        assert!(!run.stderr.contains("a value is required"), "{option}: {}", run.stderr);
    }
    // As the program `base64` writes it; what is no base64 stays an error.
    assert_eq!(
        written_with(&["-b", "eDog\nNQ==\n", "-b", " eTog Ng == "]),
        "# Parameters\nx = 5\ny = 6\n"
    );
    lab.run(&["n.ipynb", "o.ipynb", "-b", "eDog\nN?Q=="])
        .expect(2)
        .says("not base64");
    // The last one counts, flags and switches included.
    assert_eq!(
        written_with(&[
            "--inject-input-path",
            "--inject-input-path",
            "-k",
            "nowhere",
            "-k",
            "python3",
            "--execution-timeout",
            "1",
            "--execution-timeout",
            "2",
            "--no-log-output",
            "--report-mode",
            "--report-mode",
            "--prepare-only",
        ]),
        "# Parameters\nPAPERMILL_INPUT_PATH = \"n.ipynb\"\n"
    );
    lab.run(&["n.ipynb", "o.ipynb", "third.ipynb"]).expect(2);
    // No limit, as nbclient reads it.
    lab.notebook("slow.ipynb", &[code("import time\ntime.sleep(1.2)\nprint('done')")]);
    for none in ["0", "-1"] {
        lab.run(&[
            "slow.ipynb",
            "o.ipynb",
            "--execution-timeout",
            none,
            "--start-timeout",
            none,
            "--timeout",
            none,
            "--autosave-cell-every",
            none,
        ])
        .expect(0);
        assert_eq!(stream(&lab.read("o.ipynb"), 0), "done\n");
    }
    let most = i64::MAX.to_string();
    lab.run(&[
        "slow.ipynb",
        "o.ipynb",
        "--execution-timeout",
        &most,
        "--start-timeout",
        &most,
        "--timeout",
        &most,
    ])
    .expect(0);
}

#[test]
fn every_option_has_its_other_spelling() {
    let lab = Lab::new();
    let help = lab.run(&["--help"]).expect(0).stdout;
    let mut options: Vec<&str> = help
        .split(|c: char| c.is_whitespace() || "`=[],.;:()<>".contains(c))
        .filter(|word| word.starts_with("--") && word[2..].contains(['-', '_']))
        .collect();
    options.extend([
        "--skip-cells-with-tag",
        "--no-report-mode",
        "--prepare-execute",
        "--no-log-output",
    ]);
    options.sort_unstable();
    options.dedup();
    assert!(options.len() > 35, "{options:?}");
    for option in options {
        let name = &option[2..];
        let other = if name.contains('_') {
            name.replace('_', "-")
        } else {
            name.replace('-', "_")
        };
        // Known, or else the whole line would be refused for it before anything is looked at.
        let run = lab.run(&[&format!("--{other}")]);
        assert!(!run.stderr.contains("unexpected argument"), "--{other}: {}", run.stderr);
    }
}

#[test]
fn cells_with_a_tag_are_passed_over() {
    let lab = Lab::new();
    lab.notebook(
        "n.ipynb",
        &[
            tagged("size = 1", &["parameters"]),
            tagged("1/0", &["slow", "other"]),
            tagged("1/0", &["plot"]),
            tagged("1/0", &["skip-execution"]),
            code("print(size)"),
        ],
    );
    lab.run(&[
        "n.ipynb",
        "o.ipynb",
        "-p",
        "size",
        "5",
        "--skip-tag",
        "slow",
        "--skip-cells-with-tag",
        "plot",
        "--events",
        "e.jsonl",
    ])
    .expect(0);
    let all = lab.read("o.ipynb");
    assert_eq!(stream(&all, 5), "5\n");
    let cells = all["cells"].as_array().unwrap();
    for cell in &cells[2..5] {
        assert!(cell["outputs"].as_array().unwrap().is_empty() && cell["execution_count"].is_null());
    }
    // Three run: the cell that was injected is one of them.
    let events = lab.text("e.jsonl");
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| events.iter().filter(|event| event["event"] == kind).collect::<Vec<_>>();
    assert_eq!(of("notebook_started")[0]["cells"], 3);
    assert!(of("cell_started").iter().all(|event| event["of"] == 3) && of("cell_finished").len() == 3);
    // An injected cell that takes the place of an earlier one is no more than that was.
    lab.run(&[
        "o.ipynb",
        "p.ipynb",
        "-p",
        "size",
        "6",
        "--skip-tag",
        "slow",
        "--skip-tag",
        "plot",
        "--events",
        "e.jsonl",
    ])
    .expect(0);
    let first = lab.text("e.jsonl");
    let started = first
        .lines()
        .find(|line| line.contains("\"notebook_started\""))
        .unwrap();
    assert!(started.contains("\"cells\":3"), "{started}");
}

#[test]
fn a_notebook_that_was_prepared_anew_is_not_complete() {
    let lab = Lab::new();
    lab.notebook("n.ipynb", &[tagged("size = 1", &["parameters"]), code("print(size)")]);
    lab.run(&["n.ipynb", "o.ipynb", "-p", "size", "5"]).expect(0);
    // The outputs stay, as papermill leaves them, and so does when the run that they are from has ended.
    lab.run(&["o.ipynb", "o.ipynb", "-p", "size", "6", "--prepare-only"])
        .expect(0);
    assert_eq!(stream(&lab.read("o.ipynb"), 2), "5\n");
    lab.run(&["n.ipynb", "o.ipynb", "-p", "size", "6", "--resume"])
        .expect(0);
    assert_eq!(stream(&lab.read("o.ipynb"), 2), "6\n");
}

#[test]
fn report_mode_leaves_other_metadata_alone() {
    let lab = Lab::new();
    let mut cell = code("1");
    cell["metadata"]["jupyter"] = json!({"outputs_hidden": false, "other": [1]});
    lab.notebook("n.ipynb", &[cell, crate::lab::text("text")]);
    lab.run(&["n.ipynb", "o.ipynb", "--prepare-only", "--report-mode", "-p", "x", "1"])
        .expect(0);
    let cells: Vec<Value> = lab.read("o.ipynb")["cells"].as_array().unwrap().clone();
    assert_eq!(cells[0]["metadata"]["jupyter"], json!({"source_hidden": true}));
    assert_eq!(
        cells[1]["metadata"]["jupyter"],
        json!({"outputs_hidden": false, "other": [1], "source_hidden": true})
    );
    assert!(cells[2]["metadata"].get("jupyter").is_none());
}

#[test]
fn saves_between_cells_can_be_left_out() {
    let lab = Lab::new();
    let cells = [
        code("import os, time\ntime.sleep(0.7)"),
        // What is written before the first cell says of none that it ran.
        code("time.sleep(1.5)\nprint('comp' + 'leted' in open('o.ipynb').read())"),
    ];
    lab.notebook("n.ipynb", &cells);
    lab.run(&["n.ipynb", "o.ipynb", "--autosave-cell-every", "1"]).expect(0);
    assert_eq!(stream(&lab.read("o.ipynb"), 1), "True\n");
    std::fs::remove_file(lab.path("o.ipynb")).unwrap();
    lab.run(&[
        "n.ipynb",
        "o.ipynb",
        "--autosave-cell-every",
        "1",
        "--no-request-save-on-cell-execute",
    ])
    .expect(0);
    assert_eq!(stream(&lab.read("o.ipynb"), 1), "False\n");
}

fn notebook_for(lab: &Lab, metadata: Value) {
    let notebook = json!({"cells": [tagged("x <- 1", &["parameters"])], "metadata": metadata, "nbformat": 4,
        "nbformat_minor": 5});
    lab.write("n.ipynb", notebook.to_string());
}

#[test]
fn a_language_chooses_kernel_and_translator() {
    let lab = Lab::new();
    let kernel = |name: &str, language: &str| {
        let spec = json!({"argv": ["false"], "display_name": name, "language": language});
        lab.write(
            &format!("home/.local/share/jupyter/kernels/{name}/kernel.json"),
            spec.to_string(),
        );
    };
    kernel("erre", "R");
    kernel("own", "none");
    lab.write("home/.local/share/jupyter/kernels/broken/kernel.json", "{");
    let prepared = |arguments: &[&str]| {
        let run = lab.run(&[&["n.ipynb", "o.ipynb", "-p", "x", "True"], arguments].concat());
        (run.code, run.stderr)
    };
    // No kernel is named: found by language.
    notebook_for(&lab, json!({}));
    assert_eq!(prepared(&["--prepare-only", "-l", "R"]).0, Some(0));
    assert_eq!(written(&lab, "o.ipynb"), "# Parameters\nx = TRUE\n");
    assert_eq!(
        lab.read("o.ipynb")["metadata"]["kernelspec"],
        json!({"display_name": "erre", "language": "R", "name": "erre"})
    );
    let (code, said) = prepared(&["--language", "cobol"]);
    assert!(
        code == Some(2) && said.contains("`cobol`") && said.contains("R (erre)"),
        "{said}"
    );
    let (code, said) = prepared(&[]);
    assert!(code == Some(2) && said.contains("--language"), "{said}");
    // One is named and installed: it stays, and the language is the translator's.
    notebook_for(
        &lab,
        json!({"kernelspec": {"name": "own", "display_name": "Own", "language": "none"}}),
    );
    assert_eq!(prepared(&["--prepare-only", "--language", "scala"]).0, Some(0));
    assert_eq!(written(&lab, "o.ipynb"), "// Parameters\nval x = true\n");
    assert_eq!(lab.read("o.ipynb")["metadata"]["kernelspec"]["name"], "own");
    let (code, said) = prepared(&["--prepare-only"]);
    assert!(
        code == Some(2) && said.contains("parameters cannot be written in `none`"),
        "{said}"
    );
    // One is named and not installed.
    notebook_for(
        &lab,
        json!({"kernelspec": {"name": "gone", "display_name": "Gone", "language": "R"}}),
    );
    assert_eq!(prepared(&["--prepare-only", "--language", "r"]).0, Some(0));
    assert_eq!(lab.read("o.ipynb")["metadata"]["kernelspec"]["name"], "erre");
    assert_eq!(prepared(&[]).0, Some(2));
    // Preparing wants only the names.
    assert_eq!(prepared(&["--prepare-only"]).0, Some(0));
    assert_eq!(lab.read("o.ipynb")["metadata"]["kernelspec"]["name"], "gone");
    assert_eq!(written(&lab, "o.ipynb"), "# Parameters\nx = TRUE\n");
}

#[test]
fn a_pipe_stands_for_what_it_stands_for_in_papermill() {
    let lab = Lab::new();
    lab.notebook("n.ipynb", &[tagged("x = 1", &["parameters"])]);
    let notebook = lab.text("n.ipynb");
    // A single path is the output where a notebook is sent.
    lab.run_with_input(&["o.ipynb", "--prepare-only", "-p", "x", "2"], notebook.as_bytes())
        .expect(0);
    assert_eq!(written(&lab, "o.ipynb"), "# Parameters\nx = 2\n");
    assert_eq!(lab.read("o.ipynb")["metadata"]["papermill"]["input_path"], "-");
    let through = lab
        .run_with_input(&["--prepare-only", "-p", "x", "3"], notebook.as_bytes())
        .expect(0);
    assert!(through.stdout.contains("\"x = 3\\n\""), "{}", through.stdout);
    let out = lab.run(&["n.ipynb", "--prepare-only", "-p", "x", "4"]).expect(0);
    assert!(out.stdout.contains("\"x = 4\\n\""), "{}", out.stdout);
    let all: Value = serde_json::from_str(&out.stdout).unwrap();
    assert_eq!(all["metadata"]["papermill"]["output_path"], "-");
    lab.run_with_input(&["n.ipynb"], b"")
        .expect(2)
        .says("standard input holds no notebook")
        .says("write `tmplrun n.ipynb -`");
    // Parameters may come that way too, once.
    lab.run_with_input(&["n.ipynb", "o.ipynb", "--prepare-only", "-f", "-"], b"x: yes\n")
        .expect(0);
    assert_eq!(written(&lab, "o.ipynb"), "# Parameters\nx = True\n");
    lab.run_with_input(&["-", "o.ipynb", "-f", "-"], b"{}")
        .expect(2)
        .says("only once");
    // A flow's folder stays the input.
    lab.notebook("f/1.ipynb", &[code("1")]);
    lab.write("f/flow.yaml", "schema: 1\nflows:\n  main:\n    steps: [1.ipynb]\n");
    lab.run_with_input(&["f", "--prepare-only"], b"").expect(0);
}

#[test]
fn help_for_a_notebook_is_laid_out_as_papermills() {
    let lab = Lab::new();
    let source = "short = 1  # how many\nname: str = 'a rather long default'  # what it is called\nplain = 2\n";
    let notebook = json!({"cells": [tagged(source, &["parameters"])], "metadata": {"kernelspec": {"name": "nowhere",
        "display_name": "Not installed", "language": "python"}}, "nbformat": 4, "nbformat_minor": 5});
    lab.write("n.ipynb", notebook.to_string());
    let help = lab.run(&["n.ipynb", "--help-notebook"]).expect(0);
    assert!(help.stdout.starts_with("Usage: tmplrun "), "{}", help.stdout);
    let (_, list) = help.stdout.split_once("\n\n").unwrap();
    assert_eq!(
        list,
        "Parameters inferred for notebook 'n.ipynb':\n\
         \x20 short: Unknown type (default 1)\n\
         \x20                                 how many\n\
         \x20 name: str (default 'a rather long default')\n\
         \x20                                 what it is called\n\
         \x20 plain: Unknown type (default 2)\n"
    );
    lab.notebook("m.ipynb", &[tagged("a: int = 1  # how many", &["parameters"])]);
    let one = lab.run(&["m.ipynb", "--help-notebook"]).expect(0);
    assert!(
        one.stdout.ends_with("  a: int (default 1)              how many\n"),
        "{:?}",
        one.stdout
    );
    lab.notebook("none.ipynb", &[code("1")]);
    let none = lab.run(&["none.ipynb", "--help-notebook"]).expect(1);
    assert!(none.stdout.contains("No cell tagged 'parameters'"));
}

#[test]
fn rust_gets_literals_that_compile() {
    let lab = Lab::new();
    notebook_for(
        &lab,
        json!({"kernelspec": {"name": "rust", "display_name": "Rust", "language": "rust"}}),
    );
    let prepared = |yaml: &str| lab.run(&["n.ipynb", "o.ipynb", "--prepare-only", "-y", yaml]);
    prepared(
        "{n: ~, t: yes, i: 1, w: 5000000000, h: 12345678901234567890, x: 1.5, big: 1.0e+300, s: 'a\"\\é',
          l: [1, 5000000000], f: [1, 2.5], e: [], m: {a: [1], b: []}, k: {}}",
    )
    .expect(2)
    .says("the value of `m` is a list or mapping of different types");
    prepared(
        "{n: ~, t: yes, i: 1, w: 5000000000, h: 12345678901234567890, x: 1.5, big: 1.0e+300, s: 'a\"\\é',
          l: [1, 5000000000], f: [1, 2.5], e: [], m: {a: [1], b: [2]}, k: {}}",
    )
    .expect(0);
    assert_eq!(
        written(&lab, "o.ipynb"),
        "// Parameters\nlet n = None::<String>;\nlet t = true;\nlet i = 1;\nlet w = 5000000000i64;\n\
         let h = 12345678901234567890i128;\nlet x = 1.5;\nlet big = 1e300;\n\
         let s = \"a\\\"\\\\é\".to_string();\nlet l = vec![1i64, 5000000000i64];\nlet f = vec![1.0, 2.5];\n\
         let e = Vec::<String>::new();\n\
         let m = std::collections::BTreeMap::from([(\"a\".to_string(), vec![1]), (\"b\".to_string(), vec![2])]);\n\
         let k = std::collections::BTreeMap::<String, String>::new();\n"
    );
}

/// The commands of the page, run as they stand.
#[test]
fn every_command_of_the_page_runs() {
    let lab = Lab::new();
    let source = "alpha = 0.1  # how much\nregion = 'eu'\npaths = None\nlist = None\ntoken = ''";
    lab.notebook(
        "report.ipynb",
        &[tagged(source, &["parameters"]), code("print(alpha, region)")],
    );
    lab.write("common.yaml", "alpha: 0.1\n");
    let token = lab.write("token", "s3cr3t-0123456789");
    std::fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let server = crate::stores::Server::start();
    server.put("/bucket/report.ipynb", lab.text("report.ipynb"));
    let page = include_str!("../../../../docs/tmplrun/options.md");
    let mut commands = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            line if inside => commands.push(line),
            _ => {}
        }
    }
    assert!(
        commands.len() >= 12 && commands.iter().all(|line| line.contains("tmplrun ")),
        "{commands:?}"
    );
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_tmplrun")).parent().unwrap();
    for command in commands {
        let clean = lab.command(&[]);
        let path = clean
            .get_envs()
            .find(|(key, _)| *key == "PATH")
            .and_then(|(_, value)| Some(value?.to_str()?.to_owned()))
            .unwrap();
        let mut run = std::process::Command::new("/bin/sh");
        run.args(["-c", command]).current_dir(lab.path("")).env_clear();
        run.envs(clean.get_envs().filter_map(|(key, value)| Some((key, value?))))
            .env("PATH", format!("{}:{path}", program.display()))
            .envs([
                ("AWS_ENDPOINT_URL", server.url("")),
                ("AWS_SKIP_SIGNATURE", "true".to_owned()),
            ]);
        let done = crate::lab::Run::from(run.stdin(std::process::Stdio::null()).output().unwrap());
        assert_eq!(done.code, Some(0), "{command}\n{}", done.stderr);
    }
    for written in [
        "prepared.ipynb",
        "out/eu-0.50.ipynb",
        "out/000.50-  eu.ipynb",
        "out/europe-007.ipynb",
        "out.txt",
    ] {
        assert!(lab.path(written).exists(), "{written}");
    }
    assert!(server.file("/bucket/out/eu.ipynb").is_some());
}
