//! What commands do. One file per family; each command is a function that checks its arguments, reads
//! or changes the key space, writes its reply and stages its effect.
//!
//! Names, arities, flags and key positions are not told here: they come from the command table of
//! the protocol crate, and [`HANDLERS`] only says which of its rows this node can carry out.

mod call;
mod client;
mod cluster;
mod config;
mod connection;
mod counter;
mod dispatch;
mod expire;
mod failure;
mod info;
mod introspect;
mod keys;
mod lcs;
mod object;
mod scan;
mod server;
mod string;

pub use call::Call;
pub use client::too_many as too_many_clients;
pub use dispatch::{Request, Resolved, execute, resolve};
pub use failure::Outcome;
pub use info::used_memory;

use pointsman_protocol::command::{ROWS, lookup, subcommand};
use pointsman_protocol::glob;
use std::sync::LazyLock;

/// Carries out one command.
pub type Handler = fn(&mut Call<'_>) -> Outcome;

/// Per row of the command table: who carries it out, if anybody.
pub type Handlers = [Option<Handler>; ROWS];

/// Every command that this node knows.
pub static HANDLERS: LazyLock<Box<Handlers>> = LazyLock::new(|| {
    let mut handlers: Box<Handlers> = Box::new([None; ROWS]);
    for (name, handler) in FAMILIES.iter().flat_map(|family| family.iter()) {
        let spec = match name.split_once('|') {
            None => lookup(name.as_bytes()),
            Some((parent, child)) => {
                lookup(parent.as_bytes()).and_then(|parent| subcommand(parent, child.as_bytes()))
            }
        };
        // A name that the table lacks is a mistake that a test finds.
        if let Some(place) = spec.and_then(|spec| handlers.get_mut(usize::from(spec.index))) {
            *place = Some(*handler);
        }
    }
    handlers
});

/// A family's commands, by name.
type Family = &'static [(&'static str, Handler)];

const FAMILIES: &[Family] = &[
    string::COMMANDS,
    counter::COMMANDS,
    keys::COMMANDS,
    lcs::COMMANDS,
    expire::COMMANDS,
    scan::COMMANDS,
    object::COMMANDS,
    connection::COMMANDS,
    client::COMMANDS,
    server::COMMANDS,
    introspect::COMMANDS,
    config::COMMANDS,
    info::COMMANDS,
    cluster::COMMANDS,
];

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
