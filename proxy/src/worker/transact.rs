//! MULTI, EXEC, DISCARD, and what comes in between; see [`crate::client::transaction`].

use super::dispatch::Step;
use super::pin::{Pin, Turn, UNWATCH};
use super::router::Router;
use crate::admin::counters::Outcome;
use crate::backend::connection::{ClientKey, Phase, Request, Traits};
use crate::client::blocks::Block;
use crate::client::gather::Gather;
use crate::client::join::Special;
use crate::client::local::{self, greeting};
use crate::client::replies::Ticket;
use crate::client::transaction::{NotQueued, Transaction};
use crate::route::failure::FailureKind;
use crate::route::plan::{Plan, Refusal, Verb, keyless_slot};
use crate::route::retry::Cause;
use crate::route::split::{self, Placed, SplitKind};
use pointsman_config::{BackendKind, MultiAcrossSlots};
use pointsman_protocol::Slot;
use pointsman_protocol::command::{self, CommandSpec, KeyError, KeyPattern, ResponsePolicy};
use pointsman_protocol::resp::{Args, RequestDecoder, RequestLimits, encode};

impl Router {
    /// MULTI, EXEC or DISCARD, with or without a transaction open.
    #[cold]
    pub(super) fn transaction_verb(&mut self, key: ClientKey, verb: Verb, args: Args<'_>) -> Step {
        let bundled = matches!(self.context.config.kind, BackendKind::Bundled(_));
        let Some(client) = self.client_mut(key) else { return Step::Close };
        let open = client.transaction.is_some();
        match (verb, open) {
            // They would refuse MULTI and execute what comes behind it.
            (Verb::Multi | Verb::Watch, false) if bundled => self.tell(
                key,
                &format!(
                    "ERR the bundled nodes do not support '{}' yet",
                    String::from_utf8_lossy(args.at(0))
                ),
            ),
            (Verb::Multi, false) => {
                // What is watched decides the slot already.
                let slot = client.pin.as_ref().map(|pin| pin.slot);
                let transaction = Transaction::new(slot);
                let any = client.listener.multi_across_slots == MultiAcrossSlots::BestEffort;
                client.transaction =
                    Some(Box::new(if any { transaction.in_any_slots() } else { transaction }));
                self.answer(key, Outcome::Ok, |out| encode::simple(out, "OK"));
            }
            (Verb::Multi, true) => self.tell(key, "ERR MULTI calls can not be nested"),
            (Verb::Exec, false) => self.tell(key, "ERR EXEC without MULTI"),
            // What it sent before went over other connections: it must have happened before the node judges
            // whether a watched key has changed.
            (Verb::Exec, true) if client.pin.is_some() && client.in_flight > 0 => return self.wait(key),
            (Verb::Exec, true) => {
                let queued = if self.is_observed() { self.queued(key) } else { None };
                self.execute(key);
                if let Some(queued) = queued {
                    self.observe_queued(key, queued);
                }
            }
            (Verb::Discard, false) => self.tell(key, "ERR DISCARD without MULTI"),
            (Verb::Discard, true) => {
                client.transaction = None;
                self.unwatch(key);
                self.answer(key, Outcome::Ok, |out| encode::simple(out, "OK"));
            }
            (Verb::Watch, true) => self.tell(key, "ERR WATCH inside MULTI is not allowed"),
            (Verb::Watch, false) => return self.watch(key, args),
            (Verb::Unwatch, _) => {
                self.unwatch(key);
                self.answer(key, Outcome::Ok, |out| encode::simple(out, "OK"));
            }
        }
        Step::Done
    }

