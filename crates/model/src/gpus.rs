//! GPUs that nodes have, read from what a node's own tools print, and held against the design.
//!
//! A node prints sections (`@nvidia-smi`, `@pci` …), each the unchanged output of one tool or file, so that what a strange machine
//! printed can be kept as a test. The best source that is there wins: `nvidia-smi`, else the driver's files below `/proc`, else
//! the PCI bus, which knows of cards that no driver serves.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::{Architecture, Design, Gpu};

/// What one node said about its GPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GpuReport {
    /// Its instruction set as `uname -m` names it.
    pub machine: String,
    /// What jobs could use, in the order of their device files.
    pub gpus: Vec<FoundGpu>,
    /// Why something that is there can't be used, and what to do; nothing when all is well.
    pub problems: Vec<String>,
}

/// One GPU, or one part of it where MIG is on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundGpu {
    /// Its type as a design writes it, for example `t4`.
    pub model: String,
    /// Its device files, joined by commas.
    pub device: String,
    /// Its name as its maker writes it.
    pub name: String,
    /// Memory of the whole GPU, where it is known.
    pub memory_mib: Option<u64>,
}

/// A line of a comparison: one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct GpuRow {
    /// The node.
    pub node: String,
    /// Its group.
    pub group: String,
    /// What the design says, such as `t4:2`.
    pub designed: String,
    /// What the node has.
    pub found: String,
    /// How the two agree.
    pub state: GpuState,
    /// How they differ.
    pub detail: String,
    /// What to do about it.
    pub help: String,
}

/// How a node agrees with its design.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GpuState {
    /// As designed.
    Good,
    /// It works, and a person should know of it.
    Note,
    /// Jobs would fail, or the node would be drained.
    Bad,
}

const NVIDIA: &str = "0x10de";
const AMD: &str = "0x1002";

/// Devices of NVIDIA by their number, for nodes on which no driver says a name.
const KNOWN: [(&str, &str); 28] = [
    ("0x15f8", "Tesla P100-PCIE-16GB"),
    ("0x15f9", "Tesla P100-SXM2-16GB"),
    ("0x1b38", "Tesla P40"),
    ("0x1bb3", "Tesla P4"),
    ("0x1db1", "Tesla V100-SXM2-16GB"),
    ("0x1db4", "Tesla V100-PCIE-16GB"),
    ("0x1db5", "Tesla V100-SXM2-32GB"),
    ("0x1db6", "Tesla V100-PCIE-32GB"),
    ("0x1eb8", "Tesla T4"),
    ("0x20b0", "NVIDIA A100-SXM4-40GB"),
    ("0x20b2", "NVIDIA A100-SXM4-80GB"),
    ("0x20b5", "NVIDIA A100 80GB PCIe"),
    ("0x20b7", "NVIDIA A30"),
    ("0x20f1", "NVIDIA A100-PCIE-40GB"),
    ("0x2230", "NVIDIA RTX A6000"),
    ("0x2235", "NVIDIA A40"),
    ("0x2236", "NVIDIA A10"),
    ("0x2237", "NVIDIA A10G"),
    ("0x2321", "NVIDIA H100 NVL"),
    ("0x2330", "NVIDIA H100 80GB HBM3"),
    ("0x2331", "NVIDIA H100 PCIe"),
    ("0x2335", "NVIDIA H200"),
    ("0x2342", "NVIDIA GH200 480GB"),
    ("0x25b6", "NVIDIA A2"),
    ("0x26b5", "NVIDIA L40"),
    ("0x26b9", "NVIDIA L40S"),
    ("0x27b8", "NVIDIA L4"),
    ("0x2901", "NVIDIA B200"),
];

