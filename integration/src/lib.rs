//! What the end-to-end tests stand on: real redis-servers and clusters, the real `pointsman`
//! binary, a scriptable fake backend, a plain RESP client, and ways to wait and to look at logs.
//!
//! Everything here is for tests: it panics where a test should fail, and it blocks. Nothing here
//! sleeps for a guess; it waits for conditions ([`eventually`]). Ports come from [`ports`], children
//! die with their test ([`process`]).

#![warn(missing_docs)]

pub mod client;
pub mod cluster;
pub mod counting;
pub mod eventually;
pub mod fake;
pub mod http;
pub mod logs;
pub mod model;
pub mod mover;
pub mod pointsman;
pub mod ports;
pub mod process;
pub mod random;
pub mod recorder;
pub mod redis_server;
pub mod relay;
pub mod reply;
pub mod sentinel;
pub mod sessions;
pub mod setup;
pub mod tools;
pub mod workload;

pub use client::Client;
pub use cluster::Cluster;
pub use eventually::eventually;
pub use fake::Fake;
pub use pointsman::Pointsman;
pub use random::Random;
pub use redis_server::RedisServer;
pub use relay::Relay;
pub use reply::Reply;
pub use sentinel::Sentinel;
pub use setup::Setup;
