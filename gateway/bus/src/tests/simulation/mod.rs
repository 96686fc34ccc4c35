//! Random programs against a reference written from the specification.
//!
//! `program.rs` draws steps and does each to both; `reference.rs`, with the shared subscriptions of
//! `groups.rs` and the crashes of `restart.rs`, knows nothing of the bus. After every step both must
//! agree on deliveries in order, sessions, retained messages and counts. `hanging.rs` and `promises.rs`
//! have no reference.
//!
//! A seed that fails is printed with its steps; `TIDEGATE_SIMULATION_SEED=n` runs it alone.

mod groups;
mod hanging;
mod program;
mod promises;
mod reference;
mod restart;

use program::Program;

const SEEDS: u64 = 400;
const STEPS: usize = 200;

#[test]
fn random_programs_agree_with_the_reference() {
    for seed in seeds() {
        let mut program = Program::new(seed);
        for _ in 0..STEPS {
            program.step();
            program.check();
        }
        program.finish();
    }
}

/// What was written is there after a crash, to the last flag and identifier, and nothing else.
#[test]
fn random_programs_agree_with_the_reference_through_crashes() {
    for seed in seeds() {
        let mut program = Program::durable(seed);
        for _ in 0..STEPS {
            program.step_durably();
            program.check();
        }
        program.crash();
        program.check();
        program.finish();
    }
}

#[test]
fn what_was_promised_arrives_whenever_the_power_fails() {
    for_each_seed(promises::run);
}

#[test]
fn whoever_hangs_nothing_is_lost_and_nothing_waits_for_him() {
    for_each_seed(hanging::run);
}

fn for_each_seed(run: fn(u64)) {
    for seed in seeds() {
        if let Err(panic) = std::panic::catch_unwind(|| run(seed)) {
            eprintln!("seed {seed} failed; TIDEGATE_SIMULATION_SEED={seed} runs it alone");
            std::panic::resume_unwind(panic);
        }
    }
}

fn seeds() -> std::ops::Range<u64> {
    match std::env::var("TIDEGATE_SIMULATION_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("TIDEGATE_SIMULATION_SEED is a number");
            seed..seed + 1
        }
        Err(_) => 0..SEEDS,
    }
}
