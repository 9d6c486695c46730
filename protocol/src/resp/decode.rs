//! Finds whole requests in a growing read buffer, without copying and without trust.
//!
//! A request is an array of bulk strings (`*2\r\n$3\r\nGET\r\n$1\r\nk\r\n`) or an inline line
//! (`GET k\r\n`, see `inline.rs`). The decoder is told the bytes from the first byte of the
//! next request on. It either finds the end, asks for more, or refuses. What it has scanned it
//! remembers, so a large request that arrives in many reads is scanned once: its cost is linear in
//! its size, however the network cuts it.
//!
//! Lengths are claims: nothing is reserved on their strength (see [`RequestDecoder::missing`] for
//! the bounded hint).

use super::args::{ArgRange, Args};
use super::inline;
use super::limits::RequestLimits;
use std::fmt;

/// Why the bytes are no request. The connection that sent them cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// The number after `*` is no number, or above the limit.
    ArrayLength,
    /// The number after `$` is no number, negative, or above the limit.
    BulkLength,
    /// An argument began with this byte instead of `$`.
    ExpectedBulk(u8),
    /// An argument was not followed by CR LF.
    BulkEnd,
    /// A length line went on and on.
    LengthLine,
    /// An inline request without a line end within the limit.
    InlineTooLong,
    /// An inline request whose quotes do not match.
    InlineQuotes,
    /// The request as a whole is above the limit.
    RequestTooLarge,
}

impl fmt::Display for ProtocolError {
    // The texts are Redis' own where Redis has one: client libraries match on them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Protocol error: ")?;
        match self {
            ProtocolError::ArrayLength => f.write_str("invalid multibulk length"),
            ProtocolError::BulkLength => f.write_str("invalid bulk length"),
            ProtocolError::ExpectedBulk(got) => {
                let shown = if got.is_ascii_graphic() { *got as char } else { '?' };
                write!(f, "expected '$', got '{shown}'")
            }
            ProtocolError::BulkEnd => f.write_str("expected CRLF after bulk"),
            ProtocolError::LengthLine => f.write_str("too big mbulk count string"),
            ProtocolError::InlineTooLong => f.write_str("too big inline request"),
            ProtocolError::InlineQuotes => f.write_str("unbalanced quotes in request"),
            ProtocolError::RequestTooLarge => f.write_str("request too large"),
        }
    }
}

impl std::error::Error for ProtocolError {}

/// No number within range has so many digits.
const LENGTH_DIGITS_MAX: usize = 32;

/// Scans requests one after another. One decoder per connection.
#[derive(Debug, Default)]
pub struct RequestDecoder {
    ranges: Vec<ArgRange>,
    /// Bytes of the current request already scanned; of an inline one, those known to hold no line
    /// end.
    at: usize,
    /// Arguments still to come; `None` while the head has not been read.
    left: Option<u32>,
    /// The argument being waited for: its length, once its `$` line has been read.
    bulk: Option<u32>,
    /// An inline request's arguments, unquoted (rare: people typing, and load checkers).
    inline_bytes: Option<Vec<u8>>,
    /// True when the last `next` returned a request, so the following call starts afresh.
    done: bool,
}

impl RequestDecoder {
    /// A decoder at the start of a request.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks for the end of the request that starts at `buf[0]`.
    ///
    /// `Ok(Some(len))`: a whole request of `len` bytes; [`Self::args`] gives its arguments, and the
    /// next call must get the bytes behind it. `Ok(None)`: incomplete; call again with the same
    /// bytes and more behind them. A request without arguments (`*0`, an empty line) is returned
    /// with no arguments: Redis ignores it.
    #[inline]
    pub fn next(&mut self, buf: &[u8], limits: &RequestLimits) -> Result<Option<usize>, ProtocolError> {
        if self.done {
            self.reset();
        }
        let mut left = match self.left {
            Some(left) => left,
            None => {
                let Some(&first) = buf.first() else { return Ok(None) };
                if first != b'*' {
                    return self.next_inline(buf, limits);
                }
                let Some((count, at)) = length_line(buf, 1, ProtocolError::ArrayLength)? else {
                    return Ok(None);
                };
                if count > i64::from(limits.args_max) {
                    return Err(ProtocolError::ArrayLength);
                }
                self.at = at;
                let count = count.max(0) as u32;
                self.left = Some(count);
                count
            }
        };
        let mut at = self.at;
        while left > 0 {
            let len = match self.bulk {
                Some(len) => len,
                None => {
                    match buf.get(at) {
                        None => return self.wait(at, left),
                        Some(b'$') => {}
                        Some(&other) => return Err(ProtocolError::ExpectedBulk(other)),
                    }
                    let Some((len, after)) = length_line(buf, at + 1, ProtocolError::BulkLength)? else {
                        return self.wait(at, left);
                    };
                    if len < 0 || len > i64::from(limits.bulk_bytes_max) {
                        return Err(ProtocolError::BulkLength);
                    }
                    at = after;
                    len as u32
                }
            };
            let end = at + len as usize;
            if end + 2 > limits.request_bytes_max as usize {
                return Err(ProtocolError::RequestTooLarge);
            }
            match buf.get(end..end + 2) {
                Some(b"\r\n") => {}
                Some(_) => return Err(ProtocolError::BulkEnd),
                None => {
                    self.bulk = Some(len);
                    return self.wait(at, left);
                }
            }
            self.bulk = None;
            self.ranges.push(ArgRange { start: at as u32, len });
            at = end + 2;
            left -= 1;
        }
        self.done = true;
        Ok(Some(at))
    }

