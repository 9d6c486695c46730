//! Every row of the command table has a route that somebody has considered. Commands with keys go by
//! them, and the rules for that are checked as rules; what has no keys is listed here by name, so that a
//! new row without a line below fails.

use super::*;

fn rows() -> impl Iterator<Item = &'static CommandSpec> {
    command::all().iter().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands))
}

/// What has no keys, or has some and does not go by them.
const CONSIDERED: &[(&str, &str)] = &[
    (
        "local",
        "POINTSMAN POINTSMAN|EXPLAIN POINTSMAN|HELP POINTSMAN|LAG POINTSMAN|TOPOLOGY \
         ACL|USERS ACL|WHOAMI ASKING AUTH CLIENT CLIENT|CACHING CLIENT|CAPA CLIENT|GETNAME CLIENT|GETREDIR \
         CLIENT|ID CLIENT|IMPORT-SOURCE CLIENT|INFO CLIENT|KILL CLIENT|LIST CLIENT|NO-EVICT CLIENT|NO-TOUCH \
         CLIENT|PAUSE CLIENT|REPLY CLIENT|SETINFO CLIENT|SETNAME CLIENT|TRACKING CLIENT|TRACKINGINFO \
         CLIENT|UNBLOCK CLIENT|UNPAUSE CLUSTER CLUSTER|ADDSLOTS CLUSTER|ADDSLOTSRANGE CLUSTER|BUMPEPOCH \
         CLUSTER|CANCELSLOTMIGRATIONS CLUSTER|COUNT-FAILURE-REPORTS CLUSTER|COUNTKEYSINSLOT CLUSTER|DELSLOTS \
         CLUSTER|DELSLOTSRANGE CLUSTER|FAILOVER CLUSTER|FLUSHSLOT CLUSTER|FLUSHSLOTS CLUSTER|FORGET \
         CLUSTER|GETKEYSINSLOT CLUSTER|GETSLOTMIGRATIONS CLUSTER|HELP CLUSTER|INFO CLUSTER|KEYSLOT CLUSTER|LINKS CLUSTER|MEET \
         CLUSTER|MIGRATESLOTS CLUSTER|MIGRATION CLUSTER|MYID CLUSTER|MYSHARDID CLUSTER|NODES CLUSTER|REPLICAS \
         CLUSTER|REPLICATE CLUSTER|RESET CLUSTER|SAVECONFIG CLUSTER|SET-CONFIG-EPOCH CLUSTER|SETSLOT \
         CLUSTER|SHARDS CLUSTER|SLAVES CLUSTER|SLOT-STATS CLUSTER|SLOTS CLUSTER|SYNCSLOTS COMMAND COMMAND|COUNT \
         COMMAND|DOCS COMMAND|GETKEYS COMMAND|GETKEYSANDFLAGS COMMAND|INFO COMMAND|LIST CONFIG CONFIG|GET \
         CONFIG|RESETSTAT CONFIG|REWRITE CONFIG|SET ECHO HELLO INFO LOLWUT MONITOR PING QUIT READONLY READWRITE \
         RESET ROLE SELECT TIME",
    ),
    (
        "everyone",
        "COMMANDLOG|LEN COMMANDLOG|RESET DBSIZE FLUSHALL FLUSHDB FUNCTION|DELETE FUNCTION|FLUSH FUNCTION|LOAD \
         FUNCTION|RESTORE KEYS LATENCY|RESET MEMORY|PURGE SCRIPT|FLUSH SCRIPT|LOAD SLOWLOG|LEN SLOWLOG|RESET",
    ),
    (
        "shards",
        "COMMANDLOG|GET FUNCTION|KILL FUNCTION|STATS LASTSAVE LATENCY|DOCTOR LATENCY|GRAPH LATENCY|HISTOGRAM \
         LATENCY|HISTORY LATENCY|LATEST MEMORY|DOCTOR MEMORY|MALLOC-STATS MEMORY|STATS PUBSUB|CHANNELS \
         PUBSUB|NUMPAT PUBSUB|NUMSUB PUBSUB|SHARDCHANNELS PUBSUB|SHARDNUMSUB RANDOMKEY SCAN SCRIPT|EXISTS \
         SCRIPT|KILL SCRIPT|SHOW SLOWLOG|GET TS.MGET TS.MRANGE TS.MREVRANGE TS.QUERYINDEX TS.QUERYLABELS",
    ),
    (
        "one shard",
        "FT._LIST FT.AGGREGATE FT.ALIASADD FT.ALIASDEL FT.ALIASLIST FT.ALIASUPDATE FT.ALTER FT.CREATE FT.CURSOR \
         FT.CURSOR|DEL FT.CURSOR|READ FT.DICTADD FT.DICTDEL FT.DICTDUMP FT.DROPINDEX FT.EXPLAIN FT.EXPLAINCLI \
         FT.HYBRID FT.INFO FT.PROFILE FT.SEARCH FT.SPELLCHECK FT.SYNDUMP FT.SYNUPDATE FT.TAGVALS",
    ),
    (
        "anyone",
        "ACL|CAT ACL|GENPASS ACL|HELP CLIENT|HELP COMMAND|HELP COMMANDLOG|HELP CONFIG|HELP FT.CONFIG|HELP \
         FUNCTION|DUMP FUNCTION|HELP FUNCTION|LIST JSON.DEBUG|HELP LATENCY|HELP MEMORY|HELP MODULE|HELP \
         MODULE|LIST OBJECT|HELP PUBSUB|HELP SCRIPT|HELP SLOWLOG|HELP XGROUP|HELP XINFO|HELP",
    ),
    (
        "special",
        "DISCARD EXEC MOVE MULTI PSUBSCRIBE PUBLISH PUNSUBSCRIBE SPUBLISH SSUBSCRIBE SUBSCRIBE SUNSUBSCRIBE \
         SWAPDB UNSUBSCRIBE UNWATCH WAIT WAITAOF WATCH",
    ),
    (
        "refused",
        "ACL ACL|DELUSER ACL|DRYRUN ACL|GETUSER ACL|LIST ACL|LOAD ACL|LOG ACL|SAVE ACL|SETUSER \
         BGREWRITEAOF BGSAVE CLUSTERSCAN COMMANDLOG DEBUG FAILOVER FT.CONFIG FT.CONFIG|GET FT.CONFIG|SET FUNCTION \
         HOTKEYS JSON.DEBUG LATENCY MEMORY MIGRATE MODULE MODULE|LOAD MODULE|LOADEX MODULE|UNLOAD OBJECT \
         PFSELFTEST PSYNC PUBSUB REPLCONF REPLICAOF RESTORE-ASKING SAVE SCRIPT SCRIPT|DEBUG SFLUSH SHUTDOWN \
         SLAVEOF SLOWLOG SYNC TRIMSLOTS XGROUP XINFO",
    ),
];

