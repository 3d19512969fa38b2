//! Outputs that are not kept in memory: the notebook has all of them.

use crate::lab::{Lab, code, stream};

#[test]
fn outputs_that_were_put_away_are_all_in_the_notebook() {
    let lab = Lab::new();
    let many = "from IPython.display import display\nhandle = display('first', display_id=True)\n\
                for i in range(4000): display(f'{i} ' + 'é' * 60)\nhandle.update('changed')";
    let long = "import sys\nfor i in range(30000): print(i, 'y' * 20)\nprint('a\\rb')\nprint('to error', file=sys.stderr)\n\
                display('between')\nprint('last')";
    let cleared = "from IPython.display import clear_output\nfor i in range(3000): display('z' * 90)\nclear_output()\nprint('only')";
    lab.notebook(
        "n.ipynb",
        &[
            code(many),
            code(long),
            code(cleared),
            code("handle.update('changed again')"),
            code("print('x' * 300_000)"),
            code("1"),
        ],
    );
    lab.run(&["n.ipynb", "o.ipynb", "--autosave-cell-every", "1", "--report", "r.html"])
        .expect(0);
    let notebook = lab.read("o.ipynb");
    let outputs = |cell: usize| notebook["cells"][cell]["outputs"].as_array().unwrap().clone();
    let shown = |output: &serde_json::Value| output["data"]["text/plain"][0].as_str().unwrap().to_owned();
    let first = outputs(0);
    assert_eq!(first.len(), 4001);
    assert_eq!(shown(&first[0]), "'changed again'");
    for (index, output) in first[1..].iter().enumerate() {
        assert_eq!(shown(output), format!("'{index} {}'", "é".repeat(60)));
    }
    let expected: String = (0..30000)
        .map(|index| format!("{index} {}\n", "y".repeat(20)))
        .collect();
    let second = outputs(1);
    assert_eq!(second.len(), 4, "two streams, the display, and a stream after it");
    let lines: String = second[0]["text"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line.as_str().unwrap())
        .collect();
    assert_eq!(lines, expected + "b\n");
    assert_eq!(
        (&second[1]["name"], shown(&second[2])),
        (&"stderr".into(), "'between'".to_owned())
    );
    assert_eq!(second[3]["text"], serde_json::json!(["last\n"]));
    assert_eq!(stream(&notebook, 2), "only\n");
    assert_eq!(stream(&notebook, 4).len(), 300_001);
    // Both are there, and nothing else: the file that held them has no name.
    let mut names: Vec<_> = std::fs::read_dir(lab.path("."))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["n.ipynb", "o.ipynb", "r.html"]);
    let report = std::fs::read_to_string(lab.path("r.html")).unwrap();
    assert!(report.contains("3999 éé") && report.contains("6500 yy"));
}

#[test]
fn a_secret_that_is_told_late_is_masked_in_what_was_put_away() {
    let lab = Lab::new();
    let secret = "correct-horse-battery";
    let many = format!(
        "from IPython.display import display\nfor i in range(4000): display('{secret} ' + 'x' * 60)\n\
         for i in range(20000): print('{secret}')"
    );
    let tell = format!(
        "import json, os, socket\ns = socket.socket(socket.AF_UNIX)\ns.connect(os.environ['TMPLRUN_MASK'])\n\
         f = s.makefile('rw')\nf.write(json.dumps({{'mask': '{secret}'}}) + '\\n'); f.flush()\nassert f.readline() == 'ok\\n'"
    );
    lab.notebook("n.ipynb", &[code(&many), code(&tell), code("print('done')")]);
    lab.run(&["n.ipynb", "o.ipynb"]).expect(0);
    let notebook = lab.read("o.ipynb");
    assert_eq!(notebook["cells"][0]["outputs"].as_array().unwrap().len(), 4001);
    assert!(!notebook["cells"][0]["outputs"].to_string().contains(secret));
}
