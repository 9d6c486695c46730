//! T44, T46, T47: `multi_across_slots: best_effort` while keys are watched, and commands that are cut by slot inside
//! transactions, over a real cluster.

use pointsman_integration::mover::{Moves, during, slots_of};
use pointsman_integration::{Client, Cluster, Random, RedisServer, Reply, Setup};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

fn best_effort(cluster: &Cluster) -> Setup {
    Setup::cluster(cluster.addresses()).with(|setup| {
        setup.workers = 2;
        setup.listener_extra.push("multi_across_slots: best_effort".into());
    })
}

fn say(client: &mut Client, lines: &[&str]) -> Vec<Reply> {
    lines.iter().map(|line| client.line(line)).collect()
}

/// What a client says; all of it must be answered as by one server.
const DIALOGUES: &[&[&str]] = &[
    &["MULTI", "SET a 1", "INCR b", "GET a", "INCR b", "GET b", "EXEC", "GET a", "GET b"],
    &["MULTI", "PING", "SET a 2", "ECHO hi", "SET b 2", "PING x", "GET a", "EXEC"],
    &["MULTI", "SET a 3", "SET b 3", "DISCARD", "GET a", "GET b"],
    // Refused while executing: the others are executed, in that slot as well.
    &["SET a text", "MULTI", "INCR a", "SET b 1", "GET a", "EXEC", "GET b"],
    // Refused while queueing: nothing is executed, in no slot.
    &["SET a 0", "SET b 0", "MULTI", "INCR a", "INCR b", "NOSUCH", "EXEC", "GET a", "GET b"],
    &["MULTI", "EVAL return{KEYS[1],1} 1 a", "HSET h f v", "HGETALL h", "ZADD z 1.5 m", "ZSCORE z m", "EXEC"],
    &[
        "MULTI",
        "SMEMBERS none",
        "GET none",
        "LRANGE none 0 -1",
        "MSET a 1 b 2 a 3",
        "GET a",
        "EXISTS a b none",
        "DEL h z none",
        "DEL a b",
        "EXEC",
    ],
    &["MULTI", "LPUSH l x", "BRPOP l 1", "BLPOP m 1", "PUBLISH nobody x", "EXEC"],
    // Guarded by a watched key, which may be in a slot of its own.
    &["SET w 1", "WATCH w", "MULTI", "INCR a", "INCR b", "EXEC", "GET a", "GET b"],
    &["WATCH w", "MULTI", "INCR w", "INCR a", "INCR b", "EXEC"],
    &["WATCH w", "INCR w", "MULTI", "INCR a", "INCR b", "EXEC", "GET a", "GET b"],
    &["WATCH w", "INCR w", "UNWATCH", "MULTI", "INCR a", "INCR b", "EXEC", "DEL a", "DEL b", "DEL w"],
    &["WATCH w", "MULTI", "INCR a", "INCR b", "DISCARD", "GET a", "EXEC"],
];

#[test]
fn t46_t47_answers_are_those_of_one_server() {
    let (cluster, server) = (Cluster::start(3, 0), RedisServer::standalone());
    let pointsman = best_effort(&cluster).start();
    for hello in ["HELLO 2", "HELLO 3"] {
        let (mut ours, mut theirs) = (pointsman.client(), server.client());
        ours.line(hello);
        theirs.line(hello);
        for lines in DIALOGUES {
            assert_eq!(say(&mut ours, lines), say(&mut theirs, lines), "{lines:?}");
            // In one piece as well, as pipelines come.
            let requests: Vec<Vec<&str>> = lines.iter().map(|line| line.split(' ').collect()).collect();
            let blocks = lines.iter().any(|line| line.starts_with("WATCH"));
            if !blocks {
                assert_eq!(ours.pipeline(&requests), theirs.pipeline(&requests), "{lines:?} at once");
            }
        }
    }
}

#[test]
fn t47_what_one_server_would_do_at_once_stays_refused() {
    let cluster = Cluster::shared();
    let pointsman = best_effort(&cluster).start();
    let mut client = pointsman.client();
    for line in [
        "RENAME t47b:a t47b:b",
        "SUNIONSTORE t47b:a t47b:b t47b:c",
        "MSETNX t47b:a 1 t47b:b 2",
        "MGET t47b:a t47b:b",
    ] {
        let replies = say(&mut client, &["MULTI", line, "EXEC"]);
        assert!(replies[1].is_error_of("CROSSSLOT") && replies[2].is_error_of("EXECABORT"), "{line}");
    }
    let replies = say(&mut client, &["WATCH t47b:a t47b:b", "WATCH t47b:a", "WATCH t47b:b", "UNWATCH"]);
    assert!(replies[0].is_error_of("CROSSSLOT") && replies[2].is_error_of("CROSSSLOT"));
    assert_eq!(replies[3], Reply::ok());
}

/// Many clients count in two slots under the guard of a third key; slots move all the time. Each transaction that was
/// not refused counted in both, exactly once.
#[test]
fn t44_t48_guarded_counters_stay_exact_while_slots_move() {
    const CLIENTS: usize = 4;
    let cluster = Cluster::start(3, 0);
    let pointsman = best_effort(&cluster).with(|setup| setup.request_timeout_ms = 20_000).start();
    let keys = ["t48x:guard", "t48x:one", "t48x:two"];
    let slots = slots_of(&keys);
    let executed = AtomicUsize::new(0);
    let count = |moves: &Moves| {
        let mut client = pointsman.client();
        while moves.done() < 30 {
            assert_eq!(client.line("WATCH t48x:guard"), Reply::ok());
            let before = client.line("GET t48x:guard");
            let next = if before.is_null() { 1 } else { before.text().parse::<i64>().unwrap() + 1 };
            let set = format!("SET t48x:guard {next}");
            let lines = ["MULTI", "INCR t48x:one", set.as_str(), "INCR t48x:two", "EXEC"];
            let exec = say(&mut client, &lines).pop().expect("five replies");
            if !exec.is_null() {
                let elements = exec.elements();
                assert_eq!(elements.len(), 3, "{exec}");
                assert!(elements.iter().all(|reply| !reply.is_error()), "{exec}");
                executed.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    during(&cluster, &slots, Random::for_test(48), |moves| {
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| count(moves));
            }
        });
    });
    let mut client = pointsman.client();
    for key in keys {
        assert_eq!(
            client.line(&format!("GET {key}")).text(),
            executed.load(Ordering::Relaxed).to_string(),
            "{key}"
        );
    }
}
