//! What the bundled node is meant to reach, as ratios to its peers in the same run.

use super::keys::KeyMemory;
use super::nodes::{OURS, REDIS, VALKEY};
use crate::measure::goals::{self, Against, Rule, Verdict};
use crate::measure::results::{Metric, Results};

const fn rule(cell: &'static str, against: &'static str, at_most: f64) -> Rule {
    Rule { cell, metric: Metric::Cpu, against: Against::Subject(against), at_most }
}

const RULES: [Rule; 6] = [
    rule("get-c50-p16", REDIS, 0.45),
    rule("get-c50-p16", VALKEY, 0.75),
    rule("set-c50-p16", REDIS, 0.45),
    rule("set-c50-p16", VALKEY, 0.75),
    rule("get-c50-p1", REDIS, 0.90),
    rule("set-c50-p1", REDIS, 0.90),
];

/// Judges whatever was measured. A cell that was not run has no line.
pub fn judge(results: &Results, memory: &[KeyMemory]) -> Vec<Verdict> {
    let mut verdicts = goals::judge(&RULES, OURS, results);
    verdicts.extend([false, true].into_iter().filter_map(|ttl| bytes_per_key(memory, ttl)));
    verdicts
}

/// At most what valkey needs; redis' ratio stands in when there is no valkey, without a verdict.
fn bytes_per_key(memory: &[KeyMemory], ttl: bool) -> Option<Verdict> {
    let of = |subject: &str| {
        memory.iter().find(|one| one.subject == subject && one.ttl == ttl).map(|one| one.bytes_per_key)
    };
    let ours = of(OURS)?;
    let cell = format!("bytes per key{}", if ttl { ", with expiry" } else { "" });
    let (against, theirs) = [VALKEY, REDIS].into_iter().find_map(|name| Some((name, of(name)?)))?;
    let value = ours / theirs;
    let judged = against == VALKEY;
    Some(Verdict {
        cell,
        against: against.to_owned(),
        value: Some(value),
        target: format!("<= 1.00 of {VALKEY}"),
        met: judged.then_some(value <= 1.0),
        why: if judged { String::new() } else { format!("{VALKEY} was not measured") },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::results::tests::round;

    fn finding(subject: &str, ttl: bool, bytes_per_key: f64) -> KeyMemory {
        KeyMemory { subject: subject.to_owned(), keys: 1, ttl, bytes_per_key, resident_bytes: 0 }
    }

    #[test]
    fn every_rule_names_a_cell_that_exists() {
        let cells = super::super::load_cells();
        assert!(RULES.iter().all(|rule| cells.iter().any(|cell| cell.name == rule.cell)));
    }

    #[test]
    fn cpu_and_memory_are_judged() {
        let mut results = Results::default();
        results.add("set-c50-p16", OURS, round(0.6, 1.0, 1.0, 1.0));
        results.add("set-c50-p16", REDIS, round(1.5, 1.0, 1.0, 1.0));
        let memory =
            [finding(OURS, false, 100.0), finding(VALKEY, false, 110.0), finding(REDIS, false, 180.0)];
        let verdicts = judge(&results, &memory);
        let met: Vec<Option<bool>> = verdicts.iter().map(|verdict| verdict.met).collect();
        assert_eq!(met, [Some(true), None, Some(true)]);
    }

    #[test]
    fn without_valkey_the_memory_is_shown_and_not_judged() {
        let memory = [finding(OURS, true, 90.0), finding(REDIS, true, 180.0)];
        let verdicts = judge(&Results::default(), &memory);
        assert_eq!((verdicts[0].value, verdicts[0].met), (Some(0.5), None));
        assert!(judge(&Results::default(), &[finding(REDIS, true, 1.0)]).is_empty());
    }
}
