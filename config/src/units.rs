//! Numbers as an operator writes them: whole numbers, sizes with a unit, durations in milliseconds.
//!
//! Each function answers with the number or with what is wrong and, where the intention is plain, how
//! to write it. Ranges are none of its business, and nothing is guessed: `1M` is two different
//! numbers to two different readers, so it is refused with both spelt out.

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Every unit a size may carry, largest first, so that writing picks the shortest form.
const UNITS: [(&str, u64); 7] = [
    ("GiB", GIB),
    ("GB", 1_000_000_000),
    ("MiB", MIB),
    ("MB", 1_000_000),
    ("KiB", KIB),
    ("KB", 1_000),
    ("B", 1),
];

/// How a size may be written, for messages.
pub(crate) const SIZE_FORMS: &str = "a size like 65536, 64KiB or 1MB";

/// What is wrong with a number, and how it may have been meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    pub wrong: String,
    pub suggestion: Option<String>,
}

impl Unreadable {
    fn new(wrong: &str, suggestion: Option<String>) -> Unreadable {
        Unreadable { wrong: wrong.to_owned(), suggestion }
    }
}

/// A whole number in decimal digits.
pub(crate) fn whole(text: &str) -> Result<u64, Unreadable> {
    if is_digits(text) {
        return text.parse().map_err(|_| Unreadable::new("too large a number", None));
    }
    let digits: String = text.chars().filter(|c| !matches!(c, '_' | ',' | '\'' | ' ')).collect();
    let suggestion = (digits != text && is_digits(&digits)).then(|| format!("write {digits}"));
    Err(Unreadable::new("not a whole number", suggestion))
}

/// A duration: whole milliseconds, without a unit, because the key carries it.
pub(crate) fn millis(text: &str) -> Result<u64, Unreadable> {
    let (number, unit) = split_unit(text);
    let factor = match unit {
        "ms" => 1,
        "s" | "sec" | "second" | "seconds" => 1_000,
        "m" | "min" | "minute" | "minutes" => 60_000,
        "h" | "hour" | "hours" => 3_600_000,
        _ => return whole(text),
    };
    let suggestion =
        decimal(number).map(|number| format!("write {}", (number * factor as f64).round() as u64));
    Err(Unreadable::new(
        "the unit is part of the key, so the value is a plain number of milliseconds",
        suggestion,
    ))
}

/// A size in bytes: a plain number, or one with a unit of [`UNITS`], with or without a space between.
pub(crate) fn bytes(text: &str) -> Result<u64, Unreadable> {
    let (number, unit) = split_unit(text);
    if unit.is_empty() {
        return whole(text).map_err(|error| match error.suggestion {
            None if error.wrong.starts_with("not") => Unreadable::new("not a size", None),
            _ => error,
        });
    }
    if let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) {
        if is_digits(number) {
            let product = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor));
            return product.ok_or_else(|| Unreadable::new("too large a size", None));
        }
        let suggestion =
            decimal(number).map(|number| format!("write {}", (number * *factor as f64).round() as u64));
        return Err(Unreadable::new("not a whole number of units", suggestion));
    }
    let letter = unit.chars().next().map(|first| first.to_ascii_uppercase());
    let suggestion = match letter {
        Some(letter @ ('K' | 'M' | 'G')) if is_digits(number) => {
            Some(format!("write {number}{letter}iB (steps of 1024) or {number}{letter}B (steps of 1000)"))
        }
        _ => None,
    };
    Err(Unreadable::new("not a size with a known unit", suggestion))
}

/// A size in its shortest exact form with steps of 1024: `1MiB`, `1536`.
pub(crate) fn show_bytes(bytes: u64) -> String {
    let binary = UNITS.iter().filter(|(name, _)| name.len() == 3);
    for (name, factor) in binary {
        if bytes >= *factor && bytes.is_multiple_of(*factor) {
            return format!("{}{name}", bytes / factor);
        }
    }
    bytes.to_string()
}

/// The leading number and the unit behind it.
fn split_unit(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number.trim_end(), unit)
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A non-negative decimal such as `1.5`, for suggestions only; at most 12 characters, so that the
/// product stays exact.
fn decimal(text: &str) -> Option<f64> {
    let plain = text.len() <= 12 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, value) in [
            ("0", 0),
            ("65536", 65536),
            ("12B", 12),
            ("64KiB", 65536),
            ("64 KiB", 65536),
            ("1MiB", MIB),
            ("512MB", 512_000_000),
            ("3GiB", 3 * GIB),
            ("2KB", 2000),
        ] {
            assert_eq!(bytes(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn refused_sizes_say_how_to_write_them() {
        for (text, suggestion) in [
            ("1M", Some("write 1MiB (steps of 1024) or 1MB (steps of 1000)")),
            ("64kb", Some("write 64KiB (steps of 1024) or 64KB (steps of 1000)")),
            ("1.5MiB", Some("write 1572864")),
            ("1_000", Some("write 1000")),
            ("1XB", None),
            ("MiB", None),
            ("", None),
            ("-1", None),
            ("-1MiB", None),
            ("99999999999999GiB", None),
            ("18446744073709551616", None),
        ] {
            assert_eq!(bytes(text).unwrap_err().suggestion.as_deref(), suggestion, "{text}");
        }
    }

    #[test]
    fn durations_are_plain_milliseconds() {
        assert_eq!(millis("1500"), Ok(1500));
        for (text, suggestion) in [
            ("5s", Some("write 5000")),
            ("1.5s", Some("write 1500")),
            ("500ms", Some("write 500")),
            ("2 min", Some("write 120000")),
            ("5 fortnights", None),
            ("s", None),
            ("1e3", None),
            ("two", None),
        ] {
            assert_eq!(millis(text).unwrap_err().suggestion.as_deref(), suggestion, "{text}");
        }
    }

    #[test]
    fn whole_numbers_only() {
        assert_eq!(whole("007"), Ok(7));
        for text in ["", "-1", "+1", "1.0", "0x10", "two", "18446744073709551616", "١"] {
            assert!(whole(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shown_sizes_read_back() {
        for (value, text) in
            [(0, "0"), (1000, "1000"), (1536, "1536"), (KIB, "1KiB"), (3 * MIB, "3MiB"), (GIB, "1GiB")]
        {
            assert_eq!(show_bytes(value), text);
            assert_eq!(bytes(text), Ok(value));
        }
    }
}
