//! Slurm of a cluster.

use std::future::Future;
use std::time::Duration;

use clusterbook_engine::Controller;
use clusterbook_slurm::{History, Job, JobId, Slurm, SubmitOptions};
use pyo3::prelude::*;
use serde::{Deserialize, Serialize};

use crate::convert;
use crate::error::Problem;
use crate::runtime::{Message, Patience, wait};

/// What Python may ask for; the names are those of [`SubmitOptions`].
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wishes {
    name: Option<String>,
    ntasks: Option<u32>,
    nodes: Option<u32>,
    ntasks_per_node: Option<u32>,
    cpus_per_task: Option<u32>,
    memory_mib: Option<u64>,
    partition: Option<String>,
    time_limit_seconds: Option<u64>,
    gpus: Option<String>,
    gres: Option<String>,
    chdir: Option<String>,
    output: Option<String>,
    error: Option<String>,
    environment: Vec<(String, String)>,
    extra: Vec<String>,
}

/// Asks one thing of a cluster's Slurm.
fn ask<'py, T, F>(
    py: Python<'py>,
    cluster: String,
    user: Option<String>,
    question: impl FnOnce(Slurm<Controller>) -> F + Send + 'static,
) -> PyResult<Bound<'py, PyAny>>
where
    T: Serialize + Send + 'static,
    F: Future<Output = Result<T, clusterbook_slurm::Error>>,
{
    let answer = wait(py, None, Patience::None, move |tools| async move {
        let slurm = tools.engine.slurm(&cluster, user.as_deref(), &tools.stop).await?;
        Ok(question(slurm).await?)
    })?;
    convert::object(py, &answer)
}

/// All nodes.
#[pyfunction]
pub(crate) fn slurm_nodes(py: Python<'_>, cluster: String) -> PyResult<Bound<'_, PyAny>> {
    ask(py, cluster, None, |slurm| async move { slurm.nodes().await })
}

/// All partitions.
#[pyfunction]
pub(crate) fn slurm_partitions(py: Python<'_>, cluster: String) -> PyResult<Bound<'_, PyAny>> {
    ask(py, cluster, None, |slurm| async move { slurm.partitions().await })
}

/// The controllers and whether they answer.
#[pyfunction]
pub(crate) fn slurm_ping(py: Python<'_>, cluster: String) -> PyResult<Bound<'_, PyAny>> {
    ask(py, cluster, None, |slurm| async move { slurm.ping().await })
}

/// What the controller runs with, a row for each setting.
#[pyfunction]
pub(crate) fn slurm_configuration(py: Python<'_>, cluster: String) -> PyResult<Bound<'_, PyAny>> {
    ask(py, cluster, None, |slurm| async move { slurm.configuration().await })
}

/// Jobs that wait or run, and with `finished` those that ended a short while ago.
#[pyfunction]
pub(crate) fn slurm_jobs(py: Python<'_>, cluster: String, finished: bool) -> PyResult<Bound<'_, PyAny>> {
    ask(py, cluster, None, move |slurm| async move {
        if finished {
            slurm.jobs_with_finished().await
        } else {
            slurm.jobs().await
        }
    })
}

/// Jobs of the past; none if the cluster keeps no accounts.
#[pyfunction]
pub(crate) fn slurm_history(
    py: Python<'_>,
    cluster: String,
    user: Option<String>,
    account: Option<String>,
    since: Option<String>,
    until: Option<String>,
) -> PyResult<Bound<'_, PyAny>> {
    let history = History {
        user,
        account,
        since,
        until,
    };
    ask(
        py,
        cluster,
        None,
        move |slurm| async move { slurm.history(&history).await },
    )
}

/// Accounts, users and their limits; none if the cluster keeps no accounts.
#[pyfunction]
pub(crate) fn slurm_associations(py: Python<'_>, cluster: String) -> PyResult<Bound<'_, PyAny>> {
    ask(py, cluster, None, |slurm| async move { slurm.associations().await })
}

/// Shares and use; none if the cluster keeps no accounts.
#[pyfunction]
pub(crate) fn slurm_fair_share(py: Python<'_>, cluster: String) -> PyResult<Bound<'_, PyAny>> {
    ask(py, cluster, None, |slurm| async move { slurm.fair_share().await })
}

/// One job; none if Slurm doesn't know it.
#[pyfunction]
pub(crate) fn slurm_job(py: Python<'_>, cluster: String, id: u32) -> PyResult<Bound<'_, PyAny>> {
    ask(
        py,
        cluster,
        None,
        move |slurm| async move { slurm.job(JobId(id)).await },
    )
}

/// Stops a job.
#[pyfunction]
pub(crate) fn slurm_cancel(py: Python<'_>, cluster: String, id: u32) -> PyResult<Bound<'_, PyAny>> {
    ask(
        py,
        cluster,
        None,
        move |slurm| async move { slurm.cancel(JobId(id)).await },
    )
}

/// Submits a script; gives its job's number.
#[pyfunction]
pub(crate) fn slurm_submit<'py>(
    py: Python<'py>,
    cluster: String,
    user: Option<String>,
    script: String,
    options: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let options = convert::from_python(options, "submit")?;
    let wishes: Wishes = serde_json::from_value(options)
        .map_err(|error| Problem::parameter("submit", &error.to_string(), "see help(cluster.slurm.submit)"))?;
    let options = SubmitOptions {
        name: wishes.name,
        ntasks: wishes.ntasks,
        nodes: wishes.nodes,
        ntasks_per_node: wishes.ntasks_per_node,
        cpus_per_task: wishes.cpus_per_task,
        memory_mib: wishes.memory_mib,
        partition: wishes.partition,
        time_limit: wishes.time_limit_seconds.map(Duration::from_secs),
        gpus: wishes.gpus,
        gres: wishes.gres,
        chdir: wishes.chdir,
        output: wishes.output,
        error: wishes.error,
        environment: wishes.environment,
        extra: wishes.extra,
        ..SubmitOptions::new(script)
    };
    ask(
        py,
        cluster,
        user,
        move |slurm| async move { slurm.submit(&options).await },
    )
}

/// Waits until a job has ended; the sink is told each change of its state. Stopping leaves the job alone.
#[pyfunction]
#[pyo3(signature = (cluster, id, sink=None))]
pub(crate) fn slurm_wait<'py>(
    py: Python<'py>,
    cluster: String,
    id: u32,
    sink: Option<Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let job: Job = wait(py, sink, Patience::None, move |tools| async move {
        let slurm = tools.engine.slurm(&cluster, None, &tools.stop).await?;
        let teller = tools.teller.clone();
        let mut on_state = move |job: &Job| {
            teller.tell(Message::Value(serde_json::json!({"event": "job", "job": job})));
        };
        // Dropped with the call: the job goes on, only the waiting ends.
        let never = tokio_util::sync::CancellationToken::new();
        Ok(slurm.wait(JobId(id), &mut on_state, &never).await?)
    })?;
    convert::object(py, &job)
}
