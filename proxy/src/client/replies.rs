//! FIFO 1: every client gets exactly one reply a request, in the order of its requests.
//!
//! A request takes a place at the tail ([`Replies::open`]) and is known by its [`Ticket`] from then
//! on. Backends answer in any order. A reply for the head of the queue goes straight into the
//! output; one that comes early waits in a stash, a single growing buffer shared by all early
//! replies of the client, so that in steady state nothing is allocated per request. When the head
//! is answered, everything answered behind it follows.

use super::gather::Gather;
use super::join::Sequel;
use std::collections::VecDeque;

/// A place in one client's reply order. Wraps around after 2^32 requests; a client never has that
/// many in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(pub u32);

/// What became of a place by one of its parts.
#[derive(Debug, PartialEq, Eq)]
pub enum Filled {
    /// Others are still to come.
    Part,
    /// It is answered.
    Whole,
    /// It waits for the answer to this.
    Asks(Sequel),
}

#[derive(Debug)]
enum Place {
    Waiting,
    /// Answered early: the bytes are at this range of the stash.
    Stashed {
        start: usize,
        len: usize,
    },
    Gathering(Box<Gather>),
    /// Waiting, and nothing of the answer goes to the client.
    Withheld(Option<Box<Gather>>),
}

/// Which answers are not told (CLIENT REPLY).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Withhold {
    /// All are told.
    #[default]
    Nothing,
    /// The next one is not.
    Next,
    /// None is told.
    All,
}

/// Buffers above this capacity are not kept once they are empty.
const KEEP_BYTES: usize = 16 * 1024;
/// Replies of a batch are not kept back for each other beyond this many bytes.
const HOLD_BYTES: usize = 16 * 1024;
/// A stash above this size is compacted once half of it is no longer referred to.
const COMPACT_BYTES: usize = 64 * 1024;

/// One client's replies, from the request on until the bytes are with the kernel.
#[derive(Debug, Default)]
pub struct Replies {
    /// The ticket of `queue[0]`.
    head: u32,
    queue: VecDeque<Place>,
    /// Early replies, in the order in which they came.
    stash: Vec<u8>,
    /// Bytes of `stash` that a place of the queue still refers to.
    stashed: usize,
    /// Bytes that unfinished gathers hold.
    gathered: usize,
    out: Vec<u8>,
    /// `out[..written]` is with the kernel.
    written: usize,
    /// The ticket behind the last request of the batch being answered, while there is one.
    batch_end: Option<u32>,
    /// The largest reply since the client was last idle.
    largest: usize,
    /// What of the answers to come is not told.
    withhold: Withhold,
}

impl Replies {
    /// Takes a place at the tail.
    #[inline]
    pub fn open(&mut self) -> Ticket {
        let ticket = Ticket(self.head.wrapping_add(self.queue.len() as u32));
        let withheld = self.withhold != Withhold::Nothing && self.withholds();
        self.queue.push_back(if withheld { Place::Withheld(None) } else { Place::Waiting });
        ticket
    }

    /// Takes a place at the tail for a request of several parts.
    pub fn open_gather(&mut self, gather: Gather) -> Ticket {
        let ticket = Ticket(self.head.wrapping_add(self.queue.len() as u32));
        let gather = Box::new(gather);
        let withheld = self.withholds();
        self.queue.push_back(if withheld { Place::Withheld(Some(gather)) } else { Place::Gathering(gather) });
        ticket
    }

    /// True if a result is to be written once the parts that are on their way are in.
    pub fn will_store(&self) -> bool {
        self.queue.iter().any(|place| match place {
            Place::Gathering(gather) | Place::Withheld(Some(gather)) => gather.will_store(),
            Place::Waiting | Place::Stashed { .. } | Place::Withheld(None) => false,
        })
    }

    /// What was to be answered at once is to be answered in parts.
    pub fn gather_at(&mut self, ticket: Ticket, gather: Gather) {
        let index = ticket.0.wrapping_sub(self.head) as usize;
        match self.queue.get_mut(index) {
            Some(place @ Place::Waiting) => *place = Place::Gathering(Box::new(gather)),
            Some(place @ Place::Withheld(None)) => *place = Place::Withheld(Some(Box::new(gather))),
            _ => {}
        }
    }

    /// Takes a place at the tail and answers it at once with what `write` appends.
    #[inline]
    pub fn answer(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.withhold != Withhold::Nothing && self.withholds() {
            let ticket = Ticket(self.head.wrapping_add(self.queue.len() as u32));
            self.queue.push_back(Place::Withheld(None));
            return self.fill(ticket, b"");
        }
        if self.queue.is_empty() {
            self.head = self.head.wrapping_add(1);
            return write(&mut self.out);
        }
        let start = self.stash.len();
        write(&mut self.stash);
        let len = self.stash.len() - start;
        self.stashed += len;
        self.queue.push_back(Place::Stashed { start, len });
    }

