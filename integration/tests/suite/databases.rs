//! T31: SELECT is a client's own, wherever the nodes have databases.

use pointsman_integration::client::words;
use pointsman_integration::eventually::{check, eventually};
use pointsman_integration::{Client, Cluster, Pointsman, Random, RedisServer, Reply, Setup};

fn start() -> (RedisServer, Pointsman) {
    let server = RedisServer::standalone();
    let pointsman = Setup::primary([server.address()])
        .with(|setup| setup.connections_per_node = 2)
        .allow(&["lost", "closed", "reset"])
        .start();
    (server, pointsman)
}

#[test]
fn t31_databases_are_never_mixed_up_between_clients() {
    let (_server, pointsman) = start();
    let mut random = Random::new(31);
    let mut clients: Vec<(Client, usize)> = (0..8).map(|_| (pointsman.client(), 0)).collect();
    // What stands under the one key in each database, and who wrote it last.
    let mut expected: Vec<Option<String>> = vec![None; 16];
    for round in 0..1000 {
        let (client, database) = &mut clients[random.below(8)];
        let mut requests = Vec::new();
        let mut replies = Vec::new();
        // Pipelined, so that requests in several databases are on their way together.
        for step in 0..4 {
            match random.below(4) {
                0 => {
                    *database = random.below(16);
                    requests.push(words(&["SELECT", &database.to_string()]));
                    replies.push(Reply::ok());
                }
                1 => {
                    let value = format!("{round}.{step} in {database}");
                    requests.push(words(&["SET", "k", &value]));
                    replies.push(Reply::ok());
                    expected[*database] = Some(value);
                }
                _ => {
                    requests.push(words(&["GET", "k"]));
                    replies.push(expected[*database].as_ref().map_or_else(Reply::null, Reply::bulk));
                }
            }
        }
        assert_eq!(client.pipeline(&requests), replies, "round {round}: {requests:?}");
    }
}

#[test]
fn t31_a_lost_connection_comes_back_to_its_database() {
    let (server, pointsman) = start();
    let mut client = pointsman.client();
    client.line("SELECT 5");
    client.line("SET k five");
    for _ in 0..5 {
        server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
        eventually("it is read again", || {
            let reply = client.line("GET k");
            check(reply == Reply::bulk("five"), reply)
        });
    }
    assert!(pointsman.client().line("GET k").is_null());
}

