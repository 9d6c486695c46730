//! The table against the parser, the reference page and the full example.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::*;
use crate::tree::{self, Content, Node};
use crate::{Config, Problems};

fn parse(text: &str) -> Result<Config, Problems> {
    let file = |_: &Path| -> io::Result<String> { Ok("file-secret\n".to_owned()) };
    crate::parse(text, "t", &|name| Some(format!("env-{name}")), &file)
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn all() -> impl Iterator<Item = (&'static str, &'static Key)> {
    SECTIONS.iter().flat_map(|section| section.keys.iter().map(|key| (section.path, key)))
}

/// The file with which a test sets one key: everything above the key, and nothing else beside it.
fn file_with(section: &str, name: &str, value: &str) -> String {
    let line = if value.is_empty() { String::new() } else { format!("{name}: {value}") };
    let seeds = "seeds: ['h:1']";
    match section {
        "" => line,
        "log" | "admin" => format!("{section}: {{ {line} }}"),
        "listeners[]" => format!("listeners: [{{ {line} }}]"),
        "listeners[].client_limits" => format!("listeners: [{{ client_limits: {{ {line} }} }}]"),
        "listeners[].limits[]" => {
            let others = [("name", "n"), ("requests_per_second", "7")];
            let others = others.iter().filter(|(key, _)| *key != name);
            let others: String = others.map(|(key, value)| format!("{key}: {value}, ")).collect();
            format!("listeners: [{{ limits: [{{ {others}{line} }}] }}]")
        }
        "backends.*" if ["bundled", "cluster", "primary", "sentinel", "fixed"].contains(&name) => {
            format!("backends: {{ main: {{ {line} }} }}")
        }
        "backends.*" => format!("backends: {{ main: {{ bundled: {{}}, {line} }} }}"),
        "backends.*.bundled" => format!("backends: {{ main: {{ bundled: {{ {line} }} }} }}"),
        "backends.*.cluster" | "backends.*.primary" => {
            let kind = &section["backends.*.".len()..];
            match name {
                "seeds" => format!("backends: {{ main: {{ {kind}: {{ {line} }} }} }}"),
                "username" => {
                    format!("backends: {{ main: {{ {kind}: {{ {seeds}, password: p, {line} }} }} }}")
                }
                _ => format!("backends: {{ main: {{ {kind}: {{ {seeds}, {line} }} }} }}"),
            }
        }
        "backends.*.sentinel" => {
            let all = [("sentinels", "['h:1']"), ("groups", "[g]"), ("password", "p")];
            // The password is there for the user; where it is the key in question, it is not there twice.
            let others =
                all.iter().filter(|(key, _)| *key != name && (*key != "password" || name == "username"));
            let others: String = others.map(|(key, value)| format!("{key}: {value}, ")).collect();
            format!("backends: {{ main: {{ sentinel: {{ {others}{line} }} }} }}")
        }
        "backends.*.sentinel.login" => {
            let others = if name == "username" { "password: p, " } else { "" };
            format!(
                "backends: {{ main: {{ sentinel: {{ sentinels: ['h:1'], groups: [g], login: {{ {others}{line} }} }} }} }}"
            )
        }
        "backends.*.fixed" => {
            let shards = if name == "shards" { "" } else { "shards: [{ seeds: ['h:1'] }], " };
            let others = match name {
                "username" => "password: p, ",
                "hash" | "hash_tag" => "distribution: ketama, ",
                _ => "",
            };
            format!("backends: {{ main: {{ fixed: {{ {shards}{others}{line} }} }} }}")
        }
        "backends.*.fixed.shards[]" => {
            let seeds = if name == "seeds" { "" } else { "seeds: ['h:1'], " };
            format!(
                "backends: {{ main: {{ fixed: {{ distribution: ketama, shards: [{{ {seeds}{line} }}] }} }} }}"
            )
        }
        other => {
            let below = other.strip_prefix("backends.*.").expect(other);
            format!("backends: {{ main: {{ bundled: {{}}, {below}: {{ {line} }} }} }}")
        }
    }
}

/// Right values of a key, some of which differ from its default.
fn candidates(key: &Key) -> Vec<String> {
    let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    match key.kind {
        Kind::Whole(min, max) | Kind::Millis(min, max) | Kind::Bytes(min, max) => {
            vec![min.to_string(), (min + 1).to_string(), max.to_string()]
        }
        Kind::Choice(words) => texts(words),
        Kind::Name if key.name == "backend" => texts(&["main"]),
        Kind::Text if key.name == "hash_tag" => texts(&["'{}'"]),
        Kind::Name | Kind::Text | Kind::Secret => texts(&["other"]),
        Kind::Filter => texts(&["debug"]),
        Kind::Listen => texts(&["127.0.0.1:20001"]),
        Kind::Address => texts(&["'other:1'"]),
        Kind::Addresses => texts(&["['other:1']"]),
        Kind::Names if key.name == "commands" => texts(&["[get]"]),
        Kind::Names => texts(&["[other]"]),
        Kind::AddressMap => texts(&["{ 'a:1': 'b:2' }"]),
        Kind::SectionOrOff => texts(&["off"]),
        Kind::List | Kind::Named | Kind::Section => Vec::new(),
    }
}

#[test]
fn each_key_is_read_and_changes_what_the_program_sees() {
    for (section, key) in all() {
        let values = candidates(key);
        // Setting the name of the only backend changes nothing; its wrong values are tested below.
        if values.is_empty() || key.name == "backend" {
            continue;
        }
        let configs: Vec<Config> =
            values.iter().filter_map(|value| parse(&file_with(section, key.name, value)).ok()).collect();
        let without = match section {
            "backends.*.cluster" | "backends.*.primary" => {
                parse(&file_with(section, "seeds", "['h:1']")).unwrap()
            }
            "backends.*.sentinel" | "backends.*.sentinel.login" => {
                parse(&file_with("backends.*.sentinel", "groups", "[g]")).unwrap()
            }
            "listeners[].limits[]" => parse(&file_with(section, "name", "n")).unwrap(),
            "backends.*.fixed" if key.name == "shards" => Config::embedded_default(),
            "backends.*.fixed" => parse(&file_with(section, key.name, "")).unwrap(),
            "backends.*.fixed.shards[]" => {
                parse(&file_with("backends.*.fixed.shards[]", "seeds", "['h:1']")).unwrap()
            }
            _ => Config::embedded_default(),
        };
        assert!(configs.iter().any(|config| *config != without), "{section} {}: {values:?}", key.name);
    }
}

#[test]
fn each_key_refuses_what_it_cannot_be_and_names_itself() {
    for (section, key) in all() {
        let wrong = match key.kind {
            Kind::List | Kind::Named | Kind::SectionOrOff => "'wrong'",
            Kind::Section => "wrong",
            Kind::Secret | Kind::Text | Kind::Name => "[wrong]",
            _ => "[[wrong]]",
        };
        let text = file_with(section, key.name, wrong);
        let problems = parse(&text).expect_err(&text);
        let path = join(section, key.name).replace("[]", "[0]").replace('*', "main");
        let named = |problem: &&crate::Problem| problem.key == path || problem.key == format!("{path}[0]");
        assert!(problems.iter().any(|problem| named(&problem)), "{path}:\n{problems}");
        assert_eq!(problems.count(), 1, "{path}:\n{problems}");
    }
}

#[test]
fn the_ends_of_each_range_are_right_and_one_beyond_is_not() {
    for (section, key) in all() {
        let (Kind::Whole(min, max) | Kind::Millis(min, max) | Kind::Bytes(min, max)) = key.kind else {
            continue;
        };
        let complaints = |value: u64| match parse(&file_with(section, key.name, &value.to_string())) {
            Ok(_) => String::new(),
            Err(problems) => problems.to_string(),
        };
        assert!(!complaints(min).contains("too small"), "{section} {}", key.name);
        assert!(!complaints(max).contains("too large"), "{section} {}", key.name);
        assert!(complaints(max + 1).contains("too large"), "{section} {}", key.name);
        if min > 0 {
            assert!(complaints(min - 1).contains("too small"), "{section} {}", key.name);
        }
    }
}

#[test]
fn each_default_of_the_table_is_what_the_parser_takes() {
    for (section, key) in all() {
        let (Default::Is(text) | Default::AtMost(text, _)) = key.default else { continue };
        let config = parse(&file_with(section, key.name, text)).unwrap();
        assert_eq!(config, Config::embedded_default(), "{section} {} = {text}", key.name);
    }
}

#[test]
fn a_default_that_follows_another_key_follows_it() {
    for (section, key) in all() {
        let Default::AtMost(text, other) = key.default else { continue };
        let other_key = super::key(section, other).unwrap();
        assert!(matches!(other_key.default, Default::Is(_)), "{section} {other}: a chain of defaults");
        let (Kind::Millis(min, _) | Kind::Bytes(min, _)) = other_key.kind else {
            panic!("{section} {other}")
        };
        let (Kind::Millis(own_min, _) | Kind::Bytes(own_min, _)) = key.kind else {
            panic!("{section} {}", key.name)
        };
        // Else the lowest value of the other would make the default one that could not be written.
        assert!(own_min <= min, "{section} {}", key.name);
        assert!(crate::units::bytes(text).unwrap() >= min);
        let config = parse(&file_with(section, other, &min.to_string())).unwrap();
        assert_ne!(config, Config::embedded_default());
    }
}

#[test]
fn the_table_is_in_order() {
    let mut paths = BTreeSet::new();
    for section in SECTIONS {
        assert!(paths.insert(section.path), "{} is there twice", section.path);
        let mut names = BTreeSet::new();
        for key in section.keys {
            assert!(names.insert(key.name), "{} {} is there twice", section.path, key.name);
            assert!(
                key.meaning.ends_with('.') && !key.meaning.contains('|'),
                "{}: {}",
                key.name,
                key.meaning
            );
            assert_eq!(matches!(key.kind, Kind::Millis(..)), key.name.ends_with("_ms"), "{}", key.name);
            assert_eq!(matches!(key.kind, Kind::Bytes(..)), key.name.contains("bytes"), "{}", key.name);
            let below = match key.kind {
                Kind::Section | Kind::SectionOrOff => join(section.path, key.name),
                Kind::List => format!("{}[]", join(section.path, key.name)),
                Kind::Named => format!("{}.*", join(section.path, key.name)),
                _ => continue,
            };
            assert!(super::section(&below).is_some(), "no section {below}");
        }
    }
}

#[test]
fn reference_page() {
    let path = here("REFERENCE.md");
    if std::env::var_os("POINTSMAN_REGENERATE").is_some() {
        std::fs::write(&path, markdown()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == markdown(),
        "config/REFERENCE.md is not what the table says; regenerate it with\n    \
         POINTSMAN_REGENERATE=1 cargo test -p pointsman-config reference_page"
    );
}

fn full_example() -> String {
    std::fs::read_to_string(here("examples/full.yaml")).unwrap()
}

/// Every key path of a tree, in the form of the table.
fn paths(node: &Node, path: &str, named: bool, out: &mut BTreeSet<String>) {
    match &node.content {
        Content::Map(entries) => {
            for entry in entries {
                let name = if named { "*" } else { entry.key.as_deref().unwrap() };
                let path = join(path, name);
                out.insert(path.clone());
                if !path.ends_with("address_map") {
                    paths(&entry.value, &path, path == "backends", out);
                }
            }
        }
        Content::List(nodes) => nodes.iter().for_each(|node| paths(node, &format!("{path}[]"), false, out)),
        _ => {}
    }
}

#[test]
fn the_full_example_says_what_an_empty_file_says() {
    assert_eq!(parse(&full_example()).unwrap(), Config::embedded_default());
}

#[test]
fn the_full_example_shows_every_key_and_each_default_as_in_the_table() {
    // A '#' right before a key hides a key that has no default or excludes another.
    let text: String = full_example()
        .lines()
        .map(|line| match line.trim_start().strip_prefix('#') {
            Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase()) => {
                line.replacen('#', "", 1) + "\n"
            }
            _ => format!("{line}\n"),
        })
        .collect();
    let mut shown = BTreeSet::new();
    paths(&tree::read(&text).unwrap(), "", false, &mut shown);
    let mut known: BTreeSet<String> = all().map(|(section, key)| join(section, key.name)).collect();
    known.insert("backends.*".to_owned());
    assert_eq!(shown, known);

    // With all of them at once, the only mistakes are those of excluding each other.
    let problems = parse(&text).unwrap_err();
    assert!(problems.iter().all(|problem| problem.wrong.ends_with("is given too")), "{problems}");

    for (section, key) in all() {
        let (Default::Is(value) | Default::AtMost(value, _)) = key.default else { continue };
        let line = format!("{}: {value}", key.name);
        let is_it =
            |text: &str| text.trim_start_matches([' ', '-']).split(" #").next().unwrap().trim_end() == line;
        assert!(full_example().lines().any(is_it), "{section}: no line '{line}'");
    }
}
