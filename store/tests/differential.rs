//! The same random commands to a node and to redis-server: their replies must be equal, byte for byte.
//!
//! Time enters only through expiries that are far in the future or long past, and replies that tell
//! what is left of one are compared with some tolerance.

mod common;

use common::{Client, Random, address_of, primary};
use pointsman_integration::RedisServer;
use pointsman_protocol::resp::reply::{elements, integer};
use pointsman_store::NodeLimits;

const KEYS: &[&str] = &["a", "b", "c", "{a}1", "{a}2", "{a}3", "a key\r\nwith \0 bytes", "k7", "k8", ""];
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "7",
    "10",
    "100",
    "9999",
    "10000",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "01",
    "+1",
    " 1",
    "1 ",
    "1.5",
    "-0",
    "abc",
    "",
    "3",
    "-2",
    "20",
];
const FLOATS: &[&str] = &[
    "0.1",
    "0.2",
    "-0.3",
    "10.6",
    "1e5",
    "-1e-5",
    "3.0e3",
    "1e17",
    "1e-17",
    "5",
    "-5",
    "123456789.123456789",
    "inf",
    "-inf",
    "nan",
    ".5",
    "5.",
    "1e400",
    "1e4932",
    "1e5000",
    "abc",
    " 1",
    "",
    "+2",
    "0.0000000000000000001",
];
const FUTURE: &[&str] = &["100000", "200000", "300000", "400000"];
const FUTURE_AT_MS: &[&str] = &["4000000000000", "4100000000000", "4200000000000"];
const FUTURE_AT_S: &[&str] = &["4000000001", "4100000001", "4200000001"];
const BAD_TIMES: &[&str] = &["0", "-1", "abc", "9223372036854775807", "9223372036854775", "1.5", ""];

fn value(random: &mut Random) -> Vec<u8> {
    match random.below(8) {
        0 => random.pick(NUMBERS).into(),
        1 => random.pick(FLOATS).into(),
        2 => vec![b'x'; random.below(120) as usize],
        3 => vec![b'y'; 900 + random.below(400) as usize],
        4 => vec![b'z'; 20 + random.below(50) as usize],
        5 => (0..random.below(60)).map(|at| (at * 37) as u8).collect(),
        _ => format!("{}", random.below(20_000)).into_bytes(),
    }
}

