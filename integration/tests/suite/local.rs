//! T20 to T33 where the proxy itself answers: the same bytes as one redis-server, with both protocol
//! versions. What must differ (the version, the number of a client) is taken out on both sides; the one
//! database of a cluster is the server's only one, too.

use crate::local_lines::{HANDSHAKES, LINES};
use pointsman_integration::client::words;
use pointsman_integration::fake::{Act, Rule};
use pointsman_integration::{Client, Cluster, Fake, Pointsman, RedisServer, Reply, Setup};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// In a reply to HELLO: no version, no id.
fn scrubbed(reply: &Reply) -> String {
    let text = String::from_utf8_lossy(&reply.0).into_owned();
    let mut lines: Vec<&str> = text.split("\r\n").collect();
    for at in 0..lines.len() {
        if lines[at] == "version" && at + 2 < lines.len() {
            lines[at + 1] = "$";
            lines[at + 2] = "VERSION";
        }
        if lines[at] == "id" && at + 1 < lines.len() {
            lines[at + 1] = ":ID";
        }
    }
    // The words of 7.2 for those of 7.0.
    lines.join("\r\n").replace("the HELLO <proto> AUTH <user>", "the HELLO AUTH <user>")
}

fn one_database() -> RedisServer {
    RedisServer::with_options(&["--databases", "1"])
}

/// Sends the lines to both, one after another, and compares every reply.
#[track_caller]
fn compare(pointsman: &Pointsman, server: &RedisServer, lines: &[&str]) {
    let (mut proxied, mut alone) = (pointsman.client(), server.client());
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let (ours, theirs) = (proxied.command(&words), alone.command(&words));
        assert_eq!(scrubbed(&ours), scrubbed(&theirs), "'{line}' among {lines:?}");
    }
}

/// Sends the same bytes to both, says that there will be no more, and compares all that comes until
/// they close.
#[track_caller]
fn compare_bytes(pointsman: &Pointsman, server: &RedisServer, bytes: &[u8]) {
    let all = |address: String| {
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
        stream.write_all(bytes).expect("it reads");
        // A server that closed already is no fault.
        let _ = stream.shutdown(Shutdown::Write);
        let mut out = Vec::new();
        // A reset behind an error is a close.
        let _ = stream.read_to_end(&mut out);
        scrubbed(&Reply(out))
    };
    assert_eq!(all(pointsman.address()), all(server.address()), "{}", bytes.escape_ascii());
}

#[test]
fn t23_t29_handshakes_are_answered_as_by_one_server() {
    let (fake, server) = (Fake::start(1, 0), one_database());
    let pointsman = Setup::cluster(fake.addresses()).start();
    HANDSHAKES.iter().for_each(|lines| compare(&pointsman, &server, lines));
}

#[test]
fn t23_t29_handshakes_with_a_password_are_answered_as_by_one_server() {
    let fake = Fake::start(1, 0);
    let server = RedisServer::with_options(&["--databases", "1"]);
    assert_eq!(server.command(&["CONFIG", "SET", "requirepass", "sesame"]), Reply::ok());
    let pointsman =
        Setup::cluster(fake.addresses()).with(|setup| setup.password = Some("sesame".into())).start();
    HANDSHAKES.iter().filter(|lines| !lines[0].starts_with("AUTH")).for_each(|lines| {
        compare(&pointsman, &server, lines);
    });
    for lines in [
        &["PING", "GET a", "NOSUCH", "GET", "CLIENT ID", "CLIENT", "COMMAND", "QUIT x"][..],
        &["AUTH", "AUTH x", "AUTH default x", "AUTH nobody sesame", "AUTH a b c", "AUTH sesame", "PING"],
        // A wrong one behind a right one changes nothing.
        &["AUTH default sesame", "AUTH wrong", "PING", "HELLO 3 AUTH default wrong", "PING", "RESET", "PING"],
        &["HELLO 3 AUTH default sesame SETNAME me", "CLIENT GETNAME", "RESET", "PING", "AUTH sesame", "PING"],
        &[
            "HELLO 3",
            "HELLO 2 SETNAME x",
            "HELLO 9",
            "HELLO 3 AUTH default wrong",
            "HELLO 3 AUTH default sesame",
        ],
        &["RESET", "RESET x", "HELLO 3 auth default sesame", "CLIENT GETNAME"],
    ] {
        compare(&pointsman, &server, lines);
    }
    // In one write: nothing before the right one, everything behind it.
    compare_bytes(
        &pointsman,
        &server,
        b"PING\r\nAUTH no\r\nSET k stolen\r\nAUTH sesame\r\nPING\r\nHELLO 3\r\nCLIENT GETNAME\r\nAUTH no\r\nPING\r\n",
    );
}

