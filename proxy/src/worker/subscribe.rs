//! Subscriptions as clients see them: their commands, their confirmations, their messages.
//!
//! A command waits until all the client's earlier requests are answered, and the client's next
//! requests wait until it is confirmed. So a confirmation is always the next thing in the client's
//! order, and a message can neither overtake the confirmation of its own subscription nor land
//! inside a reply.

use super::dispatch::Step;
use super::router::{BackendContext, Router};
use crate::admin::counters::Outcome;
use crate::backend::connection::{ClientKey, Request, Traits};
use crate::backend::ledger;
use crate::client::gather::Gather;
use crate::client::join::Special;
use crate::client::state::Class;
use crate::pubsub::audience::Count;
use crate::pubsub::dial::Subscribers;
use crate::pubsub::hub::{Event, Hub, Patience};
use crate::pubsub::link::Link;
use crate::pubsub::registry::{Answer, TopicId};
use crate::pubsub::wire::{self, Kind};
use crate::route::failure::FailureKind;
use crate::route::plan::{Plan, Refusal};
use pointsman_protocol::command::{self, CommandSpec};
use pointsman_protocol::redirect::Redirect;
use pointsman_protocol::resp::{Args, encode};
use pointsman_protocol::{HostPort, Slot};
use std::sync::Arc;
use std::time::Duration;

/// Longest name of a channel or pattern: names are kept, and caps count them.
const NAME_BYTES_MAX: usize = 64 * 1024;
/// What the names of a worker's topics may take, on average over `subscriptions_max` of them.
const NAME_BYTES_MEAN: usize = 256;
/// Messages are offered to a client's socket at once when this much of them is ready, so that a busy
/// channel does not pile up in memory until the turn ends.
const EAGER_BYTES: usize = 64 * 1024;
/// What a client hears whose subscription no node confirmed in time.
const LATE: &str =
    "ERR the subscription was not confirmed within the request timeout; it was not made and may be retried";

impl Router {
    /// Takes a (P|S)SUBSCRIBE or (P|S)UNSUBSCRIBE.
    #[cold]
    pub(super) fn subscription(
        &mut self,
        key: ClientKey,
        spec: &'static CommandSpec,
        args: Args<'_>,
    ) -> Step {
        let Some((kind, subscribing)) = wire::operation(spec.name) else { return Step::Done };
        let Some(client) = self.client_mut(key) else { return Step::Close };
        if client.in_flight > 0 || client.replies.open_count() > 0 {
            client.paused = true;
            return Step::Wait;
        }
        if subscribing {
            self.subscribe(key, kind, args)
        } else {
            self.unsubscribe(key, kind, args)
        }
        Step::Done
    }

    fn subscribe(&mut self, key: ClientKey, kind: Kind, args: Args<'_>) {
        if let Err(error) = self.may_subscribe(key, kind, args) {
            return self.answer(key, Outcome::Error, |out| encode::error(out, &error));
        }
        let Some(client) = self.client_mut(key) else { return };
        let (resp3, ticket) = (client.resp3, client.replies.open());
        client.in_flight += 1;
        // The requests behind it wait until it is confirmed.
        client.version = u64::MAX;
        let (snapshot, audience, now) = (self.snapshot.clone(), self.context.audience.clone(), self.now);
        let reconnect = self.context.config.reconnect;
        let patience = Patience { backoff: reconnect.backoff, backoff_max: reconnect.backoff_max };
        let is_cluster = self.division.is_cluster();
        let hub = self.pubsub.get_or_insert_with(|| {
            let hub = Hub::new(snapshot, audience, patience, now);
            Box::new(if is_cluster { hub } else { hub.without_bus(now) })
        });
        hub.subscribe(key, ticket, (kind, resp3), args.iter().skip(1), now);
        self.hear_events();
    }

