//! The small language in which requests are described, one line each:
//!
//! | written | means |
//! |---|---|
//! | `SET`, `'return 1'` | this word; quoted it may hold anything but a quote |
//! | `<s>` | a word of this kind ([`super::words`]) |
//! | `[a\|b]` | one of these, or nothing |
//! | `(a\|b)` | one of these |
//! | `{a b}` | once to three times |
//! | `a ; b` | two requests that belong together |
//!
//! A line may begin with a mark: `!` it must stay as it is (bending it would leave the two sides with
//! different data), `~` the number of its replies is not told by the request, `@` it is the first step of
//! an iteration.

use super::words::{Request, Words};

/// What a line's mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// None.
    Plain,
    /// `!`
    Fixed,
    /// `~`
    Uncounted,
    /// `@`
    Iteration,
}

/// A line, understood.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its mark.
    pub mark: Mark,
    items: Vec<Item>,
}

#[derive(Clone, Debug)]
enum Item {
    Word(String),
    Kind(String),
    Optional(Vec<Vec<Item>>),
    Choice(Vec<Vec<Item>>),
    Repeat(Vec<Vec<Item>>),
    Next,
}

impl Line {
    /// Understands a line; fails the test if it is not well-formed.
    #[track_caller]
    pub fn parse(text: &str) -> Line {
        let (mark, rest) = match text.as_bytes().first() {
            Some(b'!') => (Mark::Fixed, &text[1..]),
            Some(b'~') => (Mark::Uncounted, &text[1..]),
            Some(b'@') => (Mark::Iteration, &text[1..]),
            _ => (Mark::Plain, text),
        };
        let mut parser = Parser { text: rest, at: 0 };
        let mut alternatives = parser.alternatives();
        assert!(parser.at == rest.len() && alternatives.len() == 1, "not well-formed: {text}");
        Line { mark, items: alternatives.remove(0) }
    }

    /// Requests as the line describes them, with words drawn from `words`.
    pub fn draw(&self, words: &mut Words<'_>) -> Vec<Request> {
        let mut requests = vec![Request::new()];
        draw(&self.items, words, &mut requests);
        requests
    }
}

fn draw(items: &[Item], words: &mut Words<'_>, requests: &mut Vec<Request>) {
    for item in items {
        let request = requests.last_mut().expect("there is one from the start");
        match item {
            Item::Word(word) => request.push(word.as_bytes().to_vec()),
            Item::Kind(kind) => words.draw(kind, request),
            Item::Optional(choices) if words.random.once_in(2) => {
                draw(words.random.pick::<Vec<Item>>(choices), words, requests);
            }
            Item::Optional(_) => {}
            Item::Choice(choices) => draw(words.random.pick::<Vec<Item>>(choices), words, requests),
            Item::Repeat(choices) => {
                for _ in 0..1 + words.random.below(3) {
                    draw(words.random.pick::<Vec<Item>>(choices), words, requests);
                }
            }
            Item::Next => requests.push(Request::new()),
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn alternatives(&mut self) -> Vec<Vec<Item>> {
        let mut all = vec![Vec::new()];
        while let Some(byte) = self.text.as_bytes().get(self.at).copied() {
            let items = all.last_mut().expect("there is one from the start");
            match byte {
                b' ' => self.at += 1,
                b'|' => {
                    self.at += 1;
                    all.push(Vec::new());
                }
                b';' => {
                    self.at += 1;
                    items.push(Item::Next);
                }
                b'[' => items.push(Item::Optional(self.group(b']'))),
                b'(' => items.push(Item::Choice(self.group(b')'))),
                b'{' => items.push(Item::Repeat(self.group(b'}'))),
                b'<' => items.push(Item::Kind(self.quoted('>'))),
                b'\'' => items.push(Item::Word(self.quoted('\''))),
                b']' | b')' | b'}' => break,
                _ => {
                    let rest = &self.text[self.at..];
                    let len = rest.find([' ', '|', '[', ']', '(', ')', '{', '}', '<']).unwrap_or(rest.len());
                    items.push(Item::Word(rest[..len].to_owned()));
                    self.at += len;
                }
            }
        }
        all
    }

    #[track_caller]
    fn group(&mut self, end: u8) -> Vec<Vec<Item>> {
        self.at += 1;
        let inner = self.alternatives();
        assert_eq!(self.text.as_bytes().get(self.at), Some(&end), "a group does not end: {}", self.text);
        self.at += 1;
        inner
    }

    #[track_caller]
    fn quoted(&mut self, end: char) -> String {
        let rest = &self.text[self.at + 1..];
        let len = rest.find(end).unwrap_or_else(|| panic!("a quote does not end: {}", self.text));
        self.at += len + 2;
        rest[..len].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pointsman_integration::Random;
    use pointsman_integration::reply::show_request;
    use std::collections::BTreeSet;

    #[test]
    fn lines_say_what_they_may() {
        let mut random = Random::new(1);
        let mut words = Words::new(&mut random, "");
        let line = Line::parse("!A (b|c d) [e] {f}; 'g  h' x[i]");
        assert_eq!(line.mark, Mark::Fixed);
        let drawn: BTreeSet<String> = (0..500)
            .map(|_| {
                let requests = line.draw(&mut words);
                assert_eq!(requests.len(), 2);
                format!("{};{}", show_request(&requests[0]), show_request(&requests[1]))
            })
            .collect();
        assert_eq!(drawn.len(), 2 * 2 * 3 * 2);
        assert!(drawn.contains("A c d e f f;g  h x") && drawn.contains("A b f;g  h x i"));
    }
}
