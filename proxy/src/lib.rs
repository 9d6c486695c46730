//! Pointsman: one endpoint in front of a sharded store.
//!
//! Clients that know nothing of clusters talk to a listener; a worker thread reads their requests
//! ([`client`]), decides where each goes ([`route`]), sends it on a connection shared by all its
//! clients ([`backend`]), and writes the replies in order. Control tasks keep the map of the cluster
//! ([`topology`]) and the lag of replicas ([`health`]) up to date; [`admin`] shows it all. [`run`]
//! puts the parts together. ARCHITECTURE.md follows one GET through them.

#![warn(missing_docs)]

pub mod accept;
pub mod admin;
pub mod backend;
#[cfg(feature = "bundled")]
pub mod bundled;
pub mod cli;
pub mod client;
pub mod health;
pub mod limit;
pub mod logging;
pub mod process;
pub mod pubsub;
pub mod route;
pub mod run;
pub mod shutdown;
pub mod topology;
pub mod tracking;
pub mod worker;
