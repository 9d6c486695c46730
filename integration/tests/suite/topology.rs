//! T82, T83 and T85: what the proxy believes of the cluster. Holes are answered slot by slot, an
//! older view never replaces a newer one, and refreshes come one at a time.

use pointsman_integration::client::words;
use pointsman_integration::eventually::{check, eventually, throughout};
use pointsman_integration::fake::{Act, Received, Rule, key_on};
use pointsman_integration::logs::LOST;
use pointsman_integration::{Cluster, Fake, Reply, Setup};
use pointsman_protocol::Slot;
use std::time::Duration;

/// The commands by which a topology is asked for.
fn asks_topology(received: &Received) -> bool {
    ["CLUSTER SHARDS", "CLUSTER SLOTS", "CLUSTER NODES"].iter().any(|name| received.is(name))
}

#[test]
fn t82_holes_in_the_map_are_errors_of_their_slots_and_heal() {
    let fake = Fake::start(2, 0);
    let (hole, fine) = (key_on(0, 2, "hole", 0), key_on(1, 2, "fine", 0));
    let slot = Slot::of(hole.as_bytes());
    fake.change(|world| world.view.owner[slot.index()] = None);
    let pointsman = Setup::cluster(fake.addresses())
        .with(|setup| {
            setup.request_timeout_ms = 300;
            setup.refresh_interval_ms = 200;
        })
        .allow(&["slot", "refresh", "topology"])
        .start_unready();
    let mut client = pointsman.client();
    eventually("the rest is served", || {
        let reply = client.command(&["SET", &fine, "v"]);
        check(reply == Reply::ok(), reply)
    });
    assert_eq!(pointsman.get("/ready").status, 503, "a map with a hole is not ready");
    let replies =
        client.pipeline(&[words(&["GET", &hole]), words(&["GET", &fine]), words(&["MGET", &fine, &hole])]);
    assert!(replies[0].is_error_of("CLUSTERDOWN"), "{}", replies[0]);
    assert_eq!(replies[1], Reply::bulk("v"));
    assert!(replies[2].is_error(), "{}", replies[2]);

    fake.change(|world| {
        world.view.owner[slot.index()] = Some(1);
        world.view.epoch += 1;
    });
    eventually("the hole is filled", || {
        let reply = client.command(&["SET", &hole, "v"]);
        check(reply == Reply::ok(), reply)
    });
    pointsman.wait_until_ready();
}

#[test]
fn t82_a_cluster_that_forms_later_is_waited_for() {
    let fake = Fake::start(2, 0);
    let owner = fake.change(|world| std::mem::replace(&mut world.view.owner, vec![None; 16384]));
    let pointsman = Setup::cluster(fake.addresses())
        .with(|setup| setup.refresh_interval_ms = 100)
        .allow(&["slot", "refresh", "topology"])
        .start_unready();
    assert_eq!(pointsman.get("/ready").status, 503);
    assert_eq!(pointsman.get("/health").status, 200, "alive all the same");
    let mut client = pointsman.client();
    assert_eq!(client.line("PING"), "+PONG\r\n");
    client.send(&["SET", "k", "v"]);
    fake.change(|world| {
        world.view.owner = owner;
        world.view.epoch += 1;
    });
    assert_eq!(client.read(), Reply::ok(), "healed within the deadline of the request");
    pointsman.wait_until_ready();
}

/// One node has not heard of the failover. Whenever it is the one asked, nothing may go back.
#[test]
fn t83_an_older_view_never_replaces_a_newer_one() {
    let fake = Fake::start(3, 1);
    let keys: Vec<String> = (0..3).map(|shard| key_on(shard, 3, "t83", 0)).collect();
    let pointsman = Setup::cluster(fake.addresses()).with(|setup| setup.refresh_interval_ms = 100).start();
    let mut client = pointsman.client();
    for node in [2, 3] {
        fake.keep_old_view(node);
    }
    fake.fail_over(0);
    let new_primary = fake.address(fake.primary(0));
    eventually("the proxy knows the new primary", || {
        let topology = pointsman.topology();
        check(
            topology["shards"].to_string().contains(&format!("\"address\":\"{new_primary}\"")),
            topology.clone(),
        )?;
        let primaries: Vec<String> = primaries(&topology);
        check(primaries.contains(&new_primary), topology)
    });
    let epoch = pointsman.topology()["epoch"].as_u64().expect("an epoch is a number");
    let before = fake.received(|received| asks_topology(received) && [2, 3].contains(&received.node)).len();
    throughout(Duration::from_millis(1500), "the view does not go back", || {
        let topology = pointsman.topology();
        let holds = primaries(&topology).contains(&new_primary) && topology["epoch"].as_u64() >= Some(epoch);
        check(holds, topology)?;
        Ok::<(), serde_json::Value>(())
    });
    let after = fake.received(|received| asks_topology(received) && [2, 3].contains(&received.node)).len();
    assert!(after > before, "the nodes with the old view were asked too");
    for key in &keys {
        assert_eq!(client.command(&["SET", key, "v"]), Reply::ok());
    }
    let old = fake.received(|received| received.is("SET") && received.node == 0);
    assert!(old.len() <= 1, "the old primary of shard 0 gets no more writes: {old:?}");
}

