//! Expiry: setting, asking and removing it.

use super::failure::{Failure, Outcome, invalid_expire};
use super::{Call, Handler};
use crate::server::client::Kind;

/// See the module.
pub const COMMANDS: &[(&str, Handler)] = &[
    ("EXPIRE", |call| expire(call, true, true)),
    ("PEXPIRE", |call| expire(call, false, true)),
    ("EXPIREAT", |call| expire(call, true, false)),
    ("PEXPIREAT", |call| expire(call, false, false)),
    ("TTL", |call| remaining(call, |at, now| (at.saturating_sub(now) + 500) / 1000)),
    ("PTTL", |call| remaining(call, |at, now| at.saturating_sub(now))),
    ("EXPIRETIME", |call| remaining(call, |at, _| (at + 500) / 1000)),
    ("PEXPIRETIME", |call| remaining(call, |at, _| at)),
    ("PERSIST", persist),
];

/// The time at which something expires, in milliseconds since 1970, from what a client said: above
/// zero, in seconds or milliseconds, counted from `since_ms` or from 1970.
pub fn absolute_ms(value: i64, seconds: bool, since_ms: Option<u64>, command: &str) -> Result<u64, Failure> {
    let at = if seconds { value.checked_mul(1000) } else { Some(value) };
    let at = at.filter(|at| *at > 0).and_then(|at| at.checked_add_unsigned(since_ms.unwrap_or(0)));
    at.map(|at| at as u64).ok_or_else(|| invalid_expire(command))
}

/// True if something that expires then is to be deleted at once. Not on a replica: its primary
/// decides.
pub fn is_past(call: &Call<'_>, at: i64) -> bool {
    at <= call.node.now_ms as i64 && call.client.kind.get() != Kind::Primary
}

/// NX, XX, GT and LT.
#[derive(Clone, Copy, Default)]
struct Conditions {
    if_none: bool,
    if_any: bool,
    if_greater: bool,
    if_less: bool,
}

fn conditions(call: &Call<'_>) -> Result<Conditions, Failure> {
    let mut conditions = Conditions::default();
    for at in 3..call.args.len() {
        if call.is_word(at, "NX") {
            conditions.if_none = true;
        } else if call.is_word(at, "XX") {
            conditions.if_any = true;
        } else if call.is_word(at, "GT") {
            conditions.if_greater = true;
        } else if call.is_word(at, "LT") {
            conditions.if_less = true;
        } else {
            let shown = String::from_utf8_lossy(call.arg(at)).into_owned();
            return Err(Failure::Made(format!("ERR Unsupported option {shown}")));
        }
    }
    if conditions.if_none && (conditions.if_any || conditions.if_greater || conditions.if_less) {
        return Err(Failure::Text("ERR NX and XX, GT or LT options at the same time are not compatible"));
    }
    if conditions.if_greater && conditions.if_less {
        return Err(Failure::Text("ERR GT and LT options at the same time are not compatible"));
    }
    Ok(conditions)
}

fn expire(call: &mut Call<'_>, seconds: bool, relative: bool) -> Outcome {
    let conditions = conditions(call)?;
    let value = call.integer(2)?;
    // A time before now is no error here, but asks for deletion.
    let at = if seconds { value.checked_mul(1000) } else { Some(value) };
    let since = if relative { call.node.now_ms } else { 0 };
    let at =
        at.and_then(|at| at.checked_add_unsigned(since)).ok_or_else(|| invalid_expire(call.spec.name))?;
    let (place, key) = (call.first, call.arg(1));
    let Some(handle) = call.find(place, key) else {
        call.reply_integer(0);
        return Ok(());
    };
    let current = call.node.keyspace.expire_at(handle).map(|at| at as i64);
    let refused = (conditions.if_none && current.is_some())
        || (conditions.if_any && current.is_none())
        || (conditions.if_greater && current.is_none_or(|current| at <= current))
        || (conditions.if_less && current.is_some_and(|current| at >= current));
    if refused {
        call.reply_integer(0);
        return Ok(());
    }
    if is_past(call, at) {
        call.delete(place, key, handle);
    } else {
        let at = at.max(0) as u64;
        call.node.keyspace.set_expiry(place, handle, Some(at))?;
        call.effect_expire(place, key, at);
    }
    call.reply_integer(1);
    Ok(())
}

/// TTL and its kin: -2 without a key, -1 without an expiry, otherwise what `tell` makes of the time of
/// expiry and the time now.
fn remaining(call: &mut Call<'_>, tell: fn(u64, u64) -> u64) -> Outcome {
    let (place, key) = (call.first, call.arg(1));
    let reply = match call.look(place, key) {
        None => -2,
        Some(handle) => match call.node.keyspace.expire_at(handle) {
            None => -1,
            Some(at) => tell(at, call.node.now_ms) as i64,
        },
    };
    call.reply_integer(reply);
    Ok(())
}

fn persist(call: &mut Call<'_>) -> Outcome {
    let (place, key) = (call.first, call.arg(1));
    let handle = call.find(place, key).filter(|handle| call.node.keyspace.expire_at(*handle).is_some());
    if let Some(handle) = handle {
        call.node.keyspace.set_expiry(place, handle, None)?;
        call.effect_same(place);
    }
    call.reply_integer(i64::from(handle.is_some()));
    Ok(())
}
