//! Sections 3.8 and 3.9: SUBSCRIBE and SUBACK.

use crate::Version::{self, V5};
use crate::format::ILL_FORMED;
use crate::packet::Packet;
use crate::scene::Scene;
use crate::wire::{self, Connect, Publish, packet, sized, subscribe, subscribe_with};

conformance! {
    mqtt5_3_8_1_1_the_flags_of_subscribe_are_0010: flags(V5);
    mqtt311_3_8_1_1_the_flags_of_subscribe_are_0010: flags(V311);
    mqtt5_3_8_3_1_filters_are_text: filters_are_text(V5);
    mqtt311_3_8_3_1_filters_are_text: filters_are_text(V311);
    mqtt5_3_8_3_2_there_is_a_filter: no_filter(V5);
    mqtt311_3_8_3_3_there_is_a_filter: no_filter(V311);
    mqtt5_3_8_3_3_no_local_keeps_own_messages_away: no_local();
    mqtt5_3_8_3_4_no_local_on_a_shared_filter_is_an_error: no_local_shared();
    mqtt5_3_8_3_5_reserved_options_are_malformed: reserved(V5);
    mqtt311_3_8_3_4_reserved_options_and_qos_3_end_the_connection: reserved(V311);
    mqtt5_3_8_4_1_subscribe_is_answered_by_suback also "3.8.4-2", "3.8.4-6", "3.8.4-7": answered(V5);
    mqtt311_3_8_4_1_subscribe_is_answered_by_suback also "3.8.4-2", "3.8.4-5": answered(V311);
    mqtt5_3_8_4_3_the_same_filter_replaces_the_subscription: replaced(V5);
    mqtt311_3_8_4_3_the_same_filter_replaces_the_subscription: replaced(V311);
    mqtt5_3_8_4_4_replacing_sends_what_is_retained_and_loses_nothing: replaced_without_loss(V5);
    mqtt311_3_8_4_3_replacing_sends_what_is_retained_and_loses_nothing: replaced_without_loss(V311);
    mqtt5_3_8_4_5_several_filters_are_several_requests: several(V5);
    mqtt311_3_8_4_4_several_filters_are_several_requests: several(V311);
    mqtt5_3_9_3_1_reasons_stand_in_the_order_of_the_filters also "3.9.3-2": order(V5, 0x8F);
    mqtt311_3_9_3_1_return_codes_stand_in_the_order_of_the_filters also "3.9.3-2": order(V311, 0x80);
}

fn flags(version: Version) {
    let mut scene = Scene::new();
    let right = subscribe(version, 1, &[("t", 0)]);
    for flags in (0..16).filter(|flags| *flags != 2) {
        let client = scene.client(version, "c");
        let wrong = [&[0x80 | flags], &right[1..]].concat();
        scene.offend(client, &wrong, 0x81);
    }
}

fn filters_are_text(version: Version) {
    let mut scene = Scene::new();
    for text in ILL_FORMED.iter().chain([&&b"a\0"[..]]) {
        for place in 0..2 {
            let client = scene.client(version, "c");
            let mut body = vec![0, 1];
            if version == V5 {
                body.push(0);
            }
            // Also when a good one stands before it.
            for _ in 0..place {
                body.extend([sized("good"), vec![0]].concat());
            }
            body.extend([sized(text), vec![0]].concat());
            scene.offend(client, &packet(0x82, &body), 0x81);
        }
    }
}

fn no_filter(version: Version) {
    let mut scene = Scene::new();
    let client = scene.client(version, "c");
    scene.offend(client, &subscribe(version, 1, &[]), 0x82);
    if version == V5 {
        let client = scene.client(version, "c");
        scene.offend(client, &subscribe_with(V5, 1, &wire::subscription_identifier(1), &[]), 0x82);
    }
    // A filter without its options is cut off.
    let client = scene.client(version, "c");
    let right = subscribe(version, 1, &[("t", 0)]);
    scene.offend(client, &packet(0x82, &right[2..right.len() - 1]), 0x81);
}

fn no_local() {
    let mut scene = Scene::new();
    let client = scene.subscriber(V5, "c", "t", 0x04);
    let other = scene.subscriber(V5, "other", "t", 0);
    scene.publish(client, "t", "own");
    scene.nothing(client);
    assert_eq!(scene.texts(other), ["own"]);
    scene.publish(other, "t", "foreign");
    assert_eq!(scene.texts(client), ["foreign"]);
    // It goes by the ClientID: what was published before the connection broke is its own still.
    let connect = Connect::new(V5, "twice").resuming();
    let (client, _) = scene.open(&connect);
    scene.subscribe(client, "u", 0x05);
    scene.bench.stall(client.line, true);
    scene.send(client, &Publish::new(V5, "u", "own").qos(1, 1).encode());
    scene.cut(client);
    let client = scene.dial(V5);
    assert_eq!(scene.exchange(client, &connect.encode()).len(), 1);
    // Another subscription without the option lets it through.
    scene.subscribe(client, "u/#", 0);
    scene.publish(client, "u", "own");
    assert_eq!(scene.texts(client), ["own"]);
}

fn no_local_shared() {
    let mut scene = Scene::new();
    let client = scene.client(V5, "c");
    scene.offend(client, &subscribe(V5, 1, &[("$share/g/t", 0x04)]), 0x82);
    scene.subscriber(V5, "c", "$share/g/t", 0);
}

