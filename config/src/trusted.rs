//! What the program may trust: plain values, each inside its allowed range, each reference resolved.
//! Nothing here parses or checks; a value of these types has passed `check` already. The
//! fields mirror the keys of the file, with durations and sizes already in their own units.

use std::net::SocketAddr;
use std::time::Duration;

use pointsman_protocol::HostPort;

use crate::limits::Limit;
use crate::secret::Secret;

/// Everything the proxy is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Worker threads, at least one. Each owns its clients and its backend connections.
    pub workers: usize,
    /// How the log is written.
    pub log: Log,
    /// Where metrics, health and topology are served; `None` when switched off.
    pub admin: Option<Admin>,
    /// How long open requests may finish after a stop was asked for.
    pub drain_timeout: Duration,
    /// Where clients connect: at least one, no two on one address, no two of one name.
    pub listeners: Vec<Listener>,
    /// Where requests go: at least one, in the order of the file, no two of one name.
    pub backends: Vec<Backend>,
}

/// How the log is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// For people or for machines.
    pub format: LogFormat,
    /// A tracing filter directive: `info`, or `info,pointsman::backend=debug`.
    pub level: String,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One readable line.
    Human,
    /// One JSON object a line.
    Json,
}

/// The endpoint for operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Address and port; port 0 asks the system for a free one.
    pub listen: SocketAddr,
}

/// One address clients connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name in logs and metrics.
    pub name: String,
    /// Address and port; port 0 asks the system for a free one.
    pub listen: SocketAddr,
    /// Which of [`Config::backends`] it serves; always a valid index.
    pub backend: usize,
    /// What clients must give to AUTH; `None` lets everyone in.
    pub password: Option<Secret>,
    /// Where reads may go.
    pub reads: Reads,
    /// Whether its clients may see what all clients of the backend send.
    pub monitor: bool,
    /// Clients may ask POINTSMAN, which tells where nodes are.
    pub pointsman: bool,
    /// What becomes of set algebra over several slots.
    pub cross_slot: CrossSlot,
    /// What becomes of transactions over several slots.
    pub multi_across_slots: MultiAcrossSlots,
    /// Whether commands may wait for keys of several slots (BLPOP and its like); otherwise CROSSSLOT.
    pub blocking_across_slots: bool,
    /// The longest rest between two looks at such keys. Unused without `blocking_across_slots`.
    pub blocking_poll: Duration,
    /// Whether the proxy presents itself as a cluster of one node.
    pub cluster_facade: bool,
    /// That node's address, as clients are told it; `None` for the one that each of them connected to. Unused
    /// without `cluster_facade`.
    pub advertise: Option<HostPort>,
    /// Other proxies with the same store, as clients are told them; this one may be among them. Unused without
    /// `cluster_facade`.
    pub siblings: Vec<HostPort>,
    /// What one client may make us hold.
    pub limits: ClientLimits,
    /// What clients may ask for in a while; mostly none.
    pub rate_limits: Vec<Limit>,
    /// Addresses whose use of a limit is remembered, at most, of each limit.
    pub limits_keys_max: usize,
}

/// Set algebra over several slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrossSlot {
    /// The proxy computes it; otherwise it is refused.
    pub compute: bool,
    /// Most bytes that one request may bring in.
    pub bytes_max: usize,
    /// Most bytes that all of them hold in one worker.
    pub worker_bytes_max: usize,
}

/// A transaction over several slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MultiAcrossSlots {
    /// It is refused.
    Refuse,
    /// It becomes one transaction a slot.
    BestEffort,
}

/// Where reads may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reads {
    /// The rule.
    pub policy: ReadPolicy,
    /// A replica further behind its primary than this many bytes of the replication stream gets no
    /// reads. Unused with [`ReadPolicy::Primary`].
    pub max_lag_bytes: u64,
    /// Likewise in time; `None` for any that is known.
    pub max_lag: Option<Duration>,
}

