//! The bytes and words of Pointsman: RESP framing, the command table, slots, the topology of a
//! cluster, and what an error reply or a redirect says.
//!
//! Everything here is a pure function or a plain value. This crate does no I/O, reads no clock and
//! knows no runtime, so that each rule can be tested on its own and shared by proxy, store, bench
//! and integration tests alike.

#![warn(missing_docs)]

pub mod command;
pub mod crc16;
pub mod error_code;
pub mod glob;
pub mod node;
pub mod redirect;
pub mod resp;
pub mod resp3;
pub mod slot;
pub mod topology;

pub use node::{HostPort, NodeId};
pub use slot::Slot;