    /// Whether a client may have so many more; the text says what is in the way.
    fn may_subscribe(&mut self, key: ClientKey, kind: Kind, args: Args<'_>) -> Result<(), String> {
        let names = || args.iter().skip(1);
        if names().any(|name| name.len() > NAME_BYTES_MAX) {
            return Err(format!("ERR the name of a channel is longer than {NAME_BYTES_MAX} bytes"));
        }
        let Some(client) = self.client_mut(key) else { return Ok(()) };
        let client_max = client.listener.limits.subscriptions_max;
        let has: usize = client.subscriptions.iter().map(|count| *count as usize).sum();
        let worker_max = self.context.config.subscriptions_max;
        let (mut new, mut topics, mut bytes) =
            (names().count(), names().count(), names().map(<[u8]>::len).sum());
        let mut grows = true;
        if let Some(hub) = self.pubsub.as_mut() {
            let registry = hub.registry();
            new = names().filter(|name| !registry.has(key, kind, name)).count();
            let unknown = || names().filter(|name| registry.find(kind, name).is_none());
            topics = registry.len() + unknown().count();
            bytes = registry.name_bytes() + unknown().map(<[u8]>::len).sum::<usize>();
            grows = unknown().next().is_some();
        }
        if new > 0 && has + new > client_max {
            return Err(format!(
                "ERR a client may have {client_max} subscriptions (client_limits.subscriptions_max)"
            ));
        }
        if grows && (topics > worker_max || bytes > worker_max.saturating_mul(NAME_BYTES_MEAN)) {
            return Err(format!(
                "ERR the proxy has too many subscriptions: {worker_max} channels and patterns of all clients together, with names of {NAME_BYTES_MEAN} bytes on average (subscriptions_max)"
            ));
        }
        Ok(())
    }

    fn unsubscribe(&mut self, key: ClientKey, kind: Kind, args: Args<'_>) {
        let Some(client) = self.client_mut(key) else { return };
        let resp3 = client.resp3;
        let now = self.now;
        let names = (args.len() > 1).then(|| args.iter().skip(1));
        let mut out = Vec::new();
        match self.pubsub.as_mut() {
            Some(hub) => hub.unsubscribe(key, (kind, resp3), names, &mut out, now),
            None => match names {
                Some(names) => {
                    names.for_each(|name| wire::confirm(&mut out, resp3, (kind, false), Some(name), 0));
                }
                None => wire::confirm(&mut out, resp3, (kind, false), None, 0),
            },
        }
        self.answer(key, Outcome::Ok, |replies| replies.extend_from_slice(&out));
        self.note_subscriptions(key);
        self.hear_events();
    }

    /// Takes a PUBLISH or SPUBLISH. Its reply counts clients, where the node counts connections.
    pub(super) fn publish(&mut self, key: ClientKey, spec: &'static CommandSpec, slot: Slot, args: Args<'_>) {
        let kind = if spec.name == "SPUBLISH" { Kind::Shard } else { Kind::Channel };
        let count = self.context.audience.of_message(kind, args.at(1));
        let Some(client) = self.client_mut(key) else { return };
        let ticket = if count == Count::default() {
            (client.replies.open(), None)
        } else {
            let special = Special::Sum { less: count.workers, more: count.clients };
            (client.replies.open_gather(Gather::special(special, 1)), Some(0))
        };
        let traits = Traits::of(spec);
        let request = Request {
            client: key,
            ticket: ticket.0,
            part: ticket.1,
            slot: Some(slot),
            traits,
            since: self.now,
            ahead: 0,
        };
        self.send(request, slot, |out| encode::request_args(out, args));
    }

