//! From the engine's errors to Python's exception classes. The whole mapping is this file.
//!
//! The classes themselves are Python's (`clusterbook/_errors.py`), so that their names, texts and documentation are where a
//! Python reader looks for them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use clusterbook_engine::state::StateError;
use clusterbook_engine::{Error, ErrorKind, Failure};
use clusterbook_model::{Fault, Faults, FileError};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::convert;

/// Everything that a call can end in.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The engine's.
    Engine(Error),
    /// Slurm's.
    Slurm(clusterbook_slurm::Error),
    /// A design file's, with its path or another word for where it came from.
    File(FileError, String),
    /// Parameters'.
    Faults(Faults),
    /// A secret that can't be had, and what to do about it.
    Secret(String, String),
    /// Ours.
    Bug(String),
}

impl Problem {
    /// One parameter that can't be read.
    pub(crate) fn parameter(path: &str, message: &str, help: &str) -> Self {
        Self::Faults(Faults(vec![Fault {
            path: path.to_owned(),
            message: message.to_owned(),
            help: help.to_owned(),
        }]))
    }

    /// Whether the caller asked for it.
    pub(crate) fn is_interruption(&self) -> bool {
        match self {
            Self::Engine(error) => error.kind() == ErrorKind::Interrupted,
            Self::Slurm(error) => error.kind() == clusterbook_slurm::ErrorKind::Cancelled,
            _ => false,
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Engine(error)
    }
}

impl From<clusterbook_slurm::Error> for Problem {
    fn from(error: clusterbook_slurm::Error) -> Self {
        Self::Slurm(error)
    }
}

/// What an exception is made of.
struct Account {
    class: &'static str,
    kind: &'static str,
    /// Outermost first; never empty.
    chain: Vec<String>,
    hint: Option<String>,
    failures: Vec<Failure>,
    faults: Vec<Fault>,
}

impl Account {
    fn new(class: &'static str, kind: &'static str, chain: Vec<String>, hint: Option<String>) -> Self {
        Self {
            class,
            kind,
            chain,
            hint,
            failures: Vec::new(),
            faults: Vec::new(),
        }
    }

    fn faulty(faults: Vec<Fault>, message: &str) -> Self {
        Self {
            faults,
            ..Self::new("DesignError", "yours", vec![message.to_owned()], None)
        }
    }
}

impl From<Problem> for Account {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::Engine(error) => engine(error),
            Problem::Slurm(error) => slurm(&error),
            Problem::File(error, place) => file(error, &place),
            Problem::Faults(faults) => Self::faulty(faults.0, "the design has faults"),
            Problem::Secret(message, hint) => Self::new("SecretError", "yours", vec![message], Some(hint)),
            Problem::Bug(message) => Self::new(
                "BugError",
                "bug",
                vec![message],
                Some("this is a fault of clusterbook: please report it with this text".to_owned()),
            ),
        }
    }
}

fn engine(error: Error) -> Account {
    let kind = match error.kind() {
        ErrorKind::Yours => "yours",
        ErrorKind::Configuration => "configuration",
        ErrorKind::Provider => "provider",
        ErrorKind::Node => "node",
        ErrorKind::Interrupted => "interrupted",
        ErrorKind::Bug => "bug",
    };
    let class = match &error {
        _ if error.kind() == ErrorKind::Interrupted => "Interrupted",
        Error::Design(_) | Error::Image(_) => "DesignError",
        Error::NoCluster { .. } | Error::NoNode { .. } | Error::State(StateError::NoSuchCluster { .. }) => {
            "NotFoundError"
        }
        Error::NameInUse { .. } | Error::State(StateError::ClusterExists { .. }) => "NameInUseError",
        Error::State(StateError::Locked { .. }) => "LockedError",
        Error::State(_) => "StateError",
        Error::Provider { .. } | Error::Capability { .. } => "ProviderError",
        Error::Refused { .. } => "RefusedError",
        Error::Failures { .. } => "NodeError",
        Error::Bug(_) => "BugError",
        _ => "ClusterbookError",
    };
    let hint = error.hint();
    match error {
        Error::Design(faults) => Account {
            hint,
            ..Account::faulty(faults.0, "the design has faults")
        },
        // Its failures are told one by one.
        Error::Failures { cluster, failures } => Account {
            failures,
            ..Account::new(class, kind, vec![format!("parts of cluster {cluster} failed")], hint)
        },
        // Nothing is wrong with the state folder here, so it isn't mentioned.
        Error::State(
            error @ (StateError::Locked { .. } | StateError::NoSuchCluster { .. } | StateError::ClusterExists { .. }),
        ) => Account::new(class, kind, vec![error.to_string()], hint),
        error => Account::new(class, kind, error.chain(), hint),
    }
}

