//! The ledger of one subscriber connection: what is to be sent, and which answers are still to come.
//!
//! Every request names one channel, so each has exactly one answer, in order. A node also says
//! `sunsubscribe` unasked, when a slot leaves it; that answers nothing.

use super::registry::TopicId;
use super::wire::Kind;
use pointsman_protocol::HostPort;
use pointsman_protocol::resp::encode;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

/// An answer still to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// To a subscription.
    Subscribed {
        /// The topic.
        topic: TopicId,
        /// Which asking it is; a later one makes this answer stale.
        serial: u64,
        /// Of which kind.
        kind: Kind,
        /// The name.
        name: Rc<[u8]>,
    },
    /// To the end of a subscription.
    Unsubscribed {
        /// The topic.
        topic: TopicId,
        /// The asking that it ends.
        serial: u64,
        /// Of which kind.
        kind: Kind,
        /// The name.
        name: Rc<[u8]>,
    },
    /// To PING.
    Pong,
}

/// One subscriber connection.
#[derive(Debug)]
pub struct Link {
    /// The node.
    pub address: HostPort,
    /// Requests may be sent.
    pub up: bool,
    /// The node said something on it.
    pub answered: bool,
    /// Why it is to be closed.
    pub close: Option<&'static str>,
    /// Topics that have a place on it.
    pub places: usize,
    /// Since when there is none, in microseconds.
    pub unused_since: u64,
    /// When the node was last heard, in microseconds.
    pub heard: u64,
    /// Its task's waker.
    pub waker: Option<Waker>,
    /// Requests that the kernel has not taken yet.
    pub out: Vec<u8>,
    expected: VecDeque<Expected>,
}

impl Link {
    /// Not connected yet.
    pub fn new(address: HostPort, now: u64) -> Link {
        Link {
            address,
            up: false,
            answered: false,
            close: None,
            places: 0,
            unused_since: now,
            heard: now,
            waker: None,
            out: Vec::new(),
            expected: VecDeque::new(),
        }
    }

    /// The connection stands and nothing was said on it yet.
    pub fn connected(&mut self, now: u64) {
        self.up = true;
        self.close = None;
        self.heard = now;
    }

    /// The connection is gone, and with it everything said on it.
    pub fn disconnected(&mut self) {
        self.up = false;
        self.answered = false;
        self.close = None;
        self.out = Vec::new();
        self.expected = VecDeque::new();
    }

    /// Asks for a subscription.
    pub fn subscribe(&mut self, topic: TopicId, serial: u64, kind: Kind, name: &Rc<[u8]>) {
        encode::request(&mut self.out, &[kind.word(true).as_bytes(), name]);
        self.expected.push_back(Expected::Subscribed { topic, serial, kind, name: name.clone() });
        self.wake();
    }

    /// Ends a subscription.
    pub fn unsubscribe(&mut self, topic: TopicId, serial: u64, kind: Kind, name: &Rc<[u8]>) {
        encode::request(&mut self.out, &[kind.word(false).as_bytes(), name]);
        self.expected.push_back(Expected::Unsubscribed { topic, serial, kind, name: name.clone() });
        self.wake();
    }

    /// Asks whether the node is still there.
    pub fn ping(&mut self) {
        encode::request(&mut self.out, &["ping"]);
        self.expected.push_back(Expected::Pong);
        self.wake();
    }

    /// How many answers are still to come.
    pub fn owed(&self) -> usize {
        self.expected.len()
    }

    /// Takes the next answer, if this is it.
    pub fn take_confirmation(&mut self, kind: Kind, subscribed: bool, name: &[u8]) -> Option<Expected> {
        let fits = match self.expected.front()? {
            Expected::Subscribed { kind: asked, name: of, .. } => {
                subscribed && *asked == kind && **of == *name
            }
            Expected::Unsubscribed { kind: asked, name: of, .. } => {
                !subscribed && *asked == kind && **of == *name
            }
            Expected::Pong => false,
        };
        if fits { self.expected.pop_front() } else { None }
    }

    /// Takes the answer to PING. False if another is due.
    pub fn take_pong(&mut self) -> bool {
        self.expected.pop_front() == Some(Expected::Pong)
    }

    /// Takes the next answer, which is an error.
    pub fn take_refusal(&mut self) -> Option<Expected> {
        self.expected.pop_front()
    }

    /// Has its task look at it.
    pub fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Has its task close it.
    pub fn shut(&mut self, reason: &'static str) {
        self.close = Some(reason);
        self.wake();
    }
}
