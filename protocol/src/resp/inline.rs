//! Inline requests: a line of words, as typed into telnet, with the quoting rules of Redis
//! (`"\x41\n"` with escapes, `'raw, \' escaped'`; a closing quote ends its word).
//!
//! A zero byte is a byte like any other. Redis never finds the end of a line that holds one.

use super::args::ArgRange;
use super::decode::ProtocolError;

/// Splits `line` into words appended to `bytes`, one range a word.
pub(super) fn split(
    line: &[u8],
    bytes: &mut Vec<u8>,
    ranges: &mut Vec<ArgRange>,
) -> Result<(), ProtocolError> {
    let mut at = 0;
    loop {
        while line.get(at).is_some_and(is_space) {
            at += 1;
        }
        if at >= line.len() {
            return Ok(());
        }
        let start = bytes.len();
        at = word(line, at, bytes)?;
        ranges.push(ArgRange { start: start as u32, len: (bytes.len() - start) as u32 });
    }
}

/// Appends the word at `line[at..]`; gives the place behind it.
fn word(line: &[u8], mut at: usize, bytes: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    while let Some(&byte) = line.get(at) {
        match byte {
            b'"' => return closed(line, double_quoted(line, at + 1, bytes)?),
            b'\'' => return closed(line, single_quoted(line, at + 1, bytes)?),
            // Fewer than part words: Redis keeps a form feed inside a word.
            b' ' | b'\t' | b'\r' | b'\n' => return Ok(at),
            byte => bytes.push(byte),
        }
        at += 1;
    }
    Ok(at)
}

/// A closing quote must be followed by space or the end of the line.
fn closed(line: &[u8], at: usize) -> Result<usize, ProtocolError> {
    match line.get(at) {
        Some(byte) if !is_space(byte) => Err(ProtocolError::InlineQuotes),
        _ => Ok(at),
    }
}

/// What C calls space in its default locale.
fn is_space(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn double_quoted(line: &[u8], mut at: usize, bytes: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    loop {
        match (line.get(at), line.get(at + 1)) {
            (None, _) => return Err(ProtocolError::InlineQuotes),
            (Some(b'"'), _) => return Ok(at + 1),
            (Some(b'\\'), Some(b'x'))
                if hex(line.get(at + 2)).is_some() && hex(line.get(at + 3)).is_some() =>
            {
                let (high, low) = (hex(line.get(at + 2)).unwrap_or(0), hex(line.get(at + 3)).unwrap_or(0));
                bytes.push(high << 4 | low);
                at += 4;
            }
            (Some(b'\\'), Some(&escaped)) => {
                bytes.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => other,
                });
                at += 2;
            }
            (Some(&byte), _) => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
}

fn single_quoted(line: &[u8], mut at: usize, bytes: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    loop {
        match (line.get(at), line.get(at + 1)) {
            (None, _) => return Err(ProtocolError::InlineQuotes),
            (Some(b'\\'), Some(b'\'')) => {
                bytes.push(b'\'');
                at += 2;
            }
            (Some(b'\''), _) => return Ok(at + 1),
            (Some(&byte), _) => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
}

fn hex(byte: Option<&u8>) -> Option<u8> {
    byte.and_then(|byte| (*byte as char).to_digit(16)).map(|digit| digit as u8)
}
