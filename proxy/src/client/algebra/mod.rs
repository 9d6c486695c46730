//! Set algebra over keys of several slots: SUNION, ZINTERSTORE, PFCOUNT and their like.
//!
//! A cluster node refuses them, as it has only some of the keys. Where the operator allows it
//! (`cross_slot: compute`), the proxy reads the sets, each where it is, computes the result as Redis
//! does, and for the forms that store writes it in one transaction on the slot of its destination.
//! Reading is not atomic over slots: a set may change between its own reading and that of the next.
//!
//! Here is what is asked and what is answered, without any I/O: the parts to be sent, and from their
//! replies the one reply or the write that follows. [`hold`] bounds the memory, [`crate::worker::across`]
//! sends. Only what Redis computes from sets, sorted sets and HyperLogLogs is done here; RENAME, COPY,
//! BITOP, LMOVE over slots stay refused.

pub mod double;
pub mod hll;
pub mod hold;
pub mod sets;
pub mod sorted;

use crate::route::division::Division;
use pointsman_protocol::Slot;
use pointsman_protocol::command::CommandSpec;
use pointsman_protocol::resp::{Args, encode, reply};
use std::collections::{BTreeMap, HashMap};

/// What is done with the sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// All of them together.
    Union,
    /// What is in each.
    Inter,
    /// What is in the first and in no other.
    Diff,
}

/// What the sources are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Sets.
    Sets,
    /// Sorted sets, or sets whose members have the score 1.
    Sorted,
    /// HyperLogLogs.
    Counters,
}

/// What is wanted of the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// Its elements.
    List,
    /// Their number, at most so many.
    Count(usize),
    /// That it is stored under this key.
    Store(Vec<u8>),
}

/// A request that is computed here.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    family: Family,
    op: Op,
    form: Form,
    /// The part that each source is in, in the order of the request; for sets each part once.
    sources: Vec<usize>,
    options: sorted::Options,
    resp3: bool,
    division: Division,
}

/// A request to be sent to a slot.
pub type Part = (Slot, Vec<u8>);

/// The write that ends a request which stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Where.
    pub slot: Slot,
    /// What goes over the wire: one command, or a transaction.
    pub bytes: Vec<u8>,
    /// Replies that come before the last one.
    pub ahead: u32,
    /// What the client is told when it is done.
    pub told: Vec<u8>,
}

/// What follows from the parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Tell the client this.
    Tell(Vec<u8>),
    /// Write this first.
    Write(Store),
}

const SYNTAX: &str = "ERR syntax error";

/// Members that one SADD or ZADD brings; the node pauses between two of them no more than between any
/// two commands of a transaction, but its buffers need not hold all arguments twice.
const MEMBERS_A_COMMAND: usize = 4096;

/// True for the commands that can be computed here, by upper-case name.
pub fn computes(name: &str) -> bool {
    known(name).is_some()
}

fn known(name: &str) -> Option<(Family, Op)> {
    use Family::{Counters, Sets, Sorted};
    use Op::{Diff, Inter, Union};
    Some(match name {
        "SUNION" | "SUNIONSTORE" => (Sets, Union),
        "SINTER" | "SINTERSTORE" | "SINTERCARD" => (Sets, Inter),
        "SDIFF" | "SDIFFSTORE" => (Sets, Diff),
        "ZUNION" | "ZUNIONSTORE" => (Sorted, Union),
        "ZINTER" | "ZINTERSTORE" | "ZINTERCARD" => (Sorted, Inter),
        "ZDIFF" | "ZDIFFSTORE" => (Sorted, Diff),
        "PFCOUNT" | "PFMERGE" => (Counters, Union),
        _ => return None,
    })
}

