//! Section 3.3 as a publisher meets it: flags, topics, aliases, properties, acknowledgements.

use crate::Version::{self, V5};
use crate::format::ILL_FORMED;
use crate::packet::Packet;
use crate::scene::{Scene, Setup};
use crate::wire::{self, Connect, Publish, packet, text, two};

conformance! {
    mqtt5_3_3_1_1_what_is_sent_again_says_so also "3.3.1-3": sent_again(V5);
    mqtt311_3_3_1_1_what_is_sent_again_says_so also "3.3.1-3": sent_again(V311);
    mqtt5_3_3_1_2_dup_at_qos_0_is_malformed: dup_at_qos_0(V5);
    mqtt311_3_3_1_2_dup_at_qos_0_ends_the_connection: dup_at_qos_0(V311);
    mqtt5_3_3_1_4_qos_3_is_malformed: qos_3(V5);
    mqtt311_3_3_1_4_qos_3_ends_the_connection: qos_3(V311);
    mqtt5_3_3_2_1_the_topic_is_first_and_text: topic_is_text(V5);
    mqtt311_3_3_2_1_the_topic_is_first_and_text: topic_is_text(V311);
    mqtt5_3_3_2_2_a_topic_has_no_wildcards also "4.7.0-1": wildcards(V5);
    mqtt311_3_3_2_2_a_topic_has_no_wildcards also "4.7.1-1": wildcards(V311);
    mqtt5_3_3_2_7_aliases_end_with_the_connection: alias_lives_as_long_as_its_connection();
    mqtt5_3_3_2_8_alias_0_is_invalid: alias_0();
    mqtt5_3_3_2_12_every_alias_up_to_the_maximum_is_taken: every_alias();
    mqtt5_3_3_2_13_the_response_topic_is_text: response_topic_is_text();
    mqtt5_3_3_2_14_the_response_topic_has_no_wildcards: response_topic_wildcards();
    mqtt5_3_3_2_19_the_content_type_is_text: content_type_is_text();
    mqtt5_3_3_4_1_a_publish_is_answered_by_its_qos: answered(V5);
    mqtt311_3_3_4_1_a_publish_is_answered_by_its_qos: answered(V311);
    mqtt5_3_3_4_6_a_client_sends_no_subscription_identifier: subscription_identifier();
    mqtt5_3_3_4_7_more_than_the_receive_maximum_is_too_much: receive_maximum();
    mqtt311_3_3_5_2_what_is_not_allowed_is_acknowledged_or_closed: not_allowed(V311);
    mqtt5_3_4_2_1_what_is_not_allowed_is_refused_by_reason also "3.5.2-1": not_allowed(V5);
}

fn sent_again(version: Version) {
    let mut scene = Scene::new();
    let connect = Connect::new(version, "c").resuming();
    let (client, _) = scene.open(&connect);
    scene.subscribe(client, "t", 2);
    let publisher = scene.client(version, "publisher");
    // DUP of the publisher is its own affair.
    for (id, publish) in [(1, Publish::new(version, "t", "one")), (2, Publish::new(version, "t", "two"))] {
        let qos = id as u8;
        scene.send(publisher, &publish.qos(qos, id).again().encode());
        assert!(!scene.publishes(client)[0].duplicate);
    }
    scene.cut(client);
    let client = scene.dial(version);
    let packets = scene.exchange(client, &connect.encode());
    let again: Vec<(String, bool)> =
        packets[1..].iter().map(|p| (p.publish().text(), p.publish().duplicate)).collect();
    assert_eq!(again, [("one".to_owned(), true), ("two".to_owned(), true)]);
    // A new message is not a duplicate because others were.
    scene.send(publisher, &Publish::new(version, "t", "three").qos(1, 3).encode());
    assert!(!scene.publishes(client)[0].duplicate);
}

fn dup_at_qos_0(version: Version) {
    let mut scene = Scene::new();
    let reader = scene.subscriber(version, "reader", "t", 0);
    for publish in
        [Publish::new(version, "t", "p").again(), Publish::new(version, "t", "p").again().retained()]
    {
        let client = scene.client(version, "c");
        scene.offend(client, &publish.encode(), 0x81);
    }
    scene.nothing(reader);
    scene.publish(reader, "t", "p");
    assert!(!scene.publishes(reader)[0].duplicate);
}

