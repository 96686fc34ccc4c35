//! Section 4.3: the exchanges of QoS 0, 1 and 2, from both ends.

use crate::Version::{self, V5};
use crate::packet::Packet;
use crate::scene::{Client, Scene};
use crate::wire::{self, Connect, Publish, acknowledgement, four};

conformance! {
    mqtt5_4_3_1_1_qos_0_goes_out_as_it_is: at_most_once(V5);
    mqtt311_4_3_1_1_qos_0_goes_out_as_it_is: at_most_once(V311);
    mqtt5_4_3_2_2_a_first_delivery_at_qos_1_is_no_duplicate also "4.3.2-1", "4.3.2-3": sender_1(V5);
    mqtt311_4_3_2_1_a_delivery_at_qos_1_waits_for_puback: sender_1(V311);
    mqtt5_4_3_2_4_qos_1_is_answered_by_puback also "4.3.2-5": receiver_1(V5);
    mqtt311_4_3_2_2_qos_1_is_answered_by_puback: receiver_1(V311);
    mqtt5_4_3_3_2_a_first_delivery_at_qos_2_is_no_duplicate also "4.3.3-1", "4.3.3-3", "4.3.3-4", "4.3.3-5", "4.3.3-6": sender_2(V5);
    mqtt311_4_3_3_1_a_delivery_at_qos_2_has_its_steps: sender_2(V311);
    mqtt5_4_3_3_4_pubrels_come_in_the_order_of_the_pubrecs: order_of_pubrels(V5);
    mqtt311_4_6_0_6_pubrels_come_in_the_order_of_the_pubrecs: order_of_pubrels(V311);
    mqtt5_4_3_3_7_what_was_sent_does_not_expire: sent_does_not_expire();
    mqtt5_4_3_3_8_qos_2_is_answered_by_pubrec also "4.3.3-10", "4.3.3-11", "4.3.3-12": receiver_2(V5);
    mqtt311_4_3_3_2_qos_2_is_answered_by_pubrec: receiver_2(V311);
    mqtt5_4_3_3_9_after_a_failed_pubrec_the_identifier_is_new: after_a_failure();
    mqtt5_4_3_3_13_the_exchange_outlives_the_message: outlives_the_message();
    mqtt5_4_4_0_1_what_is_unacknowledged_is_sent_again also "4.6.0-5": sent_again(V5);
    mqtt311_4_4_0_1_what_is_unacknowledged_is_sent_again also "4.6.0-6": sent_again(V311);
    mqtt5_4_4_0_2_a_refusal_acknowledges: refusals();
    mqtt5_4_6_0_5_messages_come_in_order also "4.6.0-6": ordered(V5);
    mqtt311_4_6_0_5_messages_come_in_order also "4.6.0-6": ordered(V311);
}

/// A session that can be resumed, subscribed to `t`, and somebody who publishes to it.
struct Pair {
    scene: Scene,
    connect: Connect,
    receiver: Client,
    sender: Client,
}

impl Pair {
    fn new(version: Version, qos: u8) -> Self {
        let mut scene = Scene::new();
        let connect = Connect::new(version, "receiver").resuming();
        let (receiver, _) = scene.open(&connect);
        scene.subscribe(receiver, "t", qos);
        let sender = scene.client(version, "sender");
        Self { scene, connect, receiver, sender }
    }

    fn version(&self) -> Version {
        self.connect.version
    }

    fn publish(&mut self, qos: u8, id: u16, payload: &str) {
        let publish = Publish::new(self.version(), "t", payload).at(qos, id).encode();
        self.scene.send(self.sender, &publish);
        if qos == 2 {
            self.scene.send(self.sender, &wire::pubrel(id));
        }
        self.scene.take(self.sender);
    }

