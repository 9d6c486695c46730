//! COMMAND: what the command table says of the commands that this node carries out.

use super::failure::{Failure, Outcome, SYNTAX};
use super::glob;
use super::{Call, HANDLERS, Handler};
use pointsman_protocol::command::{
    CommandSpec, KeyAccess, KeyPattern, KeySearch, KeySpec, KeysFound, RequestPolicy, ResponsePolicy, all,
    keys, lookup, resolve, subcommand,
};
use pointsman_protocol::resp::{Args, encode};

/// See the module.
pub const COMMANDS: &[(&str, Handler)] = &[
    ("COMMAND", everything),
    ("COMMAND|COUNT", count),
    ("COMMAND|INFO", info),
    ("COMMAND|DOCS", docs),
    ("COMMAND|LIST", list),
    ("COMMAND|GETKEYS", |call| getkeys(call, false)),
    ("COMMAND|GETKEYSANDFLAGS", |call| getkeys(call, true)),
    ("COMMAND|HELP", help),
];

/// The commands that this node carries out, containers with at least one such subcommand included.
fn carried_out() -> impl Iterator<Item = &'static CommandSpec> {
    all().iter().filter(|spec| is_carried_out(spec))
}

fn is_carried_out(spec: &CommandSpec) -> bool {
    HANDLERS.get(usize::from(spec.index)).is_some_and(Option::is_some)
        || spec.subcommands.iter().any(is_carried_out)
}

fn everything(call: &mut Call<'_>) -> Outcome {
    call.reply_array(carried_out().count());
    carried_out().for_each(|spec| describe(call, spec));
    Ok(())
}

fn count(call: &mut Call<'_>) -> Outcome {
    call.reply_integer(carried_out().count() as i64);
    Ok(())
}

/// The row of a name, which may be `parent|child`.
fn named(name: &[u8]) -> Option<&'static CommandSpec> {
    let spec = match name.iter().position(|byte| *byte == b'|') {
        None => lookup(name),
        Some(bar) => lookup(&name[..bar]).and_then(|parent| subcommand(parent, &name[bar + 1..])),
    };
    spec.filter(|spec| is_carried_out(spec))
}

fn info(call: &mut Call<'_>) -> Outcome {
    if call.args.len() == 2 {
        return everything(call);
    }
    call.reply_array(call.args.len() - 2);
    for index in 2..call.args.len() {
        match named(call.arg(index)) {
            Some(spec) => describe(call, spec),
            // A null array in RESP2, unlike other nulls.
            None if call.client.resp3.get() => call.reply_null(),
            None => call.out.extend_from_slice(b"*-1\r\n"),
        }
    }
    Ok(())
}

fn docs(call: &mut Call<'_>) -> Outcome {
    let specs: Vec<_> = if call.args.len() == 2 {
        carried_out().collect()
    } else {
        (2..call.args.len()).filter_map(|index| named(call.arg(index))).collect()
    };
    call.reply_map(specs.len());
    for spec in specs {
        call.reply_bulk(spec.name.to_ascii_lowercase().as_bytes());
        document(call, spec);
    }
    Ok(())
}

/// As much of COMMAND DOCS as the table knows: the subcommands.
fn document(call: &mut Call<'_>, spec: &'static CommandSpec) {
    let children: Vec<_> = spec.subcommands.iter().filter(|child| is_carried_out(child)).collect();
    call.reply_map(1 + usize::from(!children.is_empty()));
    call.reply_bulk(b"summary");
    call.reply_bulk(b"");
    if !children.is_empty() {
        call.reply_bulk(b"subcommands");
        call.reply_map(children.len());
        for child in children {
            call.reply_bulk(child.name.to_ascii_lowercase().as_bytes());
            document(call, child);
        }
    }
}

fn list(call: &mut Call<'_>) -> Outcome {
    let pattern = match call.args.len() {
        2 => None,
        5 if call.is_word(2, "FILTERBY") && call.is_word(3, "PATTERN") => Some(call.arg(4)),
        // There are no modules and no access categories here: nothing belongs to any.
        5 if call.is_word(2, "FILTERBY") && (call.is_word(3, "MODULE") || call.is_word(3, "ACLCAT")) => {
            call.reply_array(0);
            return Ok(());
        }
        _ => return Err(SYNTAX),
    };
    let names: Vec<String> = carried_out()
        .map(|spec| spec.name.to_ascii_lowercase())
        .filter(|name| pattern.is_none_or(|pattern| glob::matches(pattern, name.as_bytes())))
        .collect();
    call.reply_array(names.len());
    names.iter().for_each(|name| call.reply_bulk(name.as_bytes()));
    Ok(())
}

