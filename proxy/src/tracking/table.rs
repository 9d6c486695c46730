//! Which clients of a worker have read which keys, and may keep their values.
//!
//! An entry is used once: whoever is told that a key has changed must read it again to be told again.
//! What is noted is bounded; beyond, the key noted first is given up, and its readers are told to forget
//! it. Clients that left stay noted until then; nobody hears of it.

use crate::backend::connection::ClientKey;
use slab::Slab;
use std::collections::HashMap;
use std::rc::Rc;

/// Bounds of a table.
#[derive(Clone, Copy, Debug)]
pub struct TableLimits {
    /// Readers of all keys together.
    pub readers_max: usize,
    /// Bytes of all keys together.
    pub bytes_max: usize,
}

#[derive(Debug)]
struct Entry {
    key: Rc<[u8]>,
    /// In ascending order, each once.
    readers: Vec<ClientKey>,
    older: usize,
    newer: usize,
}

/// No entry.
const NONE: usize = usize::MAX;

/// See the module.
#[derive(Debug)]
pub struct Table {
    by_key: HashMap<Rc<[u8]>, usize>,
    /// A list from the oldest to the newest.
    entries: Slab<Entry>,
    oldest: usize,
    newest: usize,
    readers: usize,
    bytes: usize,
}

impl Default for Table {
    fn default() -> Table {
        Table {
            by_key: HashMap::new(),
            entries: Slab::new(),
            oldest: NONE,
            newest: NONE,
            readers: 0,
            bytes: 0,
        }
    }
}

impl Table {
    /// Notes that a client reads a key.
    pub fn note(&mut self, key: &[u8], reader: ClientKey) {
        let id = match self.by_key.get(key) {
            Some(id) => *id,
            None => self.insert(key),
        };
        let Some(entry) = self.entries.get_mut(id) else { return };
        if let Err(place) = entry.readers.binary_search_by_key(&order(reader), |known| order(*known)) {
            entry.readers.insert(place, reader);
            self.readers += 1;
        }
    }

    fn insert(&mut self, key: &[u8]) -> usize {
        let key: Rc<[u8]> = key.into();
        self.bytes += key.len();
        let entry = Entry { key: key.clone(), readers: Vec::new(), older: self.newest, newer: NONE };
        let id = self.entries.insert(entry);
        match self.entries.get_mut(self.newest) {
            Some(before) => before.newer = id,
            None => self.oldest = id,
        }
        self.newest = id;
        self.by_key.insert(key, id);
        id
    }

    /// Takes out who has read a key; nobody if nobody has.
    pub fn take(&mut self, key: &[u8]) -> Vec<ClientKey> {
        let Some(id) = self.by_key.remove(key) else { return Vec::new() };
        self.remove(id).map_or_else(Vec::new, |entry| entry.readers)
    }

    /// Takes out the oldest key if there is more than may be, with its readers.
    pub fn take_excess(&mut self, limits: &TableLimits) -> Option<(Rc<[u8]>, Vec<ClientKey>)> {
        if self.readers <= limits.readers_max && self.bytes <= limits.bytes_max {
            return None;
        }
        let entry = self.remove(self.oldest)?;
        self.by_key.remove(&entry.key);
        Some((entry.key, entry.readers))
    }

    fn remove(&mut self, id: usize) -> Option<Entry> {
        let entry = self.entries.try_remove(id)?;
        match self.entries.get_mut(entry.older) {
            Some(older) => older.newer = entry.newer,
            None => self.oldest = entry.newer,
        }
        match self.entries.get_mut(entry.newer) {
            Some(newer) => newer.older = entry.older,
            None => self.newest = entry.older,
        }
        self.readers -= entry.readers.len();
        self.bytes -= entry.key.len();
        Some(entry)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Table::default();
    }

    /// How many keys are noted.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if none is.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn order(key: ClientKey) -> (u32, u32) {
    (key.index, key.generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: TableLimits = TableLimits { readers_max: 100, bytes_max: 1000 };

    fn client(index: u32) -> ClientKey {
        ClientKey { index, generation: 1 }
    }

    #[test]
    fn an_entry_is_used_once() {
        let mut table = Table::default();
        for index in [2, 1, 2, 3, 1] {
            table.note(b"k", client(index));
        }
        table.note(b"l", client(1));
        assert_eq!(table.len(), 2);
        assert_eq!(table.take(b"k"), [client(1), client(2), client(3)]);
        assert!(table.take(b"k").is_empty() && table.take(b"none").is_empty());
        assert_eq!(table.take(b"l"), [client(1)]);
        assert!(table.is_empty());
        assert_eq!((table.readers, table.bytes, table.oldest, table.newest), (0, 0, NONE, NONE));
    }

    #[test]
    fn the_oldest_goes_first() {
        let mut table = Table::default();
        for key in ["a", "b", "c", "d"] {
            table.note(key.as_bytes(), client(1));
        }
        // Out of the middle, and from both ends.
        table.take(b"b");
        assert!(table.take_excess(&WIDE).is_none());
        let narrow = TableLimits { readers_max: 2, ..WIDE };
        let (key, readers) = table.take_excess(&narrow).unwrap();
        assert_eq!((&*key, readers), (&b"a"[..], vec![client(1)]));
        assert!(table.take_excess(&narrow).is_none());
        table.note(b"c", client(2));
        assert_eq!(&*table.take_excess(&narrow).unwrap().0, b"c", "readers count, not keys alone");
        table.note(b"long key", client(1));
        let short = TableLimits { bytes_max: 8, ..WIDE };
        assert_eq!(&*table.take_excess(&short).unwrap().0, b"d");
        assert!(table.take_excess(&short).is_none());
        table.clear();
        assert_eq!((table.len(), table.take(b"long key").len()), (0, 0));
    }
}
