//! T72: how old a replica's copy is, measured against a delay that is known, and that no read is staler than the
//! listener allows.

use pointsman_integration::eventually::{StopOnDrop, check, eventually};
use pointsman_integration::logs::LOST;
use pointsman_integration::{Client, Pointsman, RedisServer, Relay, Reply, Setup};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Between two samples.
const INTERVAL_MS: u64 = 50;

/// A primary, a replica that follows it through a relay, and that relay.
struct Nodes {
    primary: RedisServer,
    replica: RedisServer,
    relay: Relay,
}

impl Nodes {
    fn start() -> Nodes {
        let primary = RedisServer::standalone();
        let relay = Relay::start(primary.address());
        let replica = RedisServer::replica_at(relay.port(), &[]);
        Nodes { primary, replica, relay }
    }

    fn pointsman(&self, change: impl FnOnce(&mut Setup)) -> Pointsman {
        Setup::primary([self.primary.address(), self.replica.address()])
            .with(|setup| {
                setup.reads = "prefer_replica";
                setup.max_lag_bytes = 1 << 36;
                setup.lag_interval_ms = INTERVAL_MS;
            })
            .with(change)
            .allow(LOST)
            .allow(&["primary", "lag"])
            .start()
    }
}

/// Writes the time since `began` into `key`, over and over; gives what was written with the moment at which that was
/// acknowledged, both in microseconds.
fn stamp(client: &mut Client, key: &str, began: Instant, stop: &AtomicBool) -> Vec<(u64, u64)> {
    let now = || began.elapsed().as_micros() as u64;
    let mut stamps = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let written = now();
        assert_eq!(client.command(&["SET", key, &written.to_string()]), Reply::ok());
        stamps.push((written, now()));
        // The pace of the writes.
        thread::sleep(Duration::from_millis(2));
    }
    stamps
}

#[test]
fn t72_a_known_delay_is_measured_within_one_interval() {
    let nodes = Nodes::start();
    let pointsman = nodes.pointsman(|_| ());
    let stop = AtomicBool::new(false);
    let mut writer = nodes.primary.client();
    thread::scope(|scope| {
        let stopping = StopOnDrop(&stop);
        scope.spawn(|| stamp(&mut writer, "t72", Instant::now(), &stop));
        for delay_ms in [0, 50, 500, 5000] {
            nodes.relay.delay(Duration::from_millis(delay_ms));
            let lag_ms = || {
                let topology = pointsman.topology();
                topology["shards"][0]["replicas"][0]["lag_ms"].as_u64()
            };
            // What is told grows from one sample to the next; the smallest of a few looks is the one nearest to a
            // sample. Never less than the delay, and at most an interval more; the rest is for a busy machine.
            let least = || (0..20).filter_map(|_| lag_ms()).min();
            let allowed = delay_ms..=delay_ms + INTERVAL_MS + 100;
            eventually(&format!("a delay of {delay_ms} ms is measured"), || {
                let least = least();
                check(least.is_some_and(|least| allowed.contains(&least)), least)
            });
            let lags: Vec<u64> = (0..20).filter_map(|_| lag_ms()).collect();
            println!("{delay_ms} ms late: measured {:?}..{:?}", lags.iter().min(), lags.iter().max());
            assert!(lags.iter().all(|lag| *lag >= delay_ms), "it errs towards too old: {lags:?}");
            let seconds = pointsman.metrics().sum("pointsman_replica_lag_seconds", &[]);
            assert!(seconds >= delay_ms as f64 / 1000.0, "{seconds}");
        }
        drop(stopping);
    });
}

/// How stale the reads of one reader were: each read's value and the moment before it was asked, in microseconds.
fn staleness(reads: &[(u64, u64)], stamps: &[(u64, u64)]) -> Vec<u64> {
    let of = |(asked_at, value): &(u64, u64)| {
        // From when the first newer value was acknowledged, this one was out of date.
        let newer = stamps.partition_point(|(written, _)| written <= value);
        stamps.get(newer).map_or(0, |(_, acknowledged)| asked_at.saturating_sub(*acknowledged))
    };
    reads.iter().map(of).collect()
}

fn read(client: &mut Client, key: &str, began: Instant, stop: &AtomicBool) -> Vec<(u64, u64)> {
    let mut reads = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let asked_at = began.elapsed().as_micros() as u64;
        let reply = client.command(&["GET", key]);
        // A copy may lack even the first one.
        let value = if reply.is_null() { 0 } else { reply.text().parse().expect("only numbers are written") };
        reads.push((asked_at, value));
    }
    reads
}

#[test]
fn t72_no_read_is_staler_than_the_bound_and_one_interval() {
    const MAX_LAG_MS: u64 = 200;
    let nodes = Nodes::start();
    let bounded = nodes.pointsman(|setup| setup.listener_extra.push(format!("max_lag_ms: {MAX_LAG_MS}")));
    let unbounded = nodes.pointsman(|_| ());
    assert_eq!(nodes.primary.command(&["SET", "t72", "0"]), Reply::ok());
    for pointsman in [&bounded, &unbounded] {
        eventually("the replica is in step", || {
            let topology = pointsman.topology();
            check(topology.to_string().contains("\"eligible\":true"), topology)
        });
    }
    let (stop, began) = (AtomicBool::new(false), Instant::now());
    let gets = || nodes.replica.info("commandstats", "cmdstat_get");
    let (mut writer, mut one, mut other) = (nodes.primary.client(), bounded.client(), unbounded.client());
    thread::scope(|scope| {
        let stopping = StopOnDrop(&stop);
        let writing = scope.spawn(|| stamp(&mut writer, "t72", began, &stop));
        let within = scope.spawn(|| read(&mut one, "t72", began, &stop));
        let without = scope.spawn(|| read(&mut other, "t72", began, &stop));
        for delay_ms in [0, 100, 400, 150, 800, 0] {
            nodes.relay.delay(Duration::from_millis(delay_ms));
            // So long each delay is in force.
            thread::sleep(Duration::from_millis(1000));
        }
        drop(stopping);
        let stamps = writing.join().expect("writes go on");
        let within = staleness(&within.join().expect("reads go on"), &stamps);
        let without = staleness(&without.join().expect("reads go on"), &stamps);
        let allowed = (MAX_LAG_MS + INTERVAL_MS) * 1000;
        let most = |all: &[u64]| all.iter().copied().max().unwrap_or(0);
        let stale = within.iter().filter(|age| **age > 5_000).count();
        println!(
            "{} reads, {stale} of them older than 5 ms, the stalest {} us; without a bound {} us; {:?}",
            within.len(),
            most(&within),
            most(&without),
            gets()
        );
        assert!(stale > 0, "the replica was read from while it lagged");
        assert!(most(&within) <= allowed, "{} us", most(&within));
        assert!(most(&without) > allowed, "the check can fail: {} us", most(&without));
    });
}
