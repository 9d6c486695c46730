use super::*;

const LIMITS: BreakerLimits = BreakerLimits {
    failures: 5,
    failure_percent: 50,
    window: Duration::from_secs(10),
    requests_min: 20,
    open: Duration::from_secs(1),
    open_max: Duration::from_secs(4),
};
const SECOND: u64 = 1_000_000;

fn closed() -> Breaker {
    Breaker::new(0, 0, &LIMITS)
}

/// One that opened at the moment 0, by silence.
fn open() -> Breaker {
    let mut breaker = closed();
    assert_eq!(breaker.failed(Trouble::Silent, 5, true, 0, &LIMITS), Step::Opened);
    breaker
}

#[test]
fn t92_silence_opens_it_by_failures_in_a_row() {
    let mut breaker = closed();
    assert_eq!(breaker.failed(Trouble::Silent, 4, true, 0, &LIMITS), Step::Stay);
    assert_eq!(breaker.look(1, 10, &LIMITS), Step::Stay, "an answer ends the run");
    assert_eq!(breaker.failed(Trouble::Silent, 4, true, 20, &LIMITS), Step::Stay);
    assert_eq!(breaker.trouble(20), None);
    assert_eq!(breaker.failed(Trouble::Silent, 1, true, 30, &LIMITS), Step::Opened);
    assert_eq!(breaker.trouble(30), Some((Trouble::Silent, Duration::from_secs(1))));
    assert_eq!(breaker.failed(Trouble::Silent, 9, true, 40, &LIMITS), Step::Stay, "it is open already");
}

#[test]
fn t92_failures_that_cost_no_time_must_last() {
    for trouble in [Trouble::Unreachable, Trouble::Refusing] {
        let mut breaker = closed();
        assert_eq!(breaker.failed(trouble, 500, true, 0, &LIMITS), Step::Stay);
        assert_eq!(breaker.failed(trouble, 1, true, SECOND - 1, &LIMITS), Step::Stay);
        assert_eq!(breaker.failed(trouble, 1, true, SECOND, &LIMITS), Step::Opened);
    }
}

#[test]
fn t92_a_share_of_failures_opens_it_although_it_answers() {
    let mut breaker = closed();
    let mut answered = 0;
    for round in 1..=9 {
        answered += 1;
        assert_eq!(breaker.failed(Trouble::Silent, 1, false, round, &LIMITS), Step::Stay, "{round}");
        breaker.look(answered, round, &LIMITS);
    }
    breaker.look(answered + 1, 10, &LIMITS);
    assert_eq!(breaker.failed(Trouble::Silent, 1, false, 11, &LIMITS), Step::Opened, "10 of 20");
    let mut healthy = closed();
    healthy.look(1000, 0, &LIMITS);
    assert_eq!(healthy.failed(Trouble::Silent, 900, false, 0, &LIMITS), Step::Stay, "below a half");
    // The window moves on.
    healthy.look(1000, 11 * SECOND, &LIMITS);
    assert_eq!(healthy.failed(Trouble::Silent, 20, false, 11 * SECOND, &LIMITS), Step::Opened);
}

#[test]
fn t92_it_probes_and_waits_longer_each_time() {
    let mut breaker = open();
    let mut now = 0;
    for span in [1, 2, 4, 4] {
        assert_eq!(breaker.look(0, now + span * SECOND - 1, &LIMITS), Step::Stay, "{span}");
        now += span * SECOND;
        assert_eq!(breaker.look(0, now, &LIMITS), Step::Probe);
        assert!(breaker.is_open(), "nothing else is sent meanwhile");
        now += SECOND;
        assert_eq!(breaker.look(0, now, &LIMITS), Step::Stay, "no answer in time");
    }
    assert_eq!(breaker.look(1, now + 1, &LIMITS), Step::Closed);
    assert_eq!(breaker.failed(Trouble::Silent, 5, true, now, &LIMITS), Step::Opened);
    assert_eq!(breaker.trouble(now), Some((Trouble::Silent, Duration::from_secs(1))), "from the beginning");
}

#[test]
fn t92_any_answer_closes_it_at_once() {
    assert_eq!(open().look(1, 1, &LIMITS), Step::Closed, "a late one");
    assert_eq!(open().connected(&LIMITS), Step::Closed, "that of a handshake");
    let mut refusing = closed();
    refusing.failed(Trouble::Refusing, 5, true, 0, &LIMITS);
    refusing.failed(Trouble::Refusing, 1, true, SECOND, &LIMITS);
    assert_eq!(refusing.connected(&LIMITS), Step::Stay, "a node that loads takes connections");
    assert_eq!(refusing.look(1, SECOND, &LIMITS), Step::Closed);
}

#[test]
fn t92_counters_that_vanish_are_no_answer() {
    let mut breaker = Breaker::new(100, 0, &LIMITS);
    breaker.failed(Trouble::Silent, 5, true, 0, &LIMITS);
    assert_eq!(breaker.look(40, 1, &LIMITS), Step::Stay);
    assert!(breaker.is_open());
    assert_eq!(breaker.look(41, 2, &LIMITS), Step::Closed);
}

#[test]
fn it_is_forgotten_when_nothing_failed_for_a_window() {
    let mut breaker = closed();
    breaker.failed(Trouble::Silent, 1, true, 0, &LIMITS);
    assert_eq!(breaker.look(1, SECOND, &LIMITS), Step::Stay);
    assert_eq!(breaker.look(1, 9 * SECOND, &LIMITS), Step::Stay);
    assert_eq!(breaker.look(1, 10 * SECOND, &LIMITS), Step::Forget);
    assert_eq!(breaker.look(1, 1_000_000 * SECOND, &LIMITS), Step::Forget, "after a long sleep, too");
}
