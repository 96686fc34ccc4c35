//! Nothing acknowledged is lost: the gateway is killed while clients are at work, started again, and
//! compared with what they saw acknowledged.
//!
//! `TIDEGATE_TESTS_CRASHES=10000` kills so often, `TIDEGATE_TESTS_SEED` chooses the first seed. A seed
//! fixes what everybody does and after how many acknowledgements the kill comes; the machine decides the rest.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use crate::ensure;
use crate::faults::crash::ledger::Fault;
use crate::faults::crash::life::{End, Life, Plan};
use crate::harness::{Outcome, Stop, World, random};

mod cast;
mod client;
mod group;
mod history;
mod ledger;
mod life;
mod link;
pub mod packet;
pub mod proof;
mod publisher;
mod receiver;
mod retained;
mod sink;
mod stage;

crate::cases!("crash":
    nothing_acknowledged_is_lost_when_it_is_killed,
    nothing_is_lost_when_connections_are_cut,
    what_the_system_has_survives_a_kill,
    a_gateway_without_a_store_is_found_out,
    a_log_that_forgets_is_found_out,
);

/// Kills of one gateway, and how many gateways live at a time.
const ROUNDS: usize = 10;
const AT_A_TIME: usize = 4;

fn nothing_acknowledged_is_lost_when_it_is_killed(_: &mut World) -> Outcome {
    let crashes = std::env::var("TIDEGATE_TESTS_CRASHES").ok().and_then(|text| text.parse().ok());
    let crashes: usize = crashes.unwrap_or(100);
    let lives = crashes.div_ceil(ROUNDS) as u64;
    let seeds = Mutex::new((0..lives).map(|life| random::seed() + life).collect::<VecDeque<_>>());
    let messages = Mutex::new(0);
    let run = || {
        loop {
            let next = seeds.lock().expect("not poisoned").pop_front();
            let Some(seed) = next else { return Ok(()) };
            match live(seed, ROUNDS.min(crashes)) {
                Ok(count) => *messages.lock().expect("not poisoned") += count,
                Err(stop) => {
                    seeds.lock().expect("not poisoned").clear();
                    return Err(stop);
                }
            }
        }
    };
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    let failed: Vec<String> = outcomes.into_iter().filter_map(|outcome| outcome.err().map(said)).collect();
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    println!(
        "  {crashes} kills, {} messages, seed {}",
        messages.lock().expect("not poisoned"),
        random::seed()
    );
    Ok(())
}

/// The same without a kill: whatever is found then is wrong without a crash, or in this harness.
fn nothing_is_lost_when_connections_are_cut(world: &mut World) -> Outcome {
    let plan = Plan { end: End::Cut, ..Plan::new(random::seed(), 5) };
    let seed = plan.seed;
    let life = Life::run(world, plan)?;
    ensure!(life.is_good(), "seed {seed}:\n{}", life.report());
    life.stop()
}

/// `durability = "interval"` loses nothing when only the gateway ends.
fn what_the_system_has_survives_a_kill(world: &mut World) -> Outcome {
    let seed = random::seed();
    let set = vec!["store.durability=interval".to_owned()];
    let life = Life::run(world, Plan { set, ..Plan::new(seed, ROUNDS) })?;
    ensure!(life.is_good(), "seed {seed}:\n{}", life.report());
    life.stop()
}

/// The harness on a gateway that keeps nothing.
fn a_gateway_without_a_store_is_found_out(world: &mut World) -> Outcome {
    let set = vec!["store.durability=memory".to_owned()];
    let plan = Plan { set, least: 200, patience: Duration::from_secs(1), ..Plan::new(random::seed(), 1) };
    let life = Life::run(world, plan)?;
    for fault in [Fault::SessionGone, Fault::Lost, Fault::Retained] {
        ensure!(life.has(fault), "{fault:?} was not found, but\n{}", life.report());
    }
    Ok(())
}

/// The harness on a gateway whose disk lies: what was synced is gone.
fn a_log_that_forgets_is_found_out(world: &mut World) -> Outcome {
    let (end, patience) = (End::Forget, Duration::from_secs(1));
    let life = Life::run(world, Plan { end, least: 200, patience, ..Plan::new(random::seed(), 1) })?;
    ensure!(life.has(Fault::Lost), "nothing was found to be lost, but\n{}", life.report());
    Ok(())
}

/// One gateway and its kills. How many messages went through it.
fn live(seed: u64, rounds: usize) -> Outcome<usize> {
    let mut world = World::new(&format!("crash-{seed}"))?;
    let failed = |what: &str, world: &World| {
        Stop::Failed(format!(
            "seed {seed}: {what}\n  Its data: {}. Again:\n    TIDEGATE_TESTS_SEED={seed} \
             TIDEGATE_TESTS_CRASHES={rounds} cargo test -p tidegate-tests --test tests -- {AGAIN}\n{}",
            world.dir.display(),
            world.report()
        ))
    };
    // Every other one has small files, so that some are full and can go.
    let set = seed.is_multiple_of(2).then(|| "store.segment_bytes=65536".to_owned());
    let plan = Plan { set: Vec::from_iter(set), ..Plan::new(seed, rounds) };
    let life = match Life::run(&mut world, plan) {
        Ok(life) => life,
        Err(stop) => return Err(failed(&said(stop), &world)),
    };
    if !life.is_good() {
        let report = life.report();
        return Err(failed(&format!("\n{report}"), &world));
    }
    let messages = life.messages();
    life.stop().map_err(|stop| failed(&said(stop), &world))?;
    world.tear_down();
    Ok(messages)
}

const AGAIN: &str = "crash::nothing_acknowledged";

fn said(stop: Stop) -> String {
    match stop {
        Stop::Failed(text) | Stop::Skipped(text) => text,
    }
}
