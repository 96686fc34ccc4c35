//! Sections 3.10 and 3.11: UNSUBSCRIBE and UNSUBACK.

use crate::Version::{self, V5};
use crate::format::ILL_FORMED;
use crate::packet::Packet;
use crate::scene::Scene;
use crate::wire::{self, Connect, Publish, packet, sized, subscribe, unsubscribe};

conformance! {
    mqtt5_3_10_1_1_the_flags_of_unsubscribe_are_0010: flags(V5);
    mqtt311_3_10_1_1_the_flags_of_unsubscribe_are_0010: flags(V311);
    mqtt5_3_10_3_1_filters_are_text: filters_are_text(V5);
    mqtt311_3_10_3_1_filters_are_text: filters_are_text(V311);
    mqtt5_3_10_3_2_there_is_a_filter: no_filter(V5);
    mqtt311_3_10_3_2_there_is_a_filter: no_filter(V311);
    mqtt5_3_10_4_1_filters_are_compared_character_by_character: compared(V5);
    mqtt311_3_10_4_1_filters_are_compared_character_by_character: compared(V311);
    mqtt5_3_10_4_2_nothing_new_is_delivered: nothing_new(V5);
    mqtt311_3_10_4_2_nothing_new_is_delivered: nothing_new(V311);
    mqtt5_3_10_4_3_what_has_begun_is_completed: completed(V5);
    mqtt311_3_10_4_3_what_has_begun_is_completed: completed(V311);
    mqtt5_3_10_4_4_unsubscribe_is_answered_by_unsuback also "3.10.4-5", "3.11.3-2": answered(V5);
    mqtt311_3_10_4_4_unsubscribe_is_answered_by_unsuback also "3.10.4-5": answered(V311);
    mqtt5_3_10_4_6_several_filters_are_several_requests also "3.11.3-1": several(V5);
    mqtt311_3_10_4_6_several_filters_are_several_requests: several(V311);
}

fn flags(version: Version) {
    let mut scene = Scene::new();
    let right = unsubscribe(version, 1, &["t"]);
    for flags in (0..16).filter(|flags| *flags != 2) {
        let client = scene.client(version, "c");
        scene.offend(client, &[&[0xA0 | flags], &right[1..]].concat(), 0x81);
    }
}

fn filters_are_text(version: Version) {
    let mut scene = Scene::new();
    for text in ILL_FORMED.iter().chain([&&b"a\0"[..]]) {
        let client = scene.client(version, "c");
        let properties: &[u8] = if version == V5 { &[0] } else { &[] };
        let body = [&[0, 1], properties, &sized("good"), &sized(text)].concat();
        scene.offend(client, &packet(0xA2, &body), 0x81);
    }
}

fn no_filter(version: Version) {
    let mut scene = Scene::new();
    let client = scene.client(version, "c");
    scene.offend(client, &unsubscribe(version, 1, &[]), 0x82);
}

#[track_caller]
fn unsuback(packet: Packet) -> (u16, Vec<u8>) {
    match packet {
        Packet::Unsuback { id, reasons, .. } => (id, reasons),
        other => panic!("{other:?}"),
    }
}

/// What UNSUBACK says; MQTT 3.1.1 says nothing.
fn reasons(version: Version, reasons: &[u8]) -> Vec<u8> {
    if version == V5 { reasons.to_vec() } else { Vec::new() }
}

fn compared(version: Version) {
    let mut scene = Scene::new();
    let filters = ["a/b", "a/+", "a/#", "A/b", "a//b", "/a/b"];
    let client = scene.client(version, "c");
    for filter in filters {
        scene.subscribe(client, filter, 0);
    }
    // None of these is one of those, though they match the same topics or look alike.
    for other in ["#", "+/b", "a/B", "a/b/", "a", "+/+", "\u{FEFF}a/b"] {
        let (_, said) = unsuback(scene.ask(client, &unsubscribe(version, 1, &[other])));
        assert_eq!(said, reasons(version, &[0x11]), "{other}");
    }
    for filter in filters {
        let (_, said) = unsuback(scene.ask(client, &unsubscribe(version, 1, &[filter])));
        assert_eq!(said, reasons(version, &[0x00]), "{filter}");
        let (_, said) = unsuback(scene.ask(client, &unsubscribe(version, 1, &[filter])));
        assert_eq!(said, reasons(version, &[0x11]), "{filter}");
        scene.publish(client, "a/b", "p");
        let left = filters.iter().position(|f| *f == filter) < Some(2);
        assert_eq!(scene.publishes(client).len(), usize::from(left), "after {filter}");
    }
}

