//! Targets, and whether a run met them. A target is a ratio within one run; nothing absolute.

use super::results::{Metric, Results};
use super::table::Table;
use serde::Serialize;

/// A target for a figure under load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// The cell.
    pub cell: &'static str,
    /// The figure.
    pub metric: Metric,
    /// What it is divided by.
    pub against: Against,
    /// The ratio must not exceed this.
    pub at_most: f64,
}

/// What a figure is divided by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Against {
    /// The same figure of this subject.
    Subject(&'static str),
    /// The smallest of these subjects' figures.
    Best(&'static [&'static str]),
    /// Another figure of our own.
    Own(Metric),
}

/// A target, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// What was measured.
    pub cell: String,
    /// What it was compared with.
    pub against: String,
    /// The ratio or figure; absent if it was not measured.
    pub value: Option<f64>,
    /// How the target reads.
    pub target: String,
    /// Absent if there is nothing to judge; then `why` says so.
    pub met: Option<bool>,
    /// Why nothing is judged, or what to bear in mind.
    pub why: String,
}

/// Judges the rules for the subject `me`, as far as their cells were run. No verdicts at all if `me`
/// was not measured: [`text`] then says so once.
pub fn judge(rules: &[Rule], me: &str, results: &Results) -> Vec<Verdict> {
    let run = results.cells();
    if !run.iter().any(|cell| results.median(cell, me, Metric::Cpu).is_some()) {
        return Vec::new();
    }
    rules.iter().filter(|rule| run.contains(&rule.cell)).map(|rule| rule.judge(me, results)).collect()
}

impl Rule {
    fn judge(&self, me: &str, results: &Results) -> Verdict {
        let ours = results.median(self.cell, me, self.metric);
        let (against, theirs) = self.against.figure(self, me, results);
        let (value, why) = match (ours, theirs) {
            (Some(ours), Some(theirs)) if theirs > 0.0 => (Some(ours / theirs), String::new()),
            (None, _) => (None, format!("{me} was not measured")),
            _ => (None, format!("{against} was not measured")),
        };
        Verdict {
            cell: format!("{} {}", self.cell, self.metric.name()),
            against,
            value,
            target: format!("<= {:.2}", self.at_most),
            met: value.map(|value| value <= self.at_most),
            why,
        }
    }
}

impl Against {
    fn figure(self, rule: &Rule, me: &str, results: &Results) -> (String, Option<f64>) {
        match self {
            Against::Subject(name) => (name.to_owned(), results.median(rule.cell, name, rule.metric)),
            Against::Own(metric) => {
                (format!("its own {}", metric.name()), results.median(rule.cell, me, metric))
            }
            Against::Best(names) => {
                let best = names
                    .iter()
                    .filter_map(|name| Some((*name, results.median(rule.cell, name, rule.metric)?)))
                    .min_by(|left, right| left.1.total_cmp(&right.1));
                match best {
                    Some((name, figure)) => (format!("the best ({name})"), Some(figure)),
                    None => (format!("the best of {}", names.join(", ")), None),
                }
            }
        }
    }
}

/// The verdicts as a table, and below it what is to be said of some of them.
pub fn text(verdicts: &[Verdict]) -> String {
    if verdicts.is_empty() {
        return "  none judged: who they are for was not measured\n".to_owned();
    }
    let mut table = Table::new(["target", "against", "measured", "wanted", "verdict"]);
    let mut remarks = String::new();
    for verdict in verdicts {
        let judged = match verdict.met {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "not judged",
        };
        let value = verdict.value.map_or_else(|| "–".to_owned(), |value| format!("{value:.2}"));
        table.row([&verdict.cell, &verdict.against, &value, &verdict.target, judged]);
        if !verdict.why.is_empty() {
            remarks.push_str(&format!(
                "  - {}, against {}: {judged}; {}\n",
                verdict.cell, verdict.against, verdict.why
            ));
        }
    }
    if remarks.is_empty() { table.to_string() } else { format!("{table}\n{remarks}") }
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::round;
    use super::*;

    fn results() -> Results {
        let mut results = Results::default();
        results.add("get", "us", round(4.0, 1.0, 100.0, 180.0));
        results.add("get", "envoy", round(10.0, 1.0, 100.0, 200.0));
        results.add("get", "haproxy", round(5.0, 1.0, 90.0, 200.0));
        results
    }

    fn verdict(against: Against, metric: Metric, at_most: f64) -> Verdict {
        judge(&[Rule { cell: "get", metric, against, at_most }], "us", &results()).remove(0)
    }

    #[test]
    fn ratios_are_judged_against_their_limit() {
        let met = verdict(Against::Subject("envoy"), Metric::Cpu, 0.4);
        assert_eq!((met.value, met.met), (Some(0.4), Some(true)));
        let missed = verdict(Against::Best(&["envoy", "haproxy", "twemproxy"]), Metric::Cpu, 0.75);
        assert_eq!((missed.value, missed.met), (Some(0.8), Some(false)));
        assert_eq!(missed.against, "the best (haproxy)");
        let own = verdict(Against::Own(Metric::P50), Metric::P99_9, 1.5);
        assert_eq!((own.value, own.met), (Some(1.8), Some(false)));
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        let verdict = verdict(Against::Subject("twemproxy"), Metric::Cpu, 0.4);
        assert_eq!((verdict.value, verdict.met), (None, None));
        assert_eq!(verdict.why, "twemproxy was not measured");
        let shown = text(&[verdict]);
        assert!(shown.contains("not judged; twemproxy was not measured"), "{shown}");
    }

    #[test]
    fn who_was_not_measured_is_not_judged_cell_by_cell() {
        let rule =
            Rule { cell: "get", metric: Metric::Cpu, against: Against::Best(&["envoy"]), at_most: 1.0 };
        assert_eq!(judge(&[rule], "absent", &results()), []);
        assert_eq!(judge(&[Rule { cell: "not-run", ..rule }], "us", &results()), []);
        assert!(text(&[]).contains("none judged"));
    }
}