#[test]
fn t27_t32_what_the_proxy_answers_itself_is_what_a_server_answers() {
    let (fake, server) = (Fake::start(1, 0), one_database());
    let pointsman = Setup::cluster(fake.addresses()).with(|setup| setup.workers = 2).start();
    for protocol in ["2", "3"] {
        let (mut proxied, mut alone) = (pointsman.client(), server.client());
        let mut differences = Vec::new();
        let hello = format!("HELLO {protocol}");
        for line in std::iter::once(hello.as_str()).chain(LINES.iter().copied()) {
            let words: Vec<&str> = line.split(' ').collect();
            let (ours, theirs) = (scrubbed(&proxied.command(&words)), scrubbed(&alone.command(&words)));
            if ours != theirs {
                differences.push(format!("{line}\n     ours {ours:?}\n   theirs {theirs:?}"));
            }
        }
        assert!(differences.is_empty(), "RESP{protocol}:\n{}", differences.join("\n"));
    }
}

/// Commands whose rows changed with 7.2, which the proxy's table follows: blocking ones may stand in
/// scripts, ZRANK takes WITHSCORE, COMMAND GETKEYS a request of one word.
const CHANGED_WITH_7_2: [&str; 13] = [
    "blmove",
    "blpop",
    "brpop",
    "brpoplpush",
    "bzpopmax",
    "bzpopmin",
    "wait",
    "zrank",
    "zrevrank",
    "command|getkeys",
    "command|getkeysandflags",
    "cluster|slots",
    "cluster|shards",
];

#[test]
fn t27_command_info_has_the_shape_of_a_server() {
    let (fake, server) = (Fake::start(1, 0), one_database());
    let pointsman = Setup::cluster(fake.addresses()).start();
    for protocol in ["2", "3"] {
        let (mut proxied, mut alone) = (pointsman.client(), server.client());
        let _ = (proxied.line(&format!("HELLO {protocol}")), alone.line(&format!("HELLO {protocol}")));
        let names: Vec<String> = alone.line("COMMAND LIST").elements().iter().map(Reply::text).collect();
        assert!(names.len() > 200);
        let mut differences = Vec::new();
        for name in names {
            let (ours, theirs) =
                (proxied.command(&["COMMAND", "INFO", &name]), alone.command(&["COMMAND", "INFO", &name]));
            // The subcommands, which are the last element, have no order.
            let heads = |reply: &Reply| reply.elements()[0].elements()[..9].to_vec();
            let same = !ours.elements()[0].is_null() && heads(&ours) == heads(&theirs);
            if same || CHANGED_WITH_7_2.contains(&name.as_str()) {
                continue;
            }
            differences.push(format!("{name}\n     ours {ours}\n   theirs {theirs}"));
        }
        assert!(differences.is_empty(), "RESP{protocol}:\n{}", differences.join("\n"));
        let all = proxied.line("COMMAND").elements();
        assert_eq!(all.len() as i64, proxied.line("COMMAND COUNT").int());
        assert_eq!(all.len(), proxied.line("COMMAND LIST").elements().len());
        assert_eq!(all.len(), proxied.line("COMMAND INFO").elements().len());
    }
}

