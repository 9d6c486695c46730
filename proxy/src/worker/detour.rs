//! Requests that go a second time, without losing their order.
//!
//! When an attempt comes to nothing and may be repeated, the request is parked with its client.
//! The parked requests of one slot go out one after the other: the next only when the one before it
//! has been answered, because the node it goes to may itself send the first one elsewhere. Requests
//! of different slots do not wait for each other. Until a client's detour is empty, and everything
//! it had in flight has been answered, nothing new is read from it ([`super::dispatch`]), so nothing
//! can overtake. That is one pause a client for a slot that moved, and no cost for anyone else.

use super::block::{self, Again};
use super::hold::{self, Held, Waited};
use super::pin::Pin;
use super::router::Router;
use crate::admin::counters::Outcome;
use crate::backend::connection::{ClientKey, InFlight, Request, Traits};
use crate::backend::lanes::Lane;
use crate::client::replies::Ticket;
use crate::client::state::Client;
use crate::route::failure::FailureKind;
use crate::route::retry::{Cause, Facts, Hint, RetryLimits, Verdict, decide, exhausted};
use pointsman_protocol::command::{self, keys};
use pointsman_protocol::resp::{RequestDecoder, RequestLimits, encode};
use pointsman_protocol::{HostPort, Slot};
use slab::Slab;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

/// A request on its way to a second attempt.
#[derive(Debug)]
pub struct Parked {
    request: Request,
    bytes: Vec<u8>,
    /// Where the redirect said to go; `None` to plan anew.
    to: Option<HostPort>,
    /// Not before this moment of the worker's clock.
    not_before: u64,
    /// What its client is told if there is no further attempt.
    give: FailureKind,
    /// It waits for a primary; how many times before.
    held: Option<(Held, u8)>,
}

impl Parked {
    /// A request whose attempt just failed.
    pub fn new(request: Request, bytes: Vec<u8>) -> Parked {
        Parked { request, bytes, to: None, not_before: 0, give: FailureKind::Unreachable, held: None }
    }
}

/// One client's requests that go a second time, in the order of their tickets.
#[derive(Debug, Default)]
pub struct Detour {
    parked: VecDeque<Parked>,
    /// Slots with a second attempt on its way.
    busy: Vec<Slot>,
    /// First attempts still on their way for slots that have parked requests. What is parked waits for
    /// them: the node that sent one request elsewhere may execute the next (the slot left and came
    /// back), and then the parked one must not go any more.
    ahead: HashMap<Slot, usize>,
    /// Of those that have waited for a primary and are on their way again. There are no more of them than the
    /// client has in flight: while it is on a detour it begins nothing.
    waited: Vec<Waited>,
}

/// What is due at a moment.
#[derive(Clone, Copy, Debug)]
struct Due {
    now: u64,
    /// Clients who asked then or earlier are not to wait longer.
    overdue: u64,
    /// The same of what waits for a primary.
    held_overdue: u64,
    /// Of the map: what waits for a primary goes when it changes.
    version: u64,
}

impl Detour {
    fn is_over(&self) -> bool {
        self.parked.is_empty() && self.busy.is_empty()
    }

    /// Parks a request at its place in the client's order.
    fn insert(&mut self, parked: Parked) {
        let behind = |other: &Parked| is_earlier(parked.request.ticket, other.request.ticket);
        // Attempts mostly fail in order, so the place is mostly the end.
        let place = self.parked.iter().rposition(|other| !behind(other)).map_or(0, |place| place + 1);
        self.parked.insert(place, parked);
    }

    /// A first attempt of a slot came back, one way or the other.
    fn first_attempt_is_back(&mut self, slot: Option<Slot>) {
        if let Some(slot) = slot
            && let Some(count) = self.ahead.get_mut(&slot)
        {
            *count -= 1;
            if *count == 0 {
                self.ahead.remove(&slot);
            }
        }
    }

    /// Takes out what came before `later` and must not come behind it: it shares a key with it, and one of them
    /// writes. Each with what its client is told.
    fn take_overtaken(&mut self, later: &Request, bytes: &[u8]) -> Vec<(Request, FailureKind)> {
        let mut overtaken = Vec::new();
        self.parked.retain(|parked| {
            let before = later.slot.is_some()
                && parked.request.slot == later.slot
                && (parked.request.traits.write || later.traits.write)
                && is_earlier(parked.request.ticket, later.ticket);
            let fails = before && share_a_key(&parked.bytes, bytes);
            if fails {
                overtaken.push((parked.request, parked.give));
            }
            !fails
        });
        overtaken
    }

