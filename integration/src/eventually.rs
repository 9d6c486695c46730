//! Waiting for a condition instead of sleeping for a guess.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(5);
/// How long a test waits for something that should come soon. Generous: the machine may be busy,
/// and only a failing test waits this long.
pub const SOON: Duration = Duration::from_secs(20);

/// Calls `look` until it gives `Ok`, and panics with `what` and the last `Err` after [`SOON`].
#[track_caller]
pub fn eventually<T, E: Debug>(what: &str, look: impl FnMut() -> Result<T, E>) -> T {
    within(SOON, what, look)
}

/// As [`eventually`], with a deadline of one's own.
#[track_caller]
pub fn within<T, E: Debug>(deadline: Duration, what: &str, mut look: impl FnMut() -> Result<T, E>) -> T {
    let began = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(last) if began.elapsed() > deadline => {
                panic!("not within {:.1} s: {what}; last seen: {last:?}", deadline.as_secs_f32())
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

/// For conditions that are a plain yes or no: `Err(seen)` unless `holds`.
pub fn check<S: Debug>(holds: bool, seen: S) -> Result<(), S> {
    if holds { Ok(()) } else { Err(seen) }
}

/// Watches that `look` stays `Ok` for the whole of `span`, and panics with `what` if it does not.
/// For what must *not* happen; keep `span` short, each use costs it.
#[track_caller]
pub fn throughout<E: Debug>(span: Duration, what: &str, mut look: impl FnMut() -> Result<(), E>) {
    let began = Instant::now();
    while began.elapsed() < span {
        if let Err(seen) = look() {
            panic!("after {:.2} s: {what}; seen: {seen:?}", began.elapsed().as_secs_f32());
        }
        std::thread::sleep(POLL);
    }
}

/// Tells threads to stop when it goes out of scope, be it by a panic: a scope that waits for
/// threads which nobody stops would hang instead of failing.
#[derive(Debug)]
pub struct StopOnDrop<'a>(pub &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_until_the_condition_holds() {
        let mut calls = 0;
        let found = eventually("three calls", || {
            calls += 1;
            if calls == 3 { Ok("there") } else { Err(calls) }
        });
        assert_eq!((found, calls), ("there", 3));
    }

    #[test]
    #[should_panic(expected = "the moon; last seen: \"clouds\"")]
    fn says_what_it_waited_for() {
        within(Duration::from_millis(20), "the moon", || Err::<(), _>("clouds"));
    }

    #[test]
    #[should_panic(expected = "quiet; seen: 3")]
    fn notices_what_must_not_happen() {
        let mut calls = 0;
        throughout(Duration::from_secs(5), "quiet", || {
            calls += 1;
            check(calls < 3, calls)
        });
    }
}
