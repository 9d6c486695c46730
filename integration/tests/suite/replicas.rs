//! Reads from replicas: only from those that are known to keep up; anything unknown goes to the
//! primary.

use pointsman_integration::client::words;
use pointsman_integration::eventually::{check, eventually};
use pointsman_integration::fake::key_on;
use pointsman_integration::logs::LOST;
use pointsman_integration::{Client, Cluster, Fake, Pointsman, Reply, Setup};

/// A shard with two replicas, one of which serves a client's reads by now.
fn start() -> (Fake, Pointsman, Client) {
    let fake = Fake::start(1, 2);
    let pointsman = Setup::cluster(fake.addresses())
        .with(|setup| {
            setup.reads = "prefer_replica";
            setup.max_lag_bytes = 1000;
            setup.lag_interval_ms = 20;
            setup.lag_stale_after_ms = 300;
        })
        .allow(LOST)
        .allow(&["lag", "sample"])
        .start();
    let mut client = pointsman.client();
    client.line("SET k v");
    eventually("both replicas serve reads", || {
        let readers = readers(&fake, &mut client);
        check(readers == [1, 2], readers)
    });
    (fake, pointsman, client)
}

/// The nodes that get a few reads sent now.
fn readers(fake: &Fake, client: &mut Client) -> Vec<usize> {
    let before = fake.received(|received| received.is("GET")).len();
    for _ in 0..16 {
        assert_eq!(client.line("GET k"), Reply::bulk("v"));
    }
    let mut nodes: Vec<usize> = fake
        .received(|received| received.is("GET"))
        .iter()
        .skip(before)
        .map(|received| received.node)
        .collect();
    nodes.sort();
    nodes.dedup();
    nodes
}

#[track_caller]
fn expect_readers(fake: &Fake, client: &mut Client, what: &str, expected: &[usize]) {
    eventually(what, || {
        let readers = readers(fake, client);
        check(readers == expected, readers)
    });
}

#[test]
fn t72_replicas_are_used_while_they_keep_up_and_no_longer() {
    let (fake, pointsman, mut client) = start();
    fake.change(|world| world.nodes[1].behind = 1001);
    expect_readers(&fake, &mut client, "one byte too far behind", &[2]);
    fake.change(|world| world.nodes[2].link_up = false);
    expect_readers(&fake, &mut client, "not linked", &[0]);
    fake.change(|world| world.nodes[1].behind = 1000);
    expect_readers(&fake, &mut client, "just within the limit", &[1]);
    fake.change(|world| {
        world.nodes[2].link_up = true;
        world.nodes[2].syncing = true;
    });
    expect_readers(&fake, &mut client, "syncing", &[1]);
    fake.change(|world| {
        world.nodes[2].syncing = false;
        world.nodes[1].behind = 0;
    });
    expect_readers(&fake, &mut client, "both again", &[1, 2]);
    // The operator sees the same.
    let topology = pointsman.topology();
    for replica in topology["shards"][0]["replicas"].as_array().expect("a list") {
        assert_eq!(replica["eligible"], true, "{topology}");
        assert!(replica["lag_bytes"].as_u64().is_some_and(|lag| lag <= 1000), "{topology}");
    }
    assert!(pointsman.metrics().has("pointsman_replica_lag_bytes"));
}

#[test]
fn t72_a_silent_replica_is_unknown_and_unknown_means_the_primary() {
    let (fake, _pointsman, mut client) = start();
    // Its samples grow stale. A read that met it in the meantime waits no longer than a request may.
    fake.change(|world| world.nodes[1].frozen = true);
    fake.change(|world| world.nodes[2].link_up = false);
    eventually("nothing but the primary serves", || {
        let before = fake.received(|received| received.is("GET")).len();
        client.line("GET k");
        let last = fake.received(|received| received.is("GET"));
        check(
            last.len() > before && last.last().unwrap().node == 0,
            last.last().map(|received| received.node),
        )
    });
    assert_eq!(readers(&fake, &mut client), [0]);
    fake.thaw(1);
    expect_readers(&fake, &mut client, "the thawed one serves again", &[1]);
}

