//! MULTI, EXEC, DISCARD, and what comes in between; see [`crate::client::transaction`].

use super::dispatch::Step;
use super::router::Router;
use crate::admin::counters::Outcome;
use crate::backend::connection::{ClientKey, Request, Traits};
use crate::client::gather::Gather;
use crate::client::local;
use crate::client::transaction::NotQueued;
use crate::route::plan::{Plan, Refusal, Verb, keyless_slot};
use crate::route::split;
use pointsman_config::BackendKind;
use pointsman_protocol::Slot;
use pointsman_protocol::command::{self, CommandSpec, KeyPattern};
use pointsman_protocol::resp::{Args, RequestDecoder, RequestLimits, encode};

impl Router {
    /// MULTI, EXEC or DISCARD, with or without a transaction open.
    #[cold]
    pub(super) fn transaction_verb(&mut self, key: ClientKey, verb: Verb) -> Step {
        let bundled = matches!(self.context.config.kind, BackendKind::Bundled(_));
        let Some(client) = self.client_mut(key) else { return Step::Close };
        let open = client.transaction.is_some();
        match (verb, open) {
            // They would refuse MULTI and execute what comes behind it.
            (Verb::Multi, false) if bundled => {
                self.tell(key, "ERR the bundled nodes do not support 'MULTI' yet")
            }
            (Verb::Multi, false) => {
                client.transaction = Some(Box::default());
                self.answer(key, Outcome::Ok, |out| encode::simple(out, "OK"));
            }
            (Verb::Multi, true) => self.tell(key, "ERR MULTI calls can not be nested"),
            (Verb::Exec, false) => self.tell(key, "ERR EXEC without MULTI"),
            (Verb::Exec, true) => self.execute(key),
            (Verb::Discard, false) => self.tell(key, "ERR DISCARD without MULTI"),
            (Verb::Discard, true) => {
                client.transaction = None;
                self.answer(key, Outcome::Ok, |out| encode::simple(out, "OK"));
            }
        }
        Step::Done
    }

    /// A request of a client that has a transaction open.
    #[cold]
    pub(super) fn in_transaction(&mut self, key: ClientKey, plan: Plan, args: Args<'_>) -> Step {
        let queued = match plan {
            Plan::Transaction(verb) => return self.transaction_verb(key, verb),
            Plan::Nothing => return Step::Done,
            // These act at once, whatever is queued.
            Plan::Local { spec } if matches!(spec.name, "QUIT" | "RESET") => {
                if let Some(client) = self.client_mut(key) {
                    client.transaction = None;
                }
                return local::answer(self, key, spec, args);
            }
            Plan::Slot { spec, slot } => self.queue(key, spec, self.has_keys(spec).then_some(slot), args),
            Plan::Split { spec, kind } => {
                let mut placed = std::mem::take(&mut self.placed);
                let one = split::place(kind, args, &mut placed);
                let slot = placed.first().map(|(slot, _)| *slot);
                self.placed = placed;
                if one {
                    self.queue(key, spec, slot, args)
                } else {
                    Err(Refused::NotQueued(NotQueued::CrossSlot))
                }
            }
            // What changes the connection itself cannot wait for EXEC: it would decide how to read on.
            Plan::Local { spec } if !changes_the_connection(spec) => self.queue_local(key, args),
            Plan::Local { spec } | Plan::Everyone { spec } => Err(Refused::NotInTransaction(spec)),
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
        let Some(client) = self.client_mut(key) else { return Ok(()) };
        let bytes_max = client.listener.request_limits.request_bytes_max as usize;
        match &mut client.transaction {
            Some(transaction) => transaction.queue(spec, slot, args, bytes_max).map_err(Refused::NotQueued),
            None => Ok(()),
        }
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
        let Some(transaction) = client.transaction.take() else { return };
        if transaction.is_aborted() {
            return self.tell(key, "EXECABORT Transaction discarded because of previous errors.");
        }
        let local = self.answer_queued(key, transaction.local());
        if transaction.sent() == 0 {
            return self.answer(key, Outcome::Ok, |out| {
                encode::array_head(out, local.len());
                local.iter().for_each(|(_, reply)| out.extend_from_slice(reply));
            });
        }
        let Some(client) = self.client_mut(key) else { return };
        let (ticket, part) = match local.is_empty() {
            true => (client.replies.open(), None),
            false => (client.replies.open_gather(Gather::exec(local)), Some(0)),
        };
        let slot = transaction.slot().unwrap_or_else(keyless_slot);
        let request = Request {
            client: key,
            ticket,
            part,
            slot: Some(slot),
            traits: Traits { write: transaction.writes(), ..Traits::default() },
            since: self.now,
            ahead: transaction.replies_ahead(),
        };
        self.send(request, slot, |out| transaction.write(out));
    }

    /// The replies to the queued commands that the proxy answers.
    fn answer_queued(&mut self, key: ClientKey, queued: &[(u32, Vec<u8>)]) -> Vec<(u32, Vec<u8>)> {
        let mut decoder = RequestDecoder::new();
        let mut answers = Vec::new();
        for (place, frame) in queued {
            // It was decoded and resolved when it was queued.
            if let Ok(Some(_)) = decoder.next(frame, &RequestLimits::AUTHENTICATED)
                && let Ok(spec) = command::resolve(decoder.args(frame))
            {
                answers.push((*place, local::reply(self, key, spec, decoder.args(frame)).1));
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
        "HELLO" | "AUTH" | "CLIENT|REPLY" | "CLIENT|KILL" | "CLIENT|PAUSE" | "CLIENT|TRACKING"
    )
}

/// Why a command was not queued.
enum Refused {
    Plan(Refusal),
    NotQueued(NotQueued),
    NotInTransaction(&'static CommandSpec),
}
