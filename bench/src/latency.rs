//! Latencies: recorded in nanoseconds into HDR histograms, reported in microseconds.
//!
//! Three significant digits from 100 ns to a minute; what is slower counts as a minute. A thread
//! records into a histogram of its own and hands it over each second, so recording takes no lock.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

const LOWEST_NS: u64 = 100;
const HIGHEST_NS: u64 = 60_000_000_000;
const DIGITS: u8 = 3;

/// A set of recorded latencies.
#[derive(Clone, Debug)]
pub struct Latencies(Histogram<u64>);

/// What is reported of them; microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LatencySummary {
    /// Arithmetic mean.
    pub mean_us: f64,
    /// Half of the requests were at least as fast.
    pub p50_us: f64,
    /// 90 percent were.
    pub p90_us: f64,
    /// 99 percent were.
    pub p99_us: f64,
    /// 99.9 percent were.
    pub p99_9_us: f64,
    /// The slowest one.
    pub max_us: f64,
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl Latencies {
    /// None yet.
    pub fn new() -> Self {
        // The bounds are constants that the histogram accepts; `create` cannot fail for them.
        let histogram = Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS);
        Latencies(histogram.unwrap_or_else(|error| unreachable!("constant bounds were refused: {error}")))
    }

    /// Adds `count` requests that took this long each.
    #[inline]
    pub fn record(&mut self, nanoseconds: u64, count: u64) {
        self.0.saturating_record_n(nanoseconds, count);
    }

    /// Adds all of `other`.
    pub fn add(&mut self, other: &Latencies) {
        // Both have the same bounds, so the sum always fits.
        let _ = self.0.add(&other.0);
    }

    /// How many there are.
    #[cfg(test)]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that this share (0 to 1) of the requests did not exceed, in microseconds.
    pub fn quantile_us(&self, share: f64) -> f64 {
        if self.0.is_empty() { 0.0 } else { self.0.value_at_quantile(share) as f64 / 1e3 }
    }

    /// The figures of a report; all zero if there are no latencies.
    pub fn summary(&self) -> LatencySummary {
        if self.0.is_empty() {
            return LatencySummary::default();
        }
        LatencySummary {
            mean_us: self.0.mean() / 1e3,
            p50_us: self.quantile_us(0.5),
            p90_us: self.quantile_us(0.9),
            p99_us: self.quantile_us(0.99),
            p99_9_us: self.quantile_us(0.999),
            max_us: self.0.max() as f64 / 1e3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(seen: f64, expected: f64) {
        assert!((seen - expected).abs() <= expected * 0.002, "{seen} instead of {expected}");
    }

    #[test]
    fn quantiles_of_a_known_set() {
        let mut latencies = Latencies::new();
        for microseconds in 1..=10_000u64 {
            latencies.record(microseconds * 1_000, 1);
        }
        let summary = latencies.summary();
        close(summary.p50_us, 5_000.0);
        close(summary.p90_us, 9_000.0);
        close(summary.p99_us, 9_900.0);
        close(summary.p99_9_us, 9_990.0);
        close(summary.max_us, 10_000.0);
        close(summary.mean_us, 5_000.5);
        assert_eq!(latencies.count(), 10_000);
    }

    #[test]
    fn a_batch_counts_each_of_its_requests() {
        let mut latencies = Latencies::new();
        latencies.record(100_000, 999);
        latencies.record(5_000_000, 1);
        assert_eq!(latencies.count(), 1_000);
        close(latencies.summary().p99_us, 100.0);
        close(latencies.summary().max_us, 5_000.0);
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let (mut whole, mut left, mut right) = (Latencies::new(), Latencies::new(), Latencies::new());
        for value in 0..5_000u64 {
            let nanoseconds = value * value * 7 + 200;
            whole.record(nanoseconds, 1);
            if value % 3 == 0 { left.record(nanoseconds, 1) } else { right.record(nanoseconds, 1) }
        }
        left.add(&right);
        assert_eq!(left.summary(), whole.summary());
    }

    #[test]
    fn nothing_and_too_much() {
        assert_eq!(Latencies::new().summary(), LatencySummary::default());
        let mut latencies = Latencies::new();
        latencies.record(0, 1);
        latencies.record(u64::MAX, 1);
        close(latencies.summary().max_us, HIGHEST_NS as f64 / 1e3);
    }
}
