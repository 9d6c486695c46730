//! A batch: the requests that have come from any number of connections, decoded, looked up ahead and
//! executed.
//!
//! Most of what a lookup costs is waiting for memory, one load after the other. So requests are not
//! taken one by one: a window of them is decoded, from as many connections as it takes; the places of
//! all their keys are looked at (loads that do not depend on each other, so the processor overlaps
//! them); and only then are they executed, with what they need in the cache. Requests of one
//! connection stay in their order.
//!
//! A mistake in one command's code must not take the node down, nor the connection: it answers
//! `-ERR internal error`, and the batch goes on behind it.

use crate::command::{Request, Resolved, execute, resolve};
use crate::executor::Executor;
use crate::keyspace::Place;
use crate::server::client::{Client, Kind};
use pointsman_protocol::resp::{ArgRange, Args, ProtocolError, RequestDecoder, encode};
use std::hint::black_box;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// Requests decoded before the first of them is executed.
const WINDOW: usize = 32;
/// Keys looked at for one request beforehand; what lies behind them is found when it is needed.
const KEYS_AHEAD: usize = 64;
/// Arguments, and bytes of inline requests, that are kept room for between batches.
const KEPT: usize = 4096;

/// Why no further request of a connection is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// What is left is the beginning of a request, or nothing.
    Read,
    /// There may be whole requests left: the turn is over, or enough replies wait to be sent.
    More,
    /// The connection ends, or becomes a replica's.
    Last,
}

/// How far the requests of one connection may go.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Most commands.
    pub commands: usize,
    /// Bytes of replies after which no further command is executed.
    pub reply_bytes: usize,
}

/// What one connection has sent.
#[derive(Debug)]
pub struct Part<T> {
    /// Whose it is; the batch only hands it back.
    pub owner: T,
    /// Who sent it.
    pub client: Rc<Client>,
    /// Where it is.
    pub input: Input,
    /// What was found in a request that had come in part; after the batch, in what is left.
    pub decoder: Option<Box<RequestDecoder>>,
    /// How far it may go.
    pub budget: Budget,
    /// Bytes that were executed.
    pub consumed: usize,
    /// Where its replies are among those of the batch.
    pub replies: Range<usize>,
    /// Why it ended; `None` while it has not.
    pub end: Option<End>,
    decoded: usize,
    waiting: usize,
    commands: usize,
}

/// Where the bytes of a connection are.
#[derive(Debug)]
pub enum Input {
    /// In the buffer that all connections share.
    Shared(Range<usize>),
    /// By themselves.
    Own(Vec<u8>),
}

impl Input {
    /// The bytes.
    #[inline]
    pub fn bytes<'a>(&'a self, shared: &'a [u8]) -> &'a [u8] {
        match self {
            Input::Shared(range) => shared.get(range.clone()).unwrap_or_default(),
            Input::Own(bytes) => bytes,
        }
    }
}

impl<T> Part<T> {
    /// What `client` has sent, not yet looked at.
    pub fn new(
        owner: T,
        client: Rc<Client>,
        input: Input,
        decoder: Option<Box<RequestDecoder>>,
        budget: Budget,
    ) -> Part<T> {
        Part {
            owner,
            client,
            input,
            decoder,
            budget,
            consumed: 0,
            replies: 0..0,
            end: None,
            decoded: 0,
            waiting: 0,
            commands: 0,
        }
    }
}

/// A request in the window.
#[derive(Debug)]
struct Waiting {
    /// Which part it belongs to.
    part: usize,
    /// Where it ends in the part's input.
    end: usize,
    /// Where its bytes are.
    bytes: Bytes,
    /// Its arguments in [`Batch::ranges`].
    ranges: Range<usize>,
    /// The places of its first keys in [`Batch::places`].
    places: Range<usize>,
    asks: Asks,
}

#[derive(Debug)]
enum Bytes {
    /// In the part's input.
    Input(Range<usize>),
    /// In [`Batch::inline`].
    Inline(Range<usize>),
}

#[derive(Clone, Copy, Debug)]
enum Asks {
    /// An empty line.
    Nothing,
    /// For something, perhaps unknown.
    Command(Resolved),
    /// It is no request.
    Invalid(ProtocolError),
}

