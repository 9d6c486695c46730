//! The `backends` part of the file: stores by name. It is the largest part, so it stands apart from
//! `check`, whose rules it follows.

use std::time::Duration;

use pointsman_protocol::HostPort;

use crate::addresses::{Claim, Dial, Endpoints};
use crate::check::{Outside, PASSWORD_KEYS, name, not_above, password, unreadable};
use crate::problem::shown;
use crate::reader::{Section, host_port, text_of};
use crate::reference::Kind;
use crate::secret::Secret;
use crate::tree::{Content, Entry, Node};
use crate::trusted::{
    Backend, BackendKind, BreakerLimits, Bundled, Distribution, FailoverHold, Fixed, FixedShard, KeyHash,
    Lag, Pool, Reconnect, Retry, Seeded, Sentinel, TopologyRefresh, UnknownCommands,
};
use crate::units::Unreadable;

/// The name of the backend that is there when the file has none.
const DEFAULT_NAME: &str = "main";

/// All backends, in the order of the file.
pub(crate) fn read(top: &Section<'_>, outside: &Outside<'_>, endpoints: &mut Endpoints) -> Vec<Backend> {
    let Some(entry) = top.entry("backends") else {
        let section = top.reader.section(path(DEFAULT_NAME), "backends.*", None, top.line);
        let bundled = bundled(&section.child("bundled", "backends.*.bundled"), endpoints);
        return vec![backend(DEFAULT_NAME, BackendKind::Bundled(bundled), (None, None), &section)];
    };
    let entries = match &entry.value.content {
        Content::Map(entries) if !entries.is_empty() => entries,
        content => {
            let (wrong, suggestion) = match content {
                Content::Empty | Content::Map(_) => {
                    ("there is no backend", "leave the key out to have one, named main, bundled")
                }
                Content::List(_) => ("a list stands where names should", "write 'main:' instead of '-'"),
                _ => ("a single value stands where names should", "write a name with keys below it"),
            };
            top.refuse("backends", &entry.value, unreadable(wrong, Some(suggestion)));
            return Vec::new();
        }
    };
    let mut seen: Vec<(&str, usize)> = Vec::new();
    let mut backends = Vec::new();
    for entry in entries {
        let Some(name) = named(top, entry, &seen) else { continue };
        seen.push((name, entry.line));
        let section = top.reader.section(path(name), "backends.*", Some(&entry.value), entry.line);
        let (kind, login) = kind(&section, outside, endpoints);
        backends.push(backend(name, kind, login, &section));
    }
    backends
}

/// The user and the password for AUTH.
type Login = (Option<String>, Option<Secret>);

fn path(name: &str) -> String {
    format!("backends.{}", shown(name))
}

/// The name of a backend, if it is one and not one of those `seen` with their lines.
fn named<'r>(top: &Section<'r>, entry: &'r Entry, seen: &[(&str, usize)]) -> Option<&'r str> {
    let Some(text) = entry.key.as_deref() else {
        top.reader.report(top.reader.problem(entry.line, "backends", "a name that is not text"));
        return None;
    };
    let problem = |wrong: String| top.reader.problem(entry.line, path(text), wrong);
    if let Err(error) = name(text) {
        top.reader.report(problem(error.wrong).allowed(Kind::Name.allowed()));
        return None;
    }
    if let Some((_, first)) = seen.iter().find(|(known, _)| *known == text) {
        let wrong = format!("given twice, first on line {first}");
        top.reader.report(problem(wrong).suggest("choose another name"));
        return None;
    }
    Some(text)
}

/// The keys of which exactly one says what a backend is.
const KINDS: [&str; 5] = ["bundled", "cluster", "primary", "sentinel", "fixed"];

