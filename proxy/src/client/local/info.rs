//! INFO: what client libraries, job frameworks and monitors read of a server, told as one server of the
//! size of all shards together.
//!
//! Keys, memory and hits are sums over the primaries ([`crate::health::census`]), sampled after the
//! question came; clients and commands are the proxy's own. Nodes are never named.

use super::{Answer, REDIS_VERSION, verbatim};
use crate::admin::counters::{Outcome, WorkerCounters};
use crate::backend::connection::ClientKey;
use crate::client::state::Class;
use crate::health::census::Figures;
use crate::worker::router::{BackendContext, Router};
use pointsman_protocol::resp::Args;
use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);
/// What `run_id` and `master_replid` say: 40 hexadecimal digits, others in each process.
static RUN_ID: LazyLock<String> = LazyLock::new(|| {
    let random = RandomState::new();
    format!("{:016x}{:016x}{:08x}", random.hash_one(1), random.hash_one(2), random.hash_one(3) as u32)
});
/// Commands and connections that had been counted when CONFIG RESETSTAT came.
static COMMANDS_BEFORE: AtomicU64 = AtomicU64::new(0);
static CONNECTIONS_BEFORE: AtomicU64 = AtomicU64::new(0);

/// Begins the clock of `uptime_in_seconds`; call at the start of the process.
pub fn start_clock() {
    LazyLock::force(&STARTED);
}

/// CONFIG RESETSTAT: INFO counts from here on; `/metrics` goes on.
pub fn reset_counts(router: &Router) {
    let counts = Counts::of(&router.context);
    COMMANDS_BEFORE.store(counts.commands, Ordering::Relaxed);
    CONNECTIONS_BEFORE.store(counts.connections, Ordering::Relaxed);
}

/// The sections of INFO, in its order, and whether it shows them unasked.
const SECTIONS: [(&str, bool); 13] = [
    ("Server", true),
    ("Clients", true),
    ("Memory", true),
    ("Persistence", true),
    ("Stats", true),
    ("Replication", true),
    ("CPU", true),
    ("Modules", true),
    ("Commandstats", false),
    ("Errorstats", true),
    ("Latencystats", false),
    ("Cluster", true),
    ("Keyspace", true),
];

/// Answers INFO, later if it needs to ask the nodes.
pub fn info(router: &mut Router, key: ClientKey, args: Args<'_>, resp3: bool, out: &mut Vec<u8>) -> Answer {
    let sections = wanted(args);
    let Some(client) = router.client_mut(key) else { return Answer::Close };
    let (port, maxclients) = (client.own_address().port(), client.listener.limits.clients_max);
    let cluster = client.listener.facade;
    let asks_nodes = sections.iter().any(|name| matches!(*name, "Memory" | "Stats" | "Keyspace" | "Server"));
    let context = router.context.clone();
    let tell = move |context: &BackendContext, figures: &Figures, out: &mut Vec<u8>| {
        verbatim(out, &text(&sections, &Facts::of(context, port, maxclients, cluster, figures)), resp3);
    };
    if !asks_nodes {
        tell(&context, &Figures::default(), out);
        return Answer::Ready;
    }
    router.answer_later(key, async move {
        let figures = context.census.fresh().await;
        let mut out = Vec::new();
        tell(&context, &figures, &mut out);
        (Outcome::Ok, out, false)
    });
    Answer::Later
}

