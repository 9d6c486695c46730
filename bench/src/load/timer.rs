//! A timer finer than the runtime's, whose steps are a millisecond: for an arrival every 50
//! microseconds. It is the kernel's timerfd, which the runtime's poller waits for like a socket.

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;

/// One timer; one sleeper at a time.
#[derive(Debug)]
pub struct FineTimer(AsyncFd<OwnedFd>);

impl FineTimer {
    /// Makes a timer; must be called inside a runtime.
    // `AsyncFd::new` is deprecated because a type could hand out one descriptor and later another.
    // An `OwnedFd` that is moved in and never taken out cannot; the replacement is an `unsafe` call,
    // which this workspace does without.
    #[allow(deprecated)]
    pub fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        Ok(FineTimer(AsyncFd::new(timerfd_create(TimerfdClockId::Monotonic, flags)?)?))
    }

    /// Sleeps until `when`; returns at once if that has passed.
    pub async fn sleep_until(&self, when: Instant) -> io::Result<()> {
        let wait = when.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            return Ok(());
        }
        self.arm(wait)?;
        loop {
            let mut guard = self.0.readable().await?;
            let mut expirations = [0; 8];
            match guard.try_io(|fd| rustix::io::read(fd, &mut expirations).map_err(io::Error::from)) {
                Ok(result) => return result.map(|_| ()),
                // Not yet: the readiness was of an earlier expiry.
                Err(_) => continue,
            }
        }
    }

    fn arm(&self, wait: Duration) -> io::Result<()> {
        let once = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec {
                tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: wait.subsec_nanos().into(),
            },
        };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_wakes_early_and_can_be_used_again() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let timer = FineTimer::new().unwrap();
            for microseconds in [0, 1, 50, 200, 3_000] {
                let when = Instant::now() + Duration::from_micros(microseconds);
                timer.sleep_until(when).await.unwrap();
                assert!(Instant::now() >= when, "{microseconds} us");
            }
        });
    }
}