    /// A client speaks RESP2 and has subscriptions: then it may say only a few words. `None` if this is
    /// one of them.
    #[cold]
    pub(super) fn in_subscribed_mode(&mut self, key: ClientKey, plan: &Plan, args: Args<'_>) -> Option<Step> {
        let spec = match plan {
            Plan::Subscription { .. } | Plan::Nothing => return None,
            // What is no command at all is told as such.
            Plan::Refuse(Refusal::Table(_) | Refusal::NoAuth) => return None,
            Plan::Local { spec } if matches!(spec.name, "QUIT" | "RESET") => return None,
            Plan::Local { spec } if spec.name == "PING" => {
                if args.len() > 2 {
                    return None;
                }
                self.answer(key, Outcome::Ok, |out| {
                    encode::array_head(out, 2);
                    encode::bulk(out, b"pong");
                    encode::bulk(out, args.at(1));
                });
                return Some(Step::Done);
            }
            _ => plan.spec().or_else(|| command::resolve(args).ok())?,
        };
        let error = format!(
            "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
            spec.name.to_lowercase()
        );
        self.answer(key, Outcome::Error, |out| encode::error(out, &error));
        Some(Step::Done)
    }

    /// Takes a client out of all subscriptions: it left, or began anew.
    pub(crate) fn leave_subscriptions(&mut self, key: ClientKey) {
        let now = self.now;
        let Some(hub) = self.pubsub.as_mut() else { return };
        hub.leave(key, now);
        self.note_subscriptions(key);
        self.hear_events();
    }

    /// Notes with a client what it is subscribed to.
    fn note_subscriptions(&mut self, key: ClientKey) {
        let Some(counts) = self.pubsub.as_mut().map(|hub| hub.registry().counts(key)) else { return };
        if let Some(client) = self.client_mut(key) {
            client.subscriptions = counts;
        }
    }

    /// Deals with what the hub has to tell. What is done here may make it tell more.
    fn hear_events(&mut self) {
        while let Some(event) = self.pubsub.as_mut().and_then(|hub| hub.next_event()) {
            match event {
                Event::Answer(answer, confirmed) => self.subscription_done(answer, confirmed),
                Event::Dial(id) => {
                    if let Some(me) = self.me.upgrade() {
                        tokio::task::spawn_local(ledger::run::<Subscribers>(me, id));
                    }
                }
                Event::Moved(error, from) => self.shard_channel_moved(&error, &from),
                Event::Refresh(reason) => self.context.snapshots.request_refresh(reason),
                Event::Resubscribed => self.counters.pubsub.resubscriptions.add(1),
                Event::Refused(channel) => {
                    tracing::warn!(channel, "a node refuses a subscription that clients have; trying again");
                }
            }
        }
        if let Some(hub) = self.pubsub.as_mut() {
            let registry = hub.registry();
            self.counters.pubsub.subscriptions.set(registry.subscriptions() as u64);
            self.counters.pubsub.topics.set(registry.len() as u64);
        }
    }

    fn subscription_done(&mut self, answer: Answer, confirmed: bool) {
        let key = answer.client;
        let outcome = if confirmed { Outcome::Ok } else { Outcome::Error };
        self.counters.request(Class::Local, outcome);
        self.note_subscriptions(key);
        let Some(client) = self.client_mut(key) else { return };
        client.in_flight = client.in_flight.saturating_sub(1);
        client.replies.fill(answer.ticket, &answer.bytes);
        let paused = client.paused;
        self.mark_client(key);
        if paused {
            self.resume(key);
        }
    }

    fn shard_channel_moved(&mut self, error: &[u8], from: &HostPort) {
        match Redirect::parse(error, from) {
            Some(redirect) if !redirect.asking => {
                let to = self.context.reachable(redirect.to);
                self.context.snapshots.slot_moved(redirect.slot, &to);
                self.adopt();
            }
            _ => self.context.snapshots.request_refresh("moved"),
        }
    }

    /// A newer map was taken over.
    pub(super) fn move_subscriptions(&mut self) {
        let (snapshot, now) = (self.snapshot.clone(), self.now);
        let Some(hub) = self.pubsub.as_mut() else { return };
        hub.adopt(snapshot, now);
        self.hear_events();
    }

