//! redis-server (or valkey-server) processes: single ones, and a cluster of primaries.

use super::control::Control;
use super::ports::free_port;
use crate::process::child::Child;
use crate::process::cores::Cores;
use crate::scratch::Scratch;
use pointsman_protocol::slot::SLOTS;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const READY_WITHIN: Duration = Duration::from_secs(10);
/// A cluster's nodes greet each other once a second or so.
const CLUSTER_WITHIN: Duration = Duration::from_secs(30);

/// A running server.
#[derive(Debug)]
pub struct RedisNode {
    /// The process.
    pub child: Child,
    /// Where it listens, on the loopback interface.
    pub port: u16,
}

/// Starts a single server without persistence.
pub fn start(program: &Path, name: &str, cores: &Cores, scratch: &Scratch) -> Result<RedisNode, String> {
    start_with(program, name, cores, scratch, free_port()?, "")
}

/// Starts `count` primaries and shares the slots out among them, in order.
pub fn start_cluster(
    program: &Path,
    count: u16,
    cores: &Cores,
    scratch: &Scratch,
) -> Result<Vec<RedisNode>, String> {
    let mut nodes = Vec::new();
    let mut buses = Vec::new();
    for index in 0..count {
        // The bus port is named, as the default (port + 10000) may be taken.
        let bus = free_port()?;
        let more = format!(
            "cluster-enabled yes\ncluster-config-file nodes.conf\ncluster-port {bus}\n\
             cluster-node-timeout 15000\ncluster-require-full-coverage no\n"
        );
        nodes.push(start_with(program, &format!("cluster-{index}"), cores, scratch, free_port()?, &more)?);
        buses.push(bus);
    }
    let Some(first) = nodes.first().map(|node| node.port) else { return Ok(nodes) };
    for (index, (node, bus)) in (0..).zip(nodes.iter().zip(&buses)) {
        let mut control = Control::connect(node.port)?;
        let (from, to) = slot_share(index, count);
        control.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()])?;
        control.ask(&["CLUSTER", "ADDSLOTSRANGE", &from.to_string(), &to.to_string()])?;
        if index > 0 {
            Control::connect(first)?.ask(&[
                "CLUSTER",
                "MEET",
                "127.0.0.1",
                &node.port.to_string(),
                &bus.to_string(),
            ])?;
        }
    }
    for node in &mut nodes {
        let port = node.port;
        node.child.wait_until(CLUSTER_WITHIN, || cluster_is_whole(port, count))?;
    }
    Ok(nodes)
}

fn start_with(
    program: &Path,
    name: &str,
    cores: &Cores,
    scratch: &Scratch,
    port: u16,
    more: &str,
) -> Result<RedisNode, String> {
    let dir = scratch.directory(name)?;
    let config = scratch.write(
        &format!("{name}.conf"),
        &format!(
            "bind 127.0.0.1\nport {port}\ndir {}\nprotected-mode no\ndaemonize no\nsave \"\"\nappendonly no\n\
             maxclients 19000\ntcp-backlog 4096\nloglevel warning\n{more}",
            dir.display()
        ),
    )?;
    let mut child = Child::start(name, Command::new(program).arg(config), cores, scratch.path())?;
    child.wait_until(READY_WITHIN, || Control::connect(port)?.ask(&["PING"]))?;
    Ok(RedisNode { child, port })
}

fn cluster_is_whole(port: u16, nodes: u16) -> Result<(), String> {
    let info = Control::connect(port)?.ask_text(&["CLUSTER", "INFO"])?;
    for wanted in
        ["cluster_state:ok".to_owned(), format!("cluster_slots_ok:{SLOTS}"), format!("cluster_size:{nodes}")]
    {
        if !info.lines().any(|line| line.trim() == wanted) {
            return Err(format!("port {port}: CLUSTER INFO does not say {wanted} yet"));
        }
    }
    Ok(())
}

/// The first and the last slot of node `index` of `count`.
fn slot_share(index: u16, count: u16) -> (u16, u16) {
    let begin = |index: u16| (u32::from(SLOTS) * u32::from(index) / u32::from(count.max(1))) as u16;
    (begin(index), begin(index + 1) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::find;

    #[test]
    fn slots_are_shared_out_without_gaps() {
        assert_eq!(
            [slot_share(0, 3), slot_share(1, 3), slot_share(2, 3)],
            [(0, 5460), (5461, 10921), (10922, 16383)]
        );
        assert_eq!(slot_share(0, 1), (0, 16383));
    }

    #[test]
    fn a_cluster_of_real_servers() {
        let Some(program) = find::in_path("redis-server") else {
            eprintln!("SKIPPED: redis-server is not installed, so no cluster was started");
            return;
        };
        let scratch = Scratch::new("test-cluster").unwrap();
        let nodes = start_cluster(&program, 3, &Cores::available().unwrap(), &scratch).unwrap();
        let moved =
            nodes.iter().filter(|node| Control::connect(node.port).unwrap().ask(&["GET", "foo"]).is_err());
        assert_eq!(moved.count(), 2, "one node owns the slot of foo, the others redirect");
    }
}
