//! CRC16 (XMODEM: polynomial 0x1021, from zero, nothing reflected), the sum that decides slots.
//!
//! Eight bytes at a time. The byte-wise way waits for a table at each byte, because each sum needs
//! the one before; here a step's eight loads are independent. For the usual keys of 10 to 40 bytes
//! that is three to four times as fast.

/// `TABLES[n][byte]` is the sum of `byte` followed by `n` zero bytes.
static TABLES: [[u16; 256]; 8] = {
    let mut tables = [[0u16; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = (byte as u16) << 8;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 0x8000 != 0 { sum << 1 ^ 0x1021 } else { sum << 1 };
            bit += 1;
        }
        tables[0][byte] = sum;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut byte = 0;
        while byte < 256 {
            let sum = tables[zeros - 1][byte];
            tables[zeros][byte] = sum << 8 ^ tables[0][(sum >> 8) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
};

/// The sum of `bytes`.
#[inline]
pub fn crc16(bytes: &[u8]) -> u16 {
    let (chunks, rest) = bytes.as_chunks::<8>();
    let mut sum = 0u16;
    for &[a, b, c, d, e, f, g, h] in chunks {
        let [high, low] = sum.to_be_bytes();
        sum = at(7, a ^ high)
            ^ at(6, b ^ low)
            ^ at(5, c)
            ^ at(4, d)
            ^ at(3, e)
            ^ at(2, f)
            ^ at(1, g)
            ^ at(0, h);
    }
    for &byte in rest {
        let [high, _] = sum.to_be_bytes();
        sum = sum << 8 ^ at(0, byte ^ high);
    }
    sum
}

#[inline]
fn at(zeros: usize, byte: u8) -> u16 {
    TABLES[zeros][usize::from(byte)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_standard() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(crc16(b""), 0);
    }

    // T35: against another implementation, every length around the chunks and every byte value.
    #[test]
    fn t35_sums_agree_with_the_crc16_crate() {
        let bytes: Vec<u8> = (0..1024u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for len in 0..200 {
            for from in [0, 1, 7, 300] {
                let part = &bytes[from..from + len];
                assert_eq!(crc16(part), ::crc16::State::<::crc16::XMODEM>::calculate(part), "{part:?}");
            }
        }
        for byte in 0..=255 {
            assert_eq!(crc16(&[byte]), ::crc16::State::<::crc16::XMODEM>::calculate(&[byte]));
        }
    }
}
