//! What one request costs before and after the network: decoding, looking up, finding the key and its
//! slot, and finding the end of the reply.
//!
//! `cargo bench -p pointsman-protocol` prints the median of several rounds in nanoseconds per
//! operation, and the quickest round beside it: on a quiet machine the two are close. An argument
//! runs only the rows whose name contains it.

use pointsman_protocol::Slot;
use pointsman_protocol::command::{KeyPattern, keys, lookup, lookup_args};
use pointsman_protocol::resp::{ReplyScanner, RequestDecoder, RequestLimits, encode};
use std::hint::black_box;
use std::time::{Duration, Instant};

const ROUNDS: usize = 15;
const ROUND: Duration = Duration::from_millis(40);

/// How often each measured closure does its operation, so that the loop and the clock do not count.
const BATCH: usize = 256;

fn main() {
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    println!("{:<44} {:>10} {:>10}", "", "median ns", "best ns");
    for (name, mut body) in rows() {
        if name.contains(&wanted) {
            let (median, best) = measure(&mut *body);
            println!("{name:<44} {median:>10.1} {best:>10.1}");
        }
    }
}

type Body = Box<dyn FnMut()>;

fn rows() -> Vec<(&'static str, Body)> {
    let get = request(&["GET", "user:1000"]);
    let set = request(&["SET", "user:1000", &"v".repeat(64)]);
    let names: Vec<String> = (0..10).map(|nth| format!("user:{nth:04}")).collect();
    let mget = request(&[vec!["MGET".to_string()], names].concat());
    let pipeline = get.repeat(BATCH);
    let bulk = reply(|out| encode::bulk(out, &[b'v'; 64]));
    let ok = reply(|out| encode::simple(out, "OK"));
    let array = reply(|out| {
        encode::array_head(out, 10);
        (0..10).for_each(|_| encode::bulk(out, &[b'v'; 64]));
    });
    vec![
        ("decode GET", decoding(get.clone(), |_, _| 0)),
        ("decode GET, in a pipeline", pipelined(pipeline)),
        ("decode SET (64 bytes)", decoding(set.clone(), |_, _| 0)),
        ("decode MGET (10 keys)", decoding(mget.clone(), |_, _| 0)),
        (
            "decode + lookup GET",
            decoding(get.clone(), |decoder, frame| usize::from(row(decoder, frame).index)),
        ),
        (
            "decode + lookup + first key GET",
            decoding(get.clone(), |decoder, frame| first(decoder, frame).len()),
        ),
        ("decode + lookup + first key + slot GET", decoding(get, slot_of_first)),
        ("decode + lookup + first key + slot SET", decoding(set, slot_of_first)),
        ("decode + lookup + 10 slots MGET", decoding(mget, slots)),
        ("lookup GET", looking_up(b"GET")),
        ("lookup get", looking_up(b"get")),
        ("lookup GEORADIUSBYMEMBER_RO", looking_up(b"GEORADIUSBYMEMBER_RO")),
        ("lookup of no command", looking_up(b"NONESUCH")),
        ("slot of 9 bytes", slotting(b"user:1000")),
        ("slot of 36 bytes", slotting(b"0d5ab4cc-9b3f-4b21-8d75-7f3ad2a3c901")),
        ("slot of a tag", slotting(b"{user1000}.following")),
        ("keys::find EVAL (2 keys)", finding(&["EVAL", "return 1", "2", "a", "b", "c"])),
        (
            "keys::find XREADGROUP (2 streams)",
            finding(&["XREADGROUP", "GROUP", "g", "c", "STREAMS", "a", "b", ">", ">"]),
        ),
        ("reply scan +OK", scanning(ok)),
        ("reply scan bulk (64 bytes)", scanning(bulk)),
        ("reply scan array (10 bulks)", scanning(array)),
    ]
}

fn request<W: AsRef<[u8]>>(words: &[W]) -> Vec<u8> {
    reply(|out| encode::request(out, words))
}

fn reply(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out);
    out
}

fn row(decoder: &RequestDecoder, frame: &[u8]) -> &'static pointsman_protocol::command::CommandSpec {
    lookup_args(decoder.args(frame)).expect("a command")
}

fn first<'a>(decoder: &'a RequestDecoder, frame: &'a [u8]) -> &'a [u8] {
    let args = decoder.args(frame);
    match keys::first(row(decoder, frame), args) {
        Ok(Some(at)) => args.at(at),
        _ => &[],
    }
}

fn slot_of_first(decoder: &RequestDecoder, frame: &[u8]) -> usize {
    Slot::of(first(decoder, frame)).index()
}

fn slots(decoder: &RequestDecoder, frame: &[u8]) -> usize {
    let args = decoder.args(frame);
    let pattern: KeyPattern = row(decoder, frame).pattern;
    let (first, last, step) = pattern.range(args.len()).expect("keys");
    (first..=last).step_by(step).map(|at| Slot::of(args.at(at)).index()).sum()
}

fn decoding(frame: Vec<u8>, then: impl Fn(&RequestDecoder, &[u8]) -> usize + 'static) -> Body {
    let mut decoder = RequestDecoder::new();
    Box::new(move || {
        for _ in 0..BATCH {
            let frame = black_box(&frame[..]);
            let end = decoder.next(frame, &RequestLimits::AUTHENTICATED).expect("a request").expect("whole");
            black_box(then(&decoder, frame) + end);
        }
    })
}

fn pipelined(bytes: Vec<u8>) -> Body {
    let mut decoder = RequestDecoder::new();
    Box::new(move || {
        let mut rest = black_box(&bytes[..]);
        while let Some(end) = decoder.next(rest, &RequestLimits::AUTHENTICATED).expect("a request") {
            black_box(decoder.args(rest).at(1));
            rest = &rest[end..];
        }
    })
}

fn looking_up(name: &'static [u8]) -> Body {
    Box::new(move || {
        for _ in 0..BATCH {
            black_box(lookup(black_box(name)));
        }
    })
}

fn slotting(key: &'static [u8]) -> Body {
    Box::new(move || {
        for _ in 0..BATCH {
            black_box(Slot::of(black_box(key)));
        }
    })
}

fn finding(words: &[&str]) -> Body {
    let frame = request(words);
    let mut decoder = RequestDecoder::new();
    decoder.next(&frame, &RequestLimits::AUTHENTICATED).expect("a request").expect("whole");
    let mut out = Vec::new();
    Box::new(move || {
        for _ in 0..BATCH {
            let args = decoder.args(black_box(&frame));
            keys::find(row(&decoder, &frame), args, &mut out).expect("keys");
            black_box(&out);
        }
    })
}

fn scanning(reply: Vec<u8>) -> Body {
    let mut scanner = ReplyScanner::new();
    Box::new(move || {
        for _ in 0..BATCH {
            black_box(scanner.next(black_box(&reply), 1 << 30).expect("a reply").expect("whole"));
        }
    })
}

/// Median and least time of one operation, in nanoseconds.
fn measure(body: &mut dyn FnMut()) -> (f64, f64) {
    let mut rounds: Vec<f64> = (0..ROUNDS).map(|_| round(body)).collect();
    rounds.sort_by(f64::total_cmp);
    (rounds[ROUNDS / 2], rounds[0])
}

fn round(body: &mut dyn FnMut()) -> f64 {
    let start = Instant::now();
    let mut batches = 0;
    while start.elapsed() < ROUND {
        (0..16).for_each(|_| body());
        batches += 16;
    }
    start.elapsed().as_nanos() as f64 / (batches * BATCH) as f64
}
