//! Waits for keys of several slots, carried out (`blocking_across_slots: poll`): the looks, the pops and the
//! rests between them that [`crate::client::vigil`] asks for.
//!
//! Each is a request like any other, with redirects and retries. The client has nothing else on its way, and
//! what it sends next waits. When it leaves, nothing more is asked for it.

use super::dispatch::Step;
use super::router::Router;
use crate::admin::counters::Outcome;
use crate::backend::connection::{ClientKey, Request, Traits};
use crate::client::replies::Ticket;
use crate::client::state::Class;
use crate::client::vigil::{Asked, Next, Vigil};
use crate::route::failure::FailureKind;
use crate::route::plan::Refusal;
use pointsman_protocol::command;
use pointsman_protocol::resp::{Args, encode};
use std::time::Duration;

/// What a client is told whose wait another one ended with an error.
const UNBLOCKED: &[u8] = b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n";

impl Router {
    /// True if a request whose keys are in several slots is one to keep vigil for.
    #[cold]
    pub(super) fn keeps_vigil(&self, key: ClientKey, args: Args<'_>) -> bool {
        let client = self.clients.get(key.index as usize);
        client.is_some_and(|client| client.listener.blocking_across_slots.is_some())
            && command::resolve(args).is_ok_and(Asked::serves)
    }

    /// Begins one. `keys` still holds those of the request.
    #[cold]
    pub(super) fn keep_vigil(&mut self, key: ClientKey, args: Args<'_>) -> Step {
        let now = self.now;
        let (Ok(spec), Some(client)) = (command::resolve(args), self.client_mut(key)) else {
            return Step::Close;
        };
        client.last = Some(spec);
        if client.in_flight > 0 {
            return self.wait(key);
        }
        let asked = match Asked::read(spec, args, &self.keys, &self.division) {
            Ok(Some(asked)) => asked,
            Ok(None) => {
                self.refuse(key, args, &Refusal::CrossSlot);
                return Step::Done;
            }
            Err(text) => {
                self.answer(key, Outcome::Error, |out| encode::error(out, text));
                return Step::Done;
            }
        };
        if self.vigils >= self.context.config.pool.max_active {
            self.fail_at_once(key, FailureKind::TooManyPins);
            return Step::Done;
        }
        let Some(client) = self.client_mut(key) else { return Step::Close };
        let until = asked.time.map_or(u64::MAX, |time| now.saturating_add(Self::micros(time)));
        let ticket = client.replies.open();
        let resp3 = client.resp3;
        client.vigil = Some(Box::new(Vigil::new(asked, ticket, until, resp3)));
        // The vigil itself is on its way until it is answered, whatever is asked for it meanwhile.
        client.in_flight += 1;
        client.writes_in_flight += 1;
        client.version = u64::MAX;
        self.count_vigils(1);
        self.look(key);
        Step::Done
    }

    /// Looks at every key.
    fn look(&mut self, key: ClientKey) {
        let Some(vigil) = self.client_mut(key).and_then(|client| client.vigil.as_ref()) else { return };
        let slots = vigil.slots().to_vec();
        for (place, slot) in slots.into_iter().enumerate() {
            // Gone once a look could not even be sent, and was the last.
            let Some(vigil) = self.client_mut(key).and_then(|client| client.vigil.as_ref()) else { return };
            let (ticket, mut bytes) = (vigil.ticket, Vec::new());
            vigil.write_look(place, &mut bytes);
            // Never a replica, which may have what is gone, or not yet what has come.
            let traits = Traits { vigil: true, primary: true, ..Traits::default() };
            let request = self.part(key, ticket, place as u32, Some(slot), traits);
            self.send(request, slot, |out| out.extend_from_slice(&bytes));
        }
    }

    fn pop(&mut self, key: ClientKey, place: usize) {
        let Some(vigil) = self.client_mut(key).and_then(|client| client.vigil.as_ref()) else { return };
        let Some(slot) = vigil.slots().get(place).copied() else { return };
        let (ticket, mut bytes) = (vigil.ticket, Vec::new());
        vigil.write_pop(place, &mut bytes);
        let traits = Traits { vigil: true, write: true, ..Traits::default() };
        let request = self.part(key, ticket, place as u32, Some(slot), traits);
        self.send(request, slot, |out| out.extend_from_slice(&bytes));
    }

