//! What papermill itself made of values, texts and paths, as `tests/papermill/make.py` wrote it down.

use std::path::{Path, PathBuf};

use tmplrun::json::{Json, Object, parse};
use tmplrun::notebook::Notebook;
use tmplrun::parameters::{BuiltIn, RawParameters, declared, template, translator, typed};

fn table(name: &str) -> Vec<Json> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/papermill", name].iter().collect();
    let text = std::fs::read_to_string(path).unwrap();
    let Json::Array(rows) = parse(&text).unwrap() else {
        panic!("{name} is no list")
    };
    assert!(rows.items.len() > 10, "{name}");
    rows.items
}

/// A row that is a text, and what became of it: nothing if it was refused.
fn pair(row: &Json) -> (String, Option<Json>) {
    let row = row.as_array().unwrap();
    (row[0].as_str().unwrap().into_owned(), row.get(1).cloned())
}

fn text(row: &Json, key: &str) -> Option<String> {
    row.get(key).map(|value| value.as_str().unwrap().into_owned())
}

fn object(value: &Json) -> Object {
    value.as_object().unwrap().clone()
}

/// What papermill writes there is no number in the language: the cell would fail.
const NOT_FINITE: &[(&str, [(&str, &str); 4])] = &[
    ("r", R_NUMBERS),
    ("sparkr", R_NUMBERS),
    ("scala", SCALA_NUMBERS),
    ("spark", SCALA_NUMBERS),
    (
        "julia",
        [
            ("nan = nan", "nan = NaN"),
            ("inf = inf", "inf = Inf"),
            ("minusinf = -inf", "minusinf = -Inf"),
            ("not_finite = [nan, inf, -inf]", "not_finite = [NaN, Inf, -Inf]"),
        ],
    ),
    (
        "matlab",
        [
            ("nan = nan;", "nan = NaN;"),
            ("inf = inf;", "inf = Inf;"),
            ("minusinf = -inf;", "minusinf = -Inf;"),
            ("not_finite = {nan, inf, -inf};", "not_finite = {NaN, Inf, -Inf};"),
        ],
    ),
    (
        "csharp",
        [
            ("var nan = nan;", "var nan = double.NaN;"),
            ("var inf = inf;", "var inf = double.PositiveInfinity;"),
            ("var minusinf = -inf;", "var minusinf = double.NegativeInfinity;"),
            (
                "var not_finite = new [] { nan, inf, -inf };",
                "var not_finite = new [] { double.NaN, double.PositiveInfinity, double.NegativeInfinity };",
            ),
        ],
    ),
    (
        "fsharp",
        [
            ("let nan = nan", "let nan = nan"),
            ("let inf = inf", "let inf = infinity"),
            ("let minusinf = -inf", "let minusinf = -infinity"),
            (
                "let not_finite = [ nan; inf; -inf ]",
                "let not_finite = [ nan; infinity; -infinity ]",
            ),
        ],
    ),
];

const R_NUMBERS: [(&str, &str); 4] = [
    ("nan = nan", "nan = NaN"),
    ("inf = inf", "inf = Inf"),
    ("minusinf = -inf", "minusinf = -Inf"),
    ("not_finite = list(nan, inf, -inf)", "not_finite = list(NaN, Inf, -Inf)"),
];

const SCALA_NUMBERS: [(&str, &str); 4] = [
    ("val nan = nan", "val nan = Double.NaN"),
    ("val inf = inf", "val inf = Double.PositiveInfinity"),
    ("val minusinf = -inf", "val minusinf = Double.NegativeInfinity"),
    (
        "val not_finite = Seq(nan, inf, -inf)",
        "val not_finite = Seq(Double.NaN, Double.PositiveInfinity, Double.NegativeInfinity)",
    ),
];

#[test]
fn injected_cells_are_papermills_to_the_byte() {
    let languages = [
        "python",
        "r",
        "scala",
        "julia",
        "matlab",
        "csharp",
        "fsharp",
        "powershell",
        "pyspark",
        "spark",
        "sparkr",
        "bash",
    ];
    for language in languages {
        let rows = table(&format!("cells/{language}.json"));
        let (first, rows) = rows.split_first().unwrap();
        let translator = translator(&text(first, "kernel").unwrap(), &text(first, "language").unwrap()).unwrap();
        let own = NOT_FINITE
            .iter()
            .find(|(name, _)| *name == language)
            .map(|(_, own)| own);
        let mut replaced = 0;
        for row in rows {
            let parameters = object(row.get("parameters").unwrap());
            let ours = translator.cell(&parameters, "Parameters");
            let shown = Json::Object(parameters).to_compact();
            let Some(mut expected) = text(row, "cell") else {
                let error = ours.expect_err(&format!("{language}: papermill refuses {shown}"));
                assert!(error.to_string().contains("has no literal for"), "{error}");
                assert!(error.help_text().is_some());
                continue;
            };
            for (theirs, ours) in own.into_iter().flatten() {
                let line = expected.lines().nth(1).unwrap_or_default().to_owned();
                if line == *theirs {
                    expected = expected.replace(theirs, ours);
                    replaced += 1;
                }
            }
            assert_eq!(ours.unwrap(), expected, "{language}: {shown}");
        }
        assert_eq!(replaced, own.map_or(0, |own| own.len()), "{language}");
    }
}

