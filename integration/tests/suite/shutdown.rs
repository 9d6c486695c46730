//! SIGTERM and Ctrl-C drain: what is under way is answered, what is new is not taken in.

use pointsman_integration::client::words;
use pointsman_integration::eventually::{check, eventually};
use pointsman_integration::fake::{Act, Rule};
use pointsman_integration::{Client, Fake, Reply, Setup};
use std::time::{Duration, Instant};

#[test]
fn requests_under_way_are_answered_and_new_clients_are_not_taken() {
    for signal in ["TERM", "INT"] {
        let fake = Fake::start(1, 0);
        let mut pointsman = Setup::cluster(fake.addresses()).start();
        let mut client = pointsman.client();
        client.line("SET k v");
        let gate = fake.gate();
        fake.rule(Rule::on("GET", Act::Hold(gate.clone())).times(1));
        client.send_all(&[words(&["GET", "k"]), words(&["INCR", "n"])]);
        fake.wait_for("both are under way", 1, |received| received.is("INCR"));
        pointsman.signal(signal);
        eventually("no new clients are taken", || match Client::try_connect(pointsman.address()) {
            Err(_) => Ok(()),
            Ok(mut client) => check(client.is_closed_within(Duration::from_millis(50)), "it was let in"),
        });
        assert_eq!(pointsman.ended(), None, "it waits for the answer");
        gate.open();
        assert_eq!([client.read(), client.read()], [Reply::bulk("v"), Reply::number(1)]);
        assert!(pointsman.wait().success());
        assert!(client.is_closed_within(Duration::from_secs(5)));
    }
}

#[test]
fn requests_read_but_not_yet_sent_are_answered_too() {
    // Far more than a client may have in flight: the rest waits in the proxy.
    const REQUESTS: usize = 5_000;
    let fake = Fake::start(1, 0);
    let mut pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    client.line("SET k v");
    let gate = fake.gate();
    fake.rule(Rule::on("GET", Act::Hold(gate.clone())).times(1));
    client.send_all(&vec![words(&["GET", "k"]); REQUESTS]);
    fake.wait_for("the first is under way", 1, |received| received.is("GET"));
    pointsman.signal("TERM");
    eventually("no new clients are taken", || match Client::try_connect(pointsman.address()) {
        Err(_) => Ok(()),
        Ok(mut client) => check(client.is_closed_within(Duration::from_millis(50)), "it was let in"),
    });
    gate.open();
    for nth in 0..REQUESTS {
        assert_eq!(client.read(), Reply::bulk("v"), "reply {nth}");
    }
    assert!(pointsman.wait().success());
}

#[test]
fn idle_clients_do_not_hold_it_up() {
    let fake = Fake::start(1, 0);
    let mut pointsman =
        Setup::cluster(fake.addresses()).with(|setup| setup.drain_timeout_ms = 20_000).start();
    let clients: Vec<Client> = (0..20)
        .map(|_| {
            let mut client = pointsman.client();
            client.line("PING");
            client
        })
        .collect();
    let began = Instant::now();
    pointsman.signal("TERM");
    assert!(pointsman.wait().success());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    drop(clients);
}

#[test]
fn a_drain_ends_at_its_deadline() {
    let fake = Fake::start(1, 0);
    let mut pointsman = Setup::cluster(fake.addresses())
        .with(|setup| {
            setup.drain_timeout_ms = 300;
            setup.request_timeout_ms = 60_000;
        })
        .allow(&["drain", "shut", "stop"])
        .start();
    let mut client = pointsman.client();
    let gate = fake.gate();
    fake.rule(Rule::on("GET", Act::Hold(gate)));
    client.send(&["GET", "k"]);
    fake.wait_for("it is under way", 1, |received| received.is("GET"));
    let began = Instant::now();
    pointsman.signal("TERM");
    pointsman.wait();
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[test]
fn one_follows_another() {
    let fake = Fake::start(1, 0);
    for _ in 0..2 {
        let pointsman = Setup::cluster(fake.addresses()).start();
        let mut client = pointsman.client();
        assert!(!client.line("INCR k").is_error());
        pointsman.stop();
    }
    assert_eq!(fake.change(|world| world.value("k")), Some("2".into()));
}
