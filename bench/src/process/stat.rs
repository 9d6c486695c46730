//! What a process costs, from /proc: CPU time of all its threads, and resident memory.
//!
//! The main figure of every comparison is (user + system after - before) / requests. The kernel
//! keeps the sum of both to the nanosecond but gives it out in clock ticks (10 ms as a rule), so a
//! measurement of one second carries about one percent of rounding.

use rustix::param::clock_ticks_per_second;
use serde::{Deserialize, Serialize};
use std::fs;
use std::ops::Sub;

/// CPU time of a process, all threads together, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CpuTime {
    /// Time in the program itself.
    pub user_us: f64,
    /// Time in the kernel on its behalf.
    pub system_us: f64,
}

impl CpuTime {
    /// User and system together.
    pub fn total_us(self) -> f64 {
        self.user_us + self.system_us
    }

    /// Divided by a number of requests; zero if there were none.
    pub fn per_request(self, requests: u64) -> CpuTime {
        let by = if requests == 0 { f64::INFINITY } else { requests as f64 };
        CpuTime { user_us: self.user_us / by, system_us: self.system_us / by }
    }
}

impl Sub for CpuTime {
    type Output = CpuTime;

    fn sub(self, before: CpuTime) -> CpuTime {
        CpuTime { user_us: self.user_us - before.user_us, system_us: self.system_us - before.system_us }
    }
}

/// CPU time that `pid` has used so far.
pub fn cpu_time(pid: u32) -> Result<CpuTime, String> {
    let path = format!("/proc/{pid}/stat");
    let text =
        fs::read_to_string(&path).map_err(|error| format!("{path}: {error} (has the process ended?)"))?;
    let (user, system) =
        parse_ticks(&text).ok_or_else(|| format!("{path}: not in the expected form: {text:?}"))?;
    let tick_us = 1e6 / clock_ticks_per_second() as f64;
    Ok(CpuTime { user_us: user as f64 * tick_us, system_us: system as f64 * tick_us })
}

/// Resident memory of `pid` in bytes.
///
/// smaps_rollup counts pages; the counter in `status` is kept per core and may lag by hundreds of
/// KiB, which is much when it is divided among a thousand clients. It is the fallback.
pub fn resident_bytes(pid: u32) -> Result<u64, String> {
    if let Ok(text) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
        && let Some(bytes) = parse_kib_line(&text, "Rss:")
    {
        return Ok(bytes);
    }
    let path = format!("/proc/{pid}/status");
    let text =
        fs::read_to_string(&path).map_err(|error| format!("{path}: {error} (has the process ended?)"))?;
    parse_kib_line(&text, "VmRSS:").ok_or_else(|| format!("{path}: has no VmRSS line"))
}

/// utime and stime of a /proc/PID/stat line, in clock ticks.
///
/// The second field is the process name in parentheses; it may itself hold blanks and parentheses,
/// so fields are counted from the last closing one.
fn parse_ticks(stat: &str) -> Option<(u64, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    // Behind the name comes field 3; utime is field 14, stime 15.
    let user = fields.nth(11)?.parse().ok()?;
    let system = fields.next()?.parse().ok()?;
    Some((user, system))
}

fn parse_kib_line(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAIL: &str =
        "S 1 4242 4242 0 -1 4194560 1200 0 3 0 731 269 0 0 20 0 5 0 96473 3133440 390 18446744073709551615";

    #[test]
    fn names_may_hold_blanks_and_parentheses() {
        for name in ["redis-server", "Web Content", "a) S 1 (b", "(", ")", "x 1 2 3 4 5 6 7 8 9 10 11 12", ""]
        {
            assert_eq!(parse_ticks(&format!("4242 ({name}) {TAIL}")), Some((731, 269)), "{name}");
        }
    }

    #[test]
    fn what_is_no_stat_line_is_refused() {
        for text in ["", "4242", "4242 (x", "4242 (x) S 1 2", "4242 (x) S 1 1 1 0 -1 1 1 0 3 0 user 269"] {
            assert_eq!(parse_ticks(text), None, "{text}");
        }
    }

    #[test]
    fn memory_lines() {
        let status = "Name:\tx\nVmHWM:\t  9000 kB\nVmRSS:\t    1560 kB\nThreads:\t1\n";
        assert_eq!(parse_kib_line(status, "VmRSS:"), Some(1560 * 1024));
        assert_eq!(parse_kib_line(status, "Rss:"), None);
        assert_eq!(parse_kib_line("VmRSS: lots\n", "VmRSS:"), None);
    }

    #[test]
    fn our_own_process_can_be_read_and_its_time_grows() {
        let pid = std::process::id();
        let before = cpu_time(pid).unwrap();
        let mut sum = 0u64;
        while (cpu_time(pid).unwrap() - before).total_us() < 20_000.0 {
            sum = (0..100_000u64).fold(sum, |sum, value| sum.wrapping_mul(31) ^ value);
        }
        assert!(resident_bytes(pid).unwrap() > 100_000, "{sum}");
        assert!(cpu_time(u32::MAX).unwrap_err().contains("/proc/4294967295/stat"));
    }

    #[test]
    fn time_per_request() {
        let time =
            CpuTime { user_us: 300.0, system_us: 700.0 } - CpuTime { user_us: 100.0, system_us: 200.0 };
        assert_eq!(time.per_request(100), CpuTime { user_us: 2.0, system_us: 5.0 });
        assert_eq!(time.per_request(0).total_us(), 0.0);
    }
}
