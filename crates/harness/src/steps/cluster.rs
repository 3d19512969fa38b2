//! What the nodes and Slurm say.

use std::collections::{BTreeMap, BTreeSet};

use cucumber::gherkin::Step;
use cucumber::{given, then, when};

use crate::place::Place;
use crate::problem::{Outcome, Problem, ensure};
use crate::shared;
use crate::trial::Trial;
use crate::watch;

#[given("the cluster that the notebooks 010 to 121 have built")]
async fn the_shared_cluster(trial: &mut Trial) -> Outcome {
    let (place, built) = shared::cluster().await?;
    trial.ran = Some(built.ran.clone());
    trial.share(place);
    Ok(())
}

/// State of each node in `sinfo`.
async fn states(place: &Place) -> Outcome<BTreeMap<String, String>> {
    let printed = place.on_master("sinfo --noheader --Node --format='%N %T'").await?;
    let words = printed.lines().filter_map(|line| line.split_once(' '));
    Ok(words
        .map(|(node, state)| (node.to_owned(), state.trim().to_owned()))
        .collect())
}

#[then(expr = "Slurm says that {string} are idle, and knows no other node")]
async fn idle(trial: &mut Trial, nodes: String) -> Outcome {
    let place = trial.place()?;
    let wanted: BTreeMap<String, String> = nodes
        .split(", ")
        .map(|node| (node.to_owned(), "idle".to_owned()))
        .collect();
    watch::until(&format!("{nodes} to be idle in sinfo"), async || {
        let found = states(&place).await?;
        ensure(found == wanted, || format!("sinfo says {found:?}"))?;
        Ok(Some(()))
    })
    .await
}

#[then(expr = "Slurm has the partition {string} with {int} nodes")]
async fn partition(trial: &mut Trial, name: String, nodes: u64) -> Outcome {
    let place = trial.place()?;
    let found = place
        .on_master(&format!("scontrol show partition --oneliner {name}"))
        .await?;
    ensure(found.contains(&format!("TotalNodes={nodes} ")), || {
        format!("scontrol says {found}")
    })
}

#[then(expr = "Slurm's configuration has {string}")]
async fn configuration(trial: &mut Trial, wanted: String) -> Outcome {
    let place = trial.place()?;
    let found = place.on_master("scontrol show config").await?;
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    ensure(found.lines().any(|line| squeeze(line) == squeeze(&wanted)), || {
        format!("scontrol show config says\n{found}")
    })
}

#[when(expr = "{word} submits this job")]
async fn submit(trial: &mut Trial, user: String, step: &Step) -> Outcome {
    let place = trial.place()?;
    let script = step.docstring.as_deref().unwrap_or_default().trim_start();
    let command = format!("cat <<'END-OF-SCRIPT' | su - {user} -c 'sbatch --parsable'\n{script}\nEND-OF-SCRIPT");
    let printed = place.on_master(&command).await?;
    let id = printed
        .trim()
        .parse()
        .map_err(|_| Problem::new(format!("sbatch printed {printed:?}")))?;
    trial.job = Some(id);
    Ok(())
}

/// One field of `scontrol show job`.
async fn job_field(place: &Place, id: u64, field: &str) -> Outcome<String> {
    let shown = place.on_master(&format!("scontrol show job --oneliner {id}")).await?;
    let prefix = format!("{field}=");
    shown
        .split_whitespace()
        .find_map(|word| word.strip_prefix(&prefix))
        .map(str::to_owned)
        .ok_or_else(|| Problem::new(format!("job {id} has no {field}: {shown}")))
}

fn job(trial: &Trial) -> Outcome<u64> {
    trial
        .job
        .ok_or_else(|| Problem::new("no job was submitted in this scenario"))
}

#[then(expr = "the job is {word}")]
async fn job_state(trial: &mut Trial, state: String) -> Outcome {
    let (place, id) = (trial.place()?, job(trial)?);
    watch::until(&format!("job {id} to be {state}"), async || {
        let found = job_field(&place, id, "JobState").await?;
        ensure(found == state, || format!("it is {found}"))?;
        Ok(Some(()))
    })
    .await
}

#[then(expr = "the job waits because of {string}")]
async fn job_waits(trial: &mut Trial, reason: String) -> Outcome {
    let (place, id) = (trial.place()?, job(trial)?);
    watch::until(&format!("job {id} to wait because of {reason}"), async || {
        let state = job_field(&place, id, "JobState").await?;
        let found = job_field(&place, id, "Reason").await?;
        ensure(state == "PENDING" && found == reason, || {
            format!("it is {state} because of {found}")
        })?;
        Ok(Some(()))
    })
    .await
}

#[then("its output is, in any order")]
async fn job_output(trial: &mut Trial, step: &Step) -> Outcome {
    let (place, id) = (trial.place()?, job(trial)?);
    let path = job_field(&place, id, "StdOut").await?;
    let printed = place.on_master(&format!("cat '{path}'")).await?;
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    let wanted = sorted(&place.fill(step.docstring.as_deref().unwrap_or_default()));
    ensure(sorted(&printed) == wanted, || format!("{path} holds\n{printed}"))
}

#[then(expr = "every node gives the same answer to {string}")]
async fn same_answer(trial: &mut Trial, command: String) -> Outcome {
    let place = trial.place()?;
    let printed = place.on_nodes("all", &command).await?;
    let answers: BTreeSet<&String> = printed.values().collect();
    ensure(answers.len() == 1 && printed.len() > 1, || {
        format!("they say {printed:?}")
    })
}

#[then(expr = "every node answers {string} with {string}")]
async fn answer(trial: &mut Trial, command: String, wanted: String) -> Outcome {
    let place = trial.place()?;
    let printed = place.on_nodes("all", &place.fill(&command)).await?;
    let wanted = place.fill(&wanted);
    ensure(printed.values().all(|answer| answer.trim() == wanted), || {
        format!("they say {printed:?}")
    })
}

#[then(expr = "the master answers {string} with {string}")]
async fn master_answer(trial: &mut Trial, command: String, wanted: String) -> Outcome {
    let place = trial.place()?;
    let printed = place.on_master(&place.fill(&command)).await?;
    ensure(printed.trim() == place.fill(&wanted), || format!("it says {printed}"))
}

#[then(expr = "{word} answers {string} with {string}")]
async fn node_answer(trial: &mut Trial, node: String, command: String, wanted: String) -> Outcome {
    let place = trial.place()?;
    let printed = place.on_nodes(&node, &place.fill(&command)).await?;
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let wanted = words(&place.fill(&wanted));
    ensure(printed.values().all(|answer| words(answer) == wanted), || {
        format!("it says {printed:?}")
    })
}

#[when(expr = "somebody runs {string} on {word}")]
async fn somebody_runs(trial: &mut Trial, command: String, node: String) -> Outcome {
    let place = trial.place()?;
    place.on_nodes(&node, &command).await.map(drop)
}

#[when(expr = "the answers of all nodes to {string} are noted")]
async fn note_answers(trial: &mut Trial, command: String) -> Outcome {
    let place = trial.place()?;
    let found = format!("{:?}", place.on_nodes("all", &command).await?);
    trial.noted.insert(command, found);
    Ok(())
}

#[then(expr = "the answers of all nodes to {string} are as noted")]
async fn answers_as_noted(trial: &mut Trial, command: String) -> Outcome {
    let place = trial.place()?;
    let found = format!("{:?}", place.on_nodes("all", &command).await?);
    trial.still(&command, &found)
}
