//! The kernels of one run: which way each is started, and what is started before it is needed.
//!
//! An IPython kernel whose command is the plain one is forked from an interpreter that has imported what all of them
//! import, where at least two notebooks of the run want that interpreter; and it is forked while the notebook before
//! still runs. Both are done only as long as they cannot make a difference: nothing where the interpreter finds packages
//! has changed since, which the server looks at for every kernel (an earlier notebook may well have installed
//! something), and again when a kernel that was started beforehand is taken. Otherwise the kernel is started by itself.
//! Other kernels are started when they are needed, unless their file says that nothing a notebook does can make a
//! difference to their start (`"metadata": {"tmplrun": {"prestart": true}}`). A kernel that may be kept when the run ends is
//! always started by itself, when it is needed: what was forked ends with its server.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::guard::Guard;
use super::kept::{CONNECTION, Home};
use super::launch::{self, Channels, Endpoints, Plain};
use super::process::{KERNEL_MARKER, Process};
use super::rest::Rest;
use super::server::Server;
use super::wire::Session;
use super::{Kernel, LeftProcess, StartOptions, interrupted, unreachable_kernel};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::json::Json;
use crate::kernelspec::KernelSpec;

/// What may be done before a kernel is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Warmth {
    /// Each kernel is started by itself, when it is needed.
    Cold,
    /// IPython kernels are forked, where that is safe.
    Forked,
    /// They are also started while the notebook before still runs.
    #[default]
    Ahead,
}

/// Starts a run's kernels.
#[derive(Debug)]
pub struct Kernels {
    shared: Arc<Shared>,
    waiting: Mutex<Vec<Waiting>>,
    /// At most so many kernels wait to be needed.
    most_waiting: usize,
}

#[derive(Debug)]
pub(super) struct Shared {
    folder: PathBuf,
    environment: Environment,
    warmth: Warmth,
    guard: Arc<Guard>,
    servers: Mutex<HashMap<Plain, Arc<Server>>>,
}

/// A kernel that was started before it is needed.
#[derive(Debug)]
struct Waiting {
    spec: KernelSpec,
    options: StartOptions,
    cancel: CancellationToken,
    kernel: JoinHandle<Result<Kernel>>,
}

