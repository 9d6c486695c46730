//! Where a request goes, judged from its words alone: which route its command takes, and the slot
//! of its keys. Which node that is now, the snapshot tells ([`crate::worker::dispatch`]).

use super::division::Division;
use super::split::SplitKind;
use crate::client::algebra;
use pointsman_protocol::Slot;
use pointsman_protocol::command::keys::{self, KeyError, KeyRef};
use pointsman_protocol::command::{self, CommandSpec, Flags, KeyPattern, ROWS};
use pointsman_protocol::resp::{Args, encode};
use std::sync::LazyLock;

/// What is to be done with a request.
#[derive(Debug)]
pub enum Plan {
    /// Send it to its slot.
    Slot {
        /// Its row.
        spec: &'static CommandSpec,
        /// All its keys are in this slot.
        slot: Slot,
    },
    /// Send it to the primary of its slot, whatever reads may do: its cursor means nothing elsewhere.
    Primary {
        /// Its row.
        spec: &'static CommandSpec,
        /// Its key is in this slot.
        slot: Slot,
    },
    /// Cut it, if its keys are in several slots.
    Split {
        /// Its row.
        spec: &'static CommandSpec,
        /// How.
        kind: SplitKind,
    },
    /// Its keys are in several slots: compute it here, where that is allowed.
    Across {
        /// Its row.
        spec: &'static CommandSpec,
    },
    /// Send it to every shard and join the replies by its response policy.
    Everyone {
        /// Its row.
        spec: &'static CommandSpec,
    },
    /// Ask shards for it and join what they tell by a rule of its own.
    Shards {
        /// Its row.
        spec: &'static CommandSpec,
    },
    /// Answer it here.
    Local {
        /// Its row.
        spec: &'static CommandSpec,
    },
    /// Send it to its slot over a connection of the client's own: it may wait.
    Block {
        /// Its row.
        spec: &'static CommandSpec,
        /// All its keys are in this slot.
        slot: Slot,
    },
    /// Ask the shards that its client wrote to how far that has come.
    Wait {
        /// Its row.
        spec: &'static CommandSpec,
    },
    /// Send a message to the slot's owner, and tell how many clients heard it.
    Publish {
        /// Its row.
        spec: &'static CommandSpec,
        /// The slot of its channel, or the one that stands for all.
        slot: Slot,
    },
    /// Begin, end or guard a transaction.
    Transaction(Verb),
    /// Begin or end subscriptions.
    Subscription {
        /// Its row.
        spec: &'static CommandSpec,
    },
    /// Nothing was asked (an empty line).
    Nothing,
    /// Answer with an error.
    Refuse(Refusal),
}

/// What a command says about transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// MULTI.
    Multi,
    /// EXEC.
    Exec,
    /// DISCARD.
    Discard,
    /// WATCH.
    Watch,
    /// UNWATCH.
    Unwatch,
}

impl Plan {
    /// The row of its command, if it is carried out.
    #[inline]
    pub fn spec(&self) -> Option<&'static CommandSpec> {
        match self {
            Plan::Slot { spec, .. } | Plan::Primary { spec, .. } => Some(spec),
            Plan::Block { spec, .. } | Plan::Split { spec, .. } => Some(spec),
            Plan::Everyone { spec } | Plan::Shards { spec } | Plan::Across { spec } => Some(spec),
            Plan::Local { spec } | Plan::Subscription { spec } => Some(spec),
            Plan::Publish { spec, .. } | Plan::Wait { spec } => Some(spec),
            Plan::Transaction(_) | Plan::Nothing | Plan::Refuse(_) => None,
        }
    }

    /// True if it may change data, anywhere.
    #[inline]
    pub fn may_write(&self) -> bool {
        match self {
            Plan::Slot { spec, .. }
            | Plan::Block { spec, .. }
            | Plan::Primary { spec, .. }
            | Plan::Split { spec, .. }
            | Plan::Publish { spec, .. }
            | Plan::Everyone { spec }
            | Plan::Across { spec }
            | Plan::Shards { spec } => !spec.is_read(),
            Plan::Transaction(verb) => *verb == Verb::Exec,
            Plan::Local { .. } | Plan::Subscription { .. } | Plan::Wait { .. } => false,
            Plan::Nothing | Plan::Refuse(_) => false,
        }
    }
}

