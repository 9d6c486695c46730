//! The tree becomes a [`Config`]: every key is read, every rule between keys is judged, and all that
//! is wrong is reported together. A rule between two keys is judged only where both are right by
//! themselves, so one mistake gives one finding.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use pointsman_protocol::HostPort;

use crate::addresses::{self, Claim, Endpoints};
use crate::backends;
use crate::limits as rate_limits;
use crate::problem::Problem;
use crate::reader::{Reader, Section, Value};
use crate::secret::Secret;
use crate::suggest::{did_you_mean, nearest};
use crate::tree::{Content, Node};
use crate::trusted::{
    Admin, Backend, ClientLimits, Config, CrossSlot, Listener, Log, LogFormat, MultiAcrossSlots, ReadPolicy,
    Reads,
};
use crate::units::Unreadable;

/// Longest name of a listener or backend; names become metric labels.
const NAME_CHARS_MAX: usize = 64;

/// The keys that may say a password; at most one of them in a section.
pub(crate) const PASSWORD_KEYS: [&str; 3] = ["password", "password_env", "password_file"];

/// What lies outside the file: passwords may be kept elsewhere.
pub(crate) struct Outside<'o> {
    /// The value of an environment variable.
    pub env: &'o dyn Fn(&str) -> Option<String>,
    /// The text of a file.
    pub read_file: &'o dyn Fn(&Path) -> std::io::Result<String>,
}

/// Judges the whole tree. The configuration is only worth something when there are no findings.
pub(crate) fn check(root: &Node, file: &str, outside: &Outside<'_>) -> (Config, Vec<Problem>) {
    let reader = Reader::new(file);
    let top = reader.section(String::new(), "", Some(root), 1);
    let mut endpoints = Endpoints::default();

    let workers = match top.number("workers") {
        Value { given: false, .. } => std::thread::available_parallelism().map_or(1, usize::from),
        given => given.value as usize,
    };
    let log = log(&top.child("log", "log"));
    let admin = admin(&top, &mut endpoints);
    let drain_timeout = Duration::from_millis(top.number("drain_timeout_ms").value);
    let backends = backends::read(&top, outside, &mut endpoints);
    let listeners = listeners(&top, &backends, outside, &mut endpoints);

    report_clashes(&reader, &endpoints.claims);
    report_loops(&reader, &endpoints);
    let config = Config {
        workers,
        log,
        admin,
        drain_timeout,
        listeners: listeners.into_iter().map(|(listener, _)| listener).collect(),
        backends,
    };
    (config, reader.into_findings())
}

fn log(section: &Section<'_>) -> Log {
    let format =
        section.choice("format", &[("human", LogFormat::Human), ("json", LogFormat::Json)], LogFormat::Human);
    let level = section.text("level", filter);
    Log { format: format.value, level: level.value.unwrap_or_default() }
}

fn admin(top: &Section<'_>, endpoints: &mut Endpoints) -> Option<Admin> {
    if let Some(entry) = top.entry("admin")
        && let Content::Plain(text) | Content::Quoted(text) = &entry.value.content
    {
        if text != "off" {
            let suggestion = match text.as_str() {
                "false" | "no" | "none" | "Off" | "OFF" | "disabled" => Some("write off".to_owned()),
                _ if text.parse::<SocketAddr>().is_ok() => Some(format!("write {{ listen: {text} }}")),
                _ => None,
            };
            let wrong = "a single value stands where keys below it should".to_owned();
            top.refuse("admin", &entry.value, Unreadable { wrong, suggestion });
        }
        return None;
    }
    let section = top.child("admin", "admin");
    let listen = section.listen("listen");
    claim(endpoints, section.key_path("listen"), &listen);
    Some(Admin { listen: listen.value })
}