impl GpuReport {
    /// Reads what a node printed; nothing when it broke off before its end.
    pub fn parse(text: &str) -> Option<Self> {
        let sections = sections(text);
        sections.get("end")?;
        let lines = |name: &str| sections.get(name).map(Vec::as_slice).unwrap_or_default();
        let mut report = Self {
            machine: lines("machine")
                .first()
                .map(|line| (*line).to_owned())
                .unwrap_or_default(),
            ..Self::default()
        };
        let cards = cards(lines("pci"));
        let driver: Vec<Driver> = lines("driver").iter().filter_map(|line| Driver::read(line)).collect();
        let rows: Vec<SmiRow> = lines("nvidia-smi")
            .iter()
            .filter_map(|line| SmiRow::read(line))
            .collect();
        if !rows.is_empty() {
            let instances: Vec<Instance> = lines("mig").iter().filter_map(|line| Instance::read(line)).collect();
            let minors = minors(lines("mig-minors"));
            for row in rows {
                row.into_gpus(&driver, &instances, &minors, &mut report);
            }
        } else {
            for gpu in &driver {
                report.gpus.push(FoundGpu {
                    model: model(&gpu.name),
                    device: format!("/dev/nvidia{}", gpu.minor),
                    name: gpu.name.clone(),
                    memory_mib: None,
                });
            }
            if driver.is_empty() && !cards.is_empty() {
                let said = lines("nvidia-smi-error").first().map_or_else(
                    || "nvidia-smi is not installed, and the driver is not loaded".to_owned(),
                    |line| (*line).to_owned(),
                );
                report.problems.push(format!(
                    "{} on the PCI bus, and no driver serves them: {said}",
                    cards.join(", ")
                ));
            }
        }
        report.gpus.sort_by_key(|gpu| device_number(&gpu.device));
        let there: BTreeSet<&str> = lines("devices").iter().copied().collect();
        for gpu in &report.gpus {
            if let Some(missing) = gpu.device.split(',').find(|file| !there.contains(file)) {
                report.problems.push(format!(
                    "{} has no device file {missing}: run nvidia-modprobe -c 0 -u, or nvidia-smi once as root",
                    gpu.name
                ));
            }
        }
        for line in lines("pci") {
            if let [place, AMD, _, class] = line.split_whitespace().collect::<Vec<_>>()[..]
                && (class.starts_with("0x0380") || class.starts_with("0x0302"))
            {
                report
                    .problems
                    .push(format!("a GPU of AMD at {place}: only NVIDIA's are made into GRES"));
            }
        }
        Some(report)
    }

    /// The same as a design writes it: by type, with device files.
    pub fn gpus(&self) -> Vec<Gpu> {
        let mut gpus: Vec<Gpu> = Vec::new();
        for found in &self.gpus {
            match gpus.iter_mut().find(|gpu| gpu.model == found.model) {
                Some(gpu) => {
                    gpu.count += 1;
                    gpu.devices.push(found.device.clone());
                }
                None => gpus.push(Gpu {
                    model: found.model.clone(),
                    count: 1,
                    devices: vec![found.device.clone()],
                }),
            }
        }
        gpus
    }
}

/// Holds what nodes have against their design: a row for each node that was looked at, in the design's order; and by group, what to write
/// into the design where all of its nodes that have GPUs have the same.
pub fn compare_gpus(
    design: &Design,
    architecture: Architecture,
    reports: &BTreeMap<String, GpuReport>,
) -> (Vec<GpuRow>, BTreeMap<String, Vec<Gpu>>) {
    let mut rows = Vec::new();
    let mut found_by_group: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut proposals = BTreeMap::new();
    for node in design.nodes() {
        let (Some(report), Some(group)) = (reports.get(&node.name), design.group(&node.group)) else {
            continue;
        };
        let found = report.gpus();
        let (mut state, mut detail, mut help) = judge(&group.gpus, &found, &report.problems);
        if let Some(machine) = Architecture::of(&report.machine)
            && architecture != Architecture::Native
            && machine != architecture
        {
            state = GpuState::Bad;
            detail = format!("the node is {machine}, and its flavor says {architecture}");
            help = "correct the provider's flavor: images of one do not run on the other".to_owned();
        }
        found_by_group
            .entry(group.name.clone())
            .or_default()
            .insert(format!("{found:?}"));
        if !found.is_empty() {
            proposals.insert(group.name.clone(), found.clone());
        }
        rows.push(GpuRow {
            node: node.name,
            group: group.name.clone(),
            designed: words(&group.gpus),
            found: words(&found),
            state,
            detail,
            help,
        });
    }
    proposals.retain(|group, _| found_by_group.get(group).is_some_and(|kinds| kinds.len() == 1));
    (rows, proposals)
}

fn judge(designed: &[Gpu], found: &[Gpu], problems: &[String]) -> (GpuState, String, String) {
    let listed = designed.iter().any(|gpu| !gpu.devices.is_empty());
    let problem = problems.join("; ");
    let wrong = |detail: String, help: &str| (GpuState::Bad, detail, help.to_owned());
    match (designed, found) {
        ([], []) if problems.is_empty() => (GpuState::Good, "no GPUs".to_owned(), String::new()),
        ([], []) => (
            GpuState::Note,
            problem,
            "install the driver if jobs are to use it".to_owned(),
        ),
        ([], found) => (
            GpuState::Note,
            "not in the design: no job can ask for them".to_owned(),
            format!("write gpus: \"{}\" for the group, or take what was found", words(found)),
        ),
        (_, []) if !problems.is_empty() => wrong(problem, "install the driver on the node's image or machine"),
        (_, []) if listed => wrong(
            format!("the node has no {}", words(designed)),
            "repair the node, or take it out of the group",
        ),
        (_, []) => (
            GpuState::Note,
            "only counted: Slurm gives them out, and jobs find no device".to_owned(),
            String::new(),
        ),
        (designed, found) if counts(designed) != counts_like(found, designed) => wrong(
            format!("the design says {}, the node has {}", words(designed), words(found)),
            "repair the node, put it into a group of its own, or correct the group's gpus",
        ),
        _ if !problems.is_empty() => wrong(problem, "see to the node's driver"),
        _ if !listed => (
            GpuState::Note,
            "counted in the design, and the devices are there".to_owned(),
            "take what was found, so that each job gets a device of its own".to_owned(),
        ),
        (designed, found) if files(designed) != files(found) => wrong(
            format!("the design lists {}, the node has {}", files(designed), files(found)),
            "take what was found, or put the node into a group of its own",
        ),
        _ => (GpuState::Good, "as designed".to_owned(), String::new()),
    }
}

