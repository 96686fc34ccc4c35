//! What the fuzz targets of MQTT check.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway_model::testing::{Outbox, Recorder};
use gateway_model::{
    Adapter, ClientId, DeliveryId, Event, Expiry, Identifiers, Message, Opened, Outcome, Outgoing, Peer,
    Protocol, Qos, Reason, Refusal, Reply, Request, Settled, Ticket, Topic,
};
use protocol_mqtt::codec::{Connect, Header, Packet, Property, Version};
use protocol_mqtt::{Config, Mqtt};

/// The first byte chooses the version.
fn version(data: &[u8]) -> (Version, &[u8]) {
    match data.split_first() {
        Some((choice, rest)) => match choice % 3 {
            0 => (Version::V5, rest),
            1 => (Version::V311, rest),
            _ => (Version::V31, rest),
        },
        None => (Version::V5, data),
    }
}

/// Cuts the next whole frame off a stream.
fn frame<'a>(stream: &mut &'a [u8]) -> Option<(Header, &'a [u8])> {
    let header = Header::parse(stream).ok()??;
    let body = stream.get(header.header_len..header.frame_len())?;
    *stream = &stream[header.frame_len()..];
    Some((header, body))
}

/// Any bytes, as packets of any version.
pub fn decode(data: &[u8]) {
    let (version, mut stream) = version(data);
    while let Some((header, body)) = frame(&mut stream) {
        let _ = Packet::decode(version, header.first, body);
    }
}

/// What was decoded is, encoded and decoded again, the same.
pub fn identity(data: &[u8]) {
    let (version, mut stream) = version(data);
    while let Some((header, body)) = frame(&mut stream) {
        let Ok(packet) = Packet::decode(version, header.first, body) else { continue };
        let mut encoded = Vec::new();
        packet.encode(version, &mut encoded);
        let mut again = &encoded[..];
        let (header, body) = frame(&mut again).expect("a whole frame");
        assert!(again.is_empty() && !header.is_padded());
        assert_eq!(Packet::decode(version, header.first, body).as_ref(), Ok(&packet));
    }
}

/// A program for one connection: what its client sends, and what else happens.
pub fn connection(data: &[u8]) {
    let Some((&choice, program)) = data.split_first() else { return };
    let mut bench = Bench::new(choice);
    let mut program = Program(program);
    while let Some(step) = program.byte() {
        bench.step(step, &mut program);
        bench.receive();
        bench.check_written();
        if bench.out.closed.is_some() || bench.gone {
            return;
        }
    }
}

/// The rest of a program.
struct Program<'a>(&'a [u8]);

impl<'a> Program<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        bytes
    }
}

enum Later {
    Publish(Ticket),
    Release(Ticket),
    Settlement(DeliveryId),
}

/// A connection with a recorder in the driver's place, and what its client knows.
struct Bench {
    adapter: Box<dyn Adapter>,
    out: Recorder,
    now: Instant,
    /// What the client sent and the adapter did not take yet.
    pending: Vec<u8>,
    /// What the store is not done with yet.
    later: VecDeque<Later>,
    deliveries: u16,
    is_open: bool,
    gone: bool,
    /// From the client's CONNECT.
    packet_bytes_max: usize,
    alias_maximum: u16,
    connack_came: bool,
    aliases: HashMap<u16, Vec<u8>>,
}

impl Bench {
    fn new(choice: u8) -> Self {
        let bit = |number: u8| choice >> number & 1 == 0;
        let config = Config {
            packet_bytes_max: 4096,
            connect_bytes_max: 1024,
            receive_maximum: NonZeroU16::new(3).expect("not 0"),
            topic_alias_maximum: 3,
            topic_alias_maximum_outbound: 3,
            maximum_qos: if bit(0) { 2 } else { 1 },
            retain_available: bit(1),
            wildcard_subscriptions: bit(2),
            shared_subscriptions: bit(2),
            subscription_identifiers: bit(3),
            response_information: "r/${clientid}".into(),
            server_reference: if bit(4) { String::new() } else { "other:1883".into() },
            ..Config::default()
        };
        let now = Instant::now();
        let peer = Peer::new(([127, 0, 0, 1], 1).into(), "fuzz".into());
        Self {
            adapter: Mqtt::new(config).connect(now, &peer, 0),
            out: Recorder::default(),
            now,
            pending: Vec::new(),
            later: VecDeque::new(),
            deliveries: 0,
            is_open: false,
            gone: false,
            packet_bytes_max: usize::MAX,
            alias_maximum: 0,
            connack_came: false,
            aliases: HashMap::new(),
        }
    }

