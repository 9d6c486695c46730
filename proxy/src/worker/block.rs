//! Commands that wait for something to come: BLPOP and its like, XREAD BLOCK.
//!
//! Each goes over a connection of its client's own ([`super::pin`]), so that it keeps nobody else
//! waiting. What its client sent before has been answered when it goes out; what comes behind it waits,
//! as on one Redis. When its client leaves, the connection is closed at once, so that the node gives
//! what arrives later to somebody who is there. When the shard fails over or the slot moves, it goes
//! again with the time that is left.
//!
//! That is so even if its connection broke after it was sent, though it takes something and its fate is unknown then:
//! nearly always it was still waiting, and a wait is meant to outlive a failover. Should the node have given it an
//! element that was lost on the way, that element is gone, as when the client's own connection breaks. Not so for those
//! that put elsewhere what they take ([`moves`]): they are told that their fate is unknown.

use super::dispatch::Step;
use super::pin::Turn;
use super::router::Router;
use crate::backend::connection::{ClientKey, Request, Traits};
use crate::route::failure::FailureKind;
use pointsman_protocol::Slot;
use pointsman_protocol::command::{self, CommandSpec};
use pointsman_protocol::resp::{Args, RequestDecoder, RequestLimits, encode};
use std::time::Duration;

/// How long a command asks to wait, and where it says so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Patience {
    /// The argument.
    pub at: usize,
    /// In milliseconds rather than seconds.
    pub in_ms: bool,
    /// `None` for ever.
    pub time: Option<Duration>,
}

impl Patience {
    /// What a blocking command says; `None` where it says nothing that can be understood: then the node
    /// answers at once.
    pub fn of(spec: &CommandSpec, args: Args<'_>) -> Option<Patience> {
        let (at, in_ms) = match spec.name {
            "BLMPOP" | "BZMPOP" => (1, false),
            "WAIT" | "WAITAOF" => (args.len().checked_sub(1)?, true),
            "XREAD" | "XREADGROUP" => {
                ((1..args.len()).find(|index| args.at(*index).eq_ignore_ascii_case(b"BLOCK"))? + 1, true)
            }
            _ => (args.len().checked_sub(1)?, false),
        };
        let number: f64 = std::str::from_utf8(args.at(at)).ok()?.parse().ok()?;
        let seconds = if in_ms { number / 1000.0 } else { number };
        let time = Duration::try_from_secs_f64(seconds).ok()?;
        Some(Patience { at, in_ms, time: (!time.is_zero()).then_some(time) })
    }

    /// The command with `left` to wait.
    fn write(&self, args: Args<'_>, left: Duration, out: &mut Vec<u8>) {
        encode::array_head(out, args.len());
        for (index, arg) in args.iter().enumerate() {
            if index != self.at {
                encode::bulk(out, arg);
            } else if self.in_ms {
                encode::bulk(out, left.as_millis().max(1).to_string().as_bytes());
            } else {
                encode::bulk(out, format!("{:.3}", left.as_secs_f64().max(0.001)).as_bytes());
            }
        }
    }
}

/// What to do with a blocking command whose connection or slot went away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Again {
    /// Send this.
    Send(Vec<u8>),
    /// Its time is up.
    TimeIsUp,
    /// It cannot be said again: `$` means the end of the stream when it was said first.
    Never,
}

/// Judges that, for the command in `bytes` that has waited for `waited`.
pub fn again(bytes: &[u8], waited: Duration) -> Again {
    let mut decoder = RequestDecoder::new();
    let Ok(Some(_)) = decoder.next(bytes, &RequestLimits::ADMITTED) else { return Again::Never };
    let args = decoder.args(bytes);
    let Ok(spec) = command::resolve(args) else { return Again::Never };
    if spec.name.starts_with("XREAD") && args.iter().any(|arg| arg == b"$") {
        return Again::Never;
    }
    match Patience::of(spec, args) {
        Some(patience @ Patience { time: Some(time), .. }) => match time.checked_sub(waited) {
            Some(left) if !left.is_zero() => {
                let mut out = Vec::new();
                patience.write(args, left, &mut out);
                Again::Send(out)
            }
            _ => Again::TimeIsUp,
        },
        _ => Again::Send(bytes.to_vec()),
    }
}

