//! `bench compare` and `bench store` end to end, with whoever of the peers is installed: short runs
//! whose figures mean nothing, to see that they are made, printed, and that nothing stays behind.

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

/// What keeps the test from running here, said aloud.
fn skipped() -> bool {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores < 2 {
        eprintln!("SKIPPED: the method needs two cores, and there is one");
        return true;
    }
    if Command::new("redis-server").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("SKIPPED: redis-server is not installed (Debian package redis-server)");
        return true;
    }
    false
}

fn bench(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bench"));
    command.args(arguments.split_ascii_whitespace()).stdin(Stdio::null());
    command
}

/// Processes and directories that a run with this process id has left.
fn left_behind(pid: u32) -> Vec<String> {
    let mark = |kind: &str| format!("pointsman-bench-{kind}-{pid}-");
    let marks = ["compare", "store", "workers"].map(mark);
    let ours = |text: &str| marks.iter().any(|mark| text.contains(mark.as_str()));
    let names = |directory: &std::path::Path| {
        std::fs::read_dir(directory)
            .unwrap()
            .flatten()
            .map(|entry| entry.file_name().into_string().unwrap_or_default())
    };
    let directories = names(&std::env::temp_dir()).filter(|name| ours(name));
    let processes = names(std::path::Path::new("/proc"))
        .filter(|name| name.parse::<u32>().is_ok())
        // A server may change the words it was started with, but not where its output goes.
        .filter_map(|pid| std::fs::read_link(format!("/proc/{pid}/fd/1")).ok())
        .map(|log| log.to_string_lossy().into_owned())
        .filter(|log| ours(log));
    directories.chain(processes).collect()
}

#[test]
fn a_comparison_is_made_printed_and_cleaned_up() {
    if skipped() {
        return;
    }
    let child = bench("compare --peers direct,twemproxy,haproxy --cells get-c50-p16,idle-memory --rounds 2 --seconds 0.1 --idle-clients 50 --json -")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}{}", String::from_utf8_lossy(&output.stdout));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["notes"], serde_json::json!([]), "{report}");
    let measured: Vec<&str> = report["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|series| series["subject"].as_str().unwrap())
        .collect();
    let missing = report["missing"].as_array().unwrap().len();
    assert!(measured.contains(&"direct"));
    assert_eq!(measured.len() + missing, 3, "whoever is not measured is named: {report}");
    for series in report["results"].as_array().unwrap() {
        assert_eq!(series["rounds"].as_array().unwrap().len(), 2);
        for round in series["rounds"].as_array().unwrap() {
            assert!(round["requests"].as_u64().unwrap() > 0, "{series}");
            assert_eq!(round["misses"], 0, "prefilled: {series}");
        }
    }
    assert_eq!(report["idle"].as_array().unwrap().len(), measured.len() - 1, "of every proxy");
    assert_eq!(left_behind(pid), Vec::<String>::new());
}

#[test]
fn stores_are_compared_too() {
    if skipped() {
        return;
    }
    let output =
        bench("store --peers redis --cells set-c50-p16,bytes-per-key --rounds 1 --seconds 0.1 --keys 20000")
            .output()
            .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("| set-c50-p16 |") && text.contains("bytes per key"), "{text}");
}

#[test]
fn a_program_that_does_not_start_is_left_out_with_its_last_words() {
    if skipped() {
        return;
    }
    let output = bench(
        "compare --peers direct,pointsman --pointsman /bin/false --cells get-c50-p1 --rounds 1 --seconds 0.1",
    )
    .output()
    .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("pointsman was left out: pointsman-load has ended"), "{text}");
    assert!(text.contains("none judged"), "{text}");
}

#[test]
fn ctrl_c_ends_the_children_and_prints_what_there_is() {
    if skipped() {
        return;
    }
    let mut child = bench("compare --peers direct --cells get-c50-p1 --rounds 1000 --seconds 0.2")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let under_way = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("round 2/1000")));
    assert!(under_way.is_some(), "the second round was never reached");
    assert!(left_behind(pid).len() >= 2, "a directory and a server are there while it runs");
    kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::INT).unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(2));
    assert!(text.contains("| get-c50-p1 |") && text.contains("interrupted"), "{text}");
    assert_eq!(left_behind(pid), Vec::<String>::new());
}

#[test]
fn mistakes_are_explained() {
    for (arguments, word) in [
        ("compare --cells gte", "get-c50-p16"),
        ("compare --peers nginx", "haproxy"),
        ("compare --seconds 0", "--seconds 0"),
        ("compare --envoy /no/such/envoy", "--envoy /no/such/envoy"),
        ("store --store-args --quiet", "{port}"),
    ] {
        let output = bench(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments}: {error}");
        assert!(error.contains(word), "{arguments}: {error}");
    }
}
