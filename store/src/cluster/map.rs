//! The static slot map: which shards there are, who serves each, and which slots each owns.
//!
//! It is made once, before the nodes start, and shared by all of them, so that they cannot disagree.
//! It refuses to change: resharding and failover replace the map, they do not edit it.

use pointsman_protocol::slot::SLOTS;
use pointsman_protocol::{HostPort, NodeId, Slot};
use std::fmt;
use std::sync::Arc;

use super::identity;
use crate::{NodeLimits, NodeSpec, Role};

/// One node as the map knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id, as CLUSTER MYID tells it.
    pub id: NodeId,
    /// Where clients and other nodes reach it.
    pub address: HostPort,
}

impl Member {
    /// A member whose id follows from its address, so that it is the same after every start.
    pub fn at(address: HostPort) -> Member {
        Member { id: identity::node_id(&address), address }
    }
}

/// One shard: a primary, its replicas, and the slots they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardMap {
    /// The shard's own id, as CLUSTER MYSHARDID tells it.
    pub id: NodeId,
    /// How often its primary has changed, and who decided: the configuration epoch that CLUSTER NODES
    /// tells, and that every replication message carries. A lower one never wins over a higher.
    pub epoch: u64,
    /// Inclusive slot ranges, ascending and disjoint.
    pub ranges: Vec<(u16, u16)>,
    /// Takes the writes.
    pub primary: Member,
    /// Hold copies.
    pub replicas: Vec<Member>,
}

/// Why a map could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapError {
    /// More nodes than ports between the first one and 65535.
    Ports {
        /// The first node's port.
        first_port: u16,
        /// How many nodes were asked for.
        nodes: usize,
    },
    /// No shard, or more of them than slots.
    Shards(usize),
    /// A range that ends before it begins or beyond the last slot.
    Range(u16, u16),
    /// Two shards own this slot.
    Overlap(u16),
    /// Two nodes have this address.
    Address(HostPort),
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MapError::Ports { first_port, nodes } => write!(
                f,
                "{nodes} nodes from port {first_port} on do not fit below port 65536: choose a lower first port or fewer nodes"
            ),
            MapError::Shards(count) => write!(f, "{count} shards: there must be between 1 and {SLOTS}"),
            MapError::Range(first, last) => {
                write!(
                    f,
                    "slots {first}-{last} are no range: both ends must be 0 to {}, the first not above the last",
                    SLOTS - 1
                )
            }
            MapError::Overlap(slot) => write!(f, "slot {slot} is owned by two shards"),
            MapError::Address(address) => write!(f, "two nodes have the address {address}"),
        }
    }
}

impl std::error::Error for MapError {}

/// Stands for "no shard owns this slot".
const NOBODY: u16 = u16::MAX;

/// The static slot map of a cluster, or of one node that stands alone.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterMap {
    enabled: bool,
    shards: Vec<ShardMap>,
    /// `owner[slot]` is an index into `shards`, or [`NOBODY`].
    owner: Box<[u16]>,
}

impl ClusterMap {
    /// A cluster of the given shards. Slots that no shard names stay without an owner.
    pub fn new(shards: Vec<ShardMap>) -> Result<ClusterMap, MapError> {
        if shards.is_empty() || shards.len() > usize::from(SLOTS) {
            return Err(MapError::Shards(shards.len()));
        }
        let mut owner = vec![NOBODY; usize::from(SLOTS)].into_boxed_slice();
        let mut addresses = std::collections::HashSet::new();
        for (index, shard) in shards.iter().enumerate() {
            for member in std::iter::once(&shard.primary).chain(&shard.replicas) {
                if !addresses.insert(member.address.clone()) {
                    return Err(MapError::Address(member.address.clone()));
                }
            }
            for &(first, last) in &shard.ranges {
                if first > last || last >= SLOTS {
                    return Err(MapError::Range(first, last));
                }
                for slot in first..=last {
                    if owner[usize::from(slot)] != NOBODY {
                        return Err(MapError::Overlap(slot));
                    }
                    owner[usize::from(slot)] = index as u16;
                }
            }
        }
        Ok(ClusterMap { enabled: true, shards, owner })
    }

    /// `shards` shards of nearly equal size with `replicas` replicas each, all on `host`: the
    /// primaries take the ports from `first_port` on, in slot order, then come the first replicas
    /// of all shards in the same order, then the second ones.
    pub fn even(shards: usize, replicas: usize, host: &str, first_port: u16) -> Result<ClusterMap, MapError> {
        if shards == 0 || shards > usize::from(SLOTS) {
            return Err(MapError::Shards(shards));
        }
        let nodes = shards.saturating_mul(replicas.saturating_add(1));
        if usize::from(first_port).saturating_add(nodes) > 65536 || first_port == 0 {
            return Err(MapError::Ports { first_port, nodes });
        }
        let member = |index: usize| Member::at(HostPort::new(host, first_port + index as u16));
        let slots = usize::from(SLOTS);
        let shards = (0..shards).map(|shard| {
            let first = slots * shard / shards;
            let last = slots * (shard + 1) / shards - 1;
            let primary = member(shard);
            ShardMap {
                id: identity::shard_id(&primary.id),
                epoch: shard as u64 + 1,
                ranges: vec![(first as u16, last as u16)],
                primary,
                replicas: (1..=replicas).map(|copy| member(shards * copy + shard)).collect(),
            }
        });
        ClusterMap::new(shards.collect())
    }

