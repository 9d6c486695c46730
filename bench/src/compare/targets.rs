//! What Pointsman is meant to reach, as ratios to its peers in the same run.
//!
//! The target against predixy (0.80 of its CPU time at a pipeline of 16) is not here: no package
//! registry has it, so it cannot be expected to be installed.

use super::idle::IdleMemory;
use super::workers::{self, CORES_WANTED};
use crate::measure::goals::{self, Against, Rule, Verdict};
use crate::measure::results::{Metric, Results};

const ME: &str = "pointsman";
const PROXIES: &[&str] = &["twemproxy", "haproxy", "envoy"];

const fn rule(cell: &'static str, metric: Metric, against: Against, at_most: f64) -> Rule {
    Rule { cell, metric, against, at_most }
}

const RULES: [Rule; 14] = [
    rule("get-c50-p16", Metric::Cpu, Against::Subject("envoy"), 0.40),
    rule("get-c50-p16", Metric::Cpu, Against::Subject("twemproxy"), 0.40),
    rule("get-c50-p16", Metric::Cpu, Against::Subject("haproxy"), 0.95),
    rule("set-c50-p16", Metric::Cpu, Against::Subject("envoy"), 0.40),
    rule("set-c50-p16", Metric::Cpu, Against::Subject("twemproxy"), 0.40),
    rule("set-c50-p16", Metric::Cpu, Against::Subject("haproxy"), 0.95),
    rule("get-c50-p1", Metric::Cpu, Against::Best(PROXIES), 0.95),
    rule("set-c50-p1", Metric::Cpu, Against::Best(PROXIES), 0.95),
    rule("get-c500-p1", Metric::Cpu, Against::Subject("twemproxy"), 0.80),
    rule("mget10-c50", Metric::Cpu, Against::Subject("envoy"), 0.60),
    rule("mget10-c50", Metric::Cpu, Against::Subject("twemproxy"), 0.80),
    rule("get16k-c50", Metric::Cpu, Against::Best(PROXIES), 0.80),
    rule("latency-c1", Metric::P50, Against::Subject("haproxy"), 1.00),
    rule("latency-c1", Metric::P99_9, Against::Own(Metric::P50), 1.50),
];

/// KiB per idle client, fresh and used.
const IDLE_KIB_MAX: f64 = 1.5;
const IDLE_CLIENTS: usize = 10_000;
const IDLE_TOTAL_MB_MAX: f64 = 40.0;
const TWO_WORKERS_MIN: f64 = 1.8;
/// One worker, three nodes, and on each the lanes of one connection: two protocol versions, each for
/// primaries and for replicas. What the control plane holds is within it too.
const BACKEND_CONNECTIONS_MAX: usize = 3 * 4;

/// Judges whatever was measured. A cell that was not run has no line.
pub fn judge(results: &Results, idle: &[IdleMemory], workers: &Results, cores: usize) -> Vec<Verdict> {
    let mut verdicts = goals::judge(&RULES, ME, results);
    verdicts.extend(throughput(results));
    if let Some(memory) = idle.iter().find(|memory| memory.subject == ME) {
        verdicts.extend(idle_verdicts(memory));
    }
    verdicts.extend(two_workers(workers, cores));
    verdicts
}

/// Above direct where the backend is the bottleneck. Whether it was, one core for three backends and
/// the load generator does not tell, so the ratio stands without a verdict.
fn throughput(results: &Results) -> Option<Verdict> {
    let of = |subject| results.median("get-c50-p1", subject, Metric::Throughput);
    Some(Verdict {
        cell: "get-c50-p1 throughput".to_owned(),
        against: "direct".to_owned(),
        value: Some(of(ME)? / of("direct")?),
        target: "> 1.00".to_owned(),
        met: None,
        why: "here the load generator and three backends share a core, the direct server has one of its own"
            .to_owned(),
    })
}

fn idle_verdicts(memory: &IdleMemory) -> Vec<Verdict> {
    let verdict = |cell: &str, value: f64, limit: f64, target: String, why: &str| Verdict {
        cell: cell.to_owned(),
        against: "–".to_owned(),
        value: Some(value),
        target,
        met: Some(value <= limit),
        why: why.to_owned(),
    };
    let kib = format!("<= {IDLE_KIB_MAX} KiB");
    let reckoned = if memory.clients == IDLE_CLIENTS { "" } else { "reckoned from the memory per client" };
    vec![
        verdict("idle client, fresh", memory.fresh_kib(), IDLE_KIB_MAX, kib.clone(), ""),
        verdict("idle client, used", memory.used_kib(), IDLE_KIB_MAX, kib, ""),
        verdict(
            &format!("{IDLE_CLIENTS} idle clients"),
            memory.total_mb(IDLE_CLIENTS),
            IDLE_TOTAL_MB_MAX,
            format!("<= {IDLE_TOTAL_MB_MAX} MB"),
            reckoned,
        ),
        verdict(
            &format!("backend connections of {} clients", memory.clients),
            memory.backend_connections as f64,
            BACKEND_CONNECTIONS_MAX as f64,
            format!("<= {BACKEND_CONNECTIONS_MAX}"),
            "",
        ),
    ]
}

fn two_workers(workers: &Results, cores: usize) -> Option<Verdict> {
    let gain = workers::gain(workers, ME)?;
    let room = cores >= CORES_WANTED;
    Some(Verdict {
        cell: "two workers, throughput".to_owned(),
        against: "one worker".to_owned(),
        value: Some(gain),
        target: format!(">= {TWO_WORKERS_MIN:.2}"),
        met: room.then_some(gain >= TWO_WORKERS_MIN),
        why: if room {
            String::new()
        } else {
            format!("with {cores} cores the load and the backends have none of their own")
        },
    })
}

#[cfg(test)]
mod tests {
    use super::super::cells;
    use super::super::idle::tests::finding;
    use super::*;
    use crate::measure::results::tests::round;

    #[test]
    fn every_rule_names_a_cell_that_exists() {
        let names = cells::names();
        assert!(RULES.iter().all(|rule| names.contains(&rule.cell)));
    }

    #[test]
    fn only_what_was_run_is_judged() {
        let mut results = Results::default();
        results.add("get-c500-p1", ME, round(8.0, 1.0, 1.0, 1.0));
        results.add("get-c500-p1", "twemproxy", round(10.0, 1.0, 1.0, 1.0));
        let verdicts = judge(&results, &[], &Results::default(), 2);
        assert_eq!(verdicts.len(), 1);
        assert_eq!((verdicts[0].value, verdicts[0].met), (Some(0.8), Some(true)));
    }

    #[test]
    fn memory_is_judged_per_client_and_in_all() {
        let met = |memory: IdleMemory| -> Vec<Option<bool>> {
            idle_verdicts(&memory).into_iter().map(|verdict| verdict.met).collect()
        };
        assert_eq!(met(finding(1, 1, 3)), [Some(true); 4]);
        assert_eq!(met(finding(1, 4, 13)), [Some(true), Some(false), Some(false), Some(false)]);
    }

    #[test]
    fn two_workers_are_judged_only_with_room() {
        let mut results = Results::default();
        results.add(workers::ONE, ME, round(1.0, 100.0, 1.0, 1.0));
        results.add(workers::TWO, ME, round(1.0, 170.0, 1.0, 1.0));
        assert_eq!(two_workers(&results, 2).unwrap().met, None);
        assert_eq!(two_workers(&results, 4).unwrap().met, Some(false));
        assert_eq!(two_workers(&Results::default(), 4), None);
    }
}
