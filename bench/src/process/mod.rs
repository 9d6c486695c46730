//! Processes: where they run, what they cost, and that they end.

pub mod child;
pub mod cores;
pub mod find;
pub mod limits;
pub mod sockets;
pub mod stat;
