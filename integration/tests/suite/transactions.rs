//! T44 to T51: transactions through the proxy are those of one Redis, while slots move as well.

use pointsman_integration::client::words;
use pointsman_integration::eventually::eventually;
use pointsman_integration::fake::key_on;
use pointsman_integration::mover::{Moves, during, slots_of};
use pointsman_integration::{Client, Cluster, Random, RedisServer, Reply, Setup};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// What a client says; `{t}` keeps the keys in one slot. All of it must be answered as by one server.
const DIALOGUES: &[&[&str]] = &[
    &["MULTI", "SET {t}a 1", "INCR {t}a", "GET {t}a", "EXEC", "GET {t}a"],
    &["MULTI", "EXEC"],
    &["MULTI", "PING", "ECHO hi", "EXEC"],
    &["MULTI", "PING x", "SET {t}a 5", "ECHO hi", "GET {t}a", "PING", "EXEC"],
    &["MULTI", "SELECT 0", "GET {t}a", "CLIENT GETNAME", "EXEC"],
    &["MULTI", "SET {t}a 1", "DISCARD", "GET {t}a", "EXEC", "DISCARD"],
    &["MULTI", "MULTI", "INCR {t}n", "EXEC"],
    // Refused while queueing: arity, no such command.
    &["MULTI", "SET {t}a", "INCR {t}n", "EXEC", "GET {t}n"],
    &["MULTI", "NOSUCH {t}a", "EXEC", "PING"],
    &["MULTI", "INCR {t}n", "GET", "DISCARD", "GET {t}n"],
    // Refused while executing: the others are executed.
    &["SET {t}s text", "MULTI", "INCR {t}s", "LPUSH {t}s x", "INCR {t}n", "EXEC", "GET {t}n"],
    &["MULTI", "MSET {t}a 1 {t}b 2", "MGET {t}a {t}b {t}none", "DEL {t}a {t}b", "EXISTS {t}a", "EXEC"],
    &["MULTI", "EVAL return{KEYS[1],1} 1 {t}a", "EVAL return 0", "EXEC"],
    &["MULTI", "EVAL return{1,2} 0", "PUBLISH nobody x", "EXEC"],
    &[
        "MULTI",
        "HSET {t}h f v",
        "HGETALL {t}h",
        "SMEMBERS {t}none",
        "ZADD {t}z 1.5 m",
        "ZSCORE {t}z m",
        "EXEC",
    ],
    &["UNWATCH", "MULTI", "UNWATCH", "GET {t}n", "EXEC"],
    &["WATCH {t}a {t}b", "GET {t}a", "MULTI", "INCR {t}a", "EXEC", "GET {t}a"],
    &["WATCH {t}a", "INCR {t}a", "MULTI", "INCR {t}a", "EXEC", "GET {t}a"],
    &["WATCH {t}a", "INCR {t}a", "UNWATCH", "MULTI", "INCR {t}a", "EXEC"],
    &["WATCH {t}a", "WATCH {t}b", "INCR {t}b", "MULTI", "EXEC"],
    &["WATCH {t}a", "INCR {t}a", "MULTI", "PING", "EXEC", "MULTI", "PING", "EXEC"],
    &["WATCH {t}a", "MULTI", "WATCH {t}b", "INCR {t}a", "EXEC"],
    &["WATCH {t}a", "INCR {t}a", "MULTI", "DISCARD", "MULTI", "INCR {t}a", "EXEC"],
    &["WATCH {t}a", "INCR {t}a", "MULTI", "NOSUCH", "EXEC", "MULTI", "INCR {t}a", "EXEC"],
    &["WATCH", "EXEC"],
    &["MULTI", "INCR {t}n", "RESET", "EXEC", "GET {t}n"],
    &["WATCH {t}a", "RESET", "INCR {t}n", "SET {t}a 1", "MULTI", "INCR {t}a", "EXEC", "GET {t}a"],
];

fn say(client: &mut Client, lines: &[&str], at_once: bool) -> Vec<Reply> {
    let requests: Vec<Vec<&str>> = lines.iter().map(|line| line.split(' ').collect()).collect();
    if at_once {
        client.pipeline(&requests)
    } else {
        requests.iter().map(|words| client.command(words)).collect()
    }
}

