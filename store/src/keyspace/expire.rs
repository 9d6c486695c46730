//! Removing expired keys that nobody asks for, a little at a time.
//!
//! Each segment knows the earliest moment at which one of its entries may expire, so a sweep over the
//! key space looks into those segments only that have something to remove, or had when their note
//! was made. When a whole round is done, the earliest moment of all is known, and nothing is looked
//! at before that.

use super::walk::{Cursor, behind};
use super::{Handle, Keyspace, Place};

/// How far the sweep has come.
#[derive(Debug)]
pub(super) struct Sweep {
    /// Where it goes on.
    at: Cursor,
    /// The earliest expiry met in this round so far, or set since it began.
    earliest_ms: u64,
    /// The earliest expiry that the last whole round found or that was set since: no earlier than
    /// this must a round begin.
    due_ms: u64,
}

impl Default for Sweep {
    fn default() -> Self {
        Sweep { at: Cursor::START, earliest_ms: u64::MAX, due_ms: u64::MAX }
    }
}

impl Sweep {
    /// Some key expires at this time.
    #[inline]
    pub(super) fn note(&mut self, at: u64) {
        self.earliest_ms = self.earliest_ms.min(at);
        self.due_ms = self.due_ms.min(at);
    }
}

/// What a part of a sweep did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swept {
    /// How many keys it removed.
    pub removed: u64,
    /// True if it stopped because its time was up, so that there may be more to remove.
    pub unfinished: bool,
}

impl Keyspace {
    /// Removes keys that have expired at `now_ms`, until there are none or `time_is_up` says so; it
    /// is asked after each segment looked into and now and then in between. `removed` is told each
    /// key before it goes.
    pub fn sweep(
        &mut self,
        now_ms: u64,
        mut time_is_up: impl FnMut() -> bool,
        mut removed: impl FnMut(Place, &[u8]),
    ) -> Swept {
        let mut swept = Swept { removed: 0, unfinished: false };
        if self.sweep.due_ms >= now_ms && self.sweep.at == Cursor::START {
            return swept;
        }
        let mut expired: Vec<Handle> = Vec::new();
        let mut passed = 0u32;
        while let Some((cursor, segment)) = self.segment_from(self.sweep.at) {
            let next = behind(cursor, segment);
            let due = segment.due_ms();
            passed += 1;
            let looked_into = due < now_ms;
            if looked_into {
                let mut earliest = u64::MAX;
                expired.clear();
                for handle in segment.handles() {
                    match self.expire_at(handle) {
                        Some(at) if at < now_ms => expired.push(handle),
                        Some(at) => earliest = earliest.min(at),
                        None => {}
                    }
                }
                self.set_due(cursor, earliest);
                self.sweep.earliest_ms = self.sweep.earliest_ms.min(earliest);
                for handle in &expired {
                    let place = self.place(self.key(*handle));
                    removed(place, self.key(*handle));
                    self.remove(place, *handle);
                }
                swept.removed += expired.len() as u64;
            } else {
                self.sweep.earliest_ms = self.sweep.earliest_ms.min(due);
            }
            self.sweep.at = next;
            if (looked_into || passed.is_multiple_of(256)) && time_is_up() {
                swept.unfinished = true;
                return swept;
            }
        }
        // A whole round, perhaps begun in an earlier call: what it met is the truth.
        self.sweep = Sweep { at: Cursor::START, earliest_ms: u64::MAX, due_ms: self.sweep.earliest_ms };
        swept
    }
}
