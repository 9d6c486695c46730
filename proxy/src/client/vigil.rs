//! A client's wait for an element under keys of several slots: what is asked next, judged from what was
//! answered. No I/O and no clock; [`crate::worker::vigil`] carries it out.
//!
//! No node can wait for keys that other nodes own, and to wait at several nodes at once could bring two
//! elements where one was asked for. So nothing waits at a node: the keys are looked at again and again,
//! and only where something is there it is popped, in the order of the keys. A look changes nothing, so
//! whoever leaves meanwhile loses nothing; a pop that comes too late finds nothing and goes on.
//!
//! What moves elements from one slot to another (BLMOVE) and what reads streams is not done this way.

use super::local::decimal;
use super::replies::Ticket;
use crate::route::division::Division;
use pointsman_protocol::Slot;
use pointsman_protocol::command::CommandSpec;
use pointsman_protocol::command::keys::KeyRef;
use pointsman_protocol::resp::{Args, encode, reply};
use std::time::Duration;

/// Keys one command may wait for; each costs a question a round.
pub const KEYS_MAX: usize = 128;
/// The first rest, doubled with every round: an element mostly comes soon or late.
const REST_FIRST: Duration = Duration::from_millis(1);

const NOT_FLOAT: &str = "ERR timeout is not a float or out of range";
const NEGATIVE: &str = "ERR timeout is negative";
const SYNTAX: &str = "ERR syntax error";
const COUNT: &str = "ERR count should be greater than 0";

/// How one key's element is asked for, without waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pop {
    /// A command with the key alone, whose answer does not name it.
    Unnamed(&'static str),
    /// LMPOP or ZMPOP, with the words behind the keys.
    Named(&'static str, Vec<Vec<u8>>),
}

/// A command that waits for an element of several keys, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    keys: Vec<Vec<u8>>,
    slots: Vec<Slot>,
    pop: Pop,
    /// `None` for ever.
    pub time: Option<Duration>,
}

impl Asked {
    /// True for the commands that can be carried out in this way.
    pub fn serves(spec: &CommandSpec) -> bool {
        matches!(spec.name, "BLPOP" | "BRPOP" | "BZPOPMIN" | "BZPOPMAX" | "BLMPOP" | "BZMPOP")
    }

    /// Reads one whose keys stand at `keys`; a mistake is told in Redis' words, and of several the one that it
    /// finds first. `None` if it is not such a command, or has too many keys.
    pub fn read(
        spec: &CommandSpec,
        args: Args<'_>,
        keys: &[KeyRef],
        division: &Division,
    ) -> Result<Option<Asked>, &'static str> {
        let named = |name, sides: [&[u8]; 2]| {
            let behind = keys.last().map_or(args.len(), |key| key.index as usize + 1);
            let rest: Vec<Vec<u8>> = args.iter().skip(behind).map(<[u8]>::to_vec).collect();
            judge_rest(&rest, sides).map(|()| Pop::Named(name, rest))
        };
        let (pop, timeout) = match spec.name {
            "BLPOP" => (Pop::Unnamed("LPOP"), args.len().saturating_sub(1)),
            "BRPOP" => (Pop::Unnamed("RPOP"), args.len().saturating_sub(1)),
            "BZPOPMIN" => (Pop::Unnamed("ZPOPMIN"), args.len().saturating_sub(1)),
            "BZPOPMAX" => (Pop::Unnamed("ZPOPMAX"), args.len().saturating_sub(1)),
            "BLMPOP" => (named("LMPOP", [b"LEFT", b"RIGHT"])?, 1),
            "BZMPOP" => (named("ZMPOP", [b"MIN", b"MAX"])?, 1),
            _ => return Ok(None),
        };
        if keys.len() > KEYS_MAX {
            return Ok(None);
        }
        let seconds: f64 = std::str::from_utf8(args.at(timeout))
            .ok()
            .and_then(|text| text.parse().ok())
            .filter(|seconds: &f64| seconds.is_finite())
            .ok_or(NOT_FLOAT)?;
        let time = if seconds < 0.0 { return Err(NEGATIVE) } else { Duration::try_from_secs_f64(seconds) };
        let time = time.map_err(|_| NOT_FLOAT)?;
        Ok(Some(Asked {
            keys: keys.iter().map(|key| args.at(key.index as usize).to_vec()).collect(),
            slots: keys.iter().map(|key| division.slot(args.at(key.index as usize))).collect(),
            pop,
            time: (!time.is_zero()).then_some(time),
        }))
    }
}

