//! What a server says of its own commands: its reply to COMMAND, read into rows like those of the table.
//!
//! For commands that the table does not have: modules, forks, versions after it. What a server says of
//! a command that the table has is only used where it takes another number of arguments there.
//!
//! Rows live as long as the process, so that a request can carry a plain reference to its row, announced
//! or not. Each different row is made once, whoever announces it how often ([`intern`]), and there are at
//! most [`ROWS_MAX`] of them; beyond that a command stays unknown. Nothing here trusts a reply to have
//! the form it should have: a row that has not is left out.

use super::spec::{
    CommandSpec, Flags, KeyAccess, KeyPattern, KeySearch, KeySpec, KeysFound, RequestPolicy, ResponsePolicy,
};
use super::{lookup, subcommand};
use crate::resp::{Args, reply};
use std::collections::{HashMap, HashSet};
use std::sync::{LazyLock, Mutex, PoisonError};

/// Rows made of announcements, in the whole process, at most.
pub const ROWS_MAX: usize = 4096;
/// Commands and subcommands that one reply may tell.
const NAMES_MAX: usize = 16_384;
/// Bytes of a name, of a keyword before keys; key specifications of one command.
const NAME_BYTES_MAX: usize = 64;
const SPECS_MAX: usize = 16;
/// Positions and distances beyond these are no command's. The sum of two fits the numbers of a [`KeyPattern`].
const PLACE_MAX: i64 = 60;

/// The commands of one server, or of several together. Names are in upper case, subcommands as
/// `PARENT|CHILD`.
#[derive(Clone, Debug, Default)]
pub struct Announced {
    names: HashSet<Box<[u8]>>,
    rows: HashMap<Box<[u8]>, &'static CommandSpec>,
    /// Commands that could not become rows because there are too many.
    dropped: usize,
}

/// One command as it is told, before it becomes a row.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Told {
    name: String,
    arity: i16,
    flags: u32,
    keys: Vec<ToldKeys>,
    policies: (u8, u8),
    children: Vec<Told>,
}

/// A key specification: where to begin (an argument, or behind a keyword), what to take, the access.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ToldKeys {
    at: u16,
    keyword: Option<(String, i16)>,
    found: (bool, i16, u16, u16),
    access: u8,
}

impl ToldKeys {
    /// True if they stand at places that no argument changes.
    fn is_fixed(&self) -> bool {
        let (counted, _, _, limit) = self.found;
        self.keyword.is_none() && !counted && limit < 2
    }
}

impl Announced {
    /// Reads the whole reply to COMMAND. `None` if it is no list, or an empty one: that tells nothing.
    pub fn read(bytes: &[u8]) -> Option<Announced> {
        let mut announced = Announced::default();
        for row in reply::elements(bytes)? {
            if announced.names.len() >= NAMES_MAX {
                break;
            }
            if let Some(told) = told(row, None) {
                announced.add(told);
            }
        }
        (!announced.names.is_empty()).then_some(announced)
    }

    fn add(&mut self, told: Told) {
        self.names.insert(told.name.as_bytes().into());
        told.children.iter().for_each(|child| {
            self.names.insert(child.name.as_bytes().into());
        });
        match lookup(told.name.as_bytes()) {
            None => self.keep(told),
            // Of a known command only what the table lacks: subcommands, and other numbers of arguments.
            Some(known) => {
                for child in &told.children {
                    let own = child.name.get(told.name.len() + 1..).unwrap_or_default();
                    match subcommand(known, own.as_bytes()) {
                        Some(row) if !takes_more(child.arity, row.arity) => {}
                        _ => self.keep(child.clone()),
                    }
                }
                if takes_more(told.arity, known.arity) && told.children.is_empty() && !known.is_container() {
                    self.keep(told);
                }
            }
        }
    }

    fn keep(&mut self, told: Told) {
        match intern(&told) {
            Some(row) => {
                self.rows.insert(row.name.as_bytes().into(), row);
                row.subcommands.iter().for_each(|child| {
                    self.rows.insert(child.name.as_bytes().into(), child);
                });
            }
            None => self.dropped += 1,
        }
    }

