//! Every error text a command can answer, in one place: client libraries match on them, so they are
//! Redis' own, byte for byte.

use pointsman_protocol::command::{CommandSpec, wrong_arity};
use pointsman_protocol::resp::encode;

/// Why a command was not carried out.
#[derive(Debug)]
pub enum Failure {
    /// This text.
    Text(&'static str),
    /// This text, made for the occasion.
    Made(String),
    /// The number of arguments does not fit, though the command's arity allows it (MSET's pairs).
    Arity,
}

/// What a command's handler gives back: nothing, as it has written its reply; or why it has not.
pub type Outcome = Result<(), Failure>;

impl Failure {
    /// Appends the error reply to a request for the command `spec`.
    #[cold]
    pub fn reply(&self, spec: &CommandSpec, out: &mut Vec<u8>) {
        match self {
            Failure::Text(text) => encode::error(out, text),
            Failure::Made(text) => encode::error(out, text),
            Failure::Arity => {
                out.push(b'-');
                wrong_arity(spec, out);
                out.extend_from_slice(b"\r\n");
            }
        }
    }
}

/// `SET k v EX` and the like.
pub const SYNTAX: Failure = Failure::Text("ERR syntax error");
/// A number that is none, or too large.
pub const NOT_INTEGER: Failure = Failure::Text("ERR value is not an integer or out of range");
/// An increment by something that is no number.
pub const NOT_FLOAT: Failure = Failure::Text("ERR value is not a valid float");
/// An increment beyond 64 bits.
pub const OVERFLOW: Failure = Failure::Text("ERR increment or decrement would overflow");
/// DECRBY of the one number that has no negative.
pub const DECREMENT_OVERFLOW: Failure = Failure::Text("ERR decrement would overflow");
/// An increment that leaves the finite numbers.
pub const NOT_FINITE: Failure = Failure::Text("ERR increment would produce NaN or Infinity");
/// SETRANGE and APPEND beyond the largest string.
pub const STRING_TOO_LONG: Failure =
    Failure::Text("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
/// SETRANGE before the first byte.
pub const OFFSET: Failure = Failure::Text("ERR offset is out of range");
/// RENAME of nothing.
pub const NO_SUCH_KEY: Failure = Failure::Text("ERR no such key");
/// COPY onto itself.
pub const SAME_OBJECT: Failure = Failure::Text("ERR source and destination objects are the same");
/// SELECT of a database that is not there.
pub const DATABASE: Failure = Failure::Text("ERR DB index is out of range");
/// A cursor that is no number.
pub const CURSOR: Failure = Failure::Text("ERR invalid cursor");
/// More entries than the store can name.
pub const FULL: Failure = Failure::Text("OOM command not allowed when used memory > 'maxmemory'.");

/// An expiry out of range.
pub fn invalid_expire(command: &str) -> Failure {
    Failure::Made(format!("ERR invalid expire time in '{}' command", command.to_ascii_lowercase()))
}

impl From<crate::keyspace::Full> for Failure {
    fn from(_: crate::keyspace::Full) -> Failure {
        FULL
    }
}