    /// WATCH: over a connection of the client's own, which it keeps until EXEC, DISCARD or UNWATCH.
    fn watch(&mut self, key: ClientKey, args: Args<'_>) -> Step {
        let division = self.division.clone();
        let mut slots = args.iter().skip(1).map(|key| division.slot(key));
        let Some(slot) = slots.next() else { return Step::Done };
        let Some(client) = self.client_mut(key) else { return Step::Close };
        let (resp3, watching) = (client.resp3, client.pin.as_deref().copied());
        if slots.any(|other| other != slot) || watching.is_some_and(|pin| pin.slot != slot) {
            self.refuse(key, args, &Refusal::CrossSlot);
            return Step::Done;
        }
        // What came before must have happened before the node begins to watch; what comes behind it
        // waits as well (see `version` below), so that no read of a watched key overtakes this.
        if client.in_flight > 0 {
            return self.wait(key);
        }
        let connection = match watching {
            // Already lost: EXEC will answer null, whatever else is watched.
            Some(Pin { connection: None, .. }) => {
                self.answer(key, Outcome::Ok, |out| encode::simple(out, "OK"));
                return Step::Done;
            }
            Some(Pin { connection: Some(id), .. }) => Some(id),
            None => {
                let Some(shard) = self.snapshot.topology.owner(slot) else {
                    self.fail_at_once(key, FailureKind::SlotUnserved);
                    return Step::Done;
                };
                let node = self.snapshot.topology.shard(shard).primary;
                let address = self.snapshot.topology.node(node).address.clone();
                match self.pin_turn(key) {
                    Turn::Later => return self.wait(key),
                    Turn::Never => None,
                    Turn::Now => self.take_pin(address, resp3, key),
                }
            }
        };
        let Some(id) = connection else {
            self.fail_at_once(key, FailureKind::TooManyPins);
            return Step::Done;
        };
        let now = self.now;
        let Some(client) = self.client_mut(key) else { return Step::Close };
        let watches = watching.map_or(0, |pin| pin.watches) + 1;
        client.pin = Some(Box::new(Pin { connection: Some(id), slot, watches }));
        client.in_flight += 1;
        client.version = u64::MAX;
        let request = Request {
            client: key,
            ticket: client.replies.open(),
            part: None,
            slot: Some(slot),
            traits: Traits { pinned: true, ..Traits::default() },
            since: now,
            ahead: 0,
        };
        self.enqueue(id, request, |out| encode::request_args(out, args));
        Step::Done
    }

    /// What a client watched has been lost, or its slot has moved: a transaction that relies on it must
    /// not be executed. True if the request that failed needs no other answer than this gives.
    #[cold]
    pub(super) fn pinned_failed(&mut self, request: &Request, cause: Cause) -> bool {
        let key = request.client;
        if request.ahead == 0 {
            let before = self.client_mut(key).and_then(|client| client.pin.as_deref().copied());
            self.close_pin_of(key);
            let selects = request.part.is_some();
            let Some(before) = before.filter(|pin| pin.watches > 1 || selects) else {
                // The first WATCH: it goes again, over another connection.
                return false;
            };
            // What was watched before is not any more: EXEC will answer null.
            if let Some(client) = self.client_mut(key) {
                client.pin = Some(Box::new(Pin { connection: None, ..before }));
            }
            self.settle(request, b"+OK\r\n", Outcome::Ok);
            return true;
        }
        if cause == Cause::Auth || (cause == Cause::LostAfterSend && request.traits.write) {
            return false;
        }
        let resp3 = self.client_mut(key).is_some_and(|client| client.resp3);
        let mut out = Vec::new();
        encode::null_array(&mut out, resp3);
        self.settle(request, &out, Outcome::Ok);
        true
    }

