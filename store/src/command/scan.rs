//! SCAN: walking all keys in many small steps.

use super::failure::{CURSOR, NOT_INTEGER, Outcome, SYNTAX};
use super::glob;
use super::{Call, Handler};
use crate::keyspace::Cursor;
use crate::number::{Decimal, parse_integer};
use pointsman_protocol::resp::encode;

/// See the module.
pub const COMMANDS: &[(&str, Handler)] = &[("SCAN", scan)];

/// Keys told a step unless COUNT says otherwise.
const COUNT: usize = 10;

/// A step takes whole segments of the table, so it may tell some hundred keys more than COUNT. An
/// expired key is not told, nor removed.
fn scan(call: &mut Call<'_>) -> Outcome {
    let cursor = cursor(call.arg(1)).ok_or(CURSOR)?;
    let (mut pattern, mut count, mut strings) = (None, COUNT, true);
    let mut at = 2;
    while at < call.args.len() {
        let Some(value) = call.args.get(at + 1) else { return Err(SYNTAX) };
        if call.is_word(at, "MATCH") {
            pattern = (value != b"*").then_some(value);
        } else if call.is_word(at, "COUNT") {
            let value = parse_integer(value).ok_or(NOT_INTEGER)?;
            count = usize::try_from(value).ok().filter(|count| *count > 0).ok_or(SYNTAX)?;
        } else if call.is_word(at, "TYPE") {
            strings = value.eq_ignore_ascii_case(b"string");
        } else {
            return Err(SYNTAX);
        }
        at += 2;
    }
    let keyspace = &call.node.keyspace;
    let now_ms = call.node.now_ms;
    let mut cursor = Cursor::from_number(cursor);
    let (mut found, mut told, mut met) = (Vec::new(), 0, 0);
    while cursor < Cursor::END && met < count {
        cursor = keyspace.walk(cursor, |handle| {
            met += 1;
            let key = keyspace.key(handle);
            let expired = keyspace.expire_at(handle).is_some_and(|at| at < now_ms);
            if strings && !expired && pattern.is_none_or(|pattern| glob::matches(pattern, key)) {
                encode::bulk(&mut found, key);
                told += 1;
            }
        });
    }
    // Behind the last key: say so now rather than with an empty step.
    if keyspace.walk_is_over(cursor) {
        cursor = Cursor::END;
    }
    call.reply_array(2);
    call.reply_bulk(Decimal::unsigned(cursor.number()).bytes());
    call.reply_array(told);
    call.out.append(&mut found);
    Ok(())
}

/// An unsigned decimal number, as `strtoul` reads it.
fn cursor(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
