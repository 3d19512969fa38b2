//! Running notebooks with `tmplrun`.

use cucumber::gherkin::Step;
use cucumber::{given, then, when};
use serde_json::Value;

use crate::place::Place;
use crate::problem::{Outcome, Problem, ensure};
use crate::trial::Trial;

/// A table of parameters as arguments. The cluster's name is always given, since no two places may share one.
fn parameters(place: &Place, step: &Step) -> Vec<String> {
    let mut arguments = ["-p", "cluster", place.cluster()].map(str::to_owned).to_vec();
    for row in step.table.iter().flat_map(|table| &table.rows) {
        let [name, value] = row.as_slice() else { continue };
        let value = place.fill(value);
        if value.starts_with(['[', '{']) {
            arguments.extend(["-y".to_owned(), format!("{name}: {value}")]);
        } else {
            arguments.extend(["-p".to_owned(), name.clone(), value]);
        }
    }
    arguments
}

/// The notebook with this number.
fn notebook(place: &Place, number: &str) -> Outcome<String> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(place.work())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with(&format!("{number}-")) && name.ends_with(".ipynb") {
            found.push(name);
        }
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        several => Err(Problem::new(format!(
            "{} notebooks have the number {number}",
            several.len()
        ))),
    }
}

fn one(place: &Place, number: &str, step: &Step) -> Outcome<Vec<String>> {
    let name = notebook(place, number)?;
    let output = place.out().join(&name);
    let mut arguments = vec![name, output.to_string_lossy().into_owned()];
    arguments.extend(parameters(place, step));
    Ok(arguments)
}

fn flow(place: &Place, name: &str, step: &Step) -> Vec<String> {
    let out = place.out();
    let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    let mut arguments = vec![
        ".".to_owned(),
        text(out.clone()),
        "--flow".to_owned(),
        name.to_owned(),
        "--json".to_owned(),
        "--events".to_owned(),
        text(out.join("events.jsonl")),
        "--report".to_owned(),
        text(out.join("report.html")),
    ];
    arguments.extend(parameters(place, step));
    arguments
}

#[given(regex = r"^notebook (\d+) has run with$")]
#[given(regex = r"^notebook (\d+) has run$")]
async fn has_run(trial: &mut Trial, number: String, step: &Step) -> Outcome {
    run_one(trial, number, step).await?;
    trial.ran()?.succeeded()
}

#[when(regex = r"^tmplrun runs notebook (\d+) with$")]
#[when(regex = r"^tmplrun runs notebook (\d+)$")]
async fn run_one(trial: &mut Trial, number: String, step: &Step) -> Outcome {
    let place = trial.place()?;
    let arguments = one(&place, &number, step)?;
    trial.ran = Some(place.run("tmplrun", &arguments).await?);
    Ok(())
}

#[when(regex = r"^tmplrun starts notebook (\d+) in the background$")]
async fn start_one(trial: &mut Trial, number: String, step: &Step) -> Outcome {
    let place = trial.place()?;
    let arguments = one(&place, &number, step)?;
    let running = place.start("tmplrun", &arguments)?;
    trial.running.push(running);
    Ok(())
}

/// The whole flow, or what comes before or after a notebook, that one included.
#[when(regex = r#"^tmplrun runs (every cell of )?the flow "(\w+)"(?: twice)?(?: (from|until) (\d+))? with$"#)]
async fn run_flow(trial: &mut Trial, each: String, name: String, side: String, number: String, step: &Step) -> Outcome {
    let place = trial.place()?;
    let mut arguments = flow(&place, &name, step);
    if !each.is_empty() {
        arguments.extend(["--repeat-cells", "2"].map(str::to_owned));
    }
    if !side.is_empty() {
        arguments.extend([format!("--{side}"), number]);
    }
    trial.ran = Some(place.run("tmplrun", &arguments).await?);
    Ok(())
}

#[when(regex = r"^tmplrun runs every cell of the notebooks ([\d, ]+) twice with$")]
async fn run_some_twice(trial: &mut Trial, numbers: String, step: &Step) -> Outcome {
    let place = trial.place()?;
    let mut arguments = flow(&place, "main", step);
    arguments.extend(["--repeat-cells", "2"].map(str::to_owned));
    for number in numbers.split(", ") {
        arguments.extend(["--only", number].map(str::to_owned));
    }
    trial.ran = Some(place.run("tmplrun", &arguments).await?);
    Ok(())
}

/// The steps of the result that `tmplrun --json` printed.
fn steps(trial: &Trial) -> Outcome<Vec<Value>> {
    let result = trial.ran()?.json()?;
    result["steps"]
        .as_array()
        .cloned()
        .ok_or_else(|| Problem::new("the result has no steps"))
}

#[then(expr = "the executed notebooks are {string}")]
async fn executed(trial: &mut Trial, numbers: String) -> Outcome {
    let place = trial.place()?;
    let mut found = Vec::new();
    for step in steps(trial)? {
        let name = step["name"].as_str().unwrap_or_default().to_owned();
        if step["status"] == "completed" {
            ensure(place.out().join(&name).is_file(), || format!("{name} was not written"))?;
            found.push(name.split('-').next().unwrap_or_default().to_owned());
        }
    }
    let found = found.join(", ");
    ensure(found == numbers, || format!("they are {found}"))
}

#[then(expr = "a report was written")]
async fn report(trial: &mut Trial) -> Outcome {
    let path = trial.place()?.out().join("report.html");
    let length = fs_err::metadata(&path)?.len();
    ensure(length > 1000, || format!("{} has {length} bytes", path.display()))
}

#[then(expr = "notebook {word} handed on {string} as {string}")]
async fn handed_on(trial: &mut Trial, number: String, name: String, wanted: String) -> Outcome {
    let found = result(trial, &number, &name)?;
    let text = found.as_str().map_or_else(|| found.to_string(), str::to_owned);
    ensure(text == wanted, || format!("it handed on {name} = {text}"))
}

#[then(expr = "notebook {word} handed on {string} as a number above {int}")]
async fn handed_on_number(trial: &mut Trial, number: String, name: String, least: u32) -> Outcome {
    let found = result(trial, &number, &name)?;
    ensure(found.as_f64().is_some_and(|value| value > f64::from(least)), || {
        format!("it handed on {name} = {found}")
    })
}

fn result(trial: &Trial, number: &str, name: &str) -> Outcome<Value> {
    let prefix = format!("{number}-");
    let steps = steps(trial)?;
    let step = steps
        .iter()
        .find(|step| step["name"].as_str().is_some_and(|each| each.starts_with(&prefix)));
    let results = step.map(|step| &step["results"]).unwrap_or(&Value::Null);
    match &results[name] {
        Value::Null => Err(Problem::new(format!(
            "notebook {number} handed on {results}, without {name}"
        ))),
        found => Ok(found.clone()),
    }
}
