use super::*;

const RESP2: bool = false;

fn client(index: u32) -> ClientKey {
    ClientKey { index, generation: 1 }
}

fn begin(registry: &mut Registry, who: u32, kind: Kind, names: &[&str]) -> Vec<TopicId> {
    registry.begin(client(who), Ticket(7), (kind, RESP2), names.iter().map(|name| name.as_bytes()), 10)
}

fn stand(registry: &mut Registry, ids: &[TopicId]) -> Vec<Answer> {
    let mut answers = Vec::new();
    ids.iter().for_each(|id| registry.stands(*id, &mut answers));
    answers
}

/// Confirmations as `word name count`, in order.
fn shown(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    let frames = text.split("*3\r\n").filter(|frame| !frame.is_empty());
    frames
        .map(|frame| {
            let lines = frame.split("\r\n").filter(|line| !line.starts_with('$') || *line == "$-1");
            lines.collect::<Vec<_>>().join(" ").trim().replace(':', "")
        })
        .collect()
}

fn unsubscribe(registry: &mut Registry, who: u32, kind: Kind, names: &[&str]) -> (Vec<String>, usize) {
    let mut out = Vec::new();
    let names = (!names.is_empty()).then(|| names.iter().map(|name| name.as_bytes()));
    let left = registry.unsubscribe(client(who), (kind, RESP2), names, &mut out);
    let gone = left.into_iter().filter_map(|id| registry.remove_unwanted(id)).count();
    (shown(&out), gone)
}

fn subscribe(registry: &mut Registry, who: u32, kind: Kind, names: &[&str]) -> Vec<String> {
    let ids = begin(registry, who, kind, names);
    stand(registry, &ids).iter().flat_map(|answer| shown(&answer.bytes)).collect()
}

#[test]
fn t62_counts_go_over_channels_and_patterns_but_not_shard_channels() {
    let mut registry = Registry::default();
    assert_eq!(
        subscribe(&mut registry, 1, Kind::Channel, &["a", "b", "a"]),
        ["subscribe a 1", "subscribe b 2", "subscribe a 2"]
    );
    assert_eq!(subscribe(&mut registry, 1, Kind::Pattern, &["p*"]), ["psubscribe p* 3"]);
    assert_eq!(subscribe(&mut registry, 1, Kind::Shard, &["a", "s"]), ["ssubscribe a 1", "ssubscribe s 2"]);
    assert_eq!((registry.counts(client(1)), registry.len(), registry.subscriptions()), ([2, 1, 2], 5, 5));
    assert_eq!(unsubscribe(&mut registry, 1, Kind::Channel, &["no"]), (vec!["unsubscribe no 3".into()], 0));
    assert_eq!(
        unsubscribe(&mut registry, 1, Kind::Channel, &[]),
        (vec!["unsubscribe a 2".into(), "unsubscribe b 1".into()], 2)
    );
    assert_eq!(unsubscribe(&mut registry, 1, Kind::Channel, &[]), (vec!["unsubscribe $-1 1".into()], 0));
    assert_eq!(unsubscribe(&mut registry, 1, Kind::Pattern, &[]), (vec!["punsubscribe p* 0".into()], 1));
    assert_eq!(unsubscribe(&mut registry, 1, Kind::Shard, &["a"]), (vec!["sunsubscribe a 1".into()], 1));
    assert_eq!(registry.subscriptions(), 1);
    registry.leave(client(1));
    assert_eq!((registry.subscriptions(), registry.clients.len()), (0, 0));
}

#[test]
fn t63_a_topic_lives_as_long_as_a_client_wants_it() {
    let mut registry = Registry::default();
    let ids = begin(&mut registry, 1, Kind::Channel, &["c"]);
    assert_eq!(begin(&mut registry, 2, Kind::Channel, &["c"]), ids, "one topic for both");
    // The second is not told before it stands, either.
    assert!(registry.topic(ids[0]).unwrap().subscribers().is_empty());
    let answers = stand(&mut registry, &ids);
    assert_eq!(answers.iter().map(|answer| answer.client).collect::<Vec<_>>(), [client(1), client(2)]);
    assert_eq!(registry.topic(ids[0]).unwrap().subscribers().len(), 2);
    assert_eq!(unsubscribe(&mut registry, 1, Kind::Channel, &["c"]).1, 0, "the other still has it");
    let left = registry.leave(client(2));
    assert!(registry.remove_unwanted(left[0]).is_some());
    assert_eq!(registry.find(Kind::Channel, b"c"), None);
}

// T63: no message before the confirmation: whoever waits for part of a command is no subscriber yet.
#[test]
fn t63_a_command_is_confirmed_as_a_whole() {
    let mut registry = Registry::default();
    let ids = begin(&mut registry, 1, Kind::Channel, &["a", "b"]);
    assert_eq!(stand(&mut registry, &ids[..1]), []);
    // It is lost and stands again in between: that counts once.
    assert_eq!(stand(&mut registry, &ids[..1]), []);
    assert!(registry.topic(ids[0]).unwrap().subscribers().is_empty());
    let answers = stand(&mut registry, &ids[1..]);
    assert_eq!(shown(&answers[0].bytes), ["subscribe a 1", "subscribe b 2"]);
    assert_eq!(answers[0].ticket, Ticket(7));
    assert_eq!(stand(&mut registry, &ids), [], "told once");
}

#[test]
fn a_command_that_fails_leaves_nothing_of_its_own() {
    let mut registry = Registry::default();
    subscribe(&mut registry, 1, Kind::Channel, &["a"]);
    begin(&mut registry, 1, Kind::Channel, &["a", "b"]);
    assert_eq!(registry.begun_before(10), []);
    assert_eq!(registry.begun_before(11), [client(1)]);
    let (answer, left) = registry.fail(client(1), b"-NOPERM\r\n").unwrap();
    assert_eq!(answer.bytes, b"-NOPERM\r\n");
    let gone = left.into_iter().filter_map(|id| registry.remove_unwanted(id)).count();
    assert_eq!((gone, registry.counts(client(1))), (1, [1, 0, 0]), "what it had before stays");
    assert!(registry.has(client(1), Kind::Channel, b"a") && !registry.has(client(1), Kind::Channel, b"b"));
    assert!(registry.fail(client(1), b"").is_none());
}

#[test]
fn a_client_that_leaves_in_mid_command_is_forgotten() {
    let mut registry = Registry::default();
    let ids = begin(&mut registry, 1, Kind::Pattern, &["p", "q"]);
    stand(&mut registry, &ids[..1]);
    let left = registry.leave(client(1));
    assert_eq!(left.into_iter().filter_map(|id| registry.remove_unwanted(id)).count(), 2);
    assert!(registry.is_empty() && stand(&mut registry, &ids).is_empty());
}