#[test]
fn t26_client_reply_withholds_exactly_what_a_server_withholds() {
    let (cluster, server) = (Cluster::shared(), one_database());
    let pointsman = Setup::cluster(cluster.addresses()).start();
    for lines in [
        "CLIENT REPLY OFF;PING;GET t26:none;CLIENT REPLY SKIP;CLIENT REPLY ON;PING",
        "CLIENT REPLY SKIP;PING;PING",
        "CLIENT REPLY SKIP;GET t26:none;GET t26:none;PING",
        "CLIENT REPLY SKIP;MGET t26:a t26:b t26:c;MGET t26:a t26:b t26:c",
        "CLIENT REPLY SKIP;;PING;PING",
        "CLIENT REPLY SKIP;CLIENT REPLY ON;CLIENT REPLY SKIP;CLIENT REPLY SKIP;PING;PING",
        "CLIENT REPLY SKIP;CLIENT REPLY OFF;PING;CLIENT REPLY SKIP;PING;RESET;PING",
        "CLIENT REPLY SKIP;NOSUCH;PING;CLIENT REPLY OFF;CLIENT REPLY FOO;GET;HELLO 9;CLIENT REPLY ON",
        "CLIENT REPLY SKIP;CLIENT REPLY FOO;PING",
        "CLIENT REPLY OFF;HELLO 3;CLIENT REPLY ON;PING;GET t26:none",
        "PING;CLIENT REPLY OFF;QUIT",
        "PING;CLIENT REPLY OFF;PING;PING",
        "CLIENT REPLY OFF;DEL t26:c;SET t26:c 1;INCR t26:c;CLIENT REPLY ON;GET t26:c;DEL t26:c t26:d",
        "CLIENT REPLY SKIP;CLIENT KILL ID 99999999;PING;CLIENT REPLY SKIP;INFO nosuch;PING",
        "CLIENT REPLY OFF;CLIENT KILL ID 99999999;CLIENT UNPAUSE;INFO;CLIENT REPLY ON",
        "client reply off;CLIENT REPLY on;CLIENT REPLY on x;PING",
    ] {
        let bytes: Vec<u8> = lines.split(';').flat_map(|line| [line.as_bytes(), b"\r\n"].concat()).collect();
        compare_bytes(&pointsman, &server, &bytes);
    }
    // What breaks the protocol is not told either, and closes.
    compare_bytes(&pointsman, &server, b"PING\r\nCLIENT REPLY OFF\r\n*1\r\n:3\r\nPING\r\n");
}

#[test]
fn t26_redirects_are_followed_while_replies_are_off() {
    let fake = Fake::start(2, 0);
    let key = pointsman_integration::fake::key_on(0, 2, "t26", 0);
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    assert_eq!(client.command(&["SET", &key, "0"]), Reply::ok());
    client.send(&["CLIENT", "REPLY", "OFF"]);
    fake.move_slot(pointsman_protocol::Slot::of(key.as_bytes()), 1);
    for _ in 0..20 {
        client.send(&["INCR", &key]);
    }
    client.send(&["CLIENT", "REPLY", "ON"]);
    assert_eq!(client.read(), Reply::ok());
    assert_eq!(client.command(&["GET", &key]), Reply::bulk("20"));
    assert!(
        !fake.received(|received| received.node == 0 && received.is("INCR")).is_empty(),
        "it was redirected"
    );
}

#[test]
fn t20_inline_commands_are_read_as_by_a_server() {
    let (cluster, server) = (Cluster::shared(), one_database());
    let pointsman = Setup::cluster(cluster.addresses()).start();
    for bytes in [
        &b"PING\r\nECHO \"a b\\r\\n\\x41\\\"\"\r\n  ECHO   'it\\'s'  \r\n\r\n\n\nPING\n"[..],
        b"SET t20:k \"v 1\"\r\n*2\r\n$3\r\nGET\r\n$5\r\nt20:k\r\nGET t20:k\r\nMGET t20:k t20:none\r\nDEL t20:k\r\n",
        b"PING\r\nECHO \"a\r\nPING\r\n",
        b"PING\r\nECHO \"a\"b\r\nPING\r\n",
        b"ECHO ''\r\nECHO \"\"\r\nECHO \"\\q\\x4z\"\r\n",
        b"*0\r\n*-1\r\nPING\r\n",
        b"*1\r\n$4\r\nPING\r\n*1\r\n$-1\r\nPING\r\n",
        b"PING\r\n*1\r\n+PING\r\nPING\r\n",
        b"PING\r\n*x\r\nPING\r\n",
        b"PING\r\n*1\r\n$x\r\nPING\r\n",
        b"PING\r\nQUIT\r\nPING\r\n",
        b"PING\r\nQUIT now\r\nPING\r\n",
        b"*1\r\n$0\r\n\r\nPING\r\n",
        b"HELLO 3\r\nPING\r\nHELLO 2\r\nPING\r\nRESET\r\nQUIT\r\n",
        b"GET t20:none\r\nHELLO 3\r\nGET t20:none\r\nHELLO 2\r\nGET t20:none\r\n",
    ] {
        compare_bytes(&pointsman, &server, bytes);
    }
}