/// GPUs by type, as a design writes them in short.
fn words(gpus: &[Gpu]) -> String {
    let words: Vec<String> = gpus.iter().map(Gpu::to_string).collect();
    words.join(",")
}

fn counts(gpus: &[Gpu]) -> BTreeMap<String, u32> {
    gpus.iter().map(|gpu| (gpu.model.to_lowercase(), gpu.count)).collect()
}

/// Counted without types where the design has none.
fn counts_like(found: &[Gpu], designed: &[Gpu]) -> BTreeMap<String, u32> {
    if matches!(designed, [only] if only.model.is_empty()) {
        return BTreeMap::from([(String::new(), found.iter().map(|gpu| gpu.count).sum())]);
    }
    counts(found)
}

fn files(gpus: &[Gpu]) -> String {
    let mut files: Vec<&str> = gpus.iter().flat_map(|gpu| &gpu.devices).map(String::as_str).collect();
    files.sort_unstable();
    files.join(" ")
}

fn sections(text: &str) -> BTreeMap<&str, Vec<&str>> {
    let mut sections: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut open = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('@') {
            open = name;
            sections.entry(name).or_default();
        } else if !line.trim().is_empty() {
            sections.entry(open).or_default().push(line.trim());
        }
    }
    sections
}

/// NVIDIA's cards on the bus, by name.
fn cards(lines: &[&str]) -> Vec<String> {
    lines
        .iter()
        .filter_map(|line| match line.split_whitespace().collect::<Vec<_>>()[..] {
            [place, NVIDIA, device, class] if class.starts_with("0x0300") || class.starts_with("0x0302") => {
                Some(KNOWN.iter().find(|(number, _)| *number == device).map_or_else(
                    || format!("NVIDIA device {device} at {place}"),
                    |(_, name)| (*name).to_owned(),
                ))
            }
            _ => None,
        })
        .collect()
}

/// A GPU in the driver's files: `0000:3b:00.0|Tesla T4|0`.
struct Driver {
    place: String,
    name: String,
    minor: u32,
}

impl Driver {
    fn read(line: &str) -> Option<Self> {
        let mut fields = line.split('|');
        Some(Self {
            place: bus(fields.next()?),
            name: fields.next()?.trim().to_owned(),
            minor: fields.next()?.trim().parse().ok()?,
        })
    }
}

/// A line of `nvidia-smi --query-gpu=index,pci.bus_id,name,memory.total,mig.mode.current --format=csv,noheader,nounits`.
struct SmiRow {
    index: u32,
    place: String,
    name: String,
    memory_mib: Option<u64>,
    mig: bool,
}

impl SmiRow {
    fn read(line: &str) -> Option<Self> {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let [index, place, name, memory, mig] = fields[..] else {
            return None;
        };
        Some(Self {
            index: index.parse().ok()?,
            place: bus(place),
            name: name.to_owned(),
            memory_mib: memory.parse().ok(),
            mig: mig == "Enabled",
        })
    }

    fn into_gpus(
        self,
        driver: &[Driver],
        instances: &[Instance],
        minors: &BTreeMap<String, u32>,
        report: &mut GpuReport,
    ) {
        // nvidia-smi counts along the bus, device files as the driver found them.
        let minor = driver
            .iter()
            .find(|gpu| gpu.place == self.place)
            .map_or(self.index, |gpu| gpu.minor);
        let device = format!("/dev/nvidia{minor}");
        let kind = model(&self.name);
        if !self.mig {
            report.gpus.push(FoundGpu {
                model: kind,
                device,
                name: self.name,
                memory_mib: self.memory_mib,
            });
            return;
        }
        let mut parts = instances.iter().filter(|part| part.gpu == self.index).peekable();
        if parts.peek().is_none() {
            report.problems.push(format!(
                "GPU {} ({}) is in MIG mode and has no parts: make some with nvidia-smi mig -cgi … -C, or turn the mode off",
                self.index, self.name
            ));
        }
        for part in parts {
            let instance = format!("gpu{minor}/gi{}", part.gpu_instance);
            let cap = |name: String| minors.get(&name).map(|cap| format!("/dev/nvidia-caps/nvidia-cap{cap}"));
            let caps =
                cap(format!("{instance}/access")).zip(cap(format!("{instance}/ci{}/access", part.compute_instance)));
            match caps {
                Some((gpu, compute)) => report.gpus.push(FoundGpu {
                    model: format!("{kind}_{}", part.profile.replace('+', "_")),
                    device: format!("{device},{gpu},{compute}"),
                    name: format!("{} MIG {}", self.name, part.profile),
                    memory_mib: self.memory_mib,
                }),
                None => report.problems.push(format!(
                    "{instance}/ci{} has no device files below /dev/nvidia-caps: run nvidia-smi once as root",
                    part.compute_instance
                )),
            }
        }
    }
}

