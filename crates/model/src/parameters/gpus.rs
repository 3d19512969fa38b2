//! GPUs of a group: a number, an expression such as `t4:2`, or a list with device files.

use std::collections::HashSet;

use serde_json::Value;

use super::fault;
use super::level::Level;
use crate::{Fault, Gpu};

/// More than this in one node is a slip; MIG makes up to seven of each of sixteen.
const MOST: u32 = 128;

#[derive(Default)]
pub(super) struct RawGpu {
    path: String,
    model: Option<String>,
    count: Option<u32>,
    count_given: bool,
    devices: Vec<String>,
}

pub(super) fn read(level: &mut Level<'_, '_>) -> Vec<RawGpu> {
    let path = format!("{}.gpus", level.path);
    match level.get("gpus") {
        Some(Value::Number(_)) => match level.number("gpus", 0, MOST) {
            None | Some(0) => Vec::new(),
            Some(count) => vec![RawGpu {
                path,
                count: Some(count),
                count_given: true,
                ..RawGpu::default()
            }],
        },
        Some(Value::String(text)) => {
            let read: Option<Vec<RawGpu>> = text.split(',').map(|part| expression(part.trim(), &path)).collect();
            if read.is_none() {
                level.fault(
                    "gpus",
                    format!("{text:?} does not say how many GPUs"),
                    "write a number, TYPE:NUMBER such as t4:2, or a list of type, count and devices",
                );
            }
            read.unwrap_or_default()
        }
        _ => level
            .items("gpus", &["type", "count", "devices"], |level| RawGpu {
                path: level.path.clone(),
                model: level.text("type"),
                count_given: level.get("count").is_some(),
                count: level.number("count", 1, MOST),
                devices: level.texts("devices").unwrap_or_default(),
            })
            .unwrap_or_default(),
    }
}

/// `2` or `t4:2`.
fn expression(text: &str, path: &str) -> Option<RawGpu> {
    let (model, count) = match text.rsplit_once(':') {
        Some((model, count)) if !model.is_empty() => (Some(model.to_owned()), count),
        Some(_) => return None,
        None => (None, text),
    };
    let count = count.parse().ok().filter(|count| (1..=MOST).contains(count))?;
    Some(RawGpu {
        path: path.to_owned(),
        model,
        count: Some(count),
        count_given: true,
        devices: Vec::new(),
    })
}

pub(super) fn resolve(raw: Vec<RawGpu>, faults: &mut Vec<Fault>) -> Vec<Gpu> {
    let several = raw.len() > 1;
    let mut models: HashSet<String> = HashSet::new();
    let mut devices: HashSet<String> = HashSet::new();
    let mut gpus = Vec::new();
    for gpu in raw {
        let model = gpu.model.unwrap_or_default();
        if !model.is_empty() && !is_model(&model) {
            fault(
                faults,
                &gpu.path,
                format!("{model:?} can't be a type of GPU"),
                "write letters, digits, '_', '-' and '.', such as a100_1g.5gb",
            );
        } else if model.is_empty() && several {
            fault(
                faults,
                &gpu.path,
                "there are several kinds of GPU, and this one has no type",
                "write a type for each, such as t4",
            );
        } else if !models.insert(model.to_lowercase()) {
            fault(
                faults,
                &gpu.path,
                format!("the type '{model}' is in the list twice"),
                "write each type once, with all of its GPUs",
            );
        }
        for (index, device) in gpu.devices.iter().enumerate() {
            let path = format!("{}.devices[{index}]", gpu.path);
            if !device.split(',').all(is_device) {
                fault(
                    faults,
                    path,
                    format!("{device:?} is no device file"),
                    "write a path such as /dev/nvidia0; for a part of a GPU all of its files, joined by commas",
                );
            } else if !devices.insert(device.clone()) {
                fault(faults, path, format!("{device} is there twice"), "write each GPU once");
            }
        }
        let listed = u32::try_from(gpu.devices.len()).unwrap_or(u32::MAX);
        let count = match gpu.count {
            Some(count) if listed > 0 && listed != count => {
                fault(
                    faults,
                    &gpu.path,
                    format!(
                        "the count is {count}, and there {}",
                        if listed == 1 {
                            "is one device".to_owned()
                        } else {
                            format!("are {listed} devices")
                        }
                    ),
                    "leave the count out, or list as many devices",
                );
                continue;
            }
            Some(count) => count,
            None if gpu.count_given => continue,
            None if listed == 0 => {
                fault(
                    faults,
                    &gpu.path,
                    "it says neither how many GPUs nor which devices",
                    "write a count",
                );
                continue;
            }
            None => listed,
        };
        gpus.push(Gpu {
            model,
            count,
            devices: gpu.devices,
        });
    }
    gpus
}

fn is_model(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|character: char| character.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

fn is_device(path: &str) -> bool {
    path.strip_prefix("/dev/").is_some_and(|rest| {
        !rest.is_empty()
            && rest.split('/').all(|part| {
                !part.is_empty()
                    && part != ".."
                    && part
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte))
            })
    })
}
