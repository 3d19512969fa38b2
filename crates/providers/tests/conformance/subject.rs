//! What the suite runs on, and how it tries again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clusterbook_model::{Architecture, Base, Flavor, Recipe, Secret, Size};
use clusterbook_providers::{
    Ack, Birth, Context, ErrorKind, Inventory, Mark, Memory, NodeResource, NodeSpec, NodeState, NodeWrite, Provider,
    ProviderError, Request, Scope,
};
use clusterbook_transport::{HostKey, Identity, Pool, PoolOptions, RemoteCommand, Target, generate_host_key};
use tokio_util::sync::CancellationToken;

/// More than any plan of faults needs.
const ATTEMPTS: u32 = 200;

/// How the suite reaches into nodes.
pub(crate) enum Hands {
    Memory(Arc<Memory>),
    Ssh(Pool),
}

pub(crate) struct Subject {
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) faults: bool,
    hands: Hands,
    identity: Arc<Identity>,
    keys: std::sync::Mutex<BTreeMap<String, (String, String)>>,
    cluster: String,
}

impl Subject {
    pub(crate) fn new(provider: Arc<dyn Provider>, hands: Hands, faults: bool) -> Self {
        let identity = Arc::new(Identity::generate_ed25519("conformance").unwrap());
        let hands = match hands {
            Hands::Ssh(_) => Hands::Ssh(Pool::new(identity.clone(), PoolOptions::default())),
            memory => memory,
        };
        // Names of engines' resources are shared by all who use them.
        let cluster = format!("conf{}", std::process::id());
        Self {
            provider,
            faults,
            hands,
            identity,
            keys: std::sync::Mutex::default(),
            cluster,
        }
    }

    pub(crate) fn cluster_id(&self) -> String {
        format!("{}-id", self.cluster)
    }

    pub(crate) fn scope(&self) -> Scope {
        Scope::Cluster(self.cluster_id())
    }

    pub(crate) fn mark(&self, resource: &str) -> Mark {
        Mark {
            cluster: self.cluster.clone(),
            cluster_id: self.cluster_id(),
            resource: resource.to_owned(),
            apply: 7,
        }
    }

    /// The smallest image that boots and lets us in.
    pub(crate) fn recipe(&self) -> Recipe {
        Recipe {
            name: "conformance".to_owned(),
            base: Base::Distribution("debian-13".to_owned()),
            architecture: Architecture::Native,
            before: String::new(),
            packages: ["dbus", "openssh-server", "systemd-sysv"].map(str::to_owned).to_vec(),
            files: Vec::new(),
            script: "rm -f /etc/ssh/ssh_host_*\nsystemctl mask sshd-keygen.service\n: >/etc/machine-id\n".to_owned(),
        }
    }

    pub(crate) fn network(&self) -> Request {
        Request::CreateNetwork {
            mark: self.mark("network"),
            subnet: "10.78.41.0/24".parse().unwrap(),
        }
    }

    pub(crate) fn disk(&self, name: &str) -> Request {
        Request::CreateDisk {
            mark: self.mark(name),
            size: Size::from_gib(1),
        }
    }

    pub(crate) fn flavor(&self) -> Flavor {
        Flavor {
            name: "tiny".to_owned(),
            cpus: 1,
            memory: Size::from_gib(1),
            gpus: 0,
            architecture: Architecture::of(std::env::consts::ARCH).unwrap_or(Architecture::Native),
        }
    }

    pub(crate) fn spec(&self, name: &str, last: u8) -> NodeSpec {
        let mut keys = self.keys.lock().unwrap();
        let (private, public) = keys.entry(name.to_owned()).or_insert_with(|| {
            let pair = generate_host_key(name).unwrap();
            (pair.private_openssh.reveal().to_owned(), pair.public_openssh)
        });
        NodeSpec {
            mark: self.mark(name),
            flavor: self.flavor(),
            image: self.recipe().tag(),
            address: format!("10.78.41.{last}").parse().unwrap(),
            disks: BTreeMap::from([("data".to_owned(), "/data".to_owned())]),
            birth: Birth {
                host_key: Secret::new(private.clone()),
                host_key_public: public.clone(),
                authorized_key: self.identity.public_openssh().to_owned(),
            },
        }
    }

