//! SCAN where keys never leave their shard: one primary, or a fixed number of shards. Pure.
//!
//! Each shard's primary is walked with its own SCAN, one after the other. What may go wrong is that the
//! primary changes: another server keeps its keys in another order, so that the cursor of the one means
//! nothing to the other. So the cursor carries a [`tag`] of the primary it came from. If that is not the
//! shard's primary any more, the shard is walked again from its beginning; keys may come twice then, and
//! none is missed. Nothing is kept in the proxy between calls.
//!
//! A call may be sent to the old primary and, when that is lost, again to the new one with the cursor of
//! the old. The keys that it tells are true, and the number carries the old tag, so that the next call
//! begins again. Only an end that it tells would be believed; so the end of a walk that is not told in
//! one call is a number of its own, which the next call judges by its tag like any other.
//!
//! ```text
//!   tag, 16 bits, not 0 │ node's cursor × n + shard, 37 bits; the highest cursor is the end of a shard
//! ```

use super::scan::Tag;
use pointsman_protocol::resp::encode;
use pointsman_protocol::topology::Node;

/// Bits for a node's cursor and the shard together: with the tag it makes 53, exact as a double.
const BODY_BITS: u32 = 37;

/// What a call must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask this shard.
    Ask {
        /// Which, from 0 on.
        shard: u32,
        /// The node's own cursor.
        cursor: u64,
    },
    /// Everything was told.
    Done,
}

/// Stands for a primary in cursors: equal for the same process at the same address, on every proxy.
pub fn tag(primary: Option<&Node>) -> Tag {
    // FNV-1a: the same on every machine and in every version, which std's hasher does not promise.
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut mix = |text: &str| {
        for byte in text.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    if let Some(node) = primary {
        mix(&node.address.to_string());
        mix(&node.id.map(|id| id.to_string()).unwrap_or_default());
    }
    let folded = (hash >> 48) ^ (hash >> 32) ^ (hash >> 16) ^ hash;
    Tag::new(folded as u16).unwrap_or(Tag::MIN)
}

/// What a client's number asks for, with the tags of the primaries as they are now. `None` if it was
/// never told.
pub fn decode(number: u64, shards: u32, tag: impl Fn(u32) -> Tag) -> Option<Step> {
    let shards = u64::from(shards.max(1));
    if number == 0 {
        return Some(Step::Ask { shard: 0, cursor: 0 });
    }
    let began = Tag::new(u16::try_from(number >> BODY_BITS).ok()?)?;
    let body = number & ((1 << BODY_BITS) - 1);
    let (cursor, shard) = (body / shards, (body % shards) as u32);
    if began != tag(shard) {
        return Some(Step::Ask { shard, cursor: 0 });
    }
    Some(match cursor {
        cursor if cursor != end(shards) => Step::Ask { shard, cursor },
        _ if u64::from(shard) + 1 < shards => Step::Ask { shard: shard + 1, cursor: 0 },
        _ => Step::Done,
    })
}

/// The number behind a step, from what the node told. `from_start`: the step began a shard, so that an
/// end that it tells is one, whoever told it. `None` if the node's cursor is too large to be told.
pub fn after(tag: Tag, shard: u32, shards: u32, told: u64, from_start: bool) -> Option<u64> {
    let count = u64::from(shards.max(1));
    let cursor = match told {
        0 if from_start && shard + 1 >= shards => return Some(0),
        0 => end(count),
        told if told < end(count) => told,
        _ => return None,
    };
    Some(u64::from(tag.get()) << BODY_BITS | (cursor * count + u64::from(shard)))
}

/// Appends what [`Step::Done`] is answered with.
pub fn write_end(out: &mut Vec<u8>) {
    encode::array_head(out, 2);
    encode::bulk(out, b"0");
    encode::array_head(out, 0);
}

/// The cursor that stands for the end of a shard; `end * shards + shard` still fits.
fn end(shards: u64) -> u64 {
    (1 << BODY_BITS) / shards - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_protocol::{HostPort, NodeId};

    fn numbered(number: u16) -> Tag {
        Tag::new(number).unwrap()
    }

    // T69
    #[test]
    fn t69_a_walk_over_all_shards() {
        let tag = |shard: u32| numbered(shard as u16 + 1);
        let told = |shard, cursor, from_start| after(tag(shard), shard, 3, cursor, from_start).unwrap();
        let decoded = |number| decode(number, 3, tag).unwrap();
        assert_eq!(decoded(0), Step::Ask { shard: 0, cursor: 0 });
        assert_eq!(decoded(told(0, 7, true)), Step::Ask { shard: 0, cursor: 7 });
        assert_eq!(decoded(told(0, 0, false)), Step::Ask { shard: 1, cursor: 0 });
        assert_eq!(decoded(told(1, 0, true)), Step::Ask { shard: 2, cursor: 0 });
        assert_eq!(decoded(told(2, 0, false)), Step::Done);
        assert_eq!(told(2, 0, true), 0, "told in one call");
        for shards in [1, 2, 3, 100, 1000] {
            let largest = end(u64::from(shards)) - 1;
            let number = after(numbered(u16::MAX), shards - 1, shards, largest, false).unwrap();
            assert!(number < 1 << 53, "{shards}");
            assert_eq!(
                decode(number, shards, |_| numbered(u16::MAX)),
                Some(Step::Ask { shard: shards - 1, cursor: largest })
            );
            assert_eq!(after(numbered(1), 0, shards, largest + 1, false), None, "too large to be told");
        }
    }

    // T70: after a failover the shard begins anew, and only that shard.
    #[test]
    fn t70_another_primary_means_another_order() {
        let number = after(numbered(5), 1, 3, 77, false).unwrap();
        assert_eq!(decode(number, 3, |_| numbered(6)), Some(Step::Ask { shard: 1, cursor: 0 }));
        let end = after(numbered(5), 1, 3, 0, false).unwrap();
        assert_eq!(decode(end, 3, |_| numbered(6)), Some(Step::Ask { shard: 1, cursor: 0 }));
        for number in [1, 1 << 36, u64::MAX] {
            assert_eq!(decode(number, 3, |_| numbered(6)), None, "{number} was never told");
        }
    }

    #[test]
    fn tags_know_processes() {
        let node = |port, id| Node {
            id: Some(NodeId::from_bytes([id; 20])),
            address: HostPort::new("h", port),
            zone: None,
        };
        assert_eq!(tag(Some(&node(1, 1))), tag(Some(&node(1, 1))));
        assert_ne!(tag(Some(&node(1, 1))), tag(Some(&node(2, 1))));
        assert_ne!(tag(Some(&node(1, 1))), tag(Some(&node(1, 2))), "restarted in its place");
    }
}
