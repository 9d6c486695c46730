//! What machine a figure was measured on, and how busy others kept it.

use crate::process::cores::Cores;
use serde::Serialize;
use std::fmt;
use std::fs;

/// The machine, as far as figures depend on it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// How many cores we may use.
    pub cores: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// The kernel's release.
    pub kernel: String,
    /// Load average of the last minute before the run began.
    pub load_average: f64,
}

impl Machine {
    /// This one, now.
    pub fn this() -> Machine {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Machine {
            cpu: field(&read("/proc/cpuinfo"), "model name")
                .unwrap_or_else(|| "unknown processor".to_owned()),
            cores: Cores::available().map_or(1, |cores| cores.len()),
            memory_mib: memory_mib(&read("/proc/meminfo")),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load_average: read("/proc/loadavg")
                .split_ascii_whitespace()
                .next()
                .and_then(|word| word.parse().ok())
                .unwrap_or(0.0),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, {} cores, {} MiB, Linux {}, load average {:.2} before the run",
            self.cpu, self.cores, self.memory_mib, self.kernel, self.load_average
        )
    }
}

/// CPU time of the whole machine, in clock ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MachineTime {
    total: u64,
    stolen: u64,
}

impl MachineTime {
    /// Up to now; zero if the kernel does not say.
    pub fn now() -> MachineTime {
        fs::read_to_string("/proc/stat").ok().and_then(|text| parse_cpu_line(&text)).unwrap_or_default()
    }

    /// The share (0 to 1) of the time since `before` that the hypervisor gave to other machines.
    pub fn stolen_since(self, before: MachineTime) -> f64 {
        let total = self.total.saturating_sub(before.total);
        if total == 0 { 0.0 } else { self.stolen.saturating_sub(before.stolen) as f64 / total as f64 }
    }
}

/// `cpu  user nice system idle iowait irq softirq steal guest guest_nice`; guest is part of user.
fn parse_cpu_line(text: &str) -> Option<MachineTime> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_ascii_whitespace().map_while(|word| word.parse().ok()).take(8).collect();
    Some(MachineTime { total: ticks.iter().sum(), stolen: *ticks.get(7)? })
}

fn field(text: &str, name: &str) -> Option<String> {
    let (_, value) = text.lines().find(|line| line.starts_with(name))?.split_once(':')?;
    Some(value.trim().to_owned())
}

fn memory_mib(text: &str) -> u64 {
    field(text, "MemTotal")
        .and_then(|value| value.strip_suffix("kB")?.trim().parse::<u64>().ok())
        .map_or(0, |kib| kib / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_time() {
        let before = parse_cpu_line("cpu  10 0 10 70 0 0 0 10 5 0\ncpu0 1 1 1 1 1 1 1 1\n").unwrap();
        let after = parse_cpu_line("cpu  60 0 60 120 0 0 0 60 5 0\n").unwrap();
        assert_eq!(before, MachineTime { total: 100, stolen: 10 });
        assert_eq!(after.stolen_since(before), 0.25);
        assert_eq!(before.stolen_since(before), 0.0);
        assert_eq!(parse_cpu_line("intr 1 2 3"), None);
        assert_eq!(parse_cpu_line("cpu  1 2 3\n"), None);
    }

    #[test]
    fn fields() {
        assert_eq!(
            field("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n", "model name").unwrap(),
            "Some CPU @ 2 GHz"
        );
        assert_eq!(memory_mib("MemTotal:       24684544 kB\n"), 24_106);
        assert_eq!(memory_mib(""), 0);
        assert!(Machine::this().cores > 0);
    }
}
