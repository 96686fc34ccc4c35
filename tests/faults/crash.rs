//! Nothing acknowledged is lost: the gateway is killed while clients are at work, started again, and
//! compared with what they saw acknowledged.
//!
//! `TIDEGATE_TESTS_CRASHES=10000` kills so often, `TIDEGATE_TESTS_SEED` chooses the first seed. A seed
//! fixes what everybody does and after how many acknowledgements the kill comes; the machine decides the rest.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Duration;

use crate::faults::crash::ledger::Fault;
use crate::faults::crash::life::{End, Life, Plan};
use crate::harness::gateway::Settings;
use crate::harness::{Outcome, Stop, World, random};
use crate::{ensure, ensure_eq};

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
/// Of a gateway that loses everything.
const LIVES_MAX: u64 = 5;

fn nothing_acknowledged_is_lost_when_it_is_killed(_: &mut World) -> Outcome {
    let crashes = crashes()?;
    let lives = (0..crashes).step_by(ROUNDS).map(|done| ROUNDS.min(crashes - done));
    let lives = Mutex::new((random::seed()..).zip(lives).collect::<VecDeque<_>>());
    let total = Mutex::new((0, 0));
    let run = || {
        loop {
            let next = lives.lock().expect("not poisoned").pop_front();
            let Some((seed, rounds)) = next else { return Ok(()) };
            match repeatable(seed, Some(rounds), KILLED, || live(seed, rounds)) {
                Ok(messages) => {
                    let mut total = total.lock().expect("not poisoned");
                    *total = (total.0 + rounds, total.1 + messages);
                }
                Err(stop) => {
                    lives.lock().expect("not poisoned").clear();
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
    let (kills, messages) = total.into_inner().expect("not poisoned");
    ensure_eq!(kills, crashes, "how often it was killed");
    println!("  {kills} kills, {messages} messages, seed {}", random::seed());
    Ok(())
}

/// The same without a kill: whatever is found then is wrong without a crash, or in this harness.
fn nothing_is_lost_when_connections_are_cut(world: &mut World) -> Outcome {
    let seed = random::seed();
    repeatable(seed, None, "crash::nothing_is_lost_when_connections_are_cut", || {
        let life = Life::run(world, Plan { end: End::Cut, ..Plan::new(seed, 5) })?;
        ensure!(life.is_good(), "\n{}", life.report());
        life.stop()
    })
}

/// `durability = "interval"` loses nothing when only the gateway ends.
fn what_the_system_has_survives_a_kill(world: &mut World) -> Outcome {
    let seed = random::seed();
    repeatable(seed, None, "crash::what_the_system_has_survives_a_kill", || {
        let settings = Settings::set(&["store.durability=interval"]);
        let life = Life::run(world, Plan { settings, ..Plan::new(seed, ROUNDS) })?;
        ensure!(life.is_good(), "\n{}", life.report());
        life.stop()
    })
}

/// The harness on a gateway that keeps nothing.
fn a_gateway_without_a_store_is_found_out(world: &mut World) -> Outcome {
    let seed = random::seed();
    repeatable(seed, None, "crash::a_gateway_without_a_store_is_found_out", || {
        let patience = Duration::from_secs(1);
        let mut hidden = vec![Fault::SessionGone, Fault::Lost, Fault::Retained];
        let mut reports = String::new();
        // What was retained last may have been cleared: that is as it should be, whatever was lost.
        for life in 0..LIVES_MAX {
            let settings = Settings::set(&["store.durability=memory"]);
            let life =
                Life::run(world, Plan { settings, least: 200, patience, ..Plan::new(seed + life, 1) })?;
            hidden.retain(|fault| !life.has(*fault));
            if hidden.is_empty() {
                return Ok(());
            }
            reports += &life.report();
            life.stop()?;
        }
        ensure!(hidden.is_empty(), "{hidden:?} were not found, but\n{reports}");
        Ok(())
    })
}

/// The harness on a gateway whose disk lies: what was synced is gone.
fn a_log_that_forgets_is_found_out(world: &mut World) -> Outcome {
    let seed = random::seed();
    repeatable(seed, None, "crash::a_log_that_forgets_is_found_out", || {
        let (end, patience) = (End::Forget, Duration::from_secs(1));
        let life = Life::run(world, Plan { end, least: 200, patience, ..Plan::new(seed, 1) })?;
        ensure!(life.has(Fault::Lost), "nothing was found to be lost, but\n{}", life.report());
        Ok(())
    })
}

/// One gateway and its kills. How many messages went through it.
fn live(seed: u64, rounds: usize) -> Outcome<usize> {
    let mut world = World::new(&format!("crash-{seed}"))?;
    let failed = |what: &str, world: &World| {
        Stop::Failed(format!("{what}\n  Its data: {}\n{}", world.dir.display(), world.report()))
    };
    // Every other one has small files, so that some are full and can go.
    let small = ["store.segment_bytes=65536"];
    let settings = Settings::set(if seed.is_multiple_of(2) { &small } else { &[] });
    let life = match Life::run(&mut world, Plan { settings, ..Plan::new(seed, rounds) }) {
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

const KILLED: &str = "crash::nothing_acknowledged_is_lost_when_it_is_killed";

/// `TIDEGATE_TESTS_CRASHES`, or 100.
fn crashes() -> Outcome<usize> {
    let Some(text) = std::env::var_os("TIDEGATE_TESTS_CRASHES") else { return Ok(100) };
    let crashes = text.to_str().and_then(|text| text.parse().ok()).filter(|crashes| *crashes > 0);
    crashes.ok_or_else(|| Stop::Failed(format!("TIDEGATE_TESTS_CRASHES={text:?} is no number above 0")))
}

/// Whatever goes wrong, a panic too, says with which seed, and how to do it again.
fn repeatable<T>(
    seed: u64,
    crashes: Option<usize>,
    case: &str,
    run: impl FnOnce() -> Outcome<T>,
) -> Outcome<T> {
    let outcome = catch_unwind(AssertUnwindSafe(run));
    let outcome = outcome.unwrap_or_else(|_| Err(Stop::Failed("it panicked, as said above".into())));
    outcome.map_err(|stop| match stop {
        Stop::Failed(what) => {
            let crashes = crashes.map_or_else(String::new, |count| format!("TIDEGATE_TESTS_CRASHES={count} "));
            Stop::Failed(format!(
                "seed {seed}: {what}\n  Again:\n    TIDEGATE_TESTS_SEED={seed} {crashes}cargo test -p tidegate-tests \
                 --test tests -- {case}"
            ))
        }
        skipped @ Stop::Skipped(_) => skipped,
    })
}

fn said(stop: Stop) -> String {
    match stop {
        Stop::Failed(text) | Stop::Skipped(text) => text,
    }
}
