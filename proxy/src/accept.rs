//! Listening sockets, and which worker each client goes to.
//!
//! One socket a listener, accepted from by one task that gives each client to the worker with the
//! fewest. Workers that share a port by `SO_REUSEPORT` get clients by the kernel's hash instead: of
//! sixteen long-lived connections one worker may get none and another five. Accepting is once a
//! connection, so the hand-over costs no request anything.

use crate::client::state::Admission;
use crate::worker::{Message, WorkerHandle};
use async_trait::async_trait;
use pingora_core::server::{ListenFds, ShutdownWatch};
use pingora_core::services::Service;
use socket2::{SockRef, TcpKeepalive};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Connections the kernel keeps for us until they are accepted.
const BACKLOG: i32 = 4096;
/// Silence after which the kernel asks whether a client is still there, and how often it asks: one that vanished
/// while it waits for an element must not get it, nor hold a connection for ever.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// See [`KEEPALIVE`].
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// Pause after an accept that failed for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Binds a listening socket. `flag` is how the operator can choose another address.
///
/// # Errors
/// A text that names the address, the reason and the way out.
pub fn bind(address: SocketAddr, what: &str, flag: &str) -> Result<TcpListener, String> {
    let bound = || -> io::Result<TcpListener> {
        let domain = if address.is_ipv6() { socket2::Domain::IPV6 } else { socket2::Domain::IPV4 };
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, Some(socket2::Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    bound().map_err(|error| {
        let reason = match error.kind() {
            io::ErrorKind::AddrInUse => format!("port {} is taken by another process", address.port()),
            io::ErrorKind::PermissionDenied => {
                format!("no permission to use port {} (ports below 1024 need privileges)", address.port())
            }
            io::ErrorKind::AddrNotAvailable => format!("{} is no address of this machine", address.ip()),
            _ => error.to_string(),
        };
        format!("cannot listen on {address} for {what}: {reason}; choose another with {flag}")
    })
}

/// The accepting task of one listener.
pub struct Acceptor {
    name: String,
    index: usize,
    listener: Option<TcpListener>,
    clients_max: usize,
    clients: Arc<AtomicUsize>,
    workers: Arc<Vec<WorkerHandle>>,
    accepting: Arc<AtomicBool>,
}

impl Acceptor {
    /// For listener number `index` of the configuration.
    pub fn new(
        index: usize,
        config: &pointsman_config::Listener,
        listener: TcpListener,
        workers: Arc<Vec<WorkerHandle>>,
        accepting: Arc<AtomicBool>,
    ) -> Acceptor {
        Acceptor {
            name: format!("listener {}", config.name),
            index,
            listener: Some(listener),
            clients_max: config.limits.clients_max,
            clients: Arc::new(AtomicUsize::new(0)),
            workers,
            accepting,
        }
    }

    async fn hand_over(&self, mut stream: std::net::TcpStream, address: SocketAddr) {
        if self.clients.load(Ordering::Relaxed) >= self.clients_max {
            tracing::debug!(client = %address, listener = self.name, "turned away: client_limits.clients_max is reached");
            let _ = stream.write_all(b"-ERR max number of clients reached\r\n");
            return;
        }
        let Some(worker) = self.workers.iter().min_by_key(|worker| worker.clients()) else { return };
        let admission = Admission::new(worker.client_count(), self.clients.clone());
        worker.tell(Message::Client { stream, address, listener: self.index, admission }).await;
    }
}

#[async_trait]
impl Service for Acceptor {
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        mut shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
    ) {
        let Some(listener) = self.listener.take() else { return };
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => {
                return tracing::error!(listener = self.name, %error, "the listening socket cannot be used");
            }
        };
        let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE_INTERVAL);
        while self.accepting.load(Ordering::Acquire) {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = shutdown.changed() => return,
                // Looks at `accepting` again.
                () = tokio::time::sleep(Duration::from_millis(100)) => continue,
            };
            match accepted {
                Ok((stream, address)) => {
                    let _ = stream.set_nodelay(true);
                    let _ = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
                    match stream.into_std() {
                        Ok(stream) => self.hand_over(stream, address).await,
                        Err(error) => {
                            tracing::warn!(client = %address, %error, "a client's socket cannot be handed over")
                        }
                    }
                }
                Err(error) => {
                    // Out of file descriptors, most likely: the clients that are served go on.
                    tracing::error!(listener = self.name, %error, "a client could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn threads(&self) -> Option<usize> {
        Some(1)
    }
}
