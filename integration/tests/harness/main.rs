//! Tests of the harness itself: real servers, the fake backend and the oracle, without a proxy.
//! When the suite fails and these pass, look at the proxy first.

mod fake_nodes;
mod oracle;
mod servers;
mod setups;
