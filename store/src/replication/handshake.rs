//! How a replica asks to be fed, and what it is told.
//!
//! ```text
//! replica:  POINTSMAN SYNC <version> <epoch> <log id or ?> <offset or -1> <listening port>
//! primary:  +FULL <log id> <epoch>              everything is copied, then the stream follows
//!           +CONTINUE <log id> <epoch>          the stream follows from the offset asked for
//!           -ERR ...                            try again later
//! replica:  POINTSMAN ACK <offset>              from then on, without a reply
//! ```

use crate::executor::Executor;
use crate::number::parse_integer;
use crate::server::client::{Client, Kind, SyncRequest};
use pointsman_protocol::NodeId;
use pointsman_protocol::resp::{Args, encode};

/// The version of what follows the handshake.
pub const VERSION: i64 = 1;

/// Carries out `POINTSMAN ...` from a connection that is not a replica's yet.
pub fn command(node: &Executor, client: &Client, args: Args<'_>, out: &mut Vec<u8>) {
    match parse(args) {
        Err(text) => encode::error(out, &format!("ERR {text}")),
        Ok(request) => match refusal(node, &request) {
            Some(text) => encode::error(out, &format!("ERR {text}")),
            None => {
                client.sync.replace(Some(Box::new(request)));
                client.kind.set(Kind::Replica);
            }
        },
    }
}

fn parse(args: Args<'_>) -> Result<SyncRequest, String> {
    if !args.at(1).eq_ignore_ascii_case(b"SYNC") || args.len() != 7 {
        return Err("POINTSMAN is for nodes: SYNC <version> <epoch> <log> <offset> <port>".to_owned());
    }
    let number = |index: usize, name: &str| {
        parse_integer(args.at(index)).ok_or_else(|| format!("POINTSMAN SYNC: the {name} is not an integer"))
    };
    let version = number(2, "version")?;
    if version != VERSION {
        return Err(format!("POINTSMAN SYNC: version {version} is not spoken here, only {VERSION}"));
    }
    let epoch =
        u64::try_from(number(3, "epoch")?).map_err(|_| "POINTSMAN SYNC: the epoch is negative".to_owned())?;
    let offset = number(5, "offset")?;
    let port = u16::try_from(number(6, "port")?)
        .map_err(|_| "POINTSMAN SYNC: the port is out of range".to_owned())?;
    let known = match (NodeId::parse(args.at(4)), u64::try_from(offset)) {
        (Some(id), Ok(offset)) => Some((id, offset)),
        _ => None,
    };
    Ok(SyncRequest { epoch, known, port })
}

/// Why this node does not feed who asks.
fn refusal(node: &Executor, request: &SyncRequest) -> Option<String> {
    if let Some(primary) = node.primary() {
        return Some(format!("this node is a replica itself; its primary is {primary}"));
    }
    if request.epoch > node.epoch() {
        return Some(format!("this node's epoch is {}, older than {}", node.epoch(), request.epoch));
    }
    if node.log.followers().len() >= node.spec.limits.replicas_max {
        return Some(format!("this node feeds {} replicas already", node.spec.limits.replicas_max));
    }
    None
}

/// What a primary answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Everything is copied.
    Full(NodeId),
    /// The stream goes on.
    Continue(NodeId),
}

impl Answer {
    /// Its line.
    pub fn to_line(self, epoch: u64) -> String {
        match self {
            Answer::Full(id) => format!("+FULL {id} {epoch}\r\n"),
            Answer::Continue(id) => format!("+CONTINUE {id} {epoch}\r\n"),
        }
    }

    /// Reads a line, without its end: the answer and the primary's epoch.
    pub fn parse(line: &str) -> Result<(Answer, u64), String> {
        let mut words = line.split(' ');
        let kind = words.next().unwrap_or_default();
        let id = words.next().and_then(|word| NodeId::parse(word.as_bytes()));
        let epoch = words.next().and_then(|word| word.parse().ok());
        match (kind, id, epoch) {
            ("+FULL", Some(id), Some(epoch)) => Ok((Answer::Full(id), epoch)),
            ("+CONTINUE", Some(id), Some(epoch)) => Ok((Answer::Continue(id), epoch)),
            _ => Err(format!("the primary answered '{line}'")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_protocol::resp::args::OwnedArgs;

    #[test]
    fn requests_of_replicas() {
        let id = "07c37dfeb235213a872192d90877d0cd55635b91";
        let parse = |words: &[&str]| parse(OwnedArgs::new(words).args());
        let known = NodeId::parse(id.as_bytes()).map(|id| (id, 7));
        assert_eq!(
            parse(&["pointsman", "sync", "1", "3", id, "7", "6380"]),
            Ok(SyncRequest { epoch: 3, known, port: 6380 })
        );
        assert_eq!(
            parse(&["POINTSMAN", "SYNC", "1", "0", "?", "-1", "6380"]),
            Ok(SyncRequest { epoch: 0, known: None, port: 6380 })
        );
        for (words, text) in [
            (&["POINTSMAN"][..], "is for nodes"),
            (&["POINTSMAN", "SYNC", "1"], "is for nodes"),
            (&["POINTSMAN", "SYNC", "2", "0", "?", "-1", "1"], "version 2"),
            (&["POINTSMAN", "SYNC", "1", "-1", "?", "-1", "1"], "epoch"),
            (&["POINTSMAN", "SYNC", "1", "x", "?", "-1", "1"], "epoch"),
            (&["POINTSMAN", "SYNC", "1", "0", "?", "-1", "65536"], "port"),
        ] {
            assert!(parse(words).is_err_and(|error| error.contains(text)), "{words:?}");
        }
    }

    #[test]
    fn answers_read_back() {
        let id = NodeId::from_bytes([7; 20]);
        for answer in [Answer::Full(id), Answer::Continue(id)] {
            assert_eq!(Answer::parse(answer.to_line(9).trim_end()), Ok((answer, 9)));
        }
        assert!(Answer::parse("-ERR unknown command").is_err());
    }
}
