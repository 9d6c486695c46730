//! The table of every key: where it stands, what it may hold, what it is when left out, what it means.
//!
//! The parser takes names, ranges and defaults from here, the suggestions take the names, and
//! `REFERENCE.md` is printed from here, so none of them can say something else than the others. The
//! table itself is in `reference_table.rs`; it holds no behaviour.

use std::fmt::Write as _;

use crate::units;

pub use table::SECTIONS;

#[path = "reference_table.rs"]
mod table;

/// Keys that stand together below one key of the file.
#[derive(Debug)]
pub struct Section {
    /// Where: `""` for the top, `[]` for each entry of a list, `*` for each name of a map:
    /// `listeners[].client_limits`, `backends.*.retry`.
    pub path: &'static str,
    /// What the section is about, in one sentence.
    pub about: &'static str,
    /// Its keys, in the order in which a file shows them best.
    pub keys: &'static [Key],
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it may hold.
    pub kind: Kind,
    /// What it is when left out.
    pub default: Default,
    /// What it means, in one sentence.
    pub meaning: &'static str,
}

/// What a key may hold. Ranges include both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole number.
    Whole(u64, u64),
    /// A duration in milliseconds.
    Millis(u64, u64),
    /// A size in bytes.
    Bytes(u64, u64),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A name for logs and metrics.
    Name,
    /// A tracing filter directive.
    Filter,
    /// Any text.
    Text,
    /// Text that is never shown.
    Secret,
    /// The IP address and port to listen on.
    Listen,
    /// A `host:port`.
    Address,
    /// A list of `host:port`.
    Addresses,
    /// A list of names.
    Names,
    /// A map from `host:port` to `host:port`.
    AddressMap,
    /// Keys below it.
    Section,
    /// Keys below it, or the word `off`.
    SectionOrOff,
    /// A list of sections.
    List,
    /// A map from names to sections.
    Named,
}

/// What a key is when left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// This value, read like the operator's own.
    Is(&'static str),
    /// This value, or that of another key of its section where that is lower.
    AtMost(&'static str, &'static str),
    /// Something that a sentence has to say.
    Note(&'static str),
    /// Nothing: the key is left out where it is not needed.
    Nothing,
    /// It may not be left out.
    Required,
}

impl Kind {
    /// What a value must look like, for a message.
    pub fn allowed(&self) -> String {
        match self {
            Kind::Whole(min, max) => format!("a whole number from {min} to {max}"),
            Kind::Millis(min, max) => format!("whole milliseconds from {min} to {max}"),
            Kind::Bytes(min, max) => {
                format!(
                    "{} from {} to {}",
                    units::SIZE_FORMS,
                    units::show_bytes(*min),
                    units::show_bytes(*max)
                )
            }
            Kind::Choice(words) => words.join(", "),
            Kind::Name => "a name of 1 to 64 printable characters without spaces".to_owned(),
            Kind::Filter => {
                "off, error, warn, info, debug or trace, alone or as target=level, joined by commas"
                    .to_owned()
            }
            Kind::Text | Kind::Secret => "text".to_owned(),
            Kind::Listen => "an IP address and a port, like 127.0.0.1:6379 or \"[::1]:6379\"".to_owned(),
            Kind::Address => "host:port, like proxy.example:6379 or 10.0.0.1:6379".to_owned(),
            Kind::Addresses => "a list of host:port, like [10.0.0.1:6379, redis-1:6379]".to_owned(),
            Kind::Names => "a list of names, like [mymaster, sessions]".to_owned(),
            Kind::AddressMap => {
                "a map of host:port to host:port, like {\"172.17.0.2:6379\": \"127.0.0.1:7001\"}".to_owned()
            }
            Kind::Section => "keys below it".to_owned(),
            Kind::SectionOrOff => "keys below it, or off".to_owned(),
            Kind::List => "a list with at least one entry, each beginning with '-'".to_owned(),
            Kind::Named => "at least one name with keys below it".to_owned(),
        }
    }

    /// The same for a table: the type, and what of it is allowed.
    fn columns(&self) -> (&'static str, String) {
        match self {
            Kind::Whole(min, max) => ("whole number", format!("{min} to {max}")),
            Kind::Millis(min, max) => ("milliseconds", format!("{min} to {max}")),
            Kind::Bytes(min, max) => {
                ("size", format!("{} to {}", units::show_bytes(*min), units::show_bytes(*max)))
            }
            Kind::Choice(words) => {
                ("word", words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "))
            }
            Kind::Name => ("name", "1 to 64 printable characters, no spaces".to_owned()),
            Kind::Filter => ("log filter", "a level, or `target=level`, joined by commas".to_owned()),
            Kind::Text => ("text", String::new()),
            Kind::Secret => ("secret text", "not empty".to_owned()),
            Kind::Listen => ("address", "IP address and port".to_owned()),
            Kind::Address => ("address", "`host:port`".to_owned()),
            Kind::Addresses => ("list of addresses", "`host:port`, at least one".to_owned()),
            Kind::Names => ("list of names", "at least one".to_owned()),
            Kind::AddressMap => ("map of addresses", "`host:port: host:port`".to_owned()),
            Kind::Section => ("section", String::new()),
            Kind::SectionOrOff => ("section", "or the word `off`".to_owned()),
            Kind::List => ("list of sections", "at least one".to_owned()),
            Kind::Named => ("named sections", "at least one".to_owned()),
        }
    }
}

/// The section of this path; the paths used are checked by a test.
pub fn section(path: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.path == path)
}

/// The key of this name in this section.
pub fn key(section_path: &str, name: &str) -> Option<&'static Key> {
    section(section_path)?.keys.iter().find(|key| key.name == name)
}

/// The path of a key: `backends.*.retry` and `backoff_ms` make `backends.*.retry.backoff_ms`.
pub fn join(section_path: &str, name: &str) -> String {
    if section_path.is_empty() { name.to_owned() } else { format!("{section_path}.{name}") }
}

/// The page for people, as Markdown.
pub fn markdown() -> String {
    let mut page = String::from(table::HEAD);
    for section in SECTIONS {
        let title =
            if section.path.is_empty() { "Top level".to_owned() } else { format!("`{}`", section.path) };
        let _ = write!(page, "\n## {title}\n\n{}\n\n", section.about);
        page.push_str("| Key | Type | Allowed | Default | Meaning |\n|---|---|---|---|---|\n");
        for key in section.keys {
            let (kind, allowed) = key.kind.columns();
            let default = match key.default {
                Default::Is(value) => format!("`{value}`"),
                Default::AtMost(value, other) => format!("`{value}`, or `{other}` where that is lower"),
                Default::Note(note) => note.to_owned(),
                Default::Nothing if matches!(key.kind, Kind::Section | Kind::SectionOrOff) => {
                    "its keys' own".to_owned()
                }
                Default::Nothing => "none".to_owned(),
                Default::Required => "**required**".to_owned(),
            };
            let _ = writeln!(page, "| `{}` | {kind} | {allowed} | {default} | {} |", key.name, key.meaning);
        }
    }
    page
}

#[cfg(test)]
#[path = "reference_tests.rs"]
mod tests;
