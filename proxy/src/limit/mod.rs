//! What clients may make the process do and hold: how often they may ask ([`rate`]).
//!
//! Nothing here knows what a request means; a listener without limits pays one look at an empty field a request.

pub mod rate;
