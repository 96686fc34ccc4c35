//! Clients that do not wait: they say all that they have to say in one breath, and are gone before they
//! are answered. What they said counts all the same, to the goodbye.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crate::faults::crash::packet::{self, Packet, Publish};
use crate::faults::slow_disk;
use crate::harness::gateway::Settings;
use crate::harness::raw::{self, RawClient, text};
use crate::harness::world::eventually;
use crate::harness::{Gateway, Outcome, Stop, World};
use crate::{ensure, ensure_eq};

crate::cases!("hasty":
    what_is_said_in_one_breath_is_heard,
    what_is_said_in_one_breath_is_heard_while_the_disk_is_slow,
    more_than_may_be_unacknowledged_is_heard,
    more_than_may_be_unacknowledged_is_heard_while_the_disk_is_slow,
    what_was_acknowledged_with_the_last_words_does_not_come_again,
    what_was_acknowledged_last_does_not_come_again_while_the_disk_is_slow,
);

/// How long a slow disk takes.
const SYNC: Duration = Duration::from_millis(50);
const MQTT_311: u8 = 4;
const MQTT_5: u8 = 5;
/// So often everything is done.
const TIMES: usize = 2;
/// What waits for who comes to acknowledge it.
const WAITING: usize = 3;
/// How long nothing may come.
const PATIENCE: Duration = Duration::from_secs(20);

fn what_is_said_in_one_breath_is_heard(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    in_one_breath(&gateway, &all(&[MQTT_311, MQTT_5], 2))?;
    gateway.stop()
}

fn what_is_said_in_one_breath_is_heard_while_the_disk_is_slow(world: &mut World) -> Outcome {
    let gateway = Gateway::start_with(world, slow_disk::settings(world, SYNC)?)?;
    in_one_breath(&gateway, &all(&[MQTT_311, MQTT_5], 2))?;
    gateway.stop()
}

/// MQTT 3.1.1 has no word for it, so such a client is not read from while it has too many.
fn more_than_may_be_unacknowledged_is_heard(world: &mut World) -> Outcome {
    let gateway = Gateway::start_with(world, Settings::set(&["mqtt.receive_maximum=4"]))?;
    in_one_breath(&gateway, &all(&[MQTT_311], 50))?;
    gateway.stop()
}

fn more_than_may_be_unacknowledged_is_heard_while_the_disk_is_slow(world: &mut World) -> Outcome {
    let set = vec!["mqtt.receive_maximum=4".to_owned()];
    let settings = Settings { set, ..slow_disk::settings(world, SYNC)? };
    let gateway = Gateway::start_with(world, settings)?;
    in_one_breath(&gateway, &all(&[MQTT_311], 50))?;
    gateway.stop()
}

fn what_was_acknowledged_with_the_last_words_does_not_come_again(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    acknowledging(&gateway)?;
    gateway.stop()
}

fn what_was_acknowledged_last_does_not_come_again_while_the_disk_is_slow(world: &mut World) -> Outcome {
    let gateway = Gateway::start_with(world, slow_disk::settings(world, SYNC)?)?;
    acknowledging(&gateway)?;
    gateway.stop()
}

/// CONNECT, SUBSCRIBE, publishes, and the goodbye of some, at once.
fn in_one_breath(gateway: &Gateway, clients: &[Hasty]) -> Outcome {
    let port = gateway.ports.mqtt;
    let mut observer = Observer::start(port)?;
    let mut streams = Vec::new();
    for client in clients {
        let words = [client.connect(), client.subscribe(1, "in"), client.last_words()].concat();
        streams.push((client, client.say(port, &words)?));
    }
    for (client, stream) in streams {
        client.leave(stream)?;
    }
    observer.hear(gateway, clients)?;
    // What sessions have subscribed to shows which of them there are.
    let mut feeder = RawClient::connect(port, "feeder")?;
    for client in clients {
        let reason = feeder.publish_payload(&client.topic("in"), b"later")?;
        let expected = if client.persistent { 0 } else { 0x10 };
        ensure_eq!(reason, expected, "the PUBACK of what is for {client:?} later");
    }
    Ok(())
}

