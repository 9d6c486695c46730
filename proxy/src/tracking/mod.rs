//! CLIENT TRACKING: what clients keep in caches of their own, and how they learn that it is out of date.
//!
//! A node tells changes to connections, and ours are shared. So a worker that has tracking clients
//! *watches* every primary over one more connection, which asks to hear of every changed key
//! (`CLIENT TRACKING ON BCAST`), and keeps account itself of who read what ([`table`]) and who wants to
//! hear of which prefixes ([`prefixes`]). [`watch`] keeps the connections, [`link`] is the ledger of
//! one and [`dial`] its task, [`mode`] what a client asked for, [`wire`] the words. What touches clients
//! is in [`crate::worker::track`].
//!
//! # Why nothing is missed
//!
//! A read is put into the table when it is sent, so before any node executes it. A change that a node
//! makes after it executed the read is told on the watching connection after that, and its invalidation
//! takes a place *behind everything its client has in flight* ([`crate::client::replies::Replies::push_behind`]).
//! So a client never gets a value after the invalidation that was meant for it, however many connections
//! and shards are involved: it may be told too much (a value that was new already), never too little.
//! Where the chain has a gap, clients are told to forget everything: when a watching connection is lost,
//! when other primaries are to be watched than before, when the watch grows. While a primary is not
//! watched, what is read from it is called invalid right behind its reply; and as BCAST clients may keep
//! what was read over connections that do not track, they are told to forget everything once more when it
//! is watched again.
//!
//! # Why not otherwise
//!
//! A second set of connections for tracking clients, with tracking switched on in the nodes' default
//! mode, would spare us the keys that nobody here has read. It would make nodes keep a table for every
//! worker, need a set for each protocol version, and lose track with every redirect, transaction on a
//! connection of its own, and script. Changes are fewer than reads where a cache is of any use. The price:
//! while a worker has a tracking client, every primary tells it the name of every key that changes (with
//! only BCAST clients: of every key with one of their prefixes).

pub mod dial;
pub mod link;
pub mod mode;
pub mod prefixes;
pub mod table;
pub mod watch;
pub mod wire;
