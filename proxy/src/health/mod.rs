//! How well nodes are: how far replicas lag behind ([`lag`], [`freshness`]), and what all shards hold together
//! ([`census`]).

pub mod census;
pub mod commands;
pub mod freshness;
pub mod lag;
