//! The suite on a real engine, and what only containers can do wrong.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{CreateContainerOptions, ListContainersOptions, RemoveImageOptions};
use bollard::{API_DEFAULT_VERSION, Docker};
use clusterbook_model::{Architecture, Base, Recipe};
use clusterbook_providers::{Ack, Context, ErrorKind, Local, NodeState, Provider, ProviderOptions, Request, Scope};
use clusterbook_transport::{Identity, Pool, PoolOptions};
use tokio_util::sync::CancellationToken;

use super::subject::{Hands, Subject};
use super::suite;

fn options() -> ProviderOptions {
    let Some(socket) = std::env::var_os("CLUSTERBOOK_TEST_ENGINE") else {
        panic!(
            "set CLUSTERBOOK_TEST_ENGINE to the Unix socket of a container engine, for example \
             /run/docker.sock or /run/podman/podman.sock; the tests of `local` need one"
        );
    };
    ProviderOptions {
        engine_sockets: vec![PathBuf::from(socket)],
        cache: std::env::temp_dir().join("clusterbook-conformance"),
        ..ProviderOptions::default()
    }
}

fn subject() -> Subject {
    let identity = Arc::new(Identity::generate_ed25519("unused").unwrap());
    let pool = Pool::new(identity, PoolOptions::default());
    Subject::new(Arc::new(Local::new(options())), Hands::Ssh(pool), false)
}

fn engine() -> Docker {
    let socket = options().engine_sockets[0].to_string_lossy().into_owned();
    Docker::connect_with_unix(&socket, 60, API_DEFAULT_VERSION).unwrap()
}

/// One after another: they share addresses and names.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn local_on_an_engine() {
    let subject = Arc::new(subject());
    let steps = tokio::spawn({
        let subject = subject.clone();
        async move {
            suite::all(&subject).await;
            an_interrupted_birth_is_finished(&subject).await;
            a_name_that_is_taken_is_left_alone(&subject).await;
            a_range_in_use_is_named(&subject).await;
            a_node_that_dies_is_seen(&subject).await;
        }
    });
    let outcome = steps.await;
    // Whatever happened, the engine is left as it was found.
    for name in ["c1", "c2", "c3"] {
        let _ = subject.answer(&Request::DeleteNode(subject.mark(name))).await;
    }
    for name in ["data", "spare"] {
        let _ = subject.answer(&Request::DeleteDisk(subject.mark(name))).await;
    }
    let _ = subject.answer(&Request::DeleteNetwork(subject.mark("network"))).await;
    if let Err(error) = outcome {
        std::panic::resume_unwind(error.into_panic());
    }
}

