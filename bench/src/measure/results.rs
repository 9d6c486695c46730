//! All rounds of all cells, and the figures computed from them.

use super::stats::{Short, Spread};
use super::table::Table;
use crate::report::LoadReport;
use serde::Serialize;

/// One cell of one subject.
#[derive(Clone, Debug, Serialize)]
pub struct Series {
    /// The cell's name.
    pub cell: String,
    /// Who was under test.
    pub subject: String,
    /// The rounds, in order.
    pub rounds: Vec<LoadReport>,
}

/// Everything that was measured under load.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Results(Vec<Series>);

/// A figure of one round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// CPU microseconds per request of the process under test.
    Cpu,
    /// Of these, in the program itself.
    CpuUser,
    /// Requests per second.
    Throughput,
    /// Median latency, microseconds.
    P50,
    /// 99th percentile.
    P99,
    /// 99.9th percentile.
    P99_9,
}

impl Metric {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Cpu => "CPU",
            Metric::CpuUser => "user CPU",
            Metric::Throughput => "throughput",
            Metric::P50 => "p50",
            Metric::P99 => "p99",
            Metric::P99_9 => "p99.9",
        }
    }

    fn of(self, report: &LoadReport) -> f64 {
        let cpu = report.watched.first().map(|watched| watched.per_request);
        match self {
            Metric::Cpu => cpu.map_or(f64::NAN, |cpu| cpu.total_us()),
            Metric::CpuUser => cpu.map_or(f64::NAN, |cpu| cpu.user_us),
            Metric::Throughput => report.requests_per_second,
            Metric::P50 => report.latency.p50_us,
            Metric::P99 => report.latency.p99_us,
            Metric::P99_9 => report.latency.p99_9_us,
        }
    }
}

impl Results {
    /// Adds a round.
    pub fn add(&mut self, cell: &str, subject: &str, report: LoadReport) {
        match self.0.iter_mut().find(|series| series.cell == cell && series.subject == subject) {
            Some(series) => series.rounds.push(report),
            None => self.0.push(Series {
                cell: cell.to_owned(),
                subject: subject.to_owned(),
                rounds: vec![report],
            }),
        }
    }

    /// A figure over all rounds; `None` if that was not measured.
    pub fn spread(&self, cell: &str, subject: &str, metric: Metric) -> Option<Spread> {
        let series = self.0.iter().find(|series| series.cell == cell && series.subject == subject)?;
        Spread::of(series.rounds.iter().map(|report| metric.of(report)))
    }

    /// Its median.
    pub fn median(&self, cell: &str, subject: &str, metric: Metric) -> Option<f64> {
        self.spread(cell, subject, metric).map(|spread| spread.median)
    }

    /// The cells that were measured, in order.
    pub fn cells(&self) -> Vec<&str> {
        let mut cells: Vec<&str> = Vec::new();
        for series in &self.0 {
            if !cells.contains(&series.cell.as_str()) {
                cells.push(&series.cell);
            }
        }
        cells
    }

    /// Runs in which requests failed, one sentence each: such a figure is not to be trusted.
    pub fn failures(&self) -> Vec<String> {
        let mut list = Vec::new();
        for series in &self.0 {
            let errors: u64 = series.rounds.iter().map(|report| report.errors).sum();
            let misses: u64 = series.rounds.iter().map(|report| report.misses).sum();
            let sample = series.rounds.iter().find_map(|report| report.errors_by_code.first());
            if let Some(first) = sample {
                list.push(format!(
                    "{} on {}: {errors} requests failed, first {}: {}",
                    series.cell, series.subject, first.code, first.sample
                ));
            }
            if misses > 0 {
                list.push(format!("{} on {}: {misses} GETs found no key", series.cell, series.subject));
            }
        }
        list
    }

    /// A table of one row per cell and one column per subject.
    pub fn table(&self, subjects: &[&str], word: impl Fn(&Results, &str, &str) -> Option<String>) -> Table {
        let mut table = Table::new(std::iter::once("cell").chain(subjects.iter().copied()));
        for cell in self.cells() {
            let words =
                subjects.iter().map(|subject| word(self, cell, subject).unwrap_or_else(|| "–".to_owned()));
            table.row(std::iter::once(cell.to_owned()).chain(words));
        }
        table
    }

