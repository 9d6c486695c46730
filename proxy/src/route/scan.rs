//! What a SCAN cursor of the proxy means, and which step it asks for. Pure.
//!
//! # What is promised
//!
//! Every key that is there from the first call of an iteration to its end is told at least once,
//! also while slots move between nodes and while a primary fails over. A key may be told more than
//! once, as with Redis. Nothing is kept in the proxy between calls: any call may come by any
//! connection, worker or proxy in front of the same cluster.
//!
//! # How
//!
//! A node's SCAN is right as long as no key comes to the node or leaves it. So there are two ways:
//!
//! ```text
//!   by node:  shard 0 ─► shard 1 ─► ... ─► shard n-1 ─► check ─► 0
//!                 └─────────┴──── the map changed ─────────┤
//!                                                          ▼
//!   by slot:                       slots 0..16383, some in each call ─► 0
//! ```
//!
//! *By node*, each shard's primary is walked with SCAN. The cursor carries the node's own cursor and a
//! [`tag`] of the map (who owns which slot, and the highest configuration epoch) that the iteration
//! began with. The check asks every primary what it owns now: if all answer the same map and none has
//! a slot in migration, no slot moved in between, because a slot that leaves and comes back leaves a
//! higher epoch behind, and the iteration is over.
//!
//! Three things leave no trace that the check could see: a migration that was begun and called off
//! again; a primary that was restarted in its place, whose cursors then mean something else (a single
//! Redis has that gap, too); and two maps that happen to have one tag, which is one chance in 65,535
//! when the map has changed.
//!
//! *By slot*, the keys of some slots are asked of every primary with CLUSTER GETKEYSINSLOT, each slot
//! in two calls, one after the other. A key on its way between two nodes can escape the first (it left
//! the one before it came to the other), but not both: it does not move again before its slot has
//! been handed over and set off anew. This way needs no stable map, so it always comes to its end; it
//! costs more, does not know COUNT but for choosing how many slots a call takes, tells every key
//! twice, and matches MATCH in the proxy and TYPE with a question for each key.
//!
//! A node's cursor that does not fit (see [`BODY_BITS`]) leads to the second way, too.
//!
//! # The number
//!
//! Always below 2^53, so that it is exact wherever numbers are doubles. Never 0 but at the end.
//!
//! ```text
//!   by node:  tag, 16 bits, not 0 │ node's cursor × (n + 1) + shard, 37 bits;  shard n is the check
//!   by slot:  16 bits of 0        │ mark, 1 bit │ behind, 4 │ ahead, 4 │ first slot, 15
//! ```

use pointsman_protocol::slot::SLOTS;
use pointsman_protocol::topology::Topology;
use std::num::NonZeroU16;

/// Bits for a node's cursor and the shard together. Redis' cursors are below the size of its table,
/// bundled nodes' below 2^34.
const BODY_BITS: u32 = 37;
/// Marks the second way, so that its first cursor is not 0.
const BY_SLOT: u64 = 1 << 23;
/// Slots of one call, as a power of two: at first, and at most.
const SLOTS_LOG2: (u8, u8) = (4, 8);
/// Keys told in a call beyond which the next one takes fewer slots, whatever COUNT says.
const KEYS_WANTED_MIN: usize = 100;

/// Stands for a map in cursors: equal for equal maps, on every proxy.
pub type Tag = NonZeroU16;

/// Where an iteration stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// At a node's own cursor.
    Node {
        /// The map it began with.
        tag: Tag,
        /// Which of the serving shards.
        shard: u32,
        /// The node's cursor.
        cursor: u64,
    },
    /// Every shard was walked: see whether anything has moved.
    Check {
        /// The map it began with.
        tag: Tag,
    },
    /// Slot by slot.
    Slots(Window),
}

/// The slots that one call asks for: those that are new, and those the call before it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The first slot that was not asked for yet; 16384 when only the last ones are to be asked again.
    first: u16,
    /// How many new ones, as a power of two.
    ahead: u8,
    /// How many old ones, likewise.
    behind: u8,
}

impl Window {
    /// The beginning of the second way.
    pub const START: Window = Window { first: 0, ahead: SLOTS_LOG2.0, behind: 0 };

    /// The slots to ask for.
    pub fn slots(self) -> std::ops::Range<u16> {
        self.first.saturating_sub(1 << self.behind)..self.end()
    }

    /// The same with so few new slots that all its questions fit twice into a connection's queue of
    /// `inflight_max`.
    pub fn limited(self, inflight_max: usize) -> Window {
        let ahead = (inflight_max / 4).max(1).ilog2() as u8;
        Window { ahead: self.ahead.min(ahead), ..self }
    }

    fn end(self) -> u16 {
        self.first.saturating_add(1 << self.ahead).min(SLOTS)
    }

    /// The next window after one that told `keys` keys; `None` at the end.
    fn after(self, keys: usize, count: usize) -> Option<Window> {
        if self.first >= SLOTS {
            return None;
        }
        let wanted = count.max(KEYS_WANTED_MIN);
        let ahead = match keys {
            keys if keys > wanted.saturating_mul(4) => self.ahead.saturating_sub(2),
            keys if keys > wanted => self.ahead.saturating_sub(1),
            keys if keys * 4 < wanted => self.ahead + 1,
            _ => self.ahead,
        };
        Some(Window { first: self.end(), ahead: ahead.min(SLOTS_LOG2.1), behind: self.ahead })
    }
}

