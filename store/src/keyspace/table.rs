//! From a key to its entry: per slot a directory of small segments that split one at a time.
//!
//! A hash table that doubles as a whole stops the world for as long as it takes to move everything.
//! Here nothing larger than one segment is ever moved:
//!
//! ```text
//! slot ─► segment                        while it has at most SEGMENT_MAX keys, or
//! slot ─► directory, 2^depth places ─►   segment, segment, segment ...
//!         (place = first bits of the key's prefix; several places may name one segment)
//!
//! hash (64 bits): | 7: tag of the segment's table | 1 | 20: prefix | 36, the low ones: place in it |
//! ```
//!
//! A full segment splits in two by the next bit of the prefix; only when it is as deep as its
//! directory does the directory double, which copies four bytes a place. Two neighbours that have
//! become small merge again. Whoever walks a slot in the order of prefixes meets every key that is
//! there all the while: a split or a merge moves keys between segments, never across the order.

use super::arena::Arena;
use super::census::Census;
use super::slab::{Full, Handle};
use hashbrown::HashTable;
use pointsman_protocol::slot::SLOTS;

/// Most keys in a segment: what 512 places of its table take.
pub const SEGMENT_MAX: usize = 448;
/// A segment this small tries to merge with its neighbour ...
const MERGE_BELOW: usize = SEGMENT_MAX / 8;
/// ... if both together have at most so many keys.
const MERGED_MAX: usize = SEGMENT_MAX / 2;
/// Bits of a prefix. A slot never has more segments than prefixes; should one prefix fill up all
/// the same, its segment grows beyond its bound.
pub const PREFIX_BITS: u32 = 20;
const PREFIX_SHIFT: u32 = 36;

const EMPTY: u32 = u32::MAX;
/// Marks a root that names a directory rather than a segment.
const DIRECTORY: u32 = 1 << 31;

/// Where a key belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its slot's number.
    pub slot: u16,
    /// Its hash.
    pub hash: u64,
}

impl Place {
    /// Its prefix: what orders the keys of a slot.
    #[inline]
    pub fn prefix(self) -> u32 {
        prefix_of(self.hash)
    }
}

#[inline]
fn prefix_of(hash: u64) -> u32 {
    (hash >> PREFIX_SHIFT) as u32 & ((1 << PREFIX_BITS) - 1)
}

/// What the table asks about an entry when it moves it.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The hash of its key.
    pub hash: u64,
    /// When it expires; `u64::MAX` = never.
    pub expire_at: u64,
}

/// A part of a slot: the keys whose prefixes begin alike.
#[derive(Debug)]
pub struct Segment {
    handles: HashTable<u32>,
    /// No entry in here expires before this.
    due_ms: u64,
    /// The first prefix that belongs here; its last `PREFIX_BITS - depth` bits are zero.
    prefix: u32,
    /// How many bits of the prefix all keys in here share.
    depth: u8,
}

impl Segment {
    /// Its entries, in no order.
    pub fn handles(&self) -> impl Iterator<Item = Handle> + '_ {
        self.handles.iter().map(|handle| Handle(*handle))
    }

    /// How many entries it has.
    pub fn len(&self) -> usize {
        self.handles.len()
    }

    /// No entry in here expires before this (milliseconds since 1970).
    pub fn due_ms(&self) -> u64 {
        self.due_ms
    }

    /// The first prefix behind it; `None` if it is the last of its slot.
    pub fn next_prefix(&self) -> Option<u32> {
        let next = self.prefix + (1 << (PREFIX_BITS - u32::from(self.depth)));
        (next < 1 << PREFIX_BITS).then_some(next)
    }

    fn new(prefix: u32, depth: u8, capacity: usize) -> Segment {
        Segment { handles: HashTable::with_capacity(capacity), due_ms: u64::MAX, prefix, depth }
    }
}

#[derive(Debug)]
struct Directory {
    depth: u8,
    /// 2^depth places.
    segments: Vec<u32>,
}

impl Directory {
    #[inline]
    fn place(&self, prefix: u32) -> usize {
        (prefix >> (PREFIX_BITS - u32::from(self.depth))) as usize
    }

    /// The places that a segment covers.
    fn places(&self, prefix: u32, depth: u8) -> std::ops::Range<usize> {
        let first = self.place(prefix);
        first..first + (1 << (self.depth - depth))
    }
}