    /// The connection fails, and the client comes back: what it gets behind CONNACK.
    #[track_caller]
    fn come_back(&mut self) -> Vec<Packet> {
        self.scene.cut(self.receiver);
        self.receiver = self.scene.dial(self.version());
        let mut packets = self.scene.exchange(self.receiver, &self.connect.encode());
        let Packet::Connack { session_present: true, .. } = packets.remove(0) else { panic!("no session") };
        packets
    }
}

fn at_most_once(version: Version) {
    let mut pair = Pair::new(version, 2);
    pair.publish(0, 0, "p");
    let came = pair.scene.publishes(pair.receiver).remove(0);
    assert_eq!((came.qos, came.duplicate), (0, false));
    // And that is all: it does not come again.
    assert!(pair.come_back().is_empty());
}

fn sender_1(version: Version) {
    let mut pair = Pair::new(version, 2);
    pair.publish(1, 1, "one");
    pair.publish(1, 2, "two");
    let came = pair.scene.publishes(pair.receiver);
    assert_eq!(came.iter().map(|p| (p.qos, p.duplicate)).collect::<Vec<_>>(), [(1, false), (1, false)]);
    assert_ne!(came[0].id, came[1].id);
    // Not within a connection: only a new one brings it again.
    pair.scene.wait(100_000);
    pair.scene.nothing(pair.receiver);
    pair.scene.send(pair.receiver, &wire::puback(came[1].id));
    let again = pair.come_back();
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].publish().id, again[0].publish().text()), (came[0].id, "one".into()));
    pair.scene.send(pair.receiver, &wire::puback(came[0].id));
    assert!(pair.come_back().is_empty());
}

fn receiver_1(version: Version) {
    let mut pair = Pair::new(version, 1);
    for duplicate in [false, false, true] {
        let publish = Publish::new(version, "t", "p").qos(1, 7);
        let publish = if duplicate { publish.again() } else { publish };
        let puback = pair.scene.ask(pair.sender, &publish.encode());
        assert_eq!((puback.acknowledgement().kind, puback.acknowledgement().id), (4, 7));
        // Acknowledged means delivered, and the same identifier is a new message each time.
        assert_eq!(pair.scene.texts(pair.receiver), ["p"]);
    }
}

fn sender_2(version: Version) {
    let mut pair = Pair::new(version, 2);
    pair.publish(2, 1, "p");
    let came = pair.scene.publishes(pair.receiver).remove(0);
    assert_eq!((came.qos, came.duplicate), (2, false));
    // Before PUBREC the PUBLISH comes again, with its identifier.
    let again = pair.come_back();
    assert_eq!((again[0].publish().id, again[0].publish().duplicate, again.len()), (came.id, true, 1));
    let pubrel = pair.scene.ask(pair.receiver, &wire::pubrec(came.id));
    assert_eq!((pubrel.acknowledgement().kind, pubrel.acknowledgement().id), (6, came.id));
    // After it the PUBREL does, and never the PUBLISH.
    for _ in 0..2 {
        let again = pair.come_back();
        assert_eq!(again.len(), 1, "{again:?}");
        assert_eq!((again[0].acknowledgement().kind, again[0].acknowledgement().id), (6, came.id));
    }
    pair.publish(2, 2, "another");
    let other = pair.scene.publishes(pair.receiver).remove(0);
    assert_ne!(other.id, came.id, "it is in use until PUBCOMP");
    pair.scene.send(pair.receiver, &wire::pubcomp(came.id));
    pair.scene.exchange(pair.receiver, &wire::pubrec(other.id));
    pair.scene.send(pair.receiver, &wire::pubcomp(other.id));
    assert!(pair.come_back().is_empty());
}

fn order_of_pubrels(version: Version) {
    let mut pair = Pair::new(version, 2);
    (1..=5).for_each(|id| pair.publish(2, id, "p"));
    let mut ids: Vec<u16> = pair.scene.publishes(pair.receiver).iter().map(|publish| publish.id).collect();
    assert_eq!(ids.len(), 5);
    ids.rotate_left(2);
    ids.swap(0, 4);
    let pubrecs: Vec<u8> = ids.iter().flat_map(|id| wire::pubrec(*id)).collect();
    let pubrels = pair.scene.exchange(pair.receiver, &pubrecs);
    let answered: Vec<(u8, u16)> =
        pubrels.iter().map(|packet| (packet.acknowledgement().kind, packet.acknowledgement().id)).collect();
    assert_eq!(answered, ids.iter().map(|id| (6, *id)).collect::<Vec<_>>());
}

