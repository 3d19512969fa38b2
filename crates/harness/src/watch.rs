//! Looking again until something is so.

use std::time::{Duration, Instant};

use crate::problem::{Outcome, Problem};

/// How often to look.
const PERIOD: Duration = Duration::from_millis(50);

/// Asks until the answer is `Some`, or fails after `seconds` with what it was waiting for.
pub(crate) async fn until<T>(
    seconds: u64,
    what: &str,
    mut look: impl AsyncFnMut() -> Outcome<Option<T>>,
) -> Outcome<T> {
    let start = Instant::now();
    loop {
        let last = match look().await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => String::new(),
            Err(problem) => format!(" ({problem})"),
        };
        if start.elapsed() > Duration::from_secs(seconds) {
            return Err(Problem::new(format!("waited {seconds} s for {what}{last}")));
        }
        tokio::time::sleep(PERIOD).await;
    }
}
