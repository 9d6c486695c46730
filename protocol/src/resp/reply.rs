//! Finds the end of a reply in a growing read buffer, RESP2 and RESP3 alike.
//!
//! The proxy forwards replies; it seldom needs to know what is in them. So the scanner keeps no
//! tree: an aggregate only adds to the number of values still expected, and the reply ends when
//! that number is zero. Depth therefore costs nothing and needs no limit. What has been scanned is
//! remembered between calls, so a large reply is scanned once.

use std::fmt;

/// Why the bytes are no reply. The connection that sent them cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// A value began with this byte.
    Type(u8),
    /// The number after a type byte is no number, or out of range.
    Length,
    /// A bulk string was not followed by CR LF.
    BulkEnd,
    /// The reply claims to be larger than the limit.
    TooLarge,
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplyError::Type(byte) => write!(f, "byte 0x{byte:02x} where a reply's type byte belongs"),
            ReplyError::Length => f.write_str("a reply's length is not a number within range"),
            ReplyError::BulkEnd => f.write_str("a bulk string in a reply does not end with CR LF"),
            ReplyError::TooLarge => f.write_str("a reply is larger than the limit"),
        }
    }
}

impl std::error::Error for ReplyError {}

/// Scans replies one after another. One scanner per connection.
#[derive(Clone, Debug, Default)]
pub struct ReplyScanner {
    /// Bytes of the current reply already scanned.
    at: usize,
    /// Values still expected; 0 = at the start of a reply.
    pending: u64,
    /// The end (behind CR LF) of a bulk string that is still arriving.
    bulk_end: Option<usize>,
    /// Up to here the line that is still arriving is known not to end.
    searched: usize,
}

/// A value takes at least this many bytes (`_\r\n`).
const VALUE_BYTES_MIN: u64 = 3;

/// No number within range has so many digits.
const LENGTH_DIGITS_MAX: usize = 20;

impl ReplyScanner {
    /// A scanner at the start of a reply.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks for the end of the reply that starts at `buf[0]`; the contract is that of
    /// [`super::RequestDecoder::next`]. `bytes_max` bounds one whole reply.
    #[inline]
    pub fn next(&mut self, buf: &[u8], bytes_max: usize) -> Result<Option<usize>, ReplyError> {
        // The common cases of a data path: one whole bulk string or one short line.
        if self.pending == 0 {
            self.at = 0;
            self.pending = 1;
        }
        if let Some(end) = self.bulk_end {
            if buf.len() < end {
                return Ok(None);
            }
            self.finish_bulk(buf, end)?;
        }
        while self.pending > 0 {
            let Some(&kind) = buf.get(self.at) else { return Ok(None) };
            match kind {
                b'$' | b'=' | b'!' => {
                    let Some((len, after)) = number_line(buf, self.at + 1)? else { return Ok(None) };
                    if len < 0 {
                        self.at = after;
                        self.pending -= 1;
                        continue;
                    }
                    let end = after.saturating_add(len as usize).saturating_add(2);
                    if end > bytes_max {
                        return Err(ReplyError::TooLarge);
                    }
                    if buf.len() < end {
                        self.bulk_end = Some(end);
                        return Ok(None);
                    }
                    self.finish_bulk(buf, end)?;
                }
                b'+' | b'-' | b':' | b'_' | b'#' | b',' | b'(' => {
                    let Some(end) = line_end(buf, self.searched.max(self.at + 1)) else {
                        // The last byte may be the CR of the line end.
                        self.searched = buf.len() - 1;
                        return if buf.len() > bytes_max { Err(ReplyError::TooLarge) } else { Ok(None) };
                    };
                    self.searched = 0;
                    self.at = end;
                    self.pending -= 1;
                }
                b'*' | b'~' | b'>' | b'%' | b'|' => {
                    let Some((count, after)) = number_line(buf, self.at + 1)? else { return Ok(None) };
                    let count = count.max(0) as u64;
                    self.at = after;
                    self.pending = match kind {
                        b'%' => self.pending - 1 + 2 * count,
                        // An attribute decorates the value that follows it.
                        b'|' => self.pending + 2 * count,
                        _ => self.pending - 1 + count,
                    };
                    // What cannot fit is refused now, not when it has arrived.
                    if self.pending.saturating_mul(VALUE_BYTES_MIN) > bytes_max.saturating_sub(after) as u64 {
                        return Err(ReplyError::TooLarge);
                    }
                }
                other => return Err(ReplyError::Type(other)),
            }
            if self.at > bytes_max {
                return Err(ReplyError::TooLarge);
            }
        }
        Ok(Some(self.at))
    }

    /// How many bytes beyond `have` the bulk string being waited for still needs, if known.
    pub fn missing(&self, have: usize) -> usize {
        self.bulk_end.map_or(0, |end| end.saturating_sub(have))
    }

