//! The fuzz targets' bodies over seeded chance and mutated seeds, for a moment: so that the usual
//! test run exercises them, and a target that no longer holds is seen before anyone fuzzes.

#[path = "support/fuzz_bodies.rs"]
mod fuzz_bodies;
#[allow(dead_code)]
mod support;

use fuzz_bodies::{TARGETS, Target};
use support::Chance;

const INPUTS: usize = 200_000;
const INPUT_BYTES_MAX: usize = 200;

/// The bytes that mean something, so that chance meets them more often than once in 256.
const TELLING: &[u8] = b"\r\n\r\n*$+-:%~|>_#,(!=0123459 \"'\\x";

fn random(chance: &mut Chance) -> Vec<u8> {
    let telling = chance.below(4) > 0;
    (0..chance.below(INPUT_BYTES_MAX))
        .map(|_| if telling { *chance.pick(TELLING) } else { chance.next() as u8 })
        .collect()
}

fn mutated(target: &Target, chance: &mut Chance) -> Vec<u8> {
    let mut bytes = chance.pick(target.seeds).to_vec();
    for _ in 0..chance.below(6) {
        let at = chance.below(bytes.len() + 1);
        match chance.below(5) {
            0 if at < bytes.len() => bytes[at] ^= 1 << chance.below(8),
            1 if at < bytes.len() => bytes[at] = *chance.pick(TELLING),
            2 => bytes.truncate(at),
            3 => bytes.insert(at, *chance.pick(TELLING)),
            _ => {
                // A part of another seed, or of the same.
                let other = chance.pick(target.seeds);
                let (from, to) = (chance.below(other.len() + 1), chance.below(other.len() + 1));
                let part = other[from.min(to)..from.max(to)].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
    bytes
}

#[test]
fn bodies_hold_for_chance_and_mutations() {
    for target in TARGETS {
        for seed in target.seeds {
            (target.body)(seed);
        }
        let mut chance = Chance::new(19);
        for nth in 0..INPUTS {
            let input = if nth % 2 == 0 { mutated(target, &mut chance) } else { random(&mut chance) };
            let held = std::panic::catch_unwind(|| (target.body)(&input));
            assert!(held.is_ok(), "{}: {:?} (see above)", target.name, String::from_utf8_lossy(&input));
        }
    }
}

/// Each fuzz target is a file that calls the body of its name.
#[test]
fn every_body_has_a_fuzz_target() {
    for target in TARGETS {
        let path = format!("{}/fuzz/fuzz_targets/{}.rs", env!("CARGO_MANIFEST_DIR"), target.name);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(text.contains(&format!("fuzz_bodies::{}(", target.name)), "{path}");
    }
}
