//! COMMAND and its subcommands, from the table that also routes: a client that cuts requests by it and
//! the proxy cannot disagree about keys. Of the table only what the nodes have, where they tell
//! ([`crate::health::commands`]), and what they have beyond it.
//!
//! It keeps no documentation: COMMAND DOCS is answered by a node where there are nodes that have it, and
//! empty otherwise; clients use it for hints only.

use super::{Answer, Refused, words};
use crate::backend::connection::ClientKey;
use crate::worker::router::Router;
use pointsman_config::BackendKind;
use pointsman_protocol::command::{
    self, Announced, CommandSpec, Flags, KeyAccess, KeySearch, KeySpec, KeysFound, keys,
};
use pointsman_protocol::glob;
use pointsman_protocol::resp::{Args, encode};
use std::sync::Arc;

/// Answers COMMAND and its subcommands.
pub fn command(
    router: &mut Router,
    key: ClientKey,
    spec: &'static CommandSpec,
    args: Args<'_>,
    resp3: bool,
    out: &mut Vec<u8>,
) -> Result<Answer, Refused> {
    let known = Known(router.context.commands.load());
    match spec.name {
        "COMMAND|COUNT" => encode::integer(out, known.commands().len() as i64),
        // Only a node knows which module a command is of.
        "COMMAND|LIST" if args.len() == 5 && asks_for_module(args) && has_modules(router) => {
            router.send_to_anyone(key, spec, args);
            return Ok(Answer::Later);
        }
        "COMMAND|LIST" => list(&known, args, out)?,
        "COMMAND|INFO" if args.len() > 2 => {
            encode::array_head(out, args.len() - 2);
            for name in args.iter().skip(2) {
                match known.named(name) {
                    Some(spec) => describe(&known, spec, resp3, out),
                    None => encode::null(out, resp3),
                }
            }
        }
        "COMMAND" | "COMMAND|INFO" => {
            let all = known.commands();
            encode::array_head(out, all.len());
            all.iter().for_each(|spec| describe(&known, spec, resp3, out));
        }
        "COMMAND|DOCS" => match router.context.config.kind {
            BackendKind::Bundled(_) => encode::map_head(out, 0, resp3),
            _ => {
                router.send_to_anyone(key, spec, args);
                return Ok(Answer::Later);
            }
        },
        "COMMAND|GETKEYS" | "COMMAND|GETKEYSANDFLAGS" => {
            let flags = spec.name == "COMMAND|GETKEYSANDFLAGS";
            get_keys(&known, args, flags, resp3, out)?;
        }
        _ => return Err(super::refusal(crate::route::plan::Refusal::NotThroughProxy(spec), args)),
    }
    Ok(Answer::Ready)
}

/// True for `COMMAND LIST FILTERBY MODULE name`.
fn asks_for_module(args: Args<'_>) -> bool {
    args.at(2).eq_ignore_ascii_case(b"FILTERBY") && args.at(3).eq_ignore_ascii_case(b"MODULE")
}

fn has_modules(router: &Router) -> bool {
    !matches!(router.context.config.kind, BackendKind::Bundled(_))
}

/// The commands there are: those of the table, as far as the nodes have them, and what else they have.
struct Known(Arc<Announced>);

impl Known {
    /// Where no node tells, all of the table.
    fn has(&self, spec: &CommandSpec) -> bool {
        // Of the proxy's own, these came later than most servers.
        let ours = matches!(spec.name, "CLIENT|SETINFO" | "CLIENT|NO-TOUCH" | "CLIENT|CAPA");
        self.0.is_empty() || self.0.has(spec.name) || ours
    }

    /// The row of `get` or `client|id`.
    fn named(&self, name: &[u8]) -> Option<&'static CommandSpec> {
        let row = match name.iter().position(|byte| *byte == b'|') {
            None => command::lookup(name),
            Some(bar) => command::lookup(&name[..bar])
                .and_then(|container| command::subcommand(container, &name[bar + 1..])),
        };
        row.filter(|spec| self.has(spec)).or_else(|| self.0.row(name))
    }

    /// All of them, sorted, without subcommands.
    fn commands(&self) -> Vec<&'static CommandSpec> {
        let mut all: Vec<_> = command::all().iter().filter(|spec| self.has(spec)).collect();
        let is_new =
            |spec: &&CommandSpec| !spec.name.contains('|') && command::lookup(spec.name.as_bytes()).is_none();
        all.extend(self.0.rows().filter(is_new));
        all.sort_unstable_by_key(|spec| spec.name);
        all
    }

    /// The subcommands of one of them, sorted.
    fn subcommands(&self, container: &CommandSpec) -> Vec<&'static CommandSpec> {
        let mut all: Vec<&'static CommandSpec> =
            container.subcommands.iter().filter(|spec| self.has(spec)).collect();
        let is_new = |spec: &&CommandSpec| {
            let own = spec.name.strip_prefix(container.name).is_some_and(|rest| rest.starts_with('|'));
            own && container.subcommands.iter().all(|known| known.name != spec.name)
        };
        all.extend(self.0.rows().filter(is_new));
        all.sort_unstable_by_key(|spec| spec.name);
        all
    }
}

