//! Conformance by bytes and virtual time, named after the cases of OMA's
//! Enabler Test Specification for LwM2M 1.1 ("LightweightM2M-1.1-int-N").

mod device_management;
mod hostile;
mod registration;
mod reporting;
mod restart;
mod will;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use coap_lite::{CoapOption, MessageType, Packet};
use gateway_model::testing::{Outbox, Recorder};
use gateway_model::{
    Adapter, ClientId, DeliveryId, Event, Expiry, Identifiers, Message, Opened, Outgoing, Peer, Properties,
    Protocol, Publish, Qos, Refusal, Reply, Request, Settlement, Topic,
};
use protocol_coap::message::{Code, add_uint, code_of, number, request};
use serde_json::Value as Json;

use crate::{Config, Lwm2m};

/// A device on one side, the gateway on the other, and a clock that moves by hand.
struct Bench {
    adapter: Box<dyn Adapter>,
    out: Recorder,
    outbox: Outbox,
    now: Instant,
    message_id: u16,
    /// What the gateway keeps with the session.
    kept: Option<Bytes>,
    /// How often it was asked to.
    keeps: usize,
    /// The store takes its time: see `keep`.
    slow: bool,
}

impl Bench {
    fn new(config: Config) -> Self {
        assert_eq!(config.check(), Ok(()));
        Self::at(&Lwm2m::new(config), "127.0.0.1:56830", 7)
    }

    fn at(protocol: &Lwm2m, address: &str, seed: u64) -> Self {
        let now = Instant::now();
        let peer = Peer::new(address.parse().unwrap(), "test".into());
        let adapter = protocol.connect(now, &peer, seed);
        Self {
            adapter,
            out: Recorder::default(),
            outbox: Outbox::default(),
            now,
            message_id: 100,
            kept: None,
            keeps: 0,
            slow: false,
        }
    }

    /// Registered as `ep1`, with what that caused taken away.
    fn registered(query: &[&str], config: Config) -> (Self, String) {
        let mut bench = Self::new(config);
        let reply = bench.register(query);
        let location = location(&reply);
        bench.out.published.clear();
        (bench, location)
    }

    fn register(&mut self, query: &[&str]) -> Packet {
        let mut replies = self.ask(registration(query));
        if replies.is_empty() {
            replies = self.open(Ok(()));
        }
        replies.remove(0)
    }

    /// The broker's reply to the request to open a session; then what the device gets.
    fn open(&mut self, result: Result<(), Refusal>) -> Vec<Packet> {
        let (ticket, request) = self.out.requests.pop_front().expect("a request");
        let Request::Open(open) = request else { panic!("{request:?}") };
        let opened = result.map(|()| Opened {
            client_id: open.client_id.unwrap(),
            session_present: false,
            expiry: open.expiry,
            held: Vec::new(),
            authentication_data: None,
        });
        self.adapter.handle(self.now, Event::Reply(ticket, Reply::Opened(opened)), &mut self.out);
        self.packets()
    }

    /// A Confirmable request of the device; what it gets back.
    fn ask(&mut self, mut packet: Packet) -> Vec<Packet> {
        self.message_id += 1;
        packet.header.message_id = self.message_id;
        packet.header.set_type(MessageType::Confirmable);
        packet.set_token(vec![9]);
        self.receive(&packet.to_bytes_unlimited().unwrap())
    }

    /// The same with the packet's own token: a separate response, a notification.
    fn ask_as(&mut self, mut packet: Packet) -> Vec<Packet> {
        self.message_id += 1;
        packet.header.message_id = self.message_id;
        packet.header.set_type(MessageType::Confirmable);
        self.receive(&packet.to_bytes_unlimited().unwrap())
    }

    fn receive(&mut self, bytes: &[u8]) -> Vec<Packet> {
        self.adapter.receive(self.now, bytes, &mut self.out);
        self.packets()
    }

    /// The device's piggybacked answer to a request of the gateway.
    fn respond(&mut self, to: &Packet, mut answer: Packet) -> Vec<Packet> {
        answer.header.message_id = to.header.message_id;
        answer.header.set_type(MessageType::Acknowledgement);
        answer.set_token(to.get_token().to_vec());
        self.receive(&answer.to_bytes_unlimited().unwrap())
    }

    /// A message to the device; the requests it becomes.
    fn command(&mut self, words: &str, payload: &str) -> Vec<Packet> {
        self.queue(words, payload, None);
        self.deliver()
    }

    fn queue(&mut self, words: &str, payload: &str, properties: Option<Properties>) {
        let message = Message {
            topic: Topic::parse(&format!("lwm2m/ep1/cmd/{words}")).unwrap(),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            properties: properties.map(Arc::new),
            publisher: ClientId::parse("someone").unwrap(),
            accepted_unix_millis: 0.into(),
            expires_at: None,
            qos: Qos::AtLeastOnce,
            retain: false,
            stored: Default::default(),
        };
        self.outbox.0.push_back(Outgoing {
            message: Arc::new(message),
            id: DeliveryId::new(5),
            qos: Qos::AtLeastOnce,
            retain: false,
            duplicate: false,
            released: false,
            mount_len: 0,
            identifiers: Identifiers::None,
        });
    }