/// What waits for them is acknowledged behind a request that is not answered yet, with the goodbye.
fn acknowledging(gateway: &Gateway) -> Outcome {
    let port = gateway.ports.mqtt;
    let mut observer = Observer::start(port)?;
    let mut feeder = RawClient::connect(port, "feeder")?;
    let clients: Vec<_> =
        all(&[MQTT_311, MQTT_5], 2).into_iter().filter(|client| client.persistent).collect();
    let come = |client: &Hasty| client.say(port, &[client.connect(), client.subscribe(1, "in")].concat());
    let streams: Vec<_> = clients.iter().map(come).collect::<Outcome<_>>()?;
    for (client, mut stream) in clients.iter().zip(streams) {
        client.is_let_in(&mut stream, false)?;
        ensure_eq!(raw::read(&mut stream)?.0, 0x90, "a SUBACK");
        stream.write_all(&packet::disconnect())?;
        stream.read_to_end(&mut Vec::new())?;
    }
    for client in &clients {
        for _ in 0..WAITING {
            ensure_eq!(feeder.publish(&client.topic("in"))?, 0, "the PUBACK of what is for {client:?}");
        }
    }
    drop(feeder);
    let streams: Vec<_> = clients.iter().map(come).collect::<Outcome<_>>()?;
    for (client, mut stream) in clients.iter().zip(streams) {
        let mut words = client.subscribe(2, "more");
        for (id, _) in client.messages(&mut stream, WAITING)? {
            words.extend(packet::puback(id));
        }
        words.extend(client.last_words());
        stream.write_all(&words)?;
        client.leave(stream)?;
    }
    observer.hear(gateway, &clients)?;
    let mut feeder = RawClient::connect(port, "feeder")?;
    for client in &clients {
        for what in ["in", "more"] {
            let reason = feeder.publish_payload(&client.topic(what), what.as_bytes())?;
            ensure_eq!(reason, 0, "the PUBACK of what {client:?} has subscribed to");
        }
    }
    let come = |client: &Hasty| client.say(port, &client.connect());
    let streams: Vec<_> = clients.iter().map(come).collect::<Outcome<_>>()?;
    for (client, mut stream) in clients.iter().zip(streams) {
        client.is_let_in(&mut stream, true)?;
        let messages = client.messages(&mut stream, 2)?;
        let payloads: Vec<_> = messages.into_iter().map(|(_, payload)| payload).collect();
        ensure_eq!(payloads, vec!["in", "more"], "what comes to {client:?}");
    }
    Ok(())
}

/// Of every kind.
fn all(versions: &[u8], publishes: usize) -> Vec<Hasty> {
    let mut clients = Vec::new();
    for number in 0..TIMES * versions.len() * 8 {
        let bit = |bit: usize| number >> bit & 1 == 1;
        let version = versions[number / 8 % versions.len()];
        let (persistent, closes, says_goodbye) = (bit(0), bit(1), bit(2));
        clients.push(Hasty { number, version, persistent, closes, says_goodbye, publishes });
    }
    clients
}

#[derive(Debug)]
struct Hasty {
    number: usize,
    version: u8,
    /// Whether its session outlives its connection.
    persistent: bool,
    /// Whether it is gone as a whole, or only says no more.
    closes: bool,
    says_goodbye: bool,
    /// How many it publishes, at QoS 0 and 1 in turn if they are few.
    publishes: usize,
}

impl Hasty {
    fn client_id(&self) -> String {
        format!("hasty-{}", self.number)
    }

    fn topic(&self, what: &str) -> String {
        format!("{what}/{}", self.number)
    }

    /// With a will.
    fn connect(&self) -> Vec<u8> {
        let flags = 0x0c | u8::from(!self.persistent) << 1;
        let mut body = [&b"\x00\x04MQTT"[..], &[self.version, flags, 0, 0]].concat();
        if self.version == MQTT_5 {
            let expiry: &[u8] = if self.persistent { b"\x05\x11\x00\x00\x0e\x10" } else { b"\x00" };
            body.extend(expiry);
        }
        body.extend(text(&self.client_id()));
        body.extend(self.properties());
        body.extend([text(&self.topic("will")), text("will")].concat());
        raw::packet(0x10, &body)
    }

    fn subscribe(&self, id: u16, what: &str) -> Vec<u8> {
        let filter = text(&self.topic(what));
        raw::packet(0x82, &[&id.to_be_bytes()[..], self.properties(), &filter, &[1]].concat())
    }

    fn publish(&self, number: usize) -> Vec<u8> {
        let qos = self.qos(number);
        let id = (number as u16 + 1).to_be_bytes();
        let id = if qos == 0 { &[][..] } else { &id };
        let payload = number.to_string();
        let topic = text(&self.topic("out"));
        let body = [&topic, id, self.properties(), payload.as_bytes()].concat();
        raw::packet(0x30 | qos << 1, &body)
    }

    fn qos(&self, number: usize) -> u8 {
        if self.publishes < 10 { number as u8 % 2 } else { 1 }
    }

    fn last_words(&self) -> Vec<u8> {
        let mut words: Vec<u8> = (0..self.publishes).flat_map(|number| self.publish(number)).collect();
        if self.says_goodbye {
            words.extend(packet::disconnect());
        }
        words
    }

