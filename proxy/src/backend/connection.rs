//! FIFO 2: one connection to a node, and which reply on it belongs to which request.
//!
//! Requests of many clients follow each other on the wire; replies come back in the same order, so
//! a queue pairs them. An entry leaves the queue when its reply is there or the connection is gone,
//! never earlier: a request that timed out, or whose client left, keeps its place, and its late
//! reply is thrown away instead of reaching somebody else.
//!
//! The bytes of a request stay in the connection's log until its reply is there, so a redirect or a
//! broken connection can send them elsewhere without having copied them beforehand:
//!
//! ```text
//!   log:   [ answered, cut off | sent, waiting for replies | not yet sent ]
//!            dropped now and then  ^ front of the queue      ^ written
//! ```
//!
//! Positions count from the first byte ever logged, so they stay true when the log is cut.

use super::lanes::Lane;
use crate::admin::counters::NodeCounters;
use crate::client::replies::Ticket;
use pointsman_protocol::command::{CommandSpec, Flags};
use pointsman_protocol::{HostPort, Slot};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::Waker;
use tokio::net::tcp::OwnedWriteHalf;

/// Which client a request came from: its place in the worker's table and the number of its use, so
/// that a reply for a client that left never reaches the one that took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientKey {
    /// Place in the worker's client table.
    pub index: u32,
    /// Number of the client among all that had this place.
    pub generation: u32,
}

impl ClientKey {
    /// Nobody: the reply is thrown away.
    pub const NOBODY: ClientKey = ClientKey { index: u32::MAX, generation: 0 };
}

/// What else is to be known of a request on its way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    /// It may change data.
    pub write: bool,
    /// It went out with ASKING in front.
    pub asking: bool,
    /// It runs a script, whose errors may be the script's own words.
    pub script: bool,
    /// Only the primary may have it.
    pub primary: bool,
    /// It went to a replica.
    pub replica: bool,
    /// It waits for something to come ([`crate::worker::block`]).
    pub blocking: bool,
    /// It went over a connection of its client's own ([`crate::worker::pin`]).
    pub pinned: bool,
    /// The block of a transaction on which its others depend ([`crate::worker::guard`]).
    pub guard: bool,
    /// A look or a pop for a client that waits over several slots ([`crate::worker::vigil`]).
    pub vigil: bool,
    /// The client's detour waits for it ([`crate::worker::detour`]).
    pub detour: bool,
    /// Redirects followed so far.
    pub redirects: u8,
    /// Failed attempts so far.
    pub attempts: u8,
}

impl Traits {
    /// Those of a command's first attempt. Scripts are known by what only they are: commands with keys
    /// that need not have any.
    #[inline]
    pub fn of(spec: &CommandSpec) -> Traits {
        Traits {
            write: !spec.is_read(),
            script: spec.flags.has(Flags::NO_MANDATORY_KEYS),
            ..Traits::default()
        }
    }
}

/// A request: whose it is, and what is to be known of it on its way.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Who waits for it.
    pub client: ClientKey,
    /// The place in the client's reply order.
    pub ticket: Ticket,
    /// Which part of a gather it is.
    pub part: Option<u32>,
    /// Its slot.
    pub slot: Option<Slot>,
    /// See [`Traits`].
    pub traits: Traits,
    /// When the client asked.
    pub since: u64,
    /// Replies that come before its own: its bytes are a transaction, MULTI and what was queued first.
    pub ahead: u32,
}

/// A request waiting for its reply.
#[derive(Clone, Copy, Debug)]
pub struct InFlight {
    /// The request; for nobody if it is ASKING, or timed out.
    pub request: Request,
    start: u64,
    len: u32,
}

impl InFlight {
    /// The position behind its last byte.
    #[inline]
    fn end(&self) -> u64 {
        self.start + u64::from(self.len)
    }
}

/// Where the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Being dialled: requests wait in the log.
    Connecting,
    /// Up.
    Ready,
    /// Dialling failed; the next try comes after a backoff. Requests are not accepted.
    Down,
}

/// The limits of a connection's queue.
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    /// Most requests.
    pub inflight_max: usize,
    /// Most bytes of requests.
    pub inflight_bytes_max: usize,
}