    /// Adds what other servers of the same backend announce. Where two say different things of a command,
    /// the one that may write counts, then the first.
    pub fn join(&mut self, other: &Announced) {
        self.names.extend(other.names.iter().cloned());
        self.dropped = self.dropped.max(other.dropped);
        for (name, row) in &other.rows {
            let own = self.rows.entry(name.clone()).or_insert(row);
            if own.is_read() && !row.is_read() {
                *own = row;
            }
        }
    }

    /// True if nobody has announced anything: then nothing is known to be missing either.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// How many commands there are, subcommands included.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// How many commands had to be left out, see [`ROWS_MAX`].
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// True if a server has this command; the name in upper case.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name.as_bytes())
    }

    /// Rows that the table does not have.
    pub fn rows(&self) -> impl Iterator<Item = &'static CommandSpec> {
        self.rows.values().copied()
    }

    /// The row announced under this name (`GET`, `CLIENT|ID`), in any case.
    pub fn row(&self, name: &[u8]) -> Option<&'static CommandSpec> {
        if name.len() > 2 * NAME_BYTES_MAX + 1 {
            return None;
        }
        self.rows.get(name.to_ascii_uppercase().as_slice()).copied()
    }

    /// The row of a request: that of its subcommand, if it has one. A container whose subcommand is not
    /// known is given itself.
    pub fn find(&self, args: Args<'_>) -> Option<&'static CommandSpec> {
        let name = args.get(0).filter(|name| name.len() <= NAME_BYTES_MAX)?;
        let child = args.get(1).filter(|child| child.len() <= NAME_BYTES_MAX);
        child.and_then(|child| self.row(&[name, b"|", child].concat())).or_else(|| self.row(name))
    }
}

/// True if arity `told` allows a number of arguments that `known` does not.
fn takes_more(told: i16, known: i16) -> bool {
    let (least, known_least) = (told.unsigned_abs(), known.unsigned_abs());
    match (told < 0, known < 0) {
        (_, true) => least < known_least,
        (true, false) => true,
        (false, false) => least != known_least,
    }
}

/// Reads one row: name, arity, flags, first key, last key, step, and since Redis 7 categories, tips, key
/// specifications and subcommands. `parent` has it as a subcommand.
fn told(row: &[u8], parent: Option<&str>) -> Option<Told> {
    let fields: Vec<&[u8]> = reply::elements(row)?.take(10).collect();
    let name = std::str::from_utf8(reply::payload(fields.first()?)?).ok()?.to_ascii_uppercase();
    if name.is_empty() || name.len() > 2 * NAME_BYTES_MAX + 1 || name.bytes().any(|byte| byte <= b' ') {
        return None;
    }
    if parent.is_some_and(|parent| !name.strip_prefix(parent).is_some_and(|rest| rest.starts_with('|'))) {
        return None;
    }
    let arity = i16::try_from(reply::integer(fields.get(1)?)?).ok().filter(|arity| *arity != 0)?;
    let flags = Flags::WORDS;
    let words = words(fields.get(2)?)?;
    let known = |word: &&[u8]| flags.iter().position(|flag| flag.as_bytes() == *word);
    let mut flags = words.iter().filter_map(known).fold(0, |flags, bit| flags | 1 << bit);
    let (mut keys, mut specs): (Vec<ToldKeys>, usize) = (Vec::new(), 0);
    if let Some(list) = fields.get(8) {
        for spec in reply::elements(list)? {
            specs += 1;
            keys.extend(told_keys(spec).filter(|_| specs <= SPECS_MAX));
        }
    }
    let left_out = keys.len() < specs;
    if keys.is_empty() {
        keys.extend(range_keys(&fields));
    }
    // A server says of fixed places alone that they are movable where they are not all: before key
    // specifications, and where a module's own code finds the rest.
    let movable = Flags(flags).has(Flags::MOVABLE_KEYS);
    if left_out || (movable && keys.iter().all(ToldKeys::is_fixed)) {
        if keys.is_empty() {
            flags |= Flags::MOVABLE_KEYS.0;
        }
        keys.iter_mut().for_each(|keys| keys.access |= INCOMPLETE);
    }
    let tips = fields.get(7).and_then(|tips| self::words(tips)).unwrap_or_default();
    let children = match (fields.get(9), parent) {
        (Some(children), None) => {
            reply::elements(children)?.take(NAMES_MAX).filter_map(|child| told(child, Some(&name))).collect()
        }
        _ => Vec::new(),
    };
    Some(Told { name, arity, flags, keys, policies: policies(&tips), children })
}

