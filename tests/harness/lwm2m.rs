//! Devices: three LwM2M clients by other people, spoken to in the same few lines.
//!
//! Each prints `REGISTERED`, `WRITE 3/0/14 VALUE`, `EXECUTE 3/0/4`, `OBSERVE 3/0/9`, `CANCEL 3/0/9`
//! and takes `set 3/0/9 VALUE`, `update`, `deregister` and `die` on standard input.

use std::process::Command;

use crate::harness::{Outcome, Process, World, place};

/// Which client plays the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// `interop/lwm2m_client.py`, scripted on aiocoap; answers a read without Accept in this format.
    Aiocoap(&'static str),
    /// npm `lwm2m-node-lib`: LwM2M 1.0, no Content-Format.
    NodeLib,
    /// Eclipse Leshan's client: LwM2M 1.1.
    Leshan,
}

/// Starts the device and waits until it is registered.
pub fn register(
    world: &mut World,
    device: Device,
    port: u16,
    endpoint: &str,
    lifetime_secs: u32,
) -> Outcome<Process> {
    let mut command = match device {
        Device::Aiocoap(format) => {
            let mut command = Command::new(place::program("python")?);
            command.arg(place::interop("lwm2m_client.py")).args(["--format", format]);
            command
        }
        Device::NodeLib => node("lwm2m_client.js")?,
        Device::Leshan => java("leshan", &["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"])?,
    };
    if device == Device::Leshan {
        command.arg(place::interop("leshan/Client.java"));
    }
    command.arg(endpoint).arg(port.to_string()).arg(lifetime_secs.to_string());
    let process = world.spawn(&format!("{device:?}"), &mut command)?;
    process.line("REGISTERED", 30)?;
    Ok(process)
}

/// A script of `tests/interop` with the npm packages at hand.
pub fn node(script: &str) -> Outcome<Command> {
    let mut command = Command::new(place::program("node")?);
    command.env("NODE_PATH", place::packages("node/node_modules")?).arg(place::interop(script));
    Ok(command)
}

/// Java with the jars of a folder of the cache, quick to start.
pub fn java(jars: &str, options: &[&str]) -> Outcome<Command> {
    let mut command = Command::new(place::program("java")?);
    command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m"]).args(options);
    command.arg("-cp").arg(place::packages(jars)?.join("*"));
    Ok(command)
}
