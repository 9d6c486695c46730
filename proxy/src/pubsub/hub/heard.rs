//! What nodes say on subscriber connections: messages, confirmations, refusals.
//!
//! Whatever it changes ends in [`Hub::reconcile`]; a connection that says what nobody asked is given up.

use super::{BUS_LAG_US, Broken, Event, Hub};
use crate::pubsub::link::Expected;
use crate::pubsub::reach::{self, Reach};
use crate::pubsub::registry::TopicId;
use crate::pubsub::wire::{self, Heard, Kind};
use pointsman_protocol::error_code::ErrorCode;

/// Redirects of one topic that are followed at once; later ones wait.
pub(super) const HOPS: u8 = 3;

impl Hub {
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
}
