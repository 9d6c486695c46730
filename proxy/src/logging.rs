//! Logs go to standard error, for people or as JSON.

use pointsman_config::{Log, LogFormat};
use tracing_subscriber::EnvFilter;

/// What the frameworks below us log in between is of no use to an operator.
const QUIET: &str = "pingora_core=warn";

/// Starts logging; once a process.
pub fn start(log: &Log) {
    let filter =
        EnvFilter::try_new(format!("{QUIET},{}", log.level)).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start (in a test) keeps the first one's settings.
    let _ = match log.format {
        LogFormat::Human => builder.with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
