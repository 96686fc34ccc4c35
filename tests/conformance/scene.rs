//! A gateway on the bench, and what tests do with its clients.

use std::sync::Arc;
use std::time::Duration;

use gateway_access::{Access, User};
use gateway_broker::{Bench, Broker, DoorLimits, Line};
use gateway_bus::{Bus, Limits};
use gateway_config::Secret;
use gateway_model::Topic;
use protocol_mqtt::Mqtt;

use crate::Version;
use crate::packet::{Packet, Publish};
use crate::wire::{self, Connect, GOODBYE};

/// What a gateway is set up with; the default is that of `tidegate.toml` in all that matters here.
pub struct Setup {
    pub mqtt: protocol_mqtt::Config,
    pub access: gateway_access::Config,
    pub limits: Limits,
}

impl Default for Setup {
    fn default() -> Self {
        let user = User { name: NAME.into(), password: Secret::new(PASSWORD) };
        let access = gateway_access::Config { user: vec![user], ..Default::default() };
        Self { mqtt: Default::default(), access, limits: Limits::default() }
    }
}

/// The one user that there is; clients of this machine may do without a name.
pub const NAME: &str = "name";
pub const PASSWORD: &str = "word";

/// The limit that `tidegate.toml` sets.
const TOPIC_BYTES_MAX: usize = 65_535;

pub struct Scene {
    pub bench: Bench,
}

#[derive(Clone, Copy, Debug)]
pub struct Client {
    pub line: Line,
    pub version: Version,
}

impl Scene {
    pub fn new() -> Self {
        Self::with(Setup::default())
    }

    pub fn with(setup: Setup) -> Self {
        let door = DoorLimits {
            topic_levels_max: 128,
            topic_bytes_max: TOPIC_BYTES_MAX,
            client_id_bytes_max: 1024,
            logins_pending_max: 64,
        };
        let broker = Broker::new(Bus::new(setup.limits, 1), Access::new(setup.access), door, 2);
        Self { bench: Bench::new(broker, Arc::new(Mqtt::new(setup.mqtt))) }
    }

    /// A connection on which nothing was said yet.
    pub fn dial(&mut self, version: Version) -> Client {
        Client { line: self.bench.connect(), version }
    }

    /// A client that is let in, and its CONNACK.
    #[track_caller]
    pub fn open(&mut self, connect: &Connect) -> (Client, Packet) {
        let client = self.dial(connect.version);
        self.send(client, &connect.encode());
        let connack = self.one(client);
        let Packet::Connack { reason: 0, .. } = connack else { panic!("not let in: {connack:?}") };
        (client, connack)
    }

    /// A client that starts clean.
    #[track_caller]
    pub fn client(&mut self, version: Version, client_id: &str) -> Client {
        self.open(&Connect::new(version, client_id)).0
    }

    /// A client with a subscription, which has been acknowledged.
    #[track_caller]
    pub fn subscriber(&mut self, version: Version, client_id: &str, filter: &str, options: u8) -> Client {
        let client = self.client(version, client_id);
        self.subscribe(client, filter, options);
        client
    }

    /// Subscribes and takes the SUBACK; what was retained follows it.
    #[track_caller]
    pub fn subscribe(&mut self, client: Client, filter: &str, options: u8) -> Vec<Packet> {
        let mut packets =
            self.exchange(client, &wire::subscribe(client.version, 0x5B5B, &[(filter, options)]));
        let suback = packets.remove(0);
        let granted = options & 3;
        let Packet::Suback { id: 0x5B5B, reasons, .. } = &suback else { panic!("no SUBACK: {suback:?}") };
        assert_eq!(*reasons, [granted]);
        packets
    }

    pub fn send(&mut self, client: Client, bytes: &[u8]) {
        self.bench.send(client.line, bytes);
    }

