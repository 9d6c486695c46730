//! From a request to its reply: find the command, ask whether it may run here and now, run it.
//!
//! The order of the questions is Redis', as the first one that is answered no decides the error.

use crate::cluster::gate::{self, Verdict};
use crate::executor::Executor;
use crate::keyspace::Place;
use crate::server::client::{Client, Kind, Replies};
use pointsman_protocol::Slot;
use pointsman_protocol::command::{CommandSpec, Flags, KeyError, Refusal, keys, lookup, subcommand};
use pointsman_protocol::resp::{Args, encode};

use super::{Call, Handler};

/// What a request's name, and its number of arguments, come to: all that can be told before it runs.
#[derive(Clone, Copy, Debug)]
pub enum Resolved {
    /// A command that this node carries out.
    Command(&'static CommandSpec, Handler),
    /// It is not, or its arguments are too few or too many.
    Refused(Refusal),
    /// No command of Redis.
    Unknown,
}

impl Resolved {
    /// The keys of a request whose key positions follow from its command alone.
    #[inline]
    pub fn keys<'a>(&self, args: Args<'a>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let range = match self {
            Resolved::Command(spec, _) => spec.pattern.range(args.len()),
            _ => None,
        };
        let (first, last, step) = range.unwrap_or((1, 0, 1));
        (first..=last).step_by(step).map(move |index| args.at(index))
    }
}

/// One request, decoded.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Its arguments; at least one.
    pub args: Args<'a>,
    /// Its bytes, if they are canonical: empty for an inline request.
    pub frame: &'a [u8],
    /// Where the first of its keys belong, as far as that is known already.
    pub places: &'a [Place],
    /// What it asks for.
    pub resolved: Resolved,
}

/// Finds what a request asks for.
#[inline]
pub fn resolve(node: &Executor, args: Args<'_>) -> Resolved {
    let Some(spec) = lookup(args.at(0)) else { return Resolved::Unknown };
    let spec = match args.get(1) {
        Some(name) if spec.is_container() => match subcommand(spec, name) {
            Some(spec) => spec,
            None => return not_carried_out(node, spec, args),
        },
        _ => spec,
    };
    match node.handlers[usize::from(spec.index)] {
        None => not_carried_out(node, spec, args),
        Some(_) if !spec.accepts(args.len()) => Resolved::Refused(Refusal::Arity(spec)),
        Some(handler) => Resolved::Command(spec, handler),
    }
}

/// Executes a request: appends exactly one reply to `out`, unless the client wants none.
#[inline]
pub fn execute(node: &mut Executor, client: &Client, request: Request<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    node.stats.commands += 1;
    match request.resolved {
        Resolved::Command(spec, handler) => run(node, client, request, spec, handler, out),
        Resolved::Refused(refusal) => refusal.reply(request.args, out),
        Resolved::Unknown => unknown(node, client, request.args, out),
    }
    node.log.commit();
    if out.get(start) == Some(&b'-') {
        node.stats.errors += 1;
    }
    if client.replies.get() != Replies::On {
        withhold(client, start, out);
    }
}

#[inline]
fn run(
    node: &mut Executor,
    client: &Client,
    request: Request<'_>,
    spec: &'static CommandSpec,
    handler: Handler,
    out: &mut Vec<u8>,
) {
    let Request { args, frame, places, .. } = request;
    client.last_command.set(spec.name);
    let first = match first_key(node, client, spec, args, places) {
        Ok(first) => first,
        Err(refusal) => return refusal.reply(node, out),
    };
    if node.is_replica()
        && client.kind.get() != Kind::Primary
        && let Err(refusal) = may_run_on_replica(node, spec)
    {
        return refusal.reply(node, out);
    }
    let mark = out.len();
    let mut call = Call { node, client, args, frame, places, out, spec, first };
    if let Err(failure) = handler(&mut call) {
        out.truncate(mark);
        failure.reply(spec, out);
    }
}

