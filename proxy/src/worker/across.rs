//! Set algebra over keys of several slots ([`crate::client::algebra`]): asks for the keys, and writes what
//! is to be stored.
//!
//! What is to be stored is read from primaries, after all that its client sent before; what comes behind it
//! waits until it has been written. Parts are redirected, repeated and timed out like any request.

use super::dispatch::Step;
use super::router::Router;
use crate::admin::counters::Outcome;
use crate::backend::connection::{ClientKey, Request, Traits};
use crate::client::algebra::hold::Hold;
use crate::client::algebra::{Question, Store};
use crate::client::gather::Gather;
use crate::client::join::Special;
use crate::client::replies::Ticket;
use crate::route::plan::Refusal;
use pointsman_protocol::command::CommandSpec;
use pointsman_protocol::resp::{Args, encode};

impl Router {
    /// A request whose keys are in several slots.
    #[cold]
    pub(super) fn across_slots(
        &mut self,
        key: ClientKey,
        spec: &'static CommandSpec,
        args: Args<'_>,
    ) -> Step {
        let Some(client) = self.client_mut(key) else { return Step::Close };
        let (caps, resp3, in_flight) = (client.listener.cross_slot, client.resp3, client.in_flight);
        if !caps.compute {
            self.refuse(key, args, &Refusal::CrossSlot);
            return Step::Done;
        }
        let (question, parts) = match Question::read(spec, args, resp3, &self.division) {
            Ok(read) => read,
            Err(text) => {
                self.answer(key, Outcome::Error, |out| encode::error(out, text));
                return Step::Done;
            }
        };
        let stores = question.stores();
        if stores && in_flight > 0 {
            return self.wait(key);
        }
        let hold = Hold::new(self.counters.clone(), caps);
        let gather = Gather::special(Special::Algebra(Box::new(question)), parts.len() as u32).holding(hold);
        let Some(client) = self.client_mut(key) else { return Step::Close };
        let ticket = client.replies.open_gather(gather);
        let traits = Traits { primary: stores, ..Traits::default() };
        for (part, (slot, bytes)) in parts.into_iter().enumerate() {
            let request = self.part(key, ticket, part as u32, Some(slot), traits);
            self.send(request, slot, |out| out.extend_from_slice(&bytes));
        }
        if stores && let Some(client) = self.client_mut(key) {
            client.version = u64::MAX;
        }
        Step::Done
    }

    /// Writes the result of such a request. Its ticket is open.
    pub(super) fn store(&mut self, key: ClientKey, ticket: Ticket, store: &Store) {
        let traits = Traits { write: true, ..Traits::default() };
        let request = Request { ahead: store.ahead, ..self.part(key, ticket, 0, Some(store.slot), traits) };
        self.send(request, store.slot, |out| out.extend_from_slice(&store.bytes));
    }
}
