//! The longer answers of the proxy about itself: INFO, CLIENT LIST's lines, COMMAND.

use super::local::{REDIS_VERSION, commands};
use super::state::Client;
use crate::admin::counters::Outcome;
use crate::client::state::Class;
use crate::worker::router::Router;
use pointsman_protocol::command::{self, CommandSpec, KeyPattern, keys};
use pointsman_protocol::resp::{Args, encode};
use std::fmt::Write;
use std::sync::LazyLock;
use std::time::Instant;

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Begins the clock of `uptime_in_seconds`; call at the start of the process.
pub fn start_clock() {
    LazyLock::force(&STARTED);
}

/// INFO, the sections asked for (all by default).
pub fn info(router: &Router, args: Args<'_>, resp3: bool, out: &mut Vec<u8>) {
    let wanted = |section: &str| {
        args.len() < 2
            || args.iter().skip(1).any(|asked| {
                asked.eq_ignore_ascii_case(section.as_bytes())
                    || [&b"all"[..], b"default", b"everything"]
                        .iter()
                        .any(|all| asked.eq_ignore_ascii_case(all))
            })
    };
    let mut text = String::new();
    let mut section = |name: &str, lines: &[(&str, String)]| {
        if !wanted(name) {
            return;
        }
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        let _ = write!(text, "# {name}\r\n");
        for (field, value) in lines {
            let _ = write!(text, "{field}:{value}\r\n");
        }
    };
    let uptime = STARTED.elapsed().as_secs();
    let port = router.clients().next().map_or(0, |client| client.listener.listen.port());
    section(
        "Server",
        &[
            ("redis_version", REDIS_VERSION.to_owned()),
            ("pointsman_version", env!("CARGO_PKG_VERSION").to_owned()),
            ("redis_mode", "standalone".to_owned()),
            ("os", std::env::consts::OS.to_owned()),
            ("arch_bits", usize::BITS.to_string()),
            ("process_id", std::process::id().to_string()),
            ("tcp_port", port.to_string()),
            ("uptime_in_seconds", uptime.to_string()),
            ("uptime_in_days", (uptime / 86_400).to_string()),
        ],
    );
    let workers = router.context.registry.workers();
    let sum = |count: &dyn Fn(&crate::admin::counters::WorkerCounters) -> u64| -> u64 {
        workers.iter().map(|(_, counters)| count(counters)).sum()
    };
    section(
        "Clients",
        &[
            ("connected_clients", sum(&|counters| counters.clients.get()).to_string()),
            ("blocked_clients", "0".to_owned()),
        ],
    );
    let resident = resident_bytes();
    section(
        "Memory",
        &[
            ("used_memory", resident.to_string()),
            ("used_memory_rss", resident.to_string()),
            ("maxmemory", "0".to_owned()),
            ("maxmemory_policy", "noeviction".to_owned()),
        ],
    );
    section("Persistence", &[("loading", "0".to_owned())]);
    let processed: u64 = Class::ALL
        .iter()
        .flat_map(|(class, _)| Outcome::ALL.iter().map(move |(outcome, _)| (*class, *outcome)))
        .map(|(class, outcome)| sum(&|counters| counters.requests(class, outcome)))
        .sum();
    section(
        "Stats",
        &[
            ("total_connections_received", sum(&|counters| counters.clients_total.get()).to_string()),
            ("total_commands_processed", processed.to_string()),
        ],
    );
    section("Replication", &[("role", "master".to_owned()), ("connected_slaves", "0".to_owned())]);
    section("Cluster", &[("cluster_enabled", "0".to_owned())]);
    section("Keyspace", &[]);
    if resp3 {
        // RESP3 marks the text as such: a verbatim string.
        let _ = std::io::Write::write_fmt(out, format_args!("={}\r\ntxt:{text}\r\n", text.len() + 4));
    } else {
        encode::bulk(out, text.as_bytes());
    }
}

/// Resident memory of the process, as the kernel counts it; 0 where it does not tell.
fn resident_bytes() -> u64 {
    const PAGE: u64 = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm
        .split_ascii_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok())
        .map_or(0, |pages| pages * PAGE)
}

