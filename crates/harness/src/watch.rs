//! Looking again until something is so.

use std::time::{Duration, Instant};

use crate::problem::{Outcome, Problem};

/// How often to look.
const PERIOD: Duration = Duration::from_millis(50);

/// How long to look. It takes seconds; the rest is for a machine that is busy, because how fast something is, is no test's matter.
const PATIENCE: Duration = Duration::from_secs(180);

/// Asks until the answer is `Some`, or fails with what it was waiting for.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Outcome<Option<T>>) -> Outcome<T> {
    let start = Instant::now();
    loop {
        let last = match look().await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => String::new(),
            Err(problem) => format!(" ({problem})"),
        };
        if start.elapsed() > PATIENCE {
            return Err(Problem::new(format!(
                "waited {} s for {what}{last}",
                PATIENCE.as_secs()
            )));
        }
        tokio::time::sleep(PERIOD).await;
    }
}
