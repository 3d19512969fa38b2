//! Running `clusterbook`, and how a program ended.

use cucumber::gherkin::Step;
use cucumber::{given, then, when};

use crate::problem::{Outcome, Problem, ensure};
use crate::trial::Trial;
use crate::watch;

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

#[given(expr = "{string} has succeeded")]
async fn has_succeeded(trial: &mut Trial, line: String) -> Outcome {
    run(trial, line).await?;
    trial.ran()?.succeeded()
}

#[when(expr = "{string} runs")]
async fn run(trial: &mut Trial, line: String) -> Outcome {
    let place = trial.place()?;
    let line = words(&place.fill(&line));
    let (program, arguments) = line
        .split_first()
        .ok_or_else(|| Problem::new("there is no program to run"))?;
    trial.ran = Some(place.run(program, arguments).await?);
    Ok(())
}

#[when(expr = "{string} starts in the background")]
async fn start(trial: &mut Trial, line: String) -> Outcome {
    let place = trial.place()?;
    let line = words(&place.fill(&line));
    let (program, arguments) = line
        .split_first()
        .ok_or_else(|| Problem::new("there is no program to run"))?;
    let running = place.start(program, arguments)?;
    trial.running.push(running);
    Ok(())
}

#[when("this Python program runs")]
async fn python(trial: &mut Trial, step: &Step) -> Outcome {
    let place = trial.place()?;
    let source = place.fill(step.docstring.as_deref().unwrap_or_default());
    let source = source.trim().to_owned();
    trial.ran = Some(place.run("python", &["-c".to_owned(), source]).await?);
    Ok(())
}

#[when("the program in the background is killed")]
async fn kill(trial: &mut Trial) -> Outcome {
    let mut running = trial
        .running
        .pop()
        .ok_or_else(|| Problem::new("nothing runs in the background"))?;
    ensure(!running.has_ended()?, || {
        "it had ended before it could be killed".to_owned()
    })?;
    running.kill()?;
    let ran = running.finish().await?;
    ensure(ran.code.is_none(), || {
        format!("it ended by itself with {:?}\n{}", ran.code, ran.tail())
    })?;
    trial.ran = Some(ran);
    Ok(())
}

#[when("the program in the background is halted")]
async fn halt(trial: &mut Trial) -> Outcome {
    let running = trial
        .running
        .last_mut()
        .ok_or_else(|| Problem::new("nothing runs in the background"))?;
    ensure(!running.has_ended()?, || {
        "it had ended before it could be halted".to_owned()
    })?;
    running.halt(true)
}

#[when("the program in the background goes on")]
async fn go_on(trial: &mut Trial) -> Outcome {
    trial
        .running
        .last()
        .ok_or_else(|| Problem::new("nothing runs in the background"))?
        .halt(false)
}

#[when("the program in the background has ended")]
async fn ended(trial: &mut Trial) -> Outcome {
    let running = trial
        .running
        .pop()
        .ok_or_else(|| Problem::new("nothing runs in the background"))?;
    trial.ran = Some(running.finish().await?);
    Ok(())
}

#[then("it says which process holds the cluster")]
async fn names_holder(trial: &mut Trial) -> Outcome {
    let running = trial
        .running
        .last()
        .ok_or_else(|| Problem::new("nothing runs in the background"))?;
    let process = format!("process {}", running.pid().unwrap_or_default());
    let ran = trial.ran()?;
    ensure(ran.said().contains(&process), || {
        format!("it does not name {process}:\n{}", ran.tail())
    })
}

#[then(expr = "it ends with exit code {int}")]
async fn ends_with(trial: &mut Trial, code: i32) -> Outcome {
    trial.ran()?.ended_with(code)
}

#[then("it succeeds")]
async fn succeeds(trial: &mut Trial) -> Outcome {
    trial.ran()?.succeeded()
}

fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[then(expr = "it says {string}")]
async fn says(trial: &mut Trial, wanted: String) -> Outcome {
    let place = trial.place()?;
    let wanted = squeeze(&place.fill(&wanted));
    let ran = trial.ran()?;
    ensure(squeeze(&ran.said()).contains(&wanted), || {
        format!("it does not say {wanted:?}:\n{}", ran.tail())
    })
}

#[then(expr = "it does not say {string}")]
async fn does_not_say(trial: &mut Trial, unwanted: String) -> Outcome {
    let ran = trial.ran()?;
    ensure(!squeeze(&ran.said()).contains(&squeeze(&unwanted)), || {
        format!("it says {unwanted:?}:\n{}", ran.tail())
    })
}

/// Changes in the JSON document that `clusterbook plan --json` printed.
fn changes(trial: &Trial) -> Outcome<Vec<serde_json::Value>> {
    let ran = trial.ran()?;
    let document = ran.json()?;
    let plan = if document["plan"].is_object() {
        &document["plan"]
    } else {
        &document
    };
    plan["changes"]
        .as_array()
        .cloned()
        .ok_or_else(|| Problem::new(format!("there is no plan in the document\n{}", ran.tail())))
}

#[then("the plan is empty")]
async fn plan_is_empty(trial: &mut Trial) -> Outcome {
    let changes = changes(trial)?;
    ensure(changes.is_empty(), || format!("it holds {changes:#?}"))
}

#[then(expr = "the plan has a change of {string} on {word}")]
async fn plan_has(trial: &mut Trial, what: String, node: String) -> Outcome {
    let changes = changes(trial)?;
    let found = changes.iter().any(|change| {
        change["node"].as_str() == Some(node.as_str())
            && ["id", "what"]
                .iter()
                .any(|field| change[*field].as_str().is_some_and(|text| text.contains(&what)))
    });
    ensure(found, || format!("it holds {changes:#?}"))
}

#[then(expr = "the plan removes nothing but {string}")]
async fn plan_removes(trial: &mut Trial, wanted: String) -> Outcome {
    let changes = changes(trial)?;
    let removed: Vec<&str> = changes
        .iter()
        .filter(|change| change["verb"] == "delete" && change["node"].is_null())
        .filter_map(|change| change["what"].as_str())
        .collect();
    ensure(removed == [wanted.as_str()], || format!("it removes {removed:?}"))
}

#[then("no process that was started here is left")]
async fn no_process(trial: &mut Trial) -> Outcome {
    let place = trial.place()?;
    watch::until("all processes to end", async || {
        let left = place.processes();
        ensure(left.is_empty(), || format!("these run: {left:?}"))?;
        Ok(Some(()))
    })
    .await
}
