//! The newest view of a backend, shared by all workers.
//!
//! A view never changes; a newer one replaces it as a whole. Workers notice by one atomic load a
//! turn. Two writers exist: the refresher, and a worker that a MOVED reply taught about one slot.
//! They exclude each other; readers never wait.

use crate::route::read::LAG_UNKNOWN;
use crate::route::scan;
use arc_swap::ArcSwap;
use pointsman_protocol::topology::{NodeIndex, Topology};
use pointsman_protocol::{HostPort, Slot};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How fresh a node's copy is. Written by the sampler, read by workers.
#[derive(Debug)]
pub struct Copy {
    /// Bytes of the replication stream that it is behind, or [`LAG_UNKNOWN`].
    pub lag_bytes: AtomicU64,
    /// Everything that its primary had acknowledged at this moment of the backend's clock, in microseconds, is in
    /// it; 0 if that is not known.
    pub fresh_at: AtomicU64,
}

impl Default for Copy {
    fn default() -> Copy {
        Copy { lag_bytes: AtomicU64::new(LAG_UNKNOWN), fresh_at: AtomicU64::new(0) }
    }
}

impl Copy {
    /// Notes both.
    pub fn set(&self, lag_bytes: u64, fresh_at: u64) {
        self.lag_bytes.store(lag_bytes, Ordering::Relaxed);
        self.fresh_at.store(fresh_at, Ordering::Relaxed);
    }

    /// It must not be read from.
    pub fn set_unknown(&self) {
        self.set(LAG_UNKNOWN, 0);
    }

    /// Bytes it is behind; `None` while it must not be read from.
    pub fn lag_bytes(&self) -> Option<u64> {
        Some(self.lag_bytes.load(Ordering::Relaxed)).filter(|lag| *lag != LAG_UNKNOWN)
    }

    /// How old it is at `now`, in microseconds; `None` while that is not known.
    pub fn age(&self, now: u64) -> Option<u64> {
        self.lag_bytes()?;
        Some(self.fresh_at.load(Ordering::Relaxed)).filter(|at| *at > 0).map(|at| now.saturating_sub(at))
    }
}

/// One view: the topology, and how fresh each node's copy is.
#[derive(Debug)]
pub struct Snapshot {
    /// Grows with each view published, whatever the cluster's epoch.
    pub version: u64,
    /// Who owns what.
    pub topology: Topology,
    /// Of each node, in the order of `topology.nodes()`.
    copies: Box<[Copy]>,
    /// See [`Self::scan_tag`].
    tag: OnceLock<scan::Tag>,
}

impl Snapshot {
    pub(crate) fn new(version: u64, topology: Topology, before: Option<&Snapshot>) -> Snapshot {
        // What is known of a replica stays known if it still follows the same primary.
        let copies = (0..topology.nodes().len())
            .map(|index| {
                before
                    .and_then(|before| carried_copy(before, &topology, NodeIndex(index as u16)))
                    .unwrap_or_default()
            })
            .collect();
        Snapshot { version, topology, copies, tag: OnceLock::new() }
    }

    /// What stands for this topology in SCAN's cursors; found out when first asked for.
    pub fn scan_tag(&self) -> scan::Tag {
        *self.tag.get_or_init(|| scan::tag(&self.topology))
    }

    /// How fresh a node's copy is.
    #[inline]
    pub fn copy(&self, node: NodeIndex) -> &Copy {
        &self.copies[usize::from(node.0)]
    }
}

fn carried_copy(before: &Snapshot, topology: &Topology, node: NodeIndex) -> Option<Copy> {
    let followed = |topology: &Topology, node: NodeIndex| {
        let shard = topology.shards().iter().find(|shard| shard.replicas.contains(&node))?;
        Some(topology.node(shard.primary).address.clone())
    };
    let old = before.topology.find(&topology.node(node).address)?;
    let primary = followed(topology, node)?;
    (Some(primary) == followed(&before.topology, old)).then(|| {
        let (copy, carried) = (before.copy(old), Copy::default());
        carried.set(copy.lag_bytes.load(Ordering::Relaxed), copy.fresh_at.load(Ordering::Relaxed));
        carried
    })
}

/// See the module's head.
#[derive(Debug)]
pub struct Published {
    current: ArcSwap<Snapshot>,
    version: AtomicU64,
    writing: Mutex<()>,
    /// When lags were last sampled, in microseconds since `started`; 0 = never.
    sampled: AtomicU64,
    /// The beginning of the backend's clock, which all its workers and its sampler go by.
    started: Instant,
    /// How many databases the nodes have, as far as they told.
    databases: AtomicU16,
    /// Wakes the refresher.
    wanted: Notify,
    /// Why it was woken first, since it last looked.
    reason: Mutex<Option<&'static str>>,
}

impl Default for Published {
    fn default() -> Self {
        Published {
            current: ArcSwap::from_pointee(Snapshot::new(0, Topology::empty(), None)),
            version: AtomicU64::new(0),
            writing: Mutex::new(()),
            sampled: AtomicU64::new(0),
            started: Instant::now(),
            databases: AtomicU16::new(u16::MAX),
            wanted: Notify::new(),
            reason: Mutex::new(None),
        }
    }
}

