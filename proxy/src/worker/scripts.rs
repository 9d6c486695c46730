//! EVALSHA on a node that does not have the script.
//!
//! A node knows the scripts that were loaded on it or run by it. A new shard, or a primary that just
//! was a replica, knows none, and an application written for one server loads its scripts once. So
//! the proxy remembers the text of each script it has seen (SCRIPT LOAD, EVAL), and a request that a
//! node answers with NOSCRIPT, which means that it was not executed, goes to that node a second time
//! as EVAL. It does so on its client's detour ([`super::detour`]), which keeps the order; where that
//! cannot be kept, because the node has executed the client's next command on the same key meanwhile,
//! the client gets NOSCRIPT, as it would from a single server.
//!
//! Inside a transaction nothing can go a second time by itself, so there each EVALSHA whose text is known goes out
//! as EVAL from the start: a few more bytes, and no node that can spoil what the application loaded once.
//!
//! What is remembered is shared by all workers and bounded by number and bytes; the oldest goes
//! first. SCRIPT FLUSH forgets all of it. Nothing is looked up for a script that its node knows.

use super::detour::Parked;
use super::router::Router;
use crate::backend::connection::{ClientKey, InFlight, Request, Traits};
use crate::route::retry::Cause;
use pointsman_protocol::command::{self, CommandSpec};
use pointsman_protocol::resp::{Args, RequestDecoder, RequestLimits, encode};
use sha1::{Digest, Sha1};
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A script's name: the SHA1 of its text.
pub type Sha = [u8; 20];

/// The scripts that were seen.
#[derive(Debug)]
pub struct Scripts {
    count_max: usize,
    bytes_max: usize,
    kept: Mutex<Kept>,
    /// Grows whenever one is forgotten, so that workers know when what they have noted is void.
    forgotten: AtomicU64,
}

#[derive(Debug, Default)]
struct Kept {
    texts: HashMap<Sha, Arc<[u8]>>,
    /// The oldest first; each of `texts` once.
    order: VecDeque<Sha>,
    bytes: usize,
}

impl Scripts {
    /// None yet. At most `count_max` are kept, and `bytes_max` bytes of them.
    pub fn new(count_max: usize, bytes_max: usize) -> Scripts {
        Scripts { count_max, bytes_max, kept: Mutex::default(), forgotten: AtomicU64::new(0) }
    }

    /// Remembers a script, at the cost of the oldest ones.
    pub fn remember(&self, text: &[u8]) {
        if text.len() > self.bytes_max || self.count_max == 0 {
            return;
        }
        let sha: Sha = Sha1::digest(text).into();
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.texts.contains_key(&sha) {
            return;
        }
        while kept.order.len() >= self.count_max || kept.bytes + text.len() > self.bytes_max {
            let Some(oldest) = kept.order.pop_front() else { break };
            let gone = kept.texts.remove(&oldest).map_or(0, |text| text.len());
            kept.bytes -= gone;
            self.forgotten.fetch_add(1, Ordering::Release);
        }
        kept.bytes += text.len();
        kept.order.push_back(sha);
        kept.texts.insert(sha, text.into());
    }

    /// The text of a script.
    pub fn text(&self, sha: &Sha) -> Option<Arc<[u8]>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).texts.get(sha).cloned()
    }

    /// Forgets all of them.
    pub fn flush(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        *kept = Kept::default();
        self.forgotten.fetch_add(1, Ordering::Release);
    }
}

/// What one worker has told to [`Scripts`] already, so that an EVAL repeated costs neither a digest
/// nor a lock. Only hashes are kept; two texts of one hash would leave the second unremembered.
#[derive(Debug, Default)]
pub struct Seen {
    hashes: HashSet<u64>,
    hasher: RandomState,
    forgotten: u64,
}

/// Hashes a worker keeps at most.
const SEEN_MAX: usize = 10_000;

impl Seen {
    /// True if a text has to be told.
    fn is_new(&mut self, text: &[u8], scripts: &Scripts) -> bool {
        let forgotten = scripts.forgotten.load(Ordering::Acquire);
        if forgotten != self.forgotten || self.hashes.len() >= SEEN_MAX {
            self.forgotten = forgotten;
            self.hashes.clear();
        }
        self.hashes.insert(self.hasher.hash_one(text))
    }
}

/// The digest that a request names: 40 hexadecimal digits in any case.
fn parse_sha(text: &[u8]) -> Option<Sha> {
    let mut sha = [0; 20];
    if text.len() != 2 * sha.len() {
        return None;
    }
    for (byte, pair) in sha.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = (digit(pair[0])? << 4 | digit(pair[1])?) as u8;
    }
    Some(sha)
}

