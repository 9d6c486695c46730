//! INFO: what the node is and what it has counted, under the names that tools look for.

use super::failure::Outcome;
use super::{Call, Handler};
use crate::executor::Executor;
use crate::process;
use crate::replication::effects::Phase;
use std::fmt::Write;

/// See the module.
pub const COMMANDS: &[(&str, Handler)] = &[("INFO", info)];

/// A section: its name, and who writes its lines.
type Section = (&'static str, fn(&Executor, &mut Lines));

const SECTIONS: &[Section] = &[
    ("Server", server),
    ("Clients", clients),
    ("Memory", memory),
    ("Persistence", persistence),
    ("Stats", stats),
    ("Replication", replication),
    ("CPU", cpu),
    ("Cluster", cluster),
    ("Keyspace", keyspace),
];

/// Collects `name:value` lines.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, name: &str, value: impl std::fmt::Display) {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{name}:{value}\r\n");
    }
}

fn info(call: &mut Call<'_>) -> Outcome {
    let all = call.args.len() == 1
        || (1..call.args.len())
            .any(|at| ["default", "all", "everything"].iter().any(|word| call.is_word(at, word)));
    let mut lines = Lines::default();
    for (name, write) in SECTIONS {
        if all || (1..call.args.len()).any(|at| call.is_word(at, name)) {
            if !lines.0.is_empty() {
                lines.0.push_str("\r\n");
            }
            let _ = write!(lines.0, "# {name}\r\n");
            write(call.node, &mut lines);
        }
    }
    call.reply_text(&lines.0);
    Ok(())
}

fn server(node: &Executor, lines: &mut Lines) {
    let uptime_s = node.now_ms.saturating_sub(node.started_ms) / 1000;
    lines.add("redis_version", crate::REDIS_VERSION);
    lines.add("pointsman_version", env!("CARGO_PKG_VERSION"));
    lines.add("redis_mode", if node.spec.cluster.enabled() { "cluster" } else { "standalone" });
    lines.add("os", std::env::consts::OS);
    lines.add("arch_bits", usize::BITS);
    lines.add("multiplexing_api", "epoll");
    lines.add("process_id", std::process::id());
    lines.add("run_id", node.run_id);
    lines.add("tcp_port", node.spec.address.port());
    lines.add("server_time_usec", node.now_ms * 1000);
    lines.add("uptime_in_seconds", uptime_s);
    lines.add("uptime_in_days", uptime_s / 86_400);
    lines.add("hz", 1000 / node.spec.limits.tick_ms.max(1));
    lines.add("executable", "");
    lines.add("config_file", "");
}

fn clients(node: &Executor, lines: &mut Lines) {
    let replicas = node.log.followers().len();
    lines.add("connected_clients", node.register.len().saturating_sub(replicas));
    lines.add("cluster_connections", 0);
    lines.add("maxclients", node.spec.limits.clients_max);
    lines.add("blocked_clients", 0);
    lines.add("tracking_clients", 0);
}

/// Bytes as people read them.
fn human(bytes: usize) -> String {
    let units = ["B", "K", "M", "G", "T"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes}B") } else { format!("{value:.2}{}", units[unit]) }
}

/// Bytes of memory that the node holds and knows of: keys and values with all that finding them takes,
/// and what is kept for replicas.
pub fn used_memory(node: &Executor) -> usize {
    node.keyspace.bytes_held() + node.log.backlog().bytes_held()
}

fn memory(node: &Executor, lines: &mut Lines) {
    let used = used_memory(node);
    let resident = process::resident_bytes();
    let peak = node.stats.memory_peak.max(used);
    lines.add("used_memory", used);
    lines.add("used_memory_human", human(used));
    lines.add("used_memory_rss", resident);
    lines.add("used_memory_rss_human", human(resident));
    lines.add("used_memory_peak", peak);
    lines.add("used_memory_peak_human", human(peak));
    lines.add("used_memory_dataset", node.keyspace.bytes_live());
    lines.add("total_system_memory", process::system_memory_bytes());
    lines.add("maxmemory", 0);
    lines.add("maxmemory_human", "0B");
    lines.add("maxmemory_policy", "noeviction");
    lines.add("mem_fragmentation_ratio", format!("{:.2}", resident as f64 / used.max(1) as f64));
    lines.add("mem_replication_backlog", node.log.backlog().bytes_held());
    lines.add("mem_allocator", "slab");
}

/// Nothing is kept on disk.
fn persistence(node: &Executor, lines: &mut Lines) {
    lines.add("loading", u8::from(node.link.copying));
    lines.add("async_loading", 0);
    lines.add("rdb_changes_since_last_save", 0);
    lines.add("rdb_bgsave_in_progress", 0);
    lines.add("rdb_last_save_time", node.started_ms / 1000);
    lines.add("rdb_last_bgsave_status", "ok");
    lines.add("aof_enabled", 0);
    lines.add("aof_rewrite_in_progress", 0);
}

