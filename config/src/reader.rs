//! Takes values out of the tree, by the table of keys.
//!
//! A [`Section`] answers for one key at a time: what was written if that is right, the default of
//! the table otherwise, and each mistake goes into the [`Reader`]'s findings. It never stops: what a
//! caller gets is always usable for going on, and [`Value::sound`] says whether it may be used for
//! judging other values. What the values mean together is decided in `check`.

use std::cell::RefCell;
use std::net::SocketAddr;

use pointsman_protocol::HostPort;

use crate::problem::{Place, Problem};
use crate::reference::{self, Default, Key, Kind};
use crate::suggest::{did_you_mean, nearest};
use crate::tree::{Content, Entry, Node};
use crate::units::{self, Unreadable};

/// Collects findings while a file is read.
pub(crate) struct Reader<'f> {
    file: &'f str,
    found: RefCell<Vec<Problem>>,
}

/// A value, and whether it stands in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<T> {
    pub value: T,
    /// Its line, or that of its section when it was left out.
    pub line: usize,
    /// It stands in the file.
    pub given: bool,
    /// It is what was written or a true default, not a stand-in for something wrong.
    pub sound: bool,
}

impl<'f> Reader<'f> {
    pub fn new(file: &'f str) -> Self {
        Reader { file, found: RefCell::default() }
    }

    /// A finding on a line, to be completed and given to [`Reader::report`].
    pub fn problem(&self, line: usize, key: impl Into<String>, wrong: impl Into<String>) -> Problem {
        Problem::new(Place::Line(self.file.to_owned(), line), key, wrong)
    }

    pub fn report(&self, problem: Problem) {
        self.found.borrow_mut().push(problem);
    }

    pub fn into_findings(self) -> Vec<Problem> {
        self.found.into_inner()
    }

    /// The keys below `node`; every unknown, repeated or unreadable key is reported here.
    pub fn section<'r>(
        &'r self,
        path: String,
        table: &'static str,
        node: Option<&'r Node>,
        line: usize,
    ) -> Section<'r> {
        let mut section = Section {
            reader: self,
            path,
            table,
            line,
            entries: Vec::new(),
            doubtful: Vec::new(),
            sound: true,
        };
        match node.map(|node| (node, &node.content)) {
            None | Some((_, Content::Empty)) => {}
            Some((_, Content::Map(entries))) => {
                for entry in entries {
                    section.admit(entry);
                }
            }
            Some((node, _)) => {
                let problem =
                    self.problem(node.line, section.path.as_str(), wrong_type(node, "keys below it"));
                self.report(with_value(problem, node));
                section.sound = false;
            }
        }
        section
    }
}

/// Keys of earlier versions, and what has their meaning now.
const RENAMED: [(&str, &str); 2] = [("pinned_max", "pool.max_active"), ("pinned_idle_max", "pool.max_idle")];

/// One section of the file, seen through the table.
pub(crate) struct Section<'r> {
    pub reader: &'r Reader<'r>,
    /// Its path as the operator knows it: `listeners[0].client_limits`.
    pub path: String,
    /// Its path in the table: `listeners[].client_limits`.
    pub table: &'static str,
    /// Its line.
    pub line: usize,
    entries: Vec<(&'static str, &'r Entry)>,
    /// Keys that are left out, but were probably meant by one that is unknown.
    doubtful: Vec<&'static str>,
    /// It is a section at all.
    sound: bool,
}

impl<'r> Section<'r> {
    fn admit(&mut self, entry: &'r Entry) {
        let Some(name) = entry.key.as_deref() else {
            let problem = self.reader.problem(entry.line, self.path.as_str(), "a key that is not text");
            return self.reader.report(problem.suggest("put values that contain { or [ into quotes"));
        };
        let Some(key) = reference::key(self.table, name) else {
            let meant = nearest(name, self.names());
            self.doubtful.extend(meant);
            return self.reader.report(self.unknown(name, entry.line, meant));
        };
        if let Some((_, first)) = self.entries.iter().find(|(known, _)| *known == key.name) {
            let wrong = format!("given twice, first on line {}", first.line);
            let problem = self.reader.problem(entry.line, self.key_path(name), wrong);
            return self.reader.report(problem.suggest("keep one of them"));
        }
        self.entries.push((key.name, entry));
    }

