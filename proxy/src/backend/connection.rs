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
use pointsman_protocol::{HostPort, Slot};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::Waker;
use tokio::net::tcp::OwnedWriteHalf;

/// Which client a request came from: its place in the worker's table and the number of its use, so
/// that a reply for a client that left never reaches the one that took its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// The client's detour waits for it ([`crate::worker::detour`]).
    pub detour: bool,
    /// Redirects followed so far.
    pub redirects: u8,
    /// Failed attempts so far.
    pub attempts: u8,
}

/// A request waiting for its reply.
#[derive(Clone, Copy, Debug)]
pub struct InFlight {
    /// Who waits; nobody for ASKING and for what timed out.
    pub client: ClientKey,
    /// The place in the client's reply order.
    pub ticket: Ticket,
    /// Which part of a gather it is.
    pub part: Option<u32>,
    /// Its slot; `None` for a command to a shard as a whole.
    pub slot: Option<Slot>,
    /// See [`Traits`].
    pub traits: Traits,
    /// When the client asked, in microseconds of the worker's clock.
    pub since: u64,
    start: u64,
    len: u32,
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
    /// It waits for the next flush.
    pub dirty: bool,
    /// The kernel's send buffer is full: its task flushes when there is room.
    pub write_blocked: bool,
    /// The node left the topology: close when nothing waits any more.
    pub retiring: bool,
    /// Set to have its task close it, with the reason.
    pub close: Option<&'static str>,
    /// Its task's waker.
    pub waker: Option<Waker>,
    /// Counters of the node.
    pub counters: Arc<NodeCounters>,
    writer: Option<OwnedWriteHalf>,
    queue: VecDeque<InFlight>,
    /// How many entries at the front have already timed out.
    expired: usize,
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
            dirty: false,
            write_blocked: false,
            retiring: false,
            close: None,
            waker: None,
            counters,
            writer: None,
            queue: VecDeque::new(),
            expired: 0,
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
            client: request.client,
            ticket: request.ticket,
            part: request.part,
            slot: request.slot,
            traits: request.traits,
            since: request.since,
            start: self.base + at as u64,
            len: (self.log.len() - at) as u32,
        });
    }

    fn enqueue_swallowed(&mut self, bytes: &[u8], now: u64) {
        self.queue.push_back(InFlight {
            client: ClientKey::NOBODY,
            ticket: Ticket(0),
            part: None,
            slot: None,
            traits: Traits::default(),
            since: now,
            start: self.base + self.log.len() as u64,
            len: bytes.len() as u32,
        });
        self.log.extend_from_slice(bytes);
    }

    /// Takes the request that the next reply answers.
    #[inline]
    pub fn pop(&mut self) -> Option<InFlight> {
        let entry = self.queue.pop_front()?;
        self.expired = self.expired.saturating_sub(1);
        Some(entry)
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
        let (Phase::Ready, Some(writer)) = (self.phase, &self.writer) else { return Ok(()) };
        loop {
            let unsent = &self.log[(self.written - self.base) as usize..];
            if unsent.is_empty() {
                self.write_blocked = false;
                return Ok(());
            }
            match writer.try_write(unsent) {
                Ok(count) => {
                    self.written += count as u64;
                    self.progress = now;
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
        self.write_blocked = false;
        self.progress = now;
        self.close = None;
        // Nothing of the log has been sent on this new connection.
        self.written = self.queue.front().map_or(self.base + self.log.len() as u64, |front| front.start);
    }

    /// The connection is gone (or was never up): gives everything that waited, in order, with its
    /// bytes and whether any of them had been sent, and is empty from then on.
    pub fn down(&mut self, next: Phase) -> Vec<Unanswered> {
        let was_up = self.writer.take().is_some();
        self.phase = next;
        self.write_blocked = false;
        let written = if was_up { self.written } else { self.base };
        let queue = std::mem::take(&mut self.queue);
        let unanswered = queue
            .into_iter()
            .map(|entry| Unanswered {
                bytes: self.bytes_of(&entry).to_vec(),
                sent: was_up && entry.start < written,
                entry,
            })
            .collect();
        self.expired = 0;
        self.base += self.log.len() as u64;
        self.written = self.base;
        self.log = Vec::new();
        unanswered
    }

    /// Notes that bytes arrived.
    #[inline]
    pub fn progressed(&mut self, now: u64) {
        self.progress = now;
    }

    /// True if requests wait and nothing has moved since `before`.
    pub fn is_stalled(&self, before: u64) -> bool {
        self.phase == Phase::Ready && !self.queue.is_empty() && self.progress < before
    }

    /// Takes the next request whose client asked before `before` and has not been told yet. If none
    /// of its bytes were sent it leaves the connection for good (`sent` is false); otherwise it
    /// keeps its place, for nobody. Requests on a detour are older than their neighbours; they are
    /// found when those are due.
    pub fn expire(&mut self, before: u64) -> Option<(InFlight, bool)> {
        loop {
            let entry = *self.queue.get(self.expired)?;
            if entry.since > before {
                return None;
            }
            let sent = self.phase == Phase::Ready && entry.start < self.written;
            if entry.client == ClientKey::NOBODY {
                // ASKING goes out together with what it was for.
                self.expired += 1;
            } else if sent {
                self.queue[self.expired].client = ClientKey::NOBODY;
                self.expired += 1;
                return Some((entry, true));
            } else {
                self.cut_unsent(self.expired);
                return Some((entry, false));
            }
        }
    }

    /// Removes an unsent request (and the ASKING in front of it) from queue and log.
    fn cut_unsent(&mut self, index: usize) {
        let first = if self.queue[index].traits.asking && index > 0 && self.is_unsent(index - 1) {
            index - 1
        } else {
            index
        };
        for _ in first..=index {
            let Some(entry) = self.queue.remove(first) else { return };
            let start = (entry.start - self.base) as usize;
            self.log.drain(start..start + entry.len as usize);
            for later in self.queue.iter_mut().skip(first) {
                later.start -= u64::from(entry.len);
            }
        }
        self.expired = first;
    }

    fn is_unsent(&self, index: usize) -> bool {
        self.phase != Phase::Ready || self.queue[index].start >= self.written
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

/// What [`Connection::enqueue`] needs to know of a request.
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
