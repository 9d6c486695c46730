//! The most recent bytes of the effect stream, by their offset.
//!
//! Kept in chunks of one size, so that an offset names its place by arithmetic, nothing is moved
//! when the stream grows, and old chunks are used again for new bytes.

use std::collections::VecDeque;

const CHUNK_BYTES: usize = 64 * 1024;

/// See the module.
#[derive(Debug, Default)]
pub struct Backlog {
    /// All but the last are full.
    chunks: VecDeque<Vec<u8>>,
    /// The offset of the first byte of the first chunk.
    start: u64,
    /// The offset behind the last byte.
    end: u64,
    /// A chunk to use again.
    spare: Option<Vec<u8>>,
}

impl Backlog {
    /// The offset of the first byte still here.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The offset behind the last byte.
    #[inline]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// True if the stream can be read on from `offset`.
    pub fn reaches(&self, offset: u64) -> bool {
        (self.start..=self.end).contains(&offset)
    }

    /// Adds bytes at the end.
    pub fn append(&mut self, mut bytes: &[u8]) {
        self.end += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = match self.chunks.back() {
                Some(chunk) => CHUNK_BYTES - chunk.len(),
                None => 0,
            };
            if room == 0 {
                self.chunks.push_back(self.spare.take().unwrap_or_else(|| Vec::with_capacity(CHUNK_BYTES)));
                continue;
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            if let Some(chunk) = self.chunks.back_mut() {
                chunk.extend_from_slice(now);
            }
            bytes = later;
        }
    }

    /// Some bytes from `offset` on: up to the end of a chunk. Empty at the end of the stream and for
    /// an offset that is not here.
    pub fn read(&self, offset: u64) -> &[u8] {
        let Some(distance) = offset.checked_sub(self.start) else { return &[] };
        let distance = distance as usize;
        let Some(chunk) = self.chunks.get(distance / CHUNK_BYTES) else { return &[] };
        chunk.get(distance % CHUNK_BYTES..).unwrap_or_default()
    }

    /// Forgets whole chunks before `offset`.
    pub fn trim(&mut self, offset: u64) {
        while self.start + CHUNK_BYTES as u64 <= offset {
            let Some(mut chunk) = self.chunks.pop_front() else { return };
            self.start += chunk.len() as u64;
            chunk.clear();
            self.spare = Some(chunk);
        }
    }

    /// Bytes of memory held.
    pub fn bytes_held(&self) -> usize {
        (self.chunks.len() + usize::from(self.spare.is_some())) * CHUNK_BYTES
    }

    /// Bytes of the stream that are here.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(backlog: &Backlog, from: u64) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let part = backlog.read(from + all.len() as u64);
            if part.is_empty() {
                return all;
            }
            all.extend_from_slice(part);
        }
    }

    #[test]
    fn any_offset_that_is_here_reads_on() {
        let mut backlog = Backlog::default();
        let mut stream = Vec::new();
        for number in 0..40_000u32 {
            let bytes = format!("effect {number};");
            backlog.append(bytes.as_bytes());
            stream.extend_from_slice(bytes.as_bytes());
        }
        assert_eq!(backlog.end(), stream.len() as u64);
        for from in [0, 1, 65_535, 65_536, 65_537, stream.len() - 1, stream.len()] {
            assert!(backlog.reaches(from as u64));
            assert_eq!(read_all(&backlog, from as u64), &stream[from..]);
        }
        assert!(!backlog.reaches(stream.len() as u64 + 1));
        backlog.trim(200_000);
        assert_eq!(backlog.start(), 3 * 65_536);
        assert!(!backlog.reaches(3 * 65_536 - 1));
        assert_eq!(backlog.read(0), b"");
        assert_eq!(read_all(&backlog, 200_000), &stream[200_000..]);
        backlog.trim(u64::MAX);
        assert_eq!((backlog.start(), backlog.end()), (stream.len() as u64, stream.len() as u64));
        backlog.append(b"more");
        assert_eq!(read_all(&backlog, stream.len() as u64), b"more");
    }

    #[test]
    fn large_pieces_span_chunks() {
        let mut backlog = Backlog::default();
        let piece: Vec<u8> = (0..300_000).map(|place| (place % 251) as u8).collect();
        backlog.append(b"x");
        backlog.append(&piece);
        assert_eq!(read_all(&backlog, 1), piece);
    }
}
