//! The reply of a node that speaks only RESP2, in the form that RESP3 gives it.
//!
//! RESP2 has one kind of list and one kind of text; which of them RESP3 tells as a map, a set, a number or a
//! text for people depends on the command alone. So the request says how to read its reply: [`shape`] is the table of
//! what Redis tells differently, [`convert`] does it value by value.
//!
//! What RESP2 has lost cannot be had back: a script that builds a map or a double by hand (`redis.setresp(3)`) is
//! told as RESP2 tells it. A reply that has not the form its command should have is passed on with no more
//! than its nulls changed; nothing here can fail.

pub mod convert;
pub mod shape;

use crate::resp::{RequestDecoder, RequestLimits};
use shape::Shape;

/// Appends the RESP3 form of `reply`, a whole RESP2 reply to `request` (as it went over the wire; a transaction with all
/// that was queued, whose reply is that of EXEC).
pub fn reply(request: &[u8], reply: &[u8], out: &mut Vec<u8>) {
    // Most are the same in both.
    if matches!(reply.first(), Some(b'+' | b'-' | b':')) {
        return out.extend_from_slice(reply);
    }
    let mut decoder = RequestDecoder::new();
    let (mut rest, mut queued, mut last) = (request, None, &Shape::Same);
    while let Ok(Some(len)) = decoder.next(rest, &RequestLimits::ADMITTED) {
        let args = decoder.args(rest);
        if args.at(0).eq_ignore_ascii_case(b"MULTI") {
            queued = Some(Vec::new());
        } else {
            last = Shape::of(args);
            queued.iter_mut().for_each(|queued| queued.push(last));
        }
        rest = &rest[len..];
    }
    match queued {
        // The last one is EXEC itself, for which there is no element.
        Some(queued) => convert::tuple(reply, &queued, out),
        None => convert::value(reply, last, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::encode;

    fn converted(requests: &[&str], from: &str) -> String {
        let mut bytes = Vec::new();
        for line in requests {
            encode::request(&mut bytes, &line.split(' ').collect::<Vec<_>>());
        }
        let mut out = Vec::new();
        reply(&bytes, from.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    // T24: each reply by the request it belongs to.
    #[test]
    fn t24_the_request_says_how_its_reply_is_read() {
        let pair = "*2\r\n$1\r\na\r\n$1\r\n1\r\n";
        for (line, wanted) in [
            ("HGETALL h", "%1\r\n$1\r\na\r\n$1\r\n1\r\n"),
            ("smembers s", "~2\r\n$1\r\na\r\n$1\r\n1\r\n"),
            ("ZRANGE z 0 -1 withscores", "*1\r\n*2\r\n$1\r\na\r\n,1\r\n"),
            ("ZRANGE z 0 -1", pair),
            ("ZPOPMIN z", "*2\r\n$1\r\na\r\n,1\r\n"),
            ("MGET a b", pair),
            ("NOSUCH a", pair),
        ] {
            assert_eq!(converted(&[line], pair), wanted, "{line}");
        }
        for same in ["+OK\r\n", ":5\r\n", "-ERR no\r\n"] {
            assert_eq!(converted(&["HGETALL h"], same), same);
        }
        assert_eq!(converted(&["ZSCORE z m"], "$-1\r\n"), "_\r\n");
        assert_eq!(converted(&["BLPOP l 1"], "*-1\r\n"), "_\r\n");
        assert_eq!(converted(&[], "*1\r\n$-1\r\n"), "*1\r\n_\r\n");
    }

    #[test]
    fn t24_a_transaction_is_converted_command_by_command() {
        let requests = ["MULTI", "HGETALL h", "GET k", "ZSCORE z m", "EXEC"];
        let from = "*3\r\n*2\r\n$1\r\na\r\n$1\r\n1\r\n$-1\r\n$1\r\n2\r\n";
        assert_eq!(converted(&requests, from), "*3\r\n%1\r\n$1\r\na\r\n$1\r\n1\r\n_\r\n,2\r\n");
        assert_eq!(converted(&requests, "*-1\r\n"), "_\r\n");
        let failed = "*3\r\n-WRONGTYPE no\r\n$1\r\nv\r\n$-1\r\n";
        assert_eq!(converted(&requests, failed), "*3\r\n-WRONGTYPE no\r\n$1\r\nv\r\n_\r\n");
    }
}