/// A row of `nvidia-smi mig -lci`: `|   0      7       MIG 1g.5gb           0         0          0:1     |`.
struct Instance {
    gpu: u32,
    gpu_instance: u32,
    profile: String,
    compute_instance: u32,
}

impl Instance {
    fn read(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["|", gpu, gpu_instance, "MIG", profile, _, compute_instance, _, "|"] = words[..] else {
            return None;
        };
        Some(Self {
            gpu: gpu.parse().ok()?,
            gpu_instance: gpu_instance.parse().ok()?,
            profile: profile.to_owned(),
            compute_instance: compute_instance.parse().ok()?,
        })
    }
}

/// `gpu0/gi7/access 66`, by what is before the number.
fn minors(lines: &[&str]) -> BTreeMap<String, u32> {
    lines
        .iter()
        .filter_map(|line| {
            let (name, number) = line.rsplit_once(' ')?;
            Some((name.to_owned(), number.parse().ok()?))
        })
        .collect()
}

/// `00000000:3B:00.0` and `0000:3b:00.0` are the same place.
fn bus(text: &str) -> String {
    let text = text.trim().to_lowercase();
    match text.split_once(':') {
        Some((domain, rest)) if domain.len() > 4 => format!("{}:{rest}", &domain[domain.len() - 4..]),
        _ => text,
    }
}

fn device_number(files: &str) -> (u32, String) {
    let first = files.split(',').next().unwrap_or_default();
    let number = first.trim_start_matches(|character: char| !character.is_ascii_digit());
    // Parts of one GPU in the order of their capability files.
    (number.parse().unwrap_or(u32::MAX), format!("{:>60}", files))
}

/// `NVIDIA A100-SXM4-40GB` → `a100`: short enough to type, the same for all forms of one chip.
fn model(name: &str) -> String {
    let dropped = |word: &str| {
        [
            "nvidia",
            "tesla",
            "geforce",
            "quadro",
            "pcie",
            "nvl",
            "generation",
            "gpu",
            "laptop",
        ]
        .contains(&word)
            || ["sxm", "hbm"].iter().any(|start| word.starts_with(start))
            || word
                .strip_suffix("gb")
                .is_some_and(|size| !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let lower = name.to_lowercase();
    let words: Vec<&str> = lower
        .split(|character: char| !character.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty() && !dropped(word))
        .collect();
    if words.is_empty() {
        "nvidia".to_owned()
    } else {
        words.join("_")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_short_and_the_same_for_all_forms_of_a_chip() {
        for (name, wanted) in [
            ("Tesla T4", "t4"),
            ("NVIDIA A100-SXM4-40GB", "a100"),
            ("NVIDIA A100 80GB PCIe", "a100"),
            ("A100-PCIE-40GB", "a100"),
            ("Tesla V100-SXM2-32GB", "v100"),
            ("NVIDIA H100 80GB HBM3", "h100"),
            ("NVIDIA H100 NVL", "h100"),
            ("NVIDIA GH200 480GB", "gh200"),
            ("NVIDIA L40S", "l40s"),
            ("NVIDIA RTX 6000 Ada Generation", "rtx_6000_ada"),
            ("NVIDIA GeForce RTX 4090", "rtx_4090"),
            ("Quadro RTX 8000", "rtx_8000"),
            ("NVIDIA Graphics Device", "graphics_device"),
            ("NVIDIA", "nvidia"),
        ] {
            assert_eq!(model(name), wanted, "{name}");
        }
        for (_, name) in KNOWN {
            assert!(!model(name).contains(' ') && model(name) != "nvidia", "{name}");
        }
    }

    #[test]
    fn half_a_report_is_none() {
        assert_eq!(GpuReport::parse("@machine\nx86_64\n@pci\n"), None);
        assert_eq!(GpuReport::parse(""), None);
        let whole = GpuReport::parse("@machine\nx86_64\n@end\n").unwrap();
        assert_eq!((whole.machine.as_str(), whole.gpus.len()), ("x86_64", 0));
    }
}
