//! The bare distribution that recipes start from: from a registry, or made from Debian's packages where none answers.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use bollard::query_parameters::{CreateImageOptions, TagImageOptions};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use tokio_util::io::ReaderStream;

use super::engine::{Engine, explain};
use super::lock::Locks;
use crate::local::Report;
use crate::{ErrorKind, ProviderError, ProviderOptions};

/// Where bases are kept, with the distribution's name behind it. No tag: Podman ignores the one that an import asks for.
const REPOSITORY: &str = "localhost/clusterbook/base-";
/// A registry that has said nothing of an image for so long isn't reachable.
const REGISTRY_SILENCE: Duration = Duration::from_secs(8);
/// A download that makes no progress for so long is given up.
const REGISTRY_STALL: Duration = Duration::from_secs(60);

/// What we know of a distribution.
struct Distribution {
    name: &'static str,
    /// What mmdebstrap makes where no registry answers; none where there is no such way.
    suite: Option<&'static str>,
    registry: &'static str,
}

const DISTRIBUTIONS: &[Distribution] = &[
    Distribution {
        name: "debian-13",
        suite: Some("trixie"),
        registry: "docker.io/library/debian:trixie-slim",
    },
    Distribution {
        name: "rocky-9",
        suite: None,
        registry: "docker.io/rockylinux/rockylinux:9",
    },
];

/// The image of a bare distribution, made when it isn't there.
pub(super) async fn ensure(
    engine: &Engine,
    options: &ProviderOptions,
    locks: &Locks,
    name: &str,
    report: &Report<'_>,
) -> Result<String, ProviderError> {
    let known = DISTRIBUTIONS.iter().map(|known| known.name);
    let Some(distribution) = DISTRIBUTIONS.iter().find(|known| known.name == name) else {
        return Err(ProviderError::new(
            ErrorKind::Invalid,
            report.resource(),
            format!("there is no distribution {name}"),
        )
        .with_hint(crate::checks::choose(name, known)));
    };
    let repository = format!("{REPOSITORY}{name}");
    let image = format!("{repository}:latest");
    if exists(engine, &image, report).await? {
        return Ok(image);
    }
    let waiting = || report.say("another process is fetching the distribution; waiting");
    let lock = format!("base-{name}");
    let _lock = locks.take(&lock, report.cancel(), waiting).await?;
    if exists(engine, &image, report).await? {
        return Ok(image);
    }
    // The one that a person names is Debian's.
    let registry = if options.registry_image.is_empty() || distribution.suite.is_none() {
        distribution.registry
    } else {
        &options.registry_image
    };
    report.say(&format!("fetching {registry}"));
    let why = match pull(engine, registry).await {
        Ok(()) => {
            let tag = TagImageOptions {
                repo: Some(repository),
                tag: Some("latest".to_owned()),
            };
            engine
                .docker
                .tag_image(registry, Some(tag))
                .await
                .map_err(|error| explain(error, report.resource()))?;
            return Ok(image);
        }
        Err(why) => why,
    };
    let Some(suite) = distribution.suite else {
        return Err(ProviderError::new(
            ErrorKind::Unavailable,
            report.resource(),
            format!("no registry gave {registry}: {why}"),
        )
        .with_hint(format!(
            "make the registry reachable, or bring the image here: `podman load` or `docker load` it and tag it {image}; \
             or write image: debian-13, which can be made from packages"
        )));
    };
    report.say(&format!(
        "no registry gave {registry} ({why}); making it from Debian's packages"
    ));
    let file = locks.folder().join(format!("base-{name}.tar"));
    let outcome = match bootstrap(options, distribution, suite, &file, report).await {
        Ok(()) => import(engine, &repository, &file, report).await,
        Err(error) => Err(error),
    };
    let _ = fs_err::remove_file(&file);
    outcome.map(|()| image)
}

async fn exists(engine: &Engine, image: &str, report: &Report<'_>) -> Result<bool, ProviderError> {
    match engine.docker.inspect_image(image).await {
        Ok(_) => Ok(true),
        Err(error) => match explain(error, report.resource()) {
            error if error.kind == ErrorKind::NotFound => Ok(false),
            error => Err(error),
        },
    }
}

