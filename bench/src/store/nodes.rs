//! Who can be measured as a store: their programs, and how a fresh one is started.

use crate::cli::StoreArgs;
use crate::measure::cell::choose;
use crate::measure::control::Control;
use crate::measure::ports::free_port;
use crate::measure::redis;
use crate::measure::rounds::Subject;
use crate::process::child::Child;
use crate::process::cores::Cores;
use crate::process::find;
use crate::scratch::Scratch;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The bundled node.
pub const OURS: &str = "pointsman-store";
/// redis-server.
pub const REDIS: &str = "redis";
/// valkey-server.
pub const VALKEY: &str = "valkey";

/// All of them, in the order of the tables.
pub const ALL: [&str; 3] = [OURS, REDIS, VALKEY];

const READY_WITHIN: Duration = Duration::from_secs(20);

/// The programs of those who were chosen.
#[derive(Clone, Debug)]
pub struct Nodes {
    /// Those that are installed.
    pub found: Vec<(&'static str, PathBuf)>,
    /// Those that are not, with the way to get them.
    pub missing: Vec<String>,
    /// How the bundled node is told its port.
    store_args: String,
}

/// A node under test.
#[derive(Debug)]
pub struct Running {
    /// Who.
    pub name: &'static str,
    /// Its process.
    pub child: Child,
    /// Where it listens.
    pub port: u16,
}

impl Running {
    /// As the rounds know it.
    pub fn subject(&mut self) -> Subject<'_> {
        Subject { name: self.name, port: self.port, child: &mut self.child }
    }
}

/// Looks for the programs of those whom the command line chose.
pub fn find(args: &StoreArgs) -> Result<Nodes, String> {
    if !args.store_args.contains(PORT) {
        return Err(format!(
            "--store-args '{}': has no {PORT}, which stands for the port's number",
            args.store_args
        ));
    }
    let mut nodes = Nodes { found: Vec::new(), missing: Vec::new(), store_args: args.store_args.clone() };
    for name in choose("--peers", &args.peers, &ALL)? {
        let (given, flag, how) = match name {
            OURS => (&args.store, "--store", "cargo build --release -p pointsman-store, or --store PATH"),
            REDIS => (
                &args.rounds.redis_server,
                "--redis-server",
                "Debian package redis-server, or --redis-server PATH",
            ),
            _ => (&args.valkey_server, "--valkey-server", "build of valkey, or --valkey-server PATH"),
        };
        let found = match given {
            Some(path) => Some(find::given(path, flag)?),
            None => match name {
                OURS => find::beside_us("pointsman-store"),
                REDIS => find::in_path("redis-server"),
                _ => find::in_path("valkey-server").or_else(|| find::in_tools("valkey-server")),
            },
        };
        match found {
            Some(path) => nodes.found.push((name, path)),
            None => nodes.missing.push(format!("{name} ({how})")),
        }
    }
    Ok(nodes)
}

/// Stands for the port in `--store-args`.
const PORT: &str = "{port}";

impl Nodes {
    /// Who can be measured, in the order of the tables.
    pub fn names(&self) -> Vec<&'static str> {
        self.found.iter().map(|(name, _)| *name).collect()
    }

    /// `name: what its version flag prints`.
    pub fn descriptions(&self) -> Vec<String> {
        self.found
            .iter()
            .map(|(name, path)| {
                format!("{name}: {}{}", find::version(path, "--version"), find::build_note(path))
            })
            .collect()
    }

    /// What `--list` prints.
    pub fn listing(&self, cells: &[&str]) -> String {
        let mut lines = vec!["cells:".to_owned()];
        lines.extend(cells.iter().map(|cell| format!("  {cell}")));
        lines.push("programs:".to_owned());
        lines.extend(self.found.iter().map(|(name, path)| format!("  {name} = {}", path.display())));
        lines.extend(self.missing.iter().map(|missing| format!("  not installed: {missing}")));
        lines.join("\n") + "\n"
    }

    /// Starts a fresh node on `cores`; `purpose` keeps the files of several apart.
    pub fn start(
        &self,
        name: &'static str,
        cores: &Cores,
        scratch: &Scratch,
        purpose: &str,
    ) -> Result<Running, String> {
        let (_, program) = self
            .found
            .iter()
            .find(|(one, _)| *one == name)
            .ok_or_else(|| format!("{name} is not installed"))?;
        let files = format!("{name}-{purpose}");
        if name != OURS {
            let node = redis::start(program, &files, cores, scratch)?;
            return Ok(Running { name, child: node.child, port: node.port });
        }
        let port = free_port()?;
        let mut command = Command::new(program);
        command.args(arguments(&self.store_args, port)).current_dir(scratch.directory(&files)?);
        let mut child = Child::start(&files, &mut command, cores, scratch.path())?;
        child.wait_until(READY_WITHIN, || Control::connect(port)?.ask(&["GET", "probe"]))?;
        Ok(Running { name, child, port })
    }
}

fn arguments(template: &str, port: u16) -> Vec<String> {
    template.split_ascii_whitespace().map(|word| word.replace(PORT, &port.to_string())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_put_in_its_place() {
        assert_eq!(arguments("--port {port}", 7001), ["--port", "7001"]);
        assert_eq!(arguments("--listen=127.0.0.1:{port}  -q", 7001), ["--listen=127.0.0.1:7001", "-q"]);
    }
}
