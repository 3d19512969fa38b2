//! Flavors: the default, and whether a provider offers what a design names.

use super::fault;
use super::names::default_text;
use crate::error::nearest;
use crate::{Design, Fault, Faults, Flavor};

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

pub(super) fn resolve(given: Option<String>, path: &str, faults: &mut Vec<Fault>) -> String {
    default_text(given, "small", path, faults)
}