    /// None.
    fn properties(&self) -> &'static [u8] {
        if self.version == MQTT_5 { b"\x00" } else { b"" }
    }

    /// Connects, and says this at once.
    fn say(&self, port: u16, words: &[u8]) -> Outcome<TcpStream> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(words)?;
        Ok(stream)
    }

    /// Says no more. If it listens still, it does so until the gateway has ended the connection.
    fn leave(&self, mut stream: TcpStream) -> Outcome {
        if self.closes {
            return Ok(());
        }
        stream.shutdown(Shutdown::Write)?;
        stream.read_to_end(&mut Vec::new())?;
        Ok(())
    }

    fn is_let_in(&self, stream: &mut TcpStream, present: bool) -> Outcome {
        let (first, body) = raw::read(stream)?;
        ensure!(
            first == 0x20 && body.starts_with(&[present.into(), 0]),
            "{self:?} gets {first:02x} {body:02x?} for its CONNECT"
        );
        Ok(())
    }

    /// So many messages at QoS 1, with their packet identifiers; answers to requests may come between.
    fn messages(&self, stream: &mut TcpStream, count: usize) -> Outcome<Vec<(u16, String)>> {
        let mut messages = Vec::new();
        while messages.len() < count {
            let (first, body) = raw::read(stream)?;
            if first & 0xf0 != 0x30 {
                ensure!(matches!(first, 0x20 | 0x90), "{self:?} gets {first:02x} {body:02x?}");
                continue;
            }
            ensure_eq!(first & 0b110, 0b010, "the QoS, twice, of what {self:?} gets");
            let at = 2 + usize::from(body[1]);
            let id = u16::from_be_bytes([body[at], body[at + 1]]);
            let payload = &body[at + 2 + self.properties().len()..];
            messages.push((id, String::from_utf8_lossy(payload).into_owned()));
        }
        Ok(messages)
    }
}

/// A session that is kept, so that what it gets has to be stored first. It hears what they publish, and
/// their wills.
struct Observer {
    stream: TcpStream,
    /// Payloads by topic, in the order in which they came.
    heard: BTreeMap<String, Vec<String>>,
}

impl Observer {
    fn start(port: u16) -> Outcome<Self> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&packet::connect("observer", true, 3600, 1000))?;
        stream.write_all(&packet::subscribe(1, &["out/#".to_owned(), "will/#".to_owned()], 1))?;
        ensure_eq!(packet::read(&mut stream)?, Packet::Connack { present: false, reason: 0 }, "a CONNACK");
        ensure_eq!(packet::read(&mut stream)?, Packet::Suback { reasons: vec![1, 1] }, "a SUBACK");
        Ok(Self { stream, heard: BTreeMap::new() })
    }

    /// Hears everything that these publish, and nothing else.
    fn hear(&mut self, gateway: &Gateway, clients: &[Hasty]) -> Outcome {
        let mut expected = BTreeMap::new();
        for client in clients {
            expected.insert(client.topic("out"), (0..client.publishes).map(|n| n.to_string()).collect());
            if !client.says_goodbye {
                expected.insert(client.topic("will"), vec!["will".to_owned()]);
            }
        }
        let count = |heard: &BTreeMap<_, Vec<String>>| heard.values().map(Vec::len).sum::<usize>();
        while count(&self.heard) < count(&expected) {
            if self.next().is_err() {
                break;
            }
        }
        // What is too much would come now, before the last that it hears.
        eventually("all others are gone", 20, || {
            let connections = gateway.metric("tidegate_connections{listener=\"mqtt\"}")?;
            Ok(connections.filter(|count| *count <= 1.0))
        })?;
        let (topic, payload) = ("out/end".to_owned(), b"end".to_vec());
        let end = Publish { topic, id: 1, qos: 1, duplicate: false, retain: false, payload };
        self.stream.write_all(&end.encode())?;
        while !self.heard.contains_key("out/end") {
            self.next()?;
        }
        self.heard.remove("out/end");
        let wrong = |client: &&Hasty| {
            ["out", "will"].iter().any(|what| {
                let topic = client.topic(what);
                self.heard.get(&topic) != expected.get(&topic)
            })
        };
        let wrong: Vec<String> = clients
            .iter()
            .filter(wrong)
            .take(3)
            .map(|client| {
                let [out, will] = ["out", "will"].map(|what| self.heard.get(&client.topic(what)));
                format!("of {client:?} is heard {out:?}, and as will {will:?}")
            })
            .collect();
        ensure!(wrong.is_empty(), "{}", wrong.join("\n    "));
        Ok(())
    }

    fn next(&mut self) -> Outcome {
        match packet::read(&mut self.stream)? {
            Packet::Publish(publish) => {
                if publish.qos > 0 {
                    self.stream.write_all(&packet::puback(publish.id))?;
                }
                let payload = String::from_utf8_lossy(&publish.payload).into_owned();
                self.heard.entry(publish.topic).or_default().push(payload);
                Ok(())
            }
            Packet::Puback { .. } => Ok(()),
            other => Err(Stop::Failed(format!("the observer gets {other:?}"))),
        }
    }
}