/// A connection to a node, shared by all clients of a worker.
#[derive(Debug)]
pub struct Connection {
    /// Whom it leads to.
    pub address: HostPort,
    /// Which of the node's connections it is.
    pub lane: Lane,
    /// Where it stands.
    pub phase: Phase,
    /// Requests are not accepted: it is down, or its node is shut out.
    pub shut: bool,
    /// Its node is in trouble ([`crate::health::breaker`]).
    shut_out: bool,
    /// It waits for the next flush.
    pub dirty: bool,
    /// The kernel's send buffer is full: its task flushes when there is room.
    pub write_blocked: bool,
    /// The node left the topology: close when nothing waits any more.
    pub retiring: bool,
    /// Set to have its task close it, with the reason.
    pub close: Option<&'static str>,
    /// It is one client's own for a while, or waits for the next such client: it is in no lane.
    pub pinned: bool,
    /// How the node names it (CLIENT ID), if it was asked and told.
    pub number: Option<u64>,
    /// Until then the node may take its time: a command on it waits for something to come.
    pub patient_until: u64,
    /// Whose own it is.
    pub holder: ClientKey,
    /// When the node was last heard of over it, in microseconds of the worker's clock.
    pub heard: u64,
    /// A reply has come in part.
    pub mid_reply: bool,
    /// Since when its queue is full.
    pub full_since: Option<u64>,
    /// It has answered something since it came up.
    pub answered: bool,
    /// The node does not let us execute transactions ([`super::transactions`]).
    pub refuses_transactions: bool,
    /// Its task's waker.
    pub waker: Option<Waker>,
    /// Counters of the node.
    pub counters: Arc<NodeCounters>,
    writer: Option<OwnedWriteHalf>,
    queue: VecDeque<InFlight>,
    /// How many entries at the front have already timed out.
    expired: usize,
    /// Replies that came so far ahead of the front request's own.
    taken_ahead: u32,
    /// The first error among them.
    refused: Option<Vec<u8>>,
    log: Vec<u8>,
    /// Position of `log[0]`.
    base: u64,
    /// Position behind the last byte the kernel took.
    written: u64,
    /// When something last moved, in microseconds of the worker's clock.
    progress: u64,
}

/// Log capacity kept while nothing is in flight.
const KEEP_BYTES: usize = 256 * 1024;
/// Answered bytes at the front of the log are cut off once there are this many (and they are half).
const CUT_BYTES: usize = 64 * 1024;

impl Connection {
    /// A connection about to be dialled.
    pub fn new(address: HostPort, lane: Lane, counters: Arc<NodeCounters>) -> Connection {
        Connection {
            address,
            lane,
            phase: Phase::Connecting,
            shut: false,
            shut_out: false,
            dirty: false,
            write_blocked: false,
            retiring: false,
            close: None,
            pinned: false,
            number: None,
            patient_until: 0,
            holder: ClientKey::NOBODY,
            heard: 0,
            mid_reply: false,
            full_since: None,
            answered: false,
            refuses_transactions: false,
            waker: None,
            counters,
            writer: None,
            queue: VecDeque::new(),
            expired: 0,
            taken_ahead: 0,
            refused: None,
            log: Vec::new(),
            base: 0,
            written: 0,
            progress: 0,
        }
    }

    /// True if another request of `len` bytes fits the limits.
    #[inline]
    pub fn accepts(&self, len: usize, limits: &QueueLimits) -> bool {
        self.queue.len() < limits.inflight_max && self.waiting_bytes() + len <= limits.inflight_bytes_max
    }

    /// Puts a request at the tail; its bytes are what `write` appends.
    #[inline]
    pub fn enqueue(&mut self, request: Request, now: u64, write: impl FnOnce(&mut Vec<u8>)) {
        if self.queue.is_empty() {
            self.progress = now;
        }
        if request.traits.asking {
            self.enqueue_swallowed(b"*1\r\n$6\r\nASKING\r\n", now);
        }
        let at = self.log.len();
        write(&mut self.log);
        self.queue.push_back(InFlight {
            request,
            start: self.base + at as u64,
            len: (self.log.len() - at) as u32,
        });
    }

    /// Puts a request at the tail whose reply nobody waits for.
    pub fn enqueue_swallowed(&mut self, bytes: &[u8], now: u64) {
        if self.queue.is_empty() {
            self.progress = now;
        }
        let request = Request {
            client: ClientKey::NOBODY,
            ticket: Ticket(0),
            part: None,
            slot: None,
            traits: Traits::default(),
            since: now,
            ahead: 0,
        };
        self.queue.push_back(InFlight {
            request,
            start: self.base + self.log.len() as u64,
            len: bytes.len() as u32,
        });
        self.log.extend_from_slice(bytes);
    }

