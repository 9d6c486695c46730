//! Keeps the published view true where nodes have no cluster mode: asks the nodes of each group who they
//! are, when something hints that it changed and now and then anyway.
//!
//! A group is a primary with its replicas; it owns a part of the slots that never changes. Who of it is
//! the primary is judged in [`super::group`], or where there are sentinels, asked of them and verified
//! ([`super::sentinel`]); where nobody can be believed, what is published stays. No slot of a group ever
//! goes to another: a group without a primary is a part of the keys that cannot be reached. Nor is one node
//! ever the primary of two groups: a command for all of them would be executed twice there. The
//! epoch of such a view is a counter of our own: it rises whenever another node, or another run of the
//! same one, becomes a primary.

use super::asking::Asking;
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
use tokio::time::{Instant, sleep_until, timeout};

/// Nodes of one group that are asked, those that others announce included.
const NODES_MAX: usize = 64;
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
    /// The worst that was complained of, and not taken back yet.
    complained: Option<Complaint>,
    /// The group whose primary this one was refused, as long as that lasts.
    conflict: Option<String>,
}

/// What is wrong with a group, from bad to worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Complaint {
    /// Several claim it; one is believed.
    Several,
    /// Nobody is believed.
    Nobody,
    /// Only one claims it that is known to be older.
    Outdated,
}

/// The primaries of the other groups, by the groups' names.
type Taken = [(String, Node)];

/// A primary and its replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Members {
    primary: Node,
    replicas: Vec<Node>,
}

/// What one group's nodes said in one round.
#[derive(Debug)]
struct Heard {
    told: Vec<Told>,
    errors: Vec<String>,
    /// When that was.
    at: Instant,
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
            complained: None,
            conflict: None,
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
    fn learn_named(
        &mut self,
        heard: &Heard,
        chosen: &Chosen,
        majority: bool,
        taken: &Taken,
        backend: &str,
    ) -> bool {
        match sentinel::judge(&heard.told, chosen, majority) {
            Ok(primary) => self.take_over(primary, heard, None, taken, backend),
            Err(why) => self.doubt(Complaint::Nobody, why, &heard.errors, backend),
        }
    }

    /// Nobody is believed: what is published stays.
    fn doubt(&mut self, kind: Complaint, why: String, errors: &[String], backend: &str) -> bool {
        let errors = errors.join("; ");
        let why = if errors.is_empty() { why } else { format!("{why}: {errors}") };
        self.tell(Some((kind, why)), backend);
        false
    }

    /// Uses this primary, unless it is another group's. True if it does.
    fn take_over(
        &mut self,
        primary: &Told,
        heard: &Heard,
        complaint: Option<String>,
        taken: &Taken,
        backend: &str,
    ) -> bool {
        let found = node(primary);
        if let Some((other, _)) = taken.iter().find(|(_, theirs)| is_same(theirs, &found)) {
            if self.conflict.as_ref() != Some(other) {
                tracing::error!(
                    backend,
                    group = self.name,
                    "{} is the primary of {other} already and cannot be that of {}, too: both would write into one \
                     server; give {} nodes that replicate nothing of {other}, or remove it",
                    primary.address,
                    self.name,
                    self.name
                );
                self.conflict = Some(other.clone());
            }
            return false;
        }
        self.conflict = None;
        self.in_use = Some(InUse {
            address: primary.address.clone(),
            history: primary.role.history.clone(),
            before: primary.role.before.clone(),
            heard: heard.at,
        });
        let replicas = group::replicas(&heard.told, primary).into_iter().map(node).collect();
        self.view = Some(Members { primary: found, replicas });
        self.tell(complaint.map(|what| (Complaint::Several, what)), backend);
        true
    }

    /// Complains once, and again if it becomes worse; takes it back once.
    fn tell(&mut self, complaint: Option<(Complaint, String)>, backend: &str) {
        match complaint {
            Some((kind, what)) if Some(kind) > self.complained => {
                tracing::warn!(backend, group = self.name, "{what}");
                self.complained = Some(kind);
            }
            None if self.complained.take().is_some() => {
                tracing::info!(backend, group = self.name, "there is a primary");
            }
            _ => {}
        }
    }

    /// Judges what was heard. True if a primary is believed and answers.
    fn learn(&mut self, heard: &Heard, taken: &Taken, backend: &str) -> bool {
        if let Some(in_use) = &mut self.in_use
            && heard.told.iter().any(|node| node.address == in_use.address)
        {
            in_use.heard = heard.at;
        }
        let claims = heard.told.iter().filter(|node| node.role.is_primary).count();
        match group::choose(&heard.told, self.in_use.as_ref(), heard.at) {
            Choice::Primary(primary) => {
                let several = (claims > 1).then(|| {
                    format!("{claims} nodes say that they are the primary; {} is used", primary.address)
                });
                self.take_over(primary, heard, several, taken, backend)
            }
            Choice::Doubtful(node) => {
                let in_use =
                    self.in_use.as_ref().map(|in_use| in_use.address.to_string()).unwrap_or_default();
                let why = format!(
                    "{} says that it is the primary, but has nothing of {in_use}, which is in use; waiting for that one",
                    node.address
                );
                self.doubt(Complaint::Nobody, why, &[], backend)
            }
            Choice::Outdated(node) => {
                let in_use =
                    self.in_use.as_ref().map(|in_use| in_use.address.to_string()).unwrap_or_default();
                let why = format!(
                    "{} says that it is the primary, but {in_use}, which is in use and does not answer, was promoted \
                     from it; if {in_use} is gone for good, restart the proxy to use {} and do without what was \
                     written since",
                    node.address, node.address
                );
                self.doubt(Complaint::Outdated, why, &[], backend)
            }
            Choice::Nobody => self.doubt(
                Complaint::Nobody,
                "no node says that it is the primary".to_owned(),
                &heard.errors,
                backend,
            ),
        }
    }
}