    /// Values of unknown keys are never shown: `pasword: ...` is one.
    fn unknown(&self, name: &str, line: usize, meant: Option<&str>) -> Problem {
        let problem = self
            .reader
            .problem(line, self.key_path(&crate::problem::shown(name)), "unknown key")
            .allowed(self.names().collect::<Vec<_>>().join(", "));
        if name == "<<" {
            return problem.suggest("merging with << is not supported; use an alias for the whole section");
        }
        if let Some((_, now)) = RENAMED.iter().find(|(old, _)| *old == name) {
            return problem.suggest(format!("it is {now} now"));
        }
        if let Some(meant) = meant {
            return problem.suggest(did_you_mean(meant));
        }
        match home_of(name, self.table) {
            Some("") => problem.suggest(format!("'{name}' belongs to the top level")),
            Some(home) => {
                let below = home.strip_prefix(self.table).unwrap_or(home).trim_start_matches('.');
                problem.suggest(format!("'{name}' belongs under {below}"))
            }
            None => problem,
        }
    }

    fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        reference::section(self.table).into_iter().flat_map(|section| section.keys).map(|key| key.name)
    }

    /// Whether a key was truly left out, so that its absence may be held against the file: a misspelt
    /// key is reported as such already.
    pub fn lacks(&self, name: &str) -> bool {
        self.sound && self.entry(name).is_none() && !self.doubtful.contains(&name)
    }

    /// The full path of one of its keys.
    pub fn key_path(&self, name: &str) -> String {
        reference::join(&self.path, name)
    }

    /// What stands at this key.
    pub fn entry(&self, name: &str) -> Option<&'r Entry> {
        self.entries.iter().find(|(known, _)| *known == name).map(|(_, entry)| *entry)
    }

    /// The section below this key, `table` being its path in the table.
    pub fn child(&self, name: &str, table: &'static str) -> Section<'r> {
        let entry = self.entry(name);
        let line = entry.map_or(self.line, |entry| entry.line);
        self.reader.section(self.key_path(name), table, entry.map(|entry| &entry.value), line)
    }

    /// A number, duration or size in its range. The table's ranges fit the types that are asked for.
    pub fn number(&self, name: &str) -> Value<u64> {
        let row = self.row(name);
        let default = match row.map(|row| row.default) {
            Some(Default::Is(text)) => read_number(row, text).unwrap_or(0),
            Some(Default::AtMost(text, other)) => {
                read_number(row, text).unwrap_or(0).min(self.peek_number(other).unwrap_or(u64::MAX))
            }
            _ => 0,
        };
        self.read(name, default, |node| {
            let text = match &node.content {
                Content::Quoted(text) if !matches!(row.map(|row| row.kind), Some(Kind::Bytes(..))) => {
                    let suggestion =
                        read_number(row, text).ok().map(|number| format!("write {number} without quotes"));
                    return Err(Unreadable { wrong: "text, not a number".to_owned(), suggestion });
                }
                Content::Plain(text) | Content::Quoted(text) => text,
                _ => return Err(Unreadable { wrong: wrong_type(node, "a number"), suggestion: None }),
            };
            read_number(row, text)
        })
    }

    /// The value of a number if it stands here and is right, without any report.
    fn peek_number(&self, name: &str) -> Option<u64> {
        match &self.entry(name)?.value.content {
            Content::Plain(text) | Content::Quoted(text) => read_number(self.row(name), text).ok(),
            _ => None,
        }
    }

    /// One of the words of the table, as the value that the caller gives to it.
    pub fn choice<T: Copy>(&self, name: &str, words: &[(&'static str, T)], default: T) -> Value<T> {
        self.read(name, default, |node| {
            let text = text_of(node, "a word")?;
            words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| Unreadable {
                wrong: "not one of the allowed words".to_owned(),
                suggestion: nearest(text, words.iter().map(|(word, _)| *word)).map(did_you_mean),
            })
        })
    }

    /// Text that `check` accepts; `None` when it was left out and the table has no default.
    pub fn text(&self, name: &str, check: impl Fn(&str) -> Result<(), Unreadable>) -> Value<Option<String>> {
        self.read(name, self.default_text(name), |node| {
            let text = text_of(node, "text")?;
            check(text).map(|()| Some(text.to_owned()))
        })
    }

    /// An address that can be connected to; `None` when it was left out.
    pub fn address(&self, name: &str) -> Value<Option<HostPort>> {
        self.read(name, None, |node| host_port(text_of(node, "host:port")?).map(Some))
    }

    /// Addresses that can be connected to; none when they were left out.
    pub fn addresses(&self, name: &str) -> Value<Vec<HostPort>> {
        self.read(name, Vec::new(), |node| match &node.content {
            Content::List(nodes) if !nodes.is_empty() => {
                nodes.iter().map(|node| host_port(text_of(node, "host:port")?)).collect()
            }
            Content::Plain(_) | Content::Quoted(_) => {
                Err(Unreadable { wrong: "not a list".into(), suggestion: Some("put it into [ ]".into()) })
            }
            _ => Err(Unreadable { wrong: "not a list with addresses".into(), suggestion: None }),
        })
    }

    /// The address to listen on.
    pub fn listen(&self, name: &str) -> Value<SocketAddr> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let default = self.default_text(name).and_then(|text| text.parse().ok()).unwrap_or(any);
        self.read(name, default, |node| {
            let text = text_of(node, "an address")?;
            text.parse().map_err(|_| not_listenable(text))
        })
    }

    /// Reports a value that is wrong by itself.
    pub fn refuse(&self, name: &str, node: &Node, error: Unreadable) {
        let mut problem = self.reader.problem(node.line, self.key_path(name), error.wrong);
        problem.suggestion = error.suggestion;
        let kind = self.row(name).map(|row| row.kind);
        match kind {
            // Any text is allowed, so that saying it would not help.
            Some(Kind::Text | Kind::Secret) | None => {}
            Some(kind) => problem = problem.allowed(kind.allowed()),
        }
        if may_show(kind, name, node) {
            problem = with_value(problem, node);
        }
        self.reader.report(problem);
    }

    fn row(&self, name: &str) -> Option<&'static Key> {
        reference::key(self.table, name)
    }

    fn default_text(&self, name: &str) -> Option<String> {
        match self.row(name)?.default {
            Default::Is(text) => Some(text.to_owned()),
            _ => None,
        }
    }

    fn read<T>(&self, name: &str, default: T, read: impl FnOnce(&Node) -> Result<T, Unreadable>) -> Value<T> {
        let Some(entry) = self.entry(name) else {
            return Value { value: default, line: self.line, given: false, sound: self.lacks(name) };
        };
        let line = entry.value.line;
        let result = match &entry.value.content {
            Content::Empty => Err(Unreadable {
                wrong: "no value is given".to_owned(),
                suggestion: Some("leave the key out to have the default".to_owned()),
            }),
            _ => read(&entry.value),
        };
        match result {
            Ok(value) => Value { value, line, given: true, sound: true },
            Err(error) => {
                self.refuse(name, &entry.value, error);
                Value { value: default, line, given: true, sound: false }
            }
        }
    }
}