    /// True if this reply is one of those that come ahead of the front request's own: it says no more
    /// than that a command was queued, or why it was not.
    #[inline]
    pub fn takes_ahead(&mut self, reply: &[u8]) -> bool {
        let Some(front) = self.queue.front() else { return false };
        if front.request.ahead == self.taken_ahead || front.start >= self.written {
            return false;
        }
        if self.taken_ahead == 0 {
            self.refused = None;
        }
        self.taken_ahead += 1;
        if self.refused.is_none() && reply.first() == Some(&b'-') {
            self.refused = Some(reply.to_vec());
        }
        true
    }

    /// Why a command of the transaction just answered was not queued, if one was not.
    pub fn take_refused(&mut self) -> Option<Vec<u8>> {
        self.refused.take()
    }

    /// Takes the request that the next reply answers: one that was sent. Anything else that comes is
    /// an answer to nothing.
    #[inline]
    pub fn pop(&mut self) -> Option<InFlight> {
        let front = self.queue.front()?;
        if front.end() > self.written {
            return None;
        }
        let entry = self.queue.pop_front()?;
        self.expired = self.expired.saturating_sub(1);
        self.taken_ahead = 0;
        Some(entry)
    }

    /// The bytes of the request that the next reply answers.
    pub fn front_bytes(&self) -> Option<&[u8]> {
        self.queue.front().map(|entry| self.bytes_of(entry))
    }

    /// The bytes of a request popped but not yet [`Self::release`]d.
    pub fn bytes_of(&self, entry: &InFlight) -> &[u8] {
        let start = (entry.start - self.base) as usize;
        self.log.get(start..start + entry.len as usize).unwrap_or_default()
    }

    /// Drops the bytes of answered requests. Call once a batch of replies.
    pub fn release(&mut self) {
        let Some(front) = self.queue.front() else {
            self.base += self.log.len() as u64;
            self.log.clear();
            if self.log.capacity() > KEEP_BYTES {
                self.log = Vec::new();
            }
            return;
        };
        let answered = (front.start - self.base) as usize;
        if answered >= CUT_BYTES && answered * 2 >= self.log.len() {
            self.log.drain(..answered);
            self.base += answered as u64;
        }
    }

