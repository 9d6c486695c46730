//! The 80-bit floating point numbers that INCRBYFLOAT computes with.
//!
//! Redis adds in the x87 format (64 bits of mantissa) and prints 17 decimals: 10.5 + 0.1 is 10.6
//! there, and 10.59999999999999964 in the 64-bit format. Clients see the text, so the format is
//! reproduced here, in integers: parsing and printing round exactly once, to nearest, ties to even.
//!
//! Hexadecimal numbers are refused, though Redis reads them.

use std::cmp::Ordering;

/// A number: `mantissa * 2^exponent`, where the mantissa's top bit is set unless it is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extended {
    negative: bool,
    mantissa: u64,
    exponent: i32,
    finite: bool,
}

/// The exponent of the largest finite numbers.
const EXPONENT_MAX: i32 = 16384 - 64;
/// Below this even the smallest subnormal number is larger.
const EXPONENT_MIN: i32 = -16445 - 63;
/// Longer texts are refused, as Redis does.
const TEXT_MAX: usize = 5 * 1024;
/// No decimal exponent beyond this is within range.
const DECIMAL_EXPONENT_MAX: i64 = 20_000;
const DECIMALS: u32 = 17;

impl Extended {
    /// Nothing.
    pub const ZERO: Extended = Extended { negative: false, mantissa: 0, exponent: 0, finite: true };

    /// True unless it is an infinity.
    pub fn is_finite(self) -> bool {
        self.finite
    }

    /// Reads a decimal number as `strtold` does, all of it: a sign, digits with a point, an exponent;
    /// or an infinity. `None` if it is none, not a number, or out of range.
    pub fn parse(text: &[u8]) -> Option<Extended> {
        if text.is_empty() || text.len() >= TEXT_MAX {
            return None;
        }
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        if text.eq_ignore_ascii_case(b"inf") || text.eq_ignore_ascii_case(b"infinity") {
            return Some(Extended { negative, finite: false, ..Extended::ZERO });
        }
        let (digits, mut exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
            Some(place) => (&text[..place], parse_exponent(&text[place + 1..])?),
            None => (text, 0),
        };
        let mut number = Big::default();
        let mut any = false;
        let mut point = false;
        for byte in digits {
            match byte {
                b'0'..=b'9' => {
                    any = true;
                    number.multiply_add(10, u32::from(byte - b'0'));
                    exponent -= i64::from(point);
                }
                b'.' if !point => point = true,
                _ => return None,
            }
        }
        if !any {
            return None;
        }
        if number.is_zero() {
            return Some(Extended { negative, ..Extended::ZERO });
        }
        if exponent.abs() > DECIMAL_EXPONENT_MAX {
            return None;
        }
        let mut power = Big::from(1);
        for _ in 0..exponent.abs() {
            power.multiply_add(10, 0);
        }
        let parsed = if exponent >= 0 {
            quotient(negative, number.times(&power), Big::from(1))
        } else {
            quotient(negative, number, power)
        };
        (parsed.finite && parsed.exponent >= EXPONENT_MIN).then_some(parsed)
    }

    /// The sum, rounded to the format. `None` for one of opposite infinities.
    pub fn add(self, other: Extended) -> Option<Extended> {
        match (self.finite, other.finite) {
            (false, false) if self.negative != other.negative => return None,
            (false, _) => return Some(self),
            (_, false) => return Some(other),
            _ => {}
        }
        if self.mantissa == 0 || other.mantissa == 0 {
            return Some(if self.mantissa == 0 { other } else { self });
        }
        // Both mantissas have their top bit set, so the larger exponent is the larger number.
        let (large, small) = match self.exponent.cmp(&other.exponent) {
            Ordering::Less => (other, self),
            Ordering::Equal if self.mantissa < other.mantissa => (other, self),
            _ => (self, other),
        };
        let distance = (large.exponent - small.exponent) as u32;
        let high = u128::from(large.mantissa) << 62;
        let low = u128::from(small.mantissa) << 62;
        let (shifted, lost) = match distance {
            0..128 => (low >> distance, (low >> distance) << distance != low),
            _ => (0, true),
        };
        let sum = if large.negative == small.negative {
            high + shifted
        } else {
            // What was lost makes the true difference a little smaller.
            high - shifted - u128::from(lost)
        };
        Some(round(large.negative, sum, large.exponent - 62, lost))
    }

