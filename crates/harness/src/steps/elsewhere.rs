//! Notebooks as jobs: `tmplrun --on slurm` from outside the cluster, over SSH, as an ordinary user.

use std::sync::Arc;

use cucumber::gherkin::Step;
use cucumber::{given, then, when};
use serde_json::{Value, json};

use crate::place::{Place, programs, repository};
use crate::problem::{Outcome, Problem, ensure};
use crate::trial::Trial;
use crate::watch;

/// Nodes have no Python: this one's interpreter is packed for them.
const PORTABLE_PYTHON: &str = include_str!("portable-python.py");

/// What leads to the master.
fn ssh(place: &Place) -> Vec<String> {
    let configuration = place.root().join("ssh_config");
    ["ssh", "-F", &configuration.to_string_lossy(), "cluster"]
        .map(str::to_owned)
        .to_vec()
}

async fn must(place: &Place, program: &str, arguments: &[&str]) -> Outcome<String> {
    let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
    let ran = place.run(program, &arguments).await?;
    ran.succeeded()?;
    Ok(ran.stdout)
}

#[given(expr = "a cluster of a master and {int} compute nodes, which taro enters over SSH")]
async fn cluster(trial: &mut Trial, nodes: u32) -> Outcome {
    let place = trial.place()?;
    let key = place.root().join("key");
    let key = key.to_string_lossy();
    must(
        &place,
        "ssh-keygen",
        &["-q", "-t", "ed25519", "-N", "", "-C", "taro", "-f", &key],
    )
    .await?;
    let public = fs_err::read_to_string(format!("{key}.pub"))?;
    let design = format!(
        "schema: 1\nname: {}\nprovider: local\nmaster:\n  flavor: tiny\ngroups:\n  - name: compute\n    nodes: {nodes}\n    \
         flavor: tiny\nusers:\n  - name: taro\n    keys: ['{}']\n",
        place.cluster(),
        public.trim()
    );
    fs_err::write(place.design_path(), design)?;
    place.clusterbook(&["apply", "{cluster}", "--yes"]).await?.succeeded()?;
    way(&place).await
}

