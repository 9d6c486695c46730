//! When a node counts as being in trouble, so that requests to it fail at once instead of waiting: a breaker a node
//! and worker, as a state machine that is told what happened and what time it is.
//!
//! ```text
//!   closed ── failures in a row, or a share of them in a window ──► open ── `open_ms` over ──► probing
//!      ▲                                                           ▲  ◄── no answer in time ──┘  │
//!      └────────────────────── any answer of the node ─────────────┴──────────────────────────────┘
//! ```
//!
//! What counts against a node: silence beyond a request's deadline, a connection that cannot be made, and refusals that
//! say nothing of the command (LOADING, MASTERDOWN, CLUSTERDOWN). Any other answer, an error too, is a sign of life. A
//! slow script makes a node silent like a frozen one, and its first answer ends it; a huge reply on its way is no
//! silence, which the caller judges. It knows neither connections nor requests, and costs nothing while all is well:
//! there is none for a node that did not fail lately.

use pointsman_config::BreakerLimits;
use std::time::Duration;

/// What is wrong with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It does not answer what it was sent.
    Silent,
    /// No connection to it can be made.
    Unreachable,
    /// It answers that it cannot serve: LOADING, MASTERDOWN, CLUSTERDOWN.
    Refusing,
    /// Its queue has been full for [`FULL_FOR`].
    Full,
}

/// A queue full for so long counts as trouble.
pub const FULL_FOR: Duration = Duration::from_secs(5);

/// Failures that cost hardly any time must go on for so long before they count as a run: second attempts bridge a
/// restart or a change of roles that is over sooner. Silence has cost a whole deadline already.
const RUN_LASTS_US: u64 = 1_000_000;

/// Parts of the window.
const PARTS: usize = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: u64 },
    Probing { until: u64 },
}

/// What is to be done after a look at the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Stay,
    /// It has just opened.
    Opened,
    /// Ask the node something harmless.
    Probe,
    /// It has just closed.
    Closed,
    /// Nothing has failed for a whole window: the breaker can be forgotten.
    Forget,
}

/// See the module's head. Times are microseconds of the backend's clock.
#[derive(Clone, Debug)]
pub struct Breaker {
    state: State,
    trouble: Trouble,
    /// How long it is open the next time.
    span: u64,
    /// Failures without an answer in between, and when they began.
    run: u32,
    run_began: u64,
    /// Answers of the node so far.
    answered: u64,
    /// Answers and failures in each part of the window; the first is the one that is being filled.
    window: [(u64, u64); PARTS],
    part_began: u64,
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

impl Breaker {
    /// Closed. `answered` is how much the node has answered so far.
    pub fn new(answered: u64, now: u64, limits: &BreakerLimits) -> Breaker {
        Breaker {
            state: State::Closed,
            trouble: Trouble::Silent,
            span: micros(limits.open),
            run: 0,
            run_began: now,
            answered,
            window: [(0, 0); PARTS],
            part_began: now,
        }
    }

    /// Requests are not to be sent.
    pub fn is_open(&self) -> bool {
        self.state != State::Closed
    }

    /// What is wrong, while it is open, and how long until the node is asked again.
    pub fn trouble(&self, now: u64) -> Option<(Trouble, Duration)> {
        match self.state {
            State::Closed => None,
            State::Open { until } | State::Probing { until } => {
                Some((self.trouble, Duration::from_micros(until.saturating_sub(now))))
            }
        }
    }

    /// Failures happened. `in_a_row` says that nothing speaks against the node being gone altogether; otherwise they
    /// count only as a share.
    pub fn failed(
        &mut self,
        trouble: Trouble,
        count: u32,
        in_a_row: bool,
        now: u64,
        limits: &BreakerLimits,
    ) -> Step {
        self.window[0].1 += u64::from(count);
        if self.is_open() {
            return Step::Stay;
        }
        if in_a_row {
            self.run_began = if self.run == 0 { now } else { self.run_began };
            self.run = self.run.saturating_add(count);
        }
        let lasts = trouble == Trouble::Silent || now.saturating_sub(self.run_began) >= RUN_LASTS_US;
        let (good, bad) = self.window.iter().fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
        let share = good + bad >= u64::from(limits.requests_min)
            && bad * 100 >= (good + bad) * u64::from(limits.failure_percent);
        let shares = share && (lasts || !in_a_row);
        if trouble == Trouble::Full || (self.run >= limits.failures && lasts) || shares {
            self.trouble = trouble;
            self.state = State::Open { until: now.saturating_add(self.span) };
            return Step::Opened;
        }
        Step::Stay
    }

    /// A look at the clock, and at how much the node has answered so far.
    pub fn look(&mut self, answered: u64, now: u64, limits: &BreakerLimits) -> Step {
        let part = (micros(limits.window) / PARTS as u64).max(1);
        while now.saturating_sub(self.part_began) >= part {
            self.window.rotate_right(1);
            self.window[0] = (0, 0);
            // After a long sleep all parts are empty, and one step is as good as many.
            let behind = now.saturating_sub(self.part_began) / part;
            self.part_began += if behind > 2 * PARTS as u64 { (behind - PARTS as u64) * part } else { part };
        }
        // Counters of a connection that has gone are missing from the sum: that is no answer.
        let news = answered.saturating_sub(self.answered);
        self.answered = answered;
        self.window[0].0 += news;
        if news > 0 {
            return self.alive(limits);
        }
        match self.state {
            State::Closed if self.run == 0 && self.window.iter().all(|part| part.1 == 0) => Step::Forget,
            State::Open { until } if now >= until => {
                self.state = State::Probing { until: now.saturating_add(micros(limits.open)) };
                Step::Probe
            }
            State::Probing { until } if now >= until => {
                self.span = self.span.saturating_mul(2).min(micros(limits.open_max));
                self.state = State::Open { until: now.saturating_add(self.span) };
                Step::Stay
            }
            _ => Step::Stay,
        }
    }

    /// A connection to the node was made: whether that is an answer depends on what was wrong.
    pub fn connected(&mut self, limits: &BreakerLimits) -> Step {
        match self.trouble {
            Trouble::Refusing if self.is_open() => Step::Stay,
            _ => self.alive(limits),
        }
    }

    fn alive(&mut self, limits: &BreakerLimits) -> Step {
        self.run = 0;
        if !self.is_open() {
            return Step::Stay;
        }
        self.state = State::Closed;
        self.span = micros(limits.open);
        // What was wrong is over, and must not open it again at the first mishap.
        self.window = [(0, 0); PARTS];
        Step::Closed
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
