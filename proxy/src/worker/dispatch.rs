//! A request comes in: from its bytes to a connection's queue, or to an answer at once.
//!
//! [`Router::request`] is the walk of a GET: look the command up, find the key's slot, its owner,
//! the connection; take a place in the client's reply order; append the bytes as they came. It
//! allocates nothing in steady state.

use super::detour::Parked;
use super::router::Router;
use crate::admin::counters::Outcome;
use crate::backend::connection::{ClientKey, Phase, Request, Traits};
use crate::backend::lanes::Lane;
use crate::client::gather::Gather;
use crate::client::local;
use crate::client::replies::Ticket;
use crate::client::state::{Class, Client};
use crate::route::failure::FailureKind;
use crate::route::plan::{self, Plan, Refusal};
use crate::route::read::pick_replica;
use crate::route::retry::Cause;
use crate::route::split::{self, SplitKind};
use pointsman_config::ReadPolicy;
use pointsman_protocol::Slot;
use pointsman_protocol::command::ResponsePolicy;
use pointsman_protocol::resp::{Args, ProtocolError, encode};
use pointsman_protocol::topology::{NodeIndex, ShardIndex};

/// What became of a request's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Taken care of.
    Done,
    /// Not now: ask again with the same bytes when woken.
    Wait,
    /// The client is to be closed; nothing more is to be read from it.
    Close,
}

impl Router {
    /// Takes a request of a client: `frame` is how it came, `args` what it says.
    #[inline]
    pub fn request(&mut self, key: ClientKey, frame: &[u8], args: Args<'_>, inline: bool) -> Step {
        let (version, now) = (self.snapshot.version, self.now);
        let Some(client) = self.client_mut(key) else { return Step::Close };
        client.active = now;
        // A client whose slots may have moved keeps its order by waiting until what is on its way
        // has been answered: only then is it sure that nothing it sends now overtakes that.
        if client.version != version || client.detour.is_some() {
            if client.in_flight > 0 {
                client.paused = true;
                return Step::Wait;
            }
            client.version = version;
        }
        if client.in_flight as usize >= client.listener.limits.inflight_max
            || client.replies.held() > client.listener.limits.output_pause_bytes
        {
            client.paused = true;
            return Step::Wait;
        }
        let authenticated = client.authenticated;
        match plan::plan(args, authenticated, &mut self.keys) {
            Plan::Slot { spec, slot } => {
                self.to_slot(key, spec.is_read(), slot, frame, args, inline);
                Step::Done
            }
            Plan::Split { spec, kind } => {
                self.to_slots(key, spec.is_read(), kind, frame, args, inline);
                Step::Done
            }
            Plan::Everyone { spec } => {
                self.to_everyone(key, spec.is_read(), spec.response_policy, args);
                Step::Done
            }
            Plan::Local { spec } => local::answer(self, key, spec, args),
            Plan::Nothing => Step::Done,
            Plan::Refuse(refusal) => {
                self.refuse(key, args, &refusal);
                Step::Done
            }
        }
    }

    /// Sends a request to the copy of its slot that should have it.
    #[inline]
    fn to_slot(
        &mut self,
        key: ClientKey,
        read: bool,
        slot: Slot,
        frame: &[u8],
        args: Args<'_>,
        inline: bool,
    ) {
        let Some(client) = self.clients.get_mut(key.index as usize) else { return };
        let ticket = client.replies.open();
        let request = Request {
            client: key,
            ticket,
            part: None,
            slot: Some(slot),
            traits: Traits { write: !read, ..Traits::default() },
            since: self.now,
        };
        self.send(request, slot, |out| {
            if inline { encode::request_args(out, args) } else { out.extend_from_slice(frame) }
        });
    }

    /// Sends a request or a part of one by its slot. Its ticket is open.
    #[inline]
    fn send(&mut self, request: Request, slot: Slot, write: impl Fn(&mut Vec<u8>)) {
        let Some(client) = self.clients.get_mut(request.client.index as usize) else { return };
        client.in_flight += 1;
        client.writes_in_flight += u32::from(request.traits.write);
        let Some(shard) = self.snapshot.topology.owner(slot) else {
            return self.park_new(request, Cause::ClusterDown, write);
        };
        let client = &self.clients[request.client.index as usize];
        let (resp3, per_node) = (client.resp3, self.context.config.connections_per_node);
        let (node, readonly) = match self.replica_for(client, !request.traits.write, shard) {
            Some(node) => (node, true),
            None => (self.snapshot.topology.shard(shard).primary, false),
        };
        self.turn = self.turn.wrapping_add(1);
        let id = self.connection_of(node, Lane::of(slot, resp3, readonly, per_node));
        self.enqueue(id, request, write);
    }

