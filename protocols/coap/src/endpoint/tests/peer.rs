//! A CoAP peer at one end and a tiny gateway at the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use coap_lite::{CoapOption, MessageType, Packet};
use gateway_model::testing::{Outbox, Recorder};
use gateway_model::{
    Adapter, ClientId, DeliveryId, Event, Expiry, Identifiers, Message, Opened, Outgoing, Properties,
    Publish, Qos, Reason, Refusal, Reply, Request, Subscription, Ticket, Topic, TopicFilter,
};

use crate::endpoint::Endpoint;
use crate::message::{Code, code_of, parse_uint, request};
use crate::{Config, content_format};

pub(super) use crate::message::number;

pub(super) struct Peer {
    pub(super) endpoint: Endpoint,
    pub(super) out: Recorder,
    pub(super) now: Instant,
    pub(super) retained: BTreeMap<String, Arc<Message>>,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) unsubscribed: Vec<TopicFilter>,
    pub(super) opens: usize,
    /// What `Open` is refused with.
    pub(super) refusal: Option<Refusal>,
    /// What `Subscribe` is answered with.
    pub(super) granted: Reason,
    pub(super) outbox: Outbox,
    /// How many of `out.published` the gateway has stored.
    stored: usize,
    next_delivery: u16,
    next_id: u16,
}

impl Peer {
    pub(super) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(super) fn with(config: Config) -> Self {
        let now = Instant::now();
        let transmission = Arc::new(config.transmission());
        Self {
            endpoint: Endpoint::new(Arc::new(config), transmission, now, 1),
            out: Recorder::default(),
            now,
            retained: BTreeMap::new(),
            subscriptions: Vec::new(),
            unsubscribed: Vec::new(),
            opens: 0,
            refusal: None,
            granted: Reason::GrantedQos1,
            outbox: Outbox::default(),
            stored: 0,
            next_delivery: 0,
            next_id: 100,
        }
    }

    /// One datagram in; everything that comes of it out, decoded by coap-lite.
    pub(super) fn datagram(&mut self, bytes: &[u8]) -> Vec<Packet> {
        assert_eq!(self.endpoint.receive(self.now, bytes, &mut self.out), bytes.len());
        self.serve();
        self.sent()
    }

    /// A Confirmable request; the reply must be in its acknowledgement.
    pub(super) fn con(&mut self, packet: Packet) -> Packet {
        let bytes = self.encode(MessageType::Confirmable, packet);
        let mut replies = self.datagram(&bytes);
        assert_eq!(replies.len(), 1, "{replies:?}");
        let reply = replies.remove(0);
        assert_eq!(reply.header.get_type(), MessageType::Acknowledgement);
        assert_eq!(reply.header.message_id.to_be_bytes(), bytes[2..4]);
        assert_eq!(reply.get_token(), &bytes[4..4 + usize::from(bytes[0] & 15)]);
        reply
    }

    /// A Non-confirmable request and its Non-confirmable reply.
    pub(super) fn non(&mut self, packet: Packet) -> Packet {
        let bytes = self.encode(MessageType::NonConfirmable, packet);
        let mut replies = self.datagram(&bytes);
        assert_eq!(replies.len(), 1, "{replies:?}");
        let reply = replies.remove(0);
        assert_eq!(reply.header.get_type(), MessageType::NonConfirmable);
        assert_eq!(reply.get_token(), &bytes[4..4 + usize::from(bytes[0] & 15)]);
        reply
    }

    /// With the next message ID, and a token of one byte if it has none.
    pub(super) fn encode(&mut self, kind: MessageType, mut packet: Packet) -> Vec<u8> {
        self.next_id += 1;
        packet.header.message_id = self.next_id;
        packet.header.set_type(kind);
        if packet.get_token().is_empty() {
            packet.set_token(vec![0x7A]);
        }
        packet.to_bytes_unlimited().unwrap()
    }

    pub(super) fn ack(&mut self, to: &Packet) -> Vec<Packet> {
        let [high, low] = to.header.message_id.to_be_bytes();
        self.datagram(&[0x60, 0, high, low])
    }

    pub(super) fn reset(&mut self, to: &Packet) -> Vec<Packet> {
        let [high, low] = to.header.message_id.to_be_bytes();
        self.datagram(&[0x70, 0, high, low])
    }

    pub(super) fn sent(&mut self) -> Vec<Packet> {
        self.out.take_datagrams().iter().map(|bytes| Packet::from_bytes(bytes).unwrap()).collect()
    }