/// Writes down how the master is reached, its host key included.
async fn way(place: &Place) -> Outcome {
    let ran = place.clusterbook(&["status", "{cluster}", "--json"]).await?;
    ran.succeeded()?;
    let status = ran.json()?;
    let nodes = status["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let address = nodes
        .iter()
        .find(|node| node["name"] == "master")
        .and_then(|node| node["address"].as_str())
        .ok_or_else(|| Problem::new(format!("the master has no address: {status}")))?;
    let host_key = place.on_master("cat /etc/ssh/ssh_host_ed25519_key.pub").await?;
    let root = place.root().display();
    fs_err::write(
        place.root().join("known_hosts"),
        format!("cluster {}\n", host_key.trim()),
    )?;
    fs_err::write(
        place.root().join("ssh_config"),
        format!(
            "Host cluster\n  HostName {address}\n  User taro\n  HostKeyAlias cluster\n  StrictHostKeyChecking yes\n  \
             UserKnownHostsFile {root}/known_hosts\n  IdentityFile {root}/key\n  IdentitiesOnly yes\n  BatchMode yes\n"
        ),
    )?;
    let line = ssh(place);
    must(place, &line[0], &[&line[1], &line[2], &line[3], "sinfo"])
        .await
        .map(drop)
}

#[given("a Python with ipykernel in taro's home, which all nodes share")]
async fn python(trial: &mut Trial) -> Outcome {
    let place = trial.place()?;
    let archive = place.root().join("python.tar");
    let archive = archive.to_string_lossy();
    must(&place, "python", &["-c", PORTABLE_PYTHON, &archive, "/home/taro"]).await?;
    let send = format!("{} tar -x -f - < {archive}", ssh(&place).join(" "));
    must(&place, "sh", &["-c", &send]).await?;
    place
        .on_nodes("compute", "su - taro -c 'py/bin/python -c \"import ipykernel\"'")
        .await
        .map(drop)
}

/// A tmplrun that needs nothing of the node that it runs on is made as a person would make it, and lies beside the one that is run.
#[given("a tmplrun without libraries beside the one that is run here")]
async fn static_program(trial: &mut Trial) -> Outcome {
    let place = trial.place()?;
    let made = tokio::process::Command::new(repository().join("ci/static-tmplrun"))
        .output()
        .await?;
    ensure(made.status.success(), || {
        format!("ci/static-tmplrun: {}", String::from_utf8_lossy(&made.stderr))
    })?;
    let name = format!("tmplrun-{}", std::env::consts::ARCH);
    fs_err::create_dir(folder(&place))?;
    fs_err::copy(programs().join("tmplrun"), folder(&place).join("tmplrun"))?;
    fs_err::copy(
        repository().join("target/static").join(&name),
        folder(&place).join(&name),
    )?;
    Ok(())
}

/// Where the programs are that this feature runs.
fn folder(place: &Place) -> std::path::PathBuf {
    place.root().join("bin")
}

#[then("the program that was sent to the cluster needs no libraries")]
async fn needs_no_libraries(trial: &mut Trial) -> Outcome {
    let place = trial.place()?;
    let line = "set -- /home/taro/.cache/tmplrun/bin/*; [ $# -eq 1 ] && LC_ALL=C ldd \"$1\" 2>&1 || :";
    let said = place.on_master(line).await?;
    ensure(
        said.contains("statically linked") || said.contains("not a dynamic"),
        || format!("ldd says {said}"),
    )
}

/// Cells stand between lines of dashes, which may name a tag.
#[given(expr = "the notebook {string}")]
async fn notebook(trial: &mut Trial, name: String, step: &Step) -> Outcome {
    let place = trial.place()?;
    let mut cells: Vec<(Vec<String>, String)> = vec![(Vec::new(), String::new())];
    for line in step.docstring.as_deref().unwrap_or_default().trim_start().lines() {
        match line.strip_prefix("---") {
            Some(tags) => cells.push((tags.split_whitespace().map(str::to_owned).collect(), String::new())),
            None => cells.last_mut().into_iter().for_each(|(_, source)| {
                source.push_str(line);
                source.push('\n');
            }),
        }
    }
    let cells: Vec<Value> = cells
        .iter()
        .enumerate()
        .filter(|(_, (_, source))| !source.trim().is_empty())
        .map(|(number, (tags, source))| {
            json!({"cell_type": "code", "execution_count": null, "id": format!("cell-{number}"), "metadata": {"tags": tags},
                "outputs": [], "source": source.trim_end()})
        })
        .collect();
    let notebook = json!({"cells": cells, "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python",
        "name": "python3"}}, "nbformat": 4, "nbformat_minor": 5});
    let path = place.work().join(&name);
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    fs_err::write(path, notebook.to_string())?;
    Ok(())
}

/// The command line that makes jobs of a notebook or of a folder's flow.
fn arguments(place: &Place, input: &str, step: &Step) -> Vec<String> {
    let out = place.out();
    let text = |path: std::path::PathBuf| path.to_string_lossy().into_owned();
    let mut arguments = vec![
        input.to_owned(),
        text(out.join(input)),
        "--on".to_owned(),
        "slurm".to_owned(),
        "--on-prefix".to_owned(),
        ssh(place).join(" "),
        "--python".to_owned(),
        "~/py/bin/python".to_owned(),
        "--json".to_owned(),
        "--events".to_owned(),
        text(events_path(place)),
    ];
    let rows = step.table.iter().flat_map(|table| &table.rows);
    let words = rows.flatten().filter(|word| !word.is_empty());
    arguments.extend(words.map(|word| place.fill(word)));
    arguments
}

fn program(place: &Place) -> String {
    let beside = folder(place).join("tmplrun");
    match beside.exists() {
        true => beside.to_string_lossy().into_owned(),
        false => "tmplrun".to_owned(),
    }
}

fn events_path(place: &Place) -> std::path::PathBuf {
    place.out().join("jobs.jsonl")
}