/// What stands behind the keys of BLMPOP and BZMPOP: a side, and perhaps `COUNT number`. No node hears of it before
/// there is something to pop, so a mistake would wait until then.
fn judge_rest(rest: &[Vec<u8>], sides: [&[u8]; 2]) -> Result<(), &'static str> {
    let (side, options) = rest.split_first().ok_or(SYNTAX)?;
    if !sides.iter().any(|known| side.eq_ignore_ascii_case(known)) {
        return Err(SYNTAX);
    }
    match options {
        [] => Ok(()),
        [word, count, behind @ ..] if word.eq_ignore_ascii_case(b"COUNT") => {
            decimal(count).ok().filter(|count| *count > 0).ok_or(COUNT)?;
            if behind.is_empty() { Ok(()) } else { Err(SYNTAX) }
        }
        _ => Err(SYNTAX),
    }
}

/// Where a vigil stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// So many looks are still to be answered.
    Looking(usize),
    /// This key was found to have something, and is asked for it.
    Popping(usize),
    /// Until the next round.
    Resting,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: other answers are on their way.
    Wait,
    /// Ask for the element of this key.
    Pop(usize),
    /// Rest, then begin a new round.
    Rest,
    /// This is the answer.
    Answer(Vec<u8>),
}

/// One client's wait.
#[derive(Debug)]
pub struct Vigil {
    asked: Asked,
    /// Its place in the client's reply order.
    pub ticket: Ticket,
    /// Until when, in microseconds of the worker's clock; `u64::MAX` for ever.
    pub until: u64,
    resp3: bool,
    phase: Phase,
    /// Which keys had something when they were looked at.
    present: Vec<bool>,
    /// Finished rounds.
    rounds: u32,
    error: Option<Vec<u8>>,
    /// What it is to be answered as soon as it is known that no element was popped for it.
    ending: Option<Vec<u8>>,
}

impl Vigil {
    /// One that begins with a look at every key.
    pub fn new(asked: Asked, ticket: Ticket, until: u64, resp3: bool) -> Vigil {
        let keys = asked.keys.len();
        Vigil {
            asked,
            ticket,
            until,
            resp3,
            phase: Phase::Looking(keys),
            present: vec![false; keys],
            rounds: 0,
            error: None,
            ending: None,
        }
    }

    /// The slots of its keys, in their order.
    pub fn slots(&self) -> &[Slot] {
        &self.asked.slots
    }

    /// Appends the question whether anything is under a key.
    pub fn write_look(&self, place: usize, out: &mut Vec<u8>) {
        encode::request(out, &[b"EXISTS", self.key(place)]);
    }

    /// Appends the request that pops from a key.
    pub fn write_pop(&self, place: usize, out: &mut Vec<u8>) {
        match &self.asked.pop {
            Pop::Unnamed(name) => encode::request(out, &[name.as_bytes(), self.key(place)]),
            Pop::Named(name, rest) => {
                let mut words = vec![name.as_bytes(), b"1", self.key(place)];
                words.extend(rest.iter().map(Vec::as_slice));
                encode::request(out, &words);
            }
        }
    }

    /// Takes in the answer to the look at, or the pop from, the key at `place`.
    pub fn take(&mut self, place: usize, bytes: &[u8]) -> Next {
        match self.phase {
            Phase::Looking(waiting) => self.looked(place, waiting, bytes),
            Phase::Popping(at) if at == place => self.popped(place, bytes),
            Phase::Popping(_) | Phase::Resting => Next::Wait,
        }
    }

