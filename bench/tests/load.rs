//! `bench load` end to end: the real program against a real redis-server, and against servers that
//! misbehave.

use pointsman_integration::{RedisServer, ports};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Command, Output};
use std::time::Duration;

fn load(port: u16, arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bench"))
        .args(["load", "--address", &format!("127.0.0.1:{port}")])
        .args(arguments.split_ascii_whitespace())
        .env_remove("BENCH_PASSWORD")
        .output()
        .unwrap()
}

/// The report of a run that ended with this status.
fn report(port: u16, arguments: &str, status: i32) -> serde_json::Value {
    let output = load(port, &format!("{arguments} --json"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{arguments}: {error}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_workload_runs_clean_and_leaves_what_it_wrote() {
    let redis = RedisServer::standalone();
    for (arguments, requests) in [
        ("--prefill --requests 0 --keys 1000 --value-bytes 100", 1_000),
        ("--workload get --requests 5003 --clients 7 --pipeline 16 --keys 1000", 5_003),
        ("--workload set --requests 2000 --keys 1000 --key-distribution zipf --threads 2", 2_000),
        ("--workload incr --requests 3000 --keys 10 --pipeline 3", 3_000),
        ("--workload mget --mget-keys 5 --requests 500 --keys 1000 --resp 3", 500),
        ("--workload mset --mget-keys 5 --requests 500 --keys 1000", 500),
        ("--workload mixed:0.5 --requests 2000 --pipeline 10 --keys 1000 --key-distribution hot", 2_000),
    ] {
        let report = report(redis.port(), arguments, 0);
        assert_eq!(report["requests"], requests, "{arguments}");
        assert_eq!(report["misses"], 0, "{arguments}");
        assert!(report["latency"]["p50_us"].as_f64().unwrap() > 0.0, "{arguments}");
        assert!(report["latency"]["max_us"].as_f64() >= report["latency"]["p99_us"].as_f64(), "{arguments}");
    }
    assert_eq!(redis.client().line("DBSIZE").int(), 1_010, "1,000 keys and 10 counters");
    assert_eq!(redis.client().line("STRLEN key:000000000000").int(), 64);
    let counted: i64 = (0..10)
        .map(|key| redis.client().line(&format!("GET counter:{key:012}")).text().parse::<i64>().unwrap())
        .sum();
    assert_eq!(counted, 3_000, "every INCR was executed once");
}

#[test]
fn sequential_keys_with_an_expiry_are_written_once_each() {
    let redis = RedisServer::standalone();
    report(
        redis.port(),
        "--workload set --key-distribution sequential --keys 777 --requests 777 --ttl 1000",
        0,
    );
    assert_eq!(redis.client().line("DBSIZE").int(), 777);
    let ttl: i64 = redis.client().line("TTL key:000000000776").int();
    assert!((1..=1_000).contains(&ttl), "{ttl}");
}

#[test]
fn an_open_loop_keeps_its_rate_and_watches_processes() {
    let redis = RedisServer::standalone();
    let arguments =
        format!("--rate 2000 --requests 1000 --clients 5 --threads 2 --watch-pid {}", redis.pid());
    let report = report(redis.port(), &arguments, 0);
    assert_eq!(report["requests"], 1_000);
    assert_eq!(report["misses"], 1_000, "nothing was prefilled");
    let seconds = report["seconds"].as_f64().unwrap();
    assert!(seconds > 0.49, "1,000 requests at 2,000/s took {seconds} s: faster than the schedule");
    assert_eq!(report["watched"][0]["pid"], redis.pid());
    assert!(report["watched"][0]["resident_bytes"].as_u64().unwrap() > 1_000_000);
}

#[test]
fn a_run_of_a_duration_ends_by_the_clock_and_warms_up() {
    let redis = RedisServer::standalone();
    let report = report(redis.port(), "--duration 0.4 --warmup 0.2 --progress", 0);
    let seconds = report["seconds"].as_f64().unwrap();
    assert!((0.39..5.0).contains(&seconds), "{seconds} s were measured");
    let rate = report["requests_per_second"].as_f64().unwrap();
    assert!((rate * seconds - report["requests"].as_f64().unwrap()).abs() < 1.0);
}

#[test]
fn error_replies_are_counted_by_code_with_a_sample() {
    let redis = RedisServer::standalone();
    redis.client().line("SET counter:000000000000 text");
    let report = report(redis.port(), "--workload incr --keys 1 --requests 100 --pipeline 5", 2);
    assert_eq!(report["requests"], 100);
    assert_eq!(report["errors"], 100);
    assert_eq!(report["errors_by_code"][0]["code"], "ERR");
    assert!(report["errors_by_code"][0]["sample"].as_str().unwrap().contains("not an integer"));
    let text = load(redis.port(), "--workload incr --keys 1 --requests 10");
    assert!(String::from_utf8_lossy(&text.stdout).contains("10 ERRORS"));
}

#[test]
fn passwords_are_given_and_a_wrong_one_is_told() {
    let redis = RedisServer::with_options(&["--requirepass", "secret"]);
    for arguments in ["--password secret", "--password secret --resp 3"] {
        assert_eq!(report(redis.port(), &format!("--requests 10 {arguments}"), 0)["errors"], 0);
    }
    let refused = load(redis.port(), "--requests 10 --password wrong");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("WRONGPASS"));
    let none = report(redis.port(), "--requests 10", 2);
    assert_eq!(none["errors_by_code"][0]["code"], "NOAUTH");
}

#[test]
fn a_server_that_is_not_there_is_named() {
    let reserved = ports::reserve();
    let port = reserved.number();
    let output = load(port, "--requests 1");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains(&format!("cannot connect to 127.0.0.1:{port}")));
}

/// A server that treats each connection, by its number, as `behave` says.
fn scripted(behave: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let behave = std::sync::Arc::new(behave);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let behave = std::sync::Arc::clone(&behave);
            std::thread::spawn(move || behave(number, stream.unwrap()));
        }
    });
    port
}

