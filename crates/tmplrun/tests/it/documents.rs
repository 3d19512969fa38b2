//! Documents keep what we do not change.

use std::path::Path;

use proptest::prelude::*;
use tmplrun::json::{self, Style};
use tmplrun::notebook::Notebook;

/// What other readers lose: numbers as written, escapes, indents, line ends, unknown keys, odd spacing.
const DOCUMENTS: &[(&str, &str)] = &[
    (
        "one space",
        "{\n \"cells\": [],\n \"metadata\": {},\n \"nbformat\": 4,\n \"nbformat_minor\": 5\n}\n",
    ),
    ("no newline at the end", "{\n  \"cells\": [],\n  \"nbformat\": 4\n}"),
    (
        "tabs",
        "{\n\t\"cells\": [\n\t\t{\n\t\t\t\"cell_type\": \"raw\"\n\t\t}\n\t],\n\t\"nbformat\": 4\n}\n",
    ),
    ("one line", "{\"cells\": [], \"metadata\": {\"a\": 1}, \"nbformat\": 4}"),
    (
        "no spaces",
        "{\"cells\":[{\"cell_type\":\"code\",\"source\":[]}],\"nbformat\":4,\"nbformat_minor\":2}\n",
    ),
    (
        "carriage returns",
        "{\r\n  \"cells\": [],\r\n  \"nbformat\": 4\r\n}\r\n",
    ),
    ("byte order mark", "\u{feff}{\n \"cells\": [],\n \"nbformat\": 4\n}\n"),
    (
        "numbers",
        "{\n \"cells\": [],\n \"metadata\": {\n  \"a\": 1.0,\n  \"b\": 1e10,\n  \"c\": 123456789012345678901234567890,\n  \
         \"d\": NaN,\n  \"e\": -Infinity,\n  \"f\": -0.10\n },\n \"nbformat\": 4\n}\n",
    ),
    (
        "strings",
        "{\n \"cells\": [],\n \"metadata\": {\n  \"a\": \"\\u00e9é\\/\\ud800\",\n  \"ü\": \"\\u2028\"\n },\n \"nbformat\": 4\n}\n",
    ),
    (
        "lists on one line, repeated keys",
        "{\n \"cells\": [],\n \"metadata\": {\n  \"tags\": [\"a\", \"b\"],\n  \"x\": 1,\n  \"x\": 2\n },\n \"nbformat\": 4\n}\n",
    ),
    (
        "unknown keys",
        "{\n \"new\": null,\n \"cells\": [\n  {\n   \"cell_type\": \"code\",\n   \"execution_count\": null,\n   \"later\": {},\n   \
         \"outputs\": [\n    {\n     \"data\": {},\n     \"execution_count\": null,\n     \"output_type\": \"execute_result\",\n     \
         \"more\": []\n    }\n   ],\n   \"source\": \"1\"\n  }\n ],\n \"nbformat\": 4,\n \"nbformat_minor\": 6\n}\n",
    ),
];

#[test]
fn unchanged_documents_come_out_byte_for_byte() {
    for (what, text) in DOCUMENTS {
        let notebook = Notebook::read(text.as_bytes(), Path::new("n.ipynb")).unwrap();
        assert_eq!(&notebook.write(), text, "{what}");
    }
}

#[test]
fn faults_have_a_place() {
    let cases: &[(&[u8], &str)] = &[
        (b"", "empty"),
        (b"   \n", "empty"),
        (b"hello", "n.ipynb:1: this is not a notebook: column 1"),
        (b"{\n \"cells\": [,]\n}", "n.ipynb:2: this is not a notebook: column 12"),
        (b"{\"cells\": [], \"nbform", "the text ends in the middle of a value"),
        (b"{\"nbformat\": 4}", "no list of `cells`"),
        (b"{\"cells\": []}", "`nbformat` is missing"),
        (b"{\"cells\": [], \"nbformat\": 3}", "format 3 is too old"),
        (b"{\"cells\": [], \"nbformat\": 5}", "format 5 is not known"),
        (b"{\"cells\": [{}], \"nbformat\": 4}", "cell 1 has no `cell_type`"),
        (
            b"{\"cells\": [{\"cell_type\": \"code\", \"source\": 1}], \"nbformat\": 4}",
            "cell 1: `source` is not text",
        ),
        (b"[]", "outermost value is not an object"),
        (b"\xff\xfe", "not UTF-8"),
        (b"{\"a\": \"\\x\"}", "this escape does not exist"),
        (b"{\"a\": 01}", "starts with a zero"),
    ];
    for (text, expected) in cases {
        let error = Notebook::read(text, Path::new("n.ipynb")).unwrap_err();
        let shown = error.to_string();
        assert!(shown.contains(expected), "{shown:?} lacks {expected:?}");
    }
}

#[test]
fn deep_nesting_is_refused_and_not_a_crash() {
    let deep = "[".repeat(100_000);
    assert!(json::parse(&deep).unwrap_err().message.contains("nested too deeply"));
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_other_writers_write_is_read_and_kept(value in any_json()) {
        // Habits are read off a document's outermost object.
        let value = serde_json::json!({ "k": value });
        for text in [serde_json::to_string(&value).unwrap(), serde_json::to_string_pretty(&value).unwrap()] {
            let read = json::parse(&text).unwrap();
            prop_assert_eq!(&Style::of(&text).write(&read), &text);
            let again: serde_json::Value = serde_json::from_str(&read.to_compact()).unwrap();
            // Both were read by the same reader, whose last digit may be off.
            let plain: serde_json::Value = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&again, &plain);
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Notebook::read(&bytes, Path::new("n.ipynb"));
    }
}
