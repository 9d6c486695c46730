//! The command line: help, flags, mistakes.

use pointsman_integration::eventually::{check, eventually};
use pointsman_integration::process::{Finished, Launch, TempDir};
use pointsman_integration::{Client, Setup, http, ports, tools};
use std::time::Duration;

fn run(args: &[&str]) -> Finished {
    Launch::new(tools::our_binary("pointsman")).args(args).run(Duration::from_secs(20))
}

#[test]
fn help_names_every_flag() {
    let help = run(&["--help"]).expect_success();
    for flag in [
        "--config",
        "--listen",
        "--admin",
        "--shards",
        "--replicas",
        "--workers",
        "--node-port",
        "check",
        "6379",
        "9180",
        "7001",
    ] {
        assert!(help.contains(flag), "'{flag}' is not in the help:\n{help}");
    }
    assert!(run(&["--version"]).expect_success().contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn mistakes_on_the_command_line_are_explained() {
    for (args, expected) in [
        (&["--nonsense"][..], "--nonsense"),
        (&["--shards", "0"], "shards"),
        (&["--shards", "many"], "many"),
        (&["--listen", "nowhere"], "nowhere"),
        (&["--listen", "127.0.0.1:99999"], "99999"),
        (&["--node-port", "65534"], "port"),
        (&["--config", "/nowhere/at/all.yaml"], "/nowhere/at/all.yaml"),
        (&["check", "/nowhere/at/all.yaml"], "/nowhere/at/all.yaml"),
        (&["check"], "FILE"),
    ] {
        let finished = run(args);
        assert!(!finished.status.success(), "{args:?}: {}", finished.output);
        assert!(finished.output.contains(expected), "{args:?}: '{expected}' is not in: {}", finished.output);
        assert!(!finished.output.contains("panicked"), "{args:?}: {}", finished.output);
    }
}

/// A flag beside a file wins over it.
#[test]
fn flags_go_before_the_file() {
    let dir = TempDir::new("flags");
    let (listen, admin) = (ports::reserve(), ports::reserve());
    let file = dir.path().join("p.yaml");
    let setup = Setup::cluster(["127.0.0.1:1"]);
    std::fs::write(&file, setup.yaml("127.0.0.1:2", "127.0.0.1:3")).unwrap();
    let process = Launch::new(tools::our_binary("pointsman"))
        .arg("--config")
        .arg(&file)
        .args(["--listen", &listen.address(), "--admin", &admin.address()])
        .start("pointsman");
    eventually("it listens where the flags say", || {
        let answer = http::get(&admin.address(), "/health")
            .map_err(|error| format!("{error}\n{}", process.output()))?;
        check(answer.status == 200, answer.body)
    });
    assert_eq!(Client::connect(listen.address()).line("PING"), "+PONG\r\n");
}
