//! T10, T11 and T87: a request that takes too long gets its error in its place; its late reply
//! belongs to nobody; and a node that is gone without a word costs only those who need it.

use pointsman_integration::client::words;
use pointsman_integration::eventually::{check, eventually};
use pointsman_integration::fake::{Act, BlackHole, Endpoint, Rule, key_on};
use pointsman_integration::{Cluster, Fake, Random, Reply, Setup};
use pointsman_protocol::Slot;
use std::thread;
use std::time::{Duration, Instant};

/// Warnings that a lost or silent node may cause.
const LOST: &[&str] = &["time", "lost", "closed", "connect", "refused", "refresh", "topology", "stall"];

#[test]
fn t10_a_late_reply_is_discarded() {
    let fake = Fake::start(1, 0);
    let pointsman =
        Setup::cluster(fake.addresses()).with(|setup| setup.request_timeout_ms = 1000).allow(LOST).start();
    let mut client = pointsman.client();
    for key in ["late", "b", "c"] {
        client.command(&["SET", key, &format!("value of {key}")]);
    }
    let gate = fake.gate();
    fake.rule(Rule::on("GET", Act::HoldReply(gate.clone())).key("late").times(1));
    let replies = client.pipeline(&[words(&["GET", "late"]), words(&["PING"])]);
    assert!(replies[0].is_error_of("ERR"), "{}", replies[0]);
    assert_eq!(replies[1], "+PONG\r\n");
    client.send_all(&[words(&["GET", "b"]), words(&["GET", "c"]), words(&["GET", "late"])]);
    fake.wait_for("the next ones wait behind the late one", 1, |received| {
        received.is("GET") && received.has_key("c")
    });
    gate.open();
    let replies: Vec<Reply> = (0..3).map(|_| client.read()).collect();
    assert_eq!(replies, ["b", "c", "late"].map(|key| Reply::bulk(format!("value of {key}"))));
}

#[test]
fn t10_a_client_that_leaves_does_not_shift_the_replies_of_others() {
    let fake = Fake::start(1, 0);
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut stays = pointsman.client();
    for round in 0..20 {
        let gate = fake.gate();
        let (gone, mine) = (format!("gone{round}"), format!("mine{round}"));
        fake.rule(Rule::on("GETSET", Act::Hold(gate.clone())).key(&gone));
        let mut leaves = pointsman.client();
        leaves.send_all(&[words(&["GETSET", &gone, "x"]), words(&["APPEND", &gone, "y"])]);
        fake.wait_for("its requests are under way", 1, |received| {
            received.is("APPEND") && received.has_key(&gone)
        });
        stays.send_all(&[words(&["SET", &mine, &mine]), words(&["GET", &mine])]);
        fake.wait_for("so are the others'", 1, |received| received.is("GET") && received.has_key(&mine));
        drop(leaves);
        gate.open();
        assert_eq!([stays.read(), stays.read()], [Reply::ok(), Reply::bulk(&mine)]);
    }
    // What had been sent was executed all the same.
    eventually("the leavers' writes", || {
        let last = fake.change(|world| world.value("gone19"));
        check(last.as_deref() == Some("xy"), last)
    });
}

#[test]
fn t10_clients_that_drop_at_random_points_leave_no_trace() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).with(|setup| setup.workers = 2).start();
    let mut random = Random::for_test(10);
    thread::scope(|scope| {
        for number in 0..4 {
            let mut random = random.fork();
            let pointsman = &pointsman;
            scope.spawn(move || {
                for round in 0..100 {
                    let mut client = pointsman.client();
                    let value = format!("{number}:{round}");
                    let requests: Vec<_> = (0..20)
                        .flat_map(|n| {
                            let key = format!("t10:{number}:{n}");
                            [words(&["SET", &key, &value]), words(&["GET", &key])]
                        })
                        .collect();
                    client.send_all(&requests);
                    for index in 0..random.below(requests.len() + 1) {
                        let expected = if index % 2 == 0 { Reply::ok() } else { Reply::bulk(&value) };
                        assert_eq!(client.read(), expected);
                    }
                }
            });
        }
    });
    let metrics = pointsman.metrics();
    assert!(metrics.sum("pointsman_client_connections", &[]) <= 1.0);
    eventually("nothing is in flight", || {
        let inflight = pointsman.metrics().sum("pointsman_inflight_requests", &[]);
        check(inflight == 0.0, inflight)
    });
}

