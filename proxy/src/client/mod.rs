//! The client side: what a connection may ask, in which order it is answered, and what the proxy
//! answers itself.
//!
//! [`session`] reads requests, [`replies`] keeps their order (FIFO 1), [`gather`] joins the parts of
//! a split one ([`join`] and [`merge`] those with rules of their own), [`local`] answers what no backend needs to see, [`state`] is who the client is.

pub mod algebra;
pub mod blocks;
pub mod gather;
pub mod join;
pub mod local;
pub mod merge;
pub mod replies;
pub mod session;
pub mod state;
pub mod transaction;
pub mod vigil;
pub mod written;
