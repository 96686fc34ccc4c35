//! LwM2M devices, and the few messages that they say.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use gateway_broker::Port;
use protocol_lwm2m::Lwm2m;

use crate::address;
use crate::coap::{ACKNOWLEDGEMENT, CONFIRMABLE, CONTENT, CONTENT_FORMAT, GET, Message, POST};
use crate::coap::{URI_PATH, URI_QUERY};
use crate::gateway::Gateway;
use crate::population::Population;

const PORT: u16 = 56_830;
const CREATED: u8 = 0x41;
const LINK_FORMAT: &[u8] = &[40];
const LIFETIME_SECS: u64 = 300;
const OBJECTS: &[u8] = b"</>;rt=\"oma.lwm2m\";ct=110,</1/0>,</3/0>,</3303/0>;ver=1.1";

pub struct Registrations {
    port: Port,
    /// What is to be sent; kept for its allocation.
    answers: Vec<(SocketAddr, Vec<u8>)>,
}

impl Registrations {
    pub fn new(gateway: &mut Gateway) -> Self {
        let protocol = Arc::new(Lwm2m::new(Default::default()));
        Self { port: gateway.bench.open_port("lwm2m", protocol), answers: Vec::new() }
    }
}

impl Population for Registrations {
    fn name(&self) -> &'static str {
        "LwM2M registration"
    }

    fn attach(&mut self, gateway: &mut Gateway, index: u32) {
        let mut request = Message::new(CONFIRMABLE, POST, [0, 1], &[1]);
        request.option(URI_PATH, b"rd");
        request.option(CONTENT_FORMAT, LINK_FORMAT);
        let endpoint = format!("ep=device-{index:07}");
        for query in [&endpoint, &format!("lt={LIFETIME_SECS}"), "lwm2m=1.1", "b=U"] {
            request.option(URI_QUERY, query.as_bytes());
        }
        request.payload(OBJECTS);
        gateway.bench.send_datagram(self.port, address::of(index, PORT), &request.bytes);
        let mut answers = 0;
        gateway.bench.received_datagrams(self.port, |to, bytes| {
            assert_eq!(address::index(to), index);
            assert_eq!(bytes[..4], [ACKNOWLEDGEMENT | 1, CREATED, 0, 1], "{bytes:02x?}");
            answers += 1;
        });
        assert_eq!(answers, 1, "a registration is acknowledged");
    }

    /// A command: what the device answers is published as a value and as a response.
    fn topic(&self, index: u32) -> String {
        format!("lwm2m/device-{index:07}/cmd/read/3/0/9")
    }

    fn shared_topic(&self) -> Option<&'static str> {
        None
    }

    fn join(&mut self, _: &mut Gateway, _: u32) {}

    fn answer(&mut self, gateway: &mut Gateway, _: Range<u32>) -> u64 {
        let answers = &mut self.answers;
        gateway.bench.received_datagrams(self.port, |to, bytes| {
            let [first, GET, high, low, ref rest @ ..] = *bytes else { panic!("a read: {bytes:02x?}") };
            let token = &rest[..usize::from(first & 0x0F)];
            let mut answer = Message::new(ACKNOWLEDGEMENT, CONTENT, [high, low], token);
            answer.option(CONTENT_FORMAT, b"");
            answer.payload(b"93");
            answers.push((to, answer.bytes));
        });
        let count = answers.len() as u64;
        gateway.bench.send_datagrams(self.port, answers.drain(..));
        count
    }

    fn ignore(&mut self, gateway: &mut Gateway) {
        gateway.bench.received_datagrams(self.port, |_, _| {});
    }

    fn is_found_out_by_silence(&self) -> bool {
        false
    }

    /// Its lifetime, and once more that of its queue.
    fn longest_life(&self) -> Duration {
        Duration::from_secs(2 * LIFETIME_SECS)
    }
}
