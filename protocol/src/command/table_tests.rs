use super::super::spec::{
    CommandSpec, Flags, KeyAccess, KeyPattern, KeySearch, KeySpec, KeysFound, RequestPolicy, ResponsePolicy,
};
use super::super::{all, lookup, lookup_args};
use super::*;
use crate::resp::args::OwnedArgs;

fn rows() -> impl Iterator<Item = &'static CommandSpec> {
    all().iter().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands))
}

fn row(name: &str) -> &'static CommandSpec {
    lookup_args(OwnedArgs::new(&name.split('|').collect::<Vec<_>>()).args())
        .unwrap_or_else(|| panic!("{name}?"))
}

#[test]
fn rows_are_sorted_unique_and_upper_case() {
    assert_eq!(rows().count(), ROWS);
    assert!(all().is_sorted_by(|left, right| left.name < right.name));
    for spec in all() {
        assert!(spec.subcommands.is_sorted_by(|left, right| left.name < right.name), "{}", spec.name);
        let word = |text: &str| {
            !text.is_empty()
                && text.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b"_-.".contains(&b))
        };
        assert!(word(spec.name), "{}", spec.name);
        for subcommand in spec.subcommands {
            let own = subcommand.name.strip_prefix(spec.name).and_then(|rest| rest.strip_prefix('|'));
            assert!(own.is_some_and(word), "{} in {}", subcommand.name, spec.name);
            assert!(!subcommand.is_container(), "{} has subcommands", subcommand.name);
        }
    }
}

#[test]
fn arities_count_the_name() {
    for spec in rows() {
        let words = spec.name.split('|').count();
        assert!(usize::from(spec.arity.unsigned_abs()) >= words, "{} takes {}", spec.name, spec.arity);
        assert!(spec.accepts(usize::from(spec.arity.unsigned_abs())), "{}", spec.name);
        assert!(!spec.accepts(0), "{}", spec.name);
    }
    assert!(row("GET").accepts(2) && !row("GET").accepts(3) && !row("GET").accepts(1));
    assert!(row("MGET").accepts(2) && row("MGET").accepts(1_000_000) && !row("MGET").accepts(1));
}

#[test]
fn flags_make_sense_together() {
    for spec in rows() {
        let has = |flag| spec.flags.has(flag);
        assert!(!(has(Flags::WRITE) && has(Flags::READONLY)), "{} reads only and writes", spec.name);
        assert!(!has(Flags::DENYOOM) || has(Flags::WRITE), "{} grows memory but does not write", spec.name);
        assert!(!has(Flags::MAY_REPLICATE) || !has(Flags::WRITE), "{} needs no MAY_REPLICATE", spec.name);
        assert!(!(spec.is_read() && spec.is_write()), "{}", spec.name);
        assert!(spec.flags.0 < 1 << Flags::WORDS.len(), "{}", spec.name);
        let keyed = spec.pattern != KeyPattern::None;
        assert_eq!(keyed, !spec.keys.is_empty(), "{}", spec.name);
        assert!(!has(Flags::MOVABLE_KEYS) || spec.pattern == KeyPattern::Complex, "{}", spec.name);
        assert!(
            !(spec.is_container() && (keyed || has(Flags::WRITE))),
            "{} does something itself",
            spec.name
        );
        for keys in spec.keys {
            // XREADGROUP alone is published as reading its keys while the command writes.
            assert!(!keys.access.writes || !spec.is_read(), "{} writes its keys", spec.name);
        }
    }
}

#[test]
fn words_and_flags_are_in_the_same_order() {
    let flags = [
        Flags::WRITE,
        Flags::READONLY,
        Flags::DENYOOM,
        Flags::ADMIN,
        Flags::PUBSUB,
        Flags::NOSCRIPT,
        Flags::BLOCKING,
        Flags::LOADING,
        Flags::STALE,
        Flags::SKIP_MONITOR,
        Flags::SKIP_SLOWLOG,
        Flags::ASKING,
        Flags::FAST,
        Flags::NO_AUTH,
        Flags::NO_MANDATORY_KEYS,
        Flags::NO_ASYNC_LOADING,
        Flags::NO_MULTI,
        Flags::MOVABLE_KEYS,
        Flags::ALLOW_BUSY,
        Flags::MAY_REPLICATE,
    ];
    for (flag, word) in flags.into_iter().zip(Flags::WORDS) {
        assert_eq!(flag.words().collect::<Vec<_>>(), [word]);
    }
    assert_eq!(row("GET").flags.words().collect::<Vec<_>>(), ["readonly", "fast"]);
    assert_eq!(row("CLIENT").flags, Flags::NONE);
}

