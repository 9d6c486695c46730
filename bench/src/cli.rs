//! The command line, as written. What a value means is settled in [`crate::args`].

use crate::keys::Distribution;
use crate::workload::Workload;
use clap::{Args, Parser, Subcommand};
use pointsman_protocol::node::HostPort;
use std::path::PathBuf;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "bench",
    version,
    about = "Load for any RESP endpoint, and measurements of Pointsman beside its peers.",
    long_about = "Load for any RESP endpoint (Redis, Valkey, a proxy in front of them), and measurements of \
        Pointsman beside its peers.\n\n\
        `load` sends requests and reports rate, latencies and errors. `compare` runs Pointsman, redis-server \
        itself, twemproxy, HAProxy and Envoy in turn under the same load and prints who costs how much CPU per \
        request. `store` does the same for the bundled node, redis-server and valkey-server. `protect` \
        measures what one shard's clients feel of another's trouble.",
    after_long_help = "Examples:\n  \
        bench load -a 127.0.0.1:6379 --workload get --prefill --clients 50 --pipeline 16\n  \
        bench load -a 127.0.0.1:6379 --workload mixed:0.9 --key-distribution zipf --rate 20000 --duration 30\n  \
        bench compare\n  \
        bench compare --peers pointsman,haproxy --cells get-c50-p16,latency-c1 --rounds 5 --json out.json\n  \
        bench store --keys 1000000"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// See [`Cli`].
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send requests to a RESP endpoint; report rate, latencies, errors.
    #[command(long_about = LOAD_ABOUT)]
    Load(Box<LoadArgs>),
    /// Pointsman beside redis-server, twemproxy, HAProxy and Envoy: CPU per request, and the targets.
    #[command(long_about = COMPARE_ABOUT)]
    Compare(Box<CompareArgs>),
    /// The bundled node beside redis-server and valkey-server: CPU per command, bytes per key.
    #[command(long_about = STORE_ABOUT)]
    Store(Box<StoreArgs>),
    /// What clients of one shard feel of a frozen shard, and of a client that reads nothing.
    #[command(long_about = PROTECT_ABOUT)]
    Protect(Box<ProtectArgs>),
}

/// Options of `bench load`.
#[derive(Debug, Args)]
pub struct LoadArgs {
    /// Where to: host:port.
    #[arg(short, long, value_name = "HOST:PORT", default_value = "127.0.0.1:6379")]
    pub address: HostPort,
    /// Connections.
    #[arg(short, long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub clients: u32,
    /// Requests that a client sends at a time.
    #[arg(short = 'P', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub pipeline: u32,
    /// Threads of the generator; one is enough for most single servers.
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub threads: u32,
    /// End after so many requests (0 with --prefill: only prefill). Without it --duration counts.
    #[arg(short = 'n', long, value_name = "N", conflicts_with_all = ["duration", "warmup"])]
    pub requests: Option<u64>,
    /// End after so many seconds (not counting --warmup). [default: 10]
    #[arg(short, long, value_name = "SECONDS")]
    pub duration: Option<f64>,
    /// Seconds at the beginning that are not measured.
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    pub warmup: f64,
    /// Open loop: so many requests per second in all, by the clock. With --pipeline they come in batches.
    #[arg(short, long, value_name = "PER_SECOND")]
    pub rate: Option<f64>,
    /// What to ask: get, set, incr, mget, mset, or mixed:SHARE (that share GETs, the rest SETs).
    #[arg(short, long, value_name = "KIND", default_value = "get")]
    pub workload: Workload,
    /// How many keys there are: the prefix followed by 12 digits.
    #[arg(short, long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=crate::workload::KEYS_MAX))]
    pub keys: u64,
    /// How requests are spread over the keys: uniform, zipf or zipf:THETA (default 0.99; key 0 is the most frequent),
    /// sequential (each key in turn), hot or hot:SHARE (key 0 gets that share, default 0.9).
    #[arg(long, value_name = "HOW", default_value = "uniform")]
    pub key_distribution: Distribution,
    /// What keys begin with. [default: "key:", for incr "counter:"]
    #[arg(long, value_name = "TEXT")]
    pub key_prefix: Option<String>,
    /// Bytes of a value.
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = clap::value_parser!(u32).range(0..=512 * 1024 * 1024))]
    pub value_bytes: u32,
    /// Keys of one MGET or MSET.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub mget_keys: u32,
    /// SETs carry an expiry of so many seconds.
    #[arg(long, value_name = "SECONDS")]
    pub ttl: Option<u64>,
    /// First write every key once.
    #[arg(long)]
    pub prefill: bool,
    /// Decides every key and every mixture: the same seed gives the same requests.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Protocol version: 3 greets with HELLO 3.
    #[arg(long, value_name = "2|3", default_value_t = 2, value_parser = clap::value_parser!(u8).range(2..=3))]
    pub resp: u8,
    /// Password of the default user. Better in the environment variable BENCH_PASSWORD: it does not show in the
    /// process list.
    #[arg(long, value_name = "TEXT")]
    pub password: Option<String>,
    /// Also report the CPU time per request and the memory of this process (of this machine; may be repeated).
    #[arg(long, value_name = "PID")]
    pub watch_pid: Vec<u32>,
    /// Show a progress line each second although standard error is no terminal.
    #[arg(long)]
    pub progress: bool,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
    /// Give up connecting after so many milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 5_000)]
    pub connect_timeout_ms: u64,
    /// Connect again for so many milliseconds after a connection is lost; then that client gives up.
    #[arg(long, value_name = "MS", default_value_t = 10_000)]
    pub reconnect_for_ms: u64,
    /// Count requests as lost when no reply came for so many milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 5_000)]
    pub reply_timeout_ms: u64,
    /// Refuse a reply larger than this.
    #[arg(long, value_name = "BYTES", default_value_t = 1024 * 1024 * 1024)]
    pub reply_bytes_max: usize,
    /// Open loop: batches that a client may have unanswered at a time.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub inflight_max: u64,
}