/// Which copy of a shard answers reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadPolicy {
    /// The primary, always: every read sees every acknowledged write.
    Primary,
    /// A replica while one is known to be close enough, the primary otherwise.
    PreferReplica,
}

/// What one client (and all of them together) may make us hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// Most clients of this listener at a time; further ones get an error and are closed.
    pub clients_max: usize,
    /// Pipelined requests of one client in flight; beyond it we stop reading from it.
    pub inflight_max: usize,
    /// Most arguments of one request, the command name included.
    pub args_max: u32,
    /// Most bytes of one argument; never above `request_bytes_max`.
    pub bulk_bytes_max: u32,
    /// Most bytes of one request.
    pub request_bytes_max: u32,
    /// Most bytes of one inline request, line end included; never above `request_bytes_max`.
    pub inline_bytes_max: u32,
    /// Unread reply bytes of one client beyond which it is closed.
    pub output_bytes_max: usize,
    /// Unread reply bytes of one client beyond which its requests wait; never above `output_bytes_max`.
    pub output_pause_bytes: usize,
    /// A client silent for this long is closed, unless it is subscribed; `None` means never.
    pub idle_timeout: Option<Duration>,
    /// Channels, patterns and shard channels one client may be subscribed to.
    pub subscriptions_max: usize,
}

/// One store behind the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Its name in listeners, logs and metrics.
    pub name: String,
    /// What it is.
    pub kind: BackendKind,
    /// The ACL user for AUTH; only ever set together with `password`.
    pub username: Option<String>,
    /// The password for AUTH; `None` sends no AUTH.
    pub password: Option<Secret>,
    /// Shared connections to each node, per worker.
    pub connections_per_node: u16,
    /// From the start of a connect to a usable connection, handshake included.
    pub connect_timeout: Duration,
    /// One request, all its attempts together.
    pub request_timeout: Duration,
    /// A connection that owes replies and makes no progress for this long is closed.
    pub stall_timeout: Duration,
    /// How a lost connection is made again.
    pub reconnect: Reconnect,
    /// How a request that was not executed is tried again.
    pub retry: Retry,
    /// When requests to a node fail at once; `None` when switched off.
    pub breaker: Option<BreakerLimits>,
    /// How long, and how much of it, requests wait for a primary.
    pub failover_hold: FailoverHold,
    /// Request bytes waiting on one connection.
    pub inflight_bytes_max: usize,
    /// Requests waiting on one connection.
    pub inflight_max: usize,
    /// Most bytes of one reply.
    pub reply_bytes_max: usize,
    /// Connections that belong to one client for a while.
    pub pool: Pool,
    /// Scripts remembered, at most.
    pub script_count_max: usize,
    /// Bytes of all scripts remembered, at most.
    pub script_bytes_max: usize,
    /// Different channels, patterns and shard channels of all clients of one worker.
    pub subscriptions_max: usize,
    /// What to do with commands that neither the table nor the nodes' own COMMAND tells.
    pub unknown_commands: UnknownCommands,
    /// Keys that tracking clients of one worker may keep, each counted once a client.
    pub tracking_keys_max: usize,
    /// Bytes of these keys.
    pub tracking_bytes_max: usize,
    /// Requests of each worker that MONITOR shows in one second.
    pub monitor_per_second: u32,
    /// Databases that clients may select, where the nodes have several.
    pub databases_max: u16,
    /// How the slot map is kept fresh.
    pub topology: TopologyRefresh,
    /// How the lag of replicas is known.
    pub lag: Lag,
}

/// Connections that belong to one client for a while; numbers are those of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// All of them, free ones included.
    pub max_active: usize,
    /// How many free ones are kept for the next client.
    pub max_idle: usize,
    /// From the start of a connect to a usable connection, handshake included.
    pub connect_timeout: Duration,
    /// How long a client waits for one.
    pub wait: Duration,
}

