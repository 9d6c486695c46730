//! Keeps every topic that a client wants standing at the right nodes.
//!
//! One function decides, [`Hub::reconcile`]: it compares where a topic must stand with where it does,
//! asks where it is missing, and gives up the places that are of no use any more. A place that still
//! brings messages is kept until another can take over: a shard channel's until the new owner
//! confirmed, an ordinary channel's until the new node is connected, and then the old place ends before
//! the new one begins, as both would bring the same message. All that happens (a command, a confirmation,
//! a connection lost, a new map) ends there. No socket is touched here: requests lie in the links'
//! ledgers until their tasks write them, and what concerns others is told as [`Event`]s.
//!
//! Topics that may stand anywhere all stand at the *home*: first the primary that PUBLISH goes to, so that
//! its count is not 0 while the proxy has a subscriber. It stays while it can: a lost connection is made
//! again to the same node, and another is asked only after [`BUS_LAG_US`].
//! Of topics that stand everywhere, only one place brings what PUBLISH sent; the others bring
//! keyspace notifications alone.
//!
//! What comes in is in files of its own: what nodes say (`heard`), and which nodes there are (`nodes`).

mod heard;
mod nodes;

use super::audience::Audience;
use super::link::Link;
use super::reach::Reach;
use super::registry::{Answer, Place, Registry, TopicId};
use super::wire::Kind;
use crate::backend::connection::ClientKey;
use crate::client::replies::Ticket;
use crate::route::retry::{RetryLimits, backoff};
use crate::topology::publish::Snapshot;
use pointsman_protocol::HostPort;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A connection without topics is kept this long, in microseconds.
const UNUSED_US: u64 = 10_000_000;

/// How far behind the cluster bus may be, in microseconds: nodes do not switch off Nagle's algorithm on it, so
/// 40 ms are common. Who turns to another node sooner hears again what the first one told already.
const BUS_LAG_US: u64 = 150_000;

/// What the rest of the worker must hear of.
#[derive(Debug)]
pub enum Event {
    /// A command has its answer; the flag says whether it succeeded.
    Answer(Answer, bool),
    /// A connection is to be made.
    Dial(u64),
    /// A node said this of where a slot is.
    Moved(Vec<u8>, HostPort),
    /// The map may be out of date.
    Refresh(&'static str),
    /// A topic stands again.
    Resubscribed,
    /// A topic that clients have is refused.
    Refused(String),
}

/// Why a connection cannot be used any more.
pub type Broken = &'static str;

/// Times of second attempts, in the units of the hub's clock.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// After the first failure.
    pub backoff: Duration,
    /// At most.
    pub backoff_max: Duration,
}

impl Patience {
    /// The wait after so many failures.
    fn after(&self, failures: u8, jitter: u32) -> u64 {
        let limits = RetryLimits {
            redirects_max: 0,
            attempts_max: 0,
            backoff: self.backoff,
            backoff_max: self.backoff_max,
        };
        u64::try_from(backoff(failures, &limits, jitter).as_micros()).unwrap_or(u64::MAX)
    }
}

/// A node that could not be reached.
#[derive(Clone, Copy, Debug)]
struct Failing {
    /// In a row.
    failures: u8,
    /// Until then another home is preferred, in microseconds.
    until: u64,
}

/// See the module's head.
#[derive(Debug)]
pub struct Hub {
    registry: Registry,
    links: BTreeMap<u64, Link>,
    next_link: u64,
    next_serial: u64,
    snapshot: Arc<Snapshot>,
    /// Primaries that own slots; the one that PUBLISH goes to comes first.
    primaries: Vec<HostPort>,
    home: Option<HostPort>,
    /// What is published at one node is heard at all.
    has_bus: bool,
    failing: HashMap<HostPort, Failing>,
    /// Topics that are asked for again later.
    retries: Vec<TopicId>,
    patience: Patience,
    events: VecDeque<Event>,
}

impl Hub {
    /// Without topics, on this map; its clients are counted in `audience`.
    pub fn new(snapshot: Arc<Snapshot>, audience: Arc<Audience>, patience: Patience, now: u64) -> Hub {
        let mut hub = Hub {
            registry: Registry::new(audience),
            links: BTreeMap::new(),
            next_link: 1,
            next_serial: 1,
            primaries: Vec::new(),
            home: None,
            has_bus: true,
            failing: HashMap::new(),
            retries: Vec::new(),
            patience,
            events: VecDeque::new(),
            snapshot: snapshot.clone(),
        };
        hub.adopt(snapshot, now);
        hub
    }

    /// The same where nodes do not pass on to each other what is published: only the one that PUBLISH goes
    /// to can be the home.
    pub fn without_bus(mut self, now: u64) -> Hub {
        self.has_bus = false;
        self.choose_home(now);
        self
    }

    /// Who is subscribed to what.
    pub fn registry(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// What happened, oldest first.
    pub fn next_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// A connection, for its own task.
    pub fn link(&mut self, id: u64) -> Option<&mut Link> {
        self.links.get_mut(&id)
    }

    /// Begins a client's command; its answer comes as an event, at once if every topic stands.
    pub fn subscribe<'a>(
        &mut self,
        client: ClientKey,
        ticket: Ticket,
        how: (Kind, bool),
        names: impl Iterator<Item = &'a [u8]>,
        now: u64,
    ) {
        for id in self.registry.begin(client, ticket, how, names, now) {
            self.reconcile(id, now);
        }
    }

