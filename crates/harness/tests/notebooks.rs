//! The rules that every notebook in `notebooks/` keeps, and that what is numbered there is tested here.
//!
//! A notebook is read by people who came for an HPC cluster, in two languages, and edited by people who use JupyterLab: rules that
//! nobody checks would be broken by the next save.

#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Providers that only a parameter's default may name.
const PROVIDERS: [&str; 9] = [
    "local",
    "existing",
    "aws",
    "mdx",
    "openstack",
    "vsphere",
    "azure",
    "oci",
    "sakura",
];

#[derive(Deserialize)]
struct Notebook {
    cells: Vec<Cell>,
    metadata: Metadata,
    nbformat: u32,
    nbformat_minor: u32,
}

#[derive(Deserialize)]
struct Metadata {
    kernelspec: KernelSpec,
}

#[derive(Deserialize)]
struct KernelSpec {
    name: String,
}

#[derive(Deserialize)]
struct Cell {
    id: String,
    cell_type: String,
    source: Source,
    #[serde(default)]
    outputs: Vec<serde_json::Value>,
    #[serde(default)]
    execution_count: Option<u64>,
    metadata: CellMetadata,
}

#[derive(Deserialize)]
struct CellMetadata {
    #[serde(default)]
    tags: Vec<String>,
    #[serde(flatten)]
    rest: BTreeMap<String, serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Source {
    Lines(Vec<String>),
    Text(String),
}

impl Cell {
    fn text(&self) -> String {
        match &self.source {
            Source::Lines(lines) => lines.concat(),
            Source::Text(text) => text.clone(),
        }
    }

    fn is_code(&self) -> bool {
        self.cell_type == "code"
    }

    fn is_parameters(&self) -> bool {
        self.metadata.tags.iter().any(|tag| tag == "parameters")
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the crate lies two folders deep")
        .to_path_buf()
}

/// Every numbered notebook by its number.
fn notebooks() -> BTreeMap<String, (PathBuf, Notebook)> {
    let mut found = BTreeMap::new();
    for folder in fs_err::read_dir(root().join("notebooks")).unwrap() {
        let folder = folder.unwrap().path();
        if !folder.is_dir() {
            continue;
        }
        for file in fs_err::read_dir(&folder).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "ipynb") {
                continue;
            }
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let (number, words) = name
                .split_once('-')
                .unwrap_or_else(|| panic!("{name} is not NUMBER-WORDS"));
            assert!(
                number.len() == 3 && number.bytes().all(|byte| byte.is_ascii_digit()),
                "{name} has no number of three digits"
            );
            assert!(
                words
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
                "{name} is not written in small letters and dashes"
            );
            let text = fs_err::read_to_string(&path).unwrap();
            let notebook = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(
                found.insert(number.to_owned(), (path, notebook)).is_none(),
                "the number {number} is used twice"
            );
        }
    }
    assert!(!found.is_empty(), "there are no notebooks");
    found
}

fn has_japanese(text: &str) -> bool {
    text.chars()
        .any(|character| matches!(character, '\u{3040}'..='\u{30ff}' | '\u{4e00}'..='\u{9fff}'))
}

fn has_english(text: &str) -> bool {
    text.split(|character: char| !character.is_ascii_alphabetic())
        .any(|word| word.len() > 2)
}

/// Headings that are a name in both languages.
const NAMES: [&str; 2] = ["Slurm", "Linpack"];

#[test]
fn notebooks_are_committed_without_outputs() {
    for (path, notebook) in notebooks().values() {
        let path = path.display();
        assert_eq!(
            (notebook.nbformat, notebook.nbformat_minor),
            (4, 5),
            "{path}: the format"
        );
        let kernel = notebook.metadata.kernelspec.name.as_str();
        assert!(matches!(kernel, "python3" | "rust"), "{path}: the kernel is {kernel}");
        for cell in &notebook.cells {
            let id = &cell.id;
            assert!(cell.outputs.is_empty(), "{path}: cell {id} holds outputs");
            assert_eq!(cell.execution_count, None, "{path}: cell {id} holds a count");
            assert!(
                cell.metadata.rest.is_empty(),
                "{path}: cell {id} holds metadata: {:?}",
                cell.metadata.rest.keys()
            );
            assert!(!cell.text().trim().is_empty(), "{path}: cell {id} is empty");
        }
    }
}

#[test]
fn cells_have_readable_names() {
    for (path, notebook) in notebooks().values() {
        let mut seen = BTreeSet::new();
        for cell in &notebook.cells {
            let id = &cell.id;
            assert!(seen.insert(id), "{}: two cells are named {id}", path.display());
            assert!(
                id.len() <= 64
                    && id
                        .bytes()
                        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
                "{}: {id} is not written in small letters and dashes",
                path.display()
            );
            let random = id.len() >= 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
            assert!(!random, "{}: the name {id} says nothing", path.display());
        }
    }
}

