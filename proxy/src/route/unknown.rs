//! Where a request goes whose command the table does not have, or not with so many arguments: by what the
//! nodes announce of it, by the operator's rule, or nowhere.
//!
//! Apart from [`super::plan`] because nothing of it belongs on the way of a request that the table knows.
//! What it refuses: commands that block, subscribe or administrate, of which no more is known than that.

use super::division::Division;
use super::plan::{Plan, Refusal, by_keys};
use pointsman_config::UnknownCommands;
use pointsman_protocol::command::keys::KeyRef;
use pointsman_protocol::command::spec::announced;
use pointsman_protocol::command::{
    Announced, CommandSpec, Flags, KeyPattern, Refusal as TableRefusal, RequestPolicy, ResponsePolicy,
};
use pointsman_protocol::resp::Args;

/// The row of a command of which only its name is known.
static UNLISTED: CommandSpec = announced("UNKNOWN", -2, Flags::WRITE);

/// True for the row of commands that go by their first argument because the operator wants it so.
pub fn is_unlisted(spec: &CommandSpec) -> bool {
    std::ptr::eq(spec, &UNLISTED)
}

/// Judges a request that the table refused with `refusal`. `keys` is scratch space.
#[cold]
pub fn plan(
    args: Args<'_>,
    refusal: TableRefusal,
    announced: &Announced,
    rule: UnknownCommands,
    division: &Division,
    keys: &mut Vec<KeyRef>,
) -> Plan {
    let refused = Refusal::Table(refusal);
    // A browser that a foreign page made talk to us says these.
    if args.is_empty() || refused.is_http(args) {
        return Plan::Refuse(refused);
    }
    keys.clear();
    let found = match refusal {
        TableRefusal::UnknownCommand => announced.find(args),
        // Of what the proxy knows, a server's word counts only for what goes by keys.
        TableRefusal::UnknownSubcommand(container) => announced
            .find(args)
            .filter(|spec| spec.name != container.name && spec.pattern != KeyPattern::None),
        TableRefusal::Arity(known) => announced
            .row(known.name.as_bytes())
            .filter(|spec| spec.accepts(args.len()) && spec.pattern != KeyPattern::None),
    };
    let Some(spec) = found else {
        let by_rule = rule == UnknownCommands::FirstKey && matches!(refusal, TableRefusal::UnknownCommand);
        return if by_rule { first_key(args, division, refused) } else { Plan::Refuse(refused) };
    };
    if spec.is_container() {
        let refusal =
            if args.len() < 2 { TableRefusal::Arity(spec) } else { TableRefusal::UnknownSubcommand(spec) };
        return Plan::Refuse(Refusal::Table(refusal));
    }
    if !spec.accepts(args.len()) {
        return Plan::Refuse(Refusal::Table(TableRefusal::Arity(spec)));
    }
    if spec.flags.has_any(Flags::BLOCKING.and(Flags::PUBSUB).and(Flags::ADMIN)) {
        return Plan::Refuse(Refusal::NotThroughProxy(spec));
    }
    match spec.pattern {
        KeyPattern::None if spec.flags.has(Flags::MOVABLE_KEYS) => match rule {
            UnknownCommands::FirstKey => first_key(args, division, Refusal::KeysUntold(spec)),
            UnknownCommands::Refuse => Plan::Refuse(Refusal::KeysUntold(spec)),
        },
        KeyPattern::None => keyless(spec),
        // A node in cluster mode finds the keys that are not told, and refuses those of other slots.
        _ if !spec.tells_all_keys() && division.is_unchecked() && rule == UnknownCommands::Refuse => {
            Plan::Refuse(Refusal::KeysUntold(spec))
        }
        _ => by_keys(spec, args, division, keys),
    }
}

/// To the primary of the first argument's slot, as a write.
fn first_key(args: Args<'_>, division: &Division, otherwise: Refusal) -> Plan {
    match args.get(1) {
        Some(key) => Plan::Slot { spec: &UNLISTED, slot: division.slot(key) },
        None => Plan::Refuse(otherwise),
    }
}

/// A command without keys: to all shards if it says so and how the replies are joined; else only where
/// there is but one ([`crate::worker::shards`]). What scripts may not call is about a connection.
fn keyless(spec: &'static CommandSpec) -> Plan {
    let everywhere = matches!(spec.request_policy, RequestPolicy::AllNodes | RequestPolicy::AllShards);
    match spec.response_policy {
        _ if spec.flags.has(Flags::NOSCRIPT) => Plan::Refuse(Refusal::NotThroughProxy(spec)),
        // Executed everywhere and then answered with an error would be worse than not at all.
        ResponsePolicy::Special | ResponsePolicy::Default => Plan::Shards { spec },
        _ if everywhere => Plan::Everyone { spec },
        _ => Plan::Shards { spec },
    }
}

#[cfg(test)]
#[path = "unknown_tests.rs"]
mod tests;
