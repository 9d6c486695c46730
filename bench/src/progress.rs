//! The progress line: on a terminal it is written over, elsewhere it is one line a second.

use crate::latency::Latencies;
use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

/// Where progress is shown, if anywhere.
#[derive(Debug)]
pub struct Progress {
    in_place: bool,
    shown: bool,
}

impl Progress {
    /// Shown if standard error is a terminal, or if it was asked for.
    pub fn new(wanted: bool) -> Option<Progress> {
        let in_place = stderr().is_terminal();
        (wanted || in_place).then_some(Progress { in_place, shown: false })
    }

    /// Shows what the last interval brought.
    pub fn show(&mut self, line: &str) {
        let mut to = stderr().lock();
        // Progress that cannot be shown is no reason to stop.
        let _ = if self.in_place {
            write!(to, "\r\x1b[K{line}").and_then(|()| to.flush())
        } else {
            writeln!(to, "{line}")
        };
        self.shown = true;
    }

    /// Clears the line, before something else is printed.
    pub fn end(&mut self) {
        if self.in_place && std::mem::take(&mut self.shown) {
            let _ = write!(stderr().lock(), "\r\x1b[K");
        }
    }
}

/// One line: time since the start, rate, latencies of the interval, errors so far.
pub fn line(
    since_start: Duration,
    requests: u64,
    interval: Duration,
    latencies: &Latencies,
    errors: u64,
) -> String {
    let rate = requests as f64 / interval.as_secs_f64().max(1e-9);
    format!(
        "{:>5.0} s  {rate:>9.0}/s  p50 {:>6.0} us  p99 {:>6.0} us  {errors} errors",
        since_start.as_secs_f64(),
        latencies.quantile_us(0.5),
        latencies.quantile_us(0.99),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_rate_latencies_and_errors() {
        let mut latencies = Latencies::new();
        latencies.record(100_000, 98);
        latencies.record(900_000, 2);
        let line = line(Duration::from_secs(7), 5_000, Duration::from_millis(500), &latencies, 3);
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        assert_eq!(words, ["7", "s", "10000/s", "p50", "100", "us", "p99", "900", "us", "3", "errors"]);
    }
}
