//! The effect log: what commands did, as commands that do it again, in one order.
//!
//! A handler stages the effects of its command, each for one key; when the command is done they are
//! committed together: as they are if it is one, between MULTI and EXEC if there are several, so that
//! nobody who follows the log sees half a command. The offset in bytes is the log's sequence number.
//!
//! Followers of two kinds are fed. One that streams reads the backlog at its own offset. One that is
//! being copied gets an effect only if the copy has passed the effect's key already; all others will
//! find the effect in the value that is copied later.
//!
//! While nobody follows and nobody ever has, nothing is written at all.

use super::backlog::Backlog;
use crate::NodeLimits;
use crate::keyspace::Cursor;
use pointsman_protocol::NodeId;
use pointsman_protocol::resp::encode;
use std::rc::Rc;
use tokio::sync::Notify;

const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

/// How far a follower is.
#[derive(Debug)]
pub enum Phase {
    /// Being copied: keys before the cursor have been sent, but for `pending`, and `out` waits to be.
    Copying {
        /// How far the copy is. Effects on keys before it are passed on.
        cursor: Cursor,
        /// Keys before the cursor whose values are still to be sent. Whatever is passed on of them until
        /// then is made good by that.
        pending: Vec<Box<[u8]>>,
        /// Commands not yet sent.
        out: Vec<u8>,
    },
    /// Reads the backlog.
    Streaming {
        /// The offset up to which the stream has been handed to the socket.
        sent: u64,
    },
}

/// Someone who follows the log.
#[derive(Debug)]
pub struct Follower {
    /// Names it among the followers.
    pub id: u64,
    /// Its host, as this node sees it.
    pub host: String,
    /// The port it listens on.
    pub port: u16,
    /// How far it is.
    pub phase: Phase,
    /// The offset it has last acknowledged.
    pub acked: u64,
    /// When it did so, in milliseconds since 1970.
    pub acked_ms: u64,
    /// True once more waits for it than it may hold up: its link must be cut.
    pub overrun: bool,
    /// Wakes its feeder.
    pub wake: Rc<Notify>,
}

#[derive(Debug)]
struct Part {
    /// Where the effect's key belongs; `None` for effects on everything.
    cursor: Option<Cursor>,
    end: usize,
}

/// See the module.
#[derive(Debug)]
pub struct EffectLog {
    active: bool,
    replication_id: NodeId,
    backlog: Backlog,
    backlog_bytes: usize,
    waiting_bytes_max: usize,
    staged: Vec<u8>,
    parts: Vec<Part>,
    followers: Vec<Follower>,
}

impl EffectLog {
    /// An empty log.
    pub fn new(replication_id: NodeId, limits: &NodeLimits) -> EffectLog {
        EffectLog {
            active: false,
            replication_id,
            backlog: Backlog::default(),
            backlog_bytes: limits.backlog_bytes,
            waiting_bytes_max: limits.replica_output_bytes_max,
            staged: Vec::new(),
            parts: Vec::new(),
            followers: Vec::new(),
        }
    }

    /// The id under which this log's offsets mean anything.
    pub fn replication_id(&self) -> NodeId {
        self.replication_id
    }

    /// True if effects are being written.
    #[inline]
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// The offset behind the last committed effect.
    pub fn offset(&self) -> u64 {
        self.backlog.end()
    }

    /// The bytes that can be read again.
    pub fn backlog(&self) -> &Backlog {
        &self.backlog
    }

    /// Most bytes that may wait for one follower.
    pub fn waiting_bytes_max(&self) -> usize {
        self.waiting_bytes_max
    }

    /// Adds one effect of the command that is running: `write` appends a request.
    #[inline]
    pub fn stage(&mut self, cursor: Option<Cursor>, write: impl FnOnce(&mut Vec<u8>)) {
        if self.active {
            write(&mut self.staged);
            self.parts.push(Part { cursor, end: self.staged.len() });
        }
    }

    /// Ends the command that is running. True if it had an effect.
    #[inline]
    pub fn commit(&mut self) -> bool {
        if self.parts.is_empty() {
            return false;
        }
        self.append();
        true
    }

    /// Forgets what the running command has staged.
    pub fn discard(&mut self) {
        self.staged.clear();
        self.parts.clear();
    }

    /// Wakes the feeders; once per batch.
    pub fn wake_followers(&self) {
        for follower in &self.followers {
            follower.wake.notify_one();
        }
    }

    /// Adds a follower; from now on effects are written.
    pub fn follow(&mut self, follower: Follower) {
        self.active = true;
        self.followers.push(follower);
    }

    /// Removes a follower.
    pub fn unfollow(&mut self, id: u64) {
        self.followers.retain(|follower| follower.id != id);
    }

    /// All followers.
    pub fn followers(&self) -> &[Follower] {
        &self.followers
    }

    /// One follower.
    pub fn follower_mut(&mut self, id: u64) -> Option<&mut Follower> {
        self.followers.iter_mut().find(|follower| follower.id == id)
    }

    fn append(&mut self) {
        let several = self.parts.len() > 1;
        if several {
            self.backlog.append(MULTI);
        }
        self.backlog.append(&self.staged);
        if several {
            self.backlog.append(EXEC);
        }
        let end = self.backlog.end();
        let mut keep_from = end.saturating_sub(self.backlog_bytes as u64);
        for follower in &mut self.followers {
            match &mut follower.phase {
                Phase::Copying { cursor, out, .. } => {
                    forward(&self.parts, &self.staged, *cursor, out);
                    follower.overrun |= out.len() > self.waiting_bytes_max;
                }
                Phase::Streaming { sent } => {
                    follower.overrun |= end - *sent > self.waiting_bytes_max as u64;
                    if !follower.overrun {
                        keep_from = keep_from.min(*sent);
                    }
                }
            }
        }
        self.backlog.trim(keep_from);
        self.discard();
        // One command with a very large effect must not keep that much memory for good.
        self.staged.shrink_to(64 * 1024);
    }
}

/// Appends those effects whose keys the copy has passed.
fn forward(parts: &[Part], staged: &[u8], cursor: Cursor, out: &mut Vec<u8>) {
    let passed = |part: &&(usize, &Part)| part.1.cursor.is_none_or(|key| key < cursor);
    let starts = std::iter::once(0).chain(parts.iter().map(|part| part.end));
    let with_start: Vec<(usize, &Part)> = starts.zip(parts).collect();
    let several = with_start.iter().filter(passed).count() > 1;
    if several {
        out.extend_from_slice(MULTI);
    }
    for (start, part) in with_start.iter().filter(passed) {
        out.extend_from_slice(staged.get(*start..part.end).unwrap_or_default());
    }
    if several {
        out.extend_from_slice(EXEC);
    }
}

/// Appends the effect of setting a string: a SET with its absolute expiry.
pub fn set_effect(out: &mut Vec<u8>, key: &[u8], value: &[u8], expire_at: Option<u64>) {
    match expire_at {
        None => encode::request(out, &[b"SET", key, value]),
        Some(at) => {
            let at = crate::number::Decimal::unsigned(at);
            encode::request(out, &[b"SET", key, value, b"PXAT", at.bytes()]);
        }
    }
}

#[cfg(test)]
#[path = "effects_tests.rs"]
mod tests;
