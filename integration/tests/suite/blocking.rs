//! T53 to T61: commands that wait keep nobody else waiting, lose nothing, and outlive their slot's moves.

use pointsman_integration::client::words;
use pointsman_integration::eventually::eventually;
use pointsman_integration::fake::{Act, Rule};
use pointsman_integration::{Client, Cluster, Fake, Pointsman, Reply, Setup};
use pointsman_protocol::Slot;
use std::time::{Duration, Instant};

fn pair(key: &str, value: &str) -> Reply {
    Reply(format!("*2\r\n${}\r\n{key}\r\n${}\r\n{value}\r\n", key.len(), value.len()).into_bytes())
}

#[test]
fn t53_t58_t59_who_waits_keeps_only_itself_waiting() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let (mut waiting, mut other) = (pointsman.client(), pointsman.client());
    waiting.send_all(&[
        words(&["SET", "t53:before", "1"]),
        words(&["BLPOP", "t53", "0"]),
        words(&["GET", "t53:after"]),
        words(&["PING"]),
    ]);
    assert_eq!(waiting.read(), Reply::ok());
    cluster.wait_for_blocked(1);
    assert_eq!(other.line("SET t53:after written-while-waiting"), Reply::ok());
    assert_eq!(other.line("GET t53:before"), Reply::bulk("1"));
    assert!(waiting.is_silent_for(Duration::from_millis(30)));
    assert_eq!(other.line("RPUSH t53 element").int(), 1);
    assert_eq!(waiting.read(), pair("t53", "element"));
    assert_eq!(waiting.read(), Reply::bulk("written-while-waiting"), "what came behind it waited");
    assert!(waiting.read() == "+PONG\r\n");
    // What is there already is answered at once, also for the other commands.
    other.line("RPUSH {t53}l a b c d e f");
    other.line("ZADD {t53}z 1 m 2 n");
    other.line("XADD {t53}s 1-1 f v");
    for (line, begins) in [
        ("BRPOP {t53}l 1", "*2\r\n$6\r\n{t53}l"),
        ("BLMOVE {t53}l {t53}m LEFT RIGHT 1", "$1\r\na"),
        ("BRPOPLPUSH {t53}l {t53}m 1", "$1\r\ne"),
        ("BLMPOP 1 1 {t53}l LEFT", "*2\r\n"),
        ("BZPOPMIN {t53}z 1", "*3\r\n"),
        ("BZMPOP 1 1 {t53}z MAX", "*2\r\n"),
        ("XREAD BLOCK 1000 STREAMS {t53}s 0", "*1\r\n"),
        ("BLPOP t53 x", "-ERR timeout is not a float"),
        ("BLPOP t53{a} t53{b} 1", "-CROSSSLOT"),
    ] {
        let reply = waiting.line(line);
        assert!(String::from_utf8_lossy(&reply.0).starts_with(begins), "{line}: {reply}");
    }
}

/// A wait goes again when its connection breaks; what puts elsewhere what it takes may have done so, and must not.
#[test]
fn t57_what_may_have_moved_an_element_is_not_sent_again() {
    let fake = Fake::start(1, 0);
    let pointsman = Setup::cluster(fake.addresses()).allow(&["lost"]).start();
    let mut client = pointsman.client();
    for request in
        [&["BLMOVE", "{k}a", "{k}b", "LEFT", "LEFT", "0"][..], &["BRPOPLPUSH", "{k}a", "{k}b", "0"]]
    {
        fake.rule(Rule::on(request[0], Act::CloseAfter).times(1));
        let told = client.command(request);
        assert!(told.is_error() && told.error().contains("may or may not"), "{}: {told}", request[0]);
        assert_eq!(fake.count(request[0], "{k}a"), 1, "{}", request[0]);
        // Refused, it was not executed.
        fake.rule(Rule::on(request[0], Act::Error("LOADING Redis is loading".into())).times(1));
        fake.rule(Rule::on(request[0], Act::Answer(b"$1\r\nx\r\n".to_vec())));
        assert_eq!(client.command(request), Reply::bulk("x"), "{}", request[0]);
    }
}

#[test]
fn t54_it_waits_as_long_as_it_was_told_and_longer_than_any_request() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| {
            setup.request_timeout_ms = 300;
            setup.stall_timeout_ms = 400;
        })
        .start();
    let mut client = pointsman.client();
    for (line, least) in
        [("BLPOP t54 0.2", 200), ("BLPOP t54 1", 1000), ("XREAD BLOCK 900 STREAMS t54s 0", 900)]
    {
        let began = Instant::now();
        let reply = client.line(line);
        assert!(reply == "*-1\r\n", "{line}: {reply}");
        assert!(began.elapsed() >= Duration::from_millis(least), "{line}: {:?}", began.elapsed());
    }
    assert!(client.line("BLMOVE t54 {t54}x LEFT LEFT 0.1") == "*-1\r\n");
}

