//! Sections 3.12 and 3.14: PINGREQ and DISCONNECT.

use crate::Version::{self, V5, V311};
use crate::packet::Packet;
use crate::scene::Scene;
use crate::wire::{self, Connect, GOODBYE, PINGREQ, Publish, Will, packet};

conformance! {
    mqtt5_3_12_4_1_pingreq_is_answered_by_pingresp: ping(V5);
    mqtt311_3_12_4_1_pingreq_is_answered_by_pingresp: ping(V311);
    mqtt5_3_14_0_1_no_disconnect_before_connack: no_disconnect_before_connack();
    mqtt5_3_14_1_1_the_flags_of_disconnect_are_0: flags(V5);
    mqtt311_3_14_1_1_the_flags_of_disconnect_are_0: flags(V311);
    mqtt5_3_14_2_1_reasons_of_disconnect_are_those_defined: reasons();
    mqtt5_3_14_2_2_the_gateway_sets_no_session_expiry: no_session_expiry();
    mqtt5_3_14_4_1_after_disconnect_nothing_is_heard also "3.14.4-2": nothing_after(V5);
    mqtt311_3_14_4_2_after_disconnect_nothing_is_heard: nothing_after(V311);
    mqtt5_3_14_4_3_only_a_disconnect_of_0_takes_the_will_back: will_by_reason();
}

fn ping(version: Version) {
    let mut scene = Scene::new();
    let client = scene.client(version, "c");
    scene.send(client, PINGREQ);
    assert_eq!(scene.bench.received(client.line), b"\xD0\x00");
    let packets = scene.exchange(client, &PINGREQ.repeat(100));
    assert_eq!(packets, vec![Packet::Pingresp; 100]);
    scene.offend(client, b"\xC0\x01\x00", 0x81);
}

fn no_disconnect_before_connack() {
    let mut scene = Scene::new();
    let connects = [
        packet(0x10, b"\0\x04MQTT\x05\x01\0\0\0\0\x01c"),
        Connect::new(V5, &"x".repeat(2000)).encode(),
        Connect::new(V5, "c").with(wire::two(wire::RECEIVE_MAXIMUM, 0)).encode(),
        Connect::new(V5, "c").with(wire::text(wire::AUTHENTICATION_METHOD, "unknown")).encode(),
        PINGREQ.to_vec(),
        GOODBYE.to_vec(),
    ];
    for bytes in connects {
        let client = scene.dial(V5);
        let packets = scene.exchange(client, &bytes);
        assert!(
            matches!(packets[..], [] | [Packet::Connack { reason: 0x80.., .. }]),
            "{packets:?} to {bytes:02x?}"
        );
        assert!(scene.is_closed(client));
    }
    // Nor to one that says nothing, or when the gateway ends.
    let silent = scene.dial(V5);
    scene.wait(60);
    assert!(scene.is_closed(silent));
    scene.nothing(silent);
    let (early, open) = (scene.dial(V5), scene.client(V5, "c"));
    scene.bench.stop();
    scene.nothing(early);
    assert!(scene.is_closed(early));
    scene.dismissed(open, 0x8B);
}

fn flags(version: Version) {
    let mut scene = Scene::new();
    let watcher = scene.subscriber(version, "watcher", "will", 0);
    for flags in 1..16 {
        let (client, _) = scene.open(&Connect::new(version, "c").will(Will::new("will", "gone")));
        scene.offend(client, &[0xE0 | flags, 0], 0x81);
        // It was no goodbye.
        assert_eq!(scene.texts(watcher), ["gone"]);
    }
    if version == V311 {
        let client = scene.client(version, "c");
        scene.offend(client, b"\xE0\x01\x00", 0x81);
    }
}

/// Section 2.4, and which of them a client may send.
const OF_CLIENTS: [u8; 14] =
    [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];
const OF_SERVERS_ONLY: [u8; 16] =
    [0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2];

fn reasons() {
    let mut scene = Scene::new();
    for reason in 0..=u8::MAX {
        let client = scene.client(V5, "c");
        let packets = scene.exchange(client, &wire::disconnect(reason, &[]));
        assert!(scene.is_closed(client));
        let refused = matches!(packets[..], [Packet::Disconnect { reason: 0x81 | 0x82, .. }]);
        if OF_CLIENTS.contains(&reason) {
            assert!(packets.is_empty(), "{reason:#04x}: {packets:?}");
        } else if !OF_SERVERS_ONLY.contains(&reason) {
            assert!(refused, "{reason:#04x}: {packets:?}");
        } else {
            assert!(refused || packets.is_empty(), "{reason:#04x}: {packets:?}");
        }
    }
    // Every DISCONNECT of ours is of one of them, too.
    let mut sent = std::collections::BTreeSet::new();
    for bytes in crate::sequences::broken_bytes(V5) {
        let client = scene.client(V5, "c");
        if let Some(Packet::Disconnect { reason, .. }) = scene.exchange(client, &bytes).last() {
            sent.insert(*reason);
        }
    }
    let defined =
        |reason: &u8| *reason != 4 && (OF_CLIENTS.contains(reason) || OF_SERVERS_ONLY.contains(reason));
    assert!(sent.iter().all(defined) && sent.len() > 2, "{sent:02x?}");
}

fn no_session_expiry() {
    let mut scene = Scene::new();
    // Whatever it ends by; `Packet::parse` refuses the property.
    let resuming = Connect::new(V5, "c").resuming();
    type Way<'a> = &'a dyn Fn(&mut Scene, crate::scene::Client);
    let ways: [Way; 4] = [
        &|scene, client| scene.send(client, &resuming.encode()),
        &|scene, _| {
            scene.client(V5, "c");
        },
        &|scene, client| scene.send(client, b"\xC0\x01\x00"),
        &|scene, _| scene.bench.stop(),
    ];
    for way in ways {
        let (client, _) = scene.open(&resuming);
        way(&mut scene, client);
        let Packet::Disconnect { properties, .. } = scene.one(client) else { panic!("no DISCONNECT") };
        assert!(properties.iter().all(|property| property.identifier != wire::SESSION_EXPIRY));
    }
}

fn nothing_after(version: Version) {
    let mut scene = Scene::new();
    let reader = scene.subscriber(version, "reader", "t", 0);
    let client = scene.client(version, "c");
    let bytes = [GOODBYE, &Publish::new(version, "t", "late").encode(), PINGREQ].concat();
    scene.send(client, &bytes);
    scene.nothing(client);
    assert!(scene.is_closed(client));
    scene.nothing(reader);
    // The gateway's own is its last word, too.
    let client = scene.subscriber(version, "c", "t", 0);
    let bytes = [wire::packet(0xD0, b""), Publish::new(version, "t", "late").encode(), PINGREQ.to_vec()];
    scene.offend(client, &bytes.concat(), 0x82);
    scene.publish(reader, "t", "p");
    scene.nothing(client);
}

fn will_by_reason() {
    let mut scene = Scene::new();
    let watcher = scene.subscriber(V5, "watcher", "will", 0);
    for reason in OF_CLIENTS {
        let (client, _) = scene.open(&Connect::new(V5, "c").will(Will::new("will", "gone")));
        scene.send(client, &wire::disconnect(reason, &[]));
        assert_eq!(scene.texts(watcher).len(), usize::from(reason != 0), "{reason:#04x}");
    }
    // Without a reason it is 0.
    let (client, _) = scene.open(&Connect::new(V5, "c").will(Will::new("will", "gone")));
    scene.leave(client);
    scene.nothing(watcher);
}
