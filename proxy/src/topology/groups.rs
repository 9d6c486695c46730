//! Keeps the published view true where nodes have no cluster mode: asks the nodes of each group who they
//! are, when something hints that it changed and now and then anyway.
//!
//! A group is a primary with its replicas; it owns a part of the slots that never changes. Who of it is
//! the primary is judged in [`super::group`], or where there are sentinels, asked of them and verified
//! ([`super::sentinel`]); where nobody can be believed, what is published stays. No slot of a group ever
//! goes to another: a group without a primary is a part of the keys that cannot be reached. The
//! epoch of such a view is a counter of our own: it rises whenever another node, or another run of the
//! same one, becomes a primary.

use super::fetch::{Control, text};
use super::group::{self, Choice, InUse, Told};
use super::publish::Published;
use super::refresh::RefreshCounters;
use super::role::Role;
use super::sentinel::{self, Chosen, OLDER_ROUNDS, View};
use super::watch;
use crate::route::division::Ranges;
use pointsman_config::{Backend, BackendKind};
use pointsman_protocol::HostPort;
use pointsman_protocol::slot::SLOTS;
use pointsman_protocol::topology::{Node, Topology, TopologyBuilder};
use redis_protocol::resp2::types::OwnedFrame;
use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// Nodes of one group that are asked, those that others announce included.
const NODES_MAX: usize = 64;
/// How long others are waited for once a primary has answered.
const LATECOMERS: Duration = Duration::from_millis(250);
/// Pause before the next round while a group has no primary that is believed and answers.
const UNSURE_PAUSE: Duration = Duration::from_millis(500);

/// One group, as far as it is known.
#[derive(Debug)]
struct Group {
    /// What it is called in the log.
    name: String,
    /// Its slots, first to last.
    slots: (u16, u16),
    /// The addresses that the operator wrote; none where sentinels tell.
    seeds: Vec<HostPort>,
    /// The highest epoch that sentinels told, and how often in a row a majority told an older one.
    told_epoch: u64,
    older_rounds: u32,
    /// What is published of it.
    view: Option<Members>,
    in_use: Option<InUse>,
    /// Something was complained of, and not taken back yet.
    complained: bool,
}

/// A primary and its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Members {
    primary: Node,
    replicas: Vec<Node>,
}

/// What one group's nodes said in one round.
#[derive(Debug, Default)]
struct Heard {
    told: Vec<Told>,
    errors: Vec<String>,
}

impl Group {
    fn all(kind: &BackendKind) -> Vec<Group> {
        let group = |name: &str, slots, seeds: &[HostPort]| Group {
            name: name.to_owned(),
            slots,
            seeds: seeds.to_vec(),
            told_epoch: 0,
            older_rounds: 0,
            view: None,
            in_use: None,
            complained: false,
        };
        match kind {
            BackendKind::Primary(seeded) => vec![group("primary", (0, SLOTS - 1), &seeded.seeds)],
            BackendKind::Sentinel(sentinel) => {
                let ranges = Ranges::new(sentinel.groups.len());
                let named = sentinel.groups.iter().enumerate();
                named.map(|(index, name)| group(name, ranges.slots(index), &[])).collect()
            }
            BackendKind::Fixed(fixed) => {
                let ranges = Ranges::new(fixed.shards.len());
                let shards = fixed.shards.iter().enumerate();
                shards
                    .map(|(index, shard)| {
                        group(&format!("shards[{index}]"), ranges.slots(index), &shard.seeds)
                    })
                    .collect()
            }
            BackendKind::Bundled(_) | BackendKind::Cluster(_) => Vec::new(),
        }
    }

    /// Whom to ask first.
    fn candidates(&self) -> Vec<HostPort> {
        let mut candidates = self.seeds.clone();
        if let Some(view) = &self.view {
            candidates.extend(
                std::iter::once(&view.primary).chain(&view.replicas).map(|node| node.address.clone()),
            );
        }
        candidates
    }

    /// Whom to ask, as the sentinels say; `Err` says why nobody.
    fn hear_sentinels(&mut self, views: &[View], majority: usize) -> Result<Chosen, String> {
        let Some(chosen) = sentinel::choose(views) else {
            return Err("no sentinel tells who the primary is".to_owned());
        };
        if chosen.epoch < self.told_epoch {
            self.older_rounds =
                if chosen.votes >= majority { self.older_rounds.saturating_add(1) } else { 0 };
            if self.older_rounds < OLDER_ROUNDS {
                return Err(format!(
                    "the sentinels tell what was true in epoch {}, but {} was heard already",
                    chosen.epoch, self.told_epoch
                ));
            }
        }
        self.older_rounds = 0;
        self.told_epoch = chosen.epoch;
        Ok(chosen)
    }

