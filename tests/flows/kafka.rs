//! A bridge into Apache Kafka, read with Kafka's own consumer.

use std::collections::BTreeMap;

use crate::harness::gateway::Settings;
use crate::harness::kafka::{Kafka, Record};
use crate::harness::mqtt::publish;
use crate::harness::world::eventually;
use crate::harness::{Gateway, Outcome, World, place};
use crate::{ensure, ensure_eq};

crate::cases!("kafka":
    messages_reach_kafka_and_wait_while_it_is_away,
    a_gateway_starts_without_its_kafka,
);

const KEYS: usize = 5;
const MESSAGES: usize = 200;

fn messages_reach_kafka_and_wait_while_it_is_away(world: &mut World) -> Outcome {
    let mut kafka = Kafka::start(world)?;
    for topic in ["plant.temp", "plant.load"] {
        kafka.create_topic(world, topic, 3)?;
    }
    let gateway = Gateway::start_with(world, bridge(kafka.port))?;
    let port = gateway.ports.mqtt;
    let consumer = kafka.consume(world, "plant\\..*")?;

    let properties = "-D publish content-type application/json -D publish user-property site north";
    let mut arguments =
        vec!["-V", "5", "-i", "press-17", "-t", "plant/temp/7", "-q", "1", "-m", "{\"v\":21.5}"];
    arguments.extend(properties.split(' '));
    publish(world, port, &arguments)?;
    publish(world, port, &["-t", "office/temp/1", "-q", "1", "-m", "not for Kafka"])?;
    let record = consumer.records(1, 40)?.remove(0);
    ensure_eq!((record.key.as_str(), record.value.as_str()), ("7", "{\"v\":21.5}"), "key and value");
    for header in [
        "line:A",
        "from:press-17",
        "mqtt-topic:plant/temp/7",
        "content-type:application/json",
        "user.site:north",
    ] {
        ensure!(
            record.headers.split(',').any(|got| got == header),
            "no header {header} in {}",
            record.headers
        );
    }

    kafka.kill()?;
    for number in 0..MESSAGES {
        let topic = format!("plant/load/{}", number % KEYS);
        let qos = if number % 10 == 9 { "2" } else { "1" };
        publish(world, port, &["-V", "5", "-t", &topic, "-q", qos, "-m", &number.to_string()])?;
    }
    let (status, _) = crate::harness::http::get(gateway.ports.admin, "/readyz")?;
    ensure_eq!(status, 200, "/readyz while Kafka is away");
    drop(consumer);
    kafka.resume(world)?;
    let consumer = kafka.consume(world, "plant\\.load")?;
    check_load(&consumer.records(MESSAGES, 90)?)?;
    gateway.stop()
}

/// All arrived, and per key each number once and in order.
fn check_load(records: &[Record]) -> Outcome {
    let mut by_key: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for record in records {
        by_key.entry(&record.key).or_default().push(record.value.parse()?);
    }
    for key in 0..KEYS {
        let expected: Vec<usize> = (0..MESSAGES).filter(|number| number % KEYS == key).collect();
        ensure_eq!(by_key.get(key.to_string().as_str()), Some(&expected), "what key {key} got, in order");
    }
    Ok(())
}

fn a_gateway_starts_without_its_kafka(world: &mut World) -> Outcome {
    let gateway = Gateway::start_with(world, bridge(place::free_port()))?;
    publish(world, gateway.ports.mqtt, &["-t", "plant/temp/1", "-q", "1", "-m", "waits"])?;
    eventually("the log names the bridge", 20, || {
        let log = gateway.process.transcript.snapshot();
        Ok(log.iter().find(|line| line.contains("to-kafka") && line.contains("refused")).map(|_| ()))
    })?;
    gateway.stop()
}

fn bridge(port: u16) -> Settings {
    Settings::file(format!(
        "[[bridge]]\n\
         name = \"to-kafka\"\n\
         kind = \"kafka\"\n\
         topics = [\"plant/#\"]\n\
         servers = [\"127.0.0.1:{port}\"]\n\
         topic = \"plant.${{topic[1]}}\"\n\
         key = \"${{topic[2]}}\"\n\
         acks = \"all\"\n\
         idempotence = true\n\
         headers = {{ line = \"A\", from = \"${{clientid}}\" }}\n"
    ))
}
