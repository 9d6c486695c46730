//! Resharding by redis-cli while clients count: exact counts, no error seen.

use pointsman_integration::client::words;
use pointsman_integration::eventually::StopOnDrop;
use pointsman_integration::fake::key_on;
use pointsman_integration::{Cluster, Setup};
use pointsman_protocol::Slot;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

#[test]
fn t05_counters_stay_exact_while_redis_cli_reshards() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| {
            setup.workers = 2;
            setup.request_timeout_ms = 20_000;
        })
        .start();
    // redis-cli takes the lowest slots of the giving node: the counters lie there.
    let mut keys: Vec<(u16, String)> = (0..3000)
        .map(|n| key_on(0, 3, "count", n))
        .map(|key| (Slot::of(key.as_bytes()).number(), key))
        .collect();
    keys.sort();
    let keys: Vec<String> = keys.into_iter().map(|(_, key)| key).take(40).collect();
    let from = cluster.primary_of(&keys[0]);

    let stop = AtomicBool::new(false);
    let counted: Vec<Vec<i64>> = thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let (stop, keys, pointsman) = (&stop, &keys, &pointsman);
                scope.spawn(move || {
                    let mut client = pointsman.client();
                    let mut counts = vec![0; keys.len()];
                    let mut last = vec![0; keys.len()];
                    while !stop.load(Ordering::Relaxed) {
                        let requests: Vec<_> = keys.iter().map(|key| words(&["INCR", key])).collect();
                        for (place, reply) in client.pipeline(&requests).iter().enumerate() {
                            assert!(!reply.is_error(), "{reply}");
                            assert!(reply.int() > last[place], "a counter of one client only grows");
                            last[place] = reply.int();
                            counts[place] += 1;
                        }
                    }
                    counts
                })
            })
            .collect();
        let stopping = StopOnDrop(&stop);
        let to = (from + 1) % 3;
        cluster.reshard(from, to, 60);
        cluster.wait_until_primaries_agree();
        cluster.reshard(to, from, 30);
        drop(stopping);
        clients.into_iter().map(|client| client.join().expect("the client's checks held")).collect()
    });
    let mut client = pointsman.client();
    for (place, key) in keys.iter().enumerate() {
        let sum: i64 = counted.iter().map(|counts| counts[place]).sum();
        assert_eq!(client.command(&["GET", key]).text(), sum.to_string(), "{key}");
    }
    assert!(
        pointsman.metrics().sum("pointsman_redirects_total", &[]) > 0.0,
        "the slots did move under the clients"
    );
}
