//! One real redis-server on a port and in a directory of its own.

use crate::client::Client;
use crate::eventually::{check, eventually, within};
use crate::ports::{self, Port};
use crate::process::{Launch, Process, TempDir};
use crate::tools;
use std::time::Duration;

/// Starting fails if a stranger took the port in between; then another one is tried.
const STARTS_MAX: usize = 5;

/// A running redis-server; killed and its directory removed when dropped.
#[derive(Debug)]
pub struct RedisServer {
    port: Port,
    dir: TempDir,
    options: Vec<String>,
    process: Process,
}

impl RedisServer {
    /// A standalone server without persistence.
    #[track_caller]
    pub fn standalone() -> RedisServer {
        RedisServer::with_options(&[])
    }

    /// The same with more of redis-server's options, as on its command line.
    #[track_caller]
    pub fn with_options(options: &[&str]) -> RedisServer {
        RedisServer::start(ports::reserve, options)
    }

    /// A replica of `primary`, in step with it; `options` are more of redis-server's.
    #[track_caller]
    pub fn replica_of(primary: &RedisServer, options: &[&str]) -> RedisServer {
        RedisServer::replica_at(primary.port(), options)
    }

    /// A replica of the primary that is reached through this port: its own, or that of a [`crate::Relay`] to it.
    #[track_caller]
    pub fn replica_at(port: u16, options: &[&str]) -> RedisServer {
        let port = port.to_string();
        let mut all = vec!["--replicaof", "127.0.0.1", &port];
        all.extend(options);
        let replica = RedisServer::with_options(&all);
        replica.wait_until_linked();
        replica
    }

    /// Waits until it is linked to the primary it was told to follow, and that one sends it what is
    /// written: until the replica's first acknowledgement it only collects it.
    #[track_caller]
    pub fn wait_until_linked(&self) {
        within(AGREE, "the replica is linked", || {
            let link = self.info("replication", "master_link_status");
            check(link.as_deref() == Some("up"), link)?;
            let primary = self.info("replication", "master_port").unwrap_or_default();
            let mut client = Client::try_connect(format!("127.0.0.1:{primary}"))
                .map_err(|error| Some(error.to_string()))?;
            let told = client.command(&["INFO", "replication"]).text();
            check(told.contains(&format!("port={},state=online", self.port())), Some(told))
        });
    }

    /// Makes it a replica of another, or a primary.
    #[track_caller]
    pub fn follow(&self, primary: Option<&RedisServer>) {
        let port = primary.map(|primary| primary.port().to_string());
        let words = match &port {
            Some(port) => ["REPLICAOF", "127.0.0.1", port],
            None => ["REPLICAOF", "NO", "ONE"],
        };
        let reply = self.command(&words).text();
        assert!(reply.starts_with("OK"), "REPLICAOF: {reply}");
    }

    /// A node of a cluster to be; `options` are more of redis-server's, as on its command line.
    #[track_caller]
    pub fn cluster_node(options: &[&str]) -> RedisServer {
        let mut all = vec!["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf"];
        all.extend(options);
        RedisServer::start(ports::reserve_node, &all)
    }

    #[track_caller]
    fn start(reserve: impl Fn() -> Port, options: &[&str]) -> RedisServer {
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        for _ in 0..STARTS_MAX {
            let (port, dir) = (reserve(), TempDir::new("redis"));
            let process = launch(&port, &dir, &options);
            let mut server = RedisServer { port, dir, options: options.clone(), process };
            if server.wait_for_answer() {
                return server;
            }
        }
        panic!("redis-server did not start in {STARTS_MAX} tries");
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// Its process, or the one that [`Self::restart`] started.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// A connection to it.
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// One command on a connection of its own.
    #[track_caller]
    pub fn command<W: AsRef<[u8]>>(&self, words: &[W]) -> crate::Reply {
        self.client().command(words)
    }

    /// A field of INFO, or `None`.
    pub fn info(&self, section: &str, field: &str) -> Option<String> {
        let text = self.command(&["INFO", section]).text();
        let line =
            text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':').map(str::to_owned));
        line.map(|value| value.trim_end().to_owned())
    }

    /// How many clients wait in a blocking command.
    #[track_caller]
    pub fn blocked_clients(&self) -> usize {
        let told = self.info("clients", "blocked_clients").expect("INFO tells it");
        told.parse().expect("a number")
    }

    /// Waits until so many clients wait here in a blocking command.
    #[track_caller]
    pub fn wait_for_blocked(&self, count: usize) {
        eventually(&format!("{count} clients wait at {}", self.address()), || {
            let blocked = self.blocked_clients();
            check(blocked == count, blocked)
        });
    }

    /// Kills it, as a power cut would.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Freezes it: it accepts connections (the kernel does) and answers nothing.
    pub fn freeze(&self) {
        self.process.signal("STOP");
    }

    /// Ends [`Self::freeze`].
    pub fn thaw(&self) {
        self.process.signal("CONT");
    }

    /// Starts it again after [`Self::kill`], with the same port, directory and options.
    #[track_caller]
    pub fn restart(&mut self) {
        self.process.kill();
        self.process = launch(&self.port, &self.dir, &self.options);
        assert!(self.wait_for_answer(), "redis-server did not come back:\n{}", self.process.output());
    }

    /// What it printed.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// False if the process ended instead of answering.
    fn wait_for_answer(&mut self) -> bool {
        let (address, process) = (self.port.address(), &mut self.process);
        eventually(&format!("redis-server at {address} answers"), || {
            if process.ended().is_some() {
                return Ok(false);
            }
            let mut client = Client::try_connect(&address).map_err(|error| error.to_string())?;
            client.send(&["PING"]);
            let reply = client.try_read().map_err(|error| error.to_string())?;
            // One that wants a password is up, too.
            check(reply == "+PONG\r\n" || reply.is_error_of("NOAUTH"), reply.to_string()).map(|()| true)
        })
    }
}

fn launch(port: &Port, dir: &TempDir, options: &[String]) -> Process {
    let number = port.number().to_string();
    Launch::new(tools::redis("redis-server"))
        .args(["--port", &number, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        // Replicas are ready sooner, and report their offsets every second.
        .args(["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"])
        .args(options)
        .dir(dir.path())
        .start(&format!("redis-server {number}"))
}

/// How long a whole cluster may take to agree; see [`crate::cluster`].
pub(crate) const AGREE: Duration = Duration::from_secs(60);
