//! WAIT and WAITAOF: whether what a client wrote has reached so many replicas, or so many disks.
//!
//! A node answers for what was written over the connection that asks, and a client's writes went over
//! connections that it shares with others, one or more a shard. So the question goes, once everything
//! from before has been answered, over a connection of the client's own to the primary of each
//! shard that the client wrote to; the client is told the smallest of the answers.
//!
//! For the node to count from the right place, that connection first writes something itself, behind all that the
//! client wrote: it restores no functions at all, which changes nothing, touches no key, and goes
//! to the replicas like any write. (A PING would do for nodes before 7.2, which count from the
//! connection's last command. Those before 7.0 do not know functions; for them the refusal does what
//! PING does.) A client that wrote nothing has nothing to wait for: all shards are asked as they are.
//!
//! Such a question is never asked a second time: another primary may not have what the first one had.

use super::block::Patience;
use super::dispatch::Step;
use super::router::Router;
use crate::admin::counters::Outcome;
use crate::backend::connection::{ClientKey, Request, Traits};
use crate::client::gather::Gather;
use crate::client::join::Special;
use crate::route::failure::FailureKind;
use pointsman_config::BackendKind;
use pointsman_protocol::HostPort;
use pointsman_protocol::command::{CommandSpec, ResponsePolicy};
use pointsman_protocol::resp::{Args, encode};

/// No functions, as FUNCTION DUMP tells them: the version of the format (Redis 7.0's) and a checksum.
const NO_FUNCTIONS: &[u8] = b"\n\x00]\x9b\\@\x0f\x7f\xa2\xda";

impl Router {
    /// WAIT or WAITAOF.
    #[cold]
    pub(super) fn wait_for_copies(
        &mut self,
        key: ClientKey,
        spec: &'static CommandSpec,
        args: Args<'_>,
    ) -> Step {
        if matches!(self.context.config.kind, BackendKind::Bundled(_)) {
            let text = format!("ERR the bundled nodes do not support '{}' yet", spec.name);
            self.answer(key, Outcome::Error, |out| encode::error(out, &text));
            return Step::Done;
        }
        let Some(client) = self.client_mut(key) else { return Step::Close };
        if client.in_flight > 0 {
            return self.wait(key);
        }
        let (resp3, written) = (client.resp3, client.written);
        let topology = &self.snapshot.topology;
        let concerned = |shard: &_| written.is_nothing() || written.touches(&topology.slot_ranges(*shard));
        let primaries: Vec<HostPort> = topology
            .serving()
            .into_iter()
            .filter(concerned)
            .map(|shard| topology.node(topology.shard(shard).primary).address.clone())
            .collect();
        let parts = primaries.len() as u32;
        if parts == 0 {
            self.fail_at_once(key, FailureKind::SlotUnserved);
            return Step::Done;
        }
        let gather = match spec.name {
            "WAITAOF" => Gather::special(Special::LeastOfEach, parts),
            _ => Gather::everyone(ResponsePolicy::AggMin, parts),
        };
        let mut bytes = Vec::new();
        if !written.is_nothing() {
            encode::request(&mut bytes, &[&b"FUNCTION"[..], b"RESTORE", NO_FUNCTIONS]);
        }
        encode::request_args(&mut bytes, args);
        let patient_until = self.patience_until(Patience::of(spec, args));
        let Some(client) = self.client_mut(key) else { return Step::Close };
        let ticket = client.replies.open_gather(gather);
        client.in_flight += parts;
        client.version = u64::MAX;
        for (part, address) in primaries.into_iter().enumerate() {
            let traits = Traits { blocking: true, ..Traits::default() };
            let request = Request {
                ahead: u32::from(!written.is_nothing()),
                ..self.part(key, ticket, part as u32, None, traits)
            };
            let Some(id) = self.take_pin(address, resp3, key) else {
                self.settle_failure(&request, FailureKind::TooManyPins);
                continue;
            };
            self.waits_on(key, id, patient_until);
            self.enqueue(id, request, |out| out.extend_from_slice(&bytes));
        }
        Step::Done
    }

    /// What a client is told instead of the node's count, if the node did not take the write that it
    /// was to count from.
    #[cold]
    pub(super) fn count_is_void(&mut self, id: usize, request: &Request) -> Option<Vec<u8>> {
        if request.ahead == 0 {
            return None;
        }
        let refused = self.connections.get_mut(id)?.take_refused()?;
        if refused.starts_with(b"-ERR unknown command") {
            return None;
        }
        let text = String::from_utf8_lossy(&refused);
        let text = text.trim_start_matches('-').trim_end();
        let mut out = Vec::new();
        encode::error(
            &mut out,
            &format!(
                "ERR a shard refused what WAIT counts from (the proxy's user needs FUNCTION RESTORE): {text}"
            ),
        );
        Some(out)
    }
}
