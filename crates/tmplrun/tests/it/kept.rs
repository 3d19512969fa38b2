//! Kernels that go on after a failed notebook.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::Value;

use crate::lab::{Lab, alive, code, python, signal, stream, until};

const REGISTER: &str = "import json, os, socket\ndef register(value):\n    s = socket.socket(socket.AF_UNIX)\n    \
                        s.connect(os.environ['TMPLRUN_MASK'])\n    f = s.makefile('rw')\n    \
                        f.write(json.dumps({'mask': value}) + '\\n'); f.flush()\n    assert f.readline() == 'ok\\n'\n";

fn notebook(lab: &Lab, second: &str) {
    let first =
        format!("{REGISTER}register('pass' + 'word-12345')\nopen('runs', 'a').write('1')\nx = 41\nprint(os.getpid())");
    let last = "register('another' + '-secret-6')\nprint(os.getpid())\nprint(x + 1, 'pass' + 'word-12345', 'another' + '-secret-6')";
    lab.notebook("n.ipynb", &[code(&first), code(second), code(last)]);
}

/// The kept kernels, as the program lists them.
fn kept(lab: &Lab) -> Vec<Value> {
    let listed = lab.run(&["--list-kernels", "--json"]).expect(0);
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    listed["kernels"].as_array().unwrap().clone()
}

/// Fails, and leaves its kernel up.
fn fail(lab: &Lab) -> Value {
    notebook(lab, "assert os.path.exists('ready'), 'not ready'");
    lab.run(&["n.ipynb", "o.ipynb", "--keep-kernel"])
        .expect(1)
        .says("jupyter console --existing /")
        .says("--end-kernel");
    let kept = kept(lab);
    assert_eq!(kept.len(), 1, "{kept:?}");
    kept[0].clone()
}

#[test]
fn a_kept_kernel_can_be_looked_into_and_gone_on_in() {
    let lab = Lab::new();
    let kernel = fail(&lab);
    let pid = kernel["pid"].to_string();
    let connection = kernel["connection_file"].as_str().unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(connection.as_ref()), 0o600);
    assert_eq!(mode(std::path::Path::new(connection).parent().unwrap()), 0o700);
    assert_eq!(
        kernel["output"],
        lab.path("o.ipynb").canonicalize().unwrap().to_str().unwrap()
    );
    // As `jupyter console --existing` does it.
    let client = "import sys\nfrom jupyter_client import BlockingKernelClient\nc = BlockingKernelClient(connection_file=sys.argv[1])\n\
                  c.load_connection_file(); c.start_channels(); c.wait_for_ready(timeout=30)\n\
                  c.execute_interactive('x = x + 1; print(x)', timeout=30)";
    let attached = Command::new(python())
        .args(["-c", client, connection])
        .output()
        .unwrap();
    assert!(attached.status.success(), "{attached:?}");
    assert_eq!(String::from_utf8_lossy(&attached.stdout), "42\n");
    assert!(alive(&pid));
    // What comes after the cells that ran may be put right.
    notebook(&lab, "print('put right')");
    lab.run(&["n.ipynb", "o.ipynb", "--resume"])
        .expect(0)
        .says("goes on at cell 2 in the kernel that was kept");
    let all = lab.read("o.ipynb");
    assert_eq!(stream(&all, 0), format!("{pid}\n"));
    assert_eq!(stream(&all, 1), "put right\n");
    assert_eq!(stream(&all, 2), format!("{pid}\n43 •••••• ••••••\n"));
    assert_eq!(lab.text("runs"), "1");
    assert_eq!(all["metadata"]["papermill"]["exception"], Value::Null);
    assert!(!alive(&pid), "the kernel outlived the notebook's good end");
    assert!(kept(&lab).is_empty());
    let base = std::path::Path::new(connection).ancestors().nth(2).unwrap();
    assert_eq!(std::fs::read_dir(base).unwrap().count(), 0);
}

#[test]
fn failing_again_keeps_the_kernel_again() {
    let lab = Lab::new();
    let kernel = fail(&lab);
    lab.run(&["n.ipynb", "o.ipynb", "--resume", "--keep-kernel"])
        .expect(1)
        .says("goes on at cell 2");
    assert_eq!(kept(&lab)[0]["pid"], kernel["pid"]);
    lab.write("ready", "");
    lab.run(&["n.ipynb", "o.ipynb", "--resume", "--keep-kernel"])
        .expect(0)
        .says("goes on at cell 2");
    assert!(kept(&lab).is_empty());
    assert_eq!(lab.text("runs"), "1");
}

