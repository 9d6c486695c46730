//! What the operator wrote becomes what the program may trust.
//!
//! A file passes three stages: YAML into a tree that knows its lines (`tree`), the tree against the
//! table of all keys (`reader`, by [`mod@reference`]), and the values against each other (`check`), which
//! makes a [`Config`]. Nothing is repaired silently, and nothing stops at the first mistake:
//! [`Problems`] holds all of them, each with its line. The only I/O is [`load`], which reads the file
//! and the password files it names; [`parse`] is pure.

mod addresses;
mod backends;
mod check;
mod limits;
mod overrides;
mod problem;
mod reader;
pub mod reference;
mod secret;
mod suggest;
mod tree;
mod trusted;
mod units;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

pub use limits::{LIMITS_MAX, Limit, LimitPer, Scope};
pub use overrides::{AdminOverride, Overrides};
pub use problem::{Place, Problem, Problems};
pub use secret::Secret;
pub use trusted::*;

use check::Outside;

/// Largest configuration or password file that is read, in bytes. A real one has a few thousand; a
/// wrong path (a log, a device without end) should fail at once.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads and checks a configuration file. Password files that it names by a relative path are looked
/// for in its own directory.
///
/// # Errors
/// All problems of the file together, or the one that it cannot be read.
pub fn load(path: &Path) -> Result<Config, Problems> {
    let name = path.display().to_string();
    let text = read_text(path).map_err(|error| {
        let problem =
            Problem::new(Place::File(name.clone()), "", format!("this file cannot be read ({error})"));
        problem.suggest("name an existing YAML file")
    })?;
    let directory = path.parent().unwrap_or(Path::new(""));
    parse(&text, &name, &|variable| std::env::var(variable).ok(), &|file| read_text(&directory.join(file)))
}

/// Checks the text of a configuration file. `file_name` appears in messages, `env` gives the values of
/// environment variables and `read_file` the text of password files, by the path as written.
///
/// # Errors
/// All problems of the text together; only a text that is not valid YAML has just one.
pub fn parse(
    text: &str,
    file_name: &str,
    env: &dyn Fn(&str) -> Option<String>,
    read_file: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<Config, Problems> {
    let root = tree::read(text).map_err(|error| {
        let place = Place::Line(file_name.to_owned(), error.line);
        Problem { suggestion: error.suggestion, ..Problem::new(place, "", error.wrong) }
    })?;
    let (config, found) = check::check(&root, file_name, &Outside { env, read_file });
    Problems::none_or(found).map(|()| config)
}

impl Config {
    /// What runs without a file: one listener on 127.0.0.1:6379 in front of three bundled shards with
    /// one replica each from port 7001 on, the admin endpoint on 127.0.0.1:9180. It is what an empty
    /// file says.
    pub fn embedded_default() -> Config {
        let nothing = tree::Node { line: 1, content: tree::Content::Empty };
        let outside = Outside { env: &|_| None, read_file: &|_| Err(io::ErrorKind::NotFound.into()) };
        let (config, found) = check::check(&nothing, "default", &outside);
        debug_assert!(found.is_empty(), "the defaults contradict each other: {found:?}");
        config
    }

    /// This configuration with the flags of the command line on top, and what they touch checked again.
    ///
    /// # Errors
    /// All flags that do not apply, are out of range, or make two things want one port.
    pub fn with(self, flags: &Overrides) -> Result<Config, Problems> {
        overrides::apply(self, flags)
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("larger than {FILE_BYTES_MAX} bytes"),
        ));
    }
    Ok(text)
}
