//! A small seeded generator of numbers (SplitMix64): the same seed gives the same run everywhere.
//!
//! It is made for choosing keys quickly and repeatably. It refuses to be a source of secrets.

/// A stream of pseudo-random numbers that is wholly decided by its seed.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The stream of this seed.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// One of several independent streams of a run: client 3's numbers are not client 4's, shifted.
    pub fn stream(seed: u64, index: u64) -> Self {
        let base = Random::new(seed).next();
        Random::new(Random::new(base ^ index.wrapping_mul(0xD6E8_FEB8_6659_FD93)).next())
    }

    /// The next 64 bits.
    #[inline]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 if `bound` is 0. Its bias is below bound / 2^64.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in 0..1, without 1.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_stream_and_another_seed_another() {
        let take = |mut random: Random| (0..50).map(|_| random.next()).collect::<Vec<_>>();
        assert_eq!(take(Random::new(7)), take(Random::new(7)));
        assert_ne!(take(Random::new(7)), take(Random::new(8)));
        assert_eq!(take(Random::stream(7, 3)), take(Random::stream(7, 3)));
        assert_ne!(take(Random::stream(7, 3)), take(Random::stream(7, 4)));
    }

    #[test]
    fn streams_of_neighbouring_clients_do_not_overlap() {
        let mut seen = std::collections::HashSet::new();
        for index in 0..100 {
            let mut random = Random::stream(1, index);
            for _ in 0..100 {
                assert!(seen.insert(random.next()), "client {index} repeats another client's number");
            }
        }
    }

    #[test]
    fn bounds_hold() {
        let mut random = Random::new(1);
        for _ in 0..10_000 {
            assert!(random.below(3) < 3);
            let unit = random.unit();
            assert!((0.0..1.0).contains(&unit));
        }
        assert_eq!(random.below(0), 0);
        assert_eq!(random.below(1), 0);
    }
}
