//! Which copy of a shard's data a read may use.
//!
//! A replica qualifies only while its lag is known and within the listener's bound; the sampler
//! ([`crate::health::lag`]) marks everything else unknown. Whatever is not known to qualify sends
//! the read to the primary.

use std::sync::atomic::{AtomicU64, Ordering};

/// The lag of a replica that must not be read from: not linked, syncing, not sampled lately.
pub const LAG_UNKNOWN: u64 = u64::MAX;

/// Picks a replica whose lag is at most `max_lag_bytes`, beginning at place `turn` so that load
/// spreads. `lags` holds one sample a replica; gives a place in it, or `None` for "the primary".
#[inline]
pub fn pick_replica<'a>(
    lags: impl ExactSizeIterator<Item = &'a AtomicU64> + Clone,
    max_lag_bytes: u64,
    turn: usize,
) -> Option<usize> {
    let count = lags.len();
    if count == 0 {
        return None;
    }
    let start = turn % count;
    let eligible = |(_, lag): &(usize, &AtomicU64)| {
        let lag = lag.load(Ordering::Relaxed);
        lag != LAG_UNKNOWN && lag <= max_lag_bytes
    };
    let places = lags.enumerate();
    places
        .clone()
        .skip(start)
        .find(eligible)
        .or_else(|| places.take(start).find(eligible))
        .map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(lags: &[u64], max: u64, turn: usize) -> Option<usize> {
        let lags: Vec<AtomicU64> = lags.iter().map(|lag| AtomicU64::new(*lag)).collect();
        pick_replica(lags.iter(), max, turn)
    }

    #[test]
    fn only_replicas_known_to_keep_up() {
        assert_eq!(pick(&[], 100, 0), None);
        assert_eq!(pick(&[LAG_UNKNOWN], u64::MAX, 0), None, "unknown never qualifies");
        assert_eq!(pick(&[101], 100, 0), None);
        assert_eq!(pick(&[100], 100, 7), Some(0));
        assert_eq!(pick(&[0], 0, 0), Some(0));
    }

    #[test]
    fn turns_spread_over_those_that_qualify() {
        let lags = [0, LAG_UNKNOWN, 5, 900];
        let picked: Vec<_> = (0..4).map(|turn| pick(&lags, 10, turn)).collect();
        assert_eq!(picked, [Some(0), Some(2), Some(2), Some(0)]);
    }
}
