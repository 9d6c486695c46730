//! The same with faults. Every client has keys of its own, so what its replies must be is known to the byte,
//! whoever else is served; written values come once, so that a lost, doubled, misordered or crossed reply
//! cannot look right.

use super::fates::{Fate, Fates, fate_of, keys_of};
use super::grammar::Mark;
use super::pair::Pair;
use super::rules::Needed;
use super::slots::split_off;
use super::stream::{Stream, Unit, row_of};
use super::words::{Request, TAGS, Words};
use pointsman_integration::client::words;
use pointsman_integration::eventually::{StopOnDrop, check, within};
use pointsman_integration::logs::LOST;
use pointsman_integration::mover::{during, slots_of};
use pointsman_integration::reply::show_request;
use pointsman_integration::{Cluster, Pointsman, Random, RedisServer, Reply, Setup, workload};
use pointsman_protocol::command::KeyPattern;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const CLIENTS: usize = 4;
/// Requests of one client while slots move.
const UNITS: usize = 6_000;
/// Units of one batch.
const BATCH: usize = 12;
/// So many slots are moved meanwhile, at least.
const MOVES: usize = 20;

/// What a slot on the move changes by itself: how a value is kept, where an iteration is, what lies in the
/// whole keyspace.
fn is_left_alone(line: &str) -> bool {
    // (A range by name of members whose scores differ means what the encoding makes of it.)
    let named = ["OBJECT", "DUMP", "MEMORY", "XINFO STREAM", "!COPY"];
    let kept_otherwise = line.contains("LEX");
    // (One that waits for a moment may wait for the slot instead.)
    let waits = line.contains("<wait");
    // (A negative score times zero is zero with a sign, see below.)
    let weighs = line.contains("WEIGHTS");
    let is_named = named.iter().any(|name| line.starts_with(name)) || waits || weighs;
    !line.starts_with('@') && line.contains('<') && !is_named && !kept_otherwise && !line.starts_with("KEYS")
}

#[test]
fn t03_t04_t05_all_types_while_slots_go_back_and_forth() {
    let cluster = Cluster::start_with(3, 0, &["--cluster-node-timeout", "10000", "--hz", "100"]);
    let server = RedisServer::with_options(&["--databases", "1", "--hz", "100"]);
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| {
            setup.workers = 2;
            setup.connections_per_node = 2;
            setup.request_timeout_ms = 20_000;
            // Keys on both sides of a move are waited for, however busy the machine is.
            setup.backoff_max_ms = 250;
        })
        .start();
    let stream = Stream::on_keys(is_left_alone);
    let prefixes: Vec<String> = (0..CLIENTS).map(|number| format!("c{number}:")).collect();
    let tags: Vec<String> =
        prefixes.iter().flat_map(|prefix| (0..TAGS).map(move |tag| format!("{{{prefix}t{tag}}}"))).collect();
    let slots = slots_of(&tags);
    let mut random = Random::for_test(5);
    let moved = during(&cluster, &slots, random.fork(), |moves| {
        thread::scope(|scope| {
            for prefix in &prefixes {
                let (pointsman, server, stream, random) = (&pointsman, &server, &stream, random.fork());
                let enough = || moves.done() >= MOVES;
                scope.spawn(move || compare(pointsman, server, stream, prefix, random, enough));
            }
        });
        moves.done()
    });
    println!("{moved} slots were moved meanwhile");
    assert!(pointsman.metrics().sum("pointsman_redirects_total", &[]) > 0.0, "and the clients met the moves");
}

