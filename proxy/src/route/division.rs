//! Which keys share a home: what a backend makes of a key before anything is planned.
//!
//! Everything behind this ([`super::plan`], the map of owners, lanes, detours) speaks of slots. In a
//! cluster that is the slot of the specification. In front of one primary all keys lie together, and so
//! they have one slot: nothing is cut, nothing is CROSSSLOT, and a transaction may touch what it likes, as
//! on the server itself. What a client sees of slots is decided here, and nowhere else.

use super::continuum::Continuum;
use pointsman_config::BackendKind;
use pointsman_protocol::Slot;
use pointsman_protocol::slot::SLOTS;
use std::sync::Arc;

/// How a backend's keys are divided. It never changes while the process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Division {
    /// By hash slots that may move between shards: a cluster's rule.
    Slots,
    /// Not at all.
    Whole,
    /// Over so many shards, each with its part of the hash slots for good.
    Fixed(Ranges),
    /// Over so many shards by a rule of its own; the slots of a shard only stand for it.
    Hashed(Ranges, Arc<Continuum>),
}

impl Division {
    /// That of a backend.
    pub fn of(kind: &BackendKind) -> Division {
        let ranges =
            |shards| if shards == 1 { Division::Whole } else { Division::Fixed(Ranges::new(shards)) };
        match kind {
            BackendKind::Bundled(_) | BackendKind::Cluster(_) => Division::Slots,
            BackendKind::Primary(_) => Division::Whole,
            BackendKind::Sentinel(sentinel) => ranges(sentinel.groups.len()),
            BackendKind::Fixed(fixed) => match Continuum::of(fixed) {
                Some(continuum) if fixed.shards.len() > 1 => {
                    Division::Hashed(Ranges::new(fixed.shards.len()), Arc::new(continuum))
                }
                _ => ranges(fixed.shards.len()),
            },
        }
    }

    /// The slot that stands for a key's home.
    #[inline]
    pub fn slot(&self, key: &[u8]) -> Slot {
        match self {
            Division::Slots => Slot::of(key),
            Division::Whole => Slot::ZERO,
            Division::Fixed(ranges) => ranges.home(Slot::of(key)),
            Division::Hashed(ranges, continuum) => ranges.first(continuum.server(key)),
        }
    }

    /// The slot that stands for the home of a hash slot: it has the same owner. For what goes by slots and
    /// not by keys, as a shard channel does.
    pub fn home(&self, slot: Slot) -> Slot {
        match self {
            Division::Slots => slot,
            Division::Whole => Slot::ZERO,
            // One slot stands for its shard, so that what one shard has can be used together, since the
            // nodes know no slots, and a command is cut once a shard.
            Division::Fixed(ranges) | Division::Hashed(ranges, _) => ranges.home(slot),
        }
    }

    /// A slot of each shard, in the order of the shards; none where slots move.
    pub fn homes(&self) -> Vec<Slot> {
        match self {
            Division::Slots => Vec::new(),
            Division::Whole => vec![Slot::ZERO],
            Division::Fixed(ranges) | Division::Hashed(ranges, _) => {
                (0..ranges.count()).filter_map(|shard| Slot::new(ranges.slots(shard).0)).collect()
            }
        }
    }

    /// Which of a node's connections a request goes over, as a slot to be spread by. Where all keys of a
    /// node have one slot, that is by client: what one client sends stays in order.
    #[inline]
    pub fn spread(&self, slot: Slot, client: u32) -> Slot {
        match self {
            Division::Slots => slot,
            Division::Whole | Division::Fixed(_) | Division::Hashed(..) => {
                Slot::new((client % u32::from(SLOTS)) as u16).unwrap_or(slot)
            }
        }
    }

    /// True if one node has everything: then it can do as a whole what several could not.
    pub fn is_whole(&self) -> bool {
        matches!(self, Division::Whole)
    }

    /// True if no node would notice a key that belongs to another shard: they know no slots, and there are
    /// several of them.
    pub fn is_unchecked(&self) -> bool {
        matches!(self, Division::Fixed(_) | Division::Hashed(..))
    }

    /// True if the nodes run in cluster mode: slots may move, and there is one database.
    #[inline]
    pub fn is_cluster(&self) -> bool {
        matches!(self, Division::Slots)
    }
}

/// The hash slots in even ranges, one a shard. Any two proxies with as many shards cut them alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ranges {
    shards: u16,
}

impl Ranges {
    /// For so many shards; at least one, at most as many as there are slots.
    pub fn new(shards: usize) -> Ranges {
        Ranges { shards: u16::try_from(shards).unwrap_or(SLOTS).clamp(1, SLOTS) }
    }

    fn count(&self) -> usize {
        usize::from(self.shards)
    }

    /// The slots of a shard, first to last.
    pub fn slots(&self, shard: usize) -> (u16, u16) {
        let first = |shard: usize| (shard * usize::from(SLOTS) / self.count()).min(usize::from(SLOTS)) as u16;
        (first(shard), first(shard + 1).saturating_sub(1))
    }

    /// The first slot of the shard that has this one.
    fn home(&self, slot: Slot) -> Slot {
        self.first(((slot.index() + 1) * self.count() - 1) / usize::from(SLOTS))
    }

    /// The first slot of a shard.
    fn first(&self, shard: usize) -> Slot {
        Slot::new(self.slots(shard).0).unwrap_or(Slot::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_primary_is_the_home_of_all_keys() {
        for key in [&b"a"[..], b"b", b"{t}c", b""] {
            assert_eq!(Division::Slots.slot(key), Slot::of(key));
            assert_eq!(Division::Whole.slot(key), Slot::ZERO);
        }
    }

    #[test]
    fn t47_what_goes_by_slots_has_the_home_of_the_keys_there() {
        let ranges = Ranges::new(3);
        let slot = Slot::new(6000).unwrap();
        for (division, home) in [
            (Division::Slots, slot),
            (Division::Whole, Slot::ZERO),
            (Division::Fixed(ranges), Slot::new(5461).unwrap()),
        ] {
            assert_eq!(division.home(slot), home, "{division:?}");
        }
        for key in [&b"a"[..], b"b", b"c", b"{t}d"] {
            let fixed = Division::Fixed(ranges);
            assert_eq!(fixed.home(Slot::of(key)), fixed.slot(key));
        }
    }

    #[test]
    fn t91_ranges_cover_all_slots_and_each_slot_has_its_home() {
        for shards in [1, 2, 3, 5, 7, 100, 1000, 16384] {
            let ranges = Ranges::new(shards);
            let mut next = 0;
            for shard in 0..shards {
                let (first, last) = ranges.slots(shard);
                assert_eq!(first, next, "{shards}");
                assert!(first <= last);
                for slot in first..=last {
                    assert_eq!(ranges.home(Slot::new(slot).unwrap()).number(), first, "{shards} {slot}");
                }
                next = last + 1;
            }
            assert_eq!(next, SLOTS);
        }
        assert_eq!(
            [0, 1, 2].map(|shard| Ranges::new(3).slots(shard)),
            [(0, 5460), (5461, 10921), (10922, 16383)]
        );
    }
}