    /// Takes the requests that may go now: not before their time, and of each slot only the first,
    /// while none of it is under way.
    /// One whose time is up goes in any case.
    fn take_due(&mut self, when: Due) -> Vec<Parked> {
        let mut held: HashSet<Slot> = self.busy.iter().copied().chain(self.ahead.keys().copied()).collect();
        let (mut due, mut kept) = (Vec::new(), VecDeque::new());
        for parked in self.parked.drain(..) {
            let first = parked.request.slot.is_none_or(|slot| held.insert(slot));
            let (another_map, overdue) = match &parked.held {
                Some((held, _)) => (held.version != when.version, when.held_overdue),
                None => (false, when.overdue),
            };
            let goes =
                (first && (another_map || parked.not_before <= when.now)) || parked.request.since <= overdue;
            if goes {
                self.busy.extend(parked.request.slot);
                due.push(parked);
            } else {
                kept.push_back(parked);
            }
        }
        self.parked = kept;
        due
    }
}

/// The detour of a request's client, if it is on one.
fn detour_of<'a>(clients: &'a mut Slab<Client>, request: &Request) -> Option<&'a mut Detour> {
    let client = clients.get_mut(request.client.index as usize)?;
    if client.generation == request.client.generation { client.detour.as_deref_mut() } else { None }
}

/// True if `one` was opened before `other`; fewer than 2^31 are ever open at once.
fn is_earlier(one: Ticket, other: Ticket) -> bool {
    (one.0.wrapping_sub(other.0) as i32) < 0
}

/// The traits of a request that is planned anew.
fn after_a_wait(traits: Traits, limits: &RetryLimits) -> Traits {
    Traits {
        asking: false,
        attempts: traits.attempts + 1,
        redirects: limits.redirects_after_a_wait(traits.redirects),
        ..traits
    }
}

/// True if two requests, as they go over the wire, have a key in common.
fn share_a_key(one: &[u8], other: &[u8]) -> bool {
    // A transaction is several commands.
    let keys_of = |mut bytes: &[u8]| -> Vec<Vec<u8>> {
        let (mut decoder, mut found, mut keys) = (RequestDecoder::new(), Vec::new(), Vec::new());
        while let Ok(Some(len)) = decoder.next(bytes, &RequestLimits::ADMITTED) {
            let args = decoder.args(bytes);
            match command::resolve(args) {
                Ok(spec) if keys::find(spec, args, &mut found).is_ok() => {
                    keys.extend(found.iter().map(|key| args.at(key.index as usize).to_vec()));
                }
                // Sent by what the node announced, or by the operator's rule: any argument may be a key.
                _ => keys.extend(args.iter().skip(1).map(<[u8]>::to_vec)),
            }
            bytes = &bytes[len..];
        }
        keys
    };
    let keys: HashSet<Vec<u8>> = keys_of(one).into_iter().collect();
    keys_of(other).iter().any(|key| keys.contains(key))
}

