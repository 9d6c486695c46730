//! A request comes in: from its bytes to a connection's queue, or to an answer at once.
//!
//! [`Router::request`] is the walk of a GET: look the command up, find the key's slot, its owner,
//! the connection; take a place in the client's reply order; append the bytes as they came. It
//! allocates nothing in steady state.

use super::detour::Parked;
use super::router::Router;
use crate::admin::counters::Outcome;
use crate::backend::connection::{ClientKey, Request, Traits};
use crate::backend::lanes::Lane;
use crate::client::gather::Gather;
use crate::client::local;
use crate::client::replies::Ticket;
use crate::client::state::Class;
use crate::route::failure::FailureKind;
use crate::route::plan::{self, Plan, Refusal};
use crate::route::read::{Bound, pick_replica};
use crate::route::retry::Cause;
use crate::route::split::{self, SplitKind};
use crate::route::unknown;
use pointsman_config::BackendKind;
use pointsman_protocol::Slot;
use pointsman_protocol::command::{self, CommandSpec, Flags, KeyError, ResponsePolicy};
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
        let Some(client) =
            self.clients.get_mut(key.index as usize).filter(|client| client.generation == key.generation)
        else {
            return Step::Close;
        };
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
        let inflight_max = client.listener.limits.inflight_max;
        if client.in_flight as usize >= inflight_max
            || client.replies.open_count() >= inflight_max
            || client.replies.held() > client.output_pause_bytes()
        {
            client.paused = true;
            return Step::Wait;
        }
        let (authenticated, replica_reads) = (client.authenticated, client.replica_reads);
        let (queueing, limited) = (client.transaction.is_some(), client.rates.is_some());
        let only_subscribes = !client.resp3 && client.is_subscribed();
        let monitors = client.monitor.is_some();
        let mut plan = plan::plan(args, authenticated, &self.division, &mut self.keys);
        client.last = plan.spec();
        if let Plan::Refuse(Refusal::Table(refusal)) = plan
            && authenticated
        {
            plan = self.plan_unknown(key, args, refusal);
        }
        if only_subscribes && let Some(step) = self.in_subscribed_mode(key, &plan, args) {
            return step;
        }
        if monitors && self.in_monitor_mode(key, plan.spec()) {
            return Step::Done;
        }
        if limited && let Some(step) = self.limited(key, &plan, args, frame.len()) {
            return step;
        }
        if self.pause.is_some_and(|pause| pause.holds(&plan)) {
            return self.wait(key);
        }
        // A read that went to a replica must not see what its client writes after it.
        if replica_reads > 0 && plan.may_write() {
            return self.wait(key);
        }
        if queueing {
            return self.in_transaction(key, plan, args);
        }
        match plan {
            Plan::Slot { spec, slot } => {
                let traits = Traits::of(spec);
                if traits.script {
                    self.note_script(spec, args);
                }
                self.send_to_slot(key, traits, slot, frame, args, inline);
                Step::Done
            }
            Plan::Primary { spec, slot } => {
                let traits = Traits { primary: true, ..Traits::of(spec) };
                self.send_to_slot(key, traits, slot, frame, args, inline);
                Step::Done
            }
            Plan::Split { spec, kind } => {
                self.send_in_parts(key, Traits::of(spec), kind, frame, args, inline);
                Step::Done
            }
            Plan::Everyone { spec } => {
                // Over several connections a node, only this keeps it in order with what comes before
                // it, and with what comes after.
                if self.client_mut(key).is_some_and(|client| client.in_flight > 0) {
                    return self.wait(key);
                }
                self.note_script(spec, args);
                self.send_to_primaries(key, spec, args);
                Step::Done
            }
            Plan::Shards { spec } => {
                // As with everyone.
                if self.client_mut(key).is_some_and(|client| client.in_flight > 0) {
                    return self.wait(key);
                }
                self.ask_shards(key, spec, args);
                if let Some(client) = self.client_mut(key) {
                    client.version = u64::MAX;
                }
                Step::Done
            }
            Plan::Local { spec } => local::answer(self, key, spec, args),
            Plan::Subscription { spec } => self.subscription(key, spec, args),
            Plan::Publish { spec, slot } => {
                if self.context.audience.is_empty() {
                    self.send_to_slot(key, Traits::of(spec), slot, frame, args, inline);
                } else {
                    self.publish(key, spec, slot, args);
                }
                Step::Done
            }
            Plan::Block { spec, slot } => self.block(key, spec, slot, args),
            Plan::Across { spec } => self.across_slots(key, spec, args),
            Plan::Wait { spec } => self.wait_for_copies(key, spec, args),
            Plan::Transaction(verb) => self.transaction_verb(key, verb, args),
            Plan::Nothing => {
                if let Some(client) = self.client_mut(key) {
                    client.replies.unanswered();
                }
                Step::Done
            }
            Plan::Refuse(refusal) if refusal.is_http(args) => self.close_browser(key),
            // The node finds the same mistake, and tells it in its own words and its own order. What may wait must
            // not reach a connection that others share, whatever a newer node takes it for.
            Plan::Refuse(Refusal::Keys(spec, error))
                if error != KeyError::Arity
                    && !spec.flags.has(Flags::BLOCKING)
                    && self.any_node_judges_keys() =>
            {
                self.send_to_slot(key, Traits::of(spec), plan::keyless_slot(), frame, args, inline);
                Step::Done
            }
            Plan::Refuse(Refusal::CrossSlot) if self.keeps_vigil(key, args) => self.keep_vigil(key, args),
            Plan::Refuse(refusal) => {
                self.refuse(key, args, &refusal);
                Step::Done
            }
        }
    }

    /// Judges a request that the command table refused.
    #[cold]
    fn plan_unknown(&mut self, key: ClientKey, args: Args<'_>, refusal: command::Refusal) -> Plan {
        let rule = self.context.config.unknown_commands;
        let announced = self.context.commands.load();
        let plan = unknown::plan(args, refusal, &announced, rule, &self.division, &mut self.keys);
        match plan.spec() {
            Some(spec) if unknown::is_unlisted(spec) => self.counters.unknown_by_rule.add(1),
            Some(_) => self.counters.unknown_announced.add(1),
            None if matches!(plan, Plan::Refuse(Refusal::Table(command::Refusal::UnknownCommand))) => {
                self.counters.unknown_refused.add(1);
                // A node may have learnt it since it was asked.
                self.context.commands.ask_again();
            }
            None => {}
        }
        if let Some(client) = self.client_mut(key) {
            client.last = plan.spec();
        }
        plan
    }

    /// Sends a request to the copy of its slot that should have it.
    #[inline]
    fn send_to_slot(
        &mut self,
        key: ClientKey,
        traits: Traits,
        slot: Slot,
        frame: &[u8],
        args: Args<'_>,
        inline: bool,
    ) {
        let Some(client) = self.clients.get_mut(key.index as usize) else { return };
        let ticket = client.replies.open();
        let request =
            Request { client: key, ticket, part: None, slot: Some(slot), traits, since: self.now, ahead: 0 };
        self.send(request, slot, |out| {
            if inline { encode::request_args(out, args) } else { out.extend_from_slice(frame) }
        });
    }

    /// Sends a request or a part of one by its slot. Its ticket is open.
    #[inline]
    pub(super) fn send(&mut self, mut request: Request, slot: Slot, write: impl Fn(&mut Vec<u8>)) {
        let Some(client) = self.clients.get_mut(request.client.index as usize) else { return };
        let may = !request.traits.write && !request.traits.primary && request.ahead == 0;
        let bound = if may { client.any_copy(self.now) } else { None };
        client.in_flight += 1;
        client.writes_in_flight += u32::from(request.traits.write);
        let (resp3, database) = (client.resp3, client.database);
        let Some(shard) = self.snapshot.topology.owner(slot) else {
            return self.park_new(request, Cause::ClusterDown, write);
        };
        let (node, readonly) = match bound.and_then(|bound| self.replica_of(shard, bound)) {
            Some(node) => {
                request.traits.replica = true;
                if let Some(client) = self.clients.get_mut(request.client.index as usize) {
                    client.replica_reads += 1;
                }
                (node, true)
            }
            None => (self.snapshot.topology.shard(shard).primary, false),
        };
        let per_node = self.context.config.connections_per_node;
        let spread = self.division.spread(slot, request.client.index);
        let lane = Lane { database, ..Lane::of(spread, resp3, readonly, per_node) };
        let id = self.connection_of(node, lane);
        self.enqueue(id, request, write);
    }

    /// Appends a request to a connection, or deals with one that cannot take it.
    #[inline]
    pub(super) fn enqueue(&mut self, id: usize, request: Request, write: impl Fn(&mut Vec<u8>)) {
        let now = self.now;
        let connection = &mut self.connections[id];
        if connection.shut {
            return match self.shut_out(id, &request) {
                Some(kind) => self.settle_failure(&request, kind),
                None => self.park_new(request, Cause::NotSent, write),
            };
        }
        // WAIT has a reply ahead as well, and is none.
        if request.ahead > 0 && connection.refuses_transactions && !request.traits.blocking {
            return self.refuse_transaction(id, &request);
        }
        if !connection.accepts(0, &self.context.queue) {
            return self.settle_failure(&request, FailureKind::Overloaded);
        }
        connection.enqueue(request, now, write);
        if !connection.dirty {
            self.mark_connection(id);
        }
    }

    /// The replica of a shard that may be read from now; `None` for the primary.
    pub(super) fn replica_of(&mut self, shard: ShardIndex, bound: Bound) -> Option<NodeIndex> {
        if !self.lag_is_fresh {
            return None;
        }
        self.turn = self.turn.wrapping_add(1);
        let replicas = &self.snapshot.topology.shard(shard).replicas;
        let copies = replicas.iter().map(|node| self.snapshot.copy(*node));
        let picked = pick_replica(copies, bound, self.turn).map(|place| replicas[place]);
        picked.filter(|node| !self.is_shut_out(*node))
    }

    /// Sends a command over several slots in parts, one a slot.
    fn send_in_parts(
        &mut self,
        key: ClientKey,
        traits: Traits,
        kind: SplitKind,
        frame: &[u8],
        args: Args<'_>,
        inline: bool,
    ) {
        let mut placed = std::mem::take(&mut self.placed);
        if split::place(kind, args, &self.division, &mut placed) {
            // All in one slot: the node does it as a whole.
            let slot = placed.first().map_or_else(plan::keyless_slot, |(slot, _)| *slot);
            self.send_to_slot(key, traits, slot, frame, args, inline);
        } else if let Some(client) = self.clients.get_mut(key.index as usize) {
            let ticket = client.replies.open_gather(Gather::split(kind, &placed));
            for (part, keys) in split::parts(&placed).enumerate() {
                let slot = keys[0].0;
                let request = self.part(key, ticket, part as u32, Some(slot), traits);
                self.send(request, slot, |out| split::encode_part(out, kind, args, keys));
            }
        }
        placed.clear();
        self.placed = placed;
    }

    /// Sends a command to the primary of every shard; what comes after waits for it. To be called with
    /// nothing of the client on its way.
    pub fn send_to_primaries(&mut self, key: ClientKey, spec: &'static CommandSpec, args: Args<'_>) {
        self.send_to_everyone(key, Traits::of(spec), spec.response_policy, args);
        if let Some(client) = self.client_mut(key) {
            client.version = u64::MAX;
        }
    }

    /// Sends a command without keys to the one node that answers for all.
    pub fn send_to_anyone(&mut self, key: ClientKey, spec: &'static CommandSpec, args: Args<'_>) {
        self.send_to_slot(key, Traits::of(spec), plan::keyless_slot(), &[], args, true);
    }

    /// Asks the primary of a slot about the slot itself.
    pub fn send_to_owner(&mut self, key: ClientKey, slot: Slot, args: Args<'_>) {
        let traits = Traits { primary: true, ..Traits::default() };
        self.send_to_slot(key, traits, slot, &[], args, true);
    }

    /// Answers a client later, in its place in the order; what it sends next waits until then. `work`
    /// gives the outcome, the reply, and whether to close the client behind it. It must end by itself.
    pub fn answer_later(
        &mut self,
        key: ClientKey,
        work: impl Future<Output = (Outcome, Vec<u8>, bool)> + 'static,
    ) {
        let (me, Some(client)) = (self.me.clone(), self.client_mut(key)) else { return };
        let ticket = client.replies.open();
        client.in_flight += 1;
        client.version = u64::MAX;
        tokio::task::spawn_local(async move {
            let (outcome, bytes, close) = work.await;
            let Some(router) = me.upgrade() else { return };
            let mut router = router.borrow_mut();
            router.read_clock();
            router.counters.request(Class::Local, outcome);
            let Some(client) = router.client_mut(key) else { return };
            client.in_flight = client.in_flight.saturating_sub(1);
            client.replies.fill(ticket, &bytes);
            if close {
                client.closing = true;
                client.wake();
            }
            router.mark_client(key);
            router.resume(key);
        });
    }

    /// Sends a command to the primary of every shard that owns slots.
    pub(super) fn send_to_everyone(
        &mut self,
        key: ClientKey,
        traits: Traits,
        policy: ResponsePolicy,
        args: Args<'_>,
    ) {
        let Some(shards) = self.all_shards() else {
            return self.fail_at_once(key, FailureKind::SlotUnserved);
        };
        let Some(client) = self.client_mut(key) else { return };
        let (resp3, database) = (client.resp3, client.database);
        let ticket = client.replies.open_gather(Gather::everyone(policy, shards.len() as u32));
        client.in_flight += shards.len() as u32;
        client.writes_in_flight += if traits.write { shards.len() as u32 } else { 0 };
        for (part, shard) in shards.into_iter().enumerate() {
            let request = self.part(key, ticket, part as u32, None, traits);
            let node = self.snapshot.topology.shard(shard).primary;
            let id = self.connection_of(node, Lane { resp3, readonly: false, database, index: 0 });
            self.enqueue(id, request, |out| encode::request_args(out, args));
        }
    }

    /// The shards that together have all keys, as far as is known; `None` if there is none. Where the
    /// shards are fixed, one of which no primary is known must not be left out in silence.
    pub(super) fn all_shards(&self) -> Option<Vec<ShardIndex>> {
        let topology = &self.snapshot.topology;
        if self.division.is_cluster() {
            return Some(topology.serving()).filter(|shards| !shards.is_empty());
        }
        self.division.homes().into_iter().map(|home| topology.owner(home)).collect()
    }

    pub(super) fn part(
        &self,
        client: ClientKey,
        ticket: Ticket,
        part: u32,
        slot: Option<Slot>,
        traits: Traits,
    ) -> Request {
        Request { client, ticket, part: Some(part), slot, traits, since: self.now, ahead: 0 }
    }

    /// Stops a client until something of it has been answered.
    pub(super) fn wait(&mut self, key: ClientKey) -> Step {
        if let Some(client) = self.client_mut(key) {
            client.paused = true;
        }
        Step::Wait
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

    /// True if a node that is not the right one for keys that we could not find would say so, or there is only one.
    /// Fixed shards know nothing of each other: they would carry it out, beside the data.
    pub(super) fn any_node_judges_keys(&self) -> bool {
        let bundled = matches!(self.context.config.kind, BackendKind::Bundled(_));
        self.division.is_whole() || (self.division.is_cluster() && !bundled)
    }

    /// Bytes of another protocol, which waits for an answer that never comes: better to be gone.
    #[cold]
    pub fn close_tls(&mut self, key: ClientKey) {
        self.counters.protocol_errors.add(1);
        if let Some(client) = self.client_mut(key) {
            tracing::warn!(client = %client.address, "a client speaks TLS, which this listener does not; closing it");
            client.closing = true;
        }
    }

    /// A browser that a foreign page made talk to us: none of its lines may become a command.
    #[cold]
    fn close_browser(&mut self, key: ClientKey) -> Step {
        if let Some(client) = self.client_mut(key) {
            tracing::warn!(client = %client.address, "a client speaks HTTP, possibly on behalf of a foreign web page; closing it");
            client.closing = true;
        }
        Step::Close
    }

    pub(super) fn refuse(&mut self, key: ClientKey, args: Args<'_>, refusal: &Refusal) {
        self.answer(key, Outcome::Error, |out| refusal.write(args, out));
    }

    pub(super) fn fail_at_once(&mut self, key: ClientKey, kind: FailureKind) {
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
