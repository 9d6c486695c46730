//! One key with its value: how it lies in memory, and the only code that reads or writes those bytes.
//!
//! ```text
//!  0       1       2           5        6          8                16             16+k
//!  | kind  | stamp | clock     | key    | value    | expiry, if the | key          | value, or the
//!  | flags |       | (24 bits) | length | length   | flag says so   | (k bytes)    | index of one
//! ```
//!
//! A key longer than [`KEY_INLINE_MAX`] and a value that would make the entry larger than a slot
//! live outside, as one [`Outside`] that the entry's index names. Other types than strings will
//! always live there.

use super::arena::Arena;
use super::slab::{Full, Handle, SIZE_MAX, Slab, class_of};

/// The longest key that lies within its entry.
pub const KEY_INLINE_MAX: usize = 254;
const KEY_OUTSIDE: u8 = 255;
const VALUE_OUTSIDE: u16 = u16::MAX;
const HEADER_BYTES: usize = 8;
const EXPIRY_BYTES: usize = 8;
const INDEX_BYTES: usize = 4;

/// How a string is said to be kept. It lies as its bytes in any case; Redis' names are told to
/// those who ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// The decimal form of a 64-bit integer.
    Int,
    /// At most 44 bytes, as they were set.
    Embedded,
    /// Longer, or changed in place.
    Raw,
}

impl Encoding {
    /// The name that OBJECT ENCODING tells.
    pub fn name(self) -> &'static str {
        match self {
            Encoding::Int => "int",
            Encoding::Embedded => "embstr",
            Encoding::Raw => "raw",
        }
    }

    /// What Redis would choose for a value that a client sets.
    #[inline]
    pub fn of(value: &[u8]) -> Encoding {
        if value.len() <= 20 && crate::number::parse_integer(value).is_some() {
            Encoding::Int
        } else {
            Encoding::of_text(value)
        }
    }

    /// The same for a value that is never taken for a number.
    #[inline]
    pub fn of_text(value: &[u8]) -> Encoding {
        if value.len() <= 44 { Encoding::Embedded } else { Encoding::Raw }
    }
}

/// What lives outside of its entry.
#[derive(Debug)]
pub struct Outside {
    /// The key, if it is too long for the entry.
    key: Option<Box<[u8]>>,
    /// The value.
    pub value: Value,
}

/// A value outside of its entry.
#[derive(Debug)]
pub enum Value {
    /// A string.
    Bytes(Vec<u8>),
}

impl Outside {
    /// Bytes it owns, itself not counted.
    pub fn bytes_held(&self) -> usize {
        let Value::Bytes(bytes) = &self.value;
        self.key.as_ref().map_or(0, |key| key.len()) + bytes.capacity()
    }
}

#[derive(Clone, Copy)]
struct Header(u64);

impl Header {
    const KIND_STRING: u64 = 0;
    const EXPIRES: u64 = 1 << 3;

    fn new(encoding: Encoding, expires: bool, clock: u32, key_len: u8, value_len: u16) -> Header {
        let mut bits = Self::KIND_STRING | (encoding as u64) << 4;
        if expires {
            bits |= Self::EXPIRES;
        }
        Header(
            bits | u64::from(clock & CLOCK_MASK) << 16
                | u64::from(key_len) << 40
                | u64::from(value_len) << 48,
        )
    }

    #[inline]
    fn read(bytes: &[u8]) -> Header {
        Header(bytes.first_chunk().map_or(0, |head| u64::from_le_bytes(*head)))
    }

    #[inline]
    fn expires(self) -> bool {
        self.0 & Self::EXPIRES != 0
    }

    fn encoding(self) -> Encoding {
        match self.0 >> 4 & 0xf {
            0 => Encoding::Int,
            1 => Encoding::Embedded,
            _ => Encoding::Raw,
        }
    }

    fn with_encoding(self, encoding: Encoding) -> Header {
        Header(self.0 & !0xf0 | (encoding as u64) << 4)
    }