    /// Time passes, with every timeout at its moment.
    pub(super) fn advance(&mut self, duration: Duration) -> Vec<Packet> {
        let end = self.now + duration;
        while let Some(at) = self.endpoint.next_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.endpoint.handle(self.now, Event::Timeout, &mut self.out);
            self.serve();
            if self.out.closed.is_some() {
                break;
            }
        }
        self.now = end;
        self.sent()
    }

    pub(super) fn advance_secs(&mut self, secs: u64) -> Vec<Packet> {
        self.advance(Duration::from_secs(secs))
    }

    /// A message reaches the session through its subscriptions.
    pub(super) fn deliver(&mut self, message: Message) -> Vec<Packet> {
        self.queue(message);
        self.drain()
    }

    pub(super) fn queue(&mut self, message: Message) {
        let matching = || self.subscriptions.iter().filter(|s| s.filter.matches(&message.topic));
        let Some(granted) = matching().map(|s| s.qos).max() else { return };
        let identifiers: Vec<u32> = matching().filter_map(|s| s.identifier).map(u32::from).collect();
        let qos = granted.min(message.qos);
        self.next_delivery += 1;
        self.outbox.0.push_back(Outgoing {
            id: (qos > Qos::AtMostOnce).then(|| DeliveryId::new(self.next_delivery).unwrap()),
            message: Arc::new(message),
            qos,
            retain: false,
            duplicate: false,
            released: false,
            mount_len: 0,
            identifiers: Identifiers::from(identifiers.to_vec()),
        });
    }

    pub(super) fn drain(&mut self) -> Vec<Packet> {
        self.endpoint.deliver(self.now, &mut self.outbox, &mut self.out);
        self.serve();
        self.sent()
    }

    /// The publishes that the adapter has not heard of yet.
    pub(super) fn waiting_for_store(&self) -> impl Iterator<Item = Ticket> {
        let published = self.out.published.iter().map(|(ticket, _)| *ticket);
        published.filter(|ticket| self.endpoint.pending.is_waiting_for(*ticket))
    }

    /// Answers every request of the adapter, as the gateway would.
    pub(super) fn serve(&mut self) {
        self.store_published();
        while let Some((ticket, request)) = self.out.requests.pop_front() {
            let reply = self.reply(request);
            self.endpoint.handle(self.now, Event::Reply(ticket, reply), &mut self.out);
            self.store_published();
        }
    }

    fn store_published(&mut self) {
        self.stored = self.stored.min(self.out.published.len());
        for index in self.stored..self.out.published.len() {
            let publish = self.out.published[index].1.clone();
            self.retain(&publish);
        }
        self.stored = self.out.published.len();
    }

    fn retain(&mut self, publish: &Publish) {
        if !publish.retain {
            return;
        }
        if publish.payload.is_empty() {
            self.retained.remove(publish.topic.as_str());
            return;
        }
        let mut message = message(&publish.topic, &publish.payload, publish.qos);
        message.properties.clone_from(&publish.properties);
        message.retain = true;
        message.expires_at = publish.expiry.map(|expiry| self.now + expiry);
        self.retained.insert(publish.topic.to_string(), Arc::new(message));
    }

    fn reply(&mut self, request: Request) -> Reply {
        match request {
            Request::Open(open) => {
                self.opens += 1;
                Reply::Opened(match self.refusal.clone() {
                    Some(refusal) => Err(refusal),
                    None => Ok(Opened {
                        client_id: open.client_id.unwrap_or(ClientId::parse("auto").unwrap()),
                        session_present: false,
                        expiry: Expiry::Immediately,
                        held: Vec::new(),
                        authentication_data: None,
                    }),
                })
            }
            Request::Subscribe(subscriptions) => {
                let granted = vec![self.granted; subscriptions.len()];
                for subscription in subscriptions {
                    self.subscriptions.retain(|s| s.filter != subscription.filter);
                    self.subscriptions.push(subscription);
                }
                Reply::Subscribed(granted)
            }
            Request::Unsubscribe(filters) => {
                self.subscriptions.retain(|s| !filters.contains(&s.filter));
                let reasons = vec![Reason::Success; filters.len()];
                self.unsubscribed.extend(filters);
                Reply::Unsubscribed(reasons)
            }
            Request::Authenticate(_) | Request::Reauthenticate(_) | Request::Keep(_) => {
                unreachable!("CoAP has no such methods")
            }
            Request::Retained { filter, limit } => {
                let matching = self.retained.values().filter(|message| filter.matches(&message.topic));
                Reply::Retained(Ok(matching.take(limit).cloned().collect()))
            }
        }
    }

    /// Stores a retained message of another client.
    pub(super) fn store(&mut self, topic: &str, payload: &[u8], format: u16) {
        let mut stored = message(topic, payload, Qos::AtLeastOnce);
        stored.properties = Some(Arc::new(Properties {
            content_type: Some(content_format::to_media_type(format)),
            ..Properties::default()
        }));
        self.retained.insert(topic.to_owned(), Arc::new(stored));
    }

    /// Observes a topic under a token; returns the first answer.
    pub(super) fn observe(&mut self, path: &str, token: u8) -> Packet {
        self.con(observing(path, token, 0))
    }
}

pub(super) fn message(topic: &str, payload: &[u8], qos: Qos) -> Message {
    Message {
        topic: Topic::parse(topic).unwrap(),
        payload: Bytes::copy_from_slice(payload),
        properties: None,
        publisher: ClientId::parse("other").unwrap(),
        accepted_unix_millis: 0.into(),
        expires_at: None,
        qos,
        retain: false,
        stored: Default::default(),
    }
}

/// A request, its path split at the slashes, with the query behind a `?`.
pub(super) fn ask(method: Code, path: &str) -> Packet {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let mut packet = request(method, path.split('/'));
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        packet.add_option(CoapOption::UriQuery, parameter.as_bytes().to_vec());
    }
    packet
}

pub(super) fn ask_with(method: Code, path: &str, payload: &[u8]) -> Packet {
    let mut packet = ask(method, path);
    packet.payload = payload.to_vec();
    packet
}

pub(super) fn observing(path: &str, token: u8, value: u32) -> Packet {
    let mut packet = ask(Code::GET, path);
    packet.set_token(vec![token]);
    crate::message::add_uint(&mut packet, number::OBSERVE, value);
    packet
}

/// Adds an option.
pub(super) fn with(mut packet: Packet, number: u16, value: &[u8]) -> Packet {
    packet.add_option(number.into(), value.to_vec());
    packet
}

pub(super) fn code(packet: &Packet) -> Code {
    code_of(packet)
}

pub(super) fn option(packet: &Packet, number: u16) -> Option<Vec<u8>> {
    packet.get_first_option(number.into()).cloned()
}

pub(super) fn uint_option(packet: &Packet, number: u16) -> Option<u32> {
    option(packet, number).map(|value| parse_uint(&value).unwrap())
}
