use super::*;
use pointsman_protocol::resp::args::OwnedArgs;

fn planned(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let owned = OwnedArgs::new(&words);
    match plan(owned.args(), true, &Division::Slots, &mut Vec::new()) {
        Plan::Slot { slot, spec } => format!("slot {slot}{}", if spec.is_read() { " read" } else { "" }),
        Plan::Primary { slot, .. } => format!("primary {slot}"),
        Plan::Split { .. } => "split".to_owned(),
        Plan::Everyone { .. } => "everyone".to_owned(),
        Plan::Shards { .. } => "shards".to_owned(),
        Plan::Local { .. } => "local".to_owned(),
        Plan::Block { slot, .. } => format!("block {slot}"),
        Plan::Transaction(verb) => format!("{verb:?}"),
        Plan::Subscription { .. } => "subscription".to_owned(),
        Plan::Wait { .. } => "wait".to_owned(),
        Plan::Across { .. } => "across".to_owned(),
        Plan::Publish { slot, .. } => format!("publish {slot}"),
        Plan::Nothing => "nothing".to_owned(),
        Plan::Refuse(refusal) => {
            let mut out = Vec::new();
            refusal.write(owned.args(), &mut out);
            String::from_utf8(out).unwrap().trim_end().to_owned()
        }
    }
}

#[test]
fn a_route_for_every_kind_of_command() {
    let a = Slot::of(b"a");
    let none = keyless_slot();
    for (line, expected) in [
        ("get a", format!("slot {a} read")),
        ("SET a 1", format!("slot {a}")),
        ("MGET a b", "split".into()),
        ("MSET a 1", "split".into()),
        ("del a", "split".into()),
        ("DBSIZE", "everyone".into()),
        ("PUBLISH a x", format!("publish {none}")),
        ("SPUBLISH a x", format!("publish {a}")),
        ("FLUSHALL", "everyone".into()),
        ("HSCAN a 0", format!("primary {a}")),
        ("sscan a 0", format!("primary {a}")),
        ("ZSCAN a 0", format!("primary {a}")),
        ("SCAN 0", "shards".into()),
        ("RANDOMKEY", "shards".into()),
        ("LASTSAVE", "shards".into()),
        ("SCRIPT LOAD x", "everyone".into()),
        ("SCRIPT EXISTS x", "shards".into()),
        ("SCRIPT KILL", "shards".into()),
        ("FUNCTION RESTORE x", "everyone".into()),
        ("FUNCTION LIST", format!("slot {none}")),
        ("PUBSUB NUMSUB", "shards".into()),
        ("SLOWLOG LEN", "everyone".into()),
        ("SLOWLOG GET", "shards".into()),
        ("MEMORY USAGE a", format!("slot {a} read")),
        ("MEMORY DOCTOR", "shards".into()),
        ("PING", "local".into()),
        ("CLIENT ID", "local".into()),
        ("MONITOR", "local".into()),
        ("COMMAND", "local".into()),
        ("COMMAND COUNT", "local".into()),
        ("OBJECT ENCODING a", format!("slot {a} read")),
        ("XREAD STREAMS a 0", format!("slot {a} read")),
        ("XREAD BLOCK 0 STREAMS a 0", format!("block {}", Slot::of(b"a"))),
        ("BLPOP a 0", format!("block {}", Slot::of(b"a"))),
        ("BLPOP a b 0", "-CROSSSLOT Keys in request don't hash to the same slot".into()),
        ("MULTI", "Multi".into()),
        ("WAIT 1 0", "wait".into()),
        ("WAITAOF 1 1 0", "wait".into()),
        ("SUBSCRIBE c d", "subscription".into()),
        ("SSUBSCRIBE c d", "subscription".into()),
        ("PUNSUBSCRIBE", "subscription".into()),
        ("SHUTDOWN", "-ERR 'SHUTDOWN' is not available through the proxy; send it to the node itself".into()),
        ("CONFIG SET a b", "local".into()),
        ("CLIENT HELP", format!("slot {none}")),
        ("SORT a BY b GET a", format!("slot {a}")),
        // Of later servers and of modules.
        ("HEXPIRE a 10 FIELDS 1 f", format!("slot {a}")),
        ("HTTL a FIELDS 1 f", format!("slot {a} read")),
        ("VSIM a ELE x", format!("slot {a} read")),
        ("DELIFEQ a 1", format!("slot {a}")),
        ("MSETEX 2 {a}1 x {a}2 y EX 5", format!("slot {a}")),
        ("JSON.SET a $ 1", format!("slot {a}")),
        ("JSON.MGET a b $", "split".into()),
        ("JSON.DEBUG MEMORY a", format!("slot {a} read")),
        ("TS.MADD a * 1", format!("slot {a}")),
        ("TS.MGET FILTER l=1", "shards".into()),
        ("TS.QUERYINDEX l=1", "shards".into()),
        ("CMS.MERGE a 2 {a}1 {a}2 WEIGHTS 1 2", format!("slot {a}")),
        ("TDIGEST.QUANTILE a 0.5", format!("slot {a} read")),
        ("BF.SCANDUMP a 0", format!("primary {a}")),
        ("FT.SEARCH index *", "shards".into()),
        ("FT.SUGADD a x 1", format!("slot {a}")),
        ("COMMANDLOG GET 5 slow", "shards".into()),
        ("COMMANDLOG LEN slow", "everyone".into()),
        ("CLIENT CAPA redirect", "local".into()),
    ] {
        assert_eq!(planned(line), expected, "{line}");
    }
}

