//! Finds the keys among a request's arguments.
//!
//! Routing, splitting and access checks must ask here and nowhere else: a key that one of them sees
//! and another does not is a hole. The common commands need only their row's [`KeyPattern`]; this
//! module also reads the arguments that tell where keys are: counts (EVAL, ZUNION), keywords (XREAD,
//! MIGRATE) and options (SORT, GEORADIUS).
//!
//! It reads options the way the commands themselves do, so that a group named `streams` or a member
//! named `store` is not mistaken for a keyword. Where a request repeats an option, or has one that
//! is not known here, it errs on the side of too many keys: servers disagree about which repeat wins,
//! and a key too many is only checked, but a key too few is not. It does not judge syntax beyond
//! that; the node that executes the command does.

use super::spec::{CommandSpec, KeyAccess, KeyPattern, KeySearch, KeySpec, KeysFound};
use super::{Flags, wrong_arity};
use crate::resp::Args;

/// One key of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRef {
    /// Which argument it is; the command name is argument 0.
    pub index: u32,
    /// What the command does with it.
    pub access: KeyAccess,
}

/// Why the keys of a request cannot be told. Redis refuses all such requests too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// Too few or too many arguments for the command.
    Arity,
    /// The count of keys is no integer.
    NotInteger,
    /// The count of keys is no integer (FCALL).
    BadCount,
    /// The count of keys is below zero.
    NegativeCount,
    /// The count of keys is no integer above zero (LMPOP, SINTERCARD).
    CountNotPositive,
    /// The count of keys is zero or less (ZUNION).
    NoInputKey,
    /// There are fewer arguments than the count of keys says.
    CountTooLarge,
    /// XREAD's list is not one id for each stream.
    UnbalancedStreams,
    /// XREAD is to wait for a time that is no integer.
    TimeoutNotInteger,
    /// XREAD is to wait for a time below zero.
    TimeoutNegative,
    /// MIGRATE names keys in both ways.
    MigrateBoth,
    /// The keyword before the keys is missing, or a count says more than there is.
    Syntax,
}

impl KeyError {
    /// Appends the error reply, from `-ERR` to the line end; `spec` is the command that was asked.
    #[cold]
    pub fn reply(self, spec: &CommandSpec, out: &mut Vec<u8>) {
        out.push(b'-');
        self.text(spec, out);
        out.extend_from_slice(b"\r\n");
    }

    /// Appends the error's text, from `ERR` on, without line end. The texts are Redis' own.
    #[cold]
    pub fn text(self, spec: &CommandSpec, out: &mut Vec<u8>) {
        let name = || spec.name.bytes().map(|byte| byte.to_ascii_lowercase());
        let text: &[u8] = match self {
            KeyError::Arity => return wrong_arity(spec, out),
            KeyError::NoInputKey => {
                out.extend_from_slice(b"ERR at least 1 input key is needed for '");
                out.extend(name());
                out.extend_from_slice(b"' command");
                return;
            }
            KeyError::UnbalancedStreams => {
                out.extend_from_slice(b"ERR Unbalanced '");
                out.extend(name());
                out.extend_from_slice(b"' list of streams: for each stream key an ID or '");
                out.push(if spec.name == "XREADGROUP" { b'>' } else { b'$' });
                out.extend_from_slice(b"' must be specified.");
                return;
            }
            KeyError::NotInteger => b"ERR value is not an integer or out of range",
            KeyError::BadCount => b"ERR Bad number of keys provided",
            KeyError::NegativeCount => b"ERR Number of keys can't be negative",
            KeyError::CountNotPositive => b"ERR numkeys should be greater than 0",
            KeyError::CountTooLarge => b"ERR Number of keys can't be greater than number of args",
            KeyError::TimeoutNotInteger => b"ERR timeout is not an integer or out of range",
            KeyError::TimeoutNegative => b"ERR timeout is negative",
            KeyError::MigrateBoth => {
                b"ERR When using MIGRATE KEYS option, the key argument must be set to the empty string"
            }
            KeyError::Syntax => b"ERR syntax error",
        };
        out.extend_from_slice(text);
    }
}

