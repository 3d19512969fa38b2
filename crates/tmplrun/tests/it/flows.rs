//! Flow files, selections, and flows with kernels.

use tmplrun::flow::{FlowFile, Selection};

use crate::lab::{Lab, code, stream, tagged, text};

const HEAD: &str = "schema: 1\nflows:\n  main:\n    steps:\n";

fn lab() -> Lab {
    let lab = Lab::new();
    for name in ["010-a.ipynb", "020-b.ipynb", "0201-c.ipynb"] {
        lab.notebook(&format!("f/{name}"), &[code("1")]);
    }
    lab
}

#[test]
fn faults_are_named_with_their_line() {
    let lab = lab();
    let cases = [
        ("", "schema"),
        (
            "schema: 2\nflows: {}\nnew: 1\n",
            "flow.yaml:1: schema 2 of flow files is not known",
        ),
        ("flows: {}\n", "does not say its schema"),
        ("schema: 1\nflows: {}\n", "no flows"),
        ("schema: 1\nflows:\n  main:\n    step: []\n", "flow.yaml:4"),
        (
            "schema: 1\nextra: 1\nflows:\n  main:\n    steps: [010-a.ipynb]\n",
            "flow.yaml:2",
        ),
        (
            "schema: 1\nflows:\n  main:\n    steps: []\n",
            "flow.yaml:4: the flow `main` has no steps",
        ),
        (
            "schema: 1\ndefault: other\nflows:\n  main:\n    steps: [010-a.ipynb]\n",
            "flow.yaml:2: the default flow `other`",
        ),
        (
            "schema: 1\nflows:\n  a:\n    steps: [010-a.ipynb]\n  b:\n    steps: [010-a.ipynb]\n",
            "none is the default",
        ),
        (
            &format!("{HEAD}      - 010-a.ipynb\n      - 999.ipynb\n"),
            "flow.yaml:6: the notebook `999.ipynb` does not exist",
        ),
        (
            &format!("{HEAD}      - 010-a.ipynb\n      - notebook: 010-a.ipynb\n"),
            "flow.yaml:6: two steps of the flow `main` are called `010-a.ipynb`",
        ),
        (
            &format!("{HEAD}      - notebook: 010-a.ipynb\n        alway: true\n"),
            "flow.yaml:5: a step has no key `alway`",
        ),
        (
            &format!("{HEAD}      - 010-a.ipynb\n      - {{notebook: 020-b.ipynb, name: 010-a}}\n"),
            "flow.yaml:6: two steps of the flow `main` are called `010-a.ipynb`",
        ),
        (
            &format!("{HEAD}      - {{notebook: 010-a.ipynb, name: ../eu}}\n"),
            "flow.yaml:5: `../eu` cannot be a step's name",
        ),
        (
            &format!("{HEAD}      - {{notebook: 010-a.ipynb, name: ''}}\n"),
            "flow.yaml:5: `` cannot be a step's name",
        ),
        (
            &format!("{HEAD}      - {{notebook: 010-a.ipynb, name: 2026}}\n"),
            "flow.yaml:5: a step's `name` must be text",
        ),
        (
            &format!("{HEAD}      - notebook: 010-a.ipynb\n        always: 3\n"),
            "`always` must be true or false",
        ),
        (
            &format!("{HEAD}      - notebook: 010-a.ipynb\n        parameters: 3\n"),
            "`parameters` must map",
        ),
        (
            &format!("{HEAD}      - ../f/010-a.ipynb\n"),
            "flow.yaml:5: the notebook `../f/010-a.ipynb` is not below",
        ),
        (&format!("{HEAD}      - 5\n"), "a step is the name of a notebook"),
        (
            &format!("{HEAD}      - parameters: {{}}\n"),
            "a step needs `notebook: FILE`",
        ),
        (
            "schema: 1\nflows:\n  main:\n    steps: [010-a.ipynb\n",
            "the flow file is wrong",
        ),
    ];
    for (yaml, expected) in cases {
        lab.write("f/flow.yaml", yaml);
        let error = FlowFile::read(&lab.path("f")).unwrap_err().to_string();
        assert!(error.contains(expected), "{yaml}\n{error:?} lacks {expected:?}");
    }
    std::fs::remove_file(lab.path("f/flow.yaml")).unwrap();
    assert!(
        FlowFile::read(&lab.path("f"))
            .unwrap_err()
            .to_string()
            .contains("cannot be read")
    );
}

#[test]
fn values_mean_what_they_mean_as_parameters() {
    let lab = lab();
    let values = "{a: 1:30, b: 1e5, c: 010, d: yes, e: 2026-01-02, f: [1.0e+5, {g: off}], h: '1:30'}";
    lab.write(
        "f/flow.yaml",
        format!("{HEAD}      - 020-b.ipynb\n      - {{notebook: 010-a.ipynb, parameters: {values}}}\n"),
    );
    let file = FlowFile::read(&lab.path("f")).unwrap();
    let given = tmplrun::parameters::RawParameters {
        yaml: vec![values.to_owned()],
        ..Default::default()
    };
    let (given, (_, flow)) = (given.resolve().unwrap(), file.flow(None).unwrap());
    assert_eq!(flow.steps[1].parameters.len(), 7);
    for (name, value) in given.iter() {
        assert_eq!(flow.steps[1].parameters.get(&name), Some(value), "{name}");
    }
    assert_eq!(given.get("a").map(|a| a.to_compact()).as_deref(), Some("90"));
}

