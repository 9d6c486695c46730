//! Walking the key space in a fixed order, piece by piece, while it changes: slot by slot, and within
//! a slot by prefix, segment by segment.
//!
//! SCAN and the full copy to a replica stand on this. A key that is there from the first step to the
//! last is met at least once: nothing ever moves across the order. A key may be met twice, if
//! segments merge behind the walker.

use super::table::{PREFIX_BITS, Place, Segment};
use super::{Handle, Keyspace};
use pointsman_protocol::slot::SLOTS;

/// A position in the order; all keys before it have been met. As a number it is below 2^34.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(u64);

impl Cursor {
    /// Before the first key.
    pub const START: Cursor = Cursor(0);
    /// Behind the last key.
    pub const END: Cursor = Cursor((SLOTS as u64) << PREFIX_BITS);

    /// The position of a key.
    #[inline]
    pub fn of(place: Place) -> Cursor {
        Cursor::at(place.slot, place.prefix())
    }

    /// The position of a slot's first possible key.
    pub fn of_slot(slot: u16) -> Cursor {
        Cursor::at(slot, 0)
    }

    /// The number that SCAN tells: 0 both before the first and behind the last key.
    pub fn number(self) -> u64 {
        if self >= Cursor::END { 0 } else { self.0 }
    }

    /// From a number that a client sends. One that was never told is clipped to the end, which is as
    /// undefined as Redis has it.
    pub fn from_number(number: u64) -> Cursor {
        Cursor(number.min(Cursor::END.0))
    }

    fn at(slot: u16, prefix: u32) -> Cursor {
        Cursor(u64::from(slot) << PREFIX_BITS | u64::from(prefix))
    }

    fn slot(self) -> u16 {
        (self.0 >> PREFIX_BITS) as u16
    }

    fn prefix(self) -> u32 {
        self.0 as u32 & ((1 << PREFIX_BITS) - 1)
    }
}

impl Keyspace {
    /// Meets the entries of the first piece that is not before `cursor`, at most a segment. Gives the
    /// position behind it.
    pub fn walk(&self, cursor: Cursor, mut meet: impl FnMut(Handle)) -> Cursor {
        let Some((cursor, segment)) = self.segment_from(cursor) else { return Cursor::END };
        segment.handles().for_each(&mut meet);
        behind(cursor, segment)
    }

    /// True if no key is at or behind `cursor`.
    pub fn walk_is_over(&self, cursor: Cursor) -> bool {
        self.segment_from(cursor).is_none()
    }

    /// The first segment that holds a position not before `cursor`, and a position in it.
    pub(super) fn segment_from(&self, cursor: Cursor) -> Option<(Cursor, &Segment)> {
        if cursor >= Cursor::END {
            return None;
        }
        let slot = self.table.census().first_from(cursor.slot())?;
        let cursor = if slot == cursor.slot() { cursor } else { Cursor::of_slot(slot) };
        Some((cursor, self.table.segment(slot, cursor.prefix())?))
    }

    /// Meets all entries of a slot.
    pub fn walk_slot(&self, slot: u16, mut meet: impl FnMut(Handle)) {
        let end = Cursor(Cursor::of_slot(slot).0 + (1 << PREFIX_BITS));
        let mut cursor = Cursor::of_slot(slot);
        while self.keys_in_slot(slot) > 0 && cursor < end {
            cursor = self.walk(cursor, &mut meet);
        }
    }

    /// Corrects when the first entry of the segment at `cursor` expires.
    pub(super) fn set_due(&mut self, cursor: Cursor, due_ms: u64) {
        self.table.set_due(cursor.slot(), cursor.prefix(), due_ms);
    }
}

/// The position behind a segment that holds `cursor`.
pub(super) fn behind(cursor: Cursor, segment: &Segment) -> Cursor {
    match segment.next_prefix() {
        Some(prefix) => Cursor::at(cursor.slot(), prefix),
        None => Cursor((u64::from(cursor.slot()) + 1) << PREFIX_BITS),
    }
}
