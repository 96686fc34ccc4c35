//! Apache Kafka, one node (KRaft), and its own console consumer.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use crate::harness::lwm2m::java;
use crate::harness::world::eventually;
use crate::harness::{Outcome, Process, Stop, World, place};

/// Any 16 bytes in base64; a cluster of one has no one to confuse it with.
const CLUSTER: &str = "dGlkZWdhdGUtdGVzdHMtMQ";

const SERVER: &str = "kafka.Kafka";

/// What another program consumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub topic: String,
    pub key: String,
    /// `name:value,name:value`, or `NO_HEADERS`.
    pub headers: String,
    pub value: String,
}

pub struct Kafka {
    pub port: u16,
    properties: PathBuf,
    process: Option<Process>,
}

impl Kafka {
    /// Formats a new log folder and starts the broker on free ports.
    pub fn start(world: &mut World) -> Outcome<Self> {
        let (port, controller) = (place::free_port(), place::free_port());
        let log = world.dir.join("kafka-logs");
        let properties =
            world.write("kafka.properties", &properties(port, controller, &log.display().to_string()))?;
        let mut format = tool("kafka.tools.StorageTool")?;
        format.args(["format", "-t", CLUSTER, "-c"]).arg(&properties);
        world.succeed("kafka format", &mut format, 60)?;
        let mut kafka = Self { port, properties, process: None };
        kafka.resume(world)?;
        Ok(kafka)
    }

    pub fn resume(&mut self, world: &mut World) -> Outcome {
        let mut command = tool(SERVER)?;
        let process = world.spawn("kafka", command.arg(&self.properties))?;
        process.line("Kafka Server started", 90)?;
        eventually("Kafka's port is open", 10, || Ok(TcpStream::connect(("127.0.0.1", self.port)).ok()))?;
        self.process = Some(process);
        Ok(())
    }

    /// SIGKILL: the hardest outage.
    pub fn kill(&mut self) -> Outcome {
        let mut process = self.process.take().ok_or_else(|| Stop::Failed("Kafka is not running".into()))?;
        process.kill()
    }

    pub fn create_topic(&self, world: &mut World, topic: &str, partitions: u32) -> Outcome {
        let mut command = tool("org.apache.kafka.tools.TopicCommand")?;
        command.args(["--bootstrap-server", &format!("127.0.0.1:{}", self.port)]);
        command.args(["--create", "--topic", topic, "--partitions", &partitions.to_string()]);
        world.succeed("kafka-topics", &mut command, 60)?;
        Ok(())
    }

    /// A consumer of all topics that match, from their beginning, until it is dropped.
    pub fn consume(&self, world: &mut World, topics: &str) -> Outcome<Consumer> {
        let mut command = tool("org.apache.kafka.tools.consumer.ConsoleConsumer")?;
        command.args(["--bootstrap-server", &format!("127.0.0.1:{}", self.port), "--include", topics]);
        command.args(["--from-beginning", "--property", "print.key=true"]);
        command.args(["--property", "print.headers=true", "--property", "print.partition=true"]);
        command.args(["--property", "key.separator=\u{1f}", "--property", "headers.separator=,"]);
        command.args(["--consumer-property", "metadata.max.age.ms=500"]);
        Ok(Consumer { process: world.spawn("kafka consumer", &mut command)? })
    }
}

/// A running console consumer.
pub struct Consumer {
    process: Process,
}

impl Consumer {
    /// The first `count` records.
    pub fn records(&self, count: usize, wait_secs: u64) -> Outcome<Vec<Record>> {
        let lines = self.process.lines("a record", count, wait_secs, |line| line.contains('\u{1f}'))?;
        lines.iter().map(|line| parse(line)).collect()
    }
}

fn parse(line: &str) -> Outcome<Record> {
    let fields: Vec<&str> = line.split('\u{1f}').collect();
    let [partition, headers, key, value] = fields[..] else {
        return Err(Stop::Failed(format!("not a record: {line}")));
    };
    Ok(Record { topic: partition.into(), key: key.into(), headers: headers.into(), value: value.into() })
}

fn tool(class: &str) -> Outcome<Command> {
    let level = if class == SERVER { "info" } else { "warn" };
    let mut command = java("kafka", &[&format!("-Dorg.slf4j.simpleLogger.defaultLogLevel={level}")])?;
    command.arg(class);
    Ok(command)
}

fn properties(port: u16, controller: u16, log: &str) -> String {
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         log.dirs={log}\n\
         num.partitions=3\n\
         offsets.topic.replication.factor=1\n\
         offsets.topic.num.partitions=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n\
         log.cleaner.enable=false\n"
    )
}
