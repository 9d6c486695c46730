//! Numbered places for values of one type, in chunks: growing adds a chunk and moves nothing, so
//! that no single insertion pays for all that came before.

const CHUNK_BITS: u32 = 7;
const CHUNK: usize = 1 << CHUNK_BITS;
const NONE: u32 = u32::MAX;

#[derive(Debug)]
enum Place<T> {
    Taken(T),
    /// Vacant; the next vacant place behind it.
    Vacant(u32),
}

/// See the module.
#[derive(Debug)]
pub struct Arena<T> {
    chunks: Vec<Vec<Place<T>>>,
    vacant: u32,
    taken: usize,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Arena { chunks: Vec::new(), vacant: NONE, taken: 0 }
    }
}

impl<T> Arena<T> {
    /// Puts a value in and gives its number. `None` when 2^31 values are in.
    pub fn insert(&mut self, value: T) -> Option<u32> {
        let number = self.vacant;
        if let Some(place) = self.place_mut(number) {
            if let Place::Vacant(next) = std::mem::replace(place, Place::Taken(value)) {
                self.vacant = next;
            }
            self.taken += 1;
            return Some(number);
        }
        let chunks = self.chunks.len();
        let needs_chunk = self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK);
        if needs_chunk {
            if chunks >= 1 << (31 - CHUNK_BITS) {
                return None;
            }
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let last = self.chunks.len() - 1;
        let chunk = &mut self.chunks[last];
        chunk.push(Place::Taken(value));
        self.taken += 1;
        Some((last * CHUNK + chunk.len() - 1) as u32)
    }

    /// The value of this number, if there is one.
    #[inline]
    pub fn get(&self, number: u32) -> Option<&T> {
        match self.chunks.get((number >> CHUNK_BITS) as usize)?.get(number as usize % CHUNK)? {
            Place::Taken(value) => Some(value),
            Place::Vacant(_) => None,
        }
    }

    /// As [`Self::get`], to be changed.
    #[inline]
    pub fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        match self.place_mut(number)? {
            Place::Taken(value) => Some(value),
            Place::Vacant(_) => None,
        }
    }

    /// Takes a value out; its number may be given to another.
    pub fn remove(&mut self, number: u32) -> Option<T> {
        let vacant = self.vacant;
        let place = self.place_mut(number)?;
        if matches!(place, Place::Vacant(_)) {
            return None;
        }
        let Place::Taken(value) = std::mem::replace(place, Place::Vacant(vacant)) else { return None };
        self.vacant = number;
        self.taken -= 1;
        Some(value)
    }

    /// How many values are in.
    pub fn len(&self) -> usize {
        self.taken
    }

    /// Bytes of the chunks themselves, without what the values own elsewhere.
    pub fn bytes_held(&self) -> usize {
        self.chunks.len() * CHUNK * std::mem::size_of::<Place<T>>()
            + self.chunks.capacity() * std::mem::size_of::<Vec<Place<T>>>()
    }

    #[inline]
    fn place_mut(&mut self, number: u32) -> Option<&mut Place<T>> {
        self.chunks.get_mut((number >> CHUNK_BITS) as usize)?.get_mut(number as usize % CHUNK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_again_and_values_stay() {
        let mut arena = Arena::default();
        let numbers: Vec<u32> = (0..1000).map(|value| arena.insert(value).unwrap()).collect();
        assert_eq!(numbers[999], 999);
        assert_eq!(arena.remove(5), Some(5));
        assert_eq!(arena.remove(5), None);
        assert_eq!(arena.get(5), None);
        assert_eq!(arena.remove(700), Some(700));
        assert_eq!(arena.len(), 998);
        assert_eq!(arena.insert(7000), Some(700));
        assert_eq!(arena.insert(50), Some(5));
        assert_eq!(arena.insert(1000), Some(1000));
        assert_eq!(arena.get(700), Some(&7000));
        assert_eq!(arena.get(u32::MAX), None);
        *arena.get_mut(5).unwrap() += 1;
        assert_eq!(arena.get(5), Some(&51));
    }
}
