//! Who owns what: found out from the cluster ([`fetch`], [`cluster`]), judged ([`refresh`]), and
//! handed to the workers as immutable snapshots ([`publish`]). Nodes without cluster mode are asked one by
//! one who they are ([`groups`], [`role`]), and whom to believe is judged in [`group`]; sentinels say whom to ask
//! ([`sentinel`]) and when ([`watch`]).

pub mod asking;
pub mod cluster;
pub mod fetch;
pub mod group;
pub mod groups;
pub mod publish;
pub mod refresh;
pub mod role;
pub mod sentinel;
pub mod watch;
