//! The oracle of the random tests, judged by redis-server.

use pointsman_integration::model::KeyValues;
use pointsman_integration::reply::show_request;
use pointsman_integration::{Random, RedisServer, Reply, workload};

#[test]
fn the_model_answers_as_redis_server_does() {
    let server = RedisServer::standalone();
    let mut client = server.client();
    let mut model = KeyValues::default();
    let mut random = Random::for_test(35);
    let keys: Vec<Vec<u8>> = (0..12).map(|n| format!("k{n}").into_bytes()).collect();
    let mut serial = 0;
    let requests: Vec<Vec<Vec<u8>>> =
        (0..20_000).map(|_| workload::modelled(&mut random, &keys, "oracle", &mut serial)).collect();
    let replies = client.pipeline(&requests);
    for (request, reply) in requests.iter().zip(replies) {
        assert_eq!(Reply(model.execute(request)), reply, "{}", show_request(request));
    }
}

#[test]
fn random_requests_meet_every_type_and_mostly_succeed() {
    let server = RedisServer::standalone();
    let mut random = Random::for_test(36);
    let keys: Vec<Vec<u8>> = (0..12).map(|n| format!("k{n}").into_bytes()).collect();
    let requests: Vec<Vec<Vec<u8>>> = (0..10_000).map(|_| workload::every_type(&mut random, &keys)).collect();
    let replies = server.client().pipeline(&requests);
    let errors = replies.iter().filter(|reply| reply.is_error()).count();
    let unknown =
        replies.iter().filter(|reply| reply.is_error() && reply.error().contains("unknown command"));
    assert!(errors < replies.len() / 2, "{errors} errors of {}", replies.len());
    for reply in unknown {
        assert!(reply.error().contains("'nosuch'"), "{reply}");
    }
    let wrong_type = replies.iter().filter(|reply| reply.is_error_of("WRONGTYPE")).count();
    assert!(wrong_type > 100, "types must meet: {wrong_type}");
}
