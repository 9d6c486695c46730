//! The command line.

use clap::{Parser, Subcommand};
use pointsman_config::{AdminOverride, Config, Overrides, Problems};
use std::net::SocketAddr;
use std::path::PathBuf;

/// One endpoint in front of a sharded Redis or Valkey store.
///
/// Without arguments it starts three bundled shards, each a primary and a replica, and proxies to
/// them: try `redis-cli -p 6379`. With --config it fronts what the file says, an existing Redis or
/// Valkey Cluster for example; examples are in config/examples/, every key is in config/REFERENCE.md.
///
/// Stop it with Ctrl-C or SIGTERM: it accepts nobody new, answers what it was asked, and ends (at the
/// latest after drain_timeout_ms). A second Ctrl-C ends it at once.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What to do instead of running.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Configuration file (YAML); the flags below change single values of it
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Where clients connect [default: 127.0.0.1:6379]
    #[arg(short, long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,

    /// Where /metrics, /health, /ready and /topology are served, or 'off' [default: 127.0.0.1:9180]
    #[arg(long, value_name = "ADDRESS|off")]
    pub admin: Option<AdminOverride>,

    /// Bundled shards [default: 3]
    #[arg(long, value_name = "N")]
    pub shards: Option<u16>,

    /// Replicas of each bundled shard [default: 1]
    #[arg(long, value_name = "N")]
    pub replicas: Option<u16>,

    /// Port of the first bundled node; the others follow [default: 7001]
    #[arg(long, value_name = "PORT")]
    pub node_port: Option<u16>,

    /// Worker threads [default: one a core]
    #[arg(short, long, value_name = "N")]
    pub workers: Option<usize>,
}

/// What to do instead of running.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check a configuration file: prints every problem with its line, and exits with 1 if there is one
    Check {
        /// The file
        file: PathBuf,
    },
}

impl Cli {
    /// The configuration that the file and the flags make together.
    ///
    /// # Errors
    /// Every problem found.
    pub fn config(&self) -> Result<Config, Problems> {
        let config = match &self.config {
            Some(file) => pointsman_config::load(file)?,
            None => Config::embedded_default(),
        };
        config.with(&Overrides {
            listen: self.listen,
            admin: self.admin,
            shards: self.shards,
            replicas: self.replicas,
            workers: self.workers,
            node_port: self.node_port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_change_the_default() {
        let cli = Cli::parse_from([
            "pointsman",
            "--shards",
            "2",
            "--replicas",
            "0",
            "--node-port",
            "9000",
            "--workers",
            "3",
            "--admin",
            "off",
        ]);
        let config = cli.config().unwrap();
        assert_eq!((config.workers, config.admin.is_none()), (3, true));
    }
}
