//! The clients that people use, at both kinds of backend: redis-cli, redis-benchmark, redis-rs.
//! Python's are in `integration/python`.

use pointsman_integration::process::Launch;
use pointsman_integration::{Cluster, Pointsman, Setup, tools};
use redis::Commands;
use std::time::Duration;

fn embedded() -> Pointsman {
    Setup::embedded(3, 1).start()
}

fn cli(pointsman: &Pointsman, args: &[&str]) -> String {
    let port = pointsman.port().to_string();
    let all: Vec<&str> = ["-p", &port].iter().chain(args).copied().collect();
    tools::redis_cli(&all).expect_success()
}

#[test]
fn redis_cli_works_with_both_protocols() {
    let pointsman = embedded();
    for protocol in ["-2", "-3"] {
        assert_eq!(cli(&pointsman, &[protocol, "SET", "greeting", "hello world"]), "OK");
        assert_eq!(cli(&pointsman, &[protocol, "GET", "greeting"]), "hello world");
        assert_eq!(cli(&pointsman, &[protocol, "MSET", "a", "1", "b", "2"]), "OK");
        assert_eq!(cli(&pointsman, &[protocol, "MGET", "a", "b", "nothing"]), "1\n2\n");
        assert_eq!(cli(&pointsman, &[protocol, "DEL", "a", "b"]), "2");
    }
    assert!(cli(&pointsman, &["INFO", "server"]).contains("redis_version"));
    assert_eq!(cli(&pointsman, &["PING"]), "PONG");
    // Commands on standard input take another path through redis-cli.
    let script = format!(
        "printf 'SET x 1\\nINCR x\\n' | {} -p {}",
        tools::redis("redis-cli").display(),
        pointsman.port()
    );
    assert_eq!(
        Launch::new("sh").args(["-c", &script]).run(Duration::from_secs(20)).expect_success(),
        "OK\n2"
    );
}

#[test]
fn redis_cli_pipes_a_mass_of_commands() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let script = format!(
        "for n in $(seq 5000); do echo \"SET pipe:$n $n\"; done | {} -p {} --pipe",
        tools::redis("redis-cli").display(),
        pointsman.port()
    );
    let output = Launch::new("sh").args(["-c", &script]).run(Duration::from_secs(60)).expect_success();
    assert!(output.contains("errors: 0, replies: 5000"), "{output}");
    let mut client = pointsman.client();
    let keys: Vec<String> = (1..=5000).map(|n| format!("pipe:{n}")).collect();
    let mut request = vec!["UNLINK"];
    request.extend(keys.iter().map(String::as_str));
    assert_eq!(client.command(&request).int(), 5000);
}

fn benchmark(pointsman: &Pointsman) {
    let port = pointsman.port().to_string();
    let args = [
        "-p",
        &port,
        "-t",
        "set,get,incr,mset",
        "-P",
        "16",
        "-c",
        "50",
        "-n",
        "20000",
        "-r",
        "10000",
        "--csv",
    ];
    let finished = Launch::new(tools::redis("redis-benchmark")).args(args).run(Duration::from_secs(120));
    let output = finished.expect_success();
    for test in ["\"SET\"", "\"GET\"", "\"INCR\"", "\"MSET (10 keys)\""] {
        assert!(output.contains(test), "{test} is missing:\n{output}");
    }
    for word in ["rror", "WARN", "ERR", "CROSSSLOT"] {
        assert!(!output.contains(word), "redis-benchmark is not content:\n{output}");
    }
}

#[test]
fn redis_benchmark_runs_clean_onto_the_bundled_nodes() {
    benchmark(&embedded());
}

#[test]
fn redis_benchmark_runs_clean_onto_a_cluster() {
    let cluster = Cluster::start(3, 1);
    benchmark(&Setup::cluster(cluster.addresses()).with(|setup| setup.workers = 2).start());
}

fn redis_rs(pointsman: &Pointsman) {
    for url in [
        format!("redis://{}/", pointsman.address()),
        format!("redis://{}/?protocol=resp3", pointsman.address()),
    ] {
        let client = redis::Client::open(url).expect("the address is right");
        let mut connection = client.get_connection().expect("it connects");
        let _: () = connection.set("rs:a", "1").unwrap();
        let _: () = connection.mset(&[("rs:b", "2"), ("rs:c", "3")]).unwrap();
        let values: Vec<Option<String>> = connection.mget(&["rs:a", "rs:b", "rs:none", "rs:c"]).unwrap();
        assert_eq!(values, [Some("1".into()), Some("2".into()), None, Some("3".into())]);
        let count: i64 = connection.incr("rs:a", 41).unwrap();
        assert_eq!(count, 42);
        let (one, two): (i64, Option<String>) = redis::pipe()
            .incr("rs:a", 1)
            .get("rs:b")
            .query(&mut connection)
            .expect("a pipeline without MULTI");
        assert_eq!((one, two.as_deref()), (43, Some("2")));
        let error = redis::cmd("RENAME").arg("rs:a").arg("rs:b").query::<()>(&mut connection).unwrap_err();
        assert_eq!(error.code(), Some("CROSSSLOT"));
        let gone: i64 = connection.del(&["rs:a", "rs:b", "rs:c"]).unwrap();
        assert_eq!(gone, 3);
    }
}

#[test]
fn redis_rs_works_on_the_bundled_nodes() {
    redis_rs(&embedded());
}

#[test]
fn redis_rs_works_on_a_cluster() {
    let cluster = Cluster::shared();
    redis_rs(&Setup::cluster(cluster.addresses()).start());
}