fn words(list: &[u8]) -> Option<Vec<&[u8]>> {
    Some(reply::elements(list)?.filter_map(reply::payload).collect())
}

/// The key specification that first key, last key and step make; for servers before Redis 7.
fn range_keys(fields: &[&[u8]]) -> Option<ToldKeys> {
    let number = |index: usize| reply::integer(fields.get(index)?);
    let (first, last, step) = (number(3)?, number(4)?, number(5)?);
    let sound = (1..=PLACE_MAX).contains(&first)
        && ((-PLACE_MAX..0).contains(&last) || (first..=PLACE_MAX).contains(&last))
        && (0..=PLACE_MAX).contains(&step);
    let last = if last < 0 { last } else { last.saturating_sub(first) };
    sound.then_some(ToldKeys {
        at: first as u16,
        keyword: None,
        found: (false, last as i16, step.max(1) as u16, 0),
        access: access_bits(&[b"RW", b"access"]),
    })
}

/// One key specification; `None` if it says that only the command itself can tell, or nonsense.
fn told_keys(spec: &[u8]) -> Option<ToldKeys> {
    let fields: Vec<&[u8]> = reply::elements(spec)?.collect();
    let (mut begin, mut find, mut flags) = (None, None, Vec::new());
    for pair in fields.chunks_exact(2) {
        match reply::payload(pair[0])? {
            b"begin_search" => begin = Some(kind_and_numbers(pair[1])?),
            b"find_keys" => find = Some(kind_and_numbers(pair[1])?),
            b"flags" => flags = words(pair[1])?,
            _ => {}
        }
    }
    let (begin, find) = (begin?, find?);
    let (at, keyword) = match begin.kind {
        b"index" => (u16::try_from(begin.number(b"index", 1, PLACE_MAX)?).ok()?, None),
        b"keyword" => {
            let word = std::str::from_utf8(begin.text(b"keyword")?).ok()?.to_ascii_uppercase();
            let from = begin.number(b"startfrom", -PLACE_MAX, PLACE_MAX)? as i16;
            (0, (word.len() <= NAME_BYTES_MAX && from != 0).then_some((word, from)))
        }
        _ => return None,
    };
    if at == 0 && keyword.is_none() {
        return None;
    }
    let found = match find.kind {
        b"range" => (
            false,
            find.number(b"lastkey", -PLACE_MAX, PLACE_MAX)? as i16,
            find.number(b"keystep", 0, PLACE_MAX)?.max(1) as u16,
            find.number(b"limit", 0, PLACE_MAX)? as u16,
        ),
        b"keynum" => (
            true,
            find.number(b"keynumidx", 0, PLACE_MAX)? as i16,
            find.number(b"firstkey", 0, PLACE_MAX)? as u16,
            find.number(b"keystep", 0, PLACE_MAX)?.max(1) as u16,
        ),
        _ => return None,
    };
    Some(ToldKeys { at, keyword, found, access: access_bits(&flags) })
}

/// `type`, and the fields of `spec`.
struct Part<'a> {
    kind: &'a [u8],
    fields: Vec<&'a [u8]>,
}

impl<'a> Part<'a> {
    fn field(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.fields.chunks_exact(2).find(|pair| reply::payload(pair[0]) == Some(name)).map(|pair| pair[1])
    }

    fn number(&self, name: &[u8], least: i64, most: i64) -> Option<i64> {
        reply::integer(self.field(name)?).filter(|number| (least..=most).contains(number))
    }

    fn text(&self, name: &[u8]) -> Option<&'a [u8]> {
        reply::payload(self.field(name)?)
    }
}

fn kind_and_numbers(part: &[u8]) -> Option<Part<'_>> {
    let outer = Part { kind: b"", fields: reply::elements(part)?.collect() };
    Some(Part { kind: outer.text(b"type")?, fields: reply::elements(outer.field(b"spec")?)?.collect() })
}