/// See the module.
#[derive(Debug)]
pub struct Table {
    roots: Box<[u32]>,
    segments: Arena<Segment>,
    directories: Arena<Directory>,
    census: Census,
    /// Bytes of the segments' own tables and of the directories' places.
    bytes: usize,
}

impl Default for Table {
    fn default() -> Self {
        Table {
            roots: vec![EMPTY; usize::from(SLOTS)].into_boxed_slice(),
            segments: Arena::default(),
            directories: Arena::default(),
            census: Census::default(),
            bytes: 0,
        }
    }
}

impl Table {
    /// How many keys there are, slot by slot.
    pub fn census(&self) -> &Census {
        &self.census
    }

    /// Bytes of memory held.
    pub fn bytes_held(&self) -> usize {
        self.bytes
            + self.segments.bytes_held()
            + self.directories.bytes_held()
            + usize::from(SLOTS) * (size_of::<u32>() * 2)
    }

    /// Bytes of what belongs to single slots.
    #[cfg(test)]
    pub(super) fn bytes_of_parts(&self) -> usize {
        self.bytes
    }

    /// The entry at `place` that `is` recognises.
    #[inline]
    pub fn find(&self, place: Place, mut is: impl FnMut(Handle) -> bool) -> Option<Handle> {
        let segment = self.segments.get(self.segment_number(place.slot, place.prefix())?)?;
        segment.handles.find(place.hash, |handle| is(Handle(*handle))).map(|handle| Handle(*handle))
    }

    /// Loads the segment of a key into the cache, but nothing of its table; see
    /// [`super::Keyspace::warm`]. What it returns has no meaning.
    #[inline]
    pub fn warm(&self, place: Place) -> usize {
        self.segment(place.slot, place.prefix()).map_or(0, Segment::len)
    }

    /// The segment that holds the given prefix of a slot; `None` if the slot is empty.
    pub fn segment(&self, slot: u16, prefix: u32) -> Option<&Segment> {
        self.segments.get(self.segment_number(slot, prefix)?)
    }

    /// Corrects when the first entry of a segment expires, after looking at all of them.
    pub fn set_due(&mut self, slot: u16, prefix: u32, due_ms: u64) {
        if let Some(segment) = self.segment_mut(slot, prefix) {
            segment.due_ms = due_ms;
        }
    }

    /// Notes that the entry at `place` expires at `at`.
    pub fn note_expiry(&mut self, place: Place, at: u64) {
        if let Some(segment) = self.segment_mut(place.slot, place.prefix()) {
            segment.due_ms = segment.due_ms.min(at);
        }
    }

    /// The segment that [`Self::insert`] would have to split for a key at `place`: all of its entries
    /// will be read.
    #[inline]
    pub fn about_to_split(&self, place: Place) -> Option<&Segment> {
        self.segment(place.slot, place.prefix()).filter(|segment| segment.len() >= SEGMENT_MAX)
    }

    /// Adds an entry whose key is not there yet.
    pub fn insert(
        &mut self,
        place: Place,
        handle: Handle,
        expire_at: u64,
        facts: impl Fn(Handle) -> Facts,
    ) -> Result<(), Full> {
        let number = loop {
            let Some(number) = self.segment_number(place.slot, place.prefix()) else {
                let number = self.segments.insert(Segment::new(0, 0, 0)).ok_or(Full)?;
                self.roots[usize::from(place.slot)] = number;
                break number;
            };
            match self.segments.get(number) {
                Some(segment) if segment.len() >= SEGMENT_MAX && u32::from(segment.depth) < PREFIX_BITS => {
                    if !self.split(place.slot, number, &facts) {
                        break number;
                    }
                }
                _ => break number,
            }
        };
        let segment = self.segments.get_mut(number).ok_or(Full)?;
        let before = segment.handles.allocation_size();
        segment.handles.insert_unique(place.hash, handle.0, |handle| facts(Handle(*handle)).hash);
        segment.due_ms = segment.due_ms.min(expire_at);
        self.bytes = self.bytes - before + segment.handles.allocation_size();
        self.census.add(place.slot);
        Ok(())
    }

    /// Puts another entry of the same key in the place of `old`.
    #[inline]
    pub fn replace(&mut self, place: Place, old: Handle, new: Handle, expire_at: u64) {
        let Some(segment) = self.segment_mut(place.slot, place.prefix()) else { return };
        if let Some(handle) = segment.handles.find_mut(place.hash, |handle| *handle == old.0) {
            *handle = new.0;
            segment.due_ms = segment.due_ms.min(expire_at);
        }
    }