/// The tag of a map.
pub fn tag(topology: &Topology) -> Tag {
    // FNV-1a: the same on every machine and in every version, which std's hasher does not promise.
    const PRIME: u64 = 0x0100_0000_01b3;
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(PRIME);
    let bytes =
        |bytes: &[u8]| bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| mix(hash, u64::from(*byte)));
    let primaries: Vec<u64> = topology
        .shards()
        .iter()
        .map(|shard| bytes(topology.node(shard.primary).address.to_string().as_bytes()))
        .collect();
    let mut hash = mix(0xcbf2_9ce4_8422_2325, topology.epoch().0);
    for slot in pointsman_protocol::Slot::all() {
        let owner = topology.owner(slot).and_then(|shard| primaries.get(usize::from(shard.0)));
        hash = mix(hash, owner.copied().unwrap_or(0));
    }
    // All bits count; the lowest alone would depend on the lowest alone.
    let folded = (hash >> 48) ^ (hash >> 32) ^ (hash >> 16) ^ hash;
    NonZeroU16::new(folded as u16).unwrap_or(NonZeroU16::MIN)
}

impl Cursor {
    /// What a client's number asks for, with the map as it is now. `None` if it was never told.
    pub fn decode(number: u64, tag: Tag, shards: u32) -> Option<Cursor> {
        if number == 0 {
            return Some(Cursor::Node { tag, shard: 0, cursor: 0 });
        }
        let began = u16::try_from(number >> BODY_BITS).ok()?;
        let Some(began) = Tag::new(began) else { return Cursor::decode_slots(number) };
        if began != tag {
            return Some(Cursor::Slots(Window::START));
        }
        let body = number & ((1 << BODY_BITS) - 1);
        let places = u64::from(shards) + 1;
        let (cursor, shard) = (body / places, (body % places) as u32);
        match shard {
            shard if shard < shards => Some(Cursor::Node { tag, shard, cursor }),
            _ if cursor == 0 => Some(Cursor::Check { tag }),
            _ => None,
        }
    }

    fn decode_slots(number: u64) -> Option<Cursor> {
        let window = Window {
            first: (number & 0x7fff) as u16,
            ahead: (number >> 15 & 0xf) as u8,
            behind: (number >> 19 & 0xf) as u8,
        };
        let sound = number & !(BY_SLOT - 1) == BY_SLOT
            && window.first <= SLOTS
            && window.ahead <= SLOTS_LOG2.1
            && window.behind <= SLOTS_LOG2.1;
        sound.then_some(Cursor::Slots(window))
    }

    /// The number that clients are told; never 0.
    fn encode(self, shards: u32) -> u64 {
        let places = u64::from(shards) + 1;
        let by_node = |tag: Tag, shard: u32, cursor: u64| {
            let body = cursor.checked_mul(places)?.checked_add(u64::from(shard))?;
            (body < 1 << BODY_BITS).then_some(u64::from(tag.get()) << BODY_BITS | body)
        };
        let window = match self {
            Cursor::Node { tag, shard, cursor } => match by_node(tag, shard, cursor) {
                Some(number) => return number,
                None => Window::START,
            },
            Cursor::Check { tag } => match by_node(tag, shards, 0) {
                Some(number) => return number,
                None => Window::START,
            },
            Cursor::Slots(window) => window,
        };
        BY_SLOT | u64::from(window.behind) << 19 | u64::from(window.ahead) << 15 | u64::from(window.first)
    }
}

/// The number behind a step by node, from what the node told.
pub fn after_node(tag: Tag, shard: u32, shards: u32, told: u64) -> u64 {
    let next = match told {
        0 if shard + 1 < shards => Cursor::Node { tag, shard: shard + 1, cursor: 0 },
        0 => Cursor::Check { tag },
        cursor => Cursor::Node { tag, shard, cursor },
    };
    next.encode(shards)
}

/// The number behind the check.
pub fn after_check(nothing_moved: bool) -> u64 {
    if nothing_moved { 0 } else { Cursor::Slots(Window::START).encode(0) }
}

/// The number behind a step by slot that told `keys` keys.
pub fn after_slots(window: Window, keys: usize, count: usize) -> u64 {
    window.after(keys, count).map_or(0, |next| Cursor::Slots(next).encode(0))
}

/// What a primary tells of itself in CLUSTER NODES, as far as the check wants it: true if it owns just
/// these slots, none of them on its way, and knows of no newer claim than `epoch`. `newest` is the
/// newest one it knows of.
pub fn is_quiet(nodes: &str, newest: u64, slots: &[(u16, u16)], epoch: u64) -> bool {
    let myself = nodes
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .find(|words| words.get(2).is_some_and(|flags| flags.split(',').any(|flag| flag == "myself")));
    let Some(words) = myself else { return false };
    if newest != epoch || !words[2].split(',').any(|flag| flag == "master") {
        return false;
    }
    let told: Option<Vec<(u16, u16)>> = words.iter().skip(8).map(|range| slot_range(range)).collect();
    told.is_some_and(|mut told| {
        told.sort_unstable();
        told == slots
    })
}

/// `0-5460` or `7`; not `[93->-id]`, a slot in migration.
fn slot_range(text: &str) -> Option<(u16, u16)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    Some((first.parse().ok()?, last.parse().ok()?))
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