#[test]
fn everything_is_said_in_english_and_japanese() {
    for (number, (path, notebook)) in notebooks() {
        let path = path.display();
        let first = notebook.cells.first().unwrap_or_else(|| panic!("{path} is empty"));
        assert_eq!(first.cell_type, "markdown", "{path} does not begin with words");
        let text = first.text();
        let title = text.lines().next().unwrap_or_default();
        assert!(
            title.starts_with(&format!("# {number} ")),
            "{path}: the title {title:?} does not begin with # {number}"
        );
        let introduction = text.split_once('\n').map_or("", |(_, rest)| rest);
        let english: String = introduction
            .lines()
            .filter(|line| !has_japanese(line))
            .collect::<Vec<_>>()
            .join(" ");
        let english = english.trim();
        let sentences = english.matches(". ").count() + usize::from(english.ends_with('.'));
        assert!(
            (2..=3).contains(&sentences),
            "{path}: the introduction has {sentences} English sentences, not two or three"
        );
        let japanese = introduction.matches('。').count();
        assert!(
            (2..=3).contains(&japanese),
            "{path}: the introduction has {japanese} Japanese sentences, not two or three"
        );
        for cell in notebook.cells.iter().filter(|cell| !cell.is_code()) {
            for heading in cell.text().lines().filter(|line| line.starts_with('#')) {
                let words = heading.trim_start_matches('#').trim();
                if NAMES.contains(&words) {
                    continue;
                }
                let (english, japanese) = words
                    .split_once(" ／ ")
                    .unwrap_or_else(|| panic!("{path}: {heading:?} is not English ／ 日本語"));
                assert!(has_english(english), "{path}: {heading:?} has no English");
                assert!(
                    has_japanese(japanese) || NAMES.contains(&japanese),
                    "{path}: {heading:?} has no Japanese"
                );
            }
        }
    }
}

#[test]
fn one_cell_holds_the_parameters_and_explains_each() {
    for (number, (path, notebook)) in notebooks() {
        let path = path.display();
        let cells: Vec<&Cell> = notebook.cells.iter().filter(|cell| cell.is_parameters()).collect();
        if number == "000" {
            assert!(cells.is_empty(), "{path} takes no parameters");
            continue;
        }
        let [cell] = cells.as_slice() else {
            panic!("{path} has {} cells of parameters", cells.len())
        };
        assert!(cell.is_code(), "{path}: the parameters are no code");
        let position = notebook
            .cells
            .iter()
            .filter(|cell| cell.is_code())
            .position(|cell| cell.is_parameters());
        assert_eq!(position, Some(0), "{path}: the parameters are not the first code");
        let (mark, named) = match notebook.metadata.kernelspec.name.as_str() {
            "rust" => ("  // ", "let cluster = \"demo\";  //"),
            _ => ("  # ", "cluster = \"demo\"  #"),
        };
        for line in cell.text().lines().filter(|line| !line.trim().is_empty()) {
            let (assignment, comment) = line
                .split_once(mark)
                .unwrap_or_else(|| panic!("{path}: nothing explains the parameter {line:?}"));
            assert!(assignment.contains(" = "), "{path}: {line:?} is no parameter");
            let (english, japanese) = comment
                .split_once(" ／ ")
                .unwrap_or_else(|| panic!("{path}: {comment:?} is not English ／ 日本語"));
            assert!(english.contains(": "), "{path}: {english:?} does not say the type");
            assert!(has_japanese(japanese), "{path}: {comment:?} has no Japanese");
        }
        assert!(cell.text().contains(named), "{path} does not take the cluster's name");
    }
}

/// In a flow, what a notebook hands on becomes the parameter of that name in the notebooks after it.
#[test]
fn what_a_notebook_hands_on_is_no_parameter_of_another() {
    let notebooks = notebooks();
    let texts = |wanted: fn(&Cell) -> bool| {
        let cells = notebooks.iter().flat_map(move |(number, (_, notebook))| {
            let cells = notebook.cells.iter().filter(move |cell| wanted(cell));
            cells.map(move |cell| (number.as_str(), cell.text()))
        });
        cells.collect::<Vec<(&str, String)>>()
    };
    let mut parameters: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for (number, text) in texts(Cell::is_parameters) {
        for (name, _) in text.lines().filter_map(|line| line.split_once(" = ")) {
            parameters.entry(name.to_owned()).or_default().insert(number);
        }
    }
    let mut handed_on = 0;
    for (number, text) in texts(Cell::is_code) {
        for call in text.split("cb.result(").skip(1) {
            for name in call.split([',', '(']).filter_map(|part| part.split_once('=')) {
                let name = name.0.trim();
                handed_on += 1;
                let takers = parameters.get(name);
                assert!(
                    takers.is_none(),
                    "{number} hands on `{name}`, which would become a parameter of {takers:?}"
                );
            }
        }
    }
    assert!(handed_on > 5, "{handed_on} results");
}

