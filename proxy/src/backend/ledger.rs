//! The task of a connection that carries no requests of clients but the worker's own: it dials, writes
//! what the connection's ledger holds, reads what the node says, and dials again, for as long as the
//! ledger is there. Subscriptions and the watch over changed keys each keep such ledgers.
//!
//! It knows nothing of what is said; whose ledger it is decides what a frame means.

use super::dial::dial;
use super::lanes::Lane;
use crate::worker::inbound::Inbound;
use crate::worker::router::{BackendContext, Router, SharedRouter};
use crate::worker::turn;
use pointsman_protocol::HostPort;
use pointsman_protocol::resp::ReplyScanner;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Reads of one connection before others get their turn.
const READS_PER_TURN: usize = 4;
/// Pause between two looks at the dial budget.
const BUDGET_PAUSE: Duration = Duration::from_millis(10);

/// Why a connection is of no use that was to speak RESP3.
pub const NO_RESP3: &str = "it does not speak RESP3";

/// What a ledger has for its task.
#[derive(Debug)]
pub struct Outbox<'a> {
    /// Requests that the kernel has not taken yet.
    pub out: &'a mut Vec<u8>,
    /// The task's waker.
    pub waker: &'a mut Option<Waker>,
    /// Why the connection is to be closed.
    pub close: Option<&'static str>,
}

/// Where the ledgers of one kind are found in a router.
pub trait Ledgers {
    /// How their connections speak.
    const LANE: Lane;

    /// Where a connection goes, and how long to wait first. `None` if it is not wanted any more.
    fn facts(router: &mut Router, id: u64) -> Option<(Arc<BackendContext>, HostPort, Duration)>;
    /// A ledger; `None` as above.
    fn outbox(router: &mut Router, id: u64) -> Option<Outbox<'_>>;
    /// The connection stands.
    fn up(router: &mut Router, id: u64);
    /// It broke (it `stood`), or could not be made.
    fn lost(router: &mut Router, id: u64, reason: &str, stood: bool);
    /// The node said this, one whole frame.
    ///
    /// # Errors
    /// The connection cannot be trusted any more.
    fn heard(router: &mut Router, id: u64, frame: &[u8]) -> Result<(), &'static str>;
}

/// Keeps a connection up until its ledger is gone.
pub async fn run<L: Ledgers>(router: SharedRouter, id: u64) {
    loop {
        let facts = L::facts(&mut router.borrow_mut(), id);
        let Some((context, address, pause)) = facts else { return };
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
            // It may not be wanted any more.
            if L::outbox(&mut router.borrow_mut(), id).is_none() {
                return;
            }
        }
        while context.dials.check().is_err() {
            tokio::time::sleep(BUDGET_PAUSE).await;
        }
        let dialled =
            tokio::time::timeout(context.config.connect_timeout, dial(&context, &address, L::LANE)).await;
        match dialled
            .unwrap_or_else(|_| Err(format!("no connection within {:?}", context.config.connect_timeout)))
        {
            // What is to be heard there is heard in RESP3 only.
            Ok(dialled) if dialled.resp2_only => L::lost(&mut router.borrow_mut(), id, NO_RESP3, false),
            Ok(dialled) => {
                let (reader, writer) = dialled.stream.into_split();
                let reason = serve::<L>(&router, id, reader, writer).await;
                L::lost(&mut router.borrow_mut(), id, &reason, true);
            }
            Err(reason) => L::lost(&mut router.borrow_mut(), id, &reason, false),
        }
    }
}

/// Reads and writes until the connection ends; gives why it did.
async fn serve<L: Ledgers>(
    router: &SharedRouter,
    id: u64,
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
) -> String {
    L::up(&mut router.borrow_mut(), id);
    let mut served = Served { id, reader, writer, scanner: ReplyScanner::new(), inbound: Inbound::default() };
    poll_fn(|cx| served.poll::<L>(&mut router.borrow_mut(), cx)).await
}

struct Served {
    id: u64,
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    scanner: ReplyScanner,
    inbound: Inbound,
}

impl Served {
    fn poll<L: Ledgers>(&mut self, router: &mut Router, cx: &mut Context<'_>) -> Poll<String> {
        router.read_clock();
        router.adopt();
        for _ in 0..READS_PER_TURN {
            let Some(outbox) = L::outbox(router, self.id) else {
                return Poll::Ready("no longer needed".to_owned());
            };
            if let Some(reason) = outbox.close {
                return Poll::Ready(reason.to_owned());
            }
            if !outbox.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                *outbox.waker = Some(cx.waker().clone());
            }
            if let Err(error) = self.write(outbox.out, cx) {
                return Poll::Ready(error.to_string());
            }
            let mut scratch = router.take_scratch();
            let missing = self.scanner.missing(self.inbound.len());
            let polled = self.inbound.poll_read(cx, &mut self.reader, &mut scratch, missing);
            let taken = match &polled {
                Poll::Ready(Ok(count)) if *count > 0 => self.take::<L>(router, &scratch),
                _ => Ok(()),
            };
            router.give_scratch(scratch);
            match (polled, taken) {
                (Poll::Pending, _) => return Poll::Pending,
                (Poll::Ready(Err(error)), _) => return Poll::Ready(error.to_string()),
                (Poll::Ready(Ok(0)), _) => return Poll::Ready("it closed the connection".to_owned()),
                (_, Err(reason)) => return Poll::Ready(reason),
                (Poll::Ready(Ok(_)), Ok(())) => {}
            }
        }
        turn::end(cx)
    }

    /// Offers the ledger's requests to the kernel; what it does not take waits for it to say so.
    fn write(&mut self, out: &mut Vec<u8>, cx: &mut Context<'_>) -> std::io::Result<()> {
        while !out.is_empty() {
            match self.writer.try_write(out) {
                Ok(count) => {
                    out.drain(..count);
                    if out.is_empty() {
                        *out = Vec::new();
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    match self.writer.as_ref().poll_write_ready(cx) {
                        Poll::Ready(ready) => ready?,
                        Poll::Pending => return Ok(()),
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Hands on every whole frame.
    fn take<L: Ledgers>(&mut self, router: &mut Router, scratch: &[u8]) -> Result<(), String> {
        let bytes_max = router.context.config.reply_bytes_max;
        let bytes = self.inbound.bytes(scratch);
        let mut at = 0;
        let scanned = loop {
            match self.scanner.next(&bytes[at..], bytes_max) {
                Ok(Some(len)) => {
                    if let Err(reason) = L::heard(router, self.id, &bytes[at..at + len]) {
                        break Err(reason.to_owned());
                    }
                    at += len;
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.to_string()),
            }
        };
        self.inbound.consume(at, scratch);
        scanned
    }
}
