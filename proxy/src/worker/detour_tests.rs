use super::*;
use crate::client::replies::Ticket;

fn parked(slot: u16, ticket: u32, not_before: u64) -> Parked {
    let request = Request {
        client: ClientKey { index: 0, generation: 1 },
        ticket: Ticket(ticket),
        part: None,
        slot: Slot::new(slot),
        traits: Traits::default(),
        since: 1,
        ahead: 0,
    };
    Parked { not_before, ..Parked::new(request, Vec::new()) }
}

fn at(now: u64, overdue: u64) -> Due {
    Due { now, overdue, held_overdue: 0, version: 1 }
}

fn due(detour: &mut Detour, now: u64) -> Vec<u32> {
    detour.take_due(at(now, 0)).iter().map(|parked| parked.request.ticket.0).collect()
}

// T03: requests of one slot go one after the other, those of others beside them.
#[test]
fn t03_one_at_a_time_for_each_slot() {
    let mut detour = Detour::default();
    detour.parked.extend([parked(1, 10, 0), parked(1, 11, 0), parked(2, 12, 0), parked(1, 13, 0)]);
    assert_eq!(due(&mut detour, 0), [10, 12]);
    detour.busy.retain(|slot| slot.number() != 1);
    assert_eq!(due(&mut detour, 0), [11]);
    detour.busy.clear();
    assert_eq!(due(&mut detour, 0), [13]);
    detour.busy.clear();
    assert!(detour.is_over());
}

// T03: what is parked waits for the first attempts of its slot, but not beyond its own time.
#[test]
fn t03_first_attempts_come_first() {
    let mut detour = Detour::default();
    detour.parked.extend([parked(1, 10, 0), parked(2, 11, 0)]);
    detour.ahead.insert(Slot::new(1).unwrap(), 2);
    assert_eq!(due(&mut detour, 0), [11]);
    detour.first_attempt_is_back(Slot::new(1));
    assert_eq!(due(&mut detour, 0), [0u32; 0]);
    detour.first_attempt_is_back(Slot::new(1));
    assert_eq!(due(&mut detour, 0), [10]);
    detour.parked.push_back(parked(3, 12, 0));
    detour.ahead.insert(Slot::new(3).unwrap(), 1);
    assert_eq!(detour.take_due(at(0, 1)).len(), 1, "overdue");
}

// T06: one that waits holds back those of its slot behind it, due or not.
#[test]
fn t06_a_wait_is_not_overtaken() {
    let mut detour = Detour::default();
    detour.parked.extend([parked(1, 10, 500), parked(1, 11, 0), parked(2, 12, 0)]);
    assert_eq!(due(&mut detour, 0), [12]);
    assert_eq!(due(&mut detour, 499), [0u32; 0]);
    assert_eq!(due(&mut detour, 500), [10]);
    assert_eq!(due(&mut detour, 500), [0u32; 0]);
}

// T03: a request that fails late still goes before those sent after it, across the wrap of tickets too.
#[test]
fn t03_the_order_is_that_of_the_client() {
    let mut detour = Detour::default();
    for ticket in [2, u32::MAX, 1, 0] {
        detour.insert(parked(1, ticket, 0));
    }
    let order: Vec<u32> = detour.parked.iter().map(|parked| parked.request.ticket.0).collect();
    assert_eq!(order, [u32::MAX, 0, 1, 2]);
}

#[test]
fn requests_that_share_a_key() {
    let request = |words: &[&str]| {
        let mut out = Vec::new();
        pointsman_protocol::resp::encode::request(&mut out, words);
        out
    };
    let get = request(&["GET", "a"]);
    assert!(share_a_key(&get, &request(&["mget", "b", "a"])));
    assert!(!share_a_key(&get, &request(&["SET", "b", "a"])));
    assert!(share_a_key(&request(&["MSET", "x", "1", "y", "2"]), &request(&["GET", "y"])));
    assert!(!share_a_key(b"", &get));
}

// What a listener let in is read again whatever its limits are.
#[test]
fn t06_keys_are_found_in_requests_beyond_the_usual_limits() {
    let mut bytes = Vec::new();
    let keys = RequestLimits::AUTHENTICATED.args_max as usize + 1;
    encode::array_head(&mut bytes, keys + 1);
    encode::bulk(&mut bytes, b"DEL");
    (0..keys).for_each(|_| encode::bulk(&mut bytes, b"k"));
    let mut other = Vec::new();
    encode::request(&mut other, &["SET", "k", "v"]);
    assert!(share_a_key(&bytes, &other));
}

/// One that waits for a primary.
fn held(slot: u16, ticket: u32, not_before: u64, version: u64) -> Parked {
    let hold =
        pointsman_config::FailoverHold { time: Duration::from_secs(1), requests_max: 10, bytes_max: 100 };
    let held = Held::take(&Default::default(), &hold, 0, version).unwrap();
    Parked { held: Some((held, 1)), ..parked(slot, ticket, not_before) }
}

#[test]
fn what_waits_for_a_primary_goes_when_the_map_changes() {
    let mut detour = Detour::default();
    detour.parked.extend([held(1, 10, 500, 1), held(2, 11, 500, 0), held(2, 12, 0, 0), parked(3, 13, 500)]);
    assert_eq!(due(&mut detour, 0), [11], "with the map of version 1, in the order of each slot");
    detour.busy.clear();
    assert_eq!(due(&mut detour, 0), [12]);
    detour.busy.clear();
    assert_eq!(due(&mut detour, 500), [10, 13]);
}

#[test]
fn what_waits_for_a_primary_has_its_own_deadline() {
    let mut detour = Detour::default();
    detour.parked.extend([held(1, 10, 500, 1), parked(2, 11, 500)]);
    let ticket = |parked: &Parked| parked.request.ticket.0;
    let due = detour.take_due(Due { held_overdue: 0, ..at(0, 1) });
    assert_eq!(due.iter().map(ticket).collect::<Vec<_>>(), [11]);
    let due = detour.take_due(Due { held_overdue: 1, ..at(0, 1) });
    assert_eq!(due.iter().map(ticket).collect::<Vec<_>>(), [10]);
}
