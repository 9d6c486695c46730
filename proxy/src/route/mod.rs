//! Decisions, as pure functions: where a request goes ([`plan`]), which copy a read may use
//! ([`read`]), how a command over several slots is cut ([`split`]), what to do when an attempt fails
//! ([`retry`]) and what a client is told when nothing more can be done ([`failure`]). Which keys share a home
//! ([`division`]) comes before all of it.
//!
//! Nothing here does I/O, awaits or reads a clock, and the path of a single-key command allocates
//! nothing.

pub mod budget;
pub mod continuum;
pub mod division;
pub mod failure;
pub mod plan;
pub mod read;
pub mod retry;
pub mod scan;
pub mod scan_fixed;
pub mod selection;
pub mod split;
pub mod unknown;