/// Why a command that is known and complete does not run.
enum Refused {
    CrossSlot,
    Moved { slot: Slot, shard: usize },
    Unserved,
    ReadOnly,
    Loading,
    Keys(KeyError, &'static CommandSpec),
}

impl Refused {
    #[cold]
    fn reply(&self, node: &Executor, out: &mut Vec<u8>) {
        match self {
            Refused::CrossSlot => encode::error(out, "CROSSSLOT Keys in request don't hash to the same slot"),
            Refused::Moved { slot, shard } => match node.spec.cluster.shards().get(*shard) {
                Some(shard) => {
                    // Redis writes IPv6 addresses without brackets here.
                    let to = &shard.primary.address;
                    encode::error(out, &format!("MOVED {slot} {}:{}", to.host(), to.port()));
                }
                None => Refused::Unserved.reply(node, out),
            },
            Refused::Unserved => encode::error(out, "CLUSTERDOWN Hash slot not served"),
            Refused::ReadOnly => encode::error(out, "READONLY You can't write against a read only replica."),
            Refused::Loading => encode::error(out, "LOADING Redis is loading the dataset in memory"),
            Refused::Keys(error, spec) => error.reply(spec, out),
        }
    }
}

/// Where the first key belongs, after all keys have passed the gate. Without keys: anywhere.
#[inline]
fn first_key(
    node: &Executor,
    client: &Client,
    spec: &'static CommandSpec,
    args: Args<'_>,
    places: &[Place],
) -> Result<Place, Refused> {
    let (first, last, step) = match spec.pattern.range(args.len()) {
        Some(range) => range,
        None => return first_key_of_many(node, client, spec, args),
    };
    let place = places.first().copied().unwrap_or_else(|| node.keyspace.place(args.at(first)));
    if !node.spec.cluster.enabled() || client.kind.get() == Kind::Primary {
        return Ok(place);
    }
    let others = (first + step..=last).step_by(step).enumerate();
    let others = others.map(|(nth, index)| match places.get(nth + 1) {
        Some(place) => place.slot,
        None => Slot::of(args.at(index)).number(),
    });
    pass_gate(node, client, spec, place, others)
}

/// As [`first_key`], for commands whose arguments must be read to tell which are keys.
#[cold]
fn first_key_of_many(
    node: &Executor,
    client: &Client,
    spec: &'static CommandSpec,
    args: Args<'_>,
) -> Result<Place, Refused> {
    let nowhere = Place { slot: 0, hash: 0 };
    if spec.keys.is_empty() {
        return Ok(nowhere);
    }
    let mut found = Vec::new();
    keys::find(spec, args, &mut found).map_err(|error| Refused::Keys(error, spec))?;
    let Some((first, others)) = found.split_first() else { return Ok(nowhere) };
    let place = node.keyspace.place(args.at(first.index as usize));
    if !node.spec.cluster.enabled() || client.kind.get() == Kind::Primary {
        return Ok(place);
    }
    pass_gate(
        node,
        client,
        spec,
        place,
        others.iter().map(|key| Slot::of(args.at(key.index as usize)).number()),
    )
}

/// Asks the gate about a command whose first key belongs at `place`.
#[inline]
fn pass_gate(
    node: &Executor,
    client: &Client,
    spec: &'static CommandSpec,
    place: Place,
    others: impl Iterator<Item = u16>,
) -> Result<Place, Refused> {
    let facts = gate::Facts {
        shard: node.shard,
        replica: node.is_replica(),
        client_readonly: client.readonly.get(),
        writes: spec.is_write(),
    };
    let Some(slot) = Slot::new(place.slot) else { return Ok(place) };
    match gate::judge(&node.spec.cluster, facts, slot, others.filter_map(Slot::new)) {
        Verdict::Serve => Ok(place),
        Verdict::CrossSlot => Err(Refused::CrossSlot),
        Verdict::Moved { slot, shard } => Err(Refused::Moved { slot, shard }),
        Verdict::Unserved => Err(Refused::Unserved),
    }
}

/// A replica takes no writes, and shows nothing while it is being copied.
fn may_run_on_replica(node: &Executor, spec: &CommandSpec) -> Result<(), Refused> {
    if spec.is_write() {
        return Err(Refused::ReadOnly);
    }
    if node.link.incomplete && !spec.flags.has(Flags::LOADING) {
        return Err(Refused::Loading);
    }
    Ok(())
}

/// The word that nodes say to each other. To the proxy it is a command of its own, hence in the table.
const NODES: &[u8] = b"POINTSMAN";

/// In the command table, but not carried out by this node.
#[cold]
fn not_carried_out(node: &Executor, spec: &'static CommandSpec, args: Args<'_>) -> Resolved {
    if args.at(0).eq_ignore_ascii_case(NODES) {
        return Resolved::Unknown;
    }
    Resolved::Refused(missing(node, spec, args))
}

/// Not a command of this node's: the nodes' own word, or nobody's.
#[cold]
fn unknown(node: &mut Executor, client: &Client, args: Args<'_>, out: &mut Vec<u8>) {
    if args.at(0).eq_ignore_ascii_case(NODES) {
        return crate::replication::handshake::command(node, client, args, out);
    }
    Refusal::UnknownCommand.reply(args, out);
}

/// What to answer a command that is in the table, but not carried out by this node. A container of which
/// some subcommand is carried out is known itself.
#[cold]
fn missing(node: &Executor, spec: &'static CommandSpec, args: Args<'_>) -> Refusal {
    let container = spec.name.split('|').next().and_then(|name| lookup(name.as_bytes()));
    let known = |container: &&CommandSpec| {
        container.subcommands.iter().any(|child| node.handlers[usize::from(child.index)].is_some())
    };
    match container.filter(known) {
        Some(container) if args.len() > 1 => Refusal::UnknownSubcommand(container),
        Some(container) => Refusal::Arity(container),
        None => Refusal::UnknownCommand,
    }
}

/// CLIENT REPLY OFF and SKIP.
#[cold]
fn withhold(client: &Client, start: usize, out: &mut Vec<u8>) {
    match client.replies.get() {
        Replies::On => {}
        Replies::Off => out.truncate(start),
        Replies::SkipNext => {
            out.truncate(start);
            client.replies.set(Replies::Skip);
        }
        Replies::Skip => {
            out.truncate(start);
            client.replies.set(Replies::On);
        }
    }
}
