//! Which known word was meant. It offers at most one, and none when nothing is near.

/// The known word nearest to `word`, if it is near enough to be a slip of the pen, or one of the two
/// begins the other (`connect_timeout` for `connect_timeout_ms`).
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    // Distances grow with the square of the length; nobody misspells a known key into so long a word.
    if word.len() > 64 {
        return None;
    }
    let rate = |candidate: &'a str| {
        let lower = candidate.to_ascii_lowercase().replace('-', "_");
        let distance = strsim::damerau_levenshtein(&word, &lower);
        let slips = 1 + word.len().min(lower.len()) / 4;
        let begins = word.len() >= 4 && (lower.starts_with(&word) || word.starts_with(&lower));
        (distance <= slips || begins).then_some((distance, candidate))
    };
    known.into_iter().filter_map(rate).min_by_key(|(distance, _)| *distance).map(|(_, word)| word)
}

/// The sentence that offers it.
pub(crate) fn did_you_mean(word: &str) -> String {
    format!("did you mean '{word}'?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let known = ["listen", "name", "backend", "reads", "connect_timeout_ms", "request_timeout_ms", "lag"];
        for (word, meant) in [
            ("lisen", Some("listen")),
            ("lsiten", Some("listen")),
            ("listne", Some("listen")),
            ("raeds", Some("reads")),
            ("Reads", Some("reads")),
            ("connect-timeout-ms", Some("connect_timeout_ms")),
            ("connect_timeout", Some("connect_timeout_ms")),
            ("backends", Some("backend")),
            ("zebra", None),
            ("", None),
            ("upstream", None),
        ] {
            assert_eq!(nearest(word, known), meant, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), known), None);
    }
}
