use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Random numbers that a seed repeats (SplitMix64).
pub(super) struct Dice(pub u64);

impl Dice {
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, sides: usize) -> usize {
        (self.number() % sides as u64) as usize
    }

    pub fn one_in(&mut self, sides: usize) -> bool {
        self.below(sides) == 0
    }
}

/// Runs a test once per seed, and names the seed that fails. `TIDEGATE_SEED` runs that one only,
/// `TIDEGATE_SEEDS` so many.
pub(super) fn with_seeds(count: u64, test: impl Fn(u64)) {
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    let seeds = match number("TIDEGATE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TIDEGATE_SEEDS").unwrap_or(count),
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(seed))) {
            eprintln!("failed with TIDEGATE_SEED={seed}");
            resume_unwind(panic);
        }
    }
}
