//! Every cap of a node in one place, with its default. A queue, buffer, retry or loop that has its
//! bound elsewhere is a mistake.

use pointsman_protocol::resp::RequestLimits;

/// The caps of one node. `NodeLimits::default()` suits a node in front of real data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLimits {
    /// Most clients connected at a time; a further one is told so and closed. Replicas count.
    pub clients_max: usize,
    /// Bounds on one request.
    pub request: RequestLimits,
    /// Commands one client may run before the others get their turn.
    pub commands_per_turn: usize,
    /// Replies that wait for a client, in bytes, above which its next commands wait too.
    pub output_bytes_pause: usize,
    /// Replies that wait for a client, in bytes, above which it is disconnected: what a single
    /// reply may add on top of `output_bytes_pause`.
    pub output_bytes_max: usize,
    /// Bytes of the effect stream kept for replicas that come back (Redis: `repl-backlog-size`).
    pub backlog_bytes: usize,
    /// Bytes that may wait for one replica before its link is dropped and it starts over.
    pub replica_output_bytes_max: usize,
    /// Most replicas fed at a time.
    pub replicas_max: usize,
    /// Entries a full copy reads per turn, so that clients get theirs in between.
    pub copy_entries_per_turn: usize,
    /// Silence on a replication link, in milliseconds, after which it is given up.
    pub replication_timeout_ms: u64,
    /// Time between two heartbeats, and between two acknowledgements, in milliseconds.
    pub replication_heartbeat_ms: u64,
    /// The first wait before a lost replication link is dialled again, in milliseconds; it doubles
    /// up to `reconnect_max_ms`, and each wait is drawn from its upper half.
    pub reconnect_min_ms: u64,
    /// The longest such wait, in milliseconds.
    pub reconnect_max_ms: u64,
    /// Time between two housekeeping ticks (active expiry, statistics), in milliseconds.
    pub tick_ms: u64,
    /// Time one tick may spend on removing expired keys, in microseconds.
    pub expiry_budget_us: u64,
    /// How long stopping waits for replies that clients have not taken yet, in milliseconds.
    pub drain_ms: u64,
    /// Largest string value, in bytes (Redis: `proto-max-bulk-len`).
    pub value_bytes_max: usize,
}

impl Default for NodeLimits {
    fn default() -> Self {
        NodeLimits {
            clients_max: 10_000,
            request: RequestLimits::AUTHENTICATED,
            commands_per_turn: 1024,
            output_bytes_pause: 1024 * 1024,
            output_bytes_max: 1024 * 1024 * 1024,
            backlog_bytes: 1024 * 1024,
            replica_output_bytes_max: 64 * 1024 * 1024,
            replicas_max: 16,
            copy_entries_per_turn: 256,
            replication_timeout_ms: 10_000,
            replication_heartbeat_ms: 1_000,
            reconnect_min_ms: 50,
            reconnect_max_ms: 2_000,
            tick_ms: 100,
            expiry_budget_us: 1_000,
            drain_ms: 1_000,
            value_bytes_max: 512 * 1024 * 1024,
        }
    }
}
