//! A batch: all whole requests of one read, executed one after another into one buffer of replies.
//!
//! Most of what a lookup costs is waiting for memory, one load after the other. So the requests are not
//! taken one by one: a window of them is decoded, the places of all their keys are looked at (loads
//! that do not depend on each other, so the processor overlaps them), and only then are they executed,
//! with what they need in the cache.
//!
//! A mistake in one command's code must not take the node down, nor the connection: it answers
//! `-ERR internal error`, and the batch goes on behind it.

use crate::command::{Request, Resolved, execute, resolve};
use crate::executor::Executor;
use crate::keyspace::Place;
use crate::server::client::{Client, Kind};
use pointsman_protocol::resp::{ArgRange, Args, RequestDecoder, encode};
use std::hint::black_box;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Requests decoded before the first of them is executed.
const WINDOW: usize = 32;
/// Keys looked at for one request beforehand; what lies behind them is found when it is needed.
const KEYS_AHEAD: usize = 64;
/// Arguments that the window may keep between batches.
const RANGES_KEPT: usize = 4096;

/// Why a batch ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// What is left is the beginning of a request, or nothing.
    Read,
    /// There may be whole requests left: the turn is over, or enough replies wait to be sent.
    More,
    /// No further request is to be executed: the connection ends, or becomes a replica's.
    Last,
}

/// How far a batch may go.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Most commands.
    pub commands: usize,
    /// Bytes of replies after which no further command is executed.
    pub reply_bytes: usize,
}

/// A request in the window.
#[derive(Debug)]
struct Waiting {
    /// Its bytes in the input.
    bytes: Range<usize>,
    /// Its arguments in [`Batch::ranges`].
    ranges: Range<usize>,
    /// The places of its first keys in [`Batch::places`].
    places: Range<usize>,
    resolved: Resolved,
}

/// See the module. Kept between batches for its memory only.
#[derive(Debug, Default)]
pub struct Batch {
    window: Vec<Waiting>,
    ranges: Vec<ArgRange>,
    places: Vec<Place>,
    /// The request of the window that runs, or will run next.
    next: usize,
    /// Bytes of the requests that have run or are running.
    consumed: usize,
    commands: usize,
    /// The length of the replies before the command that is running.
    mark: usize,
}

impl Batch {
    /// Executes the requests in `input`. Gives how many bytes were consumed, and why it ended. `decoder`
    /// remembers what it has found in the bytes that are left.
    pub fn run(
        &mut self,
        executor: &mut Executor,
        client: &Client,
        decoder: &mut RequestDecoder,
        input: &[u8],
        replies: &mut Vec<u8>,
        budget: Budget,
    ) -> (usize, End) {
        self.clear();
        (self.consumed, self.commands) = (0, 0);
        client.last_ms.set(executor.now_ms);
        loop {
            let commands = self.commands;
            let run = AssertUnwindSafe(|| self.run_on(executor, client, decoder, input, replies, budget));
            match catch_unwind(run) {
                Ok(end) => {
                    self.ranges.shrink_to(RANGES_KEPT);
                    return (self.consumed, end);
                }
                Err(_) => {
                    // The panic itself has been reported by the hook, with its place.
                    replies.truncate(self.mark);
                    encode::error(replies, "ERR internal error");
                    executor.log.discard();
                    executor.stats.internal_errors += 1;
                    let command = client.last_command.get();
                    tracing::error!(command, "a command failed by a mistake in this program");
                    if self.commands == commands {
                        // Not even its beginning could be read: going on would fail for ever.
                        client.closing.set(true);
                        decoder.reset();
                        return (self.consumed, End::Last);
                    }
                }
            }
        }
    }