    fn clock(self) -> u32 {
        (self.0 >> 16) as u32 & CLOCK_MASK
    }

    #[inline]
    fn with_clock(self, clock: u32) -> Header {
        Header(self.0 & !(u64::from(CLOCK_MASK) << 16) | u64::from(clock & CLOCK_MASK) << 16)
    }

    #[inline]
    fn key_len(self) -> u8 {
        (self.0 >> 40) as u8
    }

    #[inline]
    fn value_len(self) -> u16 {
        (self.0 >> 48) as u16
    }

    /// Where the key begins.
    #[inline]
    fn key_start(self) -> usize {
        HEADER_BYTES + if self.expires() { EXPIRY_BYTES } else { 0 }
    }

    /// Where the value, or the index of one, begins.
    #[inline]
    fn value_start(self) -> usize {
        let key_len = if self.key_len() == KEY_OUTSIDE { 0 } else { usize::from(self.key_len()) };
        self.key_start() + key_len
    }
}

/// Bytes that memory is loaded in. Where that is not so, looking ahead only works less well.
const CACHE_LINE: usize = 64;

/// The clock of an entry's last access counts seconds in this many bits.
pub const CLOCK_MASK: u32 = 0xff_ffff;

/// All entries of a node.
#[derive(Debug, Default)]
pub struct Entries {
    slab: Slab,
    outside: Arena<Outside>,
    outside_bytes: usize,
}

/// What to put into an entry.
pub enum Payload<'a> {
    /// These bytes, copied.
    Slice(&'a [u8]),
    /// This value, moved.
    Value(Value),
}

impl Payload<'_> {
    fn len(&self) -> usize {
        match self {
            Payload::Slice(bytes) => bytes.len(),
            Payload::Value(Value::Bytes(bytes)) => bytes.len(),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Payload::Slice(bytes) => bytes,
            Payload::Value(Value::Bytes(bytes)) => bytes,
        }
    }

    fn into_value(self) -> Value {
        match self {
            Payload::Slice(bytes) => Value::Bytes(bytes.to_vec()),
            Payload::Value(value) => value,
        }
    }
}

/// The bytes an entry takes if all of it lies in its slot; `None` if it cannot.
#[inline]
fn inline_size(key: &[u8], value_len: usize, expires: bool) -> Option<usize> {
    let size = HEADER_BYTES + if expires { EXPIRY_BYTES } else { 0 } + key.len() + value_len;
    (key.len() <= KEY_INLINE_MAX && size <= SIZE_MAX).then_some(size)
}

impl Entries {
    /// True if the entry has this key.
    #[inline]
    pub fn key_is(&self, handle: Handle, key: &[u8]) -> bool {
        let bytes = self.slab.bytes(handle);
        let header = Header::read(bytes);
        if usize::from(header.key_len()) != key.len() || header.key_len() == KEY_OUTSIDE {
            return header.key_len() == KEY_OUTSIDE && self.long_key(handle) == key;
        }
        let start = header.key_start();
        bytes.get(start..start + key.len()) == Some(key)
    }

    /// Touches the entry's memory, up to its third cache line. True, but only the processor's branch
    /// predictor may count on that: see [`super::Keyspace::warm`].
    #[inline]
    pub fn warm(&self, handle: Handle) -> bool {
        let bytes = self.slab.bytes(handle);
        let byte = |at: usize| bytes.get(at.min(bytes.len().wrapping_sub(1))).copied().unwrap_or_default();
        // No `&&`: it would load one of them and guess the others. No kind of entry begins with 0xff.
        byte(0) & byte(CACHE_LINE) & byte(2 * CACHE_LINE) != 0xff
    }

    /// The key.
    #[inline]
    pub fn key(&self, handle: Handle) -> &[u8] {
        let bytes = self.slab.bytes(handle);
        let header = Header::read(bytes);
        if header.key_len() == KEY_OUTSIDE {
            return self.long_key(handle);
        }
        bytes.get(header.key_start()..header.value_start()).unwrap_or_default()
    }

