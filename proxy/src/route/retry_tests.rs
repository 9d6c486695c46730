use super::*;

const LIMITS: RetryLimits = RetryLimits {
    redirects_max: 5,
    attempts_max: 8,
    backoff: Duration::from_millis(10),
    backoff_max: Duration::from_millis(500),
};
const WRITE: Facts =
    Facts { is_write: true, redirects: 0, attempts: 0, waits: false, time_left: Duration::from_secs(3) };
const READ: Facts = Facts { is_write: false, ..WRITE };
/// Jitter 0 waits half of the backoff.
const HALF: Verdict = Verdict::PlanAgain { after: Duration::from_millis(5) };

// T07, T12: the table, a row each, for a write and for a read.
#[test]
fn t07_t12_every_row_of_the_table() {
    let now = Verdict::PlanAgain { after: Duration::ZERO };
    for (cause, write, read, hint) in [
        (Cause::Moved, Verdict::Resend { asking: false }, Verdict::Resend { asking: false }, Hint::SlotMoved),
        (Cause::Ask, Verdict::Resend { asking: true }, Verdict::Resend { asking: true }, Hint::None),
        (Cause::TryAgain, HALF, HALF, Hint::None),
        (Cause::ClusterDown, HALF, HALF, Hint::Refresh),
        (Cause::Loading, HALF, HALF, Hint::Refresh),
        (Cause::MasterDown, HALF, HALF, Hint::Refresh),
        (Cause::ReadOnly, HALF, HALF, Hint::Refresh),
        (
            Cause::Auth,
            Verdict::Give(FailureKind::BackendAuth),
            Verdict::Give(FailureKind::BackendAuth),
            Hint::None,
        ),
        (Cause::NoScript, Verdict::Resend { asking: false }, Verdict::Resend { asking: false }, Hint::None),
        (Cause::NotSent, HALF, HALF, Hint::Refresh),
        (Cause::LostAfterSend, Verdict::Give(FailureKind::WriteUnknown), now, Hint::Refresh),
    ] {
        assert_eq!(decide(cause, &WRITE, &LIMITS, 0), (write, hint), "write, {cause:?}");
        assert_eq!(decide(cause, &READ, &LIMITS, 0), (read, hint), "read, {cause:?}");
    }
}

// T06, T86: every budget ends, with the error that names its cause.
#[test]
fn t06_t86_budgets_end_honestly() {
    for (cause, kind) in [
        (Cause::Moved, FailureKind::TooManyRedirects),
        (Cause::Ask, FailureKind::TooManyRedirects),
        (Cause::TryAgain, FailureKind::StillMigrating),
        (Cause::ClusterDown, FailureKind::SlotUnserved),
        (Cause::Loading, FailureKind::StillLoading),
        (Cause::MasterDown, FailureKind::NoPrimary),
        (Cause::ReadOnly, FailureKind::NoPrimary),
        (Cause::NoScript, FailureKind::NoScript),
        (Cause::NotSent, FailureKind::Unreachable),
        (Cause::LostAfterSend, FailureKind::ReadLost),
    ] {
        let spent = Facts { redirects: 5, attempts: 7, ..READ };
        assert_eq!(decide(cause, &spent, &LIMITS, 0).0, Verdict::Give(kind), "attempts, {cause:?}");
        let late = Facts { redirects: 0, attempts: 1, time_left: Duration::ZERO, ..READ };
        assert_eq!(decide(cause, &late, &LIMITS, 0).0, Verdict::Give(kind), "deadline, {cause:?}");
    }
}

#[test]
fn t86_redirects_beyond_the_cap_wait() {
    let circling = Facts { redirects: 5, ..WRITE };
    assert_eq!(decide(Cause::Moved, &circling, &LIMITS, 0), (HALF, Hint::SlotMoved));
    assert_eq!(decide(Cause::Ask, &circling, &LIMITS, 0), (HALF, Hint::Refresh));
    let waited = Facts { redirects: LIMITS.redirects_after_a_wait(5), attempts: 1, ..WRITE };
    assert_eq!(decide(Cause::Ask, &waited, &LIMITS, 0).0, Verdict::Resend { asking: true }, "one more each");
    assert_eq!([0, 4, 5, 9].map(|followed| LIMITS.redirects_after_a_wait(followed)), [0, 4, 4, 4]);
    let none = RetryLimits { redirects_max: 0, ..LIMITS };
    assert_eq!(none.redirects_after_a_wait(0), 0);
}

#[test]
fn a_wait_that_outlasts_the_deadline_is_not_begun() {
    let short = Facts { time_left: Duration::from_millis(5), ..WRITE };
    assert_eq!(decide(Cause::TryAgain, &short, &LIMITS, 0).0, Verdict::Give(FailureKind::StillMigrating));
}

#[test]
fn backoff_doubles_and_is_bounded_on_both_sides() {
    for attempts in 0..=255u8 {
        let full = Duration::from_millis(10).saturating_mul(1 << attempts.min(20)).min(LIMITS.backoff_max);
        let low = backoff(attempts, &LIMITS, 0);
        let high = backoff(attempts, &LIMITS, u32::MAX);
        assert!(low == full / 2 && high <= full && high >= full - Duration::from_micros(1), "{attempts}");
    }
}