/// The sections asked for, in INFO's own order, each once. Unknown ones show nothing.
fn wanted(args: Args<'_>) -> Vec<&'static str> {
    let asked = |name: &str| args.iter().skip(1).any(|asked| asked.eq_ignore_ascii_case(name.as_bytes()));
    let everything = asked("all") || asked("everything");
    let default = args.len() < 2 || asked("default");
    let shown = SECTIONS.iter().filter(|(name, shown)| everything || (default && *shown) || asked(name));
    shown.map(|(name, _)| *name).collect()
}

/// What the proxy counted since its start.
struct Counts {
    clients: u64,
    blocked: u64,
    tracking: u64,
    connections: u64,
    commands: u64,
    /// Channels and patterns that clients are subscribed to.
    topics: (usize, usize),
}

impl Counts {
    fn of(context: &BackendContext) -> Counts {
        let workers = context.registry.workers();
        let sum = |count: &dyn Fn(&WorkerCounters) -> u64| -> u64 {
            let own = workers.iter().filter(|(backend, _)| *backend == context.name);
            own.map(|(_, counters)| count(counters)).sum()
        };
        let commands = Class::ALL
            .iter()
            .flat_map(|(class, _)| Outcome::ALL.iter().map(move |(outcome, _)| (*class, *outcome)))
            .map(|(class, outcome)| sum(&|counters| counters.requests(class, outcome)))
            .sum();
        Counts {
            clients: sum(&|counters| counters.clients.get()),
            blocked: sum(&|counters| counters.blocked.get()),
            tracking: sum(&|counters| counters.tracking.clients.get()),
            connections: sum(&|counters| counters.clients_total.get()),
            commands,
            topics: context.audience.topics(),
        }
    }
}

/// All that the text is made of.
struct Facts<'a> {
    port: u16,
    maxclients: usize,
    /// The proxy presents itself as a cluster.
    cluster: bool,
    counts: Counts,
    figures: &'a Figures,
}

impl Facts<'_> {
    fn of<'a>(
        context: &BackendContext,
        port: u16,
        maxclients: usize,
        cluster: bool,
        figures: &'a Figures,
    ) -> Facts<'a> {
        Facts { port, maxclients, cluster, counts: Counts::of(context), figures }
    }
}

