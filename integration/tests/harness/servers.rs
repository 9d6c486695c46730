//! Real redis-servers and clusters.

use pointsman_integration::eventually::{check, eventually, throughout};
use pointsman_integration::mover::{during, slots_of};
use pointsman_integration::{Client, Cluster, Random, RedisServer, Relay, Reply};
use pointsman_protocol::Slot;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

#[test]
fn a_standalone_server_answers_dies_and_comes_back() {
    let mut server = RedisServer::standalone();
    assert_eq!(server.client().line("SET k v"), Reply::ok());
    server.kill();
    assert!(Client::try_connect(server.address()).is_err());
    server.restart();
    assert!(server.client().line("GET k").is_null(), "it persists nothing");
}

#[test]
fn a_frozen_server_accepts_and_answers_nothing() {
    let server = RedisServer::standalone();
    server.freeze();
    let mut client = server.client();
    client.send(&["PING"]);
    assert!(client.is_silent_for(Duration::from_millis(100)));
    server.thaw();
    assert_eq!(client.read(), "+PONG\r\n");
}

#[test]
fn replies_are_read_whatever_their_size_and_pieces() {
    let server = RedisServer::standalone();
    let mut client = server.client();
    let big = vec![b'x'; 3_000_000];
    let requests: Vec<Vec<Vec<u8>>> = (0..3)
        .flat_map(|n| {
            let key = format!("k{n}").into_bytes();
            [vec![b"SET".to_vec(), key.clone(), big.clone()], vec![b"GET".to_vec(), key]]
        })
        .collect();
    let replies = client.pipeline(&requests);
    for pair in replies.chunks(2) {
        assert_eq!(pair[0], Reply::ok());
        assert!(pair[1] == Reply::bulk(&big));
    }
    client.send_bytes(b"QUIT\r\n");
    assert_eq!(client.read(), Reply::ok());
    assert_eq!(client.try_read().unwrap_err().kind(), ErrorKind::UnexpectedEof);
}

#[test]
fn a_cluster_agrees_and_its_replicas_follow() {
    let cluster = Cluster::shared();
    assert_eq!(cluster.primaries(), [0, 1, 2]);
    for primary in 0..3 {
        let replicas = cluster.replicas_of(primary);
        assert_eq!(replicas.len(), 1);
        let replica = cluster.node(replicas[0]);
        assert_eq!(
            replica.info("replication", "master_port"),
            Some(cluster.node(primary).port().to_string())
        );
    }
    let key = "harness:follow";
    let primary = cluster.primary_of(key);
    assert_eq!(cluster.node(primary).command(&["SET", key, "v"]), Reply::ok());
    let mut replica = cluster.node(cluster.replicas_of(primary)[0]).client();
    assert_eq!(replica.line("READONLY"), Reply::ok());
    eventually("the replica has the key", || {
        let reply = replica.command(&["GET", key]);
        check(reply == Reply::bulk("v"), reply)
    });
    let other = cluster.node((primary + 1) % 3).command(&["GET", key]);
    assert!(other.is_error_of("MOVED"), "{other}");
}

#[test]
fn a_slot_moves_step_by_step_and_whole() {
    let cluster = Cluster::start(3, 0);
    let keys: Vec<String> = (0..4).map(|n| format!("{{t}}{n}")).collect();
    let slot = Slot::of(b"{t}");
    let from = cluster.primary_of("{t}");
    let to = (from + 1) % 3;
    let mut source = cluster.node(from).client();
    for key in &keys {
        assert_eq!(source.command(&["SET", key, "v"]), Reply::ok());
    }
    let mut step = cluster.begin_move(slot, to);
    assert_eq!(step.move_keys(2), 2);
    let codes: Vec<bool> = keys.iter().map(|key| source.command(&["GET", key]).is_error_of("ASK")).collect();
    assert_eq!(codes.iter().filter(|asked| **asked).count(), 2, "half of the keys are on their way");
    let mut all = vec!["MGET"];
    all.extend(keys.iter().map(String::as_str));
    assert!(source.command(&all).is_error_of("TRYAGAIN"));
    while step.move_keys(1) > 0 {}
    step.finish();
    cluster.wait_until_agreed();
    assert_eq!(cluster.primary_of("{t}"), to);

    cluster.move_slot(slot, from);
    assert_eq!(source.command(&all).elements(), vec![Reply::bulk("v"); 4]);
}

#[test]
fn redis_cli_reshards_and_the_mover_moves() {
    let cluster = Cluster::start(3, 0);
    cluster.reshard(0, 1, 50);
    cluster.wait_until_agreed();
    assert_eq!(cluster.owner(Slot::new(0).unwrap()).address, cluster.node(1).address());

    let keys = ["a", "b", "c"];
    during(&cluster, &slots_of(&keys), Random::new(1), |moves| {
        eventually("three moves", || check(moves.done() >= 3, moves.done()));
    });
    cluster.wait_until_agreed();
}

#[test]
fn a_relay_delays_what_a_replica_gets_holds_it_and_cuts_it_off() {
    let primary = RedisServer::standalone();
    let relay = Relay::start(primary.address());
    let replica = RedisServer::replica_at(relay.port(), &[]);
    let arrives = |value: &str| {
        assert_eq!(primary.command(&["SET", "k", value]), Reply::ok());
        let written = Instant::now();
        eventually("the replica has it", || {
            let reply = replica.command(&["GET", "k"]);
            check(reply == Reply::bulk(value), reply)
        });
        written.elapsed()
    };
    arrives("at once");
    relay.delay(Duration::from_millis(300));
    let late = arrives("late");
    // The moment is taken after the write, a little later than the relay has it.
    assert!(late > Duration::from_millis(280), "{late:?}");
    relay.delay(Duration::ZERO);
    relay.hold(true);
    primary.command(&["SET", "k", "held"]);
    throughout(Duration::from_millis(100), "nothing passes", || {
        let reply = replica.command(&["GET", "k"]);
        check(reply == Reply::bulk("late"), reply)
    });
    relay.hold(false);
    relay.cut();
    replica.wait_until_linked();
    arrives("after all");
}
