//! How many clients of this process are subscribed to what, over all workers.
//!
//! A node counts connections, and each worker has one for all of its clients. PUBLISH, PUBSUB NUMSUB and
//! PUBSUB NUMPAT are to tell clients, as a single server does: what a node answers less the workers' own places,
//! and the workers' clients instead. Frameworks rely on it: some ask NUMSUB how many answers to a
//! broadcast they must wait for.
//!
//! Clients of other proxies before the same nodes still count one a worker; only their own proxy knows them.
//! While a subscription moves to another node the number may be off by one a worker.

use super::reach::Reach;
use super::wire::Kind;
use pointsman_protocol::glob;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Who listens to one channel or pattern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Clients of all workers.
    pub clients: i64,
    /// Workers that have such a client: each stands at the node once.
    pub workers: i64,
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct Audience {
    /// Topics of all kinds: with none, nobody needs to look.
    topics: AtomicUsize,
    counts: Mutex<[HashMap<Box<[u8]>, Count>; Kind::COUNT]>,
}

impl Audience {
    /// True if no client of this process is subscribed to anything.
    pub fn is_empty(&self) -> bool {
        self.topics.load(Ordering::Acquire) == 0
    }

    /// A client is subscribed from now on; `first` of its worker.
    pub fn joined(&self, kind: Kind, name: &[u8], first: bool) {
        let mut counts = self.counts();
        let count = counts[kind as usize].entry(name.into()).or_default();
        count.clients += 1;
        count.workers += i64::from(first);
        self.note_size(&counts);
    }

    /// A client is no longer subscribed; `last` of its worker.
    pub fn left(&self, kind: Kind, name: &[u8], last: bool) {
        let mut counts = self.counts();
        let topics = &mut counts[kind as usize];
        let Some(count) = topics.get_mut(name) else { return };
        count.clients -= 1;
        count.workers -= i64::from(last);
        if count.clients <= 0 {
            topics.remove(name);
        }
        self.note_size(&counts);
    }

    /// Channels (shard channels apart) and patterns that someone is subscribed to.
    pub fn topics(&self) -> (usize, usize) {
        let counts = self.counts();
        (counts[Kind::Channel as usize].len(), counts[Kind::Pattern as usize].len())
    }

    /// Who hears a message published to a channel: its own subscribers and those of patterns that match.
    pub fn of_message(&self, kind: Kind, channel: &[u8]) -> Count {
        let counts = self.counts();
        let mut sum = counts[kind as usize].get(channel).copied().unwrap_or_default();
        if kind == Kind::Channel {
            for (_, count) in
                counts[Kind::Pattern as usize].iter().filter(|(name, _)| glob::matches(name, channel))
            {
                sum.clients += count.clients;
                sum.workers += count.workers;
            }
        }
        sum
    }

    /// What is to be added to the sum of what `primaries` nodes tell of a channel's subscribers.
    pub fn correction(&self, kind: Kind, name: &[u8], primaries: usize) -> i64 {
        let count = self.counts()[kind as usize].get(name).copied().unwrap_or_default();
        count.clients - count.workers * places(kind, name, primaries)
    }

    /// How many of the patterns that `primaries` nodes count between them are ours, counted once too often.
    pub fn repeated_patterns(&self, primaries: usize) -> i64 {
        let counts = self.counts();
        counts[Kind::Pattern as usize].keys().map(|name| places(Kind::Pattern, name, primaries) - 1).sum()
    }

    fn counts(&self) -> MutexGuard<'_, [HashMap<Box<[u8]>, Count>; Kind::COUNT]> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note_size(&self, counts: &[HashMap<Box<[u8]>, Count>; Kind::COUNT]) {
        self.topics.store(counts.iter().map(HashMap::len).sum(), Ordering::Release);
    }
}

/// At how many nodes a worker's subscription stands.
fn places(kind: Kind, name: &[u8], primaries: usize) -> i64 {
    match Reach::of(kind, name) {
        Reach::Everywhere => primaries as i64,
        Reach::Anywhere | Reach::Owner(_) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // T67
    #[test]
    fn t67_clients_are_counted_over_workers() {
        let audience = Audience::default();
        assert!(audience.is_empty());
        for first in [true, false, true] {
            audience.joined(Kind::Channel, b"news", first);
        }
        audience.joined(Kind::Pattern, b"n*", true);
        audience.joined(Kind::Shard, b"news", true);
        assert_eq!(audience.of_message(Kind::Channel, b"news"), Count { clients: 4, workers: 3 });
        assert_eq!(audience.of_message(Kind::Channel, b"none"), Count { clients: 1, workers: 1 });
        assert_eq!(audience.of_message(Kind::Channel, b"other"), Count::default());
        assert_eq!(audience.of_message(Kind::Shard, b"news"), Count { clients: 1, workers: 1 });
        assert_eq!(audience.correction(Kind::Channel, b"news", 3), 1);
        assert_eq!(audience.correction(Kind::Channel, b"other", 3), 0);
        audience.left(Kind::Channel, b"news", false);
        audience.left(Kind::Channel, b"news", true);
        audience.left(Kind::Channel, b"news", true);
        audience.left(Kind::Channel, b"news", true);
        audience.left(Kind::Pattern, b"n*", true);
        assert!(!audience.is_empty());
        audience.left(Kind::Shard, b"news", true);
        assert!(audience.is_empty());
    }

    #[test]
    fn t67_what_stands_everywhere_counts_once() {
        let audience = Audience::default();
        audience.joined(Kind::Pattern, b"*", true);
        audience.joined(Kind::Pattern, b"news.*", true);
        audience.joined(Kind::Channel, b"__keyevent@0__:del", true);
        assert_eq!(audience.repeated_patterns(3), 2);
        assert_eq!(audience.topics(), (1, 2));
        assert_eq!(audience.correction(Kind::Channel, b"__keyevent@0__:del", 3), -2);
    }
}
