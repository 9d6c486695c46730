//! Samples how far each replica is behind its primary, in bytes of the replication stream and in time.
//!
//! A replica may be read from only while this is known: it follows the shard's primary, its link is
//! up, it is not in the middle of a full copy, and the sample is fresh. Everything else is unknown.
//! The primary is asked first: what a replica then has of it is at least as old as that question ([`Offsets`]). The
//! figure in bytes may be too small by what was written during one round trip.
//!
//! Shards are asked at the same time, and a node that does not answer within about one interval has not told
//! anything in this round: nobody's figures wait for a frozen one.
//!
//! A primary that says that it is a replica has the view refreshed. Where nodes have no cluster mode, primaries
//! without replicas are asked for that alone: such a node goes on answering reads.

use super::freshness::Offsets;
use super::kept;
use crate::route::read::LAG_UNKNOWN;
use crate::topology::fetch::{Control, text};
use crate::topology::publish::{Published, Snapshot};
use pointsman_config::{Backend, BackendKind};
use pointsman_protocol::HostPort;
use pointsman_protocol::topology::{NodeIndex, Shard};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

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

/// What one round of one shard found out.
#[derive(Debug)]
struct Told {
    /// When the primary was asked, and what it said.
    primary: Option<(u64, Replication)>,
    /// What the replicas said, by address.
    replicas: HashMap<HostPort, Replication>,
}

/// What is kept between rounds.
#[derive(Debug, Default)]
struct Known {
    /// By the address of a primary.
    offsets: HashMap<HostPort, Offsets>,
    /// When each replica was last compared with its primary, in microseconds of the backend's clock.
    compared: HashMap<HostPort, u64>,
}

/// A node is given at least this long to answer, however short the interval.
const PATIENCE_MIN: Duration = Duration::from_millis(250);

/// Connections that are not in use, by node.
type Free = Arc<Mutex<HashMap<HostPort, Control>>>;

/// Samples one backend, forever.
pub async fn run(backend: Backend, published: Arc<Published>) {
    let (backend, free) = (Arc::new(backend), Free::default());
    let mut known = Known::default();
    // In a cluster a demoted primary answers MOVED.
    let is_cluster = matches!(backend.kind, BackendKind::Bundled(_) | BackendKind::Cluster(_));
    let of_interest = |shard: &&Shard| !is_cluster || !shard.replicas.is_empty();
    loop {
        let began = Instant::now();
        let snapshot = published.load();
        let address = |node: NodeIndex| snapshot.topology.node(node).address.clone();
        let mut rounds = JoinSet::new();
        let mut nodes = HashSet::new();
        for shard in snapshot.topology.shards().iter().filter(of_interest) {
            let replicas: Vec<HostPort> = shard.replicas.iter().map(|node| address(*node)).collect();
            nodes.extend(replicas.iter().cloned().chain([address(shard.primary)]));
            let primary = address(shard.primary);
            rounds.spawn(round(primary, replicas, backend.clone(), published.clone(), free.clone()));
        }
        lock(&free).retain(|node, _| nodes.contains(node));
        known.offsets.retain(|node, _| nodes.contains(node));
        known.compared.retain(|node, _| nodes.contains(node));
        while let Some(round) = rounds.join_next().await {
            let Ok((primary, told)) = round else { continue };
            if told.primary.as_ref().is_some_and(|(_, primary)| primary.is_replica) {
                published.request_refresh("demoted");
            }
            // The view may have been replaced meanwhile; what was told is of nodes, not of a view.
            let now = published.clock();
            published.record_lags(|snapshot| {
                known.record(snapshot, &primary, &told, now, backend.lag.stale_after)
            });
        }
        sleep_until(began + backend.lag.interval).await;
    }
}

/// Asks one shard: its primary, then its replicas at once.
async fn round(
    primary: HostPort,
    replicas: Vec<HostPort>,
    backend: Arc<Backend>,
    published: Arc<Published>,
    free: Free,
) -> (HostPort, Told) {
    let asked_at = published.clock();
    let answer = ask_in_time(&primary, &backend, &free).await;
    let mut told = Told { primary: answer.map(|answer| (asked_at, answer)), replicas: HashMap::new() };
    let mut asking = JoinSet::new();
    for node in replicas {
        let (backend, free) = (backend.clone(), free.clone());
        asking.spawn(async move {
            let answer = ask_in_time(&node, &backend, &free).await;
            (node, answer)
        });
    }
    while let Some(joined) = asking.join_next().await {
        if let Ok((node, Some(answer))) = joined {
            told.replicas.insert(node, answer);
        }
    }
    (primary, told)
}

