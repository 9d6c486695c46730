//! Requests that go a second time, without losing their order.
//!
//! When an attempt comes to nothing and may be repeated, the request is parked with its client.
//! The parked requests of one slot go out one after the other: the next only when the one before it
//! has been answered, because the node it goes to may itself send the first one elsewhere. Requests
//! of different slots do not wait for each other. Until a client's detour is empty, and everything
//! it had in flight has been answered, nothing new is read from it ([`super::dispatch`]), so nothing
//! can overtake. That is one pause a client for a slot that moved, and no cost for anyone else.

use super::router::Router;
use crate::backend::connection::{ClientKey, Phase, Request, Traits};
use crate::backend::lanes::Lane;
use crate::route::failure::FailureKind;
use crate::route::retry::{Cause, Facts, Hint, Verdict, decide};
use pointsman_protocol::{HostPort, Slot};
use std::collections::VecDeque;
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
}

impl Parked {
    /// A request whose attempt just failed.
    pub fn new(request: Request, bytes: Vec<u8>) -> Parked {
        Parked { request, bytes, to: None, not_before: 0 }
    }
}

/// One client's requests that go a second time, in the order they must have.
#[derive(Debug, Default)]
pub struct Detour {
    parked: VecDeque<Parked>,
    /// Slots with a second attempt on its way.
    busy: Vec<Slot>,
}

impl Detour {
    fn is_over(&self) -> bool {
        self.parked.is_empty() && self.busy.is_empty()
    }

    /// Takes the first request that may go now, if any: not before its time, and not while an
    /// earlier one of its slot is parked or under way.
    fn next_due(&mut self, now: u64) -> Option<Parked> {
        let mut held: Vec<Slot> = self.busy.clone();
        for index in 0..self.parked.len() {
            let parked = &self.parked[index];
            let slot = parked.request.slot?;
            if held.contains(&slot) {
                continue;
            }
            if parked.not_before <= now {
                return self.parked.remove(index);
            }
            held.push(slot);
        }
        None
    }
}

impl Router {
    /// Deals with an attempt that came to nothing: another one, or an error for the client. `to` is
    /// where a redirect points.
    #[cold]
    pub(super) fn attempt_failed(&mut self, mut parked: Parked, cause: Cause, to: Option<HostPort>) {
        let request = &mut parked.request;
        let jitter = self.jitter();
        let deadline = request.since.saturating_add(Self::micros(self.context.config.request_timeout));
        let facts = Facts {
            is_write: request.traits.write,
            redirects: request.traits.redirects,
            attempts: request.traits.attempts,
            time_left: Duration::from_micros(deadline.saturating_sub(self.now)),
        };
        let (verdict, hint) = decide(cause, &facts, &self.context.retry, jitter);
        match (hint, request.slot, &to) {
            (Hint::SlotMoved, Some(slot), Some(to)) => self.context.snapshots.slot_moved(slot, to),
            (Hint::None, ..) => {}
            _ => self.context.snapshots.request_refresh(cause.label()),
        }
        // A command to a shard as a whole is not repeated: another shard would not be the same.
        let verdict = match verdict {
            Verdict::PlanAgain { .. } | Verdict::Resend { .. } if request.slot.is_none() => {
                Verdict::Give(if facts.is_write && cause == Cause::LostAfterSend {
                    FailureKind::WriteUnknown
                } else {
                    FailureKind::Unreachable
                })
            }
            verdict => verdict,
        };
        let again = request.traits.detour;
        match verdict {
            Verdict::Give(kind) => {
                let request = *request;
                return self.settle_failure(&request, kind);
            }
            Verdict::Resend { asking } => {
                request.traits = Traits { asking, redirects: request.traits.redirects + 1, ..request.traits };
                if asking {
                    self.counters.redirects_ask.add(1)
                } else {
                    self.counters.redirects_moved.add(1)
                }
                parked.to = to;
                parked.not_before = self.now;
            }
            Verdict::PlanAgain { after } => {
                request.traits =
                    Traits { asking: false, attempts: request.traits.attempts + 1, ..request.traits };
                parked.to = None;
                parked.not_before = self.now + Self::micros(after);
            }
        }
        self.counters.retry(cause);
        self.park(parked, again);
    }

    /// Parks a request with its client: in front if it was on the detour already (it is the first of
    /// its slot), else behind the others.
    fn park(&mut self, mut parked: Parked, again: bool) {
        let key = parked.request.client;
        parked.request.traits.detour = true;
        let Some(client) = self.client_mut(key) else { return };
        let is_new = client.detour.is_none();
        let detour = client.detour.get_or_insert_default();
        if again {
            if let Some(slot) = parked.request.slot {
                detour.busy.retain(|busy| *busy != slot);
            }
            detour.parked.push_front(parked);
        } else {
            detour.parked.push_back(parked);
        }
        if is_new {
            self.detours.push(key);
            self.counters.detours.add(1);
            self.wake_ticker();
        }
        self.detours_due = true;
        self.wake_flusher();
    }

    /// A second attempt was answered: the next one of its slot may go.
    #[cold]
    pub(super) fn detour_settled(&mut self, key: ClientKey, slot: Option<Slot>) {
        let Some(client) = self.client_mut(key) else { return };
        if let (Some(detour), Some(slot)) = (&mut client.detour, slot) {
            detour.busy.retain(|busy| *busy != slot);
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
            while let Some(parked) = self.next_due(*key) {
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

    fn next_due(&mut self, key: ClientKey) -> Option<Parked> {
        let now = self.now;
        self.client_mut(key)?.detour.as_mut()?.next_due(now)
    }

    /// Sends a parked request: to where its redirect points, or to the primary of its slot.
    fn resend(&mut self, parked: Parked) {
        let Parked { request, bytes, to, .. } = parked;
        let Some(slot) = request.slot else { return };
        let key = request.client;
        let Some(client) = self.client_mut(key) else { return };
        let resp3 = client.resp3;
        if let Some(detour) = &mut client.detour {
            detour.busy.push(slot);
        }
        if request.since.saturating_add(Self::micros(self.context.config.request_timeout)) <= self.now {
            return self.settle_failure(&request, FailureKind::NotSentInTime);
        }
        let lane = Lane::of(slot, resp3, false, self.context.config.connections_per_node);
        let id = match (to, self.snapshot.topology.owner(slot)) {
            (Some(to), _) => self.connection_to(to, lane),
            (None, Some(shard)) => {
                let primary = self.snapshot.topology.shard(shard).primary;
                self.connection_of(primary, lane)
            }
            (None, None) => {
                return self.attempt_failed(Parked::new(request, bytes), Cause::ClusterDown, None);
            }
        };
        if self.connections[id].phase == Phase::Down {
            return self.attempt_failed(Parked::new(request, bytes), Cause::NotSent, None);
        }
        self.enqueue(id, request, |out| out.extend_from_slice(&bytes));
    }
}

#[cfg(test)]
#[path = "detour_tests.rs"]
mod tests;
