//! Random pipelines through random faults of a fake cluster: slots jump, nodes refuse, answers come
//! late or in pieces, connections break before and after execution.
//!
//! Errors are allowed here, lies are not. Each client appends unique words to keys of its own:
//! - a word whose reply was a number was executed exactly once, and the number is where it ends;
//! - a word whose reply says that it may or may not have been executed was so at most once (and perhaps
//!   late: a node may still have held it when its connection broke);
//! - a word whose reply is any other error was not executed;
//! - the promised words of one key stand in the order of the requests;
//! - a GET shows what the key holds at its place in the order.
//!
//! The hardest case is in it, too: a node refuses a command (or its slot leaves) and then serves the next
//! one, which had been sent before the refusal came back. The refused one must not be executed any more.

use pointsman_integration::client::words;
use pointsman_integration::fake::{Act, Rule, key_on};
use pointsman_integration::logs::LOST;
use pointsman_integration::{Fake, Pointsman, Random, Reply, Setup};
use pointsman_protocol::Slot;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const CLIENTS: usize = 4;
const KEYS: usize = 6;
const SPAN: Duration = Duration::from_secs(4);
const SHARDS: usize = 3;

/// One appended word and the answer to it.
struct Appended {
    word: String,
    reply: Reply,
}

#[test]
fn t12_random_faults_lose_nothing_that_was_promised_and_double_nothing() {
    run("primary", Random::for_test(12));
}

/// Fake replicas never lag, so that a read from one must show all that was promised before it. It may
/// show more: nothing holds the writes behind it back while it is on its way to another node. And no
/// slot moves key by key here: a replica does not know that a key has left, and answers nil.
#[test]
fn t75_nor_do_they_when_reads_go_to_replicas() {
    run("prefer_replica", Random::for_test(75));
}

fn run(reads: &'static str, mut random: Random) {
    let fake = Fake::start(SHARDS, 1);
    let pointsman = Setup::cluster(fake.addresses())
        .with(|setup| {
            setup.reads = reads;
            setup.connections_per_node = 2;
            setup.workers = 2;
            setup.request_timeout_ms = 400;
            setup.refresh_interval_ms = 200;
        })
        .allow(LOST)
        .allow(&["time", "node"])
        .start();
    let running = AtomicUsize::new(CLIENTS);
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (fake, pointsman, running) = (&fake, &pointsman, &running);
            let random = random.fork();
            scope.spawn(move || {
                let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    run_client(fake, pointsman, number, random, reads);
                }));
                running.fetch_sub(1, Ordering::Relaxed);
                outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            });
        }
        while running.load(Ordering::Relaxed) > 0 {
            disturb(&fake, &mut random, reads == "primary");
            thread::sleep(Duration::from_millis(random.below(15) as u64));
        }
    });
}

fn key(client: usize, number: usize) -> String {
    key_on(number % SHARDS, SHARDS, &format!("chaos{client}"), number)
}

fn run_client(fake: &Fake, pointsman: &Pointsman, number: usize, mut random: Random, reads: &str) {
    let began = Instant::now();
    let keys: Vec<String> = (0..KEYS).map(|n| key(number, n)).collect();
    let mut appended: Vec<Vec<Appended>> = keys.iter().map(|_| Vec::new()).collect();
    let mut client = pointsman.client();
    let mut serial = 0;
    let (mut sent, mut failed) = (0, 0);
    while began.elapsed() < SPAN {
        let mut requests = Vec::new();
        let mut meant = Vec::new();
        for _ in 0..1 + random.below(20) {
            let place = random.below(KEYS);
            if random.once_in(4) {
                requests.push(words(&["GET", &keys[place]]));
                meant.push((place, None));
            } else {
                serial += 1;
                let word = format!("<{serial}>");
                requests.push(words(&["APPEND", &keys[place], &word]));
                meant.push((place, Some(word)));
            }
        }
        let replies = client.pipeline(&requests);
        for ((place, word), reply) in meant.into_iter().zip(replies) {
            sent += 1;
            failed += usize::from(reply.is_error());
            match word {
                Some(word) => appended[place].push(Appended { word, reply }),
                None => check_read(&appended[place], &reply, reads == "primary"),
            }
        }
    }
    for (key, appended) in keys.iter().zip(&appended) {
        let value = fake.change(|world| world.value(key)).unwrap_or_default();
        check_value(fake, key, &value, appended);
    }
    println!("client {number}: {sent} requests, {failed} of them failed");
    assert!(failed * 2 < sent, "most requests get through: {failed} of {sent} failed");
}

impl Appended {
    fn is_promised(&self) -> bool {
        !self.reply.is_error()
    }

    fn is_unknown(&self) -> bool {
        self.reply.is_error() && self.reply.error().contains("may or may not")
    }
}