/// Text, whether in quotes or not.
pub(crate) fn text_of<'n>(node: &'n Node, wanted: &str) -> Result<&'n str, Unreadable> {
    match &node.content {
        Content::Plain(text) | Content::Quoted(text) => Ok(text),
        _ => Err(Unreadable { wrong: wrong_type(node, wanted), suggestion: None }),
    }
}

/// A `host:port` that one can connect to.
pub(crate) fn host_port(text: &str) -> Result<HostPort, Unreadable> {
    let error = |wrong: &str, suggestion: Option<String>| Unreadable { wrong: wrong.to_owned(), suggestion };
    if let Some((_, rest)) = text.split_once("://") {
        let bare = rest.rsplit_once('@').map_or(rest, |(_, host)| host).split('/').next().unwrap_or(rest);
        let suggestion = format!("write {bare}; user and password have keys of their own");
        return Err(error("an address has no scheme", Some(suggestion)));
    }
    let Some(address) = HostPort::parse(text) else {
        let suggestion = (!text.is_empty() && is_host(text)).then(|| format!("write {text}:6379"));
        return Err(error("not of the form host:port", suggestion));
    };
    if !is_host(address.host()) {
        return Err(error("not of the form host:port", None));
    }
    if address.port() == 0 {
        return Err(error("port 0 cannot be connected to", None));
    }
    Ok(address)
}