    /// The string.
    #[inline]
    pub fn bytes(&self, handle: Handle) -> &[u8] {
        let bytes = self.slab.bytes(handle);
        let header = Header::read(bytes);
        if header.value_len() == VALUE_OUTSIDE {
            return match self.outside_of(handle) {
                Some(Outside { value: Value::Bytes(bytes), .. }) => bytes,
                None => &[],
            };
        }
        let start = header.value_start();
        bytes.get(start..start + usize::from(header.value_len())).unwrap_or_default()
    }

    /// How the string is said to be kept.
    pub fn encoding(&self, handle: Handle) -> Encoding {
        Header::read(self.slab.bytes(handle)).encoding()
    }

    /// When the entry expires, in milliseconds since 1970, if it does.
    #[inline]
    pub fn expire_at(&self, handle: Handle) -> Option<u64> {
        let bytes = self.slab.bytes(handle);
        if !Header::read(bytes).expires() {
            return None;
        }
        bytes.get(HEADER_BYTES..)?.first_chunk().map(|at| u64::from_le_bytes(*at))
    }

    /// When it was last used, in seconds modulo 2^24.
    pub fn clock(&self, handle: Handle) -> u32 {
        Header::read(self.slab.bytes(handle)).clock()
    }

    /// Notes that it is used now. Writes only if that changes anything, to leave the cache line clean.
    #[inline]
    pub fn touch(&mut self, handle: Handle, clock: u32) {
        let bytes = self.slab.bytes(handle);
        let header = Header::read(bytes);
        if header.clock() != clock {
            self.write_header(handle, header.with_clock(clock));
        }
    }

    /// Makes an entry.
    pub fn create(
        &mut self,
        key: &[u8],
        payload: Payload<'_>,
        encoding: Encoding,
        expire_at: Option<u64>,
        clock: u32,
    ) -> Result<Handle, Full> {
        let expires = expire_at.is_some();
        if let Some(size) = inline_size(key, payload.len(), expires) {
            let handle = self.slab.allocate(size)?;
            let header = Header::new(encoding, expires, clock, key.len() as u8, payload.len() as u16);
            self.write(handle, header, expire_at, key, payload.bytes());
            return Ok(handle);
        }
        let long = key.len() > KEY_INLINE_MAX;
        let inner: &[u8] = if long { &[] } else { key };
        let size = HEADER_BYTES + if expires { EXPIRY_BYTES } else { 0 } + inner.len() + INDEX_BYTES;
        let handle = self.slab.allocate(size)?;
        let outside = Outside { key: long.then(|| key.into()), value: payload.into_value() };
        let bytes = outside.bytes_held();
        let Some(index) = self.outside.insert(outside) else {
            self.slab.free(handle);
            return Err(Full);
        };
        self.outside_bytes += bytes;
        let key_len = if long { KEY_OUTSIDE } else { key.len() as u8 };
        let header = Header::new(encoding, expires, clock, key_len, VALUE_OUTSIDE);
        self.write(handle, header, expire_at, inner, &index.to_le_bytes());
        Ok(handle)
    }

    /// Writes a new value and expiry over the entry of the same key, if its slot is of the very
    /// size that they need. The old value must not live outside.
    #[inline]
    pub fn overwrite(
        &mut self,
        handle: Handle,
        key: &[u8],
        value: &[u8],
        encoding: Encoding,
        expire_at: Option<u64>,
        clock: u32,
    ) -> bool {
        let header = Header::read(self.slab.bytes(handle));
        let Some(size) = inline_size(key, value.len(), expire_at.is_some()) else { return false };
        if header.value_len() == VALUE_OUTSIDE || class_of(size) != self.slab.class(handle) {
            return false;
        }
        let header = Header::new(encoding, expire_at.is_some(), clock, key.len() as u8, value.len() as u16);
        self.write(handle, header, expire_at, key, value);
        true
    }

