//! Puts the parts together: binds everything first, so that a taken port leaves nothing half
//! started, then starts nodes, workers, control tasks and the admin port, and runs until told to stop.

use crate::accept::{Acceptor, bind};
use crate::admin::counters::Registry;
use crate::admin::http::{AdminService, BackendStatus, Status};
use crate::client::local::info;
use crate::health::census::{self, Census};
use crate::health::commands::{self, Commands};
use crate::health::lag;
use crate::limit::rate::Throttle;
use crate::shutdown::Drain;
use crate::topology::groups;
use crate::topology::publish::Published;
use crate::topology::refresh::{self, RefreshCounters, Source};
use crate::worker::fleet::Fleet;
use crate::worker::router::BackendContext;
use crate::worker::{self, ListenerPlan, WorkerHandle};
use async_trait::async_trait;
use pingora_core::server::configuration::ServerConf;
use pingora_core::server::{RunArgs, Server, ShutdownWatch};
use pingora_core::services::background::{BackgroundService, background_service};
use pointsman_config::{Backend, BackendKind, Config};
use pointsman_protocol::HostPort;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Runs until a signal ends it. `file` is where the configuration came from, for the banner.
///
/// # Errors
/// What kept it from starting, in words for the operator.
pub fn run(config: Config, file: Option<&Path>) -> Result<(), String> {
    info::start_clock();
    let sockets = Sockets::bind(&config)?;
    let nodes = start_nodes(&config, sockets.nodes)?;

    let registry = Arc::new(Registry::default());
    let fleet = Arc::new(Fleet::default());
    let accepting = Arc::new(AtomicBool::new(true));
    let mut contexts = Vec::new();
    let mut statuses = Vec::new();
    for backend in &config.backends {
        let published = Arc::new(Published::default());
        let refreshes = Arc::new(RefreshCounters::default());
        let name: Arc<str> = Arc::from(backend.name.as_str());
        contexts.push(Arc::new(BackendContext::new(
            backend,
            published.clone(),
            registry.clone(),
            fleet.clone(),
        )));
        statuses.push(BackendStatus { name, published, refreshes });
    }
    let plans: Vec<ListenerPlan> = config
        .listeners
        .iter()
        .map(|listener| ListenerPlan {
            config: listener.clone(),
            throttle: Arc::new(Throttle::new(&listener.rate_limits, listener.limits_keys_max)),
        })
        .collect();
    let workers = (0..config.workers)
        .map(|index| worker::start(index, plans.clone(), contexts.clone()))
        .collect::<Result<Vec<WorkerHandle>, _>>()
        .map_err(|error| format!("a worker thread cannot be started: {error}"))?;
    fleet.complete(workers.iter().map(WorkerHandle::messages).collect());
    let workers = Arc::new(workers);

    let mut server = Server::new_with_opt_and_conf(
        None,
        ServerConf { threads: 1, work_stealing: false, ..ServerConf::default() },
    );
    for ((backend, status), context) in config.backends.iter().zip(&statuses).zip(&contexts) {
        let control = Control {
            backend: backend.clone(),
            source: Source::of(backend),
            published: status.published.clone(),
            refreshes: status.refreshes.clone(),
            census: context.census.clone(),
            commands: context.commands.clone(),
        };
        server.add_service(background_service(&format!("control {}", backend.name), control));
    }
    for (index, (listener, socket)) in config.listeners.iter().zip(sockets.listeners).enumerate() {
        server.add_service(Acceptor::new(index, listener, socket, workers.clone(), accepting.clone()));
    }
    let throttles = plans.iter().map(|plan| (plan.config.name.clone(), plan.throttle.clone())).collect();
    let status = Arc::new(Status { registry, backends: statuses, throttles, accepting: accepting.clone() });
    if let Some(socket) = sockets.admin {
        let admin = AdminService::new(status, socket)
            .map_err(|error| format!("the admin port cannot be served: {error}"))?;
        server.add_service(admin);
    }

    print_banner(&config, file);
    let failed = Arc::new(AtomicBool::new(false));
    let drain = Drain { workers, accepting, timeout: config.drain_timeout, failed: failed.clone() };
    server.run(RunArgs { shutdown_signal: Box::new(drain) });
    drop(nodes);
    if failed.load(Ordering::Acquire) {
        Err("a worker ended unexpectedly; see the log".to_owned())
    } else {
        Ok(())
    }
}

/// Every socket of the process.
struct Sockets {
    listeners: Vec<TcpListener>,
    admin: Option<TcpListener>,
    /// Those of the bundled nodes, backend by backend.
    nodes: Vec<Vec<TcpListener>>,
}

impl Sockets {
    fn bind(config: &Config) -> Result<Sockets, String> {
        let listeners = config
            .listeners
            .iter()
            .map(|listener| bind(listener.listen, "clients", "--listen ADDRESS (or listeners[].listen)"))
            .collect::<Result<_, _>>()?;
        let admin = match &config.admin {
            Some(admin) => Some(bind(admin.listen, "the admin port", "--admin ADDRESS (or admin.listen)")?),
            None => None,
        };
        let nodes = config
            .backends
            .iter()
            .map(|backend| match &backend.kind {
                BackendKind::Bundled(bundled) => bundled
                    .ports()
                    .map(|port| {
                        bind(
                            ([127, 0, 0, 1], port).into(),
                            "a bundled node",
                            "--node-port PORT (or bundled.node_port)",
                        )
                    })
                    .collect(),
                _ => Ok(Vec::new()),
            })
            .collect::<Result<_, _>>()?;
        Ok(Sockets { listeners, admin, nodes })
    }
}