/// Why a request is not passed on.
#[derive(Clone, Copy, Debug)]
pub enum Refusal {
    /// It is no command, or does not fit its row.
    Table(command::Refusal),
    /// Its keys cannot be told.
    Keys(&'static CommandSpec, KeyError),
    /// Its keys are in several slots.
    CrossSlot,
    /// The client has not authenticated.
    NoAuth,
    /// The node that announces it does not tell where its keys are, or not of all.
    KeysUntold(&'static CommandSpec),
    /// Its answer is only right where one shard has everything; so many shards there are.
    OneShardOnly(&'static CommandSpec, usize),
    /// It would act on one node behind the proxy, or on a state that a shared connection cannot hold.
    NotThroughProxy(&'static CommandSpec),
}

impl Refusal {
    /// True for the first word of an HTTP request that carries a body, or of the header that all have. Redis
    /// closes at these two, too.
    pub fn is_http(&self, args: Args<'_>) -> bool {
        let word = args.at(0);
        matches!(self, Refusal::Table(command::Refusal::UnknownCommand))
            && (word.eq_ignore_ascii_case(b"POST") || word.eq_ignore_ascii_case(b"Host:"))
    }

    /// Appends the error reply.
    pub fn write(&self, args: Args<'_>, out: &mut Vec<u8>) {
        match self {
            Refusal::Table(refusal) => refusal.reply(args, out),
            Refusal::Keys(spec, error) => error.reply(spec, out),
            Refusal::CrossSlot => encode::error(out, "CROSSSLOT Keys in request don't hash to the same slot"),
            Refusal::NoAuth => encode::error(out, "NOAUTH Authentication required."),
            Refusal::KeysUntold(spec) if !spec.keys.is_empty() => {
                encode::error(
                    out,
                    &format!(
                        "ERR '{}' does not tell where all its keys are, and no shard would notice one that belongs to another; with backends.*.unknown_commands: first_key it goes by those that it tells",
                        shown(spec)
                    ),
                );
            }
            Refusal::KeysUntold(spec) => {
                encode::error(
                    out,
                    &format!(
                        "ERR '{}' does not tell where its keys are; with backends.*.unknown_commands: first_key the proxy takes its first argument for its key",
                        shown(spec)
                    ),
                );
            }
            Refusal::OneShardOnly(spec, shards) => {
                encode::error(
                    out,
                    &format!(
                        "ERR '{}' is not available through the proxy: the keys are on {shards} shards, and one of them cannot answer for all; send it to the nodes themselves",
                        shown(spec)
                    ),
                );
            }
            Refusal::NotThroughProxy(spec) => {
                encode::error(
                    out,
                    &format!(
                        "ERR '{}' is not available through the proxy; send it to the node itself",
                        shown(spec)
                    ),
                );
            }
        }
    }
}

fn shown(spec: &CommandSpec) -> String {
    spec.name.replace('|', " ")
}

/// The route of a command, whatever its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    /// By its only key, which stands at this argument.
    OneKey(u8),
    /// The same, with a cursor that only one copy of the key understands.
    Cursor(u8),
    /// By its keys, which must share a slot.
    Keys,
    /// By its keys; if they are in several slots, it can be computed.
    Across,
    /// By its keys; it waits.
    Block,
    Split(SplitKind),
    Everyone,
    Shards,
    /// To the owner of one fixed slot.
    Anyone,
    /// It concerns two databases: a cluster has one.
    Databases,
    Local,
    Transaction(Verb),
    Subscription,
    Wait,
    Publish,
    NotThroughProxy,
}

static ROUTES: LazyLock<[Route; ROWS]> = LazyLock::new(|| {
    let mut routes = [Route::NotThroughProxy; ROWS];
    for spec in command::all() {
        routes[usize::from(spec.index)] = route_of(spec);
        for sub in spec.subcommands {
            routes[usize::from(sub.index)] = route_of(sub);
        }
    }
    routes
});

fn route_of(spec: &CommandSpec) -> Route {
    let container = spec.name.split('|').next().unwrap_or(spec.name);
    match spec.name {
        "PING" | "ECHO" | "SELECT" | "HELLO" | "AUTH" | "QUIT" | "RESET" | "INFO" | "TIME" | "LOLWUT"
        | "READONLY" | "READWRITE" | "ASKING" | "ROLE" | "ACL|WHOAMI" | "ACL|USERS" | "MONITOR" => {
            return Route::Local;
        }
        "SWAPDB" | "MOVE" => return Route::Databases,
        "DBSIZE" | "FLUSHALL" | "FLUSHDB" | "KEYS" | "SCRIPT|LOAD" | "SCRIPT|FLUSH" | "FUNCTION|LOAD"
        | "FUNCTION|DELETE" | "FUNCTION|FLUSH" | "FUNCTION|RESTORE" | "MEMORY|PURGE" | "SLOWLOG|LEN"
        | "SLOWLOG|RESET" | "COMMANDLOG|LEN" | "COMMANDLOG|RESET" | "LATENCY|RESET" => {
            return Route::Everyone;
        }
        "SCAN"
        | "RANDOMKEY"
        | "LASTSAVE"
        | "SCRIPT|EXISTS"
        | "SCRIPT|KILL"
        | "FUNCTION|STATS"
        | "FUNCTION|KILL"
        | "PUBSUB|CHANNELS"
        | "PUBSUB|SHARDCHANNELS"
        | "PUBSUB|NUMSUB"
        | "PUBSUB|SHARDNUMSUB"
        | "PUBSUB|NUMPAT"
        | "SCRIPT|SHOW"
        | "SLOWLOG|GET"
        | "COMMANDLOG|GET"
        | "TS.MGET"
        | "TS.MRANGE"
        | "TS.MREVRANGE"
        | "TS.QUERYINDEX"
        | "TS.QUERYLABELS"
        | "LATENCY|LATEST"
        | "LATENCY|HISTORY"
        | "LATENCY|HISTOGRAM"
        | "LATENCY|DOCTOR"
        | "LATENCY|GRAPH"
        | "MEMORY|STATS"
        | "MEMORY|DOCTOR"
        | "MEMORY|MALLOC-STATS" => return Route::Shards,
        // Functions are the same on every shard, and help is the same everywhere.
        "SUBSCRIBE" | "UNSUBSCRIBE" | "PSUBSCRIBE" | "PUNSUBSCRIBE" | "SSUBSCRIBE" | "SUNSUBSCRIBE" => {
            return Route::Subscription;
        }
        "PUBLISH" | "SPUBLISH" => return Route::Publish,
        "FUNCTION|LIST" | "FUNCTION|DUMP" | "FUNCTION|HELP" | "SCRIPT|HELP" | "PUBSUB|HELP"
        | "SLOWLOG|HELP" | "LATENCY|HELP" | "MEMORY|HELP" => return Route::Anyone,
        // The state these leave behind belongs to one connection, and ours are shared.
        "RESTORE-ASKING" | "MIGRATE" | "SCRIPT|DEBUG" => return Route::NotThroughProxy,
        "MULTI" => return Route::Transaction(Verb::Multi),
        "EXEC" => return Route::Transaction(Verb::Exec),
        "DISCARD" => return Route::Transaction(Verb::Discard),
        "WATCH" => return Route::Transaction(Verb::Watch),
        "UNWATCH" => return Route::Transaction(Verb::Unwatch),
        "WAIT" | "WAITAOF" => return Route::Wait,
        _ => {}
    }
    // Its HELP, too.
    if container == "POINTSMAN" {
        return Route::Local;
    }
    // The same on every node, and nothing in them tells which node it is.
    if (spec.name.ends_with("|HELP") && container != "CLUSTER")
        || matches!(spec.name, "ACL|CAT" | "ACL|GENPASS" | "MODULE|LIST")
    {
        return Route::Anyone;
    }
    // Search: right where there is one shard. Its settings are each node's own.
    if spec.name.starts_with("FT.") && spec.pattern == KeyPattern::None && container != "FT.CONFIG" {
        return Route::Shards;
    }
    if matches!(container, "CLIENT" | "COMMAND" | "CLUSTER" | "CONFIG") {
        return Route::Local;
    }
    if let Some(kind) = SplitKind::of(spec.name) {
        return Route::Split(kind);
    }
    // XREAD blocks only if asked to; plan() looks.
    let may_block = spec.flags.has(Flags::BLOCKING) && !matches!(spec.name, "XREAD" | "XREADGROUP");
    if may_block {
        return Route::Block;
    }
    if algebra::computes(spec.name) {
        return Route::Across;
    }
    match spec.pattern {
        KeyPattern::One(at) if has_cursor(spec) => Route::Cursor(at),
        KeyPattern::One(at) => Route::OneKey(at),
        KeyPattern::Range { .. } | KeyPattern::Complex => Route::Keys,
        KeyPattern::None => Route::NotThroughProxy,
    }
}

/// True for what goes on where its last call ended, which only the copy knows that it began with.
fn has_cursor(spec: &CommandSpec) -> bool {
    matches!(spec.name, "HSCAN" | "SSCAN" | "ZSCAN" | "BF.SCANDUMP" | "CF.SCANDUMP")
}

/// Judges a request, for a backend with this division of keys. `keys` is scratch space.
#[inline]
pub fn plan(args: Args<'_>, authenticated: bool, division: &Division, keys: &mut Vec<KeyRef>) -> Plan {
    let spec = match command::resolve(args) {
        Ok(spec) => spec,
        Err(_) if args.is_empty() => return Plan::Nothing,
        Err(refusal) => return Plan::Refuse(Refusal::Table(refusal)),
    };
    if !authenticated && !spec.flags.has(Flags::NO_AUTH) {
        return Plan::Refuse(Refusal::NoAuth);
    }
    match ROUTES[usize::from(spec.index)] {
        Route::OneKey(at) => Plan::Slot { spec, slot: division.slot(args.at(usize::from(at))) },
        Route::Cursor(at) => Plan::Primary { spec, slot: division.slot(args.at(usize::from(at))) },
        Route::Split(SplitKind::Mset) if args.len().is_multiple_of(2) => {
            Plan::Refuse(Refusal::Table(command::Refusal::Arity(spec)))
        }
        Route::Split(kind) => Plan::Split { spec, kind },
        Route::Keys => by_keys(spec, args, division, keys),
        Route::Across => match by_keys(spec, args, division, keys) {
            Plan::Refuse(Refusal::CrossSlot) => Plan::Across { spec },
            other => other,
        },
        Route::Block => match by_keys(spec, args, division, keys) {
            Plan::Slot { spec, slot } => Plan::Block { spec, slot },
            other => other,
        },
        Route::Everyone => Plan::Everyone { spec },
        Route::Shards => Plan::Shards { spec },
        Route::Anyone => Plan::Slot { spec, slot: keyless_slot() },
        Route::Databases if division.is_cluster() => Plan::Local { spec },
        Route::Databases if spec.name == "SWAPDB" => Plan::Shards { spec },
        Route::Databases => Plan::Slot { spec, slot: division.slot(args.at(1)) },
        Route::Local => Plan::Local { spec },
        Route::Transaction(verb) => Plan::Transaction(verb),
        Route::Subscription => Plan::Subscription { spec },
        Route::Wait => Plan::Wait { spec },
        Route::Publish if spec.name == "SPUBLISH" => {
            Plan::Publish { spec, slot: division.home(Slot::of(args.at(1))) }
        }
        Route::Publish => Plan::Publish { spec, slot: keyless_slot() },
        Route::NotThroughProxy => Plan::Refuse(Refusal::NotThroughProxy(spec)),
    }
}

/// The slot whose owner takes what has no keys: always the same, so that repeated calls (an EVAL
/// without keys, say) meet the same data.
pub fn keyless_slot() -> Slot {
    // That of the empty key; where keys are divided otherwise, that of the first shard.
    Slot::ZERO
}

pub(super) fn by_keys(
    spec: &'static CommandSpec,
    args: Args<'_>,
    division: &Division,
    keys: &mut Vec<KeyRef>,
) -> Plan {
    if let Err(error) = keys::find(spec, args, keys) {
        return Plan::Refuse(Refusal::Keys(spec, error));
    }
    // XREAD waits only if asked to.
    let blocks = spec.flags.has(Flags::BLOCKING) && asks_to_block(args, keys);
    let mut slots = keys.iter().map(|key| division.slot(args.at(key.index as usize)));
    let Some(slot) = slots.next() else { return Plan::Slot { spec, slot: keyless_slot() } };
    if slots.all(|other| other == slot) {
        if blocks { Plan::Block { spec, slot } } else { Plan::Slot { spec, slot } }
    } else {
        Plan::Refuse(Refusal::CrossSlot)
    }
}

/// True if XREAD or XREADGROUP has BLOCK among its options, which all stand before the streams.
/// An option's value that reads BLOCK (a group of that name) errs on the safe side.
fn asks_to_block(args: Args<'_>, keys: &[KeyRef]) -> bool {
    let options = keys.first().map_or(args.len(), |key| key.index as usize);
    (1..options).any(|index| args.at(index).eq_ignore_ascii_case(b"BLOCK"))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "routes_tests.rs"]
mod routes_tests;
