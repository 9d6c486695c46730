//! The open loop of one thread: a pacer that sends by the clock, and a reader per client.
//!
//! The pacer walks the thread's arrivals in order; arrival n belongs to client n modulo the number
//! of clients. It never waits for replies. What cannot be sent when it is due (the socket is full,
//! the connection is being made again, too much is unanswered) stays owed and is sent as soon as
//! possible; its latency counts from the intended time all the same.
//!
//! Replies come in the order of sending, so which arrival a reply belongs to is arithmetic: no queue
//! of send times is kept.

use super::client::{Inbox, Lost};
use super::closed::stalled;
use super::spec::End;
use super::thread::{Context, reconnect};
use super::timer::FineTimer;
use crate::keys::{KeySource, share_start};
use crate::random::Random;
use crate::schedule::{Schedule, arrival_of};
use crate::tally;
use crate::workload::{Batch, Op, Workload};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::JoinSet;

/// The longest that the pacer sleeps: it also looks after what is owed and after the run's end.
const TICK: Duration = Duration::from_millis(1);

/// Runs the thread's clients until every arrival has been sent and answered, or lost.
pub async fn run(streams: Vec<(usize, TcpStream)>, context: Rc<Context>) -> Result<(), String> {
    let spec = &context.spec;
    let rate = match spec.pace {
        super::spec::Pace::Open(rate) => rate,
        super::spec::Pace::Closed => return Err("an open loop needs a rate".to_owned()),
    };
    let (thread, threads) = (context.thread as u64, spec.threads as u64);
    let schedule = Schedule::new(rate, spec.pipeline as u64, thread, threads);
    let arrivals_max = match spec.end {
        End::Duration(_) => u64::MAX,
        End::Requests(requests) => {
            let batches = requests.div_ceil(spec.pipeline as u64);
            share_start(batches, thread + 1, threads) - share_start(batches, thread, threads)
        }
    };
    let count = streams.len() as u64;
    let mut readers = JoinSet::new();
    let mut clients = Vec::with_capacity(streams.len());
    for (place, (index, stream)) in streams.into_iter().enumerate() {
        let order = Order { schedule, place: place as u64, clients: count };
        let client = Rc::new(Client::new(index, order, &context));
        clients.push(Rc::clone(&client));
        readers.spawn_local(read_all(stream, client));
    }
    let mut pacer =
        Pacer { schedule, arrivals_max, next: 0, clients, behind: Vec::new(), context: Rc::clone(&context) };
    let result = pacer.run().await.map_err(|error| format!("the pacing timer failed: {error}"));
    pacer.drain().await;
    readers.abort_all();
    for client in &pacer.clients {
        client.give_up();
    }
    result
}

struct Pacer {
    schedule: Schedule,
    arrivals_max: u64,
    /// The next arrival that has not been handed to its client.
    next: u64,
    clients: Vec<Rc<Client>>,
    /// Places of the clients that owe something or have bytes waiting; each once.
    behind: Vec<usize>,
    context: Rc<Context>,
}

impl Pacer {
    async fn run(&mut self) -> io::Result<()> {
        let timer = FineTimer::new()?;
        loop {
            let now = Instant::now();
            self.send_due(now);
            if self.next >= self.arrivals_max || self.context.over(now) {
                return Ok(());
            }
            let next = self.context.start + Duration::from_nanos(self.schedule.intended_ns(self.next));
            if next <= Instant::now() {
                // Behind the schedule: the readers still get their turn.
                tokio::task::yield_now().await;
            } else {
                timer.sleep_until(next.min(now + TICK)).await?;
            }
        }
    }

    fn send_due(&mut self, now: Instant) {
        self.catch_up();
        let since_start = now.saturating_duration_since(self.context.start);
        let due = self.schedule.due(u64::try_from(since_start.as_nanos()).unwrap_or(u64::MAX));
        let due = due.min(self.arrivals_max);
        while self.next < due {
            let place = (self.next % self.clients.len().max(1) as u64) as usize;
            self.next += 1;
            let Some(client) = self.clients.get(place) else { continue };
            client.owed.set(client.owed.get() + 1);
            let settled = client.send_owed();
            if !settled && !client.listed.replace(true) {
                self.behind.push(place);
            }
        }
    }

