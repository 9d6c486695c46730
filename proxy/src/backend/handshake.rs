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

impl Step {
    /// True if this reply ends the attempt. A word that is only nice to have may be unknown to the
    /// node or forbidden to us; any other error (too many clients, a password wanted) means that the
    /// connection is of no use.
    pub fn is_refused_by(&self, reply: &[u8]) -> bool {
        const TOLERATED: [&[u8]; 3] =
            [b"-NOPERM", b"-ERR unknown", b"-ERR This instance has cluster support disabled"];
        reply.first() == Some(&b'-') && (self.needed || !TOLERATED.iter().any(|text| reply.starts_with(text)))
    }
}

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
        say(&["HELLO", "3"], "switch to RESP3", true);
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

    #[test]
    fn each_lane_says_what_it_needs() {
        let lane = Lane { resp3: false, readonly: false, index: 0 };
        assert_eq!(texts(lane, None, None), ["CLIENT SETNAME pointsman"]);
        assert_eq!(texts(lane, None, Some("p")), ["AUTH p", "CLIENT SETNAME pointsman"]);
        let aside = Lane { index: Lane::ASIDE, ..lane };
        assert_eq!(texts(aside, None, Some("p")), ["AUTH p"]);
        let lane = Lane { resp3: true, readonly: true, index: 0 };
        assert_eq!(
            texts(lane, Some("u"), Some("p")),
            ["AUTH u p", "HELLO 3", "READONLY", "CLIENT SETNAME pointsman"]
        );
    }
}