impl Question {
    /// Reads a request whose keys have been found to be well counted, and tells what to send for it.
    ///
    /// # Errors
    /// Redis' text, where a node would refuse it.
    pub fn read(
        spec: &CommandSpec,
        args: Args<'_>,
        resp3: bool,
        division: &Division,
    ) -> Result<(Question, Vec<Part>), &'static str> {
        let (family, op) = known(spec.name).ok_or(SYNTAX)?;
        let stores = spec.name.ends_with("STORE") || spec.name == "PFMERGE";
        let counts = spec.name.ends_with("CARD") || spec.name == "PFCOUNT";
        let mut at = 1;
        let mut form = if counts { Form::Count(usize::MAX) } else { Form::List };
        if stores {
            form = Form::Store(args.at(at).to_vec());
            at += 1;
        }
        let counted = family == Family::Sorted || spec.name == "SINTERCARD";
        let end = if counted {
            let count: usize = text(args.at(at)).and_then(|text| text.parse().ok()).ok_or(SYNTAX)?;
            at += 1;
            at.checked_add(count).filter(|end| *end <= args.len()).ok_or(SYNTAX)?
        } else {
            args.len()
        };
        let keys: Vec<&[u8]> = (at..end).map(|index| args.at(index)).collect();
        let mut options = sorted::Options::none(keys.len());
        match &mut form {
            Form::Count(limit) if counted => *limit = read_limit(args, end)?,
            form if family == Family::Sorted => {
                let lists = *form == Form::List;
                options.read(args, end, keys.len(), op != Op::Diff, lists)?;
            }
            _ => {}
        }
        let (sources, parts) = match family {
            Family::Sets => set_parts(op, &keys, division),
            Family::Sorted => key_parts(&keys, division, |out, key| {
                encode::request(out, &[&b"ZUNION"[..], b"1", key, b"WITHSCORES"])
            }),
            Family::Counters => {
                key_parts(&keys, division, |out, key| encode::request(out, &[&b"GET"[..], key]))
            }
        };
        let division = division.clone();
        Ok((Question { family, op, form, sources, options, resp3, division }, parts))
    }

    /// True if it ends with a write.
    pub fn stores(&self) -> bool {
        matches!(self.form, Form::Store(_))
    }

    /// What follows from the replies to its parts. `None` if one has not the form it should have.
    pub fn judge(&self, replies: &[&[u8]]) -> Option<Outcome> {
        let refused = |bytes: &[u8]| bytes.first() == Some(&b'-');
        if self.family != Family::Counters
            && let Some(error) = replies.iter().find(|bytes| refused(bytes))
        {
            return Some(Outcome::Tell(error.to_vec()));
        }
        match self.family {
            Family::Sets => {
                let sets: Vec<Vec<&[u8]>> = self
                    .sources
                    .iter()
                    .map(|part| sets::members(replies.get(*part)?))
                    .collect::<Option<_>>()?;
                Some(self.finish_set(&sets::compute(self.op, &sets)))
            }
            Family::Sorted => {
                let parts: Vec<Vec<sorted::Scored<'_>>> =
                    replies.iter().map(|reply| sorted::read(reply)).collect::<Option<_>>()?;
                let sources: Vec<&[sorted::Scored<'_>]> = self
                    .sources
                    .iter()
                    .map(|part| parts.get(*part).map(Vec::as_slice))
                    .collect::<Option<_>>()?;
                let result = sorted::compute(self.op, &sources, &self.options);
                Some(self.finish_sorted(&result, sorted::Style::of(&parts, &result)))
            }
            Family::Counters => {
                let mut registers = hll::Registers::default();
                for bytes in replies {
                    if refused(bytes) {
                        return Some(Outcome::Tell(bytes.to_vec()));
                    }
                    // A key that is not there counts nothing.
                    if let Some(value) = reply::payload(bytes)
                        && let Err(text) = registers.merge(value)
                    {
                        let mut out = Vec::new();
                        encode::error(&mut out, text);
                        return Some(Outcome::Tell(out));
                    }
                }
                Some(self.finish_counter(&registers))
            }
        }
    }

    fn finish_set(&self, members: &[&[u8]]) -> Outcome {
        let mut out = Vec::new();
        match &self.form {
            Form::List => {
                sets::head(&mut out, members.len(), self.resp3);
                members.iter().for_each(|member| encode::bulk(&mut out, member));
            }
            Form::Count(limit) => encode::integer(&mut out, members.len().min(*limit) as i64),
            Form::Store(key) => {
                let words = members.iter().copied();
                return Outcome::Write(store(self.division.slot(key), key, b"SADD", words, members.len(), 1));
            }
        }
        Outcome::Tell(out)
    }

    fn finish_sorted(&self, result: &[sorted::Scored<'_>], style: sorted::Style) -> Outcome {
        let mut out = Vec::new();
        match &self.form {
            Form::List => sorted::write(result, self.options.with_scores, style, self.resp3, &mut out),
            Form::Count(limit) => encode::integer(&mut out, result.len().min(*limit) as i64),
            Form::Store(key) => {
                let scores: Vec<Vec<u8>> =
                    result.iter().map(|scored| scored.told(sorted::Style::Shortest)).collect();
                let words =
                    scores.iter().zip(result).flat_map(|(score, scored)| [score.as_slice(), scored.member]);
                return Outcome::Write(store(self.division.slot(key), key, b"ZADD", words, result.len(), 2));
            }
        }
        Outcome::Tell(out)
    }

    fn finish_counter(&self, registers: &hll::Registers) -> Outcome {
        let mut out = Vec::new();
        let Form::Store(key) = &self.form else {
            encode::integer(&mut out, i64::try_from(registers.count()).unwrap_or(i64::MAX));
            return Outcome::Tell(out);
        };
        // The node merges, so that what is added to the destination meanwhile is not lost; it needs the
        // registers under a key, which is there in no moment that others can see.
        let slot = self.division.slot(key);
        let aside = key_beside(key, b":pointsman:pfmerge", &self.division);
        encode::request(&mut out, &["MULTI"]);
        encode::request(&mut out, &[&b"SET"[..], &aside, &registers.dense()]);
        encode::request(&mut out, &[&b"PFMERGE"[..], key, &aside]);
        encode::request(&mut out, &[&b"DEL"[..], &aside]);
        encode::request(&mut out, &["EXEC"]);
        Outcome::Write(Store { slot, bytes: out, ahead: 4, told: b"+OK\r\n".to_vec() })
    }
}

/// What a client is told after its result was to be stored: `told`, unless a step of it failed.
pub fn stored(bytes: &[u8], told: &[u8]) -> Vec<u8> {
    let failed = reply::elements(bytes).and_then(|mut steps| steps.find(|step| step.first() == Some(&b'-')));
    failed.unwrap_or(told).to_vec()
}

/// The write of a set or sorted set: what was there goes, in the same moment.
fn store<'a>(
    slot: Slot,
    key: &[u8],
    verb: &[u8],
    mut words: impl Iterator<Item = &'a [u8]>,
    members: usize,
    words_each: usize,
) -> Store {
    let mut told = Vec::new();
    encode::integer(&mut told, members as i64);
    let mut bytes = Vec::new();
    if members == 0 {
        encode::request(&mut bytes, &[&b"DEL"[..], key]);
        return Store { slot, bytes, ahead: 0, told };
    }
    encode::request(&mut bytes, &["MULTI"]);
    encode::request(&mut bytes, &[&b"DEL"[..], key]);
    let (mut left, mut ahead) = (members, 2);
    while left > 0 {
        let count = left.min(MEMBERS_A_COMMAND);
        encode::array_head(&mut bytes, 2 + count * words_each);
        encode::bulk(&mut bytes, verb);
        encode::bulk(&mut bytes, key);
        words.by_ref().take(count * words_each).for_each(|word| encode::bulk(&mut bytes, word));
        left -= count;
        ahead += 1;
    }
    encode::request(&mut bytes, &["EXEC"]);
    Store { slot, bytes, ahead, told }
}