    /// Judges what was heard of a primary that sentinels named.
    fn learn_named(&mut self, heard: &Heard, chosen: &Chosen, majority: bool, backend: &str) -> bool {
        match sentinel::judge(&heard.told, chosen, majority) {
            Ok(primary) => {
                self.take_over(primary, &heard.told, None, backend);
                true
            }
            Err(why) => self.doubt(why, &heard.errors, backend),
        }
    }

    /// Nobody is believed: what is published stays.
    fn doubt(&mut self, why: String, errors: &[String], backend: &str) -> bool {
        let errors = errors.join("; ");
        self.tell(Some(if errors.is_empty() { why } else { format!("{why}: {errors}") }), backend);
        false
    }

    fn take_over(&mut self, primary: &Told, told: &[Told], complaint: Option<String>, backend: &str) {
        self.in_use = Some(InUse {
            address: primary.address.clone(),
            history: primary.role.history.clone(),
            silent_rounds: 0,
        });
        let replicas = group::replicas(told, primary).into_iter().map(node).collect();
        self.view = Some(Members { primary: node(primary), replicas });
        self.tell(complaint, backend);
    }

    /// Complains once, and takes it back once.
    fn tell(&mut self, complaint: Option<String>, backend: &str) {
        match &complaint {
            Some(what) if !self.complained => tracing::warn!(backend, group = self.name, "{what}"),
            None if self.complained => tracing::info!(backend, group = self.name, "there is a primary"),
            _ => {}
        }
        self.complained = complaint.is_some();
    }

    /// Judges what was heard. True if a primary is believed and answers.
    fn learn(&mut self, heard: &Heard, backend: &str) -> bool {
        if let Some(in_use) = &mut self.in_use {
            let silent = !heard.told.iter().any(|node| node.address == in_use.address);
            in_use.silent_rounds = if silent { in_use.silent_rounds.saturating_add(1) } else { 0 };
        }
        let claims = heard.told.iter().filter(|node| node.role.is_primary).count();
        match group::choose(&heard.told, self.in_use.as_ref()) {
            Choice::Primary(primary) => {
                let several = (claims > 1).then(|| {
                    format!("{claims} nodes say that they are the primary; {} is used", primary.address)
                });
                self.take_over(primary, &heard.told, several, backend);
                true
            }
            Choice::Doubtful(node) => {
                let in_use =
                    self.in_use.as_ref().map(|in_use| in_use.address.to_string()).unwrap_or_default();
                let why = format!(
                    "{} says that it is the primary, but has nothing of {in_use}, which is in use; waiting for that one",
                    node.address
                );
                self.doubt(why, &[], backend)
            }
            Choice::Nobody => {
                self.doubt("no node says that it is the primary".to_owned(), &heard.errors, backend)
            }
        }
    }
}

fn node(told: &Told) -> Node {
    Node { id: told.role.run_id, address: told.address.clone(), zone: None }
}

/// Keeps the view of one backend true, forever.
pub async fn run(backend: Backend, published: Arc<Published>, counters: Arc<RefreshCounters>) {
    let random = RandomState::new();
    let address_map: Arc<HashMap<HostPort, HostPort>> =
        Arc::new(backend.kind.address_map().iter().cloned().collect());
    let mut groups = Group::all(&backend.kind);
    let sentinels = Sentinels::of(&backend);
    let mut watches = JoinSet::new();
    if let Some(sentinels) = &sentinels {
        for address in &sentinels.addresses {
            watches.spawn(watch::run(
                address.clone(),
                sentinels.login.clone(),
                sentinels.groups.clone(),
                published.clone(),
            ));
        }
    }
    let (mut round, mut reason): (u64, _) = (0, "start");
    loop {
        round += 1;
        let began = Instant::now();
        let (mut sure, mut databases) = (true, None);
        let (mut asking, mut named) = (JoinSet::new(), HashMap::new());
        let told = match &sentinels {
            Some(sentinels) => Some((sentinels.ask(&address_map).await, sentinels.majority())),
            None => None,
        };
        for (index, group) in groups.iter_mut().enumerate() {
            let candidates = match &told {
                None => group.candidates(),
                Some(((views, errors), majority)) => {
                    let views = views.get(index).map(Vec::as_slice).unwrap_or_default();
                    match group.hear_sentinels(views, *majority) {
                        Err(why) => {
                            sure = group.doubt(why, errors, &backend.name);
                            continue;
                        }
                        Ok(chosen) => {
                            let candidates: Vec<HostPort> =
                                std::iter::once(&chosen.primary).chain(&chosen.replicas).cloned().collect();
                            named.insert(index, (chosen, views.len() >= *majority));
                            candidates
                        }
                    }
                }
            };
            let (seeds, backend, address_map) = (group.seeds.clone(), backend.clone(), address_map.clone());
            // What sentinels hold for down is not asked, though the primary may still announce it.
            let announced = (told.is_none()).then(|| address_map.clone());
            asking.spawn(async move {
                (index, ask_group(candidates, &seeds, &backend, announced.as_deref()).await)
            });
        }
        while let Some(joined) = asking.join_next().await {
            let Ok((index, heard)) = joined else { continue };
            let Some(group) = groups.get_mut(index) else { continue };
            sure &= match named.get(&index) {
                Some((chosen, majority)) => group.learn_named(&heard, chosen, *majority, &backend.name),
                None => group.learn(&heard, &backend.name),
            };
            let told = heard.told.iter().filter_map(|node| node.role.databases).min();
            databases = databases.into_iter().chain(told).min();
        }
        if let Some(databases) = databases {
            published.set_databases(databases);
        }
        let outcome = match build(&groups, &published.load().topology) {
            None => "failed",
            Some(topology) => {
                let (epoch, shards) = (topology.epoch(), topology.shards().len());
                if published.publish(topology) {
                    tracing::info!(backend = backend.name, %epoch, shards, reason, "topology");
                    "changed"
                } else if sure {
                    "unchanged"
                } else {
                    "unsure"
                }
            }
        };
        counters.count(reason, outcome);
        let jitter = |span: Duration| span.mul_f64((random.hash_one((round, 7)) % 1000) as f64 / 1000.0);
        let pause =
            if sure { backend.topology.interval } else { UNSURE_PAUSE.min(backend.topology.interval) };
        reason = timeout(pause + jitter(pause / 10), published.refresh_wanted()).await.unwrap_or("interval");
        let min = backend.topology.min_interval;
        sleep_until(began + min + jitter(min / 2)).await;
    }
}

