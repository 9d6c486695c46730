use super::*;

#[test]
fn the_least_of_each_place() {
    let least = |replies: &[&[u8]]| {
        let mut out = Vec::new();
        least_of_each(replies, &mut out).map(|()| String::from_utf8(out).unwrap())
    };
    let shards: [&[u8]; 2] = [b"*2\r\n:1\r\n:3\r\n", b"*2\r\n:0\r\n:4\r\n"];
    assert_eq!(least(&shards).as_deref(), Some("*2\r\n:0\r\n:3\r\n"));
    assert_eq!(least(&[b"*1\r\n:1\r\n", b"*2\r\n:0\r\n:4\r\n"]), None);
    assert_eq!(least(&[b":1\r\n"]), None);
}

type Rule = fn(&[&[u8]], &mut Vec<u8>) -> Option<()>;

fn joined(rule: impl Fn(&[&[u8]], &mut Vec<u8>) -> Option<()>, replies: &[&str]) -> String {
    let replies: Vec<&[u8]> = replies.iter().map(|text| text.as_bytes()).collect();
    let mut out = Vec::new();
    match rule(&replies, &mut out) {
        Some(()) => String::from_utf8(out).unwrap(),
        None => "none".to_owned(),
    }
}

// T71: by size, and never nil while some shard has a key.
#[test]
fn t71_a_random_key_by_the_shares_of_the_shards() {
    let pick = |replies: &[&'static str], random: u32| {
        let replies: Vec<&[u8]> = replies.iter().map(|text| text.as_bytes()).collect();
        random_key(&replies, random).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap())
    };
    let shards = ["$1\r\na\r\n", ":1\r\n", "$-1\r\n", ":0\r\n", "$1\r\nb\r\n", ":3\r\n"];
    for (random, key) in [(0, "a"), (u32::MAX / 4 - 9, "a"), (u32::MAX / 4 + 9, "b"), (u32::MAX, "b")] {
        assert_eq!(pick(&shards, random).unwrap(), format!("$1\r\n{key}\r\n"), "{random}");
    }
    // One that counts keys which have expired.
    assert_eq!(pick(&["$-1\r\n", ":9\r\n", "$1\r\nb\r\n", ":1\r\n"], 0).unwrap(), "$1\r\nb\r\n");
    assert_eq!(pick(&["_\r\n", ":0\r\n", "_\r\n", ":0\r\n"], 5).unwrap(), "_\r\n");
    assert_eq!(pick(&["$1\r\na\r\n", "+x\r\n"], 5), None);
}

// T41
#[test]
fn t41_a_kill_is_done_if_one_shard_did_it() {
    let (ok, idle, not) = ("+OK\r\n", "-NOTBUSY No scripts\r\n", "-UNKILLABLE wrote\r\n");
    for (replies, expected) in
        [([idle, ok], ok), ([ok, idle], ok), ([idle, idle], idle), ([idle, not], not), ([not, ok], ok)]
    {
        assert_eq!(kill(&replies.map(str::as_bytes)), Some(expected.as_bytes()), "{replies:?}");
    }
}

// T41: there only where it is everywhere; not a sum.
#[test]
fn t41_a_script_exists_if_it_is_on_every_shard() {
    let exists = |known: [bool; 3], parts: &[&str]| {
        joined(|parts: &[&[u8]], out: &mut Vec<u8>| exists(parts, &known, out), parts)
    };
    let nowhere = [false; 3];
    let parts = ["*3\r\n:1\r\n:1\r\n:0\r\n", "*3\r\n:1\r\n:0\r\n:0\r\n"];
    assert_eq!(exists(nowhere, &parts), "*3\r\n:1\r\n:0\r\n:0\r\n");
    // Or where the proxy can bring it.
    assert_eq!(exists([false, true, false], &parts), "*3\r\n:1\r\n:1\r\n:0\r\n");
    assert_eq!(exists(nowhere, &["*1\r\n:1\r\n", "*2\r\n:1\r\n:1\r\n"]), "none");
    assert_eq!(exists(nowhere, &["*1\r\n+x\r\n"]), "none");
}