/// `COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern]`.
fn list(known: &Known, args: Args<'_>, out: &mut Vec<u8>) -> Result<(), Refused> {
    let matches: Box<dyn Fn(&str) -> bool> = if args.len() == 2 {
        // Without a filter subcommands are not listed.
        Box::new(|name| !name.contains('|'))
    } else if args.len() == 5 && args.at(2).eq_ignore_ascii_case(b"FILTERBY") {
        let wanted = args.at(4).to_ascii_lowercase();
        match args.at(3).to_ascii_lowercase().as_slice() {
            // Without modules no command is one's.
            b"module" => Box::new(|_| false),
            b"aclcat" => Box::new(move |name| {
                let categories = words::of(name).map_or("", |words| words.categories);
                categories.split(' ').any(|category| category.as_bytes() == wanted)
            }),
            b"pattern" => Box::new(move |name| glob::matches(&wanted, name.as_bytes())),
            _ => return Err("ERR syntax error".into()),
        }
    } else {
        return Err("ERR syntax error".into());
    };
    let rows = known.commands().into_iter().flat_map(|spec| [vec![spec], known.subcommands(spec)].concat());
    let found: Vec<String> = rows.map(|spec| spec.name.to_lowercase()).filter(|name| matches(name)).collect();
    encode::array_head(out, found.len());
    found.iter().for_each(|name| encode::bulk(out, name.as_bytes()));
    Ok(())
}

/// `COMMAND GETKEYS request...`, with what is done to each key if `flags`.
fn get_keys(
    known: &Known,
    args: Args<'_>,
    flags: bool,
    resp3: bool,
    out: &mut Vec<u8>,
) -> Result<(), Refused> {
    let asked = Args::new(args.bytes(), args.ranges().get(2..).unwrap_or_default());
    let spec =
        command::lookup_args(asked).or_else(|| known.0.find(asked)).ok_or("ERR Invalid command specified")?;
    if !spec.keys.iter().any(|key| !key.access.not_key) {
        return Err("ERR The command has no key arguments".into());
    }
    if !spec.accepts(asked.len()) {
        return Err("ERR Invalid number of arguments specified for command".into());
    }
    let mut found = Vec::new();
    let understood = keys::find(spec, asked, &mut found).is_ok();
    found.retain(|key| !key.access.not_key);
    if found.is_empty() || !understood {
        if spec.flags.has(Flags::NO_MANDATORY_KEYS) {
            encode::array_head(out, 0);
            return Ok(());
        }
        return Err("ERR Invalid arguments specified for command".into());
    }
    encode::array_head(out, found.len());
    for key in &found {
        let name = asked.at(key.index as usize);
        if flags {
            encode::array_head(out, 2);
            encode::bulk(out, name);
            words_of(key_flags(spec, key.access), resp3, out);
        } else {
            encode::bulk(out, name);
        }
    }
    Ok(())
}

/// What is done to a key in Redis' words: those of the command's key specification that does just that, or
/// where the arguments made it less, what is left.
fn key_flags(spec: &CommandSpec, access: KeyAccess) -> &'static str {
    let does = |key: &&KeySpec| key.access.reads == access.reads && key.access.writes == access.writes;
    let place = spec.keys.iter().position(|key| does(&key) && !key.varies);
    let known = words::of(&spec.name.to_lowercase()).map(|words| words.keys);
    match (place, known) {
        (Some(place), Some(known)) if known.len() == spec.keys.len() => known[place].0,
        _ => default_key_flags(access),
    }
}

fn default_key_flags(access: KeyAccess) -> &'static str {
    match (access.reads, access.writes) {
        (false, false) => "RO",
        (true, false) => "RO access",
        (false, true) => "OW update",
        (true, true) => "RW access update",
    }
}

/// The categories that follow from flags, for commands of which no more is known.
fn default_categories(spec: &CommandSpec) -> String {
    let has = |flag| spec.flags.has(flag);
    [
        (has(Flags::READONLY), "read"),
        (has(Flags::WRITE), "write"),
        (has(Flags::ADMIN), "admin"),
        (has(Flags::PUBSUB), "pubsub"),
        (has(Flags::BLOCKING), "blocking"),
        (has(Flags::FAST), "fast"),
        (!has(Flags::FAST), "slow"),
        (has(Flags::ADMIN), "dangerous"),
    ]
    .into_iter()
    .filter_map(|(is, category)| is.then_some(category))
    .collect::<Vec<_>>()
    .join(" ")
}

