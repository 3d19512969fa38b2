//! How kernels, cells and runs end: by themselves, by force, by request; and what is left.

use crate::lab::{Lab, Run, alive, code, signal, stream, until};

#[test]
fn a_kernel_that_dies_is_noticed_at_once() {
    let lab = Lab::new();
    lab.notebook(
        "n.ipynb",
        &[
            code("print('alive', flush=True)"),
            code("import os\nos.write(2, b'last words\\n')\nos._exit(3)"),
            code("1"),
        ],
    );
    lab.run(&["n.ipynb", "o.ipynb"])
        .expect(138)
        .says("the kernel's process ended while this cell ran (exit status: 3)");
    let all = lab.read("o.ipynb");
    // A marker cell stands at the top.
    assert_eq!(stream(&all, 1), "alive\n");
    let cells = all["cells"].as_array().unwrap();
    let status: Vec<_> = cells
        .iter()
        .filter_map(|cell| cell["metadata"]["papermill"]["status"].as_str())
        .collect();
    assert_eq!(status, ["completed", "failed", "pending"]);
    assert_eq!(
        cells[3]["outputs"].as_array().unwrap().last().unwrap()["ename"],
        "KernelDied"
    );
    lab.assert_clean();
}

#[test]
fn a_kernel_that_does_not_start_says_why() {
    let lab = Lab::new();
    lab.write(
        "home/.local/share/jupyter/kernels/broken/kernel.json",
        r#"{"argv": ["sh", "-c", "echo no such module >&2; exit 4"], "display_name": "Broken", "language": "python"}"#,
    );
    lab.write(
        "home/.local/share/jupyter/kernels/silent/kernel.json",
        r#"{"argv": ["sleep", "100"], "display_name": "Silent", "language": "python"}"#,
    );
    lab.write(
        "home/.local/share/jupyter/kernels/missing/kernel.json",
        r#"{"argv": ["/no/such/program"], "display_name": "Missing", "language": "python"}"#,
    );
    lab.notebook("n.ipynb", &[code("1")]);
    lab.run(&["n.ipynb", "o.ipynb", "-k", "broken"])
        .expect(138)
        .says("ended while it started")
        .says("no such module");
    lab.run(&["n.ipynb", "o.ipynb", "-k", "silent", "--start-timeout", "1"])
        .expect(138)
        .says("did not answer within 1 s")
        .says("--start-timeout");
    lab.run(&["n.ipynb", "o.ipynb", "-k", "missing"])
        .expect(2)
        .says("`/no/such/program` does not run");
    lab.assert_clean();
}

#[test]
fn a_kernel_without_unix_sockets_is_reached_over_tcp() {
    let lab = Lab::new();
    // The name of the module is hidden from the choice of transport.
    lab.write(
        "home/.local/share/jupyter/kernels/tcp/kernel.json",
        r#"{"argv": ["python", "-c", "import runpy, sys; runpy.run_module('ipy' + 'kernel_launcher', run_name='__main__')", "-f",
            "{connection_file}"], "display_name": "TCP", "language": "python"}"#,
    );
    lab.notebook(
        "n.ipynb",
        &[code(
            "from ipykernel.connect import get_connection_info as g\nprint('tcp' in g())",
        )],
    );
    lab.run(&["n.ipynb", "o.ipynb", "-k", "tcp"]).expect(0);
    assert_eq!(stream(&lab.read("o.ipynb"), 0), "True\n");
}

#[test]
fn a_cell_that_takes_too_long_is_interrupted() {
    let lab = Lab::new();
    lab.notebook(
        "n.ipynb",
        &[
            code("import time\nprint('begun', flush=True)\ntime.sleep(1000)\nprint('slept')"),
            code("1"),
        ],
    );
    lab.run(&["n.ipynb", "o.ipynb", "--execution-timeout", "1"])
        .expect(1)
        .says("the cell ran longer than 1 s");
    let all = lab.read("o.ipynb");
    // Two marker cells stand before it.
    assert_eq!(stream(&all, 2), "begun\n");
    assert_eq!(
        all["cells"][2]["outputs"].as_array().unwrap().last().unwrap()["ename"],
        "CellTimeout"
    );
}

#[test]
fn a_cell_that_ignores_interrupts_is_killed() {
    let lab = Lab::new();
    let stubborn =
        "import time\nwhile True:\n    try:\n        time.sleep(1000)\n    except KeyboardInterrupt:\n        pass";
    lab.notebook("n.ipynb", &[code(stubborn)]);
    lab.run(&["n.ipynb", "o.ipynb", "--execution-timeout", "1"])
        .expect(1)
        .says("CellTimeout");
}

fn waiting(lab: &Lab) {
    let source = "import os, subprocess, time\nprint('begun', flush=True)\n\
                  child = subprocess.Popen(['sleep', '1000'])\n\
                  open('pids.new', 'w').write(f'{os.getpid()} {child.pid}')\nos.rename('pids.new', 'pids')\ntime.sleep(1000)";
    lab.notebook("n.ipynb", &[code("print('first')"), code(source), code("1")]);
}

fn stopped_by(name: &str, code: i32) {
    let lab = Lab::new();
    waiting(&lab);
    let child = lab.start(&["n.ipynb", "o.ipynb"]);
    let pids = lab.await_file("pids");
    signal(child.id(), name);
    let run = Run::from(child.wait_with_output().unwrap()).expect(code);
    assert!(run.stderr.contains("interrupted"), "{}", run.stderr);
    for pid in pids.split(' ') {
        assert!(!alive(pid), "{pid} still runs");
    }
    let text = lab.text("o.ipynb");
    assert!(
        text.contains("first") && text.contains("begun") && text.contains("KeyboardInterrupt"),
        "{text}"
    );
    lab.assert_clean();
}

