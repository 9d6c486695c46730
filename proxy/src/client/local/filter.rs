//! Which clients CLIENT LIST and CLIENT KILL mean, read from their arguments as Redis reads them.

use super::{Refused, integer};
use crate::client::state::Kind;
use pointsman_protocol::resp::Args;

/// See the module's head. What is `None` does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// One of these ids.
    pub ids: Option<Ids>,
    /// Connected from here.
    pub address: Option<Vec<u8>>,
    /// Connected to here.
    pub own_address: Option<Vec<u8>>,
    /// Of this kind. `Some(None)` is a kind that no client of a proxy is (a replica).
    pub kind: Option<Option<Kind>>,
    /// Not this one.
    pub except: Option<u64>,
}

/// Ids of clients, as many as a request has room for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// In the order in which they were given.
    pub asked: Vec<u64>,
    /// The same in their own order: each client is looked up.
    sorted: Vec<u64>,
}

impl Ids {
    fn new(asked: Vec<u64>) -> Ids {
        let mut sorted = asked.clone();
        sorted.sort_unstable();
        Ids { asked, sorted }
    }

    fn has(&self, id: u64) -> bool {
        self.sorted.binary_search(&id).is_ok()
    }
}

impl Filter {
    /// True if a client is meant. Its addresses are asked for only where they matter.
    pub fn matches(
        &self,
        id: u64,
        kind: Kind,
        address: impl FnOnce() -> String,
        own_address: impl FnOnce() -> String,
    ) -> bool {
        self.ids.as_ref().is_none_or(|ids| ids.has(id))
            && self.except != Some(id)
            && self.kind.is_none_or(|wanted| wanted == Some(kind))
            && self.address.as_ref().is_none_or(|wanted| wanted == address().as_bytes())
            && self.own_address.as_ref().is_none_or(|wanted| wanted == own_address().as_bytes())
    }
}

/// Reads `CLIENT LIST [TYPE kind | ID id ...]`.
pub fn list(args: Args<'_>) -> Result<Filter, Refused> {
    let option = args.at(2);
    if args.len() == 2 {
        Ok(Filter::default())
    } else if args.len() == 4 && option.eq_ignore_ascii_case(b"TYPE") {
        Ok(Filter { kind: Some(kind(args.at(3))?), ..Filter::default() })
    } else if args.len() > 3 && option.eq_ignore_ascii_case(b"ID") {
        let ids = args.iter().skip(3).map(|id| {
            // An id below one is a number, and nobody's.
            integer(id).map(|id| u64::try_from(id).unwrap_or(0)).ok_or_else(|| "ERR Invalid client ID".into())
        });
        let ids = Ids::new(ids.collect::<Result<_, Refused>>()?);
        Ok(Filter { ids: Some(ids), ..Filter::default() })
    } else {
        Err("ERR syntax error".into())
    }
}

/// Reads `CLIENT KILL address` and `CLIENT KILL [option value]...` of the client `asker`.
pub fn kill(args: Args<'_>, asker: u64) -> Result<Filter, Refused> {
    if args.len() == 3 {
        return Ok(Filter { address: Some(args.at(2).to_vec()), ..Filter::default() });
    }
    let mut filter = Filter { except: Some(asker), ..Filter::default() };
    let mut at = 2;
    while let Some(option) = args.get(at) {
        let Some(value) = args.get(at + 1) else { return Err("ERR syntax error".into()) };
        if option.eq_ignore_ascii_case(b"ID") {
            let id = integer(value).and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0);
            filter.ids = Some(Ids::new(vec![id.ok_or("ERR client-id should be greater than 0")?]));
        } else if option.eq_ignore_ascii_case(b"TYPE") {
            filter.kind = Some(kind(value)?);
        } else if option.eq_ignore_ascii_case(b"ADDR") {
            filter.address = Some(value.to_vec());
        } else if option.eq_ignore_ascii_case(b"LADDR") {
            filter.own_address = Some(value.to_vec());
        } else if option.eq_ignore_ascii_case(b"USER") {
            // There is one user.
            if value != b"default" {
                return Err(Refused::quoting("ERR No such user '", value, "'"));
            }
        } else if option.eq_ignore_ascii_case(b"SKIPME") && value.eq_ignore_ascii_case(b"YES") {
            filter.except = Some(asker);
        } else if option.eq_ignore_ascii_case(b"SKIPME") && value.eq_ignore_ascii_case(b"NO") {
            filter.except = None;
        } else {
            return Err("ERR syntax error".into());
        }
        at += 2;
    }
    Ok(filter)
}

fn kind(name: &[u8]) -> Result<Option<Kind>, Refused> {
    match name.to_ascii_lowercase().as_slice() {
        b"normal" => Ok(Some(Kind::Normal)),
        b"pubsub" => Ok(Some(Kind::Pubsub)),
        b"master" | b"replica" | b"slave" => Ok(None),
        _ => Err(Refused::quoting("ERR Unknown client type '", name, "'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_protocol::resp::args::OwnedArgs;

    fn ids(line: &str) -> Result<Vec<u64>, String> {
        let words: Vec<&str> = line.split(' ').collect();
        let owned = OwnedArgs::new(&words);
        let read = if words[1] == "KILL" { kill(owned.args(), 2) } else { list(owned.args()) };
        let filter = read.map_err(|refused| String::from_utf8(refused.0).unwrap())?;
        let clients = [(1, Kind::Normal), (2, Kind::Normal), (3, Kind::Pubsub)];
        let meant = clients.into_iter().filter(|(id, kind)| {
            filter.matches(*id, *kind, || format!("10.0.0.{id}:5"), || "10.0.0.9:6379".to_owned())
        });
        Ok(meant.map(|(id, _)| id).collect())
    }

    #[test]
    fn t27_whom_list_and_kill_mean() {
        for (line, meant) in [
            ("CLIENT LIST", &[1, 2, 3][..]),
            ("CLIENT LIST TYPE normal", &[1, 2]),
            ("CLIENT LIST TYPE PUBSUB", &[3]),
            ("CLIENT LIST TYPE replica", &[]),
            ("CLIENT LIST ID 3 1 9 -1", &[1, 3]),
            ("CLIENT KILL 10.0.0.2:5", &[2]),
            ("CLIENT KILL ID 1", &[1]),
            ("CLIENT KILL ID 2", &[]),
            ("CLIENT KILL ID 2 SKIPME no", &[2]),
            ("CLIENT KILL USER default", &[1, 3]),
            ("CLIENT KILL LADDR 10.0.0.9:6379 SKIPME no TYPE normal", &[1, 2]),
            ("CLIENT KILL ADDR 10.0.0.3:5 TYPE normal", &[]),
        ] {
            assert_eq!(ids(line).as_deref(), Ok(meant), "{line}");
        }
    }
}
