//! Writes requests and replies. Every function appends to `out` and cannot fail.

use super::args::Args;

/// Appends `*<count>\r\n`.
pub fn array_head(out: &mut Vec<u8>, count: usize) {
    head(out, b'*', count as i64);
}

/// Appends a RESP3 map head, `%<pairs>\r\n`, or its RESP2 form, an array of twice as many values.
pub fn map_head(out: &mut Vec<u8>, pairs: usize, resp3: bool) {
    if resp3 { head(out, b'%', pairs as i64) } else { head(out, b'*', 2 * pairs as i64) }
}

/// Appends a bulk string.
pub fn bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    head(out, b'$', bytes.len() as i64);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

/// Appends a simple string; a line end inside becomes a space, as a simple string cannot hold one.
pub fn simple(out: &mut Vec<u8>, text: &str) {
    line(out, b'+', text);
}

/// Appends an error; `text` begins with its code (`ERR ...`).
pub fn error(out: &mut Vec<u8>, text: &str) {
    line(out, b'-', text);
}

/// Appends an integer.
pub fn integer(out: &mut Vec<u8>, value: i64) {
    head(out, b':', value);
}

/// Appends the null of the protocol: `_` in RESP3, the null bulk string in RESP2.
pub fn null(out: &mut Vec<u8>, resp3: bool) {
    out.extend_from_slice(if resp3 { b"_\r\n" } else { b"$-1\r\n" });
}

/// Appends what stands for an array that is not there: RESP2 has a null of its own for it.
pub fn null_array(out: &mut Vec<u8>, resp3: bool) {
    out.extend_from_slice(if resp3 { b"_\r\n" } else { b"*-1\r\n" });
}

/// Appends one request of the given words.
pub fn request<W: AsRef<[u8]>>(out: &mut Vec<u8>, words: &[W]) {
    array_head(out, words.len());
    for word in words {
        bulk(out, word.as_ref());
    }
}

/// Appends one request of the given arguments (how an inline request is forwarded).
pub fn request_args(out: &mut Vec<u8>, args: Args<'_>) {
    array_head(out, args.len());
    for word in args.iter() {
        bulk(out, word);
    }
}

fn line(out: &mut Vec<u8>, kind: u8, text: &str) {
    out.push(kind);
    out.extend(text.bytes().map(|byte| if byte == b'\r' || byte == b'\n' { b' ' } else { byte }));
    out.extend_from_slice(b"\r\n");
}

#[inline]
fn head(out: &mut Vec<u8>, kind: u8, value: i64) {
    let mut text = [0u8; 24];
    let mut at = text.len() - 2;
    text[at..].copy_from_slice(b"\r\n");
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        text[at] = b'-';
    }
    at -= 1;
    text[at] = kind;
    out.extend_from_slice(&text[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length() {
        for value in [0, 7, 10, -1, 1234567890, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            integer(&mut out, value);
            assert_eq!(out, format!(":{value}\r\n").into_bytes());
        }
    }

    #[test]
    fn lines_cannot_be_split_by_their_text() {
        let mut out = Vec::new();
        error(&mut out, "ERR a\r\n+OK");
        assert_eq!(out, b"-ERR a  +OK\r\n");
    }

    #[test]
    fn nulls_and_maps_follow_the_protocol_version() {
        let mut out = Vec::new();
        null(&mut out, false);
        null(&mut out, true);
        map_head(&mut out, 2, false);
        map_head(&mut out, 2, true);
        assert_eq!(out, b"$-1\r\n_\r\n*4\r\n%2\r\n");
    }
}