/// The same lines to the server and through the proxy, on two empty servers: every answer is the same.
#[test]
fn t31_databases_as_the_server_has_them() {
    let (_behind, pointsman) = start();
    let oracle = RedisServer::standalone();
    let (mut ours, mut theirs) = (pointsman.client(), oracle.client());
    for line in [
        "SELECT 0",
        "SELECT 15",
        "SELECT 16",
        "SELECT -1",
        "SELECT x",
        "SELECT 99999999999",
        "SELECT",
        "SELECT 1",
        "SET k one",
        "GET k",
        "DBSIZE",
        "SELECT 2",
        "GET k",
        "DBSIZE",
        "SET k two",
        "KEYS *",
        "RANDOMKEY",
        "MOVE k 1",
        "MOVE k 3",
        "MOVE k 3",
        "MOVE nosuch 3",
        "MOVE k 99",
        "MOVE k x",
        "MOVE k 2",
        "EXISTS k",
        "SELECT 3",
        "GET k",
        "COPY k k2 DB 4",
        "COPY k k DB 3",
        "SELECT 4",
        "MGET k k2",
        "SWAPDB 3 4",
        "MGET k k2",
        "SWAPDB 3 99",
        "SWAPDB x 1",
        "SWAPDB 1 x",
        "FLUSHDB",
        "DBSIZE",
        "SELECT 1",
        "DBSIZE",
        "SCAN 0 COUNT 100",
        // Transactions: SELECT holds inside and afterwards.
        "MULTI",
        "SELECT 7",
        "SET k seven",
        "GET k",
        "SELECT 8",
        "GET k",
        "EXEC",
        "GET k",
        "SET k eight",
        "MULTI",
        "SELECT 9",
        "DISCARD",
        "GET k",
        "MULTI",
        "SELECT 77",
        "GET k",
        "SELECT x",
        "EXEC",
        "GET k",
        "MULTI",
        "SELECT 7",
        "NOSUCH",
        "EXEC",
        "GET k",
        "MULTI",
        "DBSIZE",
        "KEYS *",
        "MOVE k 10",
        "FLUSHDB",
        "SWAPDB 8 9",
        "EXEC",
        "DBSIZE",
        // What is watched stays watched in its database, and what is done is done in the new one.
        "SELECT 0",
        "WATCH w",
        "SELECT 1",
        "SET w other",
        "MULTI",
        "GET w",
        "EXEC",
        "SELECT 0",
        "WATCH w",
        "SET w changed",
        "SELECT 1",
        "MULTI",
        "SELECT 3",
        "GET w",
        "EXEC",
        "GET w",
        "SELECT 2",
        "LPUSH l x",
        "BLPOP l 1",
        "EVAL redis.call('select',5);return(redis.call('set','in','script')) 0",
        "GET in",
        "SELECT 5",
        "GET in",
        "RESET",
        "GET in",
        // What was watched, and the database that it was watched in, are forgotten with it.
        "SELECT 6",
        "WATCH w",
        "RESET",
        "MULTI",
        "SET w reset",
        "EXEC",
        "GET w",
        "SELECT 6",
        "EXISTS w",
        "SELECT 5",
        "FLUSHALL",
        "DBSIZE",
    ] {
        assert_eq!(ours.line(line), theirs.line(line), "{line}");
    }
    ours.line("SELECT 6");
    assert!(ours.line("CLIENT INFO").text().contains(" db=6 "));
    ours.line("SET k v");
    assert!(ours.line("INFO keyspace").text().contains("db6:keys=1,"));
}

#[test]
fn t31_waiting_and_scanning_go_on_in_their_database() {
    let (server, pointsman) = start();
    let (mut waiter, mut client) = (pointsman.client(), pointsman.client());
    waiter.line("SELECT 3");
    waiter.send(&["BLPOP", "list", "20"]);
    eventually("it waits", || {
        let blocked = server.info("clients", "blocked_clients");
        check(blocked.as_deref() == Some("1"), blocked)
    });
    client.line("RPUSH list wrong");
    client.line("SELECT 3");
    client.line("RPUSH list right");
    assert_eq!(waiter.read(), "*2\r\n$4\r\nlist\r\n$5\r\nright\r\n");
    let keys: Vec<Vec<Vec<u8>>> =
        (0..300).map(|number| words(&["SET", &format!("key:{number}"), "v"])).collect();
    client.pipeline(&keys);
    let (mut cursor, mut found) = (String::from("0"), 0);
    loop {
        let parts = client.command(&["SCAN", &cursor, "COUNT", "50"]).elements();
        found += parts[1].elements().len();
        cursor = parts[0].text();
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(found, 300);
}

#[test]
fn t31_bounds() {
    let server = RedisServer::with_options(&["--databases", "4"]);
    let pointsman = Setup::primary([server.address()]).start();
    let mut client = pointsman.client();
    assert_eq!(client.line("SELECT 3"), Reply::ok());
    assert_eq!(client.line("SELECT 4"), "-ERR DB index is out of range\r\n", "the server has four");
    assert_eq!(client.line("CONFIG GET databases").elements()[1], Reply::bulk("4"));
    let fewer = Setup::primary([server.address()])
        .with(|setup| setup.backend_extra.push("databases_max: 2".to_owned()))
        .start();
    let mut client = fewer.client();
    assert_eq!(client.line("SELECT 1"), Reply::ok());
    assert_eq!(client.line("SELECT 2"), "-ERR DB index is out of range\r\n", "the operator wants two");
    assert_eq!(client.line("CONFIG GET databases").elements()[1], Reply::bulk("2"));
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut client = pointsman.client();
    assert_eq!(client.line("SELECT 0"), Reply::ok());
    assert_eq!(client.line("SELECT 1"), "-ERR DB index is out of range\r\n", "a cluster has one");
}
