//! How well nodes are: how far replicas lag behind ([`lag`], [`freshness`]), what all shards hold together
//! ([`census`]), and which commands they have ([`commands`]).

pub mod breaker;
pub mod census;
pub mod commands;
pub mod freshness;
mod kept;
pub mod lag;
