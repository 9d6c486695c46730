//! What is asked: the requests of a workload as bytes, and what their replies must look like.
//!
//! A client keeps one [`Batch`], a pipeline's worth of requests. Requests of one kind have one
//! length, so a batch is built once and afterwards only the digits of its keys are written over; a
//! mixed workload is put together again each time from prepared pieces. Neither allocates once warm.

use crate::keys::KeySource;
use crate::random::Random;
use pointsman_protocol::resp::encode;
use std::fmt;
use std::str::FromStr;

/// The kinds of load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Workload {
    /// GET of one key.
    Get,
    /// SET of one key.
    Set,
    /// INCR of one key.
    Incr,
    /// MGET of several keys.
    Mget,
    /// MSET of several keys.
    Mset,
    /// GET and SET, decided for each request by chance.
    Mixed {
        /// The share of GETs, between 0 and 1.
        reads: f64,
    },
}

/// What one request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// See [`Workload::Get`].
    Get,
    /// See [`Workload::Set`].
    Set,
    /// See [`Workload::Incr`].
    Incr,
    /// See [`Workload::Mget`].
    Mget,
    /// See [`Workload::Mset`].
    Mset,
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(share) = text.strip_prefix("mixed:") {
            return match share.parse::<f64>() {
                Ok(reads) if (0.0..=1.0).contains(&reads) => Ok(Workload::Mixed { reads }),
                _ => Err(format!(
                    "'{share}' in '{text}' is not a share of GETs from 0 to 1 (for example mixed:0.9)"
                )),
            };
        }
        match text {
            "get" => Ok(Workload::Get),
            "set" => Ok(Workload::Set),
            "incr" => Ok(Workload::Incr),
            "mget" => Ok(Workload::Mget),
            "mset" => Ok(Workload::Mset),
            _ => Err(format!("'{text}' is none of get, set, incr, mget, mset, mixed:SHARE_OF_GETS")),
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Workload::Get => f.write_str("get"),
            Workload::Set => f.write_str("set"),
            Workload::Incr => f.write_str("incr"),
            Workload::Mget => f.write_str("mget"),
            Workload::Mset => f.write_str("mset"),
            Workload::Mixed { reads } => write!(f, "mixed:{reads}"),
        }
    }
}

/// A key is its prefix and this many digits, so all keys have one length.
const KEY_DIGITS: usize = 12;
/// The largest number of keys that the digits can tell apart.
pub const KEYS_MAX: u64 = 1_000_000_000_000;

/// How the requests of a run are made.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// What is asked.
    pub workload: Workload,
    /// What every key begins with.
    pub key_prefix: String,
    /// The value that is written.
    pub value: Vec<u8>,
    /// Keys of one MGET or MSET.
    pub keys_per_request: usize,
    /// SET carries `EX` with this many seconds.
    pub ttl_s: Option<u64>,
}

impl Shape {
    /// Appends one request with the digits of its keys still to be written; their places go to `places`.
    fn push(&self, op: Op, bytes: &mut Vec<u8>, places: &mut Vec<usize>) {
        let key = format!("{}{}", self.key_prefix, "0".repeat(KEY_DIGITS)).into_bytes();
        let mut key = |bytes: &mut Vec<u8>| {
            encode::bulk(bytes, &key);
            places.push(bytes.len() - 2 - KEY_DIGITS);
        };
        match op {
            Op::Get | Op::Incr => {
                encode::array_head(bytes, 2);
                encode::bulk(bytes, if op == Op::Get { b"GET" } else { b"INCR" });
                key(bytes);
            }
            Op::Set => {
                encode::array_head(bytes, if self.ttl_s.is_some() { 5 } else { 3 });
                encode::bulk(bytes, b"SET");
                key(bytes);
                encode::bulk(bytes, &self.value);
                if let Some(seconds) = self.ttl_s {
                    encode::bulk(bytes, b"EX");
                    encode::bulk(bytes, seconds.to_string().as_bytes());
                }
            }
            Op::Mget => {
                encode::array_head(bytes, 1 + self.keys_per_request);
                encode::bulk(bytes, b"MGET");
                (0..self.keys_per_request).for_each(|_| key(bytes));
            }
            Op::Mset => {
                encode::array_head(bytes, 1 + 2 * self.keys_per_request);
                encode::bulk(bytes, b"MSET");
                for _ in 0..self.keys_per_request {
                    key(bytes);
                    encode::bulk(bytes, &self.value);
                }
            }
        }
    }

    fn piece(&self, op: Op) -> Piece {
        let (mut bytes, mut places) = (Vec::new(), Vec::new());
        self.push(op, &mut bytes, &mut places);
        Piece { bytes, places }
    }
}

/// One request, ready but for the digits of its keys.
#[derive(Clone, Debug)]
struct Piece {
    bytes: Vec<u8>,
    places: Vec<usize>,
}

/// The requests that one client sends at a time.
#[derive(Clone, Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    /// `bytes[..filled]` is the batch made last.
    filled: usize,
    /// What each request of a mixed batch does.
    ops: Vec<Op>,
    kind: BatchKind,
}