/// The view of all groups; `None` while no primary is known of any.
fn build(groups: &[Group], before: &Topology) -> Option<Topology> {
    let mut builder = TopologyBuilder::new();
    let (mut any, mut changed) = (false, false);
    for group in groups {
        let Some(Members { primary, replicas }) = group.view.clone() else { continue };
        any = true;
        let known = before.find(&primary.address).map(|index| before.node(index));
        let owned = pointsman_protocol::Slot::new(group.slots.0).and_then(|slot| before.primary_of(slot));
        changed |= owned != Some(&primary.address) || known.map(|node| node.id) != Some(primary.id);
        builder.shard(primary, replicas, &[group.slots]).ok()?;
    }
    builder.epoch(before.epoch().0 + u64::from(changed));
    any.then(|| builder.build())
}

/// Asks the nodes of a group who they are, and those that they announce; `announced` says how such are
/// reached, or that they are not wanted.
async fn ask_group(
    candidates: Vec<HostPort>,
    seeds: &[HostPort],
    backend: &Backend,
    announced: Option<&HashMap<HostPort, HostPort>>,
) -> Heard {
    let mut asking = JoinSet::new();
    let mut asked = HashSet::new();
    let mut ask_too = |asking: &mut JoinSet<_>, address: HostPort| {
        if asked.len() < NODES_MAX && asked.insert(address.clone()) {
            let backend = backend.clone();
            asking.spawn(async move {
                let role = ask(&address, &backend).await;
                (address, role)
            });
        }
    };
    candidates.into_iter().for_each(|address| ask_too(&mut asking, address));
    let (mut heard, mut patience) = (Heard::default(), None);
    loop {
        // Once a primary has answered, those that hang are not waited for much longer.
        let joined = match patience {
            None => asking.join_next().await,
            Some(until) => timeout_at(until, asking.join_next()).await.unwrap_or(None),
        };
        let Some(joined) = joined else { break };
        match joined {
            Ok((address, Ok(role))) => {
                if role.is_primary {
                    patience.get_or_insert_with(|| Instant::now() + LATECOMERS);
                }
                if let Some(address_map) = announced {
                    for announced in role.replicas.iter().chain(&role.follows) {
                        let reached = address_map.get(announced).unwrap_or(announced);
                        ask_too(&mut asking, reached.clone());
                    }
                }
                heard.told.push(Told { address, role });
            }
            Ok((address, Err(error))) => heard.errors.push(format!("{address}: {error}")),
            Err(error) => heard.errors.push(error.to_string()),
        }
    }
    heard.told = one_address_each(heard.told, seeds);
    heard
}

/// Each run of a server once. One that is reached by several addresses keeps the one that the operator
/// wrote, or else the first by order, so that it is the same in each round.
fn one_address_each(mut told: Vec<Told>, seeds: &[HostPort]) -> Vec<Told> {
    let place = |node: &Told| seeds.iter().position(|seed| *seed == node.address).unwrap_or(usize::MAX);
    told.sort_by(|one, other| (place(one), &one.address).cmp(&(place(other), &other.address)));
    let mut seen = HashSet::new();
    told.retain(|node| node.role.run_id.is_none_or(|id| seen.insert(id)));
    told
}

