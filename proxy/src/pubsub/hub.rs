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

use super::audience::Audience;
use super::link::{Expected, Link};
use super::reach::{self, Reach};
use super::registry::{Answer, Place, Registry, Topic, TopicId};
use super::wire::{self, Heard, Kind};
use crate::backend::connection::ClientKey;
use crate::client::replies::Ticket;
use crate::route::plan::keyless_slot;
use crate::route::retry::{RetryLimits, backoff};
use crate::topology::publish::Snapshot;
use pointsman_protocol::HostPort;
use pointsman_protocol::error_code::ErrorCode;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Redirects of one topic that are followed at once; later ones wait.
const HOPS: u8 = 3;
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
    fn choose_home(&mut self, now: u64) -> bool {
        let fails =
            |address: &&HostPort| self.failing.get(*address).is_some_and(|failing| failing.until > now);
        // Every change may cost messages, so the home stays while it can.
        let stays = self.home.as_ref().filter(|home| self.primaries.contains(home) && !fails(home));
        let topology = &self.snapshot.topology;
        let published_at = topology.primary_of(keyless_slot());
        let choice = if !self.has_bus {
            published_at
        } else {
            stays.or_else(|| self.primaries.iter().find(|address| !fails(address))).or(self.primaries.first())
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
    fn desired(&mut self, reach: Reach, now: u64) -> Vec<u64> {
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

    fn drop_if_unused(&mut self, id: u64, now: u64, after: u64) {
        let unused = |link: &Link| link.places == 0 && now.saturating_sub(link.unused_since) >= after;
        if self.links.get(&id).is_some_and(unused)
            && let Some(mut link) = self.links.remove(&id)
        {
            // Its task finds it gone and ends.
            link.wake();
        }
    }

    /// Takes one frame from a node. Gives the topic if it is a message that its subscribers must have.
    ///
    /// # Errors
    /// The connection cannot be trusted any more.
    pub fn frame(&mut self, id: u64, bytes: &[u8], jitter: u32, now: u64) -> Result<Option<TopicId>, Broken> {
        let Some(link) = self.links.get_mut(&id) else { return Ok(None) };
        link.heard = now;
        if !link.answered {
            link.answered = true;
            self.failing.remove(&link.address);
        }
        match wire::heard(bytes) {
            Heard::Message { kind, name, channel } => return Ok(self.message(id, kind, name, channel, now)),
            Heard::Pong if link.take_pong() => {}
            Heard::Pong | Heard::Nonsense => return Err("it said what was not asked"),
            Heard::Confirmed { kind, subscribed, name } => {
                match link.take_confirmation(kind, subscribed, name) {
                    Some(Expected::Subscribed { topic, serial, .. }) => {
                        self.confirmed(id, topic, serial, now);
                    }
                    Some(Expected::Unsubscribed { topic, serial, .. }) => {
                        self.ended(id, topic, serial, now);
                    }
                    Some(Expected::Pong) => {}
                    None if kind == Kind::Shard && !subscribed => self.slot_left(id, name, now),
                    None => return Err("it confirmed what was not asked"),
                }
            }
            Heard::Refused => match link.take_refusal() {
                Some(Expected::Subscribed { topic, serial, .. }) => {
                    self.refused(id, topic, serial, bytes, jitter, now);
                }
                Some(Expected::Unsubscribed { topic, serial, .. }) => {
                    if self.is_leaving(id, topic, serial) {
                        return Err("it refused to end a subscription");
                    }
                }
                Some(Expected::Pong) => {}
                None => return Err("it refused what was not asked"),
            },
        }
        Ok(None)
    }

    /// The topic of a message, if it came by the connection that it counts from.
    fn message(&mut self, link: u64, kind: Kind, name: &[u8], channel: &[u8], now: u64) -> Option<TopicId> {
        let id = self.registry.find(kind, name)?;
        let topic = self.registry.topic(id)?;
        if !topic.place(link)?.live {
            return None;
        }
        let only = topic.places.len() == 1;
        if only || (topic.reach == Reach::Everywhere && reach::is_keyspace(channel)) {
            return Some(id);
        }
        // One speaks for all, and stays the one while it can: a change may lose or double a message.
        let live = |link: u64| topic.places.iter().any(|place| place.link == link && place.live);
        if !live(topic.speaker) {
            if topic.speaker != 0 && now < topic.lost_at.saturating_add(BUS_LAG_US) {
                return None;
            }
            let home = self.home.as_ref();
            let home = self.links.iter().find(|(_, link)| Some(&link.address) == home).map(|(id, _)| *id);
            topic.speaker = match home {
                Some(home) if live(home) => home,
                _ => topic.places.iter().find(|place| place.live)?.link,
            };
        }
        (topic.speaker == link).then_some(id)
    }

    fn confirmed(&mut self, link: u64, id: TopicId, serial: u64, now: u64) {
        let Some(topic) = self.registry.topic(id) else { return };
        let Some(place) = topic.place(link).filter(|place| place.serial == serial) else { return };
        place.live = true;
        topic.last = link;
        topic.refusals = 0;
        if topic.stood && !topic.subscribers().is_empty() {
            self.events.push_back(Event::Resubscribed);
        }
        self.reconcile(id, now);
    }

    fn is_leaving(&mut self, link: u64, id: TopicId, serial: u64) -> bool {
        let place = self.registry.topic(id).and_then(|topic| topic.place(link));
        place.is_some_and(|place| place.serial == serial && place.leaving)
    }

    /// A place is no more, so the one after it may begin.
    fn ended(&mut self, link: u64, id: TopicId, serial: u64, now: u64) {
        if !self.is_leaving(link, id, serial) {
            return;
        }
        if let Some(place) = self.registry.topic(id).and_then(|topic| topic.place(link)) {
            place.reset();
        }
        if let Some(topic) = self.registry.topic(id) {
            topic.lost_at = now;
        }
        self.reconcile(id, now);
    }

    /// A node gave a shard channel up unasked: its slot went elsewhere. It is asked again, and says
    /// where to.
    fn slot_left(&mut self, link: u64, name: &[u8], now: u64) {
        let Some(id) = self.registry.find(Kind::Shard, name) else { return };
        let Some(topic) = self.registry.topic(id) else { return };
        // What is asked for but not confirmed gets an answer of its own.
        let Some(place) = topic.place(link).filter(|place| place.live) else { return };
        place.reset();
        self.events.push_back(Event::Refresh("slot_left"));
        self.reconcile(id, now);
    }

    fn refused(&mut self, link_id: u64, id: TopicId, serial: u64, error: &[u8], jitter: u32, now: u64) {
        let Some(topic) = self.registry.topic(id) else { return };
        let Some(place) = topic.place(link_id).filter(|place| place.serial == serial) else { return };
        place.reset();
        topic.refusals = topic.refusals.saturating_add(1);
        let refusals = topic.refusals;
        let code = ErrorCode::of(error);
        match code {
            ErrorCode::Moved | ErrorCode::Ask => {
                // The correction of the map leads to the new owner; where nodes contradict each other,
                // slowly.
                let wait = if refusals > HOPS { self.patience.after(refusals - HOPS, jitter) } else { 0 };
                self.retry_later(id, wait, now);
                if let Some(link) = self.links.get(&link_id) {
                    self.events.push_back(Event::Moved(error.to_vec(), link.address.clone()));
                }
            }
            ErrorCode::Other | ErrorCode::WrongPass => {
                for client in self.registry.waiting_for(id) {
                    self.fail(client, error, now);
                }
                let Some(topic) = self.registry.topic(id) else { return };
                if refusals == 1 {
                    let name = topic.name.escape_ascii().to_string();
                    self.events.push_back(Event::Refused(name));
                }
                self.retry_later(id, self.patience.after(refusals, jitter), now);
            }
            _ => {
                self.events.push_back(Event::Refresh("subscription_refused"));
                self.retry_later(id, self.patience.after(refusals, jitter), now);
            }
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
