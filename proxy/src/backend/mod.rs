//! The backend side: shared connections to store nodes, and the order on each of them (FIFO 2).
//!
//! Nothing here knows commands or redirects: [`connection`] keeps bytes and their order, [`dial`]
//! brings a connection up and keeps it up, [`handshake`] is what is said first on a new one,
//! `transactions` asks it whether it would execute any, and [`lanes`] says which connection of a node a
//! request must use.

pub mod connection;
pub mod dial;
pub mod handshake;
pub mod lanes;
pub mod ledger;
mod transactions;
