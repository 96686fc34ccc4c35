//! A client that publishes and receives at every QoS, while the store is done with things in any order.

use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroU16;

use gateway_model::{Event, Outcome, Reason, Reply, Settled, Ticket};

use super::random::Disorder;
use super::{Bench, CONNECT_5_TERSE, CONNECT_311};
use crate::Config;
use crate::codec::{Header, Packet, Version};

const WINDOW: usize = 6;

/// What waits for an answer, in the order in which it was asked for.
struct Due {
    id: u16,
    /// What the adapter waits for; `None` once that is known.
    ticket: Option<Ticket>,
}

/// The client, and the store behind the adapter.
struct Scene {
    bench: Bench,
    disorder: Disorder,
    is_5: bool,
    /// Publishes without a PUBACK or PUBREC, by QoS less one.
    publishes: [VecDeque<Due>; 2],
    /// Those whose PUBREC came and that are not released.
    received: BTreeSet<u16>,
    /// PUBRELs without a PUBCOMP.
    releases: Vec<Due>,
    /// PUBRECs without a PUBREL, and whether it may come.
    deliveries: VecDeque<(u16, bool)>,
    next_delivery: u16,
}

impl Scene {
    fn new(seed: u64) -> Self {
        let is_5 = seed.is_multiple_of(2);
        // Before 5.0 a client at the maximum is not read from, which is not what is tested here.
        let maximum = if is_5 { WINDOW } else { 2 * WINDOW };
        let config = Config { receive_maximum: (maximum as u16).try_into().unwrap(), ..Config::default() };
        let connect = if is_5 { CONNECT_5_TERSE } else { CONNECT_311 };
        Self {
            bench: Bench::open_with(config, connect),
            disorder: Disorder::new(seed),
            is_5,
            publishes: Default::default(),
            received: BTreeSet::new(),
            releases: Vec::new(),
            deliveries: VecDeque::new(),
            next_delivery: 0,
        }
    }

    fn step(&mut self) {
        match self.disorder.below(8) {
            0 | 1 => self.publish(),
            2 => self.publish_again(),
            3 => self.release(),
            4 => self.pubrec(),
            5 => self.store_is_done_with_a_publish(),
            6 => self.store_is_done_with_a_release(),
            _ => self.store_is_done_with_a_settlement(),
        }
        self.read();
    }

    fn outcome(&mut self) -> Outcome {
        if self.disorder.below(3) == 0 { Outcome::Done(Reason::Success) } else { Outcome::Later }
    }

    fn send(&mut self, packet: &[u8]) {
        assert_eq!(self.bench.receive(packet), packet.len());
    }

    fn send_publish(&mut self, first: u8, id: u16) {
        let [high, low] = id.to_be_bytes();
        match self.is_5 {
            true => self.send(&[first, 6, 0, 1, b'a', high, low, 0]),
            false => self.send(&[first, 5, 0, 1, b'a', high, low]),
        }
    }

    /// The lowest identifier that no publish has, if there is room in the window.
    fn free_id(&self) -> Option<u16> {
        let waiting = self.publishes.iter().flatten().chain(&self.releases).map(|due| due.id);
        let used: BTreeSet<u16> = waiting.chain(self.received.iter().copied()).collect();
        (1..=WINDOW as u16).find(|id| !used.contains(id)).filter(|_| used.len() < WINDOW)
    }

    fn publish(&mut self) {
        let Some(id) = self.free_id() else { return };
        let qos = 1 + self.disorder.below(2);
        let outcome = match self.disorder.below(8) {
            0 if self.is_5 => Outcome::Done(Reason::QuotaExceeded),
            _ => self.outcome(),
        };
        self.bench.out.publish_outcome = outcome;
        self.send_publish(0x30 | (qos as u8) << 1, id);
        let (ticket, _) = self.bench.out.published.pop().expect("published");
        let ticket = (outcome == Outcome::Later).then_some(ticket);
        self.publishes[qos - 1].push_back(Due { id, ticket });
    }

    /// A QoS 2 publish once more: it is answered when the first one is, or if that is, at its turn.
    fn publish_again(&mut self) {
        let known = self.publishes[1].iter().map(|due| due.id).chain(self.received.iter().copied());
        let known: Vec<u16> = known.collect();
        if known.is_empty() {
            return;
        }
        let id = known[self.disorder.below(known.len())];
        if self.received.remove(&id) {
            self.publishes[1].push_back(Due { id, ticket: None });
        }
        self.send_publish(0x3c, id);
        assert!(self.bench.out.published.is_empty(), "{id} is published twice");
    }

