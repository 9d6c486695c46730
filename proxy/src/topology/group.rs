//! Which node of a group without cluster mode is its primary. Pure: what the nodes said in, a choice out.
//!
//! Nothing but the nodes themselves tells here, and two may claim it: the old primary came back before
//! anybody made it a replica, or somebody promoted a replica by hand while its primary lived on. Then
//!
//! 1. one whose history was continued by the other is the older one and does not count;
//! 2. the one that more replicas follow counts,
//! 3. then the one that the proxy uses already,
//! 4. then the one that is further in its history.
//!
//! "A topology never goes back" means here: once a primary is in use, another node is believed only if it
//! continues the history of the one in use, or that one says itself that it is a replica, or has fewer
//! replicas, or has not answered for [`SILENCE`]: a script that blocks it or a slow fork must not look like
//! its end, however often it is asked meanwhile. So an old primary that comes back, with or
//! without its data, does not take over while the new one is there. The one that the new one was promoted
//! from never does while that one is silent: it is known to be older. A node that says that it is a
//! replica is never a primary.

use super::role::Role;
use pointsman_protocol::HostPort;
use std::cmp::Reverse;
use std::time::Duration;
use tokio::time::Instant;

/// How long a primary in use must be silent before a node that knows nothing of its history is believed.
pub const SILENCE: Duration = Duration::from_secs(10);

/// What a node said, and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Where it is reached.
    pub address: HostPort,
    /// What it said.
    pub role: Role,
}

/// The primary in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InUse {
    /// Where it is reached.
    pub address: HostPort,
    /// Its history when it was last heard.
    pub history: String,
    /// The history that its own one goes on from, if it was a replica before.
    pub before: Option<String>,
    /// When it last answered.
    pub heard: Instant,
}

/// Whom to believe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice<'a> {
    /// This node is the primary.
    Primary(&'a Told),
    /// This node says so, and is not believed yet.
    Doubtful(&'a Told),
    /// This node says so, and the one in use, which is silent, was promoted from it.
    Outdated(&'a Told),
    /// No node says so.
    Nobody,
}

/// Chooses among the nodes that answered.
pub fn choose<'a>(told: &'a [Told], in_use: Option<&InUse>, now: Instant) -> Choice<'a> {
    let claims = || told.iter().filter(|node| node.role.is_primary && !is_superseded(told, node));
    let is_used = |node: &Told| in_use.is_some_and(|in_use| in_use.address == node.address);
    let rank =
        |node: &'a Told| (followers(told, node), is_used(node), node.role.offset, Reverse(&node.address));
    let best = |claims: &mut dyn Iterator<Item = &'a Told>| claims.max_by_key(|node| rank(node));
    let mut believed =
        claims().filter(|node| in_use.is_none_or(|in_use| is_believed(told, node, in_use, now)));
    match (best(&mut believed), best(&mut claims()), in_use) {
        (Some(best), ..) => Choice::Primary(best),
        (None, Some(best), Some(in_use)) if is_outdated(best, in_use) => Choice::Outdated(best),
        (None, Some(best), _) => Choice::Doubtful(best),
        (None, None, _) => Choice::Nobody,
    }
}

/// True if the primary in use was promoted from this one.
fn is_outdated(claim: &Told, in_use: &InUse) -> bool {
    in_use.before.as_ref() == Some(&claim.role.history)
}

fn is_believed(told: &[Told], claim: &Told, in_use: &InUse, now: Instant) -> bool {
    let continues = claim.role.history == in_use.history
        || claim.role.before.as_ref().is_some_and(|before| *before == in_use.history);
    let used = told.iter().find(|node| node.address == in_use.address);
    claim.address == in_use.address
        || continues
        || match used {
            Some(used) => !used.role.is_primary || followers(told, claim) > followers(told, used),
            None => !is_outdated(claim, in_use) && now.saturating_duration_since(in_use.heard) >= SILENCE,
        }
}

/// True if another node says that it is a primary and went on from this one's history.
pub(super) fn is_superseded(told: &[Told], node: &Told) -> bool {
    !node.role.history.is_empty()
        && told
            .iter()
            .any(|other| other.role.is_primary && other.role.before.as_ref() == Some(&node.role.history))
}

/// How many nodes follow this one: linked, and with its history.
pub(super) fn followers(told: &[Told], primary: &Told) -> usize {
    told.iter()
        .filter(|node| {
            !node.role.is_primary && node.role.link_up && node.role.history == primary.role.history
        })
        .count()
}

/// The nodes that have the primary's data, or will: replicas with its history.
pub fn replicas<'a>(told: &'a [Told], primary: &Told) -> Vec<&'a Told> {
    told.iter()
        .filter(|node| {
            !node.role.is_primary
                && node.role.history == primary.role.history
                && node.address != primary.address
        })
        .collect()
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
