use super::heard::HOPS;
use super::*;
use crate::pubsub::wire;
use crate::topology::publish::Published;
use pointsman_protocol::Slot;
use pointsman_protocol::topology::{Node, Topology, TopologyBuilder};

const PATIENCE: Patience =
    Patience { backoff: Duration::from_millis(10), backoff_max: Duration::from_millis(1000) };

/// A hub, the connections it asked for, and a clock that stands still unless it is set.
struct World {
    hub: Hub,
    published: Published,
    events: Vec<Event>,
    now: u64,
}

fn address(port: u16) -> HostPort {
    HostPort::new("h", port)
}

/// Primaries on these ports; each owns a part of the slots in order.
fn view(epoch: u64, ports: &[u16]) -> Topology {
    let mut builder = TopologyBuilder::new();
    builder.epoch(epoch);
    let size = 16384 / ports.len() as u16;
    for (place, port) in ports.iter().enumerate() {
        let (first, last) = (place as u16 * size, (place as u16 + 1) * size - 1);
        let last = if place + 1 == ports.len() { 16383 } else { last };
        let node = Node { id: None, address: address(*port), zone: None };
        builder.shard(node, Vec::new(), &[(first, last)]).unwrap();
    }
    builder.build()
}

fn client(index: u32) -> ClientKey {
    ClientKey { index, generation: 1 }
}

fn confirmation(kind: Kind, subscribing: bool, name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    wire::confirm(&mut out, false, (kind, subscribing), Some(name.as_bytes()), 1);
    out
}

fn message(words: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    pointsman_protocol::resp::encode::request(&mut out, words);
    out
}

impl World {
    /// The keyless slot is 0: the first port is where PUBLISH goes.
    fn new(ports: &[u16]) -> World {
        let published = Published::default();
        published.publish(view(1, ports));
        let hub = Hub::new(published.load(), Arc::default(), PATIENCE, 1);
        World { hub, published, events: Vec::new(), now: 1 }
    }

    fn hear(&mut self) {
        while let Some(event) = self.hub.next_event() {
            self.events.push(event);
        }
    }

    fn subscribe(&mut self, who: u32, kind: Kind, names: &[&str]) {
        let names = names.iter().map(|name| name.as_bytes());
        self.hub.subscribe(client(who), Ticket(0), (kind, false), names, self.now);
        self.hear();
    }

    fn unsubscribe(&mut self, who: u32, kind: Kind, name: &str) {
        let names = Some(std::iter::once(name.as_bytes()));
        self.hub.unsubscribe(client(who), (kind, false), names, &mut Vec::new(), self.now);
        self.hear();
    }

    fn link(&self, port: u16) -> Option<u64> {
        self.hub.links.iter().find(|(_, link)| link.address == address(port)).map(|(id, _)| *id)
    }

    fn up(&mut self, port: u16) {
        let id = self.link(port).expect("it is wanted");
        self.hub.link_up(id, self.now);
        self.hear();
    }

    fn down(&mut self, port: u16) {
        let id = self.link(port).expect("it is there");
        self.hub.link_down(id, self.now);
        self.hear();
    }

    /// What was said to a node since this was asked last: `word name`.
    fn said(&mut self, port: u16) -> Vec<String> {
        let Some(id) = self.link(port) else { return Vec::new() };
        let out = std::mem::take(&mut self.hub.link(id).unwrap().out);
        let text = String::from_utf8(out).unwrap();
        text.split("*2\r\n")
            .filter(|request| !request.is_empty())
            .map(|request| {
                let words: Vec<&str> = request.split("\r\n").filter(|word| !word.starts_with('$')).collect();
                words.join(" ").trim().to_owned()
            })
            .collect()
    }

    fn frame(&mut self, port: u16, bytes: &[u8]) -> Result<Option<TopicId>, Broken> {
        let id = self.link(port).expect("it is there");
        let heard = self.hub.frame(id, bytes, 0, self.now);
        self.hear();
        heard
    }

    fn confirm(&mut self, port: u16, kind: Kind, subscribing: bool, name: &str) {
        self.frame(port, &confirmation(kind, subscribing, name)).expect("it was asked for");
    }

    fn adopt(&mut self, topology: Topology) {
        assert!(self.published.publish(topology));
        self.hub.adopt(self.published.load(), self.now);
        self.hear();
    }

    fn move_slot(&mut self, slot: Slot, port: u16) {
        self.published.slot_moved(slot, &address(port));
        self.hub.adopt(self.published.load(), self.now);
        self.hear();
    }

    /// The answers that clients had so far: who, and whether it worked.
    fn answers(&self) -> Vec<(u32, bool)> {
        let answers = self.events.iter().filter_map(|event| match event {
            Event::Answer(answer, ok) => Some((answer.client.index, *ok)),
            _ => None,
        });
        answers.collect()
    }