/// [`super::super::keys`] treats some commands by name; all others must be told by their row.
#[test]
fn t34_keys_are_told_by_the_row_or_by_name() {
    let by_name = ["GEORADIUS", "GEORADIUSBYMEMBER", "MIGRATE", "SORT", "SORT_RO", "XREAD", "XREADGROUP"];
    for spec in rows().filter(|spec| !by_name.contains(&spec.name)) {
        for keys in spec.keys {
            assert!(matches!(keys.search, KeySearch::Index(_)), "{}: {:?}", spec.name, keys.search);
            assert!(!matches!(keys.found, KeysFound::Unknown), "{}", spec.name);
            assert!(!keys.access.incomplete, "{}", spec.name);
            assert!(!keys.varies || ["SET", "BITFIELD"].contains(&spec.name), "{}", spec.name);
        }
        let counted = spec.keys.iter().any(|keys| matches!(keys.found, KeysFound::Counted { .. }));
        assert_eq!(spec.pattern == KeyPattern::Complex, counted, "{}", spec.name);
    }
    for name in by_name {
        assert_eq!(row(name).pattern, KeyPattern::Complex, "{name}");
    }
}

#[test]
fn t34_patterns_of_rows() {
    let range = |first, last, step| KeyPattern::Range { first, last, step };
    for (name, pattern) in [
        ("PING", KeyPattern::None),
        ("PUBLISH", KeyPattern::None),
        ("CLIENT", KeyPattern::None),
        ("GET", KeyPattern::One(1)),
        ("SET", KeyPattern::One(1)),
        ("BITFIELD", KeyPattern::One(1)),
        ("RESTORE", KeyPattern::One(1)),
        ("GEORADIUS_RO", KeyPattern::One(1)),
        ("SPUBLISH", KeyPattern::One(1)),
        ("OBJECT|ENCODING", KeyPattern::One(2)),
        ("MEMORY|USAGE", KeyPattern::One(2)),
        ("XGROUP|CREATE", KeyPattern::One(2)),
        ("XINFO|STREAM", KeyPattern::One(2)),
        ("MGET", range(1, -1, 1)),
        ("DEL", range(1, -1, 1)),
        ("PFCOUNT", range(1, -1, 1)),
        ("PFMERGE", range(1, -1, 1)),
        ("SDIFFSTORE", range(1, -1, 1)),
        ("SSUBSCRIBE", range(1, -1, 1)),
        ("WATCH", range(1, -1, 1)),
        ("MSET", range(1, -1, 2)),
        ("MSETNX", range(1, -1, 2)),
        ("BLPOP", range(1, -2, 1)),
        ("BZPOPMIN", range(1, -2, 1)),
        ("BITOP", range(2, -1, 1)),
        ("COPY", range(1, 2, 1)),
        ("RENAME", range(1, 2, 1)),
        ("LCS", range(1, 2, 1)),
        ("LMOVE", range(1, 2, 1)),
        ("SMOVE", range(1, 2, 1)),
        ("ZRANGESTORE", range(1, 2, 1)),
        ("EVAL", KeyPattern::Complex),
        ("ZUNIONSTORE", KeyPattern::Complex),
        ("LMPOP", KeyPattern::Complex),
    ] {
        assert_eq!(row(name).pattern, pattern, "{name}");
    }
}

#[test]
fn t34_patterns_of_key_specifications() {
    let keys = |first, last, step| KeySpec {
        search: KeySearch::Index(first),
        found: KeysFound::Range { last, step, limit: 0 },
        access: KeyAccess::R,
        varies: false,
    };
    let range = |first, last, step| KeyPattern::Range { first, last, step };
    for (specs, pattern) in [
        (&[][..], KeyPattern::None),
        (&[keys(3, 0, 1)], KeyPattern::One(3)),
        (&[keys(1, 1, 1)], range(1, 2, 1)),
        (&[keys(1, 0, 1), keys(2, 0, 1), keys(3, -1, 1)], range(1, -1, 1)),
        // Not one range: a gap, an overlap, one that begins behind the end, steps.
        (&[keys(1, 0, 1), keys(3, 0, 1)], KeyPattern::Complex),
        (&[keys(1, 0, 1), keys(1, 0, 1)], KeyPattern::Complex),
        (&[keys(1, -1, 1), keys(2, 0, 1)], KeyPattern::Complex),
        (&[keys(1, 0, 1), keys(2, -1, 2)], KeyPattern::Complex),
    ] {
        assert_eq!(KeyPattern::of(specs), pattern, "{specs:?}");
    }
}

#[test]
fn t42_ranges_of_patterns_lie_within_the_arguments() {
    let range = |first, last, step| KeyPattern::Range { first, last, step };
    for (pattern, count, expected) in [
        (KeyPattern::None, 5, None),
        (KeyPattern::Complex, 5, None),
        (KeyPattern::One(1), 2, Some((1, 1, 1))),
        (KeyPattern::One(1), 1, None),
        (KeyPattern::One(1), 0, None),
        (range(1, 2, 1), 3, Some((1, 2, 1))),
        (range(1, 2, 1), 2, None),
        (range(1, -1, 2), 5, Some((1, 4, 2))),
        (range(1, -1, 1), 2, Some((1, 1, 1))),
        (range(1, -1, 1), 1, None),
        (range(1, -2, 1), 3, Some((1, 1, 1))),
        (range(1, -2, 1), 2, None),
        (range(1, -2, 1), 1, None),
    ] {
        assert_eq!(pattern.range(count), expected, "{pattern:?} in {count}");
    }
}

