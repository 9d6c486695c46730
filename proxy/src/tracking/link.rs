//! The ledger of one watching connection: what is to be sent, which answers are still to come, and
//! whether all that is to be heard of its node is heard.

use super::wire;
use pointsman_protocol::HostPort;
use pointsman_protocol::resp::encode;
use std::collections::VecDeque;
use std::task::Waker;

/// Number of a state of the watch; a later one asks for more.
pub type Serial = u64;

/// An answer still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// To the end of an earlier watch.
    Off,
    /// To the beginning of this one.
    On(Serial),
    /// To PING.
    Pong,
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The node is watched as this serial asks for.
    Watched(Serial),
    /// Nothing of note.
    Fine,
    /// Nothing was asked.
    Unasked,
}

/// One watching connection.
#[derive(Debug)]
pub struct Link {
    /// The node.
    pub address: HostPort,
    /// Requests may be sent.
    pub up: bool,
    /// What the node tells changes for.
    pub watched: Option<Serial>,
    /// Why it is to be closed.
    pub close: Option<&'static str>,
    /// When the node was last heard, in microseconds.
    pub heard: u64,
    /// Its task's waker.
    pub waker: Option<Waker>,
    /// Requests that the kernel has not taken yet.
    pub out: Vec<u8>,
    /// Attempts in a row that came to nothing.
    pub failures: u8,
    expected: VecDeque<Expected>,
    /// A watch was asked for on this connection.
    asked: bool,
}

impl Link {
    /// Not connected yet.
    pub fn new(address: HostPort, now: u64) -> Link {
        Link {
            address,
            up: false,
            watched: None,
            close: None,
            heard: now,
            waker: None,
            out: Vec::new(),
            failures: 0,
            expected: VecDeque::new(),
            asked: false,
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
        self.watched = None;
        self.close = None;
        self.asked = false;
        self.failures = self.failures.saturating_add(1);
        self.out = Vec::new();
        self.expected = VecDeque::new();
    }

    /// Asks to hear of changes to keys with these prefixes.
    pub fn watch(&mut self, prefixes: &[Vec<u8>], serial: Serial) {
        // A node does not take a prefix that overlaps with one it has.
        if self.asked {
            encode::request(&mut self.out, &["CLIENT", "TRACKING", "OFF"]);
            self.expected.push_back(Expected::Off);
        }
        let mut words: Vec<&[u8]> = vec![b"CLIENT", b"TRACKING", b"ON", b"BCAST"];
        for prefix in prefixes.iter().filter(|prefix| !prefix.is_empty()) {
            words.push(b"PREFIX");
            words.push(prefix);
        }
        encode::request(&mut self.out, &words);
        self.expected.push_back(Expected::On(serial));
        self.asked = true;
        self.wake();
    }

    /// Asks whether the node is still there.
    pub fn ping(&mut self) {
        encode::request(&mut self.out, &["PING"]);
        self.expected.push_back(Expected::Pong);
        self.wake();
    }

    /// How many answers are still to come.
    pub fn owed(&self) -> usize {
        self.expected.len()
    }

    /// Takes the next answer, which is no error.
    pub fn answered(&mut self) -> Answered {
        match self.expected.pop_front() {
            Some(Expected::On(serial)) => {
                self.watched = Some(serial);
                self.failures = 0;
                Answered::Watched(serial)
            }
            Some(Expected::Off | Expected::Pong) => Answered::Fine,
            None => Answered::Unasked,
        }
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

/// What the rest of the worker must know of a frame.
#[derive(Debug, PartialEq, Eq)]
pub enum News<'a> {
    /// These keys have changed.
    Changed(Vec<&'a [u8]>),
    /// Everything may have changed.
    ChangedAll,
    /// The node is watched as asked.
    Watched,
    /// It refuses to be watched, in these words.
    Refused(&'a [u8]),
    /// Nothing.
    Nothing,
    /// The connection cannot be trusted any more.
    Broken(&'static str),
}

impl Link {
    /// Takes one whole frame from the node.
    pub fn frame<'a>(&mut self, bytes: &'a [u8], now: u64) -> News<'a> {
        self.heard = now;
        match wire::heard(bytes) {
            wire::Heard::Changed(keys) => News::Changed(keys),
            wire::Heard::ChangedAll => News::ChangedAll,
            wire::Heard::Other => News::Nothing,
            wire::Heard::Done => match self.answered() {
                Answered::Watched(_) => News::Watched,
                Answered::Fine => News::Nothing,
                Answered::Unasked => News::Broken("it answered more than it was asked"),
            },
            wire::Heard::Refused => News::Refused(bytes.strip_suffix(b"\r\n").unwrap_or(bytes)),
            wire::Heard::Nonsense => News::Broken("it said what was not asked"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_come_in_the_order_of_requests() {
        let mut link = Link::new(HostPort::new("h", 1), 0);
        link.connected(5);
        link.watch(&[Vec::new()], 1);
        assert_eq!(link.out, b"*4\r\n$6\r\nCLIENT\r\n$8\r\nTRACKING\r\n$2\r\nON\r\n$5\r\nBCAST\r\n");
        link.ping();
        link.watch(&[b"a".to_vec(), b"b".to_vec()], 2);
        assert!(link.out.ends_with(b"$6\r\nPREFIX\r\n$1\r\na\r\n$6\r\nPREFIX\r\n$1\r\nb\r\n"));
        assert_eq!(link.owed(), 4);
        assert_eq!(link.frame(b"+OK\r\n", 6), News::Watched);
        assert_eq!((link.watched, link.heard), (Some(1), 6));
        assert_eq!(link.frame(b"+PONG\r\n", 7), News::Nothing);
        assert_eq!(link.frame(b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n", 7), News::Changed(vec![b"k"]));
        assert_eq!(link.frame(b"+OK\r\n", 7), News::Nothing);
        assert_eq!(link.frame(b"+OK\r\n", 7), News::Watched);
        assert_eq!(link.watched, Some(2));
        assert!(matches!(link.frame(b"+OK\r\n", 7), News::Broken(_)));
        assert!(matches!(link.frame(b":1\r\n", 7), News::Broken(_)));
        assert_eq!(link.frame(b"-NOPERM no\r\n", 7), News::Refused(b"-NOPERM no"));
        link.disconnected();
        assert_eq!((link.watched, link.owed(), link.out.len(), link.failures), (None, 0, 0, 1));
        link.connected(8);
        link.watch(&[Vec::new()], 3);
        assert_eq!(link.owed(), 1, "nothing is to be ended on a new connection");
    }
}
