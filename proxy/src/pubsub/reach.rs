//! Where the messages of a channel can be heard. Pure.
//!
//! PUBLISH travels to all nodes over the cluster bus, so one node is enough. Keyspace notifications do
//! not travel: each primary tells only of its own keys, so they must be heard everywhere. Shard
//! channels are published at the owner of their slot.

use super::wire::Kind;
use pointsman_protocol::Slot;

/// Where a subscription must stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// At one node, whichever.
    Anywhere,
    /// At every primary.
    Everywhere,
    /// At the owner of this slot.
    Owner(Slot),
}

/// What the channels of keyspace notifications begin with.
const KEYSPACE: [&[u8]; 2] = [b"__keyspace@", b"__keyevent@"];

impl Reach {
    /// That of a channel or pattern.
    pub fn of(kind: Kind, name: &[u8]) -> Reach {
        let everywhere = match kind {
            Kind::Shard => return Reach::Owner(Slot::of(name)),
            Kind::Channel => is_keyspace(name),
            Kind::Pattern => KEYSPACE.iter().any(|prefix| may_match(name, prefix)),
        };
        if everywhere { Reach::Everywhere } else { Reach::Anywhere }
    }
}

/// True for the channel of a keyspace notification.
pub fn is_keyspace(channel: &[u8]) -> bool {
    KEYSPACE.iter().any(|prefix| channel.starts_with(prefix))
}

/// True if some text that begins with `prefix` could match the pattern. A class (`[a-z]`) is taken to
/// match anything: too many places cost a little, too few lose messages.
fn may_match(pattern: &[u8], prefix: &[u8]) -> bool {
    let mut at = 0;
    for expected in prefix {
        match pattern.get(at) {
            // The rest of the text may be anything, so whatever stands behind a star can match.
            Some(b'*') => return true,
            Some(b'?') => at += 1,
            Some(b'[') => at = class_end(pattern, at),
            Some(b'\\') if at + 1 < pattern.len() => {
                if pattern[at + 1] != *expected {
                    return false;
                }
                at += 2;
            }
            Some(byte) if byte == expected => at += 1,
            _ => return false,
        }
    }
    true
}

/// The place behind the class that begins at `at`; one that is never closed reaches to the end.
fn class_end(pattern: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(byte) = pattern.get(at) {
        match byte {
            b'\\' => at += 2,
            b']' => return at + 1,
            _ => at += 1,
        }
    }
    pattern.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t66_keyspace_channels_are_heard_everywhere() {
        for (kind, name, reach) in [
            (Kind::Channel, &b"news"[..], Reach::Anywhere),
            (Kind::Channel, b"__keyspace@0__:k", Reach::Everywhere),
            (Kind::Channel, b"__keyevent@0__:set", Reach::Everywhere),
            (Kind::Channel, b"__keyspace", Reach::Anywhere),
            (Kind::Shard, b"__keyspace@0__:k", Reach::Owner(Slot::of(b"__keyspace@0__:k"))),
            (Kind::Shard, b"{a}b", Reach::Owner(Slot::of(b"a"))),
            (Kind::Pattern, b"news.*", Reach::Anywhere),
            (Kind::Pattern, b"*", Reach::Everywhere),
            (Kind::Pattern, b"__key*__:*", Reach::Everywhere),
            (Kind::Pattern, b"__keyspace@*__:user:*", Reach::Everywhere),
            (Kind::Pattern, b"__keyevent@0__:expired", Reach::Everywhere),
            (Kind::Pattern, b"_?keyspace@0*", Reach::Everywhere),
            (Kind::Pattern, b"[_a]_key[es]*", Reach::Everywhere),
            (Kind::Pattern, b"\\_\\_keyspace@0__:k", Reach::Everywhere),
            (Kind::Pattern, b"\\*", Reach::Anywhere),
            (Kind::Pattern, b"__keyspac", Reach::Anywhere),
            (Kind::Pattern, b"", Reach::Anywhere),
            (Kind::Pattern, b"[", Reach::Anywhere),
            (Kind::Pattern, b"[\\", Reach::Anywhere),
            (Kind::Pattern, b"\\", Reach::Anywhere),
        ] {
            assert_eq!(Reach::of(kind, name), reach, "{kind:?} {}", name.escape_ascii());
        }
    }
}