    /// One node outside of any cluster: it owns every slot, and clients are never redirected.
    /// `replicas` may be empty; it only serves those who ask who belongs together.
    pub fn standalone(address: HostPort) -> ClusterMap {
        let primary = Member::at(address);
        let shard = ShardMap {
            id: identity::shard_id(&primary.id),
            epoch: 0,
            ranges: vec![(0, SLOTS - 1)],
            primary,
            replicas: Vec::new(),
        };
        ClusterMap {
            enabled: false,
            shards: vec![shard],
            owner: vec![0; usize::from(SLOTS)].into_boxed_slice(),
        }
    }

    /// True for a cluster: clients get MOVED and CROSSSLOT, and CLUSTER answers.
    pub fn enabled(&self) -> bool {
        self.enabled
    }

    /// All shards, in the order they were given.
    pub fn shards(&self) -> &[ShardMap] {
        &self.shards
    }

    /// The index of the shard that owns `slot`, or `None` for a hole in the map.
    #[inline]
    pub fn owner(&self, slot: Slot) -> Option<usize> {
        let shard = self.owner[slot.index()];
        (shard != NOBODY).then_some(usize::from(shard))
    }

    /// The index of the shard that the node `id` belongs to.
    pub fn shard_of(&self, id: &NodeId) -> Option<usize> {
        self.shards.iter().position(|shard| {
            shard.primary.id == *id || shard.replicas.iter().any(|replica| replica.id == *id)
        })
    }

    /// The highest epoch of all shards.
    pub fn epoch(&self) -> u64 {
        self.shards.iter().map(|shard| shard.epoch).max().unwrap_or(0)
    }

    /// How many slots have an owner.
    pub fn slots_covered(&self) -> usize {
        self.owner.iter().filter(|owner| **owner != NOBODY).count()
    }

    /// All members, primaries first, in the order of [`Self::even`]'s ports.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        let copies = self.shards.iter().map(|shard| shard.replicas.len()).max().unwrap_or(0);
        let primaries = self.shards.iter().map(|shard| &shard.primary);
        let replicas =
            (0..copies).flat_map(|copy| self.shards.iter().filter_map(move |shard| shard.replicas.get(copy)));
        primaries.chain(replicas)
    }

    /// What to hand to [`crate::start`] for each member, in the order of [`Self::members`].
    pub fn specs(self: &Arc<Self>, limits: &NodeLimits) -> Vec<NodeSpec> {
        self.members()
            .map(|member| {
                let shard = self.shard_of(&member.id).map(|index| &self.shards[index]);
                let role = match shard {
                    Some(shard) if shard.primary.id != member.id => {
                        Role::ReplicaOf(shard.primary.address.clone())
                    }
                    _ => Role::Primary,
                };
                NodeSpec {
                    id: member.id,
                    address: member.address.clone(),
                    role,
                    cluster: Arc::clone(self),
                    limits: limits.clone(),
                }
            })
            .collect()
    }
}

impl fmt::Debug for ClusterMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterMap").field("enabled", &self.enabled).field("shards", &self.shards).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_maps_give_primaries_the_first_ports() {
        let map = ClusterMap::even(3, 1, "127.0.0.1", 7001).unwrap();
        let ports: Vec<_> = map.members().map(|member| member.address.port()).collect();
        assert_eq!(ports, [7001, 7002, 7003, 7004, 7005, 7006]);
        assert_eq!(map.shards()[1].replicas[0].address.port(), 7005);
        let ranges: Vec<_> = map.shards().iter().map(|shard| shard.ranges[0]).collect();
        assert_eq!(ranges, [(0, 5460), (5461, 10921), (10922, 16383)]);
        assert_eq!(map.slots_covered(), 16384);
        assert_eq!(map.owner(Slot::new(5461).unwrap()), Some(1));
        let ids: std::collections::HashSet<_> = map.members().map(|member| member.id).collect();
        assert_eq!(ids.len(), 6);
        assert_eq!(
            map,
            ClusterMap::even(3, 1, "127.0.0.1", 7001).unwrap(),
            "ids must not change between starts"
        );
    }

    #[test]
    fn specs_name_each_node_with_its_role() {
        let map = Arc::new(ClusterMap::even(2, 2, "127.0.0.1", 7001).unwrap());
        let specs = map.specs(&NodeLimits::default());
        assert_eq!(specs.len(), 6);
        assert_eq!(specs[1].role, Role::Primary);
        assert_eq!(specs[5].role, Role::ReplicaOf(HostPort::new("127.0.0.1", 7002)));
        assert_eq!(map.shard_of(&specs[5].id), Some(1));
    }

    #[test]
    fn maps_that_cannot_be_are_refused() {
        assert_eq!(ClusterMap::even(0, 1, "h", 7001), Err(MapError::Shards(0)));
        assert_eq!(ClusterMap::even(3, 1, "h", 65531), Err(MapError::Ports { first_port: 65531, nodes: 6 }));
        assert!(ClusterMap::even(3, 1, "h", 65530).is_ok());
        let shard = |port, ranges| ShardMap {
            id: NodeId::from_bytes([0; 20]),
            epoch: 1,
            ranges,
            primary: Member::at(HostPort::new("h", port)),
            replicas: vec![],
        };
        assert_eq!(
            ClusterMap::new(vec![shard(1, vec![(0, 5)]), shard(2, vec![(5, 6)])]),
            Err(MapError::Overlap(5))
        );
        assert_eq!(ClusterMap::new(vec![shard(1, vec![(0, 16384)])]), Err(MapError::Range(0, 16384)));
        assert_eq!(
            ClusterMap::new(vec![shard(1, vec![]), shard(1, vec![])]),
            Err(MapError::Address(HostPort::new("h", 1)))
        );
        let holes = ClusterMap::new(vec![shard(1, vec![(1, 2)])]).unwrap();
        assert_eq!(holes.owner(Slot::new(0).unwrap()), None);
    }
}
