use gateway_model::{DeliveryId, Event, Outcome, Reason, Reply, Request, Settled, Ticket};

use super::{Bench, CONNECT_5, CONNECT_311};
use crate::Config;
use crate::codec::{Header, Packet, Version};

/// Marsaglia's xorshift64: enough disorder, and the same every time.
pub(super) struct Disorder(u64);

impl Disorder {
    /// Never 0, from which nothing else would come.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).max(1))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

/// Packets that make sense at some point of a connection, to be damaged.
const SEEDS: &[&[u8]] = &[
    b"\x30\x05\x00\x01ahi",
    b"\x32\x07\x00\x01a\x00\x01\x00x",
    b"\x34\x0b\x00\x01a\x00\x02\x03\x23\x00\x03hi",
    b"\x31\x2c\x00\x01t\x27\x01\x01\x02\x00\x00\x00\x09\x03\x00\x04json\x08\x00\x03r/1\x09\x00\x02\xff\x00\
      \x26\x00\x01k\x00\x01v\x26\x00\x01k\x00\x01w!",
    b"\x40\x02\x00\x01",
    b"\x50\x0b\x00\x01\x97\x07\x1f\x00\x04full",
    b"\x62\x03\x00\x01\x92",
    b"\x70\x02\x00\x01",
    b"\x82\x0a\x00\x02\x03\x0b\xff\x01\x00\x01a\x2d",
    b"\x82\x0a\x00\x01\x00\x01#\x01\x00\x01+\x02",
    b"\xa2\x0d\x00\x01\x07\x26\x00\x01a\x00\x01b\x00\x01#",
    b"\xc0\x00",
    b"\xe0\x07\x00\x05\x11\x00\x00\x00\x00",
    b"\xf0\x0c\x18\x0a\x15\x00\x01m\x16\x00\x03abc",
    CONNECT_5,
    CONNECT_311,
    b"\x10\x32\x00\x04MQTT\x05\x2c\x00\x3c\x14\x11\x00\x00\x00\x0a\x21\x00\x14\x22\x00\x05\x17\x00\x19\x01\x27\x00\
      \x00\x10\x00\x00\x01c\x07\x18\x00\x00\x00\x05\x01\x01\x00\x01w\x00\x03bye",
];

fn damaged(disorder: &mut Disorder) -> Vec<u8> {
    let mut bytes = SEEDS[disorder.below(SEEDS.len())].to_vec();
    for _ in 0..disorder.below(4) {
        let at = disorder.below(bytes.len());
        match disorder.below(4) {
            0 => bytes[at] = disorder.next() as u8,
            1 => bytes[at] ^= 1 << disorder.below(8),
            2 => bytes.insert(at, disorder.next() as u8),
            _ => drop(bytes.remove(at)),
        }
        if bytes.is_empty() {
            return vec![0];
        }
    }
    // Half of them get a length that fits again, so that the damage reaches the body.
    if disorder.below(2) == 0 && bytes.len() >= 2 && bytes.len() < 120 {
        bytes[1] = (bytes.len() - 2) as u8;
    }
    bytes
}

fn answer_requests(bench: &mut Bench, disorder: &mut Disorder) {
    while let Some((ticket, request)) = bench.out.requests.pop_front() {
        match request {
            Request::Open(_) => bench.opened(),
            Request::Subscribe(asked) => {
                bench.reply(ticket, Reply::Subscribed(vec![Reason::Success; asked.len()]));
            }
            Request::Unsubscribe(asked) => {
                bench.reply(ticket, Reply::Unsubscribed(vec![Reason::Success; asked.len()]));
            }
            Request::Authenticate(_) | Request::Reauthenticate(_) => {
                bench.reply(ticket, Reply::Reauthenticated(Ok(None)));
            }
            Request::Retained { .. } | Request::Keep(_) => unreachable!("MQTT never asks"),
        }
    }
    let tickets: Vec<Ticket> = bench.out.published.drain(..).map(|(ticket, _)| ticket).collect();
    for ticket in tickets {
        if disorder.below(2) == 0 {
            bench.reply(ticket, Reply::Published(Reason::Success));
        }
    }
    let released: Vec<Ticket> = bench.out.released.drain(..).map(|(ticket, _)| ticket).collect();
    for ticket in released {
        if disorder.below(2) == 0 {
            bench.reply(ticket, Reply::Released);
        }
    }
    let settled: Vec<DeliveryId> = bench.out.settled.drain(..).map(|(id, _)| id).collect();
    for id in settled {
        if disorder.below(2) == 0 {
            bench.handle(Event::Settled(id));
        }
    }
}

/// Everything that is written must be packets that our own decoder takes.
fn check_written(bench: &mut Bench, version: Version) {
    let written = bench.out.take_bytes();
    let mut rest = &written[..];
    while !rest.is_empty() {
        let header = Header::parse(rest).unwrap().expect("a whole header");
        let body = &rest[header.header_len..header.frame_len()];
        Packet::decode(version, header.first, body)
            .unwrap_or_else(|error| panic!("{error}: {:02x?}", &rest[..header.frame_len()]));
        rest = &rest[header.frame_len()..];
    }
}

#[test]
fn damaged_packets_never_panic_nor_make_us_write_nonsense() {
    let mut disorder = Disorder(0x9E37_79B9_7F4A_7C15);
    for round in 0..20_000 {
        let (connect, version) = match round % 2 {
            0 => (CONNECT_5, Version::V5),
            _ => (CONNECT_311, Version::V311),
        };
        let mut bench = Bench::open_with(Config { packet_bytes_max: 4096, ..Config::default() }, connect);
        let mut pending = Vec::new();
        for _ in 0..6 {
            bench.out.publish_outcome = match disorder.below(3) {
                0 => Outcome::Later,
                1 => Outcome::Done(Reason::NoMatchingSubscribers),
                _ => Outcome::Done(Reason::Success),
            };
            bench.out.release_outcome = match disorder.below(2) {
                0 => Outcome::Later,
                _ => Outcome::Done(Reason::Success),
            };
            bench.out.settles =
                [Settled::Done, Settled::Later, Settled::Unknown, Settled::Misfit][disorder.below(4)];
            pending.extend(damaged(&mut disorder));
            let consumed = bench.receive(&pending);
            pending.drain(..consumed);
            answer_requests(&mut bench, &mut disorder);
            check_written(&mut bench, version);
            if bench.out.closed.is_some() {
                break;
            }
        }
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut disorder = Disorder(42);
    for _ in 0..20_000 {
        let mut bench = Bench::new(Config::default());
        let mut bytes: Vec<u8> = (0..disorder.below(64)).map(|_| disorder.next() as u8).collect();
        if disorder.below(2) == 0 {
            bytes.splice(0..0, b"\x10\x20\x00\x04MQTT\x05".iter().copied());
        }
        bench.receive(&bytes);
        for version in [Version::V31, Version::V311, Version::V5] {
            for first in [0x10, 0x20, 0x32, 0x40, 0x82, 0x90, 0xA2, 0xB0, 0xE0, 0xF0] {
                let _ = Packet::decode(version, first, &bytes);
            }
        }
    }
}