/// Options that `bench compare` and `bench store` share.
#[derive(Debug, Args)]
pub struct RoundArgs {
    /// Only these cells, separated by commas; a name ending in * takes all that begin so. See --list.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub cells: Vec<String>,
    /// List the cells, the programs found and not found, and stop.
    #[arg(long)]
    pub list: bool,
    /// Rounds of each cell; the medians are reported. A B C A B C ..., so that neighbours on the machine hit all.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
    /// Measured seconds of each run, after 0.2 s of warm-up. CPU time comes in steps of 10 ms: below 1 s, that is felt.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pub seconds: f64,
    /// Also write every figure to this file, as JSON (- = standard output, instead of the tables).
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// The redis-server program. [default: found in PATH]
    #[arg(long, value_name = "PATH")]
    pub redis_server: Option<PathBuf>,
}

/// Options of `bench compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// What is measured, and how often.
    #[command(flatten)]
    pub rounds: RoundArgs,
    /// Only these: pointsman, direct, twemproxy, haproxy, envoy, separated by commas.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub peers: Vec<String>,
    /// The pointsman program. [default: beside this one]
    #[arg(long, value_name = "PATH")]
    pub pointsman: Option<PathBuf>,
    /// The envoy program. [default: in PATH, then in .tools]
    #[arg(long, value_name = "PATH")]
    pub envoy: Option<PathBuf>,
    /// The haproxy program. [default: in PATH]
    #[arg(long, value_name = "PATH")]
    pub haproxy: Option<PathBuf>,
    /// The twemproxy program. [default: nutcracker in PATH]
    #[arg(long, value_name = "PATH")]
    pub twemproxy: Option<PathBuf>,
    /// Requests per second of the open-loop cell.
    #[arg(long, value_name = "PER_SECOND", default_value_t = 20_000.0)]
    pub rate: f64,
    /// Connections of the idle-memory cell, 1,000 to 10,000 as a rule; open file limits may allow fewer.
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    pub idle_clients: u32,
}

