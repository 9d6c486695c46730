//! Strings: set, get, and parts of them.

use super::expire::{absolute_ms, is_past};
use super::failure::{Failure, NOT_INTEGER, OFFSET, Outcome, STRING_TOO_LONG, SYNTAX};
use super::{Call, Handler};
use crate::keyspace::{Encoding, Handle};
use crate::number::parse_integer;

/// See the module.
pub const COMMANDS: &[(&str, Handler)] = &[
    ("GET", get),
    ("SET", set),
    ("SETNX", setnx),
    ("SETEX", setex),
    ("PSETEX", psetex),
    ("GETSET", getset),
    ("GETDEL", getdel),
    ("GETEX", getex),
    ("MGET", mget),
    ("MSET", mset),
    ("MSETNX", msetnx),
    ("APPEND", append),
    ("STRLEN", strlen),
    ("GETRANGE", getrange),
    ("SUBSTR", getrange),
    ("SETRANGE", setrange),
];

fn get(call: &mut Call<'_>) -> Outcome {
    let (place, key) = (call.first, call.arg(1));
    match call.read(place, key) {
        Some(handle) => call.reply_value(handle),
        None => call.reply_null(),
    }
    Ok(())
}

/// What may stand behind the value of SET, or behind the key of GETEX.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Options {
    if_absent: bool,
    if_present: bool,
    get: bool,
    keep_expiry: bool,
    persist: bool,
    /// Which argument tells the expiry, in which unit, and from when on it counts.
    expiry: Option<Expiry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Expiry {
    at: usize,
    seconds: bool,
    relative: bool,
}

/// Reads the options from argument `from` on. Which of them exclude each other is Redis' rule: two
/// different expiries do, the same one twice does not, and the last one counts.
fn options(call: &Call<'_>, from: usize, for_set: bool) -> Result<Options, Failure> {
    let mut options = Options::default();
    let mut at = from;
    while at < call.args.len() {
        let word = |word: &str| call.is_word(at, word);
        let expiry = if word("EX") {
            Some((true, true))
        } else if word("PX") {
            Some((false, true))
        } else if word("EXAT") {
            Some((true, false))
        } else if word("PXAT") {
            Some((false, false))
        } else {
            None
        };
        if let Some((seconds, relative)) = expiry {
            let another =
                options.expiry.is_some_and(|other| (other.seconds, other.relative) != (seconds, relative));
            if another || options.keep_expiry || options.persist || at + 1 >= call.args.len() {
                return Err(SYNTAX);
            }
            options.expiry = Some(Expiry { at: at + 1, seconds, relative });
            at += 2;
            continue;
        }
        let free = options.expiry.is_none();
        if for_set && word("NX") && !options.if_present {
            options.if_absent = true;
        } else if for_set && word("XX") && !options.if_absent {
            options.if_present = true;
        } else if for_set && word("GET") {
            options.get = true;
        } else if for_set && word("KEEPTTL") && free {
            options.keep_expiry = true;
        } else if !for_set && word("PERSIST") && free {
            options.persist = true;
        } else {
            return Err(SYNTAX);
        }
        at += 1;
    }
    Ok(options)
}

fn expiry_ms(call: &Call<'_>, expiry: Expiry) -> Result<u64, Failure> {
    let value = call.integer(expiry.at)?;
    absolute_ms(value, expiry.seconds, expiry.relative.then_some(call.node.now_ms), call.spec.name)
}

fn set(call: &mut Call<'_>) -> Outcome {
    let (place, key, value) = (call.first, call.arg(1), call.arg(2));
    if call.args.len() == 3 {
        let old = call.find(place, key);
        call.put(old, place, key, value, Encoding::of(value), None)?;
        call.effect_same(place);
        call.ok();
        return Ok(());
    }
    let options = options(call, 3, true)?;
    let at = match options.expiry {
        Some(expiry) => Some(expiry_ms(call, expiry)?),
        None => None,
    };
    let old = if options.get { call.read(place, key) } else { call.find(place, key) };
    if options.get {
        match old {
            Some(handle) => call.reply_value(handle),
            None => call.reply_null(),
        }
    }
    if (options.if_absent && old.is_some()) || (options.if_present && old.is_none()) {
        if !options.get {
            call.reply_null();
        }
        return Ok(());
    }
    store(call, old, value, at, options.keep_expiry)?;
    if !options.get {
        call.ok();
    }
    Ok(())
}