    fn catch_up(&mut self) {
        let clients = &self.clients;
        self.behind.retain(|place| {
            let Some(client) = clients.get(*place) else { return false };
            let settled = client.send_owed();
            client.listed.set(!settled);
            !settled
        });
    }

    /// Sends what is owed and waits for what is unanswered, as long as a reply may take.
    async fn drain(&mut self) {
        let until = Instant::now() + self.context.spec.limits.reply_timeout;
        while Instant::now() < until && !crate::interrupt::requested() {
            self.catch_up();
            if self.behind.is_empty() && self.clients.iter().all(|client| client.unanswered() == 0) {
                return;
            }
            tokio::time::sleep(TICK).await;
        }
    }
}

/// Which arrivals are a client's.
#[derive(Clone, Copy)]
struct Order {
    schedule: Schedule,
    place: u64,
    clients: u64,
}

struct Client {
    context: Rc<Context>,
    order: Order,
    /// The kinds of the unanswered requests of a mixed workload, oldest first.
    ops: RefCell<VecDeque<Op>>,
    outbox: RefCell<Outbox>,
    /// Batches that are due and have not been sent.
    owed: Cell<u64>,
    /// Batches that have been sent (or lost).
    sent: Cell<u64>,
    /// Requests that have been answered (or lost).
    answered: Cell<u64>,
    /// When the last reply came, or when a request was sent while none was due.
    progress: Cell<Instant>,
    listed: Cell<bool>,
}

struct Outbox {
    writer: Option<OwnedWriteHalf>,
    /// Bytes of batches that the socket has not taken yet.
    pending: Vec<u8>,
    batch: Batch,
    keys: KeySource,
}

impl Client {
    fn new(index: usize, order: Order, context: &Rc<Context>) -> Self {
        let spec = &context.spec;
        let (index, clients) = (index as u64, spec.clients as u64);
        Client {
            order,
            ops: RefCell::default(),
            outbox: RefCell::new(Outbox {
                writer: None,
                pending: Vec::new(),
                batch: Batch::new(&spec.shape, spec.pipeline, Random::stream(!spec.seed, index)),
                keys: KeySource::new(spec.distribution, spec.keys, spec.seed, index, clients),
            }),
            owed: Cell::new(0),
            sent: Cell::new(0),
            answered: Cell::new(0),
            progress: Cell::new(Instant::now()),
            listed: Cell::new(false),
            context: Rc::clone(context),
        }
    }

    fn unanswered(&self) -> u64 {
        self.sent.get() * self.context.spec.pipeline as u64 - self.answered.get()
    }

    /// Sends what is owed as far as possible. True if nothing is owed and no bytes wait.
    fn send_owed(&self) -> bool {
        let spec = &self.context.spec;
        let outbox = &mut *self.outbox.borrow_mut();
        let Some(writer) = &outbox.writer else { return self.owed.get() == 0 };
        if !outbox.pending.is_empty() {
            let taken = writer.try_write(&outbox.pending).unwrap_or(0);
            outbox.pending.drain(..taken);
        }
        while self.owed.get() > 0
            && outbox.pending.is_empty()
            && self.unanswered() / (spec.pipeline as u64) < spec.limits.inflight_max
        {
            outbox.batch.fill(spec.pipeline, &mut outbox.keys);
            if matches!(spec.shape.workload, Workload::Mixed { .. }) {
                self.ops.borrow_mut().extend((0..spec.pipeline).map(|index| outbox.batch.op(index)));
            }
            let bytes = outbox.batch.bytes();
            // An error shows on the reader's side too, which then counts what is lost.
            let taken = writer.try_write(bytes).unwrap_or(0);
            outbox.pending.extend_from_slice(&bytes[taken..]);
            if self.unanswered() == 0 {
                self.progress.set(Instant::now());
            }
            self.owed.set(self.owed.get() - 1);
            self.sent.set(self.sent.get() + 1);
        }
        self.owed.get() == 0 && outbox.pending.is_empty()
    }