/// What the backend is, and how to log in to it.
fn kind(section: &Section<'_>, outside: &Outside<'_>, endpoints: &mut Endpoints) -> (BackendKind, Login) {
    let mut given: Vec<_> = KINDS.iter().filter_map(|name| Some((*name, section.entry(name)?))).collect();
    given.sort_by_key(|(_, entry)| entry.line);
    let one_of = format!("exactly one of {}", KINDS.join(", "));
    if given.is_empty() && KINDS.iter().all(|name| section.lacks(name)) {
        let problem =
            section.reader.problem(section.line, section.path.as_str(), "it is not said what it is");
        section
            .reader
            .report(problem.allowed(&one_of).suggest("write 'bundled: {}' for nodes inside this process"));
    }
    if let Some(((first, _), others)) = given.split_first() {
        for (name, entry) in others {
            let problem =
                section.reader.problem(entry.line, section.key_path(name), format!("{first} is given too"));
            section.reader.report(problem.allowed(&one_of).suggest("use two backends to have both"));
        }
    }
    // With several given, all are read, so that the mistakes of all are told.
    let mut kinds = given.iter().map(|(name, _)| match *name {
        "bundled" => {
            let bundled = bundled(&section.child(name, "backends.*.bundled"), endpoints);
            (BackendKind::Bundled(bundled), (None, None))
        }
        "cluster" => {
            let section = section.child(name, "backends.*.cluster");
            let (seeds, login) = seeded(&section, outside, endpoints);
            (BackendKind::Cluster(seeds), login)
        }
        "primary" => {
            let section = section.child(name, "backends.*.primary");
            let (seeds, login) = seeded(&section, outside, endpoints);
            (BackendKind::Primary(seeds), login)
        }
        "sentinel" => sentinel(&section.child(name, "backends.*.sentinel"), outside, endpoints),
        _ => fixed(&section.child(name, "backends.*.fixed"), outside, endpoints),
    });
    let kind = kinds.next();
    kinds.for_each(drop);
    kind.unwrap_or((
        BackendKind::Cluster(Seeded { seeds: Vec::new(), address_map: Vec::new() }),
        (None, None),
    ))
}

fn bundled(section: &Section<'_>, endpoints: &mut Endpoints) -> Bundled {
    let shards = section.number("shards");
    let replicas = section.number("replicas");
    let port = section.number("node_port");
    let bundled = Bundled {
        shards: shards.value as u16,
        replicas: replicas.value as u16,
        node_port: port.value as u16,
    };
    if !(shards.sound && replicas.sound && port.sound) {
        return bundled;
    }
    // Reported at the port if it was written: the number of nodes is usually the thing that is wanted.
    let line = if port.given { port.line } else { section.line };
    if let Err(wrong) = bundled.check() {
        let problem = section.reader.problem(line, section.key_path("node_port"), wrong).value(port.value);
        section.reader.report(problem.suggest("choose a lower node_port, or fewer nodes"));
    } else {
        let given = port.given || shards.given || replicas.given;
        endpoints.claims.push(Claim::nodes(section.key_path("node_port"), &bundled, line, given));
    }
    bundled
}

/// Nodes that are found through some of them.
fn seeded(section: &Section<'_>, outside: &Outside<'_>, endpoints: &mut Endpoints) -> (Seeded, Login) {
    let seeds = seeds(section, "seeds", endpoints);
    let address_map = address_map(section, endpoints);
    (Seeded { seeds, address_map }, login(section, outside))
}

fn sentinel(section: &Section<'_>, outside: &Outside<'_>, endpoints: &mut Endpoints) -> (BackendKind, Login) {
    let (username, password) = login(&section.child("login", "backends.*.sentinel.login"), outside);
    let sentinel = Sentinel {
        sentinels: seeds(section, "sentinels", endpoints),
        groups: groups(section),
        username,
        password,
        address_map: address_map(section, endpoints),
    };
    (BackendKind::Sentinel(sentinel), login(section, outside))
}

/// The names of the groups that sentinels watch.
fn groups(section: &Section<'_>) -> Vec<String> {
    let mut groups: Vec<String> = Vec::new();
    let Some(nodes) = list(section, "groups", "there is no group", "give the name that the sentinels use")
    else {
        return groups;
    };
    for (index, node) in nodes.iter().enumerate() {
        let key = format!("{}[{index}]", section.key_path("groups"));
        let wrong = match text_of(node, "a name") {
            Ok(text) => match name(text) {
                Ok(()) if groups.iter().any(|known| known == text) => "given twice".to_owned(),
                Ok(()) => {
                    groups.push(text.to_owned());
                    continue;
                }
                Err(error) => error.wrong,
            },
            Err(error) => error.wrong,
        };
        section.reader.report(section.reader.problem(node.line, key, wrong).allowed(Kind::Name.allowed()));
    }
    groups
}

/// Most shards of one backend, far above what one proxy can serve.
const SHARDS_MAX: usize = 1000;

