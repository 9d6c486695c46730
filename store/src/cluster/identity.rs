//! Ids that follow from what they name, so that a node is known by the same id after every start.
//!
//! They are no secrets and protect nothing: they only must not collide by accident.

use crate::keyspace::siphash;
use pointsman_protocol::{HostPort, NodeId};

/// The id of the node at `address`.
pub fn node_id(address: &HostPort) -> NodeId {
    spread(b"node", address.to_string().as_bytes())
}

/// The id of the shard whose first primary is `primary`.
pub fn shard_id(primary: &NodeId) -> NodeId {
    spread(b"shard", primary.to_string().as_bytes())
}

/// A replication id from a random number.
pub fn replication_id(random: u64) -> NodeId {
    spread(b"replication", &random.to_le_bytes())
}

fn spread(kind: &[u8], name: &[u8]) -> NodeId {
    let mut bytes = [0u8; 20];
    let kind = siphash::hash((0, 0), kind);
    for (part, chunk) in bytes.chunks_mut(8).enumerate() {
        let hash = siphash::hash((kind, part as u64), name).to_le_bytes();
        let len = chunk.len();
        chunk.copy_from_slice(&hash[..len]);
    }
    NodeId::from_bytes(bytes)
}
