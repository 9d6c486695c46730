//! Subscriptions: many clients' SUBSCRIBE, PSUBSCRIBE and SSUBSCRIBE on few connections to nodes.
//!
//! A worker has one subscription at the backend for each channel or pattern, however many of its
//! clients want it ([`registry`] counts them). [`hub`] decides at which nodes a subscription must
//! stand and keeps it there through lost connections and moved slots; [`link`] is the ledger of one
//! subscriber connection, [`dial`] its task. [`wire`] has the words, [`reach`] says where messages of
//! a channel can be heard, [`audience`] counts clients over all workers. What touches clients is in [`crate::worker::subscribe`].
//!
//! Delivery is what Redis promises, at most once: a message that is published while a subscription
//! moves from one node to another may be lost. A planned move ends the old place before it begins the
//! new one, so that no message comes twice.

pub mod audience;
pub mod dial;
pub mod hub;
pub mod link;
pub mod reach;
pub mod registry;
pub mod wire;
