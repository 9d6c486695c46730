use super::*;
use crate::topology::publish::Published;
use pointsman_protocol::topology::{Node, TopologyBuilder};

const INVALIDATE: &[u8] = b">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n";

fn address(port: u16) -> HostPort {
    HostPort::new("h", port)
}

fn snapshot(ports: &[u16]) -> Arc<Snapshot> {
    let mut builder = TopologyBuilder::new();
    builder.epoch(1);
    let share = 16384 / ports.len() as u16;
    for (index, port) in ports.iter().enumerate() {
        let first = index as u16 * share;
        let last = if index + 1 == ports.len() { 16383 } else { first + share - 1 };
        let node = Node { id: None, address: address(*port), zone: None };
        builder.shard(node, Vec::new(), &[(first, last)]).unwrap();
    }
    let published = Published::default();
    published.publish(builder.build());
    published.load()
}

fn client(index: u32) -> ClientKey {
    ClientKey { index, generation: 1 }
}

/// A client that hears of what it reads.
fn reader(watch: &mut Watch, index: u32) -> bool {
    watch.enlist(client(index), None::<std::iter::Empty<&Vec<u8>>>)
}

fn broadcast(watch: &mut Watch, index: u32, prefixes: &[&str]) -> bool {
    let prefixes: Vec<Vec<u8>> = prefixes.iter().map(|prefix| prefix.as_bytes().to_vec()).collect();
    watch.enlist(client(index), Some(prefixes.iter()))
}

/// Two primaries, both watched for the one client that reads.
fn standing() -> Watch {
    let mut watch = Watch::new(snapshot(&[1, 2]), 0);
    assert!(reader(&mut watch, 1));
    let (dials, _) = watch.adopt(snapshot(&[1, 2]), 0);
    assert_eq!(dials.len(), 2);
    for id in dials {
        assert_eq!(watch.standing(), Standing::Partial);
        watch.link_up(id, 1);
        assert_eq!(watch.frame(id, b"+OK\r\n", 1), News::Watched);
    }
    assert_eq!(watch.standing(), Standing::Whole);
    watch
}

fn link_to(watch: &Watch, port: u16) -> u64 {
    *watch.links.iter().find(|(_, link)| link.address == address(port)).unwrap().0
}

#[test]
fn t102_a_lost_connection_is_a_gap_until_it_is_made_again() {
    let mut watch = standing();
    let (one, slot_of_one, slot_of_two) =
        (link_to(&watch, 1), Slot::new(0).unwrap(), Slot::new(16383).unwrap());
    assert!(watch.link_down(one), "changes may have been missed");
    assert_eq!(watch.standing(), Standing::Partial);
    assert!(!watch.covers_slot(slot_of_one) && watch.covers_slot(slot_of_two));
    assert!(!watch.covers(&address(1)) && watch.covers(&address(2)));
    assert!(!watch.link_down(one), "an attempt that fails loses nothing");
    watch.link_up(one, 2);
    assert!(!watch.covers_slot(slot_of_one), "not before the node says so");
    watch.frame(one, b"+OK\r\n", 3);
    assert!(watch.covers_slot(slot_of_one) && watch.standing() == Standing::Whole);
    assert_eq!(watch.frame(one, INVALIDATE, 4), News::Changed(vec![b"k"]));
}

#[test]
fn t102_another_set_of_primaries_is_a_gap() {
    let mut watch = standing();
    assert_eq!(watch.adopt(snapshot(&[2, 1]), 5), (vec![], false), "slots moved, the nodes are the same");
    let (dials, changed) = watch.adopt(snapshot(&[1, 2, 3]), 5);
    assert!(changed && dials.len() == 1 && watch.standing() == Standing::Partial);
    assert!(watch.covers(&address(1)) && !watch.covers(&address(3)));
    watch.link_up(dials[0], 5);
    watch.frame(dials[0], b"+OK\r\n", 5);
    let (dials, changed) = watch.adopt(snapshot(&[1, 3]), 6);
    assert!(changed && dials.is_empty() && watch.standing() == Standing::Whole);
    assert!(!watch.covers(&address(9)), "of a stranger nothing is heard");
}

#[test]
fn t102_a_watch_that_grows_is_a_gap() {
    let mut watch = Watch::new(snapshot(&[1]), 0);
    let (dials, _) = watch.adopt(snapshot(&[1]), 0);
    assert!(broadcast(&mut watch, 1, &["a", "b"]));
    watch.link_up(dials[0], 0);
    watch.frame(dials[0], b"+OK\r\n", 0);
    for (index, prefixes, grows) in [
        (2, &["a"][..], false),
        (3, &["ab", "b1"], false),
        (4, &["c"], true),
        (5, &[""], true),
        (6, &["d"], false),
    ] {
        assert_eq!(broadcast(&mut watch, index, prefixes), grows, "{prefixes:?}");
        if grows {
            assert_eq!(watch.standing(), Standing::Partial);
            watch.frame(dials[0], b"+OK\r\n", 0);
            assert_eq!(watch.standing(), Standing::Partial, "that was the end of the old watch");
            watch.frame(dials[0], b"+OK\r\n", 0);
        }
        assert_eq!(watch.standing(), Standing::Whole);
    }
    assert!(!reader(&mut watch, 7), "everything is heard already");
    assert_eq!(watch.client_count(), 7);
}

#[test]
fn many_prefixes_become_all() {
    let mut watch = Watch::new(snapshot(&[1]), 0);
    let names: Vec<String> = (0..=COVER_MAX).map(|number| format!("{number:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert!(broadcast(&mut watch, 1, &names[1..]));
    assert_eq!(watch.cover.len(), COVER_MAX);
    assert!(broadcast(&mut watch, 1, &names[..1]));
    assert_eq!(watch.cover, [b""]);
}

#[test]
fn a_refusal_is_told_and_forgotten_once_it_is_over() {
    let mut watch = Watch::new(snapshot(&[1]), 0);
    reader(&mut watch, 1);
    let (dials, _) = watch.adopt(snapshot(&[1]), 0);
    watch.link_up(dials[0], 0);
    watch.frame(dials[0], b"-NOPERM no\r\n", 0);
    assert_eq!(watch.standing(), Standing::Refused(b"NOPERM no".to_vec()));
    watch.link_down(dials[0]);
    watch.link_up(dials[0], 0);
    watch.frame(dials[0], b"+OK\r\n", 0);
    assert_eq!(watch.standing(), Standing::Whole);
}

#[test]
fn nobody_needs_it_any_more() {
    let mut watch = standing();
    watch.table.note(b"k", client(1));
    assert!(watch.tick(UNUSED_US * 2, 1_000_000));
    watch.discharge(client(1), None::<std::iter::Empty<&Vec<u8>>>, 5);
    watch.discharge(client(1), None::<std::iter::Empty<&Vec<u8>>>, 5);
    assert!(watch.table.is_empty() && watch.client_count() == 0 && watch.readers == 0);
    assert!(watch.tick(5, 1_000_000), "the next one may come at once");
    assert!(!watch.tick(UNUSED_US + 5, 1_000_000));
}

#[test]
fn t68_a_silent_node_is_asked_and_then_given_up() {
    let mut watch = standing();
    let one = link_to(&watch, 1);
    watch.tick(1_000, 1_000);
    assert_eq!(watch.links[&one].owed(), 1);
    watch.tick(1_900, 1_000);
    assert_eq!(watch.links[&one].close, None);
    watch.frame(one, b"+PONG\r\n", 1_950);
    watch.tick(2_500, 1_000);
    watch.tick(3_600, 1_000);
    assert!(watch.links[&one].close.is_some());
}