/// One client's stream to both, and more of it until it is `enough`; its keys are nobody else's.
fn compare(
    pointsman: &Pointsman,
    server: &RedisServer,
    stream: &Stream,
    prefix: &str,
    mut random: Random,
    enough: impl Fn() -> bool,
) {
    let mut drawing = random.fork();
    let mut words = Words::new(&mut drawing, prefix);
    let mut asker = server.client();
    let mut needed = Needed::default();
    let mut pair = Pair::connect(&pointsman.address(), &server.address(), "2");
    let mut round = 0;
    while round < UNITS / BATCH || !enough() {
        round += 1;
        if round % 50 == 49 {
            let protocol = if round % 100 == 99 { "2" } else { "3" };
            pair = Pair::connect(&pointsman.address(), &server.address(), protocol);
        }
        let units: Vec<Unit> = (0..BATCH).map(|_| stream.draw(&mut words)).collect();
        let (units, _) = split_off(units, &mut asker);
        let units: Vec<Unit> = units
            .into_iter()
            .filter(|unit| unit.mark != Mark::Uncounted && !is_lost_on_the_way(unit))
            .collect();
        if units.is_empty() {
            continue;
        }
        // Keys on both sides of a move may be refused while what was sent behind is executed; the proxy tells that
        // then (see ARCHITECTURE), a single server has no such thing. So several keys come alone.
        let mut spoken = units.chunk_by(|one, next| !has_several_keys(one) && !has_several_keys(next));
        let wrong = spoken.find_map(|units| pair.say(units, &mut random, &mut needed).err());
        if let Some(difference) = wrong {
            let before: Vec<String> =
                units.iter().flat_map(|unit| &unit.requests).map(|request| show_request(request)).collect();
            panic!("{prefix} round {round}: {difference}\n  in the batch\n    {}", before.join("\n    "));
        }
    }
    println!("{prefix} alike without being the same bytes:\n{}", needed.summary());
}

/// What does not survive MIGRATE between two servers of Redis 7.0: a key that expires at the end of time (the time that is
/// left is sent, and the other adds its own, later clock to it, beyond the largest number there is), and the
/// sign of a score of zero.
fn is_lost_on_the_way(unit: &Unit) -> bool {
    let has =
        |request: &Request, text: &str| request.iter().any(|word| word.eq_ignore_ascii_case(text.as_bytes()));
    let ends = i64::MAX.to_string();
    unit.requests.iter().any(|request| {
        let is_far = has(request, &ends) && (has(request, "PEXPIREAT") || has(request, "PXAT"));
        let is_sorted = request.first().is_some_and(|name| name.to_ascii_uppercase().starts_with(b"Z"));
        is_far || (is_sorted && has(request, "-0"))
    })
}

fn has_several_keys(unit: &Unit) -> bool {
    // A transaction is carried out as one.
    unit.requests.len() > 1
        || unit.requests.iter().any(|request| {
            row_of(request).is_some_and(|spec| !matches!(spec.pattern, KeyPattern::One(_) | KeyPattern::None))
        })
}

/// How long nodes wait before they take another for dead, in milliseconds.
const NODE_TIMEOUT: &str = "1500";
/// How many primaries are killed.
const KILLS: usize = 3;
const FAILOVER: Duration = Duration::from_secs(30);

/// Primaries die under the clients' hands, connections are cut at the nodes, and replicas take over in good
/// order. What Redis itself loses is not the proxy's: before a primary is killed it stops writing and its
/// replica has all; what is on its way to it then is of unknown fate, and must be told so.
#[test]
fn t12_t14_killed_primaries_lose_nothing_that_was_promised() {
    let mut cluster = Cluster::start_with(3, 1, &["--cluster-node-timeout", NODE_TIMEOUT]);
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| {
            setup.workers = 2;
            setup.connections_per_node = 2;
            setup.request_timeout_ms = 20_000;
            setup.refresh_interval_ms = 500;
            setup.backend_extra.push("failover_hold_ms: 20000".into());
        })
        .allow(LOST)
        .allow(&["time", "node"])
        .start();
    let mut random = Random::for_test(6);
    let stop = AtomicBool::new(false);
    let told: Vec<Told> = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (pointsman, stop, random) = (&pointsman, &stop, random.fork());
                scope.spawn(move || count(pointsman, stop, number, random))
            })
            .collect();
        let stopping = StopOnDrop(&stop);
        for _ in 0..KILLS {
            cut_connections(&cluster, &mut random);
            change_places(&cluster, &mut random);
            cut_connections(&cluster, &mut random);
            kill_a_primary(&mut cluster, &mut random);
        }
        drop(stopping);
        clients.into_iter().map(|client| client.join().expect("the client's checks held")).collect()
    });
    let sum = |what: fn(&Told) -> usize| told.iter().map(what).sum::<usize>();
    let (replies, not, unknown) = (sum(|one| one.replies), sum(|one| one.not), sum(|one| one.unknown));
    println!("{replies} replies, {not} not executed, {unknown} of unknown fate");
    assert!(unknown > 0, "the clients met the faults");
    assert!((not + unknown) * 10 < replies, "most requests get through");
}

/// How many replies a client remembers, to show what led to a wrong one.
const REMEMBERED: usize = 4_000;

