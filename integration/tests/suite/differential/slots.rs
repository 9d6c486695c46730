//! Which requests have keys in several slots, asked of the server that is compared with: whether the proxy
//! finds the right keys must not be judged by its own table.

use super::grammar::Mark;
use super::stream::{Unit, row_of};
use super::words::Request;
use pointsman_integration::Client;
use pointsman_protocol::Slot;
use pointsman_protocol::command::KeyPattern;
use pointsman_protocol::resp::reply;
use std::collections::BTreeSet;

/// Those that can be carried out, and those that have keys in several slots. `asker` is a connection to a
/// single server.
pub fn split_off(mut units: Vec<Unit>, asker: &mut Client) -> (Vec<Unit>, Vec<Unit>) {
    units.retain(|unit| !unit.requests.iter().any(is_misread));
    let questions: Vec<Vec<Request>> = units.iter().map(questions).collect();
    let mut answers = asker.pipeline(&questions.concat()).into_iter();
    let (mut one, mut several) = (Vec::new(), Vec::new());
    for (unit, questions) in units.into_iter().zip(questions) {
        let slots: BTreeSet<Slot> = answers
            .by_ref()
            .take(questions.len())
            .filter(|answer| !answer.is_error())
            .flat_map(|answer| answer.elements())
            .filter_map(|key| reply::payload(&key.0).map(Slot::of))
            .collect();
        if slots.len() < 2 { one.push(unit) } else { several.push(unit) }
    }
    (one, several)
}

/// True where servers do not agree with themselves about keys. Of `STORE STORE k` the first word is the option when the
/// command is carried out, and the second when its keys are asked for; a STORE in the place of GEORADIUS' unit is an
/// option only to a node of a cluster that looks for the slot.
fn is_misread(request: &Request) -> bool {
    let is_store =
        |word: &Vec<u8>| [&b"STORE"[..], b"STOREDIST"].iter().any(|store| word.eq_ignore_ascii_case(store));
    let unit = match request[0].to_ascii_uppercase().as_slice() {
        b"GEORADIUS" => request.get(5),
        b"GEORADIUSBYMEMBER" => request.get(4),
        _ => None,
    };
    unit.is_some_and(is_store) || request.windows(2).any(|pair| is_store(&pair[0]) && is_store(&pair[1]))
}

/// What to ask about a unit's keys: nothing, if they cannot be in several slots or may be.
fn questions(unit: &Unit) -> Vec<Request> {
    if matches!(unit.mark, Mark::Uncounted | Mark::Iteration) {
        return Vec::new();
    }
    let is = |request: &Request, name: &str| request[0].eq_ignore_ascii_case(name.as_bytes());
    let together = unit.requests.iter().any(|request| is(request, "MULTI") || is(request, "WATCH"));
    let asks = |request: &&Request| {
        row_of(request).is_some_and(|spec| match spec.pattern {
            KeyPattern::None => false,
            KeyPattern::One(_) => together,
            KeyPattern::Range { .. } | KeyPattern::Complex => together || !is_split(spec.name),
        })
    };
    let question =
        |request: &Request| [vec![b"COMMAND".to_vec(), b"GETKEYS".to_vec()], request.clone()].concat();
    unit.requests.iter().filter(asks).map(question).collect()
}

/// Commands whose keys may lie in several slots.
fn is_split(name: &str) -> bool {
    ["MGET", "MSET", "DEL", "UNLINK", "EXISTS", "TOUCH"].contains(&name)
}
