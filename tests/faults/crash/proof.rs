//! The judges of the crash runs, judged: here a gateway is played by hand, that does what it must, and then
//! what it must not. That nobody is answered any more, and what the gateway counts, takes a real one.

use std::collections::BTreeMap;
use std::sync::mpsc::channel;

use crate::faults::crash::group::Group;
use crate::faults::crash::ledger::{Fault, MessageId};
use crate::faults::crash::packet::{Packet, Publish};
use crate::faults::crash::publisher::Publisher;
use crate::faults::crash::receiver::Receiver;
use crate::faults::crash::retained;
use crate::faults::crash::sink::Sink;
use crate::faults::crash::stage::Stage;
use crate::harness::{Outcome, World};
use crate::{ensure, ensure_eq};

crate::cases!("crash":
    a_run_without_fault_is_found_good,
    what_is_lost_is_found,
    what_comes_too_often_is_found,
    what_comes_otherwise_than_it_was_sent_is_found,
    a_session_that_is_gone_or_stays_is_found,
    a_wrong_retained_message_is_found,
    a_wrong_answer_is_found,
);

/// A receiver of `t/0` at QoS 2 that is subscribed, and everything around it.
struct Played {
    stage: Stage,
    receiver: Receiver,
    group: Group,
}

fn a_run_without_fault_is_found_good(_: &mut World) -> Outcome {
    let mut played = Played::new();
    let (once, often) = (played.published(2), played.published(1));
    played.deliver(once, 2, 1);
    played.deliver(often, 1, 2);
    played.come_back(true);
    played.deliver(once, 2, 1);
    played.deliver(often, 1, 2);
    played.receiver.handle(&mut played.stage, &mut played.group, Packet::Pubrel { id: 1 });
    ensure_eq!(played.faults(), vec![], "an exactly-once message is known by its identifier");
    ensure!(played.missing().is_empty(), "all has come");
    Ok(())
}

fn what_is_lost_is_found(_: &mut World) -> Outcome {
    let mut played = Played::new();
    let message = played.published(1);
    ensure_eq!(played.missing(), vec![message], "what did not come");
    let (sender, _events) = channel();
    let sink = Sink::start(sender)?;
    ensure_eq!(
        sink.missing(&played.stage.ledger, 0).collect::<Vec<_>>(),
        vec![message],
        "what the sink did not get"
    );
    let shared = played.published_to("s/0", 1);
    ensure_eq!(
        played.group.missing(&played.stage.ledger, 0).collect::<Vec<_>>(),
        vec![shared],
        "what no member got"
    );
    // Nobody is owed what was not acknowledged, or came when it no longer wanted it.
    played.send("t/0", 1);
    played.receiver.change(&mut played.stage, "t/0");
    played.published(1);
    ensure_eq!(played.missing(), vec![message], "what it was owed");
    Ok(())
}

fn what_comes_too_often_is_found(_: &mut World) -> Outcome {
    let mut played = Played::new();
    let message = played.published(2);
    played.deliver(message, 2, 1);
    played.receiver.handle(&mut played.stage, &mut played.group, Packet::Pubrel { id: 1 });
    played.come_back(true);
    played.deliver(message, 2, 2);
    ensure_eq!(played.faults(), vec![Fault::Twice], "an exactly-once message after its release");

    let mut played = Played::new();
    let message = played.published(1);
    played.deliver(message, 1, 1);
    played.deliver(message, 1, 2);
    ensure_eq!(played.faults(), vec![Fault::TooOften], "twice on a connection, and sent once");

    let mut played = Played::new();
    let message = played.published_to("s/0", 2);
    for member in ["one", "other"] {
        played.group.receive(&mut played.stage.ledger, member, message, true);
    }
    ensure_eq!(played.faults(), vec![Fault::Twice], "an exactly-once message at two members");
    Ok(())
}

fn what_comes_otherwise_than_it_was_sent_is_found(_: &mut World) -> Outcome {
    let mut played = Played::new();
    let (first, second) = (played.published(1), played.published(1));
    played.deliver(second, 1, 1);
    played.deliver(first, 1, 2);
    ensure_eq!(played.faults(), vec![Fault::OutOfOrder], "the second before the first");

    let (sender, _events) = channel();
    let mut sink = Sink::start(sender)?;
    let mut played = Played::new();
    let (first, second) = (played.published(1), played.published(1));
    sink.receive(&mut played.stage.ledger, second);
    sink.receive(&mut played.stage.ledger, first);
    ensure_eq!(played.faults(), vec![Fault::OutOfOrder], "the second before the first, at the sink");

    let mut played = Played::new();
    let message = played.published(2);
    played.deliver(message, 1, 1);
    ensure_eq!(played.faults(), vec![Fault::WrongQos], "at another QoS");

    let mut played = Played::new();
    let other = played.published(2);
    let message = played.published(2);
    played.deliver(other, 2, 1);
    played.deliver(message, 2, 1);
    ensure_eq!(played.faults(), vec![Fault::Altered], "an identifier that still named another");

    let mut played = Played::new();
    let message = played.published(1);
    let mut publish = played.publish(message, 1, 1);
    publish.payload.push(b'?');
    played.receiver.handle(&mut played.stage, &mut played.group, Packet::Publish(publish));
    ensure_eq!(played.faults(), vec![Fault::Altered], "a payload that was not sent");

    let mut played = Played::new();
    played.receiver.change(&mut played.stage, "t/0");
    played.answer(Packet::Unsuback { reasons: vec![0] });
    let message = played.published(1);
    played.deliver(message, 1, 1);
    ensure_eq!(played.faults(), vec![Fault::Unsubscribed], "after the UNSUBACK");
    Ok(())
}