#[test]
fn steps_are_chosen_by_number_or_name() {
    let lab = lab();
    lab.write(
        "f/flow.yaml",
        format!("{HEAD}      - 010-a.ipynb\n      - 020-b.ipynb\n      - 0201-c.ipynb\n"),
    );
    let file = FlowFile::read(&lab.path("f")).unwrap();
    let (name, flow) = file.flow(None).unwrap();
    assert_eq!(name, "main");
    let some = |name: &str| Some(name.to_owned());
    let chosen = |selection: &Selection| selection.apply(&flow.steps);
    assert_eq!(chosen(&Selection::default()).unwrap(), [true, true, true]);
    assert_eq!(
        chosen(&Selection {
            from: some("020"),
            ..Selection::default()
        })
        .unwrap(),
        [false, true, true]
    );
    assert_eq!(
        chosen(&Selection {
            until: some("020-b"),
            ..Selection::default()
        })
        .unwrap(),
        [true, true, false]
    );
    let only = Selection {
        only: vec!["0201".to_owned()],
        ..Selection::default()
    };
    assert_eq!(chosen(&only).unwrap(), [false, false, true]);
    assert!(
        chosen(&Selection {
            from: some("999"),
            ..Selection::default()
        })
        .is_err()
    );
    assert!(
        chosen(&Selection {
            from: some("020"),
            until: some("010"),
            ..Selection::default()
        })
        .is_err()
    );
    assert!(
        file.flow(Some("other"))
            .unwrap_err()
            .help_text()
            .unwrap()
            .contains("main")
    );
}

fn handing_on(lab: &Lab) {
    let result = "from IPython.display import display\ndisplay({'application/vnd.tmplrun.result+json': \
                  {'address': '10.0.0.1', 'unused': 1}}, raw=True)";
    lab.notebook(
        "f/010-a.ipynb",
        &[text("# First"), tagged("size = 1", &["parameters"]), code(result)],
    );
    lab.notebook(
        "f/020-b.ipynb",
        &[
            tagged("address = None\nsize = 1\nplace = ''", &["parameters"]),
            code("print(address, size, place)"),
        ],
    );
    lab.write(
        "f/flow.yaml",
        format!(
            "{HEAD}      - 010-a.ipynb\n      - notebook: 020-b.ipynb\n        parameters: {{place: here, size: 3}}\n"
        ),
    );
}

#[test]
fn results_become_parameters_of_later_notebooks() {
    let lab = Lab::new();
    handing_on(&lab);
    lab.run(&["f", "o", "-p", "size", "5", "--json"])
        .expect(0)
        .says("completed");
    assert_eq!(stream(&lab.read("o/020-b.ipynb"), 2), "10.0.0.1 5 here\n");
    assert!(lab.text("o/report.html").contains("<svg"));
    lab.assert_clean();
}

#[test]
fn a_dry_run_shows_steps_and_parameters_and_does_nothing() {
    let lab = Lab::new();
    handing_on(&lab);
    let shown = lab
        .run(&["f", "--dry-run", "-p", "size", "5", "--only", "020"])
        .expect(0);
    assert!(shown.stdout.contains("skip  010-a.ipynb  First") && shown.stdout.contains("run   020-b.ipynb"));
    assert!(
        shown.stdout.contains("size = 5") && shown.stdout.contains("address = None  (default)"),
        "{}",
        shown.stdout
    );
    assert!(!lab.path("out").exists());
    let json = lab.run(&["f", "--dry-run", "--json"]).expect(0);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["steps"][1]["parameters"]["place"], "here");
}

#[test]
fn after_a_failure_only_clean_up_steps_run() {
    let lab = Lab::new();
    lab.notebook("f/1.ipynb", &[code("1/0")]);
    lab.notebook("f/2.ipynb", &[code("1")]);
    lab.notebook("f/3.ipynb", &[code("print('tidy')")]);
    lab.write(
        "f/flow.yaml",
        format!("{HEAD}      - 1.ipynb\n      - 2.ipynb\n      - notebook: 3.ipynb\n        always: true\n"),
    );
    let run = lab
        .run(&["f", "--junit", "j.xml", "--json"])
        .expect(1)
        .says("ZeroDivisionError");
    let result: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let status: Vec<&str> = result["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["status"].as_str().unwrap())
        .collect();
    assert_eq!(status, ["failed", "skipped", "completed"]);
    assert_eq!(stream(&lab.read("out/latest/3.ipynb"), 0), "tidy\n");
    assert!(!lab.path("out/latest/2.ipynb").exists());
    assert!(
        lab.text("j.xml").contains("<skipped/>") && lab.text("j.xml").contains("<failure type=\"ZeroDivisionError\"")
    );
    let report = lab.text("out/latest/report.html");
    assert!(report.find("class=\"failure\"").unwrap() < report.find("<svg").unwrap());
    lab.run(&["f", "f"]).expect(2).says("the notebooks would be replaced");
    lab.run(&["f", "-p", "nobody", "1", "--strict"])
        .expect(2)
        .says("no notebook that runs declares the parameter `nobody`");
}
