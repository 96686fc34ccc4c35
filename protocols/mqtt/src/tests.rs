//! The connection, tested by bytes and virtual time.

mod aliases;
mod authentication;
mod capabilities;
mod counting;
mod delivering;
mod handshake;
mod later;
mod lifetime;
mod promises;
mod publishing;
mod random;
mod reasons;
mod subscribing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_model::testing::{Outbox, Recorder};
use gateway_model::{
    Adapter, ClientId, Event, Expiry, Open, Opened, Outgoing, Publish, Reason, Reply, Request, Ticket,
};

use crate::Config;
use crate::codec::{Connect, Property, PropertyBuffer, Version};
use crate::connection::Connection;
use crate::extras::Extras;

const CONNECT_311: &[u8] = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x0a\x00\x01c";
const CONNECT_5: &[u8] = b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x0a\x00\x00\x01c";
/// The same, but wants no reason strings.
const CONNECT_5_TERSE: &[u8] = b"\x10\x10\x00\x04MQTT\x05\x02\x00\x0a\x02\x17\x00\x00\x01c";

/// A CONNECT of the client `c` with these properties.
fn connect_5(properties: &[Property<'_>]) -> Vec<u8> {
    let mut buffer = PropertyBuffer::default();
    for property in properties {
        buffer.push(*property);
    }
    let mut bytes = Vec::new();
    Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive_secs: 10,
        properties: buffer.as_properties(),
        client_id: "c",
        will: None,
        username: None,
        password: None,
    }
    .encode(&mut bytes);
    bytes
}

/// A connection with a recorder in the driver's place and a clock that moves when told to.
struct Bench {
    connection: Connection,
    out: Recorder,
    now: Instant,
}

impl Bench {
    fn new(config: Config) -> Self {
        let now = Instant::now();
        Self {
            connection: Connection::new(now, Arc::new(crate::packets::Shared::new(config))),
            out: Recorder::default(),
            now,
        }
    }

    /// With an open session, the CONNACK taken.
    fn open(connect: &[u8]) -> Self {
        Self::open_with(Config::default(), connect)
    }

    fn open_with(config: Config, connect: &[u8]) -> Self {
        let mut bench = Self::new(config);
        bench.connect(connect);
        bench.opened();
        bench.out.take_bytes();
        bench
    }

    fn open_311() -> Self {
        Self::open(CONNECT_311)
    }

    /// Without reason strings.
    fn open_5() -> Self {
        Self::open(CONNECT_5_TERSE)
    }

    fn receive(&mut self, bytes: &[u8]) -> usize {
        let consumed = self.connection.receive(self.now, bytes, &mut self.out);
        assert!(consumed <= bytes.len());
        consumed
    }

    /// Sends whole packets and takes what comes back at once.
    fn exchange(&mut self, bytes: &[u8]) -> Vec<u8> {
        assert_eq!(self.receive(bytes), bytes.len());
        self.out.take_bytes()
    }

    fn connect(&mut self, connect: &[u8]) -> Box<Open> {
        self.receive(connect);
        match self.out.requests.pop_front() {
            Some((_, Request::Open(open))) => open,
            other => panic!("{other:?}, closed: {:?}, wire: {:?}", self.out.closed, self.out.wire),
        }
    }

    fn opened(&mut self) {
        self.opened_as("c", false, Expiry::Immediately);
    }

    fn opened_as(&mut self, client_id: &str, session_present: bool, expiry: Expiry) {
        let client_id = ClientId::parse(client_id).unwrap();
        self.reply(
            Ticket(0),
            Reply::Opened(Ok(Opened {
                client_id,
                session_present,
                expiry,
                held: Vec::new(),
                authentication_data: None,
            })),
        );
    }

    fn reply(&mut self, ticket: Ticket, reply: Reply) {
        self.handle(Event::Reply(ticket, reply));
    }

    fn handle(&mut self, event: Event) {
        self.connection.handle(self.now, event, &mut self.out);
    }

    fn deliver(&mut self, outgoing: impl IntoIterator<Item = Outgoing>) -> Vec<u8> {
        let mut outbox = Outbox(outgoing.into_iter().collect::<VecDeque<_>>(), 0);
        self.connection.deliver(self.now, &mut outbox, &mut self.out);
        self.out.take_bytes()
    }

    /// Moves the clock, and tells the connection if it is time.
    fn wait(&mut self, duration: Duration) {
        self.now += duration;
        if self.connection.next_timeout().is_some_and(|at| at <= self.now) {
            self.handle(Event::Timeout);
        }
    }

    fn published(&self) -> Vec<&Publish> {
        self.out.published.iter().map(|(_, publish)| publish).collect()
    }

    fn closed_because(&self) -> Option<Reason> {
        self.out.closed.map(|close| close.reason)
    }
}

#[test]
fn an_idle_connection_is_small() {
    let size = size_of::<Connection>();
    assert!(size <= 64, "{size} bytes");
    let size = size_of::<Extras>();
    assert!(size <= 144, "{size} bytes more for what some need");
}
