//! The key space: every key of a node, its value and its expiry.
//!
//! [`table`] finds entries, [`entry`] knows how they lie in memory, [`slab`] gives them room. What
//! stands here joins the three and keeps their books: how many keys expire, how much memory is
//! held. It knows no commands, no clients and no clock: the time is always an argument.

mod arena;
mod census;
mod dropper;
pub mod entry;
mod expire;
pub mod siphash;
pub mod slab;
pub mod table;
mod walk;

pub use entry::{Encoding, Payload, Value};
pub use slab::{Full, Handle};
pub use table::Place;
pub use walk::Cursor;

use dropper::Dropper;
use entry::Entries;
use expire::Sweep;
use pointsman_protocol::Slot;
use std::hint::black_box;
use table::{Facts, Table};

/// Keys that [`Keyspace::warm`] takes a step with at once: about as many loads as a core keeps under way.
const WARM_AT_ONCE: usize = 32;

/// See the module.
#[derive(Debug)]
pub struct Keyspace {
    secret: siphash::Key,
    table: Table,
    entries: Entries,
    /// How many entries have an expiry.
    expiring: u64,
    sweep: Sweep,
    /// Seconds modulo 2^24: what entries that are used now are stamped with.
    clock: u32,
    dropper: Dropper,
}

impl Keyspace {
    /// An empty key space that hashes with `secret`, which no client may know.
    pub fn new(secret: siphash::Key) -> Keyspace {
        Keyspace {
            secret,
            table: Table::default(),
            entries: Entries::default(),
            expiring: 0,
            sweep: Sweep::default(),
            clock: 0,
            dropper: Dropper::default(),
        }
    }

    /// Where a key belongs.
    #[inline]
    pub fn place(&self, key: &[u8]) -> Place {
        Place { slot: Slot::of(key).number(), hash: siphash::hash(self.secret, key) }
    }

    /// The entry of a key, expired or not.
    #[inline]
    pub fn find(&self, place: Place, key: &[u8]) -> Option<Handle> {
        self.table.find(place, |handle| self.entries.key_is(handle, key))
    }

    /// Loads what [`Self::find`] will need for these keys into the cache: the segments of all of them,
    /// then the places in their tables, then the entries. The loads of one step do not depend on each
    /// other, so the processor overlaps them; the few instructions of each let many be under way at
    /// once. What it returns has no meaning but must be used, lest the loads be optimised away.
    pub fn warm(&self, places: &[Place]) -> usize {
        let mut met = 0;
        for places in places.chunks(WARM_AT_ONCE) {
            met += places.iter().map(|place| self.table.warm(*place)).sum::<usize>();
            let mut handles = [None; WARM_AT_ONCE];
            for (handle, place) in handles.iter_mut().zip(places) {
                *handle = self.table.find(*place, |_| true);
            }
            met += handles.iter().flatten().filter(|handle| self.entries.warm(**handle)).count();
        }
        met
    }

    /// The key of an entry.
    #[inline]
    pub fn key(&self, handle: Handle) -> &[u8] {
        self.entries.key(handle)
    }

    /// The string of an entry.
    #[inline]
    pub fn bytes(&self, handle: Handle) -> &[u8] {
        self.entries.bytes(handle)
    }

    /// How the string is said to be kept.
    pub fn encoding(&self, handle: Handle) -> Encoding {
        self.entries.encoding(handle)
    }

    /// When the entry expires, in milliseconds since 1970, if it does.
    #[inline]
    pub fn expire_at(&self, handle: Handle) -> Option<u64> {
        self.entries.expire_at(handle)
    }

    /// Seconds since the entry was last used.
    pub fn idle_s(&self, handle: Handle) -> u32 {
        self.clock.wrapping_sub(self.entries.clock(handle)) & entry::CLOCK_MASK
    }

    /// Tells the time, in milliseconds since 1970, for stamping the entries used from now on.
    pub fn set_clock(&mut self, now_ms: u64) {
        self.clock = (now_ms / 1000) as u32 & entry::CLOCK_MASK;
    }

    /// Stamps an entry as used now.
    #[inline]
    pub fn touch(&mut self, handle: Handle) {
        self.entries.touch(handle, self.clock);
    }

    /// Sets a key to a value and an expiry, whatever it was before.
    #[inline]
    pub fn put(
        &mut self,
        place: Place,
        key: &[u8],
        payload: Payload<'_>,
        encoding: Encoding,
        expire_at: Option<u64>,
    ) -> Result<(), Full> {
        let old = self.find(place, key);
        self.put_over(old, place, key, payload, encoding, expire_at)
    }