    fn run_on(
        &mut self,
        executor: &mut Executor,
        client: &Client,
        decoder: &mut RequestDecoder,
        input: &[u8],
        replies: &mut Vec<u8>,
        budget: Budget,
    ) -> End {
        loop {
            // What is left in the window after a mistake comes first.
            if let Some(end) = self.execute_window(executor, client, input, replies, budget) {
                decoder.reset();
                return end;
            }
            self.clear();
            let filled = self.fill_window(executor, decoder, input, budget);
            if self.window.len() > 1 {
                self.look_ahead(executor);
            }
            if let Some(end) = self.execute_window(executor, client, input, replies, budget) {
                decoder.reset();
                return end;
            }
            match filled {
                Filled::Window => {}
                Filled::Read => return End::Read,
                Filled::Inline(length) => {
                    if !budget_left(self.commands, replies, budget) {
                        decoder.reset();
                        return End::More;
                    }
                    let args = decoder.args(&input[self.consumed..]);
                    self.consumed += length;
                    self.commands += 1;
                    self.mark = replies.len();
                    self.clear();
                    if !args.is_empty() {
                        let resolved = resolve(executor, args);
                        execute(
                            executor,
                            client,
                            Request { args, frame: &[], places: &[], resolved },
                            replies,
                        );
                    }
                    if is_last(client) {
                        decoder.reset();
                        return End::Last;
                    }
                }
                Filled::Error(text) => {
                    self.mark = replies.len();
                    encode::error(replies, &text);
                    executor.stats.errors += 1;
                    client.closing.set(true);
                    decoder.reset();
                    return End::Last;
                }
            }
        }
    }

    /// Decodes requests into the window.
    fn fill_window(
        &mut self,
        executor: &Executor,
        decoder: &mut RequestDecoder,
        input: &[u8],
        budget: Budget,
    ) -> Filled {
        let limits = &executor.spec.limits.request;
        let mut at = self.consumed;
        let most = WINDOW.min(budget.commands.saturating_sub(self.commands).max(1));
        while self.window.len() < most {
            let rest = &input[at..];
            let length = match decoder.next(rest, limits) {
                Ok(Some(length)) => length,
                Ok(None) => return Filled::Read,
                Err(error) => return Filled::Error(format!("ERR {error}")),
            };
            if decoder.was_inline() {
                // Its arguments lie in the decoder, not in the input: it cannot wait.
                return Filled::Inline(length);
            }
            let args = decoder.args(rest);
            let ranges = self.ranges.len()..self.ranges.len() + args.len();
            self.ranges.extend_from_slice(args.ranges());
            let first = self.places.len();
            let mut resolved = Resolved::Unknown;
            if !args.is_empty() {
                resolved = resolve(executor, args);
                for key in resolved.keys(args).take(KEYS_AHEAD) {
                    self.places.push(executor.keyspace.place(key));
                }
            }
            self.window.push(Waiting {
                bytes: at..at + length,
                ranges,
                places: first..self.places.len(),
                resolved,
            });
            at += length;
        }
        Filled::Window
    }

    /// Brings what the window's keys need into the cache.
    fn look_ahead(&self, executor: &Executor) {
        let mut met = 0;
        for place in &self.places {
            met ^= executor.keyspace.warm(*place);
        }
        black_box(met);
    }

    /// Executes what waits in the window. `None` if all of it ran and more may follow.
    #[inline]
    fn execute_window(
        &mut self,
        executor: &mut Executor,
        client: &Client,
        input: &[u8],
        replies: &mut Vec<u8>,
        budget: Budget,
    ) -> Option<End> {
        while let Some(waiting) = self.window.get(self.next) {
            if !budget_left(self.commands, replies, budget) {
                return Some(End::More);
            }
            self.next += 1;
            self.consumed = waiting.bytes.end;
            self.commands += 1;
            self.mark = replies.len();
            let frame = input.get(waiting.bytes.clone()).unwrap_or_default();
            let args = Args::new(frame, self.ranges.get(waiting.ranges.clone()).unwrap_or_default());
            if args.is_empty() {
                continue;
            }
            let places = self.places.get(waiting.places.clone()).unwrap_or_default();
            let request = Request { args, frame, places, resolved: waiting.resolved };
            execute(executor, client, request, replies);
            if is_last(client) {
                return Some(End::Last);
            }
        }
        (!budget_left(self.commands, replies, budget)).then_some(End::More)
    }

    fn clear(&mut self) {
        self.window.clear();
        self.ranges.clear();
        self.places.clear();
        self.next = 0;
    }
}

/// Why the window is not filled further.
enum Filled {
    /// It is full.
    Window,
    /// What follows is a request in part, or nothing.
    Read,
    /// What follows is an inline request of this length.
    Inline(usize),
    /// What follows is no request.
    Error(String),
}

fn budget_left(commands: usize, replies: &[u8], budget: Budget) -> bool {
    commands < budget.commands && replies.len() < budget.reply_bytes
}

fn is_last(client: &Client) -> bool {
    client.closing.get() || client.kind.get() == Kind::Replica
}
