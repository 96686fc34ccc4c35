//! How many instructions the gateway needs for a message, compared with what is committed.
//!
//! A count is nearly the same on every machine and on a busy one, which a time is not: so it can be a
//! test. It is no time either: what waits for memory costs more than it counts.
//!
//! - `cargo bench -p tidegate-bench --bench instructions` starts this program again under callgrind, once
//!   for each of `workloads.rs`, and fails if one needs over a tenth more than `instructions.toml` says.
//!   With `UPDATE=1` it writes that file.
//! - `cargo test` only does every workload once, to see that all messages arrive.
//!
//! `../micro/rig.rs` is the gateway, `callgrind.rs` counts, `figures.rs` is the file. The last line is that
//! of `cargo test`, so that `tests/run` counts it.

mod callgrind;
mod figures;
#[path = "../micro/rig.rs"]
mod rig;
mod workloads;

use std::env;
use std::io;
use std::process::ExitCode;
use std::time::Instant;

use callgrind::Counted;
use figures::{Comparison, Figure, Figures};
use workloads::{COUNTED, WORKLOADS, Workload};

/// That of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Rounds that are counted.
const ROUNDS: usize = 10;
/// Rounds before those: routes are cached, and buffers have grown.
const ROUNDS_BEFORE: usize = 20;
/// Says which workload to do, to this program when it is under callgrind.
const WORKLOAD: &str = "--workload";

enum Outcome {
    Passed(String),
    Skipped(String),
    Failed(String),
}

#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: usize,
}

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    if let [flag, name] = &arguments[..]
        && flag == WORKLOAD
    {
        let workload = WORKLOADS.iter().find(|workload| workload.name == name).expect("a workload");
        println!("{}", (workload.run)(ROUNDS_BEFORE, ROUNDS));
        return ExitCode::SUCCESS;
    }
    if !arguments.iter().any(|argument| argument == "--bench") {
        let workloads = WORKLOADS.iter().map(|workload| (workload.name, try_out(workload)));
        return report(workloads.chain([("figures", check_figures())]));
    }
    if env::var_os("UPDATE").is_some() {
        return update();
    }
    let committed = Figures::read();
    report(WORKLOADS.iter().map(|workload| (workload.name, compare(workload, &committed))))
}

/// Says what comes of each case, as `cargo test` does.
fn report(outcomes: impl Iterator<Item = (&'static str, Outcome)>) -> ExitCode {
    let started = Instant::now();
    let mut tally = Tally::default();
    for (name, outcome) in outcomes {
        match outcome {
            Outcome::Passed(text) => {
                tally.passed += 1;
                println!("test instructions::{name} ... ok ({text})");
            }
            Outcome::Skipped(reason) => {
                tally.skipped += 1;
                println!("SKIPPED instructions::{name}: {reason}");
            }
            Outcome::Failed(reason) => {
                tally.failed += 1;
                println!("test instructions::{name} ... FAILED\n  {reason}");
            }
        }
    }
    println!(
        "\ntest result: {}. {} passed; {} failed; {} ignored; 0 measured; 0 filtered out; finished in {:.2}s\n",
        if tally.failed == 0 { "ok" } else { "FAILED" },
        tally.passed,
        tally.failed,
        tally.skipped,
        started.elapsed().as_secs_f64()
    );
    if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A panic inside says which message did not arrive.
fn try_out(workload: &Workload) -> Outcome {
    Outcome::Passed(format!("{} messages", (workload.run)(1, 1)))
}

/// The committed file is what would be written now but for the numbers, and says no for one too many.
fn check_figures() -> Outcome {
    let figures = match Figures::read() {
        Ok(figures) => figures,
        Err(error) => return Outcome::Failed(format!("instructions.toml: {error}")),
    };
    let written: Vec<_> = figures.0.iter().map(|figure| (&*figure.name, &*figure.what)).collect();
    let known: Vec<_> = WORKLOADS.iter().map(|workload| (workload.name, workload.what)).collect();
    if written != known {
        return Outcome::Failed(format!("instructions.toml has {written:?} and not {known:?}"));
    }
    let limits = [(1000, 1100), (1000, 1101), (1000, 900), (1000, 899)];
    let compared = limits.map(|(committed, counted)| Comparison::of(counted, committed));
    let expected = [Comparison::Close, Comparison::Dearer, Comparison::Close, Comparison::Cheaper];
    if compared != expected {
        return Outcome::Failed(format!("{compared:?} and not {expected:?}"));
    }
    Outcome::Passed(format!("{} figures", written.len()))
}

fn compare(workload: &Workload, committed: &io::Result<Figures>) -> Outcome {
    let committed = match committed {
        Ok(figures) => figures.get(workload.name),
        Err(error) => return Outcome::Failed(format!("instructions.toml: {error}")),
    };
    let counted = match count(workload) {
        Ok(counted) => counted,
        Err(outcome) => return outcome,
    };
    let Some(committed) = committed else {
        return Outcome::Failed(format!("{counted} instructions, and no figure in instructions.toml"));
    };
    let change = 100.0 * (counted as f64 / committed as f64 - 1.0);
    let text = format!("{counted} instructions per message, {change:+.1} % of {committed}");
    match Comparison::of(counted, committed) {
        Comparison::Close => Outcome::Passed(text),
        Comparison::Cheaper => Outcome::Passed(format!("{text}: commit the better figure, by UPDATE=1")),
        Comparison::Dearer => Outcome::Failed(format!("{text}: {}", workload.what)),
    }
}

/// Instructions per message.
fn count(workload: &Workload) -> Result<u64, Outcome> {
    match callgrind::count(COUNTED, &[WORKLOAD, workload.name]) {
        Counted::Instructions { total, messages } => Ok((total + messages / 2) / messages),
        Counted::Skipped(reason) => Err(Outcome::Skipped(reason)),
        Counted::Failed(reason) => Err(Outcome::Failed(reason)),
    }
}

fn update() -> ExitCode {
    let mut figures = Figures::default();
    for workload in &WORKLOADS {
        match count(workload) {
            Ok(instructions) => {
                println!("{}: {instructions}", workload.name);
                let (name, what) = (workload.name.into(), workload.what.into());
                figures.0.push(Figure { name, instructions, what });
            }
            Err(Outcome::Skipped(reason) | Outcome::Failed(reason) | Outcome::Passed(reason)) => {
                eprintln!("{}: {reason}", workload.name);
                return ExitCode::FAILURE;
            }
        }
    }
    match figures.write() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("instructions.toml: {error}");
            ExitCode::FAILURE
        }
    }
}