/// True if both are one server: the same run of it, or where that is not told, the same address.
fn is_same(one: &Node, other: &Node) -> bool {
    match (one.id, other.id) {
        (Some(one), Some(other)) => one == other,
        _ => one.address == other.address,
    }
}

/// The primaries of all groups but this one.
fn taken(groups: &[Group], but: usize) -> Vec<(String, Node)> {
    let others = groups.iter().enumerate().filter(|(index, _)| *index != but);
    others.filter_map(|(_, group)| Some((group.name.clone(), group.view.as_ref()?.primary.clone()))).collect()
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
            Some(sentinels) => Some((sentinels.ask(address_map.clone()).await, sentinels.majority())),
            None => None,
        };
        for (index, group) in groups.iter_mut().enumerate() {
            let candidates = match &told {
                None => group.candidates(),
                Some(((views, errors), majority)) => {
                    let views = views.get(index).map(Vec::as_slice).unwrap_or_default();
                    match group.hear_sentinels(views, *majority) {
                        Err(why) => {
                            sure = group.doubt(Complaint::Nobody, why, errors, &backend.name);
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
            asking.spawn(async move { (index, ask_group(candidates, seeds, backend, announced).await) });
        }
        let mut all_heard = Vec::new();
        while let Some(joined) = asking.join_next().await {
            let Ok((index, heard)) = joined else { continue };
            all_heard.push((index, heard));
        }
        // Two groups may hear of one primary: whose the operator wrote it down for, has it.
        let is_own = |group: &Group, heard: &Heard| {
            heard.told.iter().any(|node| node.role.is_primary && group.seeds.contains(&node.address))
        };
        all_heard.sort_by_key(|(index, heard)| {
            (!groups.get(*index).is_some_and(|group| is_own(group, heard)), *index)
        });
        for (index, heard) in all_heard {
            let taken = taken(&groups, index);
            let Some(group) = groups.get_mut(index) else { continue };
            sure &= match named.get(&index) {
                Some((chosen, majority)) => {
                    group.learn_named(&heard, chosen, *majority, &taken, &backend.name)
                }
                None => group.learn(&heard, &taken, &backend.name),
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
    seeds: Vec<HostPort>,
    backend: Backend,
    announced: Option<Arc<HashMap<HostPort, HostPort>>>,
) -> Heard {
    let mut asking = Asking::default();
    let mut asked = HashSet::new();
    let mut ask_too = |asking: &mut Asking<_>, address: HostPort| {
        if asked.len() < NODES_MAX && asked.insert(address.clone()) {
            let backend = backend.clone();
            asking.ask(async move {
                let role = ask(&address, &backend).await;
                (address, role)
            });
        }
    };
    candidates.into_iter().for_each(|address| ask_too(&mut asking, address));
    let (mut told, mut errors) = (Vec::new(), Vec::new());
    while let Some(joined) = asking.answer().await {
        match joined {
            Ok((address, Ok(role))) => {
                if role.is_primary {
                    asking.enough();
                }
                if let Some(address_map) = &announced {
                    for announced in role.replicas.iter().chain(&role.follows) {
                        let reached = address_map.get(announced).unwrap_or(announced);
                        ask_too(&mut asking, reached.clone());
                    }
                }
                told.push(Told { address, role });
            }
            Ok((address, Err(error))) => errors.push(format!("{address}: {error}")),
            Err(error) => errors.push(error.to_string()),
        }
    }
    Heard { told: one_address_each(told, &seeds), errors, at: Instant::now() }
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
    async fn ask(&self, address_map: Arc<HashMap<HostPort, HostPort>>) -> (Vec<Vec<View>>, Vec<String>) {
        let mut asking = Asking::default();
        for address in &self.addresses {
            let (address, login, groups) = (address.clone(), self.login.clone(), self.groups.clone());
            asking.ask(async move {
                let told = ask_sentinel(&address, &login, &groups).await;
                (address, told)
            });
        }
        let mut views: Vec<Vec<View>> = vec![Vec::new(); self.groups.len()];
        let (mut errors, mut answered) = (Vec::new(), 0);
        while let Some(joined) = asking.answer().await {
            match joined {
                Ok((address, Ok(told))) => {
                    answered += 1;
                    if answered >= self.majority() {
                        asking.enough();
                    }
                    for (views, view) in views.iter_mut().zip(told) {
                        match view {
                            Ok(view) => views.push(view.mapped(&address_map)),
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
        let replicas = match control.try_ask(&["SENTINEL", "REPLICAS", group]).await? {
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
