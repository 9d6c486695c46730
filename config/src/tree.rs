//! YAML text becomes a tree in which every key and value knows its line.
//!
//! It exists apart because the usual YAML libraries give values without places, or stop at the first
//! wrong type. It knows nothing of our keys, and takes text as it was written (`0123` stays four
//! characters): what a value means is decided where its key is known. Aliases are followed; the size
//! and depth of the result are capped, since an alias of an alias multiplies.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

/// Deepest nesting accepted; the deepest key that means anything lies at five.
const DEPTH_MAX: usize = 32;
/// Most values in one file, those behind aliases counted each time.
const NODES_MAX: usize = 50_000;

/// A value and the line on which it begins, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub line: usize,
    pub content: Content,
}

/// What stands there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Nothing, `~` or `null`.
    Empty,
    /// Text without quotes, which may mean a number or a word.
    Plain(String),
    /// Text in quotes or in a block, which is text.
    Quoted(String),
    /// A list.
    List(Vec<Node>),
    /// Keys and values, in order, repeated keys included.
    Map(Vec<Entry>),
    /// A value with a tag that we do not know, such as `!Env`.
    Tagged(String),
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// `None` when the key is not text but a list or a map.
    pub key: Option<String>,
    /// The line of the key.
    pub line: usize,
    pub value: Node,
}

/// Why a text is no tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub line: usize,
    pub wrong: String,
    pub suggestion: Option<String>,
}

/// Reads one YAML document. An empty text is [`Content::Empty`].
pub(crate) fn read(text: &str) -> Result<Node, SyntaxError> {
    // A byte order mark is no part of the text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut parser = Parser::new_from_str(text);
    let mut builder = Builder::default();
    let last = last_line(text);
    while let Some(event) = parser.next_event() {
        let (event, span) =
            event.map_err(|error| syntax_error(text, error.marker().line().clamp(1, last), error.info()))?;
        builder.take(event, span.start.line().clamp(1, last))?;
    }
    Ok(builder.root.unwrap_or(Node { line: 1, content: Content::Empty }))
}

/// The number of the last line on which something may stand. What is missing at the end of a text is
/// missing there, while the parser has it on the line behind the last line end.
fn last_line(text: &str) -> usize {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    // A line ends with "\n", "\r" or both together.
    1 + text.matches(['\n', '\r']).count() - text.matches("\r\n").count()
}

/// A list or map whose end has not come yet.
struct Open {
    line: usize,
    /// The anchor it is known by; 0 when it has none.
    anchor: usize,
    /// The tag it carries, when it is none of YAML's own.
    tag: Option<String>,
    parts: Parts,
}

enum Parts {
    List(Vec<Node>),
    /// The entries so far, and the key that waits for its value.
    Map(Vec<Entry>, Option<(Option<String>, usize)>),
}

#[derive(Default)]
struct Builder {
    root: Option<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), SyntaxError> {
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(error(line, "a second document begins here", Some("keep one document in a file")))
            }
            Event::Scalar(text, style, anchor, tag) => {
                let content = match foreign(tag.as_deref()) {
                    Some(tag) => Content::Tagged(tag),
                    None => scalar(text.into_owned(), style, tag.as_deref()),
                };
                self.place(Node { line, content }, anchor)
            }
            Event::SequenceStart(anchor, tag) => {
                self.begin(line, anchor, foreign(tag.as_deref()), Parts::List(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                self.begin(line, anchor, foreign(tag.as_deref()), Parts::Map(Vec::new(), None))
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(node) => {
                    let node = node.clone();
                    self.nodes += count(&node);
                    self.place(node, 0)
                }
                // Only an alias inside its own anchor gets here; the parser refuses unknown names.
                None => Err(error(line, "an alias that contains itself", None)),
            },
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn begin(
        &mut self,
        line: usize,
        anchor: usize,
        tag: Option<String>,
        parts: Parts,
    ) -> Result<(), SyntaxError> {
        if self.open.len() >= DEPTH_MAX {
            return Err(error(line, &format!("nested deeper than {DEPTH_MAX} levels"), None));
        }
        self.open.push(Open { line, anchor, tag, parts });
        Ok(())
    }

    fn end(&mut self) -> Result<(), SyntaxError> {
        let Some(Open { line, anchor, tag, parts }) = self.open.pop() else {
            return Ok(());
        };
        let content = match (tag, parts) {
            (Some(tag), _) => Content::Tagged(tag),
            (None, Parts::List(nodes)) => Content::List(nodes),
            (None, Parts::Map(entries, _)) => Content::Map(entries),
        };
        self.place(Node { line, content }, anchor)
    }

    /// Puts a finished value where it belongs: into the innermost open list or map, or at the root.
    fn place(&mut self, mut node: Node, anchor: usize) -> Result<(), SyntaxError> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(error(node.line, &format!("more than {NODES_MAX} values"), None));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut().map(|open| &mut open.parts) {
            None => self.root = Some(node),
            Some(Parts::List(nodes)) => nodes.push(node),
            Some(Parts::Map(entries, waiting)) => match waiting.take() {
                None => *waiting = Some((key_text(&node), node.line)),
                Some((key, line)) => {
                    // What is not there has no line of its own; the parser gives that of what follows.
                    if node.content == Content::Empty {
                        node.line = line;
                    }
                    entries.push(Entry { key, line, value: node });
                }
            },
        }
        Ok(())
    }
}