fn reserved(version: Version) {
    let mut scene = Scene::new();
    for options in 0..=u8::MAX {
        let reserved = if version == V5 { 0xC0 } else { 0xFC };
        // QoS 3, and from 5.0 on Retain Handling 3, have no meaning either (section 3.8.3.1).
        let meaningless = options & 3 == 3 || version == V5 && options & 0x30 == 0x30;
        let client = scene.client(version, "c");
        let packets = scene.exchange(client, &subscribe(version, 1, &[("t", options)]));
        match (&packets[..], version) {
            ([Packet::Suback { .. }], _) => {
                assert!(options & reserved == 0 && !meaningless, "{options:#010b} was taken");
                assert!(!scene.is_closed(client));
                continue;
            }
            ([Packet::Disconnect { reason: 0x81, .. }], Version::V5) => {
                assert!(options & reserved != 0 || meaningless);
            }
            ([Packet::Disconnect { reason: 0x82, .. }], Version::V5) => assert!(meaningless),
            ([], Version::V311) => assert!(options & reserved != 0 || meaningless),
            _ => panic!("{packets:?}"),
        }
        assert!(scene.is_closed(client));
    }
}

/// The identifier and the reasons of the one SUBACK that has come.
#[track_caller]
fn suback(packet: Packet) -> (u16, Vec<u8>) {
    match packet {
        Packet::Suback { id, reasons, .. } => (id, reasons),
        other => panic!("{other:?}"),
    }
}

fn answered(version: Version) {
    let mut scene = Scene::new();
    let client = scene.client(version, "c");
    let granted =
        suback(scene.ask(client, &subscribe(version, 7, &[("a", 0), ("b", 1), ("c/#", 2), ("+", 1)])));
    assert_eq!(granted, (7, vec![0, 1, 2, 1]));
    // Several requests in one read get an answer each.
    let bytes = [subscribe(version, 3, &[("a", 1)]), subscribe(version, 4, &[("a", 2)])].concat();
    let answers: Vec<_> = scene.exchange(client, &bytes).into_iter().map(suback).collect();
    assert_eq!(answers, [(3, vec![1]), (4, vec![2])]);
}

fn replaced(version: Version) {
    let mut scene = Scene::new();
    let client = scene.client(version, "c");
    for qos in [2, 0, 1] {
        scene.subscribe(client, "t", qos);
        scene.send(client, &Publish::new(version, "t", "p").qos(2, 1).encode());
        let packets = scene.exchange(client, &wire::pubrel(1));
        let came: Vec<u8> = packets
            .iter()
            .filter_map(|packet| match packet {
                Packet::Publish(publish) => Some(publish.qos),
                _ => None,
            })
            .collect();
        // One delivery, at the QoS of the last subscription.
        assert_eq!(came, [qos]);
    }
    // One UNSUBSCRIBE is enough.
    scene.ask(client, &wire::unsubscribe(version, 1, &["t"]));
    scene.publish(client, "t", "p");
    scene.nothing(client);
}

fn replaced_without_loss(version: Version) {
    let mut scene = Scene::new();
    let client = scene.client(version, "c");
    let publisher = scene.client(version, "publisher");
    scene.retain(publisher, "t", "kept");
    for round in 0..2 {
        let packets = scene.subscribe(client, "t", 1);
        assert_eq!(packets.len(), 1, "round {round}");
        assert_eq!(packets[0].publish().text(), "kept");
        scene.send(client, &wire::puback(packets[0].publish().id));
    }
    // Between two others in one read, and with a window that is full.
    let bytes = [
        Publish::new(version, "t", "before").qos(1, 1).encode(),
        subscribe(version, 2, &[("t", 1)]),
        Publish::new(version, "t", "after").qos(1, 3).encode(),
    ]
    .concat();
    let texts: Vec<String> = scene
        .exchange(client, &bytes)
        .iter()
        .filter_map(|packet| match packet {
            Packet::Publish(publish) => Some(publish.text()),
            _ => None,
        })
        .collect();
    for text in ["before", "kept", "after"] {
        assert_eq!(texts.iter().filter(|came| *came == text).count(), 1, "{text}: {texts:?}");
    }
}

fn several(version: Version) {
    let mut scene = Scene::new();
    let publisher = scene.client(version, "publisher");
    scene.retain(publisher, "a", "of a");
    scene.retain(publisher, "b", "of b");
    let client = scene.client(version, "c");
    // The last of two equal filters holds, and each brings its retained messages.
    let packets = scene.exchange(client, &subscribe(version, 9, &[("a", 0), ("b", 1), ("a", 2)]));
    assert_eq!(suback(packets[0].clone()), (9, vec![0, 1, 2]));
    let mut texts: Vec<String> = packets[1..].iter().map(|packet| packet.publish().text()).collect();
    texts.dedup();
    assert!(texts.contains(&"of a".into()) && texts.contains(&"of b".into()), "{texts:?}");
    scene.send(publisher, &Publish::new(version, "a", "live").qos(2, 1).encode());
    let came = scene.publishes(client);
    assert_eq!(came.iter().map(|publish| publish.qos).collect::<Vec<_>>(), [2]);
}

fn order(version: Version, invalid: u8) {
    let mut scene = Scene::new();
    let client = scene.client(version, "c");
    let filters = [("a", 2), ("b/#/c", 1), ("c", 0), ("d+", 2), ("", 0), ("e", 1), ("$share/g", 1)];
    let (id, reasons) = suback(scene.ask(client, &subscribe(version, 5, &filters)));
    assert_eq!((id, reasons), (5, vec![2, invalid, 0, invalid, invalid, 1, invalid]));
    // All of them invalid is an answer, too.
    let (_, reasons) = suback(scene.ask(client, &subscribe(version, 6, &[("#a", 0)])));
    assert_eq!(reasons, [invalid]);
    scene.publish(client, "e", "p");
    assert_eq!(scene.texts(client), ["p"]);
}
