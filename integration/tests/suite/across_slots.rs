//! T47: a transaction over several slots is refused, or becomes one a slot where the listener says so.

use pointsman_integration::client::words;
use pointsman_integration::fake::{Act, Rule, key_on};
use pointsman_integration::mover::in_turn;
use pointsman_integration::{Client, Cluster, Fake, Random, RedisServer, Reply, Setup};

fn best_effort(addresses: Vec<String>) -> Setup {
    Setup::cluster(addresses)
        .with(|setup| setup.listener_extra.push("multi_across_slots: best_effort".into()))
}

fn exec(client: &mut Client, lines: &[&str]) -> Reply {
    let mut requests = vec![words(&["MULTI"])];
    requests.extend(lines.iter().map(|line| words(&line.split(' ').collect::<Vec<_>>())));
    requests.push(words(&["EXEC"]));
    client.pipeline(&requests).pop().expect("EXEC is answered")
}

#[test]
fn t47_refused_unless_the_listener_says_otherwise() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut client = pointsman.client();
    assert!(exec(&mut client, &["SET t47r:a 1", "SET t47r:b 1"]).is_error_of("EXECABORT"));
    // One command that is not cut.
    let pointsman = best_effort(cluster.addresses()).start();
    let mut client = pointsman.client();
    assert!(exec(&mut client, &["SET t47r:a 1", "MGET t47r:a t47r:b"]).is_error_of("EXECABORT"));
    assert_eq!(client.line("GET t47r:a"), Reply::null());
}

#[test]
fn t47_habitual_transactions_are_answered_as_by_one_server() {
    let (cluster, server) = (Cluster::shared(), RedisServer::standalone());
    let pointsman = best_effort(cluster.addresses()).start();
    let mut random = Random::for_test(47);
    for resp in ["2", "3"] {
        let (mut proxied, mut alone) = (pointsman.client(), server.client());
        for client in [&mut proxied, &mut alone] {
            client.command(&["HELLO", resp]);
            (0..8).for_each(|n| drop(client.line(&format!("DEL t47:{n}"))));
        }
        for _ in 0..150 {
            let lines: Vec<String> = (0..random.below(9))
                .map(|_| {
                    let key = format!("t47:{}", random.below(8));
                    match random.below(9) {
                        0 => format!("SET {key} {}", random.below(5)),
                        1 => format!("INCR {key}"),
                        2 => format!("RPUSH {key} x"),
                        3 => format!("DEL {key}"),
                        4 => "PING".to_owned(),
                        5 => format!("HSET {key} f v"),
                        6 => format!("EVAL return(redis.call('type',KEYS[1])) 1 {key}"),
                        7 => format!("HGETALL {key}"),
                        _ => format!("GET {key}"),
                    }
                })
                .collect();
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            assert_eq!(exec(&mut proxied, &lines), exec(&mut alone, &lines), "{lines:?}");
        }
        // What a server refuses when it is queued, it refuses.
        assert!(exec(&mut proxied, &["SET t47:1 1", "GET", "SET t47:2 1"]).is_error_of("EXECABORT"));
    }
}

#[test]
fn t47_t48_each_block_stays_whole_while_slots_move() {
    let cluster = Cluster::start(3, 0);
    let pointsman = best_effort(cluster.addresses()).start();
    let mut client = pointsman.client();
    let slots = ["t48a", "t48b"].map(|key| pointsman_protocol::Slot::of(key.as_bytes()));
    in_turn(&cluster, &slots, 4, 100, |round| {
        let reply = exec(&mut client, &["INCR t48a", "INCR t48b", "INCR {t48a}x", "INCR {t48b}x"]);
        assert_eq!(reply.elements(), vec![Reply::number(round as i64); 4], "round {round}");
    });
}

#[test]
fn t47_a_block_that_fails_stands_as_its_error_at_its_places() {
    let fake = Fake::start(2, 0);
    let pointsman = best_effort(fake.addresses()).allow(&["connection lost"]).start();
    let mut client = pointsman.client();
    let (one, other) = (key_on(0, 2, "t47f", 0), key_on(1, 2, "t47f", 0));
    // On a new connection the proxy says EXEC by itself.
    assert_eq!(client.command(&["MSET", &one, "0", &other, "0"]), Reply::ok());
    fake.rule(Rule::on("EXEC", Act::CloseBefore).at(1).times(1));
    let lines = [format!("SET {one} 1"), format!("SET {other} 2"), "PING".into(), format!("GET {one}")];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let answers = exec(&mut client, &lines).elements();
    assert_eq!(answers[0], Reply::ok());
    assert!(answers[1].error().contains("may or may not have been executed"), "{}", answers[1]);
    assert!(answers[2] == "+PONG\r\n");
    assert_eq!(answers[3], Reply::bulk("1"));
    let sent = format!("SET {other} 2");
    assert_eq!(fake.received(|received| received.line() == sent).len(), 1, "no write is sent again");
}