fn fixed(section: &Section<'_>, outside: &Outside<'_>, endpoints: &mut Endpoints) -> (BackendKind, Login) {
    let words =
        [("slots", Distribution::Slots), ("ketama", Distribution::Ketama), ("modula", Distribution::Modula)];
    let distribution = section.choice("distribution", &words, Distribution::Slots);
    let hashes = [
        ("fnv1a_64", KeyHash::Fnv1a64),
        ("fnv1_64", KeyHash::Fnv164),
        ("fnv1a_32", KeyHash::Fnv1a32),
        ("fnv1_32", KeyHash::Fnv132),
        ("md5", KeyHash::Md5),
        ("crc16", KeyHash::Crc16),
        ("crc32", KeyHash::Crc32),
        ("crc32a", KeyHash::Crc32a),
        ("one_at_a_time", KeyHash::OneAtATime),
    ];
    let hash = section.choice("hash", &hashes, KeyHash::Fnv1a64);
    let hash_tag = section.text("hash_tag", |text| match text.as_bytes() {
        [_, _] => Ok(()),
        _ => Err(unreadable("not two characters", Some("write \"{}\", or leave it out"))),
    });
    let by_slots = distribution.sound && distribution.value == Distribution::Slots;
    let only_with = |section: &Section<'_>, names: &[&str], with: &str| {
        for (name, entry) in names.iter().filter_map(|name| Some((name, section.entry(name)?))) {
            let wrong = format!("it is only used with distribution: {with}");
            let problem = section.reader.problem(entry.line, section.key_path(name), wrong);
            section.reader.report(problem.suggest("leave it out, or say which distribution"));
        }
    };
    if by_slots {
        only_with(section, &["hash", "hash_tag"], "ketama or modula");
    }
    let nodes = list(section, "shards", "there is no shard", "begin each shard with '- seeds:'");
    let mut shards: Vec<FixedShard> = Vec::new();
    for (index, node) in nodes.unwrap_or_default().iter().enumerate() {
        let path = format!("{}[{index}]", section.key_path("shards"));
        let shard = section.reader.section(path, "backends.*.fixed.shards[]", Some(node), node.line);
        if by_slots {
            only_with(&shard, &["name", "weight"], "ketama or modula");
        }
        let seeds = seeds(&shard, "seeds", endpoints);
        let name = shard.text("name", |text| match text {
            "" => Err(unreadable("empty", None)),
            _ => Ok(()),
        });
        let (line, given) = (name.line, name.given);
        let name = name.value.unwrap_or_else(|| seeds.first().map(ring_name).unwrap_or_default());
        let first = shards.iter().position(|known| known.name == name && !name.is_empty());
        if let (Some(first), Distribution::Ketama | Distribution::Modula) = (first, distribution.value) {
            let key = shard.key_path(if given { "name" } else { "seeds" });
            let problem = shard.reader.problem(line, key, format!("shards[{first}] has this name already"));
            shard.reader.report(problem.value(&name).suggest("give each shard a name of its own"));
        }
        let weight = Some(shard.number("weight")).filter(|weight| weight.given && weight.sound);
        shards.push(FixedShard { seeds, name, weight: weight.map_or(1, |weight| weight.value as u16) });
    }
    if let Some(node) = nodes.and_then(|nodes| nodes.get(SHARDS_MAX)) {
        let wrong = format!("there are more than {SHARDS_MAX} shards");
        section.reader.report(section.reader.problem(node.line, section.key_path("shards"), wrong));
    }
    let hash_tag = hash_tag.value.and_then(|text| match text.as_bytes() {
        [open, close] => Some((*open, *close)),
        _ => None,
    });
    let fixed = Fixed {
        shards,
        distribution: distribution.value,
        hash: hash.value,
        hash_tag,
        address_map: address_map(section, endpoints),
    };
    (BackendKind::Fixed(fixed), login(section, outside))
}

/// What twemproxy makes a server's points of when it has no name: with the port that memcached usually has,
/// the host alone.
fn ring_name(address: &HostPort) -> String {
    const MEMCACHED: u16 = 11211;
    if address.port() == MEMCACHED { address.host().to_owned() } else { address.to_string() }
}

/// The user and the password of a section.
fn login(section: &Section<'_>, outside: &Outside<'_>) -> Login {
    let username = section.text("username", |text| match text {
        "" => Err(unreadable("empty", None)),
        _ => Ok(()),
    });
    if username.given && PASSWORD_KEYS.iter().all(|name| section.lacks(name)) {
        let problem =
            section.reader.problem(username.line, section.key_path("username"), "a user without a password");
        section.reader.report(problem.suggest("give password, password_env or password_file too"));
    }
    (username.value, password(section, outside))
}

