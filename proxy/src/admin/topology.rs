//! Who owns what and how far replicas are behind, for people and programs to read.

use crate::topology::publish::Published;
use pointsman_protocol::topology::ShardIndex;
use serde_json::{Value, json};

/// What is published of a backend.
pub fn json(name: &str, published: &Published) -> Value {
    let (snapshot, now) = (published.load(), published.clock());
    let topology = &snapshot.topology;
    let node_json = |node| {
        let node = topology.node(node);
        json!({ "address": node.address.to_string(), "id": node.id.map(|id| id.to_string()), "zone": node.zone })
    };
    let shards: Vec<Value> = topology
        .shards()
        .iter()
        .enumerate()
        .map(|(index, shard)| {
            let replicas: Vec<Value> = shard
                .replicas
                .iter()
                .map(|node| {
                    let copy = snapshot.copy(*node);
                    let mut replica = node_json(*node);
                    replica["eligible"] = json!(copy.lag_bytes().is_some());
                    replica["lag_bytes"] = json!(copy.lag_bytes());
                    replica["lag_ms"] = json!(copy.age(now).map(|age| age / 1000));
                    replica
                })
                .collect();
            let slots: Vec<[u16; 2]> = topology
                .slot_ranges(ShardIndex(index as u16))
                .into_iter()
                .map(|(first, last)| [first, last])
                .collect();
            json!({ "slots": slots, "primary": node_json(shard.primary), "replicas": replicas })
        })
        .collect();
    json!({
        "name": name,
        "epoch": topology.epoch().0,
        "version": snapshot.version,
        "slots_covered": topology.slots_covered(),
        "shards": shards,
    })
}
