//! T84: the many forms in which clusters describe themselves, and the commands by which older ones
//! are asked.

use pointsman_integration::eventually::{check, eventually};
use pointsman_integration::fake::{Endpoint, key_on};
use pointsman_integration::{Fake, Pointsman, Reply, Setup};
use pointsman_protocol::Slot;

/// Writes to both shards work, and find their nodes without a redirect.
#[track_caller]
fn assert_served(fake: &Fake, pointsman: &Pointsman) {
    let mut client = pointsman.client();
    for shard in 0..2 {
        let key = key_on(shard, 2, "t84", 0);
        assert_eq!(client.command(&["SET", &key, "v"]), Reply::ok());
        let received = fake.received(|received| received.is("SET") && received.has_key(&key));
        assert_eq!(received.last().map(|received| received.node), Some(fake.primary(shard)));
        assert_eq!(received.len(), 1, "at once: {received:?}");
    }
}

#[test]
fn t84_discovery_falls_back_from_shards_to_slots_to_nodes() {
    for (shards, slots) in [(true, true), (false, true), (false, false)] {
        let fake = Fake::start(2, 1);
        fake.change(|world| {
            world.knows_shards = shards;
            world.knows_slots = slots;
        });
        let pointsman = Setup::cluster(fake.addresses()).start();
        assert_served(&fake, &pointsman);
        let topology = pointsman.topology();
        assert_eq!(topology["slots_covered"], 16384, "{topology}");
        assert_eq!(topology["shards"].as_array().map(Vec::len), Some(2), "{topology}");
        for shard in topology["shards"].as_array().expect("a list") {
            assert_eq!(shard["replicas"].as_array().map(Vec::len), Some(1), "{topology}");
        }
    }
}

#[test]
fn t84_servers_without_hello_are_spoken_to() {
    let fake = Fake::start(2, 0);
    fake.change(|world| {
        world.knows_hello = false;
        world.knows_shards = false;
    });
    let pointsman = Setup::cluster(fake.addresses()).start();
    assert_served(&fake, &pointsman);
}

/// A node that does not know its own address means "the one you asked".
#[test]
fn t84_nodes_without_a_name_of_their_own() {
    for endpoint in [Endpoint::Empty, Endpoint::Null, Endpoint::Question] {
        for (shards, slots) in [(true, true), (false, true)] {
            let fake = Fake::start(2, 0);
            fake.change(|world| {
                world.knows_shards = shards;
                world.knows_slots = slots;
                world.nodes.iter_mut().for_each(|node| node.endpoint = endpoint.clone());
            });
            println!("{endpoint:?}, CLUSTER SHARDS: {shards}");
            let pointsman = Setup::cluster(fake.addresses()).start();
            assert_served(&fake, &pointsman);
            // In a redirect the same.
            let key = key_on(0, 2, "t84-moved", 0);
            fake.move_slot(Slot::of(key.as_bytes()), 1);
            let reply = pointsman.client().command(&["SET", &key, "v"]);
            assert_eq!(reply, Reply::ok(), "{endpoint:?}");
        }
    }
}

#[test]
fn t84_nodes_by_host_name() {
    let fake = Fake::start(2, 0);
    fake.change(|world| {
        world.nodes.iter_mut().for_each(|node| node.endpoint = Endpoint::Host("localhost".into()))
    });
    let pointsman = Setup::cluster(fake.addresses()).start();
    assert_served(&fake, &pointsman);
    let key = key_on(0, 2, "t84-moved", 0);
    fake.move_slot(Slot::of(key.as_bytes()), 1);
    assert_eq!(pointsman.client().command(&["SET", &key, "v"]), Reply::ok());
}

