//! What a client's keys may hold when some of its writes were answered with "it may or may not have been
//! executed": every such write leaves two possibilities for its key, and every later reply leaves those that
//! agree with it. When none is left, a reply was lost, doubled, misordered or another client's.

use super::words::Request;
use pointsman_integration::Reply;
use pointsman_integration::model::KeyValues;
use std::collections::{BTreeSet, HashMap};

type Value = Option<Vec<u8>>;

/// Combinations of possibilities that are looked at one by one; beyond them a sum is not checked.
const COMBINATIONS_MAX: usize = 4_096;

/// What a reply says about its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was executed, and this is what came of it.
    Told,
    /// It was not executed.
    Not,
    /// It may or may not have been executed.
    Unknown,
}

/// Reads the proxy's own errors; anything else is told by a server.
pub fn fate_of(reply: &Reply) -> Fate {
    if !reply.is_error() {
        return Fate::Told;
    }
    let text = reply.error();
    let says = |part: &str| text.contains(part);
    // A command over several slots whose parts fared differently names what was done: unknown for each key.
    if says("may or may not") || says(" parts failed") {
        Fate::Unknown
    } else if says("was not executed")
        || says("was not sent")
        || says("may be retried")
        || says("CLUSTERDOWN")
    {
        Fate::Not
    } else {
        Fate::Told
    }
}

/// The possible values of one client's keys; a key that is not in it does not exist.
#[derive(Debug, Default)]
pub struct Fates(HashMap<Vec<u8>, BTreeSet<Value>>);

impl Fates {
    /// Takes a reply into account. `Err` says why it cannot be right.
    pub fn take(&mut self, request: &Request, reply: &Reply) -> Result<(), String> {
        let keys = keys_of(request);
        match (fate_of(reply), &keys[..]) {
            (Fate::Not, _) => Ok(()),
            (Fate::Told, []) => {
                let expected = Reply(KeyValues::default().execute(request));
                if *reply == expected { Ok(()) } else { Err(format!("{expected} was to come")) }
            }
            (Fate::Told, [key]) => {
                let all = self.possible(key);
                let agreeing: BTreeSet<Value> = all
                    .iter()
                    .map(|value| execute(request, key, value))
                    .filter(|(told, _)| told == reply)
                    .map(|(_, value)| value)
                    .collect();
                if agreeing.is_empty() {
                    return Err(format!("the key may hold {}", show(&all)));
                }
                self.0.insert(key.to_vec(), agreeing);
                Ok(())
            }
            (Fate::Told, _) => self.take_several(request, &keys, reply),
            (Fate::Unknown, _) => {
                for key in &keys {
                    let mut all = self.possible(key);
                    for part in parts_on(request, key) {
                        let after: Vec<Value> =
                            all.iter().map(|value| execute(&part, key, value).1).collect();
                        all.extend(after);
                    }
                    self.0.insert(key.to_vec(), all);
                }
                Ok(())
            }
        }
    }

    /// Keys of which more than one value is possible: to be read, so that fewer are.
    pub fn unsure(&self) -> Vec<Vec<u8>> {
        let mut keys: Vec<Vec<u8>> =
            self.0.iter().filter(|(_, values)| values.len() > 1).map(|(key, _)| key.clone()).collect();
        keys.sort();
        keys
    }

    fn possible(&self, key: &[u8]) -> BTreeSet<Value> {
        self.0.get(key).cloned().unwrap_or_else(|| BTreeSet::from([None]))
    }

    /// MGET, MSET, DEL and their like: those combinations stay that give this reply.
    fn take_several(&mut self, request: &Request, keys: &[&[u8]], reply: &Reply) -> Result<(), String> {
        let possible: Vec<Vec<Value>> =
            keys.iter().map(|key| self.possible(key).into_iter().collect()).collect();
        let count = possible.iter().map(Vec::len).try_fold(1, |all: usize, one| all.checked_mul(one));
        let Some(count) = count.filter(|count| *count <= COMBINATIONS_MAX) else {
            return Err("too many writes of unknown fate to tell".into());
        };
        let mut left = vec![BTreeSet::new(); keys.len()];
        for number in 0..count {
            let mut rest = number;
            let mut model = KeyValues::default();
            for (key, values) in keys.iter().zip(&possible) {
                if let Some(value) = &values[rest % values.len()] {
                    model.put(key, value);
                }
                rest /= values.len();
            }
            if model.execute(request) == reply.0 {
                for (key, left) in keys.iter().zip(&mut left) {
                    left.insert(model.get(key).map(<[u8]>::to_vec));
                }
            }
        }
        if left[0].is_empty() {
            let all: Vec<String> = keys.iter().map(|key| show(&self.possible(key))).collect();
            return Err(format!("the keys may hold {}", all.join(", ")));
        }
        for (key, values) in keys.iter().zip(left) {
            self.0.insert(key.to_vec(), values);
        }
        Ok(())
    }
}

