//! What a client of several copies may see, checked while copies lag, freeze and die.
//!
//! Every key has one writer, which counts it up: so the values of a key are in order for everybody. A client that
//! reads less from its own key than it was told is written does not read its own writes; one that reads less from
//! any key than it read before went back in time. Errors are counted and break no promise: a write of unknown fate
//! may show or not, and the next one counts further either way.

use crate::client::Client;
use crate::eventually::StopOnDrop;
use crate::random::Random;
use crate::redis_server::RedisServer;
use crate::relay::Relay;
use crate::reply::Reply;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How many violations are kept to be shown.
const SHOWN_MAX: usize = 3;

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Answered with a value.
    pub reads: u64,
    /// Acknowledged.
    pub writes: u64,
    /// Answered with an error.
    pub errors: u64,
    /// Reads of a client's own key that did not have its last acknowledged write.
    pub writes_missed: u64,
    /// Reads of a key that had less than an earlier read of the same client.
    pub went_back: u64,
    /// The first of them in words.
    pub examples: Vec<String>,
}

impl Seen {
    fn add(&mut self, other: Seen) {
        self.reads += other.reads;
        self.writes += other.writes;
        self.errors += other.errors;
        self.writes_missed += other.writes_missed;
        self.went_back += other.went_back;
        self.examples.extend(other.examples);
        self.examples.truncate(SHOWN_MAX);
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < SHOWN_MAX {
            self.examples.push(text());
        }
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seen { reads, writes, errors, writes_missed, went_back, examples } = self;
        write!(
            f,
            "{reads} reads, {writes} writes, {errors} errors; {writes_missed} own writes missed, \
             {went_back} went back in time {examples:?}"
        )
    }
}

/// What one client knows of the keys, and so must not read less of.
#[derive(Debug, Default)]
pub struct Book {
    acknowledged: HashMap<usize, u64>,
    read: HashMap<usize, u64>,
    seen: Seen,
}

impl Book {
    /// A write of `value` to `key` was acknowledged.
    pub fn wrote(&mut self, key: usize, value: u64) {
        self.seen.writes += 1;
        self.acknowledged.insert(key, value);
    }

    /// `key` was read.
    pub fn read(&mut self, key: usize, value: u64) {
        self.seen.reads += 1;
        let written = self.acknowledged.get(&key).copied().unwrap_or(0);
        let before = self.read.entry(key).or_default();
        if value < written {
            self.seen.writes_missed += 1;
            self.seen.example(|| format!("key {key}: read {value}, had written {written}"));
        }
        if value < *before {
            self.seen.went_back += 1;
            self.seen.example(|| format!("key {key}: read {value}, before it {before}"));
        }
        *before = value.max(*before);
    }
}

/// Lets `clients` clients at `address` write their own keys and read those of all, at random, for `span`, while
/// `trouble` runs beside them; it is to end soon after its flag is set.
pub fn run(
    address: &str,
    clients: usize,
    span: Duration,
    random: &mut Random,
    trouble: impl FnOnce(&AtomicBool) + Send,
) -> Seen {
    let stop = AtomicBool::new(false);
    let mut seen = Seen::default();
    thread::scope(|scope| {
        let stopping = StopOnDrop(&stop);
        let running: Vec<_> = (0..clients)
            .map(|own| {
                let (random, stop) = (random.fork(), &stop);
                scope.spawn(move || one_client(address, own, clients, random, stop))
            })
            .collect();
        scope.spawn(|| trouble(&stop));
        // The run's own length, no condition: trouble and load go on for so long.
        thread::sleep(span);
        drop(stopping);
        for client in running {
            seen.add(client.join().expect("a client of the checker ended well"));
        }
    });
    seen
}

fn one_client(address: &str, own: usize, keys: usize, mut random: Random, stop: &AtomicBool) -> Seen {
    let mut client = Client::connect(address);
    let name = |key: usize| format!("session:{key}");
    let (mut book, mut last) = (Book::default(), 0u64);
    while !stop.load(Ordering::Relaxed) {
        let (key, reply) = if random.once_in(3) {
            last += 1;
            let reply = client.command(&["SET", &name(own), &last.to_string()]);
            if reply == Reply::ok() {
                book.wrote(own, last);
            }
            (own, reply)
        } else {
            // Its own as often as all others together.
            let key = if random.once_in(2) { own } else { random.below(keys) };
            let reply = client.command(&["GET", &name(key)]);
            if !reply.is_error() {
                let value =
                    if reply.is_null() { 0 } else { reply.text().parse().expect("only numbers are written") };
                book.read(key, value);
            }
            (key, reply)
        };
        if reply.is_error() {
            book.seen.errors += 1;
            book.seen.example(|| format!("key {key}: {reply}"));
        }
    }
    book.seen
}

/// What may befall a replica.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Throttled,
    Paused,
    Frozen,
    CutOff,
    Killed,
}

/// Until told to stop: one thing after the other befalls `replica`, which follows its primary through `relay`, and
/// in between it is well for a moment. It is left well.
pub fn befall(replica: &mut RedisServer, relay: &Relay, random: &mut Random, stop: &AtomicBool) {
    // Throttled in between: then it answers, and what it answers is old.
    const ALL: [Trouble; 8] = [
        Trouble::Throttled,
        Trouble::Paused,
        Trouble::Throttled,
        Trouble::Frozen,
        Trouble::Throttled,
        Trouble::CutOff,
        Trouble::Throttled,
        Trouble::Killed,
    ];
    let mut turn = random.below(ALL.len());
    while !stop.load(Ordering::Relaxed) {
        let span = Duration::from_millis(100 + random.below(500) as u64);
        // In turn from a random one on, so that a short run has all of them.
        let trouble = ALL[turn % ALL.len()];
        turn += 1;
        match trouble {
            Trouble::Throttled => {
                relay.delay(Duration::from_millis(10 + random.below(300) as u64));
                pass(span, stop);
                relay.delay(Duration::ZERO);
            }
            Trouble::Paused => {
                relay.hold(true);
                pass(span, stop);
                relay.hold(false);
            }
            Trouble::Frozen => {
                replica.freeze();
                pass(span, stop);
                replica.thaw();
            }
            Trouble::CutOff => relay.cut(),
            Trouble::Killed => {
                replica.kill();
                pass(span, stop);
                replica.restart();
                replica.wait_until_linked();
            }
        }
        pass(Duration::from_millis(100 + random.below(200) as u64), stop);
    }
}

/// Lets time go by; less if there is no more of it.
fn pass(span: Duration, stop: &AtomicBool) {
    let began = Instant::now();
    while began.elapsed() < span && !stop.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_less_than_one_wrote_or_read_is_counted() {
        let mut book = Book::default();
        book.read(1, 0);
        book.wrote(1, 5);
        for value in [5, 7, 6, 4, 7] {
            book.read(1, value);
        }
        // Another's key, and a write whose fate stays unknown: only what was seen counts.
        for value in [3, 3, 2, 9] {
            book.read(2, value);
        }
        assert_eq!((book.seen.reads, book.seen.writes), (10, 1));
        assert_eq!((book.seen.writes_missed, book.seen.went_back), (1, 3));
        assert_eq!(book.seen.examples.len(), SHOWN_MAX);
    }
}
