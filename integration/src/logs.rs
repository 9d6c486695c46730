//! Reads Pointsman's log, in both of its forms, and finds what should not be in it.

/// Texts of the warnings that nodes which go away, refuse connections or change their roles may cause. For
/// [`crate::Setup::allow`]; a test that expects more names it beside them.
pub const LOST: &[&str] = &["lost", "closed", "connect", "refus", "reset", "reach", "refresh", "topology"];

/// How serious a log line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Fine: anything below a warning, and lines that are no log lines (the banner).
    Fine,
    /// A warning.
    Warn,
    /// An error, or a panic's message.
    Error,
}

/// The level of one line, JSON or human-readable, coloured or not.
pub fn level(line: &str) -> Level {
    if line.contains("panicked at") {
        return Level::Error;
    }
    if let Ok(serde_json::Value::Object(fields)) = serde_json::from_str(line) {
        return match fields.get("level").and_then(|level| level.as_str()) {
            Some("WARN") => Level::Warn,
            Some("ERROR") => Level::Error,
            _ => Level::Fine,
        };
    }
    // tracing writes the level behind the time, in a column of its own; a message may say WARN too.
    let line = without_colours(line);
    match line.split_whitespace().take(3).find(|word| matches!(*word, "WARN" | "ERROR")) {
        Some("WARN") => Level::Warn,
        Some(_) => Level::Error,
        None => Level::Fine,
    }
}

/// The lines that are warnings or errors and contain none of the `allowed` texts.
pub fn unexpected(lines: &[String], allowed: &[String]) -> Vec<String> {
    let is_allowed = |line: &str| allowed.iter().any(|text| line.contains(text.as_str()));
    lines.iter().filter(|line| level(line) != Level::Fine && !is_allowed(line)).cloned().collect()
}

fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line.chars();
    while let Some(next) = rest.next() {
        if next == '\u{1b}' {
            // ESC [ numbers m
            rest.by_ref().find(|end| end.is_ascii_alphabetic());
        } else {
            plain.push(next);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_of_lines_in_both_forms() {
        for (line, expected) in [
            (r#"{"timestamp":"2024-01-01T00:00:00Z","level":"WARN","fields":{"message":"x"}}"#, Level::Warn),
            (
                r#"{"timestamp":"2024-01-01T00:00:00Z","level":"ERROR","fields":{"message":"x"}}"#,
                Level::Error,
            ),
            (
                r#"{"timestamp":"2024-01-01T00:00:00Z","level":"INFO","fields":{"message":"WARN"}}"#,
                Level::Fine,
            ),
            ("2024-01-01T00:00:00Z  WARN pointsman::topology: x", Level::Warn),
            ("2024-01-01T00:00:00Z \u{1b}[31mERROR\u{1b}[0m pointsman: x", Level::Error),
            ("2024-01-01T00:00:00Z  INFO pointsman: no ERROR here", Level::Fine),
            ("thread 'worker' panicked at src/main.rs:1:1:", Level::Error),
            ("try: redis-cli -p 6379", Level::Fine),
        ] {
            assert_eq!(level(line), expected, "{line}");
        }
    }

    #[test]
    fn only_what_the_test_declared_is_allowed() {
        let lines = ["t WARN a: node lost", "t ERROR a: out of memory", "t INFO a: fine"].map(str::to_owned);
        assert_eq!(unexpected(&lines, &["node lost".to_owned()]), ["t ERROR a: out of memory"]);
    }
}