    /// All packets that have come, none of them cut off.
    #[track_caller]
    pub fn take(&mut self, client: Client) -> Vec<Packet> {
        let bytes = self.bench.received(client.line);
        let mut packets = Vec::new();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (frame, after) = cut(rest);
            packets.push(Packet::parse(client.version, frame.0, frame.1));
            rest = after;
        }
        packets
    }

    #[track_caller]
    pub fn exchange(&mut self, client: Client, bytes: &[u8]) -> Vec<Packet> {
        self.send(client, bytes);
        self.take(client)
    }

    /// The one packet that has come.
    #[track_caller]
    pub fn one(&mut self, client: Client) -> Packet {
        let mut packets = self.take(client);
        assert_eq!(packets.len(), 1, "{packets:?}, closed: {}", self.is_closed(client));
        packets.remove(0)
    }

    /// Sends, and takes the one packet that comes back.
    #[track_caller]
    pub fn ask(&mut self, client: Client, bytes: &[u8]) -> Packet {
        self.send(client, bytes);
        self.one(client)
    }

    /// The publishes that have come, and nothing else has.
    #[track_caller]
    pub fn publishes(&mut self, client: Client) -> Vec<Publish> {
        self.take(client).iter().map(|packet| packet.publish().clone()).collect()
    }

    /// The payloads of the publishes that have come.
    #[track_caller]
    pub fn texts(&mut self, client: Client) -> Vec<String> {
        self.publishes(client).iter().map(Publish::text).collect()
    }

    #[track_caller]
    pub fn nothing(&mut self, client: Client) {
        let packets = self.take(client);
        assert!(packets.is_empty(), "{packets:?}");
    }

    /// Publishes at QoS 0.
    pub fn publish(&mut self, client: Client, topic: &str, payload: &str) {
        self.send(client, &wire::Publish::new(client.version, topic, payload).encode());
    }

    /// The gateway itself publishes, as it does below `$SYS`.
    pub fn say(&mut self, topic: &str, payload: &'static str, retain: bool) {
        let topic = Topic::parse(topic).expect("a topic");
        let reason = self
            .bench
            .publish(gateway_model::Publish { retain, ..gateway_model::Publish::new(topic, payload) });
        assert!(!reason.is_error(), "{reason}");
    }

    pub fn topic_bytes_max(&self) -> usize {
        TOPIC_BYTES_MAX
    }

    /// Leaves a retained message and waits for its acknowledgement.
    #[track_caller]
    pub fn retain(&mut self, client: Client, topic: &str, payload: &str) {
        let publish = wire::Publish::new(client.version, topic, payload).qos(1, 0x7E7E).retained();
        let puback = self.ask(client, &publish.encode());
        assert_eq!(puback.acknowledgement().id, 0x7E7E);
    }

    pub fn is_closed(&self, client: Client) -> bool {
        self.bench.is_closed(client.line)
    }

    /// Says goodbye with reason 0.
    #[track_caller]
    pub fn leave(&mut self, client: Client) {
        self.send(client, GOODBYE);
        assert!(self.is_closed(client));
        self.bench.cut(client.line);
    }

    pub fn cut(&mut self, client: Client) {
        self.bench.cut(client.line);
    }

    pub fn wait(&mut self, secs: u64) {
        self.bench.advance(Duration::from_secs(secs));
    }

    pub fn wait_millis(&mut self, millis: u64) {
        self.bench.advance(Duration::from_millis(millis));
    }

    /// It still answers, and nothing else has come.
    #[track_caller]
    pub fn lives(&mut self, client: Client) {
        assert!(!self.is_closed(client), "closed");
        assert_eq!(self.ask(client, wire::PINGREQ), Packet::Pingresp);
    }

    /// Closed, with a DISCONNECT of this reason where the version has one, and nothing else.
    #[track_caller]
    pub fn dismissed(&mut self, client: Client, reason: u8) {
        let packets = self.take(client);
        match (client.version, &packets[..]) {
            (Version::V5, [Packet::Disconnect { reason: given, .. }]) => assert_eq!(*given, reason),
            (Version::V311 | Version::V31, []) => {}
            _ => panic!("{packets:?}, closed: {}", self.is_closed(client)),
        }
        assert!(self.is_closed(client), "not closed");
    }

    /// Sends what must end the connection for this reason.
    #[track_caller]
    pub fn offend(&mut self, client: Client, bytes: &[u8], reason: u8) {
        self.send(client, bytes);
        self.dismissed(client, reason);
    }

    /// A CONNECT that is refused: closed, with a CONNACK of this code or none.
    #[track_caller]
    pub fn refused(&mut self, version: Version, connect: &[u8], reason: Option<u8>) {
        let client = self.dial(version);
        let packets = self.exchange(client, connect);
        match (&packets[..], reason) {
            ([Packet::Connack { session_present: false, reason: given, .. }], Some(reason)) => {
                assert_eq!(*given, reason);
            }
            ([], None) => {}
            _ => panic!("{packets:?}, expected {reason:?}"),
        }
        assert!(self.is_closed(client), "not closed");
    }
}

/// The first frame, as its first byte and body, and what follows.
#[track_caller]
fn cut(bytes: &[u8]) -> ((u8, &[u8]), &[u8]) {
    let (mut len, mut place) = (0usize, 1);
    loop {
        let byte = *bytes.get(place).expect("a length");
        len |= usize::from(byte & 0x7F) << (7 * (place - 1));
        place += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let body = bytes.get(place..place + len).expect("a whole packet");
    ((bytes[0], body), &bytes[place + len..])
}
