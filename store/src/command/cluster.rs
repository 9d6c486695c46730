//! CLUSTER: what the slot map says, in the forms that clients parse.

use super::failure::{Failure, Outcome};
use super::{Call, Handler};
use crate::cluster::view;
use crate::number::parse_integer;
use pointsman_protocol::slot::SLOTS;
use pointsman_protocol::{NodeId, Slot};

/// See the module.
pub const COMMANDS: &[(&str, Handler)] = &[
    ("CLUSTER|INFO", info),
    ("CLUSTER|MYID", myid),
    ("CLUSTER|MYSHARDID", myshardid),
    ("CLUSTER|NODES", nodes),
    ("CLUSTER|SLOTS", slots),
    ("CLUSTER|SHARDS", shards),
    ("CLUSTER|LINKS", links),
    ("CLUSTER|REPLICAS", replicas),
    ("CLUSTER|SLAVES", replicas),
    ("CLUSTER|KEYSLOT", keyslot),
    ("CLUSTER|COUNTKEYSINSLOT", countkeysinslot),
    ("CLUSTER|GETKEYSINSLOT", getkeysinslot),
    ("CLUSTER|COUNT-FAILURE-REPORTS", count_failure_reports),
    ("CLUSTER|HELP", help),
];

fn enabled(call: &Call<'_>) -> Outcome {
    if call.node.spec.cluster.enabled() {
        return Ok(());
    }
    Err(Failure::Text("ERR This instance has cluster support disabled"))
}

fn info(call: &mut Call<'_>) -> Outcome {
    enabled(call)?;
    let text = view::info(call.node);
    call.reply_text(&text);
    Ok(())
}

fn myid(call: &mut Call<'_>) -> Outcome {
    enabled(call)?;
    call.reply_bulk(call.node.spec.id.to_string().as_bytes());
    Ok(())
}

fn myshardid(call: &mut Call<'_>) -> Outcome {
    enabled(call)?;
    let shards = call.node.spec.cluster.shards();
    let id = call.node.shard.and_then(|shard| shards.get(shard)).map_or(call.node.spec.id, |shard| shard.id);
    call.reply_bulk(id.to_string().as_bytes());
    Ok(())
}

fn nodes(call: &mut Call<'_>) -> Outcome {
    enabled(call)?;
    let text = view::nodes(call.node);
    call.reply_text(&text);
    Ok(())
}

fn slots(call: &mut Call<'_>) -> Outcome {
    enabled(call)?;
    view::slots(call.node, call.client.resp3.get(), call.out);
    Ok(())
}

fn shards(call: &mut Call<'_>) -> Outcome {
    enabled(call)?;
    view::shards(call.node, call.client.resp3.get(), call.out);
    Ok(())
}

/// There is no bus between nodes, so there are no links.
fn links(call: &mut Call<'_>) -> Outcome {
    enabled(call)?;
    call.reply_array(0);
    Ok(())
}

fn replicas(call: &mut Call<'_>) -> Outcome {
    enabled(call)?;
    let id = known_node(call)?;
    let shard = call.node.spec.cluster.shards().iter().find(|shard| shard.primary.id == id);
    if shard.is_none() {
        return Err(Failure::Text("ERR The specified node is not a master"));
    }
    let lines = view::replica_lines(call.node, id);
    call.reply_array(lines.len());
    lines.iter().for_each(|line| call.reply_bulk(line.as_bytes()));
    Ok(())
}

/// The node that argument 2 names.
fn known_node(call: &Call<'_>) -> Result<NodeId, Failure> {
    let id = NodeId::parse(call.arg(2)).filter(|id| call.node.spec.cluster.shard_of(id).is_some());
    id.ok_or_else(|| Failure::Made(format!("ERR Unknown node {}", String::from_utf8_lossy(call.arg(2)))))
}

fn keyslot(call: &mut Call<'_>) -> Outcome {
    enabled(call)?;
    call.reply_integer(i64::from(Slot::of(call.arg(2)).number()));
    Ok(())
}

/// The slot that argument 2 names.
fn slot(call: &Call<'_>) -> Result<u16, Failure> {
    let slot = call.integer(2)?;
    u16::try_from(slot).ok().filter(|slot| *slot < SLOTS).ok_or(Failure::Text("ERR Invalid slot"))
}

fn countkeysinslot(call: &mut Call<'_>) -> Outcome {
    enabled(call)?;
    let slot = slot(call)?;
    call.reply_integer(i64::from(call.node.keyspace.keys_in_slot(slot)));
    Ok(())
}

fn getkeysinslot(call: &mut Call<'_>) -> Outcome {
    enabled(call)?;
    let slot = call.integer(2)?;
    let count = parse_integer(call.arg(3)).ok_or(super::failure::NOT_INTEGER)?;
    let invalid = Failure::Text("ERR Invalid slot or number of keys");
    let Some(slot) = u16::try_from(slot).ok().filter(|slot| *slot < SLOTS) else { return Err(invalid) };
    let Ok(count) = usize::try_from(count) else { return Err(invalid) };
    let count = count.min(call.node.keyspace.keys_in_slot(slot) as usize);
    call.reply_array(count);
    let keyspace = &call.node.keyspace;
    let mut told = 0;
    keyspace.walk_slot(slot, |handle| {
        if told < count {
            pointsman_protocol::resp::encode::bulk(call.out, keyspace.key(handle));
            told += 1;
        }
    });
    Ok(())
}

fn count_failure_reports(call: &mut Call<'_>) -> Outcome {
    enabled(call)?;
    known_node(call)?;
    call.reply_integer(0);
    Ok(())
}

fn help(call: &mut Call<'_>) -> Outcome {
    enabled(call)?;
    call.reply_help(
        "CLUSTER",
        &[
            "COUNTKEYSINSLOT <slot>",
            "    Return the number of keys in <slot>.",
            "GETKEYSINSLOT <slot> <count>",
            "    Return key names stored by current node in a slot.",
            "INFO",
            "    Return information about the cluster.",
            "KEYSLOT <key>",
            "    Return the hash slot for <key>.",
            "MYID",
            "    Return the node id.",
            "MYSHARDID",
            "    Return the node's shard id.",
            "NODES",
            "    Return cluster configuration seen by node. Output format:",
            "    <id> <ip:port@bus-port[,hostname]> <flags> <master> <pings> <pongs> <epoch> <link> <slot> ...",
            "REPLICAS <node-id>",
            "    Return <node-id> replicas.",
            "SHARDS",
            "    Return information about slot range mappings and the nodes associated with them.",
            "SLOTS",
            "    Return information about slots range mappings. Each range is made of:",
            "    start, end, master and replicas IP addresses, ports and ids",
        ],
    );
    Ok(())
}
