//! The script that looks at GPUs, on pretended machines: folders that hold what the recorded machines had.

use std::collections::BTreeMap;
use std::process::Command;

use super::*;
use crate::script::tests::shell;

const SCRIPT: &str = include_str!("../node/gpus.sh");
const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../model/tests/gpus");
/// Of the fields that nvidia-smi can be asked for, those that machines were recorded with.
const FIELDS: &str = "index,pci.bus_id,gpu_bus_id,name,gpu_name,memory.total,mig.mode.current";

/// What a machine printed, by section.
type Sections = BTreeMap<String, Vec<String>>;

fn sections(text: &str) -> Sections {
    let mut sections = Sections::new();
    let mut open = String::new();
    for line in text.lines() {
        match line.strip_prefix('@') {
            Some(name) => name.clone_into(&mut open),
            None => sections.entry(open.clone()).or_default().push(line.to_owned()),
        }
    }
    // The shell lists files in the order of their bytes, which nobody cares for.
    if let Some(devices) = sections.get_mut("devices") {
        devices.sort();
    }
    sections
}

fn recorded(name: &str) -> String {
    fs_err::read_to_string(format!("{RECORDED}/{name}.txt")).expect("a recorded machine")
}

/// A folder that stands for the root of a machine.
struct Machine {
    root: tempfile::TempDir,
}

impl Machine {
    fn with(recorded: &Sections) -> Self {
        let machine = Self {
            root: tempfile::tempdir().expect("a folder"),
        };
        let lines = |section: &str| recorded.get(section).map(Vec::as_slice).unwrap_or_default();
        let text = |section: &str| {
            lines(section)
                .iter()
                .map(|line| format!("{line}\n"))
                .collect::<String>()
        };
        machine.program(
            "uname",
            &format!("#!/bin/sh\n[ \"$*\" = -m ] && echo {}\n", lines("machine")[0]),
        );
        for device in lines("devices") {
            // A link to it is as good as a character device to whoever asks, and takes no rights to make.
            machine.folder_of(device);
            std::os::unix::fs::symlink("/dev/null", machine.path(device)).expect("a link");
        }
        for line in lines("driver") {
            let fields: Vec<&str> = line.split('|').collect();
            machine.file(
                &format!("/proc/driver/nvidia/gpus/{}/information", fields[0]),
                &format!(
                    "Model: \t\t {}\nIRQ:   \t\t 64\nGPU UUID: \t GPU-????????-????-????-????-????????????\n\
                     Video BIOS: \t ??.??.??.??.??\nBus Type: \t PCIe\nDMA Size: \t 47 bits\nDMA Mask: \t 0x7fffffffffff\n\
                     Bus Location: \t {}\nDevice Minor: \t {}\nGPU Excluded:\t No\n",
                    fields[1], fields[0], fields[2]
                ),
            );
        }
        for line in lines("pci") {
            let fields: Vec<&str> = line.split(' ').collect();
            for (file, text) in [("vendor", fields[1]), ("device", fields[2]), ("class", fields[3])] {
                machine.file(
                    &format!("/sys/bus/pci/devices/{}/{file}", fields[0]),
                    &format!("{text}\n"),
                );
            }
        }
        let error = text("nvidia-smi-error");
        if !lines("nvidia-smi").is_empty() || !error.is_empty() {
            machine.program("nvidia-smi", include_str!("nvidia-smi.sh"));
            machine.file("/bin/nvidia-smi.d/fields", &format!("{FIELDS}\n"));
            machine.file("/bin/nvidia-smi.d/gpus", &text("nvidia-smi").replace(", ", ","));
            machine.file("/bin/nvidia-smi.d/mig", &text("mig"));
        }
        if !lines("driver").is_empty() {
            // A driver lists a file for every part that a GPU could ever have.
            let others = "config 1\nmonitor 2\ngpu0/gi0/access 3\ngpu0/gi0/ci0/access 4\ngpu7/gi14/ci7/access 1082\n";
            machine.file("/proc/driver/nvidia-caps/mig-minors", &(text("mig-minors") + others));
        }
        if !error.is_empty() {
            machine.file("/bin/nvidia-smi.d/error", &error);
        }
        machine
    }

