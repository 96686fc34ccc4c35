//! libcoap's `coap-client`.

use std::process::Command;

use crate::harness::process::Finished;
use crate::harness::{Outcome, Process, World, place};

const PROGRAM: &str = "coap-client-notls";

/// Runs one request; every message of the exchange is in the lines, the payload at the end.
pub fn request(world: &mut World, port: u16, arguments: &[&str], path: &str) -> Outcome<Finished> {
    let mut command = client(port, arguments, path)?;
    world.run("coap-client", &mut command, 60)
}

/// Starts an observer for that many seconds.
pub fn observe(world: &mut World, port: u16, path: &str, secs: u32) -> Outcome<Process> {
    let mut command = client(port, &["-s", &secs.to_string()], path)?;
    world.spawn("coap-client observer", &mut command)
}

/// Whether a reply with the code is among the lines, as in `c:2.05`.
pub fn has_code(finished: &Finished, code: &str) -> bool {
    finished.lines.iter().any(|line| line.contains(&format!("c:{code}")))
}

fn client(port: u16, arguments: &[&str], path: &str) -> Outcome<Command> {
    let mut command = Command::new("stdbuf");
    command.arg("-oL").arg(place::program(PROGRAM)?).args(["-v", "7", "-B", "20"]).args(arguments);
    command.arg(format!("coap://127.0.0.1:{port}{path}"));
    Ok(command)
}
