use super::*;
use pointsman_config::Scope;
use pointsman_protocol::command;
use pointsman_protocol::resp::{RequestDecoder, RequestLimits, encode};

fn limit(name: &str) -> Limit {
    Limit {
        name: name.to_owned(),
        per: LimitPer::Client,
        scope: Scope::default(),
        requests_per_second: None,
        bytes_per_second: None,
        inflight_max: None,
        burst: Duration::from_millis(1000),
    }
}

fn from(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 1000))
}

/// Asks with a line at a place; what was answered, if it was refused.
fn ask(rates: &mut Rates, ticket: u32, line: &str) -> Option<String> {
    let mut bytes = Vec::new();
    encode::request(&mut bytes, &line.split(' ').collect::<Vec<_>>());
    let mut decoder = RequestDecoder::new();
    assert!(matches!(decoder.next(&bytes, &RequestLimits::ADMITTED), Ok(Some(_))));
    let args = decoder.args(&bytes);
    let asked = Asked {
        spec: command::resolve(args).ok(),
        args,
        bytes: bytes.len(),
        ticket: Ticket(ticket),
        answered: true,
    };
    let mut refused = Vec::new();
    rates.ask(&asked, &mut refused);
    (!refused.is_empty()).then(|| String::from_utf8(refused).unwrap())
}

#[test]
fn t98_a_refusal_names_the_limit_the_rate_and_the_time() {
    let slow = Limit { requests_per_second: Some(1), ..limit("slow") };
    let throttle = Throttle::new(&[slow], 10);
    let mut rates = throttle.admit(from(1)).unwrap();
    assert_eq!(ask(&mut rates, 0, "GET k"), None);
    let refused = ask(&mut rates, 1, "GET k").unwrap();
    let again =
        refused.strip_prefix("-THROTTLED limit 'slow' (1 requests per second): try again in ").unwrap();
    let ms: u64 = again.strip_suffix(" ms\r\n").unwrap().parse().unwrap();
    assert!((1..=1000).contains(&ms), "{ms}");
    assert_eq!(throttle.rules()[0].refused(), 1);
}

#[test]
fn a_request_that_waits_is_counted_once_and_one_behind_it_again() {
    let throttle = Throttle::new(
        &[Limit { requests_per_second: Some(2), burst: Duration::from_secs(1), ..limit("two") }],
        10,
    );
    let mut rates = throttle.admit(from(1)).unwrap();
    assert_eq!(ask(&mut rates, 5, "GET k"), None);
    assert_eq!(ask(&mut rates, 5, "GET k"), None, "the same one");
    assert_eq!(ask(&mut rates, 6, "GET k"), None);
    assert!(ask(&mut rates, 7, "GET k").is_some());
}

#[test]
fn what_is_in_flight_ends_with_its_answer_and_with_its_client() {
    let throttle =
        Throttle::new(&[Limit { per: LimitPer::Listener, inflight_max: Some(2), ..limit("some") }], 10);
    let (mut one, mut other) = (throttle.admit(from(1)).unwrap(), throttle.admit(from(2)).unwrap());
    assert_eq!(ask(&mut one, u32::MAX, "GET k"), None);
    assert_eq!(ask(&mut one, 0, "GET k"), None);
    let refused = ask(&mut other, 0, "GET k").unwrap();
    assert!(refused.contains("(2 requests in flight): try again when"), "{refused}");
    one.answered(Ticket(0), 0);
    assert_eq!(ask(&mut other, 0, "GET k"), None, "the first of the other has been answered");
    assert!(ask(&mut other, 1, "GET k").is_some());
    drop(one);
    assert_eq!(ask(&mut other, 1, "GET k"), None);
}

