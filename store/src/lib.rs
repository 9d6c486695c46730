//! The bundled store node: a sharded key-value server that speaks RESP.
//!
//! A node is one executor on one thread: it owns its data and its connections, and executes every
//! command inline ([`executor`](self)). Machines with more cores run more nodes; a [`ClusterMap`] says
//! which of them owns which slots. [`start`] runs a node on a listener that the caller has bound.
//!
//! This crate never looks at the proxy, nor knows that there is one.

mod cluster;
mod command;
mod executor;
mod extended;
mod keyspace;
mod limits;
mod node;
mod number;
mod process;
mod random;
mod replication;
mod server;
mod stats;

pub use cluster::map::{ClusterMap, MapError, Member, ShardMap};
pub use limits::NodeLimits;
pub use node::{NodeHandle, NodeSpec, Role, start};
pub use process::{avoid_huge_pages, raise_file_limit};

/// The version of Redis whose behaviour this node shows, and tells to clients that ask.
pub const REDIS_VERSION: &str = "7.2.4";