fn listeners<'r>(
    top: &Section<'r>,
    backends: &[Backend],
    outside: &Outside<'_>,
    endpoints: &mut Endpoints,
) -> Vec<(Listener, usize)> {
    const TABLE: &str = "listeners[]";
    let entry = top.entry("listeners");
    let sections: Vec<Section<'r>> = match entry.map(|entry| (entry, &entry.value.content)) {
        None => vec![top.reader.section("listeners[0]".to_owned(), TABLE, None, top.line)],
        Some((_, Content::List(nodes))) if !nodes.is_empty() => {
            let section = |(index, node): (usize, &'r Node)| {
                top.reader.section(format!("listeners[{index}]"), TABLE, Some(node), node.line)
            };
            nodes.iter().enumerate().map(section).collect()
        }
        Some((entry, content)) => {
            let (wrong, suggestion) = match content {
                Content::Empty | Content::List(_) => {
                    ("there is no listener", "leave the key out to have one at 127.0.0.1:6379")
                }
                _ => ("not a list", "begin each listener with '-'"),
            };
            let error = Unreadable { wrong: wrong.to_owned(), suggestion: Some(suggestion.to_owned()) };
            top.refuse("listeners", &entry.value, error);
            Vec::new()
        }
    };
    let listeners: Vec<(Listener, usize)> =
        sections.iter().map(|section| listener(section, backends, outside, endpoints)).collect();
    for (index, (listener, line)) in listeners.iter().enumerate() {
        let first = listeners.iter().take(index).position(|(earlier, _)| earlier.name == listener.name);
        // Two listeners without a name on one address clash by their address already.
        if let (Some(first), Some(section)) = (first, sections.get(index))
            && section.entry("name").is_some()
        {
            let wrong = format!("listeners[{first}] has this name already");
            let problem = top.reader.problem(*line, section.key_path("name"), wrong).value(&listener.name);
            top.reader.report(problem.suggest("names keep metrics apart; choose another"));
        }
    }
    listeners
}

/// One listener, and the line of its name.
fn listener(
    section: &Section<'_>,
    backends: &[Backend],
    outside: &Outside<'_>,
    endpoints: &mut Endpoints,
) -> (Listener, usize) {
    let listen = section.listen("listen");
    claim(endpoints, section.key_path("listen"), &listen);
    let name = section.text("name", name);
    let policy = section.choice(
        "reads",
        &[("primary", ReadPolicy::Primary), ("prefer_replica", ReadPolicy::PreferReplica)],
        ReadPolicy::Primary,
    );
    let (advertise, siblings) = (section.address("advertise"), section.addresses("siblings"));
    told_to_clients(section, "advertise", advertise.line, advertise.value.iter());
    told_to_clients(section, "siblings", siblings.line, siblings.value.iter());
    let monitor = section.choice("monitor", &[("on", true), ("off", false)], true);
    let listener = Listener {
        name: name.value.unwrap_or_else(|| listen.value.to_string()),
        listen: listen.value,
        backend: backend_of(section, backends),
        password: password(section, outside),
        reads: Reads {
            policy: policy.value,
            max_lag_bytes: section.number("max_lag_bytes").value,
            max_lag: Some(section.number("max_lag_ms").value)
                .filter(|lag| *lag > 0)
                .map(Duration::from_millis),
        },
        monitor: monitor.value,
        cross_slot: CrossSlot {
            compute: section.choice("cross_slot", &[("refuse", false), ("compute", true)], false).value,
            bytes_max: section.number("cross_slot_bytes_max").value as usize,
            worker_bytes_max: section.number("cross_slot_worker_bytes_max").value as usize,
        },
        multi_across_slots: section
            .choice(
                "multi_across_slots",
                &[("refuse", MultiAcrossSlots::Refuse), ("best_effort", MultiAcrossSlots::BestEffort)],
                MultiAcrossSlots::Refuse,
            )
            .value,
        blocking_across_slots: section
            .choice("blocking_across_slots", &[("refuse", false), ("poll", true)], false)
            .value,
        blocking_poll: Duration::from_millis(section.number("blocking_poll_ms").value),
        cluster_facade: section.choice("cluster_facade", &[("false", false), ("true", true)], false).value,
        advertise: advertise.value,
        siblings: siblings.value,
        limits: limits(&section.child("client_limits", "listeners[].client_limits")),
        rate_limits: rate_limits::read(section),
        limits_keys_max: section.number("limits_keys_max").value as usize,
    };
    (listener, name.line)
}

/// Refuses addresses that clients cannot connect to, though they are told them.
fn told_to_clients<'a>(
    section: &Section<'_>,
    name: &str,
    line: usize,
    mut addresses: impl Iterator<Item = &'a HostPort>,
) {
    let unspecified = |told: &&HostPort| told.host().parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
    if let Some(told) = addresses.find(unspecified) {
        let wrong = "clients cannot connect to an address that stands for every interface";
        let problem = section.reader.problem(line, section.key_path(name), wrong);
        section
            .reader
            .report(problem.value(told).suggest("give the address by which clients reach the proxy"));
    }
}