/// Words of a random command; sometimes a word too many, or one too few.
fn command(random: &mut Random) -> Vec<Vec<u8>> {
    let mut words: Vec<Vec<u8>> = Vec::new();
    let key = |random: &mut Random| -> Vec<u8> { random.pick(KEYS).into() };
    let number = |random: &mut Random| -> Vec<u8> { random.pick(NUMBERS).into() };
    let name = random.pick(&[
        "SET",
        "SET",
        "SET",
        "GET",
        "GET",
        "GETSET",
        "GETDEL",
        "GETEX",
        "SETNX",
        "SETEX",
        "PSETEX",
        "INCR",
        "DECR",
        "INCRBY",
        "DECRBY",
        "INCRBYFLOAT",
        "INCRBYFLOAT",
        "APPEND",
        "STRLEN",
        "GETRANGE",
        "SUBSTR",
        "SETRANGE",
        "MGET",
        "MSET",
        "MSETNX",
        "DEL",
        "UNLINK",
        "EXISTS",
        "TOUCH",
        "EXPIRE",
        "PEXPIRE",
        "EXPIREAT",
        "PEXPIREAT",
        "TTL",
        "PTTL",
        "EXPIRETIME",
        "PEXPIRETIME",
        "PERSIST",
        "TYPE",
        "KEYS",
        "RENAME",
        "RENAMENX",
        "COPY",
        "OBJECT",
        "PING",
        "ECHO",
        "SELECT",
        "FLUSHALL",
        "LCS",
        "NOSUCH",
        "CLIENT",
        "AUTH",
        "HELLO",
        "COMMAND",
    ]);
    words.push(name.into());
    match name {
        "SET" => {
            words.extend([key(random), value(random)]);
            for _ in 0..random.below(3) {
                match random.below(9) {
                    0 => words.push("NX".into()),
                    1 => words.push("xx".into()),
                    2 => words.push("GET".into()),
                    3 => words.push("KEEPTTL".into()),
                    4 => words.extend(["EX".into(), random.pick(FUTURE).into()]),
                    5 => words.extend(["px".into(), format!("{}000", random.pick(FUTURE)).into()]),
                    6 => words.extend(["PXAT".into(), random.pick(FUTURE_AT_MS).into()]),
                    7 => words.extend(["EXAT".into(), random.pick(FUTURE_AT_S).into()]),
                    _ => words.extend([
                        random.pick(&["EX", "PX", "PXAT", "BAD"]).into(),
                        random.pick(BAD_TIMES).into(),
                    ]),
                }
            }
        }
        "GETEX" => {
            words.push(key(random));
            match random.below(7) {
                0 => words.push("PERSIST".into()),
                1 => words.extend(["EX".into(), random.pick(FUTURE).into()]),
                2 => words.extend(["PXAT".into(), random.pick(FUTURE_AT_MS).into()]),
                3 => words.extend(["PXAT".into(), "1".into()]),
                4 => words.extend([
                    random.pick(&["EX", "PX", "EXAT", "PXAT"]).into(),
                    random.pick(BAD_TIMES).into(),
                ]),
                5 => words.push("KEEPTTL".into()),
                _ => {}
            }
        }
        "SETEX" | "PSETEX" => {
            let time = if random.below(4) == 0 {
                random.pick(BAD_TIMES).to_owned()
            } else {
                format!("{}00000", random.pick(FUTURE))
            };
            words.extend([key(random), time.into(), value(random)]);
        }
        "SETNX" | "GETSET" | "APPEND" => words.extend([key(random), value(random)]),
        "INCRBY" | "DECRBY" => words.extend([key(random), number(random)]),
        "INCRBYFLOAT" => words.extend([key(random), random.pick(FLOATS).into()]),
        "GETRANGE" | "SUBSTR" => words.extend([key(random), number(random), number(random)]),
        "SETRANGE" => {
            let offset =
                random.pick(&["0", "1", "5", "60", "1500", "-1", "abc", "536870912", "9223372036854775807"]);
            words.extend([key(random), offset.into(), value(random)]);
        }
        "MSET" | "MSETNX" => {
            for _ in 0..1 + random.below(3) {
                words.extend([key(random), value(random)]);
            }
        }
        "MGET" | "DEL" | "UNLINK" | "EXISTS" | "TOUCH" => {
            (0..1 + random.below(4)).for_each(|_| words.push(key(random)))
        }
        "EXPIRE" | "PEXPIRE" | "EXPIREAT" | "PEXPIREAT" => {
            words.push(key(random));
            let factor = if name.starts_with('P') { "000" } else { "" };
            words.push(match random.below(5) {
                0 => random.pick(BAD_TIMES).into(),
                1 => random.pick(&["1", "-100", "-9223372036854775808"]).into(),
                _ if name.ends_with("AT") && name.starts_with('P') => random.pick(FUTURE_AT_MS).into(),
                _ if name.ends_with("AT") => random.pick(FUTURE_AT_S).into(),
                _ => format!("{}{factor}", random.pick(FUTURE)).into(),
            });
            // A second in the future is not far: it would run out during the test.
            if words[2] == b"1" && !name.ends_with("AT") {
                words[2] = b"0".to_vec();
            }
            (0..random.below(3))
                .for_each(|_| words.push(random.pick(&["NX", "XX", "gt", "LT", "bad"]).into()));
            // The same relative time set twice is later the second time, or not: that depends on the
            // millisecond, which the two servers need not agree about.
            if !name.ends_with("AT") && words[3..].contains(&b"gt".to_vec()) {
                words[2] = format!("{}{factor}", 500_000 + random.below(100_000_000)).into();
            }
        }
        "KEYS" => words.push(random.pick(&["*", "a*", "k?", "{a}[12]", "nothing", "[^a]", "\\{a*"]).into()),
        "RENAME" | "RENAMENX" => words.extend([key(random), key(random)]),
        "COPY" => {
            words.extend([key(random), key(random)]);
            (0..random.below(3)).for_each(|_| words.push(random.pick(&["REPLACE", "DB", "0", "bad"]).into()));
        }
        "OBJECT" => {
            words.push(random.pick(&["ENCODING", "ENCODING", "REFCOUNT", "FREQ", "NOSUCH"]).into());
            words.push(key(random));
        }
        "SELECT" => words.push(random.pick(&["0", "abc", "-1", "99999999999", "1000"]).into()),
        "FLUSHALL" => {
            words[0] = random.pick(&["FLUSHALL", "FLUSHDB"]).into();
            words.push(random.pick(&["ASYNC", "SYNC", "bad", "bad"]).into());
        }
        "LCS" => {
            words.extend([key(random), key(random)]);
            (0..random.below(4)).for_each(|_| {
                words.push(random.pick(&["LEN", "IDX", "WITHMATCHLEN", "MINMATCHLEN", "2"]).into())
            });
        }
        "NOSUCH" => words.extend([value(random), value(random)]),
        "CLIENT" => words.push(random.pick(&["GETNAME", "NOSUCH", "GETREDIR", "SETNAME"]).into()),
        "AUTH" => words.extend([random.pick(&["default", "other"]).into(), b"pw".to_vec()]),
        "HELLO" => {
            // The greeting itself tells versions and ids: only its errors can be equal.
            words.push(random.pick(&["abc", "1", "4"]).into());
        }
        "COMMAND" => {
            words.extend(["GETKEYS".into(), "MSET".into(), key(random), "v".into(), key(random), "w".into()])
        }
        "ECHO" => words.push(value(random)),
        "PING" => (0..random.below(3)).for_each(|_| words.push(b"hello".to_vec())),
        _ => words.push(key(random)),
    }
    match random.below(60) {
        0 => words.push(b"more".to_vec()),
        1 => drop(words.pop()),
        _ => {}
    }
    // What tells the version, or every command there is, cannot be equal.
    let tells_too_much = words.len() == 1 && matches!(&words[0][..], b"HELLO" | b"COMMAND");
    if words.is_empty() || tells_too_much {
        words = vec![b"PING".to_vec()];
    }
    words
}