/// True for a command that puts elsewhere what it takes. One whose fate is unknown may have done so, and done again
/// it would move a second element.
pub fn moves(bytes: &[u8]) -> bool {
    let mut decoder = RequestDecoder::new();
    matches!(decoder.next(bytes, &RequestLimits::ADMITTED), Ok(Some(_)))
        && command::resolve(decoder.args(bytes))
            .is_ok_and(|spec| matches!(spec.name, "BLMOVE" | "BRPOPLPUSH"))
}

impl Router {
    /// A command that may wait.
    #[cold]
    pub(super) fn block(
        &mut self,
        key: ClientKey,
        spec: &'static CommandSpec,
        slot: Slot,
        args: Args<'_>,
    ) -> Step {
        let Some(client) = self.client_mut(key) else { return Step::Close };
        if client.in_flight > 0 {
            return self.wait(key);
        }
        match self.pin_turn(key) {
            Turn::Now => {}
            Turn::Later => return self.wait(key),
            Turn::Never => {
                self.fail_at_once(key, FailureKind::TooManyPins);
                return Step::Done;
            }
        }
        let Some(client) = self.client_mut(key) else { return Step::Close };
        let request = Request {
            client: key,
            ticket: client.replies.open(),
            part: None,
            slot: Some(slot),
            traits: Traits { blocking: true, write: !spec.is_read(), ..Traits::default() },
            since: self.now,
            ahead: 0,
        };
        let Some(client) = self.client_mut(key) else { return Step::Close };
        client.in_flight += 1;
        client.writes_in_flight += u32::from(request.traits.write);
        client.version = u64::MAX;
        let mut bytes = Vec::new();
        encode::request_args(&mut bytes, args);
        self.send_blocking(request, None, &bytes);
        Step::Done
    }

    /// Sends a blocking command, to the primary of its slot or to where a redirect points.
    pub(super) fn send_blocking(
        &mut self,
        request: Request,
        to: Option<pointsman_protocol::HostPort>,
        bytes: &[u8],
    ) {
        let key = request.client;
        let owner = request.slot.and_then(|slot| self.snapshot.topology.owner(slot));
        let primary = owner.map(|shard| self.snapshot.topology.shard(shard).primary);
        let Some(address) =
            to.or_else(|| primary.map(|node| self.snapshot.topology.node(node).address.clone()))
        else {
            return self.settle_failure(&request, FailureKind::SlotUnserved);
        };
        let Some(client) = self.client_mut(key) else { return };
        let resp3 = client.resp3;
        let Some(id) = self.take_pin(address, resp3, key) else {
            return self.settle_failure(&request, FailureKind::TooManyPins);
        };
        let mut decoder = RequestDecoder::new();
        let patience = match decoder.next(bytes, &RequestLimits::ADMITTED) {
            Ok(Some(_)) => command::resolve(decoder.args(bytes))
                .ok()
                .and_then(|spec| Patience::of(spec, decoder.args(bytes))),
            _ => None,
        };
        let patient_until = self.patience_until(patience);
        self.waits_on(key, id, patient_until);
        self.enqueue(id, request, |out| out.extend_from_slice(bytes));
    }

    /// Until when the node may take its time: what the command says, and what any request has.
    pub(super) fn patience_until(&self, patience: Option<Patience>) -> u64 {
        let time = match patience {
            Some(Patience { time: None, .. }) => return u64::MAX,
            Some(Patience { time: Some(time), .. }) => time,
            None => Duration::ZERO,
        };
        self.now
            .saturating_add(Self::micros(time))
            .saturating_add(Self::micros(self.context.config.request_timeout))
    }

    /// A blocking command was answered, or its connection is lost: the connection is free again.
    pub(super) fn unblocked(&mut self, key: ClientKey, id: usize) {
        if !self.waits_no_more(key, id) {
            return;
        }
        if let Some(connection) = self.connections.get_mut(id) {
            connection.patient_until = 0;
        }
        self.release_pin(id);
    }
}

#[cfg(test)]
#[path = "block_tests.rs"]
mod tests;
