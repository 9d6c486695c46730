//! The one table from "it cannot be done" to the text a client reads.
//!
//! A text never lies about its cause, and never names a backend's address: clients that do not ask
//! for cluster mode must not learn what is behind the proxy. The operator finds the node in the log
//! and in `/topology`.

use crate::health::breaker::Trouble;
use pointsman_protocol::Slot;
use std::fmt;

/// Why a request got no answer from a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// No primary could be reached; nothing was sent.
    Unreachable,
    /// The connection broke after a read was sent, on every attempt.
    ReadLost,
    /// The connection broke after a write was sent: it may or may not have been executed.
    WriteUnknown,
    /// No answer to a read within the deadline.
    ReadTimeout,
    /// No answer to a write within the deadline: it may or may not be executed.
    WriteTimeout,
    /// The deadline passed before the request could be sent.
    NotSentInTime,
    /// The slot has no owner.
    SlotUnserved,
    /// Redirects kept pointing elsewhere.
    TooManyRedirects,
    /// The slot is in migration and stayed so.
    StillMigrating,
    /// The node keeps loading its data.
    StillLoading,
    /// The replica keeps refusing without its primary, or the primary keeps being a replica.
    NoPrimary,
    /// The backend did not accept the proxy's credentials.
    BackendAuth,
    /// The node does not have the script; it was not executed.
    NoScript,
    /// The shard has no primary, and too many requests wait for one already.
    HoldFull,
    /// The node is in trouble and nothing is sent to it for now.
    ShutOut {
        /// What is wrong with it.
        trouble: Trouble,
        /// When it is tried again, in milliseconds from now.
        again_ms: u32,
    },
    /// Too much is waiting for this backend already.
    Overloaded,
    /// Too many clients hold a connection of their own.
    TooManyPins,
    /// The node does not let the proxy's user execute transactions.
    NoTransactions,
    /// The reply is larger than `reply_bytes_max`.
    ReplyTooLarge,
}

/// One failure, ready to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What went wrong.
    pub kind: FailureKind,
    /// The slot it went wrong for, if the request had one.
    pub slot: Option<Slot>,
}

impl Failure {
    /// The label of the metric that counts it.
    pub fn label(&self) -> &'static str {
        match self.kind {
            FailureKind::Unreachable => "unreachable",
            FailureKind::ReadLost => "read_lost",
            FailureKind::WriteUnknown => "write_unknown",
            FailureKind::ReadTimeout => "read_timeout",
            FailureKind::WriteTimeout => "write_timeout",
            FailureKind::NotSentInTime => "not_sent_in_time",
            FailureKind::SlotUnserved => "slot_unserved",
            FailureKind::TooManyRedirects => "too_many_redirects",
            FailureKind::StillMigrating => "still_migrating",
            FailureKind::StillLoading => "still_loading",
            FailureKind::NoPrimary => "no_primary",
            FailureKind::BackendAuth => "backend_auth",
            FailureKind::NoScript => "no_script",
            FailureKind::ShutOut { .. } => "shut_out",
            FailureKind::HoldFull => "hold_full",
            FailureKind::Overloaded => "overloaded",
            FailureKind::TooManyPins => "too_many_pins",
            FailureKind::NoTransactions => "no_transactions",
            FailureKind::ReplyTooLarge => "reply_too_large",
        }
    }

    /// Appends the error reply.
    pub fn write(&self, out: &mut Vec<u8>) {
        pointsman_protocol::resp::encode::error(out, &self.to_string());
    }
}

impl fmt::Display for Failure {
    // The codes in front are Redis' own where client libraries react to them: CLUSTERDOWN, TRYAGAIN
    // and LOADING tell a client that trying again later is safe.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let FailureKind::ShutOut { trouble, again_ms } = self.kind {
            let wrong = match trouble {
                Trouble::Silent => "does not answer",
                Trouble::Unreachable => "cannot be reached",
                Trouble::Refusing => "says that it cannot serve",
                Trouble::Full => "is overloaded",
            };
            write!(
                f,
                "ERR the shard {wrong}; the command was not sent and may be retried; the shard is tried again in {again_ms} ms"
            )?;
        }
        f.write_str(match self.kind {
            FailureKind::ShutOut { .. } => "",
            FailureKind::Unreachable => "ERR the shard cannot be reached; the command was not sent and may be retried",
            FailureKind::ReadLost => "ERR the connection to the shard was lost before it answered; the read may be retried",
            FailureKind::WriteUnknown => {
                "ERR the connection to the shard was lost after the command was sent; it may or may not have been executed"
            }
            FailureKind::ReadTimeout => "ERR the shard did not answer within the request timeout; the read may be retried",
            FailureKind::WriteTimeout => {
                "ERR the shard did not answer within the request timeout; the command may or may not be executed"
            }
            FailureKind::NotSentInTime => {
                "ERR the request timeout passed before the command could be sent; it was not executed and may be retried"
            }
            FailureKind::SlotUnserved => "CLUSTERDOWN Hash slot not served",
            FailureKind::TooManyRedirects => {
                "CLUSTERDOWN the shards do not agree on who serves this slot; the command was not executed"
            }
            FailureKind::StillMigrating => "TRYAGAIN Multiple keys request during rehashing of slot",
            FailureKind::StillLoading => "LOADING the shard is loading its data set in memory; the command was not executed",
            FailureKind::NoPrimary => "CLUSTERDOWN the shard has no primary right now; the command was not executed",
            FailureKind::BackendAuth => {
                "ERR the shard refused the proxy's own credentials; its operator must correct the backend's username or password"
            }
            FailureKind::NoScript => "NOSCRIPT No matching script. Please use EVAL.",
            FailureKind::HoldFull => {
                "ERR the shard has no primary right now, and too many requests wait for one already; the command was not executed"
            }
            FailureKind::Overloaded => {
                "ERR the proxy is overloaded: too many requests wait for this shard; the command was not sent"
            }
            FailureKind::TooManyPins => {
                "ERR the proxy is overloaded: too many clients watch keys or wait in blocking commands (pool.max_active); the command was not sent"
            }
            FailureKind::NoTransactions => {
                "EXECABORT Transaction discarded because the shard does not let the proxy's own user say MULTI and EXEC; its operator must allow both"
            }
            FailureKind::ReplyTooLarge => "ERR the shard's reply is larger than reply_bytes_max allows",
        })?;
        match self.slot {
            // The texts that clients know stay as they are.
            Some(slot)
                if !matches!(
                    self.kind,
                    FailureKind::SlotUnserved | FailureKind::StillMigrating | FailureKind::NoScript
                ) =>
            {
                write!(f, " (slot {slot})")
            }
            _ => Ok(()),
        }
    }
}
