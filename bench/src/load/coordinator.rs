//! Starts the threads of a run together, watches the clock and the processes, and adds up.

use super::recorder::Part;
use super::spec::{End, LoadSpec, Pace};
use super::thread::{self, Message, Times};
use crate::interrupt;
use crate::latency::Latencies;
use crate::process::stat::{CpuTime, cpu_time, resident_bytes};
use crate::progress::{self, Progress};
use crate::report::{LoadReport, Watched};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How often the coordinator looks up when nothing is reported.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const SHOW_EVERY: Duration = Duration::from_secs(1);
/// How long clients may take to notice that the run was interrupted.
const INTERRUPT_GRACE: Duration = Duration::from_secs(1);

/// Runs `spec` and measures, besides its own, the CPU time of the processes `watch`.
///
/// The error says why the run could not be made; failed requests are in the report.
pub fn run(spec: &LoadSpec, watch: &[u32], progress: Option<&mut Progress>) -> Result<LoadReport, String> {
    let shared = Arc::new(spec.clone());
    let published: Vec<Arc<AtomicU64>> = (0..spec.threads).map(|_| Arc::default()).collect();
    let (to_us, from_threads) = channel();
    let mut starters = Vec::with_capacity(spec.threads);
    for (thread, counter) in published.iter().enumerate() {
        let (starter, times) = channel();
        starters.push(starter);
        let (spec, counter, to_us) = (Arc::clone(&shared), Arc::clone(counter), to_us.clone());
        std::thread::Builder::new()
            .name(format!("load-{thread}"))
            .spawn(move || thread::run(thread, spec, counter, times, to_us))
            .map_err(|error| format!("cannot start load thread {thread}: {error}"))?;
    }
    drop(to_us);
    wait_ready(&from_threads, spec.threads)?;
    let probe = Probe { published, watch: watch.to_vec() };
    let measured = measure(spec, &probe, &starters, &from_threads, progress)?;
    measured.report(spec, watch)
}

fn wait_ready(from_threads: &Receiver<Message>, threads: usize) -> Result<(), String> {
    for _ in 0..threads {
        loop {
            interrupt::check()?;
            match from_threads.recv_timeout(LOOK_EVERY) {
                Ok(Message::Ready) => break,
                Ok(Message::Ended(Err(why))) => return Err(why),
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err("a load thread died while connecting".to_owned());
                }
            }
        }
    }
    Ok(())
}

struct Probe {
    published: Vec<Arc<AtomicU64>>,
    watch: Vec<u32>,
}

/// What stood on the counters at one moment.
#[derive(Clone)]
struct Sample {
    at: Instant,
    answered: u64,
    own: CpuTime,
    watched: Vec<CpuTime>,
}

impl Probe {
    fn answered(&self) -> u64 {
        self.published.iter().map(|counter| counter.load(Ordering::Relaxed)).sum()
    }

    fn sample(&self) -> Result<Sample, String> {
        Ok(Sample {
            at: Instant::now(),
            answered: self.answered(),
            own: cpu_time(std::process::id())?,
            watched: self.watch.iter().map(|pid| cpu_time(*pid)).collect::<Result<_, _>>()?,
        })
    }
}

struct Measured {
    total: Part,
    before: Sample,
    after: Sample,
}

