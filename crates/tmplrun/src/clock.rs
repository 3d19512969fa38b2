//! The one place that looks at the clock, and the spelling of times.

use jiff::Timestamp;

/// The time now, in UTC with microseconds, as notebooks record it.
pub(crate) fn now() -> String {
    format(Timestamp::now())
}

pub(crate) fn format(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6f+00:00").to_string()
}
