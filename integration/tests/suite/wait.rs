//! T53: WAIT and WAITAOF count copies of what this client wrote, on every shard that it wrote to.

use pointsman_integration::client::words;
use pointsman_integration::eventually::eventually;
use pointsman_integration::{Cluster, RedisServer, Reply, Setup};
use pointsman_protocol::Slot;
use std::time::{Duration, Instant};

/// Keys of three shards, in the middle of what each of them owns.
fn keys_of(cluster: &Cluster) -> Vec<(usize, String)> {
    let mut keys: Vec<(usize, String)> = Vec::new();
    for number in 0.. {
        let key = format!("t53w{number}");
        let (slot, node) = (Slot::of(key.as_bytes()).number(), cluster.primary_of(&key));
        let clear = [5461, 10923].iter().all(|edge: &u16| slot.abs_diff(*edge) > 512);
        if clear && keys.iter().all(|(known, _)| *known != node) {
            keys.push((node, key));
        }
        if keys.len() == 3 {
            break;
        }
    }
    keys
}

fn thaw_on_drop(node: &RedisServer) -> impl Drop + '_ {
    struct Thaw<'a>(&'a RedisServer);
    impl Drop for Thaw<'_> {
        fn drop(&mut self) {
            self.0.thaw();
        }
    }
    node.freeze();
    Thaw(node)
}

#[test]
fn t53_wait_counts_the_copies_of_what_its_client_wrote() {
    let cluster = Cluster::start(3, 1);
    let pointsman =
        Setup::cluster(cluster.addresses()).with(|setup| setup.request_timeout_ms = 1_000).start();
    let keys = keys_of(&cluster);
    let mut client = pointsman.client();
    eventually("a client that wrote nothing has it on one replica a shard", || {
        match client.line("WAIT 1 50") {
            reply if reply == ":1\r\n" => Ok(()),
            reply => Err(reply),
        }
    });
    let (frozen_shard, frozen_key) = &keys[0];
    assert_eq!(client.line(&format!("SET {frozen_key} 1")), Reply::ok());
    assert_eq!(client.line("WAIT 1 5000").int(), 1);
    {
        let _thaw = thaw_on_drop(cluster.node(cluster.replicas_of(*frozen_shard)[0]));
        let mut elsewhere = pointsman.client();
        for (_, key) in &keys[1..] {
            assert_eq!(elsewhere.line(&format!("SET {key} 1")), Reply::ok());
        }
        assert_eq!(elsewhere.line("WAIT 1 5000").int(), 1, "what it wrote is where it should be");
        for write in [
            format!("SET {frozen_key} 2"),
            format!("EVAL return(redis.call('incr',KEYS[1])) 1 {frozen_key}"),
            format!("MSET {frozen_key} 3 {} 3", keys[1].1),
        ] {
            let began = Instant::now();
            let mut writing = pointsman.client();
            assert!(!writing.line(&write).is_error());
            assert_eq!(writing.line("WAIT 1 200").int(), 0, "{write}");
            assert!(began.elapsed() >= Duration::from_millis(200));
        }
        // In a transaction over a connection of its own, too.
        let mut watching = pointsman.client();
        for line in
            [format!("WATCH {frozen_key}"), "MULTI".into(), format!("INCR {frozen_key}"), "EXEC".into()]
        {
            assert!(!watching.line(&line).is_error(), "{line}");
        }
        // What comes behind it waits; others do not. It waits longer than any request may.
        watching.send_all(&[words(&["WAIT", "1", "1500"]), words(&["PING"])]);
        assert_eq!(client.line(&format!("GET {frozen_key}")).text(), "4");
        assert!(watching.is_silent_for(Duration::from_millis(50)));
        assert_eq!(watching.read().int(), 0);
        assert!(watching.read() == "+PONG\r\n");
    }
    assert_eq!(client.line("WAIT 1 20000").int(), 1, "the replica goes on");
    // As Redis has it.
    assert_eq!(client.line("WAIT 1 -1").error(), "ERR timeout is negative");
    assert_eq!(client.line("WAIT x 1").error(), "ERR value is not an integer or out of range");
    assert!(client.line("WAITAOF 0 0 1").error().contains("unknown command"), "nodes of version 7.0");
    client.line("MULTI");
    assert!(client.line("WAIT 1 0").error().contains("between MULTI and EXEC"));
    assert!(client.line("EXEC").is_error_of("EXECABORT"));
}

#[test]
fn t53_t55_a_wait_for_ever_ends_with_its_client_or_by_another() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut leaving = pointsman.client();
    leaving.send(&["WAIT", "1", "0"]);
    cluster.wait_for_blocked(3);
    assert_eq!(pointsman.metrics().sum("pointsman_blocked_clients", &[]), 1.0);
    drop(leaving);
    cluster.wait_for_blocked(0);
    let (mut waiting, mut other) = (pointsman.client(), pointsman.client());
    let id = waiting.line("CLIENT ID").int();
    waiting.line("SET t53e 1");
    for (reason, told) in
        [("TIMEOUT", ":0\r\n"), ("ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n")]
    {
        waiting.send(&["WAIT", "1", "0"]);
        cluster.wait_for_blocked(1);
        assert_eq!(other.line(&format!("CLIENT UNBLOCK {id} {reason}")).int(), 1);
        let reply = waiting.read();
        assert!(reply == told, "{reason}: {reply}");
    }
    cluster.wait_for_blocked(0);
}

#[test]
fn t53_wait_on_bundled_nodes_is_refused() {
    let pointsman = Setup::embedded(1, 0).start();
    assert!(pointsman.client().line("WAIT 0 0").error().contains("bundled nodes"));
}