    fn step(&mut self, step: u8, program: &mut Program<'_>) {
        let argument = usize::from(step >> 4);
        match step & 0x0F {
            0..=5 => {
                let len = program.byte().unwrap_or_default();
                self.pending.extend_from_slice(program.bytes(len.into()));
            }
            6 => self.answer(true, false),
            7 => self.answer(false, false),
            8 => self.answer(true, true),
            9 => {
                self.out.publish_outcome = match argument {
                    0..=3 => Outcome::Later,
                    4..=7 => Outcome::Done(Reason::Success),
                    8..=11 => Outcome::Done(Reason::NotAuthorized),
                    _ => Outcome::Done(Reason::QuotaExceeded),
                };
                self.out.release_outcome = match argument % 2 {
                    0 => Outcome::Later,
                    _ => Outcome::Done(Reason::Success),
                };
            }
            10 => {
                let place = argument % self.later.len().max(1);
                let Some(later) = self.later.remove(place) else { return };
                let reason = if argument < 12 { Reason::Success } else { Reason::QuotaExceeded };
                self.handle(match later {
                    Later::Publish(ticket) => Event::Reply(ticket, Reply::Published(reason)),
                    Later::Release(ticket) => Event::Reply(ticket, Reply::Released),
                    Later::Settlement(id) => Event::Settled(id),
                });
            }
            11 => self.deliver(argument),
            12 => {
                self.now += Duration::from_millis(100 << argument);
                if self.adapter.next_timeout().is_some_and(|at| at <= self.now) {
                    self.handle(Event::Timeout);
                }
            }
            13 => {
                self.out.settles = match argument {
                    0..=3 => Settled::Done,
                    4..=9 => Settled::Later,
                    10..=12 => Settled::Unknown,
                    _ => Settled::Misfit,
                };
            }
            14 => self.handle(Event::Evicted(match argument {
                0..=7 => Reason::ServerShuttingDown,
                _ => Reason::SessionTakenOver,
            })),
            _ => {
                self.gone = true;
                self.handle(Event::Closed);
            }
        }
    }

    fn handle(&mut self, event: Event) {
        self.adapter.handle(self.now, event, &mut self.out);
    }

    /// Shows what is pending, as the driver does after every event.
    fn receive(&mut self) {
        loop {
            if self.adapter.protocol() == "mqtt" {
                self.note_connect();
            }
            let consumed = self.adapter.receive(self.now, &self.pending, &mut self.out);
            assert!(consumed <= self.pending.len());
            self.pending.drain(..consumed);
            let out = &mut self.out;
            self.later.extend(out.published.drain(..).map(|(ticket, _)| Later::Publish(ticket)));
            self.later.extend(out.released.drain(..).map(|(ticket, _)| Later::Release(ticket)));
            self.later.extend(out.settled.drain(..).map(|(id, _)| Later::Settlement(id)));
            if consumed == 0 || self.pending.is_empty() {
                return;
            }
        }
    }

    /// What the client told us about itself, if its CONNECT is complete.
    fn note_connect(&mut self) {
        let mut stream = &self.pending[..];
        let Some(Ok(connect)) = frame(&mut stream).map(|(_, body)| Connect::decode(body)) else { return };
        for property in connect.properties.iter() {
            match property {
                Property::MaximumPacketBytes(maximum) => self.packet_bytes_max = maximum as usize,
                Property::TopicAliasMaximum(maximum) => self.alias_maximum = maximum,
                _ => {}
            }
        }
    }

