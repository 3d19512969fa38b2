//! Nodes as containers on this machine, through the Docker Engine API, which Docker and Podman both serve.
//!
//! A node is a container whose first process is systemd, so that a node here and a machine in a cloud are configured in the
//! same way. Identity is in labels, which engines set in the very call that creates. Containers share the machine's kernel,
//! so a node limits processors and memory but doesn't hide how many there are.
//!
//! A batch starts with one listing of what the cluster has (four calls), and every request is decided by it.

mod archive;
mod base;
mod engine;
mod follow;
mod image;
mod labels;
mod listing;
mod lock;
mod network;
mod node;

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use clusterbook_model::Flavor;
use futures::StreamExt as _;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;

use crate::checks::{flavors, request_mark, request_name};
use crate::{
    Ack, Capabilities, Context, ErrorKind, Inventory, MarkStyle, Progress, Provider, ProviderError, ProviderOptions,
    Request, Scope,
};
use engine::{Engine, Machine};
use listing::Listing;

/// Requests that the engine gets at once. Sixteen nodes take a third less time with 16 than with 4 on two processors; the engine
/// serialises much of its work, so more gains little.
const WIDTH: usize = 16;

/// Containers of this machine's engine.
#[derive(Debug)]
pub struct Local {
    options: ProviderOptions,
    engine: OnceCell<Engine>,
    told: AtomicBool,
}

impl Local {
    /// Contacts nothing yet.
    pub fn new(options: ProviderOptions) -> Self {
        Self {
            options,
            engine: OnceCell::new(),
            told: AtomicBool::new(false),
        }
    }

    /// For people: which engine serves, its version, and what it can't do here.
    pub async fn describe(&self) -> Result<String, ProviderError> {
        let engine = self.engine().await?;
        engine.machine().await?;
        Ok(engine.describe())
    }

    async fn engine(&self) -> Result<&Engine, ProviderError> {
        self.engine
            .get_or_try_init(|| Engine::connect(&self.options.engine_sockets))
            .await
    }

    async fn one(
        &self,
        engine: &Engine,
        listing: &Listing,
        request: &Request,
        context: &Context,
    ) -> Result<Ack, ProviderError> {
        let report = Report {
            context,
            resource: request_name(request),
        };
        let name = report.resource();
        if context.cancel.is_cancelled() {
            return Err(ProviderError::new(
                ErrorKind::Cancelled,
                name,
                "stopped before it began",
            ));
        }
        match request {
            Request::BuildImage(recipe) => Box::pin(image::build(engine, &self.options, recipe, &report)).await,
            Request::CreateNetwork { mark, subnet } => network::create(engine, listing, name, mark, *subnet).await,
            Request::CreateDisk { mark, size } => network::create_disk(engine, listing, name, mark, *size).await,
            Request::CreateNode(spec) => {
                self.tell(engine, engine.machine().await?, &report);
                Box::pin(node::create(engine, listing, name, spec)).await
            }
            Request::PowerOn(mark) => node::power_on(engine, listing, name, mark).await,
            Request::PowerOff(mark) => node::power_off(engine, listing, name, mark).await,
            Request::DeleteNode(mark) => node::delete(engine, listing, name, mark).await,
            Request::DeleteDisk(mark) => network::delete_disk(engine, listing, name, mark).await,
            Request::DeleteNetwork(mark) => {
                // The last thing that a cluster loses: a good time to look for builders that were left behind.
                if !self.options.cache.as_os_str().is_empty() {
                    let _ = image::sweep(engine, &lock::Locks::new(&self.options.cache)).await;
                }
                network::delete(engine, listing, name, mark).await
            }
        }
    }

    /// Says once what is done differently because of this machine.
    fn tell(&self, engine: &Engine, machine: &Machine, report: &Report<'_>) {
        if self.told.swap(true, Ordering::Relaxed) {
            return;
        }
        if engine.ulimits.is_some() {
            report.say(&engine.describe());
        }
        for (works, what) in [(machine.limits_cpu, "processors"), (machine.limits_memory, "memory")] {
            if !works {
                report.say(&format!(
                    "the engine can't limit {what} on this machine; nodes share all there is"
                ));
            }
        }
    }
}

#[async_trait]
impl Provider for Local {
    fn name(&self) -> &str {
        "local"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            power: true,
            shared_disks: true,
            fixed_addresses: true,
            images: true,
            disk_quota: false,
            lists_lag: false,
            own_cgroups: false,
            network_mounts: false,
            counted_gpus: true,
            marks: MarkStyle::Tags,
        }
    }

    async fn check(&self) -> Result<(), ProviderError> {
        let engine = self.engine().await?;
        engine
            .docker
            .ping()
            .await
            .map_err(|error| engine::explain(error, "engine"))?;
        Ok(())
    }

    async fn flavors(&self) -> Result<Vec<Flavor>, ProviderError> {
        Ok(flavors())
    }

    async fn inventory(&self, scope: &Scope) -> Result<Inventory, ProviderError> {
        let engine = self.engine().await?;
        let cluster_id = match scope {
            Scope::All => None,
            Scope::Cluster(id) => Some(id.as_str()),
        };
        Ok(Listing::take(engine, cluster_id).await?.into_inventory())
    }

    async fn submit(&self, requests: &[Request], context: &Context) -> Vec<Result<Ack, ProviderError>> {
        let ready = async {
            let engine = self.engine().await?;
            let marked = requests.iter().filter_map(request_mark);
            let mut ids: Vec<&str> = marked.map(|mark| mark.cluster_id.as_str()).collect();
            ids.dedup();
            let listing = match ids.as_slice() {
                // Only images: they look for themselves, under their lock.
                [] => Listing::default(),
                [id] => Listing::take(engine, Some(id)).await?,
                _ => Listing::take(engine, None).await?,
            };
            Ok((engine, listing))
        };
        let (engine, listing) = match ready.await {
            Ok(ready) => ready,
            Err(error) => {
                let refuse = |request| {
                    let mut error: ProviderError = ProviderError::clone(&error);
                    error.resource = request_name(request);
                    Err(error)
                };
                return requests.iter().map(refuse).collect();
            }
        };
        let work: Vec<_> = requests
            .iter()
            .map(|request| self.one(engine, &listing, request, context))
            .collect();
        futures::stream::iter(work).buffered(WIDTH).collect().await
    }
}

/// Where one request's progress goes, and what ends it.
struct Report<'a> {
    context: &'a Context,
    resource: String,
}

impl Report<'_> {
    fn resource(&self) -> &str {
        &self.resource
    }

    fn cancel(&self) -> &CancellationToken {
        &self.context.cancel
    }

    fn say(&self, text: &str) {
        if let Some(progress) = &self.context.progress {
            // Nobody looks any more: then nobody is told.
            let _ = progress.send(Progress {
                resource: self.resource.clone(),
                text: text.to_owned(),
            });
        }
    }
}
