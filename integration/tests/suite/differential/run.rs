//! One run: the servers, the stream in batches, and what is said of the differences.

use super::grammar::Mark;
use super::pair::{Difference, Pair};
use super::refusals::CROSS_SLOT;
use super::rules::Needed;
use super::shrink::shrink;
use super::slots::split_off;
use super::stream::{Stream, Unit, every_row, row_of};
use super::words::Words;
use super::{EXCLUDED, lines_scripts};
use pointsman_integration::reply::show_request;
use pointsman_integration::{Client, Cluster, Pointsman, Random, RedisServer, Reply, Setup};
use pointsman_protocol::command::{CommandSpec, Flags};
use std::collections::{BTreeMap, BTreeSet};

/// Units for which keys are looked up together, and which share connections.
const SESSION: usize = 300;
/// Units after which everything is cleared.
const ROUND: usize = 5_000;
/// Requests in one batch, at most.
const BATCH: usize = 40;
/// Bytes in one batch: less than what sockets take without being read.
const BATCH_BYTES: usize = 32 * 1024;
/// A run that found so many differences has found enough.
const DIFFERENCES_MAX: usize = 12;
/// Each row is drawn so often in so many requests.
const EACH: usize = 10;
const OF: usize = 40_000;

/// The proxy with its cluster, and the server alone.
struct World {
    pointsman: Pointsman,
    server: RedisServer,
    // Dropped last: the proxy warns of nodes that are gone.
    _cluster: Cluster,
}

impl World {
    fn start() -> World {
        // Who waits is looked after a hundred times a second instead of ten.
        let cluster = Cluster::start_with(3, 0, &["--cluster-node-timeout", "10000", "--hz", "100"]);
        let pointsman =
            Setup::cluster(cluster.addresses()).with(|setup| setup.connections_per_node = 2).start();
        let server = RedisServer::with_options(&["--databases", "1", "--hz", "100"]);
        World { _cluster: cluster, pointsman, server }
    }

    fn connect(&self, protocol: &str) -> Pair {
        Pair::connect(&self.pointsman.address(), &self.server.address(), protocol)
    }

    /// Nothing is left of what was said before.
    fn clear(&self) {
        for mut client in [self.pointsman.client(), self.server.client()] {
            for line in ["FLUSHALL", "SCRIPT FLUSH", "FUNCTION FLUSH"] {
                assert_eq!(client.line(line), Reply::ok(), "{line}");
            }
        }
    }

    /// Payloads of every type, and of functions.
    fn payloads(&self) -> (Vec<Vec<u8>>, Vec<u8>) {
        let mut client = self.server.client();
        let payload =
            |reply: Reply| pointsman_protocol::resp::reply::payload(&reply.0).unwrap_or_default().to_vec();
        let payloads =
            ["SET k 12", "RPUSH k a b", "SADD k 1 2 3", "HSET k a b", "ZADD k 1 a", "XADD k 1-1 a b"]
                .iter()
                .map(|line| {
                    client.line("DEL k");
                    assert!(!client.line(line).is_error());
                    payload(client.line("DUMP k"))
                })
                .collect();
        client.line("DEL k");
        assert!(!client.command(&["FUNCTION", "LOAD", lines_scripts::LIBRARY]).is_error());
        let functions = payload(client.line("FUNCTION DUMP"));
        client.line("FUNCTION FLUSH");
        (payloads, functions)
    }

    /// What these units show when they are said one by one.
    fn replay(&self, protocol: &str, units: &[Unit]) -> Option<Difference> {
        self.clear();
        let mut pair = self.connect(protocol);
        let (mut random, mut needed) = (Random::new(1), Needed::default());
        for (at, unit) in units.iter().enumerate() {
            if pair.closed {
                pair = self.connect(protocol);
            }
            if let Err(difference) = pair.say(std::slice::from_ref(unit), &mut random, &mut needed) {
                return Some(Difference { unit: at, ..difference });
            }
        }
        None
    }
}

/// Sends `count` requests, as many of them by each of these, and fails the test if replies differ, or if rows
/// were not drawn.
pub fn run(count: usize, randoms: Vec<Random>) {
    let world = World::start();
    let mut state = State::default();
    let streams = randoms.len();
    for (number, random) in randoms.into_iter().enumerate() {
        stream(&world, &mut state, count * (number + 1) / streams, random);
    }
    state.finish(&world);
}

/// One stream, until `count` requests have been sent in all.
fn stream(world: &World, state: &mut State, count: usize, mut random: Random) {
    world.clear();
    let stream = Stream::everything(|name| {
        EXCLUDED.iter().any(|(row, _)| *row == name)
            || every_row().any(|spec| spec.name == name && is_admin(spec))
    });
    let (payloads, functions) = world.payloads();
    let mut drawing = random.fork();
    let mut words = Words::new(&mut drawing, "").with_payloads(payloads, functions);
    let mut asker = world.server.client();
    let mut history: Vec<Unit> = Vec::new();
    let mut protocol = "2";
    while state.sent < count && state.reports.len() < DIFFERENCES_MAX {
        if history.len() >= ROUND {
            world.clear();
            history.clear();
        }
        let units: Vec<Unit> = (0..SESSION).map(|_| stream.draw(&mut words)).collect();
        let units = state.without_several_slots(units, &mut asker, world);
        protocol = if protocol == "2" { "3" } else { "2" };
        let mut pair = world.connect(protocol);
        let mut rest = &units[..];
        while !rest.is_empty() && state.reports.len() < DIFFERENCES_MAX {
            if pair.closed {
                pair = world.connect(protocol);
            }
            let batch = &rest[..batch_of(rest, &mut random)];
            rest = &rest[batch.len()..];
            batch.iter().for_each(|unit| state.count(unit));
            let outcome = pair.say(batch, &mut random, &mut state.needed);
            history.extend_from_slice(batch);
            if let Err(difference) = outcome {
                history.truncate(history.len() - batch.len() + difference.unit + 1);
                state.report(world, protocol, std::mem::take(&mut history), difference);
                world.clear();
                pair = world.connect(protocol);
            }
        }
    }
}

