//! Random programs against a reference written from the specification.
//!
//! `program.rs` draws steps and does each to both; `reference.rs`, with the shared subscriptions of
//! `groups.rs`, knows nothing of the bus. After every step both must agree on deliveries in order,
//! sessions, retained messages and counts.
//!
//! A seed that fails is printed with its steps; `TIDEGATE_SIMULATION_SEED=n` runs it alone.

mod groups;
mod program;
mod reference;

use program::Program;

const SEEDS: u64 = 400;
const STEPS: usize = 200;

#[test]
fn random_programs_agree_with_the_reference() {
    let alone = std::env::var("TIDEGATE_SIMULATION_SEED").ok();
    let seeds = match alone {
        Some(seed) => {
            let seed = seed.parse().expect("TIDEGATE_SIMULATION_SEED is a number");
            seed..seed + 1
        }
        None => 0..SEEDS,
    };
    for seed in seeds {
        let mut program = Program::new(seed);
        for _ in 0..STEPS {
            program.step();
            program.check();
        }
        program.finish();
    }
}
