//! Images from recipes.
//!
//! A recipe's steps run in a container made from the parent image, which is then committed. This is what Docker's and Podman's
//! APIs both do alike; their build endpoints differ in where steps run and which limits they ask for. The steps use the
//! machine's own network, so that whatever lets this machine reach a package mirror serves the build too.

use std::collections::HashMap;
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{ContainerConfig, ContainerCreateBody, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::{
    CommitContainerOptions, CreateContainerOptions, RemoveContainerOptions, UploadToContainerOptions,
};
use clusterbook_model::{Base, Recipe};

use super::archive::Archive;
use super::base;
use super::engine::{Engine, explain};
use super::follow::follow;
use super::labels;
use super::listing::{images, state, summaries};
use super::lock::Locks;
use super::network::there;
use crate::local::Report;
use crate::{Ack, ErrorKind, ProviderError, ProviderOptions};

/// Where a builder finds its steps.
const WORK: &str = "var/lib/clusterbook-build";
/// Builders' names begin with this; no node's does.
const BUILDERS: &str = "clusterbook-build-";

/// The steps. Services must not start while packages are installed: the network is the machine's own.
const RUN: &str = r#"set -eu
work=/var/lib/clusterbook-build
. "$work/environment"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
if [ -s "$work/before" ]; then
    echo "setting up repositories"
    sh -eu "$work/before" </dev/null
fi
if [ ! -s "$work/packages" ]; then
    :
elif command -v dnf >/dev/null; then
    # Nothing starts services here: there is no service manager to ask.
    echo "installing packages"
    xargs dnf -q -y --setopt=install_weak_deps=False --setopt=retries=3 --nodocs install <"$work/packages"
    dnf -q clean all
else
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod 755 /usr/sbin/policy-rc.d
    echo "looking up packages"
    apt-get -q -o Acquire::Retries=3 -o Acquire::Languages=none update
    echo "installing packages"
    # Nobody needs this image after a power cut, so the disk needn't be waited for.
    xargs apt-get -q -y -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-unsafe-io \
        -o Dpkg::Options::=--force-confold --no-install-recommends install <"$work/packages"
    apt-get clean
    rm -rf /var/lib/apt/lists/*
fi
rm -f /usr/sbin/policy-rc.d
if [ -s "$work/files.tar" ]; then
    echo "placing files"
    tar -C / -xf "$work/files.tar"
fi
if [ -s "$work/script" ]; then
    echo "running the recipe's script"
    sh -eu "$work/script" </dev/null
fi
cd /
rm -rf "$work"
exit 0
"#;

/// Builds an image, unless it is there.
pub(super) async fn build(
    engine: &Engine,
    options: &ProviderOptions,
    recipe: &Recipe,
    report: &Report<'_>,
) -> Result<Ack, ProviderError> {
    let name = report.resource();
    let tag = recipe.tag();
    if images(engine).await?.contains(&tag) {
        return Err(there(name));
    }
    let locks = Locks::new(&options.cache);
    let waiting = || report.say("another process is building it; waiting");
    let _lock = locks.take(&tag, report.cancel(), waiting).await?;
    sweep(engine, &locks).await?;
    let built = images(engine).await?;
    if built.contains(&tag) {
        return Err(there(name));
    }
    let parent = match &recipe.base {
        Base::Recipe(parent) if built.contains(parent) => labels::image_reference(parent),
        Base::Recipe(parent) => {
            return Err(ProviderError::new(
                ErrorKind::NotFound,
                name,
                format!("its base image {parent} is not there"),
            )
            .with_hint("build that one first"));
        }
        Base::Distribution(distribution) => base::ensure(engine, options, &locks, distribution, report).await?,
    };
    let container = format!("{BUILDERS}{}-{tag}", locks.domain());
    // Left by ourselves when an earlier removal failed; the lock says that nobody uses it.
    remove(engine, &container).await;
    let steps = run(engine, options, &locks, recipe, &parent, &container, report);
    let outcome = tokio::select! {
        outcome = steps => outcome,
        () = report.cancel().cancelled() => Err(ProviderError::new(
            ErrorKind::Cancelled,
            name,
            "stopped while it was being built",
        )),
    };
    remove(engine, &container).await;
    outcome.map(|()| Ack::Done)
}

async fn run(
    engine: &Engine,
    options: &ProviderOptions,
    locks: &Locks,
    recipe: &Recipe,
    parent: &str,
    container: &str,
    report: &Report<'_>,
) -> Result<(), ProviderError> {
    let name = report.resource();
    let failed = |error| explain(error, name);
    let create = CreateContainerOptions {
        name: Some(container.to_owned()),
        ..CreateContainerOptions::default()
    };
    let body = ContainerCreateBody {
        image: Some(parent.to_owned()),
        entrypoint: Some(Vec::new()),
        cmd: Some(vec!["/bin/sh".to_owned(), format!("/{WORK}/run")]),
        env: Some(vec![
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        ]),
        labels: Some(HashMap::from([
            (labels::BUILDER.to_owned(), locks.domain()),
            (labels::BUILDS.to_owned(), recipe.tag()),
        ])),
        host_config: Some(HostConfig {
            network_mode: Some("host".to_owned()),
            ulimits: engine.ulimits.clone(),
            log_config: Some(HostConfigLogConfig {
                typ: Some("json-file".to_owned()),
                config: None,
            }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    };
    engine
        .docker
        .create_container(Some(create), body)
        .await
        .map_err(failed)?;
    let upload = UploadToContainerOptions {
        path: "/".to_owned(),
        ..UploadToContainerOptions::default()
    };
    let steps = steps(name, recipe, &options.build_environment)?;
    engine
        .docker
        .upload_to_container(container, Some(upload), bollard::body_full(steps.into()))
        .await
        .map_err(failed)?;
    engine.docker.start_container(container, None).await.map_err(failed)?;
    let tail = follow(engine, container, report).await?;
    let code = exit_code(engine, container, name).await?;
    if code != 0 {
        return Err(ProviderError::new(
            ErrorKind::Invalid,
            name,
            format!(
                "a step of its recipe failed with status {code}; the last lines were:\n{}",
                tail.join("\n")
            ),
        )
        .with_hint("if packages could not be fetched, see whether this machine reaches a Debian mirror"));
    }
    report.say("saving the image");
    let (repository, hash) = labels::image(&recipe.tag());
    let commit = CommitContainerOptions {
        container: Some(container.to_owned()),
        repo: Some(repository),
        tag: Some(hash),
        pause: false,
        // Containers inherit their image's labels: what marks a builder must not reach a node. One label a line, because
        // Podman takes all that follows the first for its value.
        changes: Some(format!(
            "LABEL {}={}\nLABEL {}=none\nLABEL {}=none\nCMD [\"/sbin/init\"]",
            labels::RECIPE,
            recipe.tag(),
            labels::BUILDER,
            labels::BUILDS,
        )),
        ..CommitContainerOptions::default()
    };
    engine
        .patient
        .commit_container(commit, ContainerConfig::default())
        .await
        .map_err(failed)?;
    Ok(())
}

async fn exit_code(engine: &Engine, container: &str, name: &str) -> Result<i64, ProviderError> {
    // The log may end a moment before the engine knows that the process did.
    for _ in 0..100 {
        let state = state(engine, container).await.map_err(|error| explain(error, name))?;
        if state.running != Some(true) {
            return Ok(state.exit_code.unwrap_or(-1));
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(ProviderError::new(
        ErrorKind::Unavailable,
        name,
        "the engine stopped reporting on the build while it was running",
    ))
}

/// All that a builder needs, as an archive.
fn steps(name: &str, recipe: &Recipe, environment: &[(String, String)]) -> Result<Vec<u8>, ProviderError> {
    let mut files = Archive::default();
    for file in &recipe.files {
        files.file(file.path.trim_start_matches('/'), file.mode, file.content.as_bytes());
    }
    let files = if recipe.files.is_empty() {
        Vec::new()
    } else {
        files.finish(name)?
    };
    let exports: String = environment
        .iter()
        .map(|(key, value)| format!("export {key}='{}'\n", value.replace('\'', r"'\''")))
        .collect();
    let packages: String = recipe.packages.iter().map(|package| format!("{package}\n")).collect();
    let mut archive = Archive::default();
    archive.folder(WORK, 0o700);
    for (file, content) in [
        ("run", RUN.as_bytes()),
        ("environment", exports.as_bytes()),
        ("before", recipe.before.as_bytes()),
        ("packages", packages.as_bytes()),
        ("files.tar", files.as_slice()),
        ("script", recipe.script.as_bytes()),
    ] {
        archive.file(&format!("{WORK}/{file}"), 0o600, content);
    }
    archive.finish(name)
}

async fn remove(engine: &Engine, container: &str) {
    let options = RemoveContainerOptions {
        force: true,
        v: true,
        ..RemoveContainerOptions::default()
    };
    for _ in 0..20 {
        let _ = engine.docker.kill_container(container, None).await;
        match engine.docker.remove_container(container, Some(options.clone())).await {
            Ok(()) | Err(Error::DockerResponseServerError { status_code: 404, .. }) => return,
            // The engine may still be at work on what it was asked last.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    // What is left is tried again by the next build's sweep.
}

/// Removes builders that a killed process left: those of ours whose lock nobody holds.
pub(super) async fn sweep(engine: &Engine, locks: &Locks) -> Result<(), ProviderError> {
    let domain = locks.domain();
    let of_ours = HashMap::from([("label".to_owned(), vec![format!("{}={domain}", labels::BUILDER)])]);
    let list = summaries(engine, of_ours)
        .await
        .map_err(|error| explain(error, "builders"))?;
    for summary in list {
        let name = summary
            .names
            .and_then(|names| names.into_iter().next())
            .unwrap_or_default();
        let name = name.trim_start_matches('/');
        let builds = summary.labels.and_then(|mut labels| labels.remove(labels::BUILDS));
        let (Some(builds), true) = (builds, name.starts_with(BUILDERS)) else {
            continue;
        };
        if locks.try_take(&builds)?.is_some() {
            remove(engine, name).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use clusterbook_model::{Architecture, RecipeFile};

    use super::*;

    #[test]
    fn steps_hold_the_recipe_in_its_order() {
        let recipe = Recipe {
            name: "common".to_owned(),
            base: Base::Distribution("debian-13".to_owned()),
            architecture: Architecture::Native,
            before: "echo repositories\n".to_owned(),
            packages: vec!["munge".to_owned(), "sudo".to_owned()],
            files: vec![RecipeFile {
                path: "/etc/motd".to_owned(),
                mode: 0o644,
                content: "hello\n".to_owned(),
            }],
            script: "true\n".to_owned(),
        };
        let environment = [("http_proxy".to_owned(), "http://it's".to_owned())];
        let bytes = steps("image common", &recipe, &environment).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut found = HashMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            found.insert(path, content);
        }
        let text = |file: &str| String::from_utf8_lossy(&found[&format!("{WORK}/{file}")]).into_owned();
        assert_eq!(text("before"), "echo repositories\n");
        assert_eq!(text("packages"), "munge\nsudo\n");
        assert_eq!(text("environment"), "export http_proxy='http://it'\\''s'\n");
        assert_eq!(text("script"), "true\n");
        let mut files = tar::Archive::new(found[&format!("{WORK}/files.tar")].as_slice());
        let entry = files.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.path().unwrap().display().to_string(), "etc/motd");
        assert_eq!(entry.header().mode().unwrap(), 0o644);
    }

    #[test]
    fn a_file_that_leaves_the_image_is_refused() {
        let recipe = Recipe {
            name: "bad".to_owned(),
            base: Base::Distribution("debian-13".to_owned()),
            architecture: Architecture::Native,
            before: String::new(),
            packages: Vec::new(),
            files: vec![RecipeFile {
                path: "/../etc/motd".to_owned(),
                mode: 0o644,
                content: String::new(),
            }],
            script: String::new(),
        };
        let error = steps("image bad", &recipe, &[]).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
    }
}