    /// The arguments of the request that [`Self::next`] returned last; `frame` is that request's
    /// bytes (or any buffer that begins with them).
    #[inline]
    pub fn args<'a>(&'a self, frame: &'a [u8]) -> Args<'a> {
        Args::new(self.inline_bytes.as_deref().unwrap_or(frame), &self.ranges)
    }

    /// True if the last request came inline: its bytes cannot be forwarded as they are, they must
    /// be encoded from the arguments.
    #[inline]
    pub fn was_inline(&self) -> bool {
        self.inline_bytes.is_some()
    }

    /// How many bytes beyond `have` the argument being waited for still needs, if known. A claim of
    /// the peer: bound it before reserving memory.
    pub fn missing(&self, have: usize) -> usize {
        match self.bulk {
            Some(len) if !self.done => (self.at + len as usize + 2).saturating_sub(have),
            _ => 0,
        }
    }

    /// Forgets a request half scanned.
    pub fn reset(&mut self) {
        self.ranges.clear();
        self.at = 0;
        self.left = None;
        self.bulk = None;
        self.inline_bytes = None;
        self.done = false;
    }

    /// Lets go of memory that one large request made the decoder keep.
    pub fn shrink(&mut self, ranges_max: usize) {
        if self.ranges.capacity() > ranges_max && (self.done || self.ranges.is_empty()) {
            self.reset();
            self.ranges = Vec::new();
        }
    }

    fn wait(&mut self, at: usize, left: u32) -> Result<Option<usize>, ProtocolError> {
        self.at = at;
        self.left = Some(left);
        Ok(None)
    }

    #[cold]
    fn next_inline(&mut self, buf: &[u8], limits: &RequestLimits) -> Result<Option<usize>, ProtocolError> {
        let max = limits.inline_bytes_max as usize;
        let end = buf.len().min(max);
        let from = self.at.min(end);
        let Some(newline) = memchr::memchr(b'\n', &buf[from..end]).map(|place| from + place) else {
            self.at = end;
            return if buf.len() >= max { Err(ProtocolError::InlineTooLong) } else { Ok(None) };
        };
        let line = &buf[..newline];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut bytes = Vec::with_capacity(line.len());
        self.ranges.clear();
        inline::split(line, &mut bytes, &mut self.ranges)?;
        // What is said in one line is forwarded in the array form, whose limits it must keep too.
        if self.ranges.len() > limits.args_max as usize {
            return Err(ProtocolError::ArrayLength);
        }
        if self.ranges.iter().any(|range| range.len > limits.bulk_bytes_max) {
            return Err(ProtocolError::BulkLength);
        }
        self.inline_bytes = Some(bytes);
        self.done = true;
        Ok(Some(newline + 1))
    }
}

/// Reads the number that stands at `buf[at..]` up to CR LF. Gives it and the place behind the line
/// end; `None` if the line has not ended yet.
#[inline]
fn length_line(buf: &[u8], at: usize, wrong: ProtocolError) -> Result<Option<(i64, usize)>, ProtocolError> {
    // The common cases first: most lengths have one digit, or two.
    match buf.get(at..) {
        Some([ones @ b'0'..=b'9', b'\r', b'\n', ..]) => Ok(Some((i64::from(ones - b'0'), at + 3))),
        Some([tens @ b'1'..=b'9', ones @ b'0'..=b'9', b'\r', b'\n', ..]) => {
            Ok(Some((i64::from(tens - b'0') * 10 + i64::from(ones - b'0'), at + 4)))
        }
        rest => long_length_line(rest.unwrap_or_default(), wrong)
            .map(|line| line.map(|(value, len)| (value, at + len))),
    }
}

/// As strict as Redis: no sign but `-`, no leading zero. A request is forwarded byte by byte over a
/// connection that others share; what Redis would refuse must be refused here, or one client could
/// have that connection closed on all.
fn long_length_line(line: &[u8], wrong: ProtocolError) -> Result<Option<(i64, usize)>, ProtocolError> {
    let sign = usize::from(line.first() == Some(&b'-'));
    let mut value: Option<i64> = Some(0);
    for (nth, &byte) in line.iter().skip(sign).enumerate() {
        match byte {
            b'0'..=b'9' if nth >= LENGTH_DIGITS_MAX => return Err(ProtocolError::LengthLine),
            b'0'..=b'9' if nth > 0 && line.get(sign) == Some(&b'0') => return Err(wrong),
            b'0'..=b'9' => {
                let digit = i64::from(byte - b'0');
                value = value.and_then(|value| value.checked_mul(10)?.checked_add(digit));
            }
            b'\r' if nth > 0 => {
                return match (line.get(sign + nth + 1), value) {
                    (None, _) => Ok(None),
                    (Some(b'\n'), Some(value)) if sign == 0 => Ok(Some((value, nth + 2))),
                    (Some(b'\n'), Some(value)) if value > 0 => Ok(Some((-value, nth + 3))),
                    _ => Err(wrong),
                };
            }
            _ => return Err(wrong),
        }
    }
    Ok(None)
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