/// The sentinels of a backend, and how to log in to them.
struct Sentinels {
    addresses: Vec<HostPort>,
    groups: Vec<String>,
    /// The backend as the sentinels are to be dialled: with their user and password.
    login: Backend,
}

impl Sentinels {
    fn of(backend: &Backend) -> Option<Sentinels> {
        let BackendKind::Sentinel(sentinel) = &backend.kind else { return None };
        let login = Backend {
            username: sentinel.username.clone(),
            password: sentinel.password.clone(),
            ..backend.clone()
        };
        Some(Sentinels { addresses: sentinel.sentinels.clone(), groups: sentinel.groups.clone(), login })
    }

    fn majority(&self) -> usize {
        self.addresses.len() / 2 + 1
    }

    /// What they tell of each group, in the order of the groups, and what went wrong.
    async fn ask(&self, address_map: &HashMap<HostPort, HostPort>) -> (Vec<Vec<View>>, Vec<String>) {
        let mut asking = JoinSet::new();
        for address in &self.addresses {
            let (address, login, groups) = (address.clone(), self.login.clone(), self.groups.clone());
            asking.spawn(async move {
                let told = ask_sentinel(&address, &login, &groups).await;
                (address, told)
            });
        }
        let mut views: Vec<Vec<View>> = vec![Vec::new(); self.groups.len()];
        let (mut errors, mut answered, mut patience) = (Vec::new(), 0, None);
        loop {
            // Once most have answered, those that hang are not waited for much longer.
            let joined = match patience {
                None => asking.join_next().await,
                Some(until) => timeout_at(until, asking.join_next()).await.unwrap_or(None),
            };
            let Some(joined) = joined else { break };
            match joined {
                Ok((address, Ok(told))) => {
                    answered += 1;
                    if answered >= self.majority() {
                        patience.get_or_insert_with(|| Instant::now() + LATECOMERS);
                    }
                    for (views, view) in views.iter_mut().zip(told) {
                        match view {
                            Ok(view) => views.push(view.mapped(address_map)),
                            Err(error) => errors.push(format!("{address}: {error}")),
                        }
                    }
                }
                Ok((address, Err(error))) => errors.push(format!("{address}: {error}")),
                Err(error) => errors.push(error.to_string()),
            }
        }
        (views, errors)
    }
}

/// What one sentinel tells of each group; one that it does not know is an error of its own.
async fn ask_sentinel(
    address: &HostPort,
    login: &Backend,
    groups: &[String],
) -> Result<Vec<Result<View, String>>, String> {
    let mut control = Control::connect(address, login).await?;
    let mut views = Vec::new();
    for group in groups {
        let address = control.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", group]).await?;
        if address == OwnedFrame::Null {
            views.push(Err(format!("it does not know the group {group}")));
            continue;
        }
        let primary = control.ask(&["SENTINEL", "MASTER", group]).await?;
        let replicas = match control.ask(&["SENTINEL", "REPLICAS", group]).await {
            Ok(replicas) => replicas,
            // Before Redis 5 it had another name.
            Err(_) => control.ask(&["SENTINEL", "SLAVES", group]).await?,
        };
        views.push(View::parse(&address, &primary, &replicas));
    }
    Ok(views)
}

async fn ask(address: &HostPort, backend: &Backend) -> Result<Role, String> {
    let mut control = Control::connect(address, backend).await?;
    let mut info = async |section| {
        let answer = control.ask(&["INFO", section]).await?;
        let answer = text(&answer).ok_or("INFO did not answer text")?;
        Ok::<_, String>(String::from_utf8_lossy(answer).into_owned())
    };
    let (server, replication) = (info("server").await?, info("replication").await?);
    let mut role = Role::parse(&server, &replication)?;
    match role.mode.as_str() {
        "cluster" => return Err("it runs in cluster mode; configure this backend as cluster".to_owned()),
        "sentinel" => return Err("it is a sentinel; configure this backend as sentinel".to_owned()),
        _ => {}
    }
    if role.is_primary {
        // Not every user may ask; then `databases_max` alone decides.
        role.databases = control.ask(&["CONFIG", "GET", "databases"]).await.ok().as_ref().and_then(databases);
    }
    Ok(role)
}

fn databases(answer: &OwnedFrame) -> Option<u16> {
    let OwnedFrame::Array(pair) = answer else { return None };
    let value = std::str::from_utf8(text(pair.get(1)?)?).ok()?;
    Some(u16::try_from(value.parse::<u32>().ok()?).unwrap_or(u16::MAX))
}

#[cfg(test)]
#[path = "groups_tests.rs"]
mod tests;
