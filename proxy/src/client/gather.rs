//! Joins the replies to the parts of one request into the one reply its client waits for.
//!
//! A gather has a part for each slot (or each shard) that the request was sent to. Parts come back
//! in any order, each exactly once; when the last is in, the joined reply is written. An error in
//! any part makes the whole an error that says how much was done: a client must never take half a
//! success for a whole one.

use super::algebra::hold::Hold;
use super::join::{Sequel, Special};
use crate::route::split::{Placed, SplitKind};
use pointsman_protocol::command::ResponsePolicy;
use pointsman_protocol::resp::{encode, reply};
use std::collections::VecDeque;

/// How parts become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// A split command.
    Split(SplitKind),
    /// The same command on every shard, joined by its response policy.
    Everyone(ResponsePolicy),
    /// The reply of EXEC, with those to commands that the proxy answers put in.
    Exec,
    /// By a rule of its own ([`Special`]), when all parts are in.
    Special,
}

/// A request whose parts are on their way.
#[derive(Debug)]
pub struct Gather {
    join: Join,
    special: Option<Special>,
    /// Parts still to come in.
    waiting: u32,
    /// Parts in all.
    parts: u32,
    /// For MGET: the places of the keys, in the order they were sent; part `p` has those at
    /// `places[ends[p - 1]..ends[p]]`.
    places: Vec<u32>,
    ends: Vec<u32>,
    /// Where in `bytes` a value lies: for MGET one a key, for special joins one a part.
    values: Vec<(usize, usize)>,
    bytes: Vec<u8>,
    /// Elements seen, for joined arrays.
    count: usize,
    number: Option<i64>,
    first_ok: Option<(usize, usize)>,
    failed: u32,
    first_error: Vec<u8>,
    /// Nothing is kept of what still comes: `first_error` is the answer.
    given_up: bool,
    local: Vec<(u32, Vec<u8>)>,
    /// Bounds what it holds, where its parts may be large.
    hold: Option<Hold>,
    /// It held more than it may: nothing is kept any more.
    overflowed: bool,
    without_last: bool,
}

/// What a client is told when a part cannot be joined with the others.
const UNEXPECTED: &[u8] = b"-ERR a shard answered with an unexpected type\r\n";

impl Gather {
    /// For a split command whose keys are `placed` in the order in which the parts are sent.
    pub fn split(kind: SplitKind, placed: &[Placed]) -> Gather {
        let mut gather = Gather::new(Join::Split(kind));
        if kind.is_array() {
            gather.places.extend(placed.iter().map(|(_, place)| *place));
            gather.values.resize(placed.len(), (0, 0));
        }
        let mut end = 0;
        for part in crate::route::split::parts(placed) {
            end += part.len() as u32;
            gather.ends.push(end);
        }
        gather.parts = gather.ends.len() as u32;
        gather.waiting = gather.parts;
        gather
    }

    /// For a command that goes to `shards` shards.
    pub fn everyone(policy: ResponsePolicy, shards: u32) -> Gather {
        let mut gather = Gather::new(Join::Everyone(policy));
        gather.parts = shards;
        gather.waiting = shards;
        gather
    }

    /// For a transaction of which the proxy has answered some commands itself: their replies, and their
    /// places among all.
    /// `without_last`: the last command was not the client's.
    pub fn exec(local: Vec<(u32, Vec<u8>)>, without_last: bool) -> Gather {
        let mut gather = Gather::new(Join::Exec);
        gather.local = local;
        gather.without_last = without_last;
        gather.parts = 1;
        gather.waiting = 1;
        gather
    }

    /// For a request of `parts` parts that are joined by a rule of their own.
    pub fn special(special: Special, parts: u32) -> Gather {
        let mut gather = Gather::new(Join::Special);
        gather.special = Some(special);
        gather.parts = parts;
        gather.waiting = parts;
        gather.values.resize(parts as usize, (0, 0));
        gather
    }

    fn new(join: Join) -> Gather {
        Gather {
            join,
            special: None,
            waiting: 0,
            parts: 0,
            places: Vec::new(),
            ends: Vec::new(),
            values: Vec::new(),
            bytes: Vec::new(),
            count: 0,
            number: None,
            first_ok: None,
            failed: 0,
            first_error: Vec::new(),
            given_up: false,
            local: Vec::new(),
            hold: None,
            overflowed: false,
            without_last: false,
        }
    }

    /// Bounds what it holds.
    pub fn holding(self, hold: Hold) -> Gather {
        Gather { hold: Some(hold), ..self }
    }