/// What a read shows holds all that was promised, and beyond that only what may be there. `exact`: it
/// does not show what its own client asked for later.
fn check_read(appended: &[Appended], reply: &Reply, exact: bool) {
    if reply.is_error() {
        return;
    }
    let value = if reply.is_null() { String::new() } else { reply.text() };
    let Some(last) = appended.iter().rev().find(|one| one.is_promised()) else { return };
    let promised = last.reply.int() as usize;
    assert!(value.len() >= promised, "a read went back: {value:?} is shorter than {promised}");
    assert!(value[..promised].ends_with(&last.word), "a read shows another past: {value:?}");
    if exact {
        let unknown: Vec<&str> =
            appended.iter().filter(|one| one.is_unknown()).map(|one| one.word.as_str()).collect();
        let mut rest = value[promised..].split_inclusive('>');
        assert!(
            rest.all(|word| unknown.contains(&word)),
            "from nowhere: {:?} in {value:?}",
            &value[promised..]
        );
    }
}

fn check_value(fake: &Fake, key: &str, value: &str, appended: &[Appended]) {
    let history = |one: &Appended| history(fake, key, one);
    let mut places: HashMap<&str, Vec<usize>> = HashMap::new();
    for (place, word) in value.split_inclusive('>').enumerate() {
        places.entry(word).or_default().push(place);
    }
    let mut last: Option<(&Appended, usize)> = None;
    for one in appended {
        let at = places.get(one.word.as_str()).map(Vec::as_slice).unwrap_or_default();
        if !one.is_promised() {
            assert!(at.len() <= usize::from(one.is_unknown()), "there {} times: {}", at.len(), history(one));
            continue;
        }
        assert_eq!(at.len(), 1, "not there once: {}", history(one));
        let end = one.reply.int() as usize;
        let ends_there = value.get(..end).is_some_and(|before| before.ends_with(&one.word));
        assert!(ends_there, "elsewhere: {}", history(one));
        if let Some((earlier, place)) = last {
            assert!(place < at[0], "out of order: {} before {}", history(one), history(earlier));
        }
        last = Some((one, at[0]));
    }
}

/// What became of a word: its answer, and where it arrived, in order with everything else.
fn history(fake: &Fake, key: &str, one: &Appended) -> String {
    let arrivals: Vec<String> = fake.change(|world| {
        let all = world.received.iter().enumerate();
        let mine = all.filter(|(_, received)| {
            received.has_key(key) && received.words.get(2).is_some_and(|word| word == one.word.as_bytes())
        });
        mine.map(|(number, at)| {
            format!(
                "#{number} {} node {} connection {} executed {}",
                at.line(),
                at.node,
                at.connection,
                at.executed
            )
        })
        .collect()
    });
    format!("{} answered {} arrived [{}]", one.word, one.reply, arrivals.join(", "))
}

/// One fault, chosen at random. `key_by_key`: slots may be on both sides for a while.
fn disturb(fake: &Fake, random: &mut Random, key_by_key: bool) {
    let node = random.below(2 * SHARDS);
    let name = random.word(&["APPEND", "APPEND", "GET", "*"]);
    let times = 1 + random.below(3);
    // Rules that nothing met must not pile up.
    fake.change(|world| world.rules.clear());
    match random.below(14) {
        0..=4 => {
            let slot = Slot::of(key(random.below(CLIENTS), random.below(KEYS)).as_bytes());
            let from = fake.change(|world| world.view.owner[slot.index()].expect("there are no holes"));
            let to = random.below(SHARDS);
            if key_by_key && from != to && random.once_in(2) {
                move_key_by_key(fake, random, slot, from, to);
            } else {
                fake.move_slot(slot, to);
            }
        }
        5 => fake.rule(Rule::on(name, Act::CloseBefore).at(node).times(1)),
        6 => fake.rule(Rule::on(name, Act::CloseAfter).at(node).times(1)),
        7 => {
            let text = random.word(&[
                "TRYAGAIN later",
                "CLUSTERDOWN The cluster is down",
                "LOADING Redis is loading",
            ]);
            let name = random.word(&["APPEND", "GET"]);
            fake.rule(Rule::on(name, Act::Error(text.into())).at(node).times(times));
        }
        8 => fake.rule(Rule::on(name, Act::Split(1 + random.below(4))).at(node).times(times)),
        9 => fake.close_connections(node),
        10 => {
            let gate = fake.gate();
            fake.rule(Rule::on(name, Act::HoldReply(gate.clone())).at(node).times(1));
            // Sometimes longer than a request may take.
            thread::sleep(Duration::from_millis(random.below(600) as u64));
            gate.open();
        }
        11 => {
            fake.take_down(node);
            thread::sleep(Duration::from_millis(random.below(100) as u64));
            fake.bring_up(node);
        }
        12 => {
            fake.freeze(node);
            thread::sleep(Duration::from_millis(random.below(100) as u64));
            fake.thaw(node);
        }
        _ => fake.fail_over(random.below(SHARDS)),
    }
}

/// For a while the keys of the slot are on both sides.
fn move_key_by_key(fake: &Fake, random: &mut Random, slot: Slot, from: usize, to: usize) {
    let keys: Vec<Vec<u8>> = fake.change(|world| {
        world.begin_move(slot, to);
        world.data[from].keys().filter(|key| Slot::of(key) == slot).map(<[u8]>::to_vec).collect()
    });
    for key in keys {
        thread::sleep(Duration::from_millis(random.below(10) as u64));
        fake.change(|world| world.move_key(&key, to));
    }
    thread::sleep(Duration::from_millis(random.below(10) as u64));
    fake.move_slot(slot, to);
}