#[test]
fn t45_t46_transactions_are_answered_as_by_one_server() {
    let server = RedisServer::standalone();
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    for protocol in ["2", "3"] {
        for at_once in [false, true] {
            let (mut alone, mut proxied) = (server.client(), pointsman.client());
            for client in [&mut alone, &mut proxied] {
                client.command(&["DEL", "{t}a", "{t}b", "{t}n", "{t}s", "{t}h", "{t}z"]);
                client.command(&["HELLO", protocol]);
            }
            for dialogue in DIALOGUES {
                let (ours, theirs) =
                    (say(&mut proxied, dialogue, at_once), say(&mut alone, dialogue, at_once));
                for ((line, ours), theirs) in dialogue.iter().zip(ours).zip(theirs) {
                    assert_eq!(ours, theirs, "{line} of {dialogue:?} (HELLO {protocol})");
                }
                // RESET went back to RESP2.
                for client in [&mut alone, &mut proxied] {
                    client.command(&["HELLO", protocol]);
                }
            }
        }
    }
}

#[test]
fn t47_the_slot_is_that_of_the_first_key() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut client = pointsman.client();
    client.line("DEL t47{a}");
    for other in ["SET t47{b} 1", "MSET t47{a} 1 t47{b} 2", "DEL t47{a} t47{c}"] {
        let replies = say(&mut client, &["MULTI", "SET t47{a} 1", other, "EXEC", "EXISTS t47{a}"], true);
        assert!(replies[1] == "+QUEUED\r\n");
        assert!(replies[2].is_error_of("CROSSSLOT"), "{}", replies[2]);
        assert!(replies[3].is_error_of("EXECABORT"), "{}", replies[3]);
        assert_eq!(replies[4].int(), 0, "nothing was executed");
    }
    let refused = say(&mut client, &["MULTI", "DBSIZE", "EXEC", "PING"], true);
    assert!(refused[1].error().contains("between MULTI and EXEC"), "{}", refused[1]);
    assert!(refused[2].is_error_of("EXECABORT"));
    assert!(refused[3] == "+PONG\r\n");
}

#[test]
fn t49_t51_what_is_left_open_costs_nobody_anything() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut leaving = pointsman.client();
    say(&mut leaving, &["MULTI", "SET t49 leaked"], true);
    drop(leaving);
    let mut client = pointsman.client();
    assert_eq!(client.line("SET t49 mine"), Reply::ok(), "no other client is in a transaction");
    assert_eq!(client.line("GET t49"), Reply::bulk("mine"));
    // Too large a transaction is refused while it is queued.
    let large = "x".repeat(1024 * 1024);
    client.line("MULTI");
    let refused = (0..2000).map(|_| client.command(&["SET", "t49", &large])).find(Reply::is_error);
    assert!(refused.expect("there is a limit").error().contains("request_bytes_max"));
    assert!(client.line("EXEC").is_error_of("EXECABORT"));
    assert_eq!(client.line("GET t49"), Reply::bulk("mine"));
}

