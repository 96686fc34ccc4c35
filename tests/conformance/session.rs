//! Section 4.1: how long a session lasts. Section 4.13 and 4.8 of 3.1.1: errors.

use std::time::Duration;

use crate::Version::{self, V5, V311};
use crate::packet::Packet;
use crate::scene::{Scene, Setup};
use crate::wire::{self, Connect, Publish, four, subscribe};

conformance! {
    mqtt5_4_1_0_1_state_is_kept_while_connected: kept(V5);
    mqtt311_4_1_0_1_state_is_kept_as_long_as_the_session also "4.1.0-2": kept(V311);
    mqtt5_4_1_0_2_a_session_ends_when_its_expiry_has_passed: expiry();
    mqtt5_4_1_0_2_disconnect_may_change_the_expiry: changed_expiry();
    mqtt5_4_13_1_1_errors_end_the_connection also "4.13.2-1": errors(V5);
    mqtt311_4_8_0_1_violations_end_the_connection: errors(V311);
    mqtt311_4_8_0_2_what_cannot_be_done_now_ends_the_connection: transient();
}

fn is_present(connack: &Packet) -> bool {
    matches!(connack, Packet::Connack { session_present: true, .. })
}

fn kept(version: Version) {
    let mut scene = Scene::new();
    // A connection of months with a session that ends with it: nothing is forgotten meanwhile.
    let client = scene.subscriber(version, "c", "t", 2);
    let sender = scene.client(version, "sender");
    scene.send(sender, &Publish::new(version, "t", "p").qos(2, 1).encode());
    let came = scene.publishes(client).remove(0);
    scene.ask(client, &Publish::new(version, "u", "p").qos(2, 8).encode());
    scene.wait(100 * 24 * 3600);
    assert_eq!(scene.ask(client, &wire::pubrec(came.id)).acknowledgement().reason, 0);
    assert_eq!(scene.ask(client, &wire::pubrel(8)).acknowledgement().reason, 0);
    scene.publish(client, "t", "still subscribed");
    assert_eq!(scene.texts(client), ["still subscribed"]);
}

fn expiry() {
    let mut scene = Scene::new();
    for (secs, wait, present) in
        [(0, 0, false), (1, 0, true), (10, 9, true), (10, 10, false), (u32::MAX, 100_000_000, true)]
    {
        let connect =
            Connect { clean: false, ..Connect::new(V5, "c") }.with(four(wire::SESSION_EXPIRY, secs));
        let (client, _) = scene.open(&connect);
        scene.subscribe(client, "t", 1);
        scene.cut(client);
        scene.wait(wait);
        let (client, connack) = scene.open(&Connect { clean: false, ..Connect::new(V5, "c") });
        assert_eq!(is_present(&connack), present, "{secs} s, after {wait}");
        // The subscription went with it.
        scene.publish(client, "t", "x");
        assert_eq!(scene.publishes(client).len(), usize::from(present));
        scene.leave(client);
    }
    // Absent it is 0, and the gateway's limit is told.
    let limits =
        gateway_bus::Limits { session_expiry_max: Some(Duration::from_secs(60)), ..Default::default() };
    let mut scene = Scene::with(Setup { limits, ..Default::default() });
    let (_, connack) = scene.open(&Connect::new(V5, "c").with(four(wire::SESSION_EXPIRY, 61)));
    assert_eq!(connack.number(wire::SESSION_EXPIRY), Some(60));
}

fn changed_expiry() {
    let mut scene = Scene::new();
    let connect =
        |secs| Connect { clean: false, ..Connect::new(V5, "c") }.with(four(wire::SESSION_EXPIRY, secs));
    for (from, to, wait, present) in [(100, 0, 0, false), (100, 10, 10, false), (10, 100, 99, true)] {
        let (client, _) = scene.open(&connect(from));
        scene.send(client, &wire::disconnect(0, &four(wire::SESSION_EXPIRY, to)));
        assert!(scene.is_closed(client));
        scene.wait(wait);
        let (client, connack) = scene.open(&connect(0));
        assert_eq!(is_present(&connack), present, "{from} to {to}, after {wait}");
        scene.leave(client);
    }
    // From 0 it may not be raised (section 3.14.2.2.2).
    let (client, _) = scene.open(&connect(0));
    scene.offend(client, &wire::disconnect(0, &four(wire::SESSION_EXPIRY, 1)), 0x82);
}

fn errors(version: Version) {
    let mut scene = Scene::new();
    let other = scene.subscriber(version, "other", "t", 1);
    let malformed =
        [&b"\x30\x00"[..], b"\x82\x02\x00\x01", b"\xC0\x01\x00", b"\x36\x04\x00\x01t\x00", b"\xFF\x00"];
    for bytes in malformed {
        let client = scene.client(version, "c");
        scene.send(client, bytes);
        let packets = scene.take(client);
        match (version, &packets[..]) {
            (Version::V5, [Packet::Disconnect { reason: 0x81 | 0x82, .. }])
            | (Version::V311 | Version::V31, []) => {}
            _ => panic!("{packets:?} to {bytes:02x?}"),
        }
        assert!(scene.is_closed(client), "{bytes:02x?}");
    }
    for bytes in [Connect::new(version, "c").encode(), wire::packet(0xD0, b""), wire::packet(0x20, b"\0\0")] {
        let client = scene.client(version, "c");
        scene.offend(client, &bytes, 0x82);
    }
    // The others do not notice.
    scene.publish(other, "t", "p");
    assert_eq!(scene.texts(other), ["p"]);
    // And the state of the session is not touched but by its expiry.
    let (client, _) = scene.open(&Connect::new(version, "kept").resuming());
    scene.exchange(client, &subscribe(version, 1, &[("t", 1)]));
    scene.send(client, b"\x30\x00");
    assert!(is_present(&scene.open(&Connect::new(version, "kept").resuming()).1));
}

/// A publish that cannot be stored: 3.1.1 has no word for it.
fn transient() {
    let limits = gateway_bus::Limits { retained_messages_max: 1, ..Default::default() };
    let mut scene = Scene::with(Setup { limits, ..Default::default() });
    let other = scene.client(V311, "other");
    let client = scene.client(V311, "c");
    scene.retain(client, "a", "kept");
    scene.send(client, &Publish::new(V311, "b", "too many").qos(1, 1).retained().encode());
    assert!(scene.take(client).is_empty(), "acknowledged what is not stored");
    assert!(scene.is_closed(client));
    scene.lives(other);
}