/// Replaces the content of `out` with the keys of a request, in the order of the key specifications
/// (mostly that of the arguments). `spec` is the row that [`super::resolve`] gave for `args`. An
/// argument that is no key but decides the slot has [`KeyAccess::not_key`]. On an error `out` is
/// left empty.
pub fn find(spec: &CommandSpec, args: Args<'_>, out: &mut Vec<KeyRef>) -> Result<(), KeyError> {
    out.clear();
    let found = visit(spec, args, &mut |index, access| out.push(KeyRef { index: index as u32, access }));
    if found.is_err() {
        out.clear();
    }
    found
}

/// The argument that decides where a request goes: its first key, or what stands for one. `None`
/// if it has none. Allocates nothing.
#[inline]
pub fn first(spec: &CommandSpec, args: Args<'_>) -> Result<Option<usize>, KeyError> {
    match spec.pattern {
        KeyPattern::One(at) if usize::from(at) < args.len() => Ok(Some(usize::from(at))),
        KeyPattern::None => Ok(None),
        KeyPattern::Complex => {
            let mut first = None;
            visit(spec, args, &mut |index, _| first = first.or(Some(index)))?;
            Ok(first)
        }
        pattern => pattern.range(args.len()).map(|(first, _, _)| Some(first)).ok_or(KeyError::Arity),
    }
}

fn visit(
    spec: &CommandSpec,
    args: Args<'_>,
    found: &mut impl FnMut(usize, KeyAccess),
) -> Result<(), KeyError> {
    if !spec.accepts(args.len()) {
        return Err(KeyError::Arity);
    }
    match spec.name {
        "XREAD" | "XREADGROUP" => streams(spec, args, found),
        "SORT" | "SORT_RO" => {
            sort(spec, args, found);
            Ok(())
        }
        "GEORADIUS" | "GEORADIUSBYMEMBER" => {
            georadius(spec, args, found);
            Ok(())
        }
        "MIGRATE" => migrate(spec, args, found),
        _ => spec.keys.iter().try_for_each(|keys| specified(spec, keys, args, found)),
    }
}

/// The keys that one key specification tells.
fn specified(
    spec: &CommandSpec,
    keys: &KeySpec,
    args: Args<'_>,
    found: &mut impl FnMut(usize, KeyAccess),
) -> Result<(), KeyError> {
    // The table's own commands whose keys follow a keyword, or that only their own code tells, are treated
    // by name in `visit`; a test pins that none of them gets here. What servers announce may.
    let begin = match keys.search {
        KeySearch::Index(begin) => usize::from(begin),
        KeySearch::Keyword { word, from } => match behind_keyword(args, word, from) {
            Some(begin) => begin,
            None => return Ok(()),
        },
        KeySearch::Unknown => return Err(KeyError::Syntax),
    };
    let access = if keys.varies { varying_access(spec, keys.access, args) } else { keys.access };
    match keys.found {
        KeysFound::Range { last: -1, step, limit } if limit >= 2 => {
            let some = args.len().saturating_sub(begin) / usize::from(limit);
            (begin..begin + some).step_by(usize::from(step).max(1)).for_each(|index| found(index, access));
            Ok(())
        }
        KeysFound::Range { last, step, .. } => {
            let distance = usize::from(last.unsigned_abs());
            // A range up to the end may be empty: PFMERGE with a destination and no source.
            let last = if last < 0 { args.len().saturating_sub(distance) } else { begin + distance };
            if last >= args.len() {
                return Err(KeyError::Arity);
            }
            (begin..=last).step_by(usize::from(step).max(1)).for_each(|index| found(index, access));
            Ok(())
        }
        KeysFound::Counted { count, first, step } => {
            let (first, step) = (begin + usize::from(first), usize::from(step).max(1));
            let text = args.get(begin + usize::from(count)).ok_or(KeyError::Arity)?;
            let count = key_count(spec, text, args.len().saturating_sub(first).div_ceil(step))?;
            (0..count).for_each(|nth| found(first + nth * step, access));
            Ok(())
        }
        KeysFound::Unknown => Err(KeyError::Syntax),
    }
}

