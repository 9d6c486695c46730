//! The middle and the spread of a few rounds.

use serde::Serialize;
use std::fmt;

/// What is said of the same figure in several rounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one; of an even number the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of these figures; `None` if there are none.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut sorted: Vec<f64> = figures.into_iter().filter(|figure| figure.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median =
            if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        Some(Spread { median, min, max })
    }
}

/// Three significant digits, with k and M for what is large: `0.345`, `12.1`, `345`, `12.1k`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Short(pub f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, unit) = match self.0.abs() {
            size if size >= 999_500.0 => (self.0 / 1e6, "M"),
            size if size >= 9_995.0 => (self.0 / 1e3, "k"),
            _ => (self.0, ""),
        };
        let decimals = match value.abs() {
            size if size >= 99.95 => 0,
            size if size >= 9.995 => 1,
            _ => 2,
        };
        write!(f, "{value:.decimals$}{unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_edges() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(Spread::of([5.0, f64::NAN]), Some(Spread { median: 5.0, min: 5.0, max: 5.0 }));
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn short_figures() {
        for (value, text) in [
            (0.0, "0.00"),
            (0.345, "0.34"),
            (1.2, "1.20"),
            (12.14, "12.1"),
            (345.4, "345"),
            (1234.4, "1234"),
            (12_140.0, "12.1k"),
            (134_500.0, "134k"),
            (1_345_000.0, "1.34M"),
        ] {
            assert_eq!(Short(value).to_string(), text);
        }
    }
}
