//! In front of one primary with replicas: everything goes as on the server itself, and a change of roles
//! costs no more than the requests that were on their way.

use pointsman_integration::client::words;
use pointsman_integration::counting::{Told, count_until};
use pointsman_integration::eventually::{StopOnDrop, check, eventually, throughout};
use pointsman_integration::logs::LOST;
use pointsman_integration::{Client, Pointsman, RedisServer, Reply, Setup};
use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

/// A primary with replicas, and a Pointsman in front that was told of the last replica only.
fn start(replicas: usize, change: impl FnOnce(&mut Setup)) -> (Vec<RedisServer>, Pointsman) {
    let primary = RedisServer::standalone();
    let mut nodes: Vec<RedisServer> = (0..replicas).map(|_| RedisServer::replica_of(&primary, &[])).collect();
    nodes.insert(0, primary);
    let seed = nodes[replicas].address();
    let pointsman = Setup::primary([seed]).with(change).allow(LOST).allow(&["primary"]).start();
    (nodes, pointsman)
}

fn primary_of(pointsman: &Pointsman) -> String {
    pointsman.topology()["shards"][0]["primary"]["address"].as_str().unwrap_or_default().to_owned()
}

fn calls(server: &RedisServer, command: &str) -> String {
    server.info("commandstats", &format!("cmdstat_{command}")).unwrap_or_default()
}

#[test]
fn keys_need_not_share_a_slot() {
    let (nodes, pointsman) = start(0, |_| ());
    let mut client = pointsman.client();
    for (line, reply) in [
        ("MSET a 1 b 2 c 3", "+OK\r\n"),
        ("MGET a b c none", "*4\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n$-1\r\n"),
        ("MSETNX d 1 e 2", ":1\r\n"),
        ("RENAME d f", "+OK\r\n"),
        ("SADD s1 x y", ":2\r\n"),
        ("SADD s2 y z", ":2\r\n"),
        ("SINTERSTORE s3 s1 s2", ":1\r\n"),
        ("SUNION s1 s2 s3 none", "*3\r\n"),
        (
            "EVAL return{redis.call('get',KEYS[1]),redis.call('get',KEYS[2])} 2 a b",
            "*2\r\n$1\r\n1\r\n$1\r\n2\r\n",
        ),
        ("DEL a b none", ":2\r\n"),
        ("DBSIZE", ":6\r\n"),
        ("WATCH c e", "+OK\r\n"),
        ("MULTI", "+OK\r\n"),
        ("INCR c", "+QUEUED\r\n"),
        ("INCR e", "+QUEUED\r\n"),
        ("EXEC", "*2\r\n:4\r\n:3\r\n"),
        ("MULTI", "+OK\r\n"),
        ("INCR c", "+QUEUED\r\n"),
        ("SPUBLISH shard-channel x", "+QUEUED\r\n"),
        ("PUBLISH channel x", "+QUEUED\r\n"),
        ("EXEC", "*3\r\n:5\r\n:0\r\n:0\r\n"),
    ] {
        let told = client.line(line);
        if line.starts_with("SUNION") {
            assert_eq!(told.elements().len(), 3, "{told}");
        } else {
            assert_eq!(told, reply, "{line}");
        }
    }
    // Sent as it came, not in parts.
    assert!(calls(&nodes[0], "mget").starts_with("calls=1,"), "{}", calls(&nodes[0], "mget"));
    assert!(calls(&nodes[0], "del").starts_with("calls=1,"));
    // What a watched key of another client's slot does counts, too.
    let mut other = pointsman.client();
    client.line("WATCH c e");
    other.line("INCR e");
    client.line("MULTI");
    client.line("GET c");
    assert!(client.line("EXEC").is_null());
}

#[test]
fn t72_t77_replicas_serve_reads_and_are_not_told_readonly() {
    let (nodes, pointsman) = start(2, |setup| setup.reads = "prefer_replica");
    let mut client = pointsman.client();
    client.line("SET k v");
    eventually("both replicas serve reads", || {
        // They may be behind as far as `max_lag_bytes` says.
        (0..8).for_each(|_| drop(client.line("GET k")));
        let calls = [calls(&nodes[1], "get"), calls(&nodes[2], "get")];
        check(calls.iter().all(|calls| !calls.is_empty()), calls)
    });
    eventually("both have it", || {
        let replies: Vec<Reply> = (0..8).map(|_| client.line("GET k")).collect();
        check(replies.iter().all(|reply| *reply == Reply::bulk("v")), replies)
    });
    for replica in &nodes[1..] {
        assert_eq!(calls(replica, "readonly"), "", "a node without cluster mode would refuse it");
        assert_eq!(replica.info("errorstats", "errorstat_ERR"), None);
    }
    // One that follows somebody else is none of ours, whatever its link says.
    let other = RedisServer::standalone();
    nodes[2].follow(Some(&other));
    eventually("it is no replica of ours any more", || {
        let topology = pointsman.topology();
        let shown = topology["shards"][0]["replicas"].as_array().map(Vec::len);
        client.line("GET k");
        let eligible = topology.to_string().matches("\"eligible\":true").count();
        check(shown == Some(1) || eligible == 1, topology)
    });
    for _ in 0..50 {
        assert_eq!(client.line("GET k"), Reply::bulk("v"));
    }
}

