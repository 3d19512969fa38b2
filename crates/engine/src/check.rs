//! Everything about a design that can be found out before anything is made, as a table of checks.

use std::collections::BTreeMap;

use clusterbook_model::{Architecture, Design, Faults, Flavor};
use clusterbook_providers::{Provider, Scope};
use serde::Serialize;

use crate::engine::Engine;
use crate::inventory::{self, plural};

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at: `provider`, `name`, `flavors`, `nodes`, …
    pub what: String,
    /// How it is.
    pub state: CheckState,
    /// What was found.
    pub detail: String,
    /// What to do about it; empty when nothing needs doing.
    pub help: String,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckState {
    /// As it should be.
    Good,
    /// It works, and a person should know of it.
    Note,
    /// An apply would fail.
    Bad,
}

impl Engine {
    /// Checks a design against the provider and this state folder. Never fails: what can't be found out is a bad row.
    pub async fn check(&self, design: &Design) -> Vec<Check> {
        let mut checks = vec![row(
            "design",
            CheckState::Good,
            [
                plural(design.nodes().len(), "node"),
                plural(design.partitions.len(), "partition"),
                plural(design.users.len(), "user"),
            ]
            .join(", "),
            "",
        )];
        let provider = match self.provider(&design.provider) {
            Ok(provider) => provider,
            Err(error) => {
                checks.push(bad(
                    "provider",
                    error.chain().join(": "),
                    error.hint().unwrap_or_default(),
                ));
                return checks;
            }
        };
        match provider.check().await {
            Ok(()) => checks.push(row("provider", CheckState::Good, design.provider.clone(), "")),
            Err(error) => {
                checks.push(bad("provider", error.message, error.hint));
                return checks;
            }
        }
        let mut architecture = Architecture::Native;
        let mut offered: BTreeMap<String, Flavor> = BTreeMap::new();
        if !provider.capabilities().network_mounts {
            checks.extend(design.mounts.iter().map(|mount| {
                row(
                    "storage",
                    CheckState::Note,
                    format!(
                        "a shared disk of its own stands for {} at {}",
                        mount.source, mount.mount
                    ),
                    "",
                )
            }));
        }
        match provider.flavors().await {
            Err(error) => checks.push(bad("flavors", error.message, error.hint)),
            Ok(flavors) => match fits(design, &flavors, provider.as_ref()) {
                Ok(found) => {
                    architecture = found;
                    checks.push(row("flavors", CheckState::Good, demand(design, &flavors), ""));
                    checks.extend(gpus(design, &flavors));
                    offered = flavors
                        .into_iter()
                        .map(|flavor| (flavor.name.clone(), flavor))
                        .collect();
                }
                Err(faults) => checks.extend(
                    faults
                        .0
                        .into_iter()
                        .map(|fault| bad("flavors", format!("{}: {}", fault.path, fault.message), fault.help)),
                ),
            },
        }
        let known = match self.store().cluster(&design.name) {
            Ok(known) => known,
            Err(error) => {
                let error = crate::Error::from(error);
                checks.push(bad("state", error.chain().join(": "), error.hint().unwrap_or_default()));
                return checks;
            }
        };
        let found = match self.inventory(provider.as_ref(), &Scope::All).await {
            Ok(all) => inventory::ours(
                all,
                &design.name,
                known.as_ref().map(|row| row.id.as_str()),
                provider.name(),
            ),
            Err(error) => Err(error),
        };
        match found {
            Err(error) => checks.push(bad("name", error.chain().join(": "), error.hint().unwrap_or_default())),
            Ok(found) => {
                let detail = match &known {
                    None => "free".to_owned(),
                    Some(row) => format!(
                        "yours: {} of its nodes exist, {} applies",
                        found.nodes.len(),
                        self.cluster(&row.name).map_or(0, |cluster| cluster.applies)
                    ),
                };
                checks.push(row("name", CheckState::Good, detail, ""));
                match clusterbook_model::recipes(&design.image, architecture, &design.containers) {
                    Err(faults) => checks.push(bad("images", faults.to_string(), String::new())),
                    Ok(recipes) => {
                        let missing: Vec<&str> =
                            inventory::missing_images(design.nodes().iter(), &recipes, &offered, &found)
                                .into_iter()
                                .map(|recipe| recipe.name.as_str())
                                .collect();
                        checks.push(if missing.is_empty() {
                            row("images", CheckState::Good, "built".to_owned(), "")
                        } else {
                            row(
                                "images",
                                CheckState::Note,
                                format!("{} will be built, which takes a minute or two", missing.join(", ")),
                                "",
                            )
                        });
                    }
                }
            }
        }
        for user in design.users.iter().filter(|user| user.keys.is_empty()) {
            checks.push(row(
                "keys",
                CheckState::Note,
                format!("{} has no SSH key, so nobody can log in as {}", user.name, user.name),
                "add the public key to the user's `keys`",
            ));
        }
        checks
    }
}

fn row(what: &str, state: CheckState, detail: String, help: &str) -> Check {
    Check {
        what: what.to_owned(),
        state,
        detail,
        help: help.to_owned(),
    }
}

fn bad(what: &str, detail: String, help: String) -> Check {
    Check {
        help,
        ..row(what, CheckState::Bad, detail, "")
    }
}

/// Whether the flavors are there and have what is asked of them; gives their architecture.
pub(crate) fn fits(design: &Design, flavors: &[Flavor], provider: &dyn Provider) -> Result<Architecture, Faults> {
    design.check_flavors(flavors)?;
    let mut faults = Vec::new();
    if let Err(more) = design.check_gpus(flavors, provider.capabilities().counted_gpus) {
        faults.extend(more.0);
    }
    match design.common_architecture(flavors) {
        Ok(architecture) if faults.is_empty() => return Ok(architecture),
        Ok(_) => {}
        Err(more) => faults.extend(more.0),
    }
    Err(Faults(faults))
}

/// What a person should know of the groups' GPUs.
fn gpus(design: &Design, flavors: &[Flavor]) -> Vec<Check> {
    let counted = |group: &&clusterbook_model::Group| {
        !group.gpus.is_empty()
            && flavors
                .iter()
                .any(|flavor| flavor.name == group.flavor && flavor.gpus == 0)
    };
    design
        .groups
        .iter()
        .filter(counted)
        .map(|group| {
            let gpus: Vec<String> = group.gpus.iter().map(ToString::to_string).collect();
            row(
                "GPUs",
                CheckState::Note,
                format!(
                    "{} of group {} are only counted: Slurm gives them out, and jobs find no device",
                    gpus.join(","),
                    group.name
                ),
                "",
            )
        })
        .collect()
}

/// What the design asks of the provider in all.
fn demand(design: &Design, flavors: &[Flavor]) -> String {
    let by_name: BTreeMap<&str, &Flavor> = flavors.iter().map(|flavor| (flavor.name.as_str(), flavor)).collect();
    let (mut cpus, mut memory) = (0_u64, 0_u64);
    for node in design.nodes() {
        if let Some(flavor) = by_name.get(node.flavor.as_str()) {
            cpus += u64::from(flavor.cpus);
            memory += flavor.memory.bytes();
        }
    }
    format!("{cpus} virtual CPUs and {} GiB in all", memory / (1 << 30))
}
