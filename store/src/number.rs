//! Integers as Redis reads and writes them in strings.

/// The 64-bit integer that `text` spells in its one canonical form: no plus sign, no leading zero, no
/// space, no "-0". What this accepts, formatting gives back byte for byte.
#[inline]
pub fn parse_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    match digits {
        [] => return None,
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] if digits.len() <= 19 => {}
        _ => return None,
    }
    let mut value: u64 = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        // 19 digits fit u64.
        value = value * 10 + u64::from(digit);
    }
    if negative { 0i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() }
}

/// The decimal form of an integer, without an allocation.
pub struct Decimal {
    text: [u8; 20],
    start: usize,
}

impl Decimal {
    /// Formats `value`.
    #[inline]
    pub fn new(value: i64) -> Decimal {
        let mut decimal = Decimal::unsigned(value.unsigned_abs());
        if value < 0 {
            decimal.start -= 1;
            decimal.text[decimal.start] = b'-';
        }
        decimal
    }

    /// Formats `value`.
    #[inline]
    pub fn unsigned(value: u64) -> Decimal {
        let mut text = [0; 20];
        let mut start = text.len();
        let mut rest = value;
        loop {
            start -= 1;
            text[start] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                return Decimal { text, start };
            }
        }
    }

    /// The digits.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.text[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_canonical_form_is_an_integer() {
        for value in [0, 1, -1, 10, 999, i64::MAX, i64::MIN, i64::MAX - 1, i64::MIN + 1] {
            assert_eq!(parse_integer(value.to_string().as_bytes()), Some(value));
            assert_eq!(Decimal::new(value).bytes(), value.to_string().as_bytes());
        }
        for text in [
            "",
            "-",
            "-0",
            "00",
            "01",
            "+1",
            " 1",
            "1 ",
            "1.0",
            "a",
            "1a",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
            "0x1",
            "1e3",
        ] {
            assert_eq!(parse_integer(text.as_bytes()), None, "{text}");
        }
        assert_eq!(Decimal::unsigned(u64::MAX).bytes(), b"18446744073709551615");
    }
}
