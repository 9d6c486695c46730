//! Cuts a command over several slots into one command a slot.
//!
//! By slot, not by node: a cluster node refuses keys of different slots even if it owns both. Each
//! part is the same command with its own keys (`MGET`, never `GET`: the two answer differently for
//! a key of the wrong type), and keys keep their order inside a part, so that a key named twice in
//! MSET ends with its last value.

use super::division::Division;
use pointsman_protocol::Slot;
use pointsman_protocol::resp::{Args, encode};

/// The commands that are cut, and how their replies become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitKind {
    /// `MGET`: an array in key order.
    Mget,
    /// `JSON.MGET`: the same, with a path behind the keys that every part needs.
    JsonMget,
    /// `MSET`: OK if every part is.
    Mset,
    /// `DEL`, `UNLINK`, `EXISTS`, `TOUCH`: the sum.
    Sum,
}

impl SplitKind {
    /// The kind of a command, by its upper-case name; `None` for commands that are never cut
    /// (MSETNX among them: half of it would be wrong).
    pub fn of(name: &str) -> Option<SplitKind> {
        match name {
            "MGET" => Some(SplitKind::Mget),
            "JSON.MGET" => Some(SplitKind::JsonMget),
            "MSET" => Some(SplitKind::Mset),
            "DEL" | "UNLINK" | "EXISTS" | "TOUCH" => Some(SplitKind::Sum),
            _ => None,
        }
    }

    /// True if its reply is an array with an element for each key.
    pub fn is_array(self) -> bool {
        matches!(self, SplitKind::Mget | SplitKind::JsonMget)
    }

    /// Arguments behind the keys, which are the same for every part.
    pub fn tail(self) -> usize {
        usize::from(self == SplitKind::JsonMget)
    }

    /// Arguments a key takes along: itself, and for MSET its value.
    pub fn stride(self) -> usize {
        if self == SplitKind::Mset { 2 } else { 1 }
    }
}

/// One key of the command: its slot and its place among the command's keys.
pub type Placed = (Slot, u32);

/// Lists the keys of a command in `placed`, ordered by slot and within a slot as given. Gives true
/// if they all share one slot (then there is nothing to cut).
pub fn place(kind: SplitKind, args: Args<'_>, division: &Division, placed: &mut Vec<Placed>) -> bool {
    placed.clear();
    let keys = args.len().saturating_sub(1 + kind.tail()) / kind.stride();
    let slot = |place: usize| division.slot(args.at(1 + place * kind.stride()));
    placed.extend((0..keys).map(|place| (slot(place), place as u32)));
    let one = placed.windows(2).all(|pair| pair[0].0 == pair[1].0);
    if !one {
        // The pairs are unique, so sorting by both members keeps the given order within a slot.
        placed.sort_unstable();
    }
    one
}

/// The runs of equal slots in a list made by [`place`].
pub fn parts(placed: &[Placed]) -> impl Iterator<Item = &[Placed]> {
    placed.chunk_by(|one, other| one.0 == other.0)
}

/// Appends the request of one part.
pub fn encode_part(out: &mut Vec<u8>, kind: SplitKind, args: Args<'_>, part: &[Placed]) {
    let stride = kind.stride();
    encode::array_head(out, 1 + part.len() * stride + kind.tail());
    encode::bulk(out, args.at(0));
    for (_, place) in part {
        for offset in 0..stride {
            encode::bulk(out, args.at(1 + *place as usize * stride + offset));
        }
    }
    for index in args.len() - kind.tail().min(args.len())..args.len() {
        encode::bulk(out, args.at(index));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_protocol::resp::args::OwnedArgs;

    fn cut(words: &[&str]) -> Vec<String> {
        let owned = OwnedArgs::new(words);
        let kind = SplitKind::of(words[0]).unwrap();
        let mut placed = Vec::new();
        place(kind, owned.args(), &Division::Slots, &mut placed);
        let mut texts: Vec<String> = parts(&placed)
            .map(|part| {
                let mut out = Vec::new();
                encode_part(&mut out, kind, owned.args(), part);
                String::from_utf8(out)
                    .unwrap()
                    .split("\r\n")
                    .filter(|line| !line.starts_with(['*', '$']))
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .map(|text| text.trim().to_owned())
            .collect();
        texts.sort();
        texts
    }

    // T37
    #[test]
    fn t37_mget_stays_mget_and_goes_by_slot() {
        assert_eq!(cut(&["MGET", "a", "b", "{a}1", "c"]), ["MGET a {a}1", "MGET b", "MGET c"]);
    }

    // T37: its path is no key, and every part has it.
    #[test]
    fn t37_json_mget_keeps_its_path() {
        assert_eq!(cut(&["JSON.MGET", "a", "b", "{a}1", ".x"]), ["JSON.MGET a {a}1 .x", "JSON.MGET b .x"]);
        let owned = OwnedArgs::new(&["JSON.MGET", "a", "b"]);
        let mut placed = Vec::new();
        assert!(place(SplitKind::JsonMget, owned.args(), &Division::Slots, &mut placed), "one key, one path");
        assert_eq!(placed, [(Slot::of(b"a"), 0)]);
    }

    // T38
    #[test]
    fn t38_duplicates_keep_their_order_and_number() {
        assert_eq!(cut(&["MSET", "a", "1", "b", "2", "a", "3"]), ["MSET a 1 a 3", "MSET b 2"]);
        assert_eq!(cut(&["EXISTS", "a", "a", "b"]), ["EXISTS a a", "EXISTS b"]);
    }

    // T39
    #[test]
    fn t39_nothing_that_must_be_atomic_is_cut() {
        for name in [
            "MSETNX",
            "MSETEX",
            "JSON.MSET",
            "TS.MADD",
            "RENAME",
            "SINTERSTORE",
            "SMOVE",
            "RPOPLPUSH",
            "LMOVE",
            "BITOP",
            "PFMERGE",
            "COPY",
            "GET",
        ] {
            assert_eq!(SplitKind::of(name), None, "{name}");
        }
    }

    #[test]
    fn one_slot_needs_no_cut() {
        let owned = OwnedArgs::new(&["DEL", "{t}1", "{t}2"]);
        assert!(place(SplitKind::Sum, owned.args(), &Division::Slots, &mut Vec::new()));
        let owned = OwnedArgs::new(&["DEL", "a", "b"]);
        assert!(!place(SplitKind::Sum, owned.args(), &Division::Slots, &mut Vec::new()));
    }
}
