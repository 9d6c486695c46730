//! Moves slots about while a test's clients work, until it is told to stop.

use crate::cluster::Cluster;
use crate::random::Random;
use pointsman_protocol::Slot;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// How many slots are under way at the same time.
const AT_ONCE: usize = 5;

/// Counts whole moves, for tests that want so many before they end.
#[derive(Debug, Default)]
pub struct Moves {
    done: AtomicUsize,
    stop: AtomicBool,
}

impl Moves {
    /// How many slots have been moved so far.
    pub fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// Lets [`Self::run`] end after the move it is at.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Moves some of `slots`, chosen at random, to a primary chosen at random, and again: key by key,
    /// so that for a while a slot's keys are on both sides. Run it on a thread of its own.
    #[track_caller]
    pub fn run(&self, cluster: &Cluster, slots: &[Slot], random: &mut Random) {
        let primaries = cluster.primaries();
        while !self.stop.load(Ordering::Relaxed) {
            let to = *random.pick(&primaries);
            let address = cluster.node(to).address();
            let members = cluster.members_seen_by(to);
            let there = members.iter().find(|member| member.address == address).expect("it knows itself");
            let mut chosen: Vec<Slot> = (0..AT_ONCE).map(|_| *random.pick(slots)).collect();
            chosen.sort();
            chosen.dedup();
            chosen.retain(|slot| !there.owns(*slot));
            let mut steps: Vec<_> = chosen.iter().map(|slot| cluster.begin_move(*slot, to)).collect();
            for step in &mut steps {
                while step.move_keys(1) > 0 {}
            }
            for step in steps {
                step.finish();
                self.done.fetch_add(1, Ordering::Relaxed);
            }
            cluster.wait_until_primaries_agree();
        }
    }
}

/// The slots of these keys, each once.
pub fn slots_of<K: AsRef<[u8]>>(keys: &[K]) -> Vec<Slot> {
    let mut slots: Vec<Slot> = keys.iter().map(|key| Slot::of(key.as_ref())).collect();
    slots.sort();
    slots.dedup();
    slots
}