fn a_session_that_is_gone_or_stays_is_found(_: &mut World) -> Outcome {
    let mut played = Played::new();
    played.come_back(false);
    ensure_eq!(played.faults(), vec![Fault::SessionGone], "a session that is not there");

    let mut played = Played::new();
    let mut guest = Publisher::new("guest".into(), false, vec![]);
    guest.handle(&mut played.stage, Packet::Connack { present: true, reason: 0 });
    ensure_eq!(played.faults(), vec![Fault::SessionStays], "a session that ended with its connection");

    let mut played = Played::new();
    played.receiver.change(&mut played.stage, "t/0");
    played.answer(Packet::Unsuback { reasons: vec![0x11] });
    ensure_eq!(played.faults(), vec![Fault::SubscriptionGone], "a subscription that was not there");
    Ok(())
}

fn a_wrong_retained_message_is_found(_: &mut World) -> Outcome {
    let mut played = Played::new();
    let first = played.published_to("r/0", 1);
    let second = played.published_to("r/0", 1);
    let unacknowledged = played.send("r/0", 1);
    let expectations = [
        (None, vec![Fault::Retained]),
        (Some(first), vec![Fault::Retained]),
        (Some(second), vec![]),
        (Some(unacknowledged), vec![]),
    ];
    let before = played.faults().len();
    ensure_eq!(before, 0, "nothing yet");
    let mut known = 0;
    for (shown, expected) in expectations {
        let payload = shown.map(|id| ("r/0".to_owned(), played.stage.ledger.payload(id)));
        retained::judge(&mut played.stage.ledger, &BTreeMap::from_iter(payload));
        ensure_eq!(played.faults().split_off(known), expected, "{shown:?} is shown");
        known = played.faults().len();
    }
    let shown = BTreeMap::from([("r/1".to_owned(), b"0 never".to_vec())]);
    retained::judge(&mut played.stage.ledger, &shown);
    ensure!(played.faults().contains(&Fault::Altered), "what nobody sent is shown");
    Ok(())
}

fn a_wrong_answer_is_found(_: &mut World) -> Outcome {
    let answers = [
        Packet::Puback { id: 1, reason: 0x97 },
        Packet::Puback { id: 2, reason: 0 },
        Packet::Pubrec { id: 1, reason: 0 },
        Packet::Pubcomp { id: 1 },
        Packet::Disconnect { reason: 0x82 },
    ];
    for answer in answers {
        let mut played = Played::new();
        let mut publisher = Publisher::new("publisher".into(), true, vec![]);
        let message = played.stage.ledger.create("t/0", 1, false, 0);
        publisher.publish(&mut played.stage, message);
        publisher.handle(&mut played.stage, answer.clone());
        ensure_eq!(played.faults(), vec![Fault::Refused], "{answer:?}");
    }
    let mut played = Played::new();
    played.receiver.change(&mut played.stage, "t/1");
    played.answer(Packet::Suback { reasons: vec![0x97] });
    ensure_eq!(played.faults(), vec![Fault::Refused], "a refused SUBSCRIBE");
    Ok(())
}

impl Played {
    fn new() -> Self {
        // Nobody connects, so nothing is sent: what the client would do is not looked at here.
        let mut stage = Stage::new(1, 0, channel().0);
        let mut receiver = Receiver::new("receiver", 2, &[], &["t/0"], 10);
        let mut group = Group::default();
        for packet in [Packet::Connack { present: false, reason: 0 }, Packet::Suback { reasons: vec![2] }] {
            receiver.handle(&mut stage, &mut group, packet);
            stage.ledger.now += 1;
        }
        Self { stage, receiver, group }
    }

    fn published(&mut self, qos: u8) -> MessageId {
        self.published_to("t/0", qos)
    }

    fn published_to(&mut self, topic: &str, qos: u8) -> MessageId {
        let id = self.send(topic, qos);
        self.stage.ledger.acknowledge("publisher", id, "its acknowledgement");
        self.stage.ledger.now += 1;
        id
    }

    fn send(&mut self, topic: &str, qos: u8) -> MessageId {
        let id = self.stage.ledger.create(topic, qos, false, 20);
        self.stage.ledger.send("publisher", id, 1);
        self.stage.ledger.now += 1;
        id
    }

    fn publish(&self, message: MessageId, qos: u8, id: u16) -> Publish {
        let payload = self.stage.ledger.payload(message);
        let topic = self.stage.ledger.message(message).topic.clone();
        Publish { topic, id, qos, duplicate: false, retain: false, payload }
    }

    fn deliver(&mut self, message: MessageId, qos: u8, id: u16) {
        let publish = self.publish(message, qos, id);
        self.answer(Packet::Publish(publish));
    }

    fn answer(&mut self, packet: Packet) {
        self.receiver.handle(&mut self.stage, &mut self.group, packet);
        self.stage.ledger.now += 1;
    }

    fn come_back(&mut self, present: bool) {
        self.receiver.leave(&mut self.stage, false);
        self.receiver.got.begin_link();
        self.answer(Packet::Connack { present, reason: 0 });
    }

    fn missing(&self) -> Vec<MessageId> {
        self.receiver.missing(&self.stage.ledger, 0)
    }

    fn faults(&self) -> Vec<Fault> {
        self.stage.ledger.violations().iter().map(|violation| violation.fault).collect()
    }
}
