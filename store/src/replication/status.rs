//! What a replica knows of its link to the primary.

use pointsman_protocol::NodeId;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct LinkStatus {
    /// True while connected and past the handshake, and not copying.
    pub up: bool,
    /// True while everything is being copied.
    pub copying: bool,
    /// True as long as no copy has been completed since the last began, or ever: what is here is a part,
    /// and reads are refused.
    pub incomplete: bool,
    /// The log that is followed.
    pub replication_id: Option<NodeId>,
    /// The offset up to which it has been applied.
    pub offset: u64,
    /// The offset that the primary has told last.
    pub primary_offset: u64,
    /// The highest shard epoch seen.
    pub epoch: u64,
    /// When the primary was last heard, in milliseconds since 1970.
    pub heard_ms: u64,
    /// Since when the link is down, in milliseconds since 1970.
    pub down_since_ms: u64,
    /// Entries received by the copy that is running.
    pub copied: u64,
}