/// One row, in the shape of COMMAND INFO: name, arity, flags, first key, last key, step, categories,
/// tips, key specifications and subcommands.
fn describe(there: &Known, spec: &CommandSpec, resp3: bool, out: &mut Vec<u8>) {
    let name = spec.name.to_lowercase();
    let known = words::of(&name);
    encode::array_head(out, 10);
    encode::bulk(out, name.as_bytes());
    encode::integer(out, i64::from(spec.arity));
    let flags: Vec<&str> = spec.flags.without(Flags::MAY_REPLICATE).words().collect();
    words_of(&flags.join(" "), resp3, out);
    let (first, last, step) = range_of(spec.keys);
    [first, last, step].into_iter().for_each(|number| encode::integer(out, number));
    let categories = known.map_or_else(|| default_categories(spec), |words| words.categories.to_owned());
    let categories: Vec<String> = categories
        .split(' ')
        .filter(|word| !word.is_empty())
        .map(|category| format!("@{category}"))
        .collect();
    words_of(&categories.join(" "), resp3, out);
    let tips: Vec<&str> =
        known.map_or("", |words| words.tips).split(' ').filter(|word| !word.is_empty()).collect();
    set_head(tips.len(), resp3, out);
    tips.iter().for_each(|tip| encode::bulk(out, tip.as_bytes()));
    set_head(spec.keys.len(), resp3, out);
    for (place, key) in spec.keys.iter().enumerate() {
        let known = known.and_then(|words| words.keys.get(place));
        describe_key(key, known.copied(), resp3, out);
    }
    // An empty set, but an array of what there is: so Redis has it.
    let subcommands = there.subcommands(spec);
    set_head(subcommands.len(), resp3 && subcommands.is_empty(), out);
    subcommands.iter().for_each(|sub| describe(there, sub, resp3, out));
}

fn describe_key(key: &KeySpec, known: Option<(&'static str, &'static str)>, resp3: bool, out: &mut Vec<u8>) {
    let (flags, notes) = known.unwrap_or((default_key_flags(key.access), ""));
    encode::map_head(out, if notes.is_empty() { 3 } else { 4 }, resp3);
    if !notes.is_empty() {
        encode::bulk(out, b"notes");
        encode::bulk(out, notes.as_bytes());
    }
    encode::bulk(out, b"flags");
    words_of(flags, resp3, out);
    let mut part = |name: &str, kind: &str, fields: &[(&str, Value)]| {
        encode::bulk(out, name.as_bytes());
        encode::map_head(out, 2, resp3);
        encode::bulk(out, b"type");
        encode::bulk(out, kind.as_bytes());
        encode::bulk(out, b"spec");
        encode::map_head(out, fields.len(), resp3);
        for (field, value) in fields {
            encode::bulk(out, field.as_bytes());
            match value {
                Value::Number(number) => encode::integer(out, *number),
                Value::Word(word) => encode::bulk(out, word.as_bytes()),
            }
        }
    };
    use Value::{Number, Word};
    match key.search {
        KeySearch::Index(at) => part("begin_search", "index", &[("index", Number(at.into()))]),
        KeySearch::Keyword { word, from } => {
            part("begin_search", "keyword", &[("keyword", Word(word)), ("startfrom", Number(from.into()))]);
        }
        KeySearch::Unknown => part("begin_search", "unknown", &[]),
    }
    match key.found {
        KeysFound::Range { last, step, limit } => part(
            "find_keys",
            "range",
            &[
                ("lastkey", Number(last.into())),
                ("keystep", Number(step.into())),
                ("limit", Number(limit.into())),
            ],
        ),
        KeysFound::Counted { count, first, step } => part(
            "find_keys",
            "keynum",
            &[
                ("keynumidx", Number(count.into())),
                ("firstkey", Number(first.into())),
                ("keystep", Number(step.into())),
            ],
        ),
        KeysFound::Unknown => part("find_keys", "unknown", &[]),
    }
}

/// A field of a key specification.
enum Value {
    Number(i64),
    Word(&'static str),
}

/// First key, last key and step, as servers before key specifications told them: of the specifications
/// with fixed places, what one range can say.
fn range_of(specs: &[KeySpec]) -> (i64, i64, i64) {
    let fixed = |spec: &KeySpec| match (spec.search, spec.found) {
        (KeySearch::Index(first), KeysFound::Range { last, step, .. }) => {
            let (first, last) = (i64::from(first), i64::from(last));
            Some((first, if last >= 0 { first + last } else { last }, i64::from(step)))
        }
        _ => None,
    };
    if let [only] = specs {
        return fixed(only).unwrap_or((0, 0, 0));
    }
    let mut range: Option<(i64, i64)> = None;
    for (first, last, step) in specs.iter().filter_map(fixed) {
        if step != 1 {
            continue;
        }
        range = match range {
            None => Some((first, last)),
            // Counted from the end is behind everything counted from the start.
            Some((before, until)) if first == until + 1 => {
                Some((before, if last < 0 { last } else { last.max(until) }))
            }
            range => range,
        };
    }
    range.map_or((0, 0, 0), |(first, last)| (first, last, 1))
}

fn set_head(count: usize, resp3: bool, out: &mut Vec<u8>) {
    if resp3 {
        out.extend_from_slice(format!("~{count}\r\n").as_bytes());
    } else {
        encode::array_head(out, count);
    }
}

/// Words parted by spaces as a set of simple strings (an array in RESP2).
fn words_of(words: &str, resp3: bool, out: &mut Vec<u8>) {
    let words: Vec<&str> = words.split(' ').filter(|word| !word.is_empty()).collect();
    set_head(words.len(), resp3, out);
    words.iter().for_each(|word| encode::simple(out, word));
}