/// A host name or an IP address, by its characters; only a resolver knows more.
fn is_host(host: &str) -> bool {
    if host.contains(':') {
        return host.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let name = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    name && !host.is_empty() && host.len() <= 253
}

fn not_listenable(text: &str) -> Unreadable {
    let written = |address: String| Some(format!("write {address}"));
    let suggestion = match text.rsplit_once(':') {
        None if text.parse::<u16>().is_ok() => written(format!("127.0.0.1:{text}")),
        None if text.parse::<std::net::IpAddr>().is_ok() => written(format!("{text}:6379")),
        Some(("" | "*", port)) if port.parse::<u16>().is_ok() => {
            Some(format!("write 127.0.0.1:{port} for this machine only, 0.0.0.0:{port} for every interface"))
        }
        Some(("localhost", port)) if port.parse::<u16>().is_ok() => written(format!("127.0.0.1:{port}")),
        Some((host, port)) if host.parse::<std::net::Ipv6Addr>().is_ok() && port.parse::<u16>().is_ok() => {
            written(format!("\"[{host}]:{port}\""))
        }
        Some((host, port)) if is_host(host) && port.parse::<u16>().is_ok() && !host.contains(':') => {
            Some("names are not looked up here; write the IP address".to_owned())
        }
        _ => None,
    };
    Unreadable { wrong: "not an address to listen on".to_owned(), suggestion }
}

fn read_number(row: Option<&'static Key>, text: &str) -> Result<u64, Unreadable> {
    let (number, min, max) = match row.map(|row| row.kind) {
        Some(Kind::Whole(min, max)) => (units::whole(text), min, max),
        Some(Kind::Millis(min, max)) => (units::millis(text), min, max),
        Some(Kind::Bytes(min, max)) => (units::bytes(text), min, max),
        _ => (units::whole(text), 0, u64::MAX),
    };
    let out_of_range = |wrong: &str| Unreadable { wrong: wrong.to_owned(), suggestion: None };
    match number {
        Err(_) if text.strip_prefix('-').is_some_and(|rest| units::bytes(rest).is_ok()) => {
            Err(out_of_range("below zero"))
        }
        Ok(number) if number < min => Err(out_of_range("too small")),
        Ok(number) if number > max => Err(out_of_range("too large")),
        result => result,
    }
}

/// Whether a message may repeat a value. Passwords never; and where the place of a password should
/// stand, only what cannot well be the password itself.
fn may_show(kind: Option<Kind>, name: &str, node: &Node) -> bool {
    let (Content::Plain(text) | Content::Quoted(text)) = &node.content else {
        return kind != Some(Kind::Secret);
    };
    match name {
        "password_env" => {
            text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
        }
        "password_file" => text.contains('/') || text.contains('.'),
        _ => kind != Some(Kind::Secret),
    }
}

/// What stands there, against what should.
fn wrong_type(node: &Node, wanted: &str) -> String {
    let found = match &node.content {
        Content::Empty => "nothing",
        Content::Plain(_) | Content::Quoted(_) => "a single value",
        Content::List(_) => "a list",
        Content::Map(_) => "a map",
        Content::Tagged(_) => "a value with a tag",
    };
    format!("{found} stands where {wanted} should")
}

/// Adds the value as written where it is one line of text.
fn with_value(problem: Problem, node: &Node) -> Problem {
    match &node.content {
        Content::Plain(text) | Content::Quoted(text) => problem.value(text),
        Content::Tagged(tag) => problem.value(tag),
        Content::Empty | Content::List(_) | Content::Map(_) => problem,
    }
}

/// The section in which a key of this name stands: the nearest below `table`, or any other.
fn home_of(name: &str, table: &str) -> Option<&'static str> {
    let has = |section: &&reference::Section| section.keys.iter().any(|key| key.name == name);
    let below = |section: &&reference::Section| section.path.starts_with(table);
    let homes = || reference::SECTIONS.iter().filter(has);
    homes().find(below).or_else(|| homes().next()).map(|section| section.path)
}
