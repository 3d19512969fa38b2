//! The requirements, in the order of a cluster's life, so that a slow provider makes each thing once.

use clusterbook_model::Flavor;
use clusterbook_providers::{ErrorKind, Mark, NodeState, Request, Scope};

use super::subject::Subject;

/// Everything.
pub(crate) async fn all(subject: &Subject) {
    subject.provider.check().await.unwrap_or_else(|error| {
        assert!(subject.faults, "{error:?}");
    });
    image_is_built_once(subject).await;
    network_and_disks_are_made_once(subject).await;
    wrong_nodes_are_refused(subject).await;
    a_batch_succeeds_in_part(subject).await;
    nodes_are_made_once(subject).await;
    marks_come_back(subject).await;
    listings_keep_to_their_cluster(subject).await;
    identity_and_disks_outlast_a_power_cycle(subject).await;
    what_is_in_use_stays(subject).await;
    a_disk_outlasts_its_node(subject).await;
    everything_goes(subject).await;
}

async fn image_is_built_once(subject: &Subject) {
    let request = Request::BuildImage(subject.recipe());
    subject.ensure(&request).await;
    let images = subject.inventory(&subject.scope()).await.images;
    assert!(images.contains(&subject.recipe().tag()), "{images:?}");
    assert_eq!(subject.error(&request).await.kind, ErrorKind::AlreadyExists);
}

async fn network_and_disks_are_made_once(subject: &Subject) {
    for request in [subject.network(), subject.disk("data"), subject.disk("spare")] {
        subject.ensure(&request).await;
        assert_eq!(subject.error(&request).await.kind, ErrorKind::AlreadyExists);
    }
    let inventory = subject.inventory(&subject.scope()).await;
    assert_eq!(inventory.networks.len(), 1);
    assert_eq!(inventory.networks[0].detail, "10.78.41.0/24");
    let disks: Vec<_> = inventory.disks.iter().map(|disk| disk.mark.resource.as_str()).collect();
    assert_eq!(disks, ["data", "spare"]);
}

async fn wrong_nodes_are_refused(subject: &Subject) {
    let node = |change: &dyn Fn(&mut clusterbook_providers::NodeSpec)| {
        let mut spec = subject.spec("c9", 99);
        change(&mut spec);
        Request::CreateNode(Box::new(spec))
    };
    let error = subject
        .error(&node(&|spec| spec.image = "conformance-none".to_owned()))
        .await;
    assert_eq!(error.kind, ErrorKind::Invalid, "{error:?}");
    assert!(error.message.contains("conformance-none"), "{error}");
    assert!(error.hint.contains(&subject.recipe().tag()), "{error:?}");

    let error = subject
        .error(&node(&|spec| {
            spec.flavor = Flavor {
                name: "tinny".to_owned(),
                ..spec.flavor.clone()
            };
        }))
        .await;
    assert_eq!(error.kind, ErrorKind::Invalid, "{error:?}");
    assert!(error.hint.contains("did you mean tiny?"), "{error:?}");

    let error = subject
        .error(&node(&|spec| spec.address = "10.79.0.9".parse().unwrap()))
        .await;
    assert_eq!(error.kind, ErrorKind::Invalid, "{error:?}");

    let error = subject
        .error(&node(&|spec| {
            spec.disks.insert("lost".to_owned(), "/lost".to_owned());
        }))
        .await;
    assert_eq!(error.kind, ErrorKind::NotFound, "{error:?}");
    assert!(error.message.contains("lost"), "{error}");
    assert_eq!(subject.find("c9").await, None);
    // An engine that makes missing volumes by itself would have leaked one.
    let inventory = subject.inventory(&Scope::All).await;
    assert!(inventory.disks.iter().all(|disk| disk.mark.resource != "lost"));
}

async fn a_batch_succeeds_in_part(subject: &Subject) {
    let mut wrong = subject.spec("c9", 99);
    wrong.image = "conformance-none".to_owned();
    let batch = [
        subject.node("c1", 11),
        Request::CreateNode(Box::new(wrong)),
        subject.disk("data"),
        Request::PowerOff(subject.mark("nobody")),
    ];
    let answers = subject.batch(&batch).await;
    assert_eq!(answers.len(), batch.len());
    if !subject.faults {
        let kinds: Vec<_> = answers
            .into_iter()
            .map(|answer| answer.map_err(|error| error.kind).err())
            .collect();
        let expected = [
            None,
            Some(ErrorKind::Invalid),
            Some(ErrorKind::AlreadyExists),
            Some(ErrorKind::NotFound),
        ];
        assert_eq!(kinds, expected);
    }
    assert_eq!(subject.find("c9").await, None);
}

async fn nodes_are_made_once(subject: &Subject) {
    for (name, last) in [("c1", 11), ("c2", 12)] {
        subject.ensure(&subject.node(name, last)).await;
        let error = subject.error(&subject.node(name, last)).await;
        assert_eq!(error.kind, ErrorKind::AlreadyExists, "{error:?}");
    }
    // The address of a node isn't given away.
    let error = subject.error(&subject.node("c3", 12)).await;
    assert_eq!(error.kind, ErrorKind::Conflict, "{error:?}");
    assert!(error.message.contains("c2"), "{error}");
    let birth = subject.spec("c1", 11).birth;
    let key = subject.read("c1", "/etc/ssh/ssh_host_ed25519_key.pub").await;
    assert_eq!(key.unwrap().trim(), birth.host_key_public.trim());
    let name = subject.read("c2", "/etc/hostname").await;
    assert_eq!(name.unwrap().trim(), "c2");
}

