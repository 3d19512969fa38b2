//! Documents keep what we do not change.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tmplrun::json::{self, Style};
use tmplrun::kernel::read_frames;
use tmplrun::notebook::Notebook;

/// The notebooks of one folder below `tests/`, sorted.
fn folder(name: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "ipynb"))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{}", folder.display());
    files
}

fn read(path: &Path) -> tmplrun::Result<Notebook> {
    Notebook::read(&std::fs::read(path).unwrap(), Path::new("n.ipynb"))
}

fn beside(path: &Path, ending: &str) -> String {
    std::fs::read_to_string(path.with_extension(ending)).unwrap()
}

#[test]
fn unchanged_documents_come_out_byte_for_byte() {
    let mut kept = 0;
    for path in folder("documents/kept")
        .into_iter()
        .chain(folder("differential/notebooks"))
    {
        let text = String::from_utf8(std::fs::read(&path).unwrap()).unwrap();
        match Notebook::read(text.as_bytes(), &path) {
            // Format 3 is brought to format 4, and what cannot be read is another test's.
            Ok(notebook) if !path.file_name().unwrap().to_string_lossy().starts_with("format-3") => {
                assert_eq!(notebook.write(), text, "{}", path.display());
                kept += 1;
            }
            _ => {}
        }
    }
    assert!(kept > 100, "{kept}");
}

#[test]
fn faults_have_a_place() {
    for path in folder("documents/bad") {
        let error = read(&path).expect_err(&path.display().to_string());
        assert_eq!(error.to_string(), beside(&path, "txt").trim_end(), "{}", path.display());
    }
}

#[test]
fn format_3_becomes_4_5() {
    for path in folder("documents/upgraded") {
        let notebook = read(&path).unwrap();
        let mut lines = Vec::new();
        for line in notebook.write().lines() {
            match line.split_once("\"id\": \"") {
                // Eight hexadecimal digits, new with every reading.
                Some((before, after)) => lines.push(format!("{before}\"id\": \"<id>{}", &after[8..])),
                None => lines.push(line.to_owned()),
            }
        }
        let written = lines.join("\n") + "\n";
        assert_eq!(written, beside(&path, "expected"), "{}", path.display());
        let text = std::fs::read_to_string(&path).unwrap();
        let Ok(nbformat::Notebook::V3(old)) = nbformat::parse_notebook(&text) else {
            // The crate wants keys that the format has by default.
            assert!(
                ["code-without-anything", "texts"]
                    .iter()
                    .any(|name| path.ends_with(format!("{name}.ipynb")))
            );
            continue;
        };
        let theirs = nbformat::upgrade_v3_notebook(old).unwrap();
        let ours = notebook.typed().unwrap().notebook;
        assert_eq!(ours.cells.len(), theirs.cells.len(), "{}", path.display());
        for (ours, theirs) in ours.cells.iter().zip(&theirs.cells) {
            assert_eq!(ours.source().concat(), theirs.source().concat(), "{}", path.display());
        }
    }
}

#[test]
fn the_typed_view_says_what_it_does_not_hold() {
    for path in folder("documents/typed") {
        let notebook = read(&path).unwrap();
        let typed = notebook.typed().unwrap();
        let made: Vec<String> = typed
            .adaptations
            .iter()
            .map(|adaptation| format!("{:?} {}", adaptation.kind, adaptation.at))
            .collect();
        let expected = beside(&path, "txt");
        let expected: Vec<&str> = expected.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(made, expected, "{}", path.display());
        if expected.is_empty() {
            let text = nbformat::serialize_notebook(&nbformat::Notebook::V4(typed.notebook)).unwrap();
            let both: [serde_json::Value; 2] =
                [&text, &notebook.write()].map(|text| serde_json::from_str(text).unwrap());
            assert_eq!(both[0]["cells"], both[1]["cells"]);
        }
    }
}

#[test]
fn deep_nesting_is_refused_and_not_a_crash() {
    let deep = "[".repeat(100_000);
    assert!(json::parse(&deep).unwrap_err().message.contains("nested too deeply"));
}

#[test]
fn frames_are_read_only_if_they_are_signed() {
    let frames = || -> Vec<Vec<u8>> {
        let parts: [&[u8]; 4] = [
            br#"{"msg_type": "stream"}"#,
            br#"{"msg_id": "1"}"#,
            b"{}",
            b"{\"text\": \"a\xffb\\ud800\", \"n\": NaN}",
        ];
        parts.iter().map(|part| part.to_vec()).collect()
    };
    let (kind, content) = read_frames(frames(), true).unwrap();
    assert_eq!(kind, "stream");
    assert_eq!(content.text("text").unwrap(), "a\u{fffd}b\u{fffd}");
    assert!(read_frames(frames(), false).is_none());
    let mut delimited = vec![b"<IDS|MSG>".to_vec(), b"00".to_vec()];
    delimited.extend(frames());
    assert!(read_frames(delimited, false).is_none());
    for count in 0..4 {
        assert!(read_frames(frames()[..count].to_vec(), true).is_none());
    }
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

/// Something like a cell, with anything where its keys' values stand.
fn any_cell() -> impl Strategy<Value = serde_json::Value> {
    let kinds = prop::sample::select(vec!["code", "markdown", "raw", "heading", "own"]);
    let keys = prop::sample::select(vec![
        "attachments",
        "collapsed",
        "id",
        "level",
        "prompt_number",
        "own",
        "execution_count",
    ]);
    let output = (
        prop::sample::select(vec!["stream", "display_data", "pyout", "execute_result", "error"]),
        any_json(),
    );
    let outputs = prop::collection::vec(output, 0..3);
    (
        kinds,
        any::<String>(),
        prop::collection::btree_map(keys, any_json(), 0..3),
        outputs,
        any_json(),
    )
        .prop_map(|(kind, source, more, outputs, metadata)| {
            let outputs: Vec<_> = outputs
                .into_iter()
                .map(|(kind, data)| serde_json::json!({"output_type": kind, "data": data, "text": "x"}))
                .collect();
            let mut cell = serde_json::json!({"cell_type": kind, "source": source, "input": source, "outputs": outputs,
                "metadata": {"own": metadata}});
            for (key, value) in more {
                cell[key] = value;
            }
            cell
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
    fn what_was_written_is_read_and_written_the_same(
        cells in prop::collection::vec(any_cell(), 0..4),
        metadata in prop::collection::btree_map(any::<String>(), any_json(), 0..4),
        old in any::<bool>(),
        pretty in any::<bool>(),
    ) {
        let metadata = serde_json::Value::Object(metadata.into_iter().collect());
        let notebook = if old {
            serde_json::json!({"metadata": metadata, "nbformat": 3, "nbformat_minor": 0, "worksheets": [{"cells": cells, "own": 1}]})
        } else {
            serde_json::json!({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5})
        };
        let text = if pretty { serde_json::to_string_pretty(&notebook) } else { serde_json::to_string(&notebook) }.unwrap();
        let path = Path::new("n.ipynb");
        let Ok(read) = Notebook::read(text.as_bytes(), path) else {
            return Ok(());
        };
        let once = read.write();
        if !old {
            prop_assert_eq!(&once, &text);
        }
        let again = Notebook::read(once.as_bytes(), path).unwrap();
        prop_assert_eq!(again.write(), once);
        let typed = read.typed();
        prop_assert!(typed.is_ok(), "{:?}", typed);
    }

    #[test]
    fn any_frames_are_answered(
        frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
        sign in any::<bool>(),
    ) {
        let _ = read_frames(frames, sign);
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Notebook::read(&bytes, Path::new("n.ipynb"));
    }
}
