//! The same cells under evcxr's own kernel, `evcxr_jupyter`: what comes out is the same, but for what the documentation lists.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::client::{Cell, Client, PROGRAM, Transport};

/// Cells whose outputs are compared, each under a name for the report. Later ones use what earlier ones have made.
const CELLS: [(&str, &str); 20] = [
    ("an expression", "40 + 2"),
    ("a variable", "let mut total = vec![1, 2];\ntotal.push(3);\ntotal"),
    ("nothing to show", "let quiet = total.len();"),
    (
        "printed lines",
        "for line in 0..3 {\n    println!(\"line {line}, 行\");\n}",
    ),
    ("standard error", "eprintln!(\"to standard error\");"),
    (
        "both, and a value",
        "println!(\"printed\");\neprintln!(\"warned\");\nquiet * 2",
    ),
    (
        "definitions",
        "#[derive(Debug, Clone)]\nstruct Point { x: i32, y: i32 }\nimpl Point {\n    fn sum(&self) -> i32 { self.x + self.y }\n}\n\
         fn twice(point: &Point) -> Point { Point { x: point.x * 2, y: point.y * 2 } }",
    ),
    (
        "a value of an own type",
        "let point = Point { x: 1, y: 2 };\ntwice(&point)",
    ),
    ("its method", "twice(&point).sum()"),
    (
        "another kind of content",
        "println!(\"EVCXR_BEGIN_CONTENT text/html\\n<b>bold</b>\\nEVCXR_END_CONTENT\");",
    ),
    (
        "two kinds of content",
        "println!(\"EVCXR_BEGIN_CONTENT text/plain\\nplain\\nEVCXR_END_CONTENT\");\n\
         println!(\"EVCXR_BEGIN_CONTENT text/html\\n<i>rich</i>\\nEVCXR_END_CONTENT\");",
    ),
    (
        "a type that displays itself",
        "impl Point {\n    pub fn evcxr_display(&self) {\n        \
         println!(\"EVCXR_BEGIN_CONTENT text/html\\n<p>{}</p>\\nEVCXR_END_CONTENT\", self.sum());\n    }\n}\npoint.clone()",
    ),
    ("a type error", "let number: i32 = \"text\";"),
    ("two errors", "no_such_function();\nlet other: bool = 5;"),
    ("an error of syntax", "let broken = (1, 2;"),
    (
        "a borrow error",
        "let one = &mut total;\nlet other = &mut total;\none.push(1);\nother.push(2);",
    ),
    ("after errors", "total.iter().sum::<i32>()"),
    ("a command", ":opt 0"),
    ("variables", ":vars"),
    ("an unknown command", ":no_such_command"),
];

/// What a reader of the notebook sees of a cell: streams whole, since how they are cut is chance, values, and errors with what is
/// said about them. Cells are numbered from 2 by evcxr's own kernel.
#[derive(Debug, PartialEq)]
struct Seen {
    streams: BTreeMap<String, String>,
    results: Vec<Value>,
    errors: Vec<(Value, Value, String)>,
    status: Value,
}

fn seen(cell: &Cell) -> Seen {
    let mut streams: BTreeMap<String, String> = BTreeMap::new();
    for (name, text) in &cell.streams {
        streams.entry(name.clone()).or_default().push_str(text);
    }
    let number = cell.input["execution_count"].to_string();
    let error = |error: &Value| {
        let lines = error["traceback"].as_array().unwrap().iter();
        let text: Vec<&str> = lines.filter_map(Value::as_str).collect();
        let text = text.join("\n").replace(&format!("command_{number}"), "command_N");
        (error["ename"].clone(), error["evalue"].clone(), text)
    };
    Seen {
        streams,
        results: cell.results.clone(),
        errors: cell.errors.iter().map(error).collect(),
        status: cell.reply["status"].clone(),
    }
}

/// `:vars` lists a hash map, in another order each time: its lines, and the rows of its table, sorted.
fn in_order(results: &mut [Value]) {
    for (kind, between) in [("text/plain", "\n"), ("text/html", "<tr>")] {
        for result in results.iter_mut() {
            if let Some(Value::String(text)) = result.get_mut(kind) {
                let mut parts: Vec<&str> = text.split(between).collect();
                parts.sort_unstable();
                *text = parts.join(between);
            }
        }
    }
}

#[tokio::test]
#[ignore = "needs evcxr's own kernel, named in EVCXR_JUPYTER: ci/rust-kernel compare"]
async fn cells_show_what_they_show_in_evcxrs_own_kernel() {
    let theirs = std::env::var_os("EVCXR_JUPYTER").expect("EVCXR_JUPYTER is set");
    let theirs = [theirs.as_os_str(), "--control_file".as_ref()];
    let mut theirs = Client::start_program(&theirs, &Transport::Tcp, &[]).await;
    let mut ours = Client::start_program(&[PROGRAM.as_ref(), "-f".as_ref()], &Transport::Tcp, &[]).await;
    let mut differ = Vec::new();
    for (name, code) in CELLS {
        let (one, other) = (theirs.run(code).await, ours.run(code).await);
        let (mut one, mut other) = (seen(&one), seen(&other));
        if code == ":vars" {
            in_order(&mut one.results);
            in_order(&mut other.results);
        }
        if one != other {
            differ.push(format!("{name}\n  evcxr_jupyter {one:#?}\n  tmplrun-rust {other:#?}"));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n\n"));
}
