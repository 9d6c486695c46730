//! Who is subscribed to what. Pure: no node, no socket, no clock.
//!
//! A topic (a channel, pattern or shard channel) lives as long as a client is subscribed to it or has
//! a command under way that wants it. A client becomes a subscriber only when its whole command is
//! confirmed, so that no message can reach it before the confirmation.

use super::audience::Audience;
use super::reach::Reach;
use super::wire::{self, Kind};
use crate::backend::connection::ClientKey;
use crate::client::replies::Ticket;
use slab::Slab;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

/// A topic's place in the registry; reused after its end.
pub type TopicId = usize;

/// Where a topic stands, or is to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The subscriber connection.
    pub link: u64,
    /// Which asking it is; 0 = not asked for on this connection.
    pub serial: u64,
    /// The node confirmed it.
    pub live: bool,
    /// Its end was asked for, and messages may come until that is confirmed.
    pub leaving: bool,
}

impl Place {
    /// On this connection, not asked for yet.
    pub fn new(link: u64) -> Place {
        Place { link, serial: 0, live: false, leaving: false }
    }

    /// Nothing is known of it any more.
    pub fn reset(&mut self) {
        *self = Place::new(self.link);
    }

    /// It brings messages, and goes on to.
    pub fn stands(&self) -> bool {
        self.live && !self.leaving
    }
}

/// A client whose command waits for a topic.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    client: ClientKey,
    /// Its command knows that the topic stands.
    told: bool,
}

/// One channel, pattern or shard channel.
#[derive(Debug)]
pub struct Topic {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: Rc<[u8]>,
    /// Where it must stand.
    pub reach: Reach,
    /// Where it stands, or is to stand.
    pub places: Vec<Place>,
    /// Of several places, the connection that brings what PUBLISH sent; 0 = not chosen yet.
    pub speaker: u64,
    /// The connection it last stood on, and when that ended, in microseconds.
    pub last: u64,
    /// See `last`.
    pub lost_at: u64,
    /// It stood before: standing again is a resubscription.
    pub stood: bool,
    /// Not asked for before this time, in microseconds.
    pub retry_at: u64,
    /// Refusals in a row.
    pub refusals: u8,
    subscribers: HashSet<ClientKey>,
    waiting: Vec<Waiting>,
}

impl Topic {
    /// True while a client has it or waits for it.
    pub fn is_wanted(&self) -> bool {
        !self.subscribers.is_empty() || !self.waiting.is_empty()
    }

    /// The clients that its messages go to.
    pub fn subscribers(&self) -> &HashSet<ClientKey> {
        &self.subscribers
    }

    fn lose(&mut self, client: ClientKey, audience: &Audience) {
        if self.subscribers.remove(&client) {
            audience.left(self.kind, &self.name, self.subscribers.is_empty());
        }
    }

    /// Its place on a connection.
    pub fn place(&mut self, link: u64) -> Option<&mut Place> {
        self.places.iter_mut().find(|place| place.link == link)
    }
}

/// A SUBSCRIBE (or its like) that waits for nodes.
#[derive(Debug)]
struct Command {
    ticket: Ticket,
    kind: Kind,
    resp3: bool,
    /// In the order of its words, repeated where they are.
    topics: Vec<TopicId>,
    /// Topics that do not stand yet.
    missing: usize,
    since: u64,
}

/// What a client has.
#[derive(Debug, Default)]
struct Membership {
    topics: [HashSet<TopicId>; Kind::COUNT],
    command: Option<Command>,
}

impl Membership {
    fn is_empty(&self) -> bool {
        self.command.is_none() && self.topics.iter().all(HashSet::is_empty)
    }

    /// The number that confirmations of this kind show: channels and patterns count together.
    fn count(&self, kind: Kind) -> u32 {
        let of = |kind: Kind| self.topics[kind as usize].len() as u32;
        match kind {
            Kind::Channel | Kind::Pattern => of(Kind::Channel) + of(Kind::Pattern),
            Kind::Shard => of(Kind::Shard),
        }
    }
}

/// A command that is done with: its reply, for this ticket.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whose.
    pub client: ClientKey,
    /// Its place in the client's order.
    pub ticket: Ticket,
    /// Confirmations, or an error.
    pub bytes: Vec<u8>,
}

/// See the module's head.
#[derive(Debug, Default)]
pub struct Registry {
    topics: Slab<Topic>,
    by_name: [HashMap<Rc<[u8]>, TopicId>; Kind::COUNT],
    clients: HashMap<ClientKey, Membership>,
    subscriptions: usize,
    /// Bytes of all topics' names.
    name_bytes: usize,
    /// Commands under way.
    commands: usize,
    audience: Arc<Audience>,
}

impl Registry {
    /// An empty one, whose subscribers are counted in `audience` together with those of other workers.
    pub fn new(audience: Arc<Audience>) -> Registry {
        Registry { audience, ..Registry::default() }
    }