/// The entries of a list that has to be given and may not be empty; `empty` and `way_out` say so.
fn pool(section: &Section<'_>) -> Pool {
    let millis = |name| Duration::from_millis(section.number(name).value);
    Pool {
        max_active: section.number("max_active").value as usize,
        max_idle: section.number("max_idle").value as usize,
        connect_timeout: millis("connect_timeout_ms"),
        wait: millis("wait_ms"),
    }
}

pub(crate) fn list<'r>(section: &Section<'r>, name: &str, empty: &str, way_out: &str) -> Option<&'r [Node]> {
    let Some(entry) = section.entry(name) else {
        if section.lacks(name) {
            let mut problem =
                section.reader.problem(section.line, section.key_path(name), "it has to be given");
            if let Some(key) = crate::reference::key(section.table, name) {
                problem = problem.allowed(key.kind.allowed());
            }
            section.reader.report(problem.suggest(way_out));
        }
        return None;
    };
    let error = match &entry.value.content {
        Content::List(nodes) if !nodes.is_empty() => return Some(nodes),
        Content::Plain(_) | Content::Quoted(_) => unreadable("not a list", Some("put it into [ ]")),
        Content::Map(_) | Content::Tagged(_) => unreadable("not a list", None),
        Content::Empty | Content::List(_) => unreadable(empty, Some(way_out)),
    };
    section.refuse(name, &entry.value, error);
    None
}

fn seeds(section: &Section<'_>, name: &str, endpoints: &mut Endpoints) -> Vec<HostPort> {
    let what = if name == "sentinels" { "sentinel" } else { "node" };
    let way_out = format!("give the address of at least one {what}");
    let Some(nodes) = list(section, name, "there is no seed", &way_out) else { return Vec::new() };
    let mut seeds: Vec<HostPort> = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let key = format!("{}[{index}]", section.key_path(name));
        let Some(address) = address(section, &key, node) else { continue };
        if let Some(first) = seeds.iter().position(|known| *known == address) {
            let problem =
                section.reader.problem(node.line, key, format!("given twice, first as seed {first}"));
            section.reader.report(problem.value(&address).suggest("keep one of them"));
            continue;
        }
        endpoints.dials.push(Dial { key, line: node.line, to: address.clone() });
        seeds.push(address);
    }
    seeds
}

fn address_map(section: &Section<'_>, endpoints: &mut Endpoints) -> Vec<(HostPort, HostPort)> {
    let Some(entry) = section.entry("address_map") else { return Vec::new() };
    let entries = match &entry.value.content {
        Content::Map(entries) => entries,
        Content::Empty => return Vec::new(),
        _ => {
            section.refuse("address_map", &entry.value, unreadable("not a map", None));
            return Vec::new();
        }
    };
    let mut map: Vec<(HostPort, HostPort)> = Vec::new();
    for entry in entries {
        let written = entry.key.clone().unwrap_or_default();
        let key = format!("{}[\"{}\"]", section.key_path("address_map"), shown(&written));
        let announced = match &entry.key {
            Some(text) => host_port(text).map_err(|error| Unreadable {
                wrong: format!("the announced address: {}", error.wrong),
                suggestion: error.suggestion,
            }),
            None => Err(unreadable("the announced address is not text", Some("put it into quotes"))),
        };
        let announced = report(section, &key, entry.line, announced);
        let reached = address(section, &key, &entry.value);
        let (Some(announced), Some(reached)) = (announced, reached) else { continue };
        if map.iter().any(|(known, _)| *known == announced) {
            let problem = section.reader.problem(entry.line, key, "this address is given twice");
            section.reader.report(problem.suggest("keep one of them"));
            continue;
        }
        endpoints.dials.push(Dial { key, line: entry.value.line, to: reached.clone() });
        map.push((announced, reached));
    }
    map
}

/// The address that stands at `node`; a wrong one is reported.
fn address(section: &Section<'_>, key: &str, node: &Node) -> Option<HostPort> {
    match text_of(node, "host:port") {
        Ok(text) => {
            let result = host_port(text);
            let value = result.is_err().then_some(text);
            report_with(section, key, node.line, result, value)
        }
        Err(error) => report(section, key, node.line, Err(error)),
    }
}

fn report<T>(section: &Section<'_>, key: &str, line: usize, result: Result<T, Unreadable>) -> Option<T> {
    report_with(section, key, line, result, None)
}

fn report_with<T>(
    section: &Section<'_>,
    key: &str,
    line: usize,
    result: Result<T, Unreadable>,
    value: Option<&str>,
) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let mut problem = section.reader.problem(line, key, error.wrong).allowed("host:port");
            problem.suggestion = error.suggestion;
            section.reader.report(match value {
                Some(value) => problem.value(value),
                None => problem,
            });
            None
        }
    }
}

