//! What the nodes of a backend say of their own commands, so that one which the command table does not have
//! (a module's, a newer server's) is known on its first day.
//!
//! A control task asks each primary now and then, and soon after a client named a command that nobody
//! knows, in a few words: version, modules, how many commands. Only where that is new does it ask for
//! COMMAND, once for all nodes that say the same. A node that tells nothing (ACL, `rename-command`) leaves
//! the command table as it is; nothing waits for any of this.

use super::kept;
use crate::topology::fetch::Control;
use crate::topology::publish::Published;
use arc_swap::ArcSwap;
use pointsman_config::{Backend, BackendKind};
use pointsman_protocol::HostPort;
use pointsman_protocol::command::Announced;
use pointsman_protocol::resp::reply;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

/// Pause between two rounds without a reason.
const INTERVAL: Duration = Duration::from_secs(10);
/// Pause between two rounds whatever the reasons, and while no node is known yet.
const INTERVAL_MIN: Duration = Duration::from_millis(500);
/// Primaries asked in a round: the commands of more than so many need not be compared.
const ASKED_MAX: usize = 64;

/// See the module's head.
#[derive(Debug, Default)]
pub struct Commands {
    announced: ArcSwap<Announced>,
    wanted: Notify,
}

impl Commands {
    /// What is known now; empty until a node has told.
    pub fn load(&self) -> Arc<Announced> {
        self.announced.load_full()
    }

    /// Has the nodes asked again soon.
    pub fn ask_again(&self) {
        self.wanted.notify_one();
    }
}

/// A node's connection, and the marks of what it last told.
#[derive(Default)]
struct Known {
    connection: Option<Control>,
    marks: Option<String>,
}

/// Keeps the commands of one backend known, forever.
pub async fn run(backend: Backend, published: Arc<Published>, commands: Arc<Commands>) {
    if matches!(backend.kind, BackendKind::Bundled(_)) {
        // They have no command that the table does not have.
        return std::future::pending().await;
    }
    let mut nodes: HashMap<HostPort, Known> = HashMap::new();
    let mut told: HashMap<String, Announced> = HashMap::new();
    loop {
        let began = Instant::now();
        let primaries = primaries(&published);
        nodes.retain(|node, _| primaries.contains(node));
        let mut changed = false;
        for node in &primaries {
            changed |= ask(node, &backend, nodes.entry(node.clone()).or_default(), &mut told).await;
        }
        let before = told.len();
        told.retain(|marks, _| nodes.values().any(|known| known.marks.as_ref() == Some(marks)));
        if changed || told.len() != before {
            publish(&backend, &told, &commands);
        }
        let pause = if primaries.is_empty() { INTERVAL_MIN } else { INTERVAL };
        let _ = timeout(pause, commands.wanted.notified()).await;
        sleep_until(began + INTERVAL_MIN).await;
    }
}

fn primaries(published: &Published) -> Vec<HostPort> {
    let snapshot = published.load();
    let shards = snapshot.topology.serving().into_iter().take(ASKED_MAX);
    shards
        .map(|shard| snapshot.topology.node(snapshot.topology.shard(shard).primary).address.clone())
        .collect()
}

/// Asks one node. True if it told of commands that nobody had told of.
async fn ask(
    node: &HostPort,
    backend: &Backend,
    known: &mut Known,
    told: &mut HashMap<String, Announced>,
) -> bool {
    let answer = match kept::ask(node, backend, known.connection.take(), marks_of).await {
        Ok((marks, control)) if told.contains_key(&marks) => Ok((marks, None, control)),
        Ok((marks, mut control)) => {
            commands_of(&mut control).await.map(|announced| (marks, Some(announced), control))
        }
        Err(error) => Err(error),
    };
    match answer {
        Ok((marks, new, control)) => {
            known.connection = Some(control);
            known.marks = Some(marks.clone());
            new.is_some_and(|announced| told.insert(marks, announced).is_none())
        }
        // What it told before still stands.
        Err(error) => {
            tracing::debug!(%node, error, "a node's commands are unknown");
            false
        }
    }
}

async fn marks_of(control: &mut Control) -> Result<String, String> {
    let server = control.ask_bytes(&["INFO", "server"]).await?;
    let modules = control.ask_bytes(&["INFO", "modules"]).await?;
    let count = control.ask_bytes(&["COMMAND", "COUNT"]).await?;
    Ok(marks(&server, &modules, &count))
}

async fn commands_of(control: &mut Control) -> Result<Announced, String> {
    let reply = control.ask_bytes(&["COMMAND"]).await?;
    Announced::read(&reply).ok_or_else(|| "COMMAND did not answer a list of commands".to_owned())
}

/// What two servers with the same commands have in common, and others do not.
fn marks(server: &[u8], modules: &[u8], count: &[u8]) -> String {
    let text = |bytes| String::from_utf8_lossy(reply::payload(bytes).unwrap_or_default()).into_owned();
    let of_version = ["redis_version:", "valkey_version:", "redis_build_id:", "redis_mode:", "server_mode:"];
    let mut marks = String::new();
    for line in text(server).lines().filter(|line| of_version.iter().any(|field| line.starts_with(field))) {
        marks += line;
        marks.push('\n');
    }
    for line in text(modules).lines().filter(|line| line.starts_with("module:")) {
        marks += line;
        marks.push('\n');
    }
    marks + &String::from_utf8_lossy(count)
}

fn publish(backend: &Backend, told: &HashMap<String, Announced>, commands: &Commands) {
    let mut all: Option<Announced> = None;
    for announced in told.values() {
        match &mut all {
            None => all = Some(announced.clone()),
            Some(all) => all.join(announced),
        }
    }
    let all = all.unwrap_or_default();
    let (known, new) = (all.len(), all.rows().count());
    if all.dropped() > 0 {
        tracing::warn!(
            backend = backend.name,
            dropped = all.dropped(),
            "the nodes announce more commands than can be kept; these stay unknown"
        );
    }
    tracing::info!(backend = backend.name, commands = known, not_in_table = new, "commands of the nodes");
    commands.announced.store(Arc::new(all));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_change_with_version_modules_and_count() {
        let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len()).into_bytes();
        let server = bulk("# Server\r\nredis_version:7.0.15\r\nuptime_in_seconds:5\r\nredis_build_id:x\r\n");
        let later = bulk("# Server\r\nredis_version:7.0.15\r\nuptime_in_seconds:9\r\nredis_build_id:x\r\n");
        let newer = bulk("redis_version:8.0.0\r\nredis_build_id:x\r\n");
        let module = bulk("# Modules\r\nmodule:name=bf,ver=1\r\n");
        let first = marks(&server, &bulk(""), b":240\r\n");
        assert_eq!(first, marks(&later, &bulk(""), b":240\r\n"));
        for other in [
            marks(&newer, &bulk(""), b":240\r\n"),
            marks(&server, &module, b":240\r\n"),
            marks(&server, &bulk(""), b":241\r\n"),
            marks(b"-NOPERM\r\n", b"-NOPERM\r\n", b":240\r\n"),
        ] {
            assert_ne!(first, other);
        }
    }
}
