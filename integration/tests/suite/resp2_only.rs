//! Nodes that speak only RESP2 (before Redis 6, or with HELLO renamed), and clients that speak RESP3: they see what a
//! server of RESP3 would tell them.

use pointsman_integration::{Client, Cluster, Fake, Pointsman, RedisServer, Reply, Setup};
use pointsman_protocol::Slot;

/// A cluster of real servers that have no HELLO, and one real server that has.
struct Servers {
    pointsman: Pointsman,
    oracle: RedisServer,
    _cluster: Cluster,
}

impl Servers {
    fn start(change: impl FnOnce(&mut Setup)) -> Servers {
        let cluster = Cluster::start_with(3, 0, &["--rename-command", "HELLO", ""]);
        assert!(cluster.node(0).command(&["HELLO", "3"]).error().contains("unknown command"));
        let pointsman = Setup::cluster(cluster.addresses()).with(change).start();
        Servers { pointsman, oracle: RedisServer::standalone(), _cluster: cluster }
    }

    /// Connections that speak RESP3.
    fn clients(&self) -> (Client, Client) {
        let (mut ours, mut theirs) = (self.pointsman.client(), self.oracle.client());
        for client in [&mut ours, &mut theirs] {
            assert!(client.line("HELLO 3").0.starts_with(b"%"));
        }
        (ours, theirs)
    }
}

const DATA: &[&str] = &[
    "HSET {r}h a 1 b 2",
    "SADD {r}s a",
    "ZADD {r}z 1 a 2.5 b inf c",
    "XADD {r}x 1-1 f v",
    "GEOADD {r}g 13.361389 38.115556 P",
    "SET {r}t text",
    "MSET one 1 two 2 three 3",
];

#[test]
fn t24_every_kind_of_reply_is_converted() {
    let servers = Servers::start(|_| {});
    let (mut ours, mut theirs) = servers.clients();
    for line in DATA {
        assert_eq!(ours.line(line), theirs.line(line), "{line}");
    }
    let lines = [
        // Maps, sets, numbers, pairs, and what is in them.
        "HGETALL {r}h",
        "SMEMBERS {r}s",
        "ZSCORE {r}z b",
        "ZRANGE {r}z 0 -1 WITHSCORES",
        "GEOPOS {r}g P nobody",
        "XREAD STREAMS {r}x 0",
        "XINFO STREAM {r}x",
        "CONFIG GET notify-keyspace-events",
        "COMMAND DOCS get zadd",
        // Nulls of all kinds.
        "GET none",
        "BLPOP {r}none 0.01",
        "XREAD BLOCK 10 STREAMS {r}x $",
        "BZPOPMAX {r}z 1",
        // Over slots and shards.
        "MGET one none two three",
        "DEL one none two three",
        "SCRIPT EXISTS abc",
        "PUBSUB NUMSUB nobody",
        "FUNCTION STATS",
        // Errors, and what the proxy itself answers.
        "SMEMBERS {r}t",
        "EVAL return{1,false} 0",
        "EVALSHA ffffffffffffffffffffffffffffffffffffffff 0",
        "CLIENT GETNAME",
        // Queued, executed, given up.
        "MULTI",
        "HGETALL {r}h",
        "GET {r}none",
        "PING",
        "ZINCRBY {r}z 1 a",
        "INCR {r}t",
        "EXEC",
        "WATCH {r}t",
        "SET {r}t changed",
        "MULTI",
        "GET {r}t",
        "EXEC",
    ];
    for line in lines {
        assert_eq!(ours.line(line), theirs.line(line), "{line}");
    }
    let requests: Vec<Vec<&str>> = lines.iter().map(|line| line.split(' ').collect()).collect();
    assert_eq!(ours.pipeline(&requests), theirs.pipeline(&requests), "all at once");
    assert!(servers.pointsman.metrics().sum("pointsman_converted_replies_total", &[]) > 20.0);
    // SCAN and its like read replies themselves.
    let scanned = ours.line("SCAN 0 COUNT 1000").elements();
    assert_eq!(scanned.len(), 2);
    assert!(ours.line("MEMORY STATS").0.starts_with(b"%"));
}

#[test]
fn t24_clients_of_both_protocols_share_such_a_node() {
    let servers = Servers::start(|setup| setup.workers = 2);
    let (mut resp3, _) = servers.clients();
    let mut resp2 = servers.pointsman.client();
    assert_eq!(resp3.line("HSET {r}h a 1").int(), 1);
    for _ in 0..50 {
        assert_eq!(resp2.line("HGETALL {r}h").0, b"*2\r\n$1\r\na\r\n$1\r\n1\r\n");
        assert_eq!(resp3.line("HGETALL {r}h").0, b"%1\r\n$1\r\na\r\n$1\r\n1\r\n");
    }
    // A client may change its mind.
    assert!(resp3.line("HELLO 2").0.starts_with(b"*"));
    assert_eq!(resp3.line("GET none"), Reply(b"$-1\r\n".to_vec()));
}

/// T25, T64: messages are pushes for a client of RESP3, whatever the node speaks, and never come between.
#[test]
fn t24_messages_are_pushes() {
    let servers = Servers::start(|_| {});
    let (mut ours, mut theirs) = servers.clients();
    let (mut our_voice, mut their_voice) = (servers.pointsman.client(), servers.oracle.client());
    for (client, voice) in [(&mut ours, &mut our_voice), (&mut theirs, &mut their_voice)] {
        client.line("SUBSCRIBE news");
        voice.line("PUBLISH news hello");
    }
    let message = ours.read();
    assert_eq!(message, theirs.read());
    assert!(message.0.starts_with(b">"), "{message}");
    assert_eq!(ours.line("HGETALL {r}none"), theirs.line("HGETALL {r}none"), "asked while subscribed");
}

/// A redirect on the way changes nothing of it.
#[test]
fn t24_a_reply_is_converted_after_a_redirect() {
    let fake = Fake::start(2, 0);
    fake.change(|world| world.knows_hello = false);
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    assert!(client.line("HELLO 3").0.starts_with(b"%"));
    assert_eq!(client.line("GET none"), Reply(b"_\r\n".to_vec()));
    // The other node owns the slot now; the proxy has to be told.
    let slot = Slot::of(b"none").index();
    fake.change(|world| {
        let owner = world.view.owner[slot];
        world.view.owner[slot] = owner.map(|shard| 1 - shard);
    });
    assert_eq!(client.line("GET none"), Reply(b"_\r\n".to_vec()));
    assert!(pointsman.metrics().sum("pointsman_redirects_total", &[]) >= 1.0);
}

#[test]
fn t24_nothing_is_converted_where_the_node_speaks_resp3() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut client = pointsman.client();
    client.line("HELLO 3");
    assert!(client.line("HGETALL {r3}none").0.starts_with(b"%"));
    assert_eq!(pointsman.metrics().sum("pointsman_converted_replies_total", &[]), 0.0);
}
