//! Requests that wait out a failover (`failover_hold_ms`), and the budget of second attempts (`retry.budget_percent`).

use pointsman_integration::client::words;
use pointsman_integration::eventually::{check, eventually};
use pointsman_integration::fake::{Act, Rule, key_on};
use pointsman_integration::logs::LOST;
use pointsman_integration::{Client, Cluster, Fake, Pointsman, Reply, Setup};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Two shards of which the first has gone, and keys of both. Attempts are few and deadlines short, so that only the
/// hold can bridge anything.
fn with_a_shard_gone(extra: &[&str]) -> (Fake, Pointsman, [String; 2]) {
    let fake = Fake::start(2, 0);
    let keys = [key_on(0, 2, "gone", 0), key_on(1, 2, "there", 0)];
    let pointsman = Setup::cluster(fake.addresses())
        .with(|setup| {
            setup.request_timeout_ms = 300;
            setup.attempts_max = 2;
            setup.backend_extra = extra.iter().map(|line| (*line).to_owned()).collect();
        })
        .allow(LOST)
        .start();
    let mut client = pointsman.client();
    for key in &keys {
        assert_eq!(client.command(&["SET", key, "0"]), Reply::ok());
    }
    fake.take_down(0);
    pointsman
        .wait_for("the loss is noticed", "pointsman_backend_connections", |connections| connections <= 1.0);
    (fake, pointsman, keys)
}

#[test]
fn t86_requests_wait_for_a_primary_in_order_while_others_are_served() {
    let (fake, pointsman, [gone, there]) = with_a_shard_gone(&["failover_hold_ms: 30000"]);
    let mut client = pointsman.client();
    client.send_all(&[words(&["INCR", &gone]), words(&["INCR", &gone]), words(&["GET", &gone])]);
    assert!(client.is_silent_for(Duration::from_millis(700)), "beyond the request timeout");
    pointsman.wait_for("they are seen to wait", "pointsman_held_requests", |held| held >= 1.0);
    let mut other = pointsman.client();
    for round in 1..=50 {
        assert_eq!(other.command(&["INCR", &there]), Reply::number(round));
    }
    fake.bring_up(0);
    assert_eq!([client.read(), client.read()], [Reply::number(1), Reply::number(2)]);
    assert_eq!(client.read(), Reply::bulk("2"));
    pointsman.wait_for("none waits any more", "pointsman_held_requests", |held| held == 0.0);
    let metrics = pointsman.metrics();
    assert_eq!(metrics.sum("pointsman_held_bytes", &[]), 0.0);
    assert!(metrics.sum("pointsman_held_requests_total", &[]) >= 1.0);
    assert_eq!(metrics.sum("pointsman_hold_given_up_total", &[]), 0.0);
}

#[test]
fn t86_the_hold_ends_with_an_honest_error() {
    let (_fake, pointsman, [gone, _]) = with_a_shard_gone(&["failover_hold_ms: 900"]);
    let mut client = pointsman.client();
    let began = Instant::now();
    let reply = client.command(&["INCR", &gone]);
    let took = began.elapsed();
    assert!(reply.error().contains("the command was not sent and may be retried"), "{reply}");
    assert!(took >= Duration::from_millis(800), "it waited: {took:?}");
    assert!(took < Duration::from_secs(5), "and no longer: {took:?}");
    assert_eq!(pointsman.metrics().sum("pointsman_hold_given_up_total", &[]), 1.0);
}

#[test]
fn t86_without_a_hold_attempts_end_it() {
    let (_fake, pointsman, [gone, _]) = with_a_shard_gone(&[]);
    let mut client = pointsman.client();
    assert!(client.command(&["INCR", &gone]).error().contains("may be retried"));
    assert_eq!(pointsman.metrics().sum("pointsman_held_requests_total", &[]), 0.0);
}

