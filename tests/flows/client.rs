//! `tidegate pub` and `tidegate sub`, with each other and with the mosquitto tools.

use std::process::Command;

use crate::harness::mqtt::{Subscriber, publish};
use crate::harness::{Gateway, Outcome, Process, World, place};
use crate::{ensure, ensure_eq};

crate::cases!("client":
    pub_and_sub_talk_to_each_other,
    pub_reaches_mosquitto_sub,
    sub_hears_mosquitto_pub,
    sub_gives_up_after_its_patience,
    pub_without_a_gateway_says_so,
);

fn pub_and_sub_talk_to_each_other(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    for (version, web) in [("5", false), ("311", false), ("5", true)] {
        let topic = format!("self/{version}/{web}");
        let mut arguments = vec!["-V", version, "-q", "1", "-r", "-t", &topic, "-m", "hello"];
        arguments.extend(web.then_some("--ws"));
        // Retained, so that it does not matter who is first.
        tool_succeeds(world, &gateway, web, "pub", &arguments)?;
        let mut arguments = vec!["-V", version, "-q", "1", "-C", "1", "-W", "10", "-t", &topic];
        arguments.extend(web.then_some("--ws"));
        let heard = tool_succeeds(world, &gateway, web, "sub", &arguments)?;
        ensure!(heard.iter().any(|line| line.contains("hello")), "sub printed {heard:?}");
    }
    gateway.stop()
}

fn pub_reaches_mosquitto_sub(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let heard = Subscriber::start(world, gateway.ports.mqtt, &["-V", "5", "-t", "ours/#", "-q", "2"])?;
    for qos in ["0", "1", "2"] {
        let topic = format!("ours/{qos}");
        tool_succeeds(world, &gateway, false, "pub", &["-t", &topic, "-m", "x", "-q", qos])?;
        let got = heard.on_topic(&topic)?;
        ensure_eq!((got.payload.as_str(), got.qos.to_string().as_str()), ("x", qos), "the message");
    }
    gateway.stop()
}

fn sub_hears_mosquitto_pub(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    publish(world, gateway.ports.mqtt, &["-t", "theirs/0", "-r", "-q", "1", "-m", "kept"])?;
    let mut heard =
        tool(world, &gateway, false, "sub", &["-t", "theirs/#", "-C", "3", "-W", "20", "-q", "1"])?;
    heard.line("kept", 10)?;
    publish(world, gateway.ports.mqtt, &["-t", "theirs/1", "-q", "1", "-m", "first"])?;
    publish(world, gateway.ports.mqtt, &["-t", "theirs/2", "-q", "1", "-m", "second"])?;
    let finished = heard.finish(10)?;
    ensure_eq!(finished.code, Some(0), "how it ended after three messages");
    ensure!(finished.text().contains("first") && finished.text().contains("second"), "what it printed");
    gateway.stop()
}

fn sub_gives_up_after_its_patience(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let finished =
        tool(world, &gateway, false, "sub", &["-t", "silence", "-C", "1", "-W", "1"])?.finish(10)?;
    ensure!(finished.code != Some(0), "a subscriber that got nothing of what it waited for succeeded");
    gateway.stop()
}

fn pub_without_a_gateway_says_so(world: &mut World) -> Outcome {
    let port = place::free_port().to_string();
    let mut command = Command::new(place::tidegate()?);
    command.args(["pub", "-h", "127.0.0.1", "-p", &port, "-t", "a", "-m", "b"]);
    let finished = world.run("tidegate pub", &mut command, 20)?;
    ensure!(finished.code.is_some_and(|code| code != 0), "it ended with {:?}", finished.code);
    ensure!(finished.text().contains(&port), "the message does not name the port");
    Ok(())
}

fn tool(world: &mut World, gateway: &Gateway, web: bool, verb: &str, arguments: &[&str]) -> Outcome<Process> {
    let port = if web { gateway.ports.websocket } else { gateway.ports.mqtt };
    let mut command = Command::new(place::tidegate()?);
    command.args([verb, "-h", "127.0.0.1", "-p", &port.to_string()]).args(arguments);
    world.spawn(&format!("tidegate {verb}"), &mut command)
}

fn tool_succeeds(
    world: &mut World,
    gateway: &Gateway,
    web: bool,
    verb: &str,
    arguments: &[&str],
) -> Outcome<Vec<String>> {
    let finished = tool(world, gateway, web, verb, arguments)?.finish(20)?;
    ensure!(finished.code == Some(0), "tidegate {verb} {arguments:?} ended with {:?}", finished.code);
    Ok(finished.lines)
}