fn text(sections: &[&'static str], facts: &Facts<'_>) -> String {
    let mut text = String::new();
    for name in sections {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        let _ = write!(text, "# {name}\r\n");
        for (field, value) in section(name, facts) {
            let _ = write!(text, "{field}:{value}\r\n");
        }
    }
    text
}

fn section(name: &str, facts: &Facts<'_>) -> Vec<(String, String)> {
    let lines: Vec<(&str, String)> = match name {
        "Server" => server(facts),
        "Clients" => vec![
            ("connected_clients", facts.counts.clients.to_string()),
            ("cluster_connections", "0".to_owned()),
            ("maxclients", facts.maxclients.to_string()),
            ("blocked_clients", facts.counts.blocked.to_string()),
            ("tracking_clients", facts.counts.tracking.to_string()),
            ("clients_in_timeout_table", "0".to_owned()),
        ],
        "Memory" => memory(facts.figures),
        // The nodes persist, or do not; the proxy has nothing to lose.
        "Persistence" => vec![
            ("loading", "0".to_owned()),
            ("async_loading", "0".to_owned()),
            ("rdb_changes_since_last_save", "0".to_owned()),
            ("rdb_bgsave_in_progress", "0".to_owned()),
            ("rdb_last_bgsave_status", "ok".to_owned()),
            ("aof_enabled", "0".to_owned()),
            ("aof_rewrite_in_progress", "0".to_owned()),
            ("aof_last_bgrewrite_status", "ok".to_owned()),
            ("aof_last_write_status", "ok".to_owned()),
        ],
        "Stats" => stats(facts),
        "Replication" => vec![
            ("role", "master".to_owned()),
            ("connected_slaves", "0".to_owned()),
            ("master_failover_state", "no-failover".to_owned()),
            ("master_replid", RUN_ID.clone()),
            ("master_replid2", "0".repeat(40)),
            ("master_repl_offset", "0".to_owned()),
            ("second_repl_offset", "-1".to_owned()),
            ("repl_backlog_active", "0".to_owned()),
            ("repl_backlog_size", "0".to_owned()),
            ("repl_backlog_first_byte_offset", "0".to_owned()),
            ("repl_backlog_histlen", "0".to_owned()),
        ],
        "CPU" => cpu(),
        "Cluster" => vec![("cluster_enabled", u8::from(facts.cluster).to_string())],
        "Keyspace" => return keyspace(facts.figures),
        _ => Vec::new(),
    };
    lines.into_iter().map(|(field, value)| (field.to_owned(), value)).collect()
}

fn server(facts: &Facts<'_>) -> Vec<(&'static str, String)> {
    let uptime = STARTED.elapsed().as_secs();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    vec![
        ("redis_version", REDIS_VERSION.to_owned()),
        ("redis_mode", if facts.cluster { "cluster" } else { "standalone" }.to_owned()),
        ("pointsman_version", env!("CARGO_PKG_VERSION").to_owned()),
        ("pointsman_shards", facts.figures.shards.to_string()),
        ("pointsman_shards_sampled", facts.figures.answered.to_string()),
        ("os", std::env::consts::OS.to_owned()),
        ("arch_bits", usize::BITS.to_string()),
        ("process_id", std::process::id().to_string()),
        ("run_id", RUN_ID.clone()),
        ("tcp_port", facts.port.to_string()),
        ("server_time_usec", now.as_micros().to_string()),
        ("uptime_in_seconds", uptime.to_string()),
        ("uptime_in_days", (uptime / 86_400).to_string()),
    ]
}

fn memory(figures: &Figures) -> Vec<(&'static str, String)> {
    let resident = resident_bytes();
    vec![
        ("used_memory", figures.used_memory.to_string()),
        ("used_memory_human", human(figures.used_memory)),
        ("used_memory_rss", figures.used_memory_rss.to_string()),
        ("used_memory_rss_human", human(figures.used_memory_rss)),
        ("used_memory_peak", figures.used_memory_peak.to_string()),
        ("used_memory_peak_human", human(figures.used_memory_peak)),
        ("maxmemory", figures.maxmemory.to_string()),
        ("maxmemory_human", human(figures.maxmemory)),
        ("maxmemory_policy", figures.policy().to_owned()),
        ("mem_fragmentation_ratio", fragmentation(figures)),
        ("pointsman_memory_rss", resident.to_string()),
        ("pointsman_memory_rss_human", human(resident)),
    ]
}

fn fragmentation(figures: &Figures) -> String {
    match figures.used_memory {
        0 => "1.00".to_owned(),
        used => format!("{:.2}", figures.used_memory_rss as f64 / used as f64),
    }
}

fn stats(facts: &Facts<'_>) -> Vec<(&'static str, String)> {
    let since = |count: u64, before: &AtomicU64| count.saturating_sub(before.load(Ordering::Relaxed));
    vec![
        ("total_connections_received", since(facts.counts.connections, &CONNECTIONS_BEFORE).to_string()),
        ("total_commands_processed", since(facts.counts.commands, &COMMANDS_BEFORE).to_string()),
        ("instantaneous_ops_per_sec", facts.figures.ops_per_sec.to_string()),
        ("rejected_connections", "0".to_owned()),
        ("expired_keys", facts.figures.expired_keys.to_string()),
        ("evicted_keys", facts.figures.evicted_keys.to_string()),
        ("keyspace_hits", facts.figures.keyspace_hits.to_string()),
        ("keyspace_misses", facts.figures.keyspace_misses.to_string()),
        ("pubsub_channels", facts.counts.topics.0.to_string()),
        ("pubsub_patterns", facts.counts.topics.1.to_string()),
        ("latest_fork_usec", "0".to_owned()),
    ]
}

/// The proxy's own, as the kernel counts it.
fn cpu() -> Vec<(&'static str, String)> {
    // Linux counts in hundredths of a second, whatever its own clock does.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the process, in parentheses, may hold anything; behind it, user and system time are
    // the 12th and 13th field.
    let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
    let seconds = |place: usize| {
        let ticks = behind.split_ascii_whitespace().nth(place).and_then(|ticks| ticks.parse::<f64>().ok());
        format!("{:.6}", ticks.unwrap_or(0.0) / TICKS_PER_SECOND)
    };
    vec![("used_cpu_sys", seconds(12)), ("used_cpu_user", seconds(11))]
}

fn keyspace(figures: &Figures) -> Vec<(String, String)> {
    let lines = figures.databases.iter().filter(|(_, database)| database.keys > 0);
    lines
        .map(|(index, database)| {
            let value =
                format!("keys={},expires={},avg_ttl={}", database.keys, database.expires, database.avg_ttl);
            (format!("db{index}"), value)
        })
        .collect()
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

/// Bytes as Redis shows them to people.
fn human(bytes: u64) -> String {
    const UNITS: [(u64, char); 4] = [(1 << 40, 'T'), (1 << 30, 'G'), (1 << 20, 'M'), (1 << 10, 'K')];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, letter)) => format!("{:.2}{letter}", bytes as f64 / *unit as f64),
        None => format!("{bytes}B"),
    }
}

