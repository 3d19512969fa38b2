//! Ctrl-C twice: the first stops at the next safe point, the second at once.

use clusterbook_engine::Stop;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::CommandError;

/// What the person reads at the first Ctrl-C during an apply.
pub(crate) const SOON: &str =
    "Stopping: what has begun is finished, nothing else is begun. Press Ctrl-C again to stop now.";

/// A stop that Ctrl-C (soon, then now) and SIGTERM (soon) ask for. `told` is called with a line for the person.
///
/// Called only once a command begins what can be stopped: until then, and in commands that change nothing, a signal ends
/// the process as usual.
pub(crate) fn stop_on_signals(soon: &'static str, told: impl Fn(&str) + Send + 'static) -> Result<Stop, CommandError> {
    let failed = |error: std::io::Error| CommandError::configuration("signals can't be listened to").because(&error);
    let interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
    let terminations = signal(SignalKind::terminate()).map_err(failed)?;
    let stop = Stop::new();
    tokio::spawn(listen(stop.clone(), interrupts, terminations, soon, told));
    Ok(stop)
}

async fn listen(
    stop: Stop,
    mut interrupts: Signal,
    mut terminations: Signal,
    soon: &'static str,
    told: impl Fn(&str) + Send,
) {
    let mut presses = 0_u32;
    loop {
        tokio::select! {
            Some(()) = interrupts.recv() => presses += 1,
            // A system that shuts down asks again and again; it never means "now".
            Some(()) = terminations.recv() => presses = presses.max(1),
            else => return,
        }
        match presses {
            1 if !stop.is_asked() => {
                told(soon);
                stop.soon();
            }
            1 => {}
            2 => {
                told("Stopping now. What is still under way at the provider or on nodes is found by the next apply.");
                stop.now();
            }
            // Whoever presses a third time wants out, whatever is waited for.
            _ => std::process::exit(130),
        }
    }
}
