//! One reply as its bytes came, with the few readings of it that tests want.

use pointsman_protocol::resp::reply;
use std::fmt;

/// The bytes of one whole reply. Shown escaped, so that a failing assertion is readable.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Reply(pub Vec<u8>);

impl Reply {
    /// `+OK`.
    pub fn ok() -> Reply {
        Reply(b"+OK\r\n".to_vec())
    }

    /// A bulk string.
    pub fn bulk(bytes: impl AsRef<[u8]>) -> Reply {
        let mut out = Vec::new();
        pointsman_protocol::resp::encode::bulk(&mut out, bytes.as_ref());
        Reply(out)
    }

    /// An integer.
    pub fn number(value: i64) -> Reply {
        Reply(format!(":{value}\r\n").into_bytes())
    }

    /// The null of RESP2.
    pub fn null() -> Reply {
        Reply(b"$-1\r\n".to_vec())
    }

    /// True for `-...` and for RESP3's `!...`.
    pub fn is_error(&self) -> bool {
        matches!(self.0.first(), Some(b'-' | b'!'))
    }

    /// True for an error that begins with this code.
    pub fn is_error_of(&self, code: &str) -> bool {
        self.is_error() && self.0[1..].starts_with(code.as_bytes())
    }

    /// The integer of an integer reply.
    #[track_caller]
    pub fn int(&self) -> i64 {
        reply::integer(&self.0).unwrap_or_else(|| panic!("an integer was expected, not {self}"))
    }

    /// The text of a bulk, simple or verbatim string.
    #[track_caller]
    pub fn text(&self) -> String {
        let payload = reply::payload(&self.0).unwrap_or_else(|| panic!("a string was expected, not {self}"));
        String::from_utf8_lossy(payload).into_owned()
    }

    /// The text of an error, without the `-` and the line end.
    #[track_caller]
    pub fn error(&self) -> String {
        assert!(self.is_error(), "an error was expected, not {self}");
        String::from_utf8_lossy(&self.0[1..]).trim_end().to_owned()
    }

    /// The elements of an aggregate.
    #[track_caller]
    pub fn elements(&self) -> Vec<Reply> {
        let elements =
            reply::elements(&self.0).unwrap_or_else(|| panic!("an aggregate was expected, not {self}"));
        elements.map(|bytes| Reply(bytes.to_vec())).collect()
    }

    /// True for the nulls of both protocol versions.
    pub fn is_null(&self) -> bool {
        matches!(&self.0[..], b"$-1\r\n" | b"*-1\r\n" | b"_\r\n")
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 400;
        write!(f, "\"{}\"", self.0[..self.0.len().min(SHOWN)].escape_ascii())?;
        if self.0.len() > SHOWN { write!(f, "... ({} bytes)", self.0.len()) } else { Ok(()) }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl PartialEq<&str> for Reply {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

/// Shows a request as a person would type it, non-printing bytes escaped.
pub fn show_request<W: AsRef<[u8]>>(words: &[W]) -> String {
    let words: Vec<String> = words.iter().map(|word| word.as_ref().escape_ascii().to_string()).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_of_replies() {
        assert_eq!(Reply::number(-7).int(), -7);
        assert_eq!(Reply::bulk("a b").text(), "a b");
        assert_eq!(Reply::ok(), "+OK\r\n");
        assert!(Reply(b"-MOVED 1 a:1\r\n".to_vec()).is_error_of("MOVED"));
        assert_eq!(Reply(b"-ERR no\r\n".to_vec()).error(), "ERR no");
        let array = Reply(b"*2\r\n:1\r\n$-1\r\n".to_vec());
        assert_eq!(array.elements(), vec![Reply::number(1), Reply::null()]);
        assert!(array.elements()[1].is_null());
    }
}
