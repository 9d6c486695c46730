//! Samples how far each replica is behind its primary, in bytes of the replication stream.
//!
//! A replica may be read from only while this is known: it follows the shard's primary, its link is
//! up, it is not in the middle of a full copy, and the sample is fresh. Everything else is
//! [`LAG_UNKNOWN`]. The replica is asked before the primary, so the figure errs towards too much.
//!
//! A primary that says that it is a replica has the view refreshed. Where nodes have no cluster mode, primaries
//! without replicas are asked for that alone: such a node goes on answering reads.

use super::kept;
use crate::route::read::LAG_UNKNOWN;
use crate::topology::fetch::{Control, text};
use crate::topology::publish::{Published, Snapshot};
use pointsman_config::{Backend, BackendKind};
use pointsman_protocol::HostPort;
use pointsman_protocol::topology::{NodeIndex, Shard};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// What a node says of its replication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replication {
    is_replica: bool,
    link_up: bool,
    syncing: bool,
    offset: Option<u64>,
    /// Names the line of writes that the offset counts.
    history: Option<String>,
}

/// Reads INFO replication.
pub fn parse(info: &str) -> Replication {
    let mut replication = Replication::default();
    let (mut primary_offset, mut replica_offset) = (None, None);
    for line in info.lines() {
        let Some((field, value)) = line.trim_end().split_once(':') else { continue };
        match field {
            "role" => replication.is_replica = value == "slave",
            "master_link_status" => replication.link_up = value == "up",
            "master_sync_in_progress" => replication.syncing = value != "0",
            "master_repl_offset" => primary_offset = value.parse().ok(),
            "master_replid" => replication.history = Some(value.to_owned()),
            "slave_repl_offset" => replica_offset = value.parse().ok(),
            _ => {}
        }
    }
    replication.offset = if replication.is_replica { replica_offset } else { primary_offset };
    replication
}

/// How many bytes `replica` is behind `primary`, or [`LAG_UNKNOWN`].
pub fn lag(primary: &Replication, replica: &Replication) -> u64 {
    // A replica of another primary counts other writes.
    let strange =
        primary.history.is_some() && replica.history.is_some() && primary.history != replica.history;
    let linked = !primary.is_replica && replica.is_replica && replica.link_up && !replica.syncing && !strange;
    match (linked, primary.offset, replica.offset) {
        (true, Some(ahead), Some(behind)) => ahead.saturating_sub(behind),
        _ => LAG_UNKNOWN,
    }
}

/// A node's answer, and the connection it came by, to be used again.
type Sample = (HostPort, Result<(Replication, Control), String>);

/// Samples one backend, forever.
pub async fn run(backend: Backend, published: Arc<Published>) {
    let mut connections: HashMap<HostPort, Control> = HashMap::new();
    let mut fresh: HashMap<HostPort, Instant> = HashMap::new();
    // In a cluster a demoted primary answers MOVED.
    let is_cluster = matches!(backend.kind, BackendKind::Bundled(_) | BackendKind::Cluster(_));
    loop {
        let began = Instant::now();
        let snapshot = published.load();
        let (mut replicas, mut primaries) = (Vec::new(), Vec::new());
        let of_interest = |shard: &&Shard| !is_cluster || !shard.replicas.is_empty();
        for shard in snapshot.topology.shards().iter().filter(of_interest) {
            primaries.push(address(&snapshot, shard.primary));
            replicas.extend(shard.replicas.iter().map(|node| address(&snapshot, *node)));
        }
        connections.retain(|node, _| primaries.contains(node) || replicas.contains(node));
        fresh.retain(|node, _| replicas.contains(node));
        let mut told = sample(&replicas, &backend, &mut connections).await;
        told.extend(sample(&primaries, &backend, &mut connections).await);
        if primaries.iter().any(|node| told.get(node).is_some_and(|told| told.is_replica)) {
            published.request_refresh("demoted");
        }
        // The view may have been replaced meanwhile; what was told is of nodes, not of a view.
        published.record_lags(|snapshot| record(snapshot, &told, &mut fresh, began, backend.lag.stale_after));
        sleep_until(began + backend.lag.interval).await;
    }
}

fn address(snapshot: &Snapshot, node: NodeIndex) -> HostPort {
    snapshot.topology.node(node).address.clone()
}

