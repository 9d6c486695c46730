//! OBJECT: how a value is kept.

use super::failure::{Failure, Outcome};
use super::{Call, Handler};
use crate::keyspace::Encoding;
use crate::number::parse_integer;

/// See the module.
pub const COMMANDS: &[(&str, Handler)] = &[
    ("OBJECT|ENCODING", encoding),
    ("OBJECT|FREQ", frequency),
    ("OBJECT|IDLETIME", idle_time),
    ("OBJECT|REFCOUNT", reference_count),
    ("OBJECT|HELP", help),
];

fn encoding(call: &mut Call<'_>) -> Outcome {
    match call.look(call.first, call.arg(2)) {
        Some(handle) => call.reply_bulk(call.node.keyspace.encoding(handle).name().as_bytes()),
        None => call.reply_null(),
    }
    Ok(())
}

fn frequency(call: &mut Call<'_>) -> Outcome {
    if call.look(call.first, call.arg(2)).is_none() {
        call.reply_null();
        return Ok(());
    }
    Err(Failure::Text(
        "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching \
         between policies at runtime LRU and LFU data will take some time to adjust.",
    ))
}

fn idle_time(call: &mut Call<'_>) -> Outcome {
    match call.look(call.first, call.arg(2)) {
        Some(handle) => call.reply_integer(i64::from(call.node.keyspace.idle_s(handle))),
        None => call.reply_null(),
    }
    Ok(())
}

/// Nothing is shared here; but Redis shares small integers, and says so by this number.
const SHARED: i64 = i32::MAX as i64;

fn reference_count(call: &mut Call<'_>) -> Outcome {
    match call.look(call.first, call.arg(2)) {
        Some(handle) => {
            let small = parse_integer(call.bytes(handle)).is_some_and(|value| (0..10_000).contains(&value));
            let shared = small && call.node.keyspace.encoding(handle) == Encoding::Int;
            call.reply_integer(if shared { SHARED } else { 1 });
        }
        None => call.reply_null(),
    }
    Ok(())
}

fn help(call: &mut Call<'_>) -> Outcome {
    call.reply_help(
        "OBJECT",
        &[
            "ENCODING <key>",
            "    Return the kind of internal representation used in order to store the value",
            "    associated with a <key>.",
            "FREQ <key>",
            "    Return the access frequency index of the <key>. The returned integer is",
            "    proportional to the logarithm of the recent access frequency of the key.",
            "IDLETIME <key>",
            "    Return the idle time of the <key>, that is the approximated number of",
            "    seconds elapsed since the last access to the key.",
            "REFCOUNT <key>",
            "    Return the number of references of the value associated with the specified",
            "    <key>.",
        ],
    );
    Ok(())
}
