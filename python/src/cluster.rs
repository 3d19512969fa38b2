//! Clusters: plan, apply, look, run.

use std::path::PathBuf;

use clusterbook_engine::{Applied, ApplyOptions, Part, Plan};
use pyo3::prelude::*;

use crate::convert;
use crate::design::Design;
use crate::runtime::{Message, Patience, wait};

/// What a sink is: a callable, or none.
type Sink<'py> = Option<Bound<'py, PyAny>>;

/// Every cluster of the state folder.
#[pyfunction]
pub(crate) fn clusters(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    let clusters = wait(
        py,
        None,
        Patience::None,
        |tools| async move { Ok(tools.engine.clusters()?) },
    )?;
    convert::object(py, &clusters)
}

/// A cluster and its nodes as the provider sees them now.
#[pyfunction]
#[pyo3(signature = (name, sink=None))]
pub(crate) fn status<'py>(py: Python<'py>, name: String, sink: Sink<'py>) -> PyResult<Bound<'py, PyAny>> {
    let status = wait(py, sink, Patience::None, |tools| async move {
        Ok(tools.engine.status(&name).await?)
    })?;
    convert::object(py, &status)
}

/// The checks of a design.
#[pyfunction]
#[pyo3(signature = (design, sink=None))]
pub(crate) fn check<'py>(py: Python<'py>, design: PyRef<'py, Design>, sink: Sink<'py>) -> PyResult<Bound<'py, PyAny>> {
    let design = design.design();
    let checks = wait(py, sink, Patience::None, |tools| async move {
        Ok(tools.engine.check(&design).await)
    })?;
    convert::object(py, &checks)
}

/// The changes that would make the cluster as designed.
#[pyfunction]
#[pyo3(signature = (design, sink=None))]
pub(crate) fn plan<'py>(py: Python<'py>, design: PyRef<'py, Design>, sink: Sink<'py>) -> PyResult<Bound<'py, PyAny>> {
    let design = design.design();
    let plan: Plan = wait(py, sink, Patience::None, |tools| async move {
        Ok(tools.engine.plan(&design, &tools.stop).await?)
    })?;
    convert::object(py, &plan)
}

/// The changes that would remove a cluster.
#[pyfunction]
#[pyo3(signature = (name, sink=None))]
pub(crate) fn plan_destroy<'py>(py: Python<'py>, name: String, sink: Sink<'py>) -> PyResult<Bound<'py, PyAny>> {
    let plan: Plan = wait(py, sink, Patience::None, |tools| async move {
        Ok(tools.engine.plan_destroy(&name).await?)
    })?;
    convert::object(py, &plan)
}

/// Makes the cluster as designed. `agreed` holds the ids of the changes that a person has seen, if anybody was asked.
#[pyfunction]
#[pyo3(signature = (design, path=None, agreed=None, sink=None))]
pub(crate) fn apply<'py>(
    py: Python<'py>,
    design: PyRef<'py, Design>,
    path: Option<PathBuf>,
    agreed: Option<Vec<String>>,
    sink: Sink<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let design = design.design();
    let options = ApplyOptions {
        design_path: path,
        agreed: agreed.map(|ids| ids.into_iter().collect()),
    };
    let applied: Applied = wait(py, sink, Patience::SafePoint, |tools| async move {
        Ok(tools
            .engine
            .apply(&design, &options, &tools.events, &tools.stop)
            .await?)
    })?;
    convert::object(py, &applied)
}

/// Removes a cluster with everything it holds.
#[pyfunction]
#[pyo3(signature = (name, sink=None))]
pub(crate) fn destroy<'py>(py: Python<'py>, name: String, sink: Sink<'py>) -> PyResult<Bound<'py, PyAny>> {
    let applied: Applied = wait(py, sink, Patience::SafePoint, |tools| async move {
        Ok(tools
            .engine
            .destroy(&name, &ApplyOptions::default(), &tools.events, &tools.stop)
            .await?)
    })?;
    convert::object(py, &applied)
}

/// The applies that changed `slurm_conf`, or the file of a path.
#[pyfunction]
#[pyo3(signature = (name, part, nodes=None))]
pub(crate) fn versions(
    py: Python<'_>,
    name: String,
    part: String,
    nodes: Option<Vec<String>>,
) -> PyResult<Bound<'_, PyAny>> {
    let part = match part.as_str() {
        "slurm_conf" => Part::SlurmConf,
        _ => Part::File { path: part, nodes },
    };
    let versions = wait(py, None, Patience::None, move |tools| async move {
        Ok(tools.engine.versions(&name, &part)?)
    })?;
    convert::object(py, &versions)
}

/// What a file holds on nodes.
#[pyfunction]
pub(crate) fn read_file(
    py: Python<'_>,
    name: String,
    selection: Vec<String>,
    path: String,
) -> PyResult<Bound<'_, PyAny>> {
    let found = wait(py, None, Patience::None, move |tools| async move {
        Ok(tools.engine.read_file(&name, &selection, &path, &tools.stop).await?)
    })?;
    convert::object(py, &found)
}

/// GPUs that the workers have, held against the design of the last apply.
#[pyfunction]
#[pyo3(signature = (name, sink=None))]
pub(crate) fn gpus<'py>(py: Python<'py>, name: String, sink: Sink<'py>) -> PyResult<Bound<'py, PyAny>> {
    let found = wait(py, sink, Patience::None, |tools| async move {
        Ok(tools.engine.gpus(&name, &tools.stop).await?)
    })?;
    convert::object(py, &found)
}

/// Runs a shell command on nodes.
#[pyfunction]
#[pyo3(signature = (name, selection, command, stdin=Vec::new(), sink=None))]
pub(crate) fn run<'py>(
    py: Python<'py>,
    name: String,
    selection: Vec<String>,
    command: String,
    stdin: Vec<u8>,
    sink: Sink<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    let listened = sink.is_some();
    let results = wait(py, sink, Patience::None, move |tools| async move {
        let teller = tools.teller.clone();
        let on_output = move |node: &str, stderr: bool, bytes: &[u8]| {
            if listened {
                teller.tell(Message::Output {
                    node: node.to_owned(),
                    stderr,
                    bytes: bytes.to_vec(),
                });
            }
        };
        Ok(tools
            .engine
            .run(&name, &selection, &command, &stdin, &on_output, &tools.stop)
            .await?)
    })?;
    convert::object(py, &results)
}