fn getkeys(call: &mut Call<'_>, with_flags: bool) -> Outcome {
    let Some(ranges) = call.args.ranges().get(2..) else { return Err(SYNTAX) };
    let inner = Args::new(call.args.bytes(), ranges);
    let spec = lookup(inner.at(0)).ok_or(Failure::Text("ERR Invalid command specified"))?;
    let spec = match resolve(inner) {
        Ok(spec) => spec,
        Err(_) if spec.keys.is_empty() && !spec.is_container() => spec,
        Err(_) => return Err(Failure::Text("ERR Invalid number of arguments specified for command")),
    };
    if spec.keys.is_empty() {
        return Err(Failure::Text("ERR The command has no key arguments"));
    }
    if !spec.accepts(inner.len()) {
        return Err(Failure::Text("ERR Invalid number of arguments specified for command"));
    }
    let mut found = Vec::new();
    if keys::find(spec, inner, &mut found).is_err() {
        return Err(Failure::Text("ERR Invalid arguments specified for command"));
    }
    call.reply_array(found.len());
    for key in found {
        if with_flags {
            call.reply_array(2);
        }
        call.reply_bulk(inner.at(key.index as usize));
        if with_flags {
            reply_set(call, &key_flags(key.access));
        }
    }
    Ok(())
}

fn key_flags(access: KeyAccess) -> Vec<&'static str> {
    let mut flags = vec![match (access.reads, access.writes) {
        (true, true) => "RW",
        (false, true) => "OW",
        _ => "RO",
    }];
    if access.reads {
        flags.push("access");
    }
    if access.writes {
        flags.push("update");
    }
    if access.not_key {
        flags.push("not_key");
    }
    if access.incomplete {
        flags.push("incomplete");
    }
    flags
}

/// A set in RESP3, an array in RESP2.
fn reply_set_head(call: &mut Call<'_>, count: usize) {
    let start = call.out.len();
    call.reply_array(count);
    if call.client.resp3.get()
        && let Some(head) = call.out.get_mut(start)
    {
        *head = b'~';
    }
}

/// A set of status words.
fn reply_set(call: &mut Call<'_>, words: &[&str]) {
    reply_set_head(call, words.len());
    words.iter().for_each(|word| encode::simple(call.out, word));
}

/// One entry of COMMAND INFO: name, arity, flags, first key, last key, step, access categories, tips, key
/// specifications, subcommands.
fn describe(call: &mut Call<'_>, spec: &'static CommandSpec) {
    call.reply_array(10);
    call.reply_bulk(spec.name.to_ascii_lowercase().as_bytes());
    call.reply_integer(i64::from(spec.arity));
    let words: Vec<_> = spec.flags.words().collect();
    reply_set(call, &words);
    let (first, last, step) = match spec.pattern {
        KeyPattern::None => (0, 0, 0),
        KeyPattern::One(at) => (i64::from(at), i64::from(at), 1),
        KeyPattern::Range { first, last, step } => (i64::from(first), i64::from(last), i64::from(step)),
        KeyPattern::Complex => match spec.keys.first() {
            Some(KeySpec { search: KeySearch::Index(at), .. }) => (i64::from(*at), i64::from(*at), 1),
            _ => (0, 0, 0),
        },
    };
    call.reply_integer(first);
    call.reply_integer(last);
    call.reply_integer(step);
    let category = if spec.is_write() { "@write" } else { "@read" };
    let categories: &[&str] =
        if spec.keys.is_empty() { &["@connection"] } else { std::slice::from_ref(&category) };
    reply_set(call, categories);
    let tips = tips(spec);
    reply_set_head(call, tips.len());
    tips.iter().for_each(|tip| call.reply_bulk(tip.as_bytes()));
    reply_set_head(call, spec.keys.len());
    spec.keys.iter().for_each(|keys| describe_keys(call, keys));
    let children: Vec<_> = spec.subcommands.iter().filter(|child| is_carried_out(child)).collect();
    call.reply_array(children.len());
    children.into_iter().for_each(|child| describe(call, child));
}

