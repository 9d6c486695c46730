//! Who owns what: found out from the cluster ([`fetch`], [`cluster`]), judged ([`refresh`]), and
//! handed to the workers as immutable snapshots ([`publish`]).

pub mod cluster;
pub mod fetch;
pub mod publish;
pub mod refresh;
