//! The words of subscriptions: what is said to nodes, what they answer, what clients are told.
//!
//! Nodes are spoken to in RESP2, which every version knows; there a message is an array of bulk
//! strings. A RESP3 client reads the same bytes behind another first byte.

use pointsman_protocol::resp::{encode, reply};

/// What is subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A channel (SUBSCRIBE).
    Channel,
    /// A pattern of channels (PSUBSCRIBE).
    Pattern,
    /// A shard channel (SSUBSCRIBE).
    Shard,
}

impl Kind {
    /// How many there are.
    pub const COUNT: usize = 3;

    /// The word that confirms, and that asks.
    pub fn word(self, subscribing: bool) -> &'static str {
        match (self, subscribing) {
            (Kind::Channel, true) => "subscribe",
            (Kind::Channel, false) => "unsubscribe",
            (Kind::Pattern, true) => "psubscribe",
            (Kind::Pattern, false) => "punsubscribe",
            (Kind::Shard, true) => "ssubscribe",
            (Kind::Shard, false) => "sunsubscribe",
        }
    }
}

/// What a command of this name (as its row has it) does; `None` for any other.
pub fn operation(name: &str) -> Option<(Kind, bool)> {
    Some(match name {
        "SUBSCRIBE" => (Kind::Channel, true),
        "UNSUBSCRIBE" => (Kind::Channel, false),
        "PSUBSCRIBE" => (Kind::Pattern, true),
        "PUNSUBSCRIBE" => (Kind::Pattern, false),
        "SSUBSCRIBE" => (Kind::Shard, true),
        "SUNSUBSCRIBE" => (Kind::Shard, false),
        _ => return None,
    })
}

/// What a node says on a subscriber connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A message for the subscription `name`, published to `channel`.
    Message {
        /// Of which kind the subscription is.
        kind: Kind,
        /// The channel or pattern subscribed to.
        name: &'a [u8],
        /// Where it was published.
        channel: &'a [u8],
    },
    /// A subscription stands, or is gone.
    Confirmed {
        /// Of which kind.
        kind: Kind,
        /// It stands.
        subscribed: bool,
        /// The channel or pattern.
        name: &'a [u8],
    },
    /// The answer to PING.
    Pong,
    /// An error.
    Refused,
    /// Nothing that belongs here.
    Nonsense,
}

/// Reads one whole frame from a node.
pub fn heard(bytes: &[u8]) -> Heard<'_> {
    match bytes.first() {
        Some(b'-') => return Heard::Refused,
        Some(b'+') => return Heard::Pong,
        Some(b'*' | b'>') => {}
        _ => return Heard::Nonsense,
    }
    let Some(mut elements) = reply::elements(bytes) else { return Heard::Nonsense };
    let mut next = || elements.next().and_then(reply::payload);
    let Some(word) = next() else { return Heard::Nonsense };
    if word == b"pong" {
        return Heard::Pong;
    }
    let Some(name) = next() else { return Heard::Nonsense };
    let message = |kind, channel| Heard::Message { kind, name, channel };
    let confirmed = |kind, subscribed| Heard::Confirmed { kind, subscribed, name };
    match word {
        b"message" => message(Kind::Channel, name),
        b"smessage" => message(Kind::Shard, name),
        b"pmessage" => next().map_or(Heard::Nonsense, |channel| message(Kind::Pattern, channel)),
        b"subscribe" => confirmed(Kind::Channel, true),
        b"psubscribe" => confirmed(Kind::Pattern, true),
        b"ssubscribe" => confirmed(Kind::Shard, true),
        b"unsubscribe" => confirmed(Kind::Channel, false),
        b"punsubscribe" => confirmed(Kind::Pattern, false),
        b"sunsubscribe" => confirmed(Kind::Shard, false),
        _ => Heard::Nonsense,
    }
}

/// Appends the confirmation that a client reads. Without a name: it had no subscription to give up.
pub fn confirm(
    out: &mut Vec<u8>,
    resp3: bool,
    (kind, subscribing): (Kind, bool),
    name: Option<&[u8]>,
    count: u32,
) {
    out.extend_from_slice(if resp3 { b">3\r\n" } else { b"*3\r\n" });
    encode::bulk(out, kind.word(subscribing).as_bytes());
    match name {
        Some(name) => encode::bulk(out, name),
        None => encode::null(out, resp3),
    }
    encode::integer(out, i64::from(count));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_says() {
        for (bytes, expected) in [
            (
                &b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n"[..],
                Heard::Message { kind: Kind::Channel, name: b"c", channel: b"c" },
            ),
            (
                b"*4\r\n$8\r\npmessage\r\n$2\r\nc*\r\n$2\r\ncc\r\n$2\r\nhi\r\n",
                Heard::Message { kind: Kind::Pattern, name: b"c*", channel: b"cc" },
            ),
            (
                b">3\r\n$8\r\nsmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n",
                Heard::Message { kind: Kind::Shard, name: b"c", channel: b"c" },
            ),
            (
                b"*3\r\n$10\r\nssubscribe\r\n$1\r\nc\r\n:1\r\n",
                Heard::Confirmed { kind: Kind::Shard, subscribed: true, name: b"c" },
            ),
            (
                b"*3\r\n$12\r\nsunsubscribe\r\n$1\r\nc\r\n:0\r\n",
                Heard::Confirmed { kind: Kind::Shard, subscribed: false, name: b"c" },
            ),
            (b"*2\r\n$4\r\npong\r\n$0\r\n\r\n", Heard::Pong),
            (b"+PONG\r\n", Heard::Pong),
            (b"-MOVED 1 h:1\r\n", Heard::Refused),
            (b"*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:0\r\n", Heard::Nonsense),
            (b"*0\r\n", Heard::Nonsense),
            (b"*1\r\n$7\r\nmessage\r\n", Heard::Nonsense),
            (
                b"*3\r\n$8\r\npmessage\r\n$2\r\nc*\r\n:1\r\n",
                Heard::Message { kind: Kind::Pattern, name: b"c*", channel: b"1" },
            ),
            (b"*3\r\n$5\r\nhello\r\n$1\r\nc\r\n:1\r\n", Heard::Nonsense),
            (b":1\r\n", Heard::Nonsense),
        ] {
            assert_eq!(heard(bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    // T62
    #[test]
    fn t62_confirmations_follow_the_protocol_version() {
        let text = |resp3, name: Option<&[u8]>| {
            let mut out = Vec::new();
            confirm(&mut out, resp3, (Kind::Channel, false), name, 2);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(false, Some(b"c")), "*3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:2\r\n");
        assert_eq!(text(true, Some(b"c")), ">3\r\n$11\r\nunsubscribe\r\n$1\r\nc\r\n:2\r\n");
        assert_eq!(text(false, None), "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:2\r\n");
        assert_eq!(text(true, None), ">3\r\n$11\r\nunsubscribe\r\n_\r\n:2\r\n");
    }
}
