//! Which shards a client has written to, for WAIT.
//!
//! Noted by groups of slots rather than by shards: a slot may move, and then its new owner is the one to ask.
//! Groups are coarse, as every client has them; a shard that owns other slots of the same group is asked
//! too, which can only make WAIT promise less.

use pointsman_protocol::Slot;

/// Slots of one group.
const GROUP: u16 = 256;

/// See the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written(u64);

impl Written {
    /// Notes a write to a slot; to all of them if it has none.
    #[inline]
    pub fn note(&mut self, slot: Option<Slot>) {
        self.0 |= slot.map_or(u64::MAX, |slot| 1 << (slot.number() / GROUP));
    }

    /// True if nothing has been written.
    pub fn is_nothing(self) -> bool {
        self.0 == 0
    }

    /// True if one of these slots, ranges with both ends, may have been written to.
    pub fn touches(self, ranges: &[(u16, u16)]) -> bool {
        ranges.iter().any(|(first, last)| {
            (first / GROUP..=last / GROUP)
                .any(|group| self.0.checked_shr(u32::from(group)).unwrap_or(0) & 1 == 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_is_found_in_the_ranges_that_hold_its_slot() {
        let mut written = Written::default();
        assert!(written.is_nothing() && !written.touches(&[(0, 16383)]));
        written.note(Slot::new(5460));
        for (ranges, touched) in [
            (&[(0, 5460)][..], true),
            (&[(5461, 10922)], true),
            (&[(5632, 10922)], false),
            (&[(0, 5375)], false),
            (&[(0, 10), (5460, 5460)], true),
            (&[], false),
        ] {
            assert_eq!(written.touches(ranges), touched, "{ranges:?}");
        }
        written.note(Slot::new(16383));
        assert!(written.touches(&[(16383, 16383)]));
        written.note(None);
        assert!((0..64).all(|group| written.touches(&[(group * 256, group * 256)])));
    }
}
