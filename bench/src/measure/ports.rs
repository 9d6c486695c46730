//! Free ports on the loopback interface, for servers that must be told a number.
//!
//! They are taken from below the range that the kernel uses for outgoing connections, so that one
//! of our own clients does not take a port between the check and the server's start.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;
/// Shares no factor with the count, so that every place is some process' beginning.
const SPREAD: u32 = 4_583;

/// How many ports have been handed out or found taken.
static TRIED: AtomicU16 = AtomicU16::new(0);

/// A port that nobody listens on, different each time.
pub fn free_port() -> Result<u16, String> {
    // Runs at the same time have neighbouring process ids; they must begin far apart, as a port is
    // only taken a moment after it was found free.
    let begin = (std::process::id().wrapping_mul(SPREAD) % u32::from(COUNT)) as u16;
    loop {
        let tried = TRIED.fetch_add(1, Ordering::Relaxed);
        if tried >= COUNT {
            return Err(format!("no port from {FIRST} to {} is free", FIRST + COUNT - 1));
        }
        let port = FIRST + (begin + tried) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_and_differ() {
        let first = free_port().unwrap();
        let second = free_port().unwrap();
        assert_ne!(first, second);
        assert!((FIRST..FIRST + COUNT).contains(&first));
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, second)).is_ok());
    }
}