#[test]
fn t55_who_left_does_not_get_what_comes_later() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut other = pointsman.client();
    for pipelined in [false, true] {
        let mut leaving = pointsman.client();
        leaving.send(&["BLPOP", "t55", "0"]);
        if pipelined {
            leaving.send(&["PING"]);
        }
        cluster.wait_for_blocked(1);
        drop(leaving);
        cluster.wait_for_blocked(0);
        assert_eq!(other.line("RPUSH t55 kept").int(), 1, "nobody took it");
        assert_eq!(other.line("BLPOP t55 1"), pair("t55", "kept"));
    }
}

#[test]
fn t57_it_outlives_a_move_of_its_slot() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut clients: Vec<Client> = (0..3).map(|_| pointsman.client()).collect();
    for client in &mut clients {
        client.send(&["BLPOP", "t57", "0"]);
    }
    cluster.wait_for_blocked(3);
    let from = cluster.primary_of("t57");
    let to = *cluster.primaries().iter().find(|node| **node != from).expect("there are three");
    let mut step = cluster.begin_move(Slot::of(b"t57"), to);
    while step.move_keys(10) > 0 {}
    step.finish();
    cluster.wait_until_primaries_agree();
    cluster.node(to).wait_for_blocked(3);
    let mut other = pointsman.client();
    assert_eq!(other.line("RPUSH t57 a b c").int(), 3);
    let mut got: Vec<String> = clients.iter_mut().map(|client| client.read().to_string()).collect();
    got.sort();
    got.dedup();
    assert_eq!(got.len(), 3, "each got one: {got:?}");
}

/// The shard fails over in good order: the old primary lets go of who waits there.
#[test]
fn t57_it_outlives_a_failover() {
    let cluster = Cluster::start(3, 1);
    let pointsman = Setup::cluster(cluster.addresses()).allow(&["lost", "connect", "refused"]).start();
    let mut waiting = pointsman.client();
    waiting.send(&["BLPOP", "t57f", "0"]);
    cluster.wait_for_blocked(1);
    let old = cluster.primary_of("t57f");
    let new = cluster.replicas_of(old)[0];
    assert_eq!(cluster.node(new).command(&["CLUSTER", "FAILOVER"]), Reply::ok());
    cluster.node(new).wait_for_blocked(1);
    assert_eq!(pointsman.client().line("RPUSH t57f element").int(), 1);
    assert_eq!(waiting.read(), pair("t57f", "element"));
}

#[test]
fn t57_it_outlives_its_connection() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).allow(&["connection lost"]).start();
    let mut waiting = pointsman.client();
    waiting.send(&["BLPOP", "t57c", "0"]);
    cluster.wait_for_blocked(1);
    let killed: i64 = cluster
        .primaries()
        .iter()
        .map(|node| cluster.node(*node).client().line("CLIENT KILL TYPE normal SKIPME yes").int())
        .sum();
    assert!(killed > 0);
    cluster.wait_for_blocked(1);
    assert_eq!(pointsman.client().line("RPUSH t57c element").int(), 1);
    assert_eq!(waiting.read(), pair("t57c", "element"));
}

/// The client leaves after its command had to go a second time.
#[test]
fn t55_t57_who_left_after_a_move_does_not_get_it_either() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).allow(&["connection lost"]).start();
    let mut leaving = pointsman.client();
    leaving.send(&["BLPOP", "t55m", "0"]);
    leaving.send(&["PING"]);
    cluster.wait_for_blocked(1);
    for node in cluster.primaries() {
        cluster.node(node).client().line("CLIENT KILL TYPE normal SKIPME yes");
    }
    cluster.wait_for_blocked(1);
    drop(leaving);
    cluster.wait_for_blocked(0);
    assert_eq!(pointsman.client().line("RPUSH t55m kept").int(), 1, "nobody took it");
}

/// The CLIENT ID of a client, which then waits in `line`, seen by the nodes.
fn waits_in(cluster: &Cluster, client: &mut Client, line: &str) -> String {
    let id = client.line("CLIENT ID").int().to_string();
    client.send(&line.split(' ').collect::<Vec<_>>());
    cluster.wait_for_blocked(1);
    id
}

