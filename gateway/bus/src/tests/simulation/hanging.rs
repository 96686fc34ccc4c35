//! Random programs in which members of groups hang, are slow and answer late, against what must hold
//! whatever they do: who hangs is told by watching, which a reference could only repeat.

use std::collections::BTreeMap;

use gateway_model::{DeliveryId, Expiry, Open, Outgoing, Qos, Settlement};

use super::program::Dice;
use crate::tests::scene::{Client, QOS, Scene, lasting, secs_of, text, transient};
use crate::{Counter, DropReason, Limits, Sharing};

const MEMBERS: usize = 5;
const STEPS: usize = 250;
const STALL_SECS: u64 = 2;
const ACK_SECS: u64 = 5;
/// By then everything has moved that can: each takes its time once behind the other.
const SETTLED_SECS: u64 = 4 * (STALL_SECS + ACK_SECS);

struct Hanging {
    dice: Dice,
    scene: Scene,
    publisher: Client,
    members: Vec<Member>,
    /// Connections end and come back; else a message goes to two members at most.
    reconnects: bool,
    /// Messages for groups, by their texts.
    sent: BTreeMap<String, Sent>,
}

struct Member {
    client: Client,
    /// What it has not answered on its connection.
    owes: Vec<Owed>,
}

struct Owed {
    id: DeliveryId,
    text: String,
    qos: Qos,
    is_received: bool,
}

#[derive(Debug)]
struct Sent {
    qos: Qos,
    /// Each time, by whom.
    received: Vec<usize>,
    is_answered: bool,
}

pub(super) fn run(seed: u64) {
    let mut hanging = Hanging::new(seed);
    for _ in 0..STEPS {
        hanging.step();
        hanging.scene.assert_balanced();
    }
    hanging.leave_to_one();
    hanging.finish();
}