#[test]
fn t11_a_timeout_leaves_the_shared_connection_open() {
    let fake = Fake::start(1, 0);
    let pointsman = Setup::cluster(fake.addresses())
        .with(|setup| {
            setup.request_timeout_ms = 200;
            setup.stall_timeout_ms = 60_000;
        })
        .allow(LOST)
        .start();
    let mut client = pointsman.client();
    client.line("SET k v");
    let connection = fake.received(|received| received.is("SET"))[0].connection;
    let gate = fake.gate();
    fake.rule(Rule::on("GET", Act::Hold(gate.clone())).key("slow").times(1));
    assert!(client.line("GET slow").is_error_of("ERR"));
    gate.open();
    eventually("the same connection serves again", || {
        let reply = client.line("GET k");
        check(reply == Reply::bulk("v"), reply)
    });
    let last = fake.received(|received| received.is("GET"));
    assert!(last.iter().all(|received| received.connection == connection), "{last:?}");
}

#[test]
fn t11_a_connection_without_progress_is_closed_at_last() {
    let fake = Fake::start(1, 0);
    let pointsman = Setup::cluster(fake.addresses())
        .with(|setup| {
            setup.request_timeout_ms = 150;
            setup.stall_timeout_ms = 300;
        })
        .allow(LOST)
        .start();
    let mut client = pointsman.client();
    client.line("SET k v");
    let gate = fake.gate();
    fake.rule(Rule::on("GET", Act::Hold(gate)).key("stuck").times(1));
    assert!(client.line("GET stuck").is_error_of("ERR"));
    // Only a new connection can serve this: the old one is held up for good.
    eventually("a new connection serves", || {
        let reply = client.line("GET k");
        check(reply == Reply::bulk("v"), reply)
    });
}

#[test]
fn t87_a_frozen_node_costs_only_its_own_shard() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| {
            setup.request_timeout_ms = 1500;
            setup.stall_timeout_ms = 3000;
        })
        .allow(LOST)
        .start();
    let mut client = pointsman.client();
    let keys: Vec<String> = (0..3).map(|shard| key_on(shard, 3, "t87", 0)).collect();
    for key in &keys {
        assert_eq!(client.command(&["SET", key, "v"]), Reply::ok());
    }
    let frozen = cluster.primary_of(&keys[0]);
    cluster.node(frozen).freeze();
    let began = Instant::now();
    // Many at once: their waiting must not add up.
    let requests: Vec<_> =
        (0..20).flat_map(|_| [words(&["GET", &keys[0]]), words(&["GET", &keys[1]])]).collect();
    let replies = client.pipeline(&requests);
    let took = began.elapsed();
    for pair in replies.chunks(2) {
        assert!(pair[0].is_error_of("ERR"), "{}", pair[0]);
        assert_eq!(pair[1], Reply::bulk("v"));
    }
    assert!(
        took < Duration::from_secs(10),
        "twenty timeouts of 1.5 s passed together, not one by one: {took:?}"
    );
    let mut other = pointsman.client();
    assert_eq!(other.command(&["GET", &keys[2]]), Reply::bulk("v"));
    cluster.node(frozen).thaw();
    eventually("the shard is back", || {
        let reply = client.command(&["GET", &keys[0]]);
        check(reply == Reply::bulk("v"), reply)
    });
}

#[test]
fn t87_a_dead_machine_is_given_up_at_the_connect_deadline() {
    let fake = Fake::start(2, 0);
    let hole = BlackHole::start();
    let (dead, alive) = (key_on(0, 2, "dead", 0), key_on(1, 2, "alive", 0));
    fake.change(|world| world.nodes[0].endpoint = Endpoint::Elsewhere("127.0.0.1".into(), hole.port()));
    let pointsman = Setup::cluster([fake.address(1)])
        .with(|setup| {
            setup.connect_timeout_ms = 200;
            setup.request_timeout_ms = 600;
        })
        .allow(LOST)
        .start();
    let mut client = pointsman.client();
    let began = Instant::now();
    let replies = client.pipeline(&[words(&["SET", &dead, "v"]), words(&["SET", &alive, "v"])]);
    assert!(replies[0].is_error_of("ERR"), "{}", replies[0]);
    assert_eq!(replies[1], Reply::ok());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // The shard moves to a living machine: it is served without a restart.
    fake.change(|world| world.nodes[0].endpoint = Endpoint::Address);
    fake.move_slot(Slot::of(b"anything"), 0);
    eventually("the shard is served at its new place", || {
        let reply = client.command(&["SET", &dead, "v"]);
        check(reply == Reply::ok(), reply)
    });
}
