//! Strings as numbers.

use super::failure::{DECREMENT_OVERFLOW, NOT_FINITE, NOT_FLOAT, NOT_INTEGER, OVERFLOW, Outcome};
use super::{Call, Handler};
use crate::extended::Extended;
use crate::keyspace::Encoding;
use crate::number::{Decimal, parse_integer};

/// See the module.
pub const COMMANDS: &[(&str, Handler)] = &[
    ("INCR", |call| add(call, 1)),
    ("DECR", |call| add(call, -1)),
    ("INCRBY", |call| {
        let by = call.integer(2)?;
        add(call, by)
    }),
    ("DECRBY", |call| {
        let by = call.integer(2)?.checked_neg().ok_or(DECREMENT_OVERFLOW)?;
        add(call, by)
    }),
    ("INCRBYFLOAT", add_float),
];

fn add(call: &mut Call<'_>, by: i64) -> Outcome {
    let (place, key) = (call.first, call.arg(1));
    let old = call.find(place, key);
    let (value, expire_at) = match old {
        None => (0, None),
        Some(handle) => {
            let value = parse_integer(call.bytes(handle)).ok_or(NOT_INTEGER)?;
            (value, call.node.keyspace.expire_at(handle))
        }
    };
    let value = value.checked_add(by).ok_or(OVERFLOW)?;
    call.put(old, place, key, Decimal::new(value).bytes(), Encoding::Int, expire_at)?;
    call.effect_same(place);
    call.reply_integer(value);
    Ok(())
}

fn add_float(call: &mut Call<'_>) -> Outcome {
    let (place, key) = (call.first, call.arg(1));
    let old = call.find(place, key);
    let (value, expire_at) = match old {
        None => (Extended::ZERO, None),
        Some(handle) => {
            let value = Extended::parse(call.bytes(handle)).ok_or(NOT_FLOAT)?;
            (value, call.node.keyspace.expire_at(handle))
        }
    };
    let by = Extended::parse(call.arg(2)).ok_or(NOT_FLOAT)?;
    let sum = value.add(by).filter(|sum| sum.is_finite()).ok_or(NOT_FINITE)?;
    let text = sum.to_decimal();
    call.put(old, place, key, text.as_bytes(), Encoding::of_text(text.as_bytes()), expire_at)?;
    // The sum, not the addend: a follower must not depend on how it would round.
    call.effect_set(place, key, text.as_bytes(), expire_at);
    call.reply_bulk(text.as_bytes());
    Ok(())
}
