//! What a builder prints, line by line, to its end.

use std::collections::VecDeque;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptions;
use futures::{Stream, StreamExt as _, TryFutureExt as _, TryStreamExt as _};

use super::Report;
use super::engine::{Engine, explain};
use super::listing::state;
use crate::ProviderError;

/// So many last lines of a failed build are told.
const TAIL: usize = 12;
/// After such a silence the engine is asked whether the builder still runs.
const SILENCE: Duration = Duration::from_secs(1);

/// Tells each line that the builder prints, and returns the last ones when it has ended.
pub(super) async fn follow(
    engine: &Engine,
    container: &str,
    report: &Report<'_>,
) -> Result<Vec<String>, ProviderError> {
    let failed = |error| explain(error, report.resource());
    let log = |follow| {
        let options = LogsOptions {
            follow,
            stdout: true,
            stderr: true,
            tail: "all".to_owned(),
            ..LogsOptions::default()
        };
        let log = engine.docker.logs(container, Some(options));
        log.map_ok(LogOutput::into_bytes).map_err(failed).boxed()
    };
    let running = || {
        state(engine, container)
            .map_ok(|state| state.running == Some(true))
            .map_err(failed)
    };
    let mut lines = Lines::new(|line| report.say(line));
    read(log, running, &mut lines).await?;
    Ok(lines.finish())
}

/// Reads a log while it is written. An engine's word that the log has ended isn't waited for once the builder has ended: Podman 4
/// looks whether the container runs and then begins to listen for its end, and when the end falls between, the log never ends.
async fn read<B, S, F, E>(
    log: impl Fn(bool) -> S,
    running: impl Fn() -> F,
    lines: &mut Lines<impl FnMut(&str)>,
) -> Result<(), E>
where
    B: AsRef<[u8]>,
    S: Stream<Item = Result<B, E>> + Unpin,
    F: Future<Output = Result<bool, E>>,
{
    let mut followed = log(true);
    loop {
        match tokio::time::timeout(SILENCE, followed.next()).await {
            Ok(Some(bytes)) => lines.take(bytes?.as_ref()),
            Ok(None) => return Ok(()),
            Err(_) if running().await? => {}
            Err(_) => break,
        }
    }
    // Nothing is written any more, so the whole log holds what is missing after what is known.
    let mut whole = log(false);
    let mut known = lines.taken;
    while let Some(bytes) = whole.next().await {
        let bytes = bytes?;
        let bytes = bytes.as_ref();
        let old = known.min(bytes.len());
        known -= old;
        lines.take(&bytes[old..]);
    }
    Ok(())
}

/// Makes lines of what comes in pieces.
struct Lines<T> {
    tell: T,
    tail: VecDeque<String>,
    open: Vec<u8>,
    /// Bytes so far.
    taken: usize,
}

impl<T: FnMut(&str)> Lines<T> {
    fn new(tell: T) -> Self {
        Self {
            tell,
            tail: VecDeque::new(),
            open: Vec::new(),
            taken: 0,
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.taken += bytes.len();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.open.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.close();
            }
        }
    }

    fn close(&mut self) {
        let line = std::mem::take(&mut self.open);
        let line = String::from_utf8_lossy(&line);
        let line = line.trim();
        if line.is_empty() {
            return;
        }
        (self.tell)(line);
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
    }

    /// The last lines.
    fn finish(mut self) -> Vec<String> {
        self.close();
        self.tail.into()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::future::ready;

    use futures::stream::{self, LocalBoxStream};

    use super::*;

    type Log = LocalBoxStream<'static, Result<&'static str, String>>;

    fn log(pieces: &'static [&'static str]) -> Log {
        stream::iter(pieces).map(|piece| Ok(*piece)).boxed_local()
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_never_ends_is_read_to_the_end_of_its_builder() {
        let (asked, told) = (Cell::new(0), RefCell::new(Vec::new()));
        let logs = |follow| -> Log {
            if follow {
                log(&["one\ntw"]).chain(stream::pending()).boxed_local()
            } else {
                log(&["one\n", "two\n", "three"])
            }
        };
        let running = || {
            asked.set(asked.get() + 1);
            ready(Ok(asked.get() < 3))
        };
        let mut lines = Lines::new(|line: &str| told.borrow_mut().push(line.to_owned()));
        read(logs, running, &mut lines).await.unwrap();
        assert_eq!(lines.finish(), ["one", "two", "three"]);
        assert_eq!(told.into_inner(), ["one", "two", "three"]);
        assert_eq!(asked.get(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_ends_is_read_once() {
        let logs = |follow: bool| {
            assert!(follow, "read again");
            log(&["one\n\n", "caf\u{e9}\r\n"])
        };
        let running = || ready(Err("nobody asks".to_owned()));
        let mut lines = Lines::new(|_: &str| ());
        read(logs, running, &mut lines).await.unwrap();
        assert_eq!(lines.finish(), ["one", "caf\u{e9}"]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_engine_that_refuses_is_told() {
        let running = || ready(Err("the engine is gone".to_owned()));
        let mut lines = Lines::new(|_: &str| ());
        let error = read(|_| -> Log { stream::pending().boxed_local() }, running, &mut lines).await;
        assert_eq!(error.unwrap_err(), "the engine is gone");
    }

    #[test]
    fn the_last_lines_are_kept_whatever_pieces_they_come_in() {
        let mut lines = Lines::new(|_: &str| ());
        for byte in (0..40)
            .map(|number| format!("line {number} é\n"))
            .collect::<String>()
            .bytes()
        {
            lines.take(&[byte]);
        }
        let tail = lines.finish();
        assert_eq!(tail.len(), TAIL);
        assert_eq!(tail[TAIL - 1], "line 39 é");
    }
}
