//! Logs go to standard error, for people or as JSON.

use pointsman_config::{Log, LogFormat};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// What the framework below us logs in between is of no use to an operator.
const QUIET: &str = "pingora_core=warn";
#[cfg(feature = "bundled")]
const QUIET_NODES: &str = crate::bundled::LOG_DIRECTIVE;
#[cfg(not(feature = "bundled"))]
const QUIET_NODES: &str = QUIET;

/// Starts logging; once a process.
pub fn start(log: &Log) {
    let filter = EnvFilter::try_new(format!("{QUIET},{QUIET_NODES},{}", log.level))
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // A second start (in a test) keeps the first one's settings.
    let _ = match log.format {
        LogFormat::Human => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
