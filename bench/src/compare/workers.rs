//! Two workers beside one, for those who have workers.
//!
//! On a machine with four cores or more, the proxy has the first two and the rest is the load's and
//! the backends', so the throughput can be judged. On a smaller one all share all cores: then the
//! throughput is bounded by the sum of everybody's work, and only the CPU time per request says
//! whether the second worker costs more than it brings.

use super::Session;
use super::backends::Backends;
use super::cells::{TWO_WORKERS, workers_cell};
use super::peers::Peer;
use super::running::{self, Ground, Setting};
use crate::interrupt;
use crate::measure::cell::{Generator, SMALL};
use crate::measure::results::{Metric, Results};
use crate::measure::stats::Short;
use crate::measure::table::Table;
use crate::process::cores::Cores;
use crate::scratch::Scratch;

/// The cells' names in the results.
pub const ONE: &str = "workers-1";
/// See [`ONE`].
pub const TWO: &str = "workers-2";

/// From this many cores on, two of them can be the proxy's own.
pub const CORES_WANTED: usize = 4;

pub(super) fn measure(session: &mut Session<'_>, shared: &Backends) -> Result<Results, String> {
    let peers: Vec<Peer> = session.programs.peers().into_iter().filter(|peer| peer.has_workers()).collect();
    let mut results = Results::default();
    if peers.is_empty() {
        return Ok(results);
    }
    let (proxy_cores, rest) = session.all_cores.split(2);
    let own_scratch = Scratch::new("workers")?;
    let roomy = session.all_cores.len() >= CORES_WANTED;
    // With cores to spare the backends move there; otherwise they stay where they are.
    let own = if roomy { Some(Backends::start(&session.programs, &rest, &own_scratch)?) } else { None };
    let backends = own.as_ref().unwrap_or(shared);
    let generator = Generator {
        cores: if roomy { rest } else { proxy_cores.clone() },
        threads: if roomy { 2 } else { 1 },
        ..session.generator.clone()
    };
    for peer in peers {
        if interrupt::requested() {
            break;
        }
        session.say(&format!("{TWO_WORKERS} of {}", peer.name()));
        if let Err(why) = one_peer(session, peer, backends, &generator, &proxy_cores, &mut results) {
            session.notes.push(format!("{TWO_WORKERS} of {} was not measured: {why}", peer.name()));
        }
    }
    Ok(results)
}

fn one_peer(
    session: &Session<'_>,
    peer: Peer,
    backends: &Backends,
    generator: &Generator,
    cores: &Cores,
    results: &mut Results,
) -> Result<(), String> {
    let ground = Ground { cores, ..session.ground(backends) };
    let one = running::start(peer, ground, Setting::load("one-worker", 1))?;
    let two = running::start(peer, ground, Setting::load("two-workers", 2))?;
    generator.prefill(SMALL, None, one.port)?;
    for _ in 0..session.args.rounds.rounds {
        for (name, running) in [(ONE, &one), (TWO, &two)] {
            interrupt::check()?;
            let report = generator.run(&workers_cell(name), running.port, running.child.pid())?;
            results.add(name, peer.name(), report);
        }
    }
    Ok(())
}

/// Throughput with two workers divided by that with one.
pub fn gain(results: &Results, subject: &str) -> Option<f64> {
    let of = |cell| results.median(cell, subject, Metric::Throughput);
    Some(of(TWO)? / of(ONE)?)
}

/// The figures as a table.
pub fn table(results: &Results, subjects: &[&str]) -> Table {
    let mut table = Table::new([
        "workers",
        "1: requests/s",
        "2: requests/s",
        "gain",
        "1: CPU us/request",
        "2: CPU us/request",
    ]);
    for subject in subjects {
        let figure =
            |cell, metric| results.median(cell, subject, metric).map(|median| Short(median).to_string());
        let words = || {
            Some([
                (*subject).to_owned(),
                figure(ONE, Metric::Throughput)?,
                figure(TWO, Metric::Throughput)?,
                format!("{:.2}", gain(results, subject)?),
                figure(ONE, Metric::Cpu)?,
                figure(TWO, Metric::Cpu)?,
            ])
        };
        if let Some(words) = words() {
            table.row(words);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::results::tests::round;

    #[test]
    fn the_gain_is_a_ratio_of_throughputs() {
        let mut results = Results::default();
        results.add(ONE, "envoy", round(2.0, 400_000.0, 1.0, 1.0));
        results.add(TWO, "envoy", round(2.5, 700_000.0, 1.0, 1.0));
        results.add(ONE, "haproxy", round(1.0, 1.0, 1.0, 1.0));
        assert_eq!(gain(&results, "envoy"), Some(1.75));
        assert_eq!(gain(&results, "haproxy"), None);
        let table = table(&results, &["envoy", "haproxy"]).to_string();
        assert!(table.contains("400k") && table.contains("1.75") && !table.contains("haproxy"), "{table}");
    }
}
