//! T92, T76 and the snowball: a node in trouble costs the requests that were under way their deadline, and everything
//! after that next to nothing; other shards do not feel it; its first sign of life ends it.

use pointsman_integration::client::words;
use pointsman_integration::eventually::{check, eventually};
use pointsman_integration::fake::{Act, Rule, key_on};
use pointsman_integration::logs::LOST;
use pointsman_integration::{Client, Cluster, Fake, Reply, Setup};
use std::thread;
use std::time::{Duration, Instant};

const SILENT: &[&str] = &["time", "stall"];

/// How long one request takes, and its answer.
fn timed(client: &mut Client, request: &[&str]) -> (Reply, Duration) {
    let began = Instant::now();
    let reply = client.command(request);
    (reply, began.elapsed())
}

#[test]
fn t87_t92_a_frozen_shard_fails_fast_and_alone_and_is_back_at_once() {
    let cluster = Cluster::start(3, 0);
    let deadline = Duration::from_millis(1000);
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| {
            setup.request_timeout_ms = deadline.as_millis() as u64;
            setup.stall_timeout_ms = 60_000;
        })
        .allow(LOST)
        .allow(SILENT)
        .start();
    let [frozen, fine] = [0, 1].map(|shard| key_on(shard, 3, "t92", 0));
    let mut client = pointsman.client();
    for key in [&frozen, &fine] {
        assert_eq!(client.command(&["SET", key, "v"]), Reply::ok());
    }
    let node = cluster.primary_of(&frozen);
    cluster.node(node).freeze();
    // Under way at that moment: each gets its error at the deadline, in its place.
    let began = Instant::now();
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let mut client = pointsman.client();
                let requests = [words(&["GET", &frozen]), words(&["PING"])];
                let replies = client.pipeline(&requests);
                assert!(replies[0].error().contains("did not answer within"), "{}", replies[0]);
                assert_eq!(replies[1], "+PONG\r\n");
            });
        }
    });
    assert!(began.elapsed() >= deadline - Duration::from_millis(50), "{:?}", began.elapsed());
    assert_eq!(pointsman.metrics().sum("pointsman_breakers_open", &[]), 1.0);
    // From now on at once, in order, and without a word of who is behind us.
    let mut took: Vec<Duration> = Vec::new();
    for _ in 0..100 {
        let (reply, time) = timed(&mut client, &["GET", &frozen]);
        took.push(time);
        assert!(reply.error().contains("the shard does not answer"), "{reply}");
        assert!(reply.error().contains("tried again in"), "{reply}");
        assert!(!reply.error().contains(&cluster.node(node).address()), "{reply}");
        let (reply, time) = timed(&mut client, &["GET", &fine]);
        assert_eq!(reply, Reply::bulk("v"));
        assert!(time < deadline / 2, "the other shard is not concerned: {time:?}");
    }
    took.sort();
    assert!(took[50] < Duration::from_millis(20), "{took:?}");
    let replies = client.pipeline(&[words(&["GET", &fine]), words(&["INCR", &frozen]), words(&["PING"])]);
    assert_eq!(replies[0], Reply::bulk("v"));
    assert_eq!(replies[2], "+PONG\r\n");
    assert!(replies[1].error().contains("was not sent"), "{}", replies[1]);
    // What it answers late is a sign of life: no need to wait for a probe.
    cluster.node(node).thaw();
    let thawed = Instant::now();
    eventually("it is served again", || {
        let reply = client.command(&["GET", &frozen]);
        check(reply == Reply::bulk("v"), reply)
    });
    assert!(thawed.elapsed() < Duration::from_secs(3), "{:?}", thawed.elapsed());
    pointsman.wait_for("it has closed", "pointsman_breakers_open", |open| open == 0.0);
}

#[test]
fn t92_switched_off_each_request_has_its_deadline() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| {
            setup.request_timeout_ms = 300;
            setup.backend_extra.push("breaker: off".into());
        })
        .allow(LOST)
        .allow(SILENT)
        .start();
    let key = key_on(0, 3, "t92off", 0);
    let mut client = pointsman.client();
    client.command(&["SET", &key, "v"]);
    let node = cluster.primary_of(&key);
    cluster.node(node).freeze();
    client.pipeline(&vec![words(&["GET", &key]); 10]);
    let (reply, took) = timed(&mut client, &["GET", &key]);
    assert!(reply.error().contains("did not answer within"), "{reply}");
    assert!(took >= Duration::from_millis(250), "{took:?}");
    cluster.node(node).thaw();
}

#[test]
fn t09_t92_only_refusals_that_last_shut_a_node_out() {
    let fake = Fake::start(2, 0);
    let [key, fine] = [0, 1].map(|shard| key_on(shard, 2, "t09", 0));
    let pointsman = Setup::cluster(fake.addresses()).with(|setup| setup.attempts_max = 2).allow(LOST).start();
    let mut client = pointsman.client();
    client.command(&["SET", &key, "v"]);
    let shut_out = |reply: &Reply| reply.is_error() && reply.error().contains("says that it cannot serve");
    for error in ["WRONGTYPE Operation against a key", "BUSY Redis is busy running a script"] {
        fake.rule(Rule::on("GET", Act::Error(error.into())).key(&key).times(100));
        let replies = client.pipeline(&vec![words(&["GET", &key]); 100]);
        assert!(replies.iter().all(|reply| reply.error().starts_with(&error[..4])), "data: {}", replies[99]);
    }
    assert_eq!(pointsman.metrics().sum("pointsman_breaker_opened_total", &[]), 0.0);
    let loading = "LOADING Redis is loading the dataset in memory";
    fake.rule(Rule::on("GET", Act::Error(loading.into())).key(&key).times(2000));
    let began = Instant::now();
    eventually("it is shut out", || {
        let reply = client.command(&["GET", &key]);
        check(shut_out(&reply), reply)
    });
    assert!(
        began.elapsed() >= Duration::from_millis(900),
        "not for a moment's trouble: {:?}",
        began.elapsed()
    );
    assert_eq!(client.command(&["SET", &fine, "v"]), Reply::ok(), "the other shard");
    assert!(pointsman.metrics().sum("pointsman_breaker_opened_total", &[]) >= 1.0);
}

#[test]
fn t76_a_dead_replica_costs_no_error_and_hardly_any_time() {
    let fake = Fake::start(1, 1);
    let pointsman = Setup::cluster(fake.addresses())
        .with(|setup| {
            setup.reads = "prefer_replica";
            setup.lag_interval_ms = 20;
            setup.lag_stale_after_ms = 5_000;
            setup.backoff_max_ms = 5_000;
        })
        .allow(LOST)
        .allow(&["lag", "sample"])
        .start();
    let mut client = pointsman.client();
    client.line("SET k v");
    let replica = fake.replicas(0)[0];
    let by_replica =
        |fake: &Fake| fake.received(|received| received.is("GET") && received.node == replica).len();
    eventually("the replica serves", || {
        client.line("GET k");
        check(by_replica(&fake) > 0, "not yet")
    });
    fake.take_down(replica);
    let began = Instant::now();
    for _ in 0..300 {
        assert_eq!(client.line("GET k"), Reply::bulk("v"));
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
