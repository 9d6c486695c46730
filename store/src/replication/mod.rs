//! Copies: how a primary feeds its replicas, and how a replica follows.

pub mod backlog;
pub mod effects;
pub mod feeder;
pub mod follower;
pub mod frame;
pub mod handshake;
pub mod status;
