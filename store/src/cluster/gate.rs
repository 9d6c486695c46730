//! May this node serve a command with these keys? One pure function, asked before every keyed command.
//!
//! The order of its answers is Redis': a slot that nobody owns is told before keys that disagree, and
//! those before a redirect.

use super::map::ClusterMap;
use pointsman_protocol::Slot;

/// What to do with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Serve it here.
    Serve,
    /// Its keys are in different slots.
    CrossSlot,
    /// It belongs to this shard's primary.
    Moved {
        /// The slot of its keys.
        slot: Slot,
        /// The index of the shard that owns the slot.
        shard: usize,
    },
    /// Nobody owns the slot of its keys.
    Unserved,
}

/// What the gate must know of the node, the client and the command.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The shard this node belongs to; `None` if the map does not know the node.
    pub shard: Option<usize>,
    /// True if this node is a replica.
    pub replica: bool,
    /// True if the client has said READONLY.
    pub client_readonly: bool,
    /// True if the command may write.
    pub writes: bool,
}

/// Judges a command by the slots of its keys, of which there is at least one. In a cluster only.
#[inline]
pub fn judge(map: &ClusterMap, facts: Facts, first: Slot, mut others: impl Iterator<Item = Slot>) -> Verdict {
    let Some(owner) = map.owner(first) else { return Verdict::Unserved };
    if others.any(|slot| slot != first) {
        return Verdict::CrossSlot;
    }
    let ours = facts.shard == Some(owner);
    if ours && (!facts.replica || (facts.client_readonly && !facts.writes)) {
        return Verdict::Serve;
    }
    Verdict::Moved { slot: first, shard: owner }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::map::{Member, ShardMap};
    use pointsman_protocol::{HostPort, NodeId};

    fn map() -> ClusterMap {
        let shard = |port, ranges| ShardMap {
            id: NodeId::from_bytes([port as u8; 20]),
            epoch: 1,
            ranges,
            primary: Member::at(HostPort::new("h", port)),
            replicas: vec![],
        };
        ClusterMap::new(vec![shard(1, vec![(0, 99)]), shard(2, vec![(100, 199)])]).unwrap()
    }

    #[test]
    fn every_verdict() {
        let map = map();
        let slot = |number| Slot::new(number).unwrap();
        let primary = Facts { shard: Some(0), replica: false, client_readonly: false, writes: true };
        let replica = Facts { replica: true, ..primary };
        let reading = Facts { client_readonly: true, writes: false, ..replica };
        let moved = |number, shard| Verdict::Moved { slot: slot(number), shard };
        for (facts, slots, verdict) in [
            (primary, &[5][..], Verdict::Serve),
            (primary, &[5, 5, 5], Verdict::Serve),
            (primary, &[5, 6], Verdict::CrossSlot),
            (primary, &[5, 100], Verdict::CrossSlot),
            (primary, &[100, 5], Verdict::CrossSlot),
            (primary, &[100], moved(100, 1)),
            (primary, &[200], Verdict::Unserved),
            (primary, &[200, 5], Verdict::Unserved),
            (Facts { client_readonly: true, ..primary }, &[5], Verdict::Serve),
            (replica, &[5], moved(5, 0)),
            (Facts { writes: false, ..replica }, &[5], moved(5, 0)),
            (Facts { client_readonly: true, ..replica }, &[5], moved(5, 0)),
            (reading, &[5], Verdict::Serve),
            (reading, &[100], moved(100, 1)),
            (Facts { shard: None, ..reading }, &[5], moved(5, 0)),
        ] {
            let others = slots[1..].iter().map(|number| slot(*number));
            assert_eq!(judge(&map, facts, slot(slots[0]), others), verdict, "{facts:?} {slots:?}");
        }
    }
}