#[test]
fn a_kernel_that_is_gone_or_does_not_fit_is_not_gone_on_in() {
    let lab = Lab::new();
    let kernel = fail(&lab);
    signal(kernel["pid"].as_u64().unwrap().try_into().unwrap(), "KILL");
    until(|| alive(&kernel["pid"].to_string()).then(|| "the kernel outlives its death".to_owned()));
    lab.run(&["n.ipynb", "o.ipynb", "--resume"])
        .expect(1)
        .says("no kernel was kept: the notebook runs from its start");
    assert_eq!(lab.text("runs"), "11");
    let kernel = fail(&lab);
    assert_eq!(lab.text("runs"), "111");
    let text = lab.text("n.ipynb").replace("x = 41", "x = 42");
    lab.write("n.ipynb", text);
    lab.run(&["n.ipynb", "o.ipynb", "--resume"])
        .expect(1)
        .says("have changed since the kernel was kept: the notebook runs from its start in a new one");
    assert_eq!(lab.text("runs"), "1111");
    assert!(
        !alive(&kernel["pid"].to_string()),
        "a kernel of no further use was left"
    );
    assert!(kept(&lab).is_empty());
}

#[test]
fn kept_kernels_are_listed_and_ended() {
    let lab = Lab::new();
    let kernel = fail(&lab);
    let pid = kernel["pid"].to_string();
    let listed = lab.run(&["--list-kernels"]).expect(0);
    assert!(
        listed.stdout.contains(&pid) && listed.stdout.contains("o.ipynb"),
        "{}",
        listed.stdout
    );
    lab.run(&["--end-kernel", "1"])
        .expect(2)
        .says("no kept kernel has the process number `1`");
    lab.run(&["--end-kernel", &pid]).expect(0).says("1 of 1 ended");
    assert!(!alive(&pid));
    lab.run(&["--list-kernels"]).expect(0).says("no kernel is kept");
    // On success it is kept only if that was asked for.
    lab.write("ready", "");
    lab.run(&["n.ipynb", "o.ipynb", "--keep-kernel"]).expect(0);
    assert!(kept(&lab).is_empty());
    lab.run(&["n.ipynb", "o.ipynb", "--keep-kernel=always"])
        .expect(0)
        .says("goes on (process");
    assert_eq!(kept(&lab).len(), 1);
    lab.run(&["--end-kernel", "all"]).expect(0);
    assert!(kept(&lab).is_empty());
}

/// A notebook whose second cell does not end, and whose runner is killed in it.
fn killed(lab: &Lab) -> String {
    let first = format!(
        "{REGISTER}register('pass' + 'word-12345')\nopen('runs', 'a').write('1')\nx = 41\nprint(os.getpid())\n\
         from IPython.display import display\n\
         display({{'application/vnd.tmplrun.result+json': {{'size': 7}}}}, raw=True)"
    );
    let second = "import time\nopen('runs', 'a').write('2')\nx += 1\nif not os.path.exists('ready'):\n    \
                  print('waits', flush=True)\n    open('here', 'w').write('1')\n    time.sleep(1000)";
    let third = "print(os.getpid(), x, 'pass' + 'word-12345')";
    lab.notebook("n.ipynb", &[code(&first), code(second), code(third)]);
    let mut runner = lab.start(&["n.ipynb", "o.ipynb", "--keep-kernel"]);
    lab.await_file("here");
    signal(runner.id(), "KILL");
    runner.wait().unwrap();
    lab.write("ready", "");
    let kept = kept(lab);
    assert_eq!(kept.len(), 1, "{kept:?}");
    kept[0]["pid"].to_string()
}

#[test]
fn a_kernel_whose_runner_was_killed_is_gone_on_in() {
    let lab = Lab::new();
    let pid = killed(&lab);
    assert!(alive(&pid));
    let run = lab
        .run(&["n.ipynb", "o.ipynb", "--resume", "--json"])
        .expect(0)
        .says("goes on at cell 2 in the kernel that was kept");
    let all = lab.read("o.ipynb");
    assert_eq!(stream(&all, 0), format!("{pid}\n"));
    // The cell that was running was interrupted, and ran again; what an earlier run was told to mask is masked.
    assert_eq!(lab.text("runs"), "122");
    assert_eq!(stream(&all, 2), format!("{pid} 43 ••••••\n"));
    let result: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(result["steps"][0]["results"]["size"], 7);
    assert!(!alive(&pid) && kept(&lab).is_empty());
}

#[test]
fn a_kernel_whose_runner_was_killed_serves_no_other_run() {
    // The output is by another run meanwhile, which was killed as well; or it is gone.
    for replace in [true, false] {
        let lab = Lab::new();
        let pid = killed(&lab);
        lab.run(&["--recover", "o.ipynb"]).expect(0);
        if replace {
            let began = lab.read("o.ipynb")["metadata"]["papermill"]["start_time"].clone();
            let text = lab
                .text("o.ipynb")
                .replace(began.as_str().unwrap(), "2026-01-01T00:00:00.000000+00:00");
            lab.write("o.ipynb", text);
        } else {
            lab.write("o.ipynb", lab.text("n.ipynb"));
        }
        lab.run(&["n.ipynb", "o.ipynb", "--resume"])
            .expect(0)
            .says("is not at a cell from which one can go on: the notebook runs from its start in a new one");
        assert!(!alive(&pid));
        assert_eq!(lab.text("runs"), "1212");
        assert!(kept(&lab).is_empty());
    }
}
