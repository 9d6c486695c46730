//! Who owns which slot: one immutable snapshot of a cluster.
//!
//! A snapshot is built once ([`TopologyBuilder`]), shared, and never changed; a newer one replaces
//! it. Asking for the owner of a slot is one array load.

use crate::node::{HostPort, NodeId};
use crate::slot::{SLOTS, Slot};
use std::fmt;

/// A place in [`Topology::nodes`]. Means nothing outside the snapshot it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(pub u16);

/// A place in [`Topology::shards`]. Means nothing outside the snapshot it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardIndex(pub u16);

impl ShardIndex {
    /// Stands for "no shard owns this slot" inside the owner table.
    const NONE: ShardIndex = ShardIndex(u16::MAX);
}

/// The age of a view, as the cluster itself counts it: the highest configuration epoch seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One node as the cluster describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its id, where the source tells one (CLUSTER SLOTS of old servers does not).
    pub id: Option<NodeId>,
    /// Where it listens.
    pub address: HostPort,
    /// Its zone, where the source tells one.
    pub zone: Option<String>,
}

/// One shard: a primary and its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Takes the writes.
    pub primary: NodeIndex,
    /// May take reads, if they keep up.
    pub replicas: Vec<NodeIndex>,
}

/// An immutable view of a cluster.
#[derive(Clone, PartialEq, Eq)]
pub struct Topology {
    epoch: Epoch,
    owner: Box<[ShardIndex]>,
    shards: Vec<Shard>,
    nodes: Vec<Node>,
}

impl Topology {
    /// The view before anything is known: no node, no owner.
    pub fn empty() -> Topology {
        Topology {
            epoch: Epoch(0),
            owner: vec![ShardIndex::NONE; usize::from(SLOTS)].into_boxed_slice(),
            shards: Vec::new(),
            nodes: Vec::new(),
        }
    }

    /// How old this view is.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The shard that owns `slot`, or `None` for a hole in the map.
    #[inline]
    pub fn owner(&self, slot: Slot) -> Option<ShardIndex> {
        let shard = self.owner[slot.index()];
        (shard != ShardIndex::NONE).then_some(shard)
    }

    /// The address of the primary that owns `slot`.
    pub fn primary_of(&self, slot: Slot) -> Option<&HostPort> {
        self.owner(slot).map(|shard| &self.node(self.shard(shard).primary).address)
    }

    /// All shards.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// One shard.
    #[inline]
    pub fn shard(&self, index: ShardIndex) -> &Shard {
        &self.shards[usize::from(index.0)]
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node.
    #[inline]
    pub fn node(&self, index: NodeIndex) -> &Node {
        &self.nodes[usize::from(index.0)]
    }

    /// The node that listens at `address`, if this view has it.
    pub fn find(&self, address: &HostPort) -> Option<NodeIndex> {
        self.nodes.iter().position(|node| node.address == *address).map(|index| NodeIndex(index as u16))
    }

    /// The slots of a shard as inclusive ranges, in order.
    pub fn slot_ranges(&self, shard: ShardIndex) -> Vec<(u16, u16)> {
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for (slot, owner) in self.owner.iter().enumerate() {
            if *owner != shard {
                continue;
            }
            let slot = slot as u16;
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == slot => *last = slot,
                _ => ranges.push((slot, slot)),
            }
        }
        ranges
    }

    /// The shards that own slots, in order.
    pub fn serving(&self) -> Vec<ShardIndex> {
        let mut serves = vec![false; self.shards.len()];
        for owner in self.owner.iter().filter(|owner| **owner != ShardIndex::NONE) {
            serves[usize::from(owner.0)] = true;
        }
        (0..self.shards.len()).filter(|index| serves[*index]).map(|index| ShardIndex(index as u16)).collect()
    }

    /// How many slots have an owner.
    pub fn slots_covered(&self) -> usize {
        self.owner.iter().filter(|owner| **owner != ShardIndex::NONE).count()
    }

