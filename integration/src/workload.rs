//! Random requests for tests that compare with an oracle.
//!
//! [`modelled`] stays within what [`crate::model`] knows and makes every written value unique, so
//! that a crossed or doubled reply cannot look right by chance. [`strings`] and [`every_type`] are
//! for comparing with a real standalone server; they avoid what depends on the time of execution or
//! has no order (SMEMBERS, KEYS, SCAN, RANDOMKEY).

use crate::random::Random;

type Request = Vec<Vec<u8>>;

/// A request on `keys` that the model knows. `serial` goes into written values and is counted up.
pub fn modelled(random: &mut Random, keys: &[Vec<u8>], tag: &str, serial: &mut u64) -> Request {
    *serial += 1;
    let unique = format!("{tag}-{serial}-{}", "x".repeat(random.below(40)));
    let key = |random: &mut Random| random.pick(keys).clone();
    let many = |random: &mut Random| -> Vec<Vec<u8>> {
        (0..1 + random.below(8)).map(|_| random.pick(keys).clone()).collect()
    };
    let counter = |random: &mut Random| [&b"counter:"[..], random.pick::<Vec<u8>>(keys).as_slice()].concat();
    match random.below(20) {
        0..=3 => request("GET", [key(random)]),
        4..=6 => request("SET", [key(random), unique.into_bytes()]),
        7 => request("SET", [key(random), unique.into_bytes(), random.word(&["NX", "XX", "GET"]).into()]),
        8..=9 => request("INCR", [counter(random)]),
        10 => request("INCRBY", [counter(random), random.below(1000).to_string().into_bytes()]),
        11 => request("APPEND", [key(random), unique.into_bytes()]),
        12 => request("GETSET", [key(random), unique.into_bytes()]),
        13..=14 => request("MGET", many(random)),
        15 => {
            let pairs = many(random).into_iter().enumerate();
            request("MSET", pairs.flat_map(|(n, key)| [key, format!("{unique}.{n}").into_bytes()]))
        }
        16 => request(random.word(&["DEL", "UNLINK"]), many(random)),
        17 => request(random.word(&["EXISTS", "TOUCH"]), many(random)),
        18 => request(random.word(&["STRLEN", "GETDEL"]), [key(random)]),
        // Answered without a node, or not at all: these must keep their places too.
        _ => match random.below(4) {
            0 => request("PING", []),
            1 => request("ECHO", [unique.into_bytes()]),
            2 => request("GET", []),
            _ => request("NOSUCH", [unique.into_bytes()]),
        },
    }
}

