//! Replies of several shards that become one by a rule of their own: SCAN, RANDOMKEY, and what tells
//! of the servers themselves (SLOWLOG, LATENCY, MEMORY, PUBSUB, FUNCTION STATS).
//!
//! [`super::gather`] collects the parts; here is only the joining, of whole replies, in the order of the
//! shards. Nothing here trusts a reply to have the form it should have: what has not makes the whole
//! an error.

use super::algebra::{self, Outcome, Question, Store};
use super::{blocks, merge};
use crate::route::scan::{self, Tag, Window};
use crate::route::scan_fixed;
use crate::topology::cluster;
use pointsman_protocol::glob;
use pointsman_protocol::resp::{encode, reply};

/// A rule, with what it needs to know of the request.
#[derive(Debug)]
pub enum Special {
    /// One step of SCAN on a shard.
    ScanNode {
        /// The map the iteration began with.
        tag: Tag,
        /// Which shard was asked, of how many.
        shard: u32,
        /// See above.
        shards: u32,
    },
    /// One step of SCAN where keys never leave their shard.
    ScanFixed {
        /// The primary it was sent to.
        tag: Tag,
        /// Which shard was asked, of how many.
        shard: u32,
        /// See above.
        shards: u32,
        /// The shard is walked from its beginning.
        from_start: bool,
    },
    /// SCAN's question whether a slot has moved.
    ScanCheck {
        /// The slots of each shard that was asked.
        owned: Vec<Vec<(u16, u16)>>,
        /// The highest configuration epoch.
        epoch: u64,
    },
    /// SCAN slot by slot: the keys of some slots.
    ScanSlots {
        /// Which slots.
        window: Window,
        /// COUNT.
        count: usize,
        /// MATCH.
        pattern: Option<Vec<u8>>,
        /// TYPE.
        kind: Option<Vec<u8>>,
    },
    /// The types of keys found so, as many replies as keys.
    ScanTypes {
        /// The next cursor.
        number: u64,
        /// The keys.
        keys: Vec<Vec<u8>>,
        /// The type wanted.
        kind: Vec<u8>,
    },
    /// RANDOMKEY and DBSIZE of each shard in turn; a random number.
    RandomKey(u32),
    /// Set algebra over several slots.
    Algebra(Box<Question>),
    /// A transaction cut by slots: the places of the commands of each part, and what the proxy answers.
    Blocks(Vec<Vec<u32>>, Vec<(u32, Vec<u8>)>),
    /// Its result has been stored: what to tell then.
    Stored(Vec<u8>),
    /// SCRIPT KILL, FUNCTION KILL: done if one shard did it.
    Kill,
    /// SCRIPT EXISTS: there if it is on every shard, or the proxy can bring it there.
    Exists(Vec<bool>),
    /// FUNCTION STATS: of the shard that runs something.
    FunctionStats,
    /// PUBSUB CHANNELS and SHARDCHANNELS, TS.QUERYINDEX, TS.QUERYLABELS: each once.
    Union,
    /// TS.MGET, TS.MRANGE, TS.MREVRANGE: the series of all shards, each once, by its key.
    Series,
    /// PUBSUB NUMSUB and SHARDNUMSUB: sums by name, each with what is to be added to it.
    SumByName(Vec<i64>),
    /// PUBLISH, SPUBLISH, PUBSUB NUMPAT: the sum, less what the proxy's own connections made it, and what
    /// they stand for.
    Sum {
        /// Counted by the nodes, and not meant.
        less: i64,
        /// Meant, and not counted by the nodes.
        more: i64,
    },
    /// SLOWLOG GET: so many, the latest first.
    Slowlog(usize),
    /// WAITAOF: of each place the smallest number.
    LeastOfEach,
    /// LATENCY LATEST.
    LatencyLatest,
    /// LATENCY HISTORY.
    LatencyHistory,
    /// LATENCY HISTOGRAM.
    LatencyHistogram,
    /// MEMORY STATS.
    MemoryStats,
    /// LATENCY DOCTOR and GRAPH, MEMORY DOCTOR and MALLOC-STATS: a text for people. A shard that has
    /// nothing to tell answers GRAPH with an error.
    Report,
}

