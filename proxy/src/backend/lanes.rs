//! Which of a node's connections a request must use.
//!
//! A worker keeps several connections to one node apart where they differ in what the node was told
//! on them: the protocol version, so that a reply has the form its client speaks without being
//! converted, and READONLY, so that a demoted primary of a cluster answers MOVED to a read meant for a
//! primary instead of serving it stale (nodes without cluster mode answer it; there [`crate::health::lag`]
//! finds out); and the database, where there are several: a SELECT that was heard on a
//! connection holds for all who use it, so each database has connections of its own. Within such a group, `connections_per_node` connections share the
//! load by slot: one slot always uses the same one, which keeps the order of commands on a key.

use pointsman_protocol::Slot;

/// One of a node's connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lane {
    /// Replies come as RESP3.
    pub resp3: bool,
    /// READONLY was sent: for reads from replicas.
    pub readonly: bool,
    /// Which database was selected.
    pub database: u16,
    /// Which of `connections_per_node`.
    pub index: u16,
}

impl Lane {
    /// The index of a connection beside those that share the load, for what must reach a node while a
    /// script keeps it busy: the node reads nothing more from the connection that brought the script.
    pub const ASIDE: u16 = u16::MAX;

    /// The lane of a slot, in database 0.
    #[inline]
    pub fn of(slot: Slot, resp3: bool, readonly: bool, connections_per_node: u16) -> Lane {
        let index = if connections_per_node > 1 { slot.number() % connections_per_node } else { 0 };
        Lane { resp3, readonly, database: 0, index }
    }

    /// Its place among a node's lanes of one database.
    #[inline]
    pub fn place(self) -> usize {
        usize::from(self.index) * 4 + usize::from(self.resp3) * 2 + usize::from(self.readonly)
    }
}

/// The connections of one node, by lane; opened when first needed.
#[derive(Clone, Debug)]
pub struct NodeLanes {
    /// The node is shut out.
    pub shut: bool,
    /// Those of database 0, then those of the next, as far as any was in use.
    places: Vec<u32>,
    /// Lanes of one database.
    stride: usize,
}

const NONE: u32 = u32::MAX;

impl NodeLanes {
    /// None open yet.
    pub fn new(connections_per_node: u16) -> NodeLanes {
        let stride = usize::from(connections_per_node.max(1)) * 4;
        NodeLanes { shut: false, places: vec![NONE; stride], stride }
    }

    /// The connection of a lane. [`Lane::ASIDE`] lies beyond all places that there can be.
    #[inline]
    pub fn get(&self, lane: Lane) -> Option<usize> {
        match self.places.get(usize::from(lane.database) * self.stride + lane.place()) {
            Some(&id) if id != NONE => Some(id as usize),
            _ => None,
        }
    }

    /// Remembers the connection of a lane.
    pub fn set(&mut self, lane: Lane, id: usize) {
        if lane.place() >= self.stride {
            return;
        }
        let end = (usize::from(lane.database) + 1) * self.stride;
        if self.places.len() < end {
            self.places.resize(end, NONE);
        }
        if let Some(place) = self.places.get_mut(end - self.stride + lane.place()) {
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
                    places.insert(Lane { resp3, readonly, database: 0, index }.place());
                }
            }
        }
        assert_eq!(places.len(), 12);
        assert!(places.into_iter().max() < Some(12));
    }

    // T31: what is selected on a connection holds for all who use it.
    #[test]
    fn t31_databases_have_connections_of_their_own() {
        let mut lanes = NodeLanes::new(2);
        let lane = |database, index| Lane { resp3: true, readonly: false, database, index };
        lanes.set(lane(0, 1), 10);
        lanes.set(lane(15, 1), 25);
        for (database, index, expected) in
            [(0, 1, Some(10)), (15, 1, Some(25)), (1, 1, None), (15, 0, None), (16, 1, None)]
        {
            assert_eq!(lanes.get(lane(database, index)), expected, "{database} {index}");
        }
        lanes.set(lane(0, Lane::ASIDE), 7);
        assert_eq!(lanes.get(lane(0, Lane::ASIDE)), None, "it is kept elsewhere");
    }

    #[test]
    fn the_lane_aside_lies_beyond_all_databases() {
        let most = |key| match pointsman_config::reference::key("backends.*", key).map(|key| key.kind) {
            Some(pointsman_config::reference::Kind::Whole(_, max)) => max as usize,
            other => panic!("{other:?}"),
        };
        let aside = Lane { resp3: false, readonly: false, database: 0, index: Lane::ASIDE };
        assert!(most("databases_max") * most("connections_per_node") * 4 <= aside.place());
    }
}
