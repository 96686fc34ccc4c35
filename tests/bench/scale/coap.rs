//! CoAP observers of one topic each, and the few messages that they say.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use gateway_broker::Port;
use protocol_coap::Coap;

use crate::address;
use crate::gateway::Gateway;
use crate::population::Population;

pub const CONFIRMABLE: u8 = 0x40;
pub const ACKNOWLEDGEMENT: u8 = 0x60;
pub const GET: u8 = 0x01;
pub const POST: u8 = 0x02;
pub const CONTENT: u8 = 0x45;

pub const OBSERVE: u16 = 6;
pub const URI_PATH: u16 = 11;
pub const CONTENT_FORMAT: u16 = 12;
pub const URI_QUERY: u16 = 15;

const PORT: u16 = 5683;
const SHARED: &str = "devices/all/state";

pub struct Observers {
    port: Port,
    /// What is to be sent; kept for its allocation.
    answers: Vec<(SocketAddr, [u8; 4])>,
}

impl Observers {
    pub fn new(gateway: &mut Gateway) -> Self {
        let protocol = Arc::new(Coap::new(Default::default()));
        Self { port: gateway.bench.open_port("coap", protocol), answers: Vec::new() }
    }

    /// Observes a topic, under a token that is the same for the same kind of topic.
    fn observe(&mut self, gateway: &mut Gateway, index: u32, topic: &str, token: u8) {
        let mut request = Message::new(CONFIRMABLE, GET, [0, token], &[token]);
        request.option(OBSERVE, b"");
        request.option(URI_PATH, b"ps");
        topic.split('/').for_each(|level| request.option(URI_PATH, level.as_bytes()));
        gateway.bench.send_datagram(self.port, address::of(index, PORT), &request.bytes);
        let mut answers = 0;
        gateway.bench.received_datagrams(self.port, |to, bytes| {
            assert_eq!(address::index(to), index);
            assert_eq!(bytes[..4], [ACKNOWLEDGEMENT | 1, CONTENT, 0, token], "{bytes:02x?}");
            answers += 1;
        });
        assert_eq!(answers, 1, "an observation is acknowledged");
    }
}

impl Population for Observers {
    fn name(&self) -> &'static str {
        "CoAP observer"
    }

    fn attach(&mut self, gateway: &mut Gateway, index: u32) {
        self.observe(gateway, index, &self.topic(index), 1);
    }

    fn topic(&self, index: u32) -> String {
        format!("devices/{index:07}/state")
    }

    fn shared_topic(&self) -> Option<&'static str> {
        Some(SHARED)
    }

    fn join(&mut self, gateway: &mut Gateway, index: u32) {
        self.observe(gateway, index, SHARED, 2);
    }

    fn answer(&mut self, gateway: &mut Gateway, _: Range<u32>) -> u64 {
        let answers = &mut self.answers;
        gateway.bench.received_datagrams(self.port, |to, bytes| {
            let [first, CONTENT, high, low, ..] = *bytes else { panic!("a notification: {bytes:02x?}") };
            assert_eq!(first & 0x30, 0, "it is Confirmable");
            answers.push((to, [ACKNOWLEDGEMENT, 0, high, low]));
        });
        let count = answers.len() as u64;
        gateway.bench.send_datagrams(self.port, answers.drain(..));
        count
    }

    fn ignore(&mut self, gateway: &mut Gateway) {
        gateway.bench.received_datagrams(self.port, |_, _| {});
    }

    fn is_found_out_by_silence(&self) -> bool {
        true
    }

    /// MAX_TRANSMIT_WAIT (RFC 7252 section 4.8.2) for either topic, one after the other, and `coap.idle_secs`.
    fn longest_life(&self) -> Duration {
        Duration::from_secs(2 * 93 + 300)
    }
}

/// A message as it is being written.
pub struct Message {
    pub bytes: Vec<u8>,
    option: u16,
}

impl Message {
    pub fn new(kind: u8, code: u8, [high, low]: [u8; 2], token: &[u8]) -> Self {
        let mut bytes = vec![kind | token.len() as u8, code, high, low];
        bytes.extend(token);
        Self { bytes, option: 0 }
    }

    /// In the order of numbers.
    pub fn option(&mut self, number: u16, value: &[u8]) {
        let delta = number - std::mem::replace(&mut self.option, number);
        assert!(delta < 13, "options lie close to each other");
        let delta = (delta as u8) << 4;
        match value.len() {
            length @ 0..13 => self.bytes.push(delta | length as u8),
            length => self.bytes.extend([delta | 13, (length - 13) as u8]),
        }
        self.bytes.extend(value);
    }

    pub fn payload(&mut self, payload: &[u8]) {
        self.bytes.push(0xFF);
        self.bytes.extend(payload);
    }
}