fn backend_of(section: &Section<'_>, backends: &[Backend]) -> usize {
    let named = section.text("backend", name);
    let names = || backends.iter().map(|backend| backend.name.as_str());
    let all = names().collect::<Vec<_>>().join(", ");
    match named.value {
        Some(name) => names().position(|known| known == name).unwrap_or_else(|| {
            // With no backend at all, that alone is the mistake, and it is reported already.
            if !backends.is_empty() {
                let mut problem = section.reader.problem(
                    named.line,
                    section.key_path("backend"),
                    "there is no such backend",
                );
                problem = problem.value(&name).allowed(all);
                problem.suggestion = nearest(&name, names()).map(did_you_mean);
                section.reader.report(problem);
            }
            0
        }),
        None => {
            if backends.len() > 1 && section.lacks("backend") {
                let wrong = format!("it has to be given, because there are {} backends", backends.len());
                let problem = section.reader.problem(section.line, section.key_path("backend"), wrong);
                section.reader.report(problem.allowed(all));
            }
            0
        }
    }
}

fn limits(section: &Section<'_>) -> ClientLimits {
    let number = |name| section.number(name);
    let request = number("request_bytes_max");
    let output = number("output_bytes_max");
    let bulk = number("bulk_bytes_max");
    let inline = number("inline_bytes_max");
    let pause = number("output_pause_bytes");
    not_above(section, ("bulk_bytes_max", &bulk), ("request_bytes_max", &request));
    not_above(section, ("inline_bytes_max", &inline), ("request_bytes_max", &request));
    not_above(section, ("output_pause_bytes", &pause), ("output_bytes_max", &output));
    let idle = number("idle_timeout_ms").value;
    ClientLimits {
        clients_max: number("clients_max").value as usize,
        inflight_max: number("inflight_max").value as usize,
        args_max: number("args_max").value as u32,
        bulk_bytes_max: bulk.value as u32,
        request_bytes_max: request.value as u32,
        inline_bytes_max: inline.value as u32,
        output_bytes_max: output.value as usize,
        output_pause_bytes: pause.value as usize,
        idle_timeout: (idle > 0).then(|| Duration::from_millis(idle)),
        subscriptions_max: number("subscriptions_max").value as usize,
    }
}

/// The rule that one number of a section is not above another.
pub(crate) fn not_above(section: &Section<'_>, low: (&str, &Value<u64>), high: (&str, &Value<u64>)) {
    let ((low_name, low), (high_name, high)) = (low, high);
    if !low.sound || !high.sound || low.value <= high.value {
        return;
    }
    // A lower value that was left out follows the higher one, so the lower one stands in the file.
    let kind = crate::reference::key(section.table, high_name).map(|key| key.kind);
    let limit = match kind {
        Some(crate::reference::Kind::Bytes(..)) => crate::units::show_bytes(high.value),
        _ => high.value.to_string(),
    };
    let origin = if high.given { String::new() } else { ", the default".to_owned() };
    let wrong = format!("above {high_name} ({limit}{origin})");
    let mut problem = section.reader.problem(low.line, section.key_path(low_name), wrong);
    if let Some(Content::Plain(text) | Content::Quoted(text)) =
        section.entry(low_name).map(|entry| &entry.value.content)
    {
        problem = problem.value(text);
    }
    section
        .reader
        .report(problem.allowed(format!("at most {limit}")).suggest(format!("or raise {high_name}")));
}

