//! The built-in MQTT client behind `tidegate pub` and `tidegate sub`.
//!
//! It speaks to any broker: the codec is the gateway's, nothing else is. The options are those of
//! mosquitto_pub and mosquitto_sub, with the same letters and meaning. Read `connection.rs` first,
//! then `publish.rs` and `subscribe.rs`.

mod broker_options;
mod carrier;
mod connection;
mod error;
mod format;
mod json;
mod moment;
mod options;
mod property;
mod publish;
mod publish_options;
mod removal;
mod report;
mod retry;
mod scram;
mod subscribe;
mod subscribe_options;
#[cfg(test)]
mod tests;
mod tls;
mod url;

use std::process::ExitCode;

pub use broker_options::{BrokerOptions, Credentials};
pub use carrier::{Security, Stream, no_socket, unreachable, upgrade};
pub use error::{ClientError, Said};
pub use options::{qos, seconds};
pub use property::fold_properties;
pub use publish_options::PublishOptions;
pub use subscribe_options::SubscribeOptions;
pub use tls::explained as tls_explained;

use report::Report;

/// `tidegate pub`.
pub fn publish(options: &PublishOptions) -> ExitCode {
    run(publish::run(options), options.connect.report())
}

/// `tidegate sub`.
pub fn subscribe(options: &SubscribeOptions) -> ExitCode {
    run(subscribe::run(options), options.connect.report())
}

/// Runs a client to its end.
fn run(client: impl Future<Output = Result<(), ClientError>>, report: Report) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            report.problem(error);
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(client) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report.problem(&error);
            ExitCode::from(error.exit_code())
        }
    }
}
