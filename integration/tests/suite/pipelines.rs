//! Ten thousand random pipelines against a model, with slots migrating under them: no reply may be
//! misordered, lost, doubled or crossed.
//!
//! Every client has keys of its own, so its replies are known to the byte. All written values are
//! unique, so a reply that belongs to somebody else cannot look right.

use pointsman_integration::client::words;
use pointsman_integration::model::KeyValues;
use pointsman_integration::mover::{during, slots_of};
use pointsman_integration::reply::show_request;
use pointsman_integration::{Cluster, Pointsman, Random, Reply, Setup, workload};
use std::thread;

const CLIENTS: usize = 8;
const PIPELINES: usize = 10_000;
const REQUESTS_MAX: usize = 30;
/// So many slots are moved meanwhile, at least.
const MOVES: usize = 20;

/// The keys of one client; their slots lie all over.
fn keys_of(client: usize) -> Vec<Vec<u8>> {
    (0..16).map(|n| format!("p{client}:{n}").into_bytes()).collect()
}

/// One client's share of the pipelines, and more until it is `enough`.
fn run_client(pointsman: &Pointsman, number: usize, mut random: Random, enough: impl Fn() -> bool) {
    let keys = keys_of(number);
    let mut model = KeyValues::default();
    let mut client = pointsman.client();
    let mut serial = 0;
    let mut pipeline = 0;
    while pipeline < PIPELINES / CLIENTS || !enough() {
        pipeline += 1;
        let requests: Vec<Vec<Vec<u8>>> = (0..1 + random.below(REQUESTS_MAX))
            .map(|_| workload::modelled(&mut random, &keys, &format!("c{number}"), &mut serial))
            .collect();
        for (place, (request, reply)) in requests.iter().zip(client.pipeline(&requests)).enumerate() {
            let expected = Reply(model.execute(request));
            assert_eq!(
                reply,
                expected,
                "client {number}, pipeline {pipeline}, request {place}: {}",
                show_request(request)
            );
        }
    }
    // Nothing is left over: the next reply is the next request's.
    assert_eq!(client.pipeline(&[words(&["ECHO", "end"])]), [Reply::bulk("end")]);
}

#[test]
fn t01_ten_thousand_random_pipelines_while_slots_migrate() {
    let cluster = Cluster::start(3, 0);
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| {
            setup.workers = 2;
            setup.connections_per_node = 2;
            setup.request_timeout_ms = 20_000;
        })
        .start();
    let mut random = Random::for_test(1);
    let all: Vec<Vec<u8>> = (0..CLIENTS).flat_map(keys_of).collect();
    let counters: Vec<Vec<u8>> = all.iter().map(|key| [b"counter:", key.as_slice()].concat()).collect();
    let slots = slots_of(&[all, counters].concat());
    let moved = during(&cluster, &slots, random.fork(), |moves| {
        thread::scope(|scope| {
            for number in 0..CLIENTS {
                let (pointsman, random) = (&pointsman, random.fork());
                scope.spawn(move || run_client(pointsman, number, random, || moves.done() >= MOVES));
            }
        });
        moves.done()
    });
    println!("{moved} slots were moved meanwhile");
    assert!(pointsman.metrics().sum("pointsman_redirects_total", &[]) > 0.0, "and the clients met the moves");
}

/// The same without migrations on the bundled nodes.
#[test]
fn t01_random_pipelines_onto_the_bundled_nodes() {
    let pointsman = Setup::embedded(3, 1).with(|setup| setup.workers = 2).start();
    let mut random = Random::for_test(2);
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (pointsman, random) = (&pointsman, random.fork());
            scope.spawn(move || run_client(pointsman, number, random, || true));
        }
    });
}
