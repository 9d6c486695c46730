//! T34 to T36: keys are found wherever a command has them, slots are those of the cluster, and only
//! what is known to be a pure read may reach a replica.
//!
//! The proxy heals a wrong route by following the redirect, so a right reply proves little. These
//! tests count redirects instead: with the right keys there are none.

use pointsman_integration::client::words;
use pointsman_integration::fake::key_on;
use pointsman_integration::{Client, Cluster, Fake, RedisServer, Setup};
use pointsman_protocol::Slot;

/// Commands with their keys anywhere but at the first place alone; `K` is replaced by keys of one
/// slot, chosen so that each word that is *not* a key would lead to another shard if taken for one.
const KEYS_ANYWHERE: &[&str] = &[
    "SET K:a 12",
    "SET K:b 5",
    "RPUSH K:list 3 1 2",
    "ZADD K:z1 1 a 2 b",
    "ZADD K:z2 3 b 4 c",
    "SADD K:s1 a b",
    "SADD K:s2 b c",
    "XADD K:stream 1-1 f v",
    "PFADD K:h1 a",
    "GEOADD K:geo 13.361389 38.115556 Palermo",
    "EVAL return{KEYS[1],KEYS[2],ARGV[1]} 2 K:a K:b other",
    "EVAL_RO return{KEYS[1]} 1 K:a",
    "XGROUP CREATE K:stream streams 0",
    "XREADGROUP GROUP streams streams COUNT 1 STREAMS K:stream >",
    "XREAD COUNT 1 STREAMS K:stream 0",
    "XINFO STREAM K:stream",
    "XINFO GROUPS K:stream",
    "XACK K:stream streams 1-1",
    "ZUNIONSTORE K:zu 2 K:z1 K:z2 WEIGHTS 1 2",
    "ZINTER 2 K:z1 K:z2 WITHSCORES",
    "ZDIFF 2 K:z1 K:z2",
    "ZINTERCARD 2 K:z1 K:z2 LIMIT 1",
    "SINTERCARD 2 K:s1 K:s2",
    "LMPOP 2 K:none K:list LEFT",
    "ZMPOP 1 K:zu MIN",
    "SORT K:list LIMIT 0 5 STORE K:sorted",
    "SORT_RO K:list",
    "GEORADIUS K:geo 15 37 200 km STORE K:near",
    "GEOSEARCHSTORE K:near2 K:geo FROMLONLAT 15 37 BYRADIUS 200 km",
    "BITOP OR K:bits K:a K:b",
    "OBJECT ENCODING K:a",
    "MEMORY USAGE K:none",
    "COPY K:a K:copy REPLACE",
    "RENAME K:copy K:renamed",
    "LCS K:a K:b LEN",
    "PFCOUNT K:h1 K:none",
    "PFMERGE K:h2 K:h1",
    "MSETNX K:m1 x K:m2 y",
    "SMOVE K:s1 K:s2 a",
    "LMOVE K:list K:list2 LEFT RIGHT",
    "RPOPLPUSH K:list2 K:list",
    "SUNIONSTORE K:su K:s1 K:s2",
    "BITFIELD_RO K:a GET u8 0",
    "GETEX K:a PERSIST",
    "SET K:a 9 GET",
];

#[test]
fn t34_keys_are_found_at_every_place() {
    let cluster = Cluster::shared();
    let direct = RedisServer::standalone();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut proxied = pointsman.client();
    let mut alone = direct.client();
    // A tag in each shard: a word wrongly taken for a key cannot be right in all three.
    for shard in 0..3 {
        let tag = key_on(shard, 3, "t34", 0);
        for line in KEYS_ANYWHERE {
            let line = line.replace("K:", &format!("{{{tag}}}:"));
            assert_eq!(proxied.line(&line), alone.line(&line), "{line}");
        }
    }
    let metrics = pointsman.metrics();
    assert_eq!(
        metrics.sum("pointsman_redirects_total", &[]),
        0.0,
        "every command went to the right shard at once"
    );
}

#[test]
fn t34_keys_of_several_slots_are_refused_wherever_they_stand() {
    let fake = Fake::start(3, 0);
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    let (a, b) = (key_on(0, 3, "cross", 0), key_on(1, 3, "cross", 0));
    for line in [
        "EVAL return{} 2 A B",
        "EVALSHA 0000000000000000000000000000000000000000 2 A B",
        "FCALL function 2 A B",
        "XREAD STREAMS A B 0 0",
        "XREADGROUP GROUP streams streams STREAMS A B > >",
        "ZUNIONSTORE A 1 B",
        "ZUNION 2 A B",
        "ZDIFFSTORE A 1 B",
        "SINTERCARD 2 A B",
        "LMPOP 2 A B LEFT",
        "ZMPOP 2 A B MIN",
        "SORT A STORE B",
        "GEORADIUS A 15 37 200 km STORE B",
        "GEORADIUSBYMEMBER A m 1 km STOREDIST B",
        "GEOSEARCHSTORE A B FROMMEMBER m BYRADIUS 1 km",
        "BITOP OR A B",
        "BITOP NOT A B",
        "COPY A B",
        "LCS A B",
        "PFCOUNT A B",
        "PFMERGE A B",
        "RENAMENX A B",
        "ZRANGESTORE A B 0 1",
        "SDIFF A B",
    ] {
        let words: Vec<&str> = line
            .split(' ')
            .map(|word| match word {
                "A" => a.as_str(),
                "B" => b.as_str(),
                other => other,
            })
            .collect();
        let reply = client.command(&words);
        assert_eq!(reply.error(), "CROSSSLOT Keys in request don't hash to the same slot", "{line}");
    }
    let data = fake.received(|received| received.has_key(&a) || received.has_key(&b));
    assert!(data.is_empty(), "no node was bothered: {data:?}");
}

