//! The embedded default: `pointsman` with nothing but flags runs shards, replicas and the proxy.

use pointsman_integration::client::words;
use pointsman_integration::eventually::{check, eventually};
use pointsman_integration::process::Launch;
use pointsman_integration::{Client, Pointsman, Reply, Setup, ports, tools};
use std::net::TcpListener;
use std::ops::Range;
use std::time::Duration;

#[test]
fn first_steps_work_and_keys_spread_over_shards_and_replicas() {
    let pointsman = Setup::embedded(3, 1).start();
    let mut client = pointsman.client();
    assert_eq!(client.line("PING"), "+PONG\r\n");
    assert_eq!(client.line("SET greeting hello"), Reply::ok());
    assert_eq!(client.line("GET greeting"), Reply::bulk("hello"));
    assert_eq!(client.line("INCR visits"), Reply::number(1));
    assert_eq!(client.line("INCRBY visits 41"), Reply::number(42));
    assert_eq!(client.line("MSET a 1 b 2 c 3 d 4"), Reply::ok());
    let reply = client.line("MGET a b nothing c d");
    let expected = [Reply::bulk("1"), Reply::bulk("2"), Reply::null(), Reply::bulk("3"), Reply::bulk("4")];
    assert_eq!(reply.elements(), expected);
    assert_eq!(client.line("EXISTS a b c nothing"), Reply::number(3));
    assert_eq!(client.line("DEL a b c d greeting visits"), Reply::number(6));

    let requests: Vec<_> = (0..300).map(|n| words(&["SET", &format!("key:{n}"), "v"])).collect();
    client.pipeline(&requests);
    assert_eq!(client.line("DBSIZE"), Reply::number(300));
    // (A replica that has only begun to copy says LOADING.)
    let sizes = |nodes: Range<usize>| -> Vec<Reply> {
        nodes.map(|node| Client::connect(pointsman.node_address(node)).line("DBSIZE")).collect()
    };
    let told = sizes(0..3);
    let primaries: Vec<i64> = told.iter().map(Reply::int).collect();
    assert_eq!(primaries.iter().sum::<i64>(), 300, "{primaries:?}");
    assert!(primaries.iter().all(|size| *size > 50), "spread evenly: {primaries:?}");
    eventually("the replicas hold the same", || {
        let replicas = sizes(3..6);
        check(replicas == told, replicas)
    });
}

#[test]
fn keys_expire_for_clients_and_on_replicas() {
    let pointsman = Setup::embedded(2, 1).start();
    let mut client = pointsman.client();
    client.line("SET stays v");
    client.line("SET goes v PX 80");
    client.line("SET later v");
    assert_eq!(client.line("EXPIRE later 100"), Reply::number(1));
    assert!((1..=100).contains(&client.line("TTL later").int()));
    assert_eq!(client.line("TTL stays"), Reply::number(-1));
    eventually("the key has expired", || {
        let reply = client.line("GET goes");
        check(reply.is_null(), reply)
    });
    assert_eq!(client.line("TTL goes"), Reply::number(-2));
    assert_eq!(client.line("EXISTS stays goes later"), Reply::number(2));
    eventually("it has expired on its replica too", || {
        let sizes: Vec<Reply> =
            (0..4).map(|node| Client::connect(pointsman.node_address(node)).line("DBSIZE")).collect();
        let known = !sizes.iter().any(Reply::is_error);
        check(known && sizes.iter().map(Reply::int).sum::<i64>() == 4, sizes)
    });
}

#[test]
fn nodes_answer_redirects_to_those_who_ask_them_directly() {
    let pointsman = Setup::embedded(3, 1).start();
    let mut client = pointsman.client();
    client.line("SET foo bar");
    let replies: Vec<Reply> =
        (0..6).map(|node| Client::connect(pointsman.node_address(node)).line("GET foo")).collect();
    let moved = replies.iter().filter(|reply| reply.is_error_of("MOVED 12182")).count();
    assert_eq!(moved, 5, "{replies:?}");
    assert_eq!(replies[2], Reply::bulk("bar"), "slot 12182 is the third shard's");
    let slots = Client::connect(pointsman.node_address(0)).line("CLUSTER SLOTS").elements();
    assert_eq!(slots.len(), 3);
}

#[test]
fn shards_and_replicas_are_as_many_as_asked_for() {
    for (shards, replicas) in [(1, 0), (2, 2)] {
        let pointsman = Setup::embedded(shards, replicas).start();
        let topology = pointsman.topology();
        let all = topology["shards"].as_array().expect("a list");
        assert_eq!(all.len(), usize::from(shards), "{topology}");
        assert!(
            all.iter().all(|shard| shard["replicas"].as_array().map(Vec::len) == Some(replicas.into())),
            "{topology}"
        );
        assert_eq!(pointsman.client().line("SET k v"), Reply::ok());
    }
}

#[test]
fn the_banner_says_what_runs_where_and_what_to_try() {
    let pointsman = Setup::embedded(3, 1).start();
    let log = pointsman.log().join("\n");
    for text in [
        format!("redis-cli -p {}", pointsman.port()),
        pointsman.admin_address(),
        pointsman.node_ports()[0].to_string(),
        "Ctrl-C".to_owned(),
    ] {
        assert!(log.contains(&text), "'{text}' is not in the banner:\n{log}");
    }
}

/// Whichever port is taken: the message names it and the flag that moves it, and nothing is left.
#[test]
fn a_taken_port_is_named_with_its_flag_and_nothing_stays_behind() {
    for (taken, flag) in
        [("listen", "--listen"), ("admin", "--admin"), ("node", "--node-port"), ("last node", "--node-port")]
    {
        let (listen, admin, nodes) = (ports::reserve(), ports::reserve(), ports::reserve_run(4));
        let port = match taken {
            "listen" => &listen,
            "admin" => &admin,
            "node" => &nodes[0],
            _ => &nodes[3],
        };
        let holder = TcpListener::bind(port.address()).expect("the port is reserved");
        let finished = Launch::new(tools::our_binary("pointsman"))
            .args([
                "--listen",
                &listen.address(),
                "--admin",
                &admin.address(),
                "--shards",
                "2",
                "--replicas",
                "1",
            ])
            .args(["--node-port", &nodes[0].number().to_string()])
            .run(Duration::from_secs(20));
        assert!(!finished.status.success(), "{taken}: {}", finished.output);
        assert!(finished.output.contains(&port.number().to_string()), "{taken}: {}", finished.output);
        assert!(finished.output.contains(flag), "{taken}: the flag {flag} is not named: {}", finished.output);
        assert!(!finished.output.contains("panicked"), "{}", finished.output);
        drop(holder);
        for port in nodes.iter().chain([&listen, &admin]) {
            eventually(&format!("port {} is free again", port.number()), || {
                TcpListener::bind(port.address()).map(drop).map_err(|error| error.to_string())
            });
        }
    }
}

#[test]
fn it_stops_cleanly_with_clients_connected() {
    let pointsman: Pointsman = Setup::embedded(3, 1).start();
    let mut client = pointsman.client();
    client.line("SET k v");
    let ports = pointsman.node_ports();
    pointsman.stop();
    assert!(client.is_closed_within(Duration::from_secs(5)));
    for port in ports {
        assert!(Client::try_connect(("127.0.0.1", port)).is_err(), "node port {port} is closed");
    }
}
