//! What the operating system says of this process, and what is asked of it. What it says is for
//! showing: where it cannot be read, zero is shown.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::disable_transparent_huge_pages;
use std::fs;

/// Has memory come in pages of the usual size. A huge page is cleared, and perhaps put together first,
/// by whoever touches it first: with them the longest insert of 16 million takes tens of milliseconds,
/// without them less than one, for 2 or 3 in a hundred of the throughput.
pub fn avoid_huge_pages() {
    if let Err(error) = disable_transparent_huge_pages(true) {
        tracing::warn!(%error, "huge pages cannot be switched off; growing may pause for tens of milliseconds");
    }
}

/// Every client and every connection to a node is a file descriptor; many systems allow a process
/// 1,024 unless it asks for more.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files stays as it is");
        }
    }
}

/// Bytes of memory that are resident.
pub fn resident_bytes() -> usize {
    kilobytes("/proc/self/status", "VmRSS:") * 1024
}

/// Bytes of memory that the machine has.
pub fn system_memory_bytes() -> usize {
    kilobytes("/proc/meminfo", "MemTotal:") * 1024
}

fn kilobytes(path: &str, field: &str) -> usize {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.split_whitespace().next()).and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// Linux counts processor time in hundredths of a second for those who read it as text.
const TICKS_PER_S: f64 = 100.0;

/// Processor time of the whole process, in seconds: user and system.
pub fn cpu_seconds() -> (f64, f64) {
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field, the name in brackets, may contain spaces; the third follows the last bracket.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |place: usize| fields.get(place).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) / TICKS_PER_S, ticks(12) / TICKS_PER_S)
}
