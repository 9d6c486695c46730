//! How a primary speaks to a replica, once the handshake is done.
//!
//! Every message carries the shard epoch and a sequence number, so that a replica can refuse what comes
//! from the past and notice what is missing:
//!
//! ```text
//! | kind | 0 0 0 | length (u32) | epoch (u64) | offset (u64) | payload ... |      little-endian
//! ```

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 24;
/// The most a payload may be; a longer one is a mistake or a stranger.
pub const PAYLOAD_MAX: usize = 1 << 31;

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Commands that make up the copy; its offset means nothing.
    Copy,
    /// The copy is complete: the stream goes on from the offset.
    CopyEnd,
    /// A part of the effect stream, beginning at the offset. It may begin and end within a command.
    Stream,
    /// Nothing but the news that the primary is there, and how far its stream is.
    Heartbeat,
}

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the message is.
    pub kind: Kind,
    /// The primary's shard epoch.
    pub epoch: u64,
    /// See [`Kind`].
    pub offset: u64,
    /// Bytes of the payload.
    pub length: usize,
}

impl Header {
    /// Its bytes.
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let kind = match self.kind {
            Kind::Copy => b'C',
            Kind::CopyEnd => b'E',
            Kind::Stream => b'S',
            Kind::Heartbeat => b'H',
        };
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = kind;
        bytes[4..8].copy_from_slice(&(self.length as u32).to_le_bytes());
        bytes[8..16].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.offset.to_le_bytes());
        bytes
    }

    /// Reads it from the beginning of `bytes`. `Ok(None)` if there are too few.
    pub fn read(bytes: &[u8]) -> Result<Option<Header>, String> {
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let kind = match bytes[0] {
            b'C' => Kind::Copy,
            b'E' => Kind::CopyEnd,
            b'S' => Kind::Stream,
            b'H' => Kind::Heartbeat,
            other => return Err(format!("a message of the unknown kind 0x{other:02x}")),
        };
        let number = |at: usize| bytes[at..].first_chunk().map_or(0, |part| u64::from_le_bytes(*part));
        let length = (number(4) & u64::from(u32::MAX)) as usize;
        if length > PAYLOAD_MAX || bytes[1..4] != [0, 0, 0] {
            return Err(format!("a message that claims {length} bytes"));
        }
        Ok(Some(Header { kind, epoch: number(8), offset: number(16), length }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_read_back() {
        for kind in [Kind::Copy, Kind::CopyEnd, Kind::Stream, Kind::Heartbeat] {
            let header = Header { kind, epoch: 3, offset: u64::MAX - 1, length: 70_000 };
            let bytes = header.to_bytes();
            assert_eq!(Header::read(&bytes), Ok(Some(header)));
            assert_eq!(Header::read(&bytes[..HEADER_BYTES - 1]), Ok(None));
        }
        assert!(Header::read(&[b'-'; HEADER_BYTES]).is_err());
        assert!(Header::read(&[b'S'; HEADER_BYTES]).is_err());
    }
}
