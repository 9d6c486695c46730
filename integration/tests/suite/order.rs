//! T01 to T04: every client gets its replies in the order of its requests, and the commands on one
//! key are executed in that order, whatever shards, connections and redirects are in between.

use pointsman_integration::client::words;
use pointsman_integration::eventually::{check, eventually};
use pointsman_integration::fake::{Act, Rule, key_on};
use pointsman_integration::{Cluster, Fake, Reply, Setup};
use pointsman_protocol::Slot;
use std::time::Duration;

#[test]
fn t01_replies_come_in_request_order_across_shards_local_answers_and_errors() {
    let fake = Fake::start(2, 0);
    let (slow, fast) = (key_on(0, 2, "slow", 0), key_on(1, 2, "fast", 0));
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    client.command(&["SET", &slow, "s"]);
    client.command(&["SET", &fast, "f"]);
    let gate = fake.gate();
    fake.rule(Rule::on("GET", Act::HoldReply(gate.clone())).key(&slow));

    client.send_all(&[
        words(&["GET", &slow]),
        words(&["PING"]),
        words(&["GET", &fast]),
        words(&["NOSUCH", "x"]),
        words(&["ECHO", "e"]),
        words(&["MGET", &fast, &slow]),
        words(&["GET"]),
        words(&["GET", &fast]),
    ]);
    fake.wait_for("the fast shard has its requests", 2, |received| {
        received.is("GET") && received.has_key(&fast)
    });
    assert!(client.is_silent_for(Duration::from_millis(50)), "nothing may overtake the first reply");
    gate.open();

    let replies: Vec<Reply> = (0..8).map(|_| client.read()).collect();
    assert_eq!(replies[0], Reply::bulk("s"));
    assert_eq!(replies[1], "+PONG\r\n");
    assert_eq!(replies[2], Reply::bulk("f"));
    assert_eq!(replies[3].error(), "ERR unknown command 'NOSUCH', with args beginning with: 'x'");
    assert_eq!(replies[4], Reply::bulk("e"));
    assert_eq!(replies[5].elements(), [Reply::bulk("f"), Reply::bulk("s")]);
    assert_eq!(replies[6].error(), "ERR wrong number of arguments for 'get' command");
    assert_eq!(replies[7], Reply::bulk("f"));
}

#[test]
fn t01_requests_and_replies_in_single_bytes() {
    let fake = Fake::start(1, 0);
    fake.rule(Rule::on("GET", Act::Split(1)));
    fake.rule(Rule::on("MGET", Act::Split(3)));
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    let mut bytes = Vec::new();
    for request in
        [words(&["SET", "k", "a\r\nb"]), words(&["GET", "k"]), words(&["MGET", "k", "nothing", "k"])]
    {
        pointsman_protocol::resp::encode::request(&mut bytes, &request);
    }
    bytes.extend_from_slice(b"GET k\r\n");
    for byte in bytes.chunks(1) {
        client.send_bytes(byte);
    }
    assert_eq!(client.read(), Reply::ok());
    assert_eq!(client.read(), Reply::bulk("a\r\nb"));
    assert_eq!(client.read().elements(), [Reply::bulk("a\r\nb"), Reply::null(), Reply::bulk("a\r\nb")]);
    assert_eq!(client.read(), Reply::bulk("a\r\nb"), "an inline request among the others");
}

#[test]
fn t02_one_key_is_served_in_order_over_four_connections() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).with(|setup| setup.connections_per_node = 4).start();
    let mut client = pointsman.client();
    let requests = vec![words(&["INCR", "t02:counter"]); 10_000];
    client.command(&["DEL", "t02:counter"]);
    for (index, reply) in client.pipeline(&requests).iter().enumerate() {
        assert_eq!(reply.int(), index as i64 + 1);
    }
}

#[test]
fn t02_the_commands_of_one_key_take_one_connection() {
    let fake = Fake::start(1, 0);
    let pointsman = Setup::cluster(fake.addresses()).with(|setup| setup.connections_per_node = 4).start();
    let mut client = pointsman.client();
    let keys: Vec<String> = (0..100).map(|n| format!("k{n}")).collect();
    for round in 0..3 {
        let requests: Vec<_> = keys.iter().map(|key| words(&["SET", key, &round.to_string()])).collect();
        client.pipeline(&requests);
    }
    let received = fake.received(|received| received.is("SET"));
    let connections = |key: &str| {
        let mut used: Vec<u64> = received
            .iter()
            .filter(|received| received.has_key(key))
            .map(|received| received.connection)
            .collect();
        used.dedup();
        used
    };
    let used: Vec<Vec<u64>> = keys.iter().map(|key| connections(key)).collect();
    assert!(used.iter().all(|used| used.len() == 1), "{used:?}");
    let mut all: Vec<u64> = used.concat();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 4, "a hundred keys use all four connections");
}

