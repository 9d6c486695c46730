//! Which copy of a shard's data a read may use.
//!
//! A replica qualifies only while its lag is known and within the listener's bound; the sampler
//! ([`crate::health::lag`]) marks everything else unknown. Whatever is not known to qualify sends
//! the read to the primary.

use crate::topology::publish::Copy;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The lag of a replica that must not be read from: not linked, syncing, not sampled lately.
pub const LAG_UNKNOWN: u64 = u64::MAX;

/// How old a copy may be to be read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Bytes of the replication stream.
    pub bytes: u64,
    /// It must have everything that was acknowledged by this moment of the backend's clock, in microseconds; 0 for
    /// any time.
    pub fresh_at: u64,
}

impl Bound {
    /// As configured: bytes, and an age at `now`, in microseconds of the backend's clock.
    #[inline]
    pub fn new(bytes: u64, age: Option<Duration>, now: u64) -> Bound {
        let micros = |age: Duration| u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        Bound { bytes, fresh_at: age.map_or(0, |age| now.saturating_sub(micros(age)).max(1)) }
    }

    /// True if a copy qualifies.
    #[inline]
    pub fn admits(self, copy: &Copy) -> bool {
        copy.lag_bytes().is_some_and(|lag| lag <= self.bytes)
            && (self.fresh_at == 0 || copy.fresh_at.load(Ordering::Relaxed) >= self.fresh_at)
    }
}

/// Picks a replica that qualifies, beginning at place `turn` so that load spreads. Gives a place among `copies`,
/// or `None` for "the primary".
#[inline]
pub fn pick_replica<'a>(
    copies: impl ExactSizeIterator<Item = &'a Copy> + Clone,
    bound: Bound,
    turn: usize,
) -> Option<usize> {
    let count = copies.len();
    if count == 0 {
        return None;
    }
    let start = turn % count;
    let eligible = |(_, copy): &(usize, &Copy)| bound.admits(copy);
    let places = copies.enumerate();
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

    fn pick(lags: &[(u64, u64)], bytes: u64, fresh_at: u64, turn: usize) -> Option<usize> {
        let copies: Vec<Copy> = lags
            .iter()
            .map(|(lag, fresh_at)| {
                let copy = Copy::default();
                copy.set(*lag, *fresh_at);
                copy
            })
            .collect();
        pick_replica(copies.iter(), Bound { bytes, fresh_at }, turn)
    }

    #[test]
    fn t72_only_replicas_known_to_keep_up() {
        assert_eq!(pick(&[], 100, 0, 0), None);
        assert_eq!(pick(&[(LAG_UNKNOWN, 9)], u64::MAX, 0, 0), None, "unknown never qualifies");
        assert_eq!(pick(&[(101, 9)], 100, 0, 0), None);
        assert_eq!(pick(&[(100, 9)], 100, 0, 7), Some(0));
        assert_eq!(pick(&[(0, 0)], 0, 0, 0), Some(0));
    }

    #[test]
    fn t72_bytes_and_time_both_bound() {
        assert_eq!(pick(&[(0, 500)], 100, 501, 0), None, "too old");
        assert_eq!(pick(&[(0, 0)], 100, 1, 0), None, "its age is not known");
        assert_eq!(pick(&[(101, 600), (100, 501)], 100, 501, 0), Some(1));
    }

    #[test]
    fn turns_spread_over_those_that_qualify() {
        let lags = [(0, 1), (LAG_UNKNOWN, 1), (5, 1), (900, 1)];
        let picked: Vec<_> = (0..4).map(|turn| pick(&lags, 10, 0, turn)).collect();
        assert_eq!(picked, [Some(0), Some(2), Some(2), Some(0)]);
    }
}
