//! A million of each on one gateway: what a peer costs when it comes, while it is idle, when
//! somebody speaks to it, and when it is gone.
//!
//! ```text
//!   scale [mqtt] [coap] [lwm2m] [all] [--count N]
//! ```
//!
//! The gateway is the real one without sockets (`gateway_broker::Bench`): its shard, its door, its bus
//! and its adapters see the bytes that peers would send, and time passes only where it is told to. Each
//! kind is measured in a process of its own, which fails if it ever needs 2 GB. Run as a test there are
//! a thousand of each.

mod address;
mod arguments;
mod coap;
mod course;
mod gateway;
mod lwm2m;
mod mqtt;
mod population;
mod reading;

use std::process::{Command, ExitCode};

use cap::Cap;
use mimalloc::MiMalloc;

use crate::arguments::Arguments;
use crate::coap::Observers;
use crate::course::Course;
use crate::lwm2m::Registrations;
use crate::mqtt::Sessions;
use crate::population::Make;

/// That of the program, counted.
#[global_allocator]
static HEAP: Cap<MiMalloc> = Cap::new(MiMalloc, usize::MAX);

fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    if let Some(kind) = &arguments.alone {
        return verdict(alone(kind, arguments.count));
    }
    let (mut passed, mut failed) = (0, 0);
    for kind in &arguments.kinds {
        match child(kind, arguments.count) {
            Ok(()) => passed += 1,
            Err(error) => {
                failed += 1;
                println!("{kind}: {error}");
            }
        }
    }
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {result}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out"
    );
    ExitCode::from(u8::from(failed > 0))
}

/// Measures one kind in a process of its own: what another left of the heap says nothing then.
fn child(kind: &str, count: u32) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let status = Command::new(program).args(["--alone", kind, "--count", &count.to_string()]).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(status.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

fn alone(kind: &str, count: u32) -> Result<(), String> {
    let make: &[Make] = match kind {
        "mqtt" => &[|_| Box::new(Sessions::default())],
        "coap" => &[|gateway| Box::new(Observers::new(gateway))],
        "lwm2m" => &[|gateway| Box::new(Registrations::new(gateway))],
        "all" => &[|_| Box::new(Sessions::default()), |gateway| Box::new(Observers::new(gateway))],
        other => return Err(format!("{other}: mqtt, coap, lwm2m or all")),
    };
    Course::new(count, make).run()
}

fn verdict(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("  FAILED: {error}");
            ExitCode::FAILURE
        }
    }
}