/// What one client was told.
#[derive(Default)]
struct Told {
    replies: usize,
    not: usize,
    unknown: usize,
    last: VecDeque<(Request, Reply)>,
}

impl Told {
    /// What the keys of a request went through.
    fn show_history(&self, request: &Request) {
        let keys = keys_of(request);
        for (request, reply) in &self.last {
            if keys_of(request).iter().any(|key| keys.contains(key)) {
                println!("  {} -> {reply}", show_request(request));
            }
        }
    }
}

/// Writes, counts and reads until it is told to stop; then reads everything once more.
fn count(pointsman: &Pointsman, stop: &AtomicBool, number: usize, mut random: Random) -> Told {
    let keys: Vec<Vec<u8>> = (0..12).map(|key| format!("f{number}:{key}").into_bytes()).collect();
    let mut client = pointsman.client();
    let mut fates = Fates::default();
    let (mut serial, mut told) = (0, Told::default());
    let mut last_round = false;
    loop {
        let mut requests = match last_round {
            true => keys.iter().map(|key| vec![b"GET".to_vec(), key.clone()]).collect(),
            false => (0..1 + random.below(20))
                .map(|_| workload::modelled(&mut random, &keys, &format!("f{number}"), &mut serial))
                .collect::<Vec<_>>(),
        };
        // What is unsure is settled before the next batch.
        requests.splice(0..0, fates.unsure().into_iter().map(|key| vec![b"GET".to_vec(), key]));
        for (request, reply) in requests.iter().zip(client.pipeline(&requests)) {
            told.replies += 1;
            match fate_of(&reply) {
                Fate::Told => {}
                Fate::Not => told.not += 1,
                Fate::Unknown => told.unknown += 1,
            }
            let outcome = fates.take(request, &reply);
            told.last.push_back((request.clone(), reply.clone()));
            if told.last.len() > REMEMBERED {
                told.last.pop_front();
            }
            if let Err(why) = outcome {
                told.show_history(request);
                panic!("client {number}: {} was answered {reply}, but {why}", show_request(request));
            }
        }
        if last_round {
            assert_eq!(
                client.pipeline(&[words(&["ECHO", "end"])]),
                [Reply::bulk("end")],
                "nothing is left over"
            );
            return told;
        }
        last_round = stop.load(Ordering::Relaxed);
    }
}

/// Every connection of clients to one node is closed, whatever was under way on it.
fn cut_connections(cluster: &Cluster, random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        let node = *random.pick(&cluster.primaries());
        cluster.node(node).command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    }
}

/// A replica takes its primary's place in good order.
fn change_places(cluster: &Cluster, random: &mut Random) {
    let old = *random.pick(&cluster.primaries());
    let new = cluster.replicas_of(old)[0];
    assert_eq!(cluster.node(new).command(&["CLUSTER", "FAILOVER"]), Reply::ok());
    is_primary(cluster, new);
    within(FAILOVER, "the nodes agree", || {
        let known = (0..cluster.nodes().len()).all(|node| {
            let members = cluster.members_seen_by(node);
            members
                .iter()
                .any(|member| member.address == cluster.node(new).address() && member.primary.is_none())
        });
        check(known, "not yet")
    });
    cluster.wait_until_agreed();
}

fn kill_a_primary(cluster: &mut Cluster, random: &mut Random) {
    let old = *random.pick(&cluster.primaries());
    let new = cluster.replicas_of(old)[0];
    assert_eq!(cluster.node(old).command(&["CLIENT", "PAUSE", "60000", "WRITE"]), Reply::ok());
    within(FAILOVER, "the replica has all", || {
        let offset = |node: usize, field: &str| cluster.node(node).info("replication", field);
        let (sent, taken) = (offset(old, "master_repl_offset"), offset(new, "slave_repl_offset"));
        check(sent == taken, format!("{sent:?} sent, {taken:?} taken"))
    });
    cluster.node_mut(old).kill();
    is_primary(cluster, new);
    // Empty, and a replica as soon as it hears of the new one.
    cluster.node_mut(old).restart();
    within(FAILOVER, "the old one follows the new one", || {
        let role = cluster.node(old).info("replication", "role");
        check(role.as_deref() == Some("slave"), role)
    });
    cluster.wait_until_agreed();
}

fn is_primary(cluster: &Cluster, node: usize) {
    within(FAILOVER, "the replica has taken over", || {
        let role = cluster.node(node).info("replication", "role");
        check(role.as_deref() == Some("master"), role)
    });
}