#[test]
fn bytes_are_paid_for_afterwards_however_large() {
    let throttle = Throttle::new(
        &[Limit { bytes_per_second: Some(100), burst: Duration::from_millis(100), ..limit("bytes") }],
        10,
    );
    let mut rates = throttle.admit(from(1)).unwrap();
    let large = format!("SET k {}", "v".repeat(1000));
    assert_eq!(ask(&mut rates, 0, &large), None, "larger than what may be saved up");
    let refused = ask(&mut rates, 1, "GET k").unwrap();
    let ms: u64 = refused.split(' ').rev().nth(1).unwrap().parse().unwrap();
    assert!((9_000..=11_000).contains(&ms), "about ten seconds are owed: {refused}");
    let other = Throttle::new(
        &[Limit { bytes_per_second: Some(1000), burst: Duration::from_millis(100), ..limit("bytes") }],
        10,
    );
    let mut rates = other.admit(from(1)).unwrap();
    assert_eq!(ask(&mut rates, 0, "GET k"), None);
    rates.answered(Ticket(1), 5_000);
    assert!(ask(&mut rates, 1, "GET k").is_some(), "replies count");
}

#[test]
fn a_limit_counts_what_it_is_for() {
    let writes = Limit {
        requests_per_second: Some(1),
        scope: Scope { prefix: b"job:".to_vec(), commands: vec!["@write".into()] },
        ..limit("jobs")
    };
    let throttle = Throttle::new(&[writes], 10);
    let mut rates = throttle.admit(from(1)).unwrap();
    for (ticket, line, counted) in
        [(0, "SET job:1 v", false), (1, "GET job:1", false), (2, "SET k v", false), (3, "SET job:2 v", true)]
    {
        assert_eq!(ask(&mut rates, ticket, line).is_some(), counted, "{line}");
    }
    let all = Throttle::new(&[Limit { requests_per_second: Some(1), ..limit("all") }], 10);
    let mut rates = all.admit(from(1)).unwrap();
    assert_eq!(ask(&mut rates, 0, "GET k"), None);
    assert_eq!(ask(&mut rates, 1, "PING"), None, "it concerns the connection alone");
    assert_eq!(ask(&mut rates, 2, "MULTI"), None);
    assert!(ask(&mut rates, 3, "NOSUCH").is_some());
}

#[test]
fn addresses_are_counted_apart_and_those_beyond_the_cap_together() {
    let limit = Limit { per: LimitPer::Address, requests_per_second: Some(1), ..limit("address") };
    let throttle = Throttle::new(&[limit], 2);
    let mut clients: Vec<_> = [1, 1, 2, 3, 4].map(|host| throttle.admit(from(host)).unwrap()).into();
    let refused: Vec<bool> = clients.iter_mut().map(|rates| ask(rates, 0, "GET k").is_some()).collect();
    assert_eq!(refused, [false, true, false, false, true]);
    assert_eq!(throttle.rules()[0].keys(), 2);
    let six = |text: &str| network_of(text.parse().unwrap());
    assert_eq!(six("2001:db8::1"), six("2001:db8::ffff:1"));
    assert_ne!(six("2001:db8::1"), six("2001:db8:0:1::1"));
    assert_eq!(six("::ffff:10.0.0.1"), six("10.0.0.1"));
}

#[test]
fn addresses_of_no_consequence_make_room() {
    let limit = Limit { per: LimitPer::Address, requests_per_second: Some(1), ..limit("address") };
    let throttle = Throttle::new(&[limit], 1);
    drop(throttle.admit(from(1)));
    let mut second = throttle.admit(from(2)).unwrap();
    assert_eq!(ask(&mut second, 0, "GET k"), None);
    assert!(Arc::strong_count(&second.held[0].1) == 2, "it is remembered by its own address");
}

#[test]
fn rates_are_met_within_two_percent() {
    for rate in [1, 3, 1_000, 7_000_000, 10_000_000, 333_333_333, 64 << 30] {
        let meter = Meter::new(rate, Duration::from_millis(1000)).unwrap();
        let met = meter.cell as f64 / meter.period.as_secs_f64();
        assert!((met / rate as f64 - 1.0).abs() < 0.01, "{rate}: {met}");
    }
}