fn sent_does_not_expire() {
    let mut pair = Pair::new(V5, 2);
    for qos in [1, 2] {
        let publish = Publish::new(V5, "t", "p").qos(qos, 1).with(four(wire::MESSAGE_EXPIRY, 10));
        pair.scene.send(pair.sender, &publish.encode());
        let came = pair.scene.publishes(pair.receiver).remove(0);
        pair.scene.wait(1000);
        let again = pair.come_back();
        assert_eq!((again[0].publish().id, again.len()), (came.id, 1), "QoS {qos}");
        let done = if qos == 1 { wire::puback(came.id) } else { wire::pubrec(came.id) };
        pair.scene.exchange(pair.receiver, &done);
        pair.scene.send(pair.receiver, &wire::pubcomp(came.id));
    }
}

fn receiver_2(version: Version) {
    let mut pair = Pair::new(version, 2);
    let publish = Publish::new(version, "t", "p").qos(2, 7);
    let pubrec = |packet: Packet| (packet.acknowledgement().kind, packet.acknowledgement().id);
    assert_eq!(pubrec(pair.scene.ask(pair.sender, &publish.encode())), (5, 7));
    assert_eq!(pair.scene.texts(pair.receiver), ["p"]);
    // Until PUBREL it is the same message, whatever its DUP flag and its content.
    for publish in [publish.clone(), publish.clone().again(), Publish::new(version, "t", "other").qos(2, 7)] {
        assert_eq!(pubrec(pair.scene.ask(pair.sender, &publish.encode())), (5, 7));
        pair.scene.nothing(pair.receiver);
    }
    assert_eq!(pubrec(pair.scene.ask(pair.sender, &wire::pubrel(7))), (7, 7));
    assert_eq!(pubrec(pair.scene.ask(pair.sender, &wire::pubrel(7))), (7, 7));
    // After PUBCOMP it is a new one.
    assert_eq!(pubrec(pair.scene.ask(pair.sender, &publish.again().encode())), (5, 7));
    assert_eq!(pair.scene.texts(pair.receiver), ["p"]);

    // A sender that comes back finds its exchange where it left it.
    let connect = Connect::new(version, "resuming").resuming();
    let (sender, _) = pair.scene.open(&connect);
    pair.scene.ask(sender, &Publish::new(version, "t", "once").qos(2, 3).encode());
    pair.scene.cut(sender);
    let (sender, _) = pair.scene.open(&connect);
    let again = Publish::new(version, "t", "once").qos(2, 3).again();
    assert_eq!(pubrec(pair.scene.ask(sender, &again.encode())), (5, 3));
    assert_eq!(pair.scene.texts(pair.receiver), ["once"]);
    let pubcomp = pair.scene.ask(sender, &wire::pubrel(3));
    assert_eq!(pubcomp.acknowledgement().reason, 0);
}

fn after_a_failure() {
    let mut pair = Pair::new(V5, 2);
    let refused = pair.scene.ask(pair.sender, &Publish::new(V5, "$SYS/x", "p").qos(2, 7).encode());
    assert_eq!((refused.acknowledgement().kind, refused.acknowledgement().reason), (5, 0x87));
    // Without a PUBREL between them.
    let taken = pair.scene.ask(pair.sender, &Publish::new(V5, "t", "new").qos(2, 7).encode());
    assert_eq!(taken.acknowledgement().reason & 0x80, 0);
    assert_eq!(pair.scene.texts(pair.receiver), ["new"]);
}

