//! Outputs that are no ordinary files: links, pipes, devices, names as long as they can be, and what nobody may replace.

use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::lab::{Lab, Run, code};

/// Somebody who is nobody, for tests that are run as root.
const NOBODY: u32 = 65534;

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

fn reader(path: &Path) -> std::thread::JoinHandle<String> {
    let path = path.to_path_buf();
    std::thread::spawn(move || {
        let mut text = String::new();
        std::fs::OpenOptions::new()
            .read(true)
            .open(path)
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        text
    })
}

/// Lets everybody in, and runs as somebody who is not root, for whom the tests' Python may be out of reach: nothing but
/// preparing is tried.
fn prepare_as_nobody(lab: &Lab, arguments: &[&str]) -> Run {
    for folder in ["", "t", "home"] {
        std::fs::set_permissions(lab.path(folder), std::fs::Permissions::from_mode(0o777)).unwrap();
    }
    let mut command = lab.command(&[arguments, &["--prepare-only"]].concat());
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.output().unwrap().into()
}

fn names(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_link_is_followed_and_stays() {
    let lab = Lab::new();
    // What is beside the output while the notebook runs.
    lab.notebook(
        "n.ipynb",
        &[code(
            "import os\nprint(sorted(os.listdir('there')), os.listdir('here'))",
        )],
    );
    std::fs::create_dir(lab.path("here")).unwrap();
    let old = lab.write("there/old.ipynb", "old");
    std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o640)).unwrap();
    let inode = old.metadata().unwrap().ino();
    symlink("../there/link", lab.path("here/o.ipynb")).unwrap();
    symlink(&old, lab.path("there/link")).unwrap();
    lab.run(&["n.ipynb", "here/o.ipynb"]).expect(0);
    assert!(lab.path("here/o.ipynb").is_symlink() && lab.path("there/link").is_symlink());
    let now = old.metadata().unwrap();
    assert!(now.ino() != inode && now.mode() & 0o777 == 0o640, "{now:?}");
    let printed = crate::lab::stream(&lab.read("there/old.ipynb"), 0);
    assert_eq!(printed, "['.old.ipynb.journal', 'link', 'old.ipynb'] ['o.ipynb']\n");
    // One that leads to nothing yet, and the reports.
    for (option, name) in [
        ("--report", "r"),
        ("--junit", "j"),
        ("--events", "e"),
        ("--stdout-file", "s"),
    ] {
        symlink(format!("made/{name}"), lab.path(name)).unwrap();
        lab.run(&["n.ipynb", "here/o.ipynb", option, name]).expect(0);
        assert!(lab.path(name).is_symlink());
        assert!(!lab.text(&format!("made/{name}")).is_empty(), "{name}");
    }
    symlink("made/new.ipynb", lab.path("o.ipynb")).unwrap();
    lab.run(&["n.ipynb", "o.ipynb"]).expect(0);
    assert!(lab.path("o.ipynb").is_symlink());
    assert_eq!(lab.read("made/new.ipynb")["nbformat"], 4);
    assert_eq!(names(&lab.path("made")), ["e", "j", "new.ipynb", "r", "s"]);
}

#[test]
fn a_killed_runs_journal_is_found_through_a_link() {
    let lab = Lab::new();
    lab.notebook(
        "n.ipynb",
        &[
            code("1"),
            code("import os, signal\nopen('here', 'w').write('1')\nos.kill(os.getppid(), 9)"),
        ],
    );
    symlink("real.ipynb", lab.path("o.ipynb")).unwrap();
    assert_eq!(lab.run(&["n.ipynb", "o.ipynb"]).code, None);
    assert!(lab.path(".real.ipynb.journal").exists());
    lab.run(&["--recover", "real.ipynb"])
        .expect(0)
        .says("recovered 1 cells");
    assert!(lab.path("o.ipynb").is_symlink() && lab.text("real.ipynb").contains("RunnerEnded"));
}

