use super::*;
use crate::command::ROWS;
use crate::resp::args::OwnedArgs;

fn rows() -> impl Iterator<Item = &'static CommandSpec> {
    all().iter().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands))
}

/// Upper, lower and mixed case.
fn cases(name: &str) -> [String; 3] {
    let mixed = name
        .chars()
        .enumerate()
        .map(|(at, letter)| if at % 2 == 0 { letter.to_ascii_lowercase() } else { letter })
        .collect();
    [name.to_string(), name.to_ascii_lowercase(), mixed]
}

#[test]
fn every_command_is_found_in_any_case() {
    for spec in all() {
        for name in cases(spec.name) {
            let found = lookup(name.as_bytes()).unwrap_or_else(|| panic!("{name} is not found"));
            assert_eq!(found.index, spec.index, "{name}");
        }
    }
}

#[test]
fn every_subcommand_is_found_in_any_case() {
    for spec in rows().filter(|spec| spec.name.contains('|')) {
        for name in cases(spec.name) {
            let args = OwnedArgs::new(&name.split('|').collect::<Vec<_>>());
            assert_eq!(lookup_args(args.args()).map(|found| found.index), Some(spec.index), "{name}");
        }
    }
}

#[test]
fn names_that_are_nearly_right_are_not_found() {
    // The plain search that the index must agree with.
    let really = |name: &[u8]| all().iter().find(|spec| spec.name.as_bytes().eq_ignore_ascii_case(name));
    for spec in all() {
        let name = spec.name.as_bytes();
        let mut others = vec![[name, b"X"].concat(), [name, b"\0"].concat(), [b"\0", name].concat()];
        others.push(name[1..].to_vec());
        for at in 0..name.len() {
            for bit in 0..8 {
                let mut other = name.to_vec();
                other[at] ^= 1 << bit;
                others.push(other);
            }
        }
        for other in others {
            assert_eq!(
                lookup(&other).map(|spec| spec.name),
                really(&other).map(|spec| spec.name),
                "{other:?}"
            );
        }
    }
}

#[test]
fn names_that_are_no_names_are_not_found() {
    for name in [&b""[..], b"\0", b"nonesuch", &[0xff; 3], &[b'A'; 24], &[b'A'; 25], &[b'A'; 100_000]] {
        assert!(lookup(name).is_none(), "{name:?}");
    }
}

#[test]
fn words_are_the_same_only_if_every_byte_is() {
    for len in 1..=NAME_MAX {
        let name = vec![b'Q'; len];
        let word = Word::fold(&name).unwrap();
        for at in 0..len {
            let mut other = name.clone();
            other[at] = b'R';
            assert!(!word.same(&Word::fold(&other).unwrap()), "{len} bytes, other at {at}");
        }
        let shorter = Word::fold(&name[1..]);
        assert!(!shorter.is_some_and(|shorter| word.same(&shorter)), "{len} bytes");
    }
    assert!(Word::fold(&[b'Q'; NAME_MAX + 1]).is_none() && Word::fold(b"").is_none());
}

#[test]
fn the_index_ends_every_search() {
    let empty = INDEX.iter().filter(|entry| entry.word.len == 0).count();
    assert_eq!(empty, PLACES - all().len());
    assert!(all().len() * 3 <= PLACES, "{} commands: double PLACES", all().len());
}

#[test]
fn most_names_are_found_at_the_first_place() {
    let first = all()
        .iter()
        .filter(|spec| {
            Word::fold(spec.name.as_bytes()).is_some_and(|word| INDEX[word.place()].word.same(&word))
        })
        .count();
    assert!(first * 100 >= all().len() * 80, "{first} of {}", all().len());
}

#[test]
fn folding_touches_letters_only() {
    for byte in 0..=255u8 {
        let word = u64::from_le_bytes([byte; 8]);
        assert_eq!(upper(word), u64::from_le_bytes([byte.to_ascii_uppercase(); 8]), "{byte:#x}");
        // Its neighbours must not matter.
        let word = u64::from_le_bytes([byte, 0xff, byte, 0, byte, b'z', byte, 0x80]);
        let up = byte.to_ascii_uppercase();
        assert_eq!(upper(word), u64::from_le_bytes([up, 0xff, up, 0, up, b'Z', up, 0x80]), "{byte:#x}");
    }
}

#[test]
fn indexes_are_dense() {
    let mut seen = [false; ROWS];
    for spec in rows() {
        assert!(
            !std::mem::replace(&mut seen[usize::from(spec.index)], true),
            "{} has a used index",
            spec.name
        );
    }
    assert!(seen.iter().all(|seen| *seen));
}

#[test]
fn requests_are_resolved_or_refused() {
    let name = |words: &[&str]| match resolve(OwnedArgs::new(words).args()) {
        Ok(spec) => spec.name.to_string(),
        Err(Refusal::UnknownCommand) => "unknown command".to_string(),
        Err(Refusal::UnknownSubcommand(container)) => format!("unknown subcommand of {}", container.name),
        Err(Refusal::Arity(spec)) => format!("arity of {}", spec.name),
    };
    for (words, expected) in [
        (&["get", "k"][..], "GET"),
        (&["get"], "arity of GET"),
        (&["get", "k", "k"], "arity of GET"),
        (&["mget"], "arity of MGET"),
        (&["Client", "iD"], "CLIENT|ID"),
        (&["client", "id", "x"], "arity of CLIENT|ID"),
        (&["client"], "arity of CLIENT"),
        (&["client", "nonesuch"], "unknown subcommand of CLIENT"),
        (&["client", ""], "unknown subcommand of CLIENT"),
        (&["command"], "COMMAND"),
        (&["command", "count"], "COMMAND|COUNT"),
        (&["nonesuch", "k"], "unknown command"),
        (&["client|id"], "unknown command"),
        (&[""], "unknown command"),
        (&[], "unknown command"),
    ] {
        assert_eq!(name(words), expected, "{words:?}");
    }
}
