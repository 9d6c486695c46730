//! The differential test: one seeded stream of requests, every command of the table in it, goes to a single
//! redis-server and through the proxy to a cluster of three; every reply must be the same bytes.
//!
//! What is excepted stands in two tables: [`rules`], for replies that no two servers give alike, and
//! [`refusals`], for what the proxy refuses by design (the README's table is made from it). A command that is
//! neither drawn often enough nor excluded with a reason fails the test.
//!
//! `make test` sends the same streams every time. `POINTSMAN_DIFFERENTIAL=200000 integration/run differential` sends as
//! many requests, half of them from another seed each time; `POINTSMAN_TEST_SEED=n` repeats a stream.
//! A difference is shown with the fewest requests that show it again.

mod fates;
mod faults;
mod grammar;
mod lines_collections;
mod lines_connection;
mod lines_keyspace;
mod lines_scripts;
mod lines_sorted;
mod lines_strings;
mod pair;
mod refusals;
mod rules;
mod run;
mod shrink;
mod slots;
mod stream;
mod words;

use pointsman_integration::RedisServer;
use pointsman_integration::reply::show_request;
use pointsman_integration::{Pointsman, Random, Setup, workload};

/// How many requests `make test` sends; POINTSMAN_DIFFERENTIAL says another number.
const REQUESTS: usize = 60_000;

/// Rows of the command table of which nothing is drawn, and why.
const EXCLUDED: &[(&str, &str)] = &[
    ("MIGRATE", "it would move keys away from the nodes; refused"),
    ("RESTORE-ASKING", "for nodes among themselves; refused"),
    ("SCRIPT|DEBUG", "it makes the connection a debugger; refused"),
];

#[test]
fn t01_t24_t34_to_t42_three_shards_answer_as_one_server() {
    let (requests, second) = match std::env::var("POINTSMAN_DIFFERENTIAL") {
        Ok(text) => {
            (text.parse().expect("POINTSMAN_DIFFERENTIAL is a number of requests"), Random::by_chance())
        }
        Err(_) => (REQUESTS, Random::for_test(8)),
    };
    run::run(requests, vec![Random::for_test(3), second]);
}

/// The bundled nodes know strings and little else.
#[test]
fn strings_on_the_bundled_nodes_as_on_one_server() {
    let pointsman: Pointsman = Setup::embedded(3, 0).start();
    let server = RedisServer::standalone();
    let (mut proxied, mut alone) = (pointsman.client(), server.client());
    let keys: Vec<Vec<u8>> = (0..30).map(|n| format!("diff:{n}").into_bytes()).collect();
    let mut random = Random::for_test(4);
    for _ in 0..400 {
        let requests: Vec<Vec<Vec<u8>>> = (0..50).map(|_| workload::strings(&mut random, &keys)).collect();
        let (ours, theirs) = (proxied.pipeline(&requests), alone.pipeline(&requests));
        for ((request, ours), theirs) in requests.iter().zip(ours).zip(theirs) {
            assert_eq!(ours, theirs, "{}", show_request(request));
        }
    }
}