    pub(crate) fn node(&self, name: &str, last: u8) -> Request {
        Request::CreateNode(Box::new(self.spec(name, last)))
    }

    pub(crate) fn context(&self) -> Context {
        Context {
            cancel: CancellationToken::new(),
            progress: None,
        }
    }

    pub(crate) async fn batch(&self, requests: &[Request]) -> Vec<Result<Ack, ProviderError>> {
        self.provider.submit(requests, &self.context()).await
    }

    /// One request's answer that is no passing fault.
    pub(crate) async fn answer(&self, request: &Request) -> Result<Ack, ProviderError> {
        for _ in 0..ATTEMPTS {
            let answer = self
                .batch(std::slice::from_ref(request))
                .await
                .pop()
                .expect("an answer for each request");
            match answer {
                Err(error) if self.faults && is_fault(&error) => {}
                answer => return answer,
            }
        }
        panic!("{request:?} never got an answer");
    }

    pub(crate) async fn error(&self, request: &Request) -> ProviderError {
        self.answer(request).await.expect_err("the request must be refused")
    }

    pub(crate) async fn inventory(&self, scope: &Scope) -> Inventory {
        for _ in 0..ATTEMPTS {
            match self.provider.inventory(scope).await {
                Ok(inventory) => return inventory,
                Err(error) if self.faults && is_fault(&error) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        panic!("never listed");
    }

    /// The nodes that are listed under a name: at most one.
    pub(crate) async fn find(&self, name: &str) -> Option<NodeResource> {
        let mut nodes = self.inventory(&self.scope()).await.nodes;
        nodes.retain(|node| node.mark.resource == name);
        assert!(nodes.len() <= 1, "{nodes:?}");
        nodes.pop()
    }

    /// Lets time pass: pending operations end and lists catch up.
    pub(crate) async fn settle(&self) {
        if self.faults {
            for _ in 0..8 {
                self.inventory(&self.scope()).await;
            }
        }
    }

    /// Brings about what the request asks for, as the engine does: tries again after faults, makes anew what was born broken,
    /// and believes the listing.
    pub(crate) async fn ensure(&self, request: &Request) {
        for _ in 0..ATTEMPTS {
            let answer = self.answer(request).await;
            match (&answer, request) {
                (Err(error), _) if error.kind == ErrorKind::Conflict && self.faults => {
                    self.settle().await;
                    continue;
                }
                (Err(error), _) if matches!(error.kind, ErrorKind::AlreadyExists | ErrorKind::NotFound) => {}
                (Err(error), _) => panic!("{request:?}: {error:?}"),
                (Ok(_), _) => {}
            }
            self.settle().await;
            match request {
                Request::CreateNode(spec) => {
                    let node = self.find(&spec.mark.resource).await;
                    match node.map(|node| node.state) {
                        Some(NodeState::Failed(_)) if self.faults => {
                            Box::pin(self.ensure(&Request::DeleteNode(spec.mark.clone()))).await;
                            continue;
                        }
                        Some(NodeState::Running) => {}
                        other => panic!("{}: {other:?}", spec.mark.resource),
                    }
                }
                Request::PowerOn(mark) => {
                    let state = self.find(&mark.resource).await.map(|node| node.state);
                    assert_eq!(state, Some(NodeState::Running));
                }
                Request::PowerOff(mark) => {
                    let state = self.find(&mark.resource).await.map(|node| node.state);
                    assert_eq!(state, Some(NodeState::Stopped));
                }
                Request::DeleteNode(mark) => assert_eq!(self.find(&mark.resource).await, None),
                _ => {}
            }
            return;
        }
        panic!("{request:?} never came about");
    }

    fn target(&self, name: &str) -> Target {
        let keys = self.keys.lock().unwrap();
        let (_, public) = &keys[name];
        // The key that the node was born with, and no other: this is the check that identity lasts.
        let key = HostKey::from_public_key(public).unwrap();
        let address = match name {
            "c1" => "10.78.41.11",
            "c2" => "10.78.41.12",
            _ => "10.78.41.13",
        };
        Target::new(name, address, 22, "root", key)
    }

    /// A file of a running node.
    pub(crate) async fn read(&self, name: &str, path: &str) -> Option<String> {
        match &self.hands {
            Hands::Memory(memory) => {
                for _ in 0..ATTEMPTS {
                    let keys = [path.to_owned()];
                    match memory.node_read(&self.cluster_id(), name, &keys).await {
                        Ok(mut values) => return values.remove(path),
                        Err(error) if self.faults && is_fault(&error) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
                panic!("never read");
            }
            Hands::Ssh(pool) => {
                let command = RemoteCommand::argv(["cat", path]);
                let output = self.run(pool, name, &command).await;
                output.success().then(|| output.stdout_text())
            }
        }
    }

    /// Writes a file that isn't there yet.
    pub(crate) async fn write(&self, name: &str, path: &str, text: &str) {
        match &self.hands {
            Hands::Memory(memory) => {
                let write = NodeWrite {
                    key: path.to_owned(),
                    expected: None,
                    value: Some(text.to_owned()),
                };
                for _ in 0..ATTEMPTS {
                    let writes = std::slice::from_ref(&write);
                    match memory.node_write(&self.cluster_id(), name, 7, writes).await {
                        Ok(_) => return,
                        Err(error) if self.faults && is_fault(&error) => {}
                        Err(error) => panic!("{error:?}"),
                    }
                }
                panic!("never written");
            }
            Hands::Ssh(pool) => {
                let command = RemoteCommand::argv(["tee", path]).with_stdin(text.as_bytes().to_vec());
                assert!(self.run(pool, name, &command).await.success());
            }
        }
    }

    async fn run(&self, pool: &Pool, name: &str, command: &RemoteCommand) -> clusterbook_transport::Output {
        let target = self.target(name);
        let cancel = CancellationToken::new();
        pool.wait_ready(&target, Duration::from_secs(60), &cancel)
            .await
            .unwrap();
        pool.run(&target, command, &mut |_, _| {}, &cancel).await.unwrap()
    }

    /// Connections to a node that was stopped are of no use.
    pub(crate) async fn forget(&self, name: &str) {
        if let Hands::Ssh(pool) = &self.hands {
            pool.forget(&self.target(name)).await;
        }
    }

    /// Makes a large cluster and says how many nodes were accepted.
    pub(crate) async fn many_nodes(&self, count: u32) -> usize {
        self.ensure(&Request::BuildImage(self.recipe())).await;
        self.ensure(&Request::CreateNetwork {
            mark: self.mark("network"),
            subnet: "10.64.0.0/16".parse().unwrap(),
        })
        .await;
        let pattern = self.spec("c1", 11);
        let requests: Vec<Request> = (0..count)
            .map(|number| {
                let mut spec = pattern.clone();
                spec.disks.clear();
                spec.mark.resource = format!("c{number}");
                spec.address = std::net::Ipv4Addr::from(0x0a40_0100 + number).into();
                Request::CreateNode(Box::new(spec))
            })
            .collect();
        let answers = self.batch(&requests).await;
        answers.iter().filter(|answer| answer.is_ok()).count()
    }
}

fn is_fault(error: &ProviderError) -> bool {
    matches!(
        error.kind,
        ErrorKind::Throttled { .. } | ErrorKind::Unavailable | ErrorKind::TimedOut
    )
}