/// Pulls, or says in a few words why it can't. A registry that doesn't answer costs seconds, not minutes.
async fn pull(engine: &Engine, image: &str) -> Result<(), String> {
    let options = CreateImageOptions {
        from_image: Some(image.to_owned()),
        ..CreateImageOptions::default()
    };
    let mut events = Box::pin(engine.patient.create_image(Some(options), None, None));
    let mut patience = REGISTRY_SILENCE;
    loop {
        match tokio::time::timeout(patience, events.next()).await {
            Err(_) => return Err(format!("silent for {} s", patience.as_secs())),
            Ok(None) => return Ok(()),
            Ok(Some(Err(error))) => {
                let text = explain(error, "").message;
                return Err(text.lines().next_back().unwrap_or_default().to_owned());
            }
            Ok(Some(Ok(event))) => {
                // A named layer means that the registry has the image.
                if event.id.is_some() {
                    patience = REGISTRY_STALL;
                }
            }
        }
    }
}

/// Makes a root file system as an archive with mmdebstrap.
async fn bootstrap(
    options: &ProviderOptions,
    distribution: &Distribution,
    suite: &str,
    file: &Path,
    report: &Report<'_>,
) -> Result<(), ProviderError> {
    let name = report.resource();
    let mut child = Command::new("mmdebstrap")
        .args(["--variant=minbase", "--format=tar"])
        .arg("--aptopt=Acquire::Retries \"3\"")
        .arg("--aptopt=Acquire::Languages \"none\"")
        .arg("--dpkgopt=force-unsafe-io")
        .arg(suite)
        .arg(file)
        .envs(options.build_environment.iter().map(|(key, value)| (key, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => ProviderError::new(
                ErrorKind::Invalid,
                name,
                format!(
                    "no registry gave an image of {}, and mmdebstrap isn't installed to make one",
                    distribution.name
                ),
            )
            .with_hint("install mmdebstrap (`sudo apt-get install mmdebstrap`), or make a registry reachable"),
            _ => ProviderError::new(ErrorKind::Invalid, name, format!("mmdebstrap: {error}")),
        })?;
    let mut last = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        let mut lines = BufReader::new(stderr).lines();
        loop {
            let line = tokio::select! {
                line = lines.next_line() => line,
                () = report.cancel().cancelled() => {
                    stop(&mut child).await;
                    return Err(ProviderError::new(
                        ErrorKind::Cancelled,
                        name,
                        "stopped while the distribution was being made",
                    ));
                }
            };
            let Ok(Some(line)) = line else { break };
            // Progress bars end in a carriage return and would otherwise come as one long line.
            let line = line.rsplit('\r').next().unwrap_or_default().trim();
            if !line.is_empty() {
                report.say(line);
                last.push(line.to_owned());
                if last.len() > 12 {
                    last.remove(0);
                }
            }
        }
    }
    let status = child
        .wait()
        .await
        .map_err(|error| ProviderError::new(ErrorKind::Invalid, name, error.to_string()))?;
    if status.success() {
        return Ok(());
    }
    Err(ProviderError::new(
        ErrorKind::Invalid,
        name,
        format!(
            "{} couldn't be made from packages: mmdebstrap ended with {status}; the last lines were:\n{}",
            distribution.name,
            last.join("\n")
        ),
    )
    .with_hint(
        "mmdebstrap needs a Debian mirror, its keys (`sudo apt-get install debian-archive-keyring`), and root or \
         sub-user ids (`sudo apt-get install uidmap`)",
    ))
}

/// Asks mmdebstrap to end, so that it takes down what it mounted; it has a few seconds.
async fn stop(child: &mut tokio::process::Child) {
    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
    }
    let _ = tokio::time::timeout(Duration::from_secs(10), child.wait()).await;
}

async fn import(engine: &Engine, repository: &str, file: &Path, report: &Report<'_>) -> Result<(), ProviderError> {
    report.say("importing it");
    let name = report.resource();
    let file = tokio::fs::File::open(file)
        .await
        .map_err(|error| ProviderError::new(ErrorKind::Invalid, name, error.to_string()))?;
    let options = CreateImageOptions {
        from_src: Some("-".to_owned()),
        repo: Some(repository.to_owned()),
        ..CreateImageOptions::default()
    };
    let body = bollard::body_try_stream(ReaderStream::with_capacity(file, 1 << 20));
    engine
        .patient
        .create_image(Some(options), Some(body), None)
        .try_collect::<Vec<_>>()
        .await
        .map_err(|error| explain(error, name))?;
    Ok(())
}