// T34, T39: all keys must share a slot, wherever they stand.
#[test]
fn t34_t39_keys_in_several_slots_are_refused() {
    let cross = "-CROSSSLOT Keys in request don't hash to the same slot";
    for line in [
        "MSETNX a 1 b 2",
        "RENAME a b",
        "EVAL x 2 a b",
        "COPY a b",
        "SMOVE a b m",
        "LMOVE a b LEFT RIGHT",
        "BITOP AND a b",
        "XREAD STREAMS a b 0 0",
        "SORT a STORE b",
        "GEORADIUS a 0 0 1 m STORE b",
        "MSETEX 2 a 1 b 2",
        "JSON.MSET a $ 1 b $ 2",
        "TS.MADD a 1 1 b 1 1",
        "TS.CREATERULE a b AGGREGATION avg 10",
        "CMS.MERGE a 1 b",
        "TDIGEST.MERGE a 1 b",
    ] {
        assert_eq!(planned(line), cross, "{line}");
    }
    // Refused or computed, as the listener says; never sent as they are.
    for line in ["SINTERSTORE a b c", "ZUNIONSTORE a 1 b", "ZINTERCARD 2 a b", "PFCOUNT a b", "PFMERGE a b"] {
        assert_eq!(planned(line), "across", "{line}");
    }
    assert_eq!(planned("SUNION {t}a {t}b"), format!("slot {} read", Slot::of(b"t")));
    assert_eq!(planned("RENAME {t}a {t}b"), format!("slot {}", Slot::of(b"t")));
}

// T40
#[test]
fn t40_scripts_without_keys_always_go_to_the_same_place() {
    assert_eq!(planned("EVAL x 0"), format!("slot {}", keyless_slot()));
    assert_eq!(planned("EVAL y 0 arg"), format!("slot {}", keyless_slot()));
}

// T22, T42
#[test]
fn t22_t42_short_and_unknown_commands_answer_as_redis_does() {
    for (line, expected) in [
        ("FOO a b", "-ERR unknown command 'FOO', with args beginning with: 'a' 'b'"),
        ("GET", "-ERR wrong number of arguments for 'get' command"),
        ("MGET", "-ERR wrong number of arguments for 'mget' command"),
        ("SCAN", "-ERR wrong number of arguments for 'scan' command"),
        ("SSCAN a", "-ERR wrong number of arguments for 'sscan' command"),
        ("SCRIPT", "-ERR wrong number of arguments for 'script' command"),
        ("SCRIPT LOAD", "-ERR wrong number of arguments for 'script|load' command"),
        ("RANDOMKEY x", "-ERR wrong number of arguments for 'randomkey' command"),
        ("MSET a", "-ERR wrong number of arguments for 'mset' command"),
        ("MSET a 1 b", "-ERR wrong number of arguments for 'mset' command"),
        ("CLIENT NOPE", "-ERR unknown subcommand 'NOPE'. Try CLIENT HELP."),
        ("EVAL x", "-ERR wrong number of arguments for 'eval' command"),
        ("EVAL x 9 a", "-ERR Number of keys can't be greater than number of args"),
        ("", "-ERR unknown command '', with args beginning with:"),
    ] {
        assert_eq!(planned(line), expected, "{line}");
    }
}

#[test]
fn before_authentication_only_the_handshake_passes() {
    for (line, passes) in
        [("AUTH x", true), ("HELLO 3", true), ("QUIT", true), ("GET a", false), ("CLIENT ID", false)]
    {
        let words: Vec<&str> = line.split(' ').collect();
        let owned = OwnedArgs::new(&words);
        let plan = plan(owned.args(), false, &Division::Slots, &mut Vec::new());
        assert_eq!(matches!(plan, Plan::Local { .. }), passes, "{line}");
        assert_eq!(matches!(plan, Plan::Refuse(Refusal::NoAuth)), !passes, "{line}");
    }
    // As in Redis, what is no request is told to anybody.
    for line in ["NOPE", "GET"] {
        let owned = OwnedArgs::new(&[line]);
        let plan = plan(owned.args(), false, &Division::Slots, &mut Vec::new());
        assert!(matches!(plan, Plan::Refuse(Refusal::Table(_))), "{line}");
    }
}
