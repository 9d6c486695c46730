use super::*;
use pointsman_protocol::HostPort;
use pointsman_protocol::Slot;
use pointsman_protocol::topology::{Node, TopologyBuilder};

fn tag_of(number: u16) -> Tag {
    Tag::new(number).unwrap()
}

const LIMIT: u64 = 1 << 53;

// T69: every position survives its number, and the number fits a double.
#[test]
fn t69_cursors_are_small_and_come_back() {
    for shards in [1, 3, 6, 100] {
        for shard in [0, shards - 1] {
            for cursor in [1, 7, 0x7ff_ffff] {
                for tag in [tag_of(1), tag_of(u16::MAX)] {
                    let number = after_node(tag, shard, shards, cursor);
                    assert!(0 < number && number < LIMIT);
                    let expected = Cursor::Node { tag, shard, cursor };
                    assert_eq!(
                        Cursor::decode(number, tag, shards),
                        Some(expected),
                        "{shards} {shard} {cursor}"
                    );
                }
            }
        }
    }
    // A bundled node's last cursor, with as many shards as it has by default.
    let last = (16383 << 20) | 0xfffff;
    let number = after_node(tag_of(u16::MAX), 2, 3, last);
    assert!(number < LIMIT);
    assert!(
        matches!(Cursor::decode(number, tag_of(u16::MAX), 3), Some(Cursor::Node { cursor, .. }) if cursor == last)
    );
}

#[test]
fn t69_shard_follows_shard_and_then_the_check() {
    let tag = tag_of(9);
    let decode = |number| Cursor::decode(number, tag, 2).unwrap();
    assert_eq!(decode(0), Cursor::Node { tag, shard: 0, cursor: 0 });
    assert_eq!(decode(after_node(tag, 0, 2, 5)), Cursor::Node { tag, shard: 0, cursor: 5 });
    assert_eq!(decode(after_node(tag, 0, 2, 0)), Cursor::Node { tag, shard: 1, cursor: 0 });
    assert_eq!(decode(after_node(tag, 1, 2, 0)), Cursor::Check { tag });
    assert_eq!(after_check(true), 0);
    assert_eq!(decode(after_check(false)), Cursor::Slots(Window::START));
}

// T69: another map than the one it began with, and a node's cursor too large, lead to the second way.
#[test]
fn t69_what_cannot_be_gone_on_with_begins_slot_by_slot() {
    let number = after_node(tag_of(9), 1, 3, 77);
    assert_eq!(Cursor::decode(number, tag_of(8), 3), Some(Cursor::Slots(Window::START)));
    let check = after_node(tag_of(9), 2, 3, 0);
    assert_eq!(Cursor::decode(check, tag_of(8), 4), Some(Cursor::Slots(Window::START)));
    for large in [1 << 37, 1 << 40, u64::MAX] {
        let number = after_node(tag_of(9), 0, 3, large);
        assert_eq!(Cursor::decode(number, tag_of(9), 3), Some(Cursor::Slots(Window::START)), "{large}");
    }
}

#[test]
fn t69_numbers_never_told_are_no_cursors() {
    for number in [1, 17, BY_SLOT - 1, BY_SLOT | 0x7fff, BY_SLOT | 0xf << 15, BY_SLOT << 1, LIMIT, u64::MAX] {
        assert_eq!(Cursor::decode(number, tag_of(1), 3), None, "{number}");
    }
}

// T69: whatever the calls find, each slot is asked for in two calls, one after the other.
#[test]
fn t69_every_slot_is_asked_twice() {
    for keys in [0, 50, 150, 10_000] {
        let mut asked = vec![0; usize::from(SLOTS)];
        let (mut number, mut calls) = (after_check(false), 0);
        while number != 0 {
            assert!(number < LIMIT);
            let Some(Cursor::Slots(window)) = Cursor::decode(number, tag_of(1), 3) else {
                panic!("{number}")
            };
            window.slots().for_each(|slot| asked[usize::from(slot)] += 1);
            number = after_slots(window, keys, 10);
            calls += 1;
        }
        assert!(asked.iter().all(|times| *times >= 2), "{keys}");
        assert!(asked.iter().all(|times| *times <= 3), "{keys}");
        assert!(keys > 0 || calls < 80, "{calls} calls over an empty store");
    }
}

#[test]
fn t69_a_short_queue_makes_short_steps() {
    let wide = Window { first: 512, ahead: 8, behind: 6 };
    for (inflight_max, ahead) in [(100_000, 8), (1024, 8), (1023, 7), (40, 3), (4, 0), (1, 0)] {
        let window = wide.limited(inflight_max);
        assert_eq!(window, Window { ahead, ..wide }, "{inflight_max}");
        assert!(window.after(0, 10).is_some_and(|next| next.first > window.first), "it goes on");
    }
}

#[test]
fn t69_a_tag_knows_owners_and_epochs() {
    let node = |port| Node { id: None, address: HostPort::new("h", port), zone: None };
    let map = |epoch, border, second| {
        let mut builder = TopologyBuilder::new();
        builder.epoch(epoch).shard(node(1), vec![node(9)], &[(0, border)]).unwrap();
        builder.shard(node(second), vec![], &[(border + 1, 16383)]).unwrap();
        builder.build()
    };
    let one = tag(&map(5, 8000, 2));
    assert_eq!(one, tag(&map(5, 8000, 2)));
    for other in [map(6, 8000, 2), map(5, 8001, 2), map(5, 8000, 3)] {
        assert_ne!(one, tag(&other));
    }
    let moved = map(5, 8000, 2).with_slot_moved(Slot::new(16383).unwrap(), &HostPort::new("h", 1));
    assert_ne!(one, tag(&moved));
}

#[test]
fn t69_what_a_primary_tells_of_itself() {
    let line = |flags: &str, slots: &str| {
        format!("bb h:2@3 master - 0 1 5 connected 0-9\naa h:1@2 {flags} - 0 0 4 connected {slots}\n")
    };
    let owned = [(10, 20), (30, 30)];
    for (nodes, newest, quiet) in [
        (line("myself,master", "10-20 30"), 5, true),
        (line("myself,master", "30 10-20"), 5, true),
        (line("myself,master", "10-20 30"), 6, false),
        (line("myself,master", "10-20"), 5, false),
        (line("myself,master", "10-21 30"), 5, false),
        (line("myself,master", "10-20 30 [12->-bb]"), 5, false),
        (line("myself,master", "10-20 30 [3-<-bb]"), 5, false),
        (line("myself,slave", "10-20 30"), 5, false),
        (line("master", "10-20 30"), 5, false),
        (String::new(), 5, false),
    ] {
        assert_eq!(is_quiet(&nodes, newest, &owned, 5), quiet, "{nodes}");
    }
}
