//! The endpoints for operators: /health, /ready, /metrics, /topology.

use pointsman_integration::client::words;
use pointsman_integration::eventually::{check, eventually};
use pointsman_integration::fake::{Endpoint, key_on};
use pointsman_integration::{Cluster, Fake, Setup, http, tools};
use pointsman_protocol::Slot;
use std::collections::BTreeSet;

#[test]
fn health_is_alive_and_ready_is_usable() {
    let fake = Fake::start(2, 1);
    let hole = Slot::new(77).unwrap();
    fake.change(|world| world.view.owner[hole.index()] = None);
    let pointsman = Setup::cluster(fake.addresses())
        .with(|setup| setup.refresh_interval_ms = 100)
        .allow(&["slot", "topology", "refresh"])
        .start_unready();
    assert_eq!(pointsman.get("/health").status, 200);
    let ready = pointsman.get("/ready");
    assert_eq!(ready.status, 503, "{}", ready.body);
    fake.change(|world| {
        world.view.owner[hole.index()] = Some(0);
        world.view.epoch += 1;
    });
    pointsman.wait_until_ready();
    assert_eq!(pointsman.get("/nothing/here").status, 404);
    let answer = http::request(&pointsman.admin_address(), "POST", "/metrics").unwrap();
    assert!((400..500).contains(&answer.status), "{answer:?}");
}

#[test]
fn the_topology_is_shown_as_it_is_believed() {
    let fake = Fake::start(2, 1);
    let pointsman = Setup::cluster(fake.addresses()).with(|setup| setup.refresh_interval_ms = 100).start();
    let topology = pointsman.topology();
    assert_eq!(topology["name"], "main");
    assert_eq!(topology["slots_covered"], 16384);
    let shards = topology["shards"].as_array().expect("shards are a list");
    assert_eq!(shards.len(), 2);
    for (number, shard) in shards.iter().enumerate() {
        assert_eq!(shard["primary"]["address"], fake.address(2 * number).as_str(), "{topology}");
        assert_eq!(shard["primary"]["id"].as_str().map(str::len), Some(40), "{topology}");
        assert_eq!(shard["replicas"][0]["address"], fake.address(2 * number + 1).as_str(), "{topology}");
    }
    assert_eq!(shards[0]["slots"], serde_json::json!([[0, 8191]]));
    let version = topology["version"].as_u64().expect("a version is a number");

    fake.move_slot(Slot::new(100).unwrap(), 1);
    eventually("the move is shown", || {
        let topology = pointsman.topology();
        check(topology["shards"][0]["slots"] == serde_json::json!([[0, 99], [101, 8191]]), topology)
    });
    assert!(pointsman.topology()["version"].as_u64() > Some(version));
}

#[test]
fn requests_are_counted_by_class_and_outcome() {
    let fake = Fake::start(2, 0);
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    let count = |name: &str, labels: &[&str]| pointsman.metrics().sum(name, labels);
    client.pipeline(
        &[vec![words(&["GET", "k"]); 7], vec![words(&["SET", "k", "v"]); 5], vec![words(&["PING"]); 3]]
            .concat(),
    );
    eventually("all are counted", || {
        let all = count("pointsman_requests_total", &[]);
        check(all == 15.0, all)
    });
    assert_eq!(count("pointsman_requests_total", &["class=\"read\""]), 7.0);
    assert_eq!(count("pointsman_requests_total", &["class=\"write\""]), 5.0);
    assert_eq!(count("pointsman_client_connections", &[]), 1.0);
    eventually("the gauge says that nothing is in flight", || {
        let inflight = count("pointsman_inflight_requests", &[]);
        check(inflight == 0.0, inflight)
    });
    assert!(count("pointsman_backend_connections", &[]) >= 1.0);
    assert_eq!(count("pointsman_backend_latency_seconds_count", &[]), 12.0);
    assert!(count("pointsman_topology_refreshes_total", &[]) >= 1.0);
    assert!(pointsman.metrics().has("pointsman_topology_epoch"));
    drop(client);
    eventually("the client has left", || {
        let clients = count("pointsman_client_connections", &[]);
        check(clients == 0.0, clients)
    });
    let page = pointsman.get("/metrics");
    assert!(
        page.header("content-type").is_some_and(|kind| kind.starts_with("text/plain")),
        "{:?}",
        page.headers
    );
    assert!(page.body.contains("# TYPE pointsman_requests_total counter"));
    assert!(page.body.contains("# HELP pointsman_requests_total "));
}

/// However many clients: at most workers x nodes x connections to the backends.
#[test]
fn t99_backend_connections_do_not_grow_with_clients() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| {
            setup.workers = 2;
            setup.connections_per_node = 2;
        })
        .start();
    let keys: Vec<String> = (0..3).map(|shard| key_on(shard, 3, "t99", 0)).collect();
    let mut clients: Vec<_> = (0..100).map(|_| pointsman.client()).collect();
    for client in &mut clients {
        for key in &keys {
            client.command(&["GET", key]);
        }
    }
    let metrics = pointsman.metrics();
    assert_eq!(metrics.sum("pointsman_client_connections", &[]), 100.0);
    let connections = metrics.sum("pointsman_backend_connections", &[]);
    assert!(connections <= 2.0 * 6.0 * 2.0, "{connections} connections to six nodes");
}

/// A hostile node name must not break the pages it is printed on.
#[test]
fn names_from_outside_are_escaped() {
    let fake = Fake::start(2, 0);
    fake.change(|world| world.nodes[0].endpoint = Endpoint::Host("a\"b\\c\nd".into()));
    let pointsman = Setup::cluster([fake.address(1)])
        .with(|setup| setup.request_timeout_ms = 200)
        .allow(&["connect", "resolve", "lookup", "refresh", "topology", "name", "host"])
        .start_unready();
    pointsman.client().command(&["GET", &key_on(0, 2, "k", 0)]);
    // Both parse, or these panic.
    pointsman.metrics();
    pointsman.topology();
}

/// The names between quotes or backquotes that begin with `pointsman_`.
fn metric_names(text: &str, quote: char) -> BTreeSet<&str> {
    let is_name = |word: &&str| {
        word.starts_with("pointsman_") && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    text.split(quote).filter(is_name).collect()
}

#[test]
fn the_readme_lists_the_metrics_that_there_are() {
    let read = |path: &str| std::fs::read_to_string(tools::workspace().join(path)).expect("it is there");
    let (readme, source) = (read("README.md"), read("proxy/src/admin/metrics.rs"));
    let table: String = readme.lines().filter(|line| line.starts_with("| `pointsman_")).collect();
    assert_eq!(metric_names(&table, '`'), metric_names(&source, '"'), "README.md, and then metrics.rs");
}
