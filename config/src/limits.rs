//! The `limits` of a listener: what clients may ask for in a while. It also reads what a limit (or anything else that
//! holds for some requests only) applies to. It judges nothing at run time; the proxy does.

use crate::backends::list;
use crate::check::{name, unreadable};
use crate::reader::{Section, text_of};
use crate::reference::{self, Kind};
use crate::suggest::{did_you_mean, nearest};
use crate::tree::Content;
use pointsman_protocol::command;
use std::time::Duration;

/// Most limits of one listener.
pub const LIMITS_MAX: usize = 16;

/// How long a limit's allowance may be saved up where the file does not say, in milliseconds.
const BURST_MS: u64 = 1000;

/// The categories that servers know, as ACL CAT tells them.
const CATEGORIES: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// Which requests something holds for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Those with a key that begins so; empty for all.
    pub prefix: Vec<u8>,
    /// Those of these commands: names in upper case (`CLIENT|LIST`), or categories in lower case (`@read`); empty
    /// for all.
    pub commands: Vec<String>,
}

/// Whose requests are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitPer {
    /// All clients of the listener.
    Listener,
    /// All that connect from one address.
    Address,
    /// Each connection for itself.
    Client,
}

/// A limit on what clients may ask for. At least one of the three is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What it is called in errors and metrics; no two of a listener are the same.
    pub name: String,
    /// Whose requests are counted together.
    pub per: LimitPer,
    /// Which requests it counts.
    pub scope: Scope,
    /// Requests in a second.
    pub requests_per_second: Option<u32>,
    /// Bytes in a second.
    pub bytes_per_second: Option<u64>,
    /// Requests that are not answered yet.
    pub inflight_max: Option<u32>,
    /// For how long what was not used may be saved up.
    pub burst: Duration,
}

/// The limits of a listener, in the order of the file.
pub(crate) fn read(listener: &Section<'_>) -> Vec<Limit> {
    if listener.entry("limits").is_none() {
        return Vec::new();
    }
    let nodes = list(listener, "limits", "there is no limit", "leave the key out to have none");
    let nodes = nodes.unwrap_or_default();
    let mut limits: Vec<Limit> = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let path = format!("{}[{index}]", listener.key_path("limits"));
        let section = listener.reader.section(path, "listeners[].limits[]", Some(node), node.line);
        let limit = limit(&section);
        if let Some(first) =
            limits.iter().position(|known| known.name == limit.name && !known.name.is_empty())
        {
            let wrong = format!("limits[{first}] has this name already");
            let problem = section.reader.problem(section.line, section.key_path("name"), wrong);
            section.reader.report(problem.value(&limit.name).suggest("give each limit a name of its own"));
        }
        limits.push(limit);
    }
    if let Some(node) = nodes.get(LIMITS_MAX) {
        let wrong = format!("there are more than {LIMITS_MAX} limits");
        listener.reader.report(listener.reader.problem(node.line, listener.key_path("limits"), wrong));
    }
    limits
}

fn limit(section: &Section<'_>) -> Limit {
    let label = section.text("name", name);
    if section.lacks("name") {
        let problem = section.reader.problem(section.line, section.key_path("name"), "it has to be given");
        section.reader.report(problem.allowed(Kind::Name.allowed()).suggest("errors and metrics show it"));
    }
    let number = |name: &str| Some(section.number(name)).filter(|number| number.given);
    let (requests, bytes) = (number("requests_per_second"), number("bytes_per_second"));
    let (inflight, burst) = (number("inflight_max"), number("burst_ms"));
    let bounds = ["requests_per_second", "bytes_per_second", "inflight_max"];
    if bounds.iter().all(|bound| section.lacks(bound)) {
        let problem = section.reader.problem(section.line, section.path.as_str(), "it limits nothing");
        section.reader.report(problem.allowed(format!("at least one of {}", bounds.join(", "))));
    }
    let words =
        [("listener", LimitPer::Listener), ("address", LimitPer::Address), ("client", LimitPer::Client)];
    Limit {
        name: label.value.unwrap_or_default(),
        per: section.choice("per", &words, LimitPer::Client).value,
        scope: scope(section),
        requests_per_second: requests.map(|number| u32::try_from(number.value).unwrap_or(u32::MAX)),
        bytes_per_second: bytes.map(|number| number.value),
        inflight_max: inflight.map(|number| u32::try_from(number.value).unwrap_or(u32::MAX)),
        burst: Duration::from_millis(burst.map_or(BURST_MS, |number| number.value)),
    }
}