/// Counts on several connections while `change` happens.
fn count_while(pointsman: &Pointsman, clients: usize, change: impl FnOnce()) -> Vec<Told> {
    let stop = AtomicBool::new(false);
    let written = || {
        let metrics = pointsman.metrics();
        metrics.sum("pointsman_requests_total", &["class=\"write\"", "outcome=\"ok\""])
    };
    let before = written();
    thread::scope(|scope| {
        let counting: Vec<_> = (0..clients)
            .map(|index| {
                let stop = &stop;
                scope.spawn(move || count_until(stop, &mut pointsman.client(), &format!("counter:{index}")))
            })
            .collect();
        {
            let _stop = StopOnDrop(&stop);
            eventually("they count", || {
                let writes = written();
                check(writes >= before + 10.0 * clients as f64, writes)
            });
            change();
        }
        counting.into_iter().map(|thread| thread.join().expect("it counts")).collect()
    })
}

#[test]
fn t90_a_failover_by_hand_loses_and_doubles_nothing() {
    let (nodes, pointsman) = start(2, |_| ());
    let told = count_while(&pointsman, 3, || {
        for (from, to) in [(0, 1), (1, 2), (2, 0)] {
            // Redis' own coordinated failover: writes pause until the replica has all of them.
            let port = nodes[to].port().to_string();
            eventually("the failover begins", || {
                let reply = nodes[from].command(&["FAILOVER", "TO", "127.0.0.1", &port]);
                check(reply == Reply::ok(), reply)
            });
            eventually("the proxy uses the new primary", || {
                let primary = primary_of(&pointsman);
                check(primary == nodes[to].address(), primary)
            });
            eventually("counting goes on there", || {
                let calls = calls(&nodes[to], "incr");
                check(!calls.is_empty(), calls)
            });
            // Redis leaves that to whoever asked for it.
            for other in (0..3).filter(|other| *other != to) {
                nodes[other].follow(Some(&nodes[to]));
                nodes[other].wait_until_linked();
            }
        }
    });
    let mut client = pointsman.client();
    for (index, told) in told.iter().enumerate() {
        let value: i64 =
            client.command(&["GET", &format!("counter:{index}")]).text().parse().expect("a number");
        assert!(told.allows(value), "{value}: {told:?}");
        assert!(told.certain > 0, "{told:?}");
    }
    let epoch = pointsman.topology()["epoch"].as_u64();
    assert_eq!(epoch, Some(4), "one for each primary");
}

#[test]
fn t90_a_killed_primary_is_replaced_and_not_believed_when_it_comes_back() {
    let (mut nodes, pointsman) = start(2, |setup| setup.refresh_interval_ms = 200);
    let address = nodes[1].address();
    let told = count_while(&pointsman, 1, || {
        // A replica that is linked may still have to ask for the stream: then all of it would be lost.
        eventually("the replica hears what is written", || {
            let value = nodes[1].command(&["GET", "counter:0"]);
            check(!value.is_null(), value)
        });
        // A primary replicates behind its answers; what it loses so is not the proxy's. So it stops writing first.
        assert_eq!(nodes[0].command(&["CLIENT", "PAUSE", "60000", "WRITE"]), Reply::ok());
        eventually("the replica has all", || {
            let sent = nodes[0].info("replication", "master_repl_offset");
            let taken = nodes[1].info("replication", "slave_repl_offset");
            check(sent == taken, format!("{sent:?} sent, {taken:?} taken"))
        });
        nodes[0].kill();
        nodes[1].follow(None);
        nodes[2].follow(Some(&nodes[1]));
        eventually("the proxy uses the new primary", || {
            let primary = primary_of(&pointsman);
            check(primary == address, primary)
        });
    });
    let mut client = pointsman.client();
    let value: i64 = client.command(&["GET", "counter:0"]).text().parse().expect("a number");
    assert!(told[0].allows(value), "{value}: {:?}", told[0]);

    client.line("SET k new");
    nodes[0].restart();
    nodes[0].command(&["SET", "k", "old"]);
    // Seen, but not believed: not beside the new one, and not while that one does not answer for a moment.
    nodes[1].command(&["CLIENT", "KILL", "TYPE", "normal"]);
    throughout(Duration::from_millis(1000), "the new one is used", || {
        let reply = client.line("GET k");
        check(reply == Reply::bulk("new"), reply)
    });
    nodes[0].follow(Some(&nodes[1]));
    eventually("it is a replica now", || {
        let topology = pointsman.topology();
        check(topology["shards"][0]["replicas"].to_string().contains(&nodes[0].address()), topology)
    });
}

