//! Things about the machine that go wrong.

use cucumber::gherkin::Step;
use cucumber::{given, then};

use crate::problem::{Outcome, ensure};
use crate::trial::Trial;

#[given("a new folder with the notebooks")]
async fn folder(trial: &mut Trial) -> Outcome {
    trial.place().map(drop)
}

#[given("no container engine is there")]
async fn no_engine(trial: &mut Trial) -> Outcome {
    let place = trial.place()?;
    place.set(
        "CLUSTERBOOK_ENGINE",
        &place.root().join("run/no-engine.sock").to_string_lossy(),
    );
    Ok(())
}

#[given("a state folder that can't be made")]
async fn unwritable_state(trial: &mut Trial) -> Outcome {
    let place = trial.place()?;
    // Below a file there can't be a folder, not even for root.
    let file = place.root().join("a-file");
    fs_err::write(&file, "")?;
    place.set("CLUSTERBOOK_HOME", &file.join("state").to_string_lossy());
    Ok(())
}

#[given(expr = "the file {string}")]
async fn file(trial: &mut Trial, name: String, step: &Step) -> Outcome {
    let place = trial.place()?;
    let path = place.work().join(name);
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    fs_err::write(
        &path,
        place.fill(step.docstring.as_deref().unwrap_or_default().trim_start()),
    )?;
    Ok(())
}

#[then(expr = "there is no file {string}")]
async fn no_file(trial: &mut Trial, name: String) -> Outcome {
    let path = trial.place()?.root().join(name);
    ensure(!path.exists(), || format!("{} is there", path.display()))
}