    fn intended(&self, nth_batch: u64) -> Instant {
        let arrival = arrival_of(self.order.place, nth_batch, self.order.clients);
        self.context.start + Duration::from_nanos(self.order.schedule.intended_ns(arrival))
    }

    fn take_replies(&self, inbox: &mut Inbox, now: Instant) -> Result<(), Lost> {
        let pipeline = self.context.spec.pipeline as u64;
        let bytes_max = self.context.spec.limits.reply_bytes_max;
        // Replies of one batch that came together are recorded together.
        let mut run = (self.answered.get() / pipeline, 0u64);
        let recorder = &self.context.recorder;
        while let Some(reply) = inbox.next(bytes_max)? {
            let op = {
                let ops = self.ops.borrow();
                ops.front().copied().unwrap_or_else(|| self.outbox.borrow().batch.op(0))
            };
            if !recorder.check(op, reply) {
                continue;
            }
            if self.unanswered() == 0 {
                return Err(Lost { code: tally::UNEXPECTED, why: "more replies than requests".to_owned() });
            }
            self.ops.borrow_mut().pop_front();
            let batch = self.answered.get() / pipeline;
            if batch != run.0 {
                recorder.answered(self.intended(run.0), now, run.1);
                run = (batch, 0);
            }
            run.1 += 1;
            self.answered.set(self.answered.get() + 1);
        }
        if run.1 > 0 {
            recorder.answered(self.intended(run.0), now, run.1);
            self.progress.set(now);
        }
        Ok(())
    }

    /// The connection is gone, and with it what was unanswered on it.
    fn lose(&self, lost: &Lost) {
        {
            let mut outbox = self.outbox.borrow_mut();
            outbox.writer = None;
            outbox.pending.clear();
        }
        self.ops.borrow_mut().clear();
        let unanswered = self.unanswered();
        self.context.recorder.lost(lost.code, unanswered, &lost.why);
        self.answered.set(self.answered.get() + unanswered);
    }

    /// The run is over: what is unanswered or owed now stays so.
    fn give_up(&self) {
        let why = "not answered by the end of the run";
        self.context.recorder.lost(tally::TIMEOUT, self.unanswered(), why);
        let owed = self.owed.get() * self.context.spec.pipeline as u64;
        self.context.recorder.lost(tally::UNSENT, owed, "the server did not keep up with the rate");
    }
}

/// Reads one client's replies for ever, on one connection after another.
async fn read_all(mut stream: TcpStream, client: Rc<Client>) {
    loop {
        let (mut reader, writer) = stream.into_split();
        client.progress.set(Instant::now());
        client.outbox.borrow_mut().writer = Some(writer);
        let lost = tokio::select! {
            biased;
            lost = read_replies(&mut reader, &client) => lost,
            lost = overdue(&client) => lost,
        };
        client.lose(&lost);
        drop(reader);
        match reconnect(&client.context).await {
            Ok(again) => stream = again,
            Err(why) => {
                client.context.recorder.lost(tally::CONNECT, 1, &why);
                return;
            }
        }
    }
}

async fn read_replies(reader: &mut OwnedReadHalf, client: &Client) -> Lost {
    let mut inbox = Inbox::new();
    loop {
        match reader.read(inbox.space()).await {
            Ok(0) => return Lost::connection("the server closed the connection"),
            Ok(count) => inbox.filled(count),
            Err(error) => return Lost::connection(error),
        }
        if let Err(lost) = client.take_replies(&mut inbox, Instant::now()) {
            return lost;
        }
    }
}

/// Ends when replies are due and none has come for the reply timeout.
async fn overdue(client: &Client) -> Lost {
    let limit = client.context.spec.limits.reply_timeout;
    loop {
        let lost = stalled(&client.progress, limit).await;
        if client.unanswered() > 0 {
            return lost;
        }
        client.progress.set(Instant::now());
    }
}