    /// A request of a client that has a transaction open.
    #[cold]
    pub(super) fn in_transaction(&mut self, key: ClientKey, plan: Plan, args: Args<'_>) -> Step {
        let facade = self.client_mut(key).is_some_and(|client| client.listener.facade);
        let queued = match plan {
            // It says nothing to the node: EXEC forgets what was watched in any case.
            Plan::Transaction(Verb::Unwatch) => self.queue_local(key, args),
            Plan::Transaction(verb) => return self.transaction_verb(key, verb, args),
            Plan::Nothing => return Step::Done,
            // These act at once, whatever is queued.
            Plan::Local { spec } if matches!(spec.name, "QUIT" | "RESET") => {
                if let Some(client) = self.client_mut(key) {
                    client.transaction = None;
                }
                self.unwatch(key);
                return local::answer(self, key, spec, args);
            }
            // In a transaction nothing waits.
            Plan::Slot { spec, slot }
            | Plan::Primary { spec, slot }
            | Plan::Block { spec, slot }
            | Plan::Publish { spec, slot } => {
                self.queue(key, spec, self.has_keys(spec).then_some(slot), args)
            }
            Plan::Split { spec, kind } => {
                let mut placed = std::mem::take(&mut self.placed);
                let one = split::place(kind, args, &self.division, &mut placed);
                let slot = placed.first().map(|(slot, _)| *slot);
                let queued = match kind {
                    _ if one => self.queue(key, spec, slot, args),
                    // Its values would have to be sorted into an array within the array.
                    SplitKind::Mget | SplitKind::JsonMget => Err(Refused::NotQueued(NotQueued::CrossSlot)),
                    SplitKind::Mset | SplitKind::Sum => self.queue_parts(key, spec, kind, &placed, args),
                };
                self.placed = placed;
                queued
            }
            // Its number of arguments fits, what they say does not: the server finds that when it executes it.
            Plan::Refuse(Refusal::Keys(spec, error))
                if error != KeyError::Arity && self.any_node_judges_keys() =>
            {
                self.queue(key, spec, None, args)
            }
            Plan::Refuse(Refusal::Table(command::Refusal::Arity(spec))) if spec.accepts(args.len()) => {
                let slot = args.get(1).map(|first| self.division.slot(first));
                self.queue(key, spec, slot, args)
            }
            Plan::Refuse(Refusal::Table(command::Refusal::Arity(spec))) if spec.name == "EXEC" => {
                // As in Redis, this ends the transaction.
                if let Some(client) = self.client_mut(key) {
                    client.transaction = None;
                }
                self.unwatch(key);
                self.refuse(key, args, &Refusal::Table(command::Refusal::Arity(spec)));
                return Step::Done;
            }
            Plan::Local { spec } if spec.name == "SELECT" && !self.division.is_cluster() => {
                self.queue_select(key, spec, args)
            }
            // One node does these as part of the whole. A cursor of SCAN is the proxy's, not the node's.
            Plan::Everyone { spec } | Plan::Shards { spec }
                if self.division.is_whole() && spec.name != "SCAN" =>
            {
                self.queue(key, spec, None, args)
            }
            // What changes the connection itself cannot wait for EXEC: it would decide how to read on.
            Plan::Local { spec } if !changes_the_connection(spec) && !local::needs_others(spec, facade) => {
                self.queue_local(key, args)
            }
            Plan::Local { spec }
            | Plan::Everyone { spec }
            | Plan::Shards { spec }
            | Plan::Wait { spec }
            | Plan::Subscription { spec } => Err(Refused::NotInTransaction(spec)),
            Plan::Across { .. } => Err(Refused::NotQueued(NotQueued::CrossSlot)),
            Plan::Refuse(refusal) => Err(Refused::Plan(refusal)),
        };
        match queued {
            Ok(()) => self.answer(key, Outcome::Ok, |out| encode::simple(out, "QUEUED")),
            Err(refused) => {
                if let Some(transaction) = self.client_mut(key).and_then(|client| client.transaction.as_mut())
                {
                    transaction.abort();
                }
                match refused {
                    Refused::Plan(refusal) => self.refuse(key, args, &refusal),
                    Refused::NotQueued(NotQueued::CrossSlot) => self.refuse(key, args, &Refusal::CrossSlot),
                    Refused::NotQueued(NotQueued::TooLarge) => {
                        self.tell(key, "ERR the transaction is larger than request_bytes_max allows")
                    }
                    Refused::NotInTransaction(spec) => self.tell(
                        key,
                        &format!(
                            "ERR '{}' is not available between MULTI and EXEC through the proxy",
                            spec.name.replace('|', " ")
                        ),
                    ),
                }
            }
        }
        Step::Done
    }

