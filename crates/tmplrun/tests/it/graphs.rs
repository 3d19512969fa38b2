//! Flows whose notebooks need one another: the file, the selection, the order, the values.

use serde_json::Value;
use tmplrun::flow::{FlowFile, Selection};

use crate::lab::{Lab, code, stream, tagged};

const DIAMOND: &str = "schema: 1\nflows:\n  main:\n    steps:\n      - a.ipynb\n      - {notebook: b.ipynb, needs: [a]}\n\
                       \x20     - {notebook: c.ipynb, needs: [a]}\n      - {notebook: d.ipynb, needs: [b, c]}\n";

fn result(values: &str) -> Value {
    code(&format!(
        "from IPython.display import display\ndisplay({{'application/vnd.tmplrun.result+json': {values}}}, raw=True)"
    ))
}

fn four(lab: &Lab) {
    for name in ["a", "b", "c", "d"] {
        lab.notebook(&format!("f/{name}.ipynb"), &[code("1")]);
    }
}

fn events(lab: &Lab, name: &str) -> Vec<Value> {
    lab.text(name)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Where an event of this kind about this step stands.
fn at(events: &[Value], kind: &str, name: &str) -> usize {
    let found = events
        .iter()
        .position(|event| event["event"] == kind && event["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} of {name}"))
}

#[test]
fn needs_that_cannot_be_are_refused_with_their_line() {
    let lab = Lab::new();
    four(&lab);
    let cases = [
        (
            "- {notebook: b.ipynb, needs: [a, x]}",
            "flow.yaml:6: no step is called `x`",
        ),
        (
            "- {notebook: b.ipynb, needs: [a, a.ipynb]}",
            "flow.yaml:6: `b.ipynb` needs `a.ipynb` twice",
        ),
        ("- {notebook: b.ipynb, needs: a}", "flow.yaml:6: `needs` must be a list"),
        (
            "- {notebook: b.ipynb, needs: [7]}",
            "flow.yaml:6: `needs` must be a list",
        ),
        (
            "- {notebook: b.ipynb, need: [a]}",
            "flow.yaml:6: a step has no key `need`",
        ),
        (
            "- {notebook: b.ipynb, needs: [b]}",
            "steps need each other in a circle: b.ipynb needs b.ipynb",
        ),
        (
            "- {notebook: b.ipynb, needs: [d]}\n      - c.ipynb\n      - {notebook: d.ipynb, needs: [c]}",
            "in a circle: b.ipynb needs d.ipynb needs c.ipynb needs b.ipynb",
        ),
        (
            "- {notebook: b.ipynb, needs: [d]}\n      - {notebook: d.ipynb, needs: [], always: true}",
            "flow.yaml:6: `b.ipynb` needs `d.ipynb`, which comes later and always runs",
        ),
        (
            "- {notebook: a.ipynb, needs: []}",
            "flow.yaml:6: two steps of the flow `main` are called `a.ipynb`",
        ),
    ];
    for (step, expected) in cases {
        let yaml = format!("schema: 1\nflows:\n  main:\n    steps:\n      - a.ipynb\n      {step}\n");
        lab.write("f/flow.yaml", &yaml);
        let error = FlowFile::read(&lab.path("f")).unwrap_err().to_string();
        assert!(error.contains(expected), "{yaml}\n{error:?} lacks {expected:?}");
    }
    lab.run(&["f"]).expect(2);
    assert!(!lab.path("out").exists());
}

#[test]
fn a_step_without_needs_waits_for_all_before_it() {
    let lab = Lab::new();
    four(&lab);
    lab.write(
        "f/flow.yaml",
        "schema: 1\nflows:\n  main:\n    steps: [a.ipynb, {notebook: b.ipynb, needs: []}, c.ipynb, {notebook: d.ipynb, needs: [a]}]\n",
    );
    let file = FlowFile::read(&lab.path("f")).unwrap();
    let (_, flow) = file.flow(None).unwrap();
    let needs: Vec<&[usize]> = flow.steps.iter().map(|step| step.needs.as_slice()).collect();
    assert_eq!(needs, [&[] as &[usize], &[], &[0, 1], &[0]]);
}

#[test]
fn parts_of_a_graph_are_chosen_by_what_needs_what() {
    let lab = Lab::new();
    four(&lab);
    lab.write("f/flow.yaml", DIAMOND);
    let file = FlowFile::read(&lab.path("f")).unwrap();
    let (_, flow) = file.flow(None).unwrap();
    let chosen = |from: &str, until: &str, only: &[&str]| {
        let some = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
        let selection = Selection {
            from: some(from),
            until: some(until),
            only: only.iter().map(|name| (*name).to_owned()).collect(),
        };
        selection.apply(&flow.steps).map(|wanted| {
            let mut names = flow.steps.iter().zip(wanted).filter(|(_, wanted)| *wanted);
            names.by_ref().map(|(step, _)| &step.name[..1]).collect::<String>()
        })
    };
    assert_eq!(chosen("", "", &[]).unwrap(), "abcd");
    assert_eq!(chosen("b", "", &[]).unwrap(), "bd");
    assert_eq!(chosen("", "c", &[]).unwrap(), "ac");
    assert_eq!(chosen("a", "b", &[]).unwrap(), "ab");
    assert_eq!(chosen("", "", &["b", "c"]).unwrap(), "bc");
    assert!(
        chosen("b", "c", &[])
            .unwrap_err()
            .to_string()
            .contains("c.ipynb does not need b.ipynb")
    );
    assert!(
        chosen("d", "a", &[])
            .unwrap_err()
            .to_string()
            .contains("d.ipynb comes after a.ipynb")
    );
}

#[test]
fn branches_run_side_by_side_and_values_follow_the_edges() {
    let lab = Lab::new();
    lab.notebook("f/a.ipynb", &[result("{'base': 1}")]);
    // Each of the two ends only once the other has begun.
    let meet = |own: &str, other: &str| {
        code(&format!(
            "import os, time\nopen('{own}', 'w').close()\nend = time.time() + 60\nwhile not os.path.exists('{other}'):\n    \
             assert time.time() < end\n    time.sleep(0.01)"
        ))
    };
    let declares = tagged("base = left = right = 0", &["parameters"]);
    let declares = || {
        let mut cell = declares.clone();
        cell["source"] = "base = 0\nleft = 0\nright = 0".into();
        cell
    };
    let show = || code("print(base, left, right)");
    lab.notebook(
        "f/b.ipynb",
        &[declares(), meet("b", "c"), show(), result("{'left': 2}")],
    );
    lab.notebook(
        "f/c.ipynb",
        &[declares(), meet("c", "b"), show(), result("{'right': 3}")],
    );
    lab.notebook("f/d.ipynb", &[declares(), show()]);
    lab.write("f/flow.yaml", DIAMOND);
    let run = lab
        .run(&["f", "o", "--jobs", "2", "--events", "e.jsonl", "--log-output"])
        .expect(0);
    assert!(run.stderr.contains("b.ipynb │ 1 0 0"), "{}", run.stderr);
    assert!(run.stderr.contains("c.ipynb  cell 2/"), "{}", run.stderr);
    assert_eq!(stream(&lab.read("o/d.ipynb"), 2), "1 2 3\n");
    assert_eq!(stream(&lab.read("o/c.ipynb"), 3), "1 0 0\n");
    let events = events(&lab, "e.jsonl");
    let order = |kind: &str, name: &str| at(&events, kind, name);
    for branch in ["b.ipynb", "c.ipynb"] {
        assert!(order("notebook_finished", "a.ipynb") < order("notebook_started", branch));
        assert!(order("notebook_finished", branch) < order("notebook_started", "d.ipynb"));
    }
    let later = order("notebook_started", "b.ipynb").max(order("notebook_started", "c.ipynb"));
    let first = order("notebook_finished", "b.ipynb").min(order("notebook_finished", "c.ipynb"));
    assert!(later < first, "one branch ended before the other began");
    let named = |event: &&Value| event["event"] == "output" || event["event"] == "cell_started";
    assert!(events.iter().filter(named).all(|event| event["name"].is_string()));
    let page = lab.text("o/report.html");
    let arrows = page.matches("class=\"line\"").count();
    assert_eq!(arrows, 4, "the picture has {arrows} lines");
    lab.assert_clean();
}

#[test]
fn one_job_runs_one_notebook_at_a_time() {
    let lab = Lab::new();
    four(&lab);
    lab.write(
        "f/flow.yaml",
        "schema: 1\nflows:\n  main:\n    steps: [{notebook: a.ipynb, needs: []}, {notebook: b.ipynb, needs: []}]\n",
    );
    lab.run(&["f", "o", "-j", "1", "--events", "e.jsonl"]).expect(0);
    let seen: Vec<String> = events(&lab, "e.jsonl")
        .iter()
        .filter(|event| event["event"].as_str().unwrap().starts_with("notebook_"))
        .map(|event| {
            format!(
                "{} {}",
                event["event"].as_str().unwrap(),
                event["name"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            "notebook_started a.ipynb",
            "notebook_finished a.ipynb",
            "notebook_started b.ipynb",
            "notebook_finished b.ipynb"
        ]
    );
}

#[test]
fn a_failing_branch_leaves_the_other_alone() {
    let lab = Lab::new();
    four(&lab);
    lab.notebook("f/b.ipynb", &[code("1/0")]);
    lab.notebook("f/e.ipynb", &[code("print('tidy')")]);
    lab.write(
        "f/flow.yaml",
        format!("{DIAMOND}      - {{notebook: e.ipynb, needs: [b], always: true}}\n"),
    );
    let run = lab.run(&["f", "o", "--json", "--junit", "j.xml"]).expect(1);
    let json: Value = serde_json::from_str(&run.stdout).unwrap();
    let status: Vec<&str> = json["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["status"].as_str().unwrap())
        .collect();
    assert_eq!(status, ["completed", "failed", "completed", "skipped", "completed"]);
    let junit = lab.text("j.xml");
    assert_eq!(junit.matches("<testsuite ").count(), 5);
    assert_eq!(junit.matches("<failure ").count(), 1);
    assert_eq!(junit.matches("<skipped/>").count(), 1);
}

#[test]
fn one_notebook_may_be_several_steps() {
    let lab = Lab::new();
    let measure = [
        tagged("region = ''\nfail = False", &["parameters"]),
        code(
            "from IPython.display import display\ndisplay({'application/vnd.tmplrun.result+json': {region: 1}}, raw=True)",
        ),
        code("assert not fail"),
        code("print(region)"),
    ];
    lab.notebook("f/010-measure.ipynb", &measure);
    lab.notebook(
        "f/020-all.ipynb",
        &[tagged("eu = 0\nus = 0", &["parameters"]), code("print(eu, us)")],
    );
    let flow = |fail: &str| {
        format!(
            "schema: 1\nflows:\n  main:\n    steps:\n      - 010-measure.ipynb\n      \
             - {{notebook: 010-measure.ipynb, name: 011-eu, needs: [], parameters: {{region: eu}}}}\n      \
             - {{notebook: 010-measure.ipynb, name: part/us.ipynb, needs: [\"010\"], parameters: {{region: us, fail: {fail}}}}}\n      \
             - {{notebook: 020-all.ipynb, needs: [011-eu, part/us]}}\n"
        )
    };
    lab.write("f/flow.yaml", flow("true"));
    let shown = lab.run(&["f", "--dry-run", "--only", "011"]).expect(0).stdout;
    assert!(shown.contains("run   011-eu.ipynb (010-measure.ipynb)"), "{shown}");
    assert!(shown.contains("skip  010-measure.ipynb  ["), "{shown}");
    lab.run(&["f", "o", "-j", "2", "--junit", "j.xml", "--keep-kernel"])
        .expect(1)
        .says("part/us.ipynb (010-measure.ipynb), cell 4");
    assert_eq!(stream(&lab.read("o/011-eu.ipynb"), 4), "eu\n");
    assert!(!lab.path("o/020-all.ipynb").exists());
    let names: Vec<Value> = lab.read("o/run.json")["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["name"].clone())
        .collect();
    assert_eq!(
        names,
        ["010-measure.ipynb", "011-eu.ipynb", "part/us.ipynb", "020-all.ipynb"]
    );
    assert!(lab.text("j.xml").contains("<testsuite name=\"part/us.ipynb\""));
    assert!(lab.text("o/report.html").contains("part/us.ipynb (010-measure.ipynb)"));
    // What one of them came to is not taken for another's, and neither is its kernel.
    lab.write("f/flow.yaml", flow("false"));
    let run = lab.run(&["f", "o", "--resume", "--json"]).expect(0);
    let json: Value = serde_json::from_str(&run.stdout).unwrap();
    let status: Vec<&Value> = json["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| &step["status"])
        .collect();
    assert_eq!(status, ["done_before", "done_before", "completed", "completed"]);
    assert_eq!(json["steps"][2]["input"], "f/010-measure.ipynb");
    assert_eq!(stream(&lab.read("o/part/us.ipynb"), 4), "us\n");
    assert_eq!(stream(&lab.read("o/020-all.ipynb"), 2), "1 1\n");
    assert!(lab.processes().is_empty());
}

#[test]
fn a_part_of_a_flow_takes_what_an_earlier_run_in_its_folder_handed_on() {
    let lab = Lab::new();
    let first = [
        tagged("size = 1", &["parameters"]),
        result("{'n': size}"),
        result("{'m': 1}"),
    ];
    lab.notebook("f/a.ipynb", &first);
    lab.notebook(
        "f/b.ipynb",
        &[tagged("n = 0\nm = 0", &["parameters"]), code("print(n, m)")],
    );
    lab.notebook("f/c.ipynb", &[code("1")]);
    lab.write(
        "f/flow.yaml",
        "schema: 1\nflows:\n  main:\n    steps: [a.ipynb, b.ipynb, c.ipynb]\n",
    );
    lab.run(&["f", "o", "-p", "size", "5"]).expect(0);
    let status = |run: &crate::lab::Run| -> Vec<String> {
        let json: Value = serde_json::from_str(&run.stdout).unwrap();
        let steps = json["steps"].as_array().unwrap();
        steps
            .iter()
            .map(|step| step["status"].as_str().unwrap().to_owned())
            .collect()
    };
    let shown = lab
        .run(&["f", "o", "-p", "size", "5", "--from", "b", "--dry-run"])
        .expect(0);
    assert!(shown.stdout.contains("n = 5  (result of a.ipynb)"), "{}", shown.stdout);
    // Again and again: the record keeps what it had.
    for _ in 0..2 {
        let run = lab
            .run(&["f", "o", "-p", "size", "5", "--only", "b", "--json"])
            .expect(0);
        assert_eq!(status(&run), ["done_before", "completed", "skipped"]);
        assert_eq!(stream(&lab.read("o/b.ipynb"), 2), "5 1\n");
    }
    // What came after it then has still to be run.
    let run = lab.run(&["f", "o", "-p", "size", "5", "--resume", "--json"]).expect(0);
    assert_eq!(status(&run), ["done_before", "done_before", "completed"]);
    // Another run's results are not this one's.
    let run = lab
        .run(&["f", "o", "-p", "size", "6", "--from", "b", "--json"])
        .expect(0)
        .says("what is left of an earlier run is not handed on")
        .says("`size` was 5, now 6");
    assert_eq!(status(&run), ["skipped", "completed", "completed"]);
    assert_eq!(stream(&lab.read("o/b.ipynb"), 1), "0 0\n");
    // A folder that is new has nothing to hand on.
    let run = lab.run(&["f", "p", "--from", "b", "--json"]).expect(0);
    assert_eq!(status(&run), ["skipped", "completed", "completed"]);
}

#[test]
fn branches_that_disagree_about_a_value_are_named() {
    let lab = Lab::new();
    four(&lab);
    lab.notebook("f/b.ipynb", &[result("{'n': 1}")]);
    lab.notebook("f/c.ipynb", &[result("{'n': 2}")]);
    lab.notebook("f/d.ipynb", &[tagged("n = 0", &["parameters"]), code("print(n)")]);
    lab.write("f/flow.yaml", DIAMOND);
    lab.run(&["f", "o"])
        .expect(1)
        .says("d.ipynb gets `n` from b.ipynb and from c.ipynb, with different values")
        .says("-p n VALUE");
    // Now it is known before anything runs.
    lab.run(&["f", "o", "--resume"])
        .expect(2)
        .says("d.ipynb gets `n` from b.ipynb and from c.ipynb");
    lab.run(&["f", "o", "--resume", "--new-parameters", "-p", "n", "7"])
        .expect(0);
    assert_eq!(stream(&lab.read("o/d.ipynb"), 2), "7\n");
}

#[test]
fn a_dry_run_shows_the_graph_and_where_values_come_from() {
    let lab = Lab::new();
    four(&lab);
    lab.notebook(
        "f/d.ipynb",
        &[tagged("n = 0\nm = 1", &["parameters"]), code("print(n)")],
    );
    lab.write("f/flow.yaml", DIAMOND);
    let shown = lab.run(&["f", "--dry-run", "-p", "m", "5"]).expect(0).stdout;
    let picture = "●    a.ipynb\n├─╮\n● │  b.ipynb\n│ ●  c.ipynb\n├─╯\n●    d.ipynb\n";
    assert!(shown.starts_with(picture), "{shown}");
    for line in [
        "n = 0  (default)",
        "m = 5  (given)",
        "results of a.ipynb, b.ipynb, c.ipynb replace defaults",
    ] {
        assert!(shown.contains(line), "{line} is not in:\n{shown}");
    }
    let json = lab.run(&["f", "--dry-run", "--json", "-p", "m", "5"]).expect(0).stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["steps"][3]["needs"], serde_json::json!(["b.ipynb", "c.ipynb"]));
    assert_eq!(
        json["steps"][3]["sources"],
        serde_json::json!({"n": "default", "m": "given"})
    );
}

#[test]
fn the_last_output_of_a_cell_tagged_result_is_handed_on() {
    let lab = Lab::new();
    let text = tagged(
        "print('working')\nprint('{\"n\": 12345678901234567890, \"who\": \"me\"}')",
        &["result"],
    );
    lab.notebook("f/a.ipynb", &[text, tagged("5", &["result"])]);
    lab.notebook(
        "f/b.ipynb",
        &[tagged("n = 0\nwho = ''", &["parameters"]), code("print(n, who)")],
    );
    lab.write(
        "f/flow.yaml",
        "schema: 1\nflows:\n  main:\n    steps: [a.ipynb, b.ipynb]\n",
    );
    lab.run(&["f", "o"])
        .expect(0)
        .says("cell 2 is tagged `result`, but its last output is no JSON object");
    assert_eq!(stream(&lab.read("o/b.ipynb"), 2), "12345678901234567890 me\n");
}
