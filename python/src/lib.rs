//! `clusterbook._core`: the engine, as Python calls it.
//!
//! Thin on purpose. What a person sees (tables, pictures, progress, the text of messages) is the Python package's; here are only the
//! crossing of values ([`convert`]), of errors ([`error`]) and of time ([`runtime`]). Every call that may take long goes through
//! [`runtime::wait`], which is the one place that knows about the interpreter's lock, signals and forks.

mod cluster;
mod convert;
mod design;
mod error;
mod runtime;
mod secret;
mod slurm;

#[pyo3::pymodule]
mod _core {
    #[pymodule_export]
    use crate::cluster::{apply, check, clusters, destroy, gpus, plan, plan_destroy, read_file, run, status, versions};
    #[pymodule_export]
    use crate::design::{Design, diff, nearest};
    #[pymodule_export]
    use crate::error::fail;
    #[pymodule_export]
    use crate::secret::Secret;
    #[pymodule_export]
    use crate::slurm::{
        slurm_associations, slurm_cancel, slurm_configuration, slurm_fair_share, slurm_history, slurm_job, slurm_jobs,
        slurm_nodes, slurm_partitions, slurm_ping, slurm_submit, slurm_wait,
    };

    #[pymodule_init]
    fn init(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        use pyo3::types::PyModuleMethods as _;
        crate::error::keep_panics_quiet();
        module.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