#[test]
fn t48_transactions_stay_whole_while_their_slots_move() {
    const CLIENTS: usize = 6;
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| {
            setup.workers = 2;
            setup.request_timeout_ms = 20_000;
        })
        .start();
    let tags: Vec<String> = (0..20).map(|number| format!("{{t48:{number}}}")).collect();
    let slots = slots_of(&tags);
    let mut random = Random::for_test(48);
    let executed = AtomicUsize::new(0);
    let count = |moves: &Moves, mut random: Random| {
        let mut client = pointsman.client();
        while moves.done() < 60 {
            // Two keys of one tag, so that they are on both sides of a move for a while.
            let tag = random.pick(&tags);
            let (one, other) = (format!("{tag}one"), format!("{tag}other"));
            let replies = client.pipeline(&[
                words(&["MULTI"]),
                words(&["INCR", &one]),
                words(&["PING"]),
                words(&["INCR", &other]),
                words(&["EXEC"]),
            ]);
            let done = replies[4].elements();
            assert_eq!(done.len(), 3, "{}", replies[4]);
            assert!(done[1] == "+PONG\r\n");
            assert_eq!(done[0].int(), done[2].int(), "both or none, always");
            executed.fetch_add(1, Ordering::Relaxed);
        }
    };
    let moved = during(&cluster, &slots, random.fork(), |moves| {
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                let (count, random) = (&count, random.fork());
                scope.spawn(move || count(moves, random));
            }
        });
        moves.done()
    });
    let mut client = pointsman.client();
    let sum: i64 = eventually("every counter is there", || {
        let mut read = |name: String| client.command(&["GET", &name]);
        let replies: Vec<Reply> = tags.iter().map(|tag| read(format!("{tag}one"))).collect();
        if replies.iter().any(Reply::is_error) {
            return Err(replies);
        }
        Ok(replies
            .iter()
            .filter(|reply| !reply.is_null())
            .map(|reply| reply.text().parse::<i64>().unwrap())
            .sum())
    });
    assert_eq!(sum, executed.load(Ordering::Relaxed) as i64, "each executed once");
    println!("{sum} transactions while {moved} slots moved");
    assert!(pointsman.metrics().sum("pointsman_redirects_total", &[]) > 0.0);
}

#[test]
fn t44_a_watched_key_that_changes_aborts_the_transaction_every_time() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).with(|setup| setup.workers = 2).start();
    let (mut watching, mut other) = (pointsman.client(), pointsman.client());
    watching.line("SET t44 0");
    for round in 0..1000 {
        let key = format!("t44:{}", round % 50);
        watching.command(&["WATCH", &key]);
        other.command(&["SET", &key, &format!("{round}")]);
        watching.line("MULTI");
        watching.command(&["SET", &key, "lost update"]);
        let reply = watching.line("EXEC");
        assert!(reply.is_null(), "round {round}: {reply}");
        assert_eq!(other.command(&["GET", &key]), Reply::bulk(round.to_string()));
        // And one that did not change goes through.
        watching.command(&["WATCH", &key]);
        let all = watching.pipeline(&[words(&["MULTI"]), words(&["INCR", &key]), words(&["EXEC"])]);
        assert_eq!(all[2].elements()[0].int(), round + 1, "{}", all[2]);
    }
    let connections = pointsman.metrics().sum("pointsman_pinned_connections", &[]);
    assert!((1.0..=6.0).contains(&connections), "connections are used again: {connections}");
}

#[test]
fn t49_t51_connections_of_ones_own_are_clean_bounded_and_given_back() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| setup.backend_extra.push("pool: { max_active: 2, wait_ms: 100 }".into()))
        .start();
    let mut clients = [pointsman.client(), pointsman.client(), pointsman.client()];
    for client in &mut clients[..2] {
        assert_eq!(client.line("WATCH t49w"), Reply::ok());
    }
    assert!(clients[2].line("WATCH t49w").error().contains("pool.max_active"));
    // The one who leaves makes room, and takes what it watched along.
    let [leaving, staying, mut waiting] = clients;
    drop(leaving);
    eventually("there is room again", || match waiting.line("WATCH t49w") {
        reply if reply == Reply::ok() => Ok(()),
        reply => Err(reply),
    });
    pointsman.client().line("SET t49w changed");
    assert_eq!(waiting.line("UNWATCH"), Reply::ok());
    drop(staying);
    let mut next = pointsman.client();
    eventually("the next client has it", || match next.line("WATCH t49w:other{t49w}") {
        reply if reply == Reply::ok() => Ok(()),
        reply => Err(reply),
    });
    let all = next.pipeline(&[words(&["MULTI"]), words(&["PING"]), words(&["EXEC"])]);
    assert_eq!(all[2].elements().len(), 1, "nothing of the client before is watched: {}", all[2]);
}

#[test]
fn t44_what_was_watched_in_another_protocol_is_not_relied_on() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut client = pointsman.client();
    client.line("WATCH t44p");
    client.line("HELLO 3");
    client.line("MULTI");
    client.line("SET t44p 1");
    assert!(client.line("EXEC") == "_\r\n");
    let again = client.pipeline(&[words(&["MULTI"]), words(&["SET", "t44p", "1"]), words(&["EXEC"])]);
    assert_eq!(again[2].elements().len(), 1);
}

