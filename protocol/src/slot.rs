//! Hash slots: which of the 16,384 parts of the key space a key belongs to.
//!
//! The rule is the Redis Cluster specification's: CRC16 (XMODEM) of the key modulo 16,384, where a
//! key with a non-empty hash tag (the bytes between the first `{` and the first `}` behind it) is
//! judged by its tag alone.

use crate::crc16::crc16;
use std::fmt;

/// How many slots there are.
pub const SLOTS: u16 = 16384;

/// A hash slot; always below [`SLOTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The first one.
    pub const ZERO: Slot = Slot(0);

    /// The slot with this number, or `None` if there is none.
    pub fn new(number: u16) -> Option<Slot> {
        (number < SLOTS).then_some(Slot(number))
    }

    /// The slot of a key.
    #[inline]
    pub fn of(key: &[u8]) -> Slot {
        Slot(crc16(hash_tag(key)) % SLOTS)
    }

    /// Its number.
    #[inline]
    pub fn number(self) -> u16 {
        self.0
    }

    /// Its number as an index.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// All slots in order.
    pub fn all() -> impl ExactSizeIterator<Item = Slot> + DoubleEndedIterator {
        (0..SLOTS).map(Slot)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The part of a key that decides its slot.
#[inline]
pub fn hash_tag(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else { return key };
    match memchr::memchr(b'}', &key[open + 1..]) {
        Some(len) if len > 0 => &key[open + 1..open + 1 + len],
        _ => key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // T35: the vectors are redis-server 7.0.15's answers to CLUSTER KEYSLOT.
    #[test]
    fn t35_slots_of_known_keys() {
        for (key, slot) in [
            (&b"foo"[..], 12182),
            (b"bar", 5061),
            (b"hello", 866),
            (b"", 0),
            (b"123456789", 0x31C3),
            (b"{user1000}.following", 3443),
            (b"{user1000}.followers", 3443),
        ] {
            assert_eq!(Slot::of(key).number(), slot, "{}", String::from_utf8_lossy(key));
        }
    }

    #[test]
    fn t35_hash_tags() {
        for (key, tag) in [
            (&b"{}"[..], &b"{}"[..]),
            (b"{}{a}", b"{}{a}"),
            (b"a{b}c{d}", b"b"),
            (b"{a", b"{a"),
            (b"}a{b}", b"b"),
            (b"{{a}}", b"{a"),
            (b"\x00{\xff}\x00", b"\xff"),
            (b"a}b", b"a}b"),
        ] {
            assert_eq!(hash_tag(key), tag, "{}", String::from_utf8_lossy(key));
        }
    }
}
