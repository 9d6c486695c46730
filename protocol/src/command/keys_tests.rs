use super::*;
use crate::command::{all, lookup_args};
use crate::resp::args::OwnedArgs;

fn spec_of(args: Args<'_>) -> &'static CommandSpec {
    lookup_args(args).unwrap_or_else(|| panic!("{:?} is no command", String::from_utf8_lossy(args.at(0))))
}

/// Splits a line of words at spaces; `""` is the empty word.
fn words(line: &str) -> OwnedArgs {
    OwnedArgs::new(&line.split(' ').map(|word| if word == "\"\"" { "" } else { word }).collect::<Vec<_>>())
}

/// The keys of a request as text: `1:R 3:RW 5:W 2:- 1:N`, with `+` where more are hidden.
fn keys(line: &str) -> Result<String, KeyError> {
    let args = words(line);
    let spec = spec_of(args.args());
    let mut out = vec![KeyRef { index: 99, access: KeyAccess::RW }];
    let found = find(spec, args.args(), &mut out);
    let at = first(spec, args.args());
    match found {
        Err(error) => {
            assert!(out.is_empty(), "{line}: an error leaves keys behind");
            if usize::from(spec.arity.unsigned_abs()) <= args.args().len() {
                assert_eq!(at, Err(error), "{line}");
            }
            return Err(error);
        }
        Ok(()) => assert_eq!(at, Ok(out.first().map(|key| key.index as usize)), "{line}"),
    }
    let text = out.iter().map(|KeyRef { index, access }| {
        let reads = if access.reads { "R" } else { "" };
        let writes = if access.writes { "W" } else { "" };
        let neither = if access.reads || access.writes { "" } else { "-" };
        let kind = if access.not_key { "N".to_string() } else { format!("{reads}{writes}{neither}") };
        format!("{index}:{kind}{}", if access.incomplete { "+" } else { "" })
    });
    Ok(text.collect::<Vec<_>>().join(" "))
}

#[track_caller]
fn check(rows: &[(&str, &str)]) {
    for (line, expected) in rows {
        assert_eq!(keys(line).as_deref(), Ok(*expected), "{line}");
    }
}

#[track_caller]
fn refuse(rows: &[(&str, KeyError)]) {
    for (line, error) in rows {
        assert_eq!(keys(line), Err(*error), "{line}");
    }
}

#[test]
fn t34_keys_at_fixed_places() {
    check(&[
        ("GET k", "1:R"),
        ("get k", "1:R"),
        ("STRLEN k", "1:-"),
        ("DEL a b c", "1:W 2:W 3:W"),
        ("MGET a b", "1:R 2:R"),
        ("MSET a 1 b 2", "1:W 3:W"),
        ("MSET a 1 b", "1:W 3:W"),
        ("RENAME a b", "1:RW 2:W"),
        ("COPY a b", "1:R 2:W"),
        ("COPY a b DB 3 REPLACE", "1:R 2:W"),
        ("LCS a b LEN", "1:R 2:R"),
        ("RESTORE k 0 payload REPLACE", "1:W"),
        ("PFCOUNT a b", "1:RW 2:RW"),
        ("PFMERGE d a b", "1:RW 2:R 3:R"),
        ("PFMERGE d", "1:RW"),
        ("BITOP AND d a b", "2:W 3:R 4:R"),
        ("SMOVE a b m", "1:RW 2:W"),
        ("BLPOP a b 0", "1:RW 2:RW"),
        ("BRPOPLPUSH a b 0", "1:RW 2:W"),
        ("ZRANGESTORE d s 0 -1", "1:W 2:R"),
        ("OBJECT ENCODING k", "2:-"),
        ("OBJECT HELP", ""),
        ("MEMORY USAGE k SAMPLES 5", "2:-"),
        ("MEMORY DOCTOR", ""),
        ("XGROUP CREATE k g $", "2:W"),
        ("XINFO STREAM k FULL", "2:R"),
        ("WATCH a b", "1:- 2:-"),
        ("PING", ""),
        ("PUBLISH c m", ""),
    ]);
}

#[test]
fn t34_channels_that_decide_the_slot_are_no_keys() {
    check(&[
        ("SPUBLISH c m", "1:N"),
        ("SSUBSCRIBE a b", "1:N 2:N"),
        ("SUNSUBSCRIBE a", "1:N"),
        ("SUBSCRIBE a", ""),
    ]);
}

#[test]
fn t34_counted_keys() {
    check(&[
        ("EVAL s 0", ""),
        ("EVAL s 0 a b", ""),
        ("EVAL s 2 a b", "3:RW 4:RW"),
        ("EVAL s 2 a b c d", "3:RW 4:RW"),
        ("EVALSHA_RO s 1 a b", "3:R"),
        ("FCALL f 1 a b", "3:RW"),
        ("FCALL_RO f 1 a b", "3:R"),
        ("ZUNION 2 a b WEIGHTS 1 2", "2:R 3:R"),
        ("ZINTER 1 a", "2:R"),
        ("ZDIFF 2 a b WITHSCORES", "2:R 3:R"),
        ("ZUNIONSTORE d 2 a b", "1:W 3:R 4:R"),
        ("ZINTERCARD 1 a LIMIT 2", "2:R"),
        ("SINTERCARD 2 a b LIMIT 2", "2:R 3:R"),
        ("LMPOP 2 a b LEFT COUNT 3", "2:RW 3:RW"),
        ("ZMPOP 1 a MIN", "2:RW"),
        ("BLMPOP 0 2 a b RIGHT", "3:RW 4:RW"),
        ("BZMPOP 0 1 a MAX", "3:RW"),
    ]);
    // A script may be called with no key; so `first` finds none, and the plan is made by rule (T40).
    let args = words("EVAL s 0 a");
    assert_eq!(first(spec_of(args.args()), args.args()), Ok(None));
}

#[test]
fn t34_streams() {
    check(&[
        ("XREAD STREAMS a 0", "2:R"),
        ("XREAD COUNT 1 BLOCK 0 STREAMS a b 0 0", "6:R 7:R"),
        ("xread streams streams $", "2:R"),
        ("XREAD COUNT STREAMS STREAMS a 0", "4:R"),
        ("XREADGROUP GROUP g c STREAMS a >", "5:R"),
        ("XREADGROUP GROUP streams c STREAMS a >", "5:R"),
        ("XREADGROUP GROUP g streams STREAMS a >", "5:R"),
        ("XREADGROUP GROUP streams streams NOACK STREAMS streams >", "6:R"),
        ("XREADGROUP COUNT 1 GROUP g c STREAMS a b > >", "7:R 8:R"),
    ]);
    refuse(&[
        ("XREAD a b c", KeyError::Syntax),
        ("XREAD COUNT 1 STREAMS", KeyError::Syntax),
        ("XREAD BLOCK 1 COUNT", KeyError::Syntax),
        ("XREAD STREAMS a b 0", KeyError::UnbalancedStreams),
        ("XREADGROUP GROUP g c STREAMS a b >", KeyError::UnbalancedStreams),
        ("XREADGROUP GROUP g c NOACK COUNT 1", KeyError::Syntax),
        ("XREADGROUP COUNT 1 COUNT 1 NOACK GROUP", KeyError::Syntax),
        ("XREAD FOO STREAMS a 0", KeyError::Syntax),
        ("XREAD COUNT x STREAMS a b 0", KeyError::NotInteger),
        ("XREAD BLOCK x STREAMS a b 0", KeyError::TimeoutNotInteger),
        ("XREADGROUP GROUP g c BLOCK -1 COUNT x a", KeyError::TimeoutNegative),
    ]);
}

#[test]
fn t34_sort() {
    check(&[
        ("SORT k", "1:R"),
        ("SORT k BY nosort GET # DESC", "1:R"),
        ("SORT k BY w_*", "1:R+"),
        ("SORT k GET # GET o_*->name", "1:R+"),
        ("SORT k LIMIT 0 5 STORE d", "1:R 6:W"),
        ("SORT k BY store STORE d", "1:R 5:W"),
        ("SORT k GET store ALPHA", "1:R"),
        ("SORT k STORE store", "1:R 3:W"),
        ("SORT k STORE by STORE d", "1:R 3:W 5:W"),
        ("SORT k STORE", "1:R"),
        ("SORT k BY", "1:R"),
        ("SORT k LIMIT 0", "1:R"),
        ("SORT k FOO STORE d", "1:R 4:W"),
        ("SORT_RO k BY w_* GET o_*", "1:R+"),
        ("SORT_RO k STORE d", "1:R"),
    ]);
}

#[test]
fn t34_georadius() {
    check(&[
        ("GEORADIUS k 1 2 3 m", "1:R"),
        ("GEORADIUS k 1 2 3 m WITHDIST ASC", "1:R"),
        ("GEORADIUS k 1 2 3 m STORE d", "1:R 7:W"),
        ("GEORADIUS k 1 2 3 m storedist d", "1:R 7:W"),
        ("GEORADIUS k 1 2 3 m COUNT 5 ANY STORE store", "1:R 10:W"),
        ("GEORADIUS k 1 2 3 m STORE a STOREDIST b", "1:R 7:W 9:W"),
        ("GEORADIUS k 1 2 3 m STORE a STORE b", "1:R 7:W 9:W"),
        ("GEORADIUS k 1 2 3 m STORE", "1:R"),
        ("GEORADIUS k 1 2 3 m COUNT store d", "1:R"),
        ("GEORADIUS store 1 2 3 store", "1:R"),
        ("GEORADIUSBYMEMBER k store 3 m", "1:R"),
        ("GEORADIUSBYMEMBER k m 3 m STORE d", "1:R 6:W"),
        ("GEORADIUS_RO k 1 2 3 m STORE d", "1:R"),
    ]);
}

#[test]
fn t34_migrate() {
    check(&[
        ("MIGRATE h 1 k 0 5", "3:RW"),
        ("MIGRATE h 1 \"\" 0 5", "3:RW"),
        ("MIGRATE h 1 k 0 5 COPY REPLACE AUTH keys", "3:RW"),
        ("MIGRATE h 1 \"\" 0 5 KEYS a b", "7:RW 8:RW"),
        ("MIGRATE h 1 \"\" 0 5 AUTH keys KEYS a b", "9:RW 10:RW"),
        ("MIGRATE h 1 \"\" 0 5 COPY AUTH2 keys keys KEYS keys", "11:RW"),
        ("MIGRATE h 1 \"\" 0 5 KEYS", ""),
    ]);
    refuse(&[("MIGRATE h 1 k 0 5 KEYS a b", KeyError::MigrateBoth)]);
}

#[test]
fn t34_access_that_depends_on_the_arguments() {
    check(&[
        ("SET k v", "1:W"),
        ("SET k v EX 5 NX", "1:W"),
        ("SET k get", "1:W"),
        ("SET k v NX get", "1:RW"),
        ("BITFIELD k", "1:R"),
        ("BITFIELD k GET u8 0 get u8 8", "1:R"),
        ("BITFIELD k OVERFLOW SAT GET u8 0", "1:R"),
        ("BITFIELD k GET u8 0 SET u8 0 1", "1:RW"),
        ("BITFIELD k INCRBY u8 0 1", "1:RW"),
        ("BITFIELD k GET u8", "1:RW"),
        ("BITFIELD k FOO", "1:RW"),
        ("BITFIELD_RO k GET u8 0", "1:R"),
    ]);
}

#[test]
fn t42_short_requests() {
    for line in [
        "GET",
        "MGET",
        "EVAL",
        "EVAL s",
        "XREAD",
        "SORT",
        "MIGRATE h",
        "BLPOP a",
        "ZUNION",
        "GEORADIUS k",
        "MSET a",
    ] {
        assert_eq!(keys(line), Err(KeyError::Arity), "{line}");
    }
    // Every row with every number of arguments from none on, its own name and subcommand's first.
    for spec in all().iter().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands)) {
        for filler in ["", "x", "0", "-1", "9223372036854775807", "STREAMS", "KEYS", "STORE", "GET"] {
            let mut line = Vec::new();
            let mut out = Vec::new();
            for count in 0..24 {
                let args = OwnedArgs::new(&line);
                let found = find(spec, args.args(), &mut out);
                let at = first(spec, args.args());
                if found.is_ok() && spec.accepts(count) {
                    assert_eq!(
                        at.ok().flatten(),
                        out.first().map(|key| key.index as usize),
                        "{} {line:?}",
                        spec.name
                    );
                }
                assert!(out.iter().all(|key| (key.index as usize) < count.max(1)), "{} {line:?}", spec.name);
                assert!(out.iter().all(|key| key.index > 0), "{} {line:?}: its name is no key", spec.name);
                line.push(spec.name.split('|').nth(count).unwrap_or(filler));
            }
        }
    }
}

