//! The slot map in the words of the CLUSTER commands, exactly as clients parse them.

use super::map::{Member, ShardMap};
use crate::executor::Executor;
use pointsman_protocol::NodeId;
use pointsman_protocol::resp::encode;
use std::fmt::Write;

/// Distance from a node's port to the one where others would reach its bus, if it had one. Clients
/// expect the number, and do nothing with it.
const BUS_PORT_DISTANCE: u16 = 10_000;

/// CLUSTER INFO.
pub fn info(node: &Executor) -> String {
    let map = &node.spec.cluster;
    let covered = map.slots_covered();
    let fields: [(&str, u64); 11] = [
        ("cluster_slots_assigned", covered as u64),
        ("cluster_slots_ok", covered as u64),
        ("cluster_slots_pfail", 0),
        ("cluster_slots_fail", 0),
        ("cluster_known_nodes", map.members().count() as u64),
        ("cluster_size", map.shards().iter().filter(|shard| !shard.ranges.is_empty()).count() as u64),
        ("cluster_current_epoch", map.epoch()),
        ("cluster_my_epoch", node.epoch()),
        ("cluster_stats_messages_sent", 0),
        ("cluster_stats_messages_received", 0),
        ("total_cluster_links_buffer_limit_exceeded", 0),
    ];
    fields.iter().fold("cluster_state:ok\r\n".to_owned(), |mut text, (name, value)| {
        let _ = write!(text, "{name}:{value}\r\n");
        text
    })
}

/// CLUSTER NODES.
pub fn nodes(node: &Executor) -> String {
    let mut text = String::new();
    for shard in node.spec.cluster.shards() {
        line(node, shard, &shard.primary, &mut text);
        text.push('\n');
    }
    for shard in node.spec.cluster.shards() {
        for replica in &shard.replicas {
            line(node, shard, replica, &mut text);
            text.push('\n');
        }
    }
    text
}

/// CLUSTER REPLICAS: a line for each replica of this primary.
pub fn replica_lines(node: &Executor, primary: NodeId) -> Vec<String> {
    let shards = node.spec.cluster.shards().iter().filter(|shard| shard.primary.id == primary);
    let replicas = shards.flat_map(|shard| shard.replicas.iter().map(move |replica| (shard, replica)));
    replicas
        .map(|(shard, replica)| {
            let mut text = String::new();
            line(node, shard, replica, &mut text);
            text
        })
        .collect()
}

fn line(node: &Executor, shard: &ShardMap, member: &Member, text: &mut String) {
    let address = &member.address;
    let myself = if member.id == node.spec.id { "myself," } else { "" };
    let is_primary = member.id == shard.primary.id;
    let (flag, primary) = match is_primary {
        true => ("master", "-".to_owned()),
        false => ("slave", shard.primary.id.to_string()),
    };
    let heard = if myself.is_empty() { node.now_ms } else { 0 };
    let bus = address.port().checked_add(BUS_PORT_DISTANCE).unwrap_or(0);
    let _ = write!(
        text,
        "{} {}:{}@{bus} {myself}{flag} {primary} 0 {heard} {} connected",
        member.id,
        address.host(),
        address.port(),
        shard.epoch
    );
    if is_primary {
        for (first, last) in &shard.ranges {
            let _ = if first == last { write!(text, " {first}") } else { write!(text, " {first}-{last}") };
        }
    }
}

/// CLUSTER SLOTS.
pub fn slots(node: &Executor, resp3: bool, out: &mut Vec<u8>) {
    let mut ranges: Vec<(u16, u16, &ShardMap)> = Vec::new();
    for shard in node.spec.cluster.shards() {
        ranges.extend(shard.ranges.iter().map(|(first, last)| (*first, *last, shard)));
    }
    ranges.sort_by_key(|(first, ..)| *first);
    encode::array_head(out, ranges.len());
    for (first, last, shard) in ranges {
        encode::array_head(out, 3 + shard.replicas.len());
        encode::integer(out, i64::from(first));
        encode::integer(out, i64::from(last));
        for member in std::iter::once(&shard.primary).chain(&shard.replicas) {
            encode::array_head(out, 4);
            encode::bulk(out, member.address.host().as_bytes());
            encode::integer(out, i64::from(member.address.port()));
            encode::bulk(out, member.id.to_string().as_bytes());
            // No further addresses.
            encode::map_head(out, 0, resp3);
        }
    }
}

/// CLUSTER SHARDS.
pub fn shards(node: &Executor, resp3: bool, out: &mut Vec<u8>) {
    let shards = node.spec.cluster.shards();
    encode::array_head(out, shards.len());
    for shard in shards {
        encode::map_head(out, 2, resp3);
        encode::bulk(out, b"slots");
        encode::array_head(out, shard.ranges.len() * 2);
        for (first, last) in &shard.ranges {
            encode::integer(out, i64::from(*first));
            encode::integer(out, i64::from(*last));
        }
        encode::bulk(out, b"nodes");
        encode::array_head(out, 1 + shard.replicas.len());
        shard_node(node, &shard.primary, "master", resp3, out);
        shard.replicas.iter().for_each(|replica| shard_node(node, replica, "replica", resp3, out));
    }
}

fn shard_node(node: &Executor, member: &Member, role: &str, resp3: bool, out: &mut Vec<u8>) {
    let host = member.address.host().as_bytes();
    let loading = member.id == node.spec.id && node.link.incomplete;
    encode::map_head(out, 7, resp3);
    encode::bulk(out, b"id");
    encode::bulk(out, member.id.to_string().as_bytes());
    encode::bulk(out, b"port");
    encode::integer(out, i64::from(member.address.port()));
    encode::bulk(out, b"ip");
    encode::bulk(out, host);
    encode::bulk(out, b"endpoint");
    encode::bulk(out, host);
    encode::bulk(out, b"role");
    encode::bulk(out, role.as_bytes());
    encode::bulk(out, b"replication-offset");
    encode::integer(out, known_offset(node, member) as i64);
    encode::bulk(out, b"health");
    encode::bulk(out, if loading { b"loading" } else { b"online" });
}

/// How far a node's copy of the data is, as far as this node can know: itself, and those it feeds.
fn known_offset(node: &Executor, member: &Member) -> u64 {
    if member.id == node.spec.id {
        return if node.is_replica() { node.link.offset } else { node.log.offset() };
    }
    let follower = node.log.followers().iter().find(|follower| follower.port == member.address.port());
    follower.map_or(0, |follower| follower.acked)
}