/// What is still to be asked before a request can be answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Sequel {
    /// The types of these keys.
    Types(Vec<Vec<u8>>),
    /// A write has to be made.
    Store(Store),
}

impl Sequel {
    /// In how many parts its answer comes.
    pub fn parts(&self) -> u32 {
        match self {
            Sequel::Types(keys) => keys.len() as u32,
            Sequel::Store(_) => 1,
        }
    }
}

impl Special {
    /// True if this error of a shard is an answer that the rule knows.
    pub fn takes_error(&self, bytes: &[u8]) -> bool {
        match self {
            Special::Kill | Special::Report => true,
            // Of several keys of a wrong type the first counts.
            Special::Algebra(_) => bytes.starts_with(b"-WRONGTYPE "),
            // It stands at the places of its commands.
            Special::Blocks(..) => true,
            // A store without a cluster moves no slots.
            Special::ScanCheck { .. } => {
                bytes.starts_with(b"-ERR This instance has cluster support disabled")
            }
            _ => false,
        }
    }

    /// True if an error of a part is the error of the whole, in its own words.
    pub fn fails_as_one(&self) -> bool {
        matches!(self, Special::Algebra(_) | Special::Stored(_))
    }

    /// What must be asked next, and the rule for its answers.
    pub fn sequel(&self, replies: &[&[u8]]) -> Option<(Sequel, Special)> {
        if let Special::Algebra(question) = self {
            return match question.stores().then(|| question.judge(replies))?? {
                Outcome::Write(store) => {
                    let told = Special::Stored(store.told.clone());
                    Some((Sequel::Store(store), told))
                }
                Outcome::Tell(_) => None,
            };
        }
        let Special::ScanSlots { window, count, pattern, kind: Some(kind) } = self else { return None };
        let (keys, met) = keys_in(replies, pattern.as_deref())?;
        if keys.is_empty() {
            return None;
        }
        let keys: Vec<Vec<u8>> = keys.into_iter().map(<[u8]>::to_vec).collect();
        let number = scan::after_slots(*window, met, *count);
        let next = Special::ScanTypes { number, keys: keys.clone(), kind: kind.clone() };
        Some((Sequel::Types(keys), next))
    }

