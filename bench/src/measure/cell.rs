//! One cell of a table: a kind of load, and how it is put on a server.

use crate::interrupt;
use crate::process::cores::Cores;
use crate::report::LoadReport;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How keys and values of a cell are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Data {
    /// What keys begin with; cells with other values have other keys.
    pub key_prefix: &'static str,
    /// How many there are.
    pub keys: u64,
    /// Bytes of a value.
    pub value_bytes: u32,
}

/// 64-byte values under 100,000 keys: what most cells use.
pub const SMALL: Data = Data { key_prefix: "key:", keys: 100_000, value_bytes: 64 };
/// 1 KiB values, for clients that have been busy.
pub const MEDIUM: Data = Data { key_prefix: "medium:", keys: 1_000, value_bytes: 1024 };
/// 16 KiB values; few, as they are kept several times over.
pub const LARGE: Data = Data { key_prefix: "large:", keys: 2_000, value_bytes: 16 * 1024 };

/// A kind of load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoadCell {
    /// Its name in tables and on the command line.
    pub name: &'static str,
    /// As `bench load --workload` spells it.
    pub workload: &'static str,
    /// Connections.
    pub clients: u32,
    /// Requests at a time.
    pub pipeline: u32,
    /// Keys and values.
    pub data: Data,
    /// Requests per second of an open loop.
    pub rate: Option<f64>,
}

impl LoadCell {
    /// A closed loop on small values.
    pub const fn closed(name: &'static str, workload: &'static str, clients: u32, pipeline: u32) -> Self {
        LoadCell { name, workload, clients, pipeline, data: SMALL, rate: None }
    }
}

/// Seconds of each run that are not measured: connections get warm, CPU clocks rise.
pub const WARMUP_S: f64 = 0.2;
/// The least and the most that `--seconds` may say.
const SECONDS: std::ops::RangeInclusive<f64> = 0.05..=3_600.0;
/// How much longer than its time a run may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where the load generator runs and for how long.
#[derive(Clone, Debug)]
pub struct Generator {
    /// Its cores.
    pub cores: Cores,
    /// Measured seconds.
    pub seconds: f64,
    /// Its threads.
    pub threads: u32,
}

impl Generator {
    /// Puts the load of `cell` on the server at `port`; measures the process `pid`.
    pub fn run(&self, cell: &LoadCell, port: u16, pid: u32) -> Result<LoadReport, String> {
        let mut arguments = arguments(cell, port);
        arguments.extend(["--watch-pid".to_owned(), pid.to_string()]);
        arguments.extend(["--warmup".to_owned(), WARMUP_S.to_string()]);
        arguments.extend(["--duration".to_owned(), self.seconds.to_string()]);
        if let Some(rate) = cell.rate {
            arguments.extend(["--rate".to_owned(), rate.to_string()]);
        }
        self.start(&arguments)
    }

    /// Writes every key of `data` once; `ttl_s` gives them an expiry.
    pub fn prefill(&self, data: Data, ttl_s: Option<u64>, port: u16) -> Result<(), String> {
        let cell = LoadCell { name: "prefill", workload: "set", clients: 16, pipeline: 1, data, rate: None };
        let mut arguments = arguments(&cell, port);
        arguments.extend(["--prefill", "--requests", "0"].map(str::to_owned));
        if let Some(seconds) = ttl_s {
            arguments.extend(["--ttl".to_owned(), seconds.to_string()]);
        }
        self.start_for(&arguments, PREFILL_WITHIN).map(|_| ())
    }

    fn start(&self, arguments: &[String]) -> Result<LoadReport, String> {
        let limit = Duration::from_secs_f64(self.seconds + WARMUP_S) + PATIENCE;
        let output = self.start_for(arguments, limit)?;
        serde_json::from_str(&output)
            .map_err(|error| format!("the load generator's report cannot be read: {error}"))
    }