    /// True if a result is to be written once its parts are in.
    pub fn will_store(&self) -> bool {
        matches!(&self.special, Some(Special::Algebra(question)) if question.stores())
    }

    /// Bytes held for parts that are in.
    pub fn held(&self) -> usize {
        self.bytes.len()
    }

    /// Takes in the whole reply to part `part`. True when it was the last one.
    pub fn take(&mut self, part: u32, bytes: &[u8]) -> bool {
        debug_assert!(self.waiting > 0 && part < self.parts);
        self.waiting = self.waiting.saturating_sub(1);
        if self.given_up {
            return self.waiting == 0;
        }
        let taken = match bytes.first() {
            Some(b'-') if self.special.as_ref().is_some_and(|special| special.takes_error(bytes)) => {
                self.take_whole(part, bytes)
            }
            Some(b'-' | b'!') => false,
            _ => match self.join {
                Join::Split(SplitKind::Mget | SplitKind::JsonMget) => self.take_values(part, bytes),
                Join::Split(SplitKind::Mset) => true,
                Join::Split(SplitKind::Sum) => {
                    self.take_number(bytes, |sum, number| sum.saturating_add(number))
                }
                Join::Everyone(policy) => self.take_by_policy(policy, bytes),
                Join::Exec => {
                    self.bytes.extend_from_slice(bytes);
                    true
                }
                Join::Special => self.take_whole(part, bytes),
            },
        };
        if !taken {
            self.failed += 1;
            // What may have been executed outweighs what was not: the client must hear of it.
            let is_unknown = |text: &[u8]| memchr::memmem::find(text, b"may or may not").is_some();
            let graver = is_unknown(bytes) && !is_unknown(&self.first_error);
            if self.first_error.is_empty() || graver {
                self.first_error.clear();
                self.first_error.extend_from_slice(match bytes.first() {
                    Some(b'-') => bytes,
                    _ => UNEXPECTED,
                });
            }
        }
        self.waiting == 0
    }

    /// Lets go of what is in, and of all that still comes: together it is too large.
    #[cold]
    pub fn give_up(&mut self) {
        self.given_up = true;
        self.bytes = Vec::new();
        self.values = Vec::new();
        self.first_error.clear();
        encode::error(&mut self.first_error, "ERR the joined reply is larger than reply_bytes_max allows");
    }

    /// What is still to be asked, if the parts that are in do not answer the request yet. The gather
    /// then waits for the answers to that, one a key.
    #[cold]
    pub fn sequel(&mut self) -> Option<Sequel> {
        if self.failed > 0 || self.waiting > 0 || self.given_up {
            return None;
        }
        let (wanted, next) = self.special.as_ref()?.sequel(&self.whole_parts())?;
        *self = Gather::special(next, wanted.parts());
        Some(wanted)
    }

    fn whole_parts(&self) -> Vec<&[u8]> {
        self.values.iter().map(|(start, len)| &self.bytes[*start..start + len]).collect()
    }

    /// Appends the joined reply.
    pub fn write(&self, out: &mut Vec<u8>) {
        if self.given_up {
            return out.extend_from_slice(&self.first_error);
        }
        if self.failed > 0 && !self.one_is_enough() {
            return self.write_error(out);
        }
        match self.join {
            Join::Split(SplitKind::Mget | SplitKind::JsonMget) => {
                encode::array_head(out, self.values.len());
                for &(start, len) in &self.values {
                    out.extend_from_slice(&self.bytes[start..start + len]);
                }
            }
            Join::Split(SplitKind::Mset) => encode::simple(out, "OK"),
            Join::Split(SplitKind::Sum) => encode::integer(out, self.number.unwrap_or(0)),
            Join::Everyone(ResponsePolicy::Default | ResponsePolicy::Special) => {
                encode::array_head(out, self.count);
                out.extend_from_slice(&self.bytes);
            }
            Join::Everyone(ResponsePolicy::AllSucceeded | ResponsePolicy::OneSucceeded) => {
                let (start, len) = self.first_ok.unwrap_or((0, 0));
                out.extend_from_slice(&self.bytes[start..start + len]);
            }
            Join::Everyone(_) => encode::integer(out, self.number.unwrap_or(0)),
            Join::Exec => self.write_exec(out),
            Join::Special => {
                match self.special.as_ref().and_then(|special| special.join(&self.whole_parts())) {
                    Some(joined) => out.extend_from_slice(&joined),
                    None => out.extend_from_slice(UNEXPECTED),
                }
            }
        }
    }

