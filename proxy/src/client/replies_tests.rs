use super::*;
use crate::route::split::SplitKind;
use pointsman_protocol::Slot;

fn taken(replies: &mut Replies) -> String {
    let text = String::from_utf8(replies.ready().to_vec()).unwrap();
    replies.wrote(text.len());
    text
}

// T01
#[test]
fn t01_replies_keep_the_order_of_requests() {
    let mut replies = Replies::default();
    let (a, b) = (replies.open(), replies.open());
    replies.answer(|out| out.extend_from_slice(b"+PONG "));
    let c = replies.open();
    replies.fill(c, b"c ");
    replies.fill(b, b"b ");
    assert_eq!(taken(&mut replies), "");
    assert!(!replies.is_idle());
    replies.fill(a, b"a ");
    assert_eq!(taken(&mut replies), "a b +PONG c ");
    assert!(replies.is_idle());
    replies.answer(|out| out.extend_from_slice(b"now"));
    assert_eq!(taken(&mut replies), "now");
}

#[test]
fn t25_t101_a_message_comes_behind_what_was_asked_before_it() {
    let mut replies = Replies::default();
    replies.push_behind(b"now ");
    assert_eq!(taken(&mut replies), "now ");
    let (a, b) = (replies.open(), replies.open());
    replies.fill(b, b"b ");
    replies.push_behind(b"push ");
    replies.push_behind(b"more ");
    assert_eq!(replies.open_count(), 2, "they share a place");
    let c = replies.open();
    replies.push_behind(b"last ");
    replies.answer(|out| out.extend_from_slice(b"d "));
    replies.push_behind(b"end ");
    assert_eq!(taken(&mut replies), "");
    replies.fill(a, b"a ");
    assert_eq!(taken(&mut replies), "a b push more ");
    replies.fill(c, b"c ");
    assert_eq!(taken(&mut replies), "c last d end ");
    assert!(replies.is_idle() && replies.held() == 0);
    // What is withheld is only the answer.
    replies.withhold(Withhold::All);
    let hidden = replies.open();
    replies.push_behind(b"push ");
    replies.fill(hidden, b"hidden ");
    assert_eq!(taken(&mut replies), "push ");
}

#[test]
fn a_join_that_becomes_too_large_lets_go_and_answers_with_an_error() {
    let mut replies = Replies::default();
    let everyone = Gather::everyone(pointsman_protocol::command::ResponsePolicy::Default, 3);
    let ticket = replies.open_gather(everyone);
    let part = b"*1\r\n$9\r\n012345678\r\n";
    assert_eq!(replies.fill_part(ticket, 0, part), Filled::Part);
    assert!(replies.gathered() > 0);
    replies.give_up_gather(ticket);
    assert_eq!(replies.gathered(), 0);
    assert_eq!(replies.fill_part(ticket, 1, part), Filled::Part);
    assert_eq!((replies.gathered(), replies.held()), (0, 0), "nothing is kept of what comes later");
    assert_eq!(replies.fill_part(ticket, 2, part), Filled::Whole);
    assert!(taken(&mut replies).starts_with("-ERR the joined reply is larger than reply_bytes_max"));
    assert!(replies.is_idle());
}

#[test]
fn t01_any_order_of_answers_gives_the_order_of_requests() {
    // Every permutation of five answers, across the wrap of the ticket.
    for seed in 0..120u32 {
        let mut replies = Replies { head: u32::MAX - 2, ..Replies::default() };
        let mut tickets: Vec<(usize, Ticket)> = (0..5).map(|place| (place, replies.open())).collect();
        let mut rest = seed;
        let mut got = String::new();
        while !tickets.is_empty() {
            let (place, ticket) = tickets.remove(rest as usize % tickets.len());
            rest /= 5;
            replies.fill(ticket, format!("{place}").as_bytes());
            got += &taken(&mut replies);
        }
        assert_eq!(got, "01234", "permutation {seed}");
        assert!(replies.is_idle());
    }
}

#[test]
fn a_second_answer_changes_nothing() {
    let mut replies = Replies::default();
    let (a, b) = (replies.open(), replies.open());
    replies.fill(b, b"b");
    replies.fill(b, b"X");
    replies.fill(a, b"a");
    replies.fill(a, b"X");
    assert_eq!(taken(&mut replies), "ab");
}

#[test]
fn gathers_hold_their_place() {
    let mut replies = Replies::default();
    let first = replies.open();
    let keys = [(Slot::new(1).unwrap(), 0), (Slot::new(2).unwrap(), 1)];
    let both = replies.open_gather(Gather::split(SplitKind::Sum, &keys));
    let last = replies.open();
    assert_eq!(replies.fill_part(both, 1, b":1\r\n"), Filled::Part);
    replies.fill(last, b"z");
    assert_eq!(replies.fill_part(both, 0, b":1\r\n"), Filled::Whole);
    replies.fill(first, b"a");
    assert_eq!(taken(&mut replies), "a:2\r\nz");
}