// A long script, a fork: not the end of the new primary, and the old one is known to be older.
#[test]
fn t90_the_old_primary_is_not_believed_while_the_new_one_stalls() {
    let old = RedisServer::standalone();
    let new = RedisServer::replica_of(&old, &[]);
    let pointsman = Setup::primary([new.address(), old.address()])
        .allow(LOST)
        .with(|setup| setup.refresh_interval_ms = 100)
        .start();
    eventually("the proxy uses the first one", || {
        let primary = primary_of(&pointsman);
        check(primary == old.address(), primary)
    });
    // Cut off, so to speak: it never hears that the other was promoted.
    new.follow(None);
    eventually("the proxy uses the new primary", || {
        let primary = primary_of(&pointsman);
        check(primary == new.address(), primary)
    });
    new.freeze();
    eventually("the old one is seen", || {
        let log = pointsman.log();
        check(log.iter().any(|line| line.contains("was promoted from it")), log)
    });
    throughout(Duration::from_millis(3000), "the new one is used", || {
        let primary = primary_of(&pointsman);
        check(primary == new.address(), primary)
    });
    new.thaw();
    let mut client = pointsman.client();
    assert_eq!(client.line("SET k v"), Reply::ok());
    assert_eq!(new.command(&["GET", "k"]), Reply::bulk("v"));
}

// T08: nobody tells the proxy, and nothing breaks; the node just says READONLY.
#[test]
fn t08_a_demoted_primary_is_noticed_by_its_refusal() {
    let (nodes, pointsman) = start(1, |setup| setup.lag_interval_ms = setup.lag_stale_after_ms);
    let mut client = pointsman.client();
    client.line("SET k 1");
    eventually("the replica has it", || {
        let value = nodes[1].command(&["GET", "k"]);
        check(value == Reply::bulk("1"), value)
    });
    nodes[1].follow(None);
    nodes[0].follow(Some(&nodes[1]));
    assert_eq!(client.line("INCR k"), Reply::number(2), "healed without a word");
    assert_eq!(primary_of(&pointsman), nodes[1].address());
    // A script is its own judge of what it did; it is told, and the next one goes right.
    nodes[0].wait_until_linked();
    nodes[0].follow(None);
    nodes[1].follow(Some(&nodes[0]));
    eventually("scripts write again", || {
        let reply = client.command(&["EVAL", "return redis.call('incr', KEYS[1])", "1", "k"]);
        check(!reply.is_error(), reply)
    });
}

#[test]
fn t70_scan_begins_again_at_another_primary() {
    let (nodes, pointsman) = start(1, |_| ());
    let mut client = pointsman.client();
    let keys: HashSet<String> = (0..500).map(|number| format!("key:{number}")).collect();
    client.pipeline(&keys.iter().map(|key| words(&["SET", key, "v"])).collect::<Vec<_>>());
    let step = |client: &mut Client, cursor: &str, found: &mut HashSet<String>| {
        let reply = client.command(&["SCAN", cursor, "COUNT", "20"]);
        assert!(!reply.is_error(), "{reply}");
        let parts = reply.elements();
        found.extend(parts[1].elements().iter().map(Reply::text));
        parts[0].text()
    };
    for fail_over in [false, true] {
        let (mut cursor, mut found) = (String::from("0"), HashSet::new());
        for _ in 0..10 {
            cursor = step(&mut client, &cursor, &mut found);
        }
        assert!(found.len() < keys.len());
        if fail_over {
            nodes[0].command(&["FAILOVER"]);
            eventually("the proxy uses the new primary", || {
                let primary = primary_of(&pointsman);
                check(primary == nodes[1].address(), primary)
            });
        }
        while cursor != "0" {
            cursor = step(&mut client, &cursor, &mut found);
        }
        assert_eq!(found, keys, "failed over: {fail_over}");
    }
    let reply = client.line("SCAN 0 COUNT 10000");
    assert_eq!(reply.elements()[0], Reply::bulk("0"), "told in one call");
    assert!(client.line("SCAN 12345").is_error_of("ERR"));
}

#[test]
fn messages_and_waits_survive_a_failover() {
    let (nodes, pointsman) = start(1, |_| ());
    let (mut subscriber, mut waiter, mut client) =
        (pointsman.client(), pointsman.client(), pointsman.client());
    subscriber.line("SUBSCRIBE news");
    waiter.send(&["BLPOP", "list", "other", "30"]);
    assert!(waiter.is_silent_for(Duration::from_millis(100)));
    nodes[0].command(&["FAILOVER"]);
    eventually("the proxy uses the new primary", || {
        let primary = primary_of(&pointsman);
        check(primary == nodes[1].address(), primary)
    });
    assert_eq!(client.line("RPUSH other x"), Reply::number(1));
    assert_eq!(waiter.read(), "*2\r\n$5\r\nother\r\n$1\r\nx\r\n");
    eventually("it is heard", || {
        let reply = client.line("PUBLISH news hello");
        check(!subscriber.is_silent_for(Duration::from_millis(50)), reply)
    });
}

#[test]
fn a_node_in_cluster_mode_is_refused_by_name() {
    let node = RedisServer::cluster_node(&[]);
    let pointsman = Setup::primary([node.address()]).allow(&["cluster mode"]).start_unready();
    eventually("it is said", || {
        let log = pointsman.log();
        check(log.iter().any(|line| line.contains("configure this backend as cluster")), log)
    });
    assert_eq!(pointsman.get("/ready").status, 503);
}