impl Router {
    /// Deals with an attempt that came to nothing: another one, or an error for the client. `to` is
    /// where a redirect points.
    #[cold]
    pub(super) fn attempt_failed(&mut self, mut parked: Parked, cause: Cause, to: Option<HostPort>) {
        if parked.request.traits.blocking {
            return self.blocking_failed(parked, cause, to);
        }
        let tries = self.waited_before(&mut parked.request);
        let request = &mut parked.request;
        let jitter = self.jitter();
        let hold = self.context.config.failover_hold;
        // A command to a shard as a whole is not repeated, nor what a connection of its client's own broke under.
        let waits =
            !hold.time.is_zero() && hold::may_wait(cause) && request.slot.is_some() && !request.traits.pinned;
        let patience = match waits {
            true => hold::patience(self.context.config.request_timeout, &hold),
            false => self.context.config.request_timeout,
        };
        let deadline = request.since.saturating_add(Self::micros(patience));
        let facts = Facts {
            is_write: request.traits.write,
            redirects: request.traits.redirects,
            attempts: if waits { tries.unwrap_or(0) } else { request.traits.attempts },
            waits,
            time_left: Duration::from_micros(deadline.saturating_sub(self.now)),
        };
        let (verdict, hint) = decide(cause, &facts, &self.context.retry, jitter);
        match (hint, request.slot, &to) {
            (Hint::SlotMoved, Some(slot), Some(to)) if !request.traits.script => {
                self.context.snapshots.slot_moved(slot, to)
            }
            (Hint::None, ..) => {}
            _ => self.context.snapshots.request_refresh(cause.label()),
        }
        if parked.request.traits.pinned && self.pinned_failed(&parked.request, cause) {
            return;
        }
        let request = &mut parked.request;
        // A command to a shard as a whole is not repeated: another shard would not be the same.
        let verdict = match verdict {
            Verdict::PlanAgain { .. } | Verdict::Resend { .. } if request.slot.is_none() => {
                Verdict::Give(exhausted(cause, facts.is_write))
            }
            verdict => verdict,
        };
        parked.give = exhausted(cause, request.traits.write);
        let verdict = match verdict {
            // A replica that cannot be asked: the primary can be, at once.
            Verdict::PlanAgain { .. }
                if request.traits.replica && request.traits.attempts == 0 && cause == Cause::NotSent =>
            {
                Verdict::PlanAgain { after: Duration::ZERO }
            }
            Verdict::PlanAgain { .. } if waits => {
                let version = self.snapshot.version;
                // One that waits already keeps its room.
                let held = match parked.held.take() {
                    Some((mut held, _)) => {
                        held.version = version;
                        Some(held)
                    }
                    None => Held::take(&self.counters, &hold, parked.bytes.len(), version),
                };
                match held {
                    Some(held) => {
                        self.counters.held_total.add(u64::from(tries.is_none()));
                        parked.held = Some((held, tries.unwrap_or(0).saturating_add(1)));
                        verdict
                    }
                    None => Verdict::Give(FailureKind::HoldFull),
                }
            }
            // What was not sent costs no node anything.
            Verdict::PlanAgain { .. } if cause != Cause::NotSent && !self.budget_allows() => {
                Verdict::Give(parked.give)
            }
            verdict => verdict,
        };
        let request = &mut parked.request;
        match verdict {
            Verdict::Give(kind) => {
                let request = *request;
                self.counters.hold_given_up.add(u64::from(tries.is_some()));
                if request.traits.write && cause == Cause::LostAfterSend {
                    self.fail_perhaps_overtaken(&request, &parked.bytes);
                }
                return self.settle_failure(&request, kind);
            }
            Verdict::Resend { asking } => {
                request.traits = Traits { asking, redirects: request.traits.redirects + 1, ..request.traits };
                match cause {
                    Cause::NoScript => {}
                    _ if asking => self.counters.redirects_ask.add(1),
                    _ => self.counters.redirects_moved.add(1),
                }
                parked.to = to;
                parked.not_before = self.now;
            }
            Verdict::PlanAgain { after } => {
                let before = request.traits;
                request.traits = after_a_wait(before, &self.context.retry);
                if waits {
                    // To wait uses up no attempts; that it was not answered at once is to be seen.
                    request.traits.attempts = before.attempts.max(1);
                }
                parked.to = None;
                parked.not_before = self.now + Self::micros(after);
            }
        }
        self.counters.retry(cause);
        self.park(parked);
    }

    /// Takes what is remembered of a request that waited for a primary: when its client asked, which the request
    /// is told again, and how many times it has waited.
    fn waited_before(&mut self, request: &mut Request) -> Option<u8> {
        let waited = &mut detour_of(&mut self.clients, request)?.waited;
        let place = waited.iter().position(|waited| waited.of == (request.ticket, request.part))?;
        let waited = waited.swap_remove(place);
        request.since = waited.asked;
        Some(waited.tries)
    }

    /// Takes one more attempt out of the budget.
    fn budget_allows(&mut self) -> bool {
        let answered = self.counters.answered();
        let allows = self.budget.take(&self.context.budget, answered, self.now);
        self.counters.retries_denied.add(u64::from(!allows));
        allows
    }

