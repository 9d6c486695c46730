//! CONFIG: the parameters that tools ask for.
//!
//! A node is configured where it is started; what is told here is what follows from that, under
//! Redis' names. CONFIG SET refuses, and says so.

use super::failure::{Failure, Outcome};
use super::glob;
use super::{Call, Handler};
use crate::stats::Stats;

/// See the module.
pub const COMMANDS: &[(&str, Handler)] = &[
    ("CONFIG|GET", get),
    ("CONFIG|SET", set),
    ("CONFIG|RESETSTAT", reset_statistics),
    ("CONFIG|REWRITE", rewrite),
    ("CONFIG|HELP", help),
];

/// All parameters with their values, sorted by name.
fn parameters(call: &Call<'_>) -> Vec<(&'static str, String)> {
    let limits = &call.node.spec.limits;
    let yes_no = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let text = str::to_owned;
    let primary = call.node.primary().map(|primary| format!("{} {}", primary.host(), primary.port()));
    vec![
        ("appendfsync", text("everysec")),
        ("appendonly", text("no")),
        ("bind", call.node.spec.address.host().to_owned()),
        (
            "client-output-buffer-limit",
            format!(
                "normal {0} 0 0 slave {1} 0 0 pubsub 0 0 0",
                limits.output_bytes_max, limits.replica_output_bytes_max
            ),
        ),
        ("cluster-allow-reads-when-down", text("no")),
        ("cluster-enabled", yes_no(call.node.spec.cluster.enabled())),
        ("cluster-node-timeout", limits.replication_timeout_ms.to_string()),
        ("cluster-require-full-coverage", text("no")),
        ("databases", text("1")),
        ("dir", text("")),
        ("hz", (1000 / limits.tick_ms.max(1)).to_string()),
        ("lazyfree-lazy-server-del", text("yes")),
        ("lazyfree-lazy-user-del", text("yes")),
        ("maxclients", limits.clients_max.to_string()),
        ("maxmemory", text("0")),
        ("maxmemory-policy", text("noeviction")),
        ("notify-keyspace-events", text("")),
        ("port", call.node.spec.address.port().to_string()),
        ("proto-max-bulk-len", limits.value_bytes_max.to_string()),
        ("repl-backlog-size", limits.backlog_bytes.to_string()),
        ("repl-timeout", (limits.replication_timeout_ms / 1000).to_string()),
        ("replica-read-only", text("yes")),
        ("replica-serve-stale-data", text("yes")),
        ("replicaof", primary.clone().unwrap_or_default()),
        ("requirepass", text("")),
        ("save", text("")),
        ("slave-read-only", text("yes")),
        ("slaveof", primary.unwrap_or_default()),
        ("tcp-keepalive", text("300")),
        ("timeout", text("0")),
    ]
}

fn get(call: &mut Call<'_>) -> Outcome {
    let matching: Vec<_> = parameters(call)
        .into_iter()
        .filter(|(name, _)| {
            let any = |pattern: &[u8]| glob::matches(&pattern.to_ascii_lowercase(), name.as_bytes());
            call.args.iter().skip(2).any(any)
        })
        .collect();
    call.reply_map(matching.len());
    for (name, value) in matching {
        call.reply_bulk(name.as_bytes());
        call.reply_bulk(value.as_bytes());
    }
    Ok(())
}

fn set(call: &mut Call<'_>) -> Outcome {
    if !call.args.len().is_multiple_of(2) {
        return Err(Failure::Arity);
    }
    let name = String::from_utf8_lossy(call.arg(2)).to_ascii_lowercase();
    let known = parameters(call).iter().any(|(parameter, _)| *parameter == name);
    Err(Failure::Made(match known {
        true => format!(
            "ERR CONFIG SET failed (possibly related to argument '{name}') - can't set immutable config"
        ),
        false => format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'"),
    }))
}

fn reset_statistics(call: &mut Call<'_>) -> Outcome {
    call.node.stats = Stats::new(call.node.now_ms);
    call.ok();
    Ok(())
}

fn rewrite(_: &mut Call<'_>) -> Outcome {
    Err(Failure::Text("ERR The server is running without a config file"))
}

fn help(call: &mut Call<'_>) -> Outcome {
    call.reply_help(
        "CONFIG",
        &[
            "GET <pattern>",
            "    Return parameters matching the glob-like <pattern> and their values.",
            "SET <directive> <value>",
            "    Refused: this server is configured where it is started.",
            "RESETSTAT",
            "    Reset statistics reported by the INFO command.",
            "REWRITE",
            "    Refused: there is no configuration file.",
        ],
    );
    Ok(())
}
