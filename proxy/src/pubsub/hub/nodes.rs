//! Which nodes there are to subscribe at, and the connections to them: a new map, a connection made or lost.

use super::{Event, Failing, Hub};
use crate::pubsub::link::Link;
use crate::pubsub::reach::Reach;
use crate::pubsub::registry::{Topic, TopicId};
use crate::route::plan::keyless_slot;
use crate::topology::publish::Snapshot;
use pointsman_protocol::HostPort;
use std::sync::Arc;

impl Hub {
    /// Takes over a newer map.
    pub fn adopt(&mut self, snapshot: Arc<Snapshot>, now: u64) {
        let topology = &snapshot.topology;
        let first = topology.owner(keyless_slot());
        let mut shards = topology.serving();
        if let Some(place) = shards.iter().position(|shard| Some(*shard) == first) {
            shards.rotate_left(place);
        }
        let address = |shard| topology.node(topology.shard(shard).primary).address.clone();
        self.primaries = shards.into_iter().map(address).collect();
        self.failing.retain(|address, _| topology.find(address).is_some());
        self.snapshot = snapshot;
        self.choose_home(now);
        for id in self.registry.ids() {
            self.reconcile(id, now);
        }
    }

    /// Chooses the home anew. True if it is another.
    pub(super) fn choose_home(&mut self, now: u64) -> bool {
        let fails =
            |address: &&HostPort| self.failing.get(*address).is_some_and(|failing| failing.until > now);
        // Every change may cost messages, so the home stays while it can.
        let stays = self.home.as_ref().filter(|home| self.primaries.contains(home) && !fails(home));
        let choice = if self.has_bus {
            stays.or_else(|| self.primaries.iter().find(|address| !fails(address))).or(self.primaries.first())
        } else {
            self.snapshot.topology.primary_of(keyless_slot())
        };
        if choice == self.home.as_ref() {
            return false;
        }
        self.home = choice.cloned();
        true
    }

    /// Moves what stands at the home, if that changed.
    fn rehome(&mut self, now: u64) {
        if self.choose_home(now) {
            for id in self.registry.ids() {
                self.reconcile(id, now);
            }
        }
    }

    /// The connection to a node, begun if there is none.
    fn link_to(&mut self, address: &HostPort, now: u64) -> u64 {
        if let Some((id, _)) = self.links.iter().find(|(_, link)| link.address == *address) {
            return *id;
        }
        let id = self.next_link;
        self.next_link += 1;
        self.links.insert(id, Link::new(address.clone(), now));
        self.events.push_back(Event::Dial(id));
        id
    }

    /// The connections on which a topic must stand.
    pub(super) fn desired(&mut self, reach: Reach, now: u64) -> Vec<u64> {
        match reach {
            Reach::Anywhere => {
                let home = self.home.clone();
                home.map(|home| self.link_to(&home, now)).into_iter().collect()
            }
            Reach::Everywhere => {
                let primaries = self.primaries.clone();
                primaries.iter().map(|address| self.link_to(address, now)).collect()
            }
            Reach::Owner(slot) => {
                let owner = self.snapshot.topology.primary_of(slot).cloned();
                owner.map(|owner| self.link_to(&owner, now)).into_iter().collect()
            }
        }
    }

    /// A connection stands: says everything that is wanted of it.
    pub fn link_up(&mut self, id: u64, now: u64) {
        let Some(link) = self.links.get_mut(&id) else { return };
        link.connected(now);
        let with_place = |(topic_id, topic): (TopicId, &mut Topic)| topic.place(id).map(|_| topic_id);
        let wanted: Vec<TopicId> = self.registry.topics().filter_map(with_place).collect();
        self.rehome(now);
        for topic in wanted {
            self.reconcile(topic, now);
        }
    }

    /// A connection broke, or could not be made.
    pub fn link_down(&mut self, id: u64, now: u64) {
        let Some(link) = self.links.get_mut(&id) else { return };
        // A node that answered is tried again at once, and keeps what stands there.
        if !link.answered {
            let failing =
                self.failing.entry(link.address.clone()).or_insert(Failing { failures: 0, until: 0 });
            failing.failures = failing.failures.saturating_add(1);
            let longest = u64::try_from(self.patience.backoff_max.as_micros()).unwrap_or(u64::MAX);
            failing.until = now.saturating_add(longest);
        }
        link.disconnected();
        let mut touched = Vec::new();
        for (topic_id, topic) in self.registry.topics() {
            if let Some(place) = topic.place(id) {
                let live = place.live;
                place.reset();
                if live {
                    topic.lost_at = now;
                }
                touched.push(topic_id);
            }
        }
        self.rehome(now);
        // Places elsewhere than desired were kept only for the messages they brought.
        for topic in touched {
            self.reconcile(topic, now);
        }
        self.events.push_back(Event::Refresh("subscriber_lost"));
        self.drop_if_unused(id, now, 0);
    }

    /// How long the next attempt to connect must wait, in microseconds.
    pub fn pause_before_dial(&self, id: u64, jitter: u32) -> u64 {
        let failing = self.links.get(&id).and_then(|link| self.failing.get(&link.address));
        match failing.map(|failing| failing.failures) {
            // Once lost, a connection is made again at once; a node that keeps refusing is left alone.
            None | Some(0 | 1) => 0,
            Some(failures) => self.patience.after(failures - 2, jitter),
        }
    }

    /// True for the first failure of a row, which is told; the others are only counted.
    pub fn is_first_failure(&self, address: &HostPort) -> bool {
        self.failing.get(address).is_none_or(|failing| failing.failures <= 1)
    }

    pub(super) fn drop_if_unused(&mut self, id: u64, now: u64, after: u64) {
        let unused = |link: &Link| link.places == 0 && now.saturating_sub(link.unused_since) >= after;
        if self.links.get(&id).is_some_and(unused)
            && let Some(mut link) = self.links.remove(&id)
        {
            // Its task finds it gone and ends.
            link.wake();
        }
    }
}
