//! How many keys each slot has, and picking a slot with a chance in proportion to that.
//!
//! Two levels (blocks of 128 slots) instead of a tree: adding or removing a key, which happens all
//! the time, touches two counters; picking, which happens seldom, adds up at most 256 of them.

use pointsman_protocol::slot::SLOTS;

const BLOCK: usize = 128;

/// See the module.
#[derive(Debug)]
pub struct Census {
    slots: Box<[u32]>,
    blocks: Box<[u32]>,
    total: u64,
}

impl Default for Census {
    fn default() -> Self {
        Census {
            slots: vec![0; usize::from(SLOTS)].into_boxed_slice(),
            blocks: vec![0; usize::from(SLOTS) / BLOCK].into_boxed_slice(),
            total: 0,
        }
    }
}

impl Census {
    /// All keys.
    #[inline]
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The keys of one slot.
    pub fn of(&self, slot: u16) -> u32 {
        self.slots.get(usize::from(slot)).copied().unwrap_or(0)
    }

    /// One key more.
    #[inline]
    pub fn add(&mut self, slot: u16) {
        self.slots[usize::from(slot)] += 1;
        self.blocks[usize::from(slot) / BLOCK] += 1;
        self.total += 1;
    }

    /// One key less.
    #[inline]
    pub fn subtract(&mut self, slot: u16) {
        self.slots[usize::from(slot)] -= 1;
        self.blocks[usize::from(slot) / BLOCK] -= 1;
        self.total -= 1;
    }

    /// The slot that holds the key number `rank` when all keys are counted slot by slot; `None` if
    /// there are not so many.
    pub fn slot_of_rank(&self, rank: u64) -> Option<u16> {
        let mut rank = rank;
        let block = find(&self.blocks, &mut rank)?;
        let first = block * BLOCK;
        let place = find(&self.slots[first..first + BLOCK], &mut rank)?;
        Some((first + place) as u16)
    }

    /// The first slot from `slot` on that has a key.
    pub fn first_from(&self, slot: u16) -> Option<u16> {
        let mut slot = usize::from(slot);
        while slot < self.slots.len() {
            if self.slots[slot] > 0 {
                return Some(slot as u16);
            }
            slot += 1;
            while slot % BLOCK == 0 && slot < self.slots.len() && self.blocks[slot / BLOCK] == 0 {
                slot += BLOCK;
            }
        }
        None
    }
}

/// The place of the counter that `rank` falls into; leaves the rank within it.
fn find(counters: &[u32], rank: &mut u64) -> Option<usize> {
    for (place, count) in counters.iter().enumerate() {
        match rank.checked_sub(u64::from(*count)) {
            Some(rest) => *rank = rest,
            None => return Some(place),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_fall_into_their_slots() {
        let mut census = Census::default();
        assert_eq!(census.slot_of_rank(0), None);
        for (slot, count) in [(0, 2), (127, 1), (128, 3), (9000, 4), (16383, 1)] {
            for _ in 0..count {
                census.add(slot);
            }
        }
        let slots: Vec<_> = (0..11).map(|rank| census.slot_of_rank(rank).unwrap()).collect();
        assert_eq!(slots, [0, 0, 127, 128, 128, 128, 9000, 9000, 9000, 9000, 16383]);
        assert_eq!(census.slot_of_rank(11), None);
        assert_eq!(census.first_from(0), Some(0));
        assert_eq!(census.first_from(1), Some(127));
        assert_eq!(census.first_from(129), Some(9000));
        assert_eq!(census.first_from(9001), Some(16383));
        census.subtract(16383);
        assert_eq!(census.first_from(9001), None);
        assert_eq!((census.total(), census.of(128)), (10, 3));
    }
}