#[test]
fn t51_who_needs_room_does_not_cut_off_a_transaction_on_its_way() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| setup.backend_extra.push("pool: { max_active: 1, wait_ms: 100 }".into()))
        .start();
    let (slow, elsewhere) = (key_on(0, 3, "t51", 0), key_on(1, 3, "t51", 0));
    let (mut executing, mut other) = (pointsman.client(), pointsman.client());
    // As long as the node takes for 20 million turns.
    let script = "local n = 0 for i = 1, 20000000 do n = n + 1 end return n";
    for _ in 0..3 {
        assert_eq!(executing.command(&["WATCH", &slow]), Reply::ok());
        executing.send_all(&[words(&["MULTI"]), words(&["EVAL", script, "1", &slow]), words(&["EXEC"])]);
        assert_eq!(executing.read(), Reply::ok());
        assert!(executing.read() == "+QUEUED\r\n");
        let reply = other.command(&["BLPOP", &elsewhere, "0.01"]);
        assert!(reply == "*-1\r\n" || reply.error().contains("pool.max_active"), "{reply}");
        let done = executing.read();
        assert!(!done.is_error(), "{done}");
        assert_eq!(done.elements()[0].int(), 20_000_000);
    }
}

#[test]
fn t50_a_lost_connection_aborts_what_was_watched_on_it() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses()).allow(&["connection lost"]).start();
    let mut client = pointsman.client();
    client.line("SET t50 1");
    client.line("WATCH t50");
    for node in cluster.primaries() {
        cluster.node(node).client().line("CLIENT KILL TYPE normal SKIPME yes");
    }
    pointsman
        .wait_for("the proxy has noticed", "pointsman_pinned_connections", |connections| connections == 0.0);
    let all = client.pipeline(&[words(&["MULTI"]), words(&["INCR", "t50"]), words(&["EXEC"])]);
    assert!(all[2].is_null(), "{}", all[2]);
    let all = client.pipeline(&[words(&["MULTI"]), words(&["INCR", "t50"]), words(&["EXEC"])]);
    assert_eq!(all[2].elements()[0].int(), 2, "and then all is as before: {}", all[2]);
}

#[test]
fn t48_watched_counters_stay_exact_while_their_slots_move() {
    const CLIENTS: usize = 4;
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| {
            setup.workers = 2;
            setup.request_timeout_ms = 20_000;
        })
        .start();
    let keys: Vec<String> = (0..10).map(|number| format!("t48w:{number}")).collect();
    let slots = slots_of(&keys);
    let mut random = Random::for_test(49);
    let (executed, aborted) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let count = |moves: &Moves, mut random: Random| {
        let mut client = pointsman.client();
        while moves.done() < 40 {
            let key = random.pick(&keys);
            assert_eq!(client.command(&["WATCH", key]), Reply::ok());
            let value = client.command(&["GET", key]);
            let next = if value.is_null() { 1 } else { value.text().parse::<i64>().unwrap() + 1 };
            let all = client.pipeline(&[
                words(&["MULTI"]),
                words(&["SET", key, &next.to_string()]),
                words(&["EXEC"]),
            ]);
            let count = if all[2].is_null() { &aborted } else { &executed };
            assert!(!all[2].is_error(), "{}", all[2]);
            count.fetch_add(1, Ordering::Relaxed);
        }
    };
    let moved = during(&cluster, &slots, random.fork(), |moves| {
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                let (count, random) = (&count, random.fork());
                scope.spawn(move || count(moves, random));
            }
        });
        moves.done()
    });
    let mut client = pointsman.client();
    let sum: i64 = keys
        .iter()
        .map(|key| client.command(&["GET", key]))
        .filter(|reply| !reply.is_null())
        .map(|reply| reply.text().parse::<i64>().unwrap())
        .sum();
    let (executed, aborted) = (executed.into_inner(), aborted.into_inner());
    assert_eq!(sum, executed as i64, "no update was lost ({aborted} aborted, {moved} slots moved)");
    println!("{executed} executed, {aborted} aborted, {moved} slots moved");
}