/// What becomes of a command of which nobody has told where its keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownCommands {
    /// It is refused, as a server refuses what it does not have.
    Refuse,
    /// Its first argument is taken for its only key; it goes to the primary, as a write.
    FirstKey,
}

/// What a backend is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackendKind {
    /// Nodes started inside this process.
    Bundled(Bundled),
    /// An existing Redis or Valkey Cluster.
    Cluster(Seeded),
    /// One primary and its replicas, without cluster mode.
    Primary(Seeded),
    /// Primaries with replicas that sentinels watch.
    Sentinel(Sentinel),
    /// Several primaries with replicas, over which keys are divided once and for all.
    Fixed(Fixed),
}

impl BackendKind {
    /// True if the nodes run in cluster mode: they know slots, and say where a key is.
    pub fn is_cluster(&self) -> bool {
        match self {
            BackendKind::Bundled(_) | BackendKind::Cluster(_) => true,
            BackendKind::Primary(_) | BackendKind::Sentinel(_) | BackendKind::Fixed(_) => false,
        }
    }

    /// Announced addresses, and how to reach those nodes from here.
    pub fn address_map(&self) -> &[(HostPort, HostPort)] {
        match self {
            BackendKind::Bundled(_) => &[],
            BackendKind::Cluster(seeded) | BackendKind::Primary(seeded) => &seeded.address_map,
            BackendKind::Sentinel(sentinel) => &sentinel.address_map,
            BackendKind::Fixed(fixed) => &fixed.address_map,
        }
    }

    /// The addresses that the operator wrote.
    pub fn written_addresses(&self) -> Vec<&HostPort> {
        match self {
            BackendKind::Bundled(_) => Vec::new(),
            BackendKind::Cluster(seeded) | BackendKind::Primary(seeded) => seeded.seeds.iter().collect(),
            BackendKind::Sentinel(sentinel) => sentinel.sentinels.iter().collect(),
            BackendKind::Fixed(fixed) => fixed.shards.iter().flat_map(|shard| &shard.seeds).collect(),
        }
    }
}

/// Nodes started inside this process, listening on loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bundled {
    /// How many parts the keys are spread over.
    pub shards: u16,
    /// Copies of each shard beside its primary.
    pub replicas: u16,
    /// Port of the first node; the others follow. The last one is a valid port too.
    pub node_port: u16,
}

impl Bundled {
    /// How many nodes there are: each shard has a primary and its replicas.
    pub fn nodes(&self) -> u16 {
        self.shards * (1 + self.replicas)
    }

    /// Whether all nodes have a port; the sentence says what is wrong.
    pub(crate) fn check(&self) -> Result<(), String> {
        let last = u32::from(self.node_port) + u32::from(self.nodes()) - 1;
        if last <= u32::from(u16::MAX) {
            return Ok(());
        }
        Err(format!(
            "{} nodes from this port on would need ports up to {last}, and 65535 is the last",
            self.nodes()
        ))
    }

    /// The ports of all nodes, first to last.
    pub fn ports(&self) -> std::ops::RangeInclusive<u16> {
        self.node_port..=self.node_port + (self.nodes() - 1)
    }
}

/// Existing nodes that are found through some of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seeded {
    /// Nodes to ask for the topology first; at least one.
    pub seeds: Vec<HostPort>,
    /// Announced address, and how to reach that node from here; no announced address twice.
    pub address_map: Vec<(HostPort, HostPort)>,
}

/// Groups that sentinels watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentinel {
    /// The sentinels; at least one.
    pub sentinels: Vec<HostPort>,
    /// What they call the groups, in the order of their keys; at least one, none twice.
    pub groups: Vec<String>,
    /// The ACL user of the sentinels; only ever set together with `password`.
    pub username: Option<String>,
    /// The password of the sentinels.
    pub password: Option<Secret>,
    /// Announced address, and how to reach that node from here; no announced address twice.
    pub address_map: Vec<(HostPort, HostPort)>,
}