/// See the module. Kept between batches for its memory only.
#[derive(Debug, Default)]
pub struct Batch {
    window: Vec<Waiting>,
    ranges: Vec<ArgRange>,
    places: Vec<Place>,
    inline: Vec<u8>,
    /// The request of the window that runs, or will run next.
    next: usize,
    /// The length of the replies before the command that is running.
    mark: usize,
    decoder: RequestDecoder,
}

impl Batch {
    /// Executes the parts' requests until each has ended, appending to `replies`. `shared` is the
    /// buffer in which [`Input::Shared`] lies.
    pub fn run<T>(
        &mut self,
        executor: &mut Executor,
        shared: &[u8],
        parts: &mut [Part<T>],
        replies: &mut Vec<u8>,
    ) {
        self.clear();
        let mut first = 0;
        while first < parts.len() {
            let run = AssertUnwindSafe(|| self.run_some(executor, shared, parts, &mut first, replies));
            if catch_unwind(run).is_err() {
                // The panic itself has been reported by the hook, with its place.
                self.report_mistake(executor, parts, first, replies);
            }
        }
        self.ranges.shrink_to(KEPT);
        self.inline.shrink_to(KEPT);
    }

    /// Fills the window, executes what is in it, and moves `first` behind the parts that have ended.
    fn run_some<T>(
        &mut self,
        executor: &mut Executor,
        shared: &[u8],
        parts: &mut [Part<T>],
        first: &mut usize,
        replies: &mut Vec<u8>,
    ) {
        // After a mistake some may be left.
        if self.next >= self.window.len() {
            self.clear();
            self.fill(executor, shared, parts, *first);
            if self.window.len() > 1 {
                self.look_ahead(executor);
            }
        }
        self.execute_window(executor, shared, parts, replies);
        while let Some(part) = parts.get_mut(*first) {
            // Nothing of it waits: it has ended, or it goes on in the next window.
            if part.end.is_none() && (part.waiting > 0 || part.decoded < part.input.bytes(shared).len()) {
                break;
            }
            part.end = part.end.or(Some(End::Read));
            *first += 1;
        }
    }

    /// Decodes requests into the window, from the part `first` on.
    fn fill<T>(&mut self, executor: &Executor, shared: &[u8], parts: &mut [Part<T>], first: usize) {
        for (index, part) in parts.iter_mut().enumerate().skip(first) {
            while part.end.is_none() {
                if self.window.len() >= WINDOW {
                    return;
                }
                if !self.decode(executor, shared, part, index) {
                    break;
                }
            }
        }
    }

    /// Decodes the next request of a part. False if it has no further one for now.
    #[inline]
    fn decode<T>(&mut self, executor: &Executor, shared: &[u8], part: &mut Part<T>, index: usize) -> bool {
        if part.commands + part.waiting >= part.budget.commands {
            return false;
        }
        let input = part.input.bytes(shared);
        let start = part.decoded;
        let Some(rest) = input.get(start..) else { return false };
        let own = part.decoder.is_some();
        let decoder = part.decoder.as_deref_mut().unwrap_or(&mut self.decoder);
        let mut waiting = Waiting {
            part: index,
            end: start,
            bytes: Bytes::Input(0..0),
            ranges: 0..0,
            places: 0..0,
            asks: Asks::Nothing,
        };
        match decoder.next(rest, &executor.spec.limits.request) {
            Ok(Some(length)) => {
                waiting.end = start + length;
                waiting.bytes = Bytes::Input(start..start + length);
                let args = decoder.args(rest);
                let ranges = self.ranges.len();
                self.ranges.extend_from_slice(args.ranges());
                waiting.ranges = ranges..self.ranges.len();
                if decoder.was_inline() {
                    // Its arguments lie in the decoder, which is needed for the next request.
                    let inline = self.inline.len();
                    self.inline.extend_from_slice(args.bytes());
                    waiting.bytes = Bytes::Inline(inline..self.inline.len());
                }
                if !args.is_empty() {
                    let resolved = resolve(executor, args);
                    let places = self.places.len();
                    self.places
                        .extend(resolved.keys(args).take(KEYS_AHEAD).map(|key| executor.keyspace.place(key)));
                    waiting.places = places..self.places.len();
                    waiting.asks = Asks::Command(resolved);
                }
                part.decoded = waiting.end;
            }
            Ok(None) => {
                // What the decoder knows of the part that is there goes with it.
                if !own && start < input.len() {
                    part.decoder = Some(Box::new(std::mem::take(&mut self.decoder)));
                }
                part.decoded = input.len();
                return false;
            }
            Err(error) => {
                decoder.reset();
                waiting.asks = Asks::Invalid(error);
                part.decoded = input.len();
            }
        }
        part.waiting += 1;
        self.window.push(waiting);
        true
    }

