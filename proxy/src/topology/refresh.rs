//! Keeps the published view true: asks the cluster when something hints that it changed, and now
//! and then anyway.
//!
//! One refresh at a time, however many hints; at least `refresh_min_interval_ms` apart, with jitter,
//! so that many proxies do not ask at the same moment. Several nodes are asked, because one in a
//! minority, or one that has just come back, tells an old story: the view of the highest epoch
//! counts, and one older than the published view never does.

use super::asking::Asking;
use super::cluster;
use super::fetch::Control;
use super::publish::Published;
use pointsman_config::Backend;
use pointsman_protocol::topology::{Node, Topology, TopologyBuilder};
use pointsman_protocol::{HostPort, NodeId};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// Nodes asked in one refresh.
const ASKED_MAX: usize = 5;
/// Refreshes in a row that must agree before a cluster without any node we knew is believed.
const REBUILT_AFTER: u32 = 3;
/// Pause before the next refresh while slots have no owner, or nobody answers.
const INCOMPLETE_PAUSE: Duration = Duration::from_millis(500);

/// Counts refreshes by what asked for them and how they ended.
#[derive(Debug, Default)]
pub struct RefreshCounters(Mutex<BTreeMap<(&'static str, &'static str), u64>>);

impl RefreshCounters {
    pub(super) fn count(&self, reason: &'static str, outcome: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry((reason, outcome)).or_insert(0) += 1;
    }

