//! Which keys share a home: what a backend makes of a key before anything is planned.
//!
//! Everything behind this ([`super::plan`], the map of owners, lanes, detours) speaks of slots. In a
//! cluster that is the slot of the specification. In front of one primary all keys lie together, and so
//! they have one slot: nothing is cut, nothing is CROSSSLOT, and a transaction may touch what it likes, as
//! on the server itself. What a client sees of slots is decided here, and nowhere else.

use pointsman_config::BackendKind;
use pointsman_protocol::Slot;
use pointsman_protocol::slot::SLOTS;

/// How a backend's keys are divided. It never changes while the process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Division {
    /// By hash slots that may move between shards: a cluster's rule.
    Slots,
    /// Not at all.
    Whole,
}

impl Division {
    /// That of a backend.
    pub fn of(kind: &BackendKind) -> Division {
        match kind {
            BackendKind::Bundled(_) | BackendKind::Cluster(_) => Division::Slots,
            BackendKind::Primary(_) => Division::Whole,
        }
    }

    /// The slot that stands for a key's home.
    #[inline]
    pub fn slot(&self, key: &[u8]) -> Slot {
        match self {
            Division::Slots => Slot::of(key),
            Division::Whole => Slot::ZERO,
        }
    }

    /// A slot of each shard, in the order of the shards; none where slots move.
    pub fn homes(&self) -> Vec<Slot> {
        match self {
            Division::Slots => Vec::new(),
            Division::Whole => vec![Slot::ZERO],
        }
    }

    /// Which of a node's connections a request goes over, as a slot to be spread by. Where all keys have
    /// one slot, that is by client: what one client sends stays in order.
    #[inline]
    pub fn spread(&self, slot: Slot, client: u32) -> Slot {
        match self {
            Division::Slots => slot,
            Division::Whole => Slot::new((client % u32::from(SLOTS)) as u16).unwrap_or(slot),
        }
    }

    /// True if one node has everything: then it can do as a whole what several could not.
    pub fn is_whole(&self) -> bool {
        matches!(self, Division::Whole)
    }

    /// True if the nodes run in cluster mode: slots may move, and there is one database.
    #[inline]
    pub fn is_cluster(&self) -> bool {
        matches!(self, Division::Slots)
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
}