    /// `12.1 (0.70)`: median CPU per request, user time in brackets.
    pub fn cpu_word(&self, cell: &str, subject: &str) -> Option<String> {
        let total = self.median(cell, subject, Metric::Cpu)?;
        let user = self.median(cell, subject, Metric::CpuUser)?;
        Some(format!("{} ({user:.2})", Short(total)))
    }

    /// `11.8..12.9`: the spread of CPU per request over the rounds.
    pub fn noise_word(&self, cell: &str, subject: &str) -> Option<String> {
        let spread = self.spread(cell, subject, Metric::Cpu)?;
        Some(format!("{}..{}", Short(spread.min), Short(spread.max)))
    }

    /// `131k  245/441/1050`: requests per second; p50, p99, p99.9.
    pub fn speed_word(&self, cell: &str, subject: &str) -> Option<String> {
        let figure = |metric| self.median(cell, subject, metric).map(|median| Short(median).to_string());
        Some(format!(
            "{}  {}/{}/{}",
            figure(Metric::Throughput)?,
            figure(Metric::P50)?,
            figure(Metric::P99)?,
            figure(Metric::P99_9)?
        ))
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::latency::LatencySummary;
    use crate::process::stat::CpuTime;
    use crate::report::Watched;
    use crate::tally::Failure;

    /// A round with this CPU time per request, rate and latencies.
    pub fn round(cpu_us: f64, requests_per_second: f64, p50_us: f64, p99_9_us: f64) -> LoadReport {
        LoadReport {
            address: String::new(),
            workload: "get".to_owned(),
            clients: 1,
            pipeline: 1,
            threads: 1,
            rate: None,
            seconds: 1.0,
            requests: 1,
            requests_per_second,
            latency: LatencySummary { p50_us, p99_9_us, ..LatencySummary::default() },
            errors: 0,
            errors_by_code: Vec::new(),
            misses: 0,
            reconnects: 0,
            generator_per_request: CpuTime::default(),
            watched: vec![Watched {
                pid: 1,
                per_request: CpuTime { user_us: cpu_us / 4.0, system_us: cpu_us * 3.0 / 4.0 },
                cores_used: 1.0,
                resident_bytes: 0,
            }],
            interrupted: false,
        }
    }

    #[test]
    fn figures_are_medians_over_the_rounds() {
        let mut results = Results::default();
        for cpu in [10.0, 30.0, 12.0] {
            results.add("get", "a", round(cpu, 100_000.0, 50.0, 200.0));
        }
        results.add("get", "b", round(6.0, 1.0, 1.0, 1.0));
        assert_eq!(results.median("get", "a", Metric::Cpu), Some(12.0));
        assert_eq!(results.cpu_word("get", "a").unwrap(), "12.0 (3.00)");
        assert_eq!(results.noise_word("get", "a").unwrap(), "10.0..30.0");
        assert_eq!(results.speed_word("get", "a").unwrap(), "100k  50.0/0.00/200");
        assert_eq!(results.median("set", "a", Metric::Cpu), None);
        let table = results.table(&["a", "b", "c"], Results::cpu_word).to_string();
        assert!(table.ends_with("| get  | 12.0 (3.00) | 6.00 (1.50) |  – |\n"), "{table}");
    }

    #[test]
    fn failed_requests_are_told() {
        let mut results = Results::default();
        let mut bad = round(1.0, 1.0, 1.0, 1.0);
        bad.errors = 4;
        bad.errors_by_code =
            vec![Failure { code: "MOVED".to_owned(), count: 4, sample: "MOVED 1 a:1".to_owned() }];
        results.add("get", "a", bad);
        let mut miss = round(1.0, 1.0, 1.0, 1.0);
        miss.misses = 9;
        results.add("get", "b", miss);
        assert_eq!(
            results.failures(),
            ["get on a: 4 requests failed, first MOVED: MOVED 1 a:1", "get on b: 9 GETs found no key"]
        );
    }
}