/// The place behind a keyword, searched as Redis does: forwards from an argument, or backwards from one
/// counted from the end.
#[cold]
fn behind_keyword(args: Args<'_>, word: &str, from: i16) -> Option<usize> {
    let distance = usize::from(from.unsigned_abs());
    let at = |index: &usize| args.get(*index).is_some_and(|arg| is(arg, word));
    let found = if from > 0 {
        (distance..args.len()).find(at)
    } else {
        (1..=args.len().checked_sub(distance)?).rev().find(at)
    };
    found.map(|index| index + 1)
}

/// What SET and BITFIELD really do with their key; any other command does the most it may.
fn varying_access(spec: &CommandSpec, most: KeyAccess, args: Args<'_>) -> KeyAccess {
    match spec.name {
        // The value of another option that happens to be GET counts too: such a request is refused.
        "SET" => KeyAccess { reads: args.iter().skip(3).any(|word| is(word, "GET")), ..most },
        "BITFIELD" => KeyAccess { writes: !bitfield_only_gets(args), ..most },
        _ => most,
    }
}

fn bitfield_only_gets(args: Args<'_>) -> bool {
    let mut at = 2;
    while let Some(word) = args.get(at) {
        let values = if is(word, "GET") {
            2
        } else if is(word, "OVERFLOW") {
            1
        } else {
            return false;
        };
        at += 1 + values;
    }
    // Values that are missing make it no read: let the primary refuse it.
    at == args.len()
}

/// Reads a count of keys; `room` is how many arguments there are for them. The texts differ by
/// command because they do in Redis.
fn key_count(spec: &CommandSpec, text: &[u8], room: usize) -> Result<usize, KeyError> {
    let count = integer(text);
    let room = i64::try_from(room).unwrap_or(i64::MAX);
    if spec.flags.has(Flags::NO_MANDATORY_KEYS) {
        let not_integer =
            if spec.name.starts_with("FCALL") { KeyError::BadCount } else { KeyError::NotInteger };
        return match count.ok_or(not_integer)? {
            count if count > room => Err(KeyError::CountTooLarge),
            count => usize::try_from(count).map_err(|_| KeyError::NegativeCount),
        };
    }
    let count = match spec.name {
        "SINTERCARD" | "LMPOP" | "ZMPOP" | "BLMPOP" | "BZMPOP" => {
            count.filter(|count| *count > 0).ok_or(KeyError::CountNotPositive)?
        }
        _ => match count.ok_or(KeyError::NotInteger)? {
            ..=0 => return Err(KeyError::NoInputKey),
            count => count,
        },
    };
    if count > room {
        return Err(if spec.name == "SINTERCARD" { KeyError::CountTooLarge } else { KeyError::Syntax });
    }
    usize::try_from(count).map_err(|_| KeyError::Syntax)
}

/// XREAD and XREADGROUP: the first half of what follows STREAMS, which must stand where an option
/// may: groups and consumers may be named `streams`.
fn streams(
    spec: &CommandSpec,
    args: Args<'_>,
    found: &mut impl FnMut(usize, KeyAccess),
) -> Result<(), KeyError> {
    behind_streams(spec, args, found).map_err(|error| bad_option(args).unwrap_or(error))
}

/// The first option before STREAMS whose value is none: Redis reads from left to right, and tells this mistake.
#[cold]
fn bad_option(args: Args<'_>) -> Option<KeyError> {
    let mut at = 1;
    while let Some(word) = args.get(at) {
        let value = args.get(at + 1);
        let (values, error) = if is(word, "COUNT") {
            (1, value.and_then(|count| integer(count).is_none().then_some(KeyError::NotInteger)))
        } else if is(word, "BLOCK") {
            (1, value.and_then(bad_timeout))
        } else if is(word, "GROUP") {
            (2, None)
        } else if is(word, "NOACK") {
            (0, None)
        } else {
            return None;
        };
        if error.is_some() {
            return error;
        }
        at += 1 + values;
    }
    None
}