    /// Appends a request to a connection, or deals with one that cannot take it.
    #[inline]
    pub(super) fn enqueue(&mut self, id: usize, request: Request, write: impl Fn(&mut Vec<u8>)) {
        let now = self.now;
        let connection = &mut self.connections[id];
        if connection.phase == Phase::Down {
            return self.park_new(request, Cause::NotSent, write);
        }
        if !connection.accepts(0, &self.context.queue) {
            return self.settle_failure(&request, FailureKind::Overloaded);
        }
        connection.enqueue(request, now, write);
        self.mark_connection(id);
    }

    /// The replica that a read may use now; `None` for the primary. While a write of the same client
    /// is on its way its reads go to the primary, so that none overtakes it.
    #[inline]
    fn replica_for(&self, client: &Client, read: bool, shard: ShardIndex) -> Option<NodeIndex> {
        let reads = &client.listener.reads;
        if !read || reads.policy == ReadPolicy::Primary || client.writes_in_flight > 0 {
            return None;
        }
        let replicas = &self.snapshot.topology.shard(shard).replicas;
        let lags = replicas.iter().map(|node| self.snapshot.lag(*node));
        pick_replica(lags, reads.max_lag_bytes, self.turn).map(|place| replicas[place])
    }

    /// Sends a command over several slots in parts, one a slot.
    fn to_slots(
        &mut self,
        key: ClientKey,
        read: bool,
        kind: SplitKind,
        frame: &[u8],
        args: Args<'_>,
        inline: bool,
    ) {
        let mut placed = std::mem::take(&mut self.placed);
        if split::place(kind, args, &mut placed) {
            // All in one slot: the node does it as a whole.
            let slot = placed.first().map_or_else(plan::keyless_slot, |(slot, _)| *slot);
            self.to_slot(key, read, slot, frame, args, inline);
        } else if let Some(client) = self.clients.get_mut(key.index as usize) {
            let ticket = client.replies.open_gather(Gather::split(kind, &placed));
            for (part, keys) in split::parts(&placed).enumerate() {
                let slot = keys[0].0;
                let request = self.part(key, ticket, part as u32, Some(slot), !read);
                self.send(request, slot, |out| split::encode_part(out, kind, args, keys));
            }
        }
        placed.clear();
        self.placed = placed;
    }

    /// Sends a command to the primary of every shard that owns slots.
    fn to_everyone(&mut self, key: ClientKey, read: bool, policy: ResponsePolicy, args: Args<'_>) {
        let shards = self.snapshot.topology.serving();
        if shards.is_empty() {
            return self.fail_at_once(key, FailureKind::SlotUnserved);
        }
        let Some(client) = self.client_mut(key) else { return };
        let resp3 = client.resp3;
        let ticket = client.replies.open_gather(Gather::everyone(policy, shards.len() as u32));
        client.in_flight += shards.len() as u32;
        client.writes_in_flight += if read { 0 } else { shards.len() as u32 };
        for (part, shard) in shards.into_iter().enumerate() {
            let request = self.part(key, ticket, part as u32, None, !read);
            let node = self.snapshot.topology.shard(shard).primary;
            let id = self.connection_of(node, Lane { resp3, readonly: false, index: 0 });
            self.enqueue(id, request, |out| encode::request_args(out, args));
        }
    }

    fn part(&self, client: ClientKey, ticket: Ticket, part: u32, slot: Option<Slot>, write: bool) -> Request {
        Request {
            client,
            ticket,
            part: Some(part),
            slot,
            traits: Traits { write, ..Traits::default() },
            since: self.now,
        }
    }

    /// Puts a request that could not even be queued on its client's detour.
    #[cold]
    fn park_new(&mut self, request: Request, cause: Cause, write: impl Fn(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        write(&mut bytes);
        self.attempt_failed(Parked::new(request, bytes), cause, None);
    }

    /// Answers a client itself, in its place in the order.
    #[inline]
    pub fn answer(&mut self, key: ClientKey, outcome: Outcome, write: impl FnOnce(&mut Vec<u8>)) {
        self.counters.request(Class::Local, outcome);
        if let Some(client) = self.client_mut(key) {
            client.replies.answer(write);
            self.mark_client(key);
        }
    }

    fn refuse(&mut self, key: ClientKey, args: Args<'_>, refusal: &Refusal) {
        self.answer(key, Outcome::Error, |out| refusal.write(args, out));
    }

    fn fail_at_once(&mut self, key: ClientKey, kind: FailureKind) {
        self.counters.failure(kind);
        let failure = crate::route::failure::Failure { kind, slot: None };
        self.answer(key, Outcome::Failed, |out| failure.write(out));
    }

    /// Answers bytes that are no request, behind all earlier replies, and closes.
    pub fn protocol_error(&mut self, key: ClientKey, error: ProtocolError) {
        self.counters.protocol_errors.add(1);
        self.answer(key, Outcome::Error, |out| encode::error(out, &format!("ERR {error}")));
        if let Some(client) = self.client_mut(key) {
            tracing::debug!(client = %client.address, %error, "closing a client");
            client.closing = true;
        }
    }
}