#[test]
fn links_and_paths_that_lead_to_no_file_are_found_before_running() {
    let lab = Lab::new();
    lab.notebook("n.ipynb", &[code("open('ran', 'w').close()")]);
    std::fs::create_dir(lab.path("folder")).unwrap();
    symlink("folder", lab.path("to-folder")).unwrap();
    symlink("around", lab.path("round")).unwrap();
    symlink("round", lab.path("around")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(lab.path("socket")).unwrap();
    for name in ["folder", "to-folder", "round", "socket"] {
        for arguments in [
            &["n.ipynb", name][..],
            &["n.ipynb", "o.ipynb", "--report", name],
            &["n.ipynb", "o.ipynb", "--junit", name],
            &["n.ipynb", "o.ipynb", "--events", name],
            &["n.ipynb", "o.ipynb", "--stderr-file", name],
        ] {
            lab.run(arguments)
                .expect(2)
                .says(&format!("{name}: the output cannot be written"));
        }
    }
    assert!(!lab.path("ran").exists() && lab.path("to-folder").is_symlink());
    assert_eq!(names(&lab.path("folder")), [] as [&str; 0]);
}

#[test]
fn a_pipe_or_a_device_gets_the_notebook_once_and_stays() {
    let lab = Lab::new();
    lab.notebook(
        "n.ipynb",
        &[
            code("import os, time\nprint('first', flush=True)\ntime.sleep(1.2)"),
            code("print(os.listdir('p'))"),
        ],
    );
    std::fs::create_dir(lab.path("p")).unwrap();
    let pipe = lab.path("p/pipe");
    fifo(&pipe);
    let read = reader(&pipe);
    lab.run(&["n.ipynb", "p/pipe", "--autosave-cell-every", "1"]).expect(0);
    let notebook: serde_json::Value = serde_json::from_str(&read.join().unwrap()).unwrap();
    // Nothing lies beside it meanwhile.
    assert_eq!(crate::lab::stream(&notebook, 1), "['pipe']\n");
    assert!(pipe.symlink_metadata().unwrap().file_type().is_fifo());
    for option in ["--report", "--junit", "--events", "--stdout-file"] {
        let read = reader(&pipe);
        lab.run(&["n.ipynb", "o.ipynb", option, "p/pipe"]).expect(0);
        assert!(
            read.join()
                .unwrap()
                .contains(if option == "--stdout-file" { "first" } else { "n.ipynb" })
        );
        assert!(pipe.symlink_metadata().unwrap().file_type().is_fifo());
    }
    // A pipe without a name, as a shell's `>(cat)` passes it.
    let mut command = std::process::Command::new("bash");
    let program = lab.command(&["n.ipynb", "o.ipynb", "--log-level", "ERROR"]);
    command.args(["-c", "\"$0\" \"$@\" --events >(cat >events) --junit >(cat >junit)"]);
    command
        .arg(program.get_program())
        .args(program.get_args())
        .current_dir(lab.path(""));
    command
        .env_clear()
        .envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Run::from(command.output().unwrap()).expect(0);
    for (name, holds) in [("events", "run_finished"), ("junit", "</testsuites>")] {
        lab.await_text(name, holds);
    }
    // A link: what would be replaced by mistake is no device of this machine.
    symlink("/dev/null", lab.path("null")).unwrap();
    for arguments in [
        &["n.ipynb", "null"][..],
        &["n.ipynb", "o.ipynb", "--report", "null", "--events", "null"],
    ] {
        lab.run(arguments).expect(0);
        assert!(lab.path("null").is_symlink());
    }
    lab.run(&["n.ipynb", "null", "--resume"])
        .expect(2)
        .says("there is no run to go on with");
    lab.assert_clean();
}

#[test]
fn the_programs_own_streams_are_written_by_anybody() {
    let lab = Lab::new();
    lab.notebook(
        "n.ipynb",
        &[code("import sys\nprint('to out')\nprint('to err', file=sys.stderr)")],
    );
    let streams = [
        "n.ipynb",
        "o.ipynb",
        "--stdout-file",
        "/dev/stdout",
        "--events",
        "/dev/stderr",
        "--log-level",
        "ERROR",
    ];
    for run in [lab.run(&streams).expect(0), prepare_as_nobody(&lab, &streams).expect(0)] {
        assert!(
            run.stdout == "to out\n" || !run.stderr.contains("cell_finished"),
            "{}",
            run.stdout
        );
        let events = run.stderr.lines();
        assert!(
            events.clone().all(|line| line.starts_with('{')) && events.count() > 2,
            "{}",
            run.stderr
        );
    }
    let reports = [
        "n.ipynb",
        "/dev/stdout",
        "--junit",
        "/dev/stderr",
        "--log-level",
        "ERROR",
    ];
    for run in [lab.run(&reports).expect(0), prepare_as_nobody(&lab, &reports).expect(0)] {
        let notebook: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
        assert_eq!(notebook["nbformat"], 4);
        assert!(run.stderr.starts_with("<?xml"), "{}", run.stderr);
    }
    // What would be mixed there is refused before anything runs.
    for both in [
        &["n.ipynb", "never.ipynb", "--json", "--stdout-file", "/dev/stdout"][..],
        &["n.ipynb", "-", "--json"],
        &["n.ipynb", "/dev/stdout", "--json"],
        &["n.ipynb", "/dev/fd/1", "--stdout-file", "-"],
        &["n.ipynb", "-", "--events", "/dev/stdout"],
        &[
            "n.ipynb",
            "never.ipynb",
            "--report",
            "/dev/stdout",
            "--junit",
            "/dev/stdout",
        ],
    ] {
        let run = lab.run(both).expect(2).says("standard output is taken by");
        assert_eq!(run.stdout, "", "{both:?}");
    }
    assert!(!lab.path("never.ipynb").exists());
    lab.assert_clean();
}

#[test]
fn a_name_may_be_as_long_as_names_can_be() {
    let lab = Lab::new();
    lab.notebook("n.ipynb", &[code("open('ran', 'a').write('1')")]);
    for length in [246, 255] {
        let name = "x".repeat(length);
        lab.run(&["n.ipynb", &name, "--junit", &"y".repeat(length)]).expect(0);
        assert_eq!(lab.read(&name)["nbformat"], 4);
    }
    assert_eq!(lab.text("ran"), "11");
    lab.run(&["n.ipynb", &"x".repeat(256)])
        .expect(2)
        .says("the output cannot be written");
    lab.run(&["n.ipynb", "o", "--report", &"x".repeat(256)])
        .expect(2)
        .says("the output cannot be written");
    assert_eq!(lab.text("ran"), "11");
    let left = names(&lab.path(""));
    assert!(left.iter().all(|name| !name.starts_with('.')), "{left:?}");
}

#[test]
fn a_file_that_only_another_user_may_replace_is_found_before_running() {
    if !rustix::process::geteuid().is_root() {
        // Only root can make somebody else's file; which of them may be replaced is tested by itself as well.
        return;
    }
    let lab = Lab::new();
    lab.notebook("n.ipynb", &[code("open('ran', 'w').close()")]);
    let theirs = lab.write("sticky/o.ipynb", "theirs");
    std::fs::set_permissions(&theirs, std::fs::Permissions::from_mode(0o666)).unwrap();
    std::fs::set_permissions(lab.path("sticky"), std::fs::Permissions::from_mode(0o1777)).unwrap();
    for arguments in [
        &["n.ipynb", "sticky/o.ipynb"][..],
        &["n.ipynb", "o.ipynb", "--report", "sticky/o.ipynb"],
    ] {
        prepare_as_nobody(&lab, arguments)
            .expect(2)
            .says("sticky/o.ipynb: the output cannot be written")
            .says("belongs to somebody else");
    }
    assert_eq!(
        (lab.text("sticky/o.ipynb").as_str(), lab.path("ran").exists()),
        ("theirs", false)
    );
    prepare_as_nobody(&lab, &["n.ipynb", "sticky/p.ipynb"]).expect(0);
    prepare_as_nobody(&lab, &["n.ipynb", "sticky/p.ipynb"]).expect(0);
}

#[test]
fn a_file_that_is_mounted_is_written_as_it_is() {
    let lab = Lab::new();
    // In a room of its own: mounts are gone with the process.
    let inside = |script: &str, arguments: &[&str]| -> Run {
        let program = lab.command(arguments);
        let mut command = std::process::Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", script]);
        command.arg(program.get_program()).args(program.get_args());
        command
            .env_clear()
            .envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.current_dir(lab.path(""));
        command.output().unwrap().into()
    };
    if inside("true", &[]).code != Some(0) {
        // Where nobody but root may have such rooms there is nothing to try it in.
        return;
    }
    lab.notebook("n.ipynb", &[code("print('new')\nopen('ran', 'w').close()")]);
    let long = "old ".repeat(100_000);
    for name in ["o.ipynb", "host.ipynb", "r", "host-report"] {
        lab.write(name, &long);
    }
    let arguments = ["n.ipynb", "o.ipynb", "--report", "r"];
    inside(
        "mount --bind host.ipynb o.ipynb && mount --bind host-report r && exec \"$0\" \"$@\"",
        &arguments,
    )
    .expect(0);
    assert_eq!(crate::lab::stream(&lab.read("host.ipynb"), 0), "new\n");
    assert!(
        lab.text("host-report").ends_with("</html>\n"),
        "{}",
        lab.text("host-report")
    );
    assert_eq!(lab.text("o.ipynb"), long);
    std::fs::remove_file(lab.path("ran")).unwrap();
    let read_only = "mount --bind host.ipynb o.ipynb && mount -o remount,bind,ro o.ipynb && exec \"$0\" \"$@\"";
    inside(read_only, &arguments)
        .expect(2)
        .says("o.ipynb: the output cannot be written");
    assert!(!lab.path("ran").exists());
}