// What 7.2 added or changed, as the generator's data file says.
#[test]
fn rows_are_those_of_7_2() {
    for (name, arity) in [
        ("WAITAOF", 4),
        ("CLIENT|NO-TOUCH", 3),
        ("CLIENT|SETINFO", 4),
        ("CLUSTER|MYSHARDID", 2),
        ("ZRANK", -3),
        ("ZREVRANK", -3),
        ("XAUTOCLAIM", -6),
        ("COMMAND|GETKEYS", -3),
    ] {
        assert_eq!(row(name).arity, arity, "{name}");
    }
    assert!(lookup(b"SENTINEL").is_none(), "a data node does not have it");
    assert!(!row("BLPOP").flags.has(Flags::NOSCRIPT));
}

#[test]
fn policies_of_rows() {
    use RequestPolicy::*;
    for (name, request, response) in [
        ("GET", ByKeys, ResponsePolicy::Default),
        ("MGET", MultiShard, ResponsePolicy::Default),
        ("DEL", MultiShard, ResponsePolicy::AggSum),
        ("MSET", MultiShard, ResponsePolicy::AllSucceeded),
        // T39: never split.
        ("MSETNX", ByKeys, ResponsePolicy::Default),
        ("DBSIZE", AllShards, ResponsePolicy::AggSum),
        ("FLUSHALL", AllShards, ResponsePolicy::AllSucceeded),
        ("SCRIPT|EXISTS", AllShards, ResponsePolicy::AggLogicalAnd),
        ("SCRIPT|KILL", AllShards, ResponsePolicy::OneSucceeded),
        ("SCAN", RequestPolicy::Special, ResponsePolicy::Special),
        ("WAIT", AllShards, ResponsePolicy::AggMin),
    ] {
        assert_eq!((row(name).request_policy, row(name).response_policy), (request, response), "{name}");
    }
    for spec in rows().filter(|spec| spec.request_policy == MultiShard) {
        // MSETEX is published so, and never split: its conditions (NX, XX) are about all its keys.
        let splits = matches!(spec.pattern, KeyPattern::Range { last: -1 | -2, .. });
        assert!(splits, "{} cannot be split", spec.name);
    }
}

#[test]
fn t36_reads_for_any_replica() {
    for name in [
        "GET",
        "MGET",
        "EXISTS",
        "TTL",
        "STRLEN",
        "HGETALL",
        "LRANGE",
        "SMEMBERS",
        "ZRANGE",
        "XRANGE",
        "XREAD",
        "DUMP",
        "BITFIELD_RO",
        "SORT_RO",
        "GEORADIUS_RO",
        "GEOSEARCH",
        "EVAL_RO",
        "EVALSHA_RO",
        "FCALL_RO",
        "SSCAN",
        "OBJECT|ENCODING",
        "MEMORY|USAGE",
        "XINFO|STREAM",
        "LCS",
        "SINTERCARD",
        // It moves the LRU clock of the node asked, and is published as a read all the same.
        "TOUCH",
    ] {
        assert!(row(name).is_read() && !row(name).is_write(), "{name}");
    }
}

#[test]
fn t36_writes_that_look_like_reads() {
    for name in [
        "GETDEL",
        "GETEX",
        "GETSET",
        "SPOP",
        "LTRIM",
        "LMPOP",
        "XADD",
        "XDEL",
        "XTRIM",
        "XREADGROUP",
        "XAUTOCLAIM",
        "SORT",
        "GEORADIUS",
        "GEORADIUSBYMEMBER",
        "BITFIELD",
        "SET",
        "PFADD",
        "PFMERGE",
        "PFDEBUG",
        "ZMPOP",
        "COPY",
        "MIGRATE",
        "RESTORE",
        "XGROUP|CREATE",
        "FUNCTION|LOAD",
        "FLUSHALL",
        "SWAPDB",
    ] {
        assert!(row(name).is_write() && !row(name).is_read(), "{name}");
        assert!(row(name).flags.has(Flags::WRITE), "{name}");
    }
}

#[test]
fn t36_neither_published_as_writes_nor_safe_on_a_replica() {
    for name in ["PFCOUNT", "EVAL", "EVALSHA", "FCALL", "PUBLISH", "SPUBLISH"] {
        assert!(row(name).is_write() && !row(name).is_read(), "{name}");
        assert!(!row(name).flags.has(Flags::WRITE), "{name}");
    }
    // Nothing to read, nothing to write: for the primary, as is all that is not known to be a read.
    for name in ["PING", "WATCH", "MULTI", "EXEC", "CLIENT|ID", "WAIT", "SUBSCRIBE", "SCRIPT|LOAD", "DEBUG"] {
        assert!(!row(name).is_read() && !row(name).is_write(), "{name}");
    }
}

#[test]
fn lookup_of_a_row_gives_that_row() {
    for spec in all() {
        assert!(std::ptr::eq(lookup(spec.name.as_bytes()).unwrap(), spec), "{}", spec.name);
    }
}
