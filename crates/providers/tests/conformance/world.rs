//! What lies on the nodes of the world, and the faults at chosen places.

use clusterbook_providers::{
    Ack, ErrorKind, Fault, FaultPlan, Memory, NodeState, NodeWrite, Operation, Provider, Request, Scope, Scripted,
    World, WriteOutcome,
};
use std::sync::Arc;

use super::over;
use super::subject::Subject;

async fn one_node(plan: FaultPlan) -> (Arc<World>, Subject) {
    let world = World::new(0, plan);
    let subject = over(Arc::new(Memory::new(world.clone())), false);
    world.add_image(&subject.recipe());
    for request in [subject.network(), subject.disk("data")] {
        subject.ensure(&request).await;
    }
    (world, subject)
}

fn write(key: &str, expected: Option<&str>, value: Option<&str>) -> NodeWrite {
    NodeWrite {
        key: key.to_owned(),
        expected: expected.map(str::to_owned),
        value: value.map(str::to_owned),
    }
}

fn script(operation: Operation, resource: &str, fault: Fault) -> FaultPlan {
    FaultPlan {
        script: vec![Scripted {
            operation,
            resource: resource.to_owned(),
            fault,
        }],
        ..FaultPlan::none()
    }
}

#[tokio::test]
async fn writes_report_drift_and_an_older_apply_is_refused() {
    let (world, subject) = one_node(FaultPlan::none()).await;
    let id = subject.cluster_id();
    subject.ensure(&subject.node("c1", 11)).await;
    let writes = [write("a", None, Some("1")), write("b", Some("x"), Some("2"))];
    let outcomes = world.node_write(&id, "c1", 3, &writes).unwrap();
    assert_eq!(outcomes, [WriteOutcome::Written, WriteOutcome::Drift { found: None }]);
    let error = world
        .node_write(&id, "c1", 2, &[write("a", Some("1"), None)])
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied);
    assert!(error.message.contains("apply 3"), "{error}");
    let keys = ["a".to_owned(), "b".to_owned()];
    let values = world.node_read(&id, "c1", &keys).unwrap();
    assert_eq!(
        values.into_iter().collect::<Vec<_>>(),
        [("a".to_owned(), "1".to_owned())]
    );

    // A node that is stopped keeps what it has and doesn't answer; one that is made anew begins empty.
    subject.ensure(&Request::PowerOff(subject.mark("c1"))).await;
    assert_eq!(
        world.node_read(&id, "c1", &keys).unwrap_err().kind,
        ErrorKind::Unavailable
    );
    subject.ensure(&Request::PowerOn(subject.mark("c1"))).await;
    assert_eq!(world.node_read(&id, "c1", &keys).unwrap().len(), 1);
    subject.ensure(&Request::DeleteNode(subject.mark("c1"))).await;
    subject.ensure(&subject.node("c1", 11)).await;
    assert_eq!(world.node_read(&id, "c1", &keys).unwrap().len(), 0);
    assert!(world.node_write(&id, "c1", 1, &[]).is_ok());
}

#[tokio::test]
async fn a_connection_may_break_after_some_writes() {
    let (world, subject) = one_node(FaultPlan::none()).await;
    let id = subject.cluster_id();
    subject.ensure(&subject.node("c1", 11)).await;
    world.set_faults(script(Operation::NodeWrite, "c1", Fault::ConnectionLost { after: 1 }));
    let writes = [write("a", None, Some("1")), write("b", None, Some("2"))];
    let error = world.node_write(&id, "c1", 1, &writes).unwrap_err();
    assert_eq!(error.kind, ErrorKind::TimedOut);
    let keys = ["a".to_owned(), "b".to_owned()];
    let values = world.node_read(&id, "c1", &keys).unwrap();
    assert_eq!(values.keys().map(String::as_str).collect::<Vec<_>>(), ["a"]);
}

#[tokio::test]
async fn a_call_that_timed_out_may_have_worked() {
    for (fault, there) in [(Fault::TimedOutDone, 1), (Fault::TimedOutLost, 0)] {
        let (world, subject) = one_node(script(Operation::CreateNode, "c1", fault)).await;
        let answer = subject.answer(&subject.node("c1", 11)).await;
        assert_eq!(answer.unwrap_err().kind, ErrorKind::TimedOut);
        assert_eq!(world.truth(&Scope::All).nodes.len(), there);
        assert_eq!(world.calls().operations[&Operation::CreateNode], 1);
    }
}

#[tokio::test]
async fn a_pending_node_needs_listings_to_start() {
    let plan = script(Operation::CreateNode, "c1", Fault::Pending { listings: 2 });
    let (_world, subject) = one_node(plan).await;
    let answer = subject.answer(&subject.node("c1", 11)).await;
    assert_eq!(answer, Ok(Ack::Pending));
    assert_eq!(subject.find("c1").await.unwrap().state, NodeState::Starting);
    assert_eq!(subject.find("c1").await.unwrap().state, NodeState::Running);
}

#[tokio::test]
async fn a_stale_list_misses_what_is_new_and_shows_what_is_gone() {
    let plan = script(Operation::CreateNode, "c1", Fault::Stale { listings: 2 });
    let (world, subject) = one_node(plan).await;
    subject.answer(&subject.node("c1", 11)).await.unwrap();
    assert_eq!(subject.find("c1").await, None);
    assert!(subject.find("c1").await.is_some());
    world.set_faults(script(Operation::DeleteNode, "c1", Fault::Stale { listings: 2 }));
    subject.answer(&Request::DeleteNode(subject.mark("c1"))).await.unwrap();
    assert!(subject.find("c1").await.is_some());
    assert_eq!(subject.find("c1").await, None);
}

#[tokio::test]
async fn a_node_can_fail_at_any_time() {
    let (world, subject) = one_node(FaultPlan::none()).await;
    subject.ensure(&subject.node("c1", 11)).await;
    assert!(world.fail_node(&subject.cluster_id(), "c1", "the power supply burnt"));
    assert!(!world.fail_node(&subject.cluster_id(), "c7", ""));
    let state = subject.find("c1").await.unwrap().state;
    assert_eq!(state, NodeState::Failed("the power supply burnt".to_owned()));
    let error = subject.error(&Request::PowerOn(subject.mark("c1"))).await;
    assert!(!error.is_transient(), "{error:?}");
}

#[tokio::test]
async fn a_batch_that_is_cancelled_does_nothing() {
    let (world, subject) = one_node(FaultPlan::none()).await;
    let context = subject.context();
    context.cancel.cancel();
    let memory = Memory::new(world.clone());
    let answers = memory.submit(&[subject.node("c1", 11)], &context).await;
    assert_eq!(answers[0].as_ref().unwrap_err().kind, ErrorKind::Cancelled);
    assert!(world.truth(&Scope::All).nodes.is_empty());
}
