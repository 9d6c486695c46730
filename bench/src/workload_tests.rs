use super::*;
use crate::keys::Distribution;
use pointsman_protocol::resp::{RequestDecoder, RequestLimits};

fn shape(workload: Workload) -> Shape {
    Shape {
        workload,
        key_prefix: "key:".to_owned(),
        value: b"value".to_vec(),
        keys_per_request: 3,
        ttl_s: None,
    }
}

fn sequential() -> KeySource {
    KeySource::new(Distribution::Sequential, 1_000_000, 1, 0, 1)
}

/// The next `count` requests of the batch, as words.
fn take(batch: &mut Batch, count: usize, keys: &mut KeySource) -> Vec<Vec<String>> {
    batch.fill(count, keys);
    words(batch.bytes())
}

/// The requests in `bytes`, as words.
fn words(bytes: &[u8]) -> Vec<Vec<String>> {
    let mut decoder = RequestDecoder::default();
    let limits = RequestLimits::default();
    let mut at = 0;
    let mut requests = Vec::new();
    while at < bytes.len() {
        let rest = &bytes[at..];
        let len = decoder.next(rest, &limits).unwrap().expect("whole requests");
        requests.push(
            decoder
                .args(rest)
                .iter()
                .map(|word| String::from_utf8(word.to_vec()).unwrap())
                .collect::<Vec<_>>(),
        );
        at += len;
    }
    requests
}

#[test]
fn every_workload_is_spelt_as_its_command() {
    for (workload, expected) in [
        (Workload::Get, "GET key:000000000000"),
        (Workload::Set, "SET key:000000000000 value"),
        (Workload::Incr, "INCR key:000000000000"),
        (Workload::Mget, "MGET key:000000000000 key:000000000001 key:000000000002"),
        (Workload::Mset, "MSET key:000000000000 value key:000000000001 value key:000000000002 value"),
    ] {
        let mut batch = Batch::new(&shape(workload), 1, Random::new(1));
        let requests = take(&mut batch, 1, &mut sequential());
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].join(" "), expected);
        assert_eq!(format!("{:?}", batch.op(0)).to_lowercase(), workload.to_string());
    }
}

#[test]
fn expiry_is_part_of_a_set() {
    let shape = Shape { ttl_s: Some(3600), ..shape(Workload::Set) };
    let mut batch = Batch::new(&shape, 1, Random::new(1));
    assert_eq!(take(&mut batch, 1, &mut sequential())[0].join(" "), "SET key:000000000000 value EX 3600");
}

#[test]
fn a_batch_is_used_again_with_other_keys() {
    let mut keys = sequential();
    let mut batch = Batch::new(&shape(Workload::Get), 4, Random::new(1));
    for (count, expected) in [(4, 0..4), (2, 4..6), (4, 6..10)] {
        let seen: Vec<String> =
            take(&mut batch, count, &mut keys).into_iter().map(|mut words| words.remove(1)).collect();
        let expected: Vec<String> = expected.map(|key| format!("key:{key:012}")).collect();
        assert_eq!(seen, expected);
    }
}

#[test]
fn a_mixed_batch_keeps_its_share_and_knows_its_order() {
    let shape = shape(Workload::Mixed { reads: 0.75 });
    let mut batch = Batch::new(&shape, 16, Random::new(9));
    let mut keys = sequential();
    let mut gets = 0;
    for _ in 0..1_000 {
        let requests = take(&mut batch, 16, &mut keys);
        assert_eq!(requests.len(), 16);
        for (index, request) in requests.iter().enumerate() {
            let op = if request[0] == "GET" { Op::Get } else { Op::Set };
            assert_eq!(batch.op(index), op);
            gets += u32::from(op == Op::Get);
        }
    }
    // 16,000 draws at 0.75: expectation 12,000, standard deviation 55.
    assert!((11_670..=12_330).contains(&gets), "{gets} GETs of 16,000");
}

#[test]
fn digits() {
    for number in [0, 7, 10, 99, 100, 123_456_789_012, KEYS_MAX - 1] {
        let mut place = [b'x'; KEY_DIGITS];
        write_digits(&mut place, number);
        assert_eq!(String::from_utf8_lossy(&place), format!("{number:012}"));
    }
}

#[test]
fn replies_are_judged_by_what_was_asked() {
    for (op, reply, answer) in [
        (Op::Get, "$2\r\nhi\r\n", Answer::Fine),
        (Op::Get, "$0\r\n\r\n", Answer::Fine),
        (Op::Get, "$-1\r\n", Answer::Miss),
        (Op::Get, "_\r\n", Answer::Miss),
        (Op::Get, "+OK\r\n", Answer::Unexpected),
        (Op::Get, "-MOVED 1 a:1\r\n", Answer::Error),
        (Op::Get, "!5\r\nERR x\r\n", Answer::Error),
        (Op::Get, ">1\r\n+x\r\n", Answer::Push),
        (Op::Set, "+OK\r\n", Answer::Fine),
        (Op::Set, "+QUEUED\r\n", Answer::Unexpected),
        (Op::Set, "$2\r\nhi\r\n", Answer::Unexpected),
        (Op::Incr, ":1\r\n", Answer::Fine),
        (Op::Incr, "+OK\r\n", Answer::Unexpected),
        (Op::Mget, "*1\r\n$-1\r\n", Answer::Fine),
        (Op::Mget, "*-1\r\n", Answer::Unexpected),
        (Op::Mset, "+OK\r\n", Answer::Fine),
        (Op::Mset, "", Answer::Unexpected),
    ] {
        assert_eq!(judge(op, reply.as_bytes()), answer, "{op:?} {reply:?}");
    }
}

#[test]
fn workloads_are_read_and_printed() {
    for text in ["get", "set", "incr", "mget", "mset", "mixed:0.9"] {
        assert_eq!(text.parse::<Workload>().unwrap().to_string(), text);
    }
    for text in ["", "GET", "mixed", "mixed:", "mixed:2", "mixed:-1"] {
        assert!(text.parse::<Workload>().is_err(), "{text}");
    }
}
