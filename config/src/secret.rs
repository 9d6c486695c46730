//! A password. It is a type apart from plain text so that no log line, error or debug print can show it by
//! accident: whoever wants the text has to say `expose`.

use std::fmt;
use std::hint::black_box;

/// A password that prints as `(hidden)`. Never empty.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Takes the text; `None` when it is empty, because an empty password protects nothing.
    pub fn new(text: impl Into<String>) -> Option<Secret> {
        let text = text.into();
        (!text.is_empty()).then_some(Secret(text))
    }

    /// The text itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `given` is the password. The time taken depends on the length of `given` alone: not
    /// on how much of it is right, and not on the length of the password.
    pub fn matches(&self, given: &[u8]) -> bool {
        let mut difference = self.0.len() ^ given.len();
        // The password is walked in a circle, so that a longer guess costs its own length only.
        for (given, own) in given.iter().zip(self.0.as_bytes().iter().cycle()) {
            difference |= usize::from(black_box(given ^ own));
        }
        black_box(difference) == 0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        self.matches(other.0.as_bytes())
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_matches() {
        let secret = Secret::new("hunter2").unwrap();
        assert!(secret.matches(b"hunter2"));
        for wrong in ["", "h", "hunter", "hunter3", "Hunter2", "hunter2h", "hunter2hunter2", "\0"] {
            assert!(!secret.matches(wrong.as_bytes()), "{wrong:?}");
        }
        assert_eq!(secret, Secret::new("hunter2").unwrap());
        assert_ne!(secret, Secret::new("hunter22").unwrap());
        assert!(Secret::new("").is_none());
    }

    #[test]
    fn it_never_shows() {
        let secret = Secret::new("hunter2").unwrap();
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "(hidden) (hidden) Some((hidden))");
        assert_eq!(secret.expose(), "hunter2");
    }
}