    /// Time passes for subscriptions, too.
    pub(super) fn tick_subscriptions(&mut self) {
        let now = self.now;
        let Some(hub) = self.pubsub.as_mut() else { return };
        let config = &self.context.config;
        let begun_before = now.saturating_sub(Self::micros(config.request_timeout));
        let mut late = Vec::new();
        encode::error(&mut late, LATE);
        if !hub.registry().begun_before(begun_before).is_empty() {
            self.counters.failure(FailureKind::ReadTimeout);
        }
        hub.tick(now, begun_before, Self::micros(config.stall_timeout), &late);
        self.hear_events();
    }

    /// Where a subscriber connection goes, and how long to wait first. `None` if it is not wanted any
    /// more.
    pub(crate) fn subscriber_facts(&mut self, id: u64) -> Option<(Arc<BackendContext>, HostPort, Duration)> {
        let (context, jitter) = (self.context.clone(), self.jitter());
        let hub = self.pubsub.as_mut()?;
        let pause = Duration::from_micros(hub.pause_before_dial(id, jitter));
        let address = hub.link(id)?.address.clone();
        Some((context, address, pause))
    }

    /// A subscriber connection, for its own task.
    pub(crate) fn subscriber_link(&mut self, id: u64) -> Option<&mut Link> {
        self.pubsub.as_mut()?.link(id)
    }

    /// A subscriber connection stands.
    pub(crate) fn subscriber_up(&mut self, id: u64) {
        self.read_clock();
        let now = self.now;
        if let Some(hub) = self.pubsub.as_mut() {
            hub.link_up(id, now);
        }
        self.hear_events();
    }

    /// A subscriber connection broke (it `stood`), or could not be made.
    pub(crate) fn subscriber_lost(&mut self, id: u64, reason: &str, stood: bool) {
        self.read_clock();
        let now = self.now;
        let Some(hub) = self.pubsub.as_mut() else { return };
        let Some(address) = hub.link(id).map(|link| link.address.clone()) else { return };
        hub.link_down(id, now);
        if stood {
            self.counters.pubsub.connections_lost.add(1);
            tracing::info!(node = %address, reason, "subscriber connection lost");
        } else if hub.is_first_failure(&address) {
            tracing::warn!(node = %address, reason, "a node cannot be reached for subscriptions; trying again");
        }
        self.hear_events();
    }

    /// Takes one frame from a subscriber connection.
    ///
    /// # Errors
    /// The connection cannot be trusted any more.
    pub(crate) fn subscriber_heard(&mut self, id: u64, bytes: &[u8]) -> Result<(), &'static str> {
        let (now, jitter) = (self.now, self.jitter());
        // Taken out for the time: what it knows is read while clients are written to.
        let Some(mut hub) = self.pubsub.take() else { return Ok(()) };
        let heard = hub.frame(id, bytes, jitter, now);
        if let Ok(Some(topic)) = heard {
            self.deliver(&mut hub, topic, bytes);
            self.pubsub = Some(hub);
            return Ok(());
        }
        self.pubsub = Some(hub);
        self.hear_events();
        heard.map(|_| ())
    }

    /// Gives a message to all subscribers of its topic.
    fn deliver(&mut self, hub: &mut Hub, topic: TopicId, bytes: &[u8]) {
        let Some(topic) = hub.registry().topic(topic) else { return };
        // Behind the first byte both protocols say the same.
        let Some((_, body)) = bytes.split_first() else { return };
        let mut delivered = 0;
        for &key in topic.subscribers() {
            let Some(client) = self.client_mut(key) else { continue };
            if client.closing || client.broken {
                continue;
            }
            client.replies.push(if client.resp3 { b'>' } else { b'*' }, body);
            delivered += 1;
            if client.replies.ready().len() >= EAGER_BYTES {
                self.flush_client(key);
            } else {
                self.mark_client(key);
            }
        }
        self.counters.pubsub.delivered.add(delivered);
    }
}