/// A request of the string and generic commands, right or wrong.
pub fn strings(random: &mut Random, keys: &[Vec<u8>]) -> Request {
    let mut text = || -> String { String::from_utf8_lossy(random.pick::<Vec<u8>>(keys)).into_owned() };
    let (key, other) = (text(), text());
    // Nothing that expires while the test runs: the two sides would differ in when.
    let time =
        random.word(&["0", "-1", "100000", "9223372036854775807", "-9223372036854775808", "3.5", "x", ""]);
    let number = random
        .word(&["0", "1", "-1", "7", "9223372036854775807", "-9223372036854775808", "3.5", "x", ""])
        .to_string();
    let value = random
        .word(&["", "a", "hello world", "12", "-5", "1e3", "\r\n", "\u{fc}\0\u{1}", "10.50"])
        .to_string();
    let small = (random.below(12) as i64 - 4).to_string();
    let line: Vec<&str> = match random.below(40) {
        0..=3 => vec!["GET", &key],
        4..=6 => vec!["SET", &key, &value],
        7 => vec!["SET", &key, &value, "EX", "1000"],
        8 => vec!["SET", &key, &value, random.word(&["NX", "XX", "GET", "KEEPTTL", "nonsense", "EX"])],
        9 => vec!["SET", &key, &value, "XX", "GET", "PX", time],
        10 => vec!["INCR", &key],
        11 => vec![random.word(&["INCRBY", "DECRBY"]), &key, &number],
        12 => vec!["DECR", &key],
        13 => vec!["INCRBYFLOAT", &key, &number],
        14 => vec!["APPEND", &key, &value],
        15 => vec!["STRLEN", &key],
        16 => vec!["GETRANGE", &key, &small, &number],
        17 => vec!["SETRANGE", &key, &small, &value],
        18 => vec!["GETSET", &key, &value],
        19 => vec!["GETDEL", &key],
        20 => vec!["GETEX", &key],
        21 => vec!["SETNX", &key, &value],
        22 => vec!["SETEX", &key, time, &value],
        23..=24 => vec!["MGET", &key, &other, "nothing", &key],
        25 => vec!["MSET", &key, &value, &other, "mset"],
        26 => vec!["MSET", &key, &value, &other],
        27 => vec!["DEL", &key, &other],
        28 => vec!["UNLINK", &key, &key],
        29 => vec!["EXISTS", &key, &other, &key],
        30 => vec!["TOUCH", &key, "nothing"],
        31 => vec!["TYPE", &key],
        32 => vec!["EXPIREAT", &key, "4102444800"],
        33 => vec!["EXPIRETIME", &key],
        34 => vec!["PERSIST", &key],
        35 => vec!["EXPIRE", &key, time, random.word(&["NX", "XX", "GT", "LT", "??"])],
        36 => vec!["RENAME", &key, &key],
        37 => vec!["SUBSTR", &key, "0", &small],
        38 => vec!["GETEX", &key, "PERSIST"],
        _ => vec![random.word(&["GET", "SET", "MGET", "nosuch", "INCR", "EXPIRE"])],
    };
    line.into_iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// A request of any type's commands on one key (several in one slot where the command wants that).
pub fn every_type(random: &mut Random, keys: &[Vec<u8>]) -> Request {
    if random.once_in(2) {
        return strings(random, keys);
    }
    // Keys of one tag lie in one slot.
    let tag = random.below(8);
    let key = format!("{{tag{tag}}}{}", random.below(4));
    let other = format!("{{tag{tag}}}{}", random.below(4));
    let text = random.word(&["a", "b", "c", "10", "-1", "\r\n", ""]).to_string();
    let number = random.word(&["0", "1", "-1", "2", "100", "x", "1.5"]).to_string();
    let entry = format!("{}-1", random.below(1000));
    let line: Vec<&str> = match random.below(44) {
        0 => vec!["HSET", &key, &text, &number],
        1 => vec!["HGET", &key, &text],
        2 => vec!["HINCRBY", &key, &text, &number],
        3 => vec!["HDEL", &key, &text],
        4 => vec!["HLEN", &key],
        5 => vec!["HMGET", &key, &text, "a", "z"],
        6..=7 => vec!["RPUSH", &key, &text, &number],
        8 => vec!["LPUSH", &key, &text],
        9 => vec!["LRANGE", &key, "0", "-1"],
        10 => vec!["LPOP", &key],
        11 => vec!["LLEN", &key],
        12 => vec!["LINSERT", &key, "BEFORE", &text, &number],
        13 => vec!["LMOVE", &key, &other, "LEFT", "RIGHT"],
        14 => vec!["SADD", &key, &text, &number],
        15 => vec!["SCARD", &key],
        16 => vec!["SISMEMBER", &key, &text],
        17 => vec!["SREM", &key, &text],
        18 => vec!["SINTERCARD", "2", &key, &other],
        19 => vec!["SUNIONSTORE", &key, &other, &key],
        20 => vec!["SMOVE", &key, &other, &text],
        21..=22 => vec!["ZADD", &key, &number, &text],
        23 => vec!["ZRANGE", &key, "0", "-1", "WITHSCORES"],
        24 => vec!["ZSCORE", &key, &text],
        25 => vec!["ZINCRBY", &key, &number, &text],
        26 => vec!["ZUNIONSTORE", &key, "2", &other, &key],
        27 => vec!["ZUNION", "2", &other, &key, "WITHSCORES"],
        28 => vec!["ZPOPMIN", &key],
        29 => vec!["XADD", &key, "MAXLEN", "5", &entry, "f", &text],
        30 => vec!["XLEN", &key],
        31 => vec!["XRANGE", &key, "-", "+"],
        32 => vec!["SETBIT", &key, &number, "1"],
        33 => vec!["BITCOUNT", &key],
        34 => vec!["BITOP", "OR", &key, &other, &key],
        35 => vec!["BITFIELD", &key, "INCRBY", "u8", "0", "200"],
        36 => vec!["PFADD", &key, &text],
        37 => vec!["PFCOUNT", &key, &other],
        38 => vec!["SORT", &key, "ALPHA", "LIMIT", "0", "3"],
        39 => vec!["COPY", &key, &other, "REPLACE"],
        40 => vec!["RENAME", &key, &other],
        41 => vec!["MSETNX", &key, &text, &other, &number],
        42 => vec!["LCS", &key, &other],
        _ => vec!["OBJECT", "ENCODING", &key],
    };
    line.into_iter().map(|word| word.as_bytes().to_vec()).collect()
}

fn request(name: &str, args: impl IntoIterator<Item = Vec<u8>>) -> Request {
    std::iter::once(name.as_bytes().to_vec()).chain(args).collect()
}