/// An INFO of a proxy that was told these figures, for the tests.
#[cfg(test)]
fn shown(line: &str, figures: &Figures) -> String {
    use pointsman_protocol::resp::args::OwnedArgs;
    let words: Vec<&str> = line.split(' ').collect();
    let counts = Counts { clients: 3, blocked: 1, tracking: 2, connections: 4, commands: 5, topics: (6, 7) };
    let facts = Facts { port: 6379, maxclients: 10_000, cluster: false, counts, figures };
    text(&wanted(OwnedArgs::new(&words).args()), &facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heads(line: &str) -> Vec<String> {
        let text = shown(line, &Figures::default());
        text.lines().filter_map(|line| line.strip_prefix("# ")).map(str::to_owned).collect()
    }

    #[test]
    fn t28_sections_are_those_of_redis() {
        let default = heads("INFO");
        assert_eq!(default.len(), 11);
        assert_eq!(heads("INFO default"), default);
        assert_eq!(heads("INFO all").len(), SECTIONS.len());
        assert_eq!(heads("INFO Keyspace SERVER server"), ["Server", "Keyspace"]);
        assert_eq!(heads("INFO nosuch"), Vec::<String>::new());
        assert_eq!(heads("INFO nosuch cpu"), ["CPU"]);
    }

    #[test]
    fn t28_fields_that_clients_read() {
        let mut figures = Figures::default();
        figures
            .add("used_memory:2097152\r\ndb0:keys=5,expires=1,avg_ttl=9\r\nmaxmemory_policy:allkeys-lfu\r\n");
        figures.add("used_memory:1024\r\ndb0:keys=2,expires=0,avg_ttl=0\r\n");
        let text = shown("INFO", &figures);
        for line in [
            "redis_version:7.2.4",
            "redis_mode:standalone",
            "role:master",
            "loading:0",
            "connected_slaves:0",
            "cluster_enabled:0",
            "connected_clients:3",
            "blocked_clients:1",
            "tracking_clients:2",
            "used_memory:2098176",
            "used_memory_human:2.00M",
            "maxmemory:0",
            "maxmemory_policy:allkeys-lfu",
            "total_commands_processed:5",
            "pubsub_channels:6",
            "pubsub_patterns:7",
            "db0:keys=7,expires=1,avg_ttl=9",
        ] {
            assert!(text.split("\r\n").any(|shown| shown == line), "{line} is missing in\n{text}");
        }
        assert!(
            text.split("\r\n").all(|line| line.is_empty() || line.starts_with("# ") || line.contains(':'))
        );
    }

    #[test]
    fn sizes_for_people() {
        for (bytes, shown) in
            [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (1_262_104, "1.20M"), (3 << 29, "1.50G")]
        {
            assert_eq!(human(bytes), shown);
        }
    }
}
