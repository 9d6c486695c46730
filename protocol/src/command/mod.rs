//! What commands are: their arity, flags, keys, and how they spread over shards.
//!
//! [`lookup`] finds a command's [`CommandSpec`]; [`keys`] finds the keys in its arguments. Both
//! work from one table made from the published command specifications, so that routing, read/write
//! splitting and access checks can never disagree about what a key is. [`Refusal`] says what Redis
//! answers where there is no row, or the request does not fit it. [`Announced`] has the rows that a server
//! tells of itself.

pub mod announced;
pub mod keys;
mod lookup;
mod refusal;
pub mod spec;
mod table;

pub use announced::Announced;
pub use keys::{KeyError, KeyRef};
pub use lookup::{all, lookup, lookup_args, resolve, subcommand};
pub use refusal::{Refusal, wrong_arity};
pub use spec::{
    CommandSpec, Flags, KeyAccess, KeyPattern, KeySearch, KeySpec, KeysFound, RequestPolicy, ResponsePolicy,
};

/// How many rows the table has, subcommands included: every [`CommandSpec::index`] is below it.
pub const ROWS: usize = table::ROWS;
