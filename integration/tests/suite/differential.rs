//! Random commands through the proxy and to one standalone redis-server: the replies must be equal,
//! byte for byte, errors included.

use pointsman_integration::reply::show_request;
use pointsman_integration::{Cluster, Pointsman, Random, RedisServer, Setup, workload};

const REQUESTS: usize = 20_000;
const PIPELINE: usize = 50;

type Make = fn(&mut Random, &[Vec<u8>]) -> Vec<Vec<u8>>;

fn compare(pointsman: &Pointsman, make: Make, mut random: Random) {
    let server = RedisServer::standalone();
    let (mut proxied, mut alone) = (pointsman.client(), server.client());
    let keys: Vec<Vec<u8>> = (0..30).map(|n| format!("diff:{n}").into_bytes()).collect();
    // Other tests use the same cluster; ours must begin empty, like the server.
    let mut mine = keys.clone();
    mine.extend((0..8).flat_map(|tag| (0..4).map(move |n| format!("{{tag{tag}}}{n}").into_bytes())));
    for key in &mine {
        proxied.command(&[b"DEL", key.as_slice()]);
    }
    for _ in 0..REQUESTS / PIPELINE {
        let requests: Vec<Vec<Vec<u8>>> = (0..PIPELINE).map(|_| make(&mut random, &keys)).collect();
        let (ours, theirs) = (proxied.pipeline(&requests), alone.pipeline(&requests));
        for ((request, ours), theirs) in requests.iter().zip(ours).zip(theirs) {
            assert_eq!(ours, theirs, "{}", show_request(request));
        }
    }
}

#[test]
fn every_type_through_the_proxy_onto_a_cluster_as_on_one_server() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).with(|setup| setup.connections_per_node = 2).start();
    compare(&pointsman, workload::every_type, Random::for_test(3));
}

#[test]
fn strings_on_the_bundled_nodes_as_on_one_server() {
    let pointsman = Setup::embedded(3, 0).start();
    compare(&pointsman, workload::strings, Random::for_test(4));
}
