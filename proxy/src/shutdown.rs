//! The end: stop accepting, let clients have their replies, close, exit.

use crate::worker::{Message, WorkerHandle};
use async_trait::async_trait;
use pingora_core::server::{ShutdownSignal, ShutdownSignalWatch};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep};

/// How often the end is looked for.
const LOOK: Duration = Duration::from_millis(20);
/// How often workers are looked after.
const WATCH: Duration = Duration::from_millis(500);

/// Waits for a signal, drains, and tells the server to end.
pub struct Drain {
    /// Who has clients.
    pub workers: Arc<Vec<WorkerHandle>>,
    /// Cleared when draining begins.
    pub accepting: Arc<AtomicBool>,
    /// How long clients get.
    pub timeout: Duration,
    /// Set if a worker ended by a bug.
    pub failed: Arc<AtomicBool>,
}

impl Drain {
    fn clients(&self) -> usize {
        self.workers.iter().map(WorkerHandle::clients).sum()
    }

    async fn drain(&self, terminate: &mut Signal, interrupt: &mut Signal) {
        self.accepting.store(false, Ordering::Release);
        tracing::info!(clients = self.clients(), "draining: no new clients; again to end at once");
        for worker in self.workers.iter() {
            worker.tell(Message::Drain).await;
        }
        let deadline = Instant::now() + self.timeout;
        while self.clients() > 0 && Instant::now() < deadline {
            tokio::select! {
                () = sleep(LOOK) => {}
                _ = interrupt.recv() => break,
                _ = terminate.recv() => break,
            }
        }
        match self.clients() {
            0 => tracing::info!("drained"),
            clients => tracing::info!(clients, "closing clients that still have requests in flight"),
        }
    }
}

#[async_trait]
impl ShutdownSignalWatch for Drain {
    async fn recv(&self) -> ShutdownSignal {
        let (Ok(mut terminate), Ok(mut interrupt)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            tracing::error!("signals cannot be received");
            return ShutdownSignal::FastShutdown;
        };
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                () = sleep(WATCH) => {
                    if self.workers.iter().any(WorkerHandle::is_gone) {
                        // Its clients are gone with it; a fresh process is better than half a proxy.
                        tracing::error!("a worker ended unexpectedly; ending the process");
                        self.failed.store(true, Ordering::Release);
                        return ShutdownSignal::FastShutdown;
                    }
                }
            }
        }
        self.drain(&mut terminate, &mut interrupt).await;
        ShutdownSignal::FastShutdown
    }
}
