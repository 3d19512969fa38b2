//! What the provider lists: the truth about what exists.

use std::collections::BTreeMap;

use cucumber::{then, when};
use serde_json::Value;

use crate::engine::{Container, Engine, Listing};
use crate::problem::{Outcome, Problem, ensure};
use crate::trial::Trial;
use crate::watch;

#[then("the provider lists nothing of the cluster")]
async fn nothing(trial: &mut Trial) -> Outcome {
    let found = trial.listing().await?;
    ensure(found.is_empty(), || format!("it lists {found:?}"))
}

#[then(expr = "the provider lists {int} running node(s), {int} disk(s) and {int} network(s)")]
async fn counts(trial: &mut Trial, nodes: usize, disks: usize, networks: usize) -> Outcome {
    let found = trial.listing().await?;
    let running = found.nodes.iter().filter(|node| node.running).count();
    ensure(
        running == nodes
            && found.nodes.len() == nodes
            && found.disks.len() == disks
            && found.networks.len() == networks,
        || format!("it lists {found:?}"),
    )
}

#[then("the provider lists stopped nodes only")]
async fn stopped(trial: &mut Trial) -> Outcome {
    let found = trial.listing().await?;
    ensure(
        !found.nodes.is_empty() && found.nodes.iter().all(|node| !node.running),
        || format!("it lists {found:?}"),
    )
}

/// Names and addresses of the nodes that a saved design asks for; written anew here, so that a mistake in the programs' own
/// reading shows.
fn designed(design: &Value) -> Outcome<BTreeMap<String, String>> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let odd = || Problem::new(format!("these steps can't expand the design {design}"));
    let master = &design["master"];
    let mut nodes = BTreeMap::new();
    nodes.insert(
        text(&master["host"]).ok_or_else(odd)?,
        text(&master["address"]).ok_or_else(odd)?,
    );
    for group in design["groups"].as_array().ok_or_else(odd)? {
        let hosts = text(&group["hosts"]).ok_or_else(odd)?;
        let (prefix, range) = hosts.split_once('[').ok_or_else(odd)?;
        let first_host: u32 = range
            .split('-')
            .next()
            .and_then(|first| first.parse().ok())
            .ok_or_else(odd)?;
        let addresses = text(&group["addresses"]).ok_or_else(odd)?;
        let (net, range) = addresses.rsplit_once('.').ok_or_else(odd)?;
        let first_address: u32 = range
            .split('-')
            .next()
            .and_then(|first| first.parse().ok())
            .ok_or_else(odd)?;
        let count = group["nodes"]
            .as_u64()
            .and_then(|count| u32::try_from(count).ok())
            .ok_or_else(odd)?;
        for index in 0..count {
            nodes.insert(
                format!("{prefix}{}", first_host + index),
                format!("{net}.{}", first_address + index),
            );
        }
    }
    Ok(nodes)
}

#[then("the provider lists exactly what the design says")]
async fn as_designed(trial: &mut Trial) -> Outcome {
    let place = trial.place()?;
    let design = place.design()?;
    let wanted = designed(&design)?;
    let engine = Engine::find()?;
    let listing = trial.listing().await?;
    let mut found = BTreeMap::new();
    for node in &listing.nodes {
        ensure(node.running, || format!("{} does not run: {listing:?}", node.node))?;
        let details = engine.details(node).await?;
        let doubled = found.insert(node.node.clone(), details.addresses.join(" ")).is_some();
        ensure(!doubled, || format!("{} is there twice: {listing:?}", node.node))?;
    }
    ensure(found == wanted, || {
        format!("the design says {wanted:?}, the provider lists {found:?}")
    })?;
    let disks = design["disks"].as_array().map_or(0, Vec::len);
    ensure(listing.disks.len() == disks && listing.networks.len() == 1, || {
        format!("it lists {listing:?}")
    })
}

#[when("the provider's listing is noted")]
async fn note(trial: &mut Trial) -> Outcome {
    trial.listed = Some(trial.listing().await?);
    Ok(())
}

#[then("the provider's listing is as noted")]
async fn as_noted(trial: &mut Trial) -> Outcome {
    let found = trial.listing().await?;
    ensure(trial.listed.as_ref() == Some(&found), || {
        format!("noted {:?}, now {found:?}", trial.listed)
    })
}

#[then(expr = "{string} are the same containers as noted")]
async fn same_containers(trial: &mut Trial, nodes: String) -> Outcome {
    let found = trial.listing().await?;
    let noted = trial.listed.clone().unwrap_or_default();
    let ids = |listing: &Listing| -> Vec<Option<String>> {
        nodes
            .split(", ")
            .map(|name| {
                listing
                    .nodes
                    .iter()
                    .find(|node| node.node == name)
                    .map(|node| node.id.clone())
            })
            .collect()
    };
    let (before, now) = (ids(&noted), ids(&found));
    ensure(before == now && now.iter().all(Option::is_some), || {
        format!("noted {noted:?}, now {found:?}")
    })
}

#[when(expr = "the provider lists {int} running node(s) for the first time")]
async fn wait_for_nodes(trial: &mut Trial, count: usize) -> Outcome {
    let place = trial.place()?;
    let engine = Engine::find()?;
    let running = &mut trial.running;
    watch::until(&format!("{count} running nodes"), async || {
        let found = engine.listing(place.cluster()).await?;
        let started = found.nodes.iter().filter(|node| node.running).count() >= count;
        if !started && let Some(program) = running.last_mut() {
            // Nothing more will come; the next step says what it wanted.
            ensure(!program.has_ended()?, || {
                "the program in the background ended before that".to_owned()
            })?;
        }
        Ok(started.then_some(()))
    })
    .await
}

async fn find(trial: &mut Trial, name: &str) -> Outcome<Container> {
    let place = trial.place()?;
    let engine = Engine::find()?;
    watch::until(&format!("node {name} to run"), async || {
        let found = engine.listing(place.cluster()).await?;
        Ok(found.nodes.into_iter().find(|node| node.node == name && node.running))
    })
    .await
}

#[when(expr = "node {word} loses its power as soon as it runs")]
#[when(expr = "node {word} loses its power")]
async fn lose_power(trial: &mut Trial, name: String) -> Outcome {
    let container = find(trial, &name).await?;
    Engine::find()?.kill(&container).await
}

#[when("the times at which the nodes were started are noted")]
async fn note_starts(trial: &mut Trial) -> Outcome {
    let found = starts(trial).await?;
    trial.noted.insert("starts".to_owned(), found);
    Ok(())
}

#[then("the nodes were started at the times noted")]
async fn starts_as_noted(trial: &mut Trial) -> Outcome {
    let found = starts(trial).await?;
    trial.still("starts", &found)
}

async fn starts(trial: &mut Trial) -> Outcome<String> {
    let engine = Engine::find()?;
    let listing = trial.listing().await?;
    let mut found = Vec::new();
    for node in &listing.nodes {
        found.push(format!("{} {}", node.node, engine.details(node).await?.started));
    }
    Ok(found.join("\n"))
}

#[then(expr = "the provider lists the node(s) {string}")]
async fn lists_nodes(trial: &mut Trial, wanted: String) -> Outcome {
    let found = trial.listing().await?;
    let names = found.names().join(", ");
    ensure(names == wanted, || format!("it lists {names}"))
}
