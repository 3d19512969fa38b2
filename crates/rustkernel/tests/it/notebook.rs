//! Notebook 021 from end to end: `tmplrun` finds this program, the cells call the engine, and the nodes are those of a
//! world in memory, which runs no commands but keeps everything else.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::client::PROGRAM;

const DESIGN: &str = "\
schema: 1
name: demo
provider: memory
image: debian-13
network:
  subnet: 10.20.30.0/24
master: {host: master, flavor: small}
groups:
  - {name: compute, nodes: 2, flavor: small, hosts: 'c[1-4]'}
disks:
  - {name: home, size: 16 GiB, mount: /home}
partitions:
  - {name: compute, default: true}
";

/// A program of the workspace above; `ci/rust-kernel` builds those before it runs the tests.
fn program(name: &str) -> PathBuf {
    let folder =
        std::env::var_os("CLUSTERBOOK_BIN_DIR").map_or_else(|| repository().join("target/debug"), PathBuf::from);
    let program = folder.join(name);
    assert!(
        program.is_file(),
        "{} is missing: run ci/rust-kernel test",
        program.display()
    );
    program
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .to_path_buf()
}

struct World(Child);

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_cluster_primitives_work_from_rust() {
    let place = tempfile::Builder::new().prefix("n").tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    // Laid out as the repository is, since the notebook names the engine by its place there.
    std::fs::create_dir_all(at("notebooks/hpc")).unwrap();
    std::os::unix::fs::symlink(repository().join("crates"), at("crates")).unwrap();
    std::fs::copy(
        repository().join("notebooks/hpc/021-from-rust.ipynb"),
        at("notebooks/hpc/021-from-rust.ipynb"),
    )
    .unwrap();
    std::fs::write(at("notebooks/hpc/demo.cluster.yaml"), DESIGN).unwrap();
    std::fs::create_dir(at("bin")).unwrap();
    std::os::unix::fs::symlink(PROGRAM, at("bin/tmplrun-rust")).unwrap();
    // The versions that the workspace has, rather than whatever is newest today.
    let compiled = std::env::var_os("EVCXR_TMPDIR").map_or_else(|| at("compiled"), PathBuf::from);
    let lock = compiled.join("kernel-1/Cargo.lock");
    if !lock.exists() {
        std::fs::create_dir_all(lock.parent().unwrap()).unwrap();
        std::fs::copy(repository().join("Cargo.lock"), &lock).unwrap();
    }
    let world = Command::new(program("clusterbook-world"))
        .arg("--socket")
        .arg(at("world"))
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let _world = World(world);
    while !at("world").exists() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let run = |parameters: &[&str]| {
        Command::new(program("tmplrun"))
            .args(["021-from-rust.ipynb", "out.ipynb"])
            .args(parameters)
            .current_dir(at("notebooks/hpc"))
            .env(
                "PATH",
                format!("{}:{}", at("bin").display(), std::env::var("PATH").unwrap()),
            )
            .env("EVCXR_TMPDIR", &compiled)
            .env_remove("LD_LIBRARY_PATH")
            .env("CLUSTERBOOK_HOME", at("state"))
            .env("CLUSTERBOOK_WORLD", at("world"))
            .env("TMPDIR", place.path())
            .env("JUPYTER_DATA_DIR", at("jupyter"))
            .output()
            .unwrap()
    };

    let ran = run(&["-p", "commands", "False", "-p", "remove", "True"]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let notebook = executed(&at("notebooks/hpc/out.ipynb"));
    let checks = text(&notebook, "check");
    assert!(checks.contains("Good: 3 nodes"), "{checks}");
    let plan = text(&notebook, "plan");
    assert!(plan.contains("Create node c1") && plan.contains("件の変更"), "{plan}");
    assert!(
        text(&notebook, "apply").contains("c2 answers"),
        "{}",
        text(&notebook, "apply")
    );
    let table = &outputs(&notebook, "nodes")[0]["data"]["text/html"];
    let table = joined(table);
    assert_eq!(table.matches("<td>running</td>").count(), 3, "{table}");
    assert_eq!(text(&notebook, "remove"), "demo is removed ／ 削除しました\n");
    let handed = &outputs(&notebook, "hand-on")[0]["data"]["application/vnd.tmplrun.result+json"];
    assert_eq!(handed["nodes"], 3, "{handed}");
    assert!(handed["changes"].as_u64().unwrap() > 3, "{handed}");

    // These nodes run no commands: the cell panics, and that ends the run.
    let ran = run(&[]);
    assert_eq!(ran.status.code(), Some(1), "{}", String::from_utf8_lossy(&ran.stderr));
    let failed = outputs(&executed(&at("notebooks/hpc/out.ipynb")), "slurm");
    let error = failed.iter().find(|output| output["output_type"] == "error").unwrap();
    assert_eq!(error["ename"], "Panic");
    assert!(
        error["evalue"]
            .as_str()
            .unwrap()
            .starts_with("master: master is pretended"),
        "{error}"
    );
}

fn executed(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn outputs(notebook: &Value, id: &str) -> Vec<Value> {
    let cells = notebook["cells"].as_array().unwrap();
    let cell = cells.iter().find(|cell| cell["id"] == id).unwrap();
    cell["outputs"].as_array().unwrap().clone()
}

/// What a cell printed.
fn text(notebook: &Value, id: &str) -> String {
    let outputs = outputs(notebook, id);
    let streams = outputs.iter().filter(|output| output["output_type"] == "stream");
    streams.map(|output| joined(&output["text"])).collect()
}

fn joined(text: &Value) -> String {
    match text {
        Value::Array(lines) => lines.iter().filter_map(Value::as_str).collect(),
        other => other.as_str().unwrap_or_default().to_owned(),
    }
}
