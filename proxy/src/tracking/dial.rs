//! Watching connections as their tasks see them ([`crate::backend::ledger`]).

use crate::backend::lanes::Lane;
use crate::backend::ledger::{Ledgers, Outbox};
use crate::worker::router::{BackendContext, Router};
use pointsman_protocol::HostPort;
use std::sync::Arc;
use std::time::Duration;

/// The ledgers of watching connections.
#[derive(Debug)]
pub enum Watchers {}

impl Ledgers for Watchers {
    /// RESP3, whose pushes tell changes, on a primary.
    const LANE: Lane = Lane { resp3: true, readonly: false, database: 0, index: 0 };

    fn facts(router: &mut Router, id: u64) -> Option<(Arc<BackendContext>, HostPort, Duration)> {
        router.watcher_facts(id)
    }

    fn outbox(router: &mut Router, id: u64) -> Option<Outbox<'_>> {
        let link = router.watcher_link(id)?;
        Some(Outbox { out: &mut link.out, waker: &mut link.waker, close: link.close })
    }

    fn up(router: &mut Router, id: u64) {
        router.watcher_up(id);
    }

    fn lost(router: &mut Router, id: u64, reason: &str, stood: bool) {
        router.watcher_lost(id, reason, stood);
    }

    fn heard(router: &mut Router, id: u64, frame: &[u8]) -> Result<(), &'static str> {
        router.watcher_heard(id, frame)
    }
}
