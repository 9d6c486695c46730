//! Requests that wait out a failover: while their shard has no primary that could be asked, they stay with the proxy,
//! as far as `failover_hold_ms` allows.
//!
//! Only what provably was not executed waits, and only where waiting may help: another primary is on its way, or the
//! same one comes back. A waiting request uses up no attempts; it goes again when the map changes, and now and then in
//! between. It waits on its client's detour ([`super::detour`]), so nothing overtakes it, and clients that do not need
//! the shard are not concerned. What all of a worker's clients have waiting is bounded in number and bytes; beyond
//! that, and after the time, they are told.
//!
//! It never waits for an answer: a request that was sent and got none is not its business.

use crate::admin::counters::WorkerCounters;
use crate::client::replies::Ticket;
use crate::route::retry::Cause;
use pointsman_config::FailoverHold;
use std::sync::Arc;
use std::time::Duration;

/// True if an attempt ended for want of a primary, and was not executed.
pub fn may_wait(cause: Cause) -> bool {
    match cause {
        Cause::NotSent | Cause::ClusterDown | Cause::Loading | Cause::MasterDown | Cause::ReadOnly => true,
        // Its fate is unknown, or there is a primary, which has said what it wants.
        Cause::LostAfterSend
        | Cause::Moved
        | Cause::Ask
        | Cause::TryAgain
        | Cause::Auth
        | Cause::NoScript => false,
    }
}

/// How long a client waits in all, from its question on, if the request may wait for a primary.
pub fn patience(request_timeout: Duration, hold: &FailoverHold) -> Duration {
    request_timeout.max(hold.time)
}

/// Since when a request counts as asked, for the deadline of its next attempt: it has the usual time for its answer,
/// but not beyond the end of all patience. All in microseconds.
pub fn asked_for_attempt(asked: u64, now: u64, request_timeout: Duration, hold: &FailoverHold) -> u64 {
    let more = patience(request_timeout, hold).saturating_sub(request_timeout);
    asked.saturating_add(u64::try_from(more.as_micros()).unwrap_or(u64::MAX)).min(now)
}

/// A request that is waiting, as the bounds count it; no more once it is dropped.
#[derive(Debug)]
pub struct Held {
    counters: Arc<WorkerCounters>,
    bytes: u64,
    /// The version of the map with which it last failed.
    pub version: u64,
}

impl Held {
    /// Counts a request of this many bytes, if it fits.
    pub fn take(
        counters: &Arc<WorkerCounters>,
        hold: &FailoverHold,
        bytes: usize,
        version: u64,
    ) -> Option<Held> {
        let bytes = bytes as u64;
        let fits = counters.held.get() < hold.requests_max as u64
            && counters.held_bytes.get().saturating_add(bytes) <= hold.bytes_max as u64;
        fits.then(|| {
            counters.held.add(1);
            counters.held_bytes.add(bytes);
            Held { counters: counters.clone(), bytes, version }
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.counters.held.sub(1);
        self.counters.held_bytes.sub(self.bytes);
    }
}

/// What is remembered of a request that has waited, while its next attempt is on its way.
#[derive(Clone, Copy, Debug)]
pub struct Waited {
    /// Its ticket and its part, which name it.
    pub of: (Ticket, Option<u32>),
    /// When its client asked.
    pub asked: u64,
    /// How many times it has waited.
    pub tries: u8,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(ms: u64, requests_max: usize, bytes_max: usize) -> FailoverHold {
        FailoverHold { time: Duration::from_millis(ms), requests_max, bytes_max }
    }

    #[test]
    fn only_what_was_not_executed_waits_for_a_primary() {
        let waits: Vec<&str> =
            Cause::ALL.into_iter().filter(|cause| may_wait(*cause)).map(Cause::label).collect();
        assert_eq!(waits, ["clusterdown", "loading", "masterdown", "readonly", "not_sent"]);
    }

    #[test]
    fn what_waits_is_bounded_in_number_and_bytes() {
        let (counters, limits) = (Arc::<WorkerCounters>::default(), hold(1, 2, 100));
        let take = |bytes| Held::take(&counters, &limits, bytes, 0);
        assert!(take(101).is_none());
        let first = take(60).unwrap();
        assert!(take(41).is_none(), "bytes");
        let second = take(40).unwrap();
        assert!(take(0).is_none(), "number");
        assert_eq!((counters.held.get(), counters.held_bytes.get()), (2, 100));
        drop(first);
        assert!(take(60).is_some());
        drop(second);
        assert_eq!((counters.held.get(), counters.held_bytes.get()), (0, 0), "nothing stays counted");
    }

    #[test]
    fn an_attempt_has_the_usual_time_but_not_beyond_all_patience() {
        let timeout = Duration::from_millis(3);
        for (asked, now, hold_ms, expected) in [
            (1_000, 2_000, 10, 2_000),
            (1_000, 8_000, 10, 8_000),
            (1_000, 9_500, 10, 8_000),
            (1_000, 2_000, 2, 1_000),
        ] {
            assert_eq!(asked_for_attempt(asked, now, timeout, &hold(hold_ms, 1, 1)), expected, "{now}");
        }
    }
}