    fn queue(
        &mut self,
        key: ClientKey,
        spec: &'static CommandSpec,
        slot: Option<Slot>,
        args: Args<'_>,
    ) -> Result<(), Refused> {
        let mut script = Vec::new();
        let runs_a_script = Traits::of(spec).script;
        if runs_a_script {
            self.queue_script(args, &mut script);
        }
        let Some(client) = self.client_mut(key) else { return Ok(()) };
        let bytes_max = client.listener.request_limits.request_bytes_max as usize;
        let Some(transaction) = &mut client.transaction else { return Ok(()) };
        let write = |out: &mut Vec<u8>| match runs_a_script {
            true => out.extend_from_slice(&script),
            false => encode::request_args(out, args),
        };
        transaction.queue(spec, slot, bytes_max, write).map_err(Refused::NotQueued)
    }

    fn queue_parts(
        &mut self,
        key: ClientKey,
        spec: &'static CommandSpec,
        kind: SplitKind,
        placed: &[Placed],
        args: Args<'_>,
    ) -> Result<(), Refused> {
        let Some(client) = self.client_mut(key) else { return Ok(()) };
        let bytes_max = client.listener.request_limits.request_bytes_max as usize;
        let Some(transaction) = &mut client.transaction else { return Ok(()) };
        let parts = split::parts(placed).map(|part| (part[0].0, part));
        transaction
            .queue_parts(spec, parts, bytes_max, |out, part| split::encode_part(out, kind, args, part))
            .map_err(Refused::NotQueued)
    }

    /// SELECT in a transaction: it holds for what is queued behind it, and for the client afterwards.
    fn queue_select(
        &mut self,
        key: ClientKey,
        spec: &'static CommandSpec,
        args: Args<'_>,
    ) -> Result<(), Refused> {
        let Ok(database) = greeting::select(args, self.databases()) else {
            // The error comes with EXEC, as Redis has it.
            return self.queue_local(key, args);
        };
        if let Some(transaction) = self.client_mut(key).and_then(|client| client.transaction.as_mut()) {
            transaction.selects(database).map_err(Refused::NotQueued)?;
        }
        self.queue(key, spec, None, args)
    }

    /// How many databases clients may select.
    pub fn databases(&self) -> u16 {
        match self.division.is_cluster() {
            true => 1,
            false => self.context.config.databases_max.min(self.context.snapshots.databases()),
        }
    }

    /// A client selects a database. Nothing of it is on its way. False if its answer comes later: a connection that
    /// watches keys for it goes along, and whether it does, its node says.
    pub fn select(&mut self, key: ClientKey, database: u16) -> bool {
        let pin = self.client_mut(key).and_then(|client| client.pin.as_deref().copied());
        let id = pin.and_then(|pin| pin.connection).filter(|id| {
            self.connections.get(*id).is_some_and(|connection| connection.lane.database != database)
        });
        let Some(client) = self.client_mut(key) else { return true };
        let (Some(id), Some(pin)) = (id, pin) else {
            client.database = database;
            return true;
        };
        let ticket = client.replies.open_gather(Gather::everyone(ResponsePolicy::AllSucceeded, 1));
        client.selecting = Some((ticket, database));
        client.in_flight += 1;
        client.version = u64::MAX;
        let traits = Traits { pinned: true, ..Traits::default() };
        let request = self.part(key, ticket, 0, Some(pin.slot), traits);
        self.enqueue(id, request, |out| encode::request(out, &["SELECT", &database.to_string()]));
        false
    }

    fn queue_local(&mut self, key: ClientKey, args: Args<'_>) -> Result<(), Refused> {
        let Some(client) = self.client_mut(key) else { return Ok(()) };
        let bytes_max = client.listener.request_limits.request_bytes_max as usize;
        match &mut client.transaction {
            Some(transaction) => transaction.queue_local(args, bytes_max).map_err(Refused::NotQueued),
            None => Ok(()),
        }
    }

    /// Whether the request just planned has keys; `keys` still holds those that had to be searched for.
    fn has_keys(&self, spec: &CommandSpec) -> bool {
        match spec.pattern {
            KeyPattern::None => false,
            KeyPattern::One(_) => true,
            KeyPattern::Range { .. } | KeyPattern::Complex => !self.keys.is_empty(),
        }
    }

