//! Who gets in. The network between the two hosts is a pair of interfaces in namespaces of our own.

use std::process::Command;

use crate::harness::gateway::{Ports, Settings, command};
use crate::harness::{Outcome, Stop, World, place};
use crate::{ensure, ensure_eq};

crate::cases!("access":
    an_anonymous_client_from_another_host_is_refused,
    a_user_with_a_password_gets_in_from_another_host,
);

const GATEWAY: &str = "10.99.7.1";
const DEVICE: &str = "10.99.7.2";

fn an_anonymous_client_from_another_host_is_refused(world: &mut World) -> Outcome {
    let (hosts, ports) = (Hosts::make("a")?, Ports::choose());
    let gateway = hosts.serve(world, ports, "")?;
    for (version, code) in [("311", 5), ("5", 135)] {
        let mut publish = hosts.on_device(place::program("mosquitto_pub")?);
        publish.args(["-h", GATEWAY, "-p", &ports.mqtt.to_string(), "-V", version, "-t", "a", "-m", "b"]);
        let finished = world.run("mosquitto_pub", publish.arg("-d"), 20)?;
        ensure!(finished.code.is_some_and(|code| code != 0), "an anonymous client got in with {version}");
        ensure!(finished.text().contains(&format!("CONNACK ({code})")), "CONNACK with {code} for {version}");
    }
    let mut put = hosts.on_device(place::program("coap-client-notls")?);
    put.args([
        "-v",
        "7",
        "-B",
        "5",
        "-m",
        "put",
        "-e",
        "x",
        &format!("coap://{GATEWAY}:{}/ps/a", ports.coap),
    ]);
    let finished = world.run("coap-client", &mut put, 20)?;
    ensure!(finished.text().contains("c:4.01"), "a PUT was not answered 4.01");
    gateway.line("access.", 5)?;
    Ok(())
}

fn a_user_with_a_password_gets_in_from_another_host(world: &mut World) -> Outcome {
    let (hosts, ports) = (Hosts::make("b")?, Ports::choose());
    let _gateway = hosts.serve(world, ports, "[[access.user]]\nname = \"press\"\npassword = \"right\"\n")?;
    for (password, gets_in) in [("right", true), ("wrong", false)] {
        let mut publish = hosts.on_device(place::program("mosquitto_pub")?);
        publish.args(["-h", GATEWAY, "-p", &ports.mqtt.to_string(), "-t", "a", "-m", "b", "-q", "1"]);
        let finished = world.run("mosquitto_pub", publish.args(["-u", "press", "-P", password]), 20)?;
        ensure_eq!(finished.code == Some(0), gets_in, "with the password {password:?}");
    }
    Ok(())
}

/// Two hosts on one machine; gone when dropped.
struct Hosts {
    gateway: String,
    device: String,
}

impl Hosts {
    fn make(name: &str) -> Outcome<Self> {
        place::program("ip")?;
        let id = std::process::id();
        let hosts = Self { gateway: format!("tg-{name}-{id}"), device: format!("td-{name}-{id}") };
        let (near, far) = (format!("v{name}n{}", id % 100_000), format!("v{name}f{}", id % 100_000));
        let commands = [
            format!("netns add {}", hosts.gateway),
            format!("netns add {}", hosts.device),
            format!(
                "link add {near} netns {} type veth peer name {far} netns {}",
                hosts.gateway, hosts.device
            ),
            format!("-n {} addr add {GATEWAY}/24 dev {near}", hosts.gateway),
            format!("-n {} addr add {DEVICE}/24 dev {far}", hosts.device),
            format!("-n {} link set {near} up", hosts.gateway),
            format!("-n {} link set {far} up", hosts.device),
            format!("-n {} link set lo up", hosts.gateway),
        ];
        for arguments in commands {
            let output = Command::new("ip").args(arguments.split(' ')).output()?;
            if !output.status.success() {
                let error = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                return Err(Stop::Skipped(format!("no network namespaces here: ip {arguments}: {error}")));
            }
        }
        Ok(hosts)
    }

    /// A gateway that listens to the network between the hosts.
    fn serve(&self, world: &mut World, ports: Ports, file: &str) -> Outcome<crate::harness::Process> {
        let set = [("mqtt", ports.mqtt), ("coap", ports.coap)]
            .map(|(name, port)| format!("listener.{name}.bind={GATEWAY}:{port}"));
        let inner = command(world, &ports, &Settings { set: set.into(), ..Settings::file(file) })?;
        let mut outer = on(&self.gateway, inner.get_program());
        outer.args(inner.get_args());
        let gateway = world.spawn("tidegate", &mut outer)?;
        // Its admin page is inside the namespace too; the banner says when it listens.
        gateway.line(&format!("coap://{GATEWAY}:{}", ports.coap), 20)?;
        Ok(gateway)
    }

    fn on_device(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        on(&self.device, program)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in [&self.gateway, &self.device] {
            let _ = Command::new("ip").args(["netns", "del", name]).output();
        }
    }
}

fn on(namespace: &str, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).arg(program);
    command
}