    /// Takes an entry out.
    pub fn remove(&mut self, place: Place, handle: Handle, facts: impl Fn(Handle) -> Facts) {
        let Some(number) = self.segment_number(place.slot, place.prefix()) else { return };
        let Some(segment) = self.segments.get_mut(number) else { return };
        match segment.handles.find_entry(place.hash, |found| *found == handle.0) {
            Ok(found) => drop(found.remove()),
            Err(_) => return,
        }
        let (len, buckets, depth) = (segment.handles.len(), segment.handles.num_buckets(), segment.depth);
        self.census.subtract(place.slot);
        if self.census.of(place.slot) == 0 {
            self.clear_slot(place.slot);
        } else if len < MERGE_BELOW && depth > 0 && self.merge(place.slot, number, &facts) {
            // The merged segment's table was made to measure.
        } else if buckets > 16 && len < buckets / 8 {
            self.resize(number, len * 2, &facts);
        }
    }

    /// An entry drawn by `random`, which gives a number below its argument: the slot by its number of
    /// keys, then a part of the slot, then a place in it until one is taken.
    pub fn draw(&self, mut random: impl FnMut(u64) -> u64) -> Option<Handle> {
        let slot = self.census.slot_of_rank(random(self.census.total().max(1)))?;
        // A segment that several places of the directory name is drawn that much more often, as it
        // covers that many more prefixes. A draw can miss; a full slot cannot do so for long.
        for _ in 0..1000 {
            let segment = self.segment(slot, random(1 << PREFIX_BITS) as u32)?;
            let bucket = random(segment.handles.num_buckets().max(1) as u64) as usize;
            if let Some(handle) = segment.handles.get_bucket(bucket) {
                return Some(Handle(*handle));
            }
        }
        let mut prefix = Some(0);
        while let Some(segment) = prefix.and_then(|prefix| self.segment(slot, prefix)) {
            if let Some(handle) = segment.handles().next() {
                return Some(handle);
            }
            prefix = segment.next_prefix();
        }
        None
    }

    #[inline]
    fn segment_number(&self, slot: u16, prefix: u32) -> Option<u32> {
        let root = *self.roots.get(usize::from(slot))?;
        if root & DIRECTORY == 0 {
            return Some(root);
        }
        if root == EMPTY {
            return None;
        }
        let directory = self.directories.get(root & !DIRECTORY)?;
        directory.segments.get(directory.place(prefix)).copied()
    }

    #[inline]
    fn segment_mut(&mut self, slot: u16, prefix: u32) -> Option<&mut Segment> {
        let number = self.segment_number(slot, prefix)?;
        self.segments.get_mut(number)
    }

    /// Splits a segment by the next bit of its keys' prefixes. False if no number is left for
    /// another segment.
    fn split(&mut self, slot: u16, number: u32, facts: &impl Fn(Handle) -> Facts) -> bool {
        let Some(segment) = self.segments.get(number) else { return false };
        let (prefix, depth) = (segment.prefix, segment.depth);
        let bit = 1 << (PREFIX_BITS - u32::from(depth) - 1);
        if !self.deepen(slot, number, depth) {
            return false;
        }
        let mut low = Segment::new(prefix, depth + 1, SEGMENT_MAX);
        let mut high = Segment::new(prefix | bit, depth + 1, SEGMENT_MAX);
        let Some(segment) = self.segments.get_mut(number) else { return false };
        self.bytes -= segment.handles.allocation_size();
        for handle in segment.handles.drain() {
            let facts_here = facts(Handle(handle));
            let half = if prefix_of(facts_here.hash) & bit == 0 { &mut low } else { &mut high };
            // Both halves have room for all, so nothing is hashed again here.
            half.handles.insert_unique(facts_here.hash, handle, |handle| facts(Handle(*handle)).hash);
            half.due_ms = half.due_ms.min(facts_here.expire_at);
        }
        self.bytes += low.handles.allocation_size() + high.handles.allocation_size();
        let (high_prefix, high_depth) = (high.prefix, high.depth);
        *segment = low;
        let Some(high) = self.segments.insert(high) else { return false };
        let root = self.roots[usize::from(slot)];
        if let Some(directory) = self.directories.get_mut(root & !DIRECTORY) {
            let places = directory.places(high_prefix, high_depth);
            if let Some(places) = directory.segments.get_mut(places) {
                places.fill(high);
            }
        }
        true
    }

