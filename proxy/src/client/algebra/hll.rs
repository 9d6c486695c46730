//! HyperLogLogs as Redis keeps them: reading both of its forms, merging, counting.
//!
//! A value is a header of 16 bytes (the word `HYLL`, the form, a cached count) and 16384 registers of 6
//! bits: packed (dense), or as runs (sparse: `00nnnnnn` and `01nnnnnn nnnnnnnn` for n + 1 registers of
//! zero, `1vvvvvnn` for n + 1 registers of v + 1). The count is the estimate of Otmar Ertl's paper
//! "New cardinality estimation algorithms for HyperLogLog sketches", as in Redis.

const REGISTERS: usize = 1 << 14;
/// The largest value of a register: 64 bits of a hash less the 14 that choose the register, and one.
const VALUE_MAX: usize = 51;
const HEAD: usize = 16;
const DENSE_BYTES: usize = REGISTERS * 6 / 8;

/// What Redis says of a string that is none.
const NOT_ONE: &str = "WRONGTYPE Key is not a valid HyperLogLog string value.";
/// And of one whose runs do not add up.
const CORRUPT: &str = "INVALIDOBJ Corrupted HLL object detected";

/// All registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registers(Vec<u8>);

impl Default for Registers {
    fn default() -> Self {
        Registers(vec![0; REGISTERS])
    }
}

impl Registers {
    /// Takes in another one.
    ///
    /// # Errors
    /// Redis' text, if it is none.
    pub fn merge(&mut self, value: &[u8]) -> Result<(), &'static str> {
        let (head, body) = value.split_at_checked(HEAD).ok_or(NOT_ONE)?;
        match (&head[..4], head[4]) {
            (b"HYLL", 0) if body.len() == DENSE_BYTES => {
                // Four registers in three bytes, the lowest bits first.
                for (three, four) in body.chunks_exact(3).zip(self.0.chunks_exact_mut(4)) {
                    let bits = u32::from_le_bytes([three[0], three[1], three[2], 0]);
                    for (place, register) in four.iter_mut().enumerate() {
                        *register = (*register).max((bits >> (6 * place)) as u8 & 63);
                    }
                }
                Ok(())
            }
            (b"HYLL", 1) => self.merge_runs(body),
            _ => Err(NOT_ONE),
        }
    }

    fn merge_runs(&mut self, body: &[u8]) -> Result<(), &'static str> {
        let (mut at, mut bytes) = (0, body.iter().copied());
        while let Some(byte) = bytes.next() {
            let (count, value) = match byte >> 6 {
                0 => (usize::from(byte & 63) + 1, 0),
                1 => {
                    let low = bytes.next().ok_or(CORRUPT)?;
                    ((usize::from(byte & 63) << 8 | usize::from(low)) + 1, 0)
                }
                _ => (usize::from(byte & 3) + 1, (byte >> 2 & 31) + 1),
            };
            let run = self.0.get_mut(at..at + count).ok_or(CORRUPT)?;
            run.iter_mut().for_each(|register| *register = (*register).max(value));
            at += count;
        }
        if at == REGISTERS { Ok(()) } else { Err(CORRUPT) }
    }

    /// The estimate of how many different elements there were.
    pub fn count(&self) -> u64 {
        /// 1 / (2 ln 2)
        const ALPHA: f64 = 0.5 / std::f64::consts::LN_2;
        let mut histogram = [0_u32; 64];
        self.0.iter().for_each(|register| histogram[usize::from(register & 63)] += 1);
        let m = REGISTERS as f64;
        let mut z = m * tau((m - f64::from(histogram[VALUE_MAX])) / m);
        for count in histogram[1..VALUE_MAX].iter().rev() {
            z = (z + f64::from(*count)) * 0.5;
        }
        z += m * sigma(f64::from(histogram[0]) / m);
        (ALPHA * m * m / z).round() as u64
    }

    /// The dense form, with the mark that its count is not known.
    pub fn dense(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(HEAD + DENSE_BYTES);
        value.extend_from_slice(b"HYLL\0\0\0\0\0\0\0\0\0\0\0\x80");
        for four in self.0.chunks_exact(4) {
            let bits = four.iter().rev().fold(0_u32, |bits, register| bits << 6 | u32::from(register & 63));
            value.extend_from_slice(&bits.to_le_bytes()[..3]);
        }
        value
    }
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        let before = z;
        x *= x;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        let before = z;
        x = x.sqrt();
        y *= 0.5;
        z -= (1.0 - x).powi(2) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 16384 registers of zero, in one long run.
    const EMPTY: &[u8] = b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff";

    #[test]
    fn both_forms_say_the_same() {
        let mut sparse = EMPTY[..HEAD].to_vec();
        // Five zeros, three registers of 7, the rest zeros.
        sparse.extend_from_slice(&[0b0000_0100, 0b1001_1010]);
        let rest = REGISTERS - 8 - 1;
        sparse.extend_from_slice(&[0x40 | (rest >> 8) as u8, rest as u8]);
        let mut registers = Registers::default();
        registers.merge(&sparse).unwrap();
        assert_eq!(registers.0[..10], [0, 0, 0, 0, 0, 7, 7, 7, 0, 0]);
        assert_eq!(registers.count(), 3);
        let mut again = Registers::default();
        again.merge(&registers.dense()).unwrap();
        assert_eq!(again, registers);
        assert_eq!(registers.dense().len(), 12304);
        again.merge(EMPTY).unwrap();
        assert_eq!(again, registers, "an empty one adds nothing");
        assert_eq!(Registers::default().count(), 0);
    }

    #[test]
    fn what_is_none_is_told() {
        for (value, text) in [
            (&b""[..], NOT_ONE),
            (b"hello", NOT_ONE),
            (b"HYLK\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff", NOT_ONE),
            (b"HYLL\x02\0\0\0\0\0\0\0\0\0\0\0\x7f\xff", NOT_ONE),
            (b"HYLL\x00\0\0\0\0\0\0\0\0\0\0\0\x7f\xff", NOT_ONE),
            (b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0\x7f", CORRUPT),
            (b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xfe", CORRUPT),
            (b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff\x00", CORRUPT),
        ] {
            assert_eq!(Registers::default().merge(value), Err(text), "{value:?}");
        }
    }
}
