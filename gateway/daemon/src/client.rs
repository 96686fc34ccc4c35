//! The built-in MQTT client behind `tidegate pub` and `tidegate sub`.
//!
//! It speaks to any broker: the codec is the gateway's, nothing else is. Read `connection.rs`
//! first, then `publish.rs` and `subscribe.rs`.

mod carrier;
mod connection;
mod error;
mod format;
mod options;
mod publish;
mod subscribe;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

pub use options::{PublishOptions, SubscribeOptions};

use error::ClientError;

/// `tidegate pub`.
pub fn publish(options: &PublishOptions) -> ExitCode {
    run(publish::run(options))
}

/// `tidegate sub`.
pub fn subscribe(options: &SubscribeOptions) -> ExitCode {
    run(subscribe::run(options))
}

/// Runs a client to its end; an interrupt (Ctrl-C) is a good end.
fn run(client: impl Future<Output = Result<(), ClientError>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("tidegate: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(client) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidegate: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}