    /// Ends subscriptions of a client, and writes the confirmations.
    pub fn unsubscribe<'a>(
        &mut self,
        client: ClientKey,
        how: (Kind, bool),
        names: Option<impl Iterator<Item = &'a [u8]>>,
        out: &mut Vec<u8>,
        now: u64,
    ) {
        let left = self.registry.unsubscribe(client, how, names, out);
        self.release(left, now);
    }

    /// Forgets a client.
    pub fn leave(&mut self, client: ClientKey, now: u64) {
        let left = self.registry.leave(client);
        self.release(left, now);
    }

    /// Ends a client's command with an error.
    fn fail(&mut self, client: ClientKey, error: &[u8], now: u64) {
        if let Some((answer, left)) = self.registry.fail(client, error) {
            self.events.push_back(Event::Answer(answer, false));
            self.release(left, now);
        }
    }

    /// Gives up what nobody wants any more.
    fn release(&mut self, topics: Vec<TopicId>, now: u64) {
        for id in topics {
            let Some(topic) = self.registry.remove_unwanted(id) else { continue };
            for place in topic.places {
                if let Some(link) = self.links.get_mut(&place.link) {
                    give_up(link, id, place, topic.kind, &topic.name, now);
                }
            }
        }
    }

    /// See the module's head.
    fn reconcile(&mut self, id: TopicId, now: u64) {
        let Some(topic) = self.registry.topic(id) else { return };
        if topic.retry_at > now {
            return;
        }
        let reach = topic.reach;
        let desired = self.desired(reach, now);
        let Some(topic) = self.registry.topic(id) else { return };
        // What PUBLISH sends comes to all nodes: two places would bring it twice.
        let one_at_a_time = reach == Reach::Anywhere;
        let others_live =
            one_at_a_time && topic.places.iter().any(|place| place.live && !desired.contains(&place.link));
        let mut ready = false;
        for &wanted in &desired {
            let Some(link) = self.links.get_mut(&wanted) else { continue };
            ready |= link.up;
            if topic.place(wanted).is_none() {
                topic.places.push(Place::new(wanted));
                link.places += 1;
            }
            let Some(place) = topic.places.iter_mut().find(|place| place.link == wanted) else { continue };
            let settles = topic.lost_at.saturating_add(BUS_LAG_US);
            if one_at_a_time && !others_live && ![0, wanted].contains(&topic.last) && now < settles {
                topic.retry_at = settles;
                self.retries.push(id);
            } else if place.serial == 0 && link.up && !others_live {
                place.serial = self.next_serial;
                self.next_serial += 1;
                link.subscribe(id, place.serial, topic.kind, &topic.name);
            }
        }
        let stands = !desired.is_empty()
            && desired
                .iter()
                .all(|wanted| topic.places.iter().any(|place| place.link == *wanted && place.stands()));
        let links = &mut self.links;
        let (kind, name) = (topic.kind, topic.name.clone());
        topic.places.retain_mut(|place| {
            if desired.contains(&place.link) {
                return true;
            }
            let Some(link) = links.get_mut(&place.link) else { return false };
            if place.live && one_at_a_time {
                // It ends now if the new node can be asked; that is done when this one has confirmed.
                if ready && !place.leaving {
                    place.leaving = true;
                    link.unsubscribe(id, place.serial, kind, &name);
                }
                return true;
            }
            let keep = place.live && !stands;
            if !keep {
                give_up(link, id, *place, kind, &name, now);
            }
            keep
        });
        if stands {
            topic.stood = true;
            let mut answers = Vec::new();
            self.registry.stands(id, &mut answers);
            self.events.extend(answers.into_iter().map(|answer| Event::Answer(answer, true)));
        }
    }

    /// Asks for a topic again after a wait.
    fn retry_later(&mut self, id: TopicId, wait: u64, now: u64) {
        if let Some(topic) = self.registry.topic(id) {
            topic.retry_at = now.saturating_add(wait.max(1));
            self.retries.push(id);
        }
    }

    /// Looks at everything that has a deadline: commands begun before `begun_before` fail with `late`;
    /// connections silent for long are asked, and closed if they stay silent.
    pub fn tick(&mut self, now: u64, begun_before: u64, stall_us: u64, late: &[u8]) {
        for client in self.registry.begun_before(begun_before) {
            self.fail(client, late, now);
        }
        let mut retries = std::mem::take(&mut self.retries);
        retries.sort_unstable();
        retries.dedup();
        for id in retries {
            match self.registry.topic(id) {
                Some(topic) if topic.retry_at > now => self.retries.push(id),
                Some(_) => self.reconcile(id, now),
                None => {}
            }
        }
        for link in self.links.values_mut().filter(|link| link.up) {
            let silent = now.saturating_sub(link.heard);
            if silent > stall_us && link.owed() > 0 {
                tracing::warn!(node = %link.address, "a node stopped answering; closing the subscriber connection (stall_timeout_ms)");
                link.shut("it stopped answering");
            } else if silent > stall_us / 2 && link.owed() == 0 {
                // The silence counts from here: a node that had nothing to say is not at fault.
                link.heard = now;
                link.ping();
            }
        }
        let unused: Vec<u64> = self.links.keys().copied().collect();
        for id in unused {
            self.drop_if_unused(id, now, UNUSED_US);
        }
    }
}

/// Ends a topic's place on a connection.
fn give_up(link: &mut Link, topic: TopicId, place: Place, kind: Kind, name: &Rc<[u8]>, now: u64) {
    link.places = link.places.saturating_sub(1);
    if link.places == 0 {
        link.unused_since = now;
    }
    if link.up && place.serial != 0 && !place.leaving {
        link.unsubscribe(topic, place.serial, kind, name);
    }
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