    fn write_exec(&self, out: &mut Vec<u8>) {
        // Null means that nothing was executed.
        let Some(elements) = reply::elements(&self.bytes) else { return out.extend_from_slice(&self.bytes) };
        let mut elements: VecDeque<&[u8]> = elements.collect();
        if self.without_last {
            elements.pop_back();
        }
        let count = elements.len() + self.local.len();
        encode::array_head(out, count);
        let mut local = self.local.iter().peekable();
        for place in 0..count as u32 {
            match local.next_if(|(at, _)| *at == place) {
                Some((_, own)) => out.extend_from_slice(own),
                None => out.extend_from_slice(elements.pop_front().unwrap_or(b"$-1\r\n")),
            }
        }
    }

    fn one_is_enough(&self) -> bool {
        self.join == Join::Everyone(ResponsePolicy::OneSucceeded) && self.first_ok.is_some()
    }

    /// The first part's error, as it came where it was the only one; else with how many parts it
    /// stands for, so that a half-done DEL or MSET is told as such.
    fn write_error(&self, out: &mut Vec<u8>) {
        let text = self.first_error.strip_suffix(b"\r\n").unwrap_or(&self.first_error);
        out.extend_from_slice(text);
        if self.failed < self.parts && !self.special.as_ref().is_some_and(Special::fails_as_one) {
            let done = match (self.join, self.number) {
                (Join::Split(SplitKind::Sum), Some(number)) => {
                    format!("; the others succeeded with {number} in all")
                }
                (Join::Split(kind), _) if kind.is_array() => String::new(),
                (Join::Special, _) => String::new(),
                _ => "; the others succeeded".to_owned(),
            };
            out.extend_from_slice(
                format!(" ({} of {} parts failed{done})", self.failed, self.parts).as_bytes(),
            );
        }
        out.extend_from_slice(b"\r\n");
    }

    fn take_whole(&mut self, part: u32, bytes: &[u8]) -> bool {
        if self.overflowed {
            return false;
        }
        if let Some(Err(text)) = self.hold.as_mut().map(|hold| hold.grow(bytes.len())) {
            self.overflowed = true;
            self.hold = None;
            self.bytes = Vec::new();
            if self.first_error.is_empty() {
                encode::error(&mut self.first_error, &text);
            }
            return false;
        }
        let Some(place) = self.values.get_mut(part as usize) else { return false };
        *place = (self.bytes.len(), bytes.len());
        self.bytes.extend_from_slice(bytes);
        true
    }

    fn take_values(&mut self, part: u32, bytes: &[u8]) -> bool {
        let part = part as usize;
        let end = self.ends[part] as usize;
        let start = if part == 0 { 0 } else { self.ends[part - 1] as usize };
        let Some(elements) = reply::elements(bytes) else { return false };
        let mut places = self.places[start..end].iter();
        for element in elements {
            let Some(place) = places.next() else { return false };
            self.values[*place as usize] = (self.bytes.len(), element.len());
            self.bytes.extend_from_slice(element);
        }
        places.next().is_none()
    }

    fn take_number(&mut self, bytes: &[u8], join: impl Fn(i64, i64) -> i64) -> bool {
        let Some(number) = reply::integer(bytes) else { return false };
        self.number = Some(self.number.map_or(number, |before| join(before, number)));
        true
    }

    fn take_by_policy(&mut self, policy: ResponsePolicy, bytes: &[u8]) -> bool {
        match policy {
            ResponsePolicy::AggSum => self.take_number(bytes, |sum, number| sum.saturating_add(number)),
            ResponsePolicy::AggMin => self.take_number(bytes, i64::min),
            ResponsePolicy::AggMax => self.take_number(bytes, i64::max),
            ResponsePolicy::AggLogicalAnd => {
                self.take_number(bytes, |all, number| i64::from(all != 0 && number != 0))
            }
            ResponsePolicy::AggLogicalOr => {
                self.take_number(bytes, |any, number| i64::from(any != 0 || number != 0))
            }
            ResponsePolicy::AllSucceeded | ResponsePolicy::OneSucceeded => {
                if self.first_ok.is_none() {
                    self.first_ok = Some((self.bytes.len(), bytes.len()));
                    self.bytes.extend_from_slice(bytes);
                }
                true
            }
            ResponsePolicy::Default | ResponsePolicy::Special => {
                let Some(elements) = reply::elements(bytes) else { return false };
                for element in elements {
                    self.bytes.extend_from_slice(element);
                    self.count += 1;
                }
                true
            }
        }
    }
}

#[cfg(test)]
#[path = "gather_tests.rs"]
mod tests;
