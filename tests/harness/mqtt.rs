//! The mosquitto tools, and what they print.

use std::process::Command;

use crate::harness::{Outcome, Process, Stop, World, place};

/// Begins each line with a message.
const MARK: &str = "message\u{1f}";
/// Field separator in the subscriber's output; no test payload contains it.
const FIELD: char = '\u{1f}';
const FORMAT: &str = "message\u{1f}%t\u{1f}%q\u{1f}%r\u{1f}%C\u{1f}%R\u{1f}%D\u{1f}%P\u{1f}%p";

pub const BOTH_VERSIONS: [&str; 2] = ["311", "5"];

/// A message as `mosquitto_sub` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    pub topic: String,
    pub qos: u8,
    pub retain: bool,
    pub content_type: String,
    pub response_topic: String,
    pub correlation: String,
    /// `key:value` pairs, separated by spaces.
    pub user_properties: String,
    pub payload: String,
}

pub struct Subscriber {
    pub process: Process,
}

impl Subscriber {
    /// Starts `mosquitto_sub` and waits until it is subscribed.
    pub fn start(world: &mut World, port: u16, arguments: &[&str]) -> Outcome<Self> {
        let subscriber = Self::connecting(world, port, arguments)?;
        subscriber.process.line("Subscribed (mid:", 10)?;
        Ok(subscriber)
    }

    /// Starts `mosquitto_sub`; whether it gets in is to be seen.
    pub fn connecting(world: &mut World, port: u16, arguments: &[&str]) -> Outcome<Self> {
        let mut command = tool("mosquitto_sub", port)?;
        command.args(["-d", "-F", FORMAT]).args(arguments);
        Ok(Self { process: world.spawn("mosquitto_sub", &mut command)? })
    }

    /// The first `count` messages.
    pub fn messages(&self, count: usize, wait_secs: u64) -> Outcome<Vec<Received>> {
        let lines = self.process.lines("a message", count, wait_secs, |line| line.starts_with(MARK))?;
        lines.iter().map(|line| parse(line)).collect()
    }

    pub fn message(&self) -> Outcome<Received> {
        Ok(self.messages(1, 10)?.remove(0))
    }

    /// The first message on the topic.
    pub fn on_topic(&self, topic: &str) -> Outcome<Received> {
        self.matching(topic, |_| true)
    }

    /// The first message on the topic whose payload satisfies.
    pub fn matching(&self, topic: &str, payload: impl Fn(&str) -> bool) -> Outcome<Received> {
        let found = self.process.lines(&format!("a message on {topic}"), 1, 15, |line| {
            line.starts_with(MARK) && parse(line).is_ok_and(|got| got.topic == topic && payload(&got.payload))
        })?;
        parse(&found[0])
    }

    /// Says goodbye, as it does when it is asked to end.
    pub fn leave(mut self) -> Outcome {
        self.process.signal("TERM")?;
        self.process.finish(10)?;
        Ok(())
    }

    /// Everything so far.
    pub fn so_far(&self) -> Outcome<Vec<Received>> {
        self.messages(0, 1)
    }
}

/// Runs `mosquitto_pub`, which has to succeed.
pub fn publish(world: &mut World, port: u16, arguments: &[&str]) -> Outcome {
    let mut command = tool("mosquitto_pub", port)?;
    world.succeed("mosquitto_pub", command.args(arguments), 20)?;
    Ok(())
}

/// A mosquitto tool that will connect to the port. Its lines arrive as they are printed.
pub fn tool(name: &str, port: u16) -> Outcome<Command> {
    let mut command = Command::new("stdbuf");
    command.arg("-oL").arg(place::program(name)?).args(["-h", "127.0.0.1", "-p", &port.to_string()]);
    Ok(command)
}

fn parse(line: &str) -> Outcome<Received> {
    let fields: Vec<&str> = line.split(FIELD).skip(1).collect();
    let [topic, qos, retain, content_type, response_topic, correlation, user, payload] = fields[..] else {
        return Err(Stop::Failed(format!("not a message: {line}")));
    };
    Ok(Received {
        topic: topic.into(),
        qos: qos.parse()?,
        retain: retain == "1",
        content_type: content_type.into(),
        response_topic: response_topic.into(),
        correlation: correlation.into(),
        user_properties: user.into(),
        payload: payload.into(),
    })
}
