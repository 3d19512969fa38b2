//! Serves a world without machines, so that tests can kill an engine and look at what it left.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use clusterbook_providers::{FaultPlan, World, serve};
use tokio_util::sync::CancellationToken;

/// Serve an in-memory world for tests.
#[derive(Parser)]
struct Arguments {
    /// Unix socket to serve at.
    #[arg(long)]
    socket: PathBuf,
    /// The same seed gives the same faults.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Which faults to inject.
    #[arg(long, value_enum, default_value_t = Faults::None)]
    faults: Faults,
    /// Faults in detail, as JSON; replaces `--faults`.
    #[arg(long)]
    plan: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Faults {
    None,
    All,
}

#[tokio::main]
#[allow(clippy::print_stdout, clippy::print_stderr)] // A program, not a library.
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let plan = match (&arguments.plan, arguments.faults) {
        (Some(text), _) => match serde_json::from_str(text) {
            Ok(plan) => plan,
            Err(error) => {
                eprintln!("error: --plan is not a fault plan: {error}");
                return ExitCode::from(2);
            }
        },
        (None, Faults::None) => FaultPlan::none(),
        (None, Faults::All) => FaultPlan::all(),
    };
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.cancel();
        }
    });
    match serve(World::new(arguments.seed, plan), &arguments.socket, cancel).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