/// A parameter that is given to a flow reaches every notebook that has one of that name.
#[test]
fn a_parameter_is_of_one_type_in_all_notebooks() {
    let mut types: BTreeMap<String, (String, String)> = BTreeMap::new();
    for (number, (_, notebook)) in notebooks() {
        for cell in notebook.cells.iter().filter(|cell| cell.is_parameters()) {
            for line in cell.text().lines() {
                let (Some((name, _)), Some((_, comment))) = (
                    line.trim_start_matches("let ").split_once(" = "),
                    line.split_once("  # ").or_else(|| line.split_once("  // ")),
                ) else {
                    continue;
                };
                let kind = comment.split_once(": ").map_or(comment, |(kind, _)| kind);
                let (first, known) = types
                    .entry(name.to_owned())
                    .or_insert_with(|| (number.clone(), kind.to_owned()));
                assert_eq!(known, kind, "`{name}` is one thing in {first} and another in {number}");
            }
        }
    }
    assert!(types.len() > 20, "{} parameters", types.len());
}

#[test]
fn only_a_default_in_010_names_a_provider() {
    for (number, (path, notebook)) in notebooks() {
        for cell in notebook.cells.iter().filter(|cell| cell.is_code()) {
            if number == "010" && cell.is_parameters() {
                continue;
            }
            let text = cell.text();
            let words = text.split(|character: char| !character.is_alphanumeric() && character != '_');
            for word in words {
                assert!(
                    !PROVIDERS.contains(&word),
                    "{}: cell {} names the provider {word}",
                    path.display(),
                    cell.id
                );
            }
        }
    }
}

#[test]
fn cells_are_small() {
    for (path, notebook) in notebooks().values() {
        for cell in notebook
            .cells
            .iter()
            .filter(|cell| cell.is_code() && !cell.is_parameters())
        {
            let lines = cell.text().lines().count();
            assert!(lines <= 30, "{}: cell {} has {lines} lines", path.display(), cell.id);
        }
    }
}

#[test]
fn the_contents_and_a_feature_name_every_notebook() {
    let mut features = String::new();
    let mut folders = vec![root().join("features")];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "feature") {
                features.push_str(&fs_err::read_to_string(path).unwrap());
            }
        }
    }
    let all = notebooks();
    for (number, (path, _)) in &all {
        let name = path.file_name().unwrap().to_string_lossy();
        let contents = path.with_file_name("000-contents.ipynb");
        if *number != "000" {
            let text = fs_err::read_to_string(contents).unwrap();
            assert!(text.contains(&format!("]({name})")), "000 has no link to {name}");
        }
        let mentioned = features
            .split(|character: char| !character.is_ascii_digit())
            .any(|digits| digits == number);
        assert!(mentioned, "no feature says anything of {number}");
    }
}

#[test]
fn every_flow_is_made_of_notebooks_that_are_there() {
    #[derive(Deserialize)]
    struct File {
        schema: u32,
        default: String,
        flows: BTreeMap<String, Flow>,
    }
    #[derive(Deserialize)]
    struct Flow {
        about: BTreeMap<String, String>,
        steps: Vec<Step>,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Step {
        Name(String),
        Full { notebook: String },
    }
    for folder in fs_err::read_dir(root().join("notebooks")).unwrap() {
        let folder = folder.unwrap().path();
        let path = folder.join("flow.yaml");
        if !folder.is_dir() {
            continue;
        }
        let file: File = serde_saphyr::from_str(&fs_err::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(file.schema, 1, "{}", path.display());
        assert!(
            file.flows.contains_key(&file.default),
            "{}: the default is no flow",
            path.display()
        );
        for (name, flow) in &file.flows {
            assert!(
                flow.about.contains_key("en") && flow.about.contains_key("ja"),
                "{name} is not explained in both languages"
            );
            let mut last = String::new();
            for step in &flow.steps {
                let (Step::Name(notebook) | Step::Full { notebook }) = step;
                assert!(folder.join(notebook).is_file(), "{name}: there is no {notebook}");
                assert!(*notebook > last, "{name}: {notebook} comes after {last}");
                last.clone_from(notebook);
            }
        }
    }
}
