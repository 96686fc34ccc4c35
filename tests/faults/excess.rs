//! What one client may ask for in excess, and that the others do not notice.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::harness::mqtt::{Subscriber, publish};
use crate::harness::world::eventually;
use crate::harness::{Gateway, Outcome, Stop, World};
use crate::{ensure, ensure_eq};

crate::cases!("faults":
    a_client_with_100_000_subscriptions_is_served_and_then_stopped,
    topics_of_65_535_bytes_and_of_many_levels_are_bounded,
);

const SUBSCRIPTIONS: u32 = 100_000;
/// What 100,000 subscriptions with their filters may take: 300 bytes each are the target.
const SUBSCRIPTIONS_KIB_MAX: u64 = 60 * 1024;

fn a_client_with_100_000_subscriptions_is_served_and_then_stopped(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let before = resident_kib(&gateway)?;
    let mut greedy = RawClient::connect(gateway.ports.mqtt, "greedy")?;
    for first in (0..SUBSCRIPTIONS).step_by(1000) {
        let filters: Vec<String> = (first..first + 1000).map(|n| format!("greedy/{n}/+")).collect();
        let reasons = greedy.subscribe(&filters)?;
        ensure!(reasons.iter().all(|reason| *reason == 1), "subscriptions from {first} are granted");
    }
    ensure_eq!(greedy.subscribe(&["one/more".to_owned()])?, vec![0x97], "limits.subscriptions_max");
    let grown = resident_kib(&gateway)?.saturating_sub(before);
    ensure!(grown < SUBSCRIPTIONS_KIB_MAX, "{SUBSCRIPTIONS} subscriptions take {grown} KiB");
    // Others are routed as before, and so is the greedy client itself.
    let heard = Subscriber::start(world, gateway.ports.mqtt, &["-t", "greedy/77/x", "-q", "1"])?;
    publish(world, gateway.ports.mqtt, &["-t", "greedy/77/x", "-q", "1", "-m", "hello"])?;
    ensure_eq!(heard.message()?.payload, "hello", "what others get");
    ensure_eq!(greedy.packet()?.0 >> 4, 3, "a PUBLISH for the greedy client");
    drop(greedy);
    eventually("its subscriptions are gone", 15, || {
        Ok(gateway.metric("tidegate_subscriptions")?.filter(|count| *count <= 1.0))
    })?;
    drop(heard);
    gateway.stop()
}

fn topics_of_65_535_bytes_and_of_many_levels_are_bounded(world: &mut World) -> Outcome {
    let gateway = Gateway::start(world)?;
    let mut client = RawClient::connect(gateway.ports.mqtt, "deep")?;
    let deep = "/".repeat(65_535);
    let long = "x".repeat(65_535);
    ensure_eq!(client.subscribe(&[deep.clone(), long.clone()])?, vec![0x8f, 1], "65,536 levels, and one");
    ensure_eq!(client.publish(&deep)?, 0x90, "limits.topic_levels_max");
    ensure_eq!(client.publish(&long)?, 0x00, "one level of 65,535 bytes");
    ensure_eq!(client.packet()?.1.len(), 2 + 65_535 + 2 + 1, "it comes back whole");
    // As many distinct ones as a busy minute brings: what is remembered of topics is bounded.
    let before = resident_kib(&gateway)?;
    for number in 0..2_000 {
        let topic = format!("{number:05}{}", "y".repeat(60_000));
        let reason = client.publish(&topic)?;
        ensure_eq!(reason, 0x10, "nobody subscribed");
    }
    let grown = resident_kib(&gateway)?.saturating_sub(before);
    ensure!(grown < 64 * 1024, "2,000 long topics leave {grown} KiB behind");
    drop(client);
    gateway.stop()
}

pub(super) fn resident_kib(gateway: &Gateway) -> Outcome<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.process.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|rest| rest.trim().split(' ').next()?.parse().ok());
    number.ok_or_else(|| Stop::Failed("no VmRSS in /proc".into()))
}

/// MQTT 5 by hand, one packet at a time.
pub(super) struct RawClient {
    stream: TcpStream,
    session_present: bool,
}

impl RawClient {
    pub(super) fn connect(port: u16, client_id: &str) -> Outcome<Self> {
        Self::open(port, &[b"\x00\x04MQTT\x05\x02\x00\x00\x00", &text(client_id)[..]].concat())
    }

    /// With a session that outlives it by an hour, and is resumed if it is there.
    pub(super) fn persistent(port: u16, client_id: &str) -> Outcome<Self> {
        let head = b"\x00\x04MQTT\x05\x00\x00\x00\x05\x11\x00\x00\x0e\x10";
        Self::open(port, &[head, &text(client_id)[..]].concat())
    }

    fn open(port: u16, connect: &[u8]) -> Outcome<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut client = Self { stream, session_present: false };
        client.send(0x10, connect)?;
        let (first, body) = client.packet()?;
        ensure!(first == 0x20 && body.get(1) == Some(&0), "CONNACK {body:02x?}");
        client.session_present = body[0] == 1;
        Ok(client)
    }

    pub(super) fn session_present(&self) -> bool {
        self.session_present
    }

    /// The reasons of the SUBACK.
    pub(super) fn subscribe(&mut self, filters: &[String]) -> Outcome<Vec<u8>> {
        let mut body = b"\x00\x01\x00".to_vec();
        for filter in filters {
            body.extend(text(filter));
            body.push(1);
        }
        self.send(0x82, &body)?;
        let (first, body) = self.packet()?;
        ensure_eq!(first, 0x90, "a SUBACK");
        // Less than 128 bytes of properties: a reason in words.
        let properties = usize::from(body.get(2).copied().unwrap_or(0));
        Ok(body.get(3 + properties..).unwrap_or_default().to_vec())
    }

    /// The reason of the PUBACK.
    pub(super) fn publish(&mut self, topic: &str) -> Outcome<u8> {
        self.publish_payload(topic, &[])
    }

    pub(super) fn publish_payload(&mut self, topic: &str, payload: &[u8]) -> Outcome<u8> {
        self.send(0x32, &[&text(topic)[..], b"\x00\x02\x00", payload].concat())?;
        let (first, body) = self.packet()?;
        ensure_eq!(first, 0x40, "a PUBACK");
        Ok(body.get(2).copied().unwrap_or(0))
    }

    pub(super) fn send_qos0(&mut self, topic: &str, payload: &[u8]) -> Outcome {
        self.send(0x30, &[&text(topic)[..], b"\x00", payload].concat())
    }

    fn send(&mut self, first: u8, body: &[u8]) -> Outcome {
        let mut packet = vec![first];
        let mut length = body.len();
        loop {
            let more = length >= 128;
            packet.push((length % 128) as u8 | u8::from(more) << 7);
            length /= 128;
            if !more {
                break;
            }
        }
        packet.extend(body);
        Ok(self.stream.write_all(&packet)?)
    }

    /// First byte and body of the next packet.
    pub(super) fn packet(&mut self) -> Outcome<(u8, Vec<u8>)> {
        let first = self.byte()?;
        let mut length = 0;
        for shift in (0..).step_by(7) {
            let byte = self.byte()?;
            length |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((first, body))
    }

    fn byte(&mut self) -> Outcome<u8> {
        let mut byte = [0];
        self.stream.read_exact(&mut byte)?;
        Ok(byte[0])
    }
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}
