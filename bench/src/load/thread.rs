//! One load thread: its runtime, its connections, and what it tells the coordinator.

use super::client::{backoff, connect};
use super::recorder::{Part, Recorder};
use super::spec::{LoadSpec, Pace};
use super::{closed, open};
use crate::interrupt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};

/// What a thread tells the coordinator, in this order.
#[derive(Debug)]
pub enum Message {
    /// All connections stand; the thread waits for the start.
    Ready,
    /// What was seen since the last part.
    Part(Part),
    /// The thread has ended; the error says why if it could not do its work.
    Ended(Result<(), String>),
}

/// What a client needs to know of its run.
#[derive(Debug)]
pub struct Context {
    /// What the run does.
    pub spec: Arc<LoadSpec>,
    /// Where results go.
    pub recorder: Recorder,
    /// The number of this thread.
    pub thread: usize,
    /// When the first request is sent.
    pub start: Instant,
    /// When no more are; `None` = the number of requests decides.
    pub deadline: Option<Instant>,
}

impl Context {
    /// True if no further request is to be sent.
    #[inline]
    pub fn over(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| now >= deadline) || interrupt::requested()
    }
}

/// Start and end of a run, the same for all threads.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// See [`Context::start`].
    pub start: Instant,
    /// From when on latencies count.
    pub measure_from: Instant,
    /// See [`Context::deadline`].
    pub deadline: Option<Instant>,
}

/// Connections opened at the same time: a listener's backlog is small.
const CONNECTS_MAX: usize = 64;
const PART_EVERY: Duration = Duration::from_secs(1);

/// The whole life of thread `thread`: connect, wait for `times`, run, report.
pub fn run(
    thread: usize,
    spec: Arc<LoadSpec>,
    published: Arc<AtomicU64>,
    times: Receiver<Times>,
    to_coordinator: Sender<Message>,
) {
    // The coordinator is gone only if it has given up; then nobody wants to know.
    let tell = |message| drop(to_coordinator.send(message));
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return tell(Message::Ended(Err(format!("cannot build a runtime: {error}")))),
    };
    let result = LocalSet::new().block_on(&runtime, async {
        let streams = connect_all(thread, &spec).await?;
        tell(Message::Ready);
        // Blocking is right here: this thread has nothing else to do.
        let Ok(times) = times.recv() else { return Ok(()) };
        let recorder = Recorder::new(published, times.measure_from);
        let context =
            Rc::new(Context { spec, recorder, thread, start: times.start, deadline: times.deadline });
        let result = run_clients(streams, &context, &tell).await;
        tell(Message::Part(context.recorder.take()));
        result
    });
    tell(Message::Ended(result));
}

async fn run_clients(
    streams: Vec<(usize, TcpStream)>,
    context: &Rc<Context>,
    tell: &impl Fn(Message),
) -> Result<(), String> {
    let mut tasks = JoinSet::new();
    match context.spec.pace {
        Pace::Closed => {
            for (index, stream) in streams {
                let context = Rc::clone(context);
                tasks.spawn_local(async move {
                    closed::run(stream, index, context).await;
                    Ok(())
                });
            }
        }
        Pace::Open(_) => {
            tasks.spawn_local(open::run(streams, Rc::clone(context)));
        }
    }
    let mut parts = tokio::time::interval(PART_EVERY);
    parts.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            ended = tasks.join_next() => match ended {
                None => return Ok(()),
                Some(Ok(result)) => result?,
                Some(Err(error)) => return Err(format!("a client task failed: {error}")),
            },
            _ = parts.tick() => tell(Message::Part(context.recorder.take())),
        }
    }
}

/// Connects this thread's clients: every client whose index is the thread's number modulo the
/// number of threads, so that an open loop's arrivals go round all clients in turn.
async fn connect_all(thread: usize, spec: &Arc<LoadSpec>) -> Result<Vec<(usize, TcpStream)>, String> {
    let mine: Vec<usize> = (thread..spec.clients).step_by(spec.threads).collect();
    let mut streams = Vec::with_capacity(mine.len());
    for some in mine.chunks(CONNECTS_MAX) {
        interrupt::check()?;
        let mut tasks = JoinSet::new();
        for index in some.iter().copied() {
            let spec = Arc::clone(spec);
            tasks.spawn_local(async move { connect(&spec).await.map(|stream| (index, stream)) });
        }
        while let Some(done) = tasks.join_next().await {
            streams.push(done.map_err(|error| format!("a client task failed: {error}"))??);
        }
    }
    streams.sort_by_key(|(index, _)| *index);
    Ok(streams)
}

/// Connects again, with growing waits. An error once `reconnect_for` is over, or the run.
pub async fn reconnect(context: &Context) -> Result<TcpStream, String> {
    let give_up = Instant::now() + context.spec.limits.reconnect_for;
    let mut attempt = 0;
    loop {
        match connect(&context.spec).await {
            Ok(stream) => {
                context.recorder.reconnected();
                return Ok(stream);
            }
            Err(why) => {
                let wait = backoff(attempt);
                let then = Instant::now() + wait;
                if then > give_up || context.over(then) {
                    return Err(why);
                }
                attempt += 1;
                tokio::time::sleep(wait).await;
            }
        }
    }
}
