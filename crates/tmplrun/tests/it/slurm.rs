//! Notebooks as jobs of Slurm, against a Slurm of shell scripts whose jobs are processes of this machine.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command};

use serde_json::{Value, json};

use crate::lab::{Lab, Run, code, signal, stream, tagged};

struct Cluster {
    lab: Lab,
}

fn fakes() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake-slurm"))
}

impl Cluster {
    fn new() -> Self {
        let lab = Lab::new();
        std::fs::create_dir(lab.path("slurm")).unwrap();
        Self { lab }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.lab.command(arguments);
        self.surround(&mut command);
        command
    }

    fn surround(&self, command: &mut Command) {
        let python = crate::lab::python();
        let bin = python.parent().unwrap();
        command
            .env("PATH", format!("{}:{}:/usr/bin:/bin", fakes().display(), bin.display()))
            .env("FAKE_SLURM", self.lab.path("slurm"));
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let mut all = arguments.to_vec();
        all.extend(["--on", "slurm"]);
        self.command(&all).output().unwrap().into()
    }

    fn start(&self, arguments: &[&str]) -> Child {
        let mut all = arguments.to_vec();
        all.extend(["--on", "slurm"]);
        self.command(&all)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn finish(child: Child) -> Run {
        child.wait_with_output().unwrap().into()
    }

    /// What Slurm does to a job by itself.
    fn end(&self, state: &str, signal: &str) {
        let mut command = Command::new(fakes().join("end"));
        self.surround(&mut command);
        assert!(command.args(["1", state, signal]).status().unwrap().success());
    }

    /// The jobs' folders that are still on the cluster.
    fn folders(&self) -> Vec<PathBuf> {
        std::fs::read_dir(self.lab.path("home/.cache/tmplrun/jobs"))
            .map(|entries| entries.map(|entry| entry.unwrap().path()).collect())
            .unwrap_or_default()
    }

    /// Nothing of a job is left anywhere.
    #[track_caller]
    fn assert_clean(&self) {
        assert_eq!(self.folders(), Vec::<PathBuf>::new());
        self.lab.assert_clean();
    }

    fn events(&self) -> Vec<Value> {
        let text = self.lab.text("e.jsonl");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Waits until a file that the test writes is there.
fn until(name: &str) -> Value {
    code(&format!(
        "import os, time\nwhile not os.path.exists({name:?}): time.sleep(0.02)\nprint('over')"
    ))
}

#[test]
fn a_notebook_runs_as_a_job() {
    let cluster = Cluster::new();
    let lab = &cluster.lab;
    lab.notebook(
        "n.ipynb",
        &[
            tagged("alpha = 1\nname = ''", &["parameters"]),
            code("import os\nprint(alpha * 2, name, os.environ['SLURM_JOB_ID'], os.getcwd())"),
            code("from IPython.display import display\ndisplay({'application/vnd.tmplrun.result+json': {'big': 2**53 + 1}}, raw=True)"),
        ],
    );
    let arguments = [
        "n.ipynb",
        "o.ipynb",
        "-p",
        "alpha",
        "0.25",
        "-r",
        "name",
        "it's $HOME",
        "--json",
        "--events",
        "e.jsonl",
    ];
    let mut all = arguments.to_vec();
    all.extend([
        "--slurm",
        "partition=gpu",
        "--slurm",
        "time=90",
        "--slurm",
        "mem=2G",
        "--slurm",
        "exclusive",
    ]);
    let run = cluster
        .run(&all)
        .expect(0)
        .says("job 1 was submitted to slurm")
        .says("cell 4/4");
    let all = lab.read("o.ipynb");
    let folder = lab.path("").canonicalize().unwrap();
    assert_eq!(stream(&all, 2), format!("0.5 it's $HOME 1 {}\n", folder.display()));
    assert_eq!(all["metadata"]["papermill"]["input_path"], "n.ipynb");
    assert_eq!(all["metadata"]["papermill"]["output_path"], "o.ipynb");
    let result: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(result["steps"][0]["cells"].as_array().unwrap().len(), 4);
    assert_eq!(result["steps"][0]["results"].to_string(), r#"{"big":9007199254740993}"#);
    let asked = lab.text("slurm/1/arguments");
    for word in [
        "--partition=gpu",
        "--time=01:30:00",
        "--mem=2048M",
        "--exclusive",
        "--no-requeue",
        "--job-name=n",
    ] {
        assert!(asked.lines().any(|line| line == word), "{word} is not in:\n{asked}");
    }
    let names: Vec<String> = cluster
        .events()
        .iter()
        .map(|event| event["event"].as_str().unwrap().to_owned())
        .collect();
    let count = |name: &str| names.iter().filter(|each| *each == name).count();
    for name in [
        "run_started",
        "notebook_started",
        "submitted",
        "notebook_finished",
        "run_finished",
    ] {
        assert_eq!(count(name), 1, "{name} in {names:?}");
    }
    assert_eq!((count("cell_started"), count("cell_finished")), (4, 4));
    cluster.assert_clean();

    // The program is there already: it is not sent again.
    let programs = || -> Vec<(PathBuf, std::time::SystemTime)> {
        let entries = std::fs::read_dir(lab.path("home/.cache/tmplrun/bin")).unwrap();
        entries
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.path(), entry.metadata().unwrap().modified().unwrap()))
            .collect()
    };
    let before = programs();
    assert_eq!(before.len(), 1);
    cluster.run(&arguments).expect(0);
    assert_eq!(programs(), before);
}

#[test]
fn progress_is_shown_while_the_job_runs() {
    let cluster = Cluster::new();
    let lab = &cluster.lab;
    lab.notebook(
        "n.ipynb",
        &[code("print('first words')"), until("go"), code("print('last words')")],
    );
    let child = cluster.start(&["n.ipynb", "o.ipynb", "--events", "e.jsonl", "--log-output"]);
    assert!(!lab.await_text("e.jsonl", "first words").contains("last words"));
    lab.write("go", "");
    Cluster::finish(child)
        .expect(0)
        .says("first words")
        .says("last words")
        .says("cell 3/3");
    cluster.assert_clean();
}

#[test]
fn a_job_that_waits_says_why() {
    let cluster = Cluster::new();
    let lab = &cluster.lab;
    lab.notebook("n.ipynb", &[code("1")]);
    lab.write("slurm/hold", "");
    let child = cluster.start(&["n.ipynb", "o.ipynb", "--events", "e.jsonl"]);
    lab.await_text("e.jsonl", "PENDING");
    std::fs::remove_file(lab.path("slurm/hold")).unwrap();
    Cluster::finish(child).expect(0).says("job 1 is PENDING (Resources)");
    cluster.assert_clean();
}

#[test]
fn a_failing_cell_comes_back_as_one() {
    let cluster = Cluster::new();
    cluster
        .lab
        .notebook("n.ipynb", &[code("print('before')"), code("# here\n1 / 0"), code("2")]);
    cluster
        .run(&["n.ipynb", "o.ipynb"])
        .expect(1)
        .says("ZeroDivisionError")
        .says("# here");
    let all = cluster.lab.read("o.ipynb");
    assert_eq!(stream(&all, 1), "before\n");
    assert_eq!(all["cells"][3]["outputs"][0]["ename"], "ZeroDivisionError");
    cluster.assert_clean();
}

#[test]
fn what_the_node_finds_out_is_said_as_it_says_it() {
    let cluster = Cluster::new();
    cluster.lab.notebook("n.ipynb", &[code("1")]);
    cluster
        .run(&["n.ipynb", "o.ipynb", "-k", "klingon"])
        .expect(2)
        .says("there is no kernel called `klingon`")
        .says("installed are: ");
    // The notebook is written all the same, as one that has not run.
    assert_eq!(
        cluster.lab.read("o.ipynb")["cells"][0]["metadata"]["papermill"]["status"],
        "pending"
    );
    cluster
        .run(&["n.ipynb", "o.ipynb", "--python", "/no/such/python"])
        .expect(2)
        .says("no such Python: /no/such/python");
    cluster
        .run(&["n.ipynb", "o.ipynb", "--tmplrun", "/no/such/tmplrun"])
        .expect(2)
        .says("tmplrun does not start on the node");
    cluster.assert_clean();
}

#[test]
fn a_refused_job_says_what_sbatch_says() {
    let cluster = Cluster::new();
    cluster.lab.notebook("n.ipynb", &[code("1")]);
    cluster.lab.write("slurm/refuse", "sbatch: error: invalid partition specified: gpu\nsbatch: error: Batch job submission failed: Invalid partition name specified\n");
    cluster
        .run(&["n.ipynb", "o.ipynb", "--slurm", "partition=gpu"])
        .expect(2)
        .says("Slurm did not take the job")
        .says("invalid partition specified: gpu")
        .says("--slurm");
    cluster.assert_clean();
}

#[test]
fn wrong_options_are_found_before_anything_is_sent() {
    let cluster = Cluster::new();
    cluster.lab.notebook("n.ipynb", &[code("1")]);
    for (option, says) in [
        ("time=soon", "1:30:00"),
        ("array=1-4", "not the caller's"),
        ("nodes=x", "a number"),
    ] {
        cluster
            .run(&["n.ipynb", "o.ipynb", "--slurm", option])
            .expect(2)
            .says(says);
    }
    cluster
        .run(&["n.ipynb", "o.ipynb", "--on-prefix", "ssh 'open"])
        .expect(2)
        .says("the command prefix cannot be read");
    let run = Run::from(
        cluster
            .command(&["n.ipynb", "o.ipynb", "--slurm", "time=5"])
            .output()
            .unwrap(),
    );
    run.expect(2).says("--on");
    assert!(!cluster.lab.path("home/.cache").exists());
}

#[test]
fn a_prefix_leads_there_or_says_why_not() {
    let cluster = Cluster::new();
    cluster.lab.notebook(
        "n.ipynb",
        &[code(
            "import os\nprint(os.environ['VIA'], os.getcwd() == os.environ['HOME'])",
        )],
    );
    cluster
        .run(&["n.ipynb", "o.ipynb", "--on-prefix", "env 'VIA=the door' sh -c"])
        .expect(0);
    assert_eq!(stream(&cluster.lab.read("o.ipynb"), 0), "the door True\n");
    cluster.assert_clean();
    let run = cluster
        .run(&[
            "n.ipynb",
            "o.ipynb",
            "--on-prefix",
            "sh -c 'echo Permission denied >&2; exit 255'",
        ])
        .expect(2);
    run.says("the folder for jobs cannot be made on the cluster")
        .says("(exit status 255)")
        .says("because: Permission denied");
    cluster
        .run(&["n.ipynb", "o.ipynb", "--on-prefix", "/no/such/ssh cluster"])
        .expect(2)
        .says("/no/such/ssh");
    cluster.assert_clean();
}

#[test]
fn a_folder_that_nodes_do_not_share_is_said_to_be_so() {
    let cluster = Cluster::new();
    cluster.lab.notebook("n.ipynb", &[code("1")]);
    cluster.lab.write("slurm/unshared", "");
    cluster
        .run(&["n.ipynb", "o.ipynb"])
        .expect(2)
        .says("job 1 ended as FAILED, and nothing was heard of it")
        .says("--on-folder");
    cluster.assert_clean();
}

#[test]
fn a_node_of_another_architecture_is_said_to_be_so() {
    let cluster = Cluster::new();
    cluster.lab.notebook("n.ipynb", &[code("1")]);
    let uname = cluster.lab.write("slurm/bin/uname", "#!/bin/sh\necho sparc\n");
    std::fs::set_permissions(uname, std::fs::Permissions::from_mode(0o755)).unwrap();
    let run = cluster.run(&["n.ipynb", "o.ipynb"]).expect(2);
    run.says("the node is of the architecture sparc").says("tmplrun-sparc");
    cluster.assert_clean();
}

#[test]
fn a_node_that_fails_leaves_what_was_saved() {
    let cluster = Cluster::new();
    let lab = &cluster.lab;
    lab.notebook(
        "n.ipynb",
        &[code("print('kept')"), code("print('reached')"), until("never")],
    );
    let child = cluster.start(&["n.ipynb", "o.ipynb", "--events", "e.jsonl", "--json"]);
    crate::lab::until(|| {
        let events = lab.await_file("e.jsonl");
        (events.matches("\"cell_started\"").count() < 3).then(|| format!("the third cell doesn't start: {events}"))
    });
    cluster.end("NODE_FAIL", "KILL");
    let run = Cluster::finish(child)
        .expect(138)
        .says("the node of job 1 failed on c1")
        .says("--slurm requeue");
    let all = lab.read("o.ipynb");
    assert_eq!(
        (stream(&all, 0), stream(&all, 1)),
        ("kept\n".to_owned(), "reached\n".to_owned())
    );
    let result: Value = serde_json::from_str(&run.stdout).unwrap();
    let cells: Vec<&Value> = result["steps"][0]["cells"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cell| &cell["status"])
        .collect();
    assert_eq!(cells, [&json!("completed"), &json!("completed")]);
    // What the killed program had on the node is the node's to clear away.
    assert_eq!(cluster.folders(), Vec::<PathBuf>::new());
}

#[test]
fn a_job_that_slurm_ends_is_saved_and_says_why() {
    for (state, code_wanted, says) in [
        ("TIMEOUT", 1, "job 1 ran into its time limit on c1"),
        ("CANCELLED", 138, "somebody cancelled job 1"),
        ("OUT_OF_MEMORY", 138, "used more memory than it was given"),
    ] {
        let cluster = Cluster::new();
        let lab = &cluster.lab;
        lab.notebook(
            "n.ipynb",
            &[
                code("print('kept')"),
                code("open('there', 'w').write('x')\nimport time\ntime.sleep(1000)"),
            ],
        );
        let child = cluster.start(&["n.ipynb", "o.ipynb"]);
        lab.await_file("there");
        cluster.end(state, "TERM");
        Cluster::finish(child).expect(code_wanted).says(says);
        assert!(lab.text("o.ipynb").contains("kept"));
        cluster.assert_clean();
    }
}

#[test]
fn ctrl_c_interrupts_the_cell_and_saves() {
    let cluster = Cluster::new();
    let lab = &cluster.lab;
    lab.notebook(
        "n.ipynb",
        &[
            code("print('kept')"),
            code("open('there', 'w').write('x')\nimport time\ntime.sleep(1000)"),
            code("1"),
        ],
    );
    let child = cluster.start(&["n.ipynb", "o.ipynb"]);
    lab.await_file("there");
    signal(child.id(), "INT");
    Cluster::finish(child).expect(130);
    assert_eq!(lab.text("slurm/cancelled").trim(), "--batch --signal=USR2 1");
    let all = lab.text("o.ipynb");
    assert!(all.contains("kept") && all.contains("\"pending\""), "{all}");
    cluster.assert_clean();
}

#[test]
fn ctrl_c_takes_a_waiting_job_out_of_the_queue() {
    let cluster = Cluster::new();
    let lab = &cluster.lab;
    lab.notebook("n.ipynb", &[code("1")]);
    lab.write("slurm/hold", "");
    let child = cluster.start(&["n.ipynb", "o.ipynb"]);
    lab.await_file("slurm/looks");
    signal(child.id(), "INT");
    Cluster::finish(child).expect(130);
    assert_eq!(lab.text("slurm/cancelled").trim(), "1");
    cluster.assert_clean();
}

#[test]
fn ctrl_c_twice_leaves_the_job_and_says_how_to_find_it() {
    let cluster = Cluster::new();
    let lab = &cluster.lab;
    let stubborn = "open('there', 'w').write('x')\nimport os, time\nwhile not os.path.exists('go'):\n    try:\n        time.sleep(0.02)\n    \
                    except KeyboardInterrupt:\n        pass\nprint('to the end')";
    lab.notebook("n.ipynb", &[code(stubborn)]);
    let child = cluster.start(&["n.ipynb", "o.ipynb"]);
    lab.await_file("there");
    signal(child.id(), "INT");
    // The first has been heard once it was passed on.
    lab.await_file("slurm/cancelled");
    signal(child.id(), "INT");
    let folder = cluster.folders().remove(0);
    let left = folder.join("output.ipynb").display().to_string();
    Cluster::finish(child)
        .expect(130)
        .says("squeue -j 1")
        .says("scancel 1")
        .says(&left);
    // It is left to itself, and ends by itself.
    lab.write("go", "");
    let events = folder.join("events.jsonl");
    lab.await_text(events.to_str().unwrap(), "\"end\"");
    assert!(std::path::Path::new(&left).exists());
}

#[test]
fn a_job_that_the_queue_has_forgotten_is_found_in_the_books() {
    let cluster = Cluster::new();
    let lab = &cluster.lab;
    lab.notebook("n.ipynb", &[code("open('there', 'w').write('x')"), until("never")]);
    let child = cluster.start(&["n.ipynb", "o.ipynb"]);
    lab.await_file("there");
    lab.write("slurm/forgotten", "");
    cluster.end("NODE_FAIL", "KILL");
    Cluster::finish(child)
        .expect(138)
        .says("the node of job 1 failed on c1");
    // What the killed program had on the node is the node's to clear away.
    assert_eq!(cluster.folders(), Vec::<PathBuf>::new());
}

#[test]
fn secrets_reach_the_kernel_and_nobody_else() {
    let cluster = Cluster::new();
    let lab = &cluster.lab;
    let token = lab.write("token", "f1le-Secret-99\n");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    lab.notebook(
        "n.ipynb",
        &[
            tagged("token = ''\nkey = ''", &["parameters"]),
            code(
                "import os, stat\npath = token.removeprefix('file:')\nassert not os.stat(path).st_mode & 0o077\n\
                 assert not os.stat(os.path.dirname(os.path.dirname(path))).st_mode & 0o077\n\
                 print(len(open(path).read()), len(os.environ[key.removeprefix('env:')]), open(path).read())",
            ),
            code("open('there', 'w').write('x')"),
            until("go"),
        ],
    );
    let mut command = cluster.command(&[
        "n.ipynb",
        "o.ipynb",
        "--on",
        "slurm",
        "--secret",
        "token=file:token",
        "--secret",
        "key=env:KEY",
        "--events",
        "e.jsonl",
    ]);
    command
        .env("KEY", "v4riable-Secret-77")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    lab.await_file("there");
    let commands: Vec<String> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok())
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .collect();
    lab.write("go", "");
    let run = Cluster::finish(child).expect(0);
    let shown = stream(&lab.read("o.ipynb"), 2);
    assert!(shown.starts_with("15 18 ••••••"), "{shown}");
    let mut texts = commands;
    texts.extend(
        [
            "slurm/1/arguments",
            "slurm/1/environment",
            "slurm/1/script",
            "o.ipynb",
            "e.jsonl",
        ]
        .map(|name| lab.text(name)),
    );
    texts.extend([run.stdout, run.stderr]);
    for text in texts {
        assert!(
            !text.contains("f1le-Secret") && !text.contains("v4riable-Secret"),
            "{text}"
        );
    }
    cluster.assert_clean();
}

#[test]
fn a_flow_s_notebooks_are_jobs_that_hand_values_on() {
    let cluster = Cluster::new();
    let lab = &cluster.lab;
    lab.notebook(
        "f/1.ipynb",
        &[code("from IPython.display import display\ndisplay({'application/vnd.tmplrun.result+json': {'found': 'x y', 'n': 3}}, raw=True)")],
    );
    lab.notebook(
        "f/2.ipynb",
        &[
            tagged("found = ''\nn = 0", &["parameters"]),
            code("import os\nprint(found, n + 1, os.getcwd())"),
        ],
    );
    lab.write(
        "f/flow.yaml",
        "schema: 1\nflows:\n  main:\n    steps: [1.ipynb, 2.ipynb]\n",
    );
    cluster.run(&["f", "o"]).expect(0);
    let folder = lab.path("f").canonicalize().unwrap();
    assert_eq!(
        stream(&lab.read("o/2.ipynb"), 2),
        format!("x y 4 {}\n", folder.display())
    );
    assert!(lab.path("slurm/2/arguments").exists() && !lab.path("slurm/3").exists());
    cluster.assert_clean();
}