    /// With 17 decimals, without the zeros at their end: what Redis calls the human form.
    pub fn to_decimal(self) -> String {
        if self.exponent >= 0 {
            let mut digits = Big::from(self.mantissa).shifted_left(self.exponent as u32).to_decimal();
            if self.negative && digits != "0" {
                digits.insert(0, '-');
            }
            return digits;
        }
        let scale = 10u128.pow(DECIMALS);
        let scaled = u128::from(self.mantissa) * scale;
        let shift = self.exponent.unsigned_abs();
        let rounded = match shift {
            0..128 => {
                let whole = scaled >> shift;
                let rest = scaled & ((1u128 << shift) - 1);
                let half = 1u128 << (shift - 1);
                let up = rest > half || (rest == half && whole & 1 == 1);
                whole + u128::from(up)
            }
            _ => 0,
        };
        let mut text = format!("{}.{:017}", rounded / scale, rounded % scale);
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
        if self.negative && text != "0" {
            text.insert(0, '-');
        }
        text
    }
}

fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value =
        digits.iter().fold(0i64, |value, digit| (value * 10 + i64::from(digit - b'0')).min(1_000_000));
    Some(if negative { -value } else { value })
}

/// Rounds `value * 2^exponent`, of which a little below the last bit may have been lost.
fn round(negative: bool, value: u128, exponent: i32, lost: bool) -> Extended {
    if value == 0 {
        return Extended::ZERO;
    }
    let bits = 128 - value.leading_zeros();
    if bits <= 64 {
        let shift = 64 - bits;
        return Extended {
            negative,
            mantissa: (value as u64) << shift,
            exponent: exponent - shift as i32,
            finite: true,
        };
    }
    let shift = bits - 64;
    let rest = value & ((1u128 << shift) - 1);
    let half = 1u128 << (shift - 1);
    let mut mantissa = (value >> shift) as u64;
    let mut exponent = exponent + shift as i32;
    if rest > half || (rest == half && (lost || mantissa & 1 == 1)) {
        let (next, carry) = mantissa.overflowing_add(1);
        mantissa = if carry { 1 << 63 } else { next };
        exponent += i32::from(carry);
    }
    Extended { negative, mantissa, exponent, finite: exponent <= EXPONENT_MAX }
}

/// `numerator / denominator`, both not zero, rounded.
fn quotient(negative: bool, numerator: Big, denominator: Big) -> Extended {
    // Scaled so that the quotient has 66 or 67 bits: two more than are kept.
    let shift = 66 - (numerator.bits() as i32 - denominator.bits() as i32);
    let mut rest = if shift >= 0 { numerator.shifted_left(shift as u32) } else { numerator };
    let denominator = if shift < 0 { denominator.shifted_left(shift.unsigned_abs()) } else { denominator };
    let mut value = 0u128;
    for bit in (0..=67).rev() {
        let part = denominator.shifted_left(bit);
        if rest.cmp(&part) != Ordering::Less {
            rest.subtract(&part);
            value |= 1 << bit;
        }
    }
    round(negative, value, -shift, !rest.is_zero())
}

/// A whole number of any size, in 32-bit words, the lowest first; no zero words at the end.
#[derive(Clone, Debug, Default)]
struct Big(Vec<u32>);

impl From<u64> for Big {
    fn from(value: u64) -> Big {
        let mut big = Big(vec![value as u32, (value >> 32) as u32]);
        big.trim();
        big
    }
}