    /// This view with one slot given to the shard whose primary listens at `to`: what a MOVED reply
    /// teaches at once, before a refresh confirms it. An address that is no known primary becomes a
    /// shard of its own. The epoch stays: a redirect does not tell it.
    pub fn with_slot_moved(&self, slot: Slot, to: &HostPort) -> Topology {
        let mut next = self.clone();
        let known =
            next.shards.iter().position(|shard| next.nodes[usize::from(shard.primary.0)].address == *to);
        let shard = known.unwrap_or_else(|| {
            let node = next.find(to).unwrap_or_else(|| {
                next.nodes.push(Node { id: None, address: to.clone(), zone: None });
                NodeIndex(next.nodes.len() as u16 - 1)
            });
            next.shards.push(Shard { primary: node, replicas: Vec::new() });
            next.shards.len() - 1
        });
        next.owner[slot.index()] = ShardIndex(shard as u16);
        next
    }
}

impl fmt::Debug for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        map.entry(&"epoch", &self.epoch.0);
        for (index, shard) in self.shards.iter().enumerate() {
            let replicas: Vec<_> = shard.replicas.iter().map(|node| &self.node(*node).address).collect();
            let ranges = self.slot_ranges(ShardIndex(index as u16));
            map.entry(&self.node(shard.primary).address, &(ranges, replicas));
        }
        map.finish()
    }
}

/// Why a snapshot could not be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopologyError {
    /// More nodes or shards than an index can name.
    TooMany,
}

impl fmt::Display for TopologyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a cluster of more than {} nodes", u16::MAX - 1)
    }
}

/// Collects what a source tells into a [`Topology`].
#[derive(Debug)]
pub struct TopologyBuilder {
    topology: Topology,
}

impl Default for TopologyBuilder {
    fn default() -> Self {
        TopologyBuilder { topology: Topology::empty() }
    }
}

impl TopologyBuilder {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises the epoch to at least this.
    pub fn epoch(&mut self, epoch: u64) -> &mut Self {
        self.topology.epoch = self.topology.epoch.max(Epoch(epoch));
        self
    }

    /// Adds a shard that owns the given inclusive slot ranges. A slot named twice belongs to the
    /// shard named last. Ranges beyond the last slot are cut.
    pub fn shard(
        &mut self,
        primary: Node,
        replicas: Vec<Node>,
        ranges: &[(u16, u16)],
    ) -> Result<&mut Self, TopologyError> {
        if self.topology.shards.len() >= usize::from(u16::MAX) - 1 {
            return Err(TopologyError::TooMany);
        }
        let primary = self.node(primary)?;
        let replicas = replicas.into_iter().map(|node| self.node(node)).collect::<Result<Vec<_>, _>>()?;
        let index = ShardIndex(self.topology.shards.len() as u16);
        self.topology.shards.push(Shard { primary, replicas });
        for &(first, last) in ranges {
            for slot in first..=last.min(SLOTS - 1) {
                self.topology.owner[usize::from(slot)] = index;
            }
        }
        Ok(self)
    }

    /// The finished snapshot. Nodes, shards and replicas are ordered by address, so that two
    /// descriptions of the same state are equal, in whatever order they told it.
    pub fn build(self) -> Topology {
        let Topology { epoch, owner, shards, nodes } = self.topology;
        let mut order: Vec<usize> = (0..nodes.len()).collect();
        order.sort_by(|one, other| nodes[*one].address.cmp(&nodes[*other].address));
        let mut place = vec![NodeIndex(0); nodes.len()];
        for (new, old) in order.iter().enumerate() {
            place[*old] = NodeIndex(new as u16);
        }
        let mut placed: Vec<(Shard, usize)> = shards
            .into_iter()
            .enumerate()
            .map(|(old, shard)| {
                let mut replicas: Vec<NodeIndex> =
                    shard.replicas.iter().map(|node| place[usize::from(node.0)]).collect();
                replicas.sort_unstable();
                replicas.dedup();
                (Shard { primary: place[usize::from(shard.primary.0)], replicas }, old)
            })
            .collect();
        placed.sort_by_key(|(shard, old)| (shard.primary, *old));
        let mut moved = vec![ShardIndex::NONE; placed.len()];
        for (new, (_, old)) in placed.iter().enumerate() {
            moved[*old] = ShardIndex(new as u16);
        }
        let owner =
            owner.iter().map(|shard| moved.get(usize::from(shard.0)).copied().unwrap_or(ShardIndex::NONE));
        Topology {
            epoch,
            owner: owner.collect(),
            shards: placed.into_iter().map(|(shard, _)| shard).collect(),
            nodes: order.into_iter().map(|old| nodes[old].clone()).collect(),
        }
    }