    fn looked(&mut self, place: usize, waiting: usize, bytes: &[u8]) -> Next {
        match reply::integer(bytes) {
            Some(count) => {
                if let Some(present) = self.present.get_mut(place) {
                    *present = count > 0;
                }
            }
            // The others are waited for all the same, so that none of their answers is taken for another's.
            None => self.error = Some(bytes.to_vec()),
        }
        if waiting > 1 {
            self.phase = Phase::Looking(waiting - 1);
            return Next::Wait;
        }
        match self.error.take() {
            Some(error) => Next::Answer(error),
            None => self.pop_from(0),
        }
    }

    fn popped(&mut self, place: usize, bytes: &[u8]) -> Next {
        // A key of another type that comes later wakes nobody in Redis.
        let ignored = self.rounds > 0 && bytes.starts_with(b"-WRONGTYPE ");
        if ignored || is_nothing(bytes) {
            return self.pop_from(place + 1);
        }
        match (&self.asked.pop, bytes.first()) {
            (Pop::Named(..), _) | (_, Some(b'-')) => Next::Answer(bytes.to_vec()),
            (Pop::Unnamed(_), _) => {
                // LPOP answers an element, ZPOPMIN a member and its score.
                let elements: Vec<&[u8]> = match bytes.first() {
                    Some(b'*') => reply::elements(bytes).map(Iterator::collect).unwrap_or_default(),
                    _ => vec![bytes],
                };
                let mut out = Vec::new();
                encode::array_head(&mut out, 1 + elements.len());
                encode::bulk(&mut out, self.key(place));
                elements.iter().for_each(|element| out.extend_from_slice(element));
                Next::Answer(out)
            }
        }
    }

    /// The next key, from `first` on, that had something.
    fn pop_from(&mut self, first: usize) -> Next {
        if let Some(ending) = self.ending.take() {
            return Next::Answer(ending);
        }
        match (first..self.present.len()).find(|place| self.present[*place]) {
            Some(place) => {
                self.phase = Phase::Popping(place);
                Next::Pop(place)
            }
            None => {
                self.phase = Phase::Resting;
                self.rounds = self.rounds.saturating_add(1);
                Next::Rest
            }
        }
    }

    /// How long to rest: twice as long with every round, up to `longest`.
    pub fn rest(&self, longest: Duration) -> Duration {
        REST_FIRST.saturating_mul(1 << self.rounds.saturating_sub(1).min(16)).min(longest)
    }

    /// True while it rests.
    pub fn rests(&self) -> bool {
        self.phase == Phase::Resting
    }

    /// Leaves what was seen where it is, until the next round.
    pub fn look_away(&mut self) {
        self.phase = Phase::Resting;
    }

    /// Begins a new round.
    pub fn look_again(&mut self) {
        self.phase = Phase::Looking(self.present.len());
        self.present.fill(false);
    }

    /// What is answered when the time is up.
    pub fn nothing(&self) -> Vec<u8> {
        let mut out = Vec::new();
        encode::null_array(&mut out, self.resp3);
        out
    }

    /// Ends it with this answer, unless an element has been popped for it already: then that is the answer.
    /// True if it can be answered at once.
    pub fn end(&mut self, answer: &[u8]) -> bool {
        self.ending = Some(answer.to_vec());
        self.rests()
    }

    fn key(&self, place: usize) -> &[u8] {
        self.asked.keys.get(place).map_or(b"", Vec::as_slice)
    }
}

/// True for what a pop from nothing is answered: null in each of its forms, or an empty array.
fn is_nothing(bytes: &[u8]) -> bool {
    matches!(bytes, b"$-1\r\n" | b"*-1\r\n" | b"_\r\n" | b"*0\r\n")
}

#[cfg(test)]
#[path = "vigil_tests.rs"]
mod tests;
