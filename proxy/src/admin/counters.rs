//! Counters that the data path writes and `/metrics` reads.
//!
//! A counter belongs to one worker, which alone writes it: adding is a plain load and store, no
//! locked instruction. Readers on other threads see a value that is at most a moment old.

use crate::client::state::Class;
use crate::route::failure::{Failure, FailureKind};
use crate::route::retry::Cause;
use pointsman_protocol::HostPort;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A number with a single writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds; only for the thread that owns it.
    #[inline]
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// Subtracts (for gauges); only for the thread that owns it.
    #[inline]
    pub fn sub(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(count), Ordering::Relaxed);
    }

    /// Sets (for gauges); only for the thread that owns it.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Reads; for any thread.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered.
    Ok,
    /// Answered with an error that is the command's own.
    Error,
    /// Not answered by a backend.
    Failed,
}

impl Outcome {
    /// All of them with their labels.
    pub const ALL: [(Outcome, &'static str); 3] =
        [(Outcome::Ok, "ok"), (Outcome::Error, "error"), (Outcome::Failed, "failed")];
}

/// What one worker counts for one backend.
#[derive(Debug, Default)]
pub struct WorkerCounters {
    requests: [[Counter; 3]; Class::COUNT],
    retries: [Counter; Cause::ALL.len()],
    failures: Mutex<BTreeMap<&'static str, u64>>,
    /// Redirects followed because of MOVED.
    pub redirects_moved: Counter,
    /// Redirects followed because of ASK.
    pub redirects_ask: Counter,
    /// Clients connected now.
    pub clients: Counter,
    /// Clients that wait in a blocking command or in WAIT.
    pub blocked: Counter,
    /// Clients accepted since the start.
    pub clients_total: Counter,
    /// Clients closed because they did not read their replies.
    pub clients_overflowed: Counter,
    /// Clients closed for a protocol error.
    pub protocol_errors: Counter,
    /// Requests without a reply yet.
    pub inflight: Counter,
    /// Clients whose next requests wait behind a redirect or a topology change.
    pub detours: Counter,
    /// Requests that wait for a primary now, and their bytes.
    pub held: Counter,
    /// See [`Self::held`].
    pub held_bytes: Counter,
    /// Requests that had to wait for a primary.
    pub held_total: Counter,
    /// Those of them that got none in time.
    pub hold_given_up: Counter,
    /// Nodes that are shut out now.
    pub breakers_open: Counter,
    /// Times a node was shut out.
    pub breaker_opened: Counter,
    /// Second attempts that the budget did not allow.
    pub retries_denied: Counter,
    /// Connections that belong to one client for a while, or wait for the next.
    pub pinned: Counter,
    /// Those of them that wait for the next client.
    pub pool_idle: Counter,
    /// 1 while more than four fifths of what there may be are in use.
    pub pool_crowded: Counter,
    /// Clients that wait for one.
    pub pool_waiting: Counter,
    /// Time that clients have waited for one, in microseconds.
    pub pool_waited_us: Counter,
    /// Requests refused because nobody knows their command.
    pub unknown_refused: Counter,
    /// Requests that went by what the nodes announce of their command.
    pub unknown_announced: Counter,
    /// Requests that went by their first argument, as the operator wants of unknown commands.
    pub unknown_by_rule: Counter,
    /// Bytes that set algebra over slots holds now.
    pub cross_slot_bytes: Counter,
    /// Such requests that met a cap on them.
    pub cross_slot_refused: Counter,
    /// Clients that wait for keys of several slots.
    pub vigils: Counter,
    /// Late replies thrown away.
    pub orphan_replies: Counter,
    /// Replies of nodes that speak only RESP2, told in RESP3.
    pub converted_replies: Counter,
    /// Subscriptions.
    pub pubsub: PubSubCounters,
    /// Client tracking.
    pub tracking: TrackingCounters,
    /// Clients that see what all send.
    pub monitors: Counter,
    /// Requests not shown to them, as there were too many.
    pub monitor_dropped: Counter,
}

/// What one worker counts of clients that track changes.
#[derive(Debug, Default)]
pub struct TrackingCounters {
    /// Clients that track now.
    pub clients: Counter,
    /// Keys that they have read and may keep.
    pub keys: Counter,
    /// Invalidations told.
    pub told: Counter,
    /// Keys that clients had to forget because there were too many.
    pub given_up: Counter,
    /// Connections that watch changes and broke.
    pub connections_lost: Counter,
}

/// What one worker counts of subscriptions to one backend.
#[derive(Debug, Default)]
pub struct PubSubCounters {
    /// Subscriptions that clients have now.
    pub subscriptions: Counter,
    /// Channels and patterns that are subscribed to at the backend for them.
    pub topics: Counter,
    /// Messages given to clients.
    pub delivered: Counter,
    /// Subscriptions that stand again after they were lost or moved.
    pub resubscriptions: Counter,
    /// Subscriber connections that broke.
    pub connections_lost: Counter,
}

impl WorkerCounters {
    /// Counts a finished request.
    #[inline]
    pub fn request(&self, class: Class, outcome: Outcome) {
        self.requests[class as usize][outcome as usize].add(1);
    }

    /// Counts another attempt.
    pub fn retry(&self, cause: Cause) {
        self.retries[cause as usize].add(1);
    }

    /// Counts a failure told to a client.
    pub fn failure(&self, kind: FailureKind) {
        let label = Failure { kind, slot: None }.label();
        *self.failures.lock().unwrap_or_else(PoisonError::into_inner).entry(label).or_insert(0) += 1;
    }

    /// Requests of one class and outcome.
    pub fn requests(&self, class: Class, outcome: Outcome) -> u64 {
        self.requests[class as usize][outcome as usize].get()
    }

    /// Requests answered, of every kind.
    pub fn answered(&self) -> u64 {
        self.requests.iter().flatten().map(Counter::get).sum()
    }

    /// Attempts repeated for one cause.
    pub fn retries(&self, cause: Cause) -> u64 {
        self.retries[cause as usize].get()
    }

    /// Failures by label.
    pub fn failures(&self) -> BTreeMap<&'static str, u64> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Upper bounds of the latency histogram, in microseconds; the last bucket is open.
pub const LATENCY_BOUNDS_US: [u64; 20] = [
    50, 100, 150, 200, 300, 400, 500, 750, 1_000, 1_500, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000,
    250_000, 500_000, 1_000_000, 5_000_000,
];

/// What one worker counts for one node.
#[derive(Debug, Default)]
pub struct NodeCounters {
    latency: [Counter; LATENCY_BOUNDS_US.len() + 1],
    /// Sum of all latencies, in microseconds.
    pub latency_sum_us: Counter,
    /// Connections that are up.
    pub connections: Counter,
    /// Times a connection could not be made.
    pub connect_failures: Counter,
    /// Times a connection that was up broke.
    pub connections_lost: Counter,
    /// Bytes sent to the node.
    pub sent_bytes: Counter,
    /// Bytes received from the node.
    pub received_bytes: Counter,
    /// Requests answered with LOADING, MASTERDOWN, CLUSTERDOWN or not at all in time: signs of ill
    /// health, unlike an error that is a command's own.
    pub unhealthy: Counter,
}

impl NodeCounters {
    /// Counts a reply that took this long.
    #[inline]
    pub fn latency(&self, took_us: u64) {
        let bucket = LATENCY_BOUNDS_US.partition_point(|bound| *bound < took_us);
        self.latency[bucket].add(1);
        self.latency_sum_us.add(took_us);
    }

    /// Replies in each bucket, not cumulated; the last is the open one.
    pub fn latencies(&self) -> [u64; LATENCY_BOUNDS_US.len() + 1] {
        std::array::from_fn(|bucket| self.latency[bucket].get())
    }
}

/// Finds every counter of the process: by backend, worker and node.
#[derive(Debug, Default)]
pub struct Registry {
    workers: Mutex<Vec<(Arc<str>, Arc<WorkerCounters>)>>,
    nodes: Mutex<Vec<NodeEntry>>,
}

/// The backend, the node, and one worker's counters for it.
type NodeEntry = (Arc<str>, HostPort, Weak<NodeCounters>);

impl Registry {
    /// Counters of a worker for a backend.
    pub fn worker(&self, backend: &Arc<str>) -> Arc<WorkerCounters> {
        let counters = Arc::new(WorkerCounters::default());
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).push((backend.clone(), counters.clone()));
        counters
    }

    /// Counters of a worker for a node; they are forgotten when the worker drops them.
    pub fn node(&self, backend: &Arc<str>, node: &HostPort) -> Arc<NodeCounters> {
        let counters = Arc::new(NodeCounters::default());
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.retain(|(_, _, counters)| counters.strong_count() > 0);
        nodes.push((backend.clone(), node.clone(), Arc::downgrade(&counters)));
        counters
    }

    /// All worker counters with their backend.
    pub fn workers(&self) -> Vec<(Arc<str>, Arc<WorkerCounters>)> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All node counters, those of one node together.
    pub fn nodes(&self) -> BTreeMap<(Arc<str>, HostPort), Vec<Arc<NodeCounters>>> {
        let mut grouped: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (backend, node, counters) in self.nodes.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            if let Some(counters) = counters.upgrade() {
                grouped.entry((backend.clone(), node.clone())).or_default().push(counters);
            }
        }
        grouped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_fall_into_their_buckets() {
        let counters = NodeCounters::default();
        for took in [0, 50, 51, 5_000_000, 5_000_001] {
            counters.latency(took);
        }
        let buckets = counters.latencies();
        assert_eq!((buckets[0], buckets[1], buckets[19], buckets[20]), (2, 1, 1, 1));
        assert_eq!(counters.latency_sum_us.get(), 10_000_102);
    }
}