/// A client in the form of CLIENT LIST.
pub fn client_line(client: &Client) -> String {
    let text = |bytes: Option<&Vec<u8>>| {
        bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
    };
    let identity = client.identity.as_deref();
    format!(
        "id={} addr={} laddr={} name={} age={} db=0 flags=N pipeline={} obl={} resp={} user=default lib-name={} lib-ver={}",
        client.id,
        client.address,
        client.listener.listen,
        text(identity.map(|identity| &identity.name)),
        client.connected.elapsed().as_secs(),
        client.in_flight,
        client.replies.held(),
        if client.resp3 { 3 } else { 2 },
        text(identity.map(|identity| &identity.lib_name)),
        text(identity.map(|identity| &identity.lib_version)),
    )
}

/// COMMAND and its subcommands, from the table that also routes.
pub fn command(spec: &CommandSpec, args: Args<'_>, resp3: bool, out: &mut Vec<u8>) -> Result<(), String> {
    match spec.name {
        "COMMAND" => {
            encode::array_head(out, commands().len());
            commands().iter().for_each(|spec| describe(spec, resp3, out));
        }
        "COMMAND|COUNT" => encode::integer(out, commands().len() as i64),
        "COMMAND|LIST" if args.len() == 2 => {
            encode::array_head(out, commands().len());
            commands().iter().for_each(|spec| encode::bulk(out, spec.name.to_lowercase().as_bytes()));
        }
        "COMMAND|INFO" if args.len() == 2 => {
            encode::array_head(out, commands().len());
            commands().iter().for_each(|spec| describe(spec, resp3, out));
        }
        "COMMAND|INFO" => {
            encode::array_head(out, args.len() - 2);
            for name in args.iter().skip(2) {
                match command::lookup(name) {
                    Some(spec) => describe(spec, resp3, out),
                    None if resp3 => encode::null(out, true),
                    None => out.extend_from_slice(b"*-1\r\n"),
                }
            }
        }
        // Documentation texts are not carried; clients use them for hints only.
        "COMMAND|DOCS" => encode::map_head(out, 0, resp3),
        "COMMAND|GETKEYS" => {
            let asked = Args::new(args.bytes(), &args.ranges()[2..]);
            let spec = command::resolve(asked).map_err(|_| "ERR Invalid command specified".to_owned())?;
            let mut found = Vec::new();
            keys::find(spec, asked, &mut found)
                .map_err(|_| "ERR Invalid arguments specified for command".to_owned())?;
            if found.is_empty() {
                return Err("ERR The command has no key arguments".to_owned());
            }
            encode::array_head(out, found.len());
            found.iter().for_each(|key| encode::bulk(out, asked.at(key.index as usize)));
        }
        _ => {
            return Err(format!(
                "ERR '{}' is not supported through this proxy yet",
                spec.name.replace('|', " ")
            ));
        }
    }
    Ok(())
}

/// One row, in the shape of COMMAND INFO: name, arity, flags, first key, last key, step, and the
/// categories, tips, key specifications and subcommands, which are left empty.
fn describe(spec: &CommandSpec, resp3: bool, out: &mut Vec<u8>) {
    encode::array_head(out, 10);
    encode::bulk(out, spec.name.to_lowercase().as_bytes());
    encode::integer(out, i64::from(spec.arity));
    let flags: Vec<&str> = spec.flags.words().collect();
    if resp3 {
        let _ = std::io::Write::write_fmt(out, format_args!("~{}\r\n", flags.len()));
    } else {
        encode::array_head(out, flags.len());
    }
    flags.iter().for_each(|flag| encode::simple(out, flag));
    let (first, last, step) = match spec.pattern {
        KeyPattern::One(at) => (i64::from(at), i64::from(at), 1),
        KeyPattern::Range { first, last, step } => (i64::from(first), i64::from(last), i64::from(step)),
        KeyPattern::None | KeyPattern::Complex => (0, 0, 0),
    };
    [first, last, step].into_iter().for_each(|number| encode::integer(out, number));
    for _ in 0..4 {
        encode::array_head(out, 0);
    }
}
