//! Stores that earlier versions have left behind: later ones have to read them.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::faults::crash::packet::{self, Packet, Publish};
use crate::faults::segments;
use crate::harness::gateway::{Settings, data_dir};
use crate::harness::raw::{self, RawClient, text};
use crate::harness::world::eventually;
use crate::harness::{Gateway, Outcome, World, place};
use crate::{ensure, ensure_eq};

crate::cases!("formats": a_store_of_this_format_is_read);

/// Directories that gateways have left behind, one for each format of the store.
const FORMATS: &str = "tests/faults/stores";
/// Of all files of one.
const BYTES_MAX: u64 = 10_000;
const FOREVER: u32 = u32::MAX;
/// The longest delay that there is, and a message that is retained after it: the store is read for years.
const DELAYED: &str = "$delayed/4294967/later";
/// Deliveries to one of the sessions that may be unacknowledged.
const WINDOW: u16 = 2;
/// Publishes of the device at QoS 2: one that somebody gets, one that nobody does, and one that is released.
const HELD: u16 = 7;
const HELD_ALONE: u16 = 8;
const RELEASED: u16 = 9;
const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;

/// `UPDATE=1 cargo test -p tidegate-tests --test tests -- a_store_of_this_format` adds the directory of a
/// new format; those that are there stay as they are.
fn a_store_of_this_format_is_read(world: &mut World) -> Outcome {
    let formats = place::root().join(FORMATS);
    if std::env::var_os("UPDATE").is_some() {
        write(world, &formats)?;
    }
    let mut folders: Vec<PathBuf> =
        fs::read_dir(&formats)?.map(|entry| Ok(entry?.path())).collect::<Outcome<_>>()?;
    folders.sort();
    ensure!(!folders.is_empty(), "{FORMATS} is empty");
    for folder in folders {
        let store = data_dir(world).join("store");
        let _ = fs::remove_dir_all(data_dir(world));
        fs::create_dir_all(&store)?;
        let mut bytes = 0;
        for file in fs::read_dir(&folder)? {
            let file = file?;
            bytes += fs::copy(file.path(), store.join(file.file_name()))?;
        }
        ensure!(bytes <= BYTES_MAX, "{bytes} bytes are in {}", folder.display());
        let gateway = Gateway::start_with(world, settings())?;
        ensure_eq!(gateway.metric("tidegate_store_damaged_ranges")?, Some(0.0), "damaged ranges");
        retained_messages_are_there(&gateway)?;
        the_device_goes_on(gateway.ports.mqtt)?;
        who_was_away_goes_on(gateway.ports.mqtt)?;
        gateway.stop()?;
    }
    Ok(())
}

/// One half, all of it written anew as cleaning does, and another half in the words of what happens. The end
/// is a kill. There are then
/// - a session without an end, subscribed at QoS 2, of whose messages one has been received, one is to be released,
///   one is on its way and others wait; one of two filters is given up;
/// - one that was connected, with a will that is to be retained, publishes at QoS 2 that are not released, one that
///   is, and as the member of a group with a message that it has not acknowledged;
/// - one that is over, whose will has been published;
/// - retained messages, one that was cleared, one that was delayed, and one that is.
fn write(world: &mut World, formats: &Path) -> Outcome {
    let gateway = Gateway::start_with(world, settings())?;
    subscribe_and_publish(gateway.ports.mqtt)?;
    gateway.stop()?;
    let mut compact = Command::new(place::tidegate()?);
    compact.args(["store", "compact"]).arg(data_dir(world));
    world.succeed("tidegate store compact", &mut compact, 20)?;
    let mut gateway = Gateway::start_with(world, settings())?;
    take_some(gateway.ports.mqtt)?;
    come_and_go_as_guest(gateway.ports.mqtt)?;
    let device = begin_as_device(gateway.ports.mqtt)?;
    gateway.process.kill()?;
    drop(device);

    let folder = formats.join(format!("format-{}", segments::version(&data_dir(world))?));
    if folder.exists() {
        println!("  {} is there, and stays as it is", folder.display());
        return Ok(());
    }
    fs::create_dir_all(&folder)?;
    for path in segments::of(&data_dir(world))? {
        let mut bytes = fs::read(&path)?;
        bytes.truncate(segments::used(&bytes) + segments::ZEROS);
        fs::write(folder.join(path.file_name().unwrap_or_default()), bytes)?;
    }
    Ok(())
}

fn subscribe_and_publish(port: u16) -> Outcome {
    let mut away = Peer::connect(port, &packet::connect("away", true, FOREVER, WINDOW))?;
    away.hears(Packet::Connack { present: false, reason: 0 })?;
    away.say(&packet::subscribe(1, &["a/+".to_owned(), "b/+".to_owned()], 2))?;
    away.hears(Packet::Suback { reasons: vec![2, 2] })?;
    away.say(&packet::disconnect())?;

    let mut publisher = Peer::connect(port, &packet::connect("publisher", true, 0, WINDOW))?;
    publisher.hears(Packet::Connack { present: false, reason: 0 })?;
    for number in 0..5 {
        publisher.say(&publish("a/1", 9, 2, &number.to_string()).encode())?;
        publisher.hears(Packet::Pubrec { id: 9, reason: 0 })?;
        publisher.say(&packet::pubrel(9))?;
        publisher.hears(Packet::Pubcomp { id: 9 })?;
    }
    for (topic, payload) in [("state", "kept"), ("cleared", "old")] {
        publisher.retain(topic, payload)?;
    }
    Ok(())
}

