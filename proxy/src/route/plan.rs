//! Where a request goes, judged from its words alone: which route its command takes, and the slot
//! of its keys. Which node that is now, the snapshot tells ([`crate::worker::dispatch`]).

use super::split::SplitKind;
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
    /// Cut it, if its keys are in several slots.
    Split {
        /// Its row.
        spec: &'static CommandSpec,
        /// How.
        kind: SplitKind,
    },
    /// Send it to every shard and join the replies by its response policy.
    Everyone {
        /// Its row.
        spec: &'static CommandSpec,
    },
    /// Answer it here.
    Local {
        /// Its row.
        spec: &'static CommandSpec,
    },
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

impl Plan {
    /// True if it may change data, anywhere.
    #[inline]
    pub fn may_write(&self) -> bool {
        match self {
            Plan::Slot { spec, .. } | Plan::Split { spec, .. } | Plan::Everyone { spec } => !spec.is_read(),
            Plan::Local { .. } | Plan::Subscription { .. } | Plan::Nothing | Plan::Refuse(_) => false,
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
    /// This version does not carry it yet.
    NotYet(&'static CommandSpec),
    /// It would act on one node behind the proxy, or on a state that a shared connection cannot hold.
    NotThroughProxy(&'static CommandSpec),
}

impl Refusal {
    /// Appends the error reply.
    pub fn write(&self, args: Args<'_>, out: &mut Vec<u8>) {
        match self {
            Refusal::Table(refusal) => refusal.reply(args, out),
            Refusal::Keys(spec, error) => error.reply(spec, out),
            Refusal::CrossSlot => encode::error(out, "CROSSSLOT Keys in request don't hash to the same slot"),
            Refusal::NoAuth => encode::error(out, "NOAUTH Authentication required."),
            Refusal::NotYet(spec) => {
                encode::error(out, &format!("ERR '{}' is not supported through this proxy yet", shown(spec)));
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
    /// By its keys, which must share a slot.
    Keys,
    Split(SplitKind),
    Everyone,
    /// To the owner of one fixed slot.
    Anyone,
    Local,
    Subscription,
    NotYet,
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
        | "READONLY" | "READWRITE" | "CONFIG|GET" => return Route::Local,
        "DBSIZE" | "FLUSHALL" | "FLUSHDB" | "KEYS" | "SCRIPT|LOAD" | "SCRIPT|FLUSH" | "FUNCTION|LOAD"
        | "FUNCTION|DELETE" | "FUNCTION|FLUSH" => return Route::Everyone,
        "PUBLISH" => return Route::Anyone,
        "SUBSCRIBE" | "UNSUBSCRIBE" | "PSUBSCRIBE" | "PUNSUBSCRIBE" | "SSUBSCRIBE" | "SUNSUBSCRIBE" => {
            return Route::Subscription;
        }
        // The state these leave behind belongs to one connection, and ours are shared.
        "ASKING" | "RESTORE-ASKING" | "MIGRATE" => return Route::NotThroughProxy,
        "MULTI" | "EXEC" | "DISCARD" | "WATCH" | "UNWATCH" | "SCAN" | "RANDOMKEY" | "WAIT" | "WAITAOF"
        | "SWAPDB" | "MOVE" | "MONITOR" => return Route::NotYet,
        _ => {}
    }
    if matches!(container, "CLIENT" | "COMMAND" | "CLUSTER") {
        return Route::Local;
    }
    if let Some(kind) = SplitKind::of(spec.name) {
        return Route::Split(kind);
    }
    // XREAD blocks only if asked to; plan() looks.
    let may_block = spec.flags.has(Flags::BLOCKING) && !matches!(spec.name, "XREAD" | "XREADGROUP");
    if may_block {
        return Route::NotYet;
    }
    match spec.pattern {
        KeyPattern::One(at) => Route::OneKey(at),
        KeyPattern::Range { .. } | KeyPattern::Complex => Route::Keys,
        KeyPattern::None
            if matches!(
                container,
                "SCRIPT" | "FUNCTION" | "PUBSUB" | "SLOWLOG" | "LATENCY" | "MEMORY" | "LASTSAVE"
            ) =>
        {
            Route::NotYet
        }
        KeyPattern::None => Route::NotThroughProxy,
    }
}

/// Judges a request. `keys` is scratch space.
#[inline]
pub fn plan(args: Args<'_>, authenticated: bool, keys: &mut Vec<KeyRef>) -> Plan {
    let spec = match command::resolve(args) {
        Ok(spec) => spec,
        Err(_) if args.is_empty() => return Plan::Nothing,
        Err(_) if !authenticated => return Plan::Refuse(Refusal::NoAuth),
        Err(refusal) => return Plan::Refuse(Refusal::Table(refusal)),
    };
    if !authenticated && !spec.flags.has(Flags::NO_AUTH) {
        return Plan::Refuse(Refusal::NoAuth);
    }
    match ROUTES[usize::from(spec.index)] {
        Route::OneKey(at) => Plan::Slot { spec, slot: Slot::of(args.at(usize::from(at))) },
        Route::Split(SplitKind::Mset) if args.len().is_multiple_of(2) => {
            Plan::Refuse(Refusal::Table(command::Refusal::Arity(spec)))
        }
        Route::Split(kind) => Plan::Split { spec, kind },
        Route::Keys => by_keys(spec, args, keys),
        Route::Everyone => Plan::Everyone { spec },
        Route::Anyone => Plan::Slot { spec, slot: keyless_slot() },
        Route::Local => Plan::Local { spec },
        Route::Subscription => Plan::Subscription { spec },
        Route::NotYet => Plan::Refuse(Refusal::NotYet(spec)),
        Route::NotThroughProxy => Plan::Refuse(Refusal::NotThroughProxy(spec)),
    }
}

/// The slot whose owner takes what has no keys: always the same, so that repeated calls (an EVAL
/// without keys, say) meet the same data.
pub fn keyless_slot() -> Slot {
    Slot::of(b"")
}

fn by_keys(spec: &'static CommandSpec, args: Args<'_>, keys: &mut Vec<KeyRef>) -> Plan {
    if let Err(error) = keys::find(spec, args, keys) {
        return Plan::Refuse(Refusal::Keys(spec, error));
    }
    if spec.flags.has(Flags::BLOCKING) && asks_to_block(args, keys) {
        return Plan::Refuse(Refusal::NotYet(spec));
    }
    let mut slots = keys.iter().map(|key| Slot::of(args.at(key.index as usize)));
    let Some(slot) = slots.next() else { return Plan::Slot { spec, slot: keyless_slot() } };
    if slots.all(|other| other == slot) {
        Plan::Slot { spec, slot }
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
