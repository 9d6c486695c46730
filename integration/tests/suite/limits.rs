//! T98: who asks more than a listener allows is told so in its place, and when to come back; nothing is closed, nothing
//! waits, and the rate is the one that was configured.

use pointsman_integration::client::words;
use pointsman_integration::eventually::{StopOnDrop, eventually};
use pointsman_integration::fake::{Act, Rule};
use pointsman_integration::{Fake, Pointsman, Reply, Setup};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

fn limited(fake: &Fake, workers: usize, limits: &[&str]) -> Pointsman {
    Setup::cluster(fake.addresses())
        .with(|setup| {
            setup.workers = workers;
            setup.listener_extra = vec!["limits:".into()];
            setup.listener_extra.extend(limits.iter().map(|limit| format!("  - {{ {limit} }}")));
        })
        .start()
}

fn throttled(reply: &Reply) -> bool {
    reply.is_error_of("THROTTLED")
}

#[test]
fn t98_a_refused_request_is_answered_in_its_place_and_nothing_is_closed() {
    let fake = Fake::start(1, 0);
    let pointsman =
        limited(&fake, 1, &["name: writes, commands: ['@write'], requests_per_second: 1, burst_ms: 3000"]);
    let mut client = pointsman.client();
    let requests: Vec<_> = (0..20)
        .flat_map(|n| [words(&["SET", "k", &n.to_string()]), words(&["GET", "k"]), words(&["PING"])])
        .collect();
    let replies = client.pipeline(&requests);
    for (n, group) in replies.chunks(3).enumerate() {
        if n < 3 {
            assert_eq!(group[0], Reply::ok(), "{n}");
            assert_eq!(group[1], Reply::bulk(n.to_string()));
        } else {
            let refused = group[0].error();
            assert!(
                refused.starts_with("THROTTLED limit 'writes' (1 requests per second): try again in "),
                "{refused}"
            );
            assert!(refused.ends_with(" ms"), "{refused}");
            assert_eq!(group[1], Reply::bulk("2"), "a refused write is not executed");
        }
        assert_eq!(group[2].text(), "PONG");
    }
    assert_eq!(fake.count("SET", "k"), 3);
    let refused = pointsman.metrics().sum("pointsman_throttled_total", &["limit=\"writes\""]);
    assert_eq!(refused, 17.0);
    // It is true when it says when.
    let refused = client.command(&["SET", "k", "v"]).error();
    let ms: u64 = refused.split(' ').rev().nth(1).and_then(|ms| ms.parse().ok()).expect(&refused);
    let told = Instant::now();
    eventually("the write is let through", || match client.command(&["SET", "k", "v"]) {
        reply if reply == Reply::ok() => Ok(()),
        reply => Err(reply),
    });
    assert!(told.elapsed() + Duration::from_millis(20) >= Duration::from_millis(ms), "{refused}");
}

#[test]
fn t98_a_refusal_while_a_transaction_is_queued_aborts_it() {
    let fake = Fake::start(1, 0);
    let pointsman = limited(&fake, 1, &["name: all, requests_per_second: 1, burst_ms: 1000"]);
    let mut client = pointsman.client();
    let replies = client.pipeline(&[
        words(&["MULTI"]),
        words(&["SET", "k", "1"]),
        words(&["SET", "k", "2"]),
        words(&["EXEC"]),
    ]);
    assert_eq!((&replies[0], replies[1].text().as_str()), (&Reply::ok(), "QUEUED"));
    assert!(throttled(&replies[2]), "{}", replies[2]);
    assert!(replies[3].is_error_of("EXECABORT"), "{}", replies[3]);
    assert_eq!(fake.count("SET", "k"), 0);
}

#[test]
fn t98_requests_in_flight_are_counted_over_all_clients_of_all_workers() {
    let fake = Fake::start(1, 0);
    let pointsman = limited(&fake, 2, &["name: few, per: listener, inflight_max: 3"]);
    let gate = fake.gate();
    fake.rule(Rule::on("GET", Act::HoldReply(gate.clone())));
    let (mut one, mut other) = (pointsman.client(), pointsman.client());
    one.send_all(&[words(&["GET", "a"]), words(&["GET", "b"])]);
    fake.wait_for("two are there", 2, |received| received.is("GET"));
    other.send_all(&[words(&["GET", "c"]), words(&["GET", "d"])]);
    pointsman.wait_for("the fourth is refused", "pointsman_throttled_total", |refused| refused == 1.0);
    fake.wait_for("three are there", 3, |received| received.is("GET"));
    assert!(other.is_silent_for(Duration::from_millis(50)), "the refusal keeps its place");
    gate.open();
    assert_eq!([one.read(), one.read(), other.read()], [Reply::null(), Reply::null(), Reply::null()]);
    let refused = other.read().error();
    let text = "THROTTLED limit 'few' (3 requests in flight): try again when earlier ones have been answered";
    assert_eq!(refused, text);
    assert_eq!(other.command(&["GET", "d"]), Reply::null());
}

#[test]
fn t98_the_rate_is_the_configured_one_for_one_client_and_for_many() {
    const RATE: f64 = 400.0;
    const SPAN: Duration = Duration::from_secs(3);
    for clients in [1, 10] {
        let fake = Fake::start(1, 0);
        let limit = format!("name: all, per: listener, requests_per_second: {RATE}, burst_ms: 10");
        let pointsman = limited(&fake, 2, &[&limit]);
        let (stop, done) = (AtomicBool::new(false), AtomicUsize::new(0));
        let began = Instant::now();
        thread::scope(|scope| {
            for _ in 0..clients {
                let mut client = pointsman.client();
                let (stop, done) = (&stop, &done);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let reply = client.command(&["SET", "k", "v"]);
                        if reply == Reply::ok() {
                            done.fetch_add(1, Ordering::Relaxed);
                        } else {
                            assert!(throttled(&reply), "{reply}");
                        }
                    }
                });
            }
            let stopping = StopOnDrop(&stop);
            thread::sleep(SPAN);
            drop(stopping);
        });
        let expected = RATE * began.elapsed().as_secs_f64();
        let met = done.load(Ordering::Relaxed) as f64 / expected;
        assert!((0.9..1.02).contains(&met), "{clients} clients: {met} of the rate");
    }
}
