//! T59: `blocking_across_slots: poll`, waits for keys of several slots, over a real cluster.

use pointsman_integration::client::words;
use pointsman_integration::eventually::{StopOnDrop, eventually};
use pointsman_integration::{Client, Cluster, Pointsman, RedisServer, Reply, Setup};
use pointsman_protocol::Slot;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

fn polling(cluster: &Cluster) -> Setup {
    Setup::cluster(cluster.addresses()).with(|setup| {
        setup.workers = 2;
        setup.listener_extra.push("blocking_across_slots: poll".into());
    })
}

fn pair(key: &str, value: &str) -> Reply {
    Reply(format!("*2\r\n${}\r\n{key}\r\n${}\r\n{value}\r\n", key.len(), value.len()).into_bytes())
}

/// Clients that keep vigil, as the metrics tell.
#[track_caller]
fn wait_for_vigils(pointsman: &Pointsman, count: u64) {
    pointsman.wait_for("so many clients wait for keys of several slots", "pointsman_vigils", |vigils| {
        vigils == count as f64
    });
}

#[test]
fn t59_answers_are_those_of_one_server() {
    let (cluster, server) = (Cluster::shared(), RedisServer::standalone());
    let pointsman = polling(&cluster).start();
    for (hello, keys) in [("HELLO 2", "t59r2"), ("HELLO 3", "t59r3")] {
        let (mut ours, mut theirs) = (pointsman.client(), server.client());
        ours.line(hello);
        theirs.line(hello);
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| format!("{keys}:{name}"));
        for line in [
            format!("RPUSH {b} 1 2 3 4 5 6"),
            format!("ZADD {c} 1.5 m 2 n 3 o inf p"),
            format!("SET {d} text"),
            // The first that has something gives it.
            format!("BLPOP {a} {b} 0"),
            format!("BRPOP {a} {b} {d} 1"),
            format!("BLMPOP 1 3 {a} {b} {d} RIGHT COUNT 3"),
            format!("BLMPOP 1 2 {a} {b} LEFT"),
            format!("BZPOPMIN {a} {c} 1"),
            format!("BZPOPMAX {c} {a} 1"),
            format!("BZMPOP 1 2 {a} {c} MIN COUNT 10"),
            // Nothing comes.
            format!("BLPOP {a} {b} 0.05"),
            format!("BZPOPMIN {a} {b} 0.01"),
            format!("BLMPOP 0.01 2 {a} {b} LEFT"),
            format!("BZMPOP 0.01 2 {a} {c} MAX"),
            // What is wrong.
            format!("BLPOP {a} {d} 1"),
            format!("BZPOPMIN {a} {d} 1"),
            format!("BLPOP {a} {b} soon"),
            format!("BLPOP {a} {b} -1"),
            format!("BLMPOP -1 2 {a} {b} LEFT"),
            format!("BLMPOP 1 2 {a} {d} LEFT COUNT 2"),
        ] {
            assert_eq!(ours.line(&line), theirs.line(&line), "{line}");
        }
    }
}

#[test]
fn t59_what_moves_elements_or_reads_streams_stays_refused() {
    let cluster = Cluster::shared();
    let pointsman = polling(&cluster).start();
    let mut client = pointsman.client();
    for line in [
        "BLMOVE t59{a} t59{b} LEFT LEFT 1",
        "XREAD BLOCK 1 STREAMS t59{a} t59{b} 0 0",
        "RENAME t59{a} t59{b}",
    ] {
        assert!(client.line(line).is_error_of("CROSSSLOT"), "{line}");
    }
    client.line("MULTI");
    assert!(client.line("BLPOP t59{a} t59{b} 1").is_error_of("CROSSSLOT"));
    assert!(client.line("EXEC").is_error_of("EXECABORT"));
}

#[test]
fn t59_monitors_see_who_waits() {
    let cluster = Cluster::shared();
    let pointsman = polling(&cluster).start();
    let (mut sees, mut client) = (pointsman.client(), pointsman.client());
    assert_eq!(sees.line("MONITOR"), Reply::ok());
    client.line("BLPOP t59m:a t59m:b 0.01");
    assert!(sees.read().to_string().contains("BLPOP"));
    client.line("RENAME t59m:a t59m:b");
    client.line("PING");
    assert!(sees.read().to_string().contains("PING"), "what was refused is not shown");
}