/// One message comes to its end, another is received, and one more is sent.
fn take_some(port: u16) -> Outcome {
    let mut away = Peer::connect(port, &packet::connect("away", false, FOREVER, WINDOW))?;
    away.hears(Packet::Connack { present: true, reason: 0 })?;
    away.hears(Packet::Publish(publish("a/1", 1, 2, "0")))?;
    away.hears(Packet::Publish(publish("a/1", 2, 2, "1")))?;
    away.say(&packet::pubrec(1))?;
    away.hears(Packet::Pubrel { id: 1 })?;
    away.say(&packet::pubcomp(1))?;
    away.hears(Packet::Publish(publish("a/1", 3, 2, "2")))?;
    away.say(&packet::pubrec(2))?;
    away.hears(Packet::Pubrel { id: 2 })?;
    away.say(&packet::unsubscribe(2, &["b/+".to_owned()]))?;
    away.hears(Packet::Unsuback { reasons: vec![0] })?;
    let mut publisher = Peer::connect(port, &packet::connect("publisher", true, 0, WINDOW))?;
    publisher.hears(Packet::Connack { present: false, reason: 0 })?;
    publisher.retain("cleared", "")?;
    publisher.retain(DELAYED, "late")
}

fn come_and_go_as_guest(port: u16) -> Outcome {
    let mut listener = RawClient::connect(port, "listener")?;
    ensure_eq!(listener.subscribe(&["will/guest".to_owned(), "soon".to_owned()])?, vec![1, 1], "the SUBACK");
    let mut guest = Peer::connect(port, &connect_with_will("guest", true))?;
    guest.hears(Packet::Connack { present: false, reason: 0 })?;
    guest.retain("$delayed/1/soon", "now")?;
    drop(guest);
    for _ in 0..2 {
        let (id, _) = listener.message()?;
        listener.acknowledge(id)?;
    }
    let mut guest = Peer::connect(port, &packet::connect("guest", true, 0, WINDOW))?;
    guest.hears(Packet::Connack { present: false, reason: 0 })?;
    guest.say(&packet::disconnect())
}

fn begin_as_device(port: u16) -> Outcome<Peer> {
    let mut device = Peer::connect(port, &connect_with_will("device", true))?;
    device.hears(Packet::Connack { present: false, reason: 0 })?;
    device.say(&packet::subscribe(1, &["$share/g/s/+".to_owned()], 1))?;
    device.hears(Packet::Suback { reasons: vec![1] })?;
    device.say(&publish("a/held", HELD, 2, "held").encode())?;
    device.hears(Packet::Pubrec { id: HELD, reason: 0 })?;
    for id in [HELD_ALONE, RELEASED] {
        device.say(&publish("nowhere", id, 2, "held").encode())?;
        device.hears(Packet::Pubrec { id, reason: NO_MATCHING_SUBSCRIBERS })?;
    }
    device.say(&packet::pubrel(RELEASED))?;
    device.hears(Packet::Pubcomp { id: RELEASED })?;
    let mut publisher = RawClient::connect(port, "publisher")?;
    ensure_eq!(publisher.publish_payload("s/1", b"shared")?, 0, "the PUBACK");
    device.hears(Packet::Publish(publish("s/1", 1, 1, "shared")))?;
    Ok(device)
}

fn retained_messages_are_there(gateway: &Gateway) -> Outcome {
    let mut newcomer = Peer::connect(gateway.ports.mqtt, &packet::connect("newcomer", true, 0, 10))?;
    newcomer.hears(Packet::Connack { present: false, reason: 0 })?;
    let mut sees = vec![("state", Some("kept")), ("soon", Some("now")), ("cleared", None)];
    sees.extend([("will/guest", Some("gone")), ("will/device", Some("gone"))]);
    if gateway.metric("tidegate_delayed_messages")? != Some(1.0) {
        // Its time has come.
        sees.push(("later", Some("late")));
    }
    eventually("the last will is published", 10, || {
        Ok(gateway.metric("tidegate_wills_published_total")?.filter(|count| *count == 1.0))
    })?;
    for (topic, payload) in sees {
        newcomer.say(&packet::subscribe(1, &[topic.to_owned()], 0))?;
        newcomer.hears(Packet::Suback { reasons: vec![0] })?;
        if let Some(payload) = payload {
            newcomer.hears(Packet::Publish(Publish { retain: true, ..publish(topic, 0, 0, payload) }))?;
        }
        // There is no more.
        newcomer.say(&publish(topic, 0, 0, "end").encode())?;
        newcomer.hears(Packet::Publish(publish(topic, 0, 0, "end")))?;
    }
    Ok(())
}

