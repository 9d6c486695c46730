//! Reads a cluster's own description of itself: CLUSTER SHARDS, or CLUSTER SLOTS, or CLUSTER NODES,
//! whichever the node knows. Pure: an answer in, a [`Topology`] out.
//!
//! Forms seen in the wild and read here: an endpoint that is missing, empty or `?` means the host
//! that was asked; a node without a plain port, or with address trouble (`noaddr`, `handshake`), is
//! no node to us; two primaries of one shard (a failover half told) leave the one that is online,
//! or else the one further ahead.

use super::fetch::text;
use pointsman_protocol::topology::{Node, Topology, TopologyBuilder};
use pointsman_protocol::{HostPort, NodeId};
use redis_protocol::resp2::types::OwnedFrame;
use std::collections::HashMap;

/// What an answer that cannot be read is told as.
type Unreadable = String;

/// From CLUSTER SHARDS (Redis 7 and later). `epoch` comes from CLUSTER INFO.
///
/// # Errors
/// What is wrong with the answer.
pub fn from_shards(answer: &OwnedFrame, asked: &HostPort, epoch: u64) -> Result<Topology, Unreadable> {
    let OwnedFrame::Array(shards) = answer else {
        return Err("CLUSTER SHARDS did not answer an array".into());
    };
    let mut builder = TopologyBuilder::new();
    builder.epoch(epoch);
    for shard in shards {
        let fields = map(shard).ok_or("a shard in CLUSTER SHARDS is no map")?;
        let (Some(OwnedFrame::Array(slots)), Some(OwnedFrame::Array(nodes))) =
            (fields.get("slots"), fields.get("nodes"))
        else {
            return Err("a shard in CLUSTER SHARDS has no slots or no nodes".into());
        };
        let bounds: Vec<u16> =
            slots.iter().filter_map(number).filter_map(|slot| u16::try_from(slot).ok()).collect();
        let ranges: Vec<(u16, u16)> = bounds.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        let mut primary: Option<(Node, bool, i64)> = None;
        let mut replicas = Vec::new();
        for node in nodes {
            let fields = map(node).ok_or("a node in CLUSTER SHARDS is no map")?;
            let of = |name: &str| fields.get(name).copied().and_then(string);
            let Some(port) = fields
                .get("port")
                .copied()
                .and_then(number)
                .and_then(|port| u16::try_from(port).ok())
                .filter(|port| *port != 0)
            else {
                continue;
            };
            // An endpoint that is null or empty means the host that was asked; `?` means that the node
            // has no name to go by, and then, as for those that tell no endpoint at all, its address.
            let host = match fields.get("endpoint").map(|endpoint| string(endpoint)) {
                Some(None) => None,
                Some(Some(endpoint)) if endpoint != "?" => Some(endpoint),
                _ => of("ip"),
            };
            let host = host.filter(|host| !host.is_empty() && host != "?");
            let node = Node {
                id: of("id").and_then(|id| NodeId::parse(id.as_bytes())),
                address: HostPort::new(host.unwrap_or_else(|| asked.host().to_owned()), port),
                zone: of("availability-zone").filter(|zone| !zone.is_empty()),
            };
            let online = of("health").is_none_or(|health| health == "online");
            let offset = fields.get("replication-offset").copied().and_then(number).unwrap_or(0);
            if of("role").as_deref() == Some("master") {
                let better = primary.as_ref().is_none_or(|(_, other_online, other_offset)| {
                    (online, offset) > (*other_online, *other_offset)
                });
                if better {
                    primary = Some((node, online, offset));
                }
            } else if of("health").as_deref() != Some("fail") {
                replicas.push(node);
            }
        }
        if let Some((primary, ..)) = primary {
            builder.shard(primary, replicas, &ranges).map_err(|error| error.to_string())?;
        }
    }
    Ok(builder.build())
}

