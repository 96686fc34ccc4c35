//! The broker mosquitto, for what has to work with a broker that is not ours.

use std::process::Command;

use crate::harness::{Outcome, Process, World, place};

/// A running mosquitto on free ports of 127.0.0.1. Killed when dropped.
pub struct Mosquitto {
    _process: Process,
    pub mqtt: u16,
    pub websocket: u16,
}

impl Mosquitto {
    pub fn start(world: &mut World) -> Outcome<Self> {
        let program = place::program("mosquitto")?;
        let (mqtt, websocket) = (place::free_port(), place::free_port());
        let settings = format!(
            "listener {mqtt} 127.0.0.1\nlistener {websocket} 127.0.0.1\nprotocol websockets\n\
             allow_anonymous true\nmax_queued_messages 0\nset_tcp_nodelay true\n"
        );
        let file = world.write("mosquitto.conf", &settings)?;
        let mut command = Command::new(program);
        command.arg("-c").arg(file);
        let process = world.spawn("mosquitto", &mut command)?;
        process.line("running", 10)?;
        Ok(Self { _process: process, mqtt, websocket })
    }
}
