use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::bench::BenchOptions;
use crate::client::{PublishOptions, SubscribeOptions};
use crate::passwd::PasswdOptions;
use crate::store_command::StoreOptions;

/// An IoT gateway broker: MQTT, WebSocket, CoAP and LwM2M in, one bus, Kafka and webhooks out.
#[derive(Debug, Parser)]
#[command(
    name = "tidegate",
    version,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    after_help = "Without a command, tidegate serves."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub serve: SettingsOptions,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the gateway
    Serve(SettingsOptions),
    /// Print the merged settings with the origin of each value, or what is wrong with them
    Check {
        /// Settings file to check; the same as --config
        #[arg(value_name = "FILE", conflicts_with = "config")]
        file: Option<PathBuf>,
        #[command(flatten)]
        settings: SettingsOptions,
    },
    /// Publish messages with the built-in MQTT client
    Pub(Box<PublishOptions>),
    /// Subscribe and print messages with the built-in MQTT client
    Sub(Box<SubscribeOptions>),
    /// Measure an MQTT broker with many clients: connect, pub, sub, p2p
    Bench(BenchOptions),
    /// Set, delete and hash passwords in a file (access.password_file)
    Passwd(PasswdOptions),
    /// Inspect, verify and compact what the gateway keeps through a restart (node.data_dir)
    Store(StoreOptions),
}

/// Where settings come from, besides the defaults and the environment (TIDEGATE__SECTION__KEY).
#[derive(Args, Clone, Debug, Default)]
pub struct SettingsOptions {
    /// Settings file (TOML); only what differs from the defaults
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory of what a restart keeps; overrules node.data_dir
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// Overrules one setting, e.g. --set listener.mqtt.bind=0.0.0.0:1883; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub assignments: Vec<String>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Cli {
        Cli::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_command_it_serves() {
        let cli = parse("tidegate --config a.toml --set a.b=c --set d.e=f");
        assert!(cli.command.is_none());
        assert_eq!(cli.serve.config, Some(PathBuf::from("a.toml")));
        assert_eq!(cli.serve.assignments, ["a.b=c", "d.e=f"]);
        assert!(parse("tidegate").command.is_none());
        assert!(matches!(parse("tidegate serve --data d").command, Some(Command::Serve(_))));
    }

    #[test]
    fn h_is_the_host_of_a_client() {
        let Some(Command::Sub(options)) = parse("tidegate sub -h ::1 -p 99 -t a -t b -q 1").command else {
            panic!("sub")
        };
        assert_eq!((options.connect.broker.host.as_str(), options.connect.broker.port), ("::1", Some(99)));
        assert_eq!(options.topics, ["a", "b"]);
        let Some(Command::Pub(options)) = parse("tidegate pub demo/hi hello").command else { panic!("pub") };
        assert_eq!(options.positional, ["demo/hi", "hello"]);
    }
}