fn nothing_new(version: Version) {
    let mut scene = Scene::new();
    let connect = Connect::new(version, "c").resuming();
    let (client, _) = scene.open(&connect);
    scene.subscribe(client, "t", 2);
    scene.subscribe(client, "other", 2);
    scene.ask(client, &unsubscribe(version, 1, &["t"]));
    let publisher = scene.client(version, "publisher");
    for qos in 0..3 {
        scene.send(publisher, &Publish::new(version, "t", "p").at(qos, 1).encode());
    }
    scene.nothing(client);
    // Nor while it is away, or after it came back.
    scene.cut(client);
    scene.send(publisher, &Publish::new(version, "t", "p").qos(1, 2).encode());
    let client = scene.dial(version);
    assert_eq!(scene.exchange(client, &connect.encode()).len(), 1);
    scene.publish(publisher, "other", "p");
    assert_eq!(scene.texts(client), ["p"]);
}

fn completed(version: Version) {
    let mut scene = Scene::new();
    let connect = Connect::new(version, "c").resuming();
    let (client, _) = scene.open(&connect);
    scene.subscribe(client, "t", 2);
    let publisher = scene.client(version, "publisher");
    for qos in [1, 2] {
        scene.send(publisher, &Publish::new(version, "t", format!("{qos}")).qos(qos, 1).encode());
    }
    let begun = scene.publishes(client);
    assert_eq!(begun.len(), 2);
    scene.ask(client, &unsubscribe(version, 1, &["t"]));
    // They are in flight still: a new connection brings them again.
    scene.cut(client);
    let client = scene.dial(version);
    let packets = scene.exchange(client, &connect.encode());
    let again: Vec<u16> = packets[1..].iter().map(|packet| packet.publish().id).collect();
    assert_eq!(again, [begun[0].id, begun[1].id]);
    scene.send(client, &wire::puback(begun[0].id));
    assert_eq!(scene.ask(client, &wire::pubrec(begun[1].id)).acknowledgement().reason, 0);
    scene.send(client, &wire::pubcomp(begun[1].id));
    scene.lives(client);
}

fn answered(version: Version) {
    let mut scene = Scene::new();
    let client = scene.client(version, "c");
    assert_eq!(
        unsuback(scene.ask(client, &unsubscribe(version, 3, &["never"]))),
        (3, reasons(version, &[0x11]))
    );
    scene.subscribe(client, "t", 0);
    scene.send(client, &unsubscribe(version, 4, &["t"]));
    let bytes = scene.bench.received(client.line);
    let expected: &[u8] = if version == V5 { b"\xB0\x04\0\x04\0\0" } else { b"\xB0\x02\0\x04" };
    assert_eq!(bytes, expected);
    // One that is no filter has a reason of its own, and no session is harmed by it.
    assert_eq!(
        unsuback(scene.ask(client, &unsubscribe(version, 5, &["a/#/b"]))),
        (5, reasons(version, &[0x8F]))
    );
}

fn several(version: Version) {
    let mut scene = Scene::new();
    let client = scene.client(version, "c");
    scene.ask(client, &subscribe(version, 1, &[("a", 0), ("b", 0), ("c", 0)]));
    let filters = ["a", "x", "c", "a", "#b"];
    let answer = unsuback(scene.ask(client, &unsubscribe(version, 2, &filters)));
    assert_eq!(answer, (2, reasons(version, &[0x00, 0x11, 0x00, 0x11, 0x8F])));
    for topic in ["a", "b", "c"] {
        scene.publish(client, topic, topic);
    }
    assert_eq!(scene.texts(client), ["b"]);
}
