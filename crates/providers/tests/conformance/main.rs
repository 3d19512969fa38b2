//! What every provider must do, run over each of them.
//!
//! `suite` holds the requirements, `subject` what they run on: the in-memory world without and with faults, the same behind a
//! socket, and `local` on a real engine. With faults the suite tries again as the engine does.

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test that can't go on says so by panicking.

mod local;
mod subject;
mod suite;
mod world;

use std::sync::Arc;

use clusterbook_providers::{
    ErrorKind, FaultPlan, Memory, PROVIDERS, Provider, ProviderOptions, World, open, open_memory, serve,
};
use tokio_util::sync::CancellationToken;

use subject::{Hands, Subject};

fn over(memory: Arc<Memory>, faults: bool) -> Subject {
    Subject::new(memory.clone(), Hands::Memory(memory), faults)
}

#[tokio::test]
async fn memory_without_faults() {
    let world = World::new(0, FaultPlan::none());
    suite::all(&over(Arc::new(Memory::new(world)), false)).await;
}

#[tokio::test]
async fn memory_with_all_faults() {
    let mut met = std::collections::BTreeSet::new();
    for seed in 0..40 {
        let world = World::new(seed, FaultPlan::all());
        suite::all(&over(Arc::new(Memory::new(world.clone())), true)).await;
        met.extend(world.calls().faults.into_keys());
    }
    // Forty seeds meet every fault that there is, or this test proves less than it says.
    let all = [
        "born_failed",
        "connection_lost",
        "pending",
        "stale",
        "throttled",
        "timed_out_done",
        "timed_out_lost",
        "unavailable",
    ];
    assert_eq!(met.iter().map(String::as_str).collect::<Vec<_>>(), all);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_behind_a_socket() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("world.sock");
    let options = ProviderOptions {
        world_socket: Some(socket.clone()),
        ..ProviderOptions::default()
    };
    let error = open_memory(&options).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);

    let cancel = CancellationToken::new();
    let world = World::new(3, FaultPlan::all());
    let server = tokio::spawn({
        let (socket, cancel) = (socket.clone(), cancel.clone());
        async move { serve(world, &socket, cancel).await }
    });
    while !socket.exists() {
        tokio::task::yield_now().await;
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let memory = open_memory(&options).unwrap();
    assert!(memory.capabilities().lists_lag);
    suite::all(&over(memory, true)).await;

    let second = serve(World::new(0, FaultPlan::none()), &socket, cancel.clone()).await;
    assert_eq!(second.unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    cancel.cancel();
    server.await.unwrap().unwrap();
    assert!(!socket.exists());
}

#[test]
fn an_unknown_provider_is_refused_with_the_nearest() {
    let Err(error) = open("locl", &ProviderOptions::default()) else {
        panic!("there is no such provider");
    };
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.hint.contains("did you mean local?"), "{}", error.hint);
    for name in PROVIDERS {
        assert!(error.hint.contains(name));
    }
}

#[test]
fn memory_is_refused_outside_tests() {
    let Err(error) = open("memory", &ProviderOptions::default()) else {
        panic!("a design must not get a world without machines");
    };
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(error.message.contains("tests"), "{error}");
}

#[tokio::test]
async fn ten_thousand_nodes_are_listed() {
    let memory = Arc::new(Memory::new(World::new(0, FaultPlan::none())));
    let subject = over(memory.clone(), false);
    let nodes = subject.many_nodes(10_000).await;
    assert_eq!(nodes, 10_000);
    let inventory = memory
        .inventory(&clusterbook_providers::Scope::Cluster(subject.cluster_id()))
        .await
        .unwrap();
    assert_eq!(inventory.nodes.len(), 10_000);
}