    fn is_delivered(&mut self, port: u16, words: &[&str]) -> bool {
        self.frame(port, &message(words)).expect("a message").is_some()
    }
}

impl World {
    /// Time enough for the cluster bus passes.
    fn later(&mut self) {
        self.now += BUS_LAG_US + 1;
        self.hub.tick(self.now, 0, u64::MAX, b"");
        self.hear();
    }
}

fn none() -> Vec<String> {
    Vec::new()
}

#[test]
fn t63_one_subscription_for_all_clients() {
    let mut world = World::new(&[1, 2, 3]);
    world.subscribe(1, Kind::Channel, &["c"]);
    world.subscribe(2, Kind::Channel, &["c"]);
    assert_eq!(world.said(1), none(), "nothing before it is connected");
    world.up(1);
    assert_eq!(world.said(1), ["subscribe c"]);
    assert_eq!(world.answers(), []);
    world.confirm(1, Kind::Channel, true, "c");
    assert_eq!(world.answers(), [(1, true), (2, true)]);
    world.subscribe(3, Kind::Channel, &["c"]);
    assert_eq!(world.answers().len(), 3, "at once: it stands");
    assert!(world.is_delivered(1, &["message", "c", "hi"]));
    assert!(!world.is_delivered(1, &["message", "d", "hi"]));
    world.unsubscribe(1, Kind::Channel, "c");
    world.unsubscribe(2, Kind::Channel, "c");
    assert_eq!(world.said(1), none());
    world.unsubscribe(3, Kind::Channel, "c");
    assert_eq!(world.said(1), ["unsubscribe c"]);
    assert!(!world.is_delivered(1, &["message", "c", "late"]));
    world.confirm(1, Kind::Channel, false, "c");
    assert!(world.hub.registry.is_empty());
}

#[test]
fn t64_a_lost_home_is_replaced_without_a_word_to_clients() {
    let mut world = World::new(&[1, 2, 3]);
    world.subscribe(1, Kind::Channel, &["c"]);
    world.up(1);
    world.confirm(1, Kind::Channel, true, "c");
    world.down(1);
    assert_eq!(world.link(2), None, "first the same node again");
    world.down(1);
    world.up(2);
    assert_eq!(world.said(2), none(), "what it has still to hear over the bus was told already");
    world.later();
    assert_eq!(world.said(2), ["subscribe c"]);
    // Who comes meanwhile gets no confirmation before it stands again.
    world.subscribe(2, Kind::Channel, &["c"]);
    assert_eq!(world.answers(), [(1, true)]);
    world.confirm(2, Kind::Channel, true, "c");
    assert_eq!(world.answers(), [(1, true), (2, true)]);
    assert!(world.is_delivered(2, &["message", "c", "hi"]));
    assert_eq!(world.events.iter().filter(|event| matches!(event, Event::Resubscribed)).count(), 1);
    assert_eq!(world.link(1), None, "nothing is wanted there any more");
}

#[test]
fn t64_the_old_home_is_kept_until_the_new_one_is_connected() {
    let mut world = World::new(&[1, 2]);
    world.subscribe(1, Kind::Channel, &["c"]);
    world.up(1);
    world.confirm(1, Kind::Channel, true, "c");
    world.said(1);
    world.adopt(view(2, &[5, 2]));
    assert_eq!(world.said(1), none(), "the new one cannot be asked yet");
    world.up(5);
    assert_eq!((world.said(1), world.said(5)), (vec!["unsubscribe c".to_owned()], none()));
    assert!(world.is_delivered(1, &["message", "c", "still here"]));
    // Who comes now waits for the new one.
    world.subscribe(2, Kind::Channel, &["c"]);
    assert_eq!(world.answers(), [(1, true)]);
    world.confirm(1, Kind::Channel, false, "c");
    assert_eq!(world.said(5), none());
    world.later();
    assert_eq!(world.said(5), ["subscribe c"]);
    world.confirm(5, Kind::Channel, true, "c");
    assert!(world.is_delivered(5, &["message", "c", "hi"]));
    assert!(!world.is_delivered(1, &["message", "c", "twice"]));
    assert_eq!((world.said(1), world.answers().len()), (none(), 2));
}

#[test]
fn t64_a_new_home_that_cannot_be_reached_costs_nothing() {
    let mut world = World::new(&[1, 2]);
    world.subscribe(1, Kind::Channel, &["c"]);
    world.up(1);
    world.confirm(1, Kind::Channel, true, "c");
    world.said(1);
    world.adopt(view(2, &[5, 2]));
    world.down(5);
    assert_eq!(world.said(1), none());
    assert!(world.is_delivered(1, &["message", "c", "hi"]));
}

