//! RESP, the wire protocol of Redis: requests in, replies out, both incremental and bounded.
//!
//! [`decode`] finds whole requests in a read buffer, [`reply`] finds whole replies, [`encode`]
//! writes both. None of them copies payloads: they speak of byte ranges.

pub mod args;
pub mod decode;
pub mod encode;
mod inline;
pub mod limits;
pub mod reply;

pub use args::{ArgRange, Args};
pub use decode::{ProtocolError, RequestDecoder};
pub use limits::RequestLimits;
pub use reply::{ReplyError, ReplyScanner};