    /// Sets the expiry of an entry that has one already.
    pub fn set_expire_at(&mut self, handle: Handle, at: u64) {
        let bytes = self.slab.bytes_mut(handle);
        if Header::read(bytes).expires()
            && let Some(place) = bytes.get_mut(HEADER_BYTES..HEADER_BYTES + EXPIRY_BYTES)
        {
            place.copy_from_slice(&at.to_le_bytes());
        }
    }

    /// The string, to be changed where it is, if it lives outside. `change` may grow it.
    pub fn change_outside<R>(&mut self, handle: Handle, change: impl FnOnce(&mut Vec<u8>) -> R) -> Option<R> {
        let bytes = self.slab.bytes(handle);
        let header = Header::read(bytes);
        let index = self.index_of(handle)?;
        let Outside { value: Value::Bytes(bytes), .. } = self.outside.get_mut(index)?;
        let before = bytes.capacity();
        let result = change(bytes);
        self.outside_bytes = self.outside_bytes - before + bytes.capacity();
        self.write_header(handle, header.with_encoding(Encoding::Raw));
        Some(result)
    }

    /// Frees an entry. What lived outside is handed to the caller, who may let it go elsewhere.
    pub fn remove(&mut self, handle: Handle) -> Option<Outside> {
        let outside = self.index_of(handle).and_then(|index| self.outside.remove(index));
        if let Some(outside) = &outside {
            self.outside_bytes -= outside.bytes_held();
        }
        self.slab.free(handle);
        outside
    }

    /// Frees an entry and gives its value.
    pub fn take(&mut self, handle: Handle) -> Value {
        let inline = if self.index_of(handle).is_none() { self.bytes(handle).to_vec() } else { Vec::new() };
        self.remove(handle).map_or(Value::Bytes(inline), |outside| outside.value)
    }

    /// Gives an entry an expiry, or takes it away. The entry may move: the handle that counts from
    /// now on is returned.
    pub fn change_expiry(&mut self, handle: Handle, expire_at: Option<u64>) -> Result<Handle, Full> {
        let header = Header::read(self.slab.bytes(handle));
        match (header.expires(), expire_at) {
            (false, None) => return Ok(handle),
            (true, Some(at)) => {
                self.set_expire_at(handle, at);
                return Ok(handle);
            }
            _ => {}
        }
        let outside = header.value_len() == VALUE_OUTSIDE;
        let value_len = if outside { INDEX_BYTES } else { usize::from(header.value_len()) };
        let old = self.slab.bytes(handle);
        let tail = old.get(header.key_start()..header.value_start() + value_len).unwrap_or_default();
        let size = HEADER_BYTES + if expire_at.is_some() { EXPIRY_BYTES } else { 0 } + tail.len();
        if size > SIZE_MAX {
            // The eight bytes more push the value out of its slot.
            let (key, encoding, clock) = (self.key(handle).to_vec(), header.encoding(), header.clock());
            let value = Value::Bytes(self.bytes(handle).to_vec());
            let moved = self.create(&key, Payload::Value(value), encoding, expire_at, clock)?;
            self.slab.free(handle);
            return Ok(moved);
        }
        let mut copy = [0u8; SIZE_MAX];
        let copy = &mut copy[..tail.len()];
        copy.copy_from_slice(tail);
        let moved = self.slab.allocate(size)?;
        self.slab.free(handle);
        let header = Header(header.0 ^ Header::EXPIRES);
        self.write(moved, header, expire_at, copy, &[]);
        Ok(moved)
    }

    /// Bytes of all memory held.
    pub fn bytes_held(&self) -> usize {
        self.slab.bytes_held() + self.outside.bytes_held() + self.outside_bytes
    }

    /// Bytes in use by entries and what they own outside.
    pub fn bytes_live(&self) -> usize {
        self.slab.bytes_live() + self.outside_bytes
    }

    #[cold]
    fn long_key(&self, handle: Handle) -> &[u8] {
        self.outside_of(handle).and_then(|outside| outside.key.as_deref()).unwrap_or_default()
    }

