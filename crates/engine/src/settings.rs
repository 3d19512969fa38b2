//! What a program tells the engine about itself and its surroundings.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clusterbook_providers::ProviderOptions;

use crate::state::Holder;

/// Everything that the engine would otherwise have to guess from its environment.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The state folder.
    pub home: PathBuf,
    /// How providers are reached.
    pub provider: ProviderOptions,
    /// Who asks; shown to whoever finds a cluster locked.
    pub holder: Holder,
    /// The run of notebooks that this belongs to, if any; joins the histories.
    pub run_id: Option<String>,
    /// Templates that replace the built-in ones, by name.
    pub templates: BTreeMap<String, String>,
    /// How many nodes are worked with at once.
    pub fan_out: usize,
    /// How long nodes that may wait for the controller go on once the controller's own node has failed.
    pub patience: Duration,
    /// Called after every write to the journal. A test ends the process here to prove that the next one goes on.
    pub journalled: Option<fn()>,
}

impl Settings {
    /// Reasonable settings from a look-up of environment variables, which the program provides (`std::env::var` for a real
    /// one, a table in a test).
    ///
    /// | variable | meaning | default |
    /// | --- | --- | --- |
    /// | `CLUSTERBOOK_HOME` | state folder | `$XDG_STATE_HOME/clusterbook` or `~/.local/state/clusterbook` |
    /// | `CLUSTERBOOK_ENGINE` | socket of the Docker Engine API | `DOCKER_HOST`, then the usual places |
    /// | `CLUSTERBOOK_WORLD` | socket of a pretended world | none: the provider `memory` is refused |
    /// | `TMPLRUN_RUN` | run of notebooks that this belongs to | none |
    pub fn from_lookup(lookup: impl Fn(&str) -> Option<String>, what: &str, now: jiff::Timestamp) -> Self {
        let text = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let folder = |name: &str, below: &str| {
            text(name).map_or_else(
                || PathBuf::from(text("HOME").unwrap_or_else(|| "/".to_owned())).join(below),
                PathBuf::from,
            )
        };
        let home = text("CLUSTERBOOK_HOME").map_or_else(
            || folder("XDG_STATE_HOME", ".local/state").join("clusterbook"),
            PathBuf::from,
        );
        let socket = |value: String| PathBuf::from(value.trim_start_matches("unix://"));
        let mut sockets: Vec<PathBuf> = ["CLUSTERBOOK_ENGINE", "DOCKER_HOST"]
            .iter()
            .filter_map(|name| text(name))
            .take(1)
            .map(socket)
            .collect();
        if sockets.is_empty() {
            sockets.extend(["/var/run/docker.sock", "/run/podman/podman.sock"].map(PathBuf::from));
        }
        Self {
            home,
            provider: ProviderOptions {
                engine_sockets: sockets,
                world_socket: text("CLUSTERBOOK_WORLD").map(PathBuf::from),
                // What building an image needs to reach the network, where a proxy stands before it.
                build_environment: [
                    "http_proxy",
                    "https_proxy",
                    "no_proxy",
                    "HTTP_PROXY",
                    "HTTPS_PROXY",
                    "NO_PROXY",
                ]
                .iter()
                .filter_map(|name| text(name).map(|value| ((*name).to_owned(), value)))
                .collect(),
                cache: folder("XDG_CACHE_HOME", ".cache").join("clusterbook"),
                ..ProviderOptions::default()
            },
            holder: Holder {
                user: text("USER")
                    .or_else(|| text("LOGNAME"))
                    .unwrap_or_else(|| format!("uid {}", rustix::process::getuid().as_raw())),
                host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
                pid: std::process::id(),
                since: now,
                what: what.to_owned(),
            },
            run_id: text("TMPLRUN_RUN"),
            templates: BTreeMap::new(),
            fan_out: 64,
            patience: Duration::from_secs(20),
            journalled: None,
        }
    }
}