#[test]
fn t59_who_waits_keeps_only_itself_waiting() {
    let cluster = Cluster::shared();
    let pointsman = polling(&cluster).start();
    let (mut waiting, mut other) = (pointsman.client(), pointsman.client());
    waiting.send_all(&[
        words(&["SET", "t59w:before", "1"]),
        words(&["BLPOP", "t59w:a", "t59w:b", "t59w:c", "0"]),
        words(&["GET", "t59w:after"]),
        words(&["PING"]),
    ]);
    assert_eq!(waiting.read(), Reply::ok());
    wait_for_vigils(&pointsman, 1);
    assert!(other.line("CLIENT LIST").text().contains("flags=b"), "CLIENT LIST tells that it waits");
    assert_eq!(other.line("SET t59w:after written-while-waiting"), Reply::ok());
    assert!(waiting.is_silent_for(Duration::from_millis(60)));
    assert_eq!(other.line("RPUSH t59w:c element").int(), 1);
    assert_eq!(waiting.read(), pair("t59w:c", "element"));
    assert_eq!(waiting.read(), Reply::bulk("written-while-waiting"), "what came behind it waited");
    assert!(waiting.read() == "+PONG\r\n");
    wait_for_vigils(&pointsman, 0);
}

#[test]
fn t59_t54_it_waits_as_long_as_it_was_told() {
    let cluster = Cluster::shared();
    let pointsman = polling(&cluster).with(|setup| setup.request_timeout_ms = 300).start();
    let mut client = pointsman.client();
    for (line, least) in [("BLPOP t59t:a t59t:b 0.1", 100), ("BZPOPMIN t59t:a t59t:b t59t:c 0.8", 800)] {
        let began = Instant::now();
        let reply = client.line(line);
        assert!(reply == "*-1\r\n", "{line}: {reply}");
        assert!(began.elapsed() >= Duration::from_millis(least), "{line}: {:?}", began.elapsed());
    }
}

/// Many wait for the same queues while elements come and slots move: each element reaches exactly one.
#[test]
fn t59_every_element_reaches_exactly_one() {
    const ELEMENTS: usize = 400;
    const WAITERS: usize = 12;
    let cluster = Cluster::start(3, 0);
    let pointsman = polling(&cluster).start();
    let over = AtomicBool::new(false);
    let got: Vec<String> = thread::scope(|scope| {
        let waiters: Vec<_> = (0..WAITERS)
            .map(|_| {
                let mut client = pointsman.client();
                let over = &over;
                scope.spawn(move || {
                    let mut got = Vec::new();
                    while !over.load(Ordering::Relaxed) {
                        let reply = client.line("BRPOP t59e:a t59e:b t59e:c t59e:d 0.2");
                        assert!(!reply.is_error(), "{reply}");
                        if !reply.is_null() {
                            got.push(reply.elements()[1].text());
                        }
                    }
                    got
                })
            })
            .collect();
        let ending = StopOnDrop(&over);
        let mut pushing = pointsman.client();
        for n in 0..ELEMENTS {
            let key = ["t59e:a", "t59e:b", "t59e:c", "t59e:d"][n % 4];
            assert!(!pushing.line(&format!("LPUSH {key} {n}")).is_error());
            if n == ELEMENTS / 3 {
                let slot = Slot::of(b"t59e:b");
                let from = cluster.primary_of("t59e:b");
                let to = *cluster.primaries().iter().find(|node| **node != from).expect("there are three");
                let mut step = cluster.begin_move(slot, to);
                while step.move_keys(10) > 0 {}
                step.finish();
            }
        }
        eventually("the queues are empty", || {
            let left = pushing.line("EXISTS t59e:a t59e:b t59e:c t59e:d").int();
            if left == 0 { Ok(()) } else { Err(left) }
        });
        drop(ending);
        waiters.into_iter().flat_map(|waiter| waiter.join().expect("it did not fail")).collect()
    });
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    got.into_iter().for_each(|element| *counts.entry(element).or_default() += 1);
    assert_eq!(counts.len(), ELEMENTS, "none was lost");
    assert!(counts.values().all(|count| *count == 1), "none came twice: {counts:?}");
}

#[test]
fn t59_t55_who_left_does_not_get_what_comes_later() {
    let cluster = Cluster::shared();
    let pointsman = polling(&cluster).start();
    let mut other = pointsman.client();
    for pipelined in [false, true] {
        let mut leaving = pointsman.client();
        leaving.send(&["BLPOP", "t59l:a", "t59l:b", "0"]);
        if pipelined {
            leaving.send(&["PING"]);
        }
        wait_for_vigils(&pointsman, 1);
        drop(leaving);
        wait_for_vigils(&pointsman, 0);
        assert_eq!(other.line("RPUSH t59l:b kept").int(), 1);
        assert_eq!(other.line("BLPOP t59l:a t59l:b 1"), pair("t59l:b", "kept"));
    }
}