/// Writes what is known now. A sample that failed for want of an answer leaves the last one standing
/// until it is too old; one that says "not in step" counts at once.
fn record(
    snapshot: &Snapshot,
    told: &HashMap<HostPort, Replication>,
    fresh: &mut HashMap<HostPort, Instant>,
    now: Instant,
    stale_after: Duration,
) {
    for shard in snapshot.topology.shards() {
        let primary = told.get(&snapshot.topology.node(shard.primary).address);
        for node in &shard.replicas {
            let address = &snapshot.topology.node(*node).address;
            let cell = snapshot.lag(*node);
            match (primary, told.get(address)) {
                (Some(primary), Some(replica)) => {
                    cell.store(lag(primary, replica), Ordering::Relaxed);
                    fresh.insert(address.clone(), now);
                }
                // The replica itself says that it is out of step.
                (None, Some(replica)) if !replica.link_up || replica.syncing => {
                    cell.store(LAG_UNKNOWN, Ordering::Relaxed)
                }
                _ => {
                    let is_fresh =
                        fresh.get(address).is_some_and(|sampled| now.duration_since(*sampled) < stale_after);
                    if !is_fresh {
                        cell.store(LAG_UNKNOWN, Ordering::Relaxed);
                    }
                }
            }
        }
    }
}

/// Asks all of `nodes` at once; those that do not answer are missing from the result.
async fn sample(
    nodes: &[HostPort],
    backend: &Backend,
    connections: &mut HashMap<HostPort, Control>,
) -> HashMap<HostPort, Replication> {
    let mut asking: JoinSet<Sample> = JoinSet::new();
    for node in nodes {
        let (node, backend, connection) = (node.clone(), backend.clone(), connections.remove(node));
        asking.spawn(async move {
            let answer = kept::ask(&node, &backend, connection, replication).await;
            (node, answer)
        });
    }
    let mut told = HashMap::new();
    while let Some(joined) = asking.join_next().await {
        match joined {
            Ok((node, Ok((replication, connection)))) => {
                connections.insert(node.clone(), connection);
                told.insert(node, replication);
            }
            Ok((node, Err(error))) => tracing::debug!(%node, error, "a node's replication state is unknown"),
            Err(error) => tracing::debug!(%error, "sampling failed"),
        }
    }
    told
}

async fn replication(control: &mut Control) -> Result<Replication, String> {
    let answer = control.ask(&["INFO", "replication"]).await?;
    let info = text(&answer).ok_or("INFO did not answer text")?;
    Ok(parse(&String::from_utf8_lossy(info)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIMARY: &str =
        "role:master\r\nconnected_slaves:1\r\nmaster_replid:a\r\nmaster_repl_offset:1000\r\n";

    fn replica(link: &str, syncing: u8, offset: &str) -> Replication {
        parse(&format!(
            "role:slave\r\nmaster_link_status:{link}\r\nmaster_sync_in_progress:{syncing}\r\n{offset}master_repl_offset:1000\r\n"
        ))
    }

    // T72: linked, not syncing, known offset; anything else is unknown.
    #[test]
    fn t72_lag_is_known_only_for_a_replica_in_step() {
        let primary = parse(PRIMARY);
        for (replica, expected) in [
            (replica("up", 0, "slave_repl_offset:900\r\n"), 100),
            (replica("up", 0, "slave_repl_offset:1000\r\n"), 0),
            (replica("up", 0, "slave_repl_offset:1001\r\n"), 0),
            (replica("down", 0, "slave_repl_offset:1000\r\n"), LAG_UNKNOWN),
            (replica("up", 1, "slave_repl_offset:1000\r\n"), LAG_UNKNOWN),
            (replica("up", 0, ""), LAG_UNKNOWN),
            (replica("up", 0, "slave_repl_offset:900\r\nmaster_replid:b\r\n"), LAG_UNKNOWN),
            (replica("up", 0, "slave_repl_offset:900\r\nmaster_replid:a\r\n"), 100),
            (parse(PRIMARY), LAG_UNKNOWN),
            (parse(""), LAG_UNKNOWN),
        ] {
            assert_eq!(lag(&primary, &replica), expected, "{replica:?}");
        }
        let in_step = replica("up", 0, "slave_repl_offset:900\r\n");
        assert_eq!(
            lag(&parse("role:slave\r\nslave_repl_offset:5\r\n"), &in_step),
            LAG_UNKNOWN,
            "the primary was demoted"
        );
        assert_eq!(lag(&parse(""), &in_step), LAG_UNKNOWN);
    }
}
