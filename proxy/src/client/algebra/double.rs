//! Doubles in Redis' words: `3`, `-0`, `inf`, `0.1`, `1e+21`.

/// The number in a text; `None` for what is none, NaN among them.
pub fn parse(bytes: &[u8]) -> Option<f64> {
    let number: f64 = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    (!number.is_nan()).then_some(number)
}

/// As few digits as read back to the same number: how nodes since 7.2 write it.
pub fn shortest(number: f64) -> String {
    // Integers are written as such while they are sure to be exact in both forms.
    const WHOLE_MAX: f64 = (i64::MAX / 2) as f64;
    if let Some(text) = special(number) {
        return text;
    }
    if number.fract() == 0.0 && number.abs() <= WHOLE_MAX {
        return (number as i64).to_string();
    }
    let (sign, digits, exponent) = parts(&format!("{number:e}"));
    let count = digits.len() as i32;
    // The number is 0.DIGITS or DIGITS with so many zeros behind them.
    let zeros = exponent - (count - 1);
    if zeros >= 0 && exponent < count + 7 {
        return format!("{sign}{digits}{}", "0".repeat(zeros as usize));
    }
    if zeros < 0 && (zeros > -7 || exponent.abs() < 4) {
        let point = count + zeros;
        return match usize::try_from(point).ok().filter(|point| *point > 0) {
            Some(point) => format!("{sign}{}.{}", &digits[..point], &digits[point..]),
            None => format!("{sign}0.{}{digits}", "0".repeat(point.unsigned_abs() as usize)),
        };
    }
    scientific(sign, &digits, exponent, 1)
}

/// Seventeen digits without the zeros at their end: how nodes before 7.2 write it (C's `%.17g`).
pub fn seventeen(number: f64) -> String {
    if let Some(text) = special(number) {
        return text;
    }
    let (sign, digits, exponent) = parts(&format!("{number:.16e}"));
    let digits = digits.trim_end_matches('0');
    match usize::try_from(exponent) {
        _ if !(-4..17).contains(&exponent) => scientific(sign, digits, exponent, 2),
        Ok(whole) if digits.len() > whole + 1 => {
            format!("{sign}{}.{}", &digits[..whole + 1], &digits[whole + 1..])
        }
        Ok(whole) => format!("{sign}{digits}{}", "0".repeat(whole + 1 - digits.len())),
        Err(_) => format!("{sign}0.{}{digits}", "0".repeat(exponent.unsigned_abs() as usize - 1)),
    }
}

fn special(number: f64) -> Option<String> {
    match number {
        _ if number.is_infinite() => Some(if number > 0.0 { "inf" } else { "-inf" }.to_owned()),
        _ if number == 0.0 => Some(if number.is_sign_negative() { "-0" } else { "0" }.to_owned()),
        _ => None,
    }
}

/// Sign, digits without a point, and exponent of a number like `-1.25e-7`.
fn parts(text: &str) -> (&'static str, String, i32) {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text),
    };
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    (sign, mantissa.replace('.', ""), exponent.parse().unwrap_or(0))
}

fn scientific(sign: &str, digits: &str, exponent: i32, width: usize) -> String {
    let (first, rest) = digits.split_at(1.min(digits.len()));
    let point = if rest.is_empty() { "" } else { "." };
    let sign_of_exponent = if exponent < 0 { '-' } else { '+' };
    format!("{sign}{first}{point}{rest}e{sign_of_exponent}{:0width$}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_nodes_write_them() {
        for (number, short, long) in [
            (0.0, "0", "0"),
            (-0.0, "-0", "-0"),
            (f64::INFINITY, "inf", "inf"),
            (f64::NEG_INFINITY, "-inf", "-inf"),
            (3.0, "3", "3"),
            (-12.5, "-12.5", "-12.5"),
            (0.1, "0.1", "0.10000000000000001"),
            (-0.1, "-0.1", "-0.10000000000000001"),
            (100.25, "100.25", "100.25"),
            (1e17, "100000000000000000", "1e+17"),
            (12345678901234567.0, "12345678901234568", "12345678901234568"),
            (1e19, "1e+19", "1e+19"),
            (1.5e300, "1.5e+300", "1.5000000000000001e+300"),
            (0.0001, "0.0001", "0.0001"),
            (0.00001, "0.00001", "1.0000000000000001e-05"),
            (1e-7, "1e-7", "9.9999999999999995e-08"),
            (1.0 / 3.0, "0.3333333333333333", "0.33333333333333331"),
            (0.30000000000000004, "0.30000000000000004", "0.30000000000000004"),
            (1e-10, "1e-10", "1e-10"),
        ] {
            assert_eq!(shortest(number), short);
            assert_eq!(seventeen(number), long);
            if number.is_finite() {
                assert_eq!(parse(short.as_bytes()).map(f64::to_bits), Some(number.to_bits()), "{short}");
                assert_eq!(parse(long.as_bytes()).map(f64::to_bits), Some(number.to_bits()), "{long}");
            }
        }
    }

    #[test]
    fn what_is_no_number() {
        for text in ["", "nan", "x", "1x", " 1", "-"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(parse(b"-inf"), Some(f64::NEG_INFINITY));
        assert_eq!(parse(b"+Infinity"), Some(f64::INFINITY));
    }
}
