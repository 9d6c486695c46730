//! What the operator sees: `/metrics`, `/health`, `/ready`, `/topology`.
//!
//! [`counters`] are what the data path writes, [`metrics`] turns them into Prometheus' text,
//! [`http`] serves it.

pub mod counters;
pub mod http;
pub mod metrics;
pub mod topology;