fn error(line: usize, wrong: &str, suggestion: Option<&str>) -> SyntaxError {
    SyntaxError { line, wrong: wrong.to_owned(), suggestion: suggestion.map(str::to_owned) }
}

fn scalar(text: String, style: ScalarStyle, tag: Option<&Tag>) -> Content {
    let is_text = style != ScalarStyle::Plain || tag.is_some_and(|tag| tag.suffix == "str");
    match text.as_str() {
        _ if is_text => Content::Quoted(text),
        "" | "~" | "null" | "Null" | "NULL" => Content::Empty,
        _ => Content::Plain(text),
    }
}

/// The tag as written, unless it is one of YAML's own (`!!str`, `!!int` ...) or the bare `!`.
fn foreign(tag: Option<&Tag>) -> Option<String> {
    let tag = tag?;
    let own = tag.is_yaml_core_schema() || tag.handle.is_empty() || tag.suffix.is_empty();
    (!own).then(|| format!("{}{}", tag.handle, tag.suffix))
}

fn key_text(node: &Node) -> Option<String> {
    match &node.content {
        Content::Plain(text) | Content::Quoted(text) => Some(text.clone()),
        Content::Empty | Content::List(_) | Content::Map(_) | Content::Tagged(_) => None,
    }
}

/// Values in a tree, itself included. The depth is capped, so the recursion is.
fn count(node: &Node) -> usize {
    1 + match &node.content {
        Content::List(nodes) => nodes.iter().map(count).sum(),
        Content::Map(entries) => entries.iter().map(|entry| 1 + count(&entry.value)).sum(),
        Content::Empty | Content::Plain(_) | Content::Quoted(_) | Content::Tagged(_) => 0,
    }
}

/// The parser's error with its place made true, and what most often causes it.
fn syntax_error(text: &str, line: usize, info: &str) -> SyntaxError {
    let error = |line, suggestion: Option<&str>| SyntaxError {
        line,
        wrong: format!("not valid YAML: {info}"),
        suggestion: suggestion.map(str::to_owned),
    };
    // A tab in the indentation is found while the text before it is still being read, so the parser
    // gives the line of that text.
    let indented_by_tab = |line: &str| {
        let indent = line.len() - line.trim_start().len();
        line[..indent].contains('\t') && !line.trim_start().is_empty()
    };
    let mut rest = text.lines().enumerate().skip(line - 1);
    if info.contains("tab")
        && let Some((index, _)) = rest.find(|(_, line)| indented_by_tab(line))
    {
        return error(index + 1, Some("indent with spaces, never with tabs"));
    }
    let written = text.lines().nth(line - 1).unwrap_or_default();
    if indented_by_tab(written) {
        return error(line, Some("indent with spaces, never with tabs"));
    }
    let value = written.split_once(": ").map_or("", |(_, value)| value.trim_start());
    let special = value.starts_with(['[', '*', '&', '!', '%', '@', '`', '{', '|', '>']);
    if special || value.contains(": ") {
        return error(line, Some("put the value into quotes if it is meant as text"));
    }
    error(line, None)
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