impl Hanging {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let all = [
            Sharing::RoundRobin,
            Sharing::Random,
            Sharing::Sticky,
            Sharing::LeastInFlight,
            Sharing::HashClient,
            Sharing::HashTopic,
        ];
        let scene = Scene::with(Limits {
            sharing: all[dice.below(all.len())],
            sharing_stall: Some(secs_of(STALL_SECS)),
            sharing_ack: Some(secs_of(ACK_SECS)),
            ..Limits::default()
        });
        let publisher = scene.open("publisher", transient());
        let reconnects = dice.one_in(2);
        let mut hanging =
            Self { dice, scene, publisher, members: Vec::new(), reconnects, sent: BTreeMap::new() };
        for number in 0..MEMBERS {
            let member = hanging.connect(number);
            for filter in ["$share/x/g/#", "$queue/h/#", &format!("own/{number}")] {
                hanging.scene.subscribe(&member.client, filter, Qos::ExactlyOnce);
            }
            hanging.members.push(member);
        }
        hanging
    }

    fn connect(&mut self, number: usize) -> Member {
        let receive_maximum = 1 + self.dice.below(8) as u16;
        let open = Open { receive_maximum, ..lasting(Expiry::Never) };
        Member { client: self.scene.open(&format!("m{number}"), open), owes: Vec::new() }
    }

    fn step(&mut self) {
        let member = self.dice.below(MEMBERS);
        match self.dice.below(100) {
            0..35 => self.publish(),
            35..40 => {
                self.scene.publish(&self.publisher, &format!("own/{member}"), "own", QOS[1]);
            }
            40..60 => self.take(member, 1 + self.dice.0 as usize % 4),
            60..72 => self.answer_any(member),
            72..76 => self.answer_all(member),
            76..80 if self.reconnects => {
                if self.dice.one_in(2) {
                    self.scene.lose(&self.members[member].client);
                    self.scene.assert_balanced();
                }
                self.members[member] = self.connect(member);
            }
            _ => {
                self.scene.pass(1);
            }
        }
    }

    fn publish(&mut self) {
        let topic = ["g/1", "g/2", "h"][self.dice.below(3)];
        let (text, qos) = (self.sent.len().to_string(), QOS[self.dice.below(3)]);
        self.scene.publish(&self.publisher, topic, &text, qos);
        self.sent.insert(text, Sent { qos, received: Vec::new(), is_answered: false });
    }

    fn take(&mut self, number: usize, count: usize) {
        for outgoing in self.scene.take_at_most(&self.members[number].client, count) {
            self.note(number, &outgoing);
        }
    }

    fn note(&mut self, number: usize, outgoing: &Outgoing) {
        let text = text(outgoing);
        if let Some(id) = outgoing.id {
            let owes = &mut self.members[number].owes;
            assert!(owes.iter().all(|owed| owed.id != id), "{id} names two messages of member {number}");
            owes.push(Owed { id, text: text.clone(), qos: outgoing.qos, is_received: outgoing.released });
        }
        let Some(sent) = self.sent.get_mut(&text) else { return };
        assert_eq!(sent.qos, outgoing.qos);
        sent.received.push(number);
        let members = &mut sent.received.clone();
        members.sort_unstable();
        members.dedup();
        match sent.qos {
            Qos::AtMostOnce => assert_eq!(sent.received.len(), 1, "{text}: {sent:?}"),
            Qos::AtLeastOnce if self.reconnects => {}
            Qos::AtLeastOnce => assert!(sent.received.len() <= 2, "{text}: {sent:?}"),
            Qos::ExactlyOnce => assert_eq!(members.len(), 1, "{text}: {sent:?}"),
        }
    }

    fn answer_any(&mut self, number: usize) {
        let count = self.members[number].owes.len();
        if count > 0 {
            let place = self.dice.below(count);
            self.answer(number, place);
        }
    }

    fn answer_all(&mut self, number: usize) {
        while !self.members[number].owes.is_empty() {
            self.answer(number, 0);
        }
    }

    /// However late an answer is, it fits.
    fn answer(&mut self, number: usize, place: usize) {
        let Member { client, owes } = &mut self.members[number];
        let owed = &mut owes[place];
        let answer = match owed.qos {
            Qos::ExactlyOnce if !owed.is_received => Settlement::Received,
            Qos::ExactlyOnce => Settlement::Completed,
            _ => Settlement::Acknowledged,
        };
        assert!(self.scene.settle(client, owed.id, answer), "{answer:?} of member {number}");
        owed.is_received = true;
        if answer != Settlement::Received {
            let text = owes.remove(place).text;
            if let Some(sent) = self.sent.get_mut(&text) {
                sent.is_answered = true;
            }
        }
    }

    fn work(&mut self, number: usize) {
        loop {
            self.take(number, usize::MAX);
            if self.members[number].owes.is_empty() {
                return;
            }
            self.answer_all(number);
        }
    }

    /// One member works and all others hang: it gets whatever may move.
    fn leave_to_one(&mut self) {
        for _ in 0..SETTLED_SECS {
            self.scene.pass(1);
            self.work(0);
            self.scene.assert_balanced();
        }
        for (text, sent) in &self.sent {
            let is_lost = self.reconnects && sent.qos == Qos::AtMostOnce;
            assert!(is_lost || !sent.received.is_empty(), "{text} waits for one that hangs: {sent:?}");
            // It moves once.
            let is_done = sent.is_answered || sent.received.len() > 1 || sent.qos != Qos::AtLeastOnce;
            assert!(is_done, "{text} is left to one that hangs: {sent:?}");
        }
    }

    /// Everybody answers, and everything is accounted for.
    fn finish(&mut self) {
        (0..MEMBERS).for_each(|number| self.work(number));
        assert!(self.scene.bus.sessions().iter().all(|view| view.queued + view.in_flight == 0));
        let dropped = |reason| self.scene.dropped(reason);
        let lost: u64 = DropReason::ALL.into_iter().map(dropped).sum();
        assert_eq!(lost, if self.reconnects { dropped(DropReason::Offline) } else { 0 });
        assert_eq!(self.scene.count(Counter::Matched), self.scene.count(Counter::Delivered) + lost);
        let unanswered = self.sent.values().filter(|sent| sent.qos > Qos::AtMostOnce && !sent.is_answered);
        assert_eq!(unanswered.count(), 0);
    }
}
