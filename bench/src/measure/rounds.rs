//! Interleaved rounds: A B C A B C ..., cell by cell, so that what else happens on the machine hits
//! every subject alike.

use super::cell::{Generator, LoadCell};
use super::results::Results;
use crate::interrupt;
use crate::process::child::Child;
use crate::progress::Progress;

/// Someone under test.
#[derive(Debug)]
pub struct Subject<'a> {
    /// The name in tables.
    pub name: &'static str,
    /// The process.
    pub child: &'a mut Child,
    /// Where it listens.
    pub port: u16,
}

/// Runs every cell `rounds` times against every subject. A subject that fails is left out from then
/// on, and `notes` say why; the others go on.
pub fn run(
    cells: &[LoadCell],
    subjects: &mut [Subject<'_>],
    rounds: u32,
    generator: &Generator,
    progress: &mut Option<Progress>,
    notes: &mut Vec<String>,
) -> Results {
    let mut results = Results::default();
    let mut out = vec![false; subjects.len()];
    for turn in order(cells.len(), rounds, subjects.len()) {
        if interrupt::requested() {
            break;
        }
        let (Some(cell), Some(subject), Some(out)) =
            (cells.get(turn.cell), subjects.get_mut(turn.subject), out.get_mut(turn.subject))
        else {
            continue;
        };
        if *out {
            continue;
        }
        if let Some(progress) = progress {
            let (cell_number, of) = (turn.cell + 1, cells.len());
            let round = turn.round;
            progress.show(&format!(
                "cell {cell_number}/{of} {}, round {round}/{rounds}, {}",
                cell.name, subject.name
            ));
        }
        match generator.run(cell, subject.port, subject.child.pid()) {
            Ok(report) => results.add(cell.name, subject.name, report),
            Err(_) if interrupt::requested() => {}
            Err(why) => {
                // If its process has ended, its last words say more than the load's.
                let why = subject.child.check_alive().err().unwrap_or(why);
                notes.push(format!(
                    "{} failed in {} and was left out from there on: {why}",
                    subject.name, cell.name
                ));
                *out = true;
            }
        }
    }
    if let Some(progress) = progress {
        progress.end();
    }
    results
}

/// Which cell is measured on whom, by their places; rounds count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Turn {
    cell: usize,
    round: u32,
    subject: usize,
}

/// A cell is finished before the next begins; within it the subjects take turns.
fn order(cells: usize, rounds: u32, subjects: usize) -> impl Iterator<Item = Turn> {
    (0..cells).flat_map(move |cell| {
        (1..=rounds).flat_map(move |round| (0..subjects).map(move |subject| Turn { cell, round, subject }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_take_turns_within_a_cell() {
        let turns: Vec<(usize, u32, usize)> =
            order(2, 2, 3).map(|turn| (turn.cell, turn.round, turn.subject)).collect();
        let (first, second) = turns.split_at(6);
        assert_eq!(first, [(0, 1, 0), (0, 1, 1), (0, 1, 2), (0, 2, 0), (0, 2, 1), (0, 2, 2)]);
        assert!(second.iter().all(|(cell, _, _)| *cell == 1));
        assert_eq!(order(0, 3, 3).count() + order(3, 0, 3).count() + order(3, 3, 0).count(), 0);
    }
}
