//! How old a replica's copy is, in time.
//!
//! A primary tells an offset that grows with every write. What it acknowledged before it was asked lies below the
//! offset that it then tells, so a replica that has reached that offset has all of it: its copy is as fresh as the
//! moment the primary was asked. Nothing depends on the nodes' clocks, and it errs towards too old, never too fresh.
//!
//! Kept are pairs of a moment and an offset, at most [`KEPT`] a primary: of the older half every second one goes when
//! there are too many, so the figure for a replica far behind becomes coarse in proportion.

use std::collections::VecDeque;

/// Pairs kept of one primary.
const KEPT: usize = 256;

/// What one primary told, over time.
#[derive(Debug, Default)]
pub struct Offsets {
    /// Names the line of writes that the offsets count.
    history: Option<String>,
    /// When it was asked, in microseconds, and its offset then; both grow.
    told: VecDeque<(u64, u64)>,
}

impl Offsets {
    /// The primary was asked at `asked_at` and told `offset`.
    pub fn note(&mut self, history: Option<&str>, asked_at: u64, offset: u64) {
        let goes_back = self.told.back().is_some_and(|(_, last)| offset < *last);
        if goes_back || self.history.as_deref() != history {
            self.told.clear();
            self.history = history.map(str::to_owned);
        }
        match self.told.back_mut() {
            // Nothing was written in between: whoever has this offset is as fresh as the later moment.
            Some((last_asked, last)) if *last == offset => *last_asked = asked_at.max(*last_asked),
            _ => self.told.push_back((asked_at, offset)),
        }
        if self.told.len() > KEPT {
            let mut place = 0;
            self.told.retain(|_| {
                place += 1;
                place > KEPT / 2 || place % 2 == 1
            });
        }
    }

    /// The latest moment of which a replica at `offset` has everything; `None` if it is older than all that is kept.
    pub fn fresh_at(&self, offset: u64) -> Option<u64> {
        let reached = self.told.partition_point(|(_, told)| *told <= offset);
        Some(self.told.get(reached.checked_sub(1)?)?.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // T72: by time as well as by bytes.
    #[test]
    fn t72_a_copy_is_as_fresh_as_the_last_moment_it_has_everything_of() {
        let mut offsets = Offsets::default();
        assert_eq!(offsets.fresh_at(u64::MAX), None, "nothing is known yet");
        for (at, offset) in [(100, 10), (200, 20), (300, 20), (400, 50)] {
            offsets.note(Some("a"), at, offset);
        }
        for (offset, fresh_at) in [
            (9, None),
            (10, Some(100)),
            (19, Some(100)),
            (20, Some(300)),
            (49, Some(300)),
            (50, Some(400)),
            (99, Some(400)),
        ] {
            assert_eq!(offsets.fresh_at(offset), fresh_at, "{offset}");
        }
    }

    #[test]
    fn another_line_of_writes_begins_anew() {
        let mut offsets = Offsets::default();
        offsets.note(Some("a"), 100, 10);
        offsets.note(Some("b"), 200, 40);
        assert_eq!((offsets.fresh_at(39), offsets.fresh_at(40)), (None, Some(200)));
        offsets.note(Some("b"), 300, 5);
        assert_eq!((offsets.fresh_at(4), offsets.fresh_at(40)), (None, Some(300)), "the offset went back");
    }

    #[test]
    fn what_is_kept_is_bounded_and_stays_in_order() {
        let mut offsets = Offsets::default();
        for at in 1..=100_000 {
            offsets.note(None, at, at * 10);
        }
        assert!(offsets.told.len() <= KEPT);
        assert!(offsets.told.iter().zip(offsets.told.iter().skip(1)).all(|(one, next)| one < next));
        assert_eq!(offsets.fresh_at(999_999), Some(99_999));
        let old = offsets.fresh_at(999_000).expect("it is kept coarsely");
        assert!((99_700..=99_900).contains(&old), "{old}");
    }
}
