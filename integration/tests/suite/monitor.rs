//! T68: MONITOR shows what the clients of all workers send, in Redis' form, and nobody waits for it.

use pointsman_integration::client::words;
use pointsman_integration::{Client, Cluster, Pointsman, RedisServer, Reply, Setup};

/// A line without its time and without who sent it.
fn said(line: &Reply) -> String {
    let text = String::from_utf8_lossy(&line.0).into_owned();
    assert!(text.starts_with('+') && text.ends_with("\r\n"), "{text:?}");
    let (head, said) = text.split_once("] ").unwrap_or_else(|| panic!("no line of MONITOR: {text:?}"));
    let (time, from) = head[1..].split_once(' ').expect("a time and a client");
    let (seconds, micros) = time.split_once('.').expect("a time with a fraction");
    assert!(seconds.parse::<u64>().is_ok() && micros.len() == 6 && micros.parse::<u64>().is_ok(), "{text:?}");
    assert!(from.starts_with("[0 "), "{text:?}");
    said.trim_end().to_owned()
}

fn monitor(pointsman: &Pointsman) -> Client {
    let mut client = pointsman.client();
    assert_eq!(client.line("MONITOR"), Reply::ok());
    client
}

// T31 in spirit: the same words to a server of its own and to the proxy, the same lines.
#[test]
fn t27_lines_are_those_of_one_server() {
    let cluster = Cluster::start(3, 0);
    let server = RedisServer::standalone();
    let pointsman = Setup::cluster(cluster.addresses()).with(|setup| setup.workers = 2).start();
    let mut sees = [monitor(&pointsman), server.client()];
    assert_eq!(sees[1].line("MONITOR"), Reply::ok());
    let mut asks = [pointsman.client(), server.client()];
    let requests: Vec<Vec<Vec<u8>>> = vec![
        words(&["SET", "a", "b"]),
        words(&["get", "a"]),
        words(&["AUTH", "secret"]),
        words(&["AUTH", "default", "secret"]),
        words(&["HELLO", "2", "AUTH", "default", "secret"]),
        words(&["CONFIG", "GET", "maxmemory"]),
        words(&["CLIENT", "LIST"]),
        words(&["NOSUCH"]),
        words(&["GET"]),
        words(&["CLIENT", "ID"]),
        vec![b"ECHO".to_vec(), b"a\x01\"\n\\\xc3\xa9\t\x07\x08\r ".to_vec()],
        words(&["MULTI"]),
        words(&["SET", "q", "1"]),
        words(&["PING", "in between"]),
        words(&["GET", "q"]),
        words(&["EXEC"]),
        words(&["MULTI"]),
        words(&["GET", "q"]),
        words(&["DISCARD"]),
        words(&["WATCH", "a"]),
        words(&["UNWATCH"]),
        words(&["MGET", "a", "b", "c"]),
        words(&["DBSIZE"]),
        words(&["BLPOP", "nolist", "0.01"]),
        words(&["LPUSH", "a", "x"]),
        words(&["SELECT", "0"]),
        words(&["INFO", "server"]),
        words(&["EVAL", "return 1", "0"]),
        words(&["PUBLISH", "c", "m"]),
        words(&["PING"]),
    ];
    for client in &mut asks {
        requests.iter().for_each(|request| drop(client.command(request)));
    }
    loop {
        let (proxied, alone) = (said(&sees[0].read()), said(&sees[1].read()));
        assert_eq!(proxied, alone);
        if proxied == "\"PING\"" {
            break;
        }
    }
}

#[test]
fn it_shows_the_clients_of_every_worker() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses()).with(|setup| setup.workers = 3).start();
    let mut sees = monitor(&pointsman);
    let mut clients: Vec<Client> = (0..9).map(|_| pointsman.client()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.command(&["SET", "seen", &number.to_string()]);
        let line = sees.read();
        assert_eq!(said(&line), format!("\"SET\" \"seen\" \"{number}\""));
        let address = client.stream().local_addr().expect("it is connected").to_string();
        assert!(String::from_utf8_lossy(&line.0).contains(&format!("[0 {address}]")), "{line}");
    }
    // As in Redis: a second MONITOR is not answered, keys are not for it, RESET ends it.
    sees.send(&["MONITOR"]);
    assert_eq!(sees.line("GET seen").error(), "ERR Replica can't interact with the keyspace");
    let info = sees.line("CLIENT INFO").text();
    assert!(info.contains(" flags=O "), "{info}");
    assert_eq!(said(&sees.read()), "\"CLIENT\" \"INFO\"");
    assert_eq!(pointsman.client().line("MULTI"), Reply::ok());
    assert_eq!(said(&sees.read()), "\"MULTI\"");
    assert_eq!(sees.line("RESET"), "+RESET\r\n");
    clients[0].line("GET seen");
    assert_eq!(sees.line("GET seen"), "$1\r\n8\r\n");
    assert_eq!(sees.line("MONITOR"), Reply::ok());
    clients[1].line("GET again");
    assert_eq!(said(&sees.read()), "\"GET\" \"again\"", "one line, not two");
    clients[1].line("GET once");
    assert_eq!(said(&sees.read()), "\"GET\" \"once\"");
}

#[test]
fn t68_nobody_waits_for_a_monitor() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| {
            setup.workers = 2;
            setup.backend_extra = vec!["monitor_per_second: 2000".into()];
        })
        .start();
    let mut deaf = monitor(&pointsman);
    let sent = 30_000;
    let mut client = pointsman.client();
    let value = "v".repeat(500);
    let requests: Vec<_> = (0..sent).map(|_| words(&["SET", "flood", &value])).collect();
    for reply in client.pipeline(&requests) {
        assert_eq!(reply, Reply::ok());
    }
    assert!(pointsman.metrics().sum("pointsman_monitor_dropped_total", &[]) > 0.0);
    // Each request was shown, or is among those that were counted.
    let (mut shown, mut missing) = (0, 0);
    // What was dropped is told within a second, if nothing else is shown.
    while shown + missing < sent {
        let line = said(&deaf.read());
        match line.strip_prefix("\"#\" \"") {
            Some(count) => {
                let count = count.split(' ').next().expect("a count");
                missing += count.parse::<u64>().expect("a number");
            }
            None => shown += 1,
        }
    }
    assert_eq!(shown + missing, sent);
    assert!(shown > 0 && missing > 0, "{shown} shown, {missing} not");
    pointsman.wait_for("a monitor is counted", "pointsman_monitors", |monitors| monitors == 1.0);
    drop(deaf);
    pointsman.wait_for("a monitor that left is forgotten", "pointsman_monitors", |monitors| monitors == 0.0);
    assert_eq!(client.line("GET flood"), Reply::bulk(&value));
}

#[test]
fn it_can_be_switched_off() {
    let cluster = Cluster::shared();
    let pointsman = Setup::cluster(cluster.addresses())
        .with(|setup| setup.listener_extra = vec!["monitor: off".into()])
        .start();
    let mut client = pointsman.client();
    assert_eq!(client.line("MONITOR").error(), "ERR MONITOR is switched off here (listeners[].monitor)");
    assert_eq!(client.line("PING"), "+PONG\r\n");
}