/// Sets the first key to `value`, with its effect.
fn store(
    call: &mut Call<'_>,
    old: Option<Handle>,
    value: &[u8],
    at: Option<u64>,
    keep_expiry: bool,
) -> Outcome {
    let (place, key) = (call.first, call.arg(1));
    let at = match old {
        Some(handle) if keep_expiry => call.node.keyspace.expire_at(handle),
        _ => at,
    };
    call.put(old, place, key, value, Encoding::of(value), at)?;
    call.effect_set(place, key, value, at);
    Ok(())
}

fn setnx(call: &mut Call<'_>) -> Outcome {
    let (place, key, value) = (call.first, call.arg(1), call.arg(2));
    if call.find(place, key).is_some() {
        call.reply_integer(0);
        return Ok(());
    }
    store(call, None, value, None, false)?;
    call.reply_integer(1);
    Ok(())
}

fn setex(call: &mut Call<'_>) -> Outcome {
    set_expiring(call, true)
}

fn psetex(call: &mut Call<'_>) -> Outcome {
    set_expiring(call, false)
}

fn set_expiring(call: &mut Call<'_>, seconds: bool) -> Outcome {
    let at = expiry_ms(call, Expiry { at: 2, seconds, relative: true })?;
    let (place, key, value) = (call.first, call.arg(1), call.arg(3));
    let old = call.find(place, key);
    store(call, old, value, Some(at), false)?;
    call.ok();
    Ok(())
}

fn getset(call: &mut Call<'_>) -> Outcome {
    let (place, key, value) = (call.first, call.arg(1), call.arg(2));
    let old = call.read(place, key);
    match old {
        Some(handle) => call.reply_value(handle),
        None => call.reply_null(),
    }
    store(call, old, value, None, false)
}

fn getdel(call: &mut Call<'_>) -> Outcome {
    let (place, key) = (call.first, call.arg(1));
    match call.read(place, key) {
        Some(handle) => {
            call.reply_value(handle);
            call.delete(place, key, handle);
        }
        None => call.reply_null(),
    }
    Ok(())
}

fn getex(call: &mut Call<'_>) -> Outcome {
    let options = options(call, 2, false)?;
    let (place, key) = (call.first, call.arg(1));
    let Some(handle) = call.read(place, key) else {
        call.reply_null();
        return Ok(());
    };
    match options.expiry {
        Some(expiry) => {
            let at = expiry_ms(call, expiry)?;
            call.reply_value(handle);
            if !expiry.relative && is_past(call, at as i64) {
                call.delete(place, key, handle);
            } else {
                call.node.keyspace.set_expiry(place, handle, Some(at))?;
                call.effect_expire(place, key, at);
            }
        }
        None => {
            call.reply_value(handle);
            if options.persist && call.node.keyspace.expire_at(handle).is_some() {
                call.node.keyspace.set_expiry(place, handle, None)?;
                call.effect(place, &[&b"PERSIST"[..], key]);
            }
        }
    }
    Ok(())
}

fn mget(call: &mut Call<'_>) -> Outcome {
    let start = call.out.len();
    call.reply_array(call.args.len() - 1);
    for index in 1..call.args.len() {
        let key = call.arg(index);
        let place = call.nth_place(index - 1, key);
        match call.read(place, key) {
            Some(handle) => call.reply_value(handle),
            None => call.reply_null(),
        }
        call.check_reply(start, 0)?;
    }
    Ok(())
}

fn mset(call: &mut Call<'_>) -> Outcome {
    if call.args.len().is_multiple_of(2) {
        return Err(Failure::Arity);
    }
    set_all(call)?;
    call.ok();
    Ok(())
}

fn msetnx(call: &mut Call<'_>) -> Outcome {
    if call.args.len().is_multiple_of(2) {
        return Err(Failure::Arity);
    }
    for index in (1..call.args.len()).step_by(2) {
        let key = call.arg(index);
        let place = call.nth_place(index / 2, key);
        if call.find(place, key).is_some() {
            call.reply_integer(0);
            return Ok(());
        }
    }
    set_all(call)?;
    call.reply_integer(1);
    Ok(())
}

fn set_all(call: &mut Call<'_>) -> Outcome {
    for index in (1..call.args.len()).step_by(2) {
        let (key, value) = (call.arg(index), call.arg(index + 1));
        let place = call.nth_place(index / 2, key);
        let old = call.find(place, key);
        call.put(old, place, key, value, Encoding::of(value), None)?;
        call.effect_set(place, key, value, None);
    }
    Ok(())
}