    /// Answers the oldest request, within the contract.
    fn answer(&mut self, well: bool, challenge: bool) {
        let Some((ticket, request)) = self.out.requests.pop_front() else { return };
        let refusal = Refusal { reason: Reason::NotAuthorized, text: "no".into() };
        let opened = |well: bool| match well {
            true => Ok(Opened {
                client_id: ClientId::parse("c").expect("a name"),
                session_present: true,
                expiry: Expiry::Never,
                held: [1, 2].map(|number| NonZeroU16::new(number).expect("not 0")).to_vec(),
                authentication_data: Some(Bytes::from_static(b"end")),
            }),
            false => Err(refusal.clone()),
        };
        let reply = match request {
            Request::Open(open) if challenge && open.authentication.is_some() => {
                Reply::Challenge(Bytes::from_static(b"?"))
            }
            Request::Authenticate(_) | Request::Reauthenticate(_) if challenge => {
                Reply::Challenge(Bytes::from_static(b"?"))
            }
            Request::Authenticate(_) | Request::Reauthenticate(_) if self.is_open => {
                Reply::Reauthenticated(if well { Ok(None) } else { Err(refusal) })
            }
            Request::Open(_) | Request::Authenticate(_) => {
                self.is_open = well;
                Reply::Opened(opened(well))
            }
            Request::Reauthenticate(_) => panic!("asked to authenticate anew before the session is open"),
            Request::Subscribe(asked) => Reply::Subscribed(reasons(well, asked.len())),
            Request::Unsubscribe(asked) => Reply::Unsubscribed(reasons(well, asked.len())),
            Request::Retained { .. } | Request::Keep(_) => panic!("MQTT never asks for such things"),
        };
        self.handle(Event::Reply(ticket, reply));
    }

    fn deliver(&mut self, argument: usize) {
        let topics = ["t", "topic/1", "topic/2", "topic/3", "topic/4"];
        let outgoing = (0..=argument).map(|number| {
            let qos = Qos::from_u8((number % 3) as u8).expect("0 to 2");
            let topic = topics[(argument + number) % topics.len()];
            self.deliveries = self.deliveries.wrapping_add(1);
            let message = Message {
                topic: Topic::parse(topic).expect("a topic"),
                payload: vec![b'x'; argument * 3].into(),
                properties: None,
                publisher: ClientId::parse("p").expect("a name"),
                accepted_unix_millis: 0.into(),
                expires_at: Some(self.now + Duration::from_secs(9)),
                qos,
                retain: false,
                stored: Default::default(),
            };
            Outgoing {
                message: Arc::new(message),
                id: NonZeroU16::new(self.deliveries).filter(|_| qos != Qos::AtMostOnce),
                qos: if self.deliveries == 0 { Qos::AtMostOnce } else { qos },
                retain: number % 2 == 0,
                duplicate: qos != Qos::AtMostOnce && number % 4 == 1,
                released: qos == Qos::ExactlyOnce && number % 5 == 4,
                identifiers: if number % 3 == 0 { Identifiers::One(7) } else { Identifiers::None },
                mount_len: if number % 7 == 6 && topic.len() > 1 { 1 } else { 0 },
            }
        });
        let mut outbox = Outbox(outgoing.collect(), 0);
        self.adapter.deliver(self.now, &mut outbox, &mut self.out);
    }

    /// Everything written is a packet that the client may get now.
    fn check_written(&mut self) {
        let version = match self.adapter.protocol() {
            "mqtt5" => Version::V5,
            "mqtt31" => Version::V31,
            _ => Version::V311,
        };
        let written = self.out.take_bytes();
        let mut stream = &written[..];
        while !stream.is_empty() {
            let (header, body) = frame(&mut stream).expect("a whole packet");
            // A client that takes not even an acknowledgement gets it all the same.
            let fits = header.frame_len() <= self.packet_bytes_max.max(5);
            assert!(fits, "{} bytes: {body:02x?}", header.frame_len());
            match Packet::decode(version, header.first, body).expect("a legal packet") {
                Packet::Connack(_) => assert!(!std::mem::replace(&mut self.connack_came, true)),
                Packet::Auth(_) => {}
                Packet::Disconnect(_) => assert!(version == Version::V5 && self.connack_came),
                Packet::Publish(publish) => {
                    assert!(self.connack_came);
                    self.check_alias(publish.topic, publish.properties.iter());
                }
                Packet::Connect(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::Pingreq => {
                    panic!("a packet of clients")
                }
                _ => assert!(self.connack_came),
            }
        }
    }

    fn check_alias<'a>(&mut self, topic: &[u8], mut properties: impl Iterator<Item = Property<'a>>) {
        let alias = properties.find_map(|property| match property {
            Property::TopicAlias(alias) => Some(alias),
            _ => None,
        });
        match alias {
            Some(alias) if topic.is_empty() => assert!(self.aliases.contains_key(&alias)),
            Some(alias) => {
                assert!((1..=self.alias_maximum.min(3)).contains(&alias));
                self.aliases.insert(alias, topic.to_vec());
            }
            None => assert!(!topic.is_empty()),
        }
    }
}

fn reasons(well: bool, count: usize) -> Vec<Reason> {
    vec![if well { Reason::Success } else { Reason::NotAuthorized }; count]
}
