//! The words of invalidations: what nodes say on a watching connection, what clients are told.
//!
//! Watching connections speak RESP3, where an invalidation is a push. Clients in RESP3 are told the same
//! way; a subscribed RESP2 client that another redirects to is told in the shape of a message.

use pointsman_protocol::resp::{encode, reply};

/// What a node says on a watching connection.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// These keys have changed.
    Changed(Vec<&'a [u8]>),
    /// Everything may have changed.
    ChangedAll,
    /// The answer to PING or to a change of the watch.
    Done,
    /// An error.
    Refused,
    /// Another push, which is none of our business.
    Other,
    /// Nothing that belongs here.
    Nonsense,
}

/// Reads one whole frame from a node.
pub fn heard(bytes: &[u8]) -> Heard<'_> {
    match bytes.first() {
        Some(b'-') => return Heard::Refused,
        Some(b'+') => return Heard::Done,
        Some(b'>') => {}
        _ => return Heard::Nonsense,
    }
    let Some(mut elements) = reply::elements(bytes) else { return Heard::Nonsense };
    if elements.next().and_then(reply::payload) != Some(b"invalidate") {
        return Heard::Other;
    }
    match elements.next() {
        Some(keys) if keys.first() == Some(&b'_') => Heard::ChangedAll,
        Some(keys) => match reply::elements(keys) {
            Some(keys) => {
                keys.map(reply::payload).collect::<Option<_>>().map_or(Heard::Nonsense, Heard::Changed)
            }
            None => Heard::Nonsense,
        },
        None => Heard::Nonsense,
    }
}

/// What a client is to forget.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Forget {
    /// Nothing yet.
    #[default]
    Nothing,
    /// These keys.
    Keys(Vec<Box<[u8]>>),
    /// Everything.
    Everything,
}

impl Forget {
    /// This and more. From `keys_max` keys on it is everything.
    pub fn and(&mut self, more: &Forget, keys_max: usize) {
        match (&mut *self, more) {
            (Forget::Everything, _) | (_, Forget::Nothing) => {}
            (_, Forget::Everything) => *self = Forget::Everything,
            (Forget::Nothing, Forget::Keys(_)) => *self = more.clone(),
            (Forget::Keys(keys), Forget::Keys(more)) => {
                if keys.len() + more.len() > keys_max {
                    *self = Forget::Everything;
                } else {
                    keys.extend_from_slice(more);
                }
            }
        }
    }

    /// Appends the value that names the keys.
    fn write_keys(&self, out: &mut Vec<u8>) {
        match self {
            Forget::Keys(keys) => {
                encode::array_head(out, keys.len());
                keys.iter().for_each(|key| encode::bulk(out, key));
            }
            // Redis says it with RESP3's null to RESP2 clients, too.
            Forget::Everything | Forget::Nothing => out.extend_from_slice(b"_\r\n"),
        }
    }
}

/// Appends the push for a RESP3 client.
pub fn invalidate(out: &mut Vec<u8>, what: &Forget) {
    out.extend_from_slice(b">2\r\n$10\r\ninvalidate\r\n");
    what.write_keys(out);
}

/// Appends the message for a RESP2 client.
pub fn invalidate_as_message(out: &mut Vec<u8>, what: &Forget) {
    out.extend_from_slice(b"*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n");
    what.write_keys(out);
}

/// Appends the push that tells a RESP3 client that the one it redirects to has gone.
pub fn redirect_broken(out: &mut Vec<u8>, id: u64) {
    out.extend_from_slice(b">2\r\n$21\r\ntracking-redir-broken\r\n");
    encode::integer(out, i64::try_from(id).unwrap_or(i64::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> Forget {
        Forget::Keys(names.iter().map(|name| name.as_bytes().into()).collect())
    }

    #[test]
    fn what_nodes_say() {
        for (frame, expected) in [
            (
                &b">2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\na\r\n$2\r\nbc\r\n"[..],
                Heard::Changed(vec![b"a", b"bc"]),
            ),
            (b">2\r\n$10\r\ninvalidate\r\n*0\r\n", Heard::Changed(vec![])),
            (b">2\r\n$10\r\ninvalidate\r\n_\r\n", Heard::ChangedAll),
            (b">2\r\n$10\r\ninvalidate\r\n:1\r\n", Heard::Nonsense),
            (b">1\r\n$10\r\ninvalidate\r\n", Heard::Nonsense),
            (b">2\r\n$5\r\nother\r\n_\r\n", Heard::Other),
            (b"+OK\r\n", Heard::Done),
            (b"+PONG\r\n", Heard::Done),
            (b"-ERR no\r\n", Heard::Refused),
            (b":1\r\n", Heard::Nonsense),
        ] {
            assert_eq!(heard(frame), expected, "{}", String::from_utf8_lossy(frame));
        }
    }

    #[test]
    fn what_is_to_be_forgotten_adds_up() {
        let mut all = Forget::default();
        all.and(&Forget::Nothing, 3);
        assert_eq!(all, Forget::Nothing);
        all.and(&keys(&["a"]), 3);
        all.and(&keys(&["b", "c"]), 3);
        assert_eq!(all, keys(&["a", "b", "c"]));
        all.and(&keys(&["d"]), 3);
        assert_eq!(all, Forget::Everything, "too much to name");
        all.and(&keys(&["e"]), 3);
        assert_eq!(all, Forget::Everything);
    }

    #[test]
    fn what_clients_are_told() {
        let written = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            write(&mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            written(&|out| invalidate(out, &keys(&["a", "b"]))),
            ">2\r\n$10\r\ninvalidate\r\n*2\r\n$1\r\na\r\n$1\r\nb\r\n"
        );
        assert_eq!(written(&|out| invalidate(out, &Forget::Everything)), ">2\r\n$10\r\ninvalidate\r\n_\r\n");
        assert_eq!(
            written(&|out| invalidate_as_message(out, &keys(&["a"]))),
            "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n*1\r\n$1\r\na\r\n"
        );
        assert_eq!(written(&|out| redirect_broken(out, 7)), ">2\r\n$21\r\ntracking-redir-broken\r\n:7\r\n");
    }
}