#[test]
fn t86_what_waits_is_bounded_in_number_and_bytes() {
    let extra =
        ["failover_hold_ms: 30000", "failover_hold_requests_max: 2", "failover_hold_bytes_max: 64KiB"];
    let (fake, pointsman, [gone, _]) = with_a_shard_gone(&extra);
    let refused = |client: &mut Client, value: &str| {
        let reply = client.command(&["SET", &gone, value]);
        assert!(reply.error().contains("too many requests wait"), "{reply}");
    };
    let mut clients: Vec<Client> = (0..2).map(|_| pointsman.client()).collect();
    refused(&mut clients[0], &"v".repeat(64 << 10));
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(&["INCR", &gone]);
        pointsman.wait_for("it waits", "pointsman_held_requests", |held| held == number as f64 + 1.0);
    }
    refused(&mut pointsman.client(), "v");
    fake.bring_up(0);
    let mut counted: Vec<i64> = clients.iter_mut().map(|client| client.read().int()).collect();
    counted.sort();
    assert_eq!(counted, [1, 2], "those that wait keep their room");
    let mut late = pointsman.client();
    assert_eq!(late.command(&["INCR", &gone]), Reply::number(3));
    assert_eq!(pointsman.metrics().sum("pointsman_held_bytes", &[]), 0.0);
}

/// The primary of a shard is killed under load: what was under way at that moment has an unknown fate, nothing else
/// fails.
#[test]
fn t86_a_failover_of_a_real_cluster_is_waited_out() {
    let mut cluster = Cluster::start_with(3, 1, &["--cluster-node-timeout", "2000"]);
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| {
            setup.workers = 2;
            setup.request_timeout_ms = 1000;
            setup.attempts_max = 3;
            setup.backend_extra.push("failover_hold_ms: 60000".into());
        })
        .allow(LOST)
        .allow(&["stopped answering", "group"])
        .start();
    let keys: Vec<String> = (0..3).map(|shard| key_on(shard, 3, "t86", 0)).collect();
    let victim = cluster.primary_of(&keys[0]);
    let over = AtomicBool::new(false);
    let errors: Vec<String> = thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|number: usize| {
                let (pointsman, over, key) = (&pointsman, &over, &keys[number % 3]);
                scope.spawn(move || {
                    let (mut client, mut errors) = (pointsman.client(), Vec::new());
                    let key = format!("{{{key}}}:{number}");
                    let mut acknowledged = 0i64;
                    while !over.load(Ordering::Relaxed) {
                        client.send(&["INCR", &key]);
                        let reply = client.read_within(Duration::from_secs(60)).expect("an answer");
                        if reply.is_error() {
                            errors.push(reply.error().to_owned())
                        } else {
                            acknowledged += 1
                        }
                    }
                    assert!(acknowledged > 0);
                    errors
                })
            })
            .collect();
        let mut client = pointsman.client();
        assert!(!client.command(&["INCR", &keys[0]]).is_error());
        cluster.node_mut(victim).kill();
        // The answer comes from the new primary; that it was promoted takes some seconds.
        client.send(&["SET", &keys[0], "after"]);
        let reply = client.read_within(Duration::from_secs(60)).expect("an answer");
        over.store(true, Ordering::Relaxed);
        assert!(reply == Reply::ok() || reply.error().contains("may or may not"), "{reply}");
        writers.into_iter().flat_map(|writer| writer.join().expect("the writer writes")).collect()
    });
    let dishonest: Vec<_> = errors.iter().filter(|error| !error.contains("may or may not")).collect();
    assert!(dishonest.is_empty(), "what was not sent waits: {dishonest:?}");
    assert!(errors.len() <= 8, "only what was under way at that moment: {errors:?}");
    assert!(pointsman.metrics().sum("pointsman_held_requests_total", &[]) >= 1.0);
}

#[test]
fn t86_second_attempts_have_a_budget() {
    let fake = Fake::start(1, 0);
    let pointsman = Setup::cluster(fake.addresses())
        .with(|setup| {
            setup.request_timeout_ms = 10_000;
            setup.budget = Some((0, 1));
        })
        .allow(LOST)
        .start();
    let mut client = pointsman.client();
    fake.rule(Rule::on("GET", Act::Error("LOADING Redis is loading the dataset in memory".into())));
    let began = Instant::now();
    let replies = client.pipeline(&vec![words(&["GET", "k"]); 30]);
    for reply in &replies {
        assert!(reply.is_error_of("LOADING"), "{reply}");
    }
    assert!(began.elapsed() < Duration::from_secs(8), "not the attempts of the configuration: {began:?}");
    // One a second, and what ten seconds have in stock.
    let asked = fake.count("GET", "k");
    assert!((30..=30 + 20).contains(&asked), "{asked}");
    assert!(pointsman.metrics().sum("pointsman_retries_denied_total", &[]) >= 1.0);
    eventually("what it did not spend is not owed", || {
        let reply = client.line("PING");
        check(reply == "+PONG\r\n", reply)
    });
}