/// The access of a key as bits, so that rows can be compared: reads, writes, no key, incomplete, varies.
fn access_bits(flags: &[&[u8]]) -> u8 {
    let has = |flag: &[u8]| flags.contains(&flag);
    let writes = has(b"RW") || has(b"OW") || has(b"RM");
    u8::from(has(b"access"))
        | u8::from(writes) << 1
        | u8::from(has(b"not_key")) << 2
        | if has(b"incomplete") { INCOMPLETE } else { 0 }
        | u8::from(has(b"variable_flags")) << 4
}

/// Of [`access_bits`]: there are more keys than this specification and its neighbours tell.
const INCOMPLETE: u8 = 1 << 3;

fn policies(tips: &[&[u8]]) -> (u8, u8) {
    let after = |prefix: &[u8]| tips.iter().find_map(|tip| tip.strip_prefix(prefix));
    let place = |words: &[&[u8]], word: Option<&[u8]>| {
        word.and_then(|word| words.iter().position(|known| *known == word)).map_or(0, |at| at as u8 + 1)
    };
    (
        place(&[b"all_nodes", b"all_shards", b"multi_shard", b"special"], after(b"request_policy:")),
        place(
            &[
                b"one_succeeded",
                b"all_succeeded",
                b"agg_logical_and",
                b"agg_logical_or",
                b"agg_min",
                b"agg_max",
                b"agg_sum",
                b"special",
            ],
            after(b"response_policy:"),
        ),
    )
}

/// The row of what was told, made once for the process; `None` if there are too many already.
fn intern(told: &Told) -> Option<&'static CommandSpec> {
    static MADE: LazyLock<Mutex<(HashMap<Told, &'static CommandSpec>, usize)>> =
        LazyLock::new(Mutex::default);
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(row) = made.0.get(told) {
        return Some(row);
    }
    let rows = 1 + told.children.len();
    if made.1 + rows > ROWS_MAX {
        return None;
    }
    made.1 += rows;
    let row: &'static CommandSpec = Box::leak(Box::new(row_of(told)));
    made.0.insert(told.clone(), row);
    Some(row)
}

/// Leaks; only [`intern`] may call it.
fn row_of(told: &Told) -> CommandSpec {
    let keys: &'static [KeySpec] = Box::leak(told.keys.iter().map(key_spec).collect());
    CommandSpec {
        index: CommandSpec::ANNOUNCED,
        name: Box::leak(told.name.clone().into_boxed_str()),
        arity: told.arity,
        // What is said of single keys does not count for the class: for modules that say nothing of them,
        // servers fill in "read and written", also for commands that only read.
        flags: Flags(told.flags),
        keys,
        pattern: KeyPattern::of(keys),
        request_policy: match told.policies.0 {
            1 => RequestPolicy::AllNodes,
            2 => RequestPolicy::AllShards,
            3 => RequestPolicy::MultiShard,
            4 => RequestPolicy::Special,
            _ => RequestPolicy::ByKeys,
        },
        response_policy: match told.policies.1 {
            1 => ResponsePolicy::OneSucceeded,
            2 => ResponsePolicy::AllSucceeded,
            3 => ResponsePolicy::AggLogicalAnd,
            4 => ResponsePolicy::AggLogicalOr,
            5 => ResponsePolicy::AggMin,
            6 => ResponsePolicy::AggMax,
            7 => ResponsePolicy::AggSum,
            8 => ResponsePolicy::Special,
            _ => ResponsePolicy::Default,
        },
        subcommands: Box::leak(told.children.iter().map(row_of).collect()),
    }
}

fn key_spec(told: &ToldKeys) -> KeySpec {
    let bit = |bit: u8| told.access & 1 << bit != 0;
    let (counted, a, b, c) = told.found;
    KeySpec {
        search: match &told.keyword {
            Some((word, from)) => {
                KeySearch::Keyword { word: Box::leak(word.clone().into_boxed_str()), from: *from }
            }
            None => KeySearch::Index(told.at),
        },
        found: if counted {
            KeysFound::Counted { count: a.unsigned_abs(), first: b, step: c }
        } else {
            KeysFound::Range { last: a, step: b, limit: c }
        },
        access: KeyAccess { reads: bit(0), writes: bit(1), not_key: bit(2), incomplete: bit(3) },
        varies: bit(4),
    }
}

#[cfg(test)]
#[path = "announced_tests.rs"]
mod tests;