impl Known {
    /// Writes what is known now of a primary's replicas. A sample that failed for want of an answer leaves the last
    /// one standing until it is too old; one that says "not in step" counts at once.
    fn record(
        &mut self,
        snapshot: &Snapshot,
        primary: &HostPort,
        told: &Told,
        now: u64,
        stale_after: Duration,
    ) {
        let offsets = self.offsets.entry(primary.clone()).or_default();
        if let Some((asked_at, primary)) = &told.primary
            && let (false, Some(offset)) = (primary.is_replica, primary.offset)
        {
            offsets.note(primary.history.as_deref(), *asked_at, offset);
        }
        let topology = &snapshot.topology;
        let follows = |shard: &&Shard| topology.node(shard.primary).address == *primary;
        let replicas = topology.shards().iter().filter(follows).flat_map(|shard| &shard.replicas);
        for node in replicas {
            let address = &topology.node(*node).address;
            let copy = snapshot.copy(*node);
            match (&told.primary, told.replicas.get(address)) {
                (Some((_, primary)), Some(replica)) => match lag(primary, replica) {
                    LAG_UNKNOWN => copy.set_unknown(),
                    lag => {
                        let fresh_at = replica.offset.and_then(|offset| offsets.fresh_at(offset));
                        copy.set(lag, fresh_at.unwrap_or(0));
                        self.compared.insert(address.clone(), now);
                    }
                },
                // The replica itself says that it is out of step.
                (None, Some(replica)) if !replica.link_up || replica.syncing => copy.set_unknown(),
                _ => {
                    let age = self.compared.get(address).map(|compared| now.saturating_sub(*compared));
                    if age.is_none_or(|age| u128::from(age) >= stale_after.as_micros()) {
                        copy.set_unknown();
                    }
                }
            }
        }
    }
}

fn lock(free: &Free) -> MutexGuard<'_, HashMap<HostPort, Control>> {
    free.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a node says of its replication; `None` if it does not in time.
async fn ask_in_time(node: &HostPort, backend: &Backend, free: &Free) -> Option<Replication> {
    let connection = lock(free).remove(node);
    match timeout(backend.lag.interval.max(PATIENCE_MIN), kept::ask(node, backend, connection, replication))
        .await
    {
        Ok(Ok((replication, connection))) => {
            lock(free).insert(node.clone(), connection);
            Some(replication)
        }
        Ok(Err(error)) => {
            tracing::debug!(%node, error, "a node's replication state is unknown");
            None
        }
        Err(_) => {
            tracing::debug!(%node, "a node does not tell its replication state in time");
            None
        }
    }
}

async fn replication(control: &mut Control) -> Result<Replication, String> {
    let answer = control.ask(&["INFO", "replication"]).await?;
    let info = text(&answer).ok_or("INFO did not answer text")?;
    Ok(parse(&String::from_utf8_lossy(info)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_protocol::topology::{Node, TopologyBuilder};

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

    fn view() -> (Snapshot, NodeIndex, HostPort) {
        let node = |port| Node { id: None, address: HostPort::new("h", port), zone: None };
        let mut builder = TopologyBuilder::new();
        builder.shard(node(1), vec![node(2)], &[(0, 16383)]).expect("one shard");
        let snapshot = Snapshot::new(1, builder.build(), None);
        let replica = snapshot.topology.find(&HostPort::new("h", 2)).expect("it is there");
        (snapshot, replica, HostPort::new("h", 1))
    }

    // T72: what is known of a replica, round by round.
    #[test]
    fn t72_a_round_tells_bytes_and_age_or_that_nothing_is_known() {
        let (snapshot, node, address) = view();
        let replica_at = HostPort::new("h", 2);
        let stale_after = Duration::from_micros(1_000);
        let offset = |offset: u64| parse(&format!("role:master\r\nmaster_repl_offset:{offset}\r\n"));
        let answers = |link: &str, offset: u64| replica(link, 0, &format!("slave_repl_offset:{offset}\r\n"));
        let mut known = Known::default();
        // At, the primary's offset, the replica's link and offset; then bytes behind and the age at that moment.
        for (at, primary, told, lag, age) in [
            (100, Some(50), Some(("up", 50)), Some(0), Some(10)),
            (200, Some(90), Some(("up", 60)), Some(30), Some(110)),
            (300, Some(120), Some(("up", 90)), Some(30), Some(110)),
            (400, None, None, Some(30), Some(210)),
            (500, None, Some(("down", 90)), None, None),
            (600, Some(130), Some(("up", 130)), Some(0), Some(10)),
            (1_500, Some(130), None, Some(0), Some(910)),
            (1_600, Some(130), None, None, None),
        ] {
            let round = Told {
                primary: primary.map(|primary| (at - 10, offset(primary))),
                replicas: told
                    .map(|(link, offset)| (replica_at.clone(), answers(link, offset)))
                    .into_iter()
                    .collect(),
            };
            known.record(&snapshot, &address, &round, at, stale_after);
            let copy = snapshot.copy(node);
            assert_eq!((copy.lag_bytes(), copy.age(at)), (lag, age), "at {at}");
        }
    }
}
