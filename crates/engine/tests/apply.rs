//! What an apply costs and how it is stopped, in a world without machines.

#![allow(clippy::expect_used)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clusterbook_engine::state::{Holder, Home, StateError};
use clusterbook_engine::{ApplyOptions, Engine, Error, Event, Events, Part, Settings, Stop, Verb};
use clusterbook_model::Design;
use clusterbook_providers::{Calls, Fault, FaultPlan, Operation, Scope, Scripted, World};
use tokio_util::sync::CancellationToken;

struct Place {
    folder: tempfile::TempDir,
    world: Arc<World>,
    engine: Engine,
    _ends: tokio_util::sync::DropGuard,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let world = World::new(1, FaultPlan::none());
        let cancel = CancellationToken::new();
        let socket = folder.path().join("world.sock");
        tokio::spawn(clusterbook_providers_serve(
            world.clone(),
            socket.clone(),
            cancel.clone(),
        ));
        while tokio::net::UnixStream::connect(&socket).await.is_err() {
            tokio::task::yield_now().await;
        }
        let engine = engine(folder.path());
        Self {
            folder,
            world,
            engine,
            _ends: cancel.drop_guard(),
        }
    }

    async fn apply(&self, design: &Design) -> Result<clusterbook_engine::Applied, Error> {
        self.engine
            .apply(design, &ApplyOptions::default(), &Events::none(), &Stop::new())
            .await
    }

    /// What was asked of the world while `work` was done.
    async fn calls<T>(&self, work: impl Future<Output = T>) -> (Calls, T) {
        let before = self.world.calls();
        let result = work.await;
        let mut calls = self.world.calls();
        for (operation, count) in before.operations {
            *calls.operations.entry(operation).or_default() -= count;
        }
        (calls, result)
    }
}

async fn clusterbook_providers_serve(world: Arc<World>, socket: std::path::PathBuf, cancel: CancellationToken) {
    clusterbook_providers::serve(world, &socket, cancel)
        .await
        .expect("the world is served");
}

fn engine(folder: &Path) -> Engine {
    let (world, home) = (folder.join("world.sock"), folder.join("state"));
    let lookup = |name: &str| match name {
        "CLUSTERBOOK_WORLD" => Some(world.display().to_string()),
        "CLUSTERBOOK_HOME" => Some(home.display().to_string()),
        _ => None,
    };
    let mut settings = Settings::from_lookup(lookup, "test", jiff::Timestamp::now());
    settings.patience = Duration::from_millis(50);
    Engine::open(settings).expect("the state folder opens")
}

fn design(nodes: u32, users: &[&str]) -> Design {
    let users: Vec<_> = users
        .iter()
        .enumerate()
        .map(|(index, name)| serde_json::json!({"name": name, "uid": 2001 + index}))
        .collect();
    Design::from_parameters(&serde_json::json!({
        "name": "demo",
        "provider": "memory",
        "groups": [{"name": "compute", "nodes": nodes, "hosts": "c[1-1000]"}],
        "users": users,
    }))
    .expect("a sound design")
}

/// Programs spawn these on their runtime, which needs them to be `Send`.
#[tokio::test]
async fn everything_can_be_spawned() {
    fn spawnable<T: Send>(_: T) {}
    let place = Place::new().await;
    let (engine, wanted, stop) = (&place.engine, design(1, &[]), Stop::new());
    let (options, events) = (ApplyOptions::default(), Events::none());
    spawnable(engine.plan(&wanted, &stop));
    spawnable(engine.apply(&wanted, &options, &events, &stop));
    spawnable(engine.destroy("demo", &options, &events, &stop));
    spawnable(engine.status("demo"));
    spawnable(engine.run("demo", &[], "true", b"", &|_, _, _| {}, &stop));
}

