//! Runs that were cut short: what is left of them, and going on.

use std::path::Path;

use serde_json::Value;

use crate::lab::{Lab, Run, code, signal, stream, tagged};

/// Writes `name` and then waits for ever.
fn stop_at(name: &str) -> Value {
    code(&format!(
        "import os, time\nprint('before', flush=True)\ndisplay('sho' + 'wn')\nopen('{name}.new', 'w').write('1')\n\
         os.rename('{name}.new', '{name}')\ntime.sleep(1000)"
    ))
}

/// Runs the program until the notebook has written `reached`, and kills it.
fn kill_at(lab: &Lab, arguments: &[&str], reached: &str) {
    let mut child = lab.start(arguments);
    lab.await_file(reached);
    // The outputs from before the file was written are in the journal a moment later at most.
    let journal = journal(&lab.path(arguments[1]));
    lab.await_text(journal.to_str().unwrap(), "shown");
    signal(child.id(), "KILL");
    child.wait().unwrap();
}

fn journal(output: &Path) -> std::path::PathBuf {
    output.with_file_name(format!(".{}.journal", output.file_name().unwrap().to_str().unwrap()))
}

fn statuses(notebook: &Value) -> Vec<String> {
    let cells = notebook["cells"].as_array().unwrap();
    cells
        .iter()
        .map(|cell| cell["metadata"]["papermill"]["status"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_killed_run_loses_no_cell_that_had_ended() {
    for at in 0..3 {
        let lab = Lab::new();
        let mut cells: Vec<Value> = (0..3)
            .map(|cell| code(&format!("print('cell {cell}')\n{cell} + 100")))
            .collect();
        cells[at] = stop_at("here");
        lab.notebook("n.ipynb", &cells);
        kill_at(&lab, &["n.ipynb", "o.ipynb"], "here");
        lab.run(&["--recover", "o.ipynb"])
            .expect(0)
            .says(&format!("recovered {at} cells, and what the running one had put out"));
        let all = lab.read("o.ipynb");
        let mut expected = vec!["pending"; 3];
        expected[..at].fill("completed");
        expected[at] = "failed";
        assert_eq!(statuses(&all), expected);
        for cell in 0..at {
            assert_eq!(stream(&all, cell), format!("cell {cell}\n"));
            let value = &all["cells"][cell]["outputs"][1];
            assert_eq!(value["data"]["text/plain"][0], format!("{}", cell + 100));
            assert_eq!(all["cells"][cell]["execution_count"], cell + 1);
            assert!(all["cells"][cell]["metadata"]["execution"]["shell.execute_reply"].is_string());
        }
        assert_eq!(stream(&all, at), "before\n");
        let outputs = all["cells"][at]["outputs"].as_array().unwrap();
        assert_eq!(outputs[1]["data"]["text/plain"][0], "'shown'");
        assert_eq!(outputs[2]["ename"], "RunnerEnded");
        assert!(!journal(&lab.path("o.ipynb")).exists());
        lab.run(&["--recover", "o.ipynb"]).expect(0).says("nothing to recover");
    }
}

#[test]
fn what_a_widget_captured_is_the_widgets_after_a_kill() {
    let lab = Lab::new();
    let capture = "from comm import create_comm\n\
                   def tell(**state): comm.send({'method': 'update', 'state': state})\n\
                   comm = create_comm(target_name='jupyter.widget', data={'state': {'outputs': [], \
                   '_model_module': '@jupyter-widgets/output', '_model_name': 'OutputModel'}})\n\
                   tell(msg_id=get_ipython().kernel.get_parent()['header']['msg_id'])\n\
                   print('in the widget', flush=True)\ntell(msg_id='')\nprint('in the cell', flush=True)";
    lab.notebook("n.ipynb", &[code(capture), stop_at("here")]);
    kill_at(&lab, &["n.ipynb", "o.ipynb"], "here");
    lab.run(&["--recover", "o.ipynb"])
        .expect(0)
        .says("recovered 1 cells, and what the running one had put out");
    let all = lab.read("o.ipynb");
    assert_eq!(stream(&all, 0), "in the cell\n");
    let models = all["metadata"]["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
        .as_object()
        .unwrap();
    let model = models.values().next().unwrap();
    assert_eq!(model["state"]["outputs"][0]["text"], "in the widget\n");
}

#[test]
fn every_beginning_of_a_journal_can_be_recovered() {
    let lab = Lab::new();
    let changing = "from IPython.display import clear_output, display\nh = display('first', display_id='d')\nprint('gone')\n\
                    clear_output(wait=True)\nprint('kept é')\nh = display('second', display_id='e')";
    lab.notebook(
        "n.ipynb",
        &[
            code("print('one')"),
            code(changing),
            code("h.update('changed')"),
            stop_at("here"),
        ],
    );
    kill_at(&lab, &["n.ipynb", "o.ipynb"], "here");
    let whole = std::fs::read(journal(&lab.path("o.ipynb"))).unwrap();
    let ends: Vec<usize> = (0..whole.len())
        .filter(|at| whole[*at] == b'\n')
        .map(|at| at + 1)
        .collect();
    assert!(ends.len() > 12, "{}", ends.len());
    let mut last = 0;
    for (lines, end) in ends.iter().enumerate() {
        // Whole lines, and the same with a torn one behind them, which changes nothing.
        let mut seen = Vec::new();
        let next = ends.get(lines + 1).copied().unwrap_or(whole.len());
        for cut in [*end, usize::midpoint(*end, next), next - 1] {
            let folder = format!("r/{lines}-{cut}");
            let output = lab.path(&format!("{folder}/o.ipynb"));
            lab.write(&format!("{folder}/.o.ipynb.journal"), &whole[..cut.max(*end)]);
            let found = tmplrun::run::recover(&output).unwrap();
            if lines == 0 {
                assert!(found.is_empty() && !output.exists());
                continue;
            }
            let before = String::from_utf8(whole[..*end].to_vec()).unwrap();
            assert_eq!(found[0].1, before.matches("{\"ended\":").count());
            assert!(found[0].1 >= last);
            last = found[0].1;
            seen.push(lab.text(&format!("{folder}/o.ipynb")));
        }
        if lines > 0 && !seen[0].contains("RunnerEnded") {
            // A running cell is given the time at which it was recovered.
            assert!(
                seen.iter().all(|text| *text == seen[0]),
                "a torn line made a difference"
            );
        }
    }
    let all = lab.read(&format!("r/{}-{}/o.ipynb", ends.len() - 1, whole.len()));
    assert_eq!(stream(&all, 1), "kept é\n");
    assert_eq!(all["cells"][1]["outputs"][1]["data"]["text/plain"][0], "'changed'");
    assert_eq!(last, 3);
}

#[test]
fn a_journal_of_something_else_is_refused() {
    let lab = Lab::new();
    lab.notebook("n.ipynb", &[code("1")]);
    let cases = [
        (
            "{\"tmplrun_journal\": 2, \"program\": \"9.0\", \"output\": \"o.ipynb\"}\n",
            "version 2, which is not known",
        ),
        (
            "{\"tmplrun_journal\": 1, \"output\": \"other.ipynb\"}\n",
            "is of another notebook, other.ipynb",
        ),
        ("{\"time\": 1}\n", "not a journal of tmplrun"),
    ];
    for (content, expected) in cases {
        lab.write(".o.ipynb.journal", content);
        lab.run(&["--recover", "o.ipynb"]).expect(2).says(expected);
        lab.run(&["n.ipynb", "o.ipynb"]).expect(2).says(expected);
        assert_eq!(lab.text(".o.ipynb.journal"), content);
    }
}

#[test]
fn a_journal_holds_no_secret() {
    let lab = Lab::new();
    let pieces = "import os, sys\ns = os.environ['KEY']\nfor c in s:\n    print(c, end='', flush=True)\nprint()\nprint(s)\n\
                  display(s)";
    lab.notebook("n.ipynb", &[code(pieces), stop_at("here")]);
    let mut command = lab.command(&["n.ipynb", "o.ipynb", "--secret", "key=env:KEY"]);
    let mut child = command.env("KEY", "hunter2-abcdefgh").spawn().unwrap();
    lab.await_file("here");
    signal(child.id(), "KILL");
    child.wait().unwrap();
    let text = lab.text(".o.ipynb.journal");
    assert!(
        text.contains("••••••") && !text.contains("hunter2") && !text.contains("abcdefgh"),
        "{text}"
    );
    lab.run(&["--recover", "o.ipynb"]).expect(0);
    assert_eq!(stream(&lab.read("o.ipynb"), 1), "••••••\n••••••\n");
}

#[test]
fn the_second_run_of_an_output_is_told_who_has_it() {
    let lab = Lab::new();
    lab.notebook("n.ipynb", &[stop_at("here")]);
    lab.notebook("quick.ipynb", &[code("print('mine')")]);
    let mut first = lab.start(&["n.ipynb", "o.ipynb"]);
    lab.await_file("here");
    let told = format!(
        "o.ipynb: another run is writing this output: process {} on ",
        first.id()
    );
    lab.run(&["quick.ipynb", "o.ipynb"])
        .expect(2)
        .says(&told)
        .says(", since 2");
    lab.run(&["--recover", "o.ipynb"]).expect(2).says(&told);
    signal(first.id(), "KILL");
    first.wait().unwrap();
    // The system has released the lock; what was left is replaced with a word about it.
    lab.run(&["quick.ipynb", "o.ipynb"])
        .expect(0)
        .says("did not come to its end");
    assert_eq!(stream(&lab.read("o.ipynb"), 0), "mine\n");
}

fn flow(lab: &Lab) {
    let hand_on = "open('runs', 'a').write('a')\nfrom IPython.display import display\n\
                   display({'application/vnd.tmplrun.result+json': {'n': 12345678901234567890, 'x': 1.50}}, raw=True)";
    lab.notebook("f/a.ipynb", &[tagged("size = 1", &["parameters"]), code(hand_on)]);
    lab.notebook(
        "f/b.ipynb",
        &[
            tagged("n = 0\nx = 0\nsize = 1", &["parameters"]),
            code("import os\nopen('runs', 'a').write('b')\nprint(n, x, size)\nassert os.path.exists('ready'), 'not ready'"),
        ],
    );
    lab.notebook("f/c.ipynb", &[code("open('runs', 'a').write('c')")]);
    lab.notebook("f/z.ipynb", &[code("open('runs', 'a').write('z')")]);
    lab.write(
        "f/flow.yaml",
        "schema: 1\nflows:\n  main:\n    steps: [a.ipynb, b.ipynb, c.ipynb, {notebook: z.ipynb, always: true}]\n",
    );
}

#[test]
fn a_flow_goes_on_where_it_failed_with_the_values_from_before() {
    let lab = Lab::new();
    flow(&lab);
    lab.run(&["f", "-p", "size", "3"]).expect(1).says("not ready");
    assert_eq!(lab.text("f/runs"), "abz");
    lab.write("f/ready", "");
    lab.run(&["f", "--resume"])
        .expect(2)
        .says("the earlier run had other parameters: `size` was 3, now not given")
        .says("--new-parameters");
    lab.run(&["f", "--resume", "-p", "size", "4"])
        .expect(2)
        .says("`size` was 3, now 4");
    assert_eq!(lab.text("f/runs"), "abz");
    let shown = lab.run(&["f", "--resume", "-n", "-p", "size", "3"]).expect(0).stdout;
    assert!(
        shown.contains("done  a.ipynb") && shown.contains("n = 12345678901234567890  (result of a.ipynb)"),
        "{shown}"
    );
    let arguments = ["f", "--resume", "-p", "size", "3", "--events", "e.jsonl", "--json"];
    let run = lab.run(&arguments).expect(0).says("a.ipynb  done before");
    assert_eq!(lab.text("f/runs"), "abzbcz");
    assert_eq!(
        stream(&lab.read("out/latest/b.ipynb"), 2),
        "12345678901234567890 1.5 3\n"
    );
    let json: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(json["steps"][0]["status"], "done_before");
    assert_eq!(json["steps"][0]["cells"].as_array().unwrap().len(), 3);
    assert!(lab.text("e.jsonl").contains("\"status\":\"done_before\""));
    let report = lab.text("out/latest/report.html");
    assert!(report.contains("done before") && report.contains("id=\"step-0\""));
    // Everything is done: nothing runs.
    lab.run(&["f", "out/latest", "--resume", "-p", "size", "3"]).expect(0);
    assert_eq!(lab.text("f/runs"), "abzbcz");
    // What is named runs again, with what was handed on before.
    lab.run(&[
        "f",
        "--resume",
        "--from",
        "b",
        "--until",
        "c",
        "--new-parameters",
        "-p",
        "size",
        "9",
    ])
    .expect(0);
    assert_eq!(lab.text("f/runs"), "abzbczbc");
    assert_eq!(
        stream(&lab.read("out/latest/b.ipynb"), 2),
        "12345678901234567890 1.5 9\n"
    );
}

#[test]
fn a_killed_flow_goes_on_at_the_notebook_that_ran() {
    let lab = Lab::new();
    flow(&lab);
    lab.notebook(
        "f/b.ipynb",
        &[
            tagged("n = 0", &["parameters"]),
            code(
                "import os, time\nopen('runs', 'a').write('b')\ndisplay('sho' + 'wn')\n\
                  while not os.path.exists('ready'):\n    time.sleep(0.02)\nprint(n)",
            ),
        ],
    );
    let mut child = lab.start(&["f", "o"]);
    lab.await_text("o/.b.ipynb.journal", "shown");
    signal(child.id(), "KILL");
    child.wait().unwrap();
    assert_eq!(lab.read("o/run.json")["steps"][1]["status"], "running");
    lab.write("f/ready", "");
    lab.run(&["f", "o", "--resume"]).expect(0);
    assert_eq!(lab.text("f/runs"), "abbcz");
    assert_eq!(stream(&lab.read("o/b.ipynb"), 2), "12345678901234567890\n");
    let left: Vec<_> = std::fs::read_dir(lab.path("o"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert!(
        left.iter().all(|name| !name.to_str().unwrap().starts_with('.')),
        "{left:?}"
    );
}

#[test]
fn going_on_needs_a_run_of_the_same_thing() {
    let lab = Lab::new();
    flow(&lab);
    lab.run(&["f", "--resume"])
        .expect(2)
        .says("there is no run to go on with");
    lab.run(&["f", "o", "--only", "c"]).expect(0);
    lab.write("o/run.json", lab.text("o/run.json").replace("\"main\"", "\"other\""));
    lab.run(&["f", "o", "--resume"])
        .expect(2)
        .says("the earlier run was of `other`");
    lab.write(
        "o/run.json",
        lab.text("o/run.json").replace("\"schema\": 1", "\"schema\": 2"),
    );
    lab.run(&["f", "o", "--resume"])
        .expect(2)
        .says("schema 2 is not known here");
    lab.write("o/run.json", "{");
    lab.run(&["f", "o", "--resume"]).expect(2).says("it is not JSON");
    lab.run(&["f", "--new-parameters"]).expect(2);
}

#[test]
fn a_notebook_that_is_complete_does_not_run_again() {
    let lab = Lab::new();
    let cells = |extra: &str| {
        [
            tagged("n = 1", &["parameters"]),
            code(&format!("open('runs', 'a').write('x'){extra}")),
        ]
    };
    lab.notebook("n.ipynb", &cells(""));
    lab.run(&["n.ipynb", "o.ipynb", "-p", "n", "2"]).expect(0);
    lab.run(&["n.ipynb", "o.ipynb", "-p", "n", "2", "--resume"])
        .expect(0)
        .says("done before");
    assert_eq!(lab.text("runs"), "x");
    lab.run(&["n.ipynb", "o.ipynb", "-p", "n", "3", "--resume"])
        .expect(2)
        .says("`n` was 2, now 3");
    // It is another notebook now.
    lab.notebook("n.ipynb", &cells("\n1/0"));
    lab.run(&["n.ipynb", "o.ipynb", "-p", "n", "2", "--resume"]).expect(1);
    assert_eq!(lab.text("runs"), "xx");
    let run = lab.run(&["n.ipynb", "o.ipynb", "-p", "n", "2", "--resume"]).expect(1);
    assert!(run.stderr.contains("no kernel was kept"), "{}", run.stderr);
    assert_eq!(lab.text("runs"), "xxx");
}

#[test]
fn ctrl_c_stops_every_branch_and_all_are_saved() {
    let lab = Lab::new();
    lab.notebook("f/a.ipynb", &[stop_at("a")]);
    lab.notebook("f/b.ipynb", &[stop_at("b")]);
    lab.notebook("f/c.ipynb", &[code("1")]);
    lab.write(
        "f/flow.yaml",
        "schema: 1\nflows:\n  main:\n    steps: [{notebook: a.ipynb, needs: []}, {notebook: b.ipynb, needs: []}, c.ipynb]\n",
    );
    let child = lab.start(&["f", "o", "--jobs", "2", "--json"]);
    lab.await_file("f/a");
    lab.await_file("f/b");
    signal(child.id(), "INT");
    let run = Run::from(child.wait_with_output().unwrap()).expect(130);
    let json: Value = serde_json::from_str(&run.stdout).unwrap();
    let status: Vec<&str> = json["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["status"].as_str().unwrap())
        .collect();
    assert_eq!(status, ["interrupted", "interrupted", "skipped"]);
    for name in ["o/a.ipynb", "o/b.ipynb"] {
        assert!(lab.text(name).contains("KeyboardInterrupt"));
        assert!(!journal(&lab.path(name)).exists());
    }
    lab.assert_clean();
}

#[test]
fn a_notebook_has_a_time_as_a_whole() {
    let lab = Lab::new();
    lab.notebook(
        "n.ipynb",
        &[code("import time\ntime.sleep(0.4)"), code("time.sleep(1000)")],
    );
    lab.run(&["n.ipynb", "o.ipynb", "--timeout", "1"])
        .expect(1)
        .says("NotebookTimeout")
        .says("the notebook's time ran out in this cell");
}

#[test]
fn an_earlier_success_does_not_outlive_the_start_of_a_run() {
    let lab = Lab::new();
    let cells = |first: &str| [tagged("n = 1", &["parameters"]), code(first), code("print('second')")];
    lab.notebook("n.ipynb", &cells("print('first')"));
    lab.run(&["n.ipynb", "o.ipynb"]).expect(0);
    assert_eq!(statuses(&lab.read("o.ipynb")), ["completed"; 3]);
    lab.notebook(
        "n.ipynb",
        &cells("import os\nos.path.exists('ready') or os.kill(os.getppid(), 9)"),
    );
    // Also where nothing is saved between cells.
    for more in [&[][..], &["--no-request-save-on-cell-execute"]] {
        let arguments = ["n.ipynb", "o.ipynb", "-p", "n", "2"];
        assert_eq!(lab.run(&[&arguments, more].concat()).code, None);
        let left = lab.read("o.ipynb");
        // Those before it may have been saved, where that is asked for.
        let saved = if more.is_empty() { 2 } else { 0 };
        let statuses = statuses(&left);
        assert!(
            statuses.len() == 4 && statuses[saved..].iter().all(|status| status == "pending"),
            "{statuses:?}"
        );
        let cells = left["cells"].as_array().unwrap();
        assert!(
            cells.iter().all(|cell| cell["outputs"] == serde_json::json!([])),
            "{left:#}"
        );
        let entry = &left["metadata"]["papermill"];
        assert_eq!(entry["parameters"]["n"], 2);
        assert!(
            entry["start_time"].is_string() && entry["end_time"].is_null(),
            "{entry:#}"
        );
        // The journal says more.
        assert!(journal(&lab.path("o.ipynb")).exists());
    }
    lab.write("ready", "");
    lab.run(&["n.ipynb", "o.ipynb", "-p", "n", "3", "--resume"])
        .expect(2)
        .says("`n` was 2, now 3");
    lab.run(&["n.ipynb", "o.ipynb", "-p", "n", "2", "--resume"]).expect(0);
    assert_eq!(stream(&lab.read("o.ipynb"), 3), "second\n");
}

#[test]
fn what_was_prepared_has_not_run() {
    let lab = Lab::new();
    flow(&lab);
    lab.write("f/ready", "");
    let run = lab
        .run(&["f", "o", "--prepare-only", "--json", "--junit", "j.xml"])
        .expect(0);
    let json: Value = serde_json::from_str(&run.stdout).unwrap();
    let status = |of: &Value| of["status"].as_str().unwrap().to_owned();
    assert!(
        json["steps"]
            .as_array()
            .unwrap()
            .iter()
            .all(|step| status(step) == "prepared"),
        "{json:#}"
    );
    assert_eq!(status(&json), "prepared");
    assert_eq!(status(&lab.read("o/run.json")["steps"][0]), "prepared");
    assert!(lab.text("j.xml").contains("<skipped/>"));
    assert!(!lab.path("f/runs").exists());
    let run = lab.run(&["f", "o", "--resume"]).expect(0);
    assert!(!run.stderr.contains("done before"), "{}", run.stderr);
    assert_eq!(lab.text("f/runs"), "abcz");
    lab.run(&["f", "o", "--resume"]).expect(0).says("done before");
    lab.run(&["f/c.ipynb", "c.ipynb", "--prepare-only"])
        .expect(0)
        .says("c.ipynb: prepared in");
}

#[test]
fn a_steps_own_parameters_must_be_those_of_the_earlier_run() {
    let lab = Lab::new();
    flow(&lab);
    let with = |own: &str| {
        lab.write(
            "f/flow.yaml",
            format!("schema: 1\nflows:\n  main:\n    steps: [{{notebook: a.ipynb{own}}}, b.ipynb, c.ipynb]\n"),
        )
    };
    with(", parameters: {size: 5}");
    lab.run(&["f", "o", "--inject-paths"]).expect(1).says("not ready");
    lab.write("f/ready", "");
    for (own, said) in [
        (", parameters: {size: 6}", "in a.ipynb, `size` was 5, now 6"),
        ("", "in a.ipynb, `size` was 5, now not given"),
        (
            ", parameters: {size: 5, more: 1}",
            "in a.ipynb, `more` was not given, now 1",
        ),
    ] {
        with(own);
        for more in [&[][..], &["--dry-run"]] {
            lab.run(&[&["f", "o", "--resume"], more].concat())
                .expect(2)
                .says("the earlier run had other parameters: ")
                .says(said)
                .says("--new-parameters")
                .says("--from");
        }
    }
    assert_eq!(lab.text("f/runs"), "ab");
    // Where the step itself runs again, or when it is meant, there is nothing to ask; and it is asked once.
    with(", parameters: {size: 6}");
    lab.run(&["f", "o", "--resume", "--only", "a"]).expect(0);
    assert_eq!(lab.read("o/run.json")["steps"][0]["parameters"]["size"], 6);
    with(", parameters: {size: 7}");
    lab.run(&["f", "o", "--resume", "--new-parameters"]).expect(0);
    assert_eq!(lab.read("o/run.json")["steps"][0]["parameters"]["size"], 6);
    let again = lab.run(&["f", "o", "--resume"]).expect(0);
    assert!(again.stderr.contains("done before"), "{}", again.stderr);
    assert_eq!(lab.text("f/runs"), "ababc");
}

#[test]
fn recovering_wants_one_path_that_is_there() {
    let lab = Lab::new();
    lab.notebook("n.ipynb", &[code("1")]);
    lab.run(&["--recover", "missing.ipynb"])
        .expect(2)
        .says("missing.ipynb: there is nothing to recover: no such file or folder");
    lab.run(&["n.ipynb", "o.ipynb", "--recover"])
        .expect(2)
        .says("--recover takes one path")
        .says("tmplrun --recover o.ipynb");
    assert!(!lab.path("o.ipynb").exists());
    lab.run(&["--recover", "n.ipynb"]).expect(0).says("nothing to recover");
}
