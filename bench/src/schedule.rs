//! When the requests of an open loop are meant to be sent.
//!
//! In a closed loop a slow server slows the load generator, which then measures fewer of the slow
//! moments (coordinated omission). An open loop sends by the clock, and latency counts from the
//! moment a request was *meant* to go out, so waiting behind a stall is part of the figure.
//!
//! All of it is arithmetic: arrival n is meant at `first + n * step`, in exact fractions, so that a
//! long run does not drift. Time is an argument.

/// A constant arrival rate, as one load thread sees it. Times are nanoseconds since the start of
/// the run; an arrival is one pipeline batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    first_ns: u64,
    /// The step between arrivals is `step / per` nanoseconds.
    step: u128,
    per: u128,
}

const SECOND_NS: u128 = 1_000_000_000;
/// Rates are kept in thousandths of a request per second.
const RATE_SCALE: f64 = 1_000.0;

impl Schedule {
    /// Thread `thread` of `threads` takes every `threads`-th arrival of a run of `rate` requests
    /// per second (above 0) sent in batches of `pipeline`.
    pub fn new(rate: f64, pipeline: u64, thread: u64, threads: u64) -> Self {
        let per = ((rate * RATE_SCALE).round() as u128).max(1);
        let step = SECOND_NS * RATE_SCALE as u128 * u128::from(pipeline.max(1));
        let first_ns = (step * u128::from(thread) / per) as u64;
        Schedule { first_ns, step: step * u128::from(threads.max(1)), per }
    }

    /// When arrival `index` (from 0) is meant to be sent.
    pub fn intended_ns(&self, index: u64) -> u64 {
        self.first_ns.saturating_add((u128::from(index) * self.step / self.per) as u64)
    }

    /// How many arrivals are due at `now_ns`: those whose intended time is not later.
    pub fn due(&self, now_ns: u64) -> u64 {
        match now_ns.checked_sub(self.first_ns) {
            None => 0,
            // index * step / per <= elapsed  <=>  index * step < (elapsed + 1) * per
            Some(elapsed) => (((u128::from(elapsed) + 1) * self.per).div_ceil(self.step)) as u64,
        }
    }
}

/// The place of an arrival in one client's order, when a thread's arrivals go round its clients.
pub fn arrival_of(client: u64, nth: u64, clients: u64) -> u64 {
    nth * clients + client
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_come_at_the_rate() {
        let schedule = Schedule::new(20_000.0, 1, 0, 1);
        assert_eq!(schedule.intended_ns(0), 0);
        assert_eq!(schedule.intended_ns(1), 50_000);
        assert_eq!(schedule.intended_ns(20_000), 1_000_000_000);
    }

    #[test]
    fn a_long_run_does_not_drift() {
        // 3 a second do not fit whole nanoseconds; after a day the sum must.
        let schedule = Schedule::new(3.0, 1, 0, 1);
        assert_eq!(schedule.intended_ns(3 * 86_400), 86_400 * 1_000_000_000);
        assert_eq!(schedule.intended_ns(1), 333_333_333);
    }

    #[test]
    fn due_is_the_inverse_of_intended() {
        for (rate, pipeline, thread, threads) in
            [(20_000.0, 1, 0, 1), (3.0, 1, 0, 1), (7.7, 3, 2, 3), (999_983.0, 16, 1, 2), (0.25, 1, 0, 1)]
        {
            let schedule = Schedule::new(rate, pipeline, thread, threads);
            for index in [0, 1, 2, 3, 10, 1_000, 123_457] {
                let intended = schedule.intended_ns(index);
                assert_eq!(schedule.due(intended), index + 1, "rate {rate}, arrival {index}: due when meant");
                if intended > 0 {
                    assert_eq!(schedule.due(intended - 1), index, "rate {rate}, arrival {index}: not before");
                }
            }
        }
    }

    #[test]
    fn a_late_look_finds_all_that_was_missed() {
        let schedule = Schedule::new(1_000.0, 1, 0, 1);
        assert_eq!(schedule.due(0), 1);
        assert_eq!(schedule.due(50_000_000), 51);
    }

    #[test]
    fn threads_interleave_and_together_keep_the_rate() {
        let whole = Schedule::new(9_000.0, 1, 0, 1);
        let mut merged: Vec<u64> = (0..3)
            .flat_map(|thread| {
                let part = Schedule::new(9_000.0, 1, thread, 3);
                (0..100).map(move |index| part.intended_ns(index))
            })
            .collect();
        merged.sort_unstable();
        for (index, time) in merged.iter().enumerate() {
            assert!(time.abs_diff(whole.intended_ns(index as u64)) <= 1, "arrival {index}");
        }
    }

    #[test]
    fn batches_arrive_less_often() {
        assert_eq!(Schedule::new(16_000.0, 16, 0, 1).intended_ns(1), 1_000_000);
    }

    #[test]
    fn clients_take_turns() {
        let order: Vec<u64> =
            (0..2).flat_map(|nth| (0..3).map(move |client| arrival_of(client, nth, 3))).collect();
        assert_eq!(order, [0, 1, 2, 3, 4, 5]);
    }
}