/// One of the shards over which keys are divided once and for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedShard {
    /// Some of its nodes; at least one.
    pub seeds: Vec<HostPort>,
    /// What decides which keys it has; no two of a backend are the same where it counts.
    pub name: String,
    /// How much of the keys it has, against the other shards; at least 1.
    pub weight: u16,
}

/// How keys are divided over fixed shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// Even ranges of the cluster's hash slots.
    Slots,
    /// A ring of points, as libmemcached and twemproxy have it.
    Ketama,
    /// The remainder of a division by the number of shards.
    Modula,
}

/// What makes a number of a key, under twemproxy's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyHash {
    /// `fnv1a_64`
    Fnv1a64,
    /// `fnv1_64`
    Fnv164,
    /// `fnv1a_32`
    Fnv1a32,
    /// `fnv1_32`
    Fnv132,
    /// `md5`
    Md5,
    /// `crc16`
    Crc16,
    /// `crc32`: libmemcached's, 15 bits of the true one.
    Crc32,
    /// `crc32a`
    Crc32a,
    /// `one_at_a_time`
    OneAtATime,
}

/// Shards over which keys are divided once and for all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// In the order of the file; at least one.
    pub shards: Vec<FixedShard>,
    /// Which shard has a key.
    pub distribution: Distribution,
    /// What makes a number of a key; unused with [`Distribution::Slots`].
    pub hash: KeyHash,
    /// The bytes that enclose the part of a key that counts; unused with [`Distribution::Slots`], where
    /// they are `{` and `}`.
    pub hash_tag: Option<(u8, u8)>,
    /// Announced address, and how to reach that node from here; no announced address twice.
    pub address_map: Vec<(HostPort, HostPort)>,
}

/// How a lost connection is made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reconnect {
    /// Wait before the second attempt; doubled after each failure.
    pub backoff: Duration,
    /// Longest wait; never below `backoff`.
    pub backoff_max: Duration,
    /// Most connection attempts of the process to this backend in a second, all workers together.
    pub per_second: u32,
}

/// How a request that was not executed is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// MOVED and ASK replies followed at once for one request; each further one costs a backoff and an attempt.
    pub redirects_max: u32,
    /// Sendings of one request, the first included; redirects followed at once are not counted.
    pub attempts_max: u32,
    /// Wait before the second attempt where waiting helps (TRYAGAIN, LOADING ...); doubled each time.
    pub backoff: Duration,
    /// Longest wait; never below `backoff`.
    pub backoff_max: Duration,
    /// Second attempts for a hundred requests, redirects not counted.
    pub budget_percent: u32,
    /// Second attempts of each worker in a second in any case.
    pub budget_min: u32,
}

/// When a node counts as being in trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerLimits {
    /// Failures without an answer in between.
    pub failures: u32,
    /// Or so many of a hundred requests within `window`,
    pub failure_percent: u32,
    /// which is this long,
    pub window: Duration,
    /// if there were at least so many.
    pub requests_min: u32,
    /// How long nothing is sent before the node is asked again; doubled each time.
    pub open: Duration,
    /// The longest such time; never below `open`.
    pub open_max: Duration,
}

/// Requests that wait while their shard has no primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailoverHold {
    /// How long, from the client's question on; zero for not at all.
    pub time: Duration,
    /// How many requests of each worker.
    pub requests_max: usize,
    /// How many bytes of requests of each worker.
    pub bytes_max: usize,
}

/// How the slot map is kept fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopologyRefresh {
    /// Asked again this often without any reason.
    pub interval: Duration,
    /// Never more often than this, whatever the reasons; never above `interval`.
    pub min_interval: Duration,
}

/// How the lag of replicas is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lag {
    /// How often offsets are sampled.
    pub interval: Duration,
    /// A sample older than this counts as unknown; never below `interval`.
    pub stale_after: Duration,
}
