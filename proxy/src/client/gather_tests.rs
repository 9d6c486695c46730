use super::*;
use pointsman_protocol::Slot;

fn placed(slots: &[(u16, u32)]) -> Vec<Placed> {
    slots.iter().map(|(slot, place)| (Slot::new(*slot).unwrap(), *place)).collect()
}

fn written(gather: &Gather) -> String {
    let mut out = Vec::new();
    gather.write(&mut out);
    String::from_utf8(out).unwrap()
}

// T38: MGET answers in key order whatever the order of the parts, duplicates included.
#[test]
fn t38_mget_is_in_key_order() {
    let keys = placed(&[(1, 0), (1, 3), (5, 1), (9, 2)]);
    let mut gather = Gather::split(SplitKind::Mget, &keys);
    assert!(!gather.take(2, b"*1\r\n$1\r\nc\r\n"));
    assert!(!gather.take(0, b"*2\r\n$1\r\na\r\n$-1\r\n"));
    assert!(gather.take(1, b"*1\r\n$2\r\nbb\r\n"));
    assert_eq!(written(&gather), "*4\r\n$1\r\na\r\n$2\r\nbb\r\n$1\r\nc\r\n$-1\r\n");
}

// T38: a part that fails makes an error, never an error inside an array, never OK.
#[test]
fn t38_partial_failure_is_an_error_that_says_so() {
    let keys = placed(&[(1, 0), (5, 1)]);
    let mut gather = Gather::split(SplitKind::Mget, &keys);
    gather.take(0, b"*1\r\n$1\r\na\r\n");
    gather.take(1, b"-ERR the shard cannot be reached\r\n");
    assert_eq!(written(&gather), "-ERR the shard cannot be reached (1 of 2 parts failed)\r\n");

    let mut gather = Gather::split(SplitKind::Mset, &keys);
    gather.take(0, b"+OK\r\n");
    gather.take(1, b"-OOM x\r\n");
    assert_eq!(written(&gather), "-OOM x (1 of 2 parts failed; the others succeeded)\r\n");

    let mut gather = Gather::split(SplitKind::Sum, &keys);
    gather.take(0, b":2\r\n");
    gather.take(1, b"-ERR y\r\n");
    assert_eq!(written(&gather), "-ERR y (1 of 2 parts failed; the others succeeded with 2 in all)\r\n");

    let mut gather = Gather::split(SplitKind::Sum, &keys);
    gather.take(0, b"-ERR x\r\n");
    gather.take(1, b"-ERR y\r\n");
    assert_eq!(written(&gather), "-ERR x\r\n");
}

// A write whose fate is unknown is not hidden behind one that was not sent.
#[test]
fn t12_the_graver_error_is_told() {
    let mut gather = Gather::split(SplitKind::Sum, &placed(&[(1, 0), (5, 1)]));
    gather.take(0, b"-ERR not sent and may be retried\r\n");
    gather.take(1, b"-ERR it may or may not have been executed\r\n");
    assert_eq!(written(&gather), "-ERR it may or may not have been executed\r\n");
}

#[test]
fn sums_and_oks() {
    let keys = placed(&[(1, 0), (5, 1)]);
    let mut gather = Gather::split(SplitKind::Sum, &keys);
    gather.take(1, b":2\r\n");
    gather.take(0, b":1\r\n");
    assert_eq!(written(&gather), ":3\r\n");
    let mut gather = Gather::split(SplitKind::Mset, &keys);
    gather.take(1, b"+OK\r\n");
    gather.take(0, b"+OK\r\n");
    assert_eq!(written(&gather), "+OK\r\n");
}

// A backend that answers nonsense must not shift values to other keys.
#[test]
fn a_part_of_the_wrong_size_is_an_error() {
    let keys = placed(&[(1, 0), (1, 1), (5, 2)]);
    for wrong in [&b"*1\r\n$1\r\na\r\n"[..], b"*3\r\n:1\r\n:2\r\n:3\r\n", b"+OK\r\n", b"*-1\r\n"] {
        let mut gather = Gather::split(SplitKind::Mget, &keys);
        gather.take(0, wrong);
        gather.take(1, b"*1\r\n$1\r\nc\r\n");
        assert!(written(&gather).starts_with("-ERR a shard answered"), "{}", String::from_utf8_lossy(wrong));
    }
}

#[test]
fn everyone_by_response_policy() {
    for (policy, one, two, joined) in [
        (ResponsePolicy::AggSum, ":2\r\n", ":3\r\n", ":5\r\n"),
        (ResponsePolicy::AggMin, ":2\r\n", ":3\r\n", ":2\r\n"),
        (ResponsePolicy::AggMax, ":2\r\n", ":3\r\n", ":3\r\n"),
        (ResponsePolicy::AggLogicalAnd, ":1\r\n", ":0\r\n", ":0\r\n"),
        (ResponsePolicy::AggLogicalOr, ":1\r\n", ":0\r\n", ":1\r\n"),
        (ResponsePolicy::AllSucceeded, "+OK\r\n", "+OK\r\n", "+OK\r\n"),
        (
            ResponsePolicy::AllSucceeded,
            "+OK\r\n",
            "-ERR x\r\n",
            "-ERR x (1 of 2 parts failed; the others succeeded)\r\n",
        ),
        (ResponsePolicy::OneSucceeded, "-NOTBUSY x\r\n", "+OK\r\n", "+OK\r\n"),
        (ResponsePolicy::OneSucceeded, "-NOTBUSY x\r\n", "-NOTBUSY x\r\n", "-NOTBUSY x\r\n"),
        (ResponsePolicy::Default, "*1\r\n$1\r\na\r\n", "*0\r\n", "*1\r\n$1\r\na\r\n"),
        (ResponsePolicy::Default, "*1\r\n$1\r\na\r\n", "*1\r\n:1\r\n", "*2\r\n$1\r\na\r\n:1\r\n"),
    ] {
        let mut gather = Gather::everyone(policy, 2);
        assert!(!gather.take(0, one.as_bytes()));
        assert!(gather.take(1, two.as_bytes()));
        assert_eq!(written(&gather), joined, "{policy:?}");
    }
}