    /// A look or a pop was answered.
    #[cold]
    pub(super) fn vigil_answered(&mut self, request: &Request, bytes: &[u8]) {
        let (key, paused) = (request.client, self.pause.is_some());
        if self.client_mut(key).is_some_and(|client| client.detour.is_some()) {
            self.detour_settled(key, request.slot, request.traits.detour);
        }
        let Some(vigil) = self.client_mut(key).and_then(|client| client.vigil.as_mut()) else { return };
        match vigil.take(request.part.unwrap_or(0) as usize, bytes) {
            Next::Wait => {}
            // As in Redis nobody is given anything while clients are paused.
            Next::Pop(_) if paused => {
                vigil.look_away();
                self.rest(key);
            }
            Next::Pop(place) => self.pop(key, place),
            Next::Rest => self.rest(key),
            Next::Answer(bytes) => self.end_vigil(key, &bytes),
        }
    }

    /// Waits for a while, in a task of its own.
    fn rest(&mut self, key: ClientKey) {
        let now = self.now;
        let Some(client) = self.client_mut(key) else { return };
        let (Some(longest), Some(vigil)) = (client.listener.blocking_across_slots, client.vigil.as_ref())
        else {
            return;
        };
        let left = Duration::from_micros(vigil.until.saturating_sub(now));
        let (ticket, rest, me) = (vigil.ticket, vigil.rest(longest).min(left), self.me.clone());
        tokio::task::spawn_local(async move {
            tokio::time::sleep(rest).await;
            if let Some(router) = me.upgrade() {
                router.borrow_mut().rested(key, ticket);
            }
        });
    }

    /// A rest is over.
    fn rested(&mut self, key: ClientKey, ticket: Ticket) {
        self.read_clock();
        self.adopt();
        let (now, paused) = (self.now, self.pause.is_some());
        let Some(client) = self.client_mut(key) else { return };
        // A later wait of the same client has a task of its own.
        let Some(vigil) = client.vigil.as_mut().filter(|vigil| vigil.ticket == ticket && vigil.rests())
        else {
            return;
        };
        if now >= vigil.until {
            let nothing = vigil.nothing();
            return self.end_vigil(key, &nothing);
        }
        if paused {
            return self.rest(key);
        }
        vigil.look_again();
        self.look(key);
    }

    /// Answers a vigil: it is over.
    fn end_vigil(&mut self, key: ClientKey, bytes: &[u8]) {
        let Some(client) = self.client_mut(key) else { return };
        let Some(vigil) = client.vigil.take() else { return };
        client.in_flight = client.in_flight.saturating_sub(1);
        client.writes_in_flight = client.writes_in_flight.saturating_sub(1);
        client.replies.fill(vigil.ticket, bytes);
        let outcome = if bytes.first() == Some(&b'-') { Outcome::Error } else { Outcome::Ok };
        self.counters.request(Class::Multi, outcome);
        self.count_vigils(-1);
        self.mark_client(key);
        self.resume(key);
    }

    /// Ends a client's vigil by CLIENT UNBLOCK. Should an element be on its way to it, it gets that instead.
    pub(super) fn unblock_vigil(&mut self, key: ClientKey, with_error: bool) {
        let Some(vigil) = self.client_mut(key).and_then(|client| client.vigil.as_mut()) else { return };
        let answer = if with_error { UNBLOCKED.to_vec() } else { vigil.nothing() };
        if vigil.end(&answer) {
            self.end_vigil(key, &answer);
        }
    }

    /// A client that may be keeping vigil has left.
    pub(super) fn leave_vigil(&mut self, key: ClientKey) {
        if self.client_mut(key).and_then(|client| client.vigil.take()).is_some() {
            self.count_vigils(-1);
        }
    }

    fn count_vigils(&mut self, change: isize) {
        self.vigils = self.vigils.saturating_add_signed(change);
        match change {
            1.. => self.counters.blocked.add(1),
            _ => self.counters.blocked.sub(1),
        }
        self.counters.vigils.set(self.vigils as u64);
    }
}
