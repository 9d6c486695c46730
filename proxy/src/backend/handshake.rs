//! What is said first on a new connection to a node: who we are, and what the lane needs.

use super::lanes::Lane;
use pointsman_config::Secret;
use pointsman_protocol::resp::encode;

/// One word of the handshake: the request, and whether a refusal ends the connection.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// The request.
    pub bytes: Vec<u8>,
    /// What it is for, for the error message; never with a secret in it.
    pub purpose: &'static str,
    /// Whether it must succeed.
    pub needed: bool,
}

/// What the reply to a word of the handshake means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Fine,
    /// The attempt has failed.
    Refused,
    /// The node speaks no RESP3; go on in RESP2.
    OnlyResp2,
}

impl Step {
    /// Judges a reply. HELLO is unknown before Redis 6, renamed or forbidden in places, and refused for its version
    /// by some; whoever says so is still of use. Any other error to it (too many clients) is as to any word.
    pub fn judge(&self, reply: &[u8]) -> Verdict {
        const NO_HELLO: [&str; 6] =
            ["unknown command", "hello", "unsupported", "not supported", "not allowed", "protocol version"];
        if self.purpose == RESP3_PURPOSE && reply.first() == Some(&b'-') {
            let text = String::from_utf8_lossy(reply).to_ascii_lowercase();
            let says_so = text.starts_with("-err ") && NO_HELLO.iter().any(|words| text.contains(words));
            if says_so || text.starts_with("-noproto") || text.starts_with("-noperm") {
                return Verdict::OnlyResp2;
            }
        }
        if self.is_refused_by(reply) { Verdict::Refused } else { Verdict::Fine }
    }

    /// True if this reply ends the attempt. A word that is only nice to have may be unknown to the
    /// node or forbidden to us; any other error (too many clients, a password wanted) means that the
    /// connection is of no use.
    pub fn is_refused_by(&self, reply: &[u8]) -> bool {
        const TOLERATED: [&[u8]; 3] =
            [b"-NOPERM", b"-ERR unknown", b"-ERR This instance has cluster support disabled"];
        reply.first() == Some(&b'-') && (self.needed || !TOLERATED.iter().any(|text| reply.starts_with(text)))
    }
}

/// What HELLO is for.
const RESP3_PURPOSE: &str = "switch to RESP3";
/// The name by which nodes show our connections in CLIENT LIST.
const NAME: &str = "pointsman";

/// The handshake of a lane with these credentials.
pub fn steps(lane: Lane, username: Option<&str>, password: Option<&Secret>) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut say = |words: &[&str], purpose, needed| {
        let mut bytes = Vec::new();
        encode::request(&mut bytes, words);
        steps.push(Step { bytes, purpose, needed });
    };
    if let Some(password) = password {
        match username {
            Some(username) => say(&["AUTH", username, password.expose()], "authenticate", true),
            None => say(&["AUTH", password.expose()], "authenticate", true),
        }
    }
    if lane.resp3 {
        say(&["HELLO", "3"], RESP3_PURPOSE, true);
    }
    if lane.database > 0 {
        say(&["SELECT", &lane.database.to_string()], "select the database", true);
    }
    if lane.readonly {
        // Outside cluster mode a replica answers reads without it, and refuses the word.
        say(&["READONLY"], "allow reads from a replica", false);
    }
    // A busy node would refuse the name, and this lane is for busy nodes.
    if lane.index != Lane::ASIDE {
        say(&["CLIENT", "SETNAME", NAME], "name the connection", false);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(lane: Lane, username: Option<&str>, password: Option<&str>) -> Vec<String> {
        let password = password.and_then(Secret::new);
        steps(lane, username, password.as_ref())
            .iter()
            .map(|step| {
                let text = String::from_utf8(step.bytes.clone()).unwrap();
                text.split("\r\n")
                    .filter(|line| !line.starts_with(['*', '$']))
                    .collect::<Vec<_>>()
                    .join(" ")
                    .trim()
                    .to_owned()
            })
            .collect()
    }

    #[test]
    fn what_a_refusal_means() {
        let nice = Step { bytes: Vec::new(), purpose: "", needed: false };
        let needed = Step { bytes: Vec::new(), purpose: "", needed: true };
        for (reply, tolerated) in [
            (&b"+OK\r\n"[..], true),
            (b"-ERR unknown command 'CLIENT'\r\n", true),
            (b"-ERR This instance has cluster support disabled\r\n", true),
            (b"-NOPERM this user has no permissions\r\n", true),
            (b"-ERR max number of clients reached\r\n", false),
            (b"-NOAUTH Authentication required.\r\n", false),
        ] {
            assert_eq!(nice.is_refused_by(reply), !tolerated);
            assert_eq!(needed.is_refused_by(reply), reply[0] == b'-');
        }
    }

    // T24: a node without RESP3 is served; one that is in trouble is not mistaken for such.
    #[test]
    fn t24_who_speaks_only_resp2() {
        let lane = Lane { resp3: true, readonly: false, database: 0, index: 0 };
        let hello = &steps(lane, None, None)[0];
        for (reply, verdict) in [
            ("%1\r\n+server\r\n+redis\r\n", Verdict::Fine),
            ("-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n", Verdict::OnlyResp2),
            ("-ERR unknown command 'HELLO'\r\n", Verdict::OnlyResp2),
            ("-ERR unsupported command\r\n", Verdict::OnlyResp2),
            ("-NOPROTO unsupported protocol version\r\n", Verdict::OnlyResp2),
            ("-NOPERM this user has no permissions to run the 'hello' command\r\n", Verdict::OnlyResp2),
            ("-ERR max number of clients reached\r\n", Verdict::Refused),
            ("-NOAUTH HELLO must be called with the client already authenticated\r\n", Verdict::Refused),
            ("-LOADING Redis is loading the dataset in memory\r\n", Verdict::Refused),
        ] {
            assert_eq!(hello.judge(reply.as_bytes()), verdict, "{reply}");
        }
        let name = &steps(lane, None, None)[1];
        assert_eq!(name.judge(b"-ERR unknown command 'CLIENT'\r\n"), Verdict::Fine);
    }

    #[test]
    fn each_lane_says_what_it_needs() {
        let lane = Lane { resp3: false, readonly: false, database: 0, index: 0 };
        assert_eq!(texts(lane, None, None), ["CLIENT SETNAME pointsman"]);
        assert_eq!(texts(lane, None, Some("p")), ["AUTH p", "CLIENT SETNAME pointsman"]);
        let aside = Lane { index: Lane::ASIDE, ..lane };
        assert_eq!(texts(aside, None, Some("p")), ["AUTH p"]);
        let lane = Lane { resp3: true, readonly: true, database: 3, index: 0 };
        assert_eq!(
            texts(lane, Some("u"), Some("p")),
            ["AUTH u p", "HELLO 3", "SELECT 3", "READONLY", "CLIENT SETNAME pointsman"]
        );
    }
}
