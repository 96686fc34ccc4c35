//! Chance that can be repeated.

/// SplitMix64.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From `TIDEGATE_TESTS_SEED`, else always the same.
    pub fn seeded() -> Self {
        Self(seed())
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// True once in so many times.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn bytes(&mut self, longest: usize) -> Vec<u8> {
        let length = 1 + self.below(longest);
        (0..length).map(|_| self.next() as u8).collect()
    }
}

/// `TIDEGATE_TESTS_SEED`, or one that is always the same.
pub fn seed() -> u64 {
    let Ok(seed) = std::env::var("TIDEGATE_TESTS_SEED") else { return 20_260_101 };
    seed.parse().expect("TIDEGATE_TESTS_SEED is a number")
}