fn kind(route: Route, spec: &CommandSpec) -> &'static str {
    match route {
        Route::OneKey(_)
        | Route::Cursor(_)
        | Route::Keys
        | Route::Across
        | Route::Block
        | Route::Split(_) => "keys",
        Route::Everyone => "everyone",
        Route::Shards if spec.name.starts_with("FT.") => "one shard",
        Route::Shards => "shards",
        Route::Anyone => "anyone",
        Route::Local => "local",
        Route::NotThroughProxy => "refused",
        // Each has a route of its own, or of its kind.
        _ => "special",
    }
}

#[test]
fn every_command_has_a_considered_route() {
    for spec in rows() {
        let considered = CONSIDERED
            .iter()
            .find(|(_, names)| names.split_whitespace().any(|name| name == spec.name))
            .map(|(kind, _)| *kind);
        let expected = considered.unwrap_or("keys");
        assert_eq!(
            kind(route_of(spec), spec),
            expected,
            "{}: no line for it above, or another route",
            spec.name
        );
    }
    for name in CONSIDERED.iter().flat_map(|(_, names)| names.split_whitespace()) {
        assert!(rows().any(|spec| spec.name == name), "{name} is no command");
    }
}

// T34, T36, T39
#[test]
fn t34_what_has_keys_goes_by_all_of_them() {
    for spec in rows() {
        let route = route_of(spec);
        match route {
            Route::OneKey(at) => assert_eq!(spec.pattern, KeyPattern::One(at), "{}", spec.name),
            Route::Cursor(at) => {
                assert_eq!(spec.pattern, KeyPattern::One(at), "{}", spec.name);
                assert!(spec.is_read(), "{}: a write needs no second rule to reach the primary", spec.name);
            }
            Route::Keys => assert!(
                matches!(spec.pattern, KeyPattern::Range { .. } | KeyPattern::Complex),
                "{}",
                spec.name
            ),
            Route::Split(_) => {
                assert!(
                    matches!(spec.pattern, KeyPattern::Range { first: 1, last: -1 | -2, .. }),
                    "{}",
                    spec.name
                );
            }
            Route::Across => {
                assert!(algebra::computes(spec.name) && spec.pattern != KeyPattern::None, "{}", spec.name)
            }
            Route::Block => {
                assert!(spec.flags.has(Flags::BLOCKING) && spec.pattern != KeyPattern::None, "{}", spec.name);
            }
            // What else has keys has a reason to go another way.
            _ => assert!(
                spec.keys.is_empty()
                    || matches!(
                        spec.name,
                        "MOVE"
                            | "MIGRATE"
                            | "RESTORE-ASKING"
                            | "WATCH"
                            | "SPUBLISH"
                            | "SSUBSCRIBE"
                            | "SUNSUBSCRIBE"
                    ),
                "{} has keys and goes by {route:?}",
                spec.name
            ),
        }
    }
}
