//! What to do when an attempt came to nothing: one pure function, a row of the table each arm.
//!
//! The rule behind the table: what provably was not executed may be sent again, be it a write; what
//! may have been executed is sent again only if it is a read. A write of unknown fate is never sent
//! twice.

use super::failure::FailureKind;
use std::time::Duration;

/// How an attempt ended without a usable answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The node says: elsewhere, for good.
    Moved,
    /// The node says: elsewhere, this time.
    Ask,
    /// Keys on both sides of a migration.
    TryAgain,
    /// The cluster or the slot is down; also: our own map has a hole here.
    ClusterDown,
    /// The node is loading.
    Loading,
    /// A replica without its primary.
    MasterDown,
    /// A replica got a write.
    ReadOnly,
    /// The backend wants or refuses credentials.
    Auth,
    /// The node does not have the script, and the proxy does.
    NoScript,
    /// Connect refused, handshake failed, or the connection broke before a byte of it was sent.
    NotSent,
    /// The connection broke after (some of) it was sent.
    LostAfterSend,
}

impl Cause {
    /// The label of the metric that counts it.
    pub fn label(self) -> &'static str {
        match self {
            Cause::Moved => "moved",
            Cause::Ask => "ask",
            Cause::TryAgain => "tryagain",
            Cause::ClusterDown => "clusterdown",
            Cause::Loading => "loading",
            Cause::MasterDown => "masterdown",
            Cause::ReadOnly => "readonly",
            Cause::Auth => "auth",
            Cause::NoScript => "noscript",
            Cause::NotSent => "not_sent",
            Cause::LostAfterSend => "lost",
        }
    }

    /// All of them, for tables.
    pub const ALL: [Cause; 11] = [
        Cause::Moved,
        Cause::Ask,
        Cause::TryAgain,
        Cause::ClusterDown,
        Cause::Loading,
        Cause::MasterDown,
        Cause::ReadOnly,
        Cause::Auth,
        Cause::NoScript,
        Cause::NotSent,
        Cause::LostAfterSend,
    ];
}

/// What is known about the request whose attempt failed.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// It may change data.
    pub is_write: bool,
    /// Redirects followed so far, this one not counted.
    pub redirects: u8,
    /// Attempts that failed so far, this one not counted.
    pub attempts: u8,
    /// It waits for a primary, whatever the number of attempts.
    pub waits: bool,
    /// Time until its deadline; zero when it has passed.
    pub time_left: Duration,
}

/// The bounds of `retry:` in the configuration.
#[derive(Clone, Copy, Debug)]
pub struct RetryLimits {
    /// Redirects followed at once; beyond, each costs a backoff and an attempt.
    pub redirects_max: u8,
    /// Attempts in all.
    pub attempts_max: u8,
    /// First backoff; doubles with each attempt.
    pub backoff: Duration,
    /// Longest backoff.
    pub backoff_max: Duration,
}

impl RetryLimits {
    /// How many redirects a request has followed, as its next attempt counts them: a wait buys one more. Without
    /// it a request with keys on both sides of a migration, sent to and fro between ASK and TRYAGAIN, would use up its
    /// redirects and not be sent to the new owner even when that has all of them.
    pub fn redirects_after_a_wait(&self, redirects: u8) -> u8 {
        redirects.min(self.redirects_max.saturating_sub(1))
    }
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send to the node that the redirect names, now.
    Resend {
        /// With ASKING in front.
        asking: bool,
    },
    /// Plan again from the newest snapshot, after this long.
    PlanAgain {
        /// How long to wait.
        after: Duration,
    },
    /// Tell the client.
    Give(FailureKind),
}

/// What the topology should hear of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Nothing.
    None,
    /// This slot has moved: correct the map at once, then refresh.
    SlotMoved,
    /// The map may be wrong: refresh.
    Refresh,
}

/// The retry table. `jitter` is a random number; it spreads waits over [1/2, 1] of the backoff.
#[cold]
pub fn decide(cause: Cause, facts: &Facts, limits: &RetryLimits, jitter: u32) -> (Verdict, Hint) {
    let wait = backoff(facts.attempts, limits, jitter);
    // Each arm: what the cause allows while there is budget, and what the topology hears.
    let again = Verdict::PlanAgain { after: wait };
    let (verdict, hint) = match cause {
        Cause::Moved if facts.redirects < limits.redirects_max => {
            (Verdict::Resend { asking: false }, Hint::SlotMoved)
        }
        Cause::Ask if facts.redirects < limits.redirects_max => {
            (Verdict::Resend { asking: true }, Hint::None)
        }
        // With its text in place of its digest.
        Cause::NoScript if facts.redirects < limits.redirects_max => {
            (Verdict::Resend { asking: false }, Hint::None)
        }
        Cause::NoScript => (Verdict::Give(exhausted(cause, facts.is_write)), Hint::None),
        // Past the hop cap, redirects point in a circle: give the shards time to agree, and go where the last one
        // pointed.
        Cause::Moved => (again, Hint::SlotMoved),
        Cause::Ask => (again, Hint::Refresh),
        Cause::TryAgain => (again, Hint::None),
        Cause::ClusterDown | Cause::Loading | Cause::MasterDown | Cause::ReadOnly | Cause::NotSent => {
            (again, Hint::Refresh)
        }
        // Trying again cannot help before an operator does.
        Cause::Auth => (Verdict::Give(exhausted(cause, facts.is_write)), Hint::None),
        Cause::LostAfterSend if facts.is_write => (Verdict::Give(exhausted(cause, true)), Hint::Refresh),
        // The first repetition of a read costs nothing to try at once: another connection may be up.
        Cause::LostAfterSend if facts.attempts == 0 => {
            (Verdict::PlanAgain { after: Duration::ZERO }, Hint::Refresh)
        }
        Cause::LostAfterSend => (again, Hint::Refresh),
    };
    let spent = facts.attempts.saturating_add(1) >= limits.attempts_max && !facts.waits;
    let give = Verdict::Give(exhausted(cause, facts.is_write));
    let verdict = match verdict {
        Verdict::PlanAgain { .. } if spent => give,
        Verdict::PlanAgain { after } if after >= facts.time_left => give,
        Verdict::Resend { .. } if facts.time_left.is_zero() => give,
        verdict => verdict,
    };
    (verdict, hint)
}

/// What a client is told when no further attempt is made after this cause.
pub fn exhausted(cause: Cause, is_write: bool) -> FailureKind {
    match cause {
        Cause::Moved | Cause::Ask => FailureKind::TooManyRedirects,
        Cause::TryAgain => FailureKind::StillMigrating,
        Cause::ClusterDown => FailureKind::SlotUnserved,
        Cause::Loading => FailureKind::StillLoading,
        Cause::MasterDown | Cause::ReadOnly => FailureKind::NoPrimary,
        Cause::Auth => FailureKind::BackendAuth,
        Cause::NoScript => FailureKind::NoScript,
        Cause::NotSent => FailureKind::Unreachable,
        Cause::LostAfterSend if is_write => FailureKind::WriteUnknown,
        Cause::LostAfterSend => FailureKind::ReadLost,
    }
}

/// Doubles from `backoff` to `backoff_max`, then takes a part in [1/2, 1] of it by `jitter`.
pub fn backoff(attempts: u8, limits: &RetryLimits, jitter: u32) -> Duration {
    let full = limits.backoff.saturating_mul(1 << attempts.min(20)).min(limits.backoff_max);
    full / 2 + Duration::from_nanos((full.as_nanos() as u64 / 2).saturating_mul(u64::from(jitter)) >> 32)
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