fn outlives_the_message() {
    let mut pair = Pair::new(V5, 2);
    pair.scene.cut(pair.receiver);
    let publish = Publish::new(V5, "t", "p").qos(2, 7).with(four(wire::MESSAGE_EXPIRY, 1));
    assert_eq!(pair.scene.ask(pair.sender, &publish.encode()).acknowledgement().kind, 5);
    pair.scene.wait(10);
    let pubrec = pair.scene.ask(pair.sender, &publish.again().encode());
    assert_eq!((pubrec.acknowledgement().kind, pubrec.acknowledgement().id), (5, 7));
    let pubcomp = pair.scene.ask(pair.sender, &wire::pubrel(7));
    assert_eq!((pubcomp.acknowledgement().kind, pubcomp.acknowledgement().reason), (7, 0));
    assert!(pair.come_back().is_empty(), "it has expired");
}

/// Messages in several states of their exchange, at once: all in their order, and none twice.
fn sent_again(version: Version) {
    let mut pair = Pair::new(version, 2);
    for id in 1..=12 {
        pair.publish(if id % 2 == 0 { 2 } else { 1 }, id, &format!("{id:02}"));
    }
    let came = pair.scene.publishes(pair.receiver);
    let order: Vec<String> = came.iter().map(|publish| publish.text()).collect();
    assert!(order.is_sorted() && order.len() == 12, "{order:?}");
    // 03 and 05 are acknowledged, 04 is received, 06 is complete.
    for place in [2, 4] {
        pair.scene.send(pair.receiver, &wire::puback(came[place].id));
    }
    for place in [3, 5] {
        pair.scene.ask(pair.receiver, &wire::pubrec(came[place].id));
    }
    pair.scene.send(pair.receiver, &wire::pubcomp(came[5].id));
    pair.scene.cut(pair.receiver);
    pair.publish(1, 13, "13");
    let again = pair.come_back();
    let mut texts = Vec::new();
    for packet in &again {
        match packet {
            Packet::Publish(publish) => {
                let place = publish.text().parse::<usize>().expect("a number") - 1;
                assert_eq!(publish.duplicate, place < 12);
                if place < 12 {
                    assert_eq!(publish.id, came[place].id);
                }
                texts.push(publish.text());
            }
            other => {
                assert_eq!((other.acknowledgement().kind, other.acknowledgement().id), (6, came[3].id));
            }
        }
    }
    assert_eq!(texts, ["01", "02", "07", "08", "09", "10", "11", "12", "13"]);
    assert_eq!(again.len(), 10);
}

fn refusals() {
    let mut pair = Pair::new(V5, 2);
    for (qos, first) in [(1, 0x40), (2, 0x50)] {
        for reason in [0x80, 0x83, 0x87, 0x90, 0x97, 0x99] {
            pair.publish(qos, 1, "p");
            let came = pair.scene.publishes(pair.receiver).remove(0);
            let answer = pair.scene.exchange(pair.receiver, &acknowledgement(first, came.id, reason, &[]));
            // No PUBREL follows a PUBREC of 0x80 or above.
            assert!(answer.is_empty(), "{answer:?}");
            assert!(pair.come_back().is_empty(), "{reason:#04x}");
        }
    }
}

fn ordered(version: Version) {
    let mut pair = Pair::new(version, 2);
    let other = pair.scene.client(version, "other");
    for id in 1..=60u16 {
        let qos = (id % 3) as u8;
        pair.publish(qos, id, &format!("{qos}/{id:02}"));
        let publish = Publish::new(version, "t", format!("other/{id:02}")).qos(1, id);
        pair.scene.send(other, &publish.encode());
    }
    let texts = pair.scene.texts(pair.receiver);
    assert_eq!(texts.len(), 120);
    for who in ["0/", "1/", "2/", "other/"] {
        let of: Vec<&String> = texts.iter().filter(|text| text.starts_with(who)).collect();
        assert!(of.is_sorted() && !of.is_empty(), "{of:?}");
    }
}
