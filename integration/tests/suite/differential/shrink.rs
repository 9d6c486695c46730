//! Finds the fewest units that still show a difference, by leaving others out and trying again.

use super::pair::Difference;
use super::stream::Unit;
use std::time::{Duration, Instant};

/// Whoever reads a failing test waits this long at most.
const SPAN: Duration = Duration::from_secs(20);

/// The units that are left, and what they show; `None` if they show nothing when they are said again.
/// `replay` says units to servers that hold nothing.
pub fn shrink(
    units: Vec<Unit>,
    mut replay: impl FnMut(&[Unit]) -> Option<Difference>,
) -> Option<(Vec<Unit>, Difference)> {
    let began = Instant::now();
    // Mostly few matter: those on the same keys, or the last ones.
    let (mut units, mut shown) =
        candidates(&units).into_iter().find_map(|few| replay(&few).map(|shown| (few, shown)))?;
    units.truncate(shown.unit + 1);
    let mut piece = units.len().div_ceil(2);
    loop {
        let mut from = 0;
        while from < units.len() && began.elapsed() < SPAN {
            // The last one shows the difference; it stays.
            let to = (from + piece).min(units.len() - 1);
            if from >= to {
                break;
            }
            let without: Vec<Unit> = [&units[..from], &units[to..]].concat();
            match replay(&without) {
                Some(difference) => {
                    units = without;
                    units.truncate(difference.unit + 1);
                    shown = difference;
                }
                None => from = to,
            }
        }
        if piece == 1 || began.elapsed() >= SPAN {
            return Some((units, shown));
        }
        piece = piece.div_ceil(2);
    }
}

fn candidates(units: &[Unit]) -> Vec<Vec<Unit>> {
    let Some(last) = units.last() else { return Vec::new() };
    let words: Vec<&Vec<u8>> = last.requests.iter().flat_map(|request| request.iter().skip(1)).collect();
    let related = |unit: &&Unit| {
        unit.requests.iter().any(|request| request.iter().skip(1).any(|word| words.contains(&word)))
    };
    let mut all: Vec<Vec<Unit>> = vec![units.iter().filter(related).cloned().collect()];
    all[0].extend(units.last().filter(|last| !related(last)).cloned());
    all.extend([10, 100, usize::MAX].map(|count| units[units.len().saturating_sub(count)..].to_vec()));
    all
}

#[cfg(test)]
mod tests {
    use super::super::grammar::Mark;
    use super::*;

    #[test]
    fn only_what_matters_is_left() {
        let unit =
            |number: usize| Unit { mark: Mark::Plain, requests: vec![vec![number.to_string().into_bytes()]] };
        let units: Vec<Unit> = (0..1000).map(unit).collect();
        // It takes 17 and 400, and 900 shows it.
        let replay = |units: &[Unit]| {
            let place = |number: usize| units.iter().position(|one| *one == unit(number));
            let (_, _, at) = (place(17)?, place(400)?, place(900)?);
            Some(Difference::at(at))
        };
        let (left, _) = shrink(units, replay).expect("it is shown");
        assert_eq!(left, [unit(17), unit(400), unit(900)]);
    }
}
