//! What the string commands do, in its simplest form: the oracle of random tests and the memory of
//! the fake backend. It knows nothing of slots, expiry or other types.

use pointsman_protocol::resp::encode;
use std::collections::HashMap;

/// Keys and their values.
#[derive(Clone, Debug, Default)]
pub struct KeyValues {
    map: HashMap<Vec<u8>, Vec<u8>>,
}

impl KeyValues {
    /// Executes one request and gives its RESP2 reply, errors included, as redis-server would.
    pub fn execute(&mut self, words: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        let name = words.first().map(|name| name.to_ascii_uppercase()).unwrap_or_default();
        let args = words.get(1..).unwrap_or_default();
        if !arity_fits(&name, args.len()) {
            encode::error(&mut out, &format!("ERR wrong number of arguments for '{}' command", lower(&name)));
            return out;
        }
        match &name[..] {
            b"PING" => match args.first() {
                Some(text) => encode::bulk(&mut out, text),
                None => encode::simple(&mut out, "PONG"),
            },
            b"ECHO" => encode::bulk(&mut out, &args[0]),
            b"GET" => value(&mut out, self.map.get(&args[0])),
            b"SET" => self.set(&mut out, args),
            b"SETNX" => {
                let fresh = !self.map.contains_key(&args[0]);
                if fresh {
                    self.put(&args[0], &args[1]);
                }
                encode::integer(&mut out, i64::from(fresh));
            }
            b"GETSET" => {
                value(&mut out, self.map.get(&args[0]));
                self.put(&args[0], &args[1]);
            }
            b"GETDEL" => value(&mut out, self.map.remove(&args[0]).as_ref()),
            b"STRLEN" => {
                encode::integer(&mut out, self.map.get(&args[0]).map_or(0, |value| value.len() as i64))
            }
            b"APPEND" => {
                let value = self.map.entry(args[0].clone()).or_default();
                value.extend_from_slice(&args[1]);
                encode::integer(&mut out, value.len() as i64);
            }
            b"INCR" => self.add(&mut out, &args[0], Some(1)),
            b"DECR" => self.add(&mut out, &args[0], Some(-1)),
            b"INCRBY" => self.add(&mut out, &args[0], number(&args[1])),
            b"DECRBY" => self.add(&mut out, &args[0], number(&args[1]).and_then(i64::checked_neg)),
            b"MGET" => {
                encode::array_head(&mut out, args.len());
                args.iter().for_each(|key| value(&mut out, self.map.get(key)));
            }
            b"MSET" => {
                args.chunks_exact(2).for_each(|pair| self.put(&pair[0], &pair[1]));
                encode::simple(&mut out, "OK");
            }
            b"DEL" | b"UNLINK" => {
                let gone = args.iter().filter(|key| self.map.remove(*key).is_some()).count();
                encode::integer(&mut out, gone as i64);
            }
            b"EXISTS" | b"TOUCH" => {
                let there = args.iter().filter(|key| self.map.contains_key(*key)).count();
                encode::integer(&mut out, there as i64);
            }
            _ => encode::error(&mut out, &unknown(words)),
        }
        out
    }

    /// A key's value.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.map.get(key).map(Vec::as_slice)
    }

    /// True if the key is there.
    pub fn has(&self, key: &[u8]) -> bool {
        self.map.contains_key(key)
    }

    /// Stores a value.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.map.insert(key.to_vec(), value.to_vec());
    }

    /// Takes a key out.
    pub fn take(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        self.map.remove(key)
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.map.keys().map(Vec::as_slice)
    }

    fn set(&mut self, out: &mut Vec<u8>, args: &[Vec<u8>]) {
        let mut condition = None;
        let mut give_old = false;
        let mut options = args[2..].iter().map(|option| option.to_ascii_uppercase());
        while let Some(option) = options.next() {
            match &option[..] {
                b"NX" => condition = Some(false),
                b"XX" => condition = Some(true),
                b"GET" => give_old = true,
                b"KEEPTTL" => {}
                // Times are not modelled; their value is skipped.
                b"EX" | b"PX" | b"EXAT" | b"PXAT" => drop(options.next()),
                _ => return encode::error(out, "ERR syntax error"),
            }
        }
        let there = self.map.contains_key(&args[0]);
        let stores = condition.is_none_or(|wanted| wanted == there);
        if give_old {
            value(out, self.map.get(&args[0]));
        } else if stores {
            encode::simple(out, "OK");
        } else {
            encode::null(out, false);
        }
        if stores {
            self.put(&args[0], &args[1]);
        }
    }

    fn add(&mut self, out: &mut Vec<u8>, key: &[u8], by: Option<i64>) {
        let old = self.map.get(key).map_or(Some(0), |value| number(value));
        let (Some(old), Some(by)) = (old, by) else {
            return encode::error(out, "ERR value is not an integer or out of range");
        };
        let Some(sum) = old.checked_add(by) else {
            return encode::error(out, "ERR increment or decrement would overflow");
        };
        self.put(key, sum.to_string().as_bytes());
        encode::integer(out, sum);
    }
}

fn arity_fits(name: &[u8], args: usize) -> bool {
    match name {
        b"GET" | b"GETDEL" | b"STRLEN" | b"INCR" | b"DECR" | b"ECHO" => args == 1,
        b"SETNX" | b"GETSET" | b"APPEND" | b"INCRBY" | b"DECRBY" => args == 2,
        b"MGET" | b"DEL" | b"UNLINK" | b"EXISTS" | b"TOUCH" => args >= 1,
        b"SET" => args >= 2,
        b"MSET" => args >= 2 && args.is_multiple_of(2),
        b"PING" => args <= 1,
        _ => true,
    }
}

/// The text of redis-server for a command that it does not know.
pub fn unknown(words: &[Vec<u8>]) -> String {
    let show = |word: &Vec<u8>| String::from_utf8_lossy(word).into_owned();
    let args: String = words.iter().skip(1).map(|word| format!("'{}' ", show(word))).collect();
    format!("ERR unknown command '{}', with args beginning with: {args}", show(&words[0]))
}

fn value(out: &mut Vec<u8>, value: Option<&Vec<u8>>) {
    match value {
        Some(value) => encode::bulk(out, value),
        None => encode::null(out, false),
    }
}

fn number(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    let value: i64 = text.parse().ok()?;
    // Redis takes only the canonical form: no "+1", no "01".
    (value.to_string() == text).then_some(value)
}

fn lower(name: &[u8]) -> String {
    String::from_utf8_lossy(name).to_lowercase()
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
