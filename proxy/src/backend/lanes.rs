//! Which of a node's connections a request must use.
//!
//! A worker keeps several connections to one node apart where they differ in what the node was told
//! on them: the protocol version, so that a reply has the form its client speaks without being
//! converted, and READONLY, so that a demoted primary answers MOVED to a read meant for a primary
//! instead of serving it stale. Within such a group, `connections_per_node` connections share the
//! load by slot: one slot always uses the same one, which keeps the order of commands on a key.

use pointsman_protocol::Slot;

/// One of a node's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lane {
    /// Replies come as RESP3.
    pub resp3: bool,
    /// READONLY was sent: for reads from replicas.
    pub readonly: bool,
    /// Which of `connections_per_node`.
    pub index: u16,
}

impl Lane {
    /// The index of a connection beside those that share the load, for what must reach a node while a
    /// script keeps it busy: the node reads nothing more from the connection that brought the script.
    pub const ASIDE: u16 = u16::MAX;

    /// The lane of a slot.
    #[inline]
    pub fn of(slot: Slot, resp3: bool, readonly: bool, connections_per_node: u16) -> Lane {
        let index = if connections_per_node > 1 { slot.number() % connections_per_node } else { 0 };
        Lane { resp3, readonly, index }
    }

    /// Its place among a node's lanes.
    #[inline]
    pub fn place(self) -> usize {
        usize::from(self.index) * 4 + usize::from(self.resp3) * 2 + usize::from(self.readonly)
    }
}

/// The connections of one node, by lane; opened when first needed.
#[derive(Clone, Debug)]
pub struct NodeLanes(Box<[u32]>);

const NONE: u32 = u32::MAX;

impl NodeLanes {
    /// None open yet.
    pub fn new(connections_per_node: u16) -> NodeLanes {
        NodeLanes(vec![NONE; usize::from(connections_per_node.max(1)) * 4].into_boxed_slice())
    }

    /// The connection of a lane.
    #[inline]
    pub fn get(&self, lane: Lane) -> Option<usize> {
        match self.0.get(lane.place()) {
            Some(&id) if id != NONE => Some(id as usize),
            _ => None,
        }
    }

    /// Remembers the connection of a lane.
    pub fn set(&mut self, lane: Lane, id: usize) {
        if let Some(place) = self.0.get_mut(lane.place()) {
            *place = id as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    // T02
    #[test]
    fn t02_a_slot_always_uses_the_same_connection() {
        for slot in Slot::all() {
            let lane = Lane::of(slot, false, false, 4);
            assert_eq!(lane, Lane::of(slot, false, false, 4));
            assert!(lane.index < 4);
        }
    }

    #[test]
    fn lanes_have_places_of_their_own() {
        let mut places = HashSet::new();
        for index in 0..3 {
            for resp3 in [false, true] {
                for readonly in [false, true] {
                    places.insert(Lane { resp3, readonly, index }.place());
                }
            }
        }
        assert_eq!(places.len(), 12);
        assert!(places.into_iter().max() < Some(12));
    }
}