    /// How many topics there are.
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Subscriptions of all clients together.
    pub fn subscriptions(&self) -> usize {
        self.subscriptions
    }

    /// Bytes that the names of all topics take.
    pub fn name_bytes(&self) -> usize {
        self.name_bytes
    }

    /// A topic.
    pub fn topic(&mut self, id: TopicId) -> Option<&mut Topic> {
        self.topics.get_mut(id)
    }

    /// All topics.
    pub fn topics(&mut self) -> impl Iterator<Item = (TopicId, &mut Topic)> {
        self.topics.iter_mut()
    }

    /// The topics' ids, to be walked while they change.
    pub fn ids(&self) -> Vec<TopicId> {
        self.topics.iter().map(|(id, _)| id).collect()
    }

    /// The topic of this name.
    pub fn find(&self, kind: Kind, name: &[u8]) -> Option<TopicId> {
        self.by_name[kind as usize].get(name).copied()
    }

    /// A client's subscriptions by kind.
    pub fn counts(&self, client: ClientKey) -> [u32; Kind::COUNT] {
        self.clients.get(&client).map_or([0; Kind::COUNT], |membership| {
            std::array::from_fn(|kind| membership.topics[kind].len() as u32)
        })
    }

    /// True if a client is subscribed to this.
    pub fn has(&self, client: ClientKey, kind: Kind, name: &[u8]) -> bool {
        self.find(kind, name)
            .and_then(|id| self.topics.get(id))
            .is_some_and(|topic| topic.subscribers.contains(&client))
    }