/// Options of `bench store`.
#[derive(Debug, Args)]
pub struct StoreArgs {
    /// What is measured, and how often.
    #[command(flatten)]
    pub rounds: RoundArgs,
    /// Only these: pointsman-store, redis, valkey, separated by commas.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub peers: Vec<String>,
    /// The pointsman-store program. [default: beside this one]
    #[arg(long, value_name = "PATH")]
    pub store: Option<PathBuf>,
    /// How pointsman-store is told its port; {port} stands for the number.
    #[arg(long, value_name = "ARGUMENTS", default_value = "--port {port}", allow_hyphen_values = true)]
    pub store_args: String,
    /// The valkey-server program. [default: in PATH]
    #[arg(long, value_name = "PATH")]
    pub valkey_server: Option<PathBuf>,
    /// Keys of the memory cells.
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=crate::workload::KEYS_MAX))]
    pub keys: u64,
}

/// Options of `bench protect`.
#[derive(Debug, Args)]
pub struct ProtectArgs {
    /// Rounds of each situation, interleaved; medians are reported.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
    /// Measured seconds of each round.
    #[arg(long, value_name = "SECONDS", default_value_t = 4.0)]
    pub seconds: f64,
    /// Clients of each of the two shards.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub clients: u32,
    /// Requests per second to each of the two shards, by the clock.
    #[arg(long, value_name = "PER_SECOND", default_value_t = 4_000.0, value_parser = rate)]
    pub rate: f64,
    /// The pointsman program. [default: beside this one]
    #[arg(long, value_name = "PATH")]
    pub pointsman: Option<PathBuf>,
    /// The redis-server program. [default: found in PATH]
    #[arg(long, value_name = "PATH")]
    pub redis_server: Option<PathBuf>,
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (1.0..=1e6).contains(&rate) => Ok(rate),
        _ => Err("a number from 1 to 1000000 is needed".to_owned()),
    }
}

const LOAD_ABOUT: &str = "Send requests to a RESP endpoint and report requests per second, latencies (HDR histograms), \
        errors by code with one sample each, and CPU time per request.\n\n\
        Closed loop (default): every client sends a batch of --pipeline requests, waits for all replies, and sends \
        the next: this finds the highest rate. Latency is that of the batch.\n\
        Open loop (--rate): requests are sent by a fixed schedule, whatever the server does, and latency counts \
        from the moment a request was meant to be sent, so waiting behind a stall is part of the figure \
        (no coordinated omission). Use it for claims about latency.\n\n\
        Every reply is checked: well-formed, no error, and of the kind that its request must get. Redirects are not \
        followed: point it at a proxy or a single node, not at one node of a cluster.\n\n\
        Exit status: 0 = no errors, 1 = the run could not be made, 2 = it was made and requests failed.";

const COMPARE_ABOUT: &str = "Run Pointsman beside its peers and print a table of ratios.\n\n\
        Method: the process under test alone on one core, the load generator and the backends on another; the main \
        figure is CPU microseconds per request of the process under test (user + system of all its threads from \
        /proc, after minus before, divided by the requests), because it moves far less with the neighbours on the machine \
        than throughput does. Throughput and latencies stand beside it. Every claim is a ratio within one run: medians \
        of interleaved rounds, with min..max as the noise.\n\n\
        Under test: pointsman and envoy (in front of a cluster of three redis-servers), twemproxy (in front of three \
        standalone ones), haproxy (TCP, in front of one), direct (a redis-server itself). Those that are not installed are \
        named in the report. Everything runs on free ports of the loopback interface in a temporary directory and is \
        ended when the run ends, also by ctrl-c.\n\n\
        The defaults take less than five minutes.";

const STORE_ABOUT: &str = "Run the bundled node beside redis-server and valkey-server, each alone on one core with the load \
        generator on another, and print a table of ratios: CPU microseconds per command, throughput, and resident bytes per \
        key with and without expiry. The method is that of `bench compare`.";

const PROTECT_ABOUT: &str = "Put an open loop on keys of one shard of a cluster of three, and one on keys of another, and \
        measure what the clients of the first feel while the second is frozen (SIGSTOP), and while a client asks for a \
        gigabyte of replies and reads none: latencies as ratios to the undisturbed rounds of the same run, failures, and \
        the most memory that the proxy held.\n\n\
        Exit status: 0 = no request of the neighbours failed, 1 = the run could not be made, 2 = some failed.";
