//! What Redis answers to requests that it does not execute: the same bytes must come from here.

mod support;

use pointsman_protocol::command::{Refusal, keys, resolve};
use pointsman_protocol::resp::args::OwnedArgs;
use pointsman_protocol::resp::{RequestDecoder, RequestLimits, reply};
use support::{Chance, RedisServer};

const UNKNOWN_REQUESTS: usize = 2000;
const INLINE_REQUESTS: usize = 2000;
const SEED: u64 = 22;

type Words = Vec<Vec<u8>>;

fn any_word(chance: &mut Chance) -> Vec<u8> {
    match chance.below(5) {
        0 => (0..chance.below(9)).map(|_| chance.next() as u8).collect(),
        1 => (0..chance.below(9)).map(|_| *chance.pick(b"\r\n\0'\" a")).collect(),
        2 => vec![b'x'; chance.below(300)],
        _ => (0..1 + chance.below(40)).map(|_| *chance.pick(b"abcdefgh")).collect(),
    }
}

#[test]
fn t22_refusals_are_those_of_redis() {
    let Some(server) = RedisServer::start("t22_refusals") else { return };
    let (mut redis, mut chance) = (server.connect(), Chance::new(SEED));
    let containers = ["client", "CONFIG", "Object", "xgroup", "COMMAND", "memory", "ACL", "cluster"];
    let commands =
        ["get", "SET", "Mget", "client id", "XGROUP CREATE", "eval", "memory usage", "bitop", "ping a"];
    let mut refused = [0, 0, 0];
    for _ in 0..UNKNOWN_REQUESTS {
        let mut words: Words = match chance.below(3) {
            0 => vec![any_word(&mut chance)],
            1 => vec![chance.pick(&containers).as_bytes().to_vec(), any_word(&mut chance)],
            _ => chance.pick(&commands).split(' ').map(|word| word.as_bytes().to_vec()).collect(),
        };
        (0..chance.below(5)).for_each(|_| words.push(any_word(&mut chance)));
        let args = OwnedArgs::new(&words);
        let Err(refusal) = resolve(args.args()) else { continue };
        let mut ours = Vec::new();
        refusal.reply(args.args(), &mut ours);
        let theirs = redis.ask(&words);
        assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs), "{words:?}");
        assert_eq!(ours, theirs);
        refused[match refusal {
            Refusal::UnknownCommand => 0,
            Refusal::UnknownSubcommand(_) => 1,
            Refusal::Arity(_) => 2,
        }] += 1;
    }
    assert!(refused.iter().all(|count| *count > 100), "{refused:?}");
}

#[test]
fn t42_key_errors_are_those_of_redis() {
    let Some(server) = RedisServer::start("t42_texts") else { return };
    let mut redis = server.connect();
    for line in [
        "EVAL s x",
        "EVAL s 1.5",
        "EVAL s -1",
        "EVAL s 2 k",
        "EVAL_RO s 9223372036854775808",
        "EVAL_RO s -1 k",
        "ZUNION x k",
        "ZUNION 0 k",
        "ZINTER -1 k",
        "ZDIFF 9 k",
        "ZUNIONSTORE d 0 k",
        "ZINTERSTORE d 01 k",
        "ZDIFFSTORE d 5 k",
        "ZINTERCARD 0 k",
        "SINTERCARD x k",
        "SINTERCARD 0 k",
        "SINTERCARD 3 k",
        "LMPOP 0 k LEFT",
        "LMPOP 7 k LEFT",
        "ZMPOP x k MIN",
        "BLMPOP 1 0 k LEFT",
        "BZMPOP 1 9 k MIN",
        "XREAD a b c",
        "XREAD COUNT 1 STREAMS",
        "XREADGROUP GROUP g c NOACK COUNT 1",
        "MIGRATE h 1 k 0 5 KEYS a b",
        "GET",
        "XINFO STREAM",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        let args = OwnedArgs::new(&words);
        let spec = pointsman_protocol::command::lookup_args(args.args()).expect(line);
        let mut ours = Vec::new();
        keys::find(spec, args.args(), &mut Vec::new()).expect_err(line).reply(spec, &mut ours);
        let theirs = redis.ask(&words);
        assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&theirs), "{line}");
    }
    // FCALL looks for the function first.
    let library = "#!lua name=lib\nredis.register_function('f', function(keys) return #keys end)";
    assert_eq!(redis.ask(&["FUNCTION", "LOAD", library]), b"$3\r\nlib\r\n");
    for line in ["FCALL f x", "FCALL f -1", "FCALL f 3 k"] {
        let words: Vec<&str> = line.split(' ').collect();
        let args = OwnedArgs::new(&words);
        let spec = pointsman_protocol::command::lookup(b"FCALL").expect("FCALL");
        let mut ours = Vec::new();
        keys::find(spec, args.args(), &mut Vec::new()).expect_err(line).reply(spec, &mut ours);
        assert_eq!(String::from_utf8_lossy(&ours), String::from_utf8_lossy(&redis.ask(&words)), "{line}");
    }
}