    /// Begins a command: each of its topics exists from now on and waits to be told that it stands
    /// ([`Self::stands`]). Gives the topics, each once.
    pub fn begin<'a>(
        &mut self,
        client: ClientKey,
        ticket: Ticket,
        (kind, resp3): (Kind, bool),
        names: impl Iterator<Item = &'a [u8]>,
        since: u64,
    ) -> Vec<TopicId> {
        let (mut topics, mut distinct) = (Vec::new(), Vec::new());
        for name in names {
            let id = self.claim(kind, name);
            topics.push(id);
            let Some(topic) = self.topics.get_mut(id) else { continue };
            // A client has one command at a time, so a repeated name is the last one that waits.
            if topic.waiting.last().is_none_or(|last| last.client != client) {
                topic.waiting.push(Waiting { client, told: false });
                distinct.push(id);
            }
        }
        let command = Command { ticket, kind, resp3, topics, missing: distinct.len(), since };
        self.clients.entry(client).or_default().command = Some(command);
        self.commands += 1;
        distinct
    }

    fn claim(&mut self, kind: Kind, name: &[u8]) -> TopicId {
        if let Some(id) = self.find(kind, name) {
            return id;
        }
        let name: Rc<[u8]> = Rc::from(name);
        self.name_bytes += name.len();
        let id = self.topics.insert(Topic {
            kind,
            reach: Reach::of(kind, &name),
            name: name.clone(),
            places: Vec::new(),
            speaker: 0,
            last: 0,
            lost_at: 0,
            stood: false,
            retry_at: 0,
            refusals: 0,
            subscribers: HashSet::new(),
            waiting: Vec::new(),
        });
        self.by_name[kind as usize].insert(name, id);
        id
    }

    /// Notes that a topic stands; appends the answers of the commands that waited for nothing else.
    pub fn stands(&mut self, id: TopicId, answers: &mut Vec<Answer>) {
        let Some(topic) = self.topics.get_mut(id) else { return };
        let mut complete = Vec::new();
        for waiting in topic.waiting.iter_mut().filter(|waiting| !waiting.told) {
            waiting.told = true;
            let command =
                self.clients.get_mut(&waiting.client).and_then(|membership| membership.command.as_mut());
            let Some(command) = command else { continue };
            command.missing = command.missing.saturating_sub(1);
            if command.missing == 0 {
                complete.push(waiting.client);
            }
        }
        answers.extend(complete.into_iter().filter_map(|client| self.complete(client)));
    }

    /// Makes the client of a command a subscriber, topic by topic, in the order of its words.
    fn complete(&mut self, client: ClientKey) -> Option<Answer> {
        let membership = self.clients.get_mut(&client)?;
        let command = membership.command.take()?;
        self.commands -= 1;
        let mut bytes = Vec::new();
        for &id in &command.topics {
            let Some(topic) = self.topics.get_mut(id) else { continue };
            topic.waiting.retain(|waiting| waiting.client != client);
            if membership.topics[command.kind as usize].insert(id) {
                self.subscriptions += 1;
                topic.subscribers.insert(client);
                self.audience.joined(topic.kind, &topic.name, topic.subscribers.len() == 1);
            }
            let count = membership.count(command.kind);
            wire::confirm(&mut bytes, command.resp3, (command.kind, true), Some(&topic.name), count);
        }
        Some(Answer { client, ticket: command.ticket, bytes })
    }

    /// The clients whose commands wait for a topic.
    pub fn waiting_for(&self, id: TopicId) -> Vec<ClientKey> {
        self.topics
            .get(id)
            .map(|topic| topic.waiting.iter().map(|waiting| waiting.client).collect())
            .unwrap_or_default()
    }

    /// The clients whose commands began before this time.
    pub fn begun_before(&self, time: u64) -> Vec<ClientKey> {
        // Asked often, and seldom is there any.
        if self.commands == 0 {
            return Vec::new();
        }
        let late =
            |membership: &Membership| membership.command.as_ref().is_some_and(|command| command.since < time);
        self.clients.iter().filter(|(_, membership)| late(membership)).map(|(client, _)| *client).collect()
    }

    /// Ends a client's command with an error: none of what it asked for is subscribed. Gives the answer
    /// and the topics that may not be wanted any more.
    pub fn fail(&mut self, client: ClientKey, error: &[u8]) -> Option<(Answer, Vec<TopicId>)> {
        let membership = self.clients.get_mut(&client)?;
        let command = membership.command.take()?;
        self.commands -= 1;
        if membership.is_empty() {
            self.clients.remove(&client);
        }
        for &id in &command.topics {
            if let Some(topic) = self.topics.get_mut(id) {
                topic.waiting.retain(|waiting| waiting.client != client);
            }
        }
        Some((Answer { client, ticket: command.ticket, bytes: error.to_vec() }, command.topics))
    }

    /// Ends a client's subscriptions to these names, or to all of this kind where none is named; writes
    /// the confirmations. Gives the topics that may not be wanted any more.
    pub fn unsubscribe<'a>(
        &mut self,
        client: ClientKey,
        (kind, resp3): (Kind, bool),
        names: Option<impl Iterator<Item = &'a [u8]>>,
        out: &mut Vec<u8>,
    ) -> Vec<TopicId> {
        let mut left = Vec::new();
        match names {
            Some(names) => {
                for name in names {
                    left.extend(self.unsubscribe_one(client, (kind, resp3), name, out));
                }
            }
            None => {
                let ids = self.clients.get(&client).map(|membership| &membership.topics[kind as usize]);
                let mut ids: Vec<TopicId> = ids.into_iter().flatten().copied().collect();
                ids.sort_unstable();
                for id in &ids {
                    let Some(name) = self.topics.get(*id).map(|topic| topic.name.clone()) else { continue };
                    left.extend(self.unsubscribe_one(client, (kind, resp3), &name, out));
                }
                if ids.is_empty() {
                    let count = self.clients.get(&client).map_or(0, |membership| membership.count(kind));
                    wire::confirm(out, resp3, (kind, false), None, count);
                }
            }
        }
        if self.clients.get(&client).is_some_and(Membership::is_empty) {
            self.clients.remove(&client);
        }
        left
    }

    fn unsubscribe_one(
        &mut self,
        client: ClientKey,
        (kind, resp3): (Kind, bool),
        name: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<TopicId> {
        let id = self.find(kind, name);
        let mut count = 0;
        let mut left = None;
        if let Some(membership) = self.clients.get_mut(&client) {
            if let Some(id) = id
                && membership.topics[kind as usize].remove(&id)
            {
                self.subscriptions -= 1;
                if let Some(topic) = self.topics.get_mut(id) {
                    topic.lose(client, &self.audience);
                }
                left = Some(id);
            }
            count = membership.count(kind);
        }
        wire::confirm(out, resp3, (kind, false), Some(name), count);
        left
    }

    /// Forgets a client and what it waits for. Gives the topics that may not be wanted any more.
    pub fn leave(&mut self, client: ClientKey) -> Vec<TopicId> {
        let Some(membership) = self.clients.remove(&client) else { return Vec::new() };
        let mut left = Vec::new();
        for id in membership.topics.iter().flatten() {
            self.subscriptions -= 1;
            if let Some(topic) = self.topics.get_mut(*id) {
                topic.lose(client, &self.audience);
            }
            left.push(*id);
        }
        self.commands -= usize::from(membership.command.is_some());
        for id in membership.command.into_iter().flat_map(|command| command.topics) {
            if let Some(topic) = self.topics.get_mut(id) {
                topic.waiting.retain(|waiting| waiting.client != client);
            }
            left.push(id);
        }
        left
    }

    /// Ends a topic that nobody wants any more; gives it for its places to be cleared.
    pub fn remove_unwanted(&mut self, id: TopicId) -> Option<Topic> {
        if self.topics.get(id).is_none_or(Topic::is_wanted) {
            return None;
        }
        let topic = self.topics.try_remove(id)?;
        self.by_name[topic.kind as usize].remove(&topic.name);
        self.name_bytes -= topic.name.len();
        Some(topic)
    }
}

#[cfg(test)]
#[path = "registry_tests.rs"]
mod tests;