fn behind_streams(
    spec: &CommandSpec,
    args: Args<'_>,
    found: &mut impl FnMut(usize, KeyAccess),
) -> Result<(), KeyError> {
    let mut at = 1;
    loop {
        let word = args.get(at).ok_or(KeyError::Syntax)?;
        let values = if is(word, "STREAMS") {
            break;
        } else if is(word, "COUNT") || is(word, "BLOCK") || is(word, "CLAIM") {
            1
        } else if is(word, "GROUP") {
            2
        } else if is(word, "NOACK") {
            0
        } else {
            return Err(KeyError::Syntax);
        };
        at += 1 + values;
    }
    let first = at + 1;
    let rest = args.len().saturating_sub(first);
    match rest {
        0 => Err(KeyError::Syntax),
        _ if rest % 2 != 0 => Err(KeyError::UnbalancedStreams),
        _ => {
            let access = access_of(spec, 0);
            (first..first + rest / 2).for_each(|index| found(index, access));
            Ok(())
        }
    }
}

/// What is wrong with milliseconds to wait, if anything is.
fn bad_timeout(text: &[u8]) -> Option<KeyError> {
    match integer(text) {
        None => Some(KeyError::TimeoutNotInteger),
        Some(..0) => Some(KeyError::TimeoutNegative),
        Some(_) => None,
    }
}

/// SORT: its first argument, and what follows STORE. BY and GET with a pattern read keys whose names
/// only the data tell.
fn sort(spec: &CommandSpec, args: Args<'_>, found: &mut impl FnMut(usize, KeyAccess)) {
    let incomplete = sort_options(args).any(|(at, word)| {
        (is(word, "BY") || is(word, "GET")) && memchr::memchr(b'*', args.at(at + 1)).is_some()
    });
    found(1, KeyAccess { incomplete, ..access_of(spec, 0) });
    if spec.is_write() {
        sort_options(args)
            .filter(|(at, word)| is(word, "STORE") && at + 1 < args.len())
            .for_each(|(at, _)| found(at + 1, KeyAccess::W));
    }
}

/// SORT's options, each with its place.
fn sort_options(args: Args<'_>) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 2;
    std::iter::from_fn(move || {
        let place = at;
        let word = args.get(place)?;
        at += if is(word, "LIMIT") {
            3
        } else if is(word, "BY") || is(word, "GET") || is(word, "STORE") {
            2
        } else {
            1
        };
        Some((place, word))
    })
}

/// GEORADIUS and GEORADIUSBYMEMBER: the first argument, and what follows STORE or STOREDIST.
fn georadius(spec: &CommandSpec, args: Args<'_>, found: &mut impl FnMut(usize, KeyAccess)) {
    found(1, access_of(spec, 0));
    let mut at = usize::from(spec.arity.unsigned_abs());
    while let Some(word) = args.get(at) {
        let stores = is(word, "STORE") || is(word, "STOREDIST");
        if stores && at + 1 < args.len() {
            found(at + 1, access_of(spec, 1));
        }
        at += if stores || is(word, "COUNT") { 2 } else { 1 };
    }
}

/// MIGRATE: its third argument, or if that is empty, all that follow KEYS.
fn migrate(
    spec: &CommandSpec,
    args: Args<'_>,
    found: &mut impl FnMut(usize, KeyAccess),
) -> Result<(), KeyError> {
    let access = KeyAccess { incomplete: false, ..access_of(spec, 0) };
    let mut at = 6;
    while let Some(word) = args.get(at) {
        if is(word, "KEYS") {
            if !args.at(3).is_empty() {
                return Err(KeyError::MigrateBoth);
            }
            (at + 1..args.len()).for_each(|index| found(index, access));
            return Ok(());
        }
        // Passwords and user names may be called anything, `keys` too.
        at += if is(word, "AUTH2") {
            3
        } else if is(word, "AUTH") {
            2
        } else {
            1
        };
    }
    found(3, access);
    Ok(())
}

/// The access of a row's key specification.
fn access_of(spec: &CommandSpec, nth: usize) -> KeyAccess {
    spec.keys.get(nth).map_or(KeyAccess::RW, |keys| keys.access)
}

#[inline]
fn is(word: &[u8], keyword: &str) -> bool {
    word.eq_ignore_ascii_case(keyword.as_bytes())
}

/// An integer as strictly as Redis reads its arguments: no sign but `-`, no leading zero, no space.
fn integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let plain = match digits {
        [b'0'] => text.len() == 1,
        [b'1'..=b'9', ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if plain { std::str::from_utf8(text).ok()?.parse().ok() } else { None }
}

#[cfg(test)]
#[path = "keys_tests.rs"]
mod tests;