#[test]
fn ctrl_c_interrupts_the_cell_and_saves() {
    stopped_by("INT", 130);
}

#[test]
fn sigterm_ends_as_orderly() {
    stopped_by("TERM", 143);
}

#[test]
fn ctrl_c_while_the_kernel_starts_ends_the_run() {
    let lab = Lab::new();
    lab.write(
        "home/.local/share/jupyter/kernels/silent/kernel.json",
        r#"{"argv": ["sh", "-c", "echo $$ > pids; exec sleep 1000"], "display_name": "Silent", "language": "python"}"#,
    );
    lab.notebook("n.ipynb", &[code("1")]);
    let child = lab.start(&["n.ipynb", "o.ipynb", "-k", "silent"]);
    let pid = lab.await_file("pids");
    signal(child.id(), "INT");
    Run::from(child.wait_with_output().unwrap())
        .expect(130)
        .says("interrupted while the kernel started");
    assert!(!alive(&pid));
    lab.assert_clean();
}

#[test]
fn the_second_ctrl_c_stops_at_once() {
    let lab = Lab::new();
    let stubborn = "import os, time\nopen('pids.new', 'w').write(str(os.getpid()))\nos.rename('pids.new', 'pids')\n\
                    while True:\n    try:\n        time.sleep(1000)\n    except KeyboardInterrupt:\n        open('heard', 'w').write('1')";
    lab.notebook("n.ipynb", &[code(stubborn)]);
    let child = lab.start(&["n.ipynb", "o.ipynb"]);
    let pid = lab.await_file("pids");
    signal(child.id(), "INT");
    lab.await_file("heard");
    signal(child.id(), "INT");
    Run::from(child.wait_with_output().unwrap())
        .expect(130)
        .says("stopped at once");
    until(|| alive(&pid).then(|| "the kernel outlives the runner".to_owned()));
    lab.assert_clean();
}

#[test]
fn a_killed_runner_takes_its_kernel_along() {
    let lab = Lab::new();
    waiting(&lab);
    let mut child = lab.start(&["n.ipynb", "o.ipynb"]);
    let pids = lab.await_file("pids");
    let (kernel, grandchild) = pids.split_once(' ').unwrap();
    signal(child.id(), "KILL");
    child.wait().unwrap();
    until(|| (alive(kernel) || alive(grandchild)).then(|| "the kernel, or its child, outlives the runner".to_owned()));
    lab.await_nothing();
}

#[test]
fn children_end_with_the_kernel_and_what_left_is_listed() {
    let lab = Lab::new();
    let source = "import subprocess\n\
                  near = subprocess.Popen(['sleep', '1001'])\n\
                  group = subprocess.Popen(['sleep', '1002'], process_group=0)\n\
                  far = subprocess.Popen(['sleep', '1003'], start_new_session=True, stdout=subprocess.DEVNULL)\n\
                  orphan = subprocess.run(['sh', '-c', 'setsid sleep 1004 >/dev/null 2>&1 & echo $!'], \
                  capture_output=True, text=True).stdout.strip()\n\
                  print(near.pid, group.pid, far.pid, orphan)";
    lab.notebook("n.ipynb", &[code(source)]);
    let run = lab
        .run(&["n.ipynb", "o.ipynb", "--json"])
        .expect(0)
        .says("still running, in a session of its own");
    let pids = stream(&lab.read("o.ipynb"), 0);
    let [near, group, far, orphan] = pids.split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("{pids}")
    };
    assert!(!alive(near), "a child outlived the kernel");
    assert!(!alive(group), "a child in a group of its own outlived the kernel");
    assert!(
        alive(far) && alive(orphan),
        "a process with a session of its own was ended"
    );
    let result: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    let listed: Vec<String> = result["left"]
        .as_array()
        .unwrap()
        .iter()
        .map(|left| left["pid"].to_string())
        .collect();
    for pid in [far, orphan] {
        assert!(listed.contains(&pid.to_owned()), "{pid} is not in {listed:?}");
        signal(pid.parse().unwrap(), "KILL");
    }
    assert_eq!(listed.len(), 2, "{listed:?}");
}

#[test]
fn the_umask_limits_who_reads_an_output_and_an_old_one_keeps_its_mode() {
    use std::os::unix::fs::PermissionsExt as _;

    let lab = Lab::new();
    lab.notebook("n.ipynb", &[code("1")]);
    let mode = || std::fs::metadata(lab.path("o.ipynb")).unwrap().permissions().mode() & 0o777;
    let run = || {
        let program = env!("CARGO_BIN_EXE_tmplrun");
        let words = [
            "umask 077; exec \"$@\"",
            "sh",
            program,
            "n.ipynb",
            "o.ipynb",
            "--prepare-only",
        ];
        let usual = lab.command(&[]);
        let variables = usual.get_envs().filter_map(|(name, value)| Some((name, value?)));
        let mut command = std::process::Command::new("sh");
        command
            .arg("-c")
            .args(words)
            .env_clear()
            .envs(variables)
            .current_dir(lab.path(""));
        assert!(command.status().unwrap().success());
    };
    run();
    assert_eq!(mode(), 0o600);
    std::fs::set_permissions(lab.path("o.ipynb"), std::fs::Permissions::from_mode(0o640)).unwrap();
    run();
    assert_eq!(mode(), 0o640);
}