#[test]
fn t64_a_home_that_comes_back_while_it_is_left_is_asked_again() {
    let mut world = World::new(&[1, 2]);
    world.subscribe(1, Kind::Channel, &["c"]);
    world.up(1);
    world.confirm(1, Kind::Channel, true, "c");
    world.adopt(view(2, &[5, 2]));
    world.up(5);
    world.said(1);
    world.adopt(view(3, &[1, 2]));
    world.confirm(1, Kind::Channel, false, "c");
    assert_eq!((world.said(1), world.said(5)), (vec!["subscribe c".to_owned()], none()));
    world.confirm(1, Kind::Channel, true, "c");
    assert!(world.is_delivered(1, &["message", "c", "hi"]));
}

#[test]
fn t64_when_no_node_can_be_reached_all_are_tried_in_turn_with_pauses() {
    let mut world = World::new(&[1, 2]);
    world.subscribe(1, Kind::Channel, &["c"]);
    world.down(1);
    world.down(2);
    let id = world.link(1).expect("the first again");
    assert_eq!(world.hub.pause_before_dial(id, 0), 0);
    world.down(1);
    let id = world.link(1).expect("still the first");
    assert!(world.hub.pause_before_dial(id, u32::MAX) > 0);
    // What failed long ago may work now.
    world.now += 1_000_000;
    world.down(1);
    assert!(world.link(2).is_some());
}

#[test]
fn t66_keyspace_events_come_from_every_primary_and_all_else_from_one() {
    let mut world = World::new(&[1, 2, 3]);
    world.subscribe(1, Kind::Pattern, &["*"]);
    for port in [1, 2, 3] {
        assert_eq!(world.answers(), []);
        world.up(port);
        assert_eq!(world.said(port), ["psubscribe *"]);
        world.confirm(port, Kind::Pattern, true, "*");
    }
    assert_eq!(world.answers(), [(1, true)]);
    for port in [1, 2, 3] {
        assert!(world.is_delivered(port, &["pmessage", "*", "__keyevent@0__:set", "k"]));
        assert_eq!(world.is_delivered(port, &["pmessage", "*", "news", "hi"]), port == 1);
    }
    world.down(1);
    assert!(!world.is_delivered(2, &["pmessage", "*", "news", "old"]), "the first one told it already");
    world.later();
    assert!(world.is_delivered(2, &["pmessage", "*", "news", "hi"]), "another takes over");
    assert!(!world.is_delivered(3, &["pmessage", "*", "news", "hi"]));
    // And stays the one that does, though the first is back.
    world.up(1);
    world.confirm(1, Kind::Pattern, true, "*");
    for port in [1, 2, 3] {
        assert_eq!(world.is_delivered(port, &["pmessage", "*", "news", "hi"]), port == 2);
    }
    // A new primary is asked too, without a word to the client.
    world.adopt(view(2, &[2, 3, 4]));
    world.up(4);
    assert_eq!(world.said(4), ["psubscribe *"]);
    world.confirm(4, Kind::Pattern, true, "*");
    assert!(world.is_delivered(4, &["pmessage", "*", "__keyevent@0__:set", "k"]));
    assert_eq!(world.answers(), [(1, true)]);
}

#[test]
fn t64_a_shard_channel_follows_its_slot() {
    let slot = Slot::of(b"c");
    let mut world = World::new(&[1, 2, 3]);
    world.subscribe(1, Kind::Shard, &["c"]);
    let owner = world.hub.snapshot.topology.primary_of(slot).unwrap().port();
    let other = if owner == 1 { 2 } else { 1 };
    world.up(owner);
    world.confirm(owner, Kind::Shard, true, "c");
    world.said(owner);
    // The node gives it up, is asked again, and says where the slot is.
    world.confirm(owner, Kind::Shard, false, "c");
    assert_eq!(world.said(owner), ["ssubscribe c"]);
    assert!(!world.is_delivered(owner, &["smessage", "c", "x"]));
    world.frame(owner, format!("-MOVED {slot} h:{other}\r\n").as_bytes()).unwrap();
    assert!(world.events.iter().any(|event| matches!(event, Event::Moved(..))));
    world.move_slot(slot, other);
    world.now += 2;
    world.hub.tick(world.now, 0, 1_000_000, b"");
    world.up(other);
    assert_eq!(world.said(other), ["ssubscribe c"]);
    world.confirm(other, Kind::Shard, true, "c");
    assert!(world.is_delivered(other, &["smessage", "c", "x"]));
    assert_eq!(world.answers(), [(1, true)]);
}

