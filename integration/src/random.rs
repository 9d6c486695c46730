//! Repeatable chance: every random test takes a seed, prints it, and can be run again with it.

/// A small generator (splitmix64). Equal seeds give equal sequences.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From this seed.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// From `POINTSMAN_TEST_SEED` if it is set, else from `seed`; says which, so that a failing
    /// test's output tells how to repeat it.
    pub fn for_test(seed: u64) -> Self {
        let seed = match std::env::var("POINTSMAN_TEST_SEED") {
            Ok(text) => text.parse().expect("POINTSMAN_TEST_SEED is a number"),
            Err(_) => seed,
        };
        println!("seed {seed}: POINTSMAN_TEST_SEED={seed} repeats this run");
        Random(seed)
    }

    /// From the clock, another each time, unless `POINTSMAN_TEST_SEED` is set; says which.
    pub fn by_chance() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Random::for_test(now.map_or(0, |now| now.as_nanos() as u64 % 1_000_000_007))
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is at least 1.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }

    /// True once in `times` on average.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of `choices`.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// One of these words.
    pub fn word(&mut self, choices: &[&'static str]) -> &'static str {
        choices[self.below(choices.len())]
    }

    /// A generator of its own, for a thread or a client.
    pub fn fork(&mut self) -> Random {
        Random(self.bits())
    }
}
