//! What sentinels tell of a group, and what of it is believed. Pure.
//!
//! Each sentinel tells the primary it knows, with the epoch of that knowledge; the epoch rises with each
//! failover that a majority of them agreed to. So the highest epoch counts, then what most of them say;
//! an epoch lower than one seen before never does, unless a majority tells it again and again (then the
//! sentinels were set up anew). And a node is used only once it says itself that it is a primary, and no
//! other node says that it was promoted from it.

use super::fetch::text;
use super::group::{Told, followers, is_superseded};
use pointsman_protocol::HostPort;
use redis_protocol::resp2::types::OwnedFrame;
use std::collections::{BTreeMap, HashMap};

/// Rounds in a row in which a majority must tell an older epoch before it is believed.
pub const OLDER_ROUNDS: u32 = 3;

/// What one sentinel tells of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Where its primary is.
    pub primary: HostPort,
    /// The epoch of that knowledge.
    pub epoch: u64,
    /// Its replicas, and whether this sentinel thinks that they are up.
    pub replicas: Vec<(HostPort, bool)>,
}

impl View {
    /// Reads the answers to SENTINEL GET-MASTER-ADDR-BY-NAME, MASTER and REPLICAS. The first tells a new
    /// primary sooner than the second, while a failover is still under way.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(address: &OwnedFrame, primary: &OwnedFrame, replicas: &OwnedFrame) -> Result<View, String> {
        let OwnedFrame::Array(pair) = address else {
            return Err("the sentinel does not know this group".to_owned());
        };
        let word = |index: usize| pair.get(index).and_then(string);
        let address = host_port(word(0), word(1)).ok_or("the sentinel tells no address that can be read")?;
        let fields = map(primary).ok_or("the answer to SENTINEL MASTER is no map")?;
        let epoch = fields.get("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
        let OwnedFrame::Array(replicas) = replicas else {
            return Err("the answer to SENTINEL REPLICAS is no array".to_owned());
        };
        let replicas = replicas.iter().filter_map(|replica| {
            let fields = map(replica)?;
            let address = host_port(fields.get("ip").cloned(), fields.get("port").cloned())?;
            let flags = fields.get("flags").map(String::as_str).unwrap_or_default();
            let down = flags.split(',').any(|flag| matches!(flag, "s_down" | "o_down" | "disconnected"));
            Some((address, !down))
        });
        Ok(View { primary: address, epoch, replicas: replicas.collect() })
    }

    /// The same with addresses as they are reached from here.
    pub fn mapped(self, address_map: &HashMap<HostPort, HostPort>) -> View {
        let reach = |address: HostPort| address_map.get(&address).cloned().unwrap_or(address);
        View {
            primary: reach(self.primary),
            replicas: self.replicas.into_iter().map(|(address, up)| (reach(address), up)).collect(),
            ..self
        }
    }
}

/// What the sentinels tell together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// Where the primary is.
    pub primary: HostPort,
    /// The epoch of that.
    pub epoch: u64,
    /// The replicas that are up, in order.
    pub replicas: Vec<HostPort>,
    /// How many sentinels tell just this.
    pub votes: usize,
}

/// Chooses among what several sentinels tell: the highest epoch, then what most of them say.
pub fn choose(views: &[View]) -> Option<Chosen> {
    let epoch = views.iter().map(|view| view.epoch).max()?;
    let mut votes: BTreeMap<&HostPort, usize> = BTreeMap::new();
    for view in views.iter().filter(|view| view.epoch == epoch) {
        *votes.entry(&view.primary).or_default() += 1;
    }
    // Of equals the first by order, so that it is the same in each round.
    let (primary, votes) = votes
        .into_iter()
        .rev()
        .max_by_key(|(_, votes)| *votes)
        .map(|(primary, votes)| (primary.clone(), votes))?;
    let agreeing = || views.iter().filter(|view| view.epoch == epoch && view.primary == primary);
    let mut seen: BTreeMap<&HostPort, (usize, usize)> = BTreeMap::new();
    for (address, up) in agreeing().flat_map(|view| &view.replicas) {
        let (ups, downs) = seen.entry(address).or_default();
        *(if *up { ups } else { downs }) += 1;
    }
    let up = seen.into_iter().filter(|(address, (ups, downs))| ups > downs && **address != primary);
    let replicas = up.map(|(address, _)| address.clone()).collect();
    Some(Chosen { primary, epoch, replicas, votes })
}

/// The node to use, of those of the group that answered. `majority` says whether most of the sentinels
/// answered, not how many say so: the highest epoch is the newest failover that a majority agreed to,
/// whoever tells it, but if most of them were not heard there may be a newer one. The text says why none is.
///
/// # Errors
/// See above.
pub fn judge<'a>(told: &'a [Told], chosen: &Chosen, majority: bool) -> Result<&'a Told, String> {
    let says = format!("the sentinels say that {} is the primary", chosen.primary);
    let Some(node) = told.iter().find(|node| node.address == chosen.primary) else {
        return Err(format!("{says}, which does not answer"));
    };
    if !node.role.is_primary {
        return Err(format!("{says}, which says that it is a replica"));
    }
    if is_superseded(told, node) {
        return Err(format!("{says}, but another node was promoted from it"));
    }
    let stronger = told.iter().find(|other| {
        other.role.is_primary
            && other.address != node.address
            && followers(told, other) > followers(told, node)
    });
    match stronger {
        Some(other) if !majority => Err(format!(
            "only a minority of the sentinels answers; {says}, but {} says so too and has more replicas",
            other.address
        )),
        _ => Ok(node),
    }
}

fn map(frame: &OwnedFrame) -> Option<HashMap<String, String>> {
    let OwnedFrame::Array(words) = frame else { return None };
    words.chunks_exact(2).map(|pair| Some((string(&pair[0])?, string(&pair[1])?))).collect()
}

fn string(frame: &OwnedFrame) -> Option<String> {
    Some(String::from_utf8_lossy(text(frame)?).into_owned())
}

fn host_port(host: Option<String>, port: Option<String>) -> Option<HostPort> {
    let port = port?.parse().ok().filter(|port| *port != 0)?;
    Some(HostPort::new(host.filter(|host| !host.is_empty())?, port))
}

#[cfg(test)]
#[path = "sentinel_tests.rs"]
mod tests;
