//! POINTSMAN: what the proxy tells about itself over a client's connection, and that it is off unless asked for.

use pointsman_integration::eventually::{check, eventually};
use pointsman_integration::fake::key_on;
use pointsman_integration::{Client, Fake, Setup};

/// The lines of an explanation, as `name: what`.
fn explain(client: &mut Client, request: &str) -> Vec<String> {
    let reply = client.line(&format!("POINTSMAN EXPLAIN {request}"));
    assert!(!reply.is_error(), "{request}: {reply}");
    reply.elements().iter().map(|line| line.text()).collect()
}

#[test]
fn t33_nobody_is_told_where_nodes_are_unless_the_listener_allows_it() {
    let fake = Fake::start(2, 0);
    let pointsman = Setup::cluster(fake.addresses()).start();
    let mut client = pointsman.client();
    for line in ["POINTSMAN EXPLAIN GET k", "POINTSMAN LAG", "POINTSMAN TOPOLOGY", "POINTSMAN HELP"] {
        let reply = client.line(line);
        assert!(reply.error().contains("listeners[].pointsman"), "{line}: {reply}");
    }
}

#[test]
fn requests_are_explained_without_being_sent() {
    let fake = Fake::start(2, 1);
    let key = key_on(1, 2, "explained", 0);
    let pointsman = Setup::cluster(fake.addresses())
        .with(|setup| {
            setup.reads = "prefer_replica";
            setup.listener_extra.push("pointsman: on".into());
        })
        .start();
    let mut client = pointsman.client();
    let (primary, replica) = (fake.addresses()[2].clone(), fake.addresses()[3].clone());
    eventually("the replica's lag is known", || {
        let lags = client.line("POINTSMAN LAG").elements();
        let known = lags.iter().all(|line| line.text().contains("ms behind"));
        check(lags.len() == 2 && known, lags.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let read = explain(&mut client, &format!("GET {key}"));
        check(read.iter().any(|told| told == "copy: replica"), read)
    });
    let read = explain(&mut client, &format!("GET {key}"));
    for line in ["command: GET", "class: read", "copy: replica", &format!("node: {replica}")] {
        assert!(read.iter().any(|told| told == line), "{line} is missing: {read:#?}");
    }
    assert!(read.iter().any(|told| told.starts_with("if the connection breaks: sent again")), "{read:#?}");
    let write = explain(&mut client, &format!("SET {key} v"));
    for line in ["class: write", "copy: primary", &format!("node: {primary}")] {
        assert!(write.iter().any(|told| told == line), "{line} is missing: {write:#?}");
    }
    assert!(
        write.iter().any(|told| told.starts_with("if the connection breaks: not sent again")),
        "{write:#?}"
    );
    for (request, line) in [
        ("MGET a b c", "route: in parts, to the shards of its keys"),
        ("PING", "route: answered by the proxy"),
        ("SUNION a b", "error: CROSSSLOT Keys in request don't hash to the same slot"),
        ("LMOVE a b LEFT LEFT", "error: CROSSSLOT Keys in request don't hash to the same slot"),
        ("NOSUCH a", "route: refused"),
        ("GET", "route: refused"),
    ] {
        let told = explain(&mut client, request);
        assert!(told.iter().any(|told| told == line), "{request}: {line} is missing: {told:#?}");
    }
    assert!(fake.received(|received| received.has_key(&key)).is_empty(), "nothing was sent");
    assert_eq!(client.line(&format!("SET {key} v")), pointsman_integration::Reply::ok());
    let topology: serde_json::Value =
        serde_json::from_str(&client.line("POINTSMAN TOPOLOGY").text()).expect("it is JSON");
    assert_eq!(topology["shards"].as_array().map(Vec::len), Some(2));
    assert!(client.line("POINTSMAN HELP").elements().len() > 5);
    assert!(client.line("POINTSMAN NOSUCH").is_error());
}
