//! Resident memory, read when it has come to rest.

use crate::interrupt;
use crate::process::stat::resident_bytes;
use std::time::{Duration, Instant};

/// A change up to this is rest.
const CLOSE_BYTES: u64 = 32 * 1024;
/// How long it must rest.
const QUIET: Duration = Duration::from_millis(400);
/// Then it is read, at rest or not.
const PATIENCE: Duration = Duration::from_secs(5);

/// Resident memory of `pid` in bytes, once it has stopped changing.
pub fn settled_bytes(pid: u32) -> Result<u64, String> {
    let begun = Instant::now();
    let mut bytes = resident_bytes(pid)?;
    let mut since = begun;
    while since.elapsed() < QUIET && begun.elapsed() < PATIENCE {
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(50));
        let now = resident_bytes(pid)?;
        if now.abs_diff(bytes) > CLOSE_BYTES {
            (bytes, since) = (now, Instant::now());
        }
    }
    resident_bytes(pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_memory_settles() {
        assert!(settled_bytes(std::process::id()).unwrap() > 100_000);
        assert!(settled_bytes(u32::MAX).is_err());
    }
}