    fn outside_of(&self, handle: Handle) -> Option<&Outside> {
        self.outside.get(self.index_of(handle)?)
    }

    fn index_of(&self, handle: Handle) -> Option<u32> {
        let bytes = self.slab.bytes(handle);
        let header = Header::read(bytes);
        if header.value_len() != VALUE_OUTSIDE {
            return None;
        }
        bytes.get(header.value_start()..)?.first_chunk().map(|index| u32::from_le_bytes(*index))
    }

    #[inline]
    fn write_header(&mut self, handle: Handle, header: Header) {
        if let Some(place) = self.slab.bytes_mut(handle).first_chunk_mut::<HEADER_BYTES>() {
            *place = header.0.to_le_bytes();
        }
    }

    /// Writes an entry into its slot, which is large enough by construction.
    #[inline]
    fn write(&mut self, handle: Handle, header: Header, expire_at: Option<u64>, key: &[u8], value: &[u8]) {
        let bytes = self.slab.bytes_mut(handle);
        let key_start = header.key_start();
        let value_start = key_start + key.len();
        let end = value_start + value.len();
        let Some(bytes) = bytes.get_mut(..end) else { return };
        bytes[..HEADER_BYTES].copy_from_slice(&header.0.to_le_bytes());
        if let Some(at) = expire_at {
            bytes[HEADER_BYTES..HEADER_BYTES + EXPIRY_BYTES].copy_from_slice(&at.to_le_bytes());
        }
        bytes[key_start..value_start].copy_from_slice(key);
        bytes[value_start..].copy_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn long(len: usize) -> Vec<u8> {
        (0..len).map(|place| place as u8).collect()
    }

    #[test]
    fn entries_of_every_shape_read_back() {
        let mut entries = Entries::default();
        let mut made = Vec::new();
        for key_len in [0, 1, 16, 254, 255, 256, 5000] {
            for value_len in [0, 1, 44, 64, 700, 1000, 1024, 70_000] {
                for expire_at in [None, Some(u64::MAX - 1)] {
                    let (key, value) = (long(key_len), long(value_len));
                    let handle = entries
                        .create(&key, Payload::Slice(&value), Encoding::Raw, expire_at, 0x12_3456)
                        .unwrap();
                    made.push((handle, key, value, expire_at));
                }
            }
        }
        for (handle, key, value, expire_at) in &made {
            assert!(entries.key_is(*handle, key));
            assert!(!entries.key_is(*handle, &long(key.len() + 1)));
            assert_eq!(entries.key(*handle), key);
            assert_eq!(entries.bytes(*handle), value);
            assert_eq!(entries.expire_at(*handle), *expire_at);
            assert_eq!(entries.encoding(*handle), Encoding::Raw);
            assert_eq!(entries.clock(*handle), 0x12_3456);
        }
        for (handle, _, value, _) in made {
            let Value::Bytes(taken) = entries.take(handle);
            assert_eq!(taken, value);
        }
        assert_eq!(entries.bytes_live(), 0);
    }

    #[test]
    fn overwriting_needs_a_slot_of_the_same_size() {
        let mut entries = Entries::default();
        let handle = entries.create(b"key", Payload::Slice(&[1; 64]), Encoding::Raw, None, 0).unwrap();
        assert!(!entries.overwrite(handle, b"key", &[2; 80], Encoding::Raw, None, 0));
        assert!(!entries.overwrite(handle, b"key", &[2; 64], Encoding::Raw, Some(5), 0));
        assert!(entries.overwrite(handle, b"key", &[2; 63], Encoding::Int, None, 7));
        assert_eq!((entries.bytes(handle), entries.clock(handle)), (&[2; 63][..], 7));
        assert!(entries.overwrite(handle, b"key", &[3; 56], Encoding::Raw, Some(5), 7));
        assert_eq!((entries.bytes(handle), entries.expire_at(handle)), (&[3; 56][..], Some(5)));
        entries.touch(handle, 9);
        assert_eq!((entries.clock(handle), entries.key(handle)), (9, &b"key"[..]));
    }
}
