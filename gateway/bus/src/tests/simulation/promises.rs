//! Random programs with a store whose power fails at any moment, also in the middle of a write,
//! against what must hold whatever is lost: what was promised arrives, at QoS 2 once, in order.
//!
//! Receivers are as MQTT wants them: they remember what they have at QoS 2 until it is released.

use std::collections::{BTreeMap, BTreeSet};

use gateway_model::{DeliveryId, Expiry, Open, Outgoing, Qos, Settlement};
use gateway_store::{Options, Place, Store};

use super::program::Dice;
use crate::tests::scene::{self, Client, Scene, lasting, text, transient};
use crate::{Counter, DropReason, Limits};

const STEPS: usize = 300;
const TOPICS: [&str; 3] = ["t/0", "t/1", "t/2"];
/// The first two subscribe for themselves, the others are a group.
const RECEIVERS: usize = 5;
const ALONE: usize = 2;

struct Promises {
    dice: Dice,
    scene: Scene,
    receivers: Vec<Receiver>,
    sent: BTreeMap<usize, Sent>,
    published: usize,
    /// The sessions are there, and durable.
    is_known: bool,
}

struct Sent {
    topic: &'static str,
    qos: Qos,
    place: Place,
    /// It was not durable when the power failed.
    may_be_lost: bool,
}

#[derive(Default)]
struct Receiver {
    client: Option<Client>,
    /// When the connection may be told that it has the session, and be sent something.
    opened_at: Place,
    /// At QoS 2, by identifier: what it has and was not told to release.
    held: BTreeMap<DeliveryId, usize>,
    owed: Vec<Owed>,
    /// Everything that it took for new, in order.
    taken: Vec<usize>,
}

struct Owed {
    id: DeliveryId,
    qos: Qos,
    /// It has said that it has it; the release follows when that is durable.
    released_at: Option<Place>,
}

pub(super) fn run(seed: u64) {
    let mut promises = Promises::new(seed);
    for _ in 0..STEPS {
        promises.step();
        promises.scene.assert_balanced();
    }
    promises.finish();
}

impl Promises {
    fn new(seed: u64) -> Self {
        let options = Options { segment_bytes: 16 * 1024, ..Options::default() };
        let limits = Limits { sharing_ack: None, ..Limits::default() };
        let scene = Scene::stored(limits, seed, options);
        let receivers = (0..RECEIVERS).map(|_| Receiver::default()).collect();
        let sent = BTreeMap::new();
        let mut promises = Self { dice: Dice(seed), scene, receivers, sent, published: 0, is_known: false };
        for receiver in 0..RECEIVERS {
            promises.connect(receiver);
            let filter = if receiver < ALONE { "t/#" } else { "$share/g/t/#" };
            let client = promises.receivers[receiver].client.as_ref().unwrap();
            promises.scene.subscribe(client, filter, Qos::ExactlyOnce);
        }
        promises.scene.commit();
        promises.is_known = true;
        promises
    }

    fn step(&mut self) {
        let receiver = self.dice.below(RECEIVERS);
        match self.dice.below(100) {
            0..2 => self.crash(),
            2..5 => drop(self.scene.bus.clean()),
            5..20 => self.scene.commit(),
            20..25 => self.scene.pass(1).into_iter().for_each(drop),
            25..32 => self.toggle(receiver),
            32..60 => self.publish(),
            60..75 => self.take(receiver),
            _ => self.answer(receiver),
        }
    }

    fn connect(&mut self, receiver: usize) {
        let window = [1, 3, 100][self.dice.below(3)];
        let open = Open { receive_maximum: window, ..lasting(Expiry::Never) };
        let client = self.scene.open(&format!("r{receiver}"), open);
        assert_eq!(client.opened.session_present, self.is_known, "session present");
        self.receivers[receiver].opened_at = self.scene.end();
        self.receivers[receiver].client = Some(client);
    }

    /// The connection is lost, with what it was about to say; or there is a new one.
    fn toggle(&mut self, receiver: usize) {
        match self.receivers[receiver].client.take() {
            Some(client) => {
                self.scene.lose(&client);
                self.receivers[receiver].owed.clear();
            }
            None => self.connect(receiver),
        }
    }

    fn publish(&mut self) {
        let publisher = self.scene.open("p", transient());
        for _ in 0..=self.dice.below(4) {
            let number = self.published;
            self.published += 1;
            let topic = TOPICS[self.dice.below(TOPICS.len())];
            let qos = [Qos::AtLeastOnce, Qos::ExactlyOnce][self.dice.below(2)];
            let publish =
                scene::publish(topic, &format!("{number} {}", "x".repeat(self.dice.below(300))), qos);
            let (bus, moment) = (&self.scene.bus, self.scene.moment);
            let promise = bus.publish(moment, &publisher.attachment, publish, None, &mut self.scene.cache);
            assert!(!promise.value.is_error());
            let sent = Sent { topic, qos, place: promise.place, may_be_lost: false };
            self.sent.insert(number, sent);
        }
    }

    fn take(&mut self, receiver: usize) {
        let count = [1, 3, 100][self.dice.below(3)];
        let Receiver { client: Some(client), opened_at, .. } = &self.receivers[receiver] else { return };
        if !self.scene.is_kept(*opened_at) {
            return;
        }
        for outgoing in self.scene.take_at_most(client, count) {
            self.receivers[receiver].note(&outgoing, &self.sent);
        }
    }