    /// EXEC: the whole transaction goes out.
    fn execute(&mut self, key: ClientKey) {
        let Some(client) = self.client_mut(key) else { return };
        let Some(mut transaction) = client.transaction.take() else { return };
        if transaction.is_aborted() {
            self.unwatch(key);
            return self.tell(key, "EXECABORT Transaction discarded because of previous errors.");
        }
        // With keys watched only the answer tells whether it was executed (`note_executed`).
        if client.pin.is_none()
            && let Some(frames) = transaction.with_scripts()
        {
            self.note_scripts_in(frames);
        }
        let local = self.answer_queued(key, transaction.local());
        let Some(client) = self.client_mut(key) else { return };
        let pin = client.pin.take();
        let (resp3, database) = (client.resp3, client.database);
        // Lost, or it speaks what the client spoke before HELLO.
        let connection = pin.as_ref().and_then(|pin| self.connections.get(pin.connection?));
        if pin.is_some() && connection.is_none_or(|connection| connection.lane.resp3 != resp3) {
            if let Some(id) = pin.and_then(|pin| pin.connection) {
                self.give_up(id);
            }
            return self.answer(key, Outcome::Ok, |out| encode::null_array(out, resp3));
        }
        // With keys watched even an empty transaction may be refused.
        if transaction.sent() == 0 && pin.is_none() {
            return self.answer(key, Outcome::Ok, |out| {
                encode::array_head(out, local.len());
                local.iter().for_each(|(_, reply)| out.extend_from_slice(reply));
            });
        }
        if let Some(blocks) = transaction.blocks() {
            return match pin.and_then(|pin| pin.connection) {
                None => self.execute_blocks(key, blocks, local),
                Some(id) => self.execute_guarded(key, id, blocks, local),
            };
        }
        let Some(client) = self.client_mut(key) else { return };
        let selects = transaction.selected();
        if selects.is_some() {
            transaction.come_back_to(database);
        }
        let (ticket, part) = match local.is_empty() && selects.is_none() {
            true => (client.replies.open(), None),
            false => (client.replies.open_gather(Gather::exec(local, selects.is_some())), Some(0)),
        };
        client.selecting = selects.map(|database| (ticket, database));
        let slot = transaction.slot().unwrap_or_else(keyless_slot);
        let request = Request {
            client: key,
            ticket,
            part,
            slot: Some(slot),
            traits: Traits { write: transaction.writes(), pinned: pin.is_some(), ..Traits::default() },
            since: self.now,
            ahead: transaction.replies_ahead(),
        };
        let Some(id) = pin.and_then(|pin| pin.connection) else {
            self.send(request, slot, |out| transaction.write(out));
            if let Some(client) = self.client_mut(key).filter(|_| selects.is_some()) {
                // In which database the next request is, only the reply tells.
                client.version = u64::MAX;
            }
            return;
        };
        if let Some(client) = self.client_mut(key) {
            client.in_flight += 1;
            client.writes_in_flight += u32::from(request.traits.write);
            // What comes behind it goes over other connections, and must not overtake it.
            client.version = u64::MAX;
        }
        self.enqueue(id, request, |out| transaction.write(out));
        // EXEC leaves nothing behind: the next client may have it at once, behind what is on it.
        self.release_pin(id);
    }

    /// A transaction for a node that does not let us execute any.
    #[cold]
    pub(super) fn refuse_transaction(&mut self, id: usize, request: &Request) {
        let now = self.now;
        if request.traits.pinned
            && let Some(connection) = self.connections.get_mut(id)
        {
            // EXEC would have ended that.
            connection.enqueue_swallowed(UNWATCH, now);
            self.mark_connection(id);
        }
        self.settle_failure(request, FailureKind::NoTransactions);
    }