    fn deliver(&mut self) -> Vec<Packet> {
        self.adapter.deliver(self.now, &mut self.outbox, &mut self.out);
        self.packets()
    }

    /// Lets time pass, with all timeouts on the way; what the device gets meanwhile.
    fn pass(&mut self, secs: u64) -> Vec<Packet> {
        let end = self.now + Duration::from_secs(secs);
        let mut packets = Vec::new();
        while let Some(at) = self.adapter.next_timeout().filter(|at| *at <= end) {
            assert!(self.out.closed.is_none(), "a closed adapter has no timeouts");
            self.now = self.now.max(at);
            self.adapter.handle(self.now, Event::Timeout, &mut self.out);
            packets.extend(self.packets());
            if self.out.closed.is_some() {
                break;
            }
        }
        self.now = end;
        packets
    }

    /// Everything that is to be kept is kept; what the device gets.
    fn keep(&mut self) -> Vec<Packet> {
        let is_keep = |(_, request): &(_, Request)| matches!(request, Request::Keep(_));
        while let Some(place) = self.out.requests.iter().position(is_keep) {
            let Some((ticket, Request::Keep(kept))) = self.out.requests.remove(place) else { panic!() };
            self.kept = Some(kept);
            self.keeps += 1;
            self.adapter.handle(self.now, Event::Reply(ticket, Reply::Kept), &mut self.out);
        }
        self.datagrams()
    }

    fn packets(&mut self) -> Vec<Packet> {
        if self.slow { self.datagrams() } else { self.keep() }
    }

    fn datagrams(&mut self) -> Vec<Packet> {
        self.out.take_datagrams().iter().map(|bytes| Packet::from_bytes(bytes).unwrap()).collect()
    }

    /// What was published since the last look: topic below `lwm2m/ep1/`, payload, retained.
    fn published(&mut self) -> Vec<(String, String, bool)> {
        let below = |publish: Publish| {
            let topic = publish.topic.strip_prefix("lwm2m/ep1/").unwrap_or(&publish.topic).to_owned();
            (topic, String::from_utf8(publish.payload.to_vec()).unwrap(), publish.retain)
        };
        self.out.published.drain(..).map(|(_, publish)| below(publish)).collect()
    }

    /// The only message published on a topic below `lwm2m/ep1/`, as JSON.
    fn json(&mut self, topic: &str) -> Json {
        let published = self.published();
        let found: Vec<_> = published.iter().filter(|(t, _, _)| t == topic).collect();
        assert_eq!(found.len(), 1, "{topic} in {published:?}");
        serde_json::from_str(&found[0].1).unwrap()
    }

    fn settled(&mut self) -> Vec<Settlement> {
        self.out.settled.drain(..).map(|(_, settlement)| settlement).collect()
    }
}

/// `POST /rd` as Anjay sends it.
fn registration(query: &[&str]) -> Packet {
    let mut packet = request(Code::POST, ["rd"]);
    for text in query {
        packet.add_option(CoapOption::UriQuery, text.as_bytes().to_vec());
    }
    add_uint(&mut packet, number::CONTENT_FORMAT, 40);
    packet.payload = b"</>;rt=\"oma.lwm2m\",</1>;ver=1.1,</1/0>,</3/0>,</31024>".to_vec();
    packet
}

const PLAIN: &[&str] = &["ep=ep1", "lt=300", "lwm2m=1.1", "b=U"];
const QUEUE: &[&str] = &["ep=ep1", "lt=300", "lwm2m=1.1", "b=U", "Q"];
const OLD: &[&str] = &["ep=ep1", "lt=300", "lwm2m=1.0", "b=U"];

fn texts(packet: &Packet, option: CoapOption) -> Vec<String> {
    let values = packet.get_option(option).into_iter().flatten();
    values.map(|value| String::from_utf8(value.clone()).unwrap()).collect()
}

fn uint(packet: &Packet, option: u16) -> Option<u32> {
    protocol_coap::message::parse_uint(packet.get_first_option(CoapOption::from(option))?)
}

fn path(packet: &Packet) -> String {
    format!("{} /{}", code_of(packet), texts(packet, CoapOption::UriPath).join("/"))
}

fn location(reply: &Packet) -> String {
    let segments = texts(reply, CoapOption::LocationPath);
    assert_eq!((code_of(reply), segments.len(), segments[0].as_str()), (Code::CREATED, 2, "rd"));
    segments[1].clone()
}

fn answer(code: Code, content_format: Option<u16>, payload: &[u8]) -> Packet {
    let mut packet = protocol_coap::message::with_payload(code, payload);
    if let Some(content_format) = content_format {
        add_uint(&mut packet, number::CONTENT_FORMAT, content_format.into());
    }
    packet
}

fn text(packet: &Packet) -> &str {
    std::str::from_utf8(&packet.payload).unwrap()
}

/// Registrations are what there is most of: what each costs here, beyond its session.
#[test]
fn a_registration_is_small() {
    let endpoint = size_of::<crate::endpoint::Endpoint>();
    let registration = size_of::<crate::registration::Registration>();
    assert!(endpoint + registration <= 240, "{endpoint} and {registration} bytes");
}
