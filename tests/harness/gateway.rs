//! The gateway under test: started as a user would, watched as an operator would.

use std::path::PathBuf;
use std::process::Command;

use gateway_bus::DropReason;

use crate::harness::world::eventually;
use crate::harness::{Outcome, Process, Stop, World, http, place};

/// The metric that says whether every accepted message is accounted for.
pub const UNACCOUNTED: &str = "tidegate_unaccounted_messages";

/// A running gateway on free ports of 127.0.0.1. Killed when dropped; [`Gateway::stop`] is the polite way.
pub struct Gateway {
    pub process: Process,
    pub ports: Ports,
    settings: Settings,
}

#[derive(Clone, Copy)]
pub struct Ports {
    pub mqtt: u16,
    pub websocket: u16,
    pub coap: u16,
    pub lwm2m: u16,
    pub admin: u16,
}

/// What a case wants different from the defaults.
#[derive(Clone, Default)]
pub struct Settings {
    /// The text of the configuration file.
    pub file: String,
    /// `--set` arguments, `key=value`. They win over the ports chosen here.
    pub set: Vec<String>,
    /// Variables of its environment.
    pub env: Vec<(String, String)>,
}

impl Ports {
    pub fn choose() -> Self {
        let [mqtt, websocket, coap, lwm2m, admin] = std::array::from_fn(|_| place::free_port());
        Self { mqtt, websocket, coap, lwm2m, admin }
    }

    /// The `--set` arguments that bind every listener.
    pub fn binds(&self) -> Vec<String> {
        [
            ("listener.mqtt.bind", self.mqtt),
            ("listener.websocket.bind", self.websocket),
            ("listener.coap.bind", self.coap),
            ("listener.lwm2m.bind", self.lwm2m),
            ("admin.bind", self.admin),
        ]
        .map(|(key, port)| format!("{key}=127.0.0.1:{port}"))
        .into()
    }
}

impl Settings {
    /// With `--set` arguments.
    pub fn set(settings: &[&str]) -> Self {
        Self { set: settings.iter().map(|setting| (*setting).to_owned()).collect(), ..Self::default() }
    }

    pub fn file(text: impl Into<String>) -> Self {
        Self { file: text.into(), ..Self::default() }
    }
}

impl Gateway {
    /// With the default configuration.
    pub fn start(world: &mut World) -> Outcome<Self> {
        Self::start_with(world, Settings::default())
    }

    pub fn start_with(world: &mut World, settings: Settings) -> Outcome<Self> {
        Self::start_on(world, Ports::choose(), settings)
    }

    /// Stops it, politely or not, and starts it again on the same ports and data.
    pub fn restart(self, world: &mut World, kill: bool) -> Outcome<Self> {
        let settings = self.settings.clone();
        self.restart_with(world, kill, settings)
    }

    /// The same, with other settings from then on.
    pub fn restart_with(mut self, world: &mut World, kill: bool, settings: Settings) -> Outcome<Self> {
        let ports = self.ports;
        if kill {
            self.process.kill()?;
            drop(self);
        } else {
            self.stop()?;
        }
        Self::start_on(world, ports, settings)
    }

    /// Starts another one on the same ports and data, without waiting for anything.
    pub fn spawn_again(&self, world: &mut World) -> Outcome<Process> {
        world.spawn("tidegate", &mut command(world, &self.ports, &self.settings)?)
    }

    fn start_on(world: &mut World, ports: Ports, settings: Settings) -> Outcome<Self> {
        let mut process = world.spawn("tidegate", &mut command(world, &ports, &settings)?)?;
        eventually("the gateway is ready", 20, || {
            if !process.is_running()? {
                return Err(Stop::Failed("the gateway ended at its start".into()));
            }
            Ok(http::get(ports.admin, "/readyz").ok().filter(|(status, _)| *status == 200))
        })?;
        Ok(Self { process, ports, settings })
    }

    pub fn metrics(&self) -> Outcome<String> {
        let (status, text) = http::get(self.ports.admin, "/metrics")?;
        if status == 200 {
            return Ok(text);
        }
        Err(Stop::Failed(format!("/metrics answered {status}")))
    }

    /// The sum of a metric over its labels; `None` if it is not there.
    pub fn metric(&self, name: &str) -> Outcome<Option<f64>> {
        let text = self.metrics()?;
        let values: Vec<f64> = text.lines().filter_map(|line| sample(line, name)).collect();
        Ok((!values.is_empty()).then(|| values.iter().sum()))
    }

    /// How many files and sockets the process has open.
    pub fn open_files(&self) -> Outcome<usize> {
        Ok(std::fs::read_dir(format!("/proc/{}/fd", self.process.id()))?.count())
    }

    /// Every accepted message is delivered, queued or dropped with a reason, once things are quiet: the
    /// gateway says so, and so does the sum of what it says.
    pub fn account(&self) -> Outcome {
        eventually(&format!("{UNACCOUNTED} 0, and sums that agree"), 10, || {
            let text = self.metrics()?;
            let sum = |name: &str| text.lines().filter_map(|line| sample(line, name)).sum::<f64>();
            let of_copies = DropReason::ALL.into_iter().filter(|reason| reason.is_of_copies());
            let dropped = |reason: DropReason| {
                sum(&format!("tidegate_messages_dropped_total{{reason=\"{}\"}}", reason.name()))
            };
            let dropped: f64 = of_copies.map(dropped).sum();
            let explained = sum("tidegate_messages_delivered_total")
                + dropped
                + sum("tidegate_queued_messages")
                + sum("tidegate_in_flight_messages");
            let copies = sum("tidegate_messages_matched_total") + sum("tidegate_messages_recovered_total");
            let unaccounted = text.lines().find_map(|line| sample(line, UNACCOUNTED));
            Ok((unaccounted == Some(0.0) && copies == explained).then_some(()))
        })
    }

    /// Checks the accounts, asks it to end, and sees that it ends well.
    pub fn stop(mut self) -> Outcome {
        self.account()?;
        self.process.signal("TERM")?;
        let finished = self.process.finish(15)?;
        if let Some(panic) = finished.lines.iter().find(|line| line.contains("panicked at")) {
            return Err(Stop::Failed(format!("the gateway panicked: {panic}")));
        }
        if finished.code != Some(0) {
            return Err(Stop::Failed(format!("the gateway ended with {:?} after SIGTERM", finished.code)));
        }
        Ok(())
    }
}

/// `tidegate serve` with a configuration file and a data folder in the case's own folder.
pub fn command(world: &World, ports: &Ports, settings: &Settings) -> Outcome<Command> {
    let file = world.write("tidegate.toml", &settings.file)?;
    let mut command = Command::new(place::tidegate()?);
    command.arg("serve").arg("--config").arg(file).arg("--data").arg(data_dir(world));
    for setting in ports.binds().iter().chain(&settings.set) {
        command.arg("--set").arg(setting);
    }
    command.current_dir(&world.dir).envs(settings.env.iter().cloned());
    Ok(command)
}

pub fn data_dir(world: &World) -> PathBuf {
    world.dir.join("data")
}

fn sample(line: &str, name: &str) -> Option<f64> {
    let rest = line.strip_prefix(name)?;
    if !rest.starts_with([' ', '{']) {
        return None;
    }
    line.rsplit(' ').next()?.parse().ok()
}