#[test]
fn texts_get_papermills_types() {
    for row in table("typed.json") {
        let (text, expected) = pair(&row);
        assert_eq!(typed(&text).to_compact(), expected.unwrap().to_compact(), "{text:?}");
    }
}

/// What only one of the two readers takes; nobody's parameters turn on it.
const READ_ONLY_BY_ONE: &[&str] = &[
    // A tag that YAML 1.1 has for a lone `=`, and Python's reader no value for.
    "v: =\n",
];

#[test]
fn yaml_is_read_as_papermill_reads_it() {
    for row in table("yaml.json") {
        let (text, expected) = pair(&row);
        if READ_ONLY_BY_ONE.contains(&text.as_str()) {
            continue;
        }
        let raw = RawParameters {
            yaml: vec![text.clone()],
            ..RawParameters::default()
        };
        match (raw.resolve(), expected) {
            (Ok(found), Some(expected)) => {
                assert_eq!(Json::Object(found).to_compact(), expected.to_compact(), "{text:?}");
            }
            (Err(_), None) => {}
            (Ok(found), None) => panic!(
                "papermill refuses {text:?}, here it is {}",
                Json::Object(found).to_compact()
            ),
            (Err(error), Some(expected)) => panic!("{text:?} is {}, not: {error}", expected.to_compact()),
        }
    }
}

fn built_in() -> BuiltIn {
    BuiltIn {
        run_uuid: "9cbc8a5d-5e5c-4d2c-8a2a-0f4c9ae0b6f1".to_owned(),
        now: "2026-03-04T15:06:07.000089+09:00[Asia/Tokyo]".parse().unwrap(),
    }
}

#[test]
fn paths_are_filled_as_papermill_fills_them() {
    let rows = table("paths.json");
    let (parameters, rows) = rows.split_first().unwrap();
    let parameters = object(parameters);
    for row in rows {
        let (path, expected) = pair(row);
        match (template(&path, &parameters, &built_in()), expected) {
            (Ok(found), Some(expected)) => assert_eq!(found, expected.as_str().unwrap(), "{path:?}"),
            (Err(_), None) => {}
            (Ok(found), None) => panic!("papermill refuses {path:?}, here it is {found:?}"),
            (Err(error), Some(expected)) => panic!("{path:?} is {}, not: {error}", expected.to_compact()),
        }
    }
}

#[test]
fn a_path_that_names_nothing_says_what_is_known() {
    let parameters = Object::new().with("alpha", 1).with("beta", "x");
    let error = template("o-{gamma}.ipynb", &parameters, &built_in()).unwrap_err();
    assert!(error.to_string().contains("names the parameter `gamma`"), "{error}");
    let help = error.help_text().unwrap();
    for known in ["alpha, beta", "run_uuid", "current_datetime_utc", "-p gamma VALUE"] {
        assert!(help.contains(known), "{help}");
    }
    let short = template("{run_uuid:.8}-{current_datetime_utc:%Y%m%d}", &parameters, &built_in()).unwrap();
    assert_eq!(short, "9cbc8a5d-20260304");
    let own = Object::new().with("run_uuid", "mine");
    assert_eq!(template("{run_uuid}", &own, &built_in()).unwrap(), "mine");
    let wrong = template("{alpha:zz}", &parameters, &built_in()).unwrap_err();
    assert!(wrong.to_string().contains("`zz` is no format"), "{wrong}");
}

#[test]
fn declared_parameters_are_those_that_papermill_infers() {
    for row in table("declared.json") {
        let (source, expected) = pair(&row);
        let cell = serde_json::json!({"cell_type": "code", "metadata": {"tags": ["parameters"]}, "outputs": [],
            "source": source});
        let notebook = format!("{{\"cells\": [{cell}], \"metadata\": {{}}, \"nbformat\": 4, \"nbformat_minor\": 5}}");
        let notebook = Notebook::read(notebook.as_bytes(), Path::new("n.ipynb")).unwrap();
        let found: Vec<[String; 4]> = declared(&notebook, "python")
            .unwrap()
            .into_iter()
            .map(|each| {
                let kind = each.kind.unwrap_or_else(|| "None".to_owned());
                [each.name, kind, each.default, each.help.unwrap_or_default()]
            })
            .collect();
        let mut expected = expected.unwrap().to_compact();
        // Papermill takes the end of this text for a comment.
        if source == "a = 'a # b'" {
            expected = r#"[["a", "None", "'a # b'", ""]]"#.to_owned();
        }
        let found = parse(&serde_json::to_string(&found).unwrap()).unwrap().to_compact();
        assert_eq!(
            found.replace(",\"", ", \""),
            expected.replace(",\"", ", \""),
            "{source:?}"
        );
    }
}