fn waiters(pointsman: &Pointsman, count: usize) -> Vec<Client> {
    (0..count)
        .map(|_| {
            let mut client = pointsman.client();
            client.send(&["BLPOP", "t59m:a", "t59m:b", "0"]);
            client
        })
        .collect()
}

#[test]
fn t59_t60_too_many_who_wait_are_told() {
    let cluster = Cluster::shared();
    let pointsman = polling(&cluster)
        .with(|setup| {
            setup.workers = 1;
            setup.backend_extra.push("pool: { max_active: 3, wait_ms: 100 }".into());
        })
        .start();
    let waiting = waiters(&pointsman, 3);
    wait_for_vigils(&pointsman, 3);
    let mut one_more = pointsman.client();
    assert!(one_more.line("BLPOP t59m:a t59m:b 0").error().contains("pool.max_active"));
    drop(waiting);
    wait_for_vigils(&pointsman, 0);
    assert!(one_more.line("BLPOP t59m:a t59m:b 0.05") == "*-1\r\n");
}

#[test]
fn t59_t58_client_unblock_ends_it() {
    let cluster = Cluster::shared();
    let pointsman = polling(&cluster).start();
    let (mut waiting, mut other) = (pointsman.client(), pointsman.client());
    let id = waiting.line("CLIENT ID").int();
    for (reason, answer) in
        [("TIMEOUT", "*-1\r\n"), ("ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n")]
    {
        waiting.send(&["BLPOP", "t59u:a", "t59u:b", "0"]);
        wait_for_vigils(&pointsman, 1);
        assert!(other.line("INFO clients").text().contains("blocked_clients:1"));
        assert_eq!(other.line(&format!("CLIENT UNBLOCK {id} {reason}")).int(), 1);
        assert!(waiting.read() == answer);
        wait_for_vigils(&pointsman, 0);
    }
    assert_eq!(other.line(&format!("CLIENT UNBLOCK {id}")).int(), 0);
}

#[test]
fn t59_nobody_is_given_anything_while_clients_are_paused() {
    let cluster = Cluster::shared();
    let pointsman = polling(&cluster).start();
    let (mut waiting, mut other) = (pointsman.client(), pointsman.client());
    waiting.send(&["BLPOP", "t59p:a", "t59p:b", "0"]);
    wait_for_vigils(&pointsman, 1);
    assert_eq!(other.line("CLIENT PAUSE 600000 WRITE"), Reply::ok());
    let owner = cluster.primary_of("t59p:b");
    assert_eq!(cluster.node(owner).client().line("RPUSH t59p:b element").int(), 1);
    assert!(waiting.is_silent_for(Duration::from_millis(100)));
    assert_eq!(other.line("CLIENT UNPAUSE"), Reply::ok());
    assert_eq!(waiting.read(), pair("t59p:b", "element"));
}

#[test]
fn t61_who_waits_is_not_idle() {
    let cluster = Cluster::shared();
    let pointsman = polling(&cluster)
        .with(|setup| setup.listener_extra.push("client_limits: { idle_timeout_ms: 1000 }".into()))
        .start();
    let [mut idle, mut at_one, mut at_several] = [(); 3].map(|()| pointsman.client());
    at_one.send(&["BLPOP", "t61v:x", "0"]);
    at_several.send(&["BLPOP", "t61v:a", "t61v:b", "0"]);
    assert_eq!(idle.line("PING"), Reply(b"+PONG\r\n".to_vec()));
    assert!(idle.is_closed_within(Duration::from_secs(20)), "who came last and says nothing more is closed");
    let mut other = pointsman.client();
    other.line("RPUSH t61v:x one");
    other.line("RPUSH t61v:b several");
    assert_eq!(at_one.read(), pair("t61v:x", "one"));
    assert_eq!(at_several.read(), pair("t61v:b", "several"));
}

#[test]
fn t59_a_drain_does_not_wait_for_who_waits() {
    let cluster = Cluster::shared();
    let mut pointsman = polling(&cluster).with(|setup| setup.drain_timeout_ms = 20_000).start();
    let clients = waiters(&pointsman, 3);
    wait_for_vigils(&pointsman, 3);
    let began = Instant::now();
    pointsman.signal("TERM");
    assert!(pointsman.wait().success());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop(clients);
}