#[test]
fn t76_a_read_that_a_replica_cannot_serve_goes_to_another_copy() {
    let (fake, pointsman, mut client) = start();
    fake.take_down(1);
    fake.take_down(2);
    for _ in 0..10 {
        assert_eq!(client.line("GET k"), Reply::bulk("v"), "no error in between");
    }
    fake.bring_up(1);
    expect_readers(&fake, &mut client, "back in use", &[1]);
    for text in [
        "LOADING Redis is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    ] {
        use pointsman_integration::fake::{Act, Rule};
        fake.rule(Rule::on("GET", Act::Error(text.into())).at(1));
        assert_eq!(client.line("GET k"), Reply::bulk("v"), "{text}");
        fake.change(|world| world.rules.clear());
    }
    drop(pointsman);
}

#[test]
fn t77_readonly_is_sent_on_every_new_connection() {
    let (fake, _pointsman, mut client) = start();
    for _ in 0..3 {
        fake.close_connections(1);
        fake.close_connections(2);
        expect_readers(&fake, &mut client, "both serve again", &[1, 2]);
    }
    let without = fake.received(|received| received.is("GET") && received.node != 0 && !received.readonly);
    assert!(without.is_empty(), "{without:?}");
}

#[test]
fn t77_a_promoted_replica_is_no_replica_any_more() {
    let (fake, _pointsman, mut client) = start();
    fake.fail_over(0);
    assert_eq!(client.line("SET k v"), Reply::ok());
    assert_eq!(fake.primary(0), 1);
    expect_readers(&fake, &mut client, "the old primary reads now, the new one does not", &[0, 2]);
}

#[test]
fn reads_stay_at_the_primary_unless_asked_for() {
    let fake = Fake::start(1, 2);
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    client.line("SET k v");
    client.pipeline(&vec![words(&["GET", "k"]); 200]);
    assert!(fake.received(|received| received.is("GET") && received.node != 0).is_empty());
}

#[test]
fn t75_a_read_right_behind_a_write_of_the_same_client_sees_it() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).with(|setup| setup.reads = "prefer_replica").start();
    let mut client = pointsman.client();
    let key = "t75:key";
    client.command(&["SET", key, "0"]);
    eventually("replicas serve reads", || {
        let topology = pointsman.topology();
        check(topology.to_string().contains("\"eligible\":true"), topology)
    });
    for round in 0..300 {
        let value = round.to_string();
        let replies = client.pipeline(&[words(&["SET", key, &value]), words(&["GET", key])]);
        assert_eq!(replies[1], Reply::bulk(&value), "pipelined: the read must not overtake the write");
    }
}

/// A frozen replica of a real cluster drops out, and comes back.
#[test]
fn t72_a_frozen_replica_of_a_real_cluster_drops_out() {
    let cluster = Cluster::start(3, 1);
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| {
            setup.reads = "prefer_replica";
            setup.lag_stale_after_ms = 500;
            setup.request_timeout_ms = 2000;
        })
        .allow(LOST)
        .allow(&["lag", "sample", "stall", "time"])
        .start();
    let key = key_on(0, 3, "t72real", 0);
    let mut client = pointsman.client();
    client.command(&["SET", &key, "v"]);
    let primary = cluster.primary_of(&key);
    let replica = cluster.replicas_of(primary)[0];
    let eligible = || {
        let topology = pointsman.topology();
        let shards = topology["shards"].as_array().expect("a list").clone();
        let all: Vec<serde_json::Value> =
            shards.iter().flat_map(|shard| shard["replicas"].as_array().expect("a list").clone()).collect();
        let address = cluster.node(replica).address();
        let mine = all.into_iter().find(|entry| entry["address"] == address.as_str()).expect("it is listed");
        mine["eligible"] == true
    };
    eventually("the replica is eligible", || check(eligible(), ()));
    cluster.node(replica).freeze();
    eventually("the frozen replica is not", || check(!eligible(), ()));
    for _ in 0..50 {
        assert_eq!(client.command(&["GET", &key]), Reply::bulk("v"));
    }
    cluster.node(replica).thaw();
    eventually("the thawed replica is eligible again", || check(eligible(), ()));
}