/// The password of a section: written there, in the environment, or in a file.
pub(crate) fn password(section: &Section<'_>, outside: &Outside<'_>) -> Option<Secret> {
    let given: Vec<_> = PASSWORD_KEYS.iter().filter_map(|name| Some((*name, section.entry(name)?))).collect();
    if let [(first, _), (second, entry), ..] = given[..] {
        let problem =
            section.reader.problem(entry.line, section.key_path(second), format!("{first} is given too"));
        section.reader.report(problem.allowed(format!("at most one of {}", PASSWORD_KEYS.join(", "))));
    }
    let any = |text: &str| match text {
        "" => Err(unreadable("empty", None)),
        _ => Ok(()),
    };
    let written = section.text("password", |text| {
        any(text)?;
        match text.contains(['\n', '\r']) {
            true => Err(unreadable("it contains a line break", Some("write it on one line, in quotes"))),
            false => Ok(()),
        }
    });
    let from_env = section.text("password_env", |name| {
        any(name)?;
        match (outside.env)(name).as_deref() {
            None => Err(unreadable(
                "this environment variable is not set",
                Some("set it where the proxy is started"),
            )),
            Some("") => Err(unreadable(
                "this environment variable is empty",
                Some("set it where the proxy is started"),
            )),
            Some(_) => Ok(()),
        }
    });
    let from_file = section.text("password_file", |path| {
        any(path)?;
        match (outside.read_file)(Path::new(path)) {
            Err(error) => Err(unreadable(&format!("this file cannot be read ({error})"), None)),
            Ok(text) if without_line_end(&text).is_empty() => Err(unreadable("this file is empty", None)),
            Ok(_) => Ok(()),
        }
    });
    let text = match (written.value, from_env.value, from_file.value) {
        (Some(text), ..) => text,
        (None, Some(name), _) => (outside.env)(&name)?,
        (None, None, Some(path)) => without_line_end(&(outside.read_file)(Path::new(&path)).ok()?).to_owned(),
        (None, None, None) => return None,
    };
    Secret::new(text)
}

/// The last line end of a file is the editor's, not the password's.
fn without_line_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

/// Whether a text may be the name of something.
pub(crate) fn name(text: &str) -> Result<(), Unreadable> {
    if text.is_empty() || text.chars().count() > NAME_CHARS_MAX {
        return Err(unreadable("not 1 to 64 characters long", None));
    }
    if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(unreadable("a name has no spaces or control characters", None));
    }
    Ok(())
}

/// Whether a text is a filter directive. A bare word that is no level would be taken as a module by
/// the log library, which then logs next to nothing; it is nearly always a misspelt level.
fn filter(text: &str) -> Result<(), Unreadable> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let mut depth = 0;
    let parts = text.split(|c| {
        depth += match c {
            '[' | '{' => 1,
            ']' | '}' => -1,
            _ => 0,
        };
        c == ',' && depth == 0
    });
    for part in parts {
        let part = part.trim();
        let after_fields = part.rfind([']', '}']).map_or(0, |index| index + 1);
        let (target, level) = match part[after_fields..].rsplit_once('=') {
            Some((target, level)) => (Some(target), level),
            None => (None, &part[after_fields..]),
        };
        if !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
            let suggestion = nearest(level, LEVELS).map(did_you_mean);
            return Err(Unreadable {
                wrong: format!("'{}' is no log level", crate::problem::shown(level)),
                suggestion,
            });
        }
        if after_fields == 0
            && target.is_some_and(|target| target.is_empty() || target.contains(char::is_whitespace))
        {
            return Err(unreadable("a target has no spaces and is not empty", None));
        }
    }
    Ok(())
}

pub(crate) fn unreadable(wrong: &str, suggestion: Option<&str>) -> Unreadable {
    Unreadable { wrong: wrong.to_owned(), suggestion: suggestion.map(str::to_owned) }
}

/// Remembers who wants to listen where, for [`report_clashes`].
fn claim(endpoints: &mut Endpoints, owner: String, listen: &Value<SocketAddr>) {
    if listen.sound {
        endpoints.claims.push(Claim::one(owner, listen.value, listen.line, listen.given));
    }
}

fn report_clashes(reader: &Reader<'_>, claims: &[Claim]) {
    for (one, other) in addresses::clashes(claims) {
        // The finding belongs where something was written; of two such places, to the later one.
        let later = match (one.given, other.given) {
            (true, false) => one,
            (false, true) => other,
            _ if one.line > other.line => one,
            _ => other,
        };
        let earlier = if std::ptr::eq(later, one) { other } else { one };
        let place = if earlier.given { format!("line {}", earlier.line) } else { "its default".to_owned() };
        let wrong = format!("{} ({place}) takes {} already", earlier.owner, earlier.shown());
        let problem = reader.problem(later.line, later.owner.as_str(), wrong).value(later.shown());
        reader.report(problem.suggest("choose another port for one of them"));
    }
}

fn report_loops(reader: &Reader<'_>, endpoints: &Endpoints) {
    for dial in &endpoints.dials {
        let Some(claim) = addresses::reached(&dial.to, &endpoints.claims) else { continue };
        let wrong = format!("the proxy would connect to itself, because {} is this address", claim.owner);
        let problem = reader.problem(dial.line, dial.key.as_str(), wrong).value(&dial.to);
        reader.report(problem.suggest("give the address of a node, or move the other"));
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
