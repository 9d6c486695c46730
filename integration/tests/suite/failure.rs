//! T09, T12 and T13: what happens to requests when connections break. A write of unknown fate gets
//! an honest error and is never sent again; a read, and what was never sent, finds its way.

use pointsman_integration::client::words;
use pointsman_integration::eventually::{check, eventually};
use pointsman_integration::fake::{Act, Rule, key_on};
use pointsman_integration::{Cluster, Fake, Reply, Setup};
use std::thread;
use std::time::Duration;

const LOST: &[&str] = &["lost", "closed", "connect", "refused", "refresh", "topology", "reset"];

#[test]
fn t12_a_write_whose_fate_is_unknown_is_not_sent_again() {
    for (act, executed) in [(Act::CloseAfter, "1"), (Act::CloseBefore, "0")] {
        let fake = Fake::start(1, 0);
        let pointsman = Setup::cluster(fake.addresses()).allow(LOST).start();
        let mut client = pointsman.client();
        client.line("SET k 0");
        fake.rule(Rule::on("INCR", act.clone()).times(1));
        let reply = client.line("INCR k");
        assert!(reply.is_error_of("ERR"), "{act:?}: {reply}");
        assert_eq!(fake.count("INCR", "k"), 1, "{act:?}: sent once");
        assert_eq!(client.line("GET k"), Reply::bulk(executed), "{act:?}");
    }
}

#[test]
fn t12_only_those_in_flight_fail_and_each_in_its_place() {
    let fake = Fake::start(2, 0);
    let (broken, fine) = (key_on(0, 2, "broken", 0), key_on(1, 2, "fine", 0));
    let pointsman = Setup::cluster(fake.addresses()).allow(LOST).start();
    let mut client = pointsman.client();
    fake.rule(Rule::on("INCR", Act::CloseAfter).key(&broken).skip(2).times(1));
    let requests: Vec<_> =
        (0..5).flat_map(|_| [words(&["INCR", &broken]), words(&["INCR", &fine])]).collect();
    client.send_all(&requests);
    let replies: Vec<Reply> = (0..10).map(|_| client.read()).collect();
    let fine_ones: Vec<i64> = replies.iter().skip(1).step_by(2).map(Reply::int).collect();
    assert_eq!(fine_ones, [1, 2, 3, 4, 5]);
    let broken_ones: Vec<&Reply> = replies.iter().step_by(2).collect();
    assert_eq!([broken_ones[0].int(), broken_ones[1].int()], [1, 2]);
    assert!(broken_ones[2].is_error_of("ERR"), "{}", broken_ones[2]);
    // What was sent behind it may have been lost with the connection, or came later on a new one:
    // what was answered with success was executed, and nothing twice.
    let succeeded = broken_ones.iter().filter(|reply| !reply.is_error()).count();
    let value: usize = fake.change(|world| world.value(&broken)).unwrap().parse().unwrap();
    assert!((succeeded + 1..=5).contains(&value), "{succeeded} answered, {value} executed");
    assert_eq!(fake.received(|received| received.is("INCR") && received.executed).len(), value + 5);
}

#[test]
fn t12_a_read_is_planned_again() {
    let fake = Fake::start(1, 0);
    let pointsman = Setup::cluster(fake.addresses()).allow(LOST).start();
    let mut client = pointsman.client();
    client.line("SET k v");
    for act in [Act::CloseBefore, Act::CloseAfter] {
        fake.rule(Rule::on("GET", act.clone()).times(2));
        assert_eq!(client.line("GET k"), Reply::bulk("v"), "{act:?}");
    }
}

/// A read that is lost together with a later write on its key does not go again: it might show that write.
#[test]
fn t12_a_read_never_shows_what_was_asked_for_later() {
    let fake = Fake::start(1, 0);
    let pointsman = Setup::cluster(fake.addresses()).allow(LOST).start();
    let mut client = pointsman.client();
    client.line("MSET k{t} old other{t} v");
    let gate = fake.gate();
    fake.rule(Rule::on("GET", Act::HoldReply(gate.clone())).times(1));
    client.send_all(&[
        words(&["GET", "k{t}"]),
        words(&["GET", "other{t}"]),
        words(&["SET", "k{t}", "new"]),
        words(&["GET", "k{t}"]),
    ]);
    fake.wait_for("all of it arrives", 4, |received| received.is("GET") || received.is("SET"));
    fake.close_connections(0);
    gate.open();
    let replies: Vec<Reply> = (0..4).map(|_| client.read()).collect();
    assert!(replies[0].error().contains("the read may be retried"), "{}", replies[0]);
    assert_eq!(replies[1], Reply::bulk("v"), "nothing behind it touches this one");
    assert!(replies[2].error().contains("may or may not"), "{}", replies[2]);
    let last = &replies[3];
    assert!(*last == Reply::bulk("old") || *last == Reply::bulk("new"), "{last}");
}

