//! The program `tidegate`: its command line, the catalog of adapters, and the composition of all.
//!
//! The only crate that knows the protocols and the bridges. Read `catalog.rs` for what there is,
//! `serve.rs` for how it is put together; `settings.rs` is `tidegate check`, `client.rs` is
//! `tidegate pub` and `tidegate sub`, `bench.rs` is `tidegate bench`, `passwd.rs` is `tidegate passwd` and `store_command.rs`
//! `tidegate store`; `store.rs` opens the store that the gateway works on.

mod access;
mod banner;
mod bench;
mod bridges;
mod catalog;
mod cleaner;
mod cli;
mod client;
mod limits;
mod logging;
mod passwd;
mod reload;
mod room_log;
mod serve;
mod settings;
mod status;
mod store;
mod store_command;
mod warnings;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Command, SettingsOptions};

/// Faster than that of the C library where one shard frees what another has allocated, and what a fleet
/// held goes back to the system when it has gone.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse_from(client::fold_properties(std::env::args_os()));
    match cli.command {
        None => serve(&cli.serve),
        Some(Command::Serve(options)) => serve(&options),
        Some(Command::Check { file, mut settings }) => {
            settings.config = settings.config.or(file);
            settings::check(&settings)
        }
        Some(Command::Pub(options)) => client::publish(&options),
        Some(Command::Sub(options)) => client::subscribe(&options),
        Some(Command::Bench(options)) => bench::run(&options),
        Some(Command::Passwd(options)) => passwd::run(&options),
        Some(Command::Store(options)) => store_command::run(&options),
    }
}

fn serve(options: &SettingsOptions) -> ExitCode {
    let settings = match settings::load(options) {
        Ok(settings) => settings,
        Err(problems) => return settings::refuse(&problems),
    };
    match serve::run(&settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidegate: {error:#}");
            ExitCode::FAILURE
        }
    }
}
