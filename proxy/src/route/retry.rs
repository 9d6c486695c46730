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
            Cause::NotSent => "not_sent",
            Cause::LostAfterSend => "lost",
        }
    }

    /// All of them, for tables.
    pub const ALL: [Cause; 10] = [
        Cause::Moved,
        Cause::Ask,
        Cause::TryAgain,
        Cause::ClusterDown,
        Cause::Loading,
        Cause::MasterDown,
        Cause::ReadOnly,
        Cause::Auth,
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
    /// Time until its deadline; zero when it has passed.
    pub time_left: Duration,
}

/// The bounds of `retry:` in the configuration.
#[derive(Clone, Copy, Debug)]
pub struct RetryLimits {
    /// Redirects followed at once; beyond, each costs a backoff.
    pub redirects_max: u8,
    /// Attempts in all.
    pub attempts_max: u8,
    /// First backoff; doubles with each attempt.
    pub backoff: Duration,
    /// Longest backoff.
    pub backoff_max: Duration,
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
    // Each arm: what the cause allows while there is budget, what the topology hears, what the
    // client is told once there is none.
    let (verdict, hint, otherwise) = match cause {
        // Past the hop cap, redirects point in a circle: give the shards time to agree.
        Cause::Moved if facts.redirects < limits.redirects_max => {
            (Verdict::Resend { asking: false }, Hint::SlotMoved, FailureKind::TooManyRedirects)
        }
        Cause::Moved => (Verdict::PlanAgain { after: wait }, Hint::Refresh, FailureKind::TooManyRedirects),
        Cause::Ask if facts.redirects < limits.redirects_max => {
            (Verdict::Resend { asking: true }, Hint::None, FailureKind::TooManyRedirects)
        }
        Cause::Ask => (Verdict::PlanAgain { after: wait }, Hint::Refresh, FailureKind::TooManyRedirects),
        Cause::TryAgain => (Verdict::PlanAgain { after: wait }, Hint::None, FailureKind::StillMigrating),
        Cause::ClusterDown => (Verdict::PlanAgain { after: wait }, Hint::Refresh, FailureKind::SlotUnserved),
        Cause::Loading => (Verdict::PlanAgain { after: wait }, Hint::Refresh, FailureKind::StillLoading),
        Cause::MasterDown | Cause::ReadOnly => {
            (Verdict::PlanAgain { after: wait }, Hint::Refresh, FailureKind::NoPrimary)
        }
        // Trying again cannot help before an operator does.
        Cause::Auth => (Verdict::Give(FailureKind::BackendAuth), Hint::None, FailureKind::BackendAuth),
        Cause::NotSent => (Verdict::PlanAgain { after: wait }, Hint::Refresh, FailureKind::Unreachable),
        Cause::LostAfterSend if facts.is_write => {
            (Verdict::Give(FailureKind::WriteUnknown), Hint::Refresh, FailureKind::WriteUnknown)
        }
        // The first repetition of a read costs nothing to try at once: another connection may be up.
        Cause::LostAfterSend => {
            let after = if facts.attempts == 0 { Duration::ZERO } else { wait };
            (Verdict::PlanAgain { after }, Hint::Refresh, FailureKind::ReadLost)
        }
    };
    let spent = facts.attempts.saturating_add(1) >= limits.attempts_max;
    let verdict = match verdict {
        Verdict::PlanAgain { .. } if spent => Verdict::Give(otherwise),
        Verdict::PlanAgain { after } if after >= facts.time_left => Verdict::Give(otherwise),
        Verdict::Resend { .. } if facts.time_left.is_zero() => Verdict::Give(otherwise),
        verdict => verdict,
    };
    (verdict, hint)
}

/// Doubles from `backoff` to `backoff_max`, then takes a part in [1/2, 1] of it by `jitter`.
pub fn backoff(attempts: u8, limits: &RetryLimits, jitter: u32) -> Duration {
    let full = limits.backoff.saturating_mul(1 << attempts.min(20)).min(limits.backoff_max);
    full / 2 + Duration::from_nanos((full.as_nanos() as u64 / 2).saturating_mul(u64::from(jitter)) >> 32)
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