fn stats(node: &Executor, lines: &mut Lines) {
    let stats = &node.stats;
    lines.add("total_connections_received", stats.connections);
    lines.add("total_commands_processed", stats.commands);
    lines.add("instantaneous_ops_per_sec", stats.commands_per_s);
    lines.add("total_net_input_bytes", stats.input_bytes);
    lines.add("total_net_output_bytes", stats.output_bytes);
    lines.add("rejected_connections", stats.connections_rejected);
    lines.add("sync_full", stats.syncs_full);
    lines.add("sync_partial_ok", stats.syncs_partial);
    lines.add("sync_partial_err", stats.syncs_partial_failed);
    lines.add("expired_keys", stats.keys_expired);
    lines.add("expired_time_cap_reached_count", stats.expiry_budget_reached);
    lines.add("evicted_keys", 0);
    lines.add("keyspace_hits", stats.hits);
    lines.add("keyspace_misses", stats.misses);
    lines.add("pubsub_channels", 0);
    lines.add("pubsub_patterns", 0);
    lines.add("latest_fork_usec", 0);
    lines.add("total_error_replies", stats.errors);
    lines.add("client_output_buffer_limit_disconnections", stats.output_overruns);
    lines.add("pointsman_internal_errors", stats.internal_errors);
}

fn replication(node: &Executor, lines: &mut Lines) {
    let log = &node.log;
    let own = log.replication_id();
    let (id, offset) = match node.primary() {
        None => (own, log.offset()),
        Some(_) => (node.link.replication_id.unwrap_or(own), node.link.offset),
    };
    match node.primary() {
        None => lines.add("role", "master"),
        Some(primary) => {
            let link = &node.link;
            let ago_s = |ms: u64| node.now_ms.saturating_sub(ms) / 1000;
            lines.add("role", "slave");
            lines.add("master_host", primary.host());
            lines.add("master_port", primary.port());
            lines.add("master_link_status", if link.up { "up" } else { "down" });
            let heard = if link.up || link.copying { ago_s(link.heard_ms) as i64 } else { -1 };
            lines.add("master_last_io_seconds_ago", heard);
            lines.add("master_sync_in_progress", u8::from(link.copying));
            lines.add("slave_read_repl_offset", link.offset);
            lines.add("slave_repl_offset", link.offset);
            if link.copying {
                lines.add("master_sync_copied_keys", link.copied);
            }
            if !link.up {
                lines.add("master_link_down_since_seconds", ago_s(link.down_since_ms));
            }
            lines.add("pointsman_primary_offset", link.primary_offset);
            lines.add("slave_priority", 100);
            lines.add("slave_read_only", 1);
            lines.add("replica_announced", 1);
        }
    }
    lines.add("connected_slaves", log.followers().len());
    for (index, follower) in log.followers().iter().enumerate() {
        let state = if matches!(follower.phase, Phase::Copying { .. }) { "send_bulk" } else { "online" };
        let lag_s = node.now_ms.saturating_sub(follower.acked_ms) / 1000;
        lines.add(
            &format!("slave{index}"),
            format_args!(
                "ip={},port={},state={state},offset={},lag={lag_s}",
                follower.host, follower.port, follower.acked
            ),
        );
    }
    lines.add("master_failover_state", "no-failover");
    lines.add("master_replid", id);
    lines.add("master_replid2", "0000000000000000000000000000000000000000");
    lines.add("master_repl_offset", offset);
    lines.add("second_repl_offset", -1);
    lines.add("pointsman_shard_epoch", node.epoch());
    lines.add("repl_backlog_active", u8::from(log.is_active()));
    lines.add("repl_backlog_size", node.spec.limits.backlog_bytes);
    lines.add("repl_backlog_first_byte_offset", log.backlog().start());
    lines.add("repl_backlog_histlen", log.backlog().len());
}

fn cpu(_: &Executor, lines: &mut Lines) {
    let (user_s, system_s) = process::cpu_seconds();
    lines.add("used_cpu_sys", format_args!("{system_s:.6}"));
    lines.add("used_cpu_user", format_args!("{user_s:.6}"));
}

fn cluster(node: &Executor, lines: &mut Lines) {
    lines.add("cluster_enabled", u8::from(node.spec.cluster.enabled()));
}

fn keyspace(node: &Executor, lines: &mut Lines) {
    let keys = node.keyspace.len();
    if keys > 0 {
        lines.add("db0", format_args!("keys={keys},expires={},avg_ttl=0", node.keyspace.expiring()));
    }
}

#[cfg(test)]
mod tests {
    use super::human;

    #[test]
    fn bytes_for_people() {
        for (bytes, text) in
            [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (1_572_864, "1.50M"), (1 << 31, "2.00G")]
        {
            assert_eq!(human(bytes), text);
        }
    }
}