impl Published {
    /// The newest view.
    pub fn load(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// The version of the newest view.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Replaces the view, unless it is the same or older by epoch. Gives whether it did.
    pub fn publish(&self, topology: Topology) -> bool {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.current.load();
        if topology.epoch() < before.topology.epoch() || topology == before.topology {
            return false;
        }
        self.replace(topology, &before);
        true
    }

    /// Replaces the view whatever its epoch: the cluster was built anew.
    pub fn publish_rebuilt(&self, topology: Topology) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.current.load();
        self.replace(topology, &before);
    }

    /// Corrects one slot at once, as a MOVED reply tells it, and asks for a refresh to confirm it.
    pub fn slot_moved(&self, slot: Slot, to: &HostPort) {
        {
            let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let before = self.current.load();
            if before.topology.primary_of(slot) != Some(to) {
                self.replace(before.topology.with_slot_moved(slot, to), &before);
            }
        }
        self.request_refresh("moved");
    }

    fn replace(&self, topology: Topology, before: &Snapshot) {
        let next = Snapshot::new(before.version + 1, topology, Some(before));
        let version = next.version;
        self.current.store(Arc::new(next));
        self.version.store(version, Ordering::Release);
    }

    /// Lets the sampler write lags into the newest view, while no other replaces it.
    pub fn record_lags(&self, record: impl FnOnce(&Snapshot)) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        record(&self.current.load());
        self.sampled.store(self.clock().max(1), Ordering::Release);
    }

    /// The beginning of the backend's clock.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Microseconds since [`Self::started`].
    pub fn clock(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// True if the sampler wrote lags within the last `age`: a sampler that hangs must not leave
    /// replicas eligible.
    pub fn lags_are_fresh(&self, age: Duration) -> bool {
        let sampled = self.sampled.load(Ordering::Acquire);
        sampled > 0
            && self.clock().saturating_sub(sampled) <= u64::try_from(age.as_micros()).unwrap_or(u64::MAX)
    }

    /// Notes how many databases the nodes have.
    pub fn set_databases(&self, count: u16) {
        self.databases.store(count, Ordering::Relaxed);
    }

    /// How many databases the nodes have; the largest number there is while they have not told.
    pub fn databases(&self) -> u16 {
        self.databases.load(Ordering::Relaxed)
    }

    /// Asks for a refresh; many requests before the next one make one refresh.
    pub fn request_refresh(&self, reason: &'static str) {
        self.reason.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
        self.wanted.notify_one();
    }

    /// Waits until a refresh is asked for, and tells why.
    pub async fn refresh_wanted(&self) -> &'static str {
        loop {
            if let Some(reason) = self.reason.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return reason;
            }
            self.wanted.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_protocol::topology::{Node, TopologyBuilder};

    fn node(port: u16) -> Node {
        Node { id: None, address: HostPort::new("h", port), zone: None }
    }

    fn view(epoch: u64, primary: u16) -> Topology {
        let mut builder = TopologyBuilder::new();
        builder.epoch(epoch).shard(node(primary), vec![node(9)], &[(0, 16383)]).unwrap();
        builder.build()
    }

    #[test]
    fn epochs_never_go_back() {
        let published = Published::default();
        assert!(published.publish(view(5, 1)));
        assert!(!published.publish(view(4, 2)), "older");
        assert!(!published.publish(view(5, 1)), "the same");
        assert_eq!(published.version(), 1);
        assert!(published.publish(view(5, 2)), "another view of the same epoch");
        assert_eq!((published.version(), published.load().version), (2, 2));
        published.publish_rebuilt(view(1, 3));
        assert_eq!(published.load().topology.epoch().0, 1);
    }

    #[test]
    fn a_moved_slot_is_corrected_once() {
        let published = Published::default();
        published.publish(view(1, 1));
        let slot = Slot::new(7).unwrap();
        published.slot_moved(slot, &HostPort::new("h", 2));
        published.slot_moved(slot, &HostPort::new("h", 2));
        assert_eq!(published.version(), 2);
        assert_eq!(published.load().topology.primary_of(slot).unwrap().port(), 2);
    }

    #[test]
    fn lag_is_carried_over_only_for_the_same_pair() {
        let published = Published::default();
        published.publish(view(1, 1));
        let lag_of_9 = |published: &Published| {
            let snapshot = published.load();
            let node = snapshot.topology.find(&HostPort::new("h", 9)).unwrap();
            (snapshot.copy(node).lag_bytes(), snapshot)
        };
        let (lag, snapshot) = lag_of_9(&published);
        assert_eq!(lag, None);
        snapshot.copy(snapshot.topology.find(&HostPort::new("h", 9)).unwrap()).set(5, 100);
        published.slot_moved(Slot::new(1).unwrap(), &HostPort::new("h", 4));
        assert_eq!(lag_of_9(&published).0, Some(5));
        assert_eq!(lag_of_9(&published).1.copy(NodeIndex(1)).age(130), Some(30));
        published.publish(view(2, 3));
        assert_eq!(lag_of_9(&published).0, None, "another primary");
    }
}