/// It repeats publishes that have been passed on already, and uses an identifier anew that is released.
fn the_device_goes_on(port: u16) -> Outcome {
    let mut listener = RawClient::connect(port, "listener")?;
    ensure_eq!(listener.subscribe(&["nowhere".to_owned()])?, vec![1], "the SUBACK");
    let mut device = Peer::connect(port, &connect_with_will("device", false))?;
    device.hears(Packet::Connack { present: true, reason: 0 })?;
    device.hears(Packet::Publish(publish("s/1", 1, 1, "shared")))?;
    device.say(&packet::puback(1))?;
    for (id, topic, payload) in
        [(HELD, "a/held", "held"), (HELD_ALONE, "nowhere", "held"), (RELEASED, "nowhere", "new")]
    {
        device.say(&Publish { duplicate: id != RELEASED, ..publish(topic, id, 2, payload) }.encode())?;
        device.hears(Packet::Pubrec { id, reason: 0 })?;
        device.say(&packet::pubrel(id))?;
        device.hears(Packet::Pubcomp { id })?;
    }
    ensure_eq!(listener.message()?.1, b"new".to_vec(), "the first that comes");
    let mut guest = Peer::connect(port, &packet::connect("guest", false, 0, WINDOW))?;
    guest.hears(Packet::Connack { present: false, reason: 0 })?;
    device.say(&packet::disconnect())
}

fn who_was_away_goes_on(port: u16) -> Outcome {
    let mut publisher = RawClient::connect(port, "publisher")?;
    ensure_eq!(
        publisher.publish("b/1")?,
        NO_MATCHING_SUBSCRIBERS,
        "the PUBACK of what nobody subscribes to any more"
    );
    ensure_eq!(publisher.publish_payload("a/1", b"end")?, 0, "the PUBACK");
    let mut away = Peer::connect(port, &packet::connect("away", false, FOREVER, WINDOW))?;
    away.hears(Packet::Connack { present: true, reason: 0 })?;
    away.hears(Packet::Pubrel { id: 2 })?;
    away.hears(Packet::Publish(publish("a/1", 3, 2, "2")))?;
    away.say(&packet::pubcomp(2))?;
    let rest = [(4, "a/1", "3"), (5, "a/1", "4"), (6, "a/held", "held"), (7, "a/1", "end")];
    for (id, topic, payload) in rest {
        let qos = if payload == "end" { 1 } else { 2 };
        away.hears(Packet::Publish(publish(topic, id, qos, payload)))?;
        // The one before.
        away.say(&packet::pubrec(id - 1))?;
        away.hears(Packet::Pubrel { id: id - 1 })?;
        away.say(&packet::pubcomp(id - 1))?;
    }
    away.say(&packet::puback(7))?;
    away.say(&packet::disconnect())
}

fn settings() -> Settings {
    Settings::set(&["session.expiry_secs_max=0", "store.segment_bytes=65536"])
}

/// The CONNECT of a client whose will is to be retained.
fn connect_with_will(client_id: &str, clean_start: bool) -> Vec<u8> {
    let flags = 0x2c | u8::from(clean_start) << 1;
    let head = [&b"\x00\x04MQTT\x05"[..], &[flags], b"\x00\x00\x05\x11\xff\xff\xff\xff"].concat();
    let will = [&b"\x00"[..], &text(&format!("will/{client_id}")), &text("gone")].concat();
    raw::packet(0x10, &[head, text(client_id), will].concat())
}

fn publish(topic: &str, id: u16, qos: u8, payload: &str) -> Publish {
    let (topic, payload) = (topic.to_owned(), payload.as_bytes().to_vec());
    Publish { topic, id, qos, duplicate: false, retain: false, payload }
}

struct Peer(TcpStream);

impl Peer {
    fn connect(port: u16, connect: &[u8]) -> Outcome<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut peer = Self(stream);
        peer.say(connect)?;
        Ok(peer)
    }

    fn say(&mut self, words: &[u8]) -> Outcome {
        Ok(self.0.write_all(words)?)
    }

    /// What comes next; whether it came before is not known after a kill.
    #[track_caller]
    fn hears(&mut self, expected: Packet) -> Outcome {
        let mut packet = packet::read(&mut self.0)?;
        if let Packet::Publish(publish) = &mut packet {
            publish.duplicate = false;
        }
        let line = std::panic::Location::caller().line();
        ensure_eq!(packet, expected, "what is heard in line {line}");
        Ok(())
    }

    fn retain(&mut self, topic: &str, payload: &str) -> Outcome {
        self.say(&Publish { retain: true, ..publish(topic, 8, 1, payload) }.encode())?;
        let packet = packet::read(&mut self.0)?;
        // Nobody has to subscribe to it.
        ensure!(
            matches!(packet, Packet::Puback { id: 8, reason: 0 | NO_MATCHING_SUBSCRIBERS }),
            "{topic} is answered by {packet:?}"
        );
        Ok(())
    }
}