#[test]
fn t53_who_waits_can_be_unblocked() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let (mut waiting, mut other) = (pointsman.client(), pointsman.client());
    let own = other.line("CLIENT ID").int();
    assert_eq!(other.line(&format!("CLIENT UNBLOCK {own}")).int(), 0, "nobody waits");
    assert_eq!(other.line("CLIENT UNBLOCK -1 ERROR").int(), 0);
    for (line, reason, told) in [
        ("BLPOP t53u 0", "", "*-1\r\n"),
        ("BLMOVE t53u {t53u}x LEFT LEFT 0", "TIMEOUT", "*-1\r\n"),
        ("BRPOP t53u 30", "error", "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"),
        ("XREAD BLOCK 0 STREAMS t53us $", "TIMEOUT", "*-1\r\n"),
    ] {
        let id = waits_in(&cluster, &mut waiting, line);
        let listed = other.line(&format!("CLIENT LIST ID {id}")).text();
        assert!(listed.contains(" flags=b "), "{listed}");
        assert!(other.line("INFO clients").text().contains("\nblocked_clients:1\r"));
        assert_eq!(other.line(&format!("CLIENT UNBLOCK {id} {reason}")).int(), 1, "{line}");
        let reply = waiting.read();
        assert!(reply == told, "{line}: {reply}");
        assert_eq!(other.line(&format!("CLIENT UNBLOCK {id}")).int(), 0, "it does not wait any more");
    }
    assert!(other.line("INFO clients").text().contains("\nblocked_clients:0\r"));
    // It serves on, and so does whoever waits next.
    let id = waits_in(&cluster, &mut waiting, "BLPOP t53u 0");
    assert_eq!(other.line("RPUSH t53u a").int(), 1);
    assert_eq!(waiting.read(), pair("t53u", "a"));
    assert_eq!(other.line(&format!("CLIENT UNBLOCK {id}")).int(), 0);
}

/// An element comes in the moment in which its client is unblocked: it goes to the client, or stays.
#[test]
fn t55_nothing_is_lost_between_an_element_and_an_unblocking() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let (mut waiting, mut pushing, mut ending) = (pointsman.client(), pointsman.client(), pointsman.client());
    for round in 0..60 {
        let id = waits_in(&cluster, &mut waiting, "BLPOP t55u 0");
        ending.send(&["CLIENT", "UNBLOCK", &id]);
        if round % 2 == 0 {
            std::thread::yield_now();
        }
        pushing.send(&["RPUSH", "t55u", "element"]);
        assert_eq!(pushing.read().int(), 1);
        let (told, ended) = (waiting.read(), ending.read().int());
        let left = pushing.line("LLEN t55u").int();
        match ended {
            1 => assert!(told == "*-1\r\n" && left == 1, "round {round}: {told}, {left} left"),
            _ => assert!(told == pair("t55u", "element") && left == 0, "round {round}: {told}, {left} left"),
        }
        pushing.line("DEL t55u");
    }
}

fn blocked_clients(pointsman: &Pointsman, count: usize) -> Vec<Client> {
    (0..count)
        .map(|_| {
            let mut client = pointsman.client();
            client.send(&["BLPOP", "t60", "0"]);
            client
        })
        .collect()
}

#[test]
fn t60_too_many_who_wait_are_told() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| setup.backend_extra.push("pool: { max_active: 5, wait_ms: 100 }".into()))
        .start();
    let waiting = blocked_clients(&pointsman, 5);
    cluster.wait_for_blocked(5);
    let mut one_more = pointsman.client();
    assert!(one_more.line("BLPOP t60 0").error().contains("pool.max_active"));
    assert_eq!(one_more.line("SET t60:other 1"), Reply::ok(), "everything else goes on");
    drop(waiting);
    cluster.wait_for_blocked(0);
    eventually("there is room again", || match one_more.line("BLPOP t60 0.05") {
        reply if reply == "*-1\r\n" => Ok(()),
        reply => Err(reply),
    });
}

#[test]
fn a_drain_does_not_wait_for_who_waits() {
    let cluster = Cluster::start(3, 0);
    let mut pointsman =
        Setup::cluster(cluster.addresses()).with(|setup| setup.drain_timeout_ms = 20_000).start();
    let clients = blocked_clients(&pointsman, 3);
    cluster.wait_for_blocked(3);
    let began = Instant::now();
    pointsman.signal("TERM");
    assert!(pointsman.wait().success());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop(clients);
    cluster.wait_for_blocked(0);
}