impl Kernels {
    /// The kernels of a run. `folder` is the run's private one, for its owner only; its path must be short, since socket
    /// paths are limited. So many as `jobs` says will be in use at once. `wanted` are the kernels that will be asked for,
    /// each as often as it will be.
    #[must_use]
    pub fn open<'a>(
        folder: &std::path::Path,
        environment: &Environment,
        warmth: Warmth,
        debugger: bool,
        jobs: usize,
        wanted: impl IntoIterator<Item = &'a KernelSpec>,
    ) -> Self {
        let guard = Arc::new(Guard::start(folder));
        let mut count: HashMap<Plain, usize> = HashMap::new();
        for plain in wanted.into_iter().filter_map(|spec| Plain::of(spec, environment)) {
            *count.entry(plain).or_default() += 1;
        }
        let mut servers = HashMap::new();
        for (plain, _) in count
            .into_iter()
            .filter(|(_, count)| *count > 1 && warmth != Warmth::Cold)
        {
            // Without a server each kernel is started by itself.
            if let Ok(server) = Server::start(&plain, debugger, environment, &guard) {
                servers.insert(plain, Arc::new(server));
            }
        }
        Self {
            shared: Arc::new(Shared {
                folder: folder.to_path_buf(),
                environment: environment.clone(),
                warmth,
                guard,
                servers: Mutex::new(servers),
            }),
            waiting: Mutex::default(),
            // One more than are needed at once: the one that was to be next may turn out not to be.
            most_waiting: jobs.max(1).saturating_add(1),
        }
    }

    /// `folder` as it is for somebody who works elsewhere.
    #[must_use]
    pub fn absolute(&self, folder: &std::path::Path) -> PathBuf {
        self.shared.environment.current.join(folder)
    }

    /// Gives a kernel that answers: the one that was prepared for this, else a new one.
    ///
    /// # Errors
    /// When it cannot be started, ends, does not answer in time, or the caller cancels.
    pub async fn start(&self, spec: &KernelSpec, options: &StartOptions, cancel: &CancellationToken) -> Result<Kernel> {
        let waiting = {
            let mut all = self.lock();
            let at = all.iter().position(|each| each.is_for(spec, options));
            at.map(|at| all.remove(at))
        };
        if let Some(mut waiting) = waiting {
            if self.shared.is_fresh(spec).await {
                tokio::select! {
                    kernel = &mut waiting.kernel => if let Ok(Ok(kernel)) = kernel {
                        return Ok(kernel);
                    },
                    () = cancel.cancelled() => {
                        waiting.cancel.cancel();
                        let _ = (&mut waiting.kernel).await;
                        return Err(interrupted());
                    }
                }
                // What went wrong with it is said if it goes wrong again.
            } else {
                waiting.dismiss().await;
            }
        }
        self.shared.start(spec, options, cancel).await
    }

    /// Starts the kernels that will be needed soon, where that is safe; those that wait already count.
    pub fn prepare<'a>(&self, coming: impl IntoIterator<Item = (&'a KernelSpec, &'a StartOptions)>) {
        let mut all = self.lock();
        let mut spoken_for = vec![false; all.len()];
        for (spec, options) in coming {
            let waits = all
                .iter()
                .zip(&mut spoken_for)
                .find(|(each, taken)| !**taken && each.is_for(spec, options));
            if let Some((_, taken)) = waits {
                *taken = true;
            } else if all.len() < self.most_waiting && self.shared.may_start_ahead(spec, options) {
                all.push(self.ahead(spec, options));
                spoken_for.push(true);
            }
        }
    }

    fn ahead(&self, spec: &KernelSpec, options: &StartOptions) -> Waiting {
        let cancel = CancellationToken::new();
        let kernel = {
            let (shared, spec, options) = (Arc::clone(&self.shared), spec.clone(), options.clone());
            let cancel = cancel.clone();
            tokio::spawn(async move { shared.start(&spec, &options, &cancel).await })
        };
        Waiting {
            spec: spec.clone(),
            options: options.clone(),
            cancel,
            kernel,
        }
    }

    /// Ends what nobody needed, and whatever forked kernels. Kernels that were given out must have been shut down.
    pub async fn close(self) -> Vec<LeftProcess> {
        let waiting = std::mem::take(&mut *self.lock());
        let mut left = Vec::new();
        for each in waiting {
            left.extend(each.dismiss().await);
        }
        let servers = std::mem::take(&mut *self.shared.lock_servers());
        for server in servers.into_values() {
            if let Some(server) = Arc::into_inner(server) {
                server.end().await;
            }
        }
        left
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn is_for(&self, spec: &KernelSpec, options: &StartOptions) -> bool {
        self.spec == *spec && self.options == *options
    }

    async fn dismiss(mut self) -> Vec<LeftProcess> {
        self.cancel.cancel();
        match (&mut self.kernel).await {
            Ok(Ok(kernel)) => kernel.shut_down(true).await,
            _ => Vec::new(),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // A run that was dropped half-way waits for nothing; what the task holds ends with it.
        self.cancel.cancel();
        self.kernel.abort();
    }
}

impl Shared {
    fn lock_servers(&self) -> std::sync::MutexGuard<'_, HashMap<Plain, Arc<Server>>> {
        self.servers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn server(&self, spec: &KernelSpec) -> Option<Arc<Server>> {
        let plain = Plain::of(spec, &self.environment)?;
        self.lock_servers().get(&plain).cloned()
    }

    fn may_start_ahead(&self, spec: &KernelSpec, options: &StartOptions) -> bool {
        self.warmth == Warmth::Ahead && options.keep.is_none() && (self.server(spec).is_some() || spec.prestart)
    }

    async fn is_fresh(&self, spec: &KernelSpec) -> bool {
        match self.server(spec) {
            Some(server) => server.is_fresh().await,
            None => spec.prestart,
        }
    }

    async fn start(
        self: &Arc<Self>,
        spec: &KernelSpec,
        options: &StartOptions,
        cancel: &CancellationToken,
    ) -> Result<Kernel> {
        let home = match &options.keep {
            Some(base) => Home::keepable(base)?,
            None => Home::private(&self.folder)?,
        };
        let folder = home.path().to_path_buf();
        let marker = uuid::Uuid::new_v4().to_string();
        let mut options = options.clone();
        options.variables.push((KERNEL_MARKER.to_owned(), marker.clone()));
        for (_, value) in &mut options.variables {
            *value = value.replace("{kernel_folder}", &folder.display().to_string());
        }
        let options = &options;
        let session = Session::new();
        let connection_file = folder.join(CONNECTION);
        let endpoints = Endpoints::choose(spec, &folder)
            .and_then(|endpoints| {
                endpoints.write_file(&connection_file, session.key(), &spec.name)?;
                Ok(endpoints)
            })
            .map_err(|error| {
                Error::configuration("the kernel's connection file cannot be written")
                    .at(&connection_file)
                    .because(error)
            })?;
        // What ends with its server or with us cannot be kept.
        let forked = match self.server(spec).filter(|_| options.keep.is_none()) {
            Some(server) => {
                tokio::select! {
                    forked = server.fork(
                        &options.folder,
                        launch::own_variables(options),
                        &connection_file,
                        &self.guard,
                    ) => forked,
                    () = cancel.cancelled() => return Err(interrupted()),
                }
            }
            None => None,
        };
        let was_forked = forked.is_some();
        let process = match forked {
            Some(process) => process,
            None => launch::start(spec, &connection_file, options, &self.environment, &self.guard)?,
        };
        let deadline = tokio::time::Instant::now() + options.patience;
        let reached = tokio::select! {
            reached = tokio::time::timeout_at(deadline, endpoints.connect(&folder)) => match reached {
                Ok(reached) => reached.map_err(|error| unreachable_kernel(&error)),
                Err(_) => Err(too_late(spec, &process, options)),
            },
            status = process.exited() => Err(start_failed(spec, &process, &format!("ended while it started ({status})"))
                .help(format!("run `{}` by hand to see what it needs", spec.argv.join(" ")))),
            () = cancel.cancelled() => Err(interrupted()),
        };
        let Channels { shell, iopub, control } = match reached {
            Ok(channels) => channels,
            Err(error) => {
                process.end_session().await;
                return Err(error);
            }
        };
        let mut kernel = Kernel {
            process,
            session,
            shell,
            iopub,
            control,
            interrupt_by_message: spec.interrupt_by_message,
            language_info: Json::Null,
            died: None,
            closed: None,
            rest: was_forked.then(Rest::default),
            marker,
            home,
        };
        let answered = tokio::select! {
            answered = tokio::time::timeout_at(deadline, kernel.handshake()) => match answered {
                Ok(answered) => answered,
                Err(_) => Err(too_late(spec, &kernel.process, options)),
            },
            () = cancel.cancelled() => Err(interrupted()),
        };
        if let Err(error) = answered {
            kernel.process.end_session().await;
            return Err(error);
        }
        kernel.avoid_faults().await?;
        Ok(kernel)
    }
}

fn start_failed(spec: &KernelSpec, process: &Process, what: &str) -> Box<Error> {
    let mut message = format!("the kernel `{}` {what}", spec.name);
    let lines = process.last_lines();
    if !lines.is_empty() {
        message = format!("{message}; it wrote:\n    {}", lines.join("\n    "));
    }
    Error::kernel(message)
}

fn too_late(spec: &KernelSpec, process: &Process, options: &StartOptions) -> Box<Error> {
    let what = format!("did not answer within {} s", options.patience.as_secs());
    start_failed(spec, process, &what).help("give it longer with --start-timeout")
}
