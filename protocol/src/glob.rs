//! Patterns as KEYS, SCAN and CONFIG GET take them: `*`, `?`, `[a-z]`, `[^a]`, `\` before any of these.
//!
//! Time is at most the product of both lengths: a star never goes back behind the star before it.

/// True if `pattern` matches all of `text`.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    if pattern == b"*" {
        return true;
    }
    let (mut p, mut t) = (0, 0);
    // Where to go on if what follows the last star turns out not to match.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p, t));
            p += 1;
            continue;
        }
        let step = match (pattern.get(p), text.get(t)) {
            (None, None) => return true,
            (Some(_), Some(byte)) => one(pattern, p, *byte),
            _ => None,
        };
        match (step, &mut retry) {
            (Some(next), _) => {
                p = next;
                t += 1;
            }
            (None, Some((star, from))) if *from < text.len() => {
                *from += 1;
                (p, t) = (*star + 1, *from);
            }
            _ => return false,
        }
    }
}

/// Matches one byte at `pattern[p..]`; gives the place behind what matched it.
fn one(pattern: &[u8], p: usize, byte: u8) -> Option<usize> {
    match pattern[p] {
        b'?' => Some(p + 1),
        b'[' => class(pattern, p + 1, byte),
        b'\\' if p + 1 < pattern.len() => (pattern[p + 1] == byte).then_some(p + 2),
        own => (own == byte).then_some(p + 1),
    }
}

/// Matches one byte against a class whose content begins at `p`. A class that is not closed ends with
/// the pattern.
fn class(pattern: &[u8], mut p: usize, byte: u8) -> Option<usize> {
    let negated = pattern.get(p) == Some(&b'^');
    p += usize::from(negated);
    let mut found = false;
    loop {
        match pattern.get(p) {
            None => break,
            Some(b']') => {
                p += 1;
                break;
            }
            Some(b'\\') if p + 1 < pattern.len() => {
                p += 1;
                found |= pattern[p] == byte;
                p += 1;
            }
            Some(first) => match (pattern.get(p + 1), pattern.get(p + 2)) {
                (Some(b'-'), Some(last)) => {
                    found |= (*first.min(last)..=*first.max(last)).contains(&byte);
                    p += 3;
                }
                _ => {
                    found |= *first == byte;
                    p += 1;
                }
            },
        }
    }
    (found != negated).then_some(p)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns() {
        for (pattern, text, wanted) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h*llo", "heeeello", true),
            ("h*l*o", "hello", true),
            ("h*x", "hello", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*ab", "aab", true),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("h[a-c]llo", "hdllo", false),
            ("h\\?llo", "h?llo", true),
            ("h\\?llo", "hello", false),
            ("h[\\]]llo", "h]llo", true),
            ("a\\", "a\\", true),
            ("[a", "a", true),
            ("key:*", "key:1", true),
            ("**", "a", true),
            ("a**", "a", true),
            ("?", "", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), wanted, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_are_no_trap() {
        let pattern = "a*".repeat(2000) + "b";
        assert!(!matches(pattern.as_bytes(), "a".repeat(20_000).as_bytes()));
    }
}