    /// All counts, by reason and outcome.
    pub fn all(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Where a topology is asked for first, and how announced addresses are reached.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Nodes to ask while no other is known; the last resort for good.
    pub seeds: Vec<HostPort>,
    /// Announced address -> where it is reached from here.
    pub address_map: HashMap<HostPort, HostPort>,
}

/// What to do with the views that the nodes told.
#[derive(Debug, PartialEq, Eq)]
pub enum Choice {
    /// This one is the newest.
    Newest(Topology),
    /// All are older than what is published.
    Older,
    /// None has a node that we know: another cluster answers at these addresses.
    Foreign(Topology),
    /// Nobody told anything.
    Nothing,
}

/// Chooses among the views of several nodes: the highest epoch, then what most nodes tell, then what
/// covers more slots.
pub fn choose(views: Vec<Topology>, published: &Topology) -> Choice {
    let known: HashSet<NodeId> = published.nodes().iter().filter_map(|node| node.id).collect();
    let is_foreign = |view: &Topology| {
        let mut ids = view.nodes().iter().filter_map(|node| node.id).peekable();
        !known.is_empty() && ids.peek().is_some() && ids.all(|id| !known.contains(&id))
    };
    let (foreign, own): (Vec<_>, Vec<_>) = views.into_iter().partition(is_foreign);
    let best = |views: Vec<Topology>| {
        let votes = |view: &Topology| views.iter().filter(|other| same_owners(view, other)).count();
        let best = views.iter().max_by_key(|view| (view.epoch(), votes(view), view.slots_covered()))?;
        Some(best.clone())
    };
    match (best(own), best(foreign)) {
        (Some(own), _) if own.epoch() < published.epoch() => Choice::Older,
        (Some(own), _) => Choice::Newest(own),
        (None, Some(foreign)) => Choice::Foreign(foreign),
        (None, None) => Choice::Nothing,
    }
}

fn same_owners(one: &Topology, other: &Topology) -> bool {
    pointsman_protocol::Slot::all().all(|slot| one.primary_of(slot) == other.primary_of(slot))
}

/// Keeps the view of one backend true, forever.
pub async fn run(
    backend: Backend,
    source: Source,
    published: Arc<Published>,
    counters: Arc<RefreshCounters>,
) {
    let random = RandomState::new();
    let mut round: u64 = 0;
    let mut foreign_rounds = 0;
    let mut complained = false;
    let mut reason = "start";
    loop {
        round += 1;
        let began = Instant::now();
        let snapshot = published.load();
        let candidates = candidates(&snapshot.topology, &source.seeds, &random, round);
        let (mut views, mut errors) = ask_several(&candidates, &backend).await;
        if views.is_empty() {
            // Nobody we know answers: the seeds are the last resort, all of them.
            let seeds: Vec<HostPort> =
                source.seeds.iter().filter(|seed| !candidates.contains(seed)).cloned().collect();
            let (more, failed) = ask_several(&seeds, &backend).await;
            views = more;
            errors.extend(failed);
        }
        let views = views.into_iter().map(|view| mapped(view, &source.address_map)).collect();
        let outcome = match choose(views, &snapshot.topology) {
            Choice::Newest(topology) => {
                foreign_rounds = 0;
                let (epoch, covered, shards) =
                    (topology.epoch(), topology.slots_covered(), topology.shards().len());
                if published.publish(topology) {
                    tracing::info!(backend = backend.name, %epoch, shards, slots = covered, reason, "topology");
                    "changed"
                } else {
                    "unchanged"
                }
            }
            Choice::Older => "older",
            Choice::Foreign(topology) => {
                foreign_rounds += 1;
                if foreign_rounds >= REBUILT_AFTER {
                    tracing::warn!(
                        backend = backend.name,
                        "every node answers for another cluster than before; taking it over"
                    );
                    published.publish_rebuilt(topology);
                    foreign_rounds = 0;
                }
                "foreign"
            }
            Choice::Nothing => "failed",
        };
        counters.count(reason, outcome);
        if outcome == "failed" && !complained {
            complained = true;
            tracing::warn!(
                backend = backend.name,
                errors = errors.join("; "),
                "no node tells the topology; trying again"
            );
        } else if outcome != "failed" && complained {
            complained = false;
            tracing::info!(backend = backend.name, "nodes tell the topology again");
        }
        let incomplete =
            published.load().topology.slots_covered() < usize::from(pointsman_protocol::slot::SLOTS);
        let jitter = |span: Duration| span.mul_f64((random.hash_one((round, 7)) % 1000) as f64 / 1000.0);
        let pause = if incomplete {
            INCOMPLETE_PAUSE.min(backend.topology.interval)
        } else {
            backend.topology.interval
        };
        reason = match timeout(pause + jitter(pause / 10), published.refresh_wanted()).await {
            Ok(reason) => reason,
            Err(_) => "interval",
        };
        let min = backend.topology.min_interval;
        sleep_until(began + min + jitter(min / 2)).await;
    }
}

/// Whom to ask: some known primaries in random order, a replica, and the seeds if none of those is
/// left; seeds stay the last resort for good.
fn candidates(topology: &Topology, seeds: &[HostPort], random: &RandomState, round: u64) -> Vec<HostPort> {
    let order = |address: &HostPort| random.hash_one((round, address));
    let mut primaries: Vec<HostPort> = topology
        .serving()
        .iter()
        .map(|shard| topology.node(topology.shard(*shard).primary).address.clone())
        .collect();
    let mut others: Vec<HostPort> = topology
        .nodes()
        .iter()
        .map(|node| node.address.clone())
        .filter(|address| !primaries.contains(address))
        .collect();
    primaries.sort_by_key(order);
    others.sort_by_key(order);
    primaries.truncate(ASKED_MAX - 1);
    primaries.extend(others.into_iter().take(1));
    // Where few nodes are known, the seeds fill up.
    for seed in seeds {
        if primaries.len() < ASKED_MAX && !primaries.contains(seed) {
            primaries.push(seed.clone());
        }
    }
    primaries
}

async fn ask_several(candidates: &[HostPort], backend: &Backend) -> (Vec<Topology>, Vec<String>) {
    let mut asking = Asking::default();
    for address in candidates {
        let (address, backend) = (address.clone(), backend.clone());
        asking.ask(async move {
            let told = ask(&address, &backend).await;
            (address, told)
        });
    }
    let (mut views, mut errors) = (Vec::new(), Vec::new());
    while let Some(joined) = asking.answer().await {
        match joined {
            Ok((_, Ok(topology))) => {
                asking.enough();
                views.push(topology);
            }
            Ok((address, Err(error))) => errors.push(format!("{address}: {error}")),
            Err(error) => errors.push(error.to_string()),
        }
    }
    (views, errors)
}

/// Asks one node, in the newest form it knows.
async fn ask(address: &HostPort, backend: &Backend) -> Result<Topology, String> {
    let mut control = Control::connect(address, backend).await?;
    // The age of a view is the newest claim in it, which only CLUSTER NODES tells. The cluster's current
    // epoch, which CLUSTER INFO tells, also grows when a replica that is cut off stands for election
    // again and again: its old view would seem the newest.
    let nodes = control.try_ask(&["CLUSTER", "NODES"]).await?;
    let epoch = match nodes.as_ref().ok().and_then(|answer| cluster::from_nodes(answer, address, 0).ok()) {
        Some(view) => view.epoch().0,
        None => cluster::epoch_of(&control.ask(&["CLUSTER", "INFO"]).await?).unwrap_or(0),
    };
    if let Ok(answer) = control.try_ask(&["CLUSTER", "SHARDS"]).await? {
        return cluster::from_shards(&answer, address, epoch);
    }
    if let Ok(answer) = control.try_ask(&["CLUSTER", "SLOTS"]).await? {
        return cluster::from_slots(&answer, address, epoch);
    }
    cluster::from_nodes(&nodes?, address, epoch)
}

/// The same view with addresses as they are reached from here.
fn mapped(topology: Topology, address_map: &HashMap<HostPort, HostPort>) -> Topology {
    if address_map.is_empty() {
        return topology;
    }
    let reach = |node: &Node| Node {
        address: address_map.get(&node.address).cloned().unwrap_or_else(|| node.address.clone()),
        ..node.clone()
    };
    let mut builder = TopologyBuilder::new();
    builder.epoch(topology.epoch().0);
    for (index, shard) in topology.shards().iter().enumerate() {
        let replicas = shard.replicas.iter().map(|node| reach(topology.node(*node))).collect();
        let ranges = topology.slot_ranges(pointsman_protocol::topology::ShardIndex(index as u16));
        if builder.shard(reach(topology.node(shard.primary)), replicas, &ranges).is_err() {
            break;
        }
    }
    builder.build()
}

#[cfg(test)]
#[path = "refresh_tests.rs"]
mod tests;