    /// A blocking command came to nothing: it goes again with the time that is left, be it a write, unless it may
    /// have moved an element ([`super::block`]).
    fn blocking_failed(&mut self, mut parked: Parked, cause: Cause, to: Option<HostPort>) {
        let request = &mut parked.request;
        if self.client_mut(request.client).is_none() {
            // It has left, and its connection was closed for that.
            return;
        }
        // WAIT: what another primary has may not be what the first one had.
        if request.part.is_some() {
            let request = *request;
            return self.settle_failure(&request, exhausted(cause, false));
        }
        if cause == Cause::LostAfterSend && block::moves(&parked.bytes) {
            let request = *request;
            self.context.snapshots.request_refresh(cause.label());
            return self.settle_failure(&request, FailureKind::WriteUnknown);
        }
        match (request.slot, &to) {
            (Some(slot), Some(to)) if cause == Cause::Moved => self.context.snapshots.slot_moved(slot, to),
            _ => self.context.snapshots.request_refresh(cause.label()),
        }
        let facts = Facts {
            is_write: false,
            redirects: request.traits.redirects,
            attempts: request.traits.attempts,
            waits: false,
            time_left: self.context.config.request_timeout,
        };
        let jitter = self.jitter();
        let (verdict, _) = decide(cause, &facts, &self.context.retry, jitter);
        let waited = Duration::from_micros(self.now.saturating_sub(parked.request.since));
        let said_again = block::again(&parked.bytes, waited);
        let mut request = parked.request;
        let (to, after) = match (verdict, said_again) {
            (Verdict::Give(kind), _) => return self.settle_failure(&request, kind),
            (_, Again::Never) => return self.settle_failure(&request, exhausted(cause, false)),
            (_, Again::TimeIsUp) => {
                let resp3 = self.client_mut(request.client).is_some_and(|client| client.resp3);
                let mut out = Vec::new();
                // What every one of them answers then, BLMOVE too.
                encode::null_array(&mut out, resp3);
                return self.settle(&request, &out, Outcome::Ok);
            }
            (Verdict::Resend { asking }, Again::Send(bytes)) => {
                request.traits = Traits { asking, redirects: request.traits.redirects + 1, ..request.traits };
                parked.bytes = bytes;
                (to, Duration::ZERO)
            }
            (Verdict::PlanAgain { after }, Again::Send(bytes)) => {
                request.traits = after_a_wait(request.traits, &self.context.retry);
                parked.bytes = bytes;
                (None, after)
            }
        };
        self.counters.retry(cause);
        request.since = self.now;
        parked.request = request;
        parked.to = to;
        parked.give = exhausted(cause, false);
        parked.not_before = self.now + Self::micros(after);
        self.park(parked);
    }

    /// Parks a request with its client.
    fn park(&mut self, mut parked: Parked) {
        let key = parked.request.client;
        let again = std::mem::replace(&mut parked.request.traits.detour, true);
        let Some(client) =
            self.clients.get_mut(key.index as usize).filter(|client| client.generation == key.generation)
        else {
            return;
        };
        let is_new = client.detour.is_none();
        let detour = client.detour.get_or_insert_default();
        match parked.request.slot {
            Some(slot) if again => detour.busy.retain(|busy| *busy != slot),
            Some(slot) if detour.ahead.contains_key(&slot) => detour.first_attempt_is_back(Some(slot)),
            Some(slot) => {
                let is_ahead = |request: &Request| {
                    request.client == key && request.slot == Some(slot) && !request.traits.detour
                };
                let ahead = self.connections.iter().map(|(_, connection)| connection.count(is_ahead)).sum();
                if ahead > 0 {
                    detour.ahead.insert(slot, ahead);
                }
            }
            None => {}
        }
        detour.insert(parked);
        if is_new {
            self.detours.push(key);
            self.counters.detours.add(1);
            self.wake_ticker();
        }
        self.detours_due = true;
        self.wake_flusher();
    }

    /// A request of a client on a detour was answered: the next one of its slot may go.
    #[cold]
    pub(super) fn detour_settled(&mut self, key: ClientKey, slot: Option<Slot>, second: bool) {
        let Some(client) = self.client_mut(key) else { return };
        if let (Some(detour), Some(slot)) = (&mut client.detour, slot) {
            if second {
                detour.busy.retain(|busy| *busy != slot);
            } else {
                detour.first_attempt_is_back(Some(slot));
            }
            if detour.is_over() {
                client.detour = None;
            }
            self.detours_due = true;
            self.wake_flusher();
        }
    }

    /// Sends whatever is due, for every client on a detour.
    #[cold]
    pub(super) fn run_detours(&mut self) {
        let mut clients = std::mem::take(&mut self.detours);
        clients.retain(|key| {
            let config = &self.context.config;
            let (now, timeout) = (self.now, config.request_timeout);
            let patience = hold::patience(timeout, &config.failover_hold);
            let due = Due {
                now,
                overdue: now.saturating_sub(Self::micros(timeout)),
                held_overdue: now.saturating_sub(Self::micros(patience)),
                version: self.snapshot.version,
            };
            let detour = self.client_mut(*key).and_then(|client| client.detour.as_mut());
            for parked in detour.map(|detour| detour.take_due(due)).unwrap_or_default() {
                self.resend(parked);
            }
            let stays = self.client_mut(*key).is_some_and(|client| client.detour.is_some());
            if !stays {
                self.counters.detours.sub(1);
                self.resume(*key);
            }
            stays
        });
        clients.append(&mut self.detours);
        self.detours = clients;
    }

