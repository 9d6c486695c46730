//! How many second attempts there may be: a share of the live traffic, so that attempts cannot become the load
//! that keeps a shard down, and a few a second where there is hardly any traffic.
//!
//! Both are weighed over about ten seconds, with what is longer ago counting less and less. Redirects are not
//! counted: they are how a node answers. Nor is what was never sent, which costs no node anything.

use std::time::Duration;

/// How fast the past fades, in seconds.
const MEMORY_S: f64 = 10.0;

/// The bounds of `retry:` in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BudgetLimits {
    /// Second attempts for a hundred requests.
    pub percent: u32,
    /// Second attempts a second in any case.
    pub min_per_second: u32,
}

/// What one worker has spent, of what.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    live: f64,
    spent: f64,
    /// Requests counted so far.
    seen: u64,
    /// When, in microseconds.
    at: u64,
}

impl Budget {
    /// Takes one attempt out of the budget, if there is one left. `requests` were answered since the start.
    pub fn take(&mut self, limits: &BudgetLimits, requests: u64, now: u64) -> bool {
        let passed = Duration::from_micros(now.saturating_sub(self.at)).as_secs_f64();
        let fading = (-passed / MEMORY_S).exp();
        self.live = self.live * fading + requests.saturating_sub(self.seen) as f64;
        self.spent *= fading;
        (self.seen, self.at) = (requests, now);
        let allowed =
            self.live * f64::from(limits.percent) / 100.0 + f64::from(limits.min_per_second) * MEMORY_S;
        let takes = self.spent + 1.0 <= allowed;
        self.spent += if takes { 1.0 } else { 0.0 };
        takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BudgetLimits = BudgetLimits { percent: 20, min_per_second: 10 };

    fn taken(budget: &mut Budget, limits: &BudgetLimits, requests: u64, now: u64) -> usize {
        (0..10_000).take_while(|_| budget.take(limits, requests, now)).count()
    }

    #[test]
    fn a_share_of_the_traffic_and_some_in_any_case() {
        let mut budget = Budget::default();
        assert_eq!(taken(&mut budget, &LIMITS, 0, 0), 100, "ten seconds' worth without any traffic");
        assert_eq!(taken(&mut budget, &LIMITS, 1000, 0), 200, "a fifth of what was answered");
        assert_eq!(taken(&mut budget, &LIMITS, 1000, 0), 0);
        assert_eq!(taken(&mut Budget::default(), &BudgetLimits { percent: 0, min_per_second: 0 }, 9, 0), 0);
    }

    #[test]
    fn what_was_spent_is_forgotten_with_time() {
        let mut budget = Budget::default();
        taken(&mut budget, &LIMITS, 0, 0);
        let after_a_second = taken(&mut budget, &LIMITS, 0, 1_000_000);
        assert!((9..=10).contains(&after_a_second), "{after_a_second}");
        assert_eq!(taken(&mut budget, &LIMITS, 0, 500_000), 0, "a clock that goes back gives nothing");
        assert!(taken(&mut budget, &LIMITS, 0, 200_000_000) >= 99);
    }
}