    /// A node that does not let us execute transactions comes up: those that wait for it fail, all else
    /// that waits stays.
    #[cold]
    pub(super) fn refuse_waiting_transactions(&mut self, id: usize) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(id) else { return };
        let mut refused = Vec::new();
        for waiting in connection.down(Phase::Connecting) {
            let request = waiting.entry.request;
            // What is for nobody comes again with what it is for (ASKING), or has nothing to undo (UNWATCH).
            if request.client == ClientKey::NOBODY {
                continue;
            }
            // WAIT has a reply ahead as well, and is none.
            if request.ahead > 0 && !request.traits.blocking {
                refused.push(request);
            } else {
                connection.enqueue(request, now, |out| out.extend_from_slice(&waiting.bytes));
            }
        }
        for request in refused {
            self.settle_failure(&request, FailureKind::NoTransactions);
        }
    }

    /// What the error that EXEC got says of our right to transactions, if that was taken away meanwhile: the
    /// connection may be in the middle of one, and is closed.
    #[cold]
    pub(super) fn transactions_lost(
        &mut self,
        id: usize,
        request: &Request,
        reply: &[u8],
    ) -> Option<FailureKind> {
        // Without its MULTI each command was executed by itself.
        let alone = reply.starts_with(b"-ERR EXEC without MULTI");
        if !alone && !reply.starts_with(b"-NOPERM") {
            return None;
        }
        let connection = self.connections.get_mut(id)?;
        connection.close = Some("it does not let us execute transactions any more");
        connection.wake();
        Some(if alone && request.traits.write {
            FailureKind::WriteUnknown
        } else {
            FailureKind::NoTransactions
        })
    }

    /// A transaction over several slots goes out as one a slot.
    fn execute_blocks(&mut self, key: ClientKey, blocks: Vec<Block>, local: Vec<(u32, Vec<u8>)>) {
        let Some(client) = self.client_mut(key) else { return };
        let places = blocks.iter().map(|block| block.places.clone()).collect();
        let gather = Gather::special(Special::Blocks(places, local), blocks.len() as u32);
        let ticket = client.replies.open_gather(gather);
        self.send_blocks(key, ticket, (0..).zip(&blocks));
    }

    /// Sends parts of a transaction over several slots, with their numbers.
    pub(super) fn send_blocks<'a>(
        &mut self,
        key: ClientKey,
        ticket: Ticket,
        blocks: impl Iterator<Item = (u32, &'a Block)>,
    ) {
        for (part, block) in blocks {
            let request = self.block_request(key, ticket, part, block);
            self.send(request, block.slot, |out| out.extend_from_slice(&block.bytes));
        }
    }

    /// The request of a part of a transaction over several slots.
    pub(super) fn block_request(&self, key: ClientKey, ticket: Ticket, part: u32, block: &Block) -> Request {
        let traits = Traits { write: block.writes, ..Traits::default() };
        Request {
            ahead: block.places.len() as u32 + 1,
            ..self.part(key, ticket, part, Some(block.slot), traits)
        }
    }

    /// The replies to the queued commands that the proxy answers.
    fn answer_queued(&mut self, key: ClientKey, queued: &[(u32, Vec<u8>)]) -> Vec<(u32, Vec<u8>)> {
        let mut decoder = RequestDecoder::new();
        let mut answers = Vec::new();
        for (place, frame) in queued {
            // It was decoded and resolved when it was queued.
            if let Ok(Some(_)) = decoder.next(frame, &RequestLimits::ADMITTED)
                && let Ok(spec) = command::resolve(decoder.args(frame))
            {
                let reply = match spec.name {
                    "UNWATCH" => b"+OK\r\n".to_vec(),
                    _ => local::reply(self, key, spec, decoder.args(frame)).1,
                };
                answers.push((*place, reply));
            }
        }
        answers
    }

    /// Answers with an error.
    fn tell(&mut self, key: ClientKey, text: &str) {
        self.answer(key, Outcome::Error, |out| encode::error(out, text));
    }
}

/// True for what the proxy answers by changing how it talks to the client, or what it lets it do.
fn changes_the_connection(spec: &CommandSpec) -> bool {
    matches!(
        spec.name,
        "HELLO" | "AUTH" | "CLIENT|REPLY" | "CLIENT|KILL" | "CLIENT|PAUSE" | "CLIENT|TRACKING" | "MONITOR"
    )
}

/// Why a command was not queued.
enum Refused {
    Plan(Refusal),
    NotQueued(NotQueued),
    NotInTransaction(&'static CommandSpec),
}

#[cfg(test)]
#[path = "transact_tests.rs"]
mod tests;
