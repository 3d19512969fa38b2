//! Kill it anywhere: an apply, and a removal, ended by `SIGKILL` at every single write to the journal, in a world where every
//! fault that providers show happens; and once in every stage on real nodes. Whatever was left, the next ones finish it: nothing leaks and nothing doubles.
//!
//! The process that is killed is this program itself, started again with `child` as its first argument; the world lives
//! on in the parent, as a cloud would.

#![allow(clippy::expect_used, clippy::print_stdout)] // A test, and its own harness.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clusterbook_engine::{ApplyOptions, Engine, Error, Events, Settings, Stop};
use clusterbook_model::Design;
use clusterbook_providers::{FaultPlan, Inventory, Scope, World};
use tokio_util::sync::CancellationToken;

static WRITES_LEFT: AtomicU64 = AtomicU64::new(u64::MAX);

/// Ends the process without any clean-up once enough was journalled.
fn count_down() {
    if WRITES_LEFT.fetch_sub(1, Ordering::SeqCst) == 1 {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    if arguments.first().map(String::as_str) == Some("child") {
        return runtime.block_on(child(&arguments[1..]));
    }
    const TESTS: [&str; 2] = ["killed_at_every_journalled_step", "killed_in_every_stage_on_real_nodes"];
    // The options of the usual test harness that a runner may pass.
    if arguments.iter().any(|argument| argument == "--list") {
        TESTS.iter().for_each(|name| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let mut passed = 0;
    for name in TESTS
        .iter()
        .filter(|name| filter.is_none_or(|filter| name.contains(filter.as_str())))
    {
        match *name {
            "killed_at_every_journalled_step" => runtime.block_on(killed_at_every_journalled_step()),
            _ => runtime.block_on(killed_in_every_stage_on_real_nodes()),
        }
        println!("test {name} ... ok");
        passed += 1;
    }
    println!("\ntest result: ok. {passed} passed; 0 failed; 0 ignored");
    ExitCode::SUCCESS
}

/// On real nodes the name holds the process that asks, so that a run that was cut short is in nobody's way.
fn design(provider: &str, nodes: u32, owner: u32) -> Design {
    Design::from_parameters(&serde_json::json!({
        "name": if provider == "local" { format!("kill-{owner}") } else { "demo".to_owned() },
        "provider": provider,
        "groups": [{"name": "compute", "nodes": nodes}],
        "users": [{"name": "taro", "uid": 2001, "keys": []}],
    }))
    .expect("a sound design")
}

fn engine(folder: &Path) -> Engine {
    let world = folder.join("world.sock").display().to_string();
    let home = folder.join("state").display().to_string();
    let container_engine = std::env::var("CLUSTERBOOK_TEST_ENGINE").ok();
    let lookup = move |name: &str| match name {
        "CLUSTERBOOK_ENGINE" => container_engine.clone(),
        "CLUSTERBOOK_WORLD" => Some(world.clone()),
        "CLUSTERBOOK_HOME" => Some(home.clone()),
        _ => None,
    };
    let mut settings = Settings::from_lookup(lookup, "test", jiff::Timestamp::now());
    settings.journalled = Some(count_down);
    Engine::open(settings).expect("the state folder opens")
}

/// `child FOLDER PROVIDER WHAT WRITES OWNER`: applies or destroys, and is killed after so many writes to the journal.
async fn child(arguments: &[String]) -> ExitCode {
    let [folder, provider, what, writes, owner] = arguments else {
        return ExitCode::from(2);
    };
    let design = design(provider, 3, owner.parse().expect("a process id"));
    let engine = engine(Path::new(folder));
    WRITES_LEFT.store(writes.parse().expect("a number"), Ordering::SeqCst);
    let result = match what.as_str() {
        "apply" => {
            engine
                .apply(&design, &ApplyOptions::default(), &Events::none(), &Stop::new())
                .await
        }
        _ => {
            engine
                .destroy(&design.name, &ApplyOptions::default(), &Events::none(), &Stop::new())
                .await
        }
    };
    match result {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run_child(folder: &Path, provider: &str, what: &str, writes: u64) -> ExitStatus {
    Command::new(std::env::current_exe().expect("our own path"))
        .args([
            "child",
            &folder.display().to_string(),
            provider,
            what,
            &writes.to_string(),
            &std::process::id().to_string(),
        ])
        .status()
        .expect("the child starts")
}

fn was_killed(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt;
    status.signal() == Some(9)
}

/// Applies until it succeeds; the faults may ask for several tries, but never for many.
async fn converge(engine: &Engine, design: &Design) {
    let mut last = String::new();
    for _ in 0..40 {
        match engine
            .apply(design, &ApplyOptions::default(), &Events::none(), &Stop::new())
            .await
        {
            Ok(_) => return,
            Err(Error::Interrupted { .. }) => panic!("nobody asked to stop"),
            Err(error) => last = error.chain().join(": "),
        }
    }
    panic!("forty applies did not converge: {last}");
}

async fn remove(engine: &Engine, cluster: &str) {
    let mut last = String::new();
    for _ in 0..40 {
        match engine
            .destroy(cluster, &ApplyOptions::default(), &Events::none(), &Stop::new())
            .await
        {
            Ok(_) => return,
            Err(error) => last = error.chain().join(": "),
        }
    }
    panic!("forty removals did not finish: {last}");
}

fn assert_is(truth: &Inventory, design: &Design, when: &str) {
    let found: Vec<String> = truth.nodes.iter().map(|node| node.mark.resource.clone()).collect();
    let designed: BTreeSet<String> = design.nodes().into_iter().map(|node| node.name).collect();
    assert_eq!(
        found.iter().cloned().collect::<BTreeSet<_>>(),
        designed,
        "{when}: nodes"
    );
    assert_eq!(found.len(), designed.len(), "{when}: no node twice");
    assert_eq!(truth.disks.len(), design.disks.len(), "{when}: disks");
    assert_eq!(truth.networks.len(), 1, "{when}: networks");
}

async fn killed_at_every_journalled_step() {
    let mut kills = 0;
    for what in ["apply", "destroy"] {
        for writes in 1.. {
            let folder = tempfile::tempdir().expect("a folder");
            let world = World::new(1000 + writes, FaultPlan::all());
            let cancel = CancellationToken::new();
            let served = serve(&world, folder.path(), &cancel);
            let engine = engine(folder.path());
            if what == "destroy" {
                converge(&engine, &design("memory", 3, 0)).await;
            }
            let folder_of_child = folder.path().to_owned();
            let status = tokio::task::spawn_blocking(move || run_child(&folder_of_child, "memory", what, writes))
                .await
                .expect("the child ends");
            let killed = was_killed(status);
            kills += u32::from(killed);
            let when = format!("{what} killed at write {writes}");
            if what == "apply" {
                converge(&engine, &design("memory", 3, 0)).await;
                assert_is(&world.truth(&Scope::All), &design("memory", 3, 0), &when);
                assert_nothing_left_to_plan(&engine, &design("memory", 3, 0), &when).await;
            }
            if engine
                .clusters()
                .expect("a list")
                .iter()
                .any(|cluster| cluster.name == "demo")
            {
                remove(&engine, "demo").await;
            }
            let truth = world.truth(&Scope::All);
            assert!(
                truth.nodes.is_empty() && truth.disks.is_empty() && truth.networks.is_empty(),
                "{when}: left over: {truth:?}"
            );
            let secrets = folder.path().join("state/secrets");
            let left = std::fs::read_dir(secrets).map_or(0, |entries| entries.count());
            assert_eq!(left, 0, "{when}: secrets left over");
            cancel.cancel();
            served.await.expect("the world ends");
            if !killed {
                assert!(writes > 2, "{what} journals more than that");
                break;
            }
        }
    }
    assert!(kills >= 10, "only {kills} kills were tried");
    println!("killed {kills} times");
}

/// The same on real nodes: killed at each write to the journal of an apply, which is before and after each of its stages, and
/// then in the middle of the configuration.
async fn killed_in_every_stage_on_real_nodes() {
    if std::env::var("CLUSTERBOOK_TEST_ENGINE").is_err() {
        panic!("set CLUSTERBOOK_TEST_ENGINE to the socket of a container engine, for example /run/podman/podman.sock");
    }
    let design = design("local", 3, std::process::id());
    let mut kills = 0;
    for writes in 1.. {
        let folder = tempfile::tempdir().expect("a folder");
        let engine = engine(folder.path());
        let folder_of_child = folder.path().to_owned();
        let status = tokio::task::spawn_blocking(move || run_child(&folder_of_child, "local", "apply", writes))
            .await
            .expect("the child ends");
        let killed = was_killed(status);
        kills += u32::from(killed);
        let when = format!("local, killed at write {writes}");
        converge(&engine, &design).await;
        let truth = listing(&engine, &design.name).await;
        assert_is(&truth, &design, &when);
        let plan = engine.plan(&design, &Stop::new()).await.expect("a plan");
        assert!(plan.is_empty(), "{when}: planning again finds {:?}", plan.changes);
        remove(&engine, &design.name).await;
        let left = listing(&engine, &design.name).await;
        assert!(
            left.nodes.is_empty() && left.disks.is_empty() && left.networks.is_empty(),
            "{when}: left over: {left:?}"
        );
        if !killed {
            break;
        }
    }
    assert!(kills >= 6, "only {kills} kills were tried");
    println!("killed {kills} times");
}

async fn listing(engine: &Engine, cluster: &str) -> Inventory {
    let provider = clusterbook_providers::open("local", &engine.settings().provider).expect("the provider");
    let mut all = provider.inventory(&Scope::All).await.expect("a listing");
    all.nodes.retain(|node| node.mark.cluster == cluster);
    all.disks.retain(|disk| disk.mark.cluster == cluster);
    all.networks.retain(|network| network.mark.cluster == cluster);
    all
}

/// Planning may itself meet a fault, and where lists lag or connections break it may see less than there is; once it sees
/// everything, it must find nothing to do.
async fn assert_nothing_left_to_plan(engine: &Engine, design: &Design, when: &str) {
    let mut last = Vec::new();
    for _ in 0..40 {
        if let Ok(plan) = engine.plan(design, &Stop::new()).await {
            if plan.is_empty() {
                return;
            }
            last = plan.changes.into_iter().map(|change| change.id).collect();
        }
    }
    panic!("{when}: planning again always finds something to do: {last:?}");
}

fn serve(world: &Arc<World>, folder: &Path, cancel: &CancellationToken) -> tokio::task::JoinHandle<()> {
    let (world, socket, cancel) = (world.clone(), folder.join("world.sock"), cancel.clone());
    let path = socket.clone();
    let handle = tokio::spawn(async move {
        clusterbook_providers::serve(world, &path, cancel)
            .await
            .expect("the world is served");
    });
    for _ in 0..6000 {
        if std::os::unix::net::UnixStream::connect(&socket).is_ok() {
            return handle;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    panic!("the world does not answer");
}
