use super::*;
use crate::client::replies::Ticket;

fn parked(slot: u16, ticket: u32, not_before: u64) -> Parked {
    let request = Request {
        client: ClientKey { index: 0, generation: 1 },
        ticket: Ticket(ticket),
        part: None,
        slot: Slot::new(slot),
        traits: Traits::default(),
        since: 0,
    };
    Parked { request, bytes: Vec::new(), to: None, not_before }
}

fn due(detour: &mut Detour, now: u64) -> Vec<u32> {
    let mut tickets = Vec::new();
    while let Some(parked) = detour.next_due(now) {
        detour.busy.extend(parked.request.slot);
        tickets.push(parked.request.ticket.0);
    }
    tickets
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