    /// A request was executed while an earlier one of its client waits for another attempt. If both
    /// touch the same key and one of them writes, the earlier must not be executed any more: it would
    /// come behind what it was sent before. Its client is told that it was not executed.
    #[cold]
    pub(super) fn fail_overtaken(&mut self, id: usize, executed: &InFlight) {
        let Some(detour) = detour_of(&mut self.clients, &executed.request) else { return };
        let bytes = self.connections[id].bytes_of(executed);
        let overtaken = detour.take_overtaken(&executed.request, bytes);
        self.settle_overtaken(executed.request.client, overtaken);
    }

    /// The same for a write that may have been executed: what came before it and waits for another attempt, a
    /// read too, would show what its client asked for later.
    #[cold]
    fn fail_perhaps_overtaken(&mut self, write: &Request, bytes: &[u8]) {
        let Some(detour) = detour_of(&mut self.clients, write) else { return };
        let overtaken = detour.take_overtaken(write, bytes);
        self.settle_overtaken(write.client, overtaken);
    }

    fn settle_overtaken(&mut self, key: ClientKey, overtaken: Vec<(Request, FailureKind)>) {
        for (request, give) in overtaken {
            self.settle_failure(&request, give);
        }
        if let Some(client) = self.client_mut(key)
            && client.detour.as_ref().is_some_and(|detour| detour.is_over())
        {
            client.detour = None;
            self.detours_due = true;
            self.wake_flusher();
        }
    }

    /// Sends a parked request: to where its redirect points, or to the primary of its slot.
    fn resend(&mut self, parked: Parked) {
        let Parked { mut request, bytes, to, give, held, .. } = parked;
        let Some(slot) = request.slot else { return };
        let key = request.client;
        let Some(client) = self.client_mut(key) else { return };
        let (resp3, database) = (client.resp3, client.database);
        let (timeout, hold) = (self.context.config.request_timeout, self.context.config.failover_hold);
        let patience = if held.is_some() { hold::patience(timeout, &hold) } else { timeout };
        if request.since.saturating_add(Self::micros(patience)) <= self.now {
            self.counters.hold_given_up.add(u64::from(held.is_some()));
            return self.settle_failure(&request, give);
        }
        if let Some((_, tries)) = &held {
            let of = (request.ticket, request.part);
            if let Some(detour) = detour_of(&mut self.clients, &request) {
                detour.waited.push(Waited { of, asked: request.since, tries: *tries });
            }
            request.since = hold::asked_for_attempt(request.since, self.now, timeout, &hold);
        }
        if request.traits.blocking {
            return self.send_blocking(request, to, &bytes);
        }
        let spread = self.division.spread(slot, key.index);
        let lane =
            Lane { database, ..Lane::of(spread, resp3, false, self.context.config.connections_per_node) };
        let id = match (to, self.snapshot.topology.owner(slot)) {
            (Some(to), _) => self.connection_to(to, lane),
            (None, Some(shard)) => {
                let primary = self.snapshot.topology.shard(shard).primary;
                self.connection_of(primary, lane)
            }
            (None, None) => {
                return self.attempt_failed(
                    Parked { held, ..Parked::new(request, bytes) },
                    Cause::ClusterDown,
                    None,
                );
            }
        };
        let id = match request.traits.pinned {
            false => id,
            true => {
                let address = self.connections[id].address.clone();
                let Some(id) = self.take_pin(address, resp3, key) else {
                    return self.settle_failure(&request, FailureKind::TooManyPins);
                };
                if let Some(client) = self.client_mut(key) {
                    client.pin = Some(Box::new(Pin { connection: Some(id), slot, watches: 1 }));
                }
                id
            }
        };
        if self.is_observed() {
            self.note_second_attempt(key, id);
        }
        if self.connections[id].shut {
            // What went to a replica first goes to the primary now.
            let to_primary = Request { traits: Traits { replica: false, ..request.traits }, ..request };
            if let Some(kind) = self.shut_out(id, &to_primary) {
                return self.settle_failure(&request, kind);
            }
            return self.attempt_failed(Parked { held, ..Parked::new(request, bytes) }, Cause::NotSent, None);
        }
        self.enqueue(id, request, |out| out.extend_from_slice(&bytes));
    }
}

#[cfg(test)]
#[path = "detour_tests.rs"]
mod tests;
