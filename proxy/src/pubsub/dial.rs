//! The task of one subscriber connection: dials, writes what its ledger holds, reads what the node
//! says, and dials again, for as long as a topic has a place on it.

use super::link::Link;
use crate::backend::dial::{Dialled, dial};
use crate::backend::lanes::Lane;
use crate::worker::inbound::Inbound;
use crate::worker::router::{Router, SharedRouter};
use pointsman_protocol::resp::ReplyScanner;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Reads of one connection before others get their turn.
const READS_PER_TURN: usize = 4;
/// Pause between two looks at the dial budget.
const BUDGET_PAUSE: Duration = Duration::from_millis(10);
/// RESP2, on a primary.
const LANE: Lane = Lane { resp3: false, readonly: false, database: 0, index: 0 };

/// Keeps a subscriber connection up until nothing is wanted of it.
pub async fn run(router: SharedRouter, id: u64) {
    loop {
        let Some((context, address, pause)) = router.borrow_mut().subscriber_facts(id) else { return };
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
            // It may not be wanted any more.
            if router.borrow_mut().subscriber_facts(id).is_none() {
                return;
            }
        }
        while context.dials.check().is_err() {
            tokio::time::sleep(BUDGET_PAUSE).await;
        }
        let dialled =
            tokio::time::timeout(context.config.connect_timeout, dial(&context, &address, LANE)).await;
        match dialled
            .unwrap_or_else(|_| Err(format!("no connection within {:?}", context.config.connect_timeout)))
        {
            Ok(Dialled { stream, .. }) => {
                let (reader, writer) = stream.into_split();
                tracing::debug!(node = %address, "subscriber connected");
                let reason = serve(&router, id, reader, writer).await;
                router.borrow_mut().subscriber_lost(id, &reason, true);
            }
            Err(reason) => router.borrow_mut().subscriber_lost(id, &reason, false),
        }
    }
}

/// Reads and writes until the connection ends; gives why it did.
async fn serve(router: &SharedRouter, id: u64, reader: OwnedReadHalf, writer: OwnedWriteHalf) -> String {
    router.borrow_mut().subscriber_up(id);
    let mut served = Served { id, reader, writer, scanner: ReplyScanner::new(), inbound: Inbound::default() };
    poll_fn(|cx| served.poll(&mut router.borrow_mut(), cx)).await
}

struct Served {
    id: u64,
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    scanner: ReplyScanner,
    inbound: Inbound,
}

impl Served {
    fn poll(&mut self, router: &mut Router, cx: &mut Context<'_>) -> Poll<String> {
        router.read_clock();
        router.adopt();
        for _ in 0..READS_PER_TURN {
            let Some(link) = router.subscriber_link(self.id) else {
                return Poll::Ready("no longer needed".to_owned());
            };
            if let Some(reason) = link.close {
                return Poll::Ready(reason.to_owned());
            }
            if !link.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                link.waker = Some(cx.waker().clone());
            }
            if let Err(error) = self.write(link, cx) {
                return Poll::Ready(error.to_string());
            }
            let mut scratch = router.take_scratch();
            let missing = self.scanner.missing(self.inbound.len());
            let polled = self.inbound.poll_read(cx, &mut self.reader, &mut scratch, missing);
            let taken = match &polled {
                Poll::Ready(Ok(count)) if *count > 0 => self.take(router, &scratch),
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
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Offers the ledger's requests to the kernel; what it does not take waits for it to say so.
    fn write(&mut self, link: &mut Link, cx: &mut Context<'_>) -> std::io::Result<()> {
        while !link.out.is_empty() {
            match self.writer.try_write(&link.out) {
                Ok(count) => {
                    link.out.drain(..count);
                    if link.out.is_empty() {
                        link.out = Vec::new();
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
    fn take(&mut self, router: &mut Router, scratch: &[u8]) -> Result<(), String> {
        let bytes_max = router.context.config.reply_bytes_max;
        let bytes = self.inbound.bytes(scratch);
        let mut at = 0;
        let scanned = loop {
            match self.scanner.next(&bytes[at..], bytes_max) {
                Ok(Some(len)) => {
                    if let Err(reason) = router.subscriber_heard(self.id, &bytes[at..at + len]) {
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
