//! Sections 3.15 and 4.12: AUTH and enhanced authentication.

use crate::Version::V5;
use crate::packet::Packet;
use crate::scene::Scene;
use crate::wire::{self, Connect, auth, text};

conformance! {
    mqtt5_3_15_1_1_the_flags_of_auth_are_0: flags();
    mqtt5_3_15_2_1_reasons_of_auth_are_those_defined: reasons();
    mqtt5_4_12_0_1_an_unknown_method_is_refused: unknown_method();
    mqtt5_4_12_0_6_without_a_method_there_is_no_auth: no_method();
    mqtt5_4_12_0_7_auth_without_a_method_is_an_error: auth_without_method();
}

fn method(name: &str) -> Vec<u8> {
    text(wire::AUTHENTICATION_METHOD, name)
}

fn unknown_method() {
    let mut scene = Scene::new();
    for name in ["unknown", "", "PLAIN", "scram-sha-256"] {
        scene.refused(V5, &Connect::new(V5, "c").with(method(name)).encode(), Some(0x8C));
    }
}

fn no_method() {
    let mut scene = Scene::new();
    let (client, connack) = scene.open(&Connect::new(V5, "c"));
    assert!(!connack.has(wire::AUTHENTICATION_METHOD) && !connack.has(wire::AUTHENTICATION_DATA));
    scene.lives(client);
}

fn auth_without_method() {
    let mut scene = Scene::new();
    for reason in [0x00, 0x18, 0x19] {
        let client = scene.client(V5, "c");
        scene.offend(client, &auth(reason, &method("SCRAM-SHA-256")), 0x82);
        let client = scene.client(V5, "c");
        scene.offend(client, &auth(reason, &[]), 0x82);
    }
}

fn flags() {
    let mut scene = Scene::new();
    for flags in 1..16 {
        let client = scene.client(V5, "c");
        let mut bytes = auth(0x19, &method("SCRAM-SHA-256"));
        bytes[0] |= flags;
        scene.offend(client, &bytes, 0x81);
    }
}

fn reasons() {
    let mut scene = Scene::new();
    for reason in (0..=u8::MAX).filter(|reason| ![0x00, 0x18, 0x19].contains(reason)) {
        let client = scene.client(V5, "c");
        let packets = scene.exchange(client, &auth(reason, &method("SCRAM-SHA-256")));
        let [Packet::Disconnect { reason: 0x81 | 0x82, .. }] = packets[..] else {
            panic!("{reason:#04x}: {packets:?}");
        };
        assert!(scene.is_closed(client));
    }
}