fn qos_3(version: Version) {
    let mut scene = Scene::new();
    for flags in [0x06, 0x07, 0x0E, 0x0F] {
        let client = scene.client(version, "c");
        let publish = Publish { flags, id: Some(1), ..Publish::new(version, "t", "p") };
        scene.offend(client, &publish.encode(), 0x81);
    }
}

fn topic_is_text(version: Version) {
    let mut scene = Scene::new();
    for topic in ILL_FORMED {
        let client = scene.client(version, "c");
        let publish = Publish { topic: topic.to_vec(), ..Publish::new(version, "", "p") };
        scene.offend(client, &publish.encode(), 0x81);
    }
    // No topic at all, half a length, more length than bytes.
    for body in [&b""[..], b"\0", b"\0\x05abc"] {
        let client = scene.client(version, "c");
        scene.offend(client, &packet(0x30, body), 0x81);
    }
}

fn wildcards(version: Version) {
    let mut scene = Scene::new();
    let reader = scene.subscriber(version, "reader", "#", 0);
    for topic in ["#", "+", "a/#", "a/+/b", "a#", "+a", "a/b+"] {
        for qos in 0..3 {
            let client = scene.client(version, "c");
            scene.offend(client, &Publish::new(version, topic, "p").at(qos, 1).encode(), 0x90);
        }
    }
    scene.nothing(reader);
}

fn alias_lives_as_long_as_its_connection() {
    let mut scene = Scene::new();
    let reader = scene.subscriber(V5, "reader", "#", 0);
    let connect = Connect::new(V5, "c").resuming();
    let (client, _) = scene.open(&connect);
    let named = |topic| Publish::new(V5, topic, "p").with(two(wire::TOPIC_ALIAS, 1)).encode();
    scene.send(client, &[named("a"), named(""), named("b"), named("")].concat());
    let topics: Vec<String> = scene.publishes(reader).into_iter().map(|publish| publish.topic).collect();
    assert_eq!(topics, ["a", "a", "b", "b"]);
    scene.cut(client);
    let (client, _) = scene.open(&connect);
    scene.offend(client, &named(""), 0x82);
    scene.nothing(reader);
}

fn alias_0() {
    let mut scene = Scene::new();
    for topic in ["t", ""] {
        let client = scene.client(V5, "c");
        scene.offend(client, &Publish::new(V5, topic, "p").with(two(wire::TOPIC_ALIAS, 0)).encode(), 0x94);
    }
}

fn every_alias() {
    for maximum in [1, 16, u16::MAX] {
        let mqtt = protocol_mqtt::Config { topic_alias_maximum: maximum, ..Default::default() };
        let mut scene = Scene::with(Setup { mqtt, ..Default::default() });
        let reader = scene.subscriber(V5, "reader", "#", 0);
        let (client, connack) = scene.open(&Connect::new(V5, "c"));
        assert_eq!(connack.number(wire::TOPIC_ALIAS_MAXIMUM), Some(maximum.into()));
        let used = [1, maximum / 2 + 1, maximum];
        for alias in used {
            let publish =
                |topic: &str| Publish::new(V5, topic, "p").with(two(wire::TOPIC_ALIAS, alias)).encode();
            scene.send(client, &publish(&format!("topic/{alias}")));
        }
        for alias in used {
            scene.take(reader);
            scene.send(client, &Publish::new(V5, "", "p").with(two(wire::TOPIC_ALIAS, alias)).encode());
            assert_eq!(scene.publishes(reader)[0].topic, format!("topic/{alias}"));
        }
    }
}

/// A PUBLISH with a property that is wrong.
fn wrong(property: Vec<u8>, reason: u8) {
    let mut scene = Scene::new();
    let reader = scene.subscriber(V5, "reader", "t", 0);
    for qos in 0..3 {
        let client = scene.client(V5, "c");
        scene.offend(client, &Publish::new(V5, "t", "p").at(qos, 1).with(property.clone()).encode(), reason);
    }
    scene.nothing(reader);
}

