//! The load generator: many clients against one RESP endpoint, counted and timed.
//!
//! Threads share nothing on the hot path: each has a current-thread runtime and its own clients,
//! its own histogram, and hands what it has recorded to the coordinator once a second. Requests are
//! bytes prepared beforehand, replies are only scanned for their end and their first byte.
//!
//! It knows one address. It does not follow redirects: a MOVED is counted as the error it is.

mod client;
mod closed;
mod coordinator;
mod open;
mod recorder;
pub mod spec;
mod thread;
mod timer;

pub use coordinator::run;