    /// Appends a message that answers nothing: `first` and behind it `rest`. It stands between two
    /// replies, never inside one, as the output holds whole replies only.
    pub fn push(&mut self, first: u8, rest: &[u8]) {
        self.out.push(first);
        self.out.extend_from_slice(rest);
    }

    /// Appends a message that answers nothing behind all that the client still waits for. It takes a place
    /// of its own there, whatever is withheld.
    pub fn push_behind(&mut self, frame: &[u8]) {
        if self.queue.is_empty() {
            return self.out.extend_from_slice(frame);
        }
        let end = self.stash.len();
        self.stash.extend_from_slice(frame);
        self.stashed += frame.len();
        match self.queue.back_mut() {
            // Right behind what waits there already: it can share its place.
            Some(Place::Stashed { start, len }) if *start + *len == end => *len += frame.len(),
            _ => self.queue.push_back(Place::Stashed { start: end, len: frame.len() }),
        }
    }

    /// Answers a place with `bytes`. A ticket that is not waiting is ignored: that cannot happen
    /// while the rule "one reply a request" holds, and must not hurt another reply if it does.
    #[inline]
    pub fn fill(&mut self, ticket: Ticket, bytes: &[u8]) {
        self.largest = self.largest.max(bytes.len());
        let index = ticket.0.wrapping_sub(self.head) as usize;
        if index == 0 && matches!(self.queue.front(), Some(Place::Waiting)) {
            self.out.extend_from_slice(bytes);
            return self.advance();
        }
        if let Some(place @ Place::Waiting) = self.queue.get_mut(index) {
            *place = Place::Stashed { start: self.stash.len(), len: bytes.len() };
            self.stash.extend_from_slice(bytes);
            self.stashed += bytes.len();
        } else if let Some(Place::Withheld(None)) = self.queue.get(index) {
            self.pass_over(index);
        }
    }

    /// Withholds answers to requests that come from now on.
    pub fn withhold(&mut self, withhold: Withhold) {
        self.withhold = withhold;
    }

    /// Withholds the answer to the next request, if not all are withheld anyway.
    pub fn withhold_next(&mut self) {
        if self.withhold == Withhold::Nothing {
            self.withhold = Withhold::Next;
        }
    }

    /// Notes a request that has no answer: to Redis it is the next one nevertheless.
    pub fn unanswered(&mut self) {
        self.withholds();
    }

    /// True if the answer to the request that comes now is withheld.
    #[cold]
    fn withholds(&mut self) -> bool {
        match self.withhold {
            Withhold::Nothing => false,
            Withhold::All => true,
            Withhold::Next => {
                self.withhold = Withhold::Nothing;
                true
            }
        }
    }

    /// A withheld answer has come.
    #[cold]
    fn pass_over(&mut self, index: usize) {
        if index == 0 {
            self.advance();
        } else if let Some(place) = self.queue.get_mut(index) {
            *place = Place::Stashed { start: 0, len: 0 };
        }
    }

    /// Answers one part of a place opened with [`Self::open_gather`].
    pub fn fill_part(&mut self, ticket: Ticket, part: u32, bytes: &[u8]) -> Filled {
        let index = ticket.0.wrapping_sub(self.head) as usize;
        let Some(place) = self.queue.get_mut(index) else { return Filled::Part };
        let (gather, told) = match place {
            Place::Gathering(gather) => (gather, true),
            Place::Withheld(Some(gather)) => (gather, false),
            _ => return Filled::Part,
        };
        let before = gather.held();
        let complete = gather.take(part, bytes);
        // It may hold less than before: too much is given up at once.
        self.gathered = (self.gathered + gather.held()).saturating_sub(before);
        if !complete {
            return Filled::Part;
        }
        self.gathered -= gather.held();
        if let Some(wanted) = gather.sequel() {
            return Filled::Asks(wanted);
        }
        if !told {
            self.pass_over(index);
            return Filled::Whole;
        }
        if index == 0 {
            let before = self.out.len();
            gather.write(&mut self.out);
            self.largest = self.largest.max(self.out.len() - before);
            self.advance();
        } else {
            let start = self.stash.len();
            gather.write(&mut self.stash);
            let len = self.stash.len() - start;
            self.largest = self.largest.max(len);
            self.stashed += len;
            *place = Place::Stashed { start, len };
        }
        Filled::Whole
    }

    /// Drops the answered head and moves everything answered behind it to the output.
    #[inline]
    fn advance(&mut self) {
        self.queue.pop_front();
        self.head = self.head.wrapping_add(1);
        while let Some(Place::Stashed { start, len }) = self.queue.front() {
            self.out.extend_from_slice(&self.stash[*start..start + len]);
            self.stashed -= len;
            self.queue.pop_front();
            self.head = self.head.wrapping_add(1);
        }
        if self.stashed == 0 {
            self.stash.clear();
        } else if self.stash.len() > COMPACT_BYTES && self.stashed * 2 < self.stash.len() {
            self.compact();
        }
    }