#[test]
fn t12_what_was_never_sent_waits_for_the_node() {
    let fake = Fake::start(1, 0);
    let pointsman = Setup::cluster(fake.addresses()).allow(LOST).start();
    let mut client = pointsman.client();
    client.line("SET k 0");
    fake.take_down(0);
    eventually("the proxy has noticed", || {
        let connections = pointsman.metrics().sum("pointsman_backend_connections", &[]);
        check(connections == 0.0, connections)
    });
    client.send_all(&[words(&["INCR", "k"]), words(&["INCR", "k"]), words(&["PING"])]);
    assert!(client.is_silent_for(Duration::from_millis(100)), "the writes wait, and PING behind them");
    fake.bring_up(0);
    assert_eq!([client.read(), client.read()], [Reply::number(1), Reply::number(2)]);
    assert_eq!(client.read(), "+PONG\r\n");
}

#[test]
fn t12_a_node_that_stays_away_is_an_error_at_the_deadline() {
    let fake = Fake::start(2, 0);
    let (gone, there) = (key_on(0, 2, "gone", 0), key_on(1, 2, "there", 0));
    let pointsman =
        Setup::cluster(fake.addresses()).with(|setup| setup.request_timeout_ms = 300).allow(LOST).start();
    let mut client = pointsman.client();
    client.command(&["SET", &gone, "v"]);
    fake.take_down(0);
    for request in [["GET", &gone], ["INCR", &gone]] {
        let reply = client.command(&request);
        assert!(reply.is_error_of("ERR"), "{reply}");
        assert!(!reply.error().contains(&fake.address(0)), "no address leaks: {reply}");
    }
    assert_eq!(client.command(&["SET", &there, "v"]), Reply::ok());
    fake.bring_up(0);
    eventually("it is served again", || {
        let reply = client.command(&["GET", &gone]);
        check(reply == Reply::bulk("v"), reply)
    });
}

/// A server closes idle connections just when we write: a counter client must be able to add up.
#[test]
fn t13_idle_connections_closed_under_our_feet_lose_and_double_nothing() {
    let fake = Fake::start(1, 0);
    let pointsman = Setup::cluster(fake.addresses()).allow(LOST).start();
    let mut client = pointsman.client();
    let (mut certain, mut unknown) = (0, 0);
    for _ in 0..200 {
        fake.close_connections(0);
        let reply = client.line("INCR k");
        if reply.is_error() { unknown += 1 } else { certain += 1 }
    }
    let value: i32 = fake.change(|world| world.value("k")).unwrap_or("0".into()).parse().unwrap();
    assert!(
        (certain..=certain + unknown).contains(&value),
        "{certain} sure, {unknown} unsure, {value} counted"
    );
    assert!(certain > 0, "not every request can have met the race");
    assert_eq!(fake.received(|received| received.is("INCR") && received.executed).len() as i32, value);
}

/// Once the close has been noticed, a write on the idle connection's successor just works.
#[test]
fn t13_a_noticed_idle_close_costs_nothing() {
    let fake = Fake::start(1, 0);
    let pointsman = Setup::cluster(fake.addresses()).allow(LOST).start();
    let mut client = pointsman.client();
    for round in 1..=10 {
        assert_eq!(client.line("INCR k"), Reply::number(round));
        fake.close_connections(0);
        let seen = fake.change(|world| world.connections_made());
        eventually("the close is noticed", || {
            // Either it reconnects by itself, or it knows that it has no connection.
            let open = pointsman.metrics().sum("pointsman_backend_connections", &[]);
            check(open == 0.0 || fake.change(|world| world.connections_made()) > seen, open)
        });
    }
}

#[test]
fn t09_only_refusals_count_as_failures_of_the_node() {
    let fake = Fake::start(1, 0);
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    fake.rule(Rule::on(
        "LPUSH",
        Act::Error("WRONGTYPE Operation against a key holding the wrong kind of value".into()),
    ));
    let requests = vec![words(&["LPUSH", "k", "v"]); 500];
    for reply in client.pipeline(&requests) {
        assert!(reply.is_error_of("WRONGTYPE"), "{reply}");
    }
    assert_eq!(fake.count("LPUSH", "k"), 500, "each is asked of the node, none is shut out");
    assert_eq!(pointsman.metrics().sum("pointsman_retries_total", &[]), 0.0);
}

#[test]
fn t12_a_killed_primary_breaks_nothing_but_its_own_requests() {
    let mut cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| {
            setup.workers = 2;
            setup.request_timeout_ms = 2000;
        })
        .allow(LOST)
        .start();
    let keys: Vec<String> = (0..3).map(|shard| key_on(shard, 3, "t12kill", 0)).collect();
    let victim = cluster.primary_of(&keys[0]);
    let mut client = pointsman.client();
    for key in &keys {
        client.command(&["SET", key, "0"]);
    }
    thread::scope(|scope| {
        let counting = scope.spawn(|| {
            let mut client = pointsman.client();
            let replies: Vec<Reply> = (0..500).map(|_| client.command(&["INCR", &keys[1]])).collect();
            replies.iter().map(Reply::int).collect::<Vec<i64>>()
        });
        cluster.node_mut(victim).kill();
        assert_eq!(counting.join().expect("the counter counts"), (1..=500).collect::<Vec<i64>>());
    });
    assert!(client.command(&["INCR", &keys[0]]).is_error());
    assert_eq!(client.command(&["INCR", &keys[2]]), Reply::number(1));
    cluster.node_mut(victim).restart();
    eventually("the shard is back", || {
        let reply = client.command(&["SET", &keys[0], "v"]);
        check(reply == Reply::ok(), reply)
    });
}
