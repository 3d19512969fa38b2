//! Parameters: types, precedence, languages, what a notebook declares.

use std::path::Path;

use tmplrun::json::{Json, Object};
use tmplrun::notebook::Notebook;
use tmplrun::parameters::{Injection, RawParameters, declared, inject, translator};

#[test]
fn later_sources_win() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    std::fs::write(&file, "a: file\nb: file\nc: file\nd: file\n").unwrap();
    let raw = RawParameters {
        // {a: base64, z: 010, when: 2020-01-01, yes: yes}
        base64: vec!["e2E6IGJhc2U2NCwgejogMDEwLCB3aGVuOiAyMDIwLTAxLTAxLCB5OiB5ZXN9".to_owned()],
        files: vec![file.into()],
        yaml: vec!["{b: yaml, c: yaml, d: yaml}".to_owned()],
        typed: vec![("c".to_owned(), "1".to_owned()), ("d".to_owned(), "1".to_owned())],
        raw: vec![("d".to_owned(), "1".to_owned())],
    };
    let all = Json::Object(raw.resolve().unwrap()).to_compact();
    assert_eq!(
        all,
        "{\"a\": \"file\", \"z\": 8, \"when\": \"2020-01-01\", \"y\": true, \"b\": \"yaml\", \"c\": 1, \"d\": \"1\"}"
    );
}

#[test]
fn yaml_that_is_no_mapping_is_refused() {
    for yaml in ["[1, 2]", "text", "a: [", "a: 1\n b: 2"] {
        let raw = RawParameters {
            yaml: vec![yaml.to_owned()],
            ..RawParameters::default()
        };
        assert!(raw.resolve().is_err(), "{yaml:?}");
    }
    let raw = RawParameters {
        base64: vec!["???".to_owned()],
        ..RawParameters::default()
    };
    assert!(raw.resolve().unwrap_err().to_string().contains("not base64"));
}

fn sample() -> Object {
    let Json::Object(object) = tmplrun::json::parse(
        r#"{"n": null, "t": true, "i": -3, "x": 1.5, "s": "a\"b\\c\né😀", "l": [1, "two", null], "m": {"k": 1}, "nan": NaN}"#,
    )
    .unwrap() else {
        panic!("an object")
    };
    object
}

#[test]
fn each_language_writes_its_own() {
    let python = translator("python3", "python")
        .unwrap()
        .cell(&sample(), "Parameters")
        .unwrap();
    assert_eq!(
        python,
        "# Parameters\nn = None\nt = True\ni = -3\nx = 1.5\ns = \"a\\\"b\\\\c\\n\\xe9\\U0001f600\"\n\
         l = [1, \"two\", None]\nm = {\"k\": 1}\nnan = float('nan')\n"
    );
    let r = translator("ir", "R").unwrap().cell(&sample(), "Parameters").unwrap();
    assert!(
        r.contains("n = NULL\nt = TRUE\n")
            && r.contains("l = list(1, \"two\", NULL)\nm = list(\"k\" = 1)\nnan = NaN\n")
    );
    let mut alike = sample();
    alike.remove("l");
    let rust = translator("rust", "rust").unwrap().cell(&alike, "Parameters").unwrap();
    assert!(rust.starts_with("// Parameters\nlet n = None::<String>;\nlet t = true;\nlet i = -3;\nlet x = 1.5;\n"));
    let mut plain = sample();
    plain.remove("m");
    let bash = translator("bash", "bash").unwrap().cell(&plain, "Parameters").unwrap();
    assert!(bash.starts_with("# Parameters\nn=\nt=true\ni=-3\nx=1.5\ns='a\"b\\c\né😀'\nl=(1 two )\n"));
    assert!(
        translator("bash", "bash")
            .unwrap()
            .cell(&sample(), "Parameters")
            .is_err()
    );
    assert!(translator("x", "cobol").unwrap_err().to_string().contains("cobol"));
    let odd = Object::new().with("a b", 1);
    assert!(
        translator("python3", "python")
            .unwrap()
            .cell(&odd, "Parameters")
            .is_err()
    );
}

fn notebook(cells: &str) -> Notebook {
    let text = format!("{{\"cells\": [{cells}], \"metadata\": {{}}, \"nbformat\": 4, \"nbformat_minor\": 5}}");
    Notebook::read(text.as_bytes(), Path::new("n.ipynb")).unwrap()
}

fn cell(tag: &str, source: &str) -> String {
    serde_json::json!({"cell_type": "code", "metadata": {"tags": [tag]}, "outputs": [], "source": source}).to_string()
}

#[test]
fn the_cell_goes_where_papermill_puts_it() {
    let python = translator("python3", "python").unwrap();
    let parameters = Object::new().with("x", 2);
    let order = |notebook: &Notebook| -> Vec<String> {
        notebook
            .cells()
            .map(|cell| cell.source().lines().last().unwrap_or_default().to_owned())
            .collect()
    };
    let mut after = notebook(&[cell("", "first"), cell("parameters", "x = 1"), cell("", "last")].join(","));
    assert_eq!(inject(&mut after, python, &parameters).unwrap(), Injection::After);
    assert_eq!(order(&after), ["first", "x = 1", "x = 2", "last"]);
    let again = Object::new().with("x", 3);
    assert_eq!(inject(&mut after, python, &again).unwrap(), Injection::Replaced);
    assert_eq!(order(&after), ["first", "x = 1", "x = 3", "last"]);
    let mut top = notebook(&cell("", "only"));
    assert_eq!(inject(&mut top, python, &parameters).unwrap(), Injection::Top);
    assert_eq!(order(&top), ["x = 2", "only"]);
    assert_eq!(inject(&mut top, python, &Object::new()).unwrap(), Injection::Nothing);
}

#[test]
fn declarations_are_read_over_lines_and_with_types() {
    let source = "a = 1  # how many\nb: str = 'x = 5'\nc = {\n    'k': 1,\n    'd = 3': 2,\n}\nif a:\n    hidden = 1\n\
                  d = \"\"\"\ne = 1\n\"\"\"; f = 2\ng == 1\nh = None  # type: int the best\nimport os\n";
    let found = declared(&notebook(&cell("parameters", source)), "python").unwrap();
    let names: Vec<&str> = found.iter().map(|each| each.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c", "d", "f", "h"]);
    assert_eq!(found[0].help.as_deref(), Some("how many"));
    assert_eq!(found[1].kind.as_deref(), Some("str"));
    assert_eq!(
        (found[5].kind.as_deref(), found[5].help.as_deref()),
        (Some("int"), Some("the best"))
    );
    let rust = declared(
        &notebook(&cell("parameters", "let x: i32 = 1;\nlet mut y = 2;")),
        "rust",
    )
    .unwrap();
    assert_eq!(
        rust.iter().map(|each| each.default.as_str()).collect::<Vec<_>>(),
        ["1", "2"]
    );
    let r = declared(&notebook(&cell("parameters", "x <- 1\ny.z = 2")), "R").unwrap();
    assert_eq!(
        r.iter().map(|each| each.name.as_str()).collect::<Vec<_>>(),
        ["x", "y.z"]
    );
    assert!(declared(&notebook(&cell("", "x = 1")), "python").is_none());
}