fn slurm(error: &clusterbook_slurm::Error) -> Account {
    use clusterbook_slurm::ErrorKind as Kind;
    let chain = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source())
        .map(ToString::to_string)
        .collect();
    let (class, kind) = match error.kind() {
        Kind::UnknownJob => ("NotFoundError", "yours"),
        Kind::Cancelled => ("Interrupted", "interrupted"),
        Kind::Refused => ("SlurmError", "yours"),
        _ => ("SlurmError", "node"),
    };
    Account::new(class, kind, chain, error.hint().map(str::to_owned))
}

fn file(error: FileError, place: &str) -> Account {
    let fault = |path: String, message: String, help: String| vec![Fault { path, message, help }];
    match error {
        FileError::Faults(faults) => Account::faulty(faults.0, &format!("{place} has faults")),
        FileError::Schema { message, help } => Account::faulty(
            fault("schema".to_owned(), message, help),
            &format!("{place} can't be read"),
        ),
        FileError::Edit { path, message, help } => {
            Account::faulty(fault(path, message, help), &format!("{place} can't be edited so"))
        }
        error => Account::faulty(
            fault(String::new(), error.to_string(), "correct the file there".to_owned()),
            &format!("{place} is not a design"),
        ),
    }
}

impl From<Problem> for PyErr {
    fn from(problem: Problem) -> Self {
        let account = Account::from(problem);
        Python::attach(|py| exception(py, account).unwrap_or_else(|error| error))
    }
}

fn exception(py: Python<'_>, account: Account) -> PyResult<PyErr> {
    let class = py.import("clusterbook._errors")?.getattr(account.class)?;
    let mut chain = account.chain.into_iter();
    let arguments = PyDict::new(py);
    let message = chain.next().unwrap_or_default();
    arguments.set_item("causes", chain.collect::<Vec<_>>())?;
    arguments.set_item("kind", account.kind)?;
    arguments.set_item("hint", account.hint)?;
    arguments.set_item("failures", convert::object(py, &account.failures)?)?;
    if account.class == "DesignError" {
        arguments.set_item("faults", convert::object(py, &account.faults)?)?;
    }
    Ok(PyErr::from_value(class.call((message,), Some(&arguments))?))
}

/// The text of the last panic and where it was.
static LAST_PANIC: Mutex<Option<String>> = Mutex::new(None);

/// A panic becomes an exception, so its text isn't also thrown at the terminal. The hook is this library's alone.
pub(crate) fn keep_panics_quiet() {
    std::panic::set_hook(Box::new(|panic| {
        *LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic.to_string());
    }));
}

/// The problem that a caught panic is.
pub(crate) fn panicked() -> Problem {
    let text = LAST_PANIC.lock().unwrap_or_else(PoisonError::into_inner).take();
    Problem::Bug(text.unwrap_or_else(|| "something panicked and left no text".to_owned()))
}

/// Runs what must not panic into the interpreter.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, Problem>) -> PyResult<T> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => Ok(result?),
        Err(_) => Err(panicked().into()),
    }
}

/// Panics, on the calling thread or in the background: what shows that a panic becomes a `BugError`.
#[pyfunction]
pub(crate) fn fail(py: Python<'_>, background: bool) -> PyResult<()> {
    #[allow(clippy::panic, reason = "it is what is asked for")]
    fn burst() -> Result<(), Problem> {
        panic!("as asked")
    }
    if background {
        crate::runtime::wait(py, None, crate::runtime::Patience::None, |_| async { burst() })
    } else {
        guarded(burst)
    }
}