/// Sets are joined by the nodes as far as they lie in one slot. Gives the order of the parts, and the parts.
fn set_parts(op: Op, keys: &[&[u8]], division: &Division) -> (Vec<usize>, Vec<Part>) {
    let mut by_slot: BTreeMap<Slot, Vec<&[u8]>> = BTreeMap::new();
    for key in keys {
        by_slot.entry(division.slot(key)).or_default().push(key);
    }
    let first = keys.first().map(|key| division.slot(key));
    let mut slots: Vec<(Slot, Vec<&[u8]>)> = by_slot.into_iter().collect();
    // What is subtracted from comes first.
    slots.sort_by_key(|(slot, _)| Some(*slot) != first);
    let parts: Vec<Part> = slots
        .into_iter()
        .map(|(slot, keys)| {
            let verb: &[u8] = match op {
                Op::Inter => b"SINTER",
                Op::Diff if Some(slot) == first => b"SDIFF",
                Op::Union | Op::Diff => b"SUNION",
            };
            let mut bytes = Vec::new();
            encode::array_head(&mut bytes, 1 + keys.len());
            encode::bulk(&mut bytes, verb);
            keys.iter().for_each(|key| encode::bulk(&mut bytes, key));
            (slot, bytes)
        })
        .collect();
    ((0..parts.len()).collect(), parts)
}

/// One part a key, each key once. Gives the part of each key, and the parts.
fn key_parts(
    keys: &[&[u8]],
    division: &Division,
    write: impl Fn(&mut Vec<u8>, &[u8]),
) -> (Vec<usize>, Vec<Part>) {
    let (mut places, mut parts) = (HashMap::new(), Vec::new());
    let sources = keys
        .iter()
        .map(|key| {
            *places.entry(*key).or_insert_with(|| {
                let mut bytes = Vec::new();
                write(&mut bytes, key);
                parts.push((division.slot(key), bytes));
                parts.len() - 1
            })
        })
        .collect();
    (sources, parts)
}

/// Another key of the same slot, named after this one.
fn key_beside(key: &[u8], suffix: &[u8], division: &Division) -> Vec<u8> {
    let slot = division.slot(key);
    let tagged = |tag: &[u8]| [b"{", tag, b"}", suffix].concat();
    // A key with braces of its own may not serve as a tag.
    let candidates = [[key, suffix].concat(), tagged(key)];
    if let Some(name) = candidates.into_iter().find(|name| division.slot(name) == slot) {
        return name;
    }
    // Every slot has a number among the first two hundred thousand.
    (0..1_000_000u32)
        .map(|number| tagged(format!("{number}").as_bytes()))
        .find(|name| division.slot(name) == slot)
        .unwrap_or_else(|| key.to_vec())
}

/// `LIMIT n` behind the keys, and nothing else.
fn read_limit(args: Args<'_>, mut at: usize) -> Result<usize, &'static str> {
    let mut limit = usize::MAX;
    while let Some(word) = args.get(at) {
        let value = args.get(at + 1).filter(|_| word.eq_ignore_ascii_case(b"LIMIT")).ok_or(SYNTAX)?;
        let number: i64 =
            text(value).and_then(|text| text.parse().ok()).ok_or("ERR LIMIT can't be negative")?;
        let number = usize::try_from(number).map_err(|_| "ERR LIMIT can't be negative")?;
        // 0 means no limit.
        limit = if number == 0 { usize::MAX } else { number };
        at += 2;
    }
    Ok(limit)
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

#[cfg(test)]
#[path = "algebra_tests.rs"]
mod tests;