#[cfg(feature = "bundled")]
fn start_nodes(
    config: &Config,
    sockets: Vec<Vec<TcpListener>>,
) -> Result<Vec<crate::bundled::Nodes>, String> {
    let mut started = Vec::new();
    for (backend, sockets) in config.backends.iter().zip(sockets) {
        if let BackendKind::Bundled(bundled) = &backend.kind {
            started.push(crate::bundled::Nodes::start(bundled, sockets)?);
        }
    }
    Ok(started)
}

#[cfg(not(feature = "bundled"))]
fn start_nodes(config: &Config, _sockets: Vec<Vec<TcpListener>>) -> Result<Vec<()>, String> {
    match config.backends.iter().find(|backend| matches!(backend.kind, BackendKind::Bundled(_))) {
        None => Ok(Vec::new()),
        Some(backend) => Err(format!(
            "backend {} is bundled, but this binary was built without bundled nodes; give it a cluster with --config FILE",
            backend.name
        )),
    }
}

/// The control tasks of one backend.
struct Control {
    backend: Backend,
    /// Where a cluster is asked for its map; other nodes are asked one by one.
    source: Option<Source>,
    published: Arc<Published>,
    refreshes: Arc<RefreshCounters>,
    census: Arc<Census>,
    commands: Arc<Commands>,
}

#[async_trait]
impl BackgroundService for Control {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let refresh = async {
            let (backend, published) = (self.backend.clone(), self.published.clone());
            match &self.source {
                Some(source) => {
                    refresh::run(backend, source.clone(), published, self.refreshes.clone()).await
                }
                None => groups::run(backend, published, self.refreshes.clone()).await,
            }
        };
        let lag = lag::run(self.backend.clone(), self.published.clone());
        let census = census::run(self.backend.clone(), self.published.clone(), self.census.clone());
        let commands = commands::run(self.backend.clone(), self.published.clone(), self.commands.clone());
        tokio::select! {
            () = commands => {}
            () = refresh => {}
            () = lag => {}
            () = census => {}
            _ = shutdown.changed() => {}
        }
    }
}

impl Source {
    /// Where a cluster's topology is asked for. Bundled nodes are a cluster like any other.
    fn of(backend: &Backend) -> Option<Source> {
        let seeds = match &backend.kind {
            BackendKind::Cluster(cluster) => cluster.seeds.clone(),
            BackendKind::Bundled(bundled) => {
                bundled.ports().map(|port| HostPort::new("127.0.0.1", port)).collect()
            }
            BackendKind::Primary(_) | BackendKind::Sentinel(_) | BackendKind::Fixed(_) => return None,
        };
        Some(Source { seeds, address_map: backend.kind.address_map().iter().cloned().collect() })
    }
}

/// What runs where, what to try, how to stop.
fn print_banner(config: &Config, file: Option<&Path>) {
    let mut text = format!("pointsman {}", env!("CARGO_PKG_VERSION"));
    match file {
        Some(file) => text += &format!("  ({})\n", file.display()),
        None => text += "  (embedded default; --config FILE for your own store, --help for more)\n",
    }
    for listener in &config.listeners {
        let backend = &config.backends[listener.backend];
        text += &format!(
            "  clients   {:<22}{} worker{} -> backend {}\n",
            listener.listen,
            config.workers,
            plural(config.workers),
            backend.name
        );
    }
    for backend in &config.backends {
        match &backend.kind {
            BackendKind::Bundled(bundled) => {
                let ports = bundled.ports();
                text += &format!(
                    "  store     {:<22}{} shard{}, {} replica{} each (in this process; not persisted)\n",
                    format!("127.0.0.1:{}-{}", ports.start(), ports.end()),
                    bundled.shards,
                    plural(bundled.shards),
                    bundled.replicas,
                    plural(bundled.replicas),
                );
            }
            kind => {
                let what = match kind {
                    BackendKind::Primary(_) => "primary with replicas".to_owned(),
                    BackendKind::Sentinel(sentinel) => {
                        let groups = sentinel.groups.len();
                        format!("{groups} group{} of sentinels", plural(groups))
                    }
                    BackendKind::Fixed(fixed) => {
                        format!("{} fixed shard{}", fixed.shards.len(), plural(fixed.shards.len()))
                    }
                    BackendKind::Bundled(_) | BackendKind::Cluster(_) => "cluster".to_owned(),
                };
                let seeds: Vec<String> =
                    kind.written_addresses().into_iter().map(ToString::to_string).collect();
                text +=
                    &format!("  backend   {:<22}{what}, found through {}\n", backend.name, seeds.join(", "));
            }
        }
    }
    if let Some(admin) = &config.admin {
        text += &format!("  admin     http://{}/  (metrics, health, ready, topology)\n", admin.listen);
    }
    if let Some(listener) = config.listeners.first() {
        text += &format!("  try       redis-cli -p {}\n", listener.listen.port());
    }
    text += "  stop      Ctrl-C\n";
    // A closed standard output is no reason not to run.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn plural(count: impl TryInto<u64>) -> &'static str {
    if count.try_into().is_ok_and(|count| count == 1) { "" } else { "s" }
}
