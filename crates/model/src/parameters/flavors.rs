//! Flavors: the default, and whether a provider offers what a design names.

use super::fault;
use super::names::default_text;
use crate::error::nearest;
use crate::{Architecture, Design, Fault, Faults, Flavor};

impl Design {
    /// Checks that every flavor that the design names is one that the provider offers.
    pub fn check_flavors(&self, offered: &[Flavor]) -> Result<(), Faults> {
        let names: Vec<&str> = offered.iter().map(|flavor| flavor.name.as_str()).collect();
        let mut faults = Vec::new();
        let wanted = std::iter::once(("master.flavor".to_owned(), &self.master.flavor)).chain(
            self.groups
                .iter()
                .enumerate()
                .map(|(index, group)| (format!("groups[{index}].flavor"), &group.flavor)),
        );
        for (path, flavor) in wanted {
            if !names.contains(&flavor.as_str()) {
                let message = format!("the provider {} has no flavor '{flavor}'", self.provider);
                let help = match nearest(flavor, names.iter().copied()) {
                    Some(name) => format!("did you mean '{name}'? It has {}", names.join(", ")),
                    None => format!("it has {}", names.join(", ")),
                };
                fault(&mut faults, path, message, help);
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(Faults(faults)) }
    }
}

impl Design {
    /// Checks GPUs against the flavors that are to have them. `counted` says that a provider's nodes may have GPUs that are only
    /// counted, for trying out schedules on machines without any. Flavors that aren't offered are [`Self::check_flavors`]'s.
    pub fn check_gpus(&self, offered: &[Flavor], counted: bool) -> Result<(), Faults> {
        let mut faults = Vec::new();
        for (index, group) in self.groups.iter().enumerate() {
            let Some(flavor) = offered.iter().find(|flavor| flavor.name == group.flavor) else {
                continue;
            };
            let path = format!("groups[{index}].gpus");
            // Parts of a GPU count as parts: how many there may be is between the driver and its owner.
            let whole: u32 = group
                .gpus
                .iter()
                .filter(|gpu| !gpu.devices.iter().any(|device| device.contains(',')))
                .map(|gpu| gpu.count)
                .sum();
            let with = offered
                .iter()
                .filter(|flavor| flavor.gpus >= whole)
                .map(|flavor| flavor.name.as_str())
                .collect::<Vec<_>>();
            let help = if with.is_empty() {
                format!("leave gpus out: no flavor of {} has that many", self.provider)
            } else {
                format!("leave gpus out, or choose a flavor that has them: {}", with.join(", "))
            };
            if group.gpus.is_empty() || (flavor.gpus == 0 && counted) {
                continue;
            }
            if flavor.gpus == 0 {
                let message = format!("GPUs are asked for, and the flavor {} has none", flavor.name);
                fault(&mut faults, path, message, help);
            } else if whole > flavor.gpus {
                let message = format!("the flavor {} has {}, not {whole}", flavor.name, flavor.gpus);
                fault(&mut faults, path, message, help);
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(Faults(faults)) }
    }

    /// The one instruction set of all nodes. A cluster of several is refused: its nodes share an image and, in their homes, programs.
    pub fn common_architecture(&self, offered: &[Flavor]) -> Result<Architecture, Faults> {
        let of = |name: &str| offered.iter().find(|flavor| flavor.name == name);
        let mut faults = Vec::new();
        let mut common = (self.architecture, "architecture".to_owned());
        let wanted = std::iter::once(("master.flavor".to_owned(), &self.master.flavor)).chain(
            self.groups
                .iter()
                .enumerate()
                .map(|(index, group)| (format!("groups[{index}].flavor"), &group.flavor)),
        );
        for (path, name) in wanted {
            let Some(flavor) = of(name) else { continue };
            let found = flavor.architecture;
            if found == Architecture::Native || found == common.0 {
                continue;
            }
            if common.0 == Architecture::Native {
                common = (found, path);
                continue;
            }
            let alike: Vec<&str> = offered
                .iter()
                .filter(|flavor| flavor.architecture == common.0)
                .map(|flavor| flavor.name.as_str())
                .collect();
            let help = if alike.is_empty() {
                format!("the provider {} has no flavor with {}", self.provider, common.0)
            } else {
                format!(
                    "write one with {}: {}; a cluster has one, since its nodes share an image and homes",
                    common.0,
                    alike.join(", ")
                )
            };
            let message = format!("the flavor {name} is {found}, and {} says {}", common.1, common.0);
            fault(&mut faults, path, message, help);
        }
        if faults.is_empty() {
            Ok(common.0)
        } else {
            Err(Faults(faults))
        }
    }
}

pub(super) fn resolve(given: Option<String>, path: &str, faults: &mut Vec<Fault>) -> String {
    default_text(given, "small", path, faults)
}
