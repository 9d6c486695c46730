//! Rules that change single answers of a fake node.

use super::session::Shared;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What to do with a request instead of simply answering it.
#[derive(Clone, Debug)]
pub enum Act {
    /// Answer these bytes and execute nothing.
    Answer(Vec<u8>),
    /// Answer this error (without `-` and line end) and execute nothing.
    Error(String),
    /// Answer MOVED (ASK if `asking`) to this node, whoever owns the slot.
    Redirect {
        /// The node.
        to: usize,
        /// ASK instead of MOVED.
        asking: bool,
    },
    /// Wait at the gate, then execute and answer.
    Hold(Gate),
    /// Execute, wait at the gate, then answer.
    HoldReply(Gate),
    /// Execute, and send the answer in pieces of so many bytes.
    Split(usize),
    /// Execute, and send the answer in two pieces, the first of so many bytes.
    CutAt(usize),
    /// Execute, send so many bytes of the answer, and close the connection.
    CloseWithin(usize),
    /// Execute, send so many bytes of the answer, wait at the gate, send the rest.
    HoldWithin(usize, Gate),
    /// Execute nothing and send these bytes over and over, until the other side closes.
    Flood(Vec<u8>),
    /// Close the connection and execute nothing.
    CloseBefore,
    /// Execute, and close the connection without an answer.
    CloseAfter,
}

/// When to do it.
#[derive(Clone, Debug)]
pub struct Rule {
    name: String,
    node: Option<usize>,
    key: Option<Vec<u8>>,
    skip: usize,
    times: usize,
    act: Act,
}

impl Rule {
    /// For each command of this name (`GET`, `CLUSTER SHARDS`; `*` is any), always.
    pub fn on(name: &str, act: Act) -> Rule {
        Rule { name: name.to_owned(), node: None, key: None, skip: 0, times: usize::MAX, act }
    }

    /// Only at this node.
    pub fn at(mut self, node: usize) -> Rule {
        self.node = Some(node);
        self
    }

    /// Only with this first argument.
    pub fn key(mut self, key: &str) -> Rule {
        self.key = Some(key.as_bytes().to_vec());
        self
    }

    /// Not for the first `count` that fit.
    pub fn skip(mut self, count: usize) -> Rule {
        self.skip = count;
        self
    }

    /// For so many that fit, and no more.
    pub fn times(mut self, count: usize) -> Rule {
        self.times = count;
        self
    }

    /// The act, if the rule fits this request; uses it up by one.
    pub(super) fn take(&mut self, node: usize, words: &[Vec<u8>]) -> Option<Act> {
        let fits = (self.name == "*" || has_name(words, &self.name))
            && self.node.is_none_or(|wanted| wanted == node)
            && self.key.as_ref().is_none_or(|key| words.get(1) == Some(key));
        if !fits || self.times == 0 {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        self.times -= 1;
        Some(self.act.clone())
    }
}

/// See [`super::Received::is`].
pub(super) fn has_name(words: &[Vec<u8>], name: &str) -> bool {
    let mut wanted = name.split(' ');
    let mut has = words.iter();
    wanted.all(|word| has.next().is_some_and(|has| has.eq_ignore_ascii_case(word.as_bytes())))
}

/// Holds requests back until it is opened.
#[derive(Clone, Debug)]
pub struct Gate {
    open: Arc<AtomicBool>,
    shared: Arc<Shared>,
}

impl Gate {
    pub(super) fn new(shared: Arc<Shared>) -> Gate {
        Gate { open: Arc::default(), shared }
    }

    /// Lets through all that wait and all that come.
    pub fn open(&self) {
        let _world = self.shared.lock();
        self.open.store(true, Ordering::Relaxed);
        self.shared.changed.notify_all();
    }

    /// True once opened.
    pub fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }
}