/// The slot moves while a pipeline on its keys is under way: all that was sent to the old node comes
/// back as MOVED, and must reach the new node in the order of the requests.
#[test]
fn t03_commands_sent_before_a_move_are_repeated_in_order() {
    let fake = Fake::start(2, 0);
    let key = key_on(0, 2, "t03", 0);
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    let gate = fake.gate();
    fake.rule(Rule::on("APPEND", Act::Hold(gate.clone())).at(0).times(1));
    let requests: Vec<_> = (0..50).map(|n| words(&["APPEND", &key, &format!("{n},")])).collect();
    client.send_all(&requests);
    fake.wait_for("all are at the old node", 50, |received| received.is("APPEND") && received.node == 0);
    fake.move_slot(Slot::of(key.as_bytes()), 1);
    gate.open();
    let mut expected = String::new();
    for n in 0..50 {
        expected.push_str(&format!("{n},"));
        assert_eq!(client.read(), Reply::number(expected.len() as i64), "reply {n}");
    }
    assert_eq!(client.command(&["GET", &key]), Reply::bulk(&expected));
    let executed = fake.received(|received| received.is("APPEND") && received.executed);
    assert_eq!(executed.len(), 50, "each once");
}

/// While a redirected command waits at the new node, later commands of the same client on the same
/// key must stay behind it, and other clients and keys go on.
#[test]
fn t03_later_commands_do_not_overtake_a_redirected_one() {
    let fake = Fake::start(2, 0);
    let key = key_on(0, 2, "t03b", 0);
    let pointsman = Setup::cluster(fake.addresses()).with(|setup| setup.connections_per_node = 4).start();
    let mut client = pointsman.client();
    fake.move_slot(Slot::of(key.as_bytes()), 1);
    let gate = fake.gate();
    fake.rule(Rule::on("APPEND", Act::Hold(gate.clone())).at(1).times(1));
    client.send(&["APPEND", &key, "first"]);
    fake.wait_for("the first is at the new node", 1, |received| received.is("APPEND") && received.node == 1);
    for word in ["-second", "-third"] {
        client.send(&["APPEND", &key, word]);
    }
    assert!(client.is_silent_for(Duration::from_millis(50)));
    gate.open();
    assert_eq!([client.read().int(), client.read().int(), client.read().int()], [5, 12, 18]);
    assert_eq!(client.command(&["GET", &key]), Reply::bulk("first-second-third"));
}

/// The node refuses for a while. What was refused must be repeated in order, and what comes in the
/// meantime must stay behind it.
#[test]
fn t03_order_holds_through_a_backoff() {
    let fake = Fake::start(1, 0);
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    for code in [
        "TRYAGAIN later",
        "CLUSTERDOWN The cluster is down",
        "LOADING Redis is loading the dataset in memory",
    ] {
        client.command(&["DEL", "k"]);
        fake.change(|world| world.forget_received());
        fake.rule(Rule::on("APPEND", Act::Error(code.into())));
        client.send_all(&[words(&["APPEND", "k", "a"]), words(&["APPEND", "k", "b"])]);
        fake.wait_for("both were refused and one tried again", 3, |received| received.is("APPEND"));
        client.send_all(&[words(&["APPEND", "k", "c"]), words(&["APPEND", "k", "d"])]);
        fake.wait_for("it is tried again and again", 8, |received| received.is("APPEND"));
        fake.change(|world| world.rules.clear());
        let replies: Vec<i64> = (0..4).map(|_| client.read().int()).collect();
        assert_eq!(replies, [1, 2, 3, 4], "{code}");
        assert_eq!(client.command(&["GET", "k"]), Reply::bulk("abcd"), "{code}");
    }
}

#[test]
fn t04_what_was_executed_before_the_move_is_not_repeated() {
    let fake = Fake::start(2, 0);
    let key = key_on(0, 2, "t04", 0);
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    let gate = fake.gate();
    fake.rule(Rule::on("INCR", Act::Hold(gate.clone())).at(0).skip(10).times(1));
    client.send_all(&vec![words(&["INCR", &key]); 30]);
    let slot = Slot::of(key.as_bytes());
    eventually("ten are executed at the old node", || {
        let executed = fake.received(|received| received.is("INCR") && received.executed).len();
        check(executed == 10, executed)
    });
    fake.wait_for("all are at the old node", 30, |received| received.is("INCR") && received.node == 0);
    fake.move_slot(slot, 1);
    gate.open();
    let replies: Vec<i64> = (0..30).map(|_| client.read().int()).collect();
    assert_eq!(replies, (1..=30).collect::<Vec<i64>>());
    assert_eq!(fake.change(|world| world.value(&key)), Some("30".into()));
}

/// The node redirects one command and serves the next one on the key, which had been sent before the
/// redirect came back (the slot left and returned). Executing the first one now would turn them round.
#[test]
fn t03_a_redirect_that_is_taken_back_does_not_turn_commands_round() {
    for asking in [false, true] {
        let fake = Fake::start(2, 0);
        let key = key_on(0, 2, "back", 0);
        let pointsman = Setup::cluster(fake.addresses()).start();
        let mut client = pointsman.client();
        client.command(&["SET", &key, "-"]);
        let gate = fake.gate();
        fake.rule(Rule::on("GET", Act::Hold(gate.clone())).at(0).times(1));
        fake.rule(Rule::on("APPEND", Act::Redirect { to: 1, asking }).at(0).times(1));
        client.send_all(&[
            words(&["GET", &key]),
            words(&["APPEND", &key, "a"]),
            words(&["APPEND", &key, "b"]),
        ]);
        fake.wait_for("all are under way", 2, |received| received.is("APPEND"));
        gate.open();
        assert_eq!(client.read(), Reply::bulk("-"));
        let (first, second) = (client.read(), client.read());
        let value = client.command(&["GET", &key]).text();
        assert!(first.is_error() && value == "-b", "asking {asking}: {first}, {second}, then {value}");
    }
}
