//! What a run does, as trusted: every value has been checked, nothing is left to be found out.

use crate::keys::Distribution;
use crate::workload::{Shape, Workload};
use pointsman_protocol::node::HostPort;
use std::time::Duration;

/// One run of the load generator.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadSpec {
    /// Where to.
    pub address: HostPort,
    /// How connections are opened.
    pub login: Login,
    /// Connections, at least 1.
    pub clients: usize,
    /// Requests that a client sends at a time, at least 1.
    pub pipeline: usize,
    /// Threads, at least 1 and at most as many as clients.
    pub threads: usize,
    /// When it ends.
    pub end: End,
    /// Closed or open loop.
    pub pace: Pace,
    /// The time at the beginning that is not measured.
    pub warmup: Duration,
    /// What is asked.
    pub shape: Shape,
    /// How many keys there are, at least 1.
    pub keys: u64,
    /// How requests are spread over them.
    pub distribution: Distribution,
    /// Decides every key and every mixture.
    pub seed: u64,
    /// Bounds.
    pub limits: Limits,
}

/// What a client says first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Login {
    /// HELLO 3 instead of nothing.
    pub resp3: bool,
    /// Sent by AUTH or HELLO.
    pub password: Option<String>,
}

/// What ends a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    /// So many requests were answered or lost.
    Requests(u64),
    /// So much time has passed since the warm-up.
    Duration(Duration),
}

/// Who decides when a request is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// A client sends its next batch as soon as the last one is answered.
    Closed,
    /// So many requests per second, whatever the server does.
    Open(f64),
}

/// Bounds on what a server can make us wait for or hold.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// For a connection with its login.
    pub connect_timeout: Duration,
    /// For connecting again after a loss; then the client gives up.
    pub reconnect_for: Duration,
    /// Without any reply while some are due; a connection that exceeds it is closed and opened again.
    pub reply_timeout: Duration,
    /// Bytes of one reply.
    pub reply_bytes_max: usize,
    /// Open loop: batches that a client may have unanswered; further ones wait for their turn.
    pub inflight_max: u64,
}

impl LoadSpec {
    /// The run that writes every key once with the same value: what `--prefill` does first.
    pub fn prefill(&self) -> LoadSpec {
        const PREFILL_PIPELINE: usize = 64;
        const PREFILL_CLIENTS: usize = 16;
        // A pipeline's worth of large values should still be a modest write.
        const BATCH_BYTES: usize = 256 * 1024;
        let clients =
            PREFILL_CLIENTS.min(self.clients).min(usize::try_from(self.keys).unwrap_or(usize::MAX)).max(1);
        let pipeline = (BATCH_BYTES / (self.shape.value.len() + 1)).clamp(1, PREFILL_PIPELINE);
        LoadSpec {
            clients,
            pipeline,
            threads: self.threads.min(clients),
            end: End::Requests(self.keys),
            pace: Pace::Closed,
            warmup: Duration::ZERO,
            shape: Shape { workload: Workload::Set, ..self.shape.clone() },
            distribution: Distribution::Sequential,
            ..self.clone()
        }
    }
}
