//! How well nodes are: for now, how far replicas lag behind ([`lag`]).

pub mod lag;