    /// Runs `bench load` as a process of its own, on its cores; gives its standard output.
    fn start_for(&self, arguments: &[String], limit: Duration) -> Result<String, String> {
        let program =
            std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
        let mut command = Command::new(program);
        command.arg("load").args(arguments).args(["--json", "--threads"]).arg(self.threads.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Owned(self.cores.spawn(&mut command)?);
        let begun = Instant::now();
        // The report is far smaller than a pipe holds, so waiting before reading cannot block it.
        let status = loop {
            interrupt::check()?;
            match child.0.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if begun.elapsed() > limit => {
                    return Err(format!("the load generator did not end within {} s", limit.as_secs()));
                }
                Ok(None) => std::thread::sleep(Duration::from_millis(5)),
                Err(error) => return Err(format!("the load generator cannot be waited for: {error}")),
            }
        };
        let output = read_all(child.0.stdout.take());
        // 2 = the run was made and requests failed: the report says which.
        if status.success() || status.code() == Some(2) {
            return Ok(output);
        }
        let why = read_all(child.0.stderr.take());
        Err(if why.trim().is_empty() {
            format!("the load generator ended with {status}")
        } else {
            why.trim().to_owned()
        })
    }
}

const PREFILL_WITHIN: Duration = Duration::from_secs(600);

fn arguments(cell: &LoadCell, port: u16) -> Vec<String> {
    [
        ("--address", format!("127.0.0.1:{port}")),
        ("--workload", cell.workload.to_owned()),
        ("--clients", cell.clients.to_string()),
        ("--pipeline", cell.pipeline.to_string()),
        ("--keys", cell.data.keys.to_string()),
        ("--key-prefix", cell.data.key_prefix.to_owned()),
        ("--value-bytes", cell.data.value_bytes.to_string()),
    ]
    .into_iter()
    .flat_map(|(flag, value)| [flag.to_owned(), value])
    .collect()
}

/// A child that is ended when we stop waiting for it.
struct Owned(std::process::Child);

impl Drop for Owned {
    fn drop(&mut self) {
        // Both fail only for a process that has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn read_all(from: Option<impl Read>) -> String {
    let mut text = String::new();
    if let Some(mut from) = from {
        let _ = from.read_to_string(&mut text);
    }
    text
}

/// Refuses a length of runs that makes no sense.
pub fn check_seconds(seconds: f64) -> Result<(), String> {
    if SECONDS.contains(&seconds) {
        return Ok(());
    }
    Err(format!("--seconds {seconds}: must be from {} to {}", SECONDS.start(), SECONDS.end()))
}

/// Which of `names` the command line chose: all if it chose none. A pattern may end in `*`.
pub fn choose<'a>(what: &str, patterns: &[String], names: &[&'a str]) -> Result<Vec<&'a str>, String> {
    let matches = |pattern: &str, name: &str| match pattern.strip_suffix('*') {
        Some(begin) => name.starts_with(begin),
        None => name == pattern,
    };
    for pattern in patterns {
        if !names.iter().any(|name| matches(pattern, name)) {
            return Err(format!(
                "{what} '{pattern}': there is none of this name; there are {}",
                names.join(", ")
            ));
        }
    }
    let chosen = |name: &&str| patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, name));
    Ok(names.iter().copied().filter(chosen).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command as CliCommand};
    use clap::Parser;

    #[test]
    fn a_cell_becomes_a_command_line_that_the_generator_accepts() {
        let cell = LoadCell { data: LARGE, rate: Some(20_000.0), ..LoadCell::closed("x", "get", 7, 3) };
        let words = ["bench".to_owned(), "load".to_owned()].into_iter().chain(arguments(&cell, 1234));
        let CliCommand::Load(args) = Cli::try_parse_from(words).unwrap().command else { panic!("not load") };
        let spec = crate::args::load_spec(&args).unwrap();
        assert_eq!((spec.clients, spec.pipeline, spec.keys), (7, 3, 2_000));
        assert_eq!(spec.shape.key_prefix, "large:");
        assert_eq!(spec.shape.value.len(), 16 * 1024);
        assert_eq!(spec.address.to_string(), "127.0.0.1:1234");
    }

    #[test]
    fn choosing_by_name_and_by_beginning() {
        let names = ["get-c50-p1", "get-c50-p16", "set-c50-p1"];
        let choose = |patterns: &[&str]| {
            choose(
                "--cells",
                &patterns.iter().map(|pattern| (*pattern).to_owned()).collect::<Vec<_>>(),
                &names,
            )
        };
        assert_eq!(choose(&[]).unwrap(), names);
        assert_eq!(choose(&["get-c50-p1"]).unwrap(), ["get-c50-p1"]);
        assert_eq!(choose(&["set*", "get-c50-p16"]).unwrap(), ["get-c50-p16", "set-c50-p1"]);
        let error = choose(&["gte"]).unwrap_err();
        assert!(error.contains("'gte'") && error.contains("set-c50-p1"), "{error}");
    }
}
