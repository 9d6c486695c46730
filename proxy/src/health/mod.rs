//! How well nodes are: how far replicas lag behind ([`lag`]), what all shards hold together ([`census`]), and
//! which commands they have ([`commands`]).

pub mod census;
pub mod commands;
mod kept;
pub mod lag;
