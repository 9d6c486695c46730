//! Which clients want to hear of every change to keys with which prefixes (BCAST), whether they read them
//! or not.

use crate::backend::connection::ClientKey;
use std::collections::{BTreeMap, HashMap, HashSet};

/// See the module.
#[derive(Debug, Default)]
pub struct Prefixes {
    clients: HashMap<Box<[u8]>, HashSet<ClientKey>>,
    /// How many prefixes have this length: a key is compared with one prefix a length.
    lengths: BTreeMap<usize, usize>,
}

impl Prefixes {
    /// A client wants to hear of a prefix.
    pub fn add(&mut self, prefix: &[u8], client: ClientKey) {
        if let Some(clients) = self.clients.get_mut(prefix) {
            clients.insert(client);
            return;
        }
        *self.lengths.entry(prefix.len()).or_insert(0) += 1;
        self.clients.insert(prefix.into(), HashSet::from([client]));
    }

    /// It does not any more.
    pub fn remove(&mut self, prefix: &[u8], client: ClientKey) {
        let Some(clients) = self.clients.get_mut(prefix) else { return };
        clients.remove(&client);
        if !clients.is_empty() {
            return;
        }
        self.clients.remove(prefix);
        if let Some(count) = self.lengths.get_mut(&prefix.len()) {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&prefix.len());
            }
        }
    }

    /// The prefixes of a key that somebody wants to hear of.
    pub fn of<'k>(&self, key: &'k [u8]) -> impl Iterator<Item = &'k [u8]> {
        let lengths = self.lengths.keys().take_while(|length| **length <= key.len());
        lengths.filter_map(|length| key.get(..*length)).filter(|prefix| self.clients.contains_key(*prefix))
    }

    /// Who wants to hear of a prefix.
    pub fn clients(&self, prefix: &[u8]) -> impl Iterator<Item = ClientKey> {
        self.clients.get(prefix).into_iter().flatten().copied()
    }

    /// The fewest prefixes that stand for all of them, in order. Nodes refuse prefixes that overlap.
    pub fn cover(&self) -> Vec<Vec<u8>> {
        let mut all: Vec<&[u8]> = self.clients.keys().map(AsRef::as_ref).collect();
        // Behind a prefix in order come the ones that begin with it.
        all.sort_unstable();
        let mut cover: Vec<Vec<u8>> = Vec::new();
        for prefix in all {
            if !cover.last().is_some_and(|last| prefix.starts_with(last)) {
                cover.push(prefix.to_vec());
            }
        }
        cover
    }

    /// True if nobody wants anything.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(index: u32) -> ClientKey {
        ClientKey { index, generation: 1 }
    }

    #[test]
    fn keys_find_their_prefixes() {
        let mut prefixes = Prefixes::default();
        for (prefix, index) in [("user:", 1), ("user:1", 2), ("u", 3), ("", 4), ("user:", 5)] {
            prefixes.add(prefix.as_bytes(), client(index));
        }
        let of = |prefixes: &Prefixes, key: &str| -> Vec<String> {
            prefixes.of(key.as_bytes()).map(|prefix| String::from_utf8_lossy(prefix).into_owned()).collect()
        };
        assert_eq!(of(&prefixes, "user:17"), ["", "u", "user:", "user:1"]);
        assert_eq!(of(&prefixes, "us"), ["", "u"]);
        assert_eq!(of(&prefixes, ""), [""]);
        let mut clients: Vec<u32> = prefixes.clients(b"user:").map(|key| key.index).collect();
        clients.sort_unstable();
        assert_eq!(clients, [1, 5]);
        for (prefix, index) in [("", 4), ("u", 3), ("user:", 1), ("user:", 1), ("none", 1)] {
            prefixes.remove(prefix.as_bytes(), client(index));
        }
        assert_eq!(of(&prefixes, "user:17"), ["user:", "user:1"]);
        prefixes.remove(b"user:", client(5));
        prefixes.remove(b"user:1", client(2));
        assert!(prefixes.is_empty() && prefixes.lengths.is_empty());
    }

    #[test]
    fn the_cover_has_no_overlap() {
        let cover = |all: &[&str]| -> Vec<String> {
            let mut prefixes = Prefixes::default();
            all.iter().for_each(|prefix| prefixes.add(prefix.as_bytes(), client(1)));
            prefixes.cover().into_iter().map(|prefix| String::from_utf8(prefix).unwrap()).collect()
        };
        assert_eq!(cover(&[]), [""; 0]);
        assert_eq!(cover(&["b", "a"]), ["a", "b"]);
        assert_eq!(cover(&["ab", "a", "abc", "b", "ba"]), ["a", "b"]);
        assert_eq!(cover(&["ab", "", "b"]), [""]);
        assert_eq!(cover(&["a1", "a", "a0", "a-"]), ["a"]);
    }
}