#[derive(Clone, Debug)]
enum BatchKind {
    Uniform { op: Op, request_len: usize, keys_per_request: usize, places: Vec<usize> },
    Mixed { reads: f64, get: Piece, set: Piece, chance: Random },
}

impl Batch {
    /// Room for batches of up to `pipeline` requests; `chance` decides the order of a mixed one.
    pub fn new(shape: &Shape, pipeline: usize, chance: Random) -> Self {
        let op = match shape.workload {
            Workload::Mixed { reads } => {
                let (get, set) = (shape.piece(Op::Get), shape.piece(Op::Set));
                let kind = BatchKind::Mixed { reads, get, set, chance };
                return Batch { bytes: Vec::new(), filled: 0, ops: Vec::new(), kind };
            }
            Workload::Get => Op::Get,
            Workload::Set => Op::Set,
            Workload::Incr => Op::Incr,
            Workload::Mget => Op::Mget,
            Workload::Mset => Op::Mset,
        };
        let (mut bytes, mut places) = (Vec::new(), Vec::new());
        (0..pipeline).for_each(|_| shape.push(op, &mut bytes, &mut places));
        let requests = pipeline.max(1);
        let kind = BatchKind::Uniform {
            op,
            request_len: bytes.len() / requests,
            keys_per_request: places.len() / requests,
            places,
        };
        Batch { bytes, filled: 0, ops: Vec::new(), kind }
    }

    /// Makes the next `count` requests (at most the pipeline's depth); [`Self::bytes`] has them.
    pub fn fill(&mut self, count: usize, keys: &mut KeySource) {
        match &mut self.kind {
            BatchKind::Uniform { request_len, keys_per_request, places, .. } => {
                for place in places.iter().take(count * *keys_per_request) {
                    write_digits(&mut self.bytes[*place..*place + KEY_DIGITS], keys.next());
                }
                self.filled = (count * *request_len).min(self.bytes.len());
            }
            BatchKind::Mixed { reads, get, set, chance } => {
                self.bytes.clear();
                self.ops.clear();
                for _ in 0..count {
                    let (op, piece) =
                        if chance.unit() < *reads { (Op::Get, &*get) } else { (Op::Set, &*set) };
                    let from = self.bytes.len();
                    self.bytes.extend_from_slice(&piece.bytes);
                    for place in &piece.places {
                        let at = from + place;
                        write_digits(&mut self.bytes[at..at + KEY_DIGITS], keys.next());
                    }
                    self.ops.push(op);
                }
                self.filled = self.bytes.len();
            }
        }
    }

    /// The requests made last.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    /// What request `index` of the last batch does.
    #[inline]
    pub fn op(&self, index: usize) -> Op {
        match &self.kind {
            BatchKind::Uniform { op, .. } => *op,
            // A reply beyond the batch is judged like a GET's; the session refuses it anyway.
            BatchKind::Mixed { .. } => self.ops.get(index).copied().unwrap_or(Op::Get),
        }
    }
}

/// Writes `number` with leading zeros, two digits at a time.
#[inline]
fn write_digits(place: &mut [u8], mut number: u64) {
    const PAIRS: [u8; 200] = pairs();
    for pair in place.rchunks_exact_mut(2) {
        let at = (number % 100) as usize * 2;
        pair.copy_from_slice(&PAIRS[at..at + 2]);
        number /= 100;
    }
}

const fn pairs() -> [u8; 200] {
    let mut pairs = [0; 200];
    let mut number = 0;
    while number < 100 {
        pairs[number * 2] = b'0' + (number / 10) as u8;
        pairs[number * 2 + 1] = b'0' + (number % 10) as u8;
        number += 1;
    }
    pairs
}

/// What a reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What was asked for.
    Fine,
    /// A GET of a key that is not there: well-formed, but not what one wants to measure.
    Miss,
    /// An error reply.
    Error,
    /// A well-formed reply of a kind that this request cannot have: replies have got out of step,
    /// or the server is no Redis.
    Unexpected,
    /// A RESP3 push message: not a reply at all.
    Push,
}

/// Judges one whole reply by its first bytes.
#[inline]
pub fn judge(op: Op, reply: &[u8]) -> Answer {
    match (op, reply) {
        (_, [b'-' | b'!', ..]) => Answer::Error,
        (_, [b'>', ..]) => Answer::Push,
        (Op::Get, [b'$', b'-', ..] | [b'_', ..]) => Answer::Miss,
        (Op::Get, [b'$', ..]) => Answer::Fine,
        (Op::Set | Op::Mset, [b'+', b'O', b'K', ..]) => Answer::Fine,
        (Op::Incr, [b':', ..]) => Answer::Fine,
        (Op::Mget, [b'*', digit, ..]) if *digit != b'-' => Answer::Fine,
        _ => Answer::Unexpected,
    }
}

#[cfg(test)]
#[path = "workload_tests.rs"]
mod tests;
