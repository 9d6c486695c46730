//! Time passes: deadlines, connections that stopped moving, clients that stay away too long.

use super::router::{Router, SharedRouter};
use crate::backend::connection::{ClientKey, Phase};
use crate::client::state::Client;
use crate::health::breaker;
use crate::route::failure::FailureKind;
use std::time::Duration;

/// How often a router looks at its deadlines while requests are on a detour.
const TICK_BUSY: Duration = Duration::from_millis(5);
/// How often it does otherwise.
const TICK_QUIET: Duration = Duration::from_millis(50);
/// How often replies kept back are looked at while there are any: the finest the timer can do.
const HOLD_TICK: Duration = Duration::from_millis(1);
/// How often it looks at every client.
const SWEEP: Duration = Duration::from_secs(1);

/// Runs a router's clock until the worker ends.
pub async fn run(router: SharedRouter) {
    let notify = router.borrow().ticker.clone();
    loop {
        let quiet = {
            let mut router = router.borrow_mut();
            router.tick();
            router.detours.is_empty()
        };
        // A detour that begins during the long sleep ends it.
        let pause = if quiet { TICK_QUIET } else { TICK_BUSY };
        if quiet {
            let _ = tokio::time::timeout(pause, notify.notified()).await;
        } else {
            tokio::time::sleep(pause).await;
        }
    }
}

/// Sees to it that replies kept back for their batch go out in time even if nothing else happens.
pub async fn release(router: SharedRouter) {
    let notify = router.borrow().holder.clone();
    loop {
        notify.notified().await;
        loop {
            tokio::time::sleep(HOLD_TICK).await;
            let mut router = router.borrow_mut();
            router.read_clock();
            if !router.release_held() {
                break;
            }
        }
    }
}

impl Router {
    /// Looks at everything that has a deadline.
    fn tick(&mut self) {
        self.read_clock();
        self.adopt();
        let lag = &self.context.config.lag;
        self.lag_is_fresh = self.context.snapshots.lags_are_fresh(lag.stale_after.max(lag.interval * 2));
        self.expire_requests();
        self.tick_breakers();
        if !self.detours.is_empty() {
            self.detours_due = true;
            self.wake_flusher();
        }
        if self.pause.is_some_and(|pause| self.now >= pause.until) {
            self.end_pause();
        }
        self.wake_pin_queue();
        self.count_pins();
        self.tick_subscriptions();
        self.tick_watch();
        if self.draining {
            self.drain_clients();
        }
        if self.now.saturating_sub(self.swept) >= Self::micros(SWEEP) {
            self.swept = self.now;
            self.sweep_clients();
            self.sweep_monitors();
        }
    }

    fn expire_requests(&mut self) {
        let config = &self.context.config;
        let asked_before = self.now.checked_sub(Self::micros(config.request_timeout));
        let moved_before = self.now.saturating_sub(Self::micros(config.stall_timeout));
        let mut late = Vec::new();
        let (mut waiting, mut full) = (0, Vec::new());
        for (id, connection) in self.connections.iter_mut() {
            waiting += connection.waiting() as u64;
            match connection.accepts(0, &self.context.queue) {
                true => connection.full_since = None,
                false => {
                    let since = *connection.full_since.get_or_insert(self.now);
                    if self.now.saturating_sub(since) >= Self::micros(breaker::FULL_FOR) {
                        full.push(id);
                    }
                }
            }
            if connection.patient_until > self.now {
                continue;
            }
            for (entry, sent) in asked_before.map(|before| connection.expire(before)).unwrap_or_default() {
                connection.counters.unhealthy.add(1);
                late.push((id, entry.request, sent));
            }
            if connection.is_stalled(moved_before) {
                tracing::warn!(node = %connection.address, waiting = connection.waiting(), "a node stopped answering; closing the connection (stall_timeout_ms)");
                connection.close = Some("it stopped answering");
                connection.wake();
            }
            if connection.retiring && connection.waiting() == 0 && connection.phase == Phase::Ready {
                connection.close = Some("it left the topology");
                connection.wake();
            }
        }
        self.counters.inflight.set(waiting);
        for id in full {
            self.note_full(id);
        }
        self.note_late(&late);
        for (id, request, sent) in late {
            if request.traits.blocking {
                self.close_wait_on(request.client, id);
            }
            let kind = match (sent, request.traits.write) {
                (false, _) => FailureKind::NotSentInTime,
                (true, true) => FailureKind::WriteTimeout,
                (true, false) => FailureKind::ReadTimeout,
            };
            self.settle_failure(&request, kind);
        }
    }

    fn drain_clients(&mut self) {
        // Nothing more is read from them; they go as soon as what is on its way has been answered. One
        // that was stopped has requests that were read but not sent yet: it has those first.
        // One that waits in a blocking command goes at once.
        let goes = |client: &Client| !client.closing && (!client.paused || client.is_blocked());
        for (_, client) in self.clients.iter_mut().filter(|(_, client)| goes(client)) {
            client.closing = true;
            client.broken |= client.is_blocked();
            client.wake();
        }
    }

    /// Takes the buffers of clients that went quiet, and closes those that stay away too long.
    fn sweep_clients(&mut self) {
        let now = self.now;
        let (mut idle, mut monitors) = (Vec::new(), 0);
        for (index, client) in self.clients.iter_mut() {
            monitors += u64::from(client.monitor.is_some());
            let quiet = now.saturating_sub(client.active);
            if client.in_flight > 0
                || client.paused
                || !client.replies.is_idle()
                || quiet < Self::micros(SWEEP)
            {
                continue;
            }
            client.replies.shrink();
            // A subscriber listens; it need not say anything. So does a monitor.
            if !client.is_subscribed()
                && client.monitor.is_none()
                && client.listener.limits.idle_timeout.is_some_and(|timeout| quiet > Self::micros(timeout))
            {
                idle.push(ClientKey { index: index as u32, generation: client.generation });
            }
        }
        self.counters.monitors.set(monitors);
        for key in idle {
            if let Some(client) = self.client_mut(key) {
                client.closing = true;
                client.wake();
            }
        }
    }
}
