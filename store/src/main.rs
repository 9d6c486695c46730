//! `pointsman-store`: one store node as a process of its own.

use clap::Parser;
use pointsman_protocol::HostPort;
use pointsman_store::{
    ClusterMap, Member, NodeLimits, NodeSpec, Role, ShardMap, avoid_huge_pages, raise_file_limit, start,
};
use std::io::IsTerminal;
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One store node: a key-value server that speaks the protocol of Redis.
///
/// Without --slots it stands alone: it owns every key, and clients need to know of no cluster. With
/// --slots it is a node of a cluster: it owns those slots and answers CROSSSLOT, CLUSTERDOWN and the
/// CLUSTER commands. With --replica-of it follows another node and serves reads.
///
/// Data is kept in memory only. SIGTERM and Ctrl-C stop the node.
#[derive(Debug, Parser)]
#[command(name = "pointsman-store", version, after_help = EXAMPLES)]
struct Options {
    /// Port to listen on.
    #[arg(long, default_value_t = 7001, value_name = "PORT")]
    port: u16,
    /// Address to listen on. Anything but a loopback address makes the data reachable for others, without
    /// a password.
    #[arg(long, default_value = "127.0.0.1", value_name = "ADDRESS")]
    bind: String,
    /// The address that other nodes and clients are told, where it differs from --bind.
    #[arg(long, value_name = "HOST")]
    announce: Option<String>,
    /// Follow the node at this address: copy its data and serve reads of it.
    #[arg(long, value_name = "HOST:PORT")]
    replica_of: Option<HostPort>,
    /// Be a cluster node that owns these slots, for example 0-5460 or 0-99,200,300-16383.
    #[arg(long, value_name = "RANGES", value_parser = parse_slots)]
    slots: Option<SlotRanges>,
    /// Most clients connected at a time.
    #[arg(long, default_value_t = NodeLimits::default().clients_max, value_name = "COUNT")]
    clients_max: usize,
    /// Bytes of the effect stream kept for replicas that come back after a break.
    #[arg(long, default_value_t = NodeLimits::default().backlog_bytes, value_name = "BYTES")]
    backlog_bytes: usize,
    /// Bytes that may wait for one replica before its link is dropped and it starts over.
    #[arg(long, default_value_t = NodeLimits::default().replica_output_bytes_max, value_name = "BYTES")]
    replica_output_bytes_max: usize,
}

const EXAMPLES: &str = "Examples:
  pointsman-store --port 7001
  pointsman-store --port 7002 --replica-of 127.0.0.1:7001
  redis-cli -p 7001 set greeting hello";

/// Inclusive ranges of slots.
#[derive(Clone, Debug)]
struct SlotRanges(Vec<(u16, u16)>);

fn parse_slots(text: &str) -> Result<SlotRanges, String> {
    let number = |text: &str| {
        text.trim()
            .parse::<u16>()
            .map_err(|_| format!("'{text}' is no slot: slots are numbers from 0 to 16383"))
    };
    let range = |part: &str| match part.split_once('-') {
        Some((first, last)) => Ok((number(first)?, number(last)?)),
        None => number(part).map(|slot| (slot, slot)),
    };
    text.split(',').map(range).collect::<Result<_, String>>().map(SlotRanges)
}

fn main() -> ExitCode {
    let options = Options::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("pointsman-store: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<(), String> {
    raise_file_limit();
    avoid_huge_pages();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the signal handler cannot be set up: {error}"))?;
    let listener = TcpListener::bind((options.bind.as_str(), options.port)).map_err(|error| {
        format!("cannot listen on {}:{}: {error}. Choose another port with --port, or another address with --bind",
            options.bind, options.port)
    })?;
    let spec = spec(&options)?;
    let node = start(spec, listener).map_err(|error| format!("the node cannot start: {error}"))?;
    runtime.block_on(stop_signal()).map_err(|error| format!("signals cannot be received: {error}"))?;
    node.stop();
    Ok(())
}

fn spec(options: &Options) -> Result<NodeSpec, String> {
    let host = options.announce.as_deref().unwrap_or(&options.bind);
    let address = HostPort::new(host, options.port);
    let limits = NodeLimits {
        clients_max: options.clients_max,
        backlog_bytes: options.backlog_bytes,
        replica_output_bytes_max: options.replica_output_bytes_max,
        ..NodeLimits::default()
    };
    let role = options.replica_of.clone().map_or(Role::Primary, Role::ReplicaOf);
    let Some(SlotRanges(ranges)) = &options.slots else {
        return Ok(NodeSpec::standalone(address, role, limits));
    };
    let myself = Member::at(address.clone());
    let (primary, replicas) = match &options.replica_of {
        None => (myself.clone(), Vec::new()),
        Some(primary) => (Member::at(primary.clone()), vec![myself.clone()]),
    };
    let mut ranges = ranges.clone();
    ranges.sort_unstable();
    let shard = ShardMap { id: primary.id, epoch: 1, ranges, primary, replicas };
    let cluster = ClusterMap::new(vec![shard]).map_err(|error| format!("--slots: {error}"))?;
    Ok(NodeSpec { id: myself.id, address, role, cluster: Arc::new(cluster), limits })
}

/// Waits for SIGTERM or Ctrl-C.
async fn stop_signal() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted,
    }
}