fn response_topic_is_text() {
    ILL_FORMED.iter().for_each(|bytes| wrong(text(wire::RESPONSE_TOPIC, bytes), 0x81));
}

fn response_topic_wildcards() {
    ["#", "a/+", "a/#"].iter().for_each(|topic| wrong(text(wire::RESPONSE_TOPIC, topic), 0x82));
}

fn content_type_is_text() {
    ILL_FORMED.iter().for_each(|bytes| wrong(text(wire::CONTENT_TYPE, bytes), 0x81));
}

fn answered(version: Version) {
    let mut scene = Scene::new();
    let client = scene.client(version, "c");
    scene.publish(client, "t", "nothing comes back");
    scene.nothing(client);
    // In the order they came, each in its way.
    let bytes: Vec<u8> = [(1, 5), (2, 6), (1, 3), (2, 4), (1, 9)]
        .into_iter()
        .flat_map(|(qos, id)| Publish::new(version, "t", "p").qos(qos, id).encode())
        .collect();
    let answers: Vec<(u8, u16)> = scene
        .exchange(client, &bytes)
        .iter()
        .map(|packet| (packet.acknowledgement().kind, packet.acknowledgement().id))
        .collect();
    assert_eq!(answers, [(4, 5), (5, 6), (4, 3), (5, 4), (4, 9)]);
}

fn subscription_identifier() {
    wrong(wire::subscription_identifier(1), 0x82);
    wrong(wire::subscription_identifier(268_435_455), 0x82);
}

fn receive_maximum() {
    let mqtt = protocol_mqtt::Config { receive_maximum: 3.try_into().expect("not 0"), ..Default::default() };
    let mut scene = Scene::with(Setup { mqtt, ..Default::default() });
    let (client, connack) = scene.open(&Connect::new(V5, "c"));
    assert_eq!(connack.number(wire::RECEIVE_MAXIMUM), Some(3));
    for id in 1..=3 {
        let pubrec = scene.ask(client, &Publish::new(V5, "t", "p").qos(2, id).encode());
        assert_eq!(pubrec.acknowledgement().reason & 0x80, 0);
    }
    // QoS 0 does not count, and one that is complete counts no more.
    scene.publish(client, "t", "p");
    scene.ask(client, &wire::pubrel(2));
    scene.ask(client, &Publish::new(V5, "t", "p").qos(2, 2).encode());
    scene.offend(client, &Publish::new(V5, "t", "p").qos(2, 4).encode(), 0x93);
}

fn not_allowed(version: Version) {
    let mut scene = Scene::new();
    let client = scene.client(version, "c");
    // Topics that begin with $ are the gateway's own.
    for (qos, kind) in [(1, 4), (2, 5)] {
        let packet = scene.ask(client, &Publish::new(version, "$SYS/x", "p").qos(qos, 7).encode());
        let acknowledgement = packet.acknowledgement();
        let reason = if version == V5 { 0x87 } else { 0 };
        assert_eq!((acknowledgement.kind, acknowledgement.id, acknowledgement.reason), (kind, 7, reason));
    }
    scene.publish(client, "$SYS/x", "p");
    scene.lives(client);
    // A payload that is not what its format says is refused by its own reason.
    if version == V5 {
        let bad = |qos, id| {
            Publish::new(V5, "t", b"\xFF").at(qos, id).with(wire::byte(wire::PAYLOAD_FORMAT, 1)).encode()
        };
        for (qos, kind) in [(1, 4), (2, 5)] {
            let packet = scene.ask(client, &bad(qos, 8));
            let acknowledgement = packet.acknowledgement();
            assert_eq!((acknowledgement.kind, acknowledgement.reason), (kind, 0x99));
        }
        // Nobody listens: 0x00 and 0x10 both say that it was accepted.
        let Packet::Acknowledgement(puback) =
            scene.ask(client, &Publish::new(V5, "u", "p").qos(1, 9).encode())
        else {
            panic!("no PUBACK");
        };
        assert!([0x00, 0x10].contains(&puback.reason), "{puback:?}");
    }
}
