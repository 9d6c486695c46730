//! What this version does not carry is refused in words, in order, without closing the connection
//! and without a byte to any node.

use pointsman_integration::client::words;
use pointsman_integration::{Cluster, Fake, RedisServer, Reply, Setup};

#[test]
fn t32_what_belongs_to_one_connection_or_one_node_is_refused() {
    let fake = Fake::start(2, 0);
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    for line in [
        "EXEC",
        "DISCARD",
        "ASKING",
        "MIGRATE 127.0.0.1 1 k 0 1000",
        "REPLICAOF NO ONE",
        "SLAVEOF NO ONE",
        "DEBUG SLEEP 0",
        "SHUTDOWN",
        "SYNC",
        "PSYNC ? -1",
        "FAILOVER",
        "CLUSTER RESET",
        "CLUSTER FAILOVER",
        "CLUSTER SETSLOT 1 NODE x",
        "CLUSTER FORGET x",
        "CONFIG SET maxmemory 1",
        "CONFIG REWRITE",
        "CONFIG SET port 1",
        "ACL SETUSER me on",
        "ACL LIST",
        "MODULE LOAD x.so",
        "READONLY",
        "READWRITE",
        "SELECT 1",
        "SWAPDB 0 1",
        "MOVE k 1",
        "SAVE",
        "BGSAVE",
        "BGREWRITEAOF",
        "RESTORE-ASKING k 0 x",
    ] {
        let replies = client.pipeline(&[
            line.split(' ').map(|word| word.as_bytes().to_vec()).collect(),
            words(&["ECHO", line]),
        ]);
        assert!(replies[0].is_error(), "{line}: {}", replies[0]);
        assert_eq!(replies[1], Reply::bulk(line), "the connection goes on");
        let name = line.split(' ').next().unwrap();
        // The proxy's own questions to the nodes are none of these.
        let sent = fake
            .received(|received| received.line() == line || (received.is(name) && !received.is("CLUSTER")));
        let own = ["SELECT", "CONFIG", "CLIENT"].contains(&name);
        assert!(sent.is_empty() || own, "{line} reached a node: {sent:?}");
    }
}

#[test]
fn t22_unknown_commands_answer_as_a_server_does() {
    let fake = Fake::start(1, 0);
    let server = RedisServer::standalone();
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut proxied = pointsman.client();
    let mut alone = server.client();
    for line in [
        "NOSUCH",
        "NOSUCH a b c",
        "nosuch aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa b c",
        "GET",
        "GET a b",
        "SET a",
        "MSET a b c",
        "mget",
    ] {
        assert_eq!(proxied.line(line), alone.line(line), "{line}");
    }
}

#[test]
fn t33_no_backend_shows_through() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let mut client = pointsman.client();
    for line in [
        "INFO",
        "CLUSTER SLOTS",
        "CLUSTER NODES",
        "CLUSTER SHARDS",
        "CLUSTER INFO",
        "ROLE",
        "HELLO",
        "CLIENT LIST",
        "CLIENT INFO",
        "INFO replication",
        "INFO everything",
        "CONFIG GET *",
        "CLUSTER MYID",
        "CLUSTER LINKS",
        "CLUSTER REPLICAS x",
        "MODULE LIST",
        "ACL USERS",
        "CLIENT HELP",
        "COMMAND DOCS cluster",
        "HELLO 3",
        "INFO",
        "CLIENT LIST",
    ] {
        let reply = client.line(line);
        for node in cluster.nodes() {
            // As a number of its own: a clock or a random name may hold the same digits.
            let port = node.port().to_string();
            let mut words = reply.0.split(|byte| !byte.is_ascii_alphanumeric());
            assert!(!words.any(|word| word == port.as_bytes()), "{line} tells of port {port}: {reply}");
        }
    }
}

#[test]
fn t31_selecting_another_database_never_moves_a_shared_connection() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).start();
    let (mut one, mut other) = (pointsman.client(), pointsman.client());
    assert_eq!(one.line("SELECT 0"), Reply::ok());
    for round in 0..100 {
        let value = round.to_string();
        assert!(one.line("SELECT 1").is_error());
        assert_eq!(one.command(&["SET", "t31:k", &value]), Reply::ok());
        assert_eq!(other.line("GET t31:k"), Reply::bulk(&value));
    }
}