fn count(calls: &Calls, operation: Operation) -> u64 {
    calls.operations.get(&operation).copied().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_apply_there_is_nothing_left_to_plan() {
    let place = Place::new().await;
    place.apply(&design(3, &["taro"])).await.expect("it is made");
    let plan = place
        .engine
        .plan(&design(3, &["taro"]), &Stop::new())
        .await
        .expect("a plan");
    assert!(plan.is_empty(), "{:?}", plan.changes);
    let again = place.apply(&design(3, &["taro"])).await.expect("it is as designed");
    assert_eq!(again.number, 1, "an apply with nothing to do leaves no trace");
}

#[tokio::test(flavor = "multi_thread")]
async fn round_trips_are_counted_by_barrier_and_not_by_item() {
    let place = Place::new().await;
    for (nodes, old) in [(4, 0), (9, 4)] {
        let (calls, result) = place.calls(place.apply(&design(nodes, &["taro"]))).await;
        result.expect("it is made");
        // Each new worker: everything of its own, then slurmd. Each old one: the new host names. The master: everything of its
        // own, then a look at all workers; a new one Slurm's accounts in between.
        let new = u64::from(nodes) - old;
        let accounts = u64::from(old == 0);
        assert_eq!(
            count(&calls, Operation::NodeWrite),
            2 * new + old + 2 + accounts,
            "{nodes} nodes"
        );
    }
    let (calls, plan) = place
        .calls(async { place.engine.plan(&design(9, &["taro"]), &Stop::new()).await })
        .await;
    assert!(plan.expect("a plan").is_empty());
    assert_eq!(count(&calls, Operation::NodeRead), 10, "one look per node");
    assert_eq!(count(&calls, Operation::NodeWrite), 0, "planning changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn provider_calls_do_not_grow_with_the_nodes() {
    let mut listings = Vec::new();
    for nodes in [2, 200] {
        let place = Place::new().await;
        let (calls, result) = place.calls(place.apply(&design(nodes, &[]))).await;
        result.expect("it is made");
        assert_eq!(count(&calls, Operation::CreateNode), u64::from(nodes) + 1);
        listings.push(count(&calls, Operation::Inventory));
    }
    assert_eq!(listings[0], listings[1], "listings for 2 and for 200 nodes");
}

#[tokio::test(flavor = "multi_thread")]
async fn adding_and_removing_a_user_touches_what_it_must_and_nothing_else() {
    let place = Place::new().await;
    place.apply(&design(2, &["taro"])).await.expect("it is made");
    let plan = place
        .engine
        .plan(&design(2, &["taro", "hanako"]), &Stop::new())
        .await
        .expect("a plan");
    let ids: Vec<&str> = plan.changes.iter().map(|change| change.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "master: user:hanako",
            "master: dir:/home/hanako",
            "master: dir:/home/hanako/.ssh",
            "master: file:/home/hanako/.ssh/authorized_keys",
            "master: slurm-user:hanako",
            "c1: file:/etc/subuid",
            "c1: file:/etc/subgid",
            "c1: user:hanako",
            "c2: file:/etc/subuid",
            "c2: file:/etc/subgid",
            "c2: user:hanako",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_smaller_design_drains_before_it_removes_and_says_so() {
    let place = Place::new().await;
    place.apply(&design(3, &[])).await.expect("it is made");
    let plan = place.engine.plan(&design(2, &[]), &Stop::new()).await.expect("a plan");
    let at = |id: &str| plan.changes.iter().position(|change| change.id == id);
    assert!(at("update drain c3").expect("a drain") < at("delete node c3").expect("a removal"));
    assert_eq!(plan.count(Verb::Delete), 1);
    // Removals that nobody has seen stop the apply before anything is done.
    let unseen = ApplyOptions {
        agreed: Some(["update drain c3".to_owned()].into()),
        ..ApplyOptions::default()
    };
    let (calls, refused) = place
        .calls(
            place
                .engine
                .apply(&design(2, &[]), &unseen, &Events::none(), &Stop::new()),
        )
        .await;
    assert!(matches!(refused, Err(Error::Refused { .. })), "{refused:?}");
    assert_eq!(
        count(&calls, Operation::DeleteNode) + count(&calls, Operation::NodeWrite),
        0
    );
    place.apply(&design(2, &[])).await.expect("it is changed");
    let left: Vec<String> = place
        .world
        .truth(&Scope::All)
        .nodes
        .into_iter()
        .map(|node| node.mark.resource)
        .collect();
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(!left.contains(&"c3".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn off_and_on_again_needs_one_apply_each() {
    let place = Place::new().await;
    let on = design(3, &["taro"]);
    let off = Design {
        power: clusterbook_model::Power::Off,
        ..on.clone()
    };
    place.apply(&on).await.expect("it is made");
    let addresses = |world: &World| -> Vec<_> {
        world
            .truth(&Scope::All)
            .nodes
            .into_iter()
            .map(|node| (node.mark.resource, node.address))
            .collect()
    };
    let before = addresses(&place.world);
    place.apply(&off).await.expect("it is powered off");
    assert!(place.engine.plan(&off, &Stop::new()).await.expect("a plan").is_empty());
    place.apply(&on).await.expect("it is powered on");
    assert!(place.engine.plan(&on, &Stop::new()).await.expect("a plan").is_empty());
    assert_eq!(addresses(&place.world), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_soon_ends_at_a_journalled_point_and_the_next_apply_goes_on() {
    let place = Place::new().await;
    let stop = Stop::new();
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let pressed = stop.clone();
    let listener = tokio::spawn(async move {
        while let Some(event) = receiver.recv().await {
            if matches!(&event, Event::Stage { name, .. } if name == "network and disks") {
                pressed.press();
            }
        }
    });
    let wanted = design(2, &[]);
    let result = place
        .engine
        .apply(&wanted, &ApplyOptions::default(), &Events::to(sender), &stop)
        .await;
    assert!(matches!(result, Err(Error::Interrupted { .. })), "{result:?}");
    listener.await.expect("it ends");
    assert!(
        place.world.truth(&Scope::All).nodes.is_empty(),
        "nothing was begun after the stop"
    );
    place.apply(&wanted).await.expect("the next one goes on");
    assert!(
        place
            .engine
            .plan(&wanted, &Stop::new())
            .await
            .expect("a plan")
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_anywhere_it_never_claims_to_have_finished() {
    let (wanted, mut interrupted) = (design(2, &["taro"]), 0);
    for press_at in 0..60 {
        let place = Place::new().await;
        place.world.set_faults(FaultPlan {
            latency: std::time::Duration::from_millis(3),
            ..FaultPlan::none()
        });
        let stop = Stop::new();
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let pressed = stop.clone();
        tokio::spawn(async move {
            let mut seen = 0;
            while receiver.recv().await.is_some() {
                if seen == press_at {
                    pressed.press();
                }
                seen += 1;
            }
        });
        let result = place
            .engine
            .apply(&wanted, &ApplyOptions::default(), &Events::to(sender), &stop)
            .await;
        let plan = place.engine.plan(&wanted, &Stop::new()).await.expect("a plan");
        match result {
            Ok(_) => assert!(plan.is_empty(), "pressed at event {press_at}: {:?}", plan.changes),
            Err(Error::Interrupted { .. }) => interrupted += 1,
            Err(error) => panic!("pressed at event {press_at}: {error}"),
        }
        place.apply(&wanted).await.expect("the next one goes on");
    }
    assert!(interrupted > 3, "only {interrupted} were interrupted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_of_another_state_folder_is_refused_and_nothing_is_made() {
    let place = Place::new().await;
    place.apply(&design(1, &[])).await.expect("it is made");
    let other = tempfile::tempdir().expect("a folder");
    std::os::unix::fs::symlink(place.folder.path().join("world.sock"), other.path().join("world.sock"))
        .expect("a link");
    let stranger = engine(other.path());
    let before = place.world.truth(&Scope::All);
    let result = stranger
        .apply(&design(2, &[]), &ApplyOptions::default(), &Events::none(), &Stop::new())
        .await;
    assert!(matches!(&result, Err(Error::NameInUse { .. })), "{result:?}");
    assert_eq!(place.world.truth(&Scope::All), before);
    assert!(
        stranger.clusters().expect("a list").is_empty(),
        "a refused cluster is not remembered"
    );
}

/// A process may be halted at any moment, also in the middle of writing to the state.
#[tokio::test(flavor = "multi_thread")]
async fn an_apply_that_is_halted_while_it_writes_is_named_to_the_next() {
    let place = Place::new().await;
    place.apply(&design(1, &[])).await.expect("it is made");
    let state = place.folder.path().join("state");
    let holder = Holder {
        user: "ann".to_owned(),
        host: "laptop".to_owned(),
        pid: 4711,
        since: jiff::Timestamp::UNIX_EPOCH,
        what: "apply".to_owned(),
    };
    let home = Home::open(&state).expect("the state folder opens");
    let _lock = home.lock("demo", &holder).expect("nobody has it");
    let halted = rusqlite::Connection::open(state.join("state.db")).expect("the database");
    halted.execute_batch("BEGIN IMMEDIATE").expect("nobody writes");

    let second = engine(place.folder.path());
    let plan = second.plan(&design(2, &[]), &Stop::new()).await.expect("a plan");
    assert!(!plan.is_empty());
    let result = second
        .apply(&design(2, &[]), &ApplyOptions::default(), &Events::none(), &Stop::new())
        .await;
    assert!(
        matches!(&result, Err(Error::State(StateError::Locked { holder: Some(named), .. })) if **named == holder),
        "{result:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_failing_node_does_not_hide_or_stop_the_others() {
    let place = Place::new().await;
    place.apply(&design(3, &[])).await.expect("it is made");
    let id = place.engine.cluster("demo").expect("it is known").id;
    assert!(place.world.fail_node(&id, "c2", "its machine broke"));
    let plan = place.engine.plan(&design(3, &[]), &Stop::new()).await.expect("a plan");
    assert!(
        plan.changes
            .iter()
            .any(|change| change.id == "delete node c2" && change.reason.contains("its machine broke"))
    );
    assert!(plan.changes.iter().any(|change| change.id == "create node c2"));
    place.apply(&design(3, &[])).await.expect("it is replaced");
    assert!(
        place
            .engine
            .plan(&design(3, &[]), &Stop::new())
            .await
            .expect("a plan")
            .is_empty()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_that_fails_is_named_and_the_others_are_finished() {
    let place = Place::new().await;
    let breaks = |node: &str| Scripted {
        operation: Operation::NodeWrite,
        resource: node.to_owned(),
        fault: Fault::ConnectionLost { after: 1 },
    };
    place.world.set_faults(FaultPlan {
        script: vec![breaks("c1"), breaks("c3")],
        ..FaultPlan::none()
    });
    let Err(Error::Failures { failures, .. }) = place.apply(&design(3, &[])).await else {
        panic!("two nodes broke off");
    };
    let named: Vec<&str> = failures.iter().map(|failure| failure.what.as_str()).collect();
    assert_eq!(named, ["c1", "c3"], "{failures:?}");
    let plan = place.engine.plan(&design(3, &[]), &Stop::new()).await.expect("a plan");
    let open: Vec<Option<&str>> = plan.changes.iter().map(|change| change.node.as_deref()).collect();
    assert!(open.contains(&Some("c1")) && open.contains(&Some("c3")), "{open:?}");
    assert!(!open.contains(&Some("c2")), "c2 was not finished: {open:?}");
    place.apply(&design(3, &[])).await.expect("the next one goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_wait_for_a_controller_that_failed_are_given_up() {
    let place = Place::new().await;
    place.world.set_faults(FaultPlan {
        script: vec![Scripted {
            operation: Operation::NodeWrite,
            resource: "master".to_owned(),
            fault: Fault::ConnectionLost { after: 1 },
        }],
        ..FaultPlan::none()
    });
    place.world.withhold(Some("service:slurmd"));
    let Err(Error::Failures { failures, .. }) = place.apply(&design(2, &[])).await else {
        panic!("the master broke off");
    };
    let named: Vec<&str> = failures.iter().map(|failure| failure.what.as_str()).collect();
    assert_eq!(named, ["master"], "{failures:?}");
    let plan = place.engine.plan(&design(2, &[]), &Stop::new()).await.expect("a plan");
    for node in ["master", "c1", "c2"] {
        let open = plan.changes.iter().any(|change| change.node.as_deref() == Some(node));
        assert!(open, "{node} is not finished: {:?}", plan.changes);
    }
    place.world.withhold(None);
    place.apply(&design(2, &[])).await.expect("the next one goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_succeeded_without_an_answer_is_a_success_and_counts_once() {
    let place = Place::new().await;
    let unanswered = |operation, resource: &str| Scripted {
        operation,
        resource: resource.to_owned(),
        fault: Fault::TimedOutDone,
    };
    place.world.set_faults(FaultPlan {
        script: vec![
            unanswered(Operation::CreateNetwork, ""),
            unanswered(Operation::CreateDisk, ""),
            unanswered(Operation::CreateNode, "c1"),
        ],
        ..FaultPlan::none()
    });
    let (calls, applied) = place.calls(place.apply(&design(2, &[]))).await;
    applied.expect("what was made is found, though nobody said so");
    let truth = place.world.truth(&Scope::All);
    assert_eq!((truth.networks.len(), truth.disks.len(), truth.nodes.len()), (1, 1, 3));
    assert_eq!(
        count(&calls, Operation::CreateNode),
        4,
        "c1 was asked for a second time"
    );
}

/// A design with these files, each with its content and the services that read it.
fn with_files(files: &[(&str, &str, &[&str])]) -> Design {
    let files: Vec<_> = files
        .iter()
        .map(|(path, content, restart)| serde_json::json!({"path": path, "content": content, "restart": restart}))
        .collect();
    Design::from_parameters(&serde_json::json!({
        "name": "demo",
        "provider": "memory",
        "groups": [{"name": "compute", "nodes": 2, "hosts": "c[1-9]"}],
        "files": files,
    }))
    .expect("a sound design")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edited_file_is_a_change_on_each_of_its_nodes_and_tells_who_reads_it() {
    let place = Place::new().await;
    place.apply(&with_files(&[])).await.expect("it is made");
    let edited = with_files(&[
        ("/etc/motd", "one\n", &[]),
        ("/etc/chrony.conf", "pool x\n", &["chrony"]),
    ]);
    let plan = place.engine.plan(&edited, &Stop::new()).await.expect("a plan");
    let mut told: Vec<String> = plan
        .changes
        .iter()
        .map(|change| {
            format!(
                "{} {} {}",
                change.phase,
                change.node.as_deref().unwrap_or("-"),
                change.what
            )
        })
        .collect();
    told.sort();
    let wanted: Vec<String> = ["c1", "c2", "master"]
        .iter()
        .flat_map(|node| ["/etc/chrony.conf", "/etc/motd", "service chrony"].map(|what| format!("files {node} {what}")))
        .collect();
    assert_eq!(told, wanted);
    let (calls, applied) = place.calls(place.apply(&edited)).await;
    applied.expect("it is applied");
    assert_eq!(count(&calls, Operation::NodeWrite), 3, "one round trip for each node");
    let plan = place.engine.plan(&edited, &Stop::new()).await.expect("a plan");
    assert!(plan.is_empty(), "{:?}", plan.changes);

    // Another content tells its reader, and nobody else.
    let again = with_files(&[
        ("/etc/motd", "one\n", &[]),
        ("/etc/chrony.conf", "pool y\n", &["chrony"]),
    ]);
    let plan = place.engine.plan(&again, &Stop::new()).await.expect("a plan");
    assert_eq!(plan.changes.len(), 6, "{:?}", plan.changes);
    assert!(plan.changes.iter().all(|change| change.what != "/etc/motd"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_daemon_of_ours_reads_makes_it_read_again() {
    let place = Place::new().await;
    place.apply(&with_files(&[])).await.expect("it is made");
    let edited = with_files(&[("/etc/slurm/job_submit.lua", "return slurm.SUCCESS\n", &["slurmctld"])]);
    let plan = place.engine.plan(&edited, &Stop::new()).await.expect("a plan");
    let told: Vec<(&str, Option<&str>)> = plan
        .changes
        .iter()
        .filter(|change| change.node.as_deref() == Some("master"))
        .map(|change| (change.what.as_str(), change.node.as_deref()))
        .collect();
    assert_eq!(
        told,
        [
            ("/etc/slurm/job_submit.lua", Some("master")),
            ("service slurmctld", Some("master"))
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn applies_are_versions_of_a_file_and_of_slurm_conf() {
    let place = Place::new().await;
    let file = Part::File {
        path: "/etc/motd".to_owned(),
        nodes: None,
    };
    for content in [None, Some("one\n"), Some("one\ntwo\n"), Some("one\ntwo\n"), None] {
        let files: Vec<(&str, &str, &[&str])> = content.iter().map(|text| ("/etc/motd", *text, &[][..])).collect();
        place.apply(&with_files(&files)).await.expect("it is applied");
    }
    let versions = place.engine.versions("demo", &file).expect("versions");
    let told: Vec<(u64, Option<&str>)> = versions
        .iter()
        .map(|version| (version.apply, version.text.as_deref()))
        .collect();
    assert_eq!(told, [(2, Some("one\n")), (3, Some("one\ntwo\n")), (4, None)]);
    assert!(versions[1].diff.contains("+two"), "{}", versions[1].diff);
    assert_eq!(versions[0].outcome, "done");
    let earlier = place.engine.design_of("demo", 2).expect("a design");
    assert_eq!(earlier.files[0].content, "one\n");
    assert!(
        place
            .engine
            .versions("demo", &Part::SlurmConf)
            .expect("versions")
            .is_empty()
    );
    let error = place.engine.design_of("demo", 40).expect_err("there is none");
    assert!(error.hint().is_some_and(|hint| hint.contains("1 to 4")), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_failed_at_first_is_done_once_a_later_apply_succeeds() {
    let place = Place::new().await;
    place.apply(&with_files(&[])).await.expect("it is made");
    let edited = with_files(&[("/etc/motd", "one\n", &[])]);
    place.world.set_faults(FaultPlan {
        script: vec![Scripted {
            operation: Operation::NodeWrite,
            resource: "c1".to_owned(),
            fault: Fault::ConnectionLost { after: 0 },
        }],
        ..FaultPlan::none()
    });
    place.apply(&edited).await.expect_err("a node is lost on the way");
    let part = Part::File {
        path: "/etc/motd".to_owned(),
        nodes: None,
    };
    let told = || -> Vec<(u64, &'static str)> {
        let versions = place.engine.versions("demo", &part).expect("versions");
        versions
            .iter()
            .map(|version| (version.apply, version.outcome))
            .collect()
    };
    assert_eq!(told(), [(2, "failed")]);
    place.world.set_faults(FaultPlan::none());
    place.apply(&edited).await.expect("the next one goes on");
    assert_eq!(told(), [(3, "done")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_is_not_removed_by_another_name() {
    let place = Place::new().await;
    place.apply(&design(1, &[])).await.expect("it is made");
    let other = Design::from_parameters(&serde_json::json!({
        "name": "demo",
        "provider": "memory",
        "master": {"host": "head"},
        "groups": [{"name": "compute", "nodes": 1, "hosts": "c[1-1000]"}],
    }))
    .expect("a sound design");
    let error = place.apply(&other).await.expect_err("it is refused");
    assert!(
        matches!(&error, Error::Refused { hint, .. } if hint.contains("master.host: master")),
        "{error:?}"
    );
    let plan = place.engine.plan(&design(1, &[]), &Stop::new()).await.expect("a plan");
    assert!(plan.is_empty(), "nothing was done: {:?}", plan.changes);
}

#[tokio::test(flavor = "multi_thread")]
async fn gpus_reach_slurm_and_the_nodes_that_have_them_and_no_other() {
    let place = Place::new().await;
    let with = |gpus: serde_json::Value| {
        Design::from_parameters(&serde_json::json!({
            "name": "demo",
            "provider": "memory",
            "groups": [{"name": "compute", "nodes": 1}, {"name": "gpu", "nodes": 1, "gpus": gpus}],
        }))
        .expect("a sound design")
    };
    place.apply(&with(serde_json::json!(0))).await.expect("it is made");
    let wanted = with(serde_json::json!("t4:2"));
    let plan = place.engine.plan(&wanted, &Stop::new()).await.expect("a plan");
    let ids: Vec<&str> = plan.changes.iter().map(|change| change.id.as_str()).collect();
    assert_eq!(
        ids,
        [
            "master: file:/etc/slurm/slurm.conf",
            "master: file:/etc/slurm/gres.conf",
            "master: service:slurmctld",
            // Slurm drains a node that has fewer GPUs than it expects, so this one is looked at once more.
            "master: slurm-node:gpu1",
            "gpu1: link:/var/lib/clusterbook/gpu/gpu0",
            "gpu1: link:/var/lib/clusterbook/gpu/gpu1",
            "gpu1: file:/etc/default/slurmd",
            "gpu1: service:slurmd",
        ]
    );
    place.apply(&wanted).await.expect("it is changed");
    let plan = place.engine.plan(&wanted, &Stop::new()).await.expect("a plan");
    assert!(plan.is_empty(), "{:?}", plan.changes);
    // These nodes run no commands, which is a row for each and no error.
    let found = place.engine.gpus("demo", &Stop::new()).await.expect("they are asked");
    let rows: Vec<(&str, &str)> = found
        .rows
        .iter()
        .map(|row| (row.node.as_str(), row.designed.as_str()))
        .collect();
    assert_eq!(rows, [("c1", ""), ("gpu1", "t4:2")]);
    assert!(found.rows.iter().all(|row| row.detail.contains("pretended")) && found.proposals.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn storage_of_others_is_a_unit_that_mounts_again_when_it_changes() {
    let place = Place::new().await;
    let with = |options: &[&str]| {
        Design::from_parameters(&serde_json::json!({
            "name": "demo",
            "provider": "memory",
            "groups": [{"nodes": 1}],
            "mounts": [{"name": "data", "source": "nas:/export", "mount": "/data/a-b", "options": options}],
        }))
        .expect("a sound design")
    };
    place.apply(&with(&["ro"])).await.expect("it is made");
    let plan = place.engine.plan(&with(&["ro"]), &Stop::new()).await.expect("a plan");
    assert!(plan.is_empty(), "{:?}", plan.changes);
    let plan = place.engine.plan(&with(&["rw"]), &Stop::new()).await.expect("a plan");
    let ids: Vec<&str> = plan.changes.iter().map(|change| change.id.as_str()).collect();
    let unit = r"data-a\x2db.mount";
    assert_eq!(
        ids,
        [
            format!("master: file:/etc/systemd/system/{unit}"),
            format!("master: mount-unit:{unit}"),
            format!("c1: file:/etc/systemd/system/{unit}"),
            format!("c1: mount-unit:{unit}"),
        ]
    );
}