#[test]
fn t42_absurd_counts() {
    refuse(&[
        ("EVAL s x", KeyError::NotInteger),
        ("EVAL s 1.0", KeyError::NotInteger),
        ("EVAL s +1 k", KeyError::NotInteger),
        ("EVAL s 01 k", KeyError::NotInteger),
        ("EVAL s -0 k", KeyError::NotInteger),
        ("EVAL s -", KeyError::NotInteger),
        ("EVAL s \"\"", KeyError::NotInteger),
        ("EVAL s 9223372036854775808", KeyError::NotInteger),
        ("EVAL s -1 k", KeyError::NegativeCount),
        ("EVAL s -9223372036854775808 k", KeyError::NegativeCount),
        ("EVAL s 2 k", KeyError::CountTooLarge),
        ("EVAL s 9223372036854775807 k", KeyError::CountTooLarge),
        ("FCALL f x", KeyError::BadCount),
        ("FCALL f -1", KeyError::NegativeCount),
        ("FCALL_RO f 9", KeyError::CountTooLarge),
        ("ZUNION x k", KeyError::NotInteger),
        ("ZUNION 0 k", KeyError::NoInputKey),
        ("ZUNION -5 k", KeyError::NoInputKey),
        ("ZUNION 2 k", KeyError::Syntax),
        ("ZDIFFSTORE d 2147483648 k", KeyError::Syntax),
        ("SINTERCARD x k", KeyError::CountNotPositive),
        ("SINTERCARD 0 k", KeyError::CountNotPositive),
        ("SINTERCARD 2 k", KeyError::CountTooLarge),
        ("LMPOP 0 k LEFT", KeyError::CountNotPositive),
        ("LMPOP 9 k LEFT", KeyError::Syntax),
        ("BZMPOP 0 -1 k MIN", KeyError::CountNotPositive),
    ]);
}

