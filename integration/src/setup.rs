//! How a test wants its Pointsman: what it fronts and the few settings tests change. Written out as
//! the YAML file (or the flags) that an operator would write.

use crate::pointsman::Pointsman;
use std::fmt::Write;

/// What Pointsman stands in front of.
#[derive(Clone, Debug)]
pub enum Behind {
    /// A cluster, found through these addresses.
    Cluster(Vec<String>),
    /// Something else, as the YAML lines that stand below the backend's name in place of `cluster`.
    Other(Vec<String>),
    /// Its own bundled nodes: this many shards with this many replicas each.
    Embedded {
        /// Shards.
        shards: u16,
        /// Replicas of each.
        replicas: u16,
    },
}

/// The settings of one Pointsman; defaults suit tests: one worker, short times.
#[derive(Clone, Debug)]
pub struct Setup {
    /// What it fronts.
    pub behind: Behind,
    /// How many workers.
    pub workers: usize,
    /// `primary` or `prefer_replica`.
    pub reads: &'static str,
    /// How far behind a replica may be and still serve reads.
    pub max_lag_bytes: u64,
    /// Connections to each node, per worker.
    pub connections_per_node: usize,
    /// Until a connection must stand.
    pub connect_timeout_ms: u64,
    /// Until a request must be answered, whatever has to be healed in between.
    pub request_timeout_ms: u64,
    /// How long a connection may make no progress before it is closed.
    pub stall_timeout_ms: u64,
    /// How many redirects one request follows.
    pub redirects_max: u32,
    /// How many attempts one request gets.
    pub attempts_max: u32,
    /// The longest wait between two of them.
    pub backoff_max_ms: u64,
    /// What second attempts may be made: a share in percent, and so many a second; `None` for the defaults.
    pub budget: Option<(u32, u32)>,
    /// Between two refreshes without a reason.
    pub refresh_interval_ms: u64,
    /// Between two refreshes whatever the reason.
    pub refresh_min_interval_ms: u64,
    /// Between two samples of a replica's lag.
    pub lag_interval_ms: u64,
    /// After which a sample counts no more.
    pub lag_stale_after_ms: u64,
    /// How long a drain may take.
    pub drain_timeout_ms: u64,
    /// What clients must give with AUTH.
    pub password: Option<String>,
    /// More keys under the listener, as YAML lines without indentation.
    pub listener_extra: Vec<String>,
    /// More keys under the backend, likewise.
    pub backend_extra: Vec<String>,
    /// More keys under `cluster`, likewise.
    pub cluster_extra: Vec<String>,
    /// Texts that make a warning or an error in the log an expected one.
    pub allowed: Vec<String>,
}

impl Setup {
    /// In front of the cluster that these addresses belong to.
    pub fn cluster<A: Into<String>>(seeds: impl IntoIterator<Item = A>) -> Setup {
        Setup::new(Behind::Cluster(seeds.into_iter().map(Into::into).collect()))
    }

    /// In front of its own bundled nodes, as with the flags of the same names.
    pub fn embedded(shards: u16, replicas: u16) -> Setup {
        Setup::new(Behind::Embedded { shards, replicas })
    }

    /// In front of a primary that has these nodes in its group.
    pub fn primary<A: Into<String>>(seeds: impl IntoIterator<Item = A>) -> Setup {
        let seeds: Vec<String> = seeds.into_iter().map(Into::into).collect();
        Setup::other(&["primary:", &format!("  seeds: {seeds:?}")])
    }

    /// In front of what these lines of YAML say, as they stand below the name of a backend.
    pub fn other(lines: &[&str]) -> Setup {
        Setup::new(Behind::Other(lines.iter().map(|line| (*line).to_owned()).collect()))
    }

