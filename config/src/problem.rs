//! What is wrong with a configuration: every finding at once, each with its place, the value, what
//! is allowed and a way out. A finding never carries the text of a secret: see [`shown`].

use std::fmt;

/// Longest value repeated in a message, in characters; the rest is cut.
const SHOWN_CHARS_MAX: usize = 80;

/// Where the mistake stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A whole file: it could not be read, or is empty of what it must say.
    File(String),
    /// A line of a file, counted from 1.
    Line(String, usize),
    /// The command line.
    CommandLine,
}

/// One finding. Prints as `file:line: key = value: what is wrong; what is allowed; suggestion`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub place: Place,
    /// The full path of the key (`listeners[0].reads`) or the flag; empty for the whole file.
    pub key: String,
    /// The value as written, when it may be shown and helps.
    pub value: Option<String>,
    /// What is wrong with it.
    pub wrong: String,
    /// What would be right.
    pub allowed: Option<String>,
    /// What to do.
    pub suggestion: Option<String>,
}

impl Problem {
    /// A finding with nothing but a place, a key and what is wrong.
    pub(crate) fn new(place: Place, key: impl Into<String>, wrong: impl Into<String>) -> Problem {
        Problem { place, key: key.into(), value: None, wrong: wrong.into(), allowed: None, suggestion: None }
    }

    /// Adds the value as written; whoever calls it has made sure that it is no secret.
    pub(crate) fn value(mut self, value: impl fmt::Display) -> Problem {
        self.value = Some(shown(&value.to_string()));
        self
    }

    /// Adds what would be right.
    pub(crate) fn allowed(mut self, allowed: impl Into<String>) -> Problem {
        self.allowed = Some(allowed.into());
        self
    }

    /// Adds what to do.
    pub(crate) fn suggest(mut self, suggestion: impl Into<String>) -> Problem {
        self.suggestion = Some(suggestion.into());
        self
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(file) => f.write_str(file),
            Place::Line(file, line) => write!(f, "{file}:{line}"),
            Place::CommandLine => f.write_str("command line"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        match (self.key.as_str(), &self.value) {
            ("", _) => {}
            (key, None) => write!(f, "{key}: ")?,
            (key, Some(value)) => write!(f, "{key} = {value}: ")?,
        }
        f.write_str(&self.wrong)?;
        if let Some(allowed) = &self.allowed {
            write!(f, "; allowed: {allowed}")?;
        }
        match &self.suggestion {
            Some(suggestion) => write!(f, "; {suggestion}"),
            None => Ok(()),
        }
    }
}

/// All findings, in the order of their places. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// `Ok` when nothing was found.
    pub(crate) fn none_or(mut found: Vec<Problem>) -> Result<(), Problems> {
        if found.is_empty() {
            return Ok(());
        }
        // Stable: findings of one line stay in the order in which they were made.
        found.sort_by(|one, other| one.place.cmp(&other.place));
        Err(Problems(found))
    }

    /// The findings.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// How many there are: at least one.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Problems {
        Problems(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A value as a message repeats it: on one line, not too long, and without the credentials that an
/// address of the form `user:password@host` carries.
pub(crate) fn shown(value: &str) -> String {
    let hidden = value.rsplit_once('@').map(|(_, host)| format!("(hidden)@{host}"));
    let value = hidden.as_deref().unwrap_or(value);
    let mut text = String::new();
    for c in value.chars().take(SHOWN_CHARS_MAX) {
        match c {
            '\'' | '"' | '\\' => text.push(c),
            _ => text.extend(c.escape_debug()),
        }
    }
    if value.chars().nth(SHOWN_CHARS_MAX).is_some() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_say_place_key_value_wrong_allowed_and_suggestion() {
        let line = |line| Place::Line("p.yaml".to_owned(), line);
        let full =
            Problem::new(line(7), "a.b", "bad").value("x").allowed("y or z").suggest("did you mean 'y'?");
        assert_eq!(full.to_string(), "p.yaml:7: a.b = x: bad; allowed: y or z; did you mean 'y'?");
        assert_eq!(Problem::new(line(7), "a.b", "bad").to_string(), "p.yaml:7: a.b: bad");
        assert_eq!(Problem::new(Place::File("p.yaml".to_owned()), "", "bad").to_string(), "p.yaml: bad");
        let flag = Problem::new(Place::CommandLine, "--shards", "bad").value(0);
        assert_eq!(flag.to_string(), "command line: --shards = 0: bad");
    }

    #[test]
    fn findings_are_sorted_by_line() {
        assert_eq!(Problems::none_or(Vec::new()), Ok(()));
        let at = |line| Problem::new(Place::Line("p".to_owned(), line), "", "bad");
        let problems = Problems::none_or(vec![at(10), at(9), at(100)]).unwrap_err();
        assert_eq!(problems.to_string(), "p:9: bad\np:10: bad\np:100: bad");
        assert_eq!(problems.count(), 3);
    }

    #[test]
    fn shown_values_are_short_and_keep_credentials_to_themselves() {
        assert_eq!(shown("it's \"5\"\n"), "it's \"5\"\\n");
        assert_eq!(shown("redis://me:hunter2@10.0.0.1:6379"), "(hidden)@10.0.0.1:6379");
        assert_eq!(shown(&"x".repeat(1000)).chars().count(), SHOWN_CHARS_MAX + 1);
        assert_eq!(shown("\u{1b}[31m"), "\\u{1b}[31m");
    }
}
