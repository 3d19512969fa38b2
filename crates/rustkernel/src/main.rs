//! `tmplrun-rust`: a Jupyter kernel for Rust notebooks, in one program.
//!
//! `evcxr` compiles each cell and runs it in a second process, which is this program again. Between the two stands a
//! third, the [`relay`], also this program: it takes apart what the cell printed and what evcxr's own protocol says, so
//! that output is shown as it is written and a panic is seen for certain. The rest is Jupyter's protocol.
//!
//! Which of the three a process is follows from its environment, which evcxr sets; see [`main`].

mod cells;
mod compiler_errors;
mod connection;
mod family;
mod install;
mod message;
mod problem;
mod relay;
mod scratch;
mod server;
mod streams;

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use problem::Problem;

const HELP: &str = "\
A Jupyter kernel for Rust notebooks.

Usage: tmplrun-rust -f CONNECTION_FILE
       tmplrun-rust --install | --uninstall | --version | --help

  -f FILE      serve the connection that FILE describes; tmplrun and JupyterLab start it this way
  --install    let JupyterLab offer it: writes a kernel called `rust` into your Jupyter data folder
  --uninstall  takes that away again

tmplrun needs no --install: it finds this program beside itself or on PATH.
EVCXR_TMPDIR names a folder that keeps compiled dependencies from one run to the next.
";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    let done = match words.as_slice() {
        ["-f", file] => server::serve(Path::new(file)).map(|()| None),
        ["--install"] => install::install().map(Some),
        ["--uninstall"] => install::uninstall().map(Some),
        ["--version" | "-V"] => Ok(Some(concat!("tmplrun-rust ", env!("CARGO_PKG_VERSION")).to_owned())),
        ["--help" | "-h"] => Ok(Some(HELP.trim_end().to_owned())),
        _ if relay::wanted() => return relay::run(),
        _ => {
            if relay::wanted_behind() {
                family::end_with_parent();
            }
            // Runs cells, or stands in for rustc, and then doesn't come back.
            evcxr::runtime_hook();
            Err(Problem::new("these arguments are not understood").hint("see tmplrun-rust --help"))
        }
    };
    match done {
        Ok(None) => ExitCode::SUCCESS,
        Ok(Some(text)) => {
            let _ = writeln!(std::io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            let _ = write!(std::io::stderr(), "{problem}");
            ExitCode::FAILURE
        }
    }
}