/// What a section with `prefix` and `commands` holds for.
pub(crate) fn scope(section: &Section<'_>) -> Scope {
    let prefix = section.text("prefix", |text| match text {
        "" => Err(unreadable("empty", Some("leave it out to have all keys"))),
        _ => Ok(()),
    });
    Scope { prefix: prefix.value.unwrap_or_default().into_bytes(), commands: commands(section) }
}

fn commands(section: &Section<'_>) -> Vec<String> {
    if section.entry("commands").is_none() {
        return Vec::new();
    }
    let nodes = list(section, "commands", "there is no command", "leave the key out to have all commands");
    let mut commands = Vec::new();
    for (index, node) in nodes.unwrap_or_default().iter().enumerate() {
        let (wrong, suggestion) = match text_of(node, "a name") {
            Ok(text) => match command_of(text) {
                Ok(command) => {
                    commands.push(command);
                    continue;
                }
                Err(meant) => ("there is no such command or category".to_owned(), meant.map(did_you_mean)),
            },
            Err(error) => (error.wrong, error.suggestion),
        };
        let key = format!("{}[{index}]", section.key_path("commands"));
        let mut problem = section.reader.problem(node.line, key, wrong);
        if let Content::Plain(text) | Content::Quoted(text) = &node.content {
            // What stands before an @ is taken for a password where values are shown.
            problem = problem.value(text.trim_start_matches('@'));
        }
        problem.suggestion = suggestion;
        let allowed = "names of commands, and categories as \"@read\"";
        section.reader.report(problem.allowed(allowed));
    }
    commands
}

/// The name or category in its own form, or what was probably meant. Names with a dot are those of modules, of which
/// only the nodes know.
fn command_of(text: &str) -> Result<String, Option<&'static str>> {
    if let Some(category) = text.strip_prefix('@') {
        let category = category.to_ascii_lowercase();
        return match CATEGORIES.contains(&category.as_str()) {
            true => Ok(format!("@{category}")),
            false => Err(nearest(&category, CATEGORIES)),
        };
    }
    let upper = text.to_ascii_uppercase();
    let (parent, child) =
        upper.split_once('|').map_or((upper.as_str(), None), |(parent, child)| (parent, Some(child)));
    let known = match (command::lookup(parent.as_bytes()), child) {
        (Some(spec), Some(child)) => command::subcommand(spec, child.as_bytes()).is_some(),
        (Some(_), None) => true,
        (None, _) => parent.contains('.') && child.is_none(),
    };
    match known {
        true => Ok(upper),
        false => Err(nearest(&upper, command::all().iter().map(|spec| spec.name))),
    }
}

/// The rows of the table of keys that a scope has, in words.
pub(crate) const PREFIX: reference::Key = reference::Key {
    name: "prefix",
    kind: Kind::Text,
    default: reference::Default::Note("all keys"),
    meaning: "Only requests with a key that begins so.",
};

/// See [`PREFIX`].
pub(crate) const COMMANDS: reference::Key = reference::Key {
    name: "commands",
    kind: Kind::Names,
    default: reference::Default::Note("all commands"),
    meaning: "Only these commands: names (`get`, `set`) or categories as `ACL CAT` has them (`\"@write\"`, in quotes).",
};

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
