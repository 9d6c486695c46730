//! What a run of the load generator found out, as JSON and as text.

use crate::latency::LatencySummary;
use crate::process::stat::CpuTime;
use crate::tally::Failure;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// The result of one run. Requests, seconds and CPU time are of the measured window: after the
/// warm-up, up to the deadline or the last reply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadReport {
    /// Where to.
    pub address: String,
    /// What was asked, as the option spells it.
    pub workload: String,
    /// Connections.
    pub clients: usize,
    /// Requests sent at a time.
    pub pipeline: usize,
    /// Threads.
    pub threads: usize,
    /// The rate of the open loop, requests per second; absent for a closed loop.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rate: Option<f64>,
    /// Length of the measured window.
    pub seconds: f64,
    /// Requests answered in it, errors included.
    pub requests: u64,
    /// The two divided.
    pub requests_per_second: f64,
    /// Of requests sent in it; in an open loop from the intended moment of sending.
    pub latency: LatencySummary,
    /// Failed requests of the whole run.
    pub errors: u64,
    /// The same by code, the most frequent first.
    pub errors_by_code: Vec<Failure>,
    /// GETs of keys that are not there.
    pub misses: u64,
    /// Connections that were made again.
    pub reconnects: u64,
    /// CPU time of the load generator itself, per request.
    pub generator_per_request: CpuTime,
    /// CPU time of the processes that were watched, per request.
    pub watched: Vec<Watched>,
    /// True if a signal ended the run early.
    pub interrupted: bool,
}

/// What a watched process cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Watched {
    /// Its process id.
    pub pid: u32,
    /// CPU time per request, all threads.
    pub per_request: CpuTime,
    /// Share of the window in which it was on a core (2.0 = two cores).
    pub cores_used: f64,
    /// Resident memory at the end, bytes.
    pub resident_bytes: u64,
}

impl LoadReport {
    /// The report for people.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_text(&mut out);
        out
    }

    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        let pace = match self.rate {
            Some(rate) => format!("open loop at {rate}/s"),
            None => "closed loop".to_owned(),
        };
        writeln!(
            out,
            "{} on {}: {} clients, pipeline {}, {} thread{}, {pace}",
            self.workload,
            self.address,
            self.clients,
            self.pipeline,
            self.threads,
            if self.threads == 1 { "" } else { "s" },
        )?;
        writeln!(
            out,
            "  {:.0} requests/s  ({} in {:.2} s)",
            self.requests_per_second, self.requests, self.seconds
        )?;
        let latency = &self.latency;
        writeln!(
            out,
            "  latency us: p50 {:.0}  p90 {:.0}  p99 {:.0}  p99.9 {:.0}  max {:.0}  mean {:.1}{}",
            latency.p50_us,
            latency.p90_us,
            latency.p99_us,
            latency.p99_9_us,
            latency.max_us,
            latency.mean_us,
            if self.rate.is_some() { "  (from the intended time of sending)" } else { "" },
        )?;
        writeln!(out, "  CPU us per request: {} this generator", cpu(self.generator_per_request))?;
        for watched in &self.watched {
            writeln!(
                out,
                "  CPU us per request: {} process {} ({:.0} % of a core, {} KiB resident)",
                cpu(watched.per_request),
                watched.pid,
                watched.cores_used * 100.0,
                watched.resident_bytes / 1024,
            )?;
        }
        if self.misses > 0 {
            writeln!(out, "  {} GETs found no key (--prefill writes them first)", self.misses)?;
        }
        if self.reconnects > 0 {
            writeln!(out, "  {} connections were made again", self.reconnects)?;
        }
        if self.errors == 0 {
            writeln!(out, "  no errors")?;
        } else {
            writeln!(out, "  {} ERRORS", self.errors)?;
            for failure in &self.errors_by_code {
                writeln!(out, "    {:>10}  {}: {}", failure.count, failure.code, failure.sample)?;
            }
        }
        if self.interrupted {
            writeln!(out, "  interrupted: the run was cut short")?;
        }
        Ok(())
    }
}

/// `total (user + system)`.
pub fn cpu(time: CpuTime) -> String {
    format!("{:.2} ({:.2} user + {:.2} system)", time.total_us(), time.user_us, time.system_us)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> LoadReport {
        LoadReport {
            address: "127.0.0.1:6379".to_owned(),
            workload: "get".to_owned(),
            clients: 50,
            pipeline: 16,
            threads: 1,
            rate: None,
            seconds: 2.0,
            requests: 1_000,
            requests_per_second: 500.0,
            latency: LatencySummary {
                mean_us: 1.5,
                p50_us: 1.0,
                p90_us: 2.0,
                p99_us: 3.0,
                p99_9_us: 4.0,
                max_us: 5.0,
            },
            errors: 0,
            errors_by_code: Vec::new(),
            misses: 0,
            reconnects: 0,
            generator_per_request: CpuTime { user_us: 0.25, system_us: 1.0 },
            watched: vec![Watched {
                pid: 7,
                per_request: CpuTime { user_us: 1.0, system_us: 2.0 },
                cores_used: 0.5,
                resident_bytes: 10 * 1024,
            }],
            interrupted: false,
        }
    }

    #[test]
    fn the_text_has_every_figure() {
        let text = report().text();
        for part in [
            "get on 127.0.0.1:6379: 50 clients, pipeline 16, 1 thread, closed loop",
            "500 requests/s  (1000 in 2.00 s)",
            "p50 1  p90 2  p99 3  p99.9 4  max 5",
            "1.25 (0.25 user + 1.00 system) this generator",
            "3.00 (1.00 user + 2.00 system) process 7 (50 % of a core, 10 KiB resident)",
            "no errors",
        ] {
            assert!(text.contains(part), "{part:?} is missing in:\n{text}");
        }
    }

    #[test]
    fn what_went_wrong_is_said() {
        let report = LoadReport {
            rate: Some(100.0),
            errors: 3,
            errors_by_code: vec![Failure {
                code: "MOVED".to_owned(),
                count: 3,
                sample: "MOVED 1 127.0.0.1:7001".to_owned(),
            }],
            misses: 9,
            reconnects: 2,
            interrupted: true,
            ..report()
        };
        let text = report.text();
        for part in [
            "open loop at 100/s",
            "intended",
            "3 ERRORS",
            "3  MOVED: MOVED 1 127",
            "9 GETs",
            "2 conn",
            "interrupted",
        ] {
            assert!(text.contains(part), "{part:?} is missing in:\n{text}");
        }
    }

    #[test]
    fn json_can_be_read_back() {
        let json = serde_json::to_string(&report()).unwrap();
        assert!(!json.contains("\"rate\""));
        assert_eq!(serde_json::from_str::<LoadReport>(&json).unwrap(), report());
    }
}
