//! The admin port: `/health`, `/ready`, `/metrics`, `/topology`. Plain HTTP, on an address of its own,
//! loopback unless told otherwise.

use super::counters::Registry;
use super::metrics;
use crate::limit::rate::Throttle;
use crate::topology::publish::Published;
use crate::topology::refresh::RefreshCounters;
use async_trait::async_trait;
use http::{Response, StatusCode};
use pingora_core::apps::http_app::{HttpServer, ServeHttp};
use pingora_core::protocols::http::ServerSession;
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::Service;
use pingora_core::services::listening::Service as ListeningService;
use pointsman_protocol::slot::SLOTS;
use pointsman_protocol::topology::ShardIndex;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::os::fd::IntoRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the admin port shows of one backend.
#[derive(Debug)]
pub struct BackendStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Its view.
    pub published: Arc<Published>,
    /// Its refreshes.
    pub refreshes: Arc<RefreshCounters>,
}

/// What the admin port shows.
#[derive(Debug)]
pub struct Status {
    /// All counters.
    pub registry: Arc<Registry>,
    /// All backends.
    pub backends: Vec<BackendStatus>,
    /// The limits of listeners, by their names.
    pub throttles: Vec<(String, Arc<Throttle>)>,
    /// False once the process drains.
    pub accepting: Arc<AtomicBool>,
}

impl Status {
    /// Why the process is not ready, or nothing if it is: it accepts clients, and every slot of every
    /// backend has an owner.
    pub fn not_ready(&self) -> Option<String> {
        if !self.accepting.load(Ordering::Acquire) {
            return Some("draining".to_owned());
        }
        self.backends.iter().find_map(|backend| {
            let covered = backend.published.load().topology.slots_covered();
            (covered < usize::from(SLOTS))
                .then(|| format!("backend {}: {covered} of {SLOTS} slots have an owner", backend.name))
        })
    }

    fn topology(&self) -> Value {
        let backends: Vec<Value> = self.backends.iter().map(backend_json).collect();
        json!({ "backends": backends })
    }
}

fn backend_json(backend: &BackendStatus) -> Value {
    let (snapshot, now) = (backend.published.load(), backend.published.clock());
    let topology = &snapshot.topology;
    let node_json = |node| {
        let node = topology.node(node);
        json!({ "address": node.address.to_string(), "id": node.id.map(|id| id.to_string()), "zone": node.zone })
    };
    let shards: Vec<Value> = topology
        .shards()
        .iter()
        .enumerate()
        .map(|(index, shard)| {
            let replicas: Vec<Value> = shard
                .replicas
                .iter()
                .map(|node| {
                    let copy = snapshot.copy(*node);
                    let mut replica = node_json(*node);
                    replica["eligible"] = json!(copy.lag_bytes().is_some());
                    replica["lag_bytes"] = json!(copy.lag_bytes());
                    replica["lag_ms"] = json!(copy.age(now).map(|age| age / 1000));
                    replica
                })
                .collect();
            let slots: Vec<[u16; 2]> = topology
                .slot_ranges(ShardIndex(index as u16))
                .into_iter()
                .map(|(first, last)| [first, last])
                .collect();
            json!({ "slots": slots, "primary": node_json(shard.primary), "replicas": replicas })
        })
        .collect();
    json!({
        "name": &*backend.name,
        "epoch": topology.epoch().0,
        "version": snapshot.version,
        "slots_covered": topology.slots_covered(),
        "shards": shards,
    })
}

struct Admin(Arc<Status>);

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let head = session.req_header();
        let text = "text/plain; charset=utf-8";
        if head.method != "GET" && head.method != "HEAD" {
            return respond(StatusCode::METHOD_NOT_ALLOWED, text, b"only GET\n".to_vec());
        }
        match head.uri.path() {
            "/health" => respond(StatusCode::OK, text, b"ok\n".to_vec()),
            "/ready" => match self.0.not_ready() {
                None => respond(StatusCode::OK, text, b"ready\n".to_vec()),
                Some(why) => {
                    respond(StatusCode::SERVICE_UNAVAILABLE, text, format!("not ready: {why}\n").into_bytes())
                }
            },
            "/metrics" => {
                respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", metrics::page(&self.0))
            }
            "/topology" => {
                let mut body = serde_json::to_vec_pretty(&self.0.topology()).unwrap_or_default();
                body.push(b'\n');
                respond(StatusCode::OK, "application/json", body)
            }
            "/" => respond(StatusCode::OK, text, b"/health\n/ready\n/metrics\n/topology\n".to_vec()),
            _ => respond(
                StatusCode::NOT_FOUND,
                text,
                b"not found; there are /health /ready /metrics /topology\n".to_vec(),
            ),
        }
    }
}

fn respond(status: StatusCode, content_type: &str, body: Vec<u8>) -> Response<Vec<u8>> {
    let response = Response::builder()
        .status(status)
        .header("content-type", content_type)
        .header("content-length", body.len());
    // Only an invalid header could fail, and these are ours.
    response.body(body).unwrap_or_default()
}

/// The admin port as a service, on a socket that is bound already.
pub struct AdminService {
    inner: ListeningService<HttpServer<Admin>>,
    address: String,
    listener: Option<TcpListener>,
}

impl AdminService {
    /// Serves `status` on `listener`.
    pub fn new(status: Arc<Status>, listener: TcpListener) -> std::io::Result<AdminService> {
        let address = listener.local_addr()?.to_string();
        let mut inner = ListeningService::new("admin".to_owned(), HttpServer::new_app(Admin(status)));
        inner.add_tcp(&address);
        Ok(AdminService { inner, address, listener: Some(listener) })
    }
}

#[async_trait]
impl Service for AdminService {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
    ) {
        // The socket was bound before anything started, so that a taken port is found early; pingora
        // finds it here under its address.
        if let (Some(fds), Some(listener)) = (&fds, self.listener.take()) {
            fds.lock().add(self.address.clone(), listener.into_raw_fd());
        }
        Service::start_service(&mut self.inner, fds, shutdown, listeners_per_fd).await;
    }

    fn name(&self) -> &str {
        "admin"
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}
