//! Starting those under test, and knowing when they are ready.

use super::backends::Backends;
use super::files;
use super::peers::{Peer, Programs};
use crate::measure::control::Control;
use crate::measure::ports::free_port;
use crate::measure::redis;
use crate::measure::rounds::Subject;
use crate::process::child::Child;
use crate::process::cores::Cores;
use crate::process::limits::open_files_max;
use crate::scratch::Scratch;
use std::process::Command;
use std::time::Duration;

const READY_WITHIN: Duration = Duration::from_secs(20);
/// Clients that a proxy must accept in any cell with a load.
const LOAD_CLIENTS: usize = 1_000;
/// Keys asked for until none of the answers is an error: enough to meet every backend.
const PROBE_KEYS: u32 = 32;

/// One under test.
#[derive(Debug)]
pub struct Running {
    /// Who.
    pub peer: Peer,
    /// Its process.
    pub child: Child,
    /// Where it listens.
    pub port: u16,
}

impl Running {
    /// As the rounds know it.
    pub fn subject(&mut self) -> Subject<'_> {
        Subject { name: self.peer.name(), port: self.port, child: &mut self.child }
    }
}

/// What those under test are started on.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// Where their programs are.
    pub programs: &'a Programs,
    /// What they stand in front of.
    pub backends: &'a Backends,
    /// Their cores.
    pub cores: &'a Cores,
    /// Where their files go.
    pub scratch: &'a Scratch,
}

/// How one is started.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Keeps the files of several processes of one peer apart.
    pub purpose: &'static str,
    /// Threads.
    pub workers: usize,
    /// Clients that it must accept at a time.
    pub clients: usize,
}

impl Setting {
    /// For any cell with a load.
    pub fn load(purpose: &'static str, workers: usize) -> Self {
        Setting { purpose, workers, clients: LOAD_CLIENTS }
    }
}

/// Starts `peer`; returns when it serves.
pub fn start(peer: Peer, ground: Ground<'_>, setting: Setting) -> Result<Running, String> {
    let Ground { programs, backends, cores, scratch } = ground;
    let Setting { purpose, workers, clients } = setting;
    let name = format!("{}-{purpose}", peer.name());
    let program = programs.of(peer)?;
    if peer == Peer::Direct {
        let node = redis::start(program, &name, cores, scratch)?;
        return Ok(Running { peer, child: node.child, port: node.port });
    }
    // Clients of ours beside those of the load: probes, and those of the round before that close late.
    let clients_max = (clients + 200).max(LOAD_CLIENTS);
    let port = free_port()?;
    let mut command = Command::new(program);
    match peer {
        Peer::Pointsman => {
            let text = files::pointsman(port, free_port()?, workers, &backends.cluster_ports(), clients_max);
            command.arg("--config").arg(scratch.write(&format!("{name}.yaml"), &text)?);
        }
        Peer::Twemproxy => {
            let file = scratch
                .write(&format!("{name}.yaml"), &files::twemproxy(port, &backends.standalone_ports()))?;
            let stats = free_port()?.to_string();
            command.arg("-c").arg(file).args([
                "-a",
                "127.0.0.1",
                "-s",
                &stats,
                "-i",
                "3600000",
                "-m",
                "16384",
            ]);
        }
        Peer::Haproxy => {
            let needed = clients_max as u64 * 2 + 100;
            if needed > open_files_max() {
                return Err(format!(
                    "{clients} clients need {needed} open files, and the limit is {} (see ulimit -n)",
                    open_files_max()
                ));
            }
            let server = backends.standalone_ports().first().copied().unwrap_or_default();
            let file =
                scratch.write(&format!("{name}.cfg"), &files::haproxy(port, workers, server, clients_max))?;
            command.args(["-db", "-f"]).arg(file);
        }
        Peer::Envoy | Peer::Direct => {
            let file =
                scratch.write(&format!("{name}.yaml"), &files::envoy(port, &backends.cluster_ports()))?;
            command.arg("-c").arg(file).args(["--concurrency", &workers.to_string()]);
            // Without hot restart it needs no shared memory, and several of them do not meet.
            command.args(["--log-level", "warn", "--disable-hot-restart"]);
        }
    }
    let mut child = Child::start(&name, &mut command, cores, scratch.path())?;
    child.wait_until(READY_WITHIN, || serves(port))?;
    Ok(Running { peer, child, port })
}

/// Ready means: GETs of keys of all backends are answered without an error.
fn serves(port: u16) -> Result<(), String> {
    let mut control = Control::connect(port)?;
    for number in 0..PROBE_KEYS {
        control.ask(&["GET", &format!("probe:{number}")])?;
    }
    Ok(())
}