async fn an_interrupted_birth_is_finished(subject: &Subject) {
    subject.ensure(&subject.network()).await;
    subject.ensure(&subject.disk("data")).await;
    // As a process leaves it that is killed right after the engine made the container: marked, nothing uploaded.
    let mark = subject.mark("c1");
    let name = format!("cb-{}-c1", mark.cluster);
    let labels = HashMap::from([
        ("org.clusterbook.cluster".to_owned(), mark.cluster.clone()),
        ("org.clusterbook.cluster-id".to_owned(), mark.cluster_id.clone()),
        ("org.clusterbook.resource".to_owned(), "c1".to_owned()),
        ("org.clusterbook.apply".to_owned(), "6".to_owned()),
    ]);
    let recipe = subject.recipe().tag();
    let (image, hash) = recipe.rsplit_once('-').unwrap();
    let body = ContainerCreateBody {
        image: Some(format!("localhost/clusterbook/{image}:{hash}")),
        cmd: Some(vec!["/sbin/init".to_owned()]),
        labels: Some(labels),
        host_config: Some(HostConfig {
            network_mode: Some(format!("cb-{}-network", mark.cluster)),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    let create = CreateContainerOptions {
        name: Some(name),
        ..CreateContainerOptions::default()
    };
    engine().create_container(Some(create), body).await.unwrap();
    let found = subject.find("c1").await.unwrap();
    assert!(matches!(found.state, NodeState::Failed(_)), "{found:?}");
    let error = subject.error(&Request::PowerOn(mark)).await;
    assert_eq!(error.kind, ErrorKind::Invalid);

    let answer = subject.answer(&subject.node("c1", 11)).await;
    assert_eq!(answer, Ok(Ack::Done));
    let key = subject.read("c1", "/etc/ssh/ssh_host_ed25519_key.pub").await;
    assert_eq!(key.unwrap().trim(), subject.spec("c1", 11).birth.host_key_public.trim());
    let told = subject.read("c1", "/etc/clusterbook/mark").await.unwrap();
    assert!(told.contains("\"apply\":7"), "{told}");
}

async fn a_name_that_is_taken_is_left_alone(subject: &Subject) {
    let mut stranger = subject.mark("data");
    stranger.cluster_id = "somebody-else".to_owned();
    let error = subject
        .error(&Request::CreateDisk {
            mark: stranger,
            size: clusterbook_model::Size::from_gib(1),
        })
        .await;
    assert_eq!(error.kind, ErrorKind::Denied, "{error:?}");
    assert_eq!(subject.inventory(&subject.scope()).await.disks.len(), 1);
}

async fn a_range_in_use_is_named(subject: &Subject) {
    let error = subject
        .error(&Request::CreateNetwork {
            mark: subject.mark("other"),
            subnet: "10.78.41.128/25".parse().unwrap(),
        })
        .await;
    assert_eq!(error.kind, ErrorKind::Invalid, "{error:?}");
    assert!(error.message.contains("10.78.41.0/24"), "{error}");
}

async fn a_node_that_dies_is_seen(subject: &Subject) {
    let name = format!("cb-{}-c1", subject.mark("c1").cluster);
    engine().kill_container(&name, None).await.unwrap();
    let mut state = NodeState::Running;
    for _ in 0..100 {
        state = subject.find("c1").await.unwrap().state;
        if state == NodeState::Stopped {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(state, NodeState::Stopped);
}

fn small_recipe(script: &str) -> Recipe {
    Recipe {
        name: "conformance-half".to_owned(),
        base: Base::Distribution("debian-13".to_owned()),
        architecture: Architecture::Native,
        before: String::new(),
        packages: Vec::new(),
        files: Vec::new(),
        script: format!("# {}\n{script}", std::process::id()),
    }
}

async fn builders(engine: &Docker, tag: &str) -> usize {
    let options = ListContainersOptions {
        all: true,
        filters: Some(HashMap::from([(
            "label".to_owned(),
            vec![format!("org.clusterbook.builds={tag}")],
        )])),
        ..ListContainersOptions::default()
    };
    // Podman's list is no good for moments: it fails when a container goes away meanwhile, and uses a word for one that was
    // just killed which the Docker API doesn't know.
    for _ in 0..100 {
        match engine.list_containers(Some(options.clone())).await {
            Ok(list) => return list.len(),
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
        }
    }
    panic!("the engine doesn't list builders");
}

/// Lets a build go on until its builder is there.
async fn begun<T: std::fmt::Debug>(build: &mut (impl Future<Output = T> + Unpin), engine: &Docker, recipe: &Recipe) {
    while builders(engine, &recipe.tag()).await == 0 {
        tokio::select! {
            answers = &mut *build => panic!("it takes minutes, and ended: {answers:?}"),
            () = tokio::time::sleep(std::time::Duration::from_millis(50)) => {}
        }
    }
}

async fn built(provider: &Local, recipe: &Recipe) -> bool {
    let inventory = provider.inventory(&Scope::All).await.unwrap();
    inventory.images.contains(&recipe.tag())
}

fn quiet() -> Context {
    Context {
        cancel: CancellationToken::new(),
        progress: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_that_fails_half_way_leaves_nothing() {
    let recipe = small_recipe("echo 'the disk is on fire'\nexit 3\n");
    let provider = Local::new(options());
    let answers = provider.submit(&[Request::BuildImage(recipe.clone())], &quiet()).await;
    let error = answers.into_iter().next().unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid, "{error:?}");
    assert_eq!(error.resource, "image conformance-half");
    assert!(error.message.contains("status 3"), "{error}");
    assert!(error.message.contains("the disk is on fire"), "{error}");
    let engine = engine();
    assert_eq!(builders(&engine, &recipe.tag()).await, 0);
    assert!(!built(&provider, &recipe).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_can_be_stopped_and_leaves_nothing() {
    let recipe = small_recipe("sleep 600\n");
    let (provider, engine) = (Local::new(options()), engine());
    let context = quiet();
    let request = [Request::BuildImage(recipe.clone())];
    let build = provider.submit(&request, &context);
    tokio::pin!(build);
    begun(&mut build, &engine, &recipe).await;
    context.cancel.cancel();
    let answers = build.await;
    let error = answers.into_iter().next().unwrap().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Cancelled, "{error:?}");
    assert_eq!(builders(&engine, &recipe.tag()).await, 0);
    assert!(!built(&provider, &recipe).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_build_the_same_one_waits_and_finds_it() {
    let recipe = small_recipe("sleep 1\n");
    let request = [Request::BuildImage(recipe.clone())];
    let (first, second) = (Local::new(options()), Local::new(options()));
    let context = quiet();
    let answers = tokio::join!(first.submit(&request, &context), second.submit(&request, &context));
    let mut kinds: Vec<_> = [answers.0, answers.1]
        .into_iter()
        .flatten()
        .map(|answer| answer.err().map(|error| error.kind))
        .collect();
    kinds.sort_by_key(Option::is_some);
    assert_eq!(kinds, [None, Some(ErrorKind::AlreadyExists)]);
    let engine = engine();
    assert!(built(&first, &recipe).await);
    let tag = recipe.tag();
    let (name, hash) = tag.rsplit_once('-').unwrap();
    let reference = format!("localhost/clusterbook/{name}:{hash}");
    engine
        .remove_image(&reference, None::<RemoveImageOptions>, None)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_builder_left_by_a_killed_process_is_swept() {
    let recipe = small_recipe("sleep 600\n");
    let engine = engine();
    let provider = Local::new(options());
    let context = quiet();
    let request = [Request::BuildImage(recipe.clone())];
    {
        // Dropped in the middle: no cleanup runs, as after kill -9.
        let build = provider.submit(&request, &context);
        tokio::pin!(build);
        begun(&mut build, &engine, &recipe).await;
    }
    assert_eq!(builders(&engine, &recipe.tag()).await, 1);
    let nothing = Request::DeleteNetwork(clusterbook_providers::Mark {
        cluster: "nobody".to_owned(),
        cluster_id: "nobody".to_owned(),
        resource: "network".to_owned(),
        apply: 1,
    });
    // The engine may still be at work on what it was asked last, and then keeps the container for the sweep after this one.
    for _ in 0..600 {
        let answers = provider.submit(std::slice::from_ref(&nothing), &context).await;
        assert_eq!(answers[0].as_ref().unwrap_err().kind, ErrorKind::NotFound);
        if builders(&engine, &recipe.tag()).await == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the builder was never swept");
}