    fn answer(&mut self, receiver: usize) {
        let durable = self.scene.disk().durable();
        let Receiver { client: Some(client), held, owed, .. } = &mut self.receivers[receiver] else { return };
        if owed.is_empty() {
            return self.take(receiver);
        }
        let at = self.dice.below(owed.len());
        let Owed { id, qos, released_at } = owed[at];
        let settle = |settlement| self.scene.bus.settle(&client.attachment, id, settlement);
        match (qos, released_at) {
            (Qos::ExactlyOnce, None) => owed[at].released_at = Some(settle(Settlement::Received).place),
            (Qos::ExactlyOnce, Some(place)) if place > durable => {}
            (Qos::ExactlyOnce, Some(_)) => {
                held.remove(&id);
                let _ = settle(Settlement::Completed);
                owed.remove(at);
            }
            _ => {
                let _ = settle(Settlement::Acknowledged);
                owed.remove(at);
            }
        }
    }

    /// The power fails, now or while something is being written.
    fn crash(&mut self) {
        if self.dice.one_in(2) {
            let simulated = self.scene.simulated();
            simulated.cut_power_at(simulated.operations() + self.dice.below(6) as u64);
            if self.dice.one_in(3) {
                self.scene.bus.clean();
            }
            self.scene.disk().commit();
        }
        let durable = self.scene.disk().durable();
        for sent in self.sent.values_mut() {
            sent.may_be_lost |= sent.place > durable;
            // What is there now is durable, or never will be.
            sent.place = Place::NOWHERE;
        }
        for receiver in &mut self.receivers {
            receiver.client = None;
            receiver.owed.clear();
        }
        let recovered = self.scene.crash(0);
        assert_eq!((recovered.sessions, recovered.unreadable), (RECEIVERS, 0));
    }

    fn finish(&mut self) {
        self.crash();
        for round in 0..20 {
            for receiver in 0..RECEIVERS {
                if self.receivers[receiver].client.is_none() {
                    self.connect(receiver);
                }
                loop {
                    self.scene.commit();
                    let before = self.receivers[receiver].taken.len();
                    self.take(receiver);
                    if self.receivers[receiver].owed.is_empty()
                        && self.receivers[receiver].taken.len() == before
                    {
                        break;
                    }
                    while !self.receivers[receiver].owed.is_empty() {
                        self.scene.commit();
                        self.answer(receiver);
                    }
                }
            }
            self.scene.pass(1 + round);
        }
        assert!(self.scene.bus.sessions().iter().all(|view| view.queued + view.in_flight == 0));
        let dropped: u64 = DropReason::ALL.into_iter().map(|reason| self.scene.dropped(reason)).sum();
        assert_eq!((dropped, self.scene.count(Counter::Refused)), (0, 0));
        let members = self.receivers.iter().skip(ALONE).map(|receiver| &receiver.taken);
        let shared: Vec<usize> = members.flatten().copied().collect();
        self.check_arrivals("the group", &shared);
        for (number, receiver) in self.receivers.iter().enumerate() {
            if number < ALONE {
                self.check_arrivals(&format!("receiver {number}"), &receiver.taken);
            }
            self.check_order(number, &receiver.taken);
        }
        self.scene.commit();
        assert_eq!(self.scene.crash(0).copies, 0, "everything was settled");
    }

    fn check_arrivals(&self, who: &str, taken: &[usize]) {
        for (number, sent) in &self.sent {
            let count = taken.iter().filter(|other| *other == number).count();
            assert!(count > 0 || sent.may_be_lost, "{who} did not get {number} (of {:?})", sent.qos);
            assert!(count < 2 || sent.qos < Qos::ExactlyOnce, "{who} got {number} {count} times");
        }
    }

    /// What came for the first time came in the order of its topic. What moves within a group may come
    /// behind what a member got since.
    fn check_order(&self, number: usize, taken: &[usize]) {
        let mut seen = BTreeSet::new();
        for topic in TOPICS {
            let of_topic = |number: &&usize| self.sent[*number].topic == topic;
            let first_times: Vec<_> =
                taken.iter().filter(of_topic).filter(|number| seen.insert(**number)).collect();
            assert!(number >= ALONE || first_times.is_sorted(), "{number}: {first_times:?}");
        }
    }
}

impl Receiver {
    fn note(&mut self, outgoing: &Outgoing, sent: &BTreeMap<usize, Sent>) {
        let id = outgoing.id.expect("nothing is at QoS 0");
        assert!(self.owed.iter().all(|owed| owed.id != id), "an identifier names two messages");
        if outgoing.released {
            self.held.remove(&id);
            let released_at = Some(Place::NOWHERE);
            self.owed.push(Owed { id, qos: Qos::ExactlyOnce, released_at });
            return;
        }
        let number = text(outgoing).split(' ').next().unwrap().parse().unwrap();
        assert_eq!(outgoing.qos, sent[&number].qos);
        self.owed.push(Owed { id, qos: outgoing.qos, released_at: None });
        let known = self.held.get(&id);
        match (outgoing.qos, known) {
            (Qos::ExactlyOnce, Some(known)) => {
                assert_eq!(*known, number, "under the identifier it had before");
                assert!(outgoing.duplicate);
            }
            (Qos::ExactlyOnce, None) => {
                self.held.insert(id, number);
                self.taken.push(number);
            }
            _ => self.taken.push(number),
        }
    }
}