#[test]
fn t64_a_stale_confirmation_is_ignored() {
    let slot = Slot::of(b"c");
    let mut world = World::new(&[1, 2, 3]);
    let owner = world.hub.snapshot.topology.primary_of(slot).unwrap().port();
    let other = if owner == 1 { 2 } else { 1 };
    world.subscribe(1, Kind::Shard, &["c"]);
    world.up(owner);
    // There and back before the first answer came: asked, given up, asked.
    world.move_slot(slot, other);
    world.move_slot(slot, owner);
    assert_eq!(world.said(owner), ["ssubscribe c", "sunsubscribe c", "ssubscribe c"]);
    world.confirm(owner, Kind::Shard, true, "c");
    assert_eq!(world.answers(), [], "that was the first one's");
    world.confirm(owner, Kind::Shard, false, "c");
    assert_eq!(world.answers(), []);
    world.confirm(owner, Kind::Shard, true, "c");
    assert_eq!(world.answers(), [(1, true)]);
    assert!(world.is_delivered(owner, &["smessage", "c", "x"]));
}

#[test]
fn t64_nodes_that_contradict_each_other_are_not_asked_without_a_pause() {
    let slot = Slot::of(b"c");
    let mut world = World::new(&[1, 2, 3]);
    world.subscribe(1, Kind::Shard, &["c"]);
    let owner = world.hub.snapshot.topology.primary_of(slot).unwrap().port();
    world.up(owner);
    let mut asked = 0;
    for _ in 0..50 {
        asked += world.said(owner).len();
        if world.hub.link(world.link(owner).unwrap()).unwrap().owed() > 0 {
            world.frame(owner, format!("-MOVED {slot} h:{owner}\r\n").as_bytes()).unwrap();
        }
        world.now += 2;
        world.hub.tick(world.now, 0, 1_000_000, b"");
    }
    assert!((HOPS as usize..10).contains(&asked), "{asked}");
}

#[test]
fn an_error_of_the_nodes_own_goes_to_those_who_wait() {
    let mut world = World::new(&[1]);
    world.subscribe(1, Kind::Channel, &["ok"]);
    world.up(1);
    world.confirm(1, Kind::Channel, true, "ok");
    world.subscribe(1, Kind::Channel, &["ok", "secret"]);
    world.frame(1, b"-NOPERM no\r\n").unwrap();
    assert_eq!(world.answers(), [(1, true), (1, false)]);
    assert_eq!(world.hub.registry.len(), 1, "what it had stays");
    // The connection is in step still.
    world.subscribe(1, Kind::Channel, &["next"]);
    world.confirm(1, Kind::Channel, true, "next");
    assert_eq!(world.answers().last(), Some(&(1, true)));
}

#[test]
fn a_subscription_that_nobody_confirms_fails_in_time() {
    let mut world = World::new(&[1]);
    world.subscribe(1, Kind::Channel, &["c"]);
    world.hub.tick(5, 1, 1_000_000, b"-ERR late\r\n");
    world.hear();
    assert_eq!(world.answers(), []);
    world.hub.tick(5, 2, 1_000_000, b"-ERR late\r\n");
    world.hear();
    assert_eq!(world.answers(), [(1, false)]);
    assert!(world.hub.registry.is_empty());
}

#[test]
fn what_was_not_asked_ends_the_connection() {
    for bytes in [
        &confirmation(Kind::Channel, true, "d")[..],
        &confirmation(Kind::Channel, false, "c"),
        b"-ERR what\r\n-",
        b"+PONG\r\n",
        b":1\r\n",
    ] {
        let mut world = World::new(&[1]);
        world.subscribe(1, Kind::Channel, &["c"]);
        world.up(1);
        world.confirm(1, Kind::Channel, true, "c");
        assert!(world.frame(1, bytes).is_err(), "{}", bytes.escape_ascii());
    }
}

#[test]
fn t61_a_silent_node_is_asked_and_then_given_up() {
    let mut world = World::new(&[1]);
    world.subscribe(1, Kind::Channel, &["c"]);
    world.up(1);
    world.confirm(1, Kind::Channel, true, "c");
    world.said(1);
    let id = world.link(1).unwrap();
    world.hub.tick(400, 0, 1000, b"");
    assert_eq!(world.hub.link(id).unwrap().owed(), 0);
    world.hub.tick(600, 0, 1000, b"");
    assert_eq!(world.hub.link(id).unwrap().owed(), 1);
    world.now = 700;
    world.frame(1, b"*2\r\n$4\r\npong\r\n$0\r\n\r\n").unwrap();
    world.hub.tick(1300, 0, 1000, b"");
    assert_eq!((world.hub.link(id).unwrap().owed(), world.hub.link(id).unwrap().close), (1, None));
    world.hub.tick(2400, 0, 1000, b"");
    assert!(world.hub.link(id).unwrap().close.is_some());
}
