//! The troubles themselves; each ends when it is dropped.

use pointsman_protocol::resp::encode;
use rustix::process::{Pid, Signal, kill_process};
use std::io::Write;
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// Replies of 1 MiB that the slow reader asks for.
const ASKED: usize = 1024;
/// A proxy that takes no more requests for so long has had enough of them.
const TAKES_MORE_WITHIN: Duration = Duration::from_millis(500);

/// A process that is stopped.
#[derive(Debug)]
pub struct Frozen(Pid);

impl Frozen {
    /// Stops a process of ours.
    pub fn begin(pid: u32) -> Result<Frozen, String> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or("no process has this id")?;
        kill_process(pid, Signal::STOP).map_err(|error| format!("cannot stop a node: {error}"))?;
        Ok(Frozen(pid))
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // It fails only for a process that has ended.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// A client that asks for a gigabyte and reads none of it.
#[derive(Debug)]
pub struct SlowReader(#[expect(dead_code, reason = "it is held open, and not read from")] TcpStream);

impl SlowReader {
    /// Asks for `key`, which holds a mebibyte, [`ASKED`] times.
    pub fn begin(port: u16, key: &str) -> Result<SlowReader, String> {
        let failed = |error: std::io::Error| format!("port {port}: {error}");
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).map_err(failed)?;
        stream.set_write_timeout(Some(TAKES_MORE_WITHIN)).map_err(failed)?;
        let mut requests = Vec::new();
        for _ in 0..ASKED {
            encode::request(&mut requests, &["GET", key]);
        }
        // The proxy may stop taking requests, or close: what it does with such a client is what is measured.
        let _ = stream.write_all(&requests);
        Ok(SlowReader(stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_frozen_process_goes_on_afterwards() {
        let mut child = Command::new("sleep").arg("1000").spawn().unwrap();
        let state = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
            stat.rsplit_once(") ").unwrap().1.chars().next()
        };
        let becomes = |stopped: bool| {
            let begun = std::time::Instant::now();
            while (state() == Some('T')) != stopped {
                assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", state());
                std::thread::sleep(Duration::from_millis(2));
            }
        };
        let frozen = Frozen::begin(child.id()).unwrap();
        becomes(true);
        drop(frozen);
        becomes(false);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(Frozen::begin(0).is_err());
    }
}