/// True if the replies are as good as equal.
fn equal(name: &[u8], ours: &[u8], theirs: &[u8]) -> bool {
    if ours == theirs {
        return true;
    }
    let near = |most: i64| match (integer(ours), integer(theirs)) {
        (Some(ours), Some(theirs)) => ours > 0 && theirs > 0 && (ours - theirs).abs() <= most,
        _ => false,
    };
    let sorted = |reply: &[u8]| {
        let mut all: Vec<Vec<u8>> = elements(reply).into_iter().flatten().map(<[u8]>::to_vec).collect();
        all.sort();
        all
    };
    match name.to_ascii_uppercase().as_slice() {
        b"TTL" | b"EXPIRETIME" => near(30),
        b"PTTL" | b"PEXPIRETIME" => near(30_000),
        b"KEYS" => elements(ours).is_some() && sorted(ours) == sorted(theirs),
        _ => false,
    }
}

fn compare(seed: u64, commands: usize, resp3: bool) {
    let redis = RedisServer::with_options(&["--databases", "1"]);
    let node = primary(NodeLimits::default());
    let (mut ours, mut theirs) = (Client::connect(node.address()), Client::connect(&address_of(&redis)));
    if resp3 {
        ours.call(&["HELLO", "3"]);
        theirs.call(&["HELLO", "3"]);
    }
    let mut random = Random(seed);
    let mut history: Vec<String> = Vec::new();
    for _ in 0..commands {
        let words = command(&mut random);
        let (our, their) = (ours.call(&words), theirs.call(&words));
        let shown = words
            .iter()
            .map(|word| format!("{:?}", String::from_utf8_lossy(word)))
            .collect::<Vec<_>>()
            .join(" ");
        history.push(format!(
            "{} -> {:?}",
            shown.chars().take(200).collect::<String>(),
            String::from_utf8_lossy(&their).chars().take(100).collect::<String>()
        ));
        assert!(
            equal(&words[0], &our, &their),
            "{shown}\n ours:   {:?}\n theirs: {:?}\nbefore:\n{}",
            String::from_utf8_lossy(&our),
            String::from_utf8_lossy(&their),
            history[history.len().saturating_sub(25)..].join("\n")
        );
    }
    // In the end both hold the same.
    for key in KEYS {
        for probe in ["GET", "PEXPIRETIME"] {
            let (our, their) = (ours.call(&[probe, key]), theirs.call(&[probe, key]));
            assert!(equal(probe.as_bytes(), &our, &their), "{probe} {key:?}");
        }
    }
    assert_eq!(ours.ask("DBSIZE"), theirs.ask("DBSIZE"));
    node.stop();
}

#[test]
fn random_commands_in_resp2() {
    (0..4).for_each(|seed| compare(seed, 15_000, false));
}

#[test]
fn random_commands_in_resp3() {
    (10..12).for_each(|seed| compare(seed, 15_000, true));
}
