//! Design files.

use cucumber::gherkin::Step;
use cucumber::{given, then, when};

use crate::problem::{Outcome, ensure};
use crate::trial::Trial;

#[given("the design")]
async fn write(trial: &mut Trial, step: &Step) -> Outcome {
    let place = trial.place()?;
    let text = place.fill(step.docstring.as_deref().unwrap_or_default().trim_start());
    fs_err::write(place.design_path(), text)?;
    Ok(())
}

#[given(expr = "a design of a master and {int} compute node(s)")]
async fn small(trial: &mut Trial, nodes: u32) -> Outcome {
    let place = trial.place()?;
    let text = place.fill(&format!(
        "schema: 1\nname: {{cluster}}\nprovider: local\n\
         master:\n  flavor: tiny\n\
         groups:\n  - name: compute\n    nodes: {nodes}\n    flavor: tiny\n"
    ));
    fs_err::write(place.design_path(), text)?;
    Ok(())
}

#[when(expr = "{string} becomes {string} in the design")]
async fn edit(trial: &mut Trial, old: String, new: String) -> Outcome {
    let path = trial.place()?.design_path();
    let text = fs_err::read_to_string(&path)?;
    ensure(text.contains(&old), || format!("the design has no {old:?}:\n{text}"))?;
    fs_err::write(&path, text.replacen(&old, &new, 1))?;
    Ok(())
}

#[then("no design file was written")]
async fn none_written(trial: &mut Trial) -> Outcome {
    let path = trial.place()?.design_path();
    ensure(!path.exists(), || format!("{} is there", path.display()))
}

#[when("the design file is noted")]
async fn note(trial: &mut Trial) -> Outcome {
    let text = fs_err::read_to_string(trial.place()?.design_path())?;
    trial.noted.insert("design".to_owned(), text);
    Ok(())
}

#[then("the design file is as noted")]
async fn as_noted(trial: &mut Trial) -> Outcome {
    let text = fs_err::read_to_string(trial.place()?.design_path())?;
    trial.still("design", &text)
}

#[then(expr = "the design file has {string}")]
async fn has(trial: &mut Trial, wanted: String) -> Outcome {
    let text = fs_err::read_to_string(trial.place()?.design_path())?;
    ensure(text.contains(&wanted), || format!("it is\n{text}"))
}