/// What was told so far, as far as its lines are whole.
fn events(place: &Place) -> Vec<Value> {
    let text = fs_err::read_to_string(events_path(place)).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

#[when(expr = "tmplrun hands {string} over to Slurm with")]
#[when(expr = "tmplrun hands {string} over to Slurm")]
async fn hand_over(trial: &mut Trial, input: String, step: &Step) -> Outcome {
    let place = trial.place()?;
    let arguments = arguments(&place, &input, step);
    trial.ran = Some(place.run(&program(&place), &arguments).await?);
    Ok(())
}

#[when(expr = "tmplrun hands {string} over to Slurm in the background")]
async fn start(trial: &mut Trial, input: String, step: &Step) -> Outcome {
    let place = trial.place()?;
    // An earlier run's is not to be read.
    let _ = fs_err::remove_file(events_path(&place));
    let arguments = arguments(&place, &input, step);
    let running = place.start(&program(&place), &arguments)?;
    trial.running.push(running);
    Ok(())
}

#[when(expr = "its job is cancelled once it has said {string}")]
async fn cancel(trial: &mut Trial, wanted: String) -> Outcome {
    let place = trial.place()?;
    watch::until(&format!("the job to say {wanted}"), async || {
        let said = events(&place).iter().any(|event| {
            event["event"] == "output" && event["text"].as_str().is_some_and(|text| text.contains(&wanted))
        });
        Ok(said.then_some(()))
    })
    .await?;
    let events = events(&place);
    let job = events
        .iter()
        .find(|event| event["event"] == "submitted")
        .and_then(|event| event["job"].as_str())
        .ok_or_else(|| Problem::new("no job was submitted"))?;
    place.on_master(&format!("scancel {job}")).await.map(drop)
}

/// The jobs of a run as Slurm has them: name, state, and the node's.
async fn jobs(place: &Arc<Place>, run: &str) -> Outcome<Vec<(String, String)>> {
    let printed = place
        .on_master("squeue --states=all --user=taro --noheader --format='%j|%T|%k'")
        .await?;
    let comment = format!("tmplrun {run}");
    let rows = printed.lines().filter_map(|line| {
        let mut fields = line.trim().splitn(3, '|').map(str::to_owned);
        let (name, state) = (fields.next()?, fields.next()?);
        (fields.next()? == comment).then_some((name, state))
    });
    Ok(rows.collect())
}

#[then(expr = "Slurm says that its jobs were {string}, and that every one is {word}")]
async fn jobs_were(trial: &mut Trial, names: String, state: String) -> Outcome {
    let place = trial.place()?;
    let told = events(&place);
    let run = told
        .iter()
        .find(|event| event["event"] == "run_started")
        .and_then(|event| event["run"].as_str())
        .ok_or_else(|| Problem::new("no run was told of"))?;
    let mut wanted: Vec<(String, String)> = names.split(", ").map(|name| (name.to_owned(), state.clone())).collect();
    wanted.sort();
    // A job is COMPLETING for a moment after its last word.
    watch::until(&format!("the jobs to be {state}"), async || {
        let mut found = jobs(&place, run).await?;
        found.sort();
        ensure(found == wanted, || format!("Slurm says {found:?}"))?;
        Ok(Some(()))
    })
    .await
}

#[then(expr = "the fetched {string} holds {string}")]
async fn holds(trial: &mut Trial, name: String, wanted: String) -> Outcome {
    let path = trial.place()?.out().join(name);
    let notebook: Value = serde_json::from_str(&fs_err::read_to_string(&path)?)?;
    let mut texts = Vec::new();
    for cell in notebook["cells"].as_array().map(Vec::as_slice).unwrap_or_default() {
        for output in cell["outputs"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let lines = output["text"].as_array().map(Vec::as_slice).unwrap_or_default();
            texts.extend(lines.iter().filter_map(Value::as_str).map(str::to_owned));
            texts.extend(output["ename"].as_str().map(str::to_owned));
        }
    }
    let text = texts.concat();
    ensure(text.contains(&wanted), || format!("its outputs are\n{text}"))
}

#[then("nothing of these runs is left on the cluster")]
async fn nothing_left(trial: &mut Trial) -> Outcome {
    let place = trial.place()?;
    watch::until("taro's processes and files to go", async || {
        // What taro runs on any node, and what the runs have written into the shared home.
        let command =
            "stat -c %U /proc/[0-9]* 2>/dev/null | grep -cx taro; ls -A /home/taro/.cache/tmplrun/jobs | wc -l";
        let found = place.on_nodes("all", command).await?;
        ensure(
            found.values().all(|answer| answer.split_whitespace().eq(["0", "0"])),
            || format!("they say {found:?}"),
        )?;
        Ok(Some(()))
    })
    .await
}
