//! Runs cases on a few threads and prints what `cargo test` would, plus what was skipped and why.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use crate::harness::{Case, Stop, World};

#[derive(Default)]
struct Tally {
    passed: usize,
    skipped: usize,
    failed: Vec<&'static str>,
}

pub fn main(mut cases: Vec<Case>) -> ExitCode {
    let mut only = Vec::new();
    let mut without = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--list" => {
                cases.iter().for_each(|case| println!("{}: test", case.name));
                return ExitCode::SUCCESS;
            }
            "--skip" => without.extend(arguments.next()),
            flag if flag.starts_with('-') => {} // of libtest, for instance --quiet
            text => only.push(text.to_owned()),
        }
    }
    let total = cases.len();
    cases.retain(|case| only.is_empty() || only.iter().any(|text| case.name.contains(text.as_str())));
    cases.retain(|case| !without.iter().any(|text| case.name.contains(text.as_str())));
    run(cases, total)
}

fn run(cases: Vec<Case>, total: usize) -> ExitCode {
    println!("\nrunning {} tests", cases.len());
    let (started, filtered) = (Instant::now(), total - cases.len());
    let queue = Mutex::new(VecDeque::from(cases));
    let tally = Mutex::new(Tally::default());
    let threads =
        std::env::var("TIDEGATE_TESTS_THREADS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("not poisoned").pop_front();
                    let Some(case) = next else { break };
                    run_case(&case, &tally);
                }
            });
        }
    });
    let tally = tally.into_inner().expect("not poisoned");
    if !tally.failed.is_empty() {
        println!("\nfailures:");
        tally.failed.iter().for_each(|name| println!("    {name}"));
    }
    println!(
        "\ntest result: {}. {} passed; {} failed; {} ignored; 0 measured; {filtered} filtered out; finished in {:.2}s\n",
        if tally.failed.is_empty() { "ok" } else { "FAILED" },
        tally.passed,
        tally.failed.len(),
        tally.skipped,
        started.elapsed().as_secs_f64()
    );
    if tally.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_case(case: &Case, tally: &Mutex<Tally>) {
    let started = Instant::now();
    let mut world = match World::new(case.name) {
        Ok(world) => world,
        Err(stop) => panic!("no folder for {}: {stop:?}", case.name),
    };
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| (case.run)(&mut world)))
        .unwrap_or_else(|_| Err(Stop::Failed("the test panicked".into())));
    let took = started.elapsed().as_secs_f64();
    let mut tally = tally.lock().expect("not poisoned");
    match outcome {
        Ok(()) => {
            tally.passed += 1;
            println!("test {} ... ok ({took:.1}s)", case.name);
            world.tear_down();
        }
        Err(Stop::Skipped(reason)) => {
            tally.skipped += 1;
            println!("SKIPPED {}: {reason}", case.name);
        }
        Err(Stop::Failed(reason)) => {
            tally.failed.push(case.name);
            println!("test {} ... FAILED ({took:.1}s)\n  {reason}\n{}", case.name, world.report());
        }
    }
}