    fn path(&self, absolute: &str) -> String {
        format!("{}{absolute}", self.root.path().display())
    }

    fn folder_of(&self, absolute: &str) {
        let path = self.path(absolute);
        let (folder, _) = path.rsplit_once('/').expect("an absolute path");
        fs_err::create_dir_all(folder).expect("a folder");
    }

    fn file(&self, absolute: &str, text: &str) {
        self.folder_of(absolute);
        fs_err::write(self.path(absolute), text).expect("it is written");
    }

    /// Installed by another process: a program can't be started while a test beside this one holds it open for writing.
    fn program(&self, name: &str, text: &str) {
        self.file(&format!("/{name}.sh"), text);
        self.folder_of("/bin/");
        let installed = Command::new("install")
            .args([
                "-m",
                "755",
                &self.path(&format!("/{name}.sh")),
                &self.path(&format!("/bin/{name}")),
            ])
            .status()
            .expect("install runs");
        assert!(installed.success(), "{name} is installed");
    }

    /// What the script prints there.
    fn look(&self) -> String {
        let mut script = SCRIPT.to_owned();
        for (real, here) in [
            (
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n",
                format!("PATH={}\n", self.path("/bin")),
            ),
            ("/proc/driver/", self.path("/proc/driver/")),
            ("/sys/bus/", self.path("/sys/bus/")),
            ("/dev/nvidia", self.path("/dev/nvidia")),
        ] {
            assert!(script.contains(real), "this machine would be looked at instead: {real}");
            script = script.replace(real, &here);
        }
        let (output, said) = shell(&script);
        assert_eq!(said, "", "nothing fails unseen");
        output.replace(&self.path(""), "")
    }
}

fn report(text: &str) -> GpuReport {
    GpuReport::parse(text).expect("a whole look")
}

#[test]
fn a_machine_with_what_was_recorded_prints_what_was_recorded() {
    let mut seen = 0;
    for entry in fs_err::read_dir(RECORDED).expect("recorded machines") {
        let text = fs_err::read_to_string(entry.expect("a file").path()).expect("text");
        let wanted = sections(&text);
        let found = Machine::with(&wanted).look();
        assert_eq!(sections(&found), wanted);
        assert_eq!(report(&found), report(&text));
        seen += 1;
    }
    assert!(seen >= 10, "only {seen} were there");
}

#[test]
fn parts_of_a_gpu_whole_ones_and_none_are_told_apart() {
    for (name, wanted) in [
        ("a100-mig", vec!["a100_3g.20gb:1", "a100_1g.5gb:2", "a100:1"]),
        ("t4", vec!["t4:2"]),
        ("driver-without-nvidia-smi", vec!["t4:1"]),
        ("none", vec![]),
    ] {
        let found = report(&Machine::with(&sections(&recorded(name))).look());
        let gpus: Vec<String> = found.gpus().iter().map(Gpu::to_string).collect();
        assert_eq!(
            (gpus, found.problems),
            (wanted.into_iter().map(str::to_owned).collect(), vec![]),
            "{name}"
        );
    }
}

/// Drivers before 450 know of no MIG, and nvidia-smi then answers nothing at all: the driver's own files do.
#[test]
fn a_driver_that_does_not_know_a_field_is_not_a_machine_without_gpus() {
    let machine = Machine::with(&sections(&recorded("t4")));
    machine.file(
        "/bin/nvidia-smi.d/fields",
        &format!("{}\n", FIELDS.replace(",mig.mode.current", "")),
    );
    let printed = machine.look();
    assert_eq!(
        sections(&printed)["nvidia-smi-error"],
        ["Field \"mig.mode.current\" is not a valid field to query."]
    );
    assert_eq!(report(&printed).gpus(), report(&recorded("t4")).gpus());
    assert!(report(&printed).problems.is_empty());
}