fn execute(request: &Request, key: &[u8], value: &Value) -> (Reply, Value) {
    let mut model = KeyValues::default();
    if let Some(value) = value {
        model.put(key, value);
    }
    let reply = Reply(model.execute(request));
    (reply, model.get(key).map(<[u8]>::to_vec))
}

/// The keys of a request, each once.
pub fn keys_of(request: &Request) -> Vec<&[u8]> {
    let step = match &request[0][..] {
        b"PING" | b"ECHO" | b"NOSUCH" => return Vec::new(),
        b"MSET" => 2,
        b"MGET" | b"DEL" | b"UNLINK" | b"EXISTS" | b"TOUCH" => 1,
        _ => return request.get(1).map(Vec::as_slice).into_iter().collect(),
    };
    let keys: BTreeSet<&[u8]> = request[1..].iter().step_by(step).map(Vec::as_slice).collect();
    keys.into_iter().collect()
}

/// What a request does to one of its keys, step by step.
fn parts_on(request: &Request, key: &[u8]) -> Vec<Request> {
    if request[0] != b"MSET" {
        return vec![request.clone()];
    }
    let pairs = request[1..].chunks(2).filter(|pair| pair[0] == key);
    pairs.map(|pair| [&[b"MSET".to_vec()][..], pair].concat()).collect()
}

fn show(values: &BTreeSet<Value>) -> String {
    let show = |value: &Value| match value {
        Some(value) => format!("\"{}\"", value.escape_ascii()),
        None => "nothing".into(),
    };
    values.iter().map(show).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_integration::client::words;

    const UNKNOWN: &str = "-ERR the connection to the shard was lost after the command was sent; it may or may not have been executed\r\n";
    const NOT: &str = "-ERR the shard cannot be reached; the command was not sent and may be retried\r\n";

    fn take(fates: &mut Fates, line: &str, reply: &str) -> bool {
        let request = words(&line.split(' ').collect::<Vec<_>>());
        fates.take(&request, &Reply(reply.as_bytes().to_vec())).is_ok()
    }

    #[test]
    fn replies_leave_what_agrees_with_them() {
        let mut fates = Fates::default();
        assert!(take(&mut fates, "INCR n", ":1\r\n"));
        assert!(take(&mut fates, "INCR n", UNKNOWN) && take(&mut fates, "INCR n", UNKNOWN));
        assert_eq!(fates.unsure(), [b"n"]);
        assert!(take(&mut fates, "INCR n", NOT));
        assert!(take(&mut fates, "INCR n", ":3\r\n"), "one of two");
        assert!(fates.unsure().is_empty());
        assert!(!take(&mut fates, "GET n", "$1\r\n2\r\n") && !take(&mut fates, "INCR n", ":3\r\n"));
        assert!(take(&mut fates, "GET n", "$1\r\n3\r\n"));
    }

    #[test]
    fn several_keys_are_combined() {
        let mut fates = Fates::default();
        assert!(take(&mut fates, "MSET a 1 b 2", UNKNOWN));
        assert_eq!(fates.unsure().len(), 2);
        assert!(!take(&mut fates, "EXISTS a b b", ":5\r\n"));
        assert!(take(&mut fates, "EXISTS a b b", ":2\r\n"), "only b is there");
        assert!(take(&mut fates, "MGET a b", "*2\r\n$-1\r\n$1\r\n2\r\n"));
        assert!(take(&mut fates, "DEL a b", ":1\r\n") && !take(&mut fates, "GET b", "$1\r\n2\r\n"));
    }

    #[test]
    fn what_needs_no_node_is_checked_too() {
        let mut fates = Fates::default();
        assert!(take(&mut fates, "ECHO x", "$1\r\nx\r\n") && !take(&mut fates, "ECHO x", "$1\r\ny\r\n"));
    }
}
