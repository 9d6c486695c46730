//! T73, T74: what a client may see of several copies while one of them is throttled, paused, frozen, cut off and
//! killed. A run is short here; `POINTSMAN_SESSIONS_SECONDS=60 integration/run sessions` makes it longer.

use pointsman_integration::eventually::{check, eventually};
use pointsman_integration::logs::LOST;
use pointsman_integration::sessions::{self, Seen};
use pointsman_integration::{Pointsman, Random, RedisServer, Relay, Setup};
use std::time::Duration;

const CLIENTS: usize = 32;

/// How long a run takes.
fn span() -> Duration {
    let seconds = std::env::var("POINTSMAN_SESSIONS_SECONDS");
    Duration::from_secs(
        seconds.map_or(5, |text| text.parse().expect("POINTSMAN_SESSIONS_SECONDS is a number")),
    )
}

/// A run through a listener with these keys, over a primary with a replica that is well and one that is not.
fn run(listener: &[&str]) -> Seen {
    let primary = RedisServer::standalone();
    let relay = Relay::start(primary.address());
    let well = RedisServer::replica_of(&primary, &[]);
    let mut ill = RedisServer::replica_at(relay.port(), &[]);
    let pointsman: Pointsman = Setup::primary([primary.address(), well.address(), ill.address()])
        .with(|setup| {
            setup.workers = 2;
            setup.reads = "prefer_replica";
            setup.max_lag_bytes = 1 << 36;
            // One that was killed is found again soon.
            setup.refresh_interval_ms = 100;
            // A read that meets a frozen replica is an error soon, so that the run goes on.
            setup.request_timeout_ms = 500;
            setup.listener_extra = listener.iter().map(|line| (*line).to_owned()).collect();
        })
        .allow(LOST)
        .allow(&["primary", "lag", "time", "stop"])
        .start();
    eventually("both replicas may be read from", || {
        let topology = pointsman.topology();
        let eligible = topology.to_string().matches("\"eligible\":true").count();
        check(eligible == 2, topology)
    });
    let mut random = Random::by_chance();
    let mut troubles = random.fork();
    let seen = sessions::run(&pointsman.address(), CLIENTS, span(), &mut random, |stop| {
        sessions::befall(&mut ill, &relay, &mut troubles, stop);
    });
    println!("{listener:?}: {seen}");
    let gets = well.info("commandstats", "cmdstat_get");
    assert!(gets.is_some(), "replicas were read from");
    assert!(seen.reads > 1000 && seen.writes > 500, "{seen}");
    seen
}

/// Without a promise none is kept: the checker can fail.
#[test]
fn t73_t74_without_sessions_the_checker_finds_violations() {
    let seen = run(&[]);
    assert!(seen.writes_missed > 0 && seen.went_back > 0, "{seen}");
}
