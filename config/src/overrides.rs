//! What the command line says on top of the file.
//!
//! A flag either changes exactly one thing that is there, or is an error that names the flag: it
//! never picks one of several listeners, and is never ignored.

use std::net::SocketAddr;
use std::str::FromStr;

use crate::addresses::{self, Claim};
use crate::problem::{Place, Problem, Problems};
use crate::reference::{self, Kind};
use crate::trusted::{Admin, BackendKind, Bundled, Config};

/// Flags that change the configuration; `None` where the flag was not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--listen ADDRESS`: moves the only listener.
    pub listen: Option<SocketAddr>,
    /// `--admin ADDRESS|off`
    pub admin: Option<AdminOverride>,
    /// `--shards N`: of the only bundled backend.
    pub shards: Option<u16>,
    /// `--replicas N`: of the only bundled backend.
    pub replicas: Option<u16>,
    /// `--workers N`
    pub workers: Option<usize>,
    /// `--node-port N`: of the only bundled backend.
    pub node_port: Option<u16>,
}

/// What `--admin` may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminOverride {
    /// `off`
    Off,
    /// An address and port.
    Listen(SocketAddr),
}

impl FromStr for AdminOverride {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(AdminOverride::Off);
        }
        match text.parse() {
            Ok(address) => Ok(AdminOverride::Listen(address)),
            Err(_) => Err(format!("'{text}' is neither an address like 127.0.0.1:9180 nor 'off'")),
        }
    }
}

/// `config` with the flags on top.
pub(crate) fn apply(mut config: Config, flags: &Overrides) -> Result<Config, Problems> {
    let mut found = Vec::new();
    if let Some(workers) = flags.workers
        && in_range("--workers", workers as u64, "", "workers", &mut found)
    {
        config.workers = workers;
    }
    match flags.admin {
        Some(AdminOverride::Off) => config.admin = None,
        Some(AdminOverride::Listen(listen)) => config.admin = Some(Admin { listen }),
        None => {}
    }
    if let Some(listen) = flags.listen {
        match &mut config.listeners[..] {
            [listener] => {
                // A name that was only the address goes along with it.
                if listener.name == listener.listen.to_string() {
                    listener.name = listen.to_string();
                }
                listener.listen = listen;
            }
            several => {
                let wrong = format!(
                    "the configuration has {} listeners, and the flag moves the only one",
                    several.len()
                );
                found.push(flag("--listen", listen, wrong).suggest("change the address in the file"));
            }
        }
    }
    bundled(&mut config, flags, &mut found);
    if found.is_empty() {
        endpoints(&config, flags, &mut found);
    }
    Problems::none_or(found).map(|()| config)
}

/// `--shards`, `--replicas` and `--node-port`.
fn bundled(config: &mut Config, flags: &Overrides, found: &mut Vec<Problem>) {
    let given: Vec<_> = [
        ("--shards", "shards", flags.shards),
        ("--replicas", "replicas", flags.replicas),
        ("--node-port", "node_port", flags.node_port),
    ]
    .into_iter()
    .filter_map(|(name, key, value)| Some((name, key, value?)))
    .collect();
    if given.is_empty() {
        return;
    }
    let kinds = config.backends.iter_mut().map(|backend| &mut backend.kind);
    let mut bundled: Vec<&mut Bundled> = kinds
        .filter_map(|kind| match kind {
            BackendKind::Bundled(bundled) => Some(bundled),
            _ => None,
        })
        .collect();
    let [bundled] = &mut bundled[..] else {
        let wrong = match bundled.len() {
            0 => "the configuration has no bundled backend for it to change".to_owned(),
            count => {
                format!("the configuration has {count} bundled backends, and the flag changes the only one")
            }
        };
        let suggestion = match bundled.len() {
            0 => "leave the flag out: the nodes of a cluster are not started from here",
            _ => "change the number in the file",
        };
        for (name, _, value) in given {
            found.push(flag(name, value, wrong.as_str()).suggest(suggestion));
        }
        return;
    };
    for (name, key, value) in &given {
        if in_range(name, u64::from(*value), "backends.*.bundled", key, found) {
            match *key {
                "shards" => bundled.shards = *value,
                "replicas" => bundled.replicas = *value,
                _ => bundled.node_port = *value,
            }
        }
    }
    if found.is_empty()
        && let Err(wrong) = bundled.check()
    {
        let port = bundled.node_port;
        found.push(flag("--node-port", port, wrong).suggest("choose a lower port, or fewer nodes"));
    }
}

/// Whether everything that listens after the flags can listen, and nothing connects to itself.
fn endpoints(config: &Config, flags: &Overrides, found: &mut Vec<Problem>) {
    let mut claims = Vec::new();
    if let Some(admin) = &config.admin {
        let flagged = matches!(flags.admin, Some(AdminOverride::Listen(_)));
        claims.push(Claim::one(owner("--admin", flagged, "admin.listen"), admin.listen, 0, flagged));
    }
    for backend in &config.backends {
        if let BackendKind::Bundled(bundled) = &backend.kind {
            let given = [
                ("--node-port", flags.node_port.is_some()),
                ("--shards", flags.shards.is_some()),
                ("--replicas", flags.replicas.is_some()),
            ];
            let name = given.iter().find(|(_, given)| *given).map(|(name, _)| *name);
            let (name, flagged) = (name.unwrap_or_default(), name.is_some());
            let key = format!("backends.{}.bundled.node_port", backend.name);
            claims.push(Claim::nodes(owner(name, flagged, &key), bundled, 0, flagged));
        }
    }
    for (index, listener) in config.listeners.iter().enumerate() {
        let flagged = flags.listen.is_some();
        let key = format!("listeners[{index}].listen");
        claims.push(Claim::one(owner("--listen", flagged, &key), listener.listen, 0, flagged));
    }
    for (one, other) in addresses::clashes(&claims) {
        let (at, by) = if other.given { (other, one) } else { (one, other) };
        let wrong = format!("{} takes {} already", by.owner, by.shown());
        let way_out = "choose another port; --listen, --admin and --node-port move them";
        found.push(flag(&at.owner, at.shown(), wrong).suggest(way_out));
    }
    for backend in &config.backends {
        for seed in backend.kind.written_addresses() {
            if let Some(claim) = addresses::reached(seed, &claims).filter(|claim| claim.given) {
                let wrong =
                    format!("this is a seed of backend {}: the proxy would connect to itself", backend.name);
                found.push(flag(&claim.owner, claim.shown(), wrong).suggest("choose another port"));
            }
        }
    }
}

fn owner(flag: &str, flagged: bool, key: &str) -> String {
    if flagged { flag.to_owned() } else { key.to_owned() }
}

fn in_range(name: &str, value: u64, section: &str, key: &str, found: &mut Vec<Problem>) -> bool {
    let Some(kind @ Kind::Whole(min, max)) = reference::key(section, key).map(|key| key.kind) else {
        return true;
    };
    let wrong = match value {
        _ if value < min => "too small",
        _ if value > max => "too large",
        _ => return true,
    };
    found.push(flag(name, value, wrong).allowed(kind.allowed()));
    false
}

fn flag(name: &str, value: impl std::fmt::Display, wrong: impl Into<String>) -> Problem {
    Problem::new(Place::CommandLine, name, wrong).value(value)
}

#[cfg(test)]
#[path = "overrides_tests.rs"]
mod tests;