    fn release(&mut self) {
        let outcome = self.outcome();
        let Some(&id) = self.received.iter().next() else { return };
        self.received.remove(&id);
        self.bench.out.release_outcome = outcome;
        let [high, low] = id.to_be_bytes();
        let again = if outcome == Outcome::Later { self.disorder.below(2) } else { 0 };
        for _ in 0..=again {
            self.send(&[0x62, 2, high, low]);
        }
        let (ticket, released) = self.bench.out.released.pop().expect("released");
        assert_eq!((released.get(), self.bench.out.released.len()), (id, 0), "released once");
        self.releases.push(Due { id, ticket: (outcome == Outcome::Later).then_some(ticket) });
    }

    fn pubrec(&mut self) {
        self.next_delivery += 1;
        let (settles, may_leave) = match self.disorder.below(4) {
            0 => (Settled::Done, true),
            1 => (Settled::Unknown, true),
            _ => (Settled::Later, false),
        };
        self.bench.out.settles = settles;
        self.deliveries.push_back((self.next_delivery, may_leave));
        let [high, low] = self.next_delivery.to_be_bytes();
        for _ in 0..=if may_leave { 0 } else { self.disorder.below(2) } {
            self.send(&[0x50, 2, high, low]);
            self.bench.out.settles = Settled::Done;
        }
    }

    fn store_is_done_with_a_publish(&mut self) {
        let waiting = self.publishes.iter_mut().flatten().filter(|due| due.ticket.is_some());
        let mut waiting: Vec<_> = waiting.collect();
        if waiting.is_empty() {
            return;
        }
        let chosen = self.disorder.below(waiting.len());
        let ticket = waiting[chosen].ticket.take().unwrap();
        let reason = match self.disorder.below(8) {
            0 if self.is_5 => Reason::QuotaExceeded,
            _ => Reason::Success,
        };
        self.bench.reply(ticket, Reply::Published(reason));
    }

    fn store_is_done_with_a_release(&mut self) {
        let mut waiting: Vec<_> = self.releases.iter_mut().filter(|due| due.ticket.is_some()).collect();
        if !waiting.is_empty() {
            let chosen = self.disorder.below(waiting.len());
            let ticket = waiting[chosen].ticket.take().unwrap();
            self.bench.reply(ticket, Reply::Released);
        }
    }

    fn store_is_done_with_a_settlement(&mut self) {
        let mut waiting: Vec<_> = self.deliveries.iter_mut().filter(|(_, may_leave)| !may_leave).collect();
        if !waiting.is_empty() {
            let chosen = self.disorder.below(waiting.len());
            waiting[chosen].1 = true;
            let id = NonZeroU16::new(waiting[chosen].0).unwrap();
            self.bench.handle(Event::Settled(id));
        }
    }

    /// Every answer is due, and true, and in its turn.
    fn read(&mut self) {
        assert_eq!(self.bench.closed_because(), None);
        let version = if self.is_5 { Version::V5 } else { Version::V311 };
        let written = self.bench.out.take_bytes();
        let mut rest = &written[..];
        while let Some(header) = Header::parse(rest).unwrap() {
            let body = &rest[header.header_len..header.frame_len()];
            rest = &rest[header.frame_len()..];
            match Packet::decode(version, header.first, body).unwrap() {
                Packet::Puback(packet) => {
                    self.answered(0, packet.packet_id.get());
                }
                Packet::Pubrec(packet) => {
                    self.answered(1, packet.packet_id.get());
                    if !packet.reason.is_error() {
                        self.received.insert(packet.packet_id.get());
                    }
                }
                Packet::Pubcomp(packet) => {
                    let id = packet.packet_id.get();
                    let place = self.releases.iter().position(|due| due.id == id).expect("asked for");
                    assert!(self.releases.remove(place).ticket.is_none(), "PUBCOMP {id} came early");
                    assert_eq!(packet.reason, Reason::Success);
                }
                Packet::Pubrel(packet) => {
                    let delivery = self.deliveries.pop_front();
                    assert_eq!(delivery, Some((packet.packet_id.get(), true)), "PUBREL in its turn");
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn answered(&mut self, kind: usize, id: u16) {
        let due = self.publishes[kind].pop_front().expect("a publish");
        assert_eq!((due.id, due.ticket), (id, None), "answered in its turn, and not early");
    }

    fn finish(&mut self) {
        let is_waiting = |scene: &Self| {
            let dues = scene.publishes.iter().flatten().chain(&scene.releases);
            dues.count() + scene.deliveries.len() > 0
        };
        for _ in 0..10_000 {
            if !is_waiting(self) && self.received.is_empty() {
                return;
            }
            self.store_is_done_with_a_publish();
            self.store_is_done_with_a_release();
            self.store_is_done_with_a_settlement();
            self.release();
            self.read();
        }
        panic!("something is never answered");
    }
}

#[test]
fn whatever_order_the_store_is_done_in_answers_are_true_and_in_order() {
    for seed in 1..400 {
        let run = std::panic::catch_unwind(|| {
            let mut scene = Scene::new(seed);
            for _ in 0..300 {
                scene.step();
            }
            scene.finish();
        });
        if let Err(panic) = run {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic);
        }
    }
}