fn backend(name: &str, kind: BackendKind, (username, password): Login, section: &Section<'_>) -> Backend {
    let millis = |name| Duration::from_millis(section.number(name).value);
    Backend {
        name: name.to_owned(),
        kind,
        username,
        password,
        connections_per_node: section.number("connections_per_node").value as u16,
        connect_timeout: millis("connect_timeout_ms"),
        request_timeout: millis("request_timeout_ms"),
        stall_timeout: millis("stall_timeout_ms"),
        reconnect: reconnect(&section.child("reconnect", "backends.*.reconnect")),
        retry: retry(&section.child("retry", "backends.*.retry")),
        breaker: breaker(section),
        failover_hold: FailoverHold {
            time: millis("failover_hold_ms"),
            requests_max: section.number("failover_hold_requests_max").value as usize,
            bytes_max: section.number("failover_hold_bytes_max").value as usize,
        },
        inflight_bytes_max: section.number("inflight_bytes_max").value as usize,
        inflight_max: section.number("inflight_max").value as usize,
        reply_bytes_max: section.number("reply_bytes_max").value as usize,
        pool: pool(&section.child("pool", "backends.*.pool")),
        script_count_max: section.number("script_count_max").value as usize,
        script_bytes_max: section.number("script_bytes_max").value as usize,
        subscriptions_max: section.number("subscriptions_max").value as usize,
        tracking_keys_max: section.number("tracking_keys_max").value as usize,
        tracking_bytes_max: section.number("tracking_bytes_max").value as usize,
        monitor_per_second: section.number("monitor_per_second").value as u32,
        databases_max: section.number("databases_max").value as u16,
        unknown_commands: section
            .choice(
                "unknown_commands",
                &[("refuse", UnknownCommands::Refuse), ("first_key", UnknownCommands::FirstKey)],
                UnknownCommands::Refuse,
            )
            .value,
        topology: topology(&section.child("topology", "backends.*.topology")),
        lag: lag(&section.child("lag", "backends.*.lag")),
    }
}

fn reconnect(section: &Section<'_>) -> Reconnect {
    let (backoff, backoff_max) = ordered_millis(section, "backoff_ms", "backoff_max_ms");
    Reconnect { backoff, backoff_max, per_second: section.number("per_second").value as u32 }
}

fn retry(section: &Section<'_>) -> Retry {
    let (backoff, backoff_max) = ordered_millis(section, "backoff_ms", "backoff_max_ms");
    Retry {
        redirects_max: section.number("redirects_max").value as u32,
        attempts_max: section.number("attempts_max").value as u32,
        backoff,
        backoff_max,
        budget_percent: section.number("budget_percent").value as u32,
        budget_min: section.number("budget_min").value as u32,
    }
}

fn breaker(backend: &Section<'_>) -> Option<BreakerLimits> {
    if let Some(entry) = backend.entry("breaker")
        && let Content::Plain(text) | Content::Quoted(text) = &entry.value.content
    {
        if text != "off" {
            let wrong = "a single value stands where keys below it should";
            backend.refuse("breaker", &entry.value, unreadable(wrong, Some("write off, or leave it out")));
        }
        return None;
    }
    let section = backend.child("breaker", "backends.*.breaker");
    let (open, open_max) = ordered_millis(&section, "open_ms", "open_max_ms");
    Some(BreakerLimits {
        failures: section.number("failures").value as u32,
        failure_percent: section.number("failure_percent").value as u32,
        window: Duration::from_millis(section.number("window_ms").value),
        requests_min: section.number("requests_min").value as u32,
        open,
        open_max,
    })
}

fn topology(section: &Section<'_>) -> TopologyRefresh {
    let (min_interval, interval) = ordered_millis(section, "refresh_min_interval_ms", "refresh_interval_ms");
    TopologyRefresh { interval, min_interval }
}

fn lag(section: &Section<'_>) -> Lag {
    let (interval, stale_after) = ordered_millis(section, "interval_ms", "stale_after_ms");
    Lag { interval, stale_after }
}

/// Two durations of which the first may not be above the second.
fn ordered_millis(section: &Section<'_>, low: &str, high: &str) -> (Duration, Duration) {
    let (low_value, high_value) = (section.number(low), section.number(high));
    not_above(section, (low, &low_value), (high, &high_value));
    (Duration::from_millis(low_value.value), Duration::from_millis(high_value.value))
}
