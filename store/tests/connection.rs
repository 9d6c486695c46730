//! A node as a client meets it: framing, greeting, caps, the end of a connection.

mod common;

use common::{Client, eventually, primary};
use pointsman_protocol::resp::encode;
use pointsman_store::NodeLimits;

#[test]
fn t23_hello_switches_the_protocol_exactly_behind_its_reply() {
    let node = primary(NodeLimits::default());
    let mut client = Client::connect(node.address());
    let mut pipeline = Vec::new();
    for words in [
        &["GET", "none"][..],
        &["HELLO", "3", "SETNAME", "me"],
        &["GET", "none"],
        &["HELLO", "2"],
        &["GET", "none"],
    ] {
        encode::request(&mut pipeline, words);
    }
    client.send_bytes(&pipeline);
    assert_eq!(client.receive(), b"$-1\r\n");
    let hello = client.receive();
    assert!(
        hello.starts_with(b"%7\r\n$6\r\nserver\r\n$5\r\nredis\r\n"),
        "{}",
        String::from_utf8_lossy(&hello)
    );
    assert_eq!(client.receive(), b"_\r\n");
    assert!(client.receive().starts_with(b"*14\r\n"));
    assert_eq!(client.receive(), b"$-1\r\n");
    client.expect("CLIENT GETNAME", "$2\r\nme\r\n");
    client.expect("HELLO 4", "-NOPROTO unsupported protocol version\r\n");
    client.expect("HELLO x", "-ERR Protocol version is not an integer or out of range\r\n");
    client.expect("HELLO 2 AUTH default x", &client_hello(&mut Client::connect(node.address())));
    client
        .expect("HELLO 2 AUTH other x", "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    client.expect("HELLO 2 AUTH default", "-ERR Syntax error in HELLO option 'AUTH'\r\n");
    node.stop();
}

/// What HELLO answers the first client of a node.
fn client_hello(other: &mut Client) -> String {
    other.ask("HELLO 2").replace(":2\r\n$4\r\nmode", ":1\r\n$4\r\nmode")
}

#[test]
fn replies_in_resp3_have_its_types() {
    let node = primary(NodeLimits::default());
    let mut client = Client::connect(node.address());
    client.ask("HELLO 3");
    client.expect("GET none", "_\r\n");
    client.expect("MGET none none", "*2\r\n_\r\n_\r\n");
    client.expect("CONFIG GET save", "%1\r\n$4\r\nsave\r\n$0\r\n\r\n");
    client.expect("COMMAND INFO nosuch", "*1\r\n_\r\n");
    assert!(client.ask("CLIENT INFO").starts_with('='));
    assert!(client.ask("INFO server").contains("\r\ntxt:# Server\r\n"));
    assert!(client.ask("COMMAND INFO get").contains("~2\r\n+readonly\r\n+fast\r\n"));
    let mut client = Client::connect(node.address());
    client.expect("CONFIG GET save", "*2\r\n$4\r\nsave\r\n$0\r\n\r\n");
    client.expect("COMMAND INFO nosuch", "*1\r\n*-1\r\n");
    assert!(client.ask("CLIENT INFO").starts_with('$'));
    node.stop();
}

#[test]
fn t26_client_reply_withholds_exactly_what_it_says() {
    let node = primary(NodeLimits::default());
    let mut client = Client::connect(node.address());
    client.send_bytes(b"CLIENT REPLY SKIP\r\nSET a 1\r\nGET a\r\nCLIENT REPLY OFF\r\nGET a\r\nGET a\r\nCLIENT REPLY ON\r\nPING\r\n");
    assert_eq!(client.receive(), b"$1\r\n1\r\n");
    assert_eq!(client.receive(), b"+OK\r\n");
    assert_eq!(client.receive(), b"+PONG\r\n");
    node.stop();
}

#[test]
fn reset_and_quit() {
    let node = primary(NodeLimits::default());
    let mut client = Client::connect(node.address());
    client.ask("HELLO 3 SETNAME me");
    client.expect("RESET", "+RESET\r\n");
    client.expect("CLIENT GETNAME", "$-1\r\n");
    client.send_bytes(b"QUIT\r\nPING\r\n");
    assert_eq!(client.receive_all(), b"+OK\r\n");
    node.stop();
}

#[test]
fn clients_are_listed_while_they_are_there() {
    let node = primary(NodeLimits::default());
    let mut client = Client::connect(node.address());
    let mut other = Client::connect(node.address());
    client.expect("CLIENT SETNAME first", "+OK\r\n");
    client.expect("CLIENT SETINFO LIB-NAME tests", "+OK\r\n");
    client.expect("CLIENT SETINFO LIB-VER 1.0", "+OK\r\n");
    client.expect("CLIENT SETINFO nosuch x", "-ERR Unrecognized option 'nosuch'\r\n");
    let set_name = client.call(&["CLIENT", "SETNAME", "a b"]);
    assert_eq!(set_name, b"-ERR Client names cannot contain spaces, newlines or special characters.\r\n");
    let library = client.call(&["CLIENT", "SETINFO", "LIB-NAME", "a b"]);
    assert_eq!(library, b"-ERR lib-name cannot contain spaces, newlines or special characters.\r\n");
    let list = other.ask("CLIENT LIST");
    assert!(list.contains("name=first"), "{list}");
    assert!(list.contains("lib-name=tests lib-ver=1.0"), "{list}");
    assert!(list.contains(&format!("addr={}", client.local_address())), "{list}");
    assert_eq!(list.matches("id=").count(), 2);
    let id = client.ask("CLIENT ID");
    assert_eq!(other.ask(&format!("CLIENT LIST ID {}", &id[1..id.len() - 2])).matches("id=").count(), 1);
    other.expect("CLIENT LIST TYPE replica", "$0\r\n\r\n");
    other.expect("CLIENT LIST TYPE nosuch", "-ERR Unknown client type 'nosuch'\r\n");
    drop(client);
    eventually("the client is gone from the list", || {
        (other.ask("CLIENT LIST").matches("id=").count() == 1).then_some(())
    });
    assert_eq!(other.info("connected_clients"), "1");
    node.stop();
}

#[test]
fn one_client_too_many_is_told_so() {
    let node = primary(NodeLimits { clients_max: 2, ..NodeLimits::default() });
    let mut first = Client::connect(node.address());
    let mut second = Client::connect(node.address());
    first.expect("PING", "+PONG\r\n");
    second.expect("PING", "+PONG\r\n");
    let mut third = Client::connect(node.address());
    assert_eq!(third.receive_all(), b"-ERR max number of clients reached\r\n");
    drop(second);
    eventually("there is room again", || {
        let mut client = Client::connect(node.address());
        client.send_bytes(b"PING\r\nQUIT\r\n");
        (client.receive_all() == b"+PONG\r\n+OK\r\n").then_some(())
    });
    assert!(first.info("rejected_connections").parse::<u64>().unwrap() >= 1);
    node.stop();
}

#[test]
fn large_values_come_and_go_in_many_pieces() {
    let node = primary(NodeLimits::default());
    let mut client = Client::connect(node.address());
    let value: Vec<u8> = (0..8_000_000u32).map(|at| (at % 251) as u8).collect();
    assert_eq!(client.call(&[&b"SET"[..], b"large", &value]), b"+OK\r\n");
    let reply = client.call(&["GET", "large"]);
    assert_eq!(&reply[10..reply.len() - 2], value);
    // Behind a pipeline of them everything is still in order.
    let mut pipeline = Vec::new();
    for number in 0..20 {
        encode::request(&mut pipeline, &["GET", "large"]);
        encode::request(&mut pipeline, &["ECHO", &number.to_string()]);
    }
    client.send_bytes(&pipeline);
    for number in 0..20 {
        assert_eq!(client.receive().len(), reply.len());
        let number = number.to_string();
        assert_eq!(client.receive(), format!("${}\r\n{number}\r\n", number.len()).into_bytes());
    }
    client.expect("APPEND large x", ":8000001\r\n");
    client.expect("GETRANGE large 7999999 -1", &format!("$2\r\n{}x\r\n", (7_999_999 % 251) as u8 as char));
    node.stop();
}

#[test]
fn t93_a_client_that_takes_no_replies_holds_up_nobody_and_little_memory() {
    let limits =
        NodeLimits { output_bytes_pause: 1 << 16, output_bytes_max: 1 << 22, ..NodeLimits::default() };
    let node = primary(limits);
    let mut reader = Client::connect(node.address());
    let value = "v".repeat(100_000);
    reader.call(&["SET", "k", &value]);
    let mut greedy = Client::connect(node.address());
    let mut pipeline = Vec::new();
    (0..2000).for_each(|_| encode::request(&mut pipeline, &["GET", "k"]));
    greedy.send_bytes(&pipeline);
    // Two hundred megabytes of replies are asked for; others are served meanwhile.
    let before = reader.info("total_commands_processed").parse::<u64>().unwrap();
    for _ in 0..100 {
        reader.expect("PING", "+PONG\r\n");
    }
    let executed = reader.info("total_commands_processed").parse::<u64>().unwrap() - before;
    assert!(executed < 1000, "{executed} commands ran although their replies were not taken");
    for _ in 0..2000 {
        assert_eq!(greedy.receive().len(), value.len() + 11);
    }
    // A reply beyond the hard cap is refused; a connection for which more waits is ended.
    let large = "v".repeat(3_000_000);
    reader.call(&["SET", "large", &large]);
    let refused =
        "-ERR the reply would be larger than 4194304 bytes, the most that may wait for a client\r\n";
    reader.expect("MGET large large", refused);
    reader.call(&["SET", "large", &"v".repeat(20_000_000)]);
    let mut greedy = Client::connect(node.address());
    greedy.send(&["GET", "large"]);
    eventually("the greedy client is cut off", || {
        (reader.info("client_output_buffer_limit_disconnections") == "1").then_some(())
    });
    reader.expect("PING", "+PONG\r\n");
    node.stop();
}

#[test]
fn t17_one_long_pipeline_does_not_starve_others() {
    let node = primary(NodeLimits { commands_per_turn: 16, ..NodeLimits::default() });
    let mut busy = Client::connect(node.address());
    let mut pipeline = Vec::new();
    (0..200_000).for_each(|_| encode::request(&mut pipeline, &["INCR", "n"]));
    let address = node.address().clone();
    let writer = std::thread::spawn(move || {
        busy.send_bytes(&pipeline);
        let mut last = Vec::new();
        (0..200_000).for_each(|_| last = busy.receive());
        last
    });
    let mut other = Client::connect(&address);
    let mut values = std::collections::BTreeSet::new();
    eventually("the pipeline is done", || {
        let value = other.ask("GET n");
        values.insert(value.clone());
        value.contains("200000").then_some(())
    });
    assert_eq!(writer.join().unwrap(), b":200000\r\n");
    assert!(values.len() > 3, "the other client saw nothing of what happened in between: {values:?}");
    node.stop();
}

#[test]
fn stopping_ends_connections_and_frees_the_port() {
    let node = primary(NodeLimits::default());
    let address = node.address().clone();
    let mut client = Client::connect(&address);
    client.expect("SET a 1", "+OK\r\n");
    eventually("the count of keys is shown", || (node.keys() == 1).then_some(()));
    assert!(!node.has_ended());
    node.stop();
    assert_eq!(client.receive_all(), b"");
    assert!(std::net::TcpStream::connect((address.host(), address.port())).is_err());
    drop(std::net::TcpListener::bind((address.host(), address.port())).expect("the port is free again"));
}

#[test]
fn errors_and_introspection() {
    let node = primary(NodeLimits::default());
    let mut client = Client::connect(node.address());
    for (line, reply) in [
        ("LPUSH l 1", "-ERR unknown command 'LPUSH', with args beginning with: 'l' '1' \r\n"),
        ("MULTI", "-ERR unknown command 'MULTI', with args beginning with: \r\n"),
        ("CLIENT NOSUCH", "-ERR unknown subcommand 'NOSUCH'. Try CLIENT HELP.\r\n"),
        ("CLIENT", "-ERR wrong number of arguments for 'client' command\r\n"),
        ("CLIENT ID x", "-ERR wrong number of arguments for 'client|id' command\r\n"),
        (
            "CONFIG SET save x",
            "-ERR CONFIG SET failed (possibly related to argument 'save') - can't set immutable config\r\n",
        ),
        ("CONFIG SET nosuch x", "-ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'\r\n"),
        ("CONFIG REWRITE", "-ERR The server is running without a config file\r\n"),
        ("CONFIG RESETSTAT", "+OK\r\n"),
        ("CONFIG GET appendon*", "*2\r\n$10\r\nappendonly\r\n$2\r\nno\r\n"),
        ("CLUSTER INFO", "-ERR This instance has cluster support disabled\r\n"),
        ("READONLY", "-ERR This instance has cluster support disabled\r\n"),
        ("SELECT 1", "-ERR DB index is out of range\r\n"),
        (
            "AUTH pw",
            "-ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?\r\n",
        ),
        ("WAIT 0 0", ":0\r\n"),
        ("WAIT 0 -1", "-ERR timeout is negative\r\n"),
        ("ROLE", "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"),
        ("COMMAND GETKEYS SET k v", "*1\r\n$1\r\nk\r\n"),
        ("COMMAND GETKEYS PING", "-ERR The command has no key arguments\r\n"),
        ("COMMAND GETKEYS NOSUCH", "-ERR Invalid command specified\r\n"),
        ("POINTSMAN", "-ERR POINTSMAN is for nodes: SYNC <version> <epoch> <log> <offset> <port>\r\n"),
        ("SCAN x", "-ERR invalid cursor\r\n"),
        ("SCAN 0 COUNT 0", "-ERR syntax error\r\n"),
        ("SCAN 0 COUNT x", "-ERR value is not an integer or out of range\r\n"),
        ("SCAN 0", "*2\r\n$1\r\n0\r\n*0\r\n"),
        ("RANDOMKEY", "$-1\r\n"),
        ("DBSIZE", ":0\r\n"),
        ("OBJECT FREQ none", "$-1\r\n"),
    ] {
        client.expect(line, reply);
    }
    assert!(client.info("redis_version").starts_with("7.2."));
    assert_eq!(client.info("redis_mode"), "standalone");
    assert_eq!(client.info("cluster_enabled"), "0");
    client.ask("SET a 1");
    client.ask("SET b 1 EX 1000");
    assert_eq!(client.info("db0"), "keys=2,expires=1,avg_ttl=0");
    assert!(client.ask("INFO keyspace").contains("# Keyspace\r\ndb0:"));
    assert!(!client.ask("INFO keyspace").contains("# Server"));
    let count: usize = client.ask("COMMAND COUNT").trim_start_matches(':').trim_end().parse().unwrap();
    assert!(client.ask("COMMAND").starts_with(&format!("*{count}\r\n")));
    assert!(client.ask("COMMAND LIST FILTERBY PATTERN ge*").contains("getrange"));
    node.stop();
}
