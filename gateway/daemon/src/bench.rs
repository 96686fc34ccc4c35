//! `tidegate bench`: many MQTT clients, to measure a broker, ours or another.
//!
//! It reaches brokers as `tidegate pub` does (`client.rs`), but is not made of that client: all clients of a
//! thread are one task, so that the generator costs less than what it measures.
//!
//! Read `options.rs` for what it does, `plan.rs` and `roster.rs` for who takes part, `conductor.rs` for the
//! stages of a run, `worker.rs` for one thread. What is measured: `stamp.rs` is what a payload begins with,
//! `stream.rs` tells loss, duplicates and order apart, `pace.rs` says when a message is due, `tally.rs` counts
//! and `summary.rs` tells.

mod alarm;
mod client;
mod clock;
mod conductor;
mod descriptors;
mod failures;
mod heard;
mod histogram;
mod line;
mod options;
mod pace;
mod packet_ids;
mod pattern;
mod plan;
mod process;
mod publisher;
mod ready;
mod roster;
mod run;
mod stamp;
mod stream;
mod summary;
mod tally;
mod target;
mod web;
mod worker;

use std::io::Write;
use std::process::ExitCode;

pub use options::BenchOptions;

use conductor::Conductor;
use plan::Plan;
use summary::Summary;

use crate::client::ClientError;

/// `tidegate bench`.
pub fn run(options: &BenchOptions) -> ExitCode {
    match measure(options) {
        Ok((summary, is_json)) => {
            let text = if is_json { summary.json() + "\n" } else { summary.text() };
            let written = std::io::stdout().write_all(text.as_bytes());
            if let Err(error) = &written {
                eprintln!("tidegate: {}", ClientError::Output(error.to_string()));
            }
            let is_good = summary.complete && written.is_ok();
            if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("tidegate: {error}");
            ExitCode::from(if matches!(error, ClientError::Usage(_)) { 2 } else { 1 })
        }
    }
}

/// The summary, and whether it is to be JSON.
fn measure(options: &BenchOptions) -> Result<(Summary, bool), ClientError> {
    let plan = Plan::new(&options.command)?;
    descriptors::raise(plan.members())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| ClientError::System(format!("no runtime: {error}")))?;
    let summary = runtime.block_on(async {
        let run = plan.run().await?;
        Conductor::new(&plan, run)?.conduct().await
    })?;
    Ok((summary, plan.clients.json))
}