    /// Makes the slot's directory deeper than `depth`, so that a segment of that depth can split.
    fn deepen(&mut self, slot: u16, number: u32, depth: u8) -> bool {
        // Both insertions of a split must succeed before anything is moved.
        if self.segments.len() >= (DIRECTORY as usize) - 2 {
            return false;
        }
        let root = self.roots[usize::from(slot)];
        if root & DIRECTORY == 0 {
            let directory = Directory { depth: 1, segments: vec![number, number] };
            let Some(index) = self.directories.insert(directory) else { return false };
            self.bytes += 2 * size_of::<u32>();
            self.roots[usize::from(slot)] = index | DIRECTORY;
            return true;
        }
        let Some(directory) = self.directories.get_mut(root & !DIRECTORY) else { return false };
        if directory.depth == depth {
            self.bytes += directory.segments.len() * size_of::<u32>();
            let mut doubled = Vec::with_capacity(directory.segments.len() * 2);
            doubled.extend(directory.segments.iter().flat_map(|segment| [*segment, *segment]));
            directory.segments = doubled;
            directory.depth += 1;
        }
        true
    }

    /// Merges a segment with the one it was once split from, if both are small enough.
    fn merge(&mut self, slot: u16, number: u32, facts: &impl Fn(Handle) -> Facts) -> bool {
        let Some(segment) = self.segments.get(number) else { return false };
        let (prefix, depth, len) = (segment.prefix, segment.depth, segment.len());
        let bit = 1 << (PREFIX_BITS - u32::from(depth));
        let Some(other_number) = self.segment_number(slot, prefix ^ bit) else { return false };
        let Some(other) = self.segments.get(other_number) else { return false };
        if other.depth != depth || other.len() + len > MERGED_MAX {
            return false;
        }
        let mut merged = Segment::new(prefix & !bit, depth - 1, other.len() + len);
        merged.due_ms = segment.due_ms.min(other.due_ms);
        for handle in segment.handles().chain(other.handles()) {
            merged.handles.insert_unique(facts(handle).hash, handle.0, |handle| facts(Handle(*handle)).hash);
        }
        self.bytes -= segment.handles.allocation_size() + other.handles.allocation_size();
        self.bytes += merged.handles.allocation_size();
        self.segments.remove(number);
        self.segments.remove(other_number);
        let (merged_prefix, merged_depth) = (merged.prefix, merged.depth);
        // A place has just become vacant twice: this cannot fail.
        let Some(merged) = self.segments.insert(merged) else { return false };
        let root = self.roots[usize::from(slot)];
        if merged_depth == 0 {
            self.drop_directory(slot, merged);
        } else if let Some(directory) = self.directories.get_mut(root & !DIRECTORY) {
            let places = directory.places(merged_prefix, merged_depth);
            if let Some(places) = directory.segments.get_mut(places) {
                places.fill(merged);
            }
        }
        true
    }

    /// Gives a segment a table for `capacity` keys.
    fn resize(&mut self, number: u32, capacity: usize, facts: &impl Fn(Handle) -> Facts) {
        let Some(segment) = self.segments.get_mut(number) else { return };
        let before = segment.handles.allocation_size();
        segment.handles.shrink_to(capacity, |handle| facts(Handle(*handle)).hash);
        self.bytes = self.bytes - before + segment.handles.allocation_size();
    }

    /// Forgets the segments of a slot whose last key has gone.
    fn clear_slot(&mut self, slot: u16) {
        let mut prefix = Some(0);
        while let Some(number) = prefix.and_then(|prefix| self.segment_number(slot, prefix)) {
            let Some(segment) = self.segments.remove(number) else { break };
            self.bytes -= segment.handles.allocation_size();
            prefix = segment.next_prefix();
        }
        self.drop_directory(slot, EMPTY);
    }

    /// Sets the root of a slot, letting go of a directory that was there.
    fn drop_directory(&mut self, slot: u16, root: u32) {
        let before = std::mem::replace(&mut self.roots[usize::from(slot)], root);
        if before != EMPTY
            && before & DIRECTORY != 0
            && let Some(directory) = self.directories.remove(before & !DIRECTORY)
        {
            self.bytes -= directory.segments.len() * size_of::<u32>();
        }
    }
}
