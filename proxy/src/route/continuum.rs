//! Which of a fixed number of servers has a key, as twemproxy and libmemcached have it: so that one can move
//! over from them without moving data. Pure.
//!
//! A key, or its tag, becomes a number of 32 bits by a [`Hash`]. With *modula* the number modulo the sum of
//! the weights says which server, in the order of their names (shorter ones first, as twemproxy sorts them). With *ketama* every server has many points on a ring of such numbers,
//! made of MD5 digests of its name, and a key belongs to the point that follows its own number.
//!
//! ```text
//!   server's name + "-" + 0, 1, 2 ... ─► MD5, 16 bytes ─► 4 points each, little end first
//!   points a server: floor(weight / all weights × 40 × servers) × 4, which is 160 for equal weights
//! ```
//!
//! The sum that says how many points is done in single precision there, and so it is here: another
//! rounding would give other points. Two points at the same number (one pair in some thousand rings) have
//! no order there; here the server that comes first in the file comes first.

use md5::{Digest, Md5};
use pointsman_config::{Distribution, Fixed, KeyHash};
use pointsman_protocol::crc16::crc16;

/// See the module's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continuum {
    hash: KeyHash,
    /// The two bytes that enclose the part of a key that counts.
    tag: Option<(u8, u8)>,
    places: Places,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Places {
    /// The server of each remainder.
    Modula(Box<[u16]>),
    /// Points of the ring in order, and the server of each.
    Ketama(Box<[(u32, u16)]>),
}

impl Continuum {
    /// That of a backend; `None` if it is divided by slots.
    pub fn of(fixed: &Fixed) -> Option<Continuum> {
        let servers: Vec<(&str, u32)> =
            fixed.shards.iter().map(|shard| (shard.name.as_str(), u32::from(shard.weight))).collect();
        let places = match fixed.distribution {
            Distribution::Slots => return None,
            Distribution::Modula => modula(&servers),
            Distribution::Ketama => ketama(&servers),
        };
        Some(Continuum { hash: fixed.hash, tag: fixed.hash_tag, places })
    }

    /// The server of a key, by its place in the file.
    pub fn server(&self, key: &[u8]) -> usize {
        let key = self.tag.and_then(|tag| tagged(key, tag)).unwrap_or(key);
        // The empty key has the number 0 whatever the hash.
        let number = if key.is_empty() { 0 } else { hash(self.hash, key) };
        let server = match &self.places {
            Places::Modula(servers) => servers.get(number as usize % servers.len().max(1)).copied(),
            Places::Ketama(points) => {
                let place = points.partition_point(|(value, _)| *value < number);
                points.get(place).or(points.first()).map(|(_, server)| *server)
            }
        };
        usize::from(server.unwrap_or(0))
    }
}

/// What stands between the first opening byte and the first closing byte behind it, if anything does.
fn tagged(key: &[u8], (open, close): (u8, u8)) -> Option<&[u8]> {
    let rest = &key[memchr::memchr(open, key)? + 1..];
    let len = memchr::memchr(close, rest)?;
    (len > 0).then(|| &rest[..len])
}

fn modula(servers: &[(&str, u32)]) -> Places {
    // Not in the order of the file: twemproxy sorts its servers by the length of their names, then by the
    // names.
    let mut order: Vec<usize> = (0..servers.len()).collect();
    order.sort_by_key(|server| servers.get(*server).map(|(name, _)| (name.len(), *name)));
    let each = |server: usize| {
        let weight = servers.get(server).map_or(0, |(_, weight)| *weight);
        std::iter::repeat_n(server as u16, weight as usize)
    };
    Places::Modula(order.into_iter().flat_map(each).collect())
}

fn ketama(servers: &[(&str, u32)]) -> Places {
    let total: u32 = servers.iter().map(|(_, weight)| *weight).sum();
    let mut points = Vec::new();
    for (server, (name, weight)) in servers.iter().enumerate() {
        let share = *weight as f32 / total.max(1) as f32;
        let digests = (f64::from(share * 160.0 / 4.0 * servers.len() as f32) + 0.000_000_000_1) as f32;
        for number in 0..digests.floor() as u32 {
            let digest = Md5::digest(format!("{name}-{number}"));
            for bytes in digest.chunks_exact(4) {
                points.push((little_end_first(bytes), server as u16));
            }
        }
    }
    points.sort_unstable();
    Places::Ketama(points.into_boxed_slice())
}

fn little_end_first(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// The number of a key. Bytes from 128 on count as negative where C's `char` does so on most machines,
/// those on which twemproxy runs.
fn hash(hash: KeyHash, key: &[u8]) -> u32 {
    const PRIME_32: u32 = 16_777_619;
    // The prime of 64 bits is 2^40 + this: the lower half of a product needs no more of it.
    const PRIME_64_LOW: u32 = 0x1b3;
    const OFFSET_32: u32 = 0x811c_9dc5;
    const OFFSET_64: u64 = 0xcbf2_9ce4_8422_2325;
    let signed = |byte: &u8| i32::from(*byte as i8) as u32;
    match hash {
        KeyHash::Fnv1a64 => {
            key.iter().fold(OFFSET_64 as u32, |hash, byte| (hash ^ signed(byte)).wrapping_mul(PRIME_64_LOW))
        }
        KeyHash::Fnv164 => key
            .iter()
            .fold(OFFSET_64, |hash, byte| hash.wrapping_mul(0x0100_0000_01b3) ^ i64::from(*byte as i8) as u64)
            as u32,
        KeyHash::Fnv1a32 => {
            key.iter().fold(OFFSET_32, |hash, byte| (hash ^ signed(byte)).wrapping_mul(PRIME_32))
        }
        KeyHash::Fnv132 => {
            key.iter().fold(OFFSET_32, |hash, byte| hash.wrapping_mul(PRIME_32) ^ signed(byte))
        }
        KeyHash::Md5 => little_end_first(&Md5::digest(key)),
        // The sum of 16 bits, and above it what has been pushed out of it.
        KeyHash::Crc16 => {
            key.iter().fold(0u32, |sum, byte| sum << 8 ^ u32::from(crc16(&[(sum >> 8) as u8 ^ byte])))
        }
        KeyHash::Crc32 => (crc32(key) >> 16) & 0x7fff,
        KeyHash::Crc32a => crc32(key),
        KeyHash::OneAtATime => {
            let mixed = key.iter().fold(0u32, |hash, byte| {
                let hash = hash.wrapping_add(signed(byte));
                let hash = hash.wrapping_add(hash << 10);
                hash ^ (hash >> 6)
            });
            let mixed = mixed.wrapping_add(mixed << 3);
            let mixed = mixed ^ (mixed >> 11);
            mixed.wrapping_add(mixed << 15)
        }
    }
}

/// CRC-32 as of IEEE 802.3, bit by bit: no table is worth it for one sum a key.
fn crc32(key: &[u8]) -> u32 {
    let step = |sum: u32, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
    !key.iter().fold(!0u32, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), step))
}

#[cfg(test)]
#[path = "continuum_tests.rs"]
mod tests;
