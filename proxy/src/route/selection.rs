//! Which requests a rule of the configuration holds for: those of some commands, those with keys of some prefix.
//!
//! Commands of the table are a set of bits, so that asking costs the same however many are named; only rows that nodes
//! announced are compared by name. It decides nothing but this.

use crate::client::local::words;
use pointsman_config::Scope;
use pointsman_protocol::command::{self, CommandSpec, Flags, KeyRef, ROWS, keys};
use pointsman_protocol::resp::Args;

/// A [`Scope`], made ready to be asked.
#[derive(Debug, Default)]
pub struct Selection {
    prefix: Vec<u8>,
    /// One bit a row of the table; none set and none needed if all commands are meant.
    rows: Option<Box<[bool; ROWS]>>,
    /// Names and categories as they were given, for rows that are not in the table.
    words: Vec<String>,
}

impl Selection {
    /// Makes a scope ready.
    pub fn new(scope: &Scope) -> Selection {
        let mut selection =
            Selection { prefix: scope.prefix.clone(), rows: None, words: scope.commands.clone() };
        if !scope.commands.is_empty() {
            let mut rows = Box::new([false; ROWS]);
            for spec in command::all() {
                let parent = selection.names(spec);
                for row in std::iter::once(spec).chain(spec.subcommands) {
                    if let Some(place) = rows.get_mut(usize::from(row.index)) {
                        *place = parent || selection.names(row);
                    }
                }
            }
            selection.rows = Some(rows);
        }
        selection
    }

    /// True if it holds for every request.
    pub fn is_everything(&self) -> bool {
        self.prefix.is_empty() && self.rows.is_none()
    }

    /// True if only some commands are meant.
    pub fn is_by_command(&self) -> bool {
        self.rows.is_some()
    }

    /// True if it holds for a request. `found` is scratch space.
    pub fn holds_for(&self, spec: &CommandSpec, args: Args<'_>, found: &mut Vec<KeyRef>) -> bool {
        let meant = match self.rows.as_deref() {
            None => true,
            Some(rows) => rows.get(usize::from(spec.index)).copied().unwrap_or_else(|| self.names(spec)),
        };
        meant && (self.prefix.is_empty() || self.has_key(spec, args, found))
    }

    fn has_key(&self, spec: &CommandSpec, args: Args<'_>, found: &mut Vec<KeyRef>) -> bool {
        keys::find(spec, args, found).is_ok()
            && found.iter().any(|key| {
                let name = args.get(key.index as usize);
                !key.access.not_key && name.is_some_and(|name| name.starts_with(&self.prefix))
            })
    }

    fn names(&self, spec: &CommandSpec) -> bool {
        self.words.iter().any(|word| match word.strip_prefix('@') {
            Some(category) => is_of(spec, category),
            None => word == spec.name,
        })
    }
}

/// True if a command is of a category: as Redis tells, or as its flags let conclude.
pub fn is_of(spec: &CommandSpec, category: &str) -> bool {
    if let Some(words) = words::of(&spec.name.to_lowercase()) {
        return words.categories.split(' ').any(|known| known == category);
    }
    let has = |flag| spec.flags.has(flag);
    match category {
        "read" => has(Flags::READONLY),
        "write" => has(Flags::WRITE),
        "admin" | "dangerous" => has(Flags::ADMIN),
        "pubsub" => has(Flags::PUBSUB),
        "blocking" => has(Flags::BLOCKING),
        "fast" => has(Flags::FAST),
        "slow" => !has(Flags::FAST),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_protocol::resp::{RequestDecoder, RequestLimits, encode};

    fn holds(scope: &Scope, line: &str) -> bool {
        let mut bytes = Vec::new();
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        encode::request(&mut bytes, &words);
        let mut decoder = RequestDecoder::new();
        assert!(matches!(decoder.next(&bytes, &RequestLimits::ADMITTED), Ok(Some(_))));
        let args = decoder.args(&bytes);
        let spec = command::resolve(args).unwrap();
        Selection::new(scope).holds_for(spec, args, &mut Vec::new())
    }

    #[test]
    fn commands_are_meant_by_name_by_parent_and_by_category() {
        let commands = |words: &[&str]| Scope {
            commands: words.iter().map(|word| (*word).to_owned()).collect(),
            ..Scope::default()
        };
        for (words, line, expected) in [
            (&["GET"][..], "get k", true),
            (&["GET"], "set k v", false),
            (&["@write"], "set k v", true),
            (&["@write"], "get k", false),
            (&["@read", "SET"], "set k v", true),
            (&["CLIENT"], "client id", true),
            (&["CLIENT|LIST"], "client id", false),
            (&["CLIENT|LIST"], "client list", true),
            (&["@connection"], "ping", true),
            (&[], "get k", true),
        ] {
            assert_eq!(holds(&commands(words), line), expected, "{words:?} {line}");
        }
    }

    #[test]
    fn any_key_of_the_prefix_is_enough_and_values_are_no_keys() {
        let scope = Scope { prefix: b"job:".to_vec(), commands: vec!["@write".into()] };
        for (line, expected) in [
            ("set job:1 v", true),
            ("mset a 1 job:2 2", true),
            ("set a job:1", false),
            ("get job:1", false),
            ("set job v", false),
        ] {
            assert_eq!(holds(&scope, line), expected, "{line}");
        }
    }
}