#[test]
fn a_client_that_never_pauses_keeps_a_bounded_stash() {
    let mut replies = Replies::default();
    // Each request is answered only after the one behind it, so one early reply always waits.
    let mut late = replies.open();
    for turn in 0..5_000 {
        let early = replies.open();
        let next = replies.open();
        replies.fill(early, &[b'e'; 100]);
        assert_eq!(replies.held(), 100, "turn {turn}");
        // `next` is answered early as well, before `late` frees the one in front of it.
        let behind = replies.open();
        replies.fill(next, &[b'n'; 50]);
        replies.fill(late, &[b'l'; 10]);
        assert!(replies.stash.len() <= 2 * COMPACT_BYTES, "{}", replies.stash.len());
        let ready = replies.ready().len();
        assert_eq!(ready, 160);
        replies.wrote(ready);
        late = behind;
    }
}

#[test]
fn t26_withheld_answers_leave_no_trace_and_keep_the_order() {
    let mut replies = Replies::default();
    let keys = [(Slot::new(1).unwrap(), 0), (Slot::new(2).unwrap(), 1)];
    let told = replies.open();
    replies.withhold_next();
    let skipped = replies.open();
    let behind = replies.open();
    replies.withhold(Withhold::All);
    let off = replies.open();
    let gather = replies.open_gather(Gather::split(SplitKind::Sum, &keys));
    replies.answer(|out| out.extend_from_slice(b"never"));
    replies.withhold_next();
    assert_eq!(replies.withhold, Withhold::All, "SKIP changes nothing while OFF");
    replies.withhold(Withhold::Nothing);
    replies.answer(|out| out.extend_from_slice(b"on "));
    replies.fill(off, b"never");
    replies.fill(behind, b"behind ");
    assert_eq!(replies.fill_part(gather, 0, b":1\r\n"), Filled::Part);
    assert!(replies.held() > 0);
    assert_eq!(replies.fill_part(gather, 1, b":1\r\n"), Filled::Whole);
    replies.fill(skipped, b"never");
    assert_eq!(taken(&mut replies), "");
    replies.fill(told, b"told ");
    assert_eq!(taken(&mut replies), "told behind on ");
    assert!(replies.is_idle());
    // At the head of an empty queue, too.
    replies.withhold_next();
    replies.answer(|out| out.extend_from_slice(b"never"));
    replies.withhold_next();
    replies.unanswered();
    replies.answer(|out| out.extend_from_slice(b"x"));
    replies.withhold(Withhold::All);
    let first = replies.open();
    replies.fill(first, b"never");
    assert_eq!(taken(&mut replies), "x");
    assert!(replies.is_idle() && replies.held() == 0);
}

#[test]
fn a_batch_is_answered_together() {
    let mut replies = Replies::default();
    let alone = replies.open();
    replies.end_of_batch();
    assert!(!replies.is_mid_batch(), "a single request is no batch");
    replies.fill(alone, b"x");
    let batch = [replies.open(), replies.open(), replies.open()];
    replies.end_of_batch();
    let behind = replies.open();
    replies.end_of_batch();
    replies.fill(batch[0], b"a");
    assert!(replies.is_mid_batch());
    replies.fill(batch[1], b"b");
    replies.fill(batch[2], b"c");
    assert!(!replies.is_mid_batch(), "complete, whatever comes behind it");
    replies.fill(behind, b"d");
    assert_eq!(taken(&mut replies), "xabcd");
    let (large, _small) = (replies.open(), replies.open());
    replies.end_of_batch();
    replies.fill(large, &[0; HOLD_BYTES]);
    assert!(!replies.is_mid_batch(), "large replies do not wait");
}

#[test]
fn a_client_that_reads_slowly_keeps_a_bounded_output() {
    let mut replies = Replies::default();
    replies.answer(|out| out.extend_from_slice(&[0; 1000]));
    for _ in 0..2_000 {
        // Always a rest unread, so the output is never wholly written.
        replies.answer(|out| out.extend_from_slice(&[0; 1000]));
        replies.wrote(1000);
        assert!(replies.out.len() <= 3 * COMPACT_BYTES, "{}", replies.out.len());
        assert_eq!(replies.ready().len(), 1000);
    }
}

#[test]
fn partial_writes_continue() {
    let mut replies = Replies::default();
    replies.answer(|out| out.extend_from_slice(b"12345"));
    replies.wrote(2);
    assert_eq!((replies.ready(), replies.held()), (&b"345"[..], 3));
    replies.wrote(3);
    assert!(replies.is_idle());
}
