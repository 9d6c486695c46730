//! Moves slots about while a test's clients work.
//!
//! Whoever fails first, mover or client, ends the test: nobody waits for the other for ever.

use crate::cluster::Cluster;
use crate::eventually::StopOnDrop;
use crate::random::Random;
use pointsman_protocol::Slot;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// How many slots are under way at the same time.
const AT_ONCE: usize = 5;

/// Counts whole moves, for tests that want so many before they end.
#[derive(Debug, Default)]
pub struct Moves {
    done: AtomicUsize,
    stop: AtomicBool,
}

impl Moves {
    /// How many slots have been moved so far. Beyond any number if the mover failed, so that nobody waits
    /// for moves that will not come; [`during`] then fails the test.
    pub fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    fn run(&self, cluster: &Cluster, slots: &[Slot], random: &mut Random) {
        let _failed = NoMoreMoves(self);
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

/// Lets those who count moves end when the mover panics.
struct NoMoreMoves<'a>(&'a Moves);

impl Drop for NoMoreMoves<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.done.store(usize::MAX, Ordering::Relaxed);
        }
    }
}

/// Moves some of `slots`, chosen at random, to a primary chosen at random, and again, as long as `work`
/// runs: key by key, so that for a while a slot's keys are on both sides. Ends with what `work` gives, or
/// with the panic of whichever of the two failed; neither waits for the other then.
#[track_caller]
pub fn during<T>(cluster: &Cluster, slots: &[Slot], mut random: Random, work: impl FnOnce(&Moves) -> T) -> T {
    let moves = Moves::default();
    thread::scope(|scope| {
        let mover = scope.spawn(|| moves.run(cluster, slots, &mut random));
        let stopping = StopOnDrop(&moves.stop);
        let outcome = work(&moves);
        drop(stopping);
        mover.join().expect("slots could be moved");
        outcome
    })
}

/// Moves each of `slots` once to another primary, in turn, `rounds` times, while `work` is called again and
/// again: at least `least` times, with the number of the call from 1 on.
#[track_caller]
pub fn in_turn(cluster: &Cluster, slots: &[Slot], rounds: usize, least: usize, mut work: impl FnMut(usize)) {
    let (over, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    thread::scope(|scope| {
        let mover = scope.spawn(|| {
            let _over = StopOnDrop(&over);
            for (round, slot) in (0..rounds).flat_map(|round| slots.iter().map(move |slot| (round, *slot))) {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let owner = cluster.index_of(&cluster.owner(slot));
                let others: Vec<usize> =
                    cluster.primaries().into_iter().filter(|node| *node != owner).collect();
                cluster.move_slot(slot, others[round % others.len()]);
            }
        });
        let stopping = StopOnDrop(&stop);
        let mut calls = 0;
        while !over.load(Ordering::Relaxed) || calls < least {
            calls += 1;
            work(calls);
        }
        drop(stopping);
        mover.join().expect("slots could be moved");
    });
}

/// The slots of these keys, each once.
pub fn slots_of<K: AsRef<[u8]>>(keys: &[K]) -> Vec<Slot> {
    let mut slots: Vec<Slot> = keys.iter().map(|key| Slot::of(key.as_ref())).collect();
    slots.sort();
    slots.dedup();
    slots
}

#[cfg(test)]
#[path = "mover_tests.rs"]
mod tests;