/// From CLUSTER SLOTS. `epoch` comes from CLUSTER INFO.
///
/// # Errors
/// What is wrong with the answer.
pub fn from_slots(answer: &OwnedFrame, asked: &HostPort, epoch: u64) -> Result<Topology, Unreadable> {
    let OwnedFrame::Array(rows) = answer else { return Err("CLUSTER SLOTS did not answer an array".into()) };
    // One row a range; ranges of one primary make one shard.
    type Row = (Node, Vec<Node>, Vec<(u16, u16)>);
    let mut shards: Vec<Row> = Vec::new();
    for row in rows {
        let OwnedFrame::Array(row) = row else { return Err("a row of CLUSTER SLOTS is no array".into()) };
        let slot = |index: usize| row.get(index).and_then(number).and_then(|slot| u16::try_from(slot).ok());
        let (Some(first), Some(last)) = (slot(0), slot(1)) else {
            return Err("a row of CLUSTER SLOTS has no slots".into());
        };
        let mut nodes = row.iter().skip(2).filter_map(|node| {
            let OwnedFrame::Array(node) = node else { return None };
            let port = node
                .get(1)
                .and_then(number)
                .and_then(|port| u16::try_from(port).ok())
                .filter(|port| *port != 0)?;
            let host = node.first().and_then(string).filter(|host| !host.is_empty() && host != "?");
            Some(Node {
                id: node.get(2).and_then(string).and_then(|id| NodeId::parse(id.as_bytes())),
                address: HostPort::new(host.unwrap_or_else(|| asked.host().to_owned()), port),
                zone: None,
            })
        });
        let Some(primary) = nodes.next() else { continue };
        match shards.iter_mut().find(|(known, ..)| known.address == primary.address) {
            Some((_, _, ranges)) => ranges.push((first, last)),
            None => {
                let replicas = nodes.collect();
                shards.push((primary, replicas, vec![(first, last)]));
            }
        }
    }
    let mut builder = TopologyBuilder::new();
    builder.epoch(epoch);
    for (primary, replicas, ranges) in shards {
        builder.shard(primary, replicas, &ranges).map_err(|error| error.to_string())?;
    }
    Ok(builder.build())
}

/// From CLUSTER NODES, which tells the epoch of each shard itself.
///
/// # Errors
/// What is wrong with the answer.
pub fn from_nodes(answer: &OwnedFrame, asked: &HostPort, epoch: u64) -> Result<Topology, Unreadable> {
    let answer = string(answer).ok_or("CLUSTER NODES did not answer text")?;
    type Primary = (NodeId, Node, Vec<(u16, u16)>);
    let mut primaries: Vec<Primary> = Vec::new();
    let mut replicas: HashMap<NodeId, Vec<Node>> = HashMap::new();
    let mut builder = TopologyBuilder::new();
    builder.epoch(epoch);
    for line in answer.lines().filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split(' ').collect();
        let [id, address, flags, primary, _, _, config_epoch, _, slots @ ..] = &words[..] else {
            return Err(format!("a line of CLUSTER NODES is too short: {line}"));
        };
        let flags: Vec<&str> = flags.split(',').collect();
        if ["noaddr", "handshake"].iter().any(|trouble| flags.contains(trouble)) {
            continue;
        }
        // 10.0.0.1:6379@16379,host-name
        let (address, name) = address.split_once(',').unwrap_or((address, ""));
        let address = address.split('@').next().unwrap_or_default();
        let id = NodeId::parse(id.as_bytes())
            .ok_or_else(|| format!("a line of CLUSTER NODES has no id: {line}"))?;
        let Some(address) = HostPort::parse(address).filter(|address| address.port() != 0) else { continue };
        let host = [address.host(), name]
            .into_iter()
            .find(|host| !host.is_empty() && *host != "?")
            .unwrap_or(asked.host());
        let node = Node { id: Some(id), address: HostPort::new(host, address.port()), zone: None };
        if flags.contains(&"master") {
            builder.epoch(config_epoch.parse().unwrap_or(0));
            let ranges = slots.iter().filter_map(|range| slot_range(range)).collect();
            primaries.push((id, node, ranges));
        } else if !flags.contains(&"fail")
            && let Some(primary) = NodeId::parse(primary.as_bytes())
        {
            replicas.entry(primary).or_default().push(node);
        }
    }
    for (id, primary, ranges) in primaries {
        builder
            .shard(primary, replicas.remove(&id).unwrap_or_default(), &ranges)
            .map_err(|error| error.to_string())?;
    }
    Ok(builder.build())
}

/// The highest configuration epoch of a primary in CLUSTER NODES: what [`from_nodes`] takes for a view's.
pub fn newest_claim(nodes: &str) -> u64 {
    let frame = OwnedFrame::BulkString(nodes.as_bytes().to_vec());
    from_nodes(&frame, &HostPort::new("", 0), 0).map_or(0, |view| view.epoch().0)
}

/// `0-5460` or `7`; slots in migration (`[93-<-...]`) are none of ours.
fn slot_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// The cluster's current epoch, from CLUSTER INFO.
pub fn epoch_of(answer: &OwnedFrame) -> Option<u64> {
    string(answer)?.lines().find_map(|line| line.strip_prefix("cluster_current_epoch:")?.trim().parse().ok())
}

fn map(frame: &OwnedFrame) -> Option<HashMap<String, &OwnedFrame>> {
    let OwnedFrame::Array(words) = frame else { return None };
    words.chunks_exact(2).map(|pair| Some((string(&pair[0])?, &pair[1]))).collect()
}

fn string(frame: &OwnedFrame) -> Option<String> {
    Some(String::from_utf8_lossy(text(frame)?).into_owned())
}

fn number(frame: &OwnedFrame) -> Option<i64> {
    match frame {
        OwnedFrame::Integer(number) => Some(*number),
        _ => string(frame)?.parse().ok(),
    }
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