/// The error this decoder gives for `bytes`, as a reply.
fn refused(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut decoder = RequestDecoder::new();
    let mut rest = bytes;
    loop {
        match decoder.next(rest, &RequestLimits::AUTHENTICATED) {
            Ok(Some(len)) => rest = &rest[len..],
            Ok(None) => return None,
            Err(error) => return Some(format!("-ERR {error}\r\n").into_bytes()),
        }
    }
}

#[test]
fn t21_protocol_errors_are_those_of_redis() {
    let Some(server) = RedisServer::start("t21_texts") else { return };
    for bytes in [
        "*x\r\n",
        "*1x\r\n",
        "*01\r\n",
        "*-0\r\n",
        "*+1\r\n",
        "* 1\r\n",
        "*\r\n",
        "*2147483648\r\n",
        "*99999999999999999999\r\n",
        "*1\r\n+PING\r\n",
        "*1\r\nPING\r\n",
        "*1\r\n*1\r\n",
        "*1\r\n$x\r\n",
        "*1\r\n$01\r\n",
        "*1\r\n$-1\r\n",
        "*1\r\n$-0\r\n",
        "*1\r\n$\r\n",
        "*1\r\n$ 1\r\n",
        "*1\r\n$536870913\r\n",
        "*1\r\n$9223372036854775808\r\n",
        "ECHO \"\r\n",
        "ECHO 'a'b\r\n",
        "ECHO \"a\"b\r\n",
        // What came before is answered first.
        "PING\r\n*1\r\n$4\r\nPING\r\n*1\r\n+PING\r\n",
    ] {
        let mut redis = server.connect();
        redis.send(bytes.as_bytes());
        let mut last = None;
        while let Some(reply) = redis.reply() {
            last = Some(reply);
        }
        let (ours, theirs) = (refused(bytes.as_bytes()), last);
        let text = |reply: &Option<Vec<u8>>| {
            reply.as_deref().map(|reply| String::from_utf8_lossy(reply).into_owned())
        };
        assert_eq!(text(&ours), text(&theirs), "{bytes:?}");
    }
}

#[test]
fn t19_requests_without_arguments_are_ignored_as_by_redis() {
    let Some(server) = RedisServer::start("t19_empty") else { return };
    let mut redis = server.connect();
    redis.send(b"*0\r\n*-1\r\n\r\n  \r\n*-7\r\n*1\r\n$4\r\nPING\r\n");
    assert_eq!(redis.reply().as_deref(), Some(&b"+PONG\r\n"[..]));
    let mut decoder = RequestDecoder::new();
    let mut rest = &b"*0\r\n*-1\r\n\r\n  \r\n*-7\r\n*1\r\n$4\r\nPING\r\n"[..];
    let mut counts = Vec::new();
    while let Some(len) = decoder.next(rest, &RequestLimits::AUTHENTICATED).expect("requests") {
        counts.push(decoder.args(rest).len());
        rest = &rest[len..];
    }
    assert_eq!(counts, [0, 0, 0, 0, 0, 1]);
}

#[test]
fn t20_inline_requests_are_read_as_by_redis() {
    let Some(server) = RedisServer::start("t20_inline") else { return };
    let mut chance = Chance::new(SEED);
    let mut redis = server.connect();
    let (mut split, mut unbalanced) = (0, 0);
    for nth in 0..INLINE_REQUESTS {
        // What RPUSH stores is what Redis took for words.
        let mut line = format!("RPUSH list{nth} first ").into_bytes();
        (0..chance.below(24)).for_each(|_| line.push(*chance.pick(b"\"\"''\\\\  \t\x0b\x0cabnrtx4f1\xff")));
        line.extend_from_slice(b"\r\n");
        let mut decoder = RequestDecoder::new();
        redis.send(&line);
        let theirs = redis.reply().expect("an answer");
        match decoder.next(&line, &RequestLimits::AUTHENTICATED) {
            Err(error) => {
                assert_eq!(theirs, format!("-ERR {error}\r\n").into_bytes(), "{line:?}");
                unbalanced += 1;
                redis = server.connect();
            }
            Ok(None) => panic!("{line:?} is a whole line"),
            Ok(Some(len)) => {
                assert_eq!(len, line.len());
                let ours: Words = decoder.args(&line).iter().skip(2).map(<[u8]>::to_vec).collect();
                let stored = redis.ask(&["LRANGE", &format!("list{nth}"), "0", "-1"]);
                let stored: Words = reply::elements(&stored)
                    .expect("a list")
                    .map(|word| reply::payload(word).expect("a word").to_vec())
                    .collect();
                assert_eq!(ours, stored, "{:?}", String::from_utf8_lossy(&line));
                split += 1;
            }
        }
    }
    assert!(split > 100 && unbalanced > 100, "{split} split, {unbalanced} unbalanced");
}
