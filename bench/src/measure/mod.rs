//! What side-by-side measurements are made of: processes on their cores, the load generator as one
//! of them, rounds, and what is computed from them. Who is measured is decided elsewhere
//! ([`crate::compare`], [`crate::store`]).

pub mod cell;
pub mod control;
pub mod goals;
pub mod machine;
pub mod memory;
pub mod output;
pub mod ports;
pub mod redis;
pub mod results;
pub mod rounds;
pub mod stats;
pub mod table;