#[test]
fn t42_texts_are_those_of_redis() {
    for (line, text) in [
        ("EVAL s x", "-ERR value is not an integer or out of range\r\n"),
        ("EVAL s -1", "-ERR Number of keys can't be negative\r\n"),
        ("EVAL s 3 k", "-ERR Number of keys can't be greater than number of args\r\n"),
        ("FCALL f x", "-ERR Bad number of keys provided\r\n"),
        ("ZUNION 0 k", "-ERR at least 1 input key is needed for 'zunion' command\r\n"),
        ("LMPOP 0 k LEFT", "-ERR numkeys should be greater than 0\r\n"),
        ("XREAD FOO a b", "-ERR syntax error\r\n"),
        (
            "XREAD STREAMS a b 0",
            "-ERR Unbalanced 'xread' list of streams: for each stream key an ID or '$' must be specified.\r\n",
        ),
        (
            "XREADGROUP GROUP g c STREAMS a b >",
            "-ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or '>' must be specified.\r\n",
        ),
        (
            "MIGRATE h 1 k 0 5 KEYS a",
            "-ERR When using MIGRATE KEYS option, the key argument must be set to the empty string\r\n",
        ),
        ("GET", "-ERR wrong number of arguments for 'get' command\r\n"),
        ("XGROUP CREATE k", "-ERR wrong number of arguments for 'xgroup|create' command\r\n"),
    ] {
        let args = words(line);
        let mut out = Vec::new();
        keys(line).expect_err(line).reply(spec_of(args.args()), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), text, "{line}");
    }
}

#[test]
fn t34_patterns_agree_with_the_search() {
    for spec in all().iter().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands)) {
        for count in 1..12 {
            let args = OwnedArgs::new(&vec!["x"; count]);
            let mut out = Vec::new();
            let found = find(spec, args.args(), &mut out);
            if spec.pattern == KeyPattern::Complex || found.is_err() {
                continue;
            }
            let told: Vec<_> = match spec.pattern.range(count) {
                Some((first, last, step)) => (first..=last).step_by(step).collect(),
                None => Vec::new(),
            };
            let searched: Vec<_> = out.iter().map(|key| key.index as usize).collect();
            assert_eq!(told, searched, "{} with {count} arguments", spec.name);
        }
    }
}