async fn marks_come_back(subject: &Subject) {
    let inventory = subject.inventory(&subject.scope()).await;
    assert_eq!(inventory.networks[0].mark, subject.mark("network"));
    assert_eq!(inventory.disks[0].mark, subject.mark("data"));
    assert_eq!(inventory.disks[0].detail, "1 GiB");
    let node = subject.find("c1").await.unwrap();
    assert_eq!(node.mark, subject.mark("c1"));
    assert_eq!(node.state, NodeState::Running);
    assert_eq!(node.address, Some(subject.spec("c1", 11).address));
    assert_eq!(node.endpoint.unwrap().port, 22);
    assert_eq!(node.flavor, "tiny");
    assert_eq!(node.image, subject.recipe().tag());
}

async fn listings_keep_to_their_cluster(subject: &Subject) {
    let other = subject.inventory(&Scope::Cluster("somebody-else".to_owned())).await;
    assert!(other.nodes.is_empty() && other.disks.is_empty() && other.networks.is_empty());
    assert!(other.images.contains(&subject.recipe().tag()), "images are shared");
    let all = subject.inventory(&Scope::All).await;
    let ours = all
        .nodes
        .iter()
        .filter(|node| node.mark.cluster_id == subject.cluster_id())
        .count();
    assert_eq!(ours, 2);
    // The same name with another identity is another cluster's, and none of our business.
    let stranger = Mark {
        cluster_id: "somebody-else".to_owned(),
        ..subject.mark("c1")
    };
    let error = subject.error(&Request::DeleteNode(stranger)).await;
    assert_eq!(error.kind, ErrorKind::NotFound, "{error:?}");
    assert!(subject.find("c1").await.is_some());
}

async fn identity_and_disks_outlast_a_power_cycle(subject: &Subject) {
    let before = subject.find("c1").await.unwrap();
    subject.write("c1", "/data/kept", "before the power cycle").await;
    let off = Request::PowerOff(subject.mark("c1"));
    subject.ensure(&off).await;
    // Once more changes nothing.
    subject.ensure(&off).await;
    subject.forget("c1").await;
    let stopped = subject.find("c1").await.unwrap();
    assert_eq!(stopped.address, before.address);
    // A node that is stopped is still there.
    let error = subject.error(&subject.node("c1", 11)).await;
    assert_eq!(error.kind, ErrorKind::AlreadyExists, "{error:?}");
    let on = Request::PowerOn(subject.mark("c1"));
    subject.ensure(&on).await;
    subject.ensure(&on).await;
    let after = subject.find("c1").await.unwrap();
    assert_eq!(after, before);
    let key = subject.read("c1", "/etc/ssh/ssh_host_ed25519_key.pub").await;
    assert_eq!(key.unwrap().trim(), subject.spec("c1", 11).birth.host_key_public.trim());
    let kept = subject.read("c1", "/data/kept").await;
    assert_eq!(kept.as_deref(), Some("before the power cycle"));
}

async fn what_is_in_use_stays(subject: &Subject) {
    subject.settle().await;
    for request in [
        Request::DeleteNetwork(subject.mark("network")),
        Request::DeleteDisk(subject.mark("data")),
    ] {
        let error = subject.error(&request).await;
        assert_eq!(error.kind, ErrorKind::Conflict, "{request:?}: {error:?}");
    }
    let inventory = subject.inventory(&subject.scope()).await;
    assert_eq!((inventory.networks.len(), inventory.disks.len()), (1, 2));
}

async fn a_disk_outlasts_its_node(subject: &Subject) {
    subject.ensure(&Request::DeleteNode(subject.mark("c1"))).await;
    subject.forget("c1").await;
    subject.ensure(&subject.node("c1", 11)).await;
    let kept = subject.read("c1", "/data/kept").await;
    assert_eq!(kept.as_deref(), Some("before the power cycle"));
    // And every node sees it.
    let seen = subject.read("c2", "/data/kept").await;
    assert_eq!(seen, kept);
}

async fn everything_goes(subject: &Subject) {
    for request in [
        Request::DeleteNode(subject.mark("c1")),
        Request::DeleteNode(subject.mark("c2")),
        Request::DeleteDisk(subject.mark("data")),
        Request::DeleteDisk(subject.mark("spare")),
        Request::DeleteNetwork(subject.mark("network")),
    ] {
        subject.ensure(&request).await;
        let error = subject.error(&request).await;
        assert_eq!(error.kind, ErrorKind::NotFound, "{request:?}: {error:?}");
    }
    let inventory = subject.inventory(&subject.scope()).await;
    assert!(inventory.nodes.is_empty(), "{inventory:?}");
    assert!(inventory.disks.is_empty(), "{inventory:?}");
    assert!(inventory.networks.is_empty(), "{inventory:?}");
    assert!(inventory.images.contains(&subject.recipe().tag()));
}
