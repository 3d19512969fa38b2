//! Designs and their files.

use clusterbook_model::DesignFile;
use pyo3::prelude::*;
use serde::Deserialize;
use serde_json::json;

use crate::convert;
use crate::error::{Problem, guarded};
use crate::runtime::{Patience, wait};

/// A design and the text of its file.
#[pyclass(module = "clusterbook._core")]
pub(crate) struct Design {
    file: DesignFile,
}

impl Design {
    /// The checked design.
    pub(crate) fn design(&self) -> clusterbook_model::Design {
        self.file.design().clone()
    }
}

#[pymethods]
impl Design {
    /// Checks raw parameters.
    #[staticmethod]
    fn from_parameters(parameters: &Bound<'_, PyAny>) -> PyResult<Self> {
        let parameters = convert::from_python(parameters, "")?;
        guarded(|| {
            let design = clusterbook_model::Design::from_parameters(&parameters).map_err(Problem::Faults)?;
            Ok(Self {
                file: DesignFile::new(&design),
            })
        })
    }

    /// Reads a file's text; `place` names it in errors.
    #[staticmethod]
    fn parse(text: &str, place: String) -> PyResult<Self> {
        guarded(|| {
            DesignFile::parse(text)
                .map(|file| Self { file })
                .map_err(|error| Problem::File(error, place))
        })
    }

    /// The design that a cluster was last applied with, or that of one of its applies.
    #[staticmethod]
    #[pyo3(signature = (name, apply=None))]
    fn stored(py: Python<'_>, name: String, apply: Option<u64>) -> PyResult<Self> {
        let design = wait(py, None, Patience::None, move |tools| async move {
            Ok(match apply {
                Some(apply) => tools.engine.design_of(&name, apply)?,
                None => tools.engine.design(&name)?,
            })
        })?;
        guarded(|| {
            Ok(Self {
                file: DesignFile::new(&design),
            })
        })
    }

    /// One that can be changed without changing this.
    fn copy(&self) -> Self {
        Self {
            file: self.file.clone(),
        }
    }

    /// The text of its file.
    #[getter]
    fn text(&self) -> &str {
        self.file.text()
    }

    /// Every parameter with its value, defaults included.
    fn values<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::object(py, self.file.design())
    }

    /// Its nodes: `name`, `role`, `group`, `address`, `flavor`.
    fn nodes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let nodes: Vec<_> = self
            .file
            .design()
            .nodes()
            .into_iter()
            .map(|node| {
                json!({
                    "name": node.name,
                    "role": node.role,
                    "group": node.group,
                    "address": node.address.to_string(),
                    "flavor": node.flavor,
                })
            })
            .collect();
        convert::object(py, &nodes)
    }

    /// Whether both describe the same cluster, however they are written.
    fn same(&self, other: PyRef<'_, Self>) -> bool {
        self.file.design() == other.file.design()
    }

    /// Changes one value, keeping comments and order.
    fn set(&mut self, path: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = convert::from_python(value, path)?;
        let name = self.place();
        guarded(|| self.file.set(path, value).map_err(|error| Problem::File(error, name)))
    }

    /// Adds a user.
    fn add_user(&mut self, user: &Bound<'_, PyAny>) -> PyResult<()> {
        let user = convert::from_python(user, "user")?;
        let name = self.place();
        guarded(|| {
            let user = clusterbook_model::User::deserialize(&user)
                .map_err(|error| Problem::parameter("user", &error.to_string(), "give a name and a list of keys"))?;
            self.file.add_user(&user).map_err(|error| Problem::File(error, name))
        })
    }

    /// Puts an edited file into the list, in the place of the one with the same path and nodes.
    fn set_file(&mut self, file: &Bound<'_, PyAny>) -> PyResult<()> {
        let file = convert::from_python(file, "file")?;
        let name = self.place();
        guarded(|| {
            let file = clusterbook_model::EditedFile::deserialize(&file)
                .map_err(|error| Problem::parameter("file", &error.to_string(), "give text, and lists of words"))?;
            self.file.set_file(&file).map_err(|error| Problem::File(error, name))
        })
    }

    /// Removes an edited file.
    #[pyo3(signature = (path, nodes=None))]
    fn remove_file(&mut self, path: &str, nodes: Option<Vec<String>>) -> PyResult<()> {
        let name = self.place();
        guarded(|| {
            self.file
                .remove_file(path, nodes.as_deref())
                .map_err(|error| Problem::File(error, name))
        })
    }

    /// Removes a user.
    fn remove_user(&mut self, user: &str) -> PyResult<()> {
        let name = self.place();
        guarded(|| self.file.remove_user(user).map_err(|error| Problem::File(error, name)))
    }
}

impl Design {
    fn place(&self) -> String {
        format!("the design of {}", self.file.design().name)
    }
}

/// The difference between two texts in unified format.
#[pyfunction]
pub(crate) fn diff(old: &str, new: &str) -> PyResult<String> {
    guarded(|| Ok(clusterbook_model::diff(old, new)))
}

/// The known name that a wrong one was most likely meant to be.
#[pyfunction]
pub(crate) fn nearest(wrong: &str, known: Vec<String>) -> Option<String> {
    clusterbook_model::nearest(wrong, known.iter().map(String::as_str)).map(str::to_owned)
}