/// Answers every request that comes with `answer`, up to `requests` of them; at the next one it ends.
fn answer(mut stream: TcpStream, answer: &[u8], requests: usize) {
    let mut answered = 0;
    let mut space = [0; 64 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut space) {
        // The clients of these tests send whole GETs.
        for _ in space[..count].windows(3).filter(|word| word == b"GET") {
            answered += 1;
            if answered > requests || stream.write_all(answer).is_err() {
                return;
            }
        }
    }
}

#[test]
fn lost_connections_are_counted_and_made_again() {
    for pace in ["", "--rate 1000"] {
        let port = scripted(|number, stream| {
            answer(stream, b"$2\r\nhi\r\n", if number == 0 { 3 } else { usize::MAX });
        });
        // The fourth request meets the end of the connection.
        let report = report(port, &format!("--clients 1 --requests 100 {pace}"), 2);
        assert_eq!(report["reconnects"], 1, "{pace}");
        assert_eq!(report["errors_by_code"][0]["code"], "connection-lost", "{pace}: {report}");
        assert_eq!(report["requests"].as_u64().unwrap() + report["errors"].as_u64().unwrap(), 100, "{pace}");
    }
}

#[test]
fn a_server_that_falls_silent_is_a_timeout_and_not_the_end_of_the_tool() {
    for (pace, requests) in [("", 50), ("--rate 1000", 600)] {
        let port = scripted(|number, stream| {
            if number == 0 {
                let mut kept = stream.try_clone().unwrap();
                answer(stream, b"$2\r\nhi\r\n", 2);
                let _ = std::io::copy(&mut kept, &mut std::io::sink());
            } else {
                answer(stream, b"$2\r\nhi\r\n", usize::MAX);
            }
        });
        let report =
            report(port, &format!("--clients 1 --requests {requests} --reply-timeout-ms 200 {pace}"), 2);
        assert_eq!(report["errors_by_code"][0]["code"], "timeout", "{pace}: {report}");
        assert_eq!(report["reconnects"], 1, "{pace}");
        assert_eq!(
            report["requests"].as_u64().unwrap() + report["errors"].as_u64().unwrap(),
            requests,
            "{pace}: {report}"
        );
    }
}

#[test]
fn what_is_no_reply_or_not_the_right_one_is_told() {
    for (bytes, code) in [(&b"HTTP/1.1 400\r\n"[..], "malformed-reply"), (b":1\r\n", "unexpected-reply")] {
        let port = scripted(move |_, stream| answer(stream, bytes, usize::MAX));
        let report = report(port, "--clients 1 --requests 3 --pipeline 1", 2);
        assert_eq!(report["errors"], 3, "{code}");
        assert_eq!(report["errors_by_code"][0]["code"], code);
    }
}

#[test]
fn the_latency_of_an_open_loop_counts_from_the_schedule() {
    // The server stops for 300 ms once. A closed loop with one client sees that in one request; the
    // schedule sees it in all that were due meanwhile: 300 of 1,000.
    let port = scripted(|_, mut stream| {
        let mut space = [0; 64 * 1024];
        let mut paused = false;
        while let Ok(count @ 1..) = stream.read(&mut space) {
            if !std::mem::replace(&mut paused, true) {
                std::thread::sleep(Duration::from_millis(300));
            }
            for _ in space[..count].windows(3).filter(|word| word == b"GET") {
                if stream.write_all(b"$2\r\nhi\r\n").is_err() {
                    return;
                }
            }
        }
    });
    let open = report(port, "--clients 1 --requests 1000 --rate 1000", 0);
    assert!(open["latency"]["p90_us"].as_f64().unwrap() > 150_000.0, "{open}");
    let closed = report(port, "--clients 1 --requests 1000", 0);
    assert!(closed["latency"]["p90_us"].as_f64().unwrap() < 150_000.0, "{closed}");
    assert!(closed["latency"]["max_us"].as_f64().unwrap() > 290_000.0, "{closed}");
}

#[test]
fn the_help_names_what_matters() {
    let help = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_bench")).args(words).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    for word in ["load", "compare", "store", "Examples"] {
        assert!(help(&["--help"]).contains(word), "{word}");
    }
    for word in ["--rate", "coordinated", "Exit status", "zipf", "--prefill", "BENCH_PASSWORD"] {
        assert!(help(&["load", "--help"]).contains(word), "{word}");
    }
    assert!(help(&["compare", "--help"]).contains("Method"));
    assert!(help(&["store", "--help"]).contains("--store-args"));
}
