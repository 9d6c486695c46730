//! What one load thread has seen since it last told the coordinator.

use crate::latency::Latencies;
use crate::tally::Tally;
use crate::workload::{Answer, Op, judge};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// The part of a run's results that one thread saw in about one second.
#[derive(Debug, Default)]
pub struct Part {
    /// Of the requests that were sent after the warm-up.
    pub latencies: Latencies,
    /// Of the whole run: an error while warming up is an error.
    pub failures: Tally,
    /// GETs of keys that are not there.
    pub misses: u64,
    /// Connections made again.
    pub reconnects: u64,
}

/// Shared by the clients of one thread; never crosses it, apart from the counter.
#[derive(Debug)]
pub struct Recorder {
    part: RefCell<Part>,
    answered: Cell<u64>,
    published: Arc<AtomicU64>,
    measure_from: Instant,
}

impl Recorder {
    /// Requests sent before `measure_from` count for the rate but not for the latencies.
    /// `published` shows the number of answered requests to other threads at any time.
    pub fn new(published: Arc<AtomicU64>, measure_from: Instant) -> Self {
        Recorder { part: RefCell::default(), answered: Cell::new(0), published, measure_from }
    }

    /// `count` requests sent (or meant to be sent) at `since` have been answered at `now`.
    #[inline]
    pub fn answered(&self, since: Instant, now: Instant, count: u64) {
        self.answered.set(self.answered.get() + count);
        self.published.store(self.answered.get(), Ordering::Relaxed);
        if since >= self.measure_from {
            let nanoseconds =
                u64::try_from(now.saturating_duration_since(since).as_nanos()).unwrap_or(u64::MAX);
            self.part.borrow_mut().latencies.record(nanoseconds, count);
        }
    }

    /// Judges a reply. False if it is a push message, which answers no request.
    #[inline]
    pub fn check(&self, op: Op, reply: &[u8]) -> bool {
        match judge(op, reply) {
            Answer::Fine => true,
            Answer::Push => false,
            other => self.unusual(other, op, reply),
        }
    }

    #[cold]
    fn unusual(&self, answer: Answer, op: Op, reply: &[u8]) -> bool {
        let mut part = self.part.borrow_mut();
        match answer {
            Answer::Miss => part.misses += 1,
            Answer::Error => part.failures.add_reply(reply),
            _ => {
                let shown = String::from_utf8_lossy(&reply[..reply.len().min(60)]).escape_debug().to_string();
                part.failures.add(crate::tally::UNEXPECTED, 1, &format!("{op:?} was answered {shown}"));
            }
        }
        true
    }

    /// `count` requests will never be answered.
    pub fn lost(&self, code: &str, count: u64, why: &str) {
        self.part.borrow_mut().failures.add(code, count, why);
    }

    /// A connection has been made again.
    pub fn reconnected(&self) {
        self.part.borrow_mut().reconnects += 1;
    }

    /// Takes what has been recorded so far.
    pub fn take(&self) -> Part {
        self.part.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_warm_up_counts_requests_but_no_latencies() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let published = Arc::new(AtomicU64::new(0));
        let recorder = Recorder::new(Arc::clone(&published), at(100));
        recorder.answered(at(99), at(500), 4);
        recorder.answered(at(100), at(102), 2);
        recorder.answered(at(200), at(199), 1);
        assert_eq!(published.load(Ordering::Relaxed), 7);
        let part = recorder.take();
        assert_eq!(part.latencies.count(), 3);
        assert!((part.latencies.quantile_us(1.0) - 2_000.0).abs() < 4.0);
        assert_eq!(recorder.take().latencies.count(), 0, "taken is taken");
    }

    #[test]
    fn replies_are_counted_by_what_they_are() {
        let recorder = Recorder::new(Arc::default(), Instant::now());
        assert!(recorder.check(Op::Get, b"$1\r\na\r\n"));
        assert!(recorder.check(Op::Get, b"$-1\r\n"));
        assert!(recorder.check(Op::Get, b"-ERR no\r\n"));
        assert!(recorder.check(Op::Get, b":1\r\n"));
        assert!(!recorder.check(Op::Get, b">0\r\n"));
        let part = recorder.take();
        assert_eq!(part.misses, 1);
        let codes: Vec<String> = part.failures.list().into_iter().map(|failure| failure.code).collect();
        assert_eq!(codes.len(), 2);
        assert!(codes.contains(&"ERR".to_owned()) && codes.contains(&crate::tally::UNEXPECTED.to_owned()));
    }
}