fn measure(
    spec: &LoadSpec,
    probe: &Probe,
    starters: &[Sender<Times>],
    from_threads: &Receiver<Message>,
    progress: Option<&mut Progress>,
) -> Result<Measured, String> {
    let mut before = probe.sample()?;
    let start = Instant::now();
    let measure_from = start + spec.warmup;
    let deadline = match spec.end {
        End::Requests(_) => None,
        End::Duration(duration) => Some(measure_from + duration),
    };
    for starter in starters {
        let times = Times { start, measure_from, deadline };
        starter.send(times).map_err(|_| "a load thread died before the start".to_owned())?;
    }
    let mut warming = !spec.warmup.is_zero();
    let mut after = None;
    let mut running = starters.len();
    let mut total = Part::default();
    let mut display = Display::new(progress, start);
    let mut interrupted_at = None;
    while running > 0 {
        let now = Instant::now();
        if warming && now >= measure_from {
            before = probe.sample()?;
            warming = false;
        }
        if after.is_none() && deadline.is_some_and(|deadline| now >= deadline) {
            after = Some(probe.sample()?);
        }
        display.tick(now, probe, &total);
        if interrupt::requested() && now - *interrupted_at.get_or_insert(now) > INTERRUPT_GRACE {
            break;
        }
        let next = if warming { Some(measure_from) } else { deadline.filter(|_| after.is_none()) };
        let wait = next.map_or(LOOK_EVERY, |next| next.saturating_duration_since(now).min(LOOK_EVERY));
        match from_threads.recv_timeout(wait) {
            Ok(Message::Part(part)) => {
                display.add(&part);
                add(&mut total, &part);
            }
            Ok(Message::Ended(result)) => {
                result?;
                running -= 1;
            }
            Ok(Message::Ready) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err("a load thread died while running".to_owned()),
        }
    }
    display.end();
    let after = match after {
        Some(after) => after,
        None => probe.sample()?,
    };
    Ok(Measured { total, before, after })
}

fn add(total: &mut Part, part: &Part) {
    total.latencies.add(&part.latencies);
    total.failures.merge(&part.failures);
    total.misses += part.misses;
    total.reconnects += part.reconnects;
}

impl Measured {
    fn report(self, spec: &LoadSpec, watch: &[u32]) -> Result<LoadReport, String> {
        let Measured { total, before, after } = self;
        let seconds = (after.at - before.at).as_secs_f64();
        let requests = after.answered.saturating_sub(before.answered);
        let mut watched = Vec::with_capacity(watch.len());
        for (pid, (before, after)) in watch.iter().zip(before.watched.iter().zip(&after.watched)) {
            let used = *after - *before;
            watched.push(Watched {
                pid: *pid,
                per_request: used.per_request(requests),
                cores_used: if seconds > 0.0 { used.total_us() / 1e6 / seconds } else { 0.0 },
                resident_bytes: resident_bytes(*pid)?,
            });
        }
        Ok(LoadReport {
            address: spec.address.to_string(),
            workload: spec.shape.workload.to_string(),
            clients: spec.clients,
            pipeline: spec.pipeline,
            threads: spec.threads,
            rate: match spec.pace {
                Pace::Closed => None,
                Pace::Open(rate) => Some(rate),
            },
            seconds,
            requests,
            requests_per_second: if seconds > 0.0 { requests as f64 / seconds } else { 0.0 },
            latency: total.latencies.summary(),
            errors: total.failures.total(),
            errors_by_code: total.failures.list(),
            misses: total.misses,
            reconnects: total.reconnects,
            generator_per_request: (after.own - before.own).per_request(requests),
            watched,
            interrupted: interrupt::requested(),
        })
    }
}

/// The progress line between two moments of showing it.
struct Display<'a> {
    progress: Option<&'a mut Progress>,
    start: Instant,
    shown_at: Instant,
    shown_answered: u64,
    latencies: Latencies,
}

impl<'a> Display<'a> {
    fn new(progress: Option<&'a mut Progress>, start: Instant) -> Self {
        Display { progress, start, shown_at: start, shown_answered: 0, latencies: Latencies::new() }
    }

    fn add(&mut self, part: &Part) {
        if self.progress.is_some() {
            self.latencies.add(&part.latencies);
        }
    }

    fn tick(&mut self, now: Instant, probe: &Probe, total: &Part) {
        let Some(progress) = &mut self.progress else { return };
        let interval = now - self.shown_at;
        if interval < SHOW_EVERY {
            return;
        }
        let answered = probe.answered();
        progress.show(&progress::line(
            now - self.start,
            answered - self.shown_answered,
            interval,
            &self.latencies,
            total.failures.total(),
        ));
        (self.shown_at, self.shown_answered, self.latencies) = (now, answered, Latencies::new());
    }

    fn end(&mut self) {
        if let Some(progress) = &mut self.progress {
            progress.end();
        }
    }
}