    fn finish_bulk(&mut self, buf: &[u8], end: usize) -> Result<(), ReplyError> {
        if &buf[end - 2..end] != b"\r\n" {
            return Err(ReplyError::BulkEnd);
        }
        self.bulk_end = None;
        self.at = end;
        self.pending -= 1;
        Ok(())
    }
}

/// The elements of an aggregate reply that is wholly in `reply`: each item is one element's bytes.
///
/// `None` if `reply` is no aggregate (an error, a null array, a plain value).
pub fn elements(reply: &[u8]) -> Option<Elements<'_>> {
    if !matches!(reply.first(), Some(b'*' | b'~' | b'>' | b'%')) {
        return None;
    }
    let (count, at) = number_line(reply, 1).ok()??;
    let per = if reply[0] == b'%' { 2 } else { 1 };
    let left = usize::try_from(count).ok()? * per;
    Some(Elements { rest: &reply[at..], left })
}

/// See [`elements`].
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.left == 0 {
            return None;
        }
        let len = ReplyScanner::new().next(self.rest, usize::MAX).ok()??;
        let (element, rest) = self.rest.split_at(len);
        self.rest = rest;
        self.left -= 1;
        Some(element)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // The count is a claim: nothing may be reserved on its strength alone.
        (0, Some(self.left.min(self.rest.len() / VALUE_BYTES_MIN as usize)))
    }
}

/// The payload of a bulk, simple string or number reply that is wholly in `reply`: what stands
/// between its head and its line end. `None` for nulls, aggregates and errors.
pub fn payload(reply: &[u8]) -> Option<&[u8]> {
    match reply.first()? {
        b'$' => {
            let (len, at) = number_line(reply, 1).ok()??;
            reply.get(at..at + usize::try_from(len).ok()?)
        }
        // A verbatim string carries its format in the first four bytes.
        b'=' => {
            let (len, at) = number_line(reply, 1).ok()??;
            reply.get(at + 4..at + usize::try_from(len).ok()?)
        }
        b'+' | b':' | b',' | b'(' => reply.get(1..reply.len().checked_sub(2)?),
        _ => None,
    }
}

/// The number of an integer reply (`:12\r\n`).
pub fn integer(reply: &[u8]) -> Option<i64> {
    if reply.first() != Some(&b':') {
        return None;
    }
    std::str::from_utf8(payload(reply)?).ok()?.parse().ok()
}

/// The place behind the CR LF that ends the line `buf[from..]`. A lone CR or LF belongs to the line,
/// as it does for client libraries: where they see another end of a reply than we do, replies would
/// reach the wrong client.
#[inline]
fn line_end(buf: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let newline = at + memchr::memchr(b'\n', buf.get(at..)?)?;
        if newline > from && buf[newline - 1] == b'\r' {
            return Some(newline + 1);
        }
        at = newline + 1;
    }
}

/// Reads the length that stands at `buf[at..]` up to CR LF: -1 (null) or a number below 2^32. Gives
/// it and the place behind the line end.
#[inline]
fn number_line(buf: &[u8], at: usize) -> Result<Option<(i64, usize)>, ReplyError> {
    // The common cases first: most lengths have one digit, or two.
    match buf.get(at..) {
        Some([ones @ b'0'..=b'9', b'\r', b'\n', ..]) => Ok(Some((i64::from(ones - b'0'), at + 3))),
        Some([tens @ b'0'..=b'9', ones @ b'0'..=b'9', b'\r', b'\n', ..]) => {
            Ok(Some((i64::from(tens - b'0') * 10 + i64::from(ones - b'0'), at + 4)))
        }
        rest => {
            long_number_line(rest.unwrap_or_default()).map(|line| line.map(|(value, len)| (value, at + len)))
        }
    }
}

fn long_number_line(line: &[u8]) -> Result<Option<(i64, usize)>, ReplyError> {
    const NULL: &[u8] = b"-1\r\n";
    if line.first() == Some(&b'-') {
        return match line.get(..NULL.len()) {
            Some(NULL) => Ok(Some((-1, NULL.len()))),
            None if NULL.starts_with(line) => Ok(None),
            _ => Err(ReplyError::Length),
        };
    }
    let mut value: i64 = 0;
    for (nth, &byte) in line.iter().enumerate() {
        match byte {
            b'0'..=b'9' if nth < LENGTH_DIGITS_MAX => {
                value = value * 10 + i64::from(byte - b'0');
                if value > i64::from(u32::MAX) {
                    return Err(ReplyError::Length);
                }
            }
            b'\r' if nth > 0 => {
                return match line.get(nth + 1) {
                    None => Ok(None),
                    Some(b'\n') => Ok(Some((value, nth + 2))),
                    Some(_) => Err(ReplyError::Length),
                };
            }
            _ => return Err(ReplyError::Length),
        }
    }
    Ok(None)
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