    /// The one reply. `None` if a part has not the form it should have.
    pub fn join(&self, replies: &[&[u8]]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        match self {
            Special::ScanNode { tag, shard, shards } => {
                let (told, keys) = scan_told(replies)?;
                scan_head(&mut out, scan::after_node(*tag, *shard, *shards, told));
                out.extend_from_slice(keys);
            }
            Special::ScanFixed { tag, shard, shards, from_start } => {
                let (told, keys) = scan_told(replies)?;
                scan_head(&mut out, scan_fixed::after(*tag, *shard, *shards, told, *from_start)?);
                out.extend_from_slice(keys);
            }
            Special::ScanCheck { owned, epoch } => {
                let quiet = replies.iter().zip(owned).all(|(bytes, owned)| is_quiet(bytes, owned, *epoch));
                scan_head(&mut out, scan::after_check(quiet));
                encode::array_head(&mut out, 0);
            }
            Special::ScanSlots { window, count, pattern, .. } => {
                let (keys, met) = keys_in(replies, pattern.as_deref())?;
                scan_head(&mut out, scan::after_slots(*window, met, *count));
                encode::array_head(&mut out, keys.len());
                keys.iter().for_each(|key| encode::bulk(&mut out, key));
            }
            Special::ScanTypes { number, keys, kind } => {
                let told: Vec<&[u8]> =
                    replies.iter().map(|bytes| reply::payload(bytes)).collect::<Option<_>>()?;
                let fits = told.iter().map(|told| told.eq_ignore_ascii_case(kind));
                let found: Vec<&Vec<u8>> =
                    keys.iter().zip(fits).filter(|(_, fits)| *fits).map(|(key, _)| key).collect();
                scan_head(&mut out, *number);
                encode::array_head(&mut out, found.len());
                found.iter().for_each(|key| encode::bulk(&mut out, key));
            }
            Special::Algebra(question) => match question.judge(replies)? {
                Outcome::Tell(told) => return Some(told),
                // It was written before this is asked.
                Outcome::Write(_) => return None,
            },
            Special::Blocks(places, local) => return blocks::join(replies, places, local),
            Special::Stored(told) => return Some(algebra::stored(replies.first()?, told)),
            Special::RandomKey(random) => return merge::random_key(replies, *random).map(<[u8]>::to_vec),
            Special::Kill => return merge::kill(replies).map(<[u8]>::to_vec),
            Special::FunctionStats => return merge::function_stats(replies).map(<[u8]>::to_vec),
            Special::Exists(known) => merge::exists(replies, known, &mut out)?,
            Special::LeastOfEach => merge::least_of_each(replies, &mut out)?,
            Special::Union => merge::union(replies, &mut out)?,
            Special::Series => merge::series(replies, &mut out)?,
            Special::SumByName(corrections) => merge::sum_by_name(replies, corrections, &mut out)?,
            Special::Sum { less, more } => {
                let told: Vec<i64> =
                    replies.iter().map(|bytes| reply::integer(bytes)).collect::<Option<_>>()?;
                let sum = told.into_iter().fold(0, i64::saturating_add);
                encode::integer(&mut out, sum.saturating_sub(*less).max(0).saturating_add(*more));
            }
            Special::Slowlog(count) => merge::slowlog(replies, *count, &mut out)?,
            Special::LatencyLatest => merge::latency_latest(replies, &mut out)?,
            Special::LatencyHistory => merge::latency_history(replies, &mut out)?,
            Special::LatencyHistogram => merge::latency_histogram(replies, &mut out)?,
            Special::MemoryStats => merge::memory_stats(replies, &mut out)?,
            Special::Report => merge::report(replies, &mut out)?,
        }
        Some(out)
    }
}

/// What a node answered to SCAN: its cursor, and the keys as they came.
fn scan_told<'a>(replies: &[&'a [u8]]) -> Option<(u64, &'a [u8])> {
    let mut elements = reply::elements(replies.first()?)?;
    let told = std::str::from_utf8(reply::payload(elements.next()?)?).ok()?.parse().ok()?;
    let keys = elements.next().filter(|keys| reply::elements(keys).is_some())?;
    Some((told, keys))
}

/// `*2`, and the cursor as a bulk string.
fn scan_head(out: &mut Vec<u8>, number: u64) {
    encode::array_head(out, 2);
    encode::bulk(out, number.to_string().as_bytes());
}

fn is_quiet(bytes: &[u8], owned: &[(u16, u16)], epoch: u64) -> bool {
    if bytes.starts_with(b"-") {
        return true;
    }
    let text = reply::payload(bytes).and_then(|text| std::str::from_utf8(text).ok());
    text.is_some_and(|text| scan::is_quiet(text, cluster::newest_claim(text), owned, epoch))
}

/// All keys in these arrays that match, and how many there are whether they match or not.
fn keys_in<'a>(replies: &[&'a [u8]], pattern: Option<&[u8]>) -> Option<(Vec<&'a [u8]>, usize)> {
    let (mut keys, mut met) = (Vec::new(), 0);
    for bytes in replies {
        for key in reply::elements(bytes)? {
            let key = reply::payload(key)?;
            met += 1;
            if pattern.is_none_or(|pattern| glob::matches(pattern, key)) {
                keys.push(key);
            }
        }
    }
    Some((keys, met))
}

#[cfg(test)]
#[path = "join_tests.rs"]
mod tests;