    fn node(&mut self, node: Node) -> Result<NodeIndex, TopologyError> {
        if let Some(index) = self.topology.find(&node.address) {
            return Ok(index);
        }
        if self.topology.nodes.len() >= usize::from(u16::MAX) - 1 {
            return Err(TopologyError::TooMany);
        }
        self.topology.nodes.push(node);
        Ok(NodeIndex(self.topology.nodes.len() as u16 - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(port: u16) -> Node {
        Node { id: None, address: HostPort::new("127.0.0.1", port), zone: None }
    }

    fn two_shards() -> Topology {
        let mut builder = TopologyBuilder::new();
        builder.epoch(3).shard(node(1), vec![node(3)], &[(0, 8191)]).unwrap();
        builder.epoch(2).shard(node(2), vec![], &[(8192, 16383)]).unwrap();
        builder.build()
    }

    #[test]
    fn owners_and_ranges() {
        let topology = two_shards();
        assert_eq!(topology.epoch(), Epoch(3));
        assert_eq!(topology.primary_of(Slot::new(8191).unwrap()).unwrap().port(), 1);
        assert_eq!(topology.primary_of(Slot::new(8192).unwrap()).unwrap().port(), 2);
        assert_eq!(topology.slot_ranges(ShardIndex(1)), [(8192, 16383)]);
        assert_eq!(topology.slots_covered(), 16384);
        assert_eq!(Topology::empty().owner(Slot::new(0).unwrap()), None);
    }

    #[test]
    fn the_order_of_the_telling_does_not_matter() {
        let build = |order: &[u16]| {
            let mut builder = TopologyBuilder::new();
            for port in order {
                let ranges = [(port * 100, port * 100 + 99)];
                builder.shard(node(*port), vec![node(port + 20), node(port + 10)], &ranges).unwrap();
            }
            builder.build()
        };
        let topology = build(&[1, 2, 3]);
        assert_eq!(topology, build(&[3, 1, 2]));
        assert_ne!(topology, build(&[1, 2]));
        for port in 1..=3 {
            assert_eq!(topology.primary_of(Slot::new(port * 100).unwrap()).unwrap().port(), port);
        }
    }

    #[test]
    fn a_moved_slot_changes_its_owner_only() {
        let before = two_shards();
        let slot = Slot::new(5).unwrap();
        let after = before.with_slot_moved(slot, &HostPort::new("127.0.0.1", 2));
        assert_eq!(after.primary_of(slot).unwrap().port(), 2);
        assert_eq!(after.shards().len(), 2);
        assert_eq!(after.slot_ranges(ShardIndex(0)), [(0, 4), (6, 8191)]);
        // Neither an unknown node nor a replica is a known primary: each becomes a shard.
        let after = after.with_slot_moved(slot, &HostPort::new("127.0.0.1", 9));
        assert_eq!((after.shards().len(), after.nodes().len()), (3, 4));
        let after = after.with_slot_moved(slot, &HostPort::new("127.0.0.1", 3));
        assert_eq!((after.shards().len(), after.nodes().len()), (4, 4));
        assert_eq!(after.primary_of(slot).unwrap().port(), 3);
    }
}