impl Big {
    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    fn bits(&self) -> u32 {
        match self.0.last() {
            Some(last) => self.0.len() as u32 * 32 - last.leading_zeros(),
            None => 0,
        }
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn multiply_add(&mut self, factor: u32, addend: u32) {
        let mut carry = u64::from(addend);
        for word in &mut self.0 {
            carry += u64::from(*word) * u64::from(factor);
            *word = carry as u32;
            carry >>= 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }

    fn times(&self, other: &Big) -> Big {
        let mut product = vec![0u32; self.0.len() + other.0.len()];
        for (place, word) in self.0.iter().enumerate() {
            let mut carry = 0u64;
            for (target, factor) in
                product[place..].iter_mut().zip(other.0.iter().chain(std::iter::repeat(&0)))
            {
                carry += u64::from(*word) * u64::from(*factor) + u64::from(*target);
                *target = carry as u32;
                carry >>= 32;
            }
        }
        let mut product = Big(product);
        product.trim();
        product
    }

    fn shifted_left(&self, bits: u32) -> Big {
        let mut words = vec![0u32; (bits / 32) as usize];
        let bits = bits % 32;
        let mut carry = 0u64;
        for word in &self.0 {
            carry |= u64::from(*word) << bits;
            words.push(carry as u32);
            carry >>= 32;
        }
        words.push(carry as u32);
        let mut big = Big(words);
        big.trim();
        big
    }

    fn cmp(&self, other: &Big) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }

    /// Subtracts what is not larger.
    fn subtract(&mut self, other: &Big) {
        let mut borrow = 0i64;
        for (place, word) in self.0.iter_mut().enumerate() {
            let difference = i64::from(*word) - i64::from(other.0.get(place).copied().unwrap_or(0)) - borrow;
            borrow = i64::from(difference < 0);
            *word = difference as u32;
        }
        self.trim();
    }

    fn to_decimal(&self) -> String {
        let mut rest = self.clone();
        let mut parts = Vec::new();
        while !rest.is_zero() {
            let mut remainder = 0u64;
            for word in rest.0.iter_mut().rev() {
                remainder = remainder << 32 | u64::from(*word);
                *word = (remainder / 1_000_000_000) as u32;
                remainder %= 1_000_000_000;
            }
            rest.trim();
            parts.push(remainder);
        }
        let Some(first) = parts.pop() else { return "0".to_owned() };
        parts.iter().rev().fold(first.to_string(), |text, part| format!("{text}{part:09}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(left: &str, right: &str) -> String {
        let parse = |text: &str| Extended::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text}"));
        parse(left).add(parse(right)).unwrap().to_decimal()
    }

    // The sums are redis-server 7.0.15's, on x86-64.
    #[test]
    fn sums_are_those_of_the_x87_format() {
        for (left, right, wanted) in [
            ("10.5", "0.1", "10.6"),
            ("0.1", "0.2", "0.3"),
            ("3.0e3", "200", "3200"),
            ("5.0e3", "2.0e2", "5200"),
            ("-5", "5", "0"),
            ("1", "-1.5", "-0.5"),
            ("17179869184", "17179869184", "34359738368"),
            ("1000000000000000", "0.1", "1000000000000000.09997558593750000"),
            ("99999999999999999999", "1", "100000000000000000000"),
            ("1e30", "1", "1000000000000000000024696061952"),
            ("0", "1e-17", "0.00000000000000001"),
            ("0", "1e-18", "0"),
            ("-1e-18", "0", "0"),
            ("123456789.123456789", "0.000000001", "123456789.12345678999554366"),
        ] {
            let wanted = if wanted.contains('.') { wanted.trim_end_matches('0') } else { wanted };
            assert_eq!(sum(left, right), wanted, "{left} + {right}");
        }
    }

    #[test]
    fn what_is_a_number() {
        for text in
            ["1", "-1", "+1", ".5", "5.", "1e5", "1E+5", "1e-5", "inf", "-Infinity", "1e4932", "0e99999"]
        {
            assert!(Extended::parse(text.as_bytes()).is_some(), "{text}");
        }
        for text in [
            "",
            ".",
            "-",
            "e5",
            "1e",
            "1e+",
            " 1",
            "1 ",
            "1.2.3",
            "nan",
            "0x10",
            "1e5000",
            "1e-5000",
            "--1",
            "1e99999999999",
        ] {
            assert!(Extended::parse(text.as_bytes()).is_none(), "{text}");
        }
        let infinity = Extended::parse(b"inf").unwrap();
        assert!(!infinity.add(Extended::ZERO).unwrap().is_finite());
        assert_eq!(infinity.add(Extended::parse(b"-inf").unwrap()), None);
        let large = Extended::parse(b"1e4932").unwrap();
        assert!(!large.add(large).unwrap().is_finite());
    }

    #[test]
    fn long_numbers_print_in_full() {
        assert_eq!(sum("18446744073709551616", "0"), "18446744073709551616");
        let text = sum("1e4900", "0");
        assert_eq!(text.len(), 4901);
        assert!(text.starts_with("1000000000000000000"));
    }
}