    /// Brings what the window's keys need into the cache.
    fn look_ahead(&self, executor: &Executor) {
        black_box(executor.keyspace.warm(&self.places));
    }

    /// Executes what waits in the window.
    fn execute_window<T>(
        &mut self,
        executor: &mut Executor,
        shared: &[u8],
        parts: &mut [Part<T>],
        replies: &mut Vec<u8>,
    ) {
        while let Some(waiting) = self.window.get(self.next) {
            self.next += 1;
            let Some(part) = parts.get_mut(waiting.part) else { continue };
            part.waiting -= 1;
            if part.end.is_some() {
                continue;
            }
            if part.commands == 0 {
                part.replies = replies.len()..replies.len();
                part.client.last_ms.set(executor.now_ms);
            }
            part.consumed = waiting.end;
            part.commands += 1;
            self.mark = replies.len();
            match waiting.asks {
                Asks::Nothing => {}
                Asks::Command(resolved) => {
                    let (bytes, frame) = match &waiting.bytes {
                        Bytes::Input(range) => {
                            let bytes = part.input.bytes(shared).get(range.clone()).unwrap_or_default();
                            (bytes, bytes)
                        }
                        Bytes::Inline(range) => (self.inline.get(range.clone()).unwrap_or_default(), &[][..]),
                    };
                    let args = Args::new(bytes, self.ranges.get(waiting.ranges.clone()).unwrap_or_default());
                    let places = self.places.get(waiting.places.clone()).unwrap_or_default();
                    execute(executor, &part.client, Request { args, frame, places, resolved }, replies);
                }
                Asks::Invalid(error) => {
                    encode::error(replies, &format!("ERR {error}"));
                    executor.stats.errors += 1;
                    part.client.closing.set(true);
                }
            }
            part.replies.end = replies.len();
            part.end = end_of(part);
        }
    }

    /// Answers the command that has failed by a mistake in this program.
    #[cold]
    fn report_mistake<T>(
        &mut self,
        executor: &mut Executor,
        parts: &mut [Part<T>],
        first: usize,
        replies: &mut Vec<u8>,
    ) {
        executor.log.discard();
        executor.stats.internal_errors += 1;
        let running = self.next.checked_sub(1).and_then(|place| self.window.get(place));
        match running.and_then(|waiting| parts.get_mut(waiting.part)) {
            Some(part) => {
                let command = part.client.last_command.get();
                tracing::error!(command, "a command failed by a mistake in this program");
                replies.truncate(self.mark);
                encode::error(replies, "ERR internal error");
                part.replies.end = replies.len();
                part.end = end_of(part);
            }
            None => {
                // Not even decoding works: going on would fail for ever.
                tracing::error!("requests cannot be decoded because of a mistake in this program");
                self.clear();
                self.decoder.reset();
                for part in parts.iter_mut().skip(first) {
                    part.client.closing.set(true);
                    part.waiting = 0;
                    part.end = Some(End::Last);
                }
            }
        }
    }

    fn clear(&mut self) {
        self.window.clear();
        self.ranges.clear();
        self.places.clear();
        self.inline.clear();
        self.next = 0;
    }
}

/// Whether a part ends behind the command that has just run.
#[inline]
fn end_of<T>(part: &mut Part<T>) -> Option<End> {
    let end = if part.client.closing.get() || part.client.kind.get() == Kind::Replica {
        End::Last
    } else if part.commands >= part.budget.commands || part.replies.len() >= part.budget.reply_bytes {
        End::More
    } else {
        return None;
    };
    // What was found behind the last command is found again when its turn comes.
    part.decoder = None;
    Some(end)
}

#[cfg(test)]
#[path = "batch_tests.rs"]
mod tests;