fn is_admin(spec: &CommandSpec) -> bool {
    spec.flags.has(Flags::ADMIN)
}

/// How many of these units go out together.
fn batch_of(units: &[Unit], random: &mut Random) -> usize {
    let most = if random.once_in(3) { 1 } else { 1 + random.below(BATCH) };
    let alone = |unit: &Unit| matches!(unit.mark, Mark::Uncounted | Mark::Iteration);
    let mut bytes = 0;
    let fits = units.iter().take(most).take_while(|unit| {
        bytes += unit.requests.iter().flatten().map(|word| word.len() + 10).sum::<usize>();
        !alone(unit) && bytes < BATCH_BYTES
    });
    fits.count().max(1)
}

#[derive(Default)]
struct State {
    sent: usize,
    /// By row.
    drawn: BTreeMap<&'static str, usize>,
    needed: Needed,
    reports: Vec<String>,
    /// Commands of which a difference has been shown.
    shown: BTreeSet<Vec<u8>>,
}

impl State {
    fn count(&mut self, unit: &Unit) {
        for request in &unit.requests {
            self.sent += 1;
            *self.drawn.entry(row_of(request).map_or("(unknown)", |spec| spec.name)).or_default() += 1;
        }
    }

    /// Takes out what has keys in several slots, as the server itself finds them, and sees that the proxy
    /// refuses it. (The server would do it, and hold other data from then on.)
    fn without_several_slots(&mut self, units: Vec<Unit>, asker: &mut Client, world: &World) -> Vec<Unit> {
        let (left, several) = split_off(units, asker);
        let mut proxied = world.pointsman.client();
        for unit in &several {
            let [request] = &unit.requests[..] else { continue };
            self.count(unit);
            let reply = proxied.command(request);
            let spec = row_of(request);
            if reply.is_error_of("CROSSSLOT Keys in request don't hash to the same slot") {
                self.needed.note(CROSS_SLOT.what, spec);
                continue;
            }
            // Where its words are no keys after all, the server finds a mistake, too.
            let theirs = world.server.command(request);
            if !theirs.is_error() || !self.needed.alike(request, spec, &reply, &theirs) {
                let request = show_request(request);
                self.reports.push(format!("not refused as CROSSSLOT: {request}: {reply}, {theirs}"));
            }
        }
        left
    }

    fn report(&mut self, world: &World, protocol: &str, history: Vec<Unit>, difference: Difference) {
        let name = difference.request.first().map(|name| name.to_ascii_uppercase()).unwrap_or_default();
        if !self.shown.insert(name) {
            self.reports.push(format!("{difference}"));
            return;
        }
        let last: Vec<Unit> = history[history.len().saturating_sub(8)..].to_vec();
        let (how, units, difference) = match shrink(history, |units| world.replay(protocol, units)) {
            Some((units, difference)) => ("after", units, difference),
            None => ("not repeated; the last before it were", last, difference),
        };
        let lines: Vec<String> = units
            .iter()
            .flat_map(|unit| &unit.requests)
            .map(|request| format!("    {}", show_request(request)))
            .collect();
        self.reports.push(format!("{difference}\n  (RESP{protocol}) {how}\n{}", lines.join("\n")));
    }

    #[track_caller]
    fn finish(self, world: &World) {
        println!("{} requests; alike without being the same bytes:\n{}", self.sent, self.needed.summary());
        for (number, report) in self.reports.iter().enumerate() {
            println!("{}. {report}\n", number + 1);
        }
        assert!(self.reports.is_empty(), "{} differences", self.reports.len());
        let mut server = world.server.client();
        let least = EACH * self.sent / OF;
        let mut seldom = Vec::new();
        let mut unknown = Vec::new();
        for spec in every_row().filter(|spec| !is_admin(spec)) {
            if EXCLUDED.iter().any(|(name, _)| *name == spec.name) {
                continue;
            }
            let drawn = self.drawn.get(spec.name).copied().unwrap_or(0);
            let known = server.command(&["COMMAND", "INFO", &spec.name.to_lowercase()]);
            if known.elements().iter().all(Reply::is_null) {
                unknown.push(spec.name);
            } else if drawn < least {
                seldom.push(format!("{} ({drawn})", spec.name));
            }
        }
        println!("unknown to this redis-server: {}", unknown.join(", "));
        println!("excluded: {EXCLUDED:?}");
        assert!(seldom.is_empty(), "drawn less than {least} times: {}", seldom.join(", "));
    }
}