fn tips(spec: &CommandSpec) -> Vec<&'static str> {
    let request = match spec.request_policy {
        RequestPolicy::ByKeys => None,
        RequestPolicy::AllNodes => Some("request_policy:all_nodes"),
        RequestPolicy::AllShards => Some("request_policy:all_shards"),
        RequestPolicy::MultiShard => Some("request_policy:multi_shard"),
        RequestPolicy::Special => Some("request_policy:special"),
    };
    let response = match spec.response_policy {
        ResponsePolicy::Default => None,
        ResponsePolicy::OneSucceeded => Some("response_policy:one_succeeded"),
        ResponsePolicy::AllSucceeded => Some("response_policy:all_succeeded"),
        ResponsePolicy::AggLogicalAnd => Some("response_policy:agg_logical_and"),
        ResponsePolicy::AggLogicalOr => Some("response_policy:agg_logical_or"),
        ResponsePolicy::AggMin => Some("response_policy:agg_min"),
        ResponsePolicy::AggMax => Some("response_policy:agg_max"),
        ResponsePolicy::AggSum => Some("response_policy:agg_sum"),
        ResponsePolicy::Special => Some("response_policy:special"),
    };
    request.into_iter().chain(response).collect()
}

fn describe_keys(call: &mut Call<'_>, keys: &KeySpec) {
    let word = |call: &mut Call<'_>, word: &str| call.reply_bulk(word.as_bytes());
    call.reply_map(3);
    word(call, "flags");
    reply_set(call, &key_flags(keys.access));
    word(call, "begin_search");
    call.reply_map(2);
    word(call, "type");
    match keys.search {
        KeySearch::Index(at) => {
            word(call, "index");
            word(call, "spec");
            call.reply_map(1);
            word(call, "index");
            call.reply_integer(i64::from(at));
        }
        KeySearch::Keyword { word: keyword, from } => {
            word(call, "keyword");
            word(call, "spec");
            call.reply_map(2);
            word(call, "keyword");
            word(call, keyword);
            word(call, "startfrom");
            call.reply_integer(i64::from(from));
        }
        KeySearch::Unknown => {
            word(call, "unknown");
            word(call, "spec");
            call.reply_map(0);
        }
    }
    word(call, "find_keys");
    call.reply_map(2);
    word(call, "type");
    match keys.found {
        KeysFound::Range { last, step, limit } => {
            word(call, "range");
            word(call, "spec");
            call.reply_map(3);
            for (name, value) in
                [("lastkey", i64::from(last)), ("keystep", i64::from(step)), ("limit", i64::from(limit))]
            {
                word(call, name);
                call.reply_integer(value);
            }
        }
        KeysFound::Counted { count, first, step } => {
            word(call, "keynum");
            word(call, "spec");
            call.reply_map(3);
            for (name, value) in [("keynumidx", count), ("firstkey", first), ("keystep", step)] {
                word(call, name);
                call.reply_integer(i64::from(value));
            }
        }
        KeysFound::Unknown => {
            word(call, "unknown");
            word(call, "spec");
            call.reply_map(0);
        }
    }
}

fn help(call: &mut Call<'_>) -> Outcome {
    call.reply_help(
        "COMMAND",
        &[
            "(no subcommand)",
            "    Return details about all commands that this server carries out.",
            "COUNT",
            "    Return the total number of commands in this server.",
            "LIST",
            "    Return a list of all commands in this server.",
            "INFO [<command-name> ...]",
            "    Return details about multiple commands.",
            "    If no command names are given, documentation details for all",
            "    commands are returned.",
            "DOCS [<command-name> ...]",
            "    Return documentation details about multiple commands.",
            "    If no command names are given, documentation details for all",
            "    commands are returned.",
            "GETKEYS <full-command>",
            "    Return the keys from a full command.",
            "GETKEYSANDFLAGS <full-command>",
            "    Return the keys and the access flags from a full command.",
        ],
    );
    Ok(())
}