#[test]
fn t32_a_browser_cannot_be_made_to_send_commands() {
    let (cluster, server) = (Cluster::shared(), one_database());
    let pointsman = Setup::cluster(cluster.addresses()).allow(&["speaks HTTP"]).start();
    for bytes in [
        &b"PING\r\nPOST / HTTP/1.1\r\nHost: victim\r\n\r\nSET t32:k stolen\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: victim\r\n\r\nSET t32:k stolen\r\n",
    ] {
        let mut client = pointsman.client();
        client.send_bytes(bytes);
        assert!(client.is_closed_within(Duration::from_secs(10)));
        let mut alone = server.client();
        alone.send_bytes(bytes);
        assert!(alone.is_closed_within(Duration::from_secs(10)), "as a server does");
    }
    assert!(pointsman.client().line("GET t32:k").is_null());
}

#[test]
fn t21_t30_the_end_comes_behind_what_is_still_on_its_way() {
    let fake = Fake::start(1, 0);
    for (number, (end, told)) in [
        (&b"*1\r\n+x\r\n"[..], "-ERR Protocol error: expected '$', got '+'\r\n"),
        (b"QUIT\r\n", "+OK\r\n"),
        (b"ECHO \"\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("t21:{number}");
        let gate = fake.gate();
        fake.rule(Rule::on("GET", Act::Hold(gate.clone())).key(&key));
        let pointsman = Setup::cluster(fake.addresses()).start();
        let mut client = pointsman.client();
        let mut bytes = format!("GET {key}\r\n").into_bytes();
        bytes.extend_from_slice(end);
        bytes.extend_from_slice(b"PING\r\n");
        client.send_bytes(&bytes);
        fake.wait_for("the read is on its way", 1, |received| received.has_key(&key));
        assert!(client.is_silent_for(Duration::from_millis(100)), "nothing overtakes the read");
        gate.open();
        assert!(client.read().is_null());
        assert_eq!(client.read(), told);
        assert!(client.is_closed_within(Duration::from_secs(10)), "and nothing behind it");
    }
}

#[test]
fn t19_t30_every_cut_of_a_pipeline_gives_the_same_replies() {
    let (fake, server) = (Fake::start(1, 0), one_database());
    let pointsman = Setup::cluster(fake.addresses()).start();
    let bytes = b"CLIENT SETNAME x\r\n*2\r\n$3\r\nGET\r\n$4\r\nnone\r\nHELLO 3\r\n*3\r\n$6\r\nCLIENT\r\n$5\r\nREPLY\r\n$4\r\nSKIP\r\n\
        PING\r\n*2\r\n$3\r\nGET\r\n$4\r\nnone\r\nRESET\r\nCLIENT GETNAME\r\nQUIT\r\nPING\r\n";
    let mut expected = None;
    for cut in 0..bytes.len() {
        let mut stream = TcpStream::connect(pointsman.address()).expect("it listens");
        stream.set_nodelay(true).expect("an option of sockets");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
        stream.write_all(&bytes[..cut]).expect("it reads");
        stream.write_all(&bytes[cut..]).expect("it reads");
        let mut out = Vec::new();
        let _ = stream.read_to_end(&mut out);
        let got = scrubbed(&Reply(out));
        assert!(got.ends_with("+RESET\r\n$-1\r\n+OK\r\n"), "{got}");
        assert_eq!(expected.get_or_insert_with(|| got.clone()), &got, "cut at {cut}");
    }
    compare_bytes(&pointsman, &server, bytes);
}

/// How client libraries begin, as their bytes came: each must be answered as by a server, as far as the
/// run does not decide.
#[test]
fn t28_libraries_begin_as_at_a_server() {
    let (cluster, server) = (Cluster::shared(), one_database());
    let pointsman = Setup::cluster(cluster.addresses()).start();
    for (library, requests) in [
        ("jedis", "CLIENT SETNAME app;PING;SELECT 0"),
        ("lettuce", "HELLO 3;CLIENT SETNAME app;PING"),
        ("node-redis", "CLIENT SETNAME app;SELECT 0;PING;GET t28:none"),
        ("ioredis", "SELECT 0;CLIENT SETNAME app;CONFIG GET databases"),
        ("go-redis", "HELLO 3 SETNAME app;SELECT 0;PING"),
        (
            "StackExchange.Redis",
            "CLIENT SETNAME app;CONFIG GET timeout;CLUSTER NODES;GET __Booksleeve_TieBreak;ECHO tracer",
        ),
        ("phpredis", "AUTH default any;SELECT 0;PING;CLIENT GETNAME"),
        ("hiredis", "PING;HELLO 3;PING"),
        (
            "redis-cli",
            "COMMAND DOCS get;COMMAND DOCS nosuch;HELLO 3;COMMAND DOCS set;CLIENT HELP;CONFIG HELP",
        ),
        ("sidekiq", "CLIENT SETNAME Sidekiq;CONFIG GET maxmemory-policy;PING"),
        ("redisson", "CLIENT SETNAME app;PING;INFO cluster;CLUSTER INFO"),
    ] {
        let requests: Vec<Vec<&str>> = requests.split(';').map(|line| line.split(' ').collect()).collect();
        let ours = pointsman.client().pipeline(&requests);
        let theirs = server.client().pipeline(&requests);
        for ((request, ours), theirs) in requests.iter().zip(&ours).zip(&theirs) {
            assert_eq!(scrubbed(ours), scrubbed(theirs), "{library}: {request:?}");
        }
    }
    // Of what depends on the run, the fields that they read.
    let mut client = pointsman.client();
    let info = client.line("INFO").text();
    for field in [
        "redis_version",
        "redis_mode",
        "run_id",
        "tcp_port",
        "uptime_in_seconds",
        "uptime_in_days",
        "connected_clients",
        "blocked_clients",
        "maxclients",
        "used_memory",
        "used_memory_human",
        "used_memory_peak_human",
        "used_memory_rss",
        "maxmemory",
        "maxmemory_policy",
        "loading",
        "aof_enabled",
        "rdb_bgsave_in_progress",
        "total_commands_processed",
        "total_connections_received",
        "expired_keys",
        "evicted_keys",
        "keyspace_hits",
        "keyspace_misses",
        "instantaneous_ops_per_sec",
        "role",
        "connected_slaves",
        "master_replid",
        "master_repl_offset",
        "used_cpu_sys",
        "used_cpu_user",
        "cluster_enabled",
    ] {
        assert!(info.contains(&format!("\r\n{field}:")), "{field} is missing in\n{info}");
    }
    for line in ["CLIENT SETINFO LIB-NAME redis-py", "CLIENT SETINFO lib-ver 5.0.1"] {
        assert_eq!(client.line(line), Reply::ok());
    }
    let shown = client.line("CLIENT INFO").text();
    assert!(shown.contains(" lib-name=redis-py lib-ver=5.0.1\n"), "{shown}");
    assert_eq!(
        client.command(&["CLIENT", "SETINFO", "lib-name", "a b"]).error(),
        "ERR lib-name cannot contain spaces, newlines or special characters."
    );
    assert_eq!(client.line("CLIENT SETINFO foo bar").error(), "ERR Unrecognized option 'foo'");
}

fn fields(line: &str) -> Vec<&str> {
    line.trim_end().split(' ').map(|pair| pair.split('=').next().unwrap_or(pair)).collect()
}

#[test]
fn t27_client_lines_have_the_fields_of_a_server() {
    let (fake, server) = (Fake::start(1, 0), one_database());
    let pointsman = Setup::cluster(fake.addresses()).start();
    let (mut proxied, mut alone): (Client, Client) = (pointsman.client(), server.client());
    let (ours, theirs) = (proxied.line("CLIENT INFO").text(), alone.line("CLIENT INFO").text());
    let (ours, theirs) = (fields(&ours), fields(&theirs));
    assert_eq!(ours[..theirs.len()], theirs[..], "those of 7.0 come first");
    assert_eq!(ours[theirs.len()..], ["lib-name", "lib-ver"], "and then what 7.2 added");
    assert_eq!(proxied.line("CLIENT NO-EVICT on"), Reply::ok());
    assert_eq!(proxied.line("CLIENT NO-TOUCH on"), Reply::ok());
    let shown = proxied.pipeline(&[words(&["GET", "k"]), words(&["CLIENT", "INFO"])])[1].text();
    assert!(shown.contains(" flags=eT ") && shown.contains(" cmd=client|info "), "{shown}");
}
