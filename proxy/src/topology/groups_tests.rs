use super::*;
use pointsman_protocol::NodeId;
use pointsman_protocol::topology::Epoch;

fn told(port: u16, id: u8, is_primary: bool) -> Told {
    let role = Role {
        is_primary,
        run_id: Some(NodeId::from_bytes([id; 20])),
        history: "a".to_owned(),
        link_up: !is_primary,
        ..Role::default()
    };
    Told { address: HostPort::new("h", port), role }
}

fn group() -> Group {
    Group {
        name: "primary".to_owned(),
        slots: (0, SLOTS - 1),
        seeds: vec![HostPort::new("h", 1)],
        told_epoch: 0,
        older_rounds: 0,
        view: None,
        in_use: None,
        complained: None,
        conflict: None,
    }
}

fn heard(told: Vec<Told>) -> Heard {
    Heard { told, errors: Vec::new(), at: Instant::now() }
}

#[test]
fn the_epoch_rises_with_each_new_primary_and_only_then() {
    let mut groups = [group()];
    let mut before = Topology::empty();
    assert!(build(&groups, &before).is_none(), "nothing is known");
    for (what, told, epoch) in [
        ("the first", vec![told(1, 1, true)], 1),
        ("the same", vec![told(1, 1, true)], 1),
        ("a replica more", vec![told(1, 1, true), told(2, 2, false)], 1),
        ("restarted in its place", vec![told(1, 9, true), told(2, 2, false)], 2),
        ("a failover", vec![told(1, 9, false), told(2, 2, true)], 3),
        ("nobody answers: what is published stays", vec![], 3),
        ("and back", vec![told(1, 9, true), told(2, 2, false)], 4),
    ] {
        groups[0].learn(&heard(told), &[], "b");
        before = build(&groups, &before).unwrap();
        assert_eq!(before.epoch(), Epoch(epoch), "{what}");
        assert_eq!(before.slots_covered(), usize::from(SLOTS), "{what}");
    }
    assert_eq!(before.primary_of(pointsman_protocol::Slot::ZERO).unwrap().port(), 1);
}

#[test]
fn a_silent_primary_is_noted_and_not_given_up() {
    let mut group = group();
    let at = |seconds, told| Heard { at: Instant::now() + Duration::from_secs(seconds), ..heard(told) };
    let first = at(0, vec![told(1, 1, true)]);
    assert!(group.learn(&first, &[], "b"));
    for seconds in 1..4 {
        assert!(!group.learn(&at(seconds, vec![told(2, 2, false)]), &[], "b"));
        assert_eq!(group.in_use.as_ref().unwrap().heard, first.at);
        assert_eq!(group.view.as_ref().unwrap().primary.address.port(), 1);
    }
    let again = at(5, vec![told(1, 1, true)]);
    group.learn(&again, &[], "b");
    assert_eq!(group.in_use.as_ref().unwrap().heard, again.at);
}

// T91: shards[1] was given a replica of shards[0].
#[test]
fn t91_one_server_is_never_the_primary_of_two_groups() {
    let mut groups = [group(), Group { name: "shards[1]".to_owned(), ..group() }];
    assert!(groups[0].learn(&heard(vec![told(1, 1, true)]), &taken(&groups, 0), "b"));
    for port in [1, 7] {
        let both = heard(vec![told(port, 1, true), told(2, 2, false)]);
        assert!(!groups[1].learn(&both, &taken(&groups, 1), "b"), "the same run at {port}");
    }
    assert!(groups[1].view.is_none() && groups[1].conflict.as_deref() == Some("primary"));
    assert!(
        groups[0].learn(&heard(vec![told(1, 1, true)]), &taken(&groups, 0), "b"),
        "its own stays its own"
    );
    // One that had a primary of its own keeps it, though it became a replica of the other's.
    assert!(groups[1].learn(&heard(vec![told(2, 2, true)]), &taken(&groups, 1), "b"));
    assert!(groups[1].conflict.is_none());
    let followed = heard(vec![told(1, 1, true), told(2, 2, false)]);
    assert!(!groups[1].learn(&followed, &taken(&groups, 1), "b"));
    assert_eq!(groups[1].view.as_ref().unwrap().primary.address.port(), 2);
}

#[test]
fn a_node_under_two_addresses_is_one_node() {
    let seeds = [HostPort::new("z", 1)];
    let seed = Told { address: seeds[0].clone(), ..told(1, 1, true) };
    let kept = one_address_each(vec![told(1, 1, true), seed, told(3, 3, false), told(2, 3, false)], &seeds);
    let addresses: Vec<String> = kept.iter().map(|node| node.address.to_string()).collect();
    assert_eq!(addresses, ["z:1", "h:2"]);
}

#[test]
fn databases_as_redis_tells_them() {
    let bulk = |text: &str| OwnedFrame::BulkString(text.as_bytes().to_vec());
    assert_eq!(databases(&OwnedFrame::Array(vec![bulk("databases"), bulk("16")])), Some(16));
    assert_eq!(databases(&OwnedFrame::Array(vec![bulk("databases"), bulk("99999")])), Some(u16::MAX));
    assert_eq!(databases(&OwnedFrame::Array(vec![])), None);
    assert_eq!(databases(&OwnedFrame::Array(vec![bulk("databases"), bulk("x")])), None);
}

// T90: a sentinel that was cut off must not turn things back; sentinels that were set up anew may.
#[test]
fn t90_an_older_epoch_is_not_believed_unless_a_majority_insists() {
    let view = |epoch| View { primary: HostPort::new("h", epoch as u16), epoch, replicas: Vec::new() };
    let mut group = group();
    assert_eq!(group.hear_sentinels(&[view(7)], 2).map(|chosen| chosen.epoch), Ok(7));
    for _ in 0..10 {
        assert!(group.hear_sentinels(&[view(3)], 2).is_err(), "one alone");
    }
    for round in 1..OLDER_ROUNDS {
        assert!(group.hear_sentinels(&[view(3), view(3)], 2).is_err(), "{round}");
    }
    assert_eq!(group.hear_sentinels(&[view(3), view(3)], 2).map(|chosen| chosen.epoch), Ok(3));
    assert!(group.hear_sentinels(&[], 2).is_err());
}