/// Appends the same request with the script's text instead of its digest, and gives the text. `None` if it is no
/// EVALSHA, or the text is not known: then nothing is appended.
fn with_text(args: Args<'_>, scripts: &Scripts, out: &mut Vec<u8>) -> Option<Arc<[u8]>> {
    let name: &[u8] = match command::resolve(args).ok()?.name {
        "EVALSHA" => b"EVAL",
        "EVALSHA_RO" => b"EVAL_RO",
        _ => return None,
    };
    let text = scripts.text(&parse_sha(args.at(1))?)?;
    encode::array_head(out, args.len());
    encode::bulk(out, name);
    encode::bulk(out, &text);
    args.iter().skip(2).for_each(|word| encode::bulk(out, word));
    Some(text)
}

/// Redis' own words. A script may say the same of itself, but then it means the same.
const NOSCRIPT: &[u8] = b"-NOSCRIPT No matching script";

impl Router {
    /// Remembers the script that a request brings, or forgets all, if that is what it asks for.
    pub(super) fn note_script(&mut self, spec: &'static CommandSpec, args: Args<'_>) {
        let text = match spec.name {
            "EVAL" | "EVAL_RO" => args.at(1),
            "SCRIPT|LOAD" => args.at(2),
            "SCRIPT|FLUSH" => {
                let modes = [&b"ASYNC"[..], b"SYNC"];
                let is_mode = |word: &[u8]| modes.iter().any(|mode| word.eq_ignore_ascii_case(mode));
                if args.len() == 2 || (args.len() == 3 && is_mode(args.at(2))) {
                    self.context.scripts.flush();
                }
                return;
            }
            _ => return,
        };
        if self.scripts_seen.is_new(text, &self.context.scripts) {
            self.context.scripts.remember(text);
        }
    }

    /// Remembers the scripts in these requests: those of a transaction, once it is carried out.
    #[cold]
    pub(super) fn note_scripts_in(&mut self, mut frames: &[u8]) {
        let mut decoder = RequestDecoder::new();
        while let Ok(Some(len)) = decoder.next(frames, &RequestLimits::ADMITTED) {
            if let Ok(spec) = command::resolve(decoder.args(frames)) {
                self.note_script(spec, decoder.args(frames));
            }
            frames = &frames[len..];
        }
    }

    /// True if this digest's text is remembered: a node that does not have it gets it when it is asked for.
    pub(super) fn knows_script(&self, digest: &[u8]) -> bool {
        parse_sha(digest).is_some_and(|sha| self.context.scripts.text(&sha).is_some())
    }

    /// What a transaction queues for a command that runs a script: appends it with its text where that is known.
    pub(super) fn queue_script(&self, args: Args<'_>, out: &mut Vec<u8>) {
        if with_text(args, &self.context.scripts, out).is_none() {
            encode::request_args(out, args);
        }
    }

    /// Sends a request again, with the script's text, to the node that does not know the script.
    /// False if that is not what its answer says, or the text is not known here either.
    #[cold]
    pub(super) fn heal_script(&mut self, id: usize, entry: &InFlight, reply: &[u8]) -> bool {
        let connection = &self.connections[id];
        if !reply.starts_with(NOSCRIPT) || entry.request.client == ClientKey::NOBODY {
            return false;
        }
        let mut bytes = Vec::new();
        let mut decoder = RequestDecoder::new();
        let request = connection.bytes_of(entry);
        let Ok(Some(_)) = decoder.next(request, &RequestLimits::ADMITTED) else { return false };
        let Some(text) = with_text(decoder.args(request), &self.context.scripts, &mut bytes) else {
            return false;
        };
        let is_replica = connection.lane.readonly;
        let address = connection.address.clone();
        if is_replica {
            // Second attempts go to the primary; the replica learns the script for the next time.
            let nobody = Request {
                client: ClientKey::NOBODY,
                part: None,
                slot: None,
                traits: Traits::default(),
                since: self.now,
                ..entry.request
            };
            self.enqueue(id, nobody, |out| encode::request(out, &[b"SCRIPT", &b"LOAD"[..], &text]));
        }
        let to = (!is_replica).then_some(address);
        self.attempt_failed(Parked::new(entry.request, bytes), Cause::NoScript, to);
        true
    }
}

#[cfg(test)]
#[path = "scripts_tests.rs"]
mod tests;