fn append(call: &mut Call<'_>) -> Outcome {
    let (place, key, tail) = (call.first, call.arg(1), call.arg(2));
    let length = match call.find(place, key) {
        None => {
            call.put(None, place, key, tail, Encoding::of(tail), None)?;
            tail.len()
        }
        Some(handle) => {
            let length = call.bytes(handle).len() + tail.len();
            check_length(call, length)?;
            let changed = call.node.keyspace.change(handle, |bytes| bytes.extend_from_slice(tail));
            if changed.is_none() {
                let mut value = Vec::with_capacity(length);
                value.extend_from_slice(call.bytes(handle));
                value.extend_from_slice(tail);
                rewrite(call, handle, &value)?;
            }
            length
        }
    };
    call.effect_same(place);
    call.reply_integer(length as i64);
    Ok(())
}

/// Replaces the first key's string by one that was made from it. Its expiry stays.
fn rewrite(call: &mut Call<'_>, handle: Handle, value: &[u8]) -> Outcome {
    let expire_at = call.node.keyspace.expire_at(handle);
    call.put(Some(handle), call.first, call.arg(1), value, Encoding::Raw, expire_at)
}

fn check_length(call: &Call<'_>, length: usize) -> Outcome {
    if length > call.node.spec.limits.value_bytes_max { Err(STRING_TOO_LONG) } else { Ok(()) }
}

fn strlen(call: &mut Call<'_>) -> Outcome {
    let (place, key) = (call.first, call.arg(1));
    let length = call.read(place, key).map_or(0, |handle| call.bytes(handle).len());
    call.reply_integer(length as i64);
    Ok(())
}

fn getrange(call: &mut Call<'_>) -> Outcome {
    let (start, end) = (call.integer(2)?, call.integer(3)?);
    let (place, key) = (call.first, call.arg(1));
    let Some(handle) = call.read(place, key) else {
        call.reply_bulk(b"");
        return Ok(());
    };
    let range = range(start, end, call.bytes(handle).len());
    let part = call.node.keyspace.bytes(handle).get(range).unwrap_or_default();
    pointsman_protocol::resp::encode::bulk(call.out, part);
    Ok(())
}

/// The bytes of a string of `length` between two inclusive places, which count from the end if they
/// are negative.
fn range(start: i64, end: i64, length: usize) -> std::ops::Range<usize> {
    if start < 0 && end < 0 && start > end {
        return 0..0;
    }
    let length = length as i64;
    let from_start = |place: i64| if place < 0 { (length + place).max(0) } else { place };
    let (start, end) = (from_start(start), from_start(end).min(length - 1));
    if start > end { 0..0 } else { start as usize..end as usize + 1 }
}

fn setrange(call: &mut Call<'_>) -> Outcome {
    let offset = parse_integer(call.arg(2)).ok_or(NOT_INTEGER)?;
    let offset = usize::try_from(offset).map_err(|_| OFFSET)?;
    let (place, key, part) = (call.first, call.arg(1), call.arg(3));
    let old = call.find(place, key);
    let length = old.map_or(0, |handle| call.bytes(handle).len());
    if part.is_empty() {
        call.reply_integer(length as i64);
        return Ok(());
    }
    let end = offset.saturating_add(part.len());
    check_length(call, end)?;
    let write = |bytes: &mut Vec<u8>| {
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset..end].copy_from_slice(part);
    };
    match old {
        None => {
            let mut value = Vec::new();
            write(&mut value);
            call.put(None, place, key, &value, Encoding::Raw, None)?;
        }
        Some(handle) => {
            if call.node.keyspace.change(handle, write).is_none() {
                let mut value = call.bytes(handle).to_vec();
                write(&mut value);
                rewrite(call, handle, &value)?;
            }
        }
    }
    call.effect_same(place);
    call.reply_integer(length.max(end) as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::range;

    #[test]
    fn ranges_of_strings() {
        for (start, end, length, wanted) in [
            (0, 3, 16, 0..4),
            (-3, -1, 16, 13..16),
            (0, -1, 16, 0..16),
            (10, 100, 16, 10..16),
            (100, 200, 16, 0..0),
            (5, 3, 16, 0..0),
            (-1, -5, 16, 0..0),
            (-100, 2, 16, 0..3),
            (-100, -100, 16, 0..1),
            (0, 0, 0, 0..0),
            (i64::MIN, i64::MAX, 4, 0..4),
        ] {
            assert_eq!(range(start, end, length), wanted, "{start} {end} of {length}");
        }
    }
}