#[test]
fn t34_broken_key_counts_answer_and_harm_nothing() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut client = pointsman.client();
    for line in [
        "EVAL return 2 a",
        "EVAL return -1 a",
        "EVAL return x a",
        "EVAL return 99999999999999999999 a",
        "ZUNION 0 a",
        "ZUNIONSTORE d 3 a",
        "XREAD COUNT 1",
        "XREAD STREAMS",
        "XREAD STREAMS a",
        "XREAD STREAMS a b 0",
        "LMPOP 5 a LEFT",
        "SINTERCARD 2 a",
        "OBJECT",
        "OBJECT ENCODING",
        "MEMORY USAGE",
        "MGET",
        "MSET a",
        "BITOP",
        "EVAL",
        "SORT",
    ] {
        assert!(client.line(line).is_error(), "{line}");
    }
    assert_eq!(client.line("PING"), "+PONG\r\n");
}

#[test]
fn t35_slots_and_hash_tags_are_those_of_the_cluster() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut proxied = pointsman.client();
    let mut node = cluster.node(0).client();
    let mut keys: Vec<Vec<u8>> = ["", "{}", "{}{a}", "a{b}c{d}", "{a", "}a{b}", "{{a}}", "a}b", "{a}{b}"]
        .iter()
        .map(|key| key.as_bytes().to_vec())
        .collect();
    keys.push(b"\x00\xff{\x80\r\n}\x00".to_vec());
    keys.extend((0..200u32).map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes().to_vec()));
    for key in &keys {
        let slot = node.command(&[b"CLUSTER", &b"KEYSLOT"[..], key]).int();
        assert_eq!(slot, i64::from(Slot::of(key).number()), "{}", key.escape_ascii());
        let reply = proxied.command(&[&b"SET"[..], key, b"t35"]);
        assert_eq!(reply, "+OK\r\n", "{}", key.escape_ascii());
        assert_eq!(proxied.command(&[&b"GET"[..], key]).text(), "t35", "{}", key.escape_ascii());
    }
    assert_eq!(pointsman.metrics().sum("pointsman_redirects_total", &[]), 0.0);
    for key in &keys {
        proxied.command(&[&b"DEL"[..], key]);
    }
}

/// What may change data, what might, and what nobody knows: all of it belongs to the primary.
#[test]
fn t36_only_pure_reads_reach_replicas() {
    let fake = Fake::start(1, 1);
    let pointsman = Setup::cluster(fake.addresses())
        .with(|setup| {
            setup.reads = "prefer_replica";
            // On a busy machine samples are late: each read below must reach the replica all the same.
            setup.lag_stale_after_ms = 20_000;
        })
        .start();
    let mut client = pointsman.client();
    wait_for_replica_reads(&fake, &mut client);
    for line in [
        "SET k v GET",
        "GETDEL k",
        "GETSET k v",
        "GETEX k EX 10",
        "SPOP k",
        "SORT k STORE k2{k}",
        "SORT k",
        "GEORADIUS k 1 1 1 km STORE {k}2",
        "GEORADIUS k 1 1 1 km",
        "PFCOUNT k",
        "BITFIELD k GET u8 0",
        "XREADGROUP GROUP g c STREAMS k >",
        "XADD k 1-1 f v",
        "XDEL k 1-1",
        "XTRIM k MAXLEN 1",
        "LTRIM k 0 1",
        "EVAL return 1 k",
        "FCALL f 1 k",
        "INCR k",
        "EXPIRE k 10",
        "PERSIST k",
        "RESTORE k 0 x",
        "COPY k {k}2",
    ] {
        let name = line.split(' ').next().unwrap();
        client.line(line);
        let at_replica = fake.received(|received| received.node != 0 && received.is(name));
        assert!(at_replica.is_empty(), "{line} went to a replica");
        assert!(
            !fake.received(|received| received.node == 0 && received.is(name)).is_empty(),
            "{line} arrived"
        );
    }
    // And these do go to the replica, so that the rows above mean something.
    for line in [
        "GET k",
        "STRLEN k",
        "HGETALL k",
        "ZRANGE k 0 1",
        "EVAL_RO return 1 k",
        "SORT_RO k",
        "GEORADIUS_RO k 1 1 1 km",
        "EXISTS k",
        "MGET k",
    ] {
        let name = line.split(' ').next().unwrap();
        client.line(line);
        let at_replica = fake.received(|received| received.node == 1 && received.is(name));
        assert!(!at_replica.is_empty(), "{line} did not go to the replica");
    }
}

/// Until the lag of the replica is known, reads go to the primary.
fn wait_for_replica_reads(fake: &Fake, client: &mut Client) {
    pointsman_integration::eventually("reads reach the replica", || {
        client.pipeline(&[words(&["GET", "warm-up"])]);
        let there = fake.received(|received| received.node == 1 && received.has_key("warm-up")).len();
        if there > 0 { Ok(()) } else { Err(there) }
    });
}
