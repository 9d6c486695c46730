//! What a MOVED or ASK reply says: which slot, and where to go.

use crate::error_code::ErrorCode;
use crate::node::HostPort;
use crate::slot::Slot;

/// A redirect that a node answered instead of executing the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// True for ASK: this request only, with ASKING before it.
    pub asking: bool,
    /// The slot in question.
    pub slot: Slot,
    /// Where to go.
    pub to: HostPort,
}

impl Redirect {
    /// Parses `-MOVED 3999 127.0.0.1:6381` and `-ASK ...`, in all forms seen in the wild: host
    /// names, IPv6 with and without brackets, and an empty host, which means "the host you asked,
    /// at this port". `?` (a node that does not know its own name) means the same, as in CLUSTER
    /// SLOTS. Port 0 or a slot out of range make it no redirect.
    pub fn parse(reply: &[u8], asked: &HostPort) -> Option<Redirect> {
        let asking = match ErrorCode::of(reply) {
            ErrorCode::Moved => false,
            ErrorCode::Ask => true,
            _ => return None,
        };
        let text = std::str::from_utf8(reply).ok()?;
        let mut words = text.split_ascii_whitespace().skip(1);
        let slot = Slot::new(words.next()?.parse().ok()?)?;
        let to = HostPort::parse(words.next()?)?;
        if to.port() == 0 {
            return None;
        }
        let to = match to.host() {
            "" | "?" => HostPort::new(asked.host(), to.port()),
            _ => to,
        };
        Some(Redirect { asking, slot, to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // T84
    #[test]
    fn t84_redirects_of_every_form() {
        let asked = HostPort::new("10.0.0.1", 7000);
        for (reply, asking, slot, host, port) in [
            ("-MOVED 3999 127.0.0.1:6381\r\n", false, 3999, "127.0.0.1", 6381),
            ("-ASK 0 127.0.0.1:6381\r\n", true, 0, "127.0.0.1", 6381),
            ("-MOVED 1 :6379\r\n", false, 1, "10.0.0.1", 6379),
            ("-MOVED 1 ?:6379\r\n", false, 1, "10.0.0.1", 6379),
            (
                "-MOVED 16383 node-1.redis.svc.cluster.local:6379\r\n",
                false,
                16383,
                "node-1.redis.svc.cluster.local",
                6379,
            ),
            ("-MOVED 2 2001:db8::5:6379\r\n", false, 2, "2001:db8::5", 6379),
            ("-ASK 2 [2001:db8::5]:6379\r\n", true, 2, "2001:db8::5", 6379),
        ] {
            let redirect = Redirect::parse(reply.as_bytes(), &asked).expect(reply);
            assert_eq!(redirect.asking, asking, "{reply}");
            assert_eq!(redirect.slot.number(), slot, "{reply}");
            assert_eq!(redirect.to, HostPort::new(host, port), "{reply}");
        }
        for reply in [
            "-MOVED\r\n",
            "-MOVED 16384 a:1\r\n",
            "-MOVED 1 a:0\r\n",
            "-MOVED 1 a\r\n",
            "-MOVED x a:1\r\n",
            "-ERR MOVED 1 a:1\r\n",
            "-MOVED 1 a:70000\r\n",
        ] {
            assert_eq!(Redirect::parse(reply.as_bytes(), &asked), None, "{reply}");
        }
    }
}