    /// Offers what is unsent to the kernel. An error means the connection is lost; its reading side
    /// will see that too, and handles it.
    pub fn flush(&mut self, now: u64) -> io::Result<()> {
        self.dirty = false;
        // One that is about to be closed takes nothing more: what is not sent can go elsewhere.
        let (Phase::Ready, Some(writer), None) = (self.phase, &self.writer, self.close) else {
            return Ok(());
        };
        loop {
            let unsent = &self.log[(self.written - self.base) as usize..];
            if unsent.is_empty() {
                self.write_blocked = false;
                return Ok(());
            }
            match writer.try_write(unsent) {
                Ok(count) => {
                    // While the oldest request is still on its way out, writing is progress; behind
                    // that, only answers are.
                    if self.queue.front().is_some_and(|front| front.end() > self.written) {
                        self.progress = now;
                    }
                    self.written += count as u64;
                    self.counters.sent_bytes.add(count as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !std::mem::replace(&mut self.write_blocked, true) {
                        self.wake();
                    }
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The connection is up: what waits can go out.
    pub fn up(&mut self, writer: OwnedWriteHalf, now: u64) {
        self.writer = Some(writer);
        self.phase = Phase::Ready;
        self.shut = self.shut_out;
        self.mid_reply = false;
        self.write_blocked = false;
        self.progress = now;
        self.close = None;
        self.answered = false;
        // Nothing of the log has been sent on this new connection.
        self.written = self.queue.front().map_or(self.base + self.log.len() as u64, |front| front.start);
    }

    /// The connection is gone (or was never up): gives everything that waited, in order, with its
    /// bytes and whether any of them had been sent, and is empty from then on.
    pub fn down(&mut self, next: Phase) -> Vec<Unanswered> {
        let was_up = self.writer.take().is_some();
        self.phase = next;
        self.shut = self.shut_out || next == Phase::Down;
        self.mid_reply = false;
        self.write_blocked = false;
        let written = if was_up { self.written } else { self.base };
        let queue = std::mem::take(&mut self.queue);
        let unanswered = queue
            .into_iter()
            .map(|entry| Unanswered {
                bytes: self.bytes_of(&entry).to_vec(),
                // A transaction whose EXEC did not get out whole is forgotten by the node.
                sent: was_up
                    && if entry.request.ahead > 0 { entry.end() <= written } else { entry.start < written },
                entry,
            })
            .collect();
        self.expired = 0;
        self.taken_ahead = 0;
        self.refused = None;
        self.base += self.log.len() as u64;
        self.written = self.base;
        self.log = Vec::new();
        unanswered
    }

    /// Its node is shut out, or not any more.
    pub fn set_shut_out(&mut self, shut_out: bool) {
        self.shut_out = shut_out;
        self.shut = shut_out || self.phase == Phase::Down;
    }

    /// Notes that bytes arrived.
    #[inline]
    pub fn progressed(&mut self, now: u64) {
        self.answered = true;
        self.progress = now;
        self.heard = now;
    }

    /// True if requests wait and nothing has moved since `before`.
    pub fn is_stalled(&self, before: u64) -> bool {
        self.phase == Phase::Ready && !self.queue.is_empty() && self.progress < before
    }

    /// Takes the requests whose clients asked before `before` and have not been told yet, each with
    /// whether any of it was sent. What was sent keeps its place, for nobody; what was not leaves the
    /// connection for good, so that it is not executed after its client was told that it is not.
    ///
    /// It looks from the front to the first that is not due. Requests on a detour are older than
    /// their neighbours; they are found when those are due.
    pub fn expire(&mut self, before: u64) -> Vec<(InFlight, bool)> {
        let due =
            self.queue.iter().skip(self.expired).take_while(|entry| entry.request.since <= before).count();
        if due == 0 {
            return Vec::new();
        }
        let (first, last) = (self.expired, self.expired + due);
        let mut told = Vec::new();
        let mut cut = false;
        for index in first..last {
            let entry = self.queue[index];
            // An ASKING that is on the wire already would apply to whatever came next.
            let committed = self.is_sent(&entry)
                || (entry.request.traits.asking && index > 0 && self.is_sent(&self.queue[index - 1]));
            if entry.request.client != ClientKey::NOBODY {
                told.push((entry, committed));
                self.queue[index].request.client = ClientKey::NOBODY;
            }
            cut |= !committed;
        }
        self.expired = last;
        if cut {
            self.cut_unsent(last);
        }
        told
    }

    fn is_sent(&self, entry: &InFlight) -> bool {
        self.phase == Phase::Ready && entry.start < self.written
    }

    /// Removes what is for nobody and not sent, among the first `last` entries, from queue and log,
    /// in one pass. ASKING goes with what it was for.
    fn cut_unsent(&mut self, last: usize) {
        let (old, log) = (std::mem::take(&mut self.queue), std::mem::take(&mut self.log));
        let mut before_asking_sent = false;
        let keeps: Vec<bool> = (0..old.len())
            .map(|index| {
                let entry = &old[index];
                let for_nobody = entry.request.client == ClientKey::NOBODY;
                // ASKING itself is for nobody, always: it stays if the request behind it does.
                let kept_with = |index: usize| {
                    old.get(index).is_some_and(|next| {
                        next.request.traits.asking
                            && (index >= last || next.request.client != ClientKey::NOBODY)
                    })
                };
                let sent = self.is_sent(entry);
                let keep = sent
                    || index >= last
                    || !for_nobody
                    || kept_with(index + 1)
                    || (entry.request.traits.asking && before_asking_sent);
                before_asking_sent = sent;
                keep
            })
            .collect();
        // What was answered lies before the first entry; it has been sent, and the positions count it.
        let answered = old.front().map_or(0, |front| (front.start - self.base) as usize);
        self.log.extend_from_slice(&log[..answered]);
        for (index, (mut entry, keep)) in old.into_iter().zip(keeps).enumerate() {
            if !keep {
                self.expired -= usize::from(index < last);
                continue;
            }
            let start = (entry.start - self.base) as usize;
            entry.start = self.base + self.log.len() as u64;
            self.log.extend_from_slice(&log[start..start + entry.len as usize]);
            self.queue.push_back(entry);
        }
    }

    /// How many of the requests waiting for replies are such.
    pub fn count(&self, such: impl Fn(&Request) -> bool) -> usize {
        self.queue.iter().filter(|entry| such(&entry.request)).count()
    }

    /// Requests waiting for replies.
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Bytes of requests waiting for replies, those already answered but not yet cut included.
    #[inline]
    pub fn waiting_bytes(&self) -> usize {
        self.log.len()
    }

    /// Has its task look at it.
    pub fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A request whose connection went away.
#[derive(Debug)]
pub struct Unanswered {
    /// The request.
    pub entry: InFlight,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Whether the kernel took any of them: then its fate is unknown.
    pub sent: bool,
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