    fn new(behind: Behind) -> Setup {
        Setup {
            behind,
            workers: 1,
            reads: "primary",
            max_lag_bytes: 1 << 20,
            connections_per_node: 1,
            connect_timeout_ms: 1_000,
            request_timeout_ms: 5_000,
            stall_timeout_ms: 10_000,
            redirects_max: 8,
            attempts_max: 100,
            backoff_max_ms: 50,
            budget: None,
            refresh_interval_ms: 60_000,
            refresh_min_interval_ms: 20,
            lag_interval_ms: 50,
            lag_stale_after_ms: 1_000,
            drain_timeout_ms: 5_000,
            password: None,
            listener_extra: Vec::new(),
            backend_extra: Vec::new(),
            cluster_extra: Vec::new(),
            allowed: Vec::new(),
        }
    }

    /// Changes some settings: `setup.with(|setup| setup.workers = 2)`.
    pub fn with(mut self, change: impl FnOnce(&mut Setup)) -> Setup {
        change(&mut self);
        self
    }

    /// Expects warnings and errors that contain one of these texts; any other fails the test.
    pub fn allow(mut self, texts: &[&str]) -> Setup {
        self.allowed.extend(texts.iter().map(|text| (*text).to_owned()));
        self
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub fn start(self) -> Pointsman {
        let pointsman = self.start_unready();
        pointsman.wait_until_ready();
        pointsman
    }

    /// Starts it and waits only until its admin port answers.
    #[track_caller]
    pub fn start_unready(self) -> Pointsman {
        Pointsman::start(self)
    }

    /// The configuration file, for anything but bundled nodes.
    pub fn yaml(&self, listen: &str, admin: &str) -> String {
        let mut yaml = String::new();
        let mut line = |indent: usize, text: String| {
            writeln!(yaml, "{:indent$}{text}", "").expect("a string takes everything");
        };
        line(0, format!("workers: {}", self.workers));
        line(0, "log:".into());
        line(2, "format: json".into());
        line(2, "level: info".into());
        line(0, "admin:".into());
        line(2, format!("listen: \"{admin}\""));
        line(0, format!("drain_timeout_ms: {}", self.drain_timeout_ms));
        line(0, "listeners:".into());
        line(2, format!("- listen: \"{listen}\""));
        line(4, format!("reads: {}", self.reads));
        line(4, format!("max_lag_bytes: {}", self.max_lag_bytes));
        if let Some(password) = &self.password {
            line(4, format!("password: \"{password}\""));
        }
        self.listener_extra.iter().for_each(|text| line(4, text.clone()));
        line(0, "backends:".into());
        line(2, "main:".into());
        match &self.behind {
            Behind::Cluster(seeds) => {
                line(4, "cluster:".into());
                line(6, "seeds:".into());
                seeds.iter().for_each(|seed| line(8, format!("- \"{seed}\"")));
                self.cluster_extra.iter().for_each(|text| line(6, text.clone()));
            }
            Behind::Other(lines) => lines.iter().for_each(|text| line(4, text.clone())),
            Behind::Embedded { .. } => panic!("bundled nodes are asked for by flags, not in the file"),
        }
        self.backend_extra.iter().for_each(|text| line(4, text.clone()));
        line(4, format!("connections_per_node: {}", self.connections_per_node));
        line(4, format!("connect_timeout_ms: {}", self.connect_timeout_ms));
        line(4, format!("request_timeout_ms: {}", self.request_timeout_ms));
        line(4, format!("stall_timeout_ms: {}", self.stall_timeout_ms));
        line(4, "retry:".into());
        line(6, format!("redirects_max: {}", self.redirects_max));
        line(6, format!("attempts_max: {}", self.attempts_max));
        line(6, "backoff_ms: 5".into());
        line(6, format!("backoff_max_ms: {}", self.backoff_max_ms));
        if let Some((percent, min)) = self.budget {
            line(6, format!("budget_percent: {percent}"));
            line(6, format!("budget_min: {min}"));
        }
        line(4, "topology:".into());
        line(6, format!("refresh_interval_ms: {}", self.refresh_interval_ms));
        line(6, format!("refresh_min_interval_ms: {}", self.refresh_min_interval_ms));
        line(4, "lag:".into());
        line(6, format!("interval_ms: {}", self.lag_interval_ms));
        line(6, format!("stale_after_ms: {}", self.lag_stale_after_ms));
        yaml
    }
}