    /// As [`Self::put`], for who knows what [`Self::find`] gives at present.
    #[inline]
    pub fn put_over(
        &mut self,
        old: Option<Handle>,
        place: Place,
        key: &[u8],
        payload: Payload<'_>,
        encoding: Encoding,
        expire_at: Option<u64>,
    ) -> Result<(), Full> {
        let Some(old) = old else {
            let new = self.entries.create(key, payload, encoding, expire_at, self.clock)?;
            if let Some(segment) = self.table.about_to_split(place) {
                // Independent loads first, as in `warm`: this is the longest pause that growing makes.
                black_box(segment.handles().filter(|handle| self.entries.warm(*handle)).count());
            }
            let due = expire_at.unwrap_or(u64::MAX);
            if let Err(full) = self.table.insert(place, new, due, facts(&self.entries, self.secret)) {
                self.entries.remove(new);
                return Err(full);
            }
            if let Some(at) = expire_at {
                self.expiring += 1;
                self.sweep.note(at);
            }
            return Ok(());
        };
        let had = self.entries.expire_at(old).is_some();
        let overwritten = match &payload {
            Payload::Slice(bytes) => self.entries.overwrite(old, key, bytes, encoding, expire_at, self.clock),
            Payload::Value(_) => false,
        };
        if !overwritten {
            let new = self.entries.create(key, payload, encoding, expire_at, self.clock)?;
            self.table.replace(place, old, new, expire_at.unwrap_or(u64::MAX));
            let outside = self.entries.remove(old);
            self.dropper.free_outside(outside);
        }
        self.account_expiry(place, had, expire_at);
        Ok(())
    }

    /// Changes a string where it is, if it is of a kind that can be (large ones). `None` if not: then
    /// [`Self::put`] the changed string.
    pub fn change<R>(&mut self, handle: Handle, change: impl FnOnce(&mut Vec<u8>) -> R) -> Option<R> {
        let result = self.entries.change_outside(handle, change)?;
        self.entries.touch(handle, self.clock);
        Some(result)
    }

    /// Sets or removes the expiry of an entry, which may move it.
    pub fn set_expiry(&mut self, place: Place, handle: Handle, expire_at: Option<u64>) -> Result<(), Full> {
        let had = self.entries.expire_at(handle).is_some();
        let moved = self.entries.change_expiry(handle, expire_at)?;
        if moved != handle {
            self.table.replace(place, handle, moved, u64::MAX);
        }
        self.account_expiry(place, had, expire_at);
        Ok(())
    }

    /// Removes an entry.
    pub fn remove(&mut self, place: Place, handle: Handle) {
        let had = self.entries.expire_at(handle).is_some();
        self.table.remove(place, handle, facts(&self.entries, self.secret));
        let outside = self.entries.remove(handle);
        self.dropper.free_outside(outside);
        self.expiring -= u64::from(had);
    }

    /// Removes an entry and gives its value.
    pub fn take(&mut self, place: Place, handle: Handle) -> Value {
        let had = self.entries.expire_at(handle).is_some();
        self.table.remove(place, handle, facts(&self.entries, self.secret));
        self.expiring -= u64::from(had);
        self.entries.take(handle)
    }

    /// Removes everything; the memory is freed elsewhere.
    pub fn clear(&mut self) {
        let table = std::mem::take(&mut self.table);
        let entries = std::mem::take(&mut self.entries);
        self.dropper.free_everything(table, entries);
        self.expiring = 0;
        self.sweep = Sweep::default();
    }

    /// How many keys there are, expired ones included.
    #[inline]
    pub fn len(&self) -> u64 {
        self.table.census().total()
    }

    /// How many of them have an expiry.
    pub fn expiring(&self) -> u64 {
        self.expiring
    }

    /// How many keys a slot has, expired ones included.
    pub fn keys_in_slot(&self, slot: u16) -> u32 {
        self.table.census().of(slot)
    }

    /// An entry drawn at random; `random` gives a number below its argument.
    pub fn draw(&self, random: impl FnMut(u64) -> u64) -> Option<Handle> {
        self.table.draw(random)
    }

    /// Bytes of memory held for keys and values, with all that finding them takes.
    pub fn bytes_held(&self) -> usize {
        self.table.bytes_held() + self.entries.bytes_held()
    }

    /// Bytes of that which entries use.
    pub fn bytes_live(&self) -> usize {
        self.entries.bytes_live()
    }

    #[inline]
    fn account_expiry(&mut self, place: Place, had: bool, expire_at: Option<u64>) {
        if let Some(at) = expire_at {
            self.table.note_expiry(place, at);
            self.sweep.note(at);
        }
        self.expiring = self.expiring + u64::from(expire_at.is_some()) - u64::from(had);
    }
}

/// What the table asks about entries.
fn facts(entries: &Entries, secret: siphash::Key) -> impl Fn(Handle) -> Facts + '_ {
    move |handle| Facts {
        hash: siphash::hash(secret, entries.key(handle)),
        expire_at: entries.expire_at(handle).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
#[path = "growth_tests.rs"]
mod growth_tests;
#[cfg(test)]
#[path = "keyspace_tests.rs"]
mod tests;
