//! The real `pointsman` binary, started with a configuration of its own on ports of its own.
//!
//! When it is dropped it is asked to stop (SIGTERM), must do so in time and with success, and an
//! unexpected WARN or ERROR in its log fails the test.

use crate::client::Client;
use crate::eventually::{check, eventually};
use crate::http::{self, Answer, Metrics};
use crate::logs;
use crate::ports::{self, Port};
use crate::process::{Launch, Process, TempDir};
use crate::setup::{Behind, Setup};
use crate::tools;
use std::process::ExitStatus;
use std::time::Duration;

/// Starting fails if a stranger took a port in between; then others are tried.
const STARTS_MAX: usize = 5;
/// A drain that takes longer than this, beyond the configured time, hangs.
const STOP_SLACK: Duration = Duration::from_secs(10);
/// How much of the log a failed test shows.
const SHOWN_LINES: usize = 60;

/// A running Pointsman.
#[derive(Debug)]
pub struct Pointsman {
    setup: Setup,
    listen: Port,
    admin: Port,
    /// The first is the one that `--node-port` names.
    node_ports: Vec<Port>,
    dir: TempDir,
    process: Process,
}

impl Pointsman {
    /// Starts it and waits until its admin port answers. See [`Setup::start`].
    #[track_caller]
    pub(crate) fn start(setup: Setup) -> Pointsman {
        for _ in 0..STARTS_MAX {
            let nodes = match setup.behind {
                Behind::Cluster(_) | Behind::Other(_) => 0,
                Behind::Embedded { shards, replicas } => shards * (1 + replicas),
            };
            let (listen, admin) = (ports::reserve(), ports::reserve());
            let node_ports = if nodes == 0 { Vec::new() } else { ports::reserve_run(nodes) };
            let dir = TempDir::new("proxy");
            let mut process = launch(&setup, &listen, &admin, &node_ports, &dir);
            if answers(&mut process, &admin.address()) {
                return Pointsman { setup, listen, admin, node_ports, dir, process };
            }
            // Another try only for a port that was taken.
            let output = process.output();
            assert!(output.contains("in use"), "pointsman ended at its start:\n{output}");
        }
        panic!("pointsman found its ports taken in {STARTS_MAX} tries");
    }

    /// `127.0.0.1:port` for clients.
    pub fn address(&self) -> String {
        self.listen.address()
    }

    /// The port for clients.
    pub fn port(&self) -> u16 {
        self.listen.number()
    }

    /// `127.0.0.1:port` of the admin endpoints.
    pub fn admin_address(&self) -> String {
        self.admin.address()
    }

    /// `127.0.0.1:port` of a bundled node: first the primaries of all shards, then the replicas.
    pub fn node_address(&self, index: usize) -> String {
        self.node_ports[index].address()
    }

    /// The ports of the bundled nodes.
    pub fn node_ports(&self) -> Vec<u16> {
        self.node_ports.iter().map(Port::number).collect()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// A new client connection.
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// An admin endpoint's answer.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        http::get(&self.admin_address(), path).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The metrics now.
    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200, "{}", answer.body);
        Metrics::parse(&answer.body)
    }

    /// Waits until the sum of all samples of `metric` is as `holds` wants it, and gives it.
    #[track_caller]
    pub fn wait_for(&self, what: &str, metric: &str, holds: impl Fn(f64) -> bool) -> f64 {
        eventually(&format!("{what} ({metric})"), || {
            let value = self.metrics().sum(metric, &[]);
            check(holds(value), value).map(|()| value)
        })
    }

    /// What /topology says of the one backend.
    #[track_caller]
    pub fn topology(&self) -> serde_json::Value {
        let answer = self.get("/topology");
        assert_eq!(answer.status, 200, "{}", answer.body);
        let all: serde_json::Value = serde_json::from_str(&answer.body).expect("/topology is JSON");
        all["backends"][0].clone()
    }

    /// Waits until /ready says yes.
    #[track_caller]
    pub fn wait_until_ready(&self) {
        eventually("pointsman is ready", || {
            let answer = http::get(&self.admin_address(), "/ready")?;
            check(answer.status == 200, format!("{} {}\nlog:\n{}", answer.status, answer.body, self.tail()))
        });
    }

    /// The log so far.
    pub fn log(&self) -> Vec<String> {
        self.process.lines()
    }

    /// Expects more texts in warnings and errors, from a point of the test on.
    pub fn allow(&mut self, texts: &[&str]) {
        self.setup.allowed.extend(texts.iter().map(|text| (*text).to_owned()));
    }

    /// Sends a signal by its name.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        self.process.signal(name);
    }

    /// Its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.ended()
    }

    /// Waits for its end after a signal.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Duration::from_millis(self.setup.drain_timeout_ms) + STOP_SLACK;
        match self.process.wait(deadline) {
            Some(status) => status,
            None => panic!("pointsman does not stop; its log:\n{}", self.tail()),
        }
    }

    /// Asks it to stop and checks that it does, well and without unexpected lines in its log.
    #[track_caller]
    pub fn stop(mut self) {
        self.finish();
    }

    #[track_caller]
    fn finish(&mut self) {
        if self.process.ended().is_none() {
            self.process.signal("TERM");
        }
        let status = self.wait();
        assert!(status.success(), "pointsman ended with {status}; its log:\n{}", self.tail());
        let unexpected = logs::unexpected(&self.log(), &self.setup.allowed);
        assert!(
            unexpected.is_empty(),
            "unexpected warnings and errors in the log:\n{}",
            unexpected.join("\n")
        );
    }

    fn tail(&self) -> String {
        let lines = self.log();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }
}

impl Drop for Pointsman {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The test has failed already: show what we know, and let the process be killed.
            println!("pointsman's log, its last lines:\n{}", self.tail());
            println!("its files were in {}", self.dir.path().display());
            return;
        }
        self.finish();
    }
}

fn launch(setup: &Setup, listen: &Port, admin: &Port, node_ports: &[Port], dir: &TempDir) -> Process {
    let launch = Launch::new(tools::our_binary("pointsman")).dir(dir.path());
    let launch = match setup.behind {
        Behind::Cluster(_) | Behind::Other(_) => {
            let file = dir.path().join("pointsman.yaml");
            std::fs::write(&file, setup.yaml(&listen.address(), &admin.address()))
                .expect("the file can be written");
            launch.arg("--config").arg(file)
        }
        Behind::Embedded { shards, replicas } => launch
            .args(["--listen", &listen.address(), "--admin", &admin.address()])
            .args(["--shards", &shards.to_string(), "--replicas", &replicas.to_string()])
            .args([
                "--workers",
                &setup.workers.to_string(),
                "--node-port",
                &node_ports[0].number().to_string(),
            ]),
    };
    launch.start("pointsman")
}

/// Waits until the admin port answers; false if the process ended instead.
#[track_caller]
fn answers(process: &mut Process, admin: &str) -> bool {
    eventually(&format!("pointsman's admin port {admin} answers"), || match process.ended() {
        Some(_) => Ok(false),
        None => http::get(admin, "/health")
            .and_then(|answer| check(answer.status == 200, answer.body))
            .map(|()| true)
            .map_err(|error| format!("{error}\nlog:\n{}", process.output())),
    })
}