#[test]
fn t84_nodes_by_ipv6_address() {
    let fake = Fake::start(2, 0);
    if !(0..2).all(|node| fake.listen_on_ipv6(node)) {
        println!("this machine has no IPv6 loopback address: nothing was tested");
        return;
    }
    fake.change(|world| world.nodes.iter_mut().for_each(|node| node.endpoint = Endpoint::Host("::1".into())));
    let pointsman = Setup::cluster(fake.addresses()).start();
    assert_served(&fake, &pointsman);
    let key = key_on(0, 2, "t84-moved", 0);
    fake.move_slot(Slot::of(key.as_bytes()), 1);
    assert_eq!(pointsman.client().command(&["SET", &key, "v"]), Reply::ok());
}

/// Behind NAT nodes announce addresses that nobody can reach from here.
#[test]
fn t84_announced_addresses_are_mapped() {
    let fake = Fake::start(2, 0);
    let mut map = vec![];
    fake.change(|world| {
        for (number, node) in world.nodes.iter_mut().enumerate() {
            let port = 7000 + number as u16;
            node.endpoint = Endpoint::Elsewhere("192.0.2.7".into(), port);
            map.push(format!("\"192.0.2.7:{port}\": \"{}\"", node.address()));
        }
    });
    let pointsman = Setup::cluster(fake.addresses())
        .with(|setup| setup.cluster_extra = vec![format!("address_map: {{ {} }}", map.join(", "))])
        .start();
    assert_served(&fake, &pointsman);
    let key = key_on(0, 2, "t84-moved", 0);
    fake.move_slot(Slot::of(key.as_bytes()), 1);
    assert_eq!(pointsman.client().command(&["SET", &key, "v"]), Reply::ok(), "in a redirect too");
}

#[test]
fn t84_nodes_that_are_no_use_are_left_alone() {
    for (shards, slots) in [(true, true), (false, true), (false, false)] {
        let fake = Fake::start(2, 3);
        fake.change(|world| {
            world.knows_shards = shards;
            world.knows_slots = slots;
            world.nodes[1].flags = vec!["fail"];
            world.nodes[2].flags = vec!["noaddr"];
            world.nodes[2].endpoint = Endpoint::Elsewhere(String::new(), 0);
            world.nodes[5].flags = vec!["handshake"];
            world.nodes[6].loading = true;
        });
        let pointsman =
            Setup::cluster([fake.address(0)]).with(|setup| setup.reads = "prefer_replica").start();
        assert_served(&fake, &pointsman);
        let mut client = pointsman.client();
        for n in 0..200 {
            let reply = client.command(&["GET", &format!("t84-read:{n}")]);
            assert!(reply.is_null(), "{reply}");
        }
        let flagged = fake.received(|received| received.is("GET") && [1, 2, 5].contains(&received.node));
        assert!(flagged.is_empty(), "{flagged:?}");
    }
}

#[test]
fn t84_a_password_of_the_backend_is_given() {
    let fake = Fake::start(2, 0);
    fake.change(|world| world.password = Some("a secret".into()));
    let pointsman = Setup::cluster(fake.addresses())
        .with(|setup| setup.cluster_extra = vec!["password: \"a secret\"".into()])
        .start();
    assert_served(&fake, &pointsman);
    let log = pointsman.log().join("\n");
    assert!(!log.contains("a secret"), "no secret in the log");
}

#[test]
fn seeds_that_are_down_are_passed_over_and_all_down_is_waited_out() {
    let fake = Fake::start(2, 0);
    fake.take_down(0);
    fake.take_down(1);
    let pointsman = Setup::cluster(["127.0.0.1:1".to_owned(), fake.address(0), fake.address(1)])
        .with(|setup| setup.refresh_interval_ms = 100)
        .allow(&["refused", "connect", "refresh", "topology", "seed"])
        .start_unready();
    assert_eq!(pointsman.get("/ready").status, 503);
    fake.bring_up(1);
    fake.bring_up(0);
    pointsman.wait_until_ready();
    let mut client = pointsman.client();
    eventually("served", || {
        let reply = client.line("SET k v");
        check(reply == Reply::ok(), reply)
    });
}
