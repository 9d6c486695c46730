//! Keys as such: deleting, renaming, copying, counting, listing them.

use super::failure::{DATABASE, Failure, NO_SUCH_KEY, Outcome, SAME_OBJECT, SYNTAX};
use super::glob;
use super::{Call, Handler};
use crate::keyspace::{Cursor, Payload, Value};
use pointsman_protocol::resp::encode;

/// See the module.
pub const COMMANDS: &[(&str, Handler)] = &[
    ("DEL", delete),
    ("UNLINK", delete),
    ("EXISTS", |call| count(call, false)),
    ("TOUCH", |call| count(call, true)),
    ("TYPE", kind),
    ("KEYS", keys),
    ("DBSIZE", dbsize),
    ("RANDOMKEY", random_key),
    ("RENAME", |call| rename(call, false)),
    ("RENAMENX", |call| rename(call, true)),
    ("COPY", copy),
    ("FLUSHALL", flush),
    ("FLUSHDB", flush),
];

/// DEL and UNLINK are the same here: what is large is freed elsewhere in any case.
fn delete(call: &mut Call<'_>) -> Outcome {
    let mut deleted = 0;
    for index in 1..call.args.len() {
        let key = call.arg(index);
        let place = call.nth_place(index - 1, key);
        if let Some(handle) = call.find(place, key) {
            call.delete(place, key, handle);
            deleted += 1;
        }
    }
    call.reply_integer(deleted);
    Ok(())
}

fn count(call: &mut Call<'_>, touch: bool) -> Outcome {
    let mut found = 0;
    for index in 1..call.args.len() {
        let key = call.arg(index);
        let place = call.nth_place(index - 1, key);
        let handle = if touch { call.read(place, key) } else { call.look(place, key) };
        found += i64::from(handle.is_some());
    }
    call.reply_integer(found);
    Ok(())
}

fn kind(call: &mut Call<'_>) -> Outcome {
    let (place, key) = (call.first, call.arg(1));
    let name = if call.look(place, key).is_some() { "string" } else { "none" };
    encode::simple(call.out, name);
    Ok(())
}

/// Lists every key that matches, in one turn: as slow as Redis has it, and as atomic.
fn keys(call: &mut Call<'_>) -> Outcome {
    let pattern = call.arg(1);
    let keyspace = &call.node.keyspace;
    let now_ms = call.node.now_ms;
    let mut found = Vec::new();
    let mut count = 0;
    let mut cursor = Cursor::START;
    while cursor < Cursor::END {
        cursor = keyspace.walk(cursor, |handle| {
            let key = keyspace.key(handle);
            let expired = keyspace.expire_at(handle).is_some_and(|at| at < now_ms);
            if !expired && glob::matches(pattern, key) {
                encode::bulk(&mut found, key);
                count += 1;
            }
        });
        call.check_reply(call.out.len(), found.len())?;
    }
    call.reply_array(count);
    call.out.append(&mut found);
    Ok(())
}

fn dbsize(call: &mut Call<'_>) -> Outcome {
    call.reply_integer(call.node.keyspace.len() as i64);
    Ok(())
}

/// How often an expired key is drawn before it is accepted that there may be no other.
const DRAWS_MAX: usize = 100;

fn random_key(call: &mut Call<'_>) -> Outcome {
    for draw in 0..DRAWS_MAX {
        let random = &mut call.node.random;
        let Some(handle) = call.node.keyspace.draw(|bound| random.below(bound)) else { break };
        let key = call.node.keyspace.key(handle).to_vec();
        let place = call.place(&key);
        // On a replica expired keys stay; should there be nothing else, one of them is told.
        let last_on_replica = call.node.is_replica() && draw == DRAWS_MAX - 1;
        if last_on_replica || call.find(place, &key).is_some() {
            call.reply_bulk(&key);
            return Ok(());
        }
    }
    call.reply_null();
    Ok(())
}

fn rename(call: &mut Call<'_>, if_absent: bool) -> Outcome {
    let (from_place, from, to) = (call.first, call.arg(1), call.arg(2));
    let handle = call.find(from_place, from).ok_or(NO_SUCH_KEY)?;
    if from == to {
        if if_absent {
            call.reply_integer(0)
        } else {
            call.ok()
        }
        return Ok(());
    }
    let to_place = call.nth_place(1, to);
    if if_absent && call.find(to_place, to).is_some() {
        call.reply_integer(0);
        return Ok(());
    }
    let expire_at = call.node.keyspace.expire_at(handle);
    let encoding = call.node.keyspace.encoding(handle);
    let Value::Bytes(value) = call.node.keyspace.take(from_place, handle);
    call.effect_delete(from_place, from);
    call.effect_set(to_place, to, &value, expire_at);
    let payload = Payload::Value(Value::Bytes(value));
    call.node.keyspace.put(to_place, to, payload, encoding, expire_at)?;
    if if_absent {
        call.reply_integer(1)
    } else {
        call.ok()
    }
    Ok(())
}

fn copy(call: &mut Call<'_>) -> Outcome {
    let (from_place, from, to) = (call.first, call.arg(1), call.arg(2));
    let mut replace = false;
    let mut at = 3;
    while at < call.args.len() {
        if call.is_word(at, "REPLACE") {
            replace = true;
            at += 1;
        } else if call.is_word(at, "DB") && at + 1 < call.args.len() {
            if call.integer(at + 1)? != 0 {
                return Err(match call.node.spec.cluster.enabled() {
                    true => Failure::Text("ERR Copying to another database is not allowed in cluster mode"),
                    false => DATABASE,
                });
            }
            at += 2;
        } else {
            return Err(SYNTAX);
        }
    }
    if from == to {
        return Err(SAME_OBJECT);
    }
    let to_place = call.nth_place(1, to);
    let source = call.read(from_place, from);
    let target = call.find(to_place, to);
    let (Some(source), true) = (source, target.is_none() || replace) else {
        call.reply_integer(0);
        return Ok(());
    };
    let expire_at = call.node.keyspace.expire_at(source);
    let encoding = call.node.keyspace.encoding(source);
    let value = call.bytes(source).to_vec();
    call.effect_set(to_place, to, &value, expire_at);
    call.node.keyspace.put(to_place, to, Payload::Value(Value::Bytes(value)), encoding, expire_at)?;
    call.reply_integer(1);
    Ok(())
}

fn flush(call: &mut Call<'_>) -> Outcome {
    match call.args.len() {
        1 => {}
        2 if call.is_word(1, "SYNC") || call.is_word(1, "ASYNC") => {}
        _ => return Err(SYNTAX),
    }
    call.node.keyspace.clear();
    call.node.log.stage(None, |out| encode::request(out, &[b"FLUSHALL"]));
    call.ok();
    Ok(())
}