#[test]
fn t41_function_stats_of_the_shard_that_runs() {
    let idle = &b"*4\r\n$14\r\nrunning_script\r\n$-1\r\n$7\r\nengines\r\n*0\r\n"[..];
    let runs = &b"*4\r\n$14\r\nrunning_script\r\n*2\r\n$4\r\nname\r\n$1\r\nf\r\n$7\r\nengines\r\n*0\r\n"[..];
    assert_eq!(function_stats(&[idle, runs]), Some(runs));
    assert_eq!(function_stats(&[idle, idle]), Some(idle));
}

// T67, T71
#[test]
fn t67_t71_joined_replies() {
    let rows: &[(Rule, &[&str], &str)] = &[
        (union, &["*2\r\n$1\r\na\r\n$1\r\nb\r\n", "*1\r\n$1\r\na\r\n"], "*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
        (union, &["*0\r\n", "+x\r\n"], "none"),
        (
            |replies, out| sum_by_name(replies, &[], out),
            &["*4\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n:0\r\n", "*4\r\n$1\r\na\r\n:2\r\n$1\r\nb\r\n:0\r\n"],
            "*4\r\n$1\r\na\r\n:3\r\n$1\r\nb\r\n:0\r\n",
        ),
        (|replies, out| sum_by_name(replies, &[], out), &["*2\r\n$1\r\na\r\n:1\r\n", "*0\r\n"], "none"),
        (
            |replies, out| sum_by_name(replies, &[2, -2], out),
            &["*4\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n:1\r\n"],
            "*4\r\n$1\r\na\r\n:3\r\n$1\r\nb\r\n:0\r\n",
        ),
        (
            latency_latest,
            &[
                "*1\r\n*4\r\n+e\r\n:10\r\n:5\r\n:9\r\n",
                "*2\r\n*4\r\n+e\r\n:12\r\n:4\r\n:6\r\n*4\r\n+f\r\n:1\r\n:1\r\n:1\r\n",
            ],
            "*2\r\n*4\r\n+e\r\n:12\r\n:4\r\n:9\r\n*4\r\n+f\r\n:1\r\n:1\r\n:1\r\n",
        ),
        (
            latency_history,
            &["*2\r\n*2\r\n:1\r\n:9\r\n*2\r\n:4\r\n:9\r\n", "*1\r\n*2\r\n:3\r\n:8\r\n"],
            "*3\r\n*2\r\n:1\r\n:9\r\n*2\r\n:3\r\n:8\r\n*2\r\n:4\r\n:9\r\n",
        ),
        (
            latency_histogram,
            &[
                "*2\r\n+get\r\n*4\r\n+calls\r\n:5\r\n+histogram_usec\r\n*4\r\n:1\r\n:2\r\n:8\r\n:5\r\n",
                "*2\r\n+get\r\n*4\r\n+calls\r\n:1\r\n+histogram_usec\r\n*2\r\n:4\r\n:1\r\n",
            ],
            "*2\r\n+get\r\n*4\r\n$5\r\ncalls\r\n:6\r\n$14\r\nhistogram_usec\r\n*6\r\n:1\r\n:2\r\n:4\r\n:3\r\n:8\r\n:6\r\n",
        ),
        (latency_histogram, &["*0\r\n", "*0\r\n"], "*0\r\n"),
        (latency_histogram, &["%0\r\n"], "%0\r\n"),
        (latency_histogram, &["*2\r\n+get\r\n*2\r\n+calls\r\n:5\r\n"], "none"),
        (report, &["$2\r\nok\r\n", "$2\r\nok\r\n"], "$2\r\nok\r\n"),
        (report, &["$1\r\na\r\n", "$1\r\nb\r\n"], "$24\r\n# shard 1\na\n# shard 2\nb\n\r\n"),
        (report, &["=5\r\ntxt:a\r\n", "=5\r\ntxt:a\r\n"], "=5\r\ntxt:a\r\n"),
        (report, &["-ERR no samples\r\n", "$1\r\nb\r\n"], "$1\r\nb\r\n"),
        (report, &["-ERR no samples\r\n", "-ERR no samples\r\n"], "-ERR no samples\r\n"),
        (
            memory_stats,
            &[
                "*8\r\n+total\r\n:5\r\n+db.0\r\n*2\r\n+main\r\n:1\r\n$18\r\nkeys.bytes-per-key\r\n:4\r\n+share\r\n$3\r\n1.5\r\n",
                "*8\r\n+total\r\n:6\r\n+db.0\r\n*2\r\n+main\r\n:2\r\n$18\r\nkeys.bytes-per-key\r\n:8\r\n+share\r\n$3\r\n2.5\r\n",
            ],
            "*8\r\n+total\r\n:11\r\n+db.0\r\n*2\r\n+main\r\n:3\r\n$18\r\nkeys.bytes-per-key\r\n:6\r\n+share\r\n$1\r\n2\r\n",
        ),
        (memory_stats, &["%1\r\n+share\r\n,0.5\r\n", "%1\r\n+share\r\n,1\r\n"], "%1\r\n+share\r\n,0.75\r\n"),
        (memory_stats, &["*2\r\n+a\r\n*2\r\n+b\r\n*2\r\n+c\r\n*0\r\n"], "none"),
        (memory_stats, &["+x\r\n"], "none"),
    ];
    for (place, (rule, replies, expected)) in rows.iter().enumerate() {
        assert_eq!(joined(*rule, replies), *expected, "row {place}");
    }
}

#[test]
fn t71_the_slow_log_is_one_and_as_long_as_asked_for() {
    let replies = [&b"*2\r\n*2\r\n:7\r\n:30\r\n*2\r\n:6\r\n:10\r\n"[..], b"*1\r\n*2\r\n:9\r\n:20\r\n"];
    let told = |count| {
        let mut out = Vec::new();
        slowlog(&replies, count, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let (first, second) = ("*2\r\n:7\r\n:30\r\n", "*2\r\n:9\r\n:20\r\n");
    assert_eq!(told(2), format!("*2\r\n{first}{second}"));
    assert_eq!(told(usize::MAX), format!("*3\r\n{first}{second}*2\r\n:6\r\n:10\r\n"));
    assert!(slowlog(&[b"*1\r\n:1\r\n"], 1, &mut Vec::new()).is_none());
}

#[test]
fn series_of_all_shards_are_told_once_each() {
    let (one, two) = ("*1\r\n*3\r\n$1\r\na\r\n*0\r\n*0\r\n", "*1\r\n*3\r\n$1\r\nb\r\n*0\r\n*0\r\n");
    let both = "*2\r\n*3\r\n$1\r\na\r\n*0\r\n*0\r\n*3\r\n$1\r\nb\r\n*0\r\n*0\r\n";
    assert_eq!(joined(series, &[one, two]), both);
    // Nodes that answer for all.
    assert_eq!(joined(series, &[both, both]), both);
    assert_eq!(joined(series, &["*0\r\n", one]), one);
    let maps = ["%1\r\n$1\r\na\r\n*0\r\n", "%1\r\n$1\r\nb\r\n*0\r\n"];
    assert_eq!(joined(series, &maps), "%2\r\n$1\r\na\r\n*0\r\n$1\r\nb\r\n*0\r\n");
    for replies in [["*1\r\n:1\r\n", one], [":1\r\n", one], [maps[0], one], ["*1\r\n*0\r\n", one]] {
        assert_eq!(joined(series, &replies), "none", "{replies:?}");
    }
    // Sets stay sets.
    assert_eq!(joined(union, &["~1\r\n$1\r\na\r\n", "~1\r\n$1\r\na\r\n"]), "~1\r\n$1\r\na\r\n");
}