    /// Drops the bytes of the stash that nothing refers to. A client that keeps requests in flight
    /// without a pause never empties its stash; this bounds it to twice what is really waiting.
    #[cold]
    fn compact(&mut self) {
        let mut kept = Vec::with_capacity(self.stashed);
        for place in &mut self.queue {
            if let Place::Stashed { start, len } = place {
                let from = *start;
                *start = kept.len();
                kept.extend_from_slice(&self.stash[from..from + *len]);
            }
        }
        self.stash = kept;
    }

    /// True if the next fill of this ticket is the only thing this client waits for and nothing is
    /// left to write before it.
    #[inline]
    pub fn only_waits_for(&self, ticket: Ticket) -> bool {
        self.queue.len() == 1
            && ticket.0 == self.head
            && self.out.is_empty()
            && matches!(self.queue.front(), Some(Place::Waiting))
    }

    /// Notes the end of what one read brought: several requests that came together are a batch.
    #[inline]
    pub fn end_of_batch(&mut self) {
        if self.batch_end.is_none() && self.queue.len() > 1 {
            self.batch_end = Some(self.head.wrapping_add(self.queue.len() as u32));
        }
    }

    /// True if the ready bytes should wait for more of their batch: requests that came together are
    /// answered together, as a single server does. Cheap for the client, which is woken once, and
    /// for us, who write once; bounded by size here and by time in the router.
    #[inline]
    pub fn is_mid_batch(&mut self) -> bool {
        let Some(end) = self.batch_end else { return false };
        // Behind the head lie fewer than 2^31 tickets, so the sign tells on which side `end` is.
        if end.wrapping_sub(self.head) as i32 <= 0 {
            self.batch_end = None;
            return false;
        }
        self.out.len() - self.written < HOLD_BYTES
    }

    /// Gives up waiting for the rest of the batch.
    pub fn end_hold(&mut self) {
        self.batch_end = None;
    }

    /// The largest reply since the client was last idle, in bytes.
    pub fn largest(&self) -> usize {
        self.largest
    }

    /// Bytes ready to be written.
    #[inline]
    pub fn ready(&self) -> &[u8] {
        &self.out[self.written..]
    }

    /// Notes that the kernel took `count` of the ready bytes.
    #[inline]
    pub fn wrote(&mut self, count: usize) {
        self.written += count;
        if self.written >= self.out.len() {
            self.out.clear();
            self.written = 0;
        } else if self.written > COMPACT_BYTES && self.written * 2 > self.out.len() {
            // A client that reads slowly and steadily may never have read everything.
            self.out.drain(..self.written);
            self.written = 0;
        }
    }

    /// Bytes held for this client: ready, early, and in parts.
    pub fn held(&self) -> usize {
        self.out.len() - self.written + self.stashed + self.gathered
    }

    /// Bytes of replies still being joined.
    #[inline]
    pub fn gathered(&self) -> usize {
        self.gathered
    }

    /// Gives up joining the parts of a reply that has become too large.
    #[cold]
    pub fn give_up_gather(&mut self, ticket: Ticket) {
        let index = ticket.0.wrapping_sub(self.head) as usize;
        if let Some(Place::Gathering(gather) | Place::Withheld(Some(gather))) = self.queue.get_mut(index) {
            self.gathered -= gather.held();
            gather.give_up();
        }
    }

    /// Bytes held for it that are no part of a reply still being joined.
    pub fn piled_up(&self) -> usize {
        self.out.len() - self.written + self.stashed
    }

    /// Requests without their place in the output yet.
    #[inline]
    pub fn open_count(&self) -> usize {
        self.queue.len()
    }

    /// The first place that is not answered in its order yet, and the one that the next request will have.
    pub fn span(&self) -> (Ticket, Ticket) {
        (Ticket(self.head), Ticket(self.head.wrapping_add(self.queue.len() as u32)))
    }

    /// True if every request was answered and every byte written.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.out.is_empty()
    }

    /// Lets go of memory that a busy time made this client keep. Call when idle.
    pub fn shrink(&mut self) {
        self.largest = 0;
        if self.out.is_empty() && self.out.capacity() > 0 {
            self.out = Vec::new();
        }
        if self.queue.is_empty() {
            if self.stash.capacity() > 0 {
                self.stash = Vec::new();
            }
            if self.queue.capacity() > 4 {
                self.queue = VecDeque::new();
            }
        }
    }

    /// True if the buffers kept are small enough to stay for the next batch.
    pub fn is_small(&self) -> bool {
        self.out.capacity() + self.stash.capacity() <= KEEP_BYTES
    }
}

#[cfg(test)]
#[path = "replies_tests.rs"]
mod tests;