fn primaries(topology: &serde_json::Value) -> Vec<String> {
    let shards = topology["shards"].as_array().expect("shards are a list");
    shards.iter().filter_map(|shard| shard["primary"]["address"].as_str().map(str::to_owned)).collect()
}

#[test]
fn t85_a_flood_of_redirects_asks_for_few_refreshes() {
    let fake = Fake::start(2, 0);
    let pointsman =
        Setup::cluster(fake.addresses()).with(|setup| setup.refresh_min_interval_ms = 500).start();
    let mut client = pointsman.client();
    // Half of the slots change hands at once.
    fake.change(|world| {
        let all: Vec<Slot> = Slot::all().filter(|slot| world.view.owner[slot.index()] == Some(0)).collect();
        for slot in all {
            world.view.owner[slot.index()] = Some(1);
        }
        world.view.epoch += 1;
    });
    let before = fake.received(asks_topology).len();
    let requests: Vec<_> = (0..2000).map(|n| words(&["SET", &format!("t85:{n}"), "v"])).collect();
    let began = std::time::Instant::now();
    for reply in client.pipeline(&requests) {
        assert_eq!(reply, Reply::ok());
    }
    let asked = fake.received(asks_topology).len() - before;
    // A refresh may ask several nodes.
    let periods = 2 + (began.elapsed().as_millis() / 500) as usize;
    assert!(asked <= 3 * periods, "{asked} questions in {:?}", began.elapsed());
}

#[test]
fn t85_one_refresh_at_a_time_and_the_redirect_itself_teaches_the_slot() {
    let fake = Fake::start(2, 0);
    let keys: Vec<String> = (0..20).map(|n| key_on(0, 2, "t85b", n)).collect();
    let pointsman = Setup::cluster(fake.addresses()).with(|setup| setup.refresh_min_interval_ms = 10).start();
    let mut client = pointsman.client();
    client.command(&["SET", &keys[0], "v"]);
    let gate = fake.gate();
    for name in ["CLUSTER SHARDS", "CLUSTER SLOTS", "CLUSTER NODES", "CLUSTER INFO"] {
        fake.rule(Rule::on(name, Act::Hold(gate.clone())));
    }
    let before = fake.received(asks_topology).len();
    for key in &keys {
        fake.move_slot(Slot::of(key.as_bytes()), 1);
    }
    for key in &keys {
        assert_eq!(client.command(&["SET", key, "1"]), Reply::ok());
    }
    // The refresh is still held up, yet each of these goes straight to the right node.
    let wrong = fake.received(|received| received.is("SET") && received.node == 0).len();
    for key in &keys {
        assert_eq!(client.command(&["SET", key, "2"]), Reply::ok());
    }
    assert_eq!(fake.received(|received| received.is("SET") && received.node == 0).len(), wrong);
    let held = fake.received(asks_topology).len() - before;
    assert!(held <= 3, "twenty redirects, one refresh under way, not {held}");
    gate.open();
}

#[test]
fn a_real_failover_is_followed() {
    let mut cluster = Cluster::start_with(3, 1, &["--cluster-node-timeout", "2000"]);
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| {
            setup.request_timeout_ms = 20_000;
            setup.refresh_interval_ms = 500;
            setup.workers = 2;
        })
        .allow(LOST)
        .start();
    let mut client = pointsman.client();
    let key = key_on(0, 3, "failover", 0);
    assert_eq!(client.command(&["SET", &key, "before"]), Reply::ok());
    let primary = cluster.primary_of(&key);
    let replica = cluster.replicas_of(primary)[0];
    let offset = |node: usize, field: &str| cluster.node(node).info("replication", field);
    eventually("the replica has the key", || {
        let (wrote, has) = (offset(primary, "master_repl_offset"), offset(replica, "slave_repl_offset"));
        check(wrote == has, (wrote, has))
    });
    cluster.node_mut(primary).kill();
    eventually("writes reach the new primary", || {
        let reply = client.command(&["SET", &key, "after"]);
        check(reply == Reply::ok(), reply)
    });
    assert_eq!(client.command(&["GET", &key]), Reply::bulk("after"));
    assert_eq!(cluster.node(replica).info("replication", "role").as_deref(), Some("master"));
    // The old one comes back as a replica; nothing changes for clients.
    cluster.node_mut(primary).restart();
    for n in 0..100 {
        assert_eq!(client.command(&["SET", &key, &n.to_string()]), Reply::ok());
    }
}
