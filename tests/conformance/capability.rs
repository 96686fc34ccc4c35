//! Sections 3.2.2.3.4 to 3.2.2.3.5: what a gateway that is set up with less says and refuses.

use crate::Version::{V5, V311};
use crate::packet::Packet;
use crate::scene::{Scene, Setup};
use crate::wire::{self, Connect, Publish, Will, subscribe, subscribe_with};

conformance! {
    mqtt5_3_2_2_9_a_maximum_qos_is_told also "3.2.2-10": maximum_qos();
    mqtt5_3_2_2_11_a_publish_above_the_maximum_qos_is_refused: publish_above_maximum_qos();
    mqtt5_3_2_2_12_a_will_above_the_maximum_qos_is_refused: will_above_maximum_qos();
    mqtt5_3_2_2_13_a_retained_will_is_refused_without_retaining: retained_will();
    mqtt5_3_2_2_14_a_retained_publish_is_refused_without_retaining: retained_publish();
    mqtt311_3_8_3_2_wildcards_are_refused_where_there_are_none: no_wildcards();
    mqtt5_4_13_1_1_filters_that_are_not_supported_end_the_connection: not_supported();
}

const WILDCARD_AVAILABLE: u8 = 0x28;
const IDENTIFIERS_AVAILABLE: u8 = 0x29;
const SHARED_AVAILABLE: u8 = 0x2A;

fn scene(change: impl FnOnce(&mut protocol_mqtt::Config)) -> Scene {
    let mut setup = Setup::default();
    change(&mut setup.mqtt);
    Scene::with(setup)
}

fn maximum_qos() {
    for maximum in 0..3 {
        let mut scene = scene(|config| config.maximum_qos = maximum);
        let (client, connack) = scene.open(&Connect::new(V5, "c"));
        let told = (maximum < 2).then_some(u32::from(maximum));
        assert_eq!(connack.number(wire::MAXIMUM_QOS), told);
        // Subscriptions of any QoS are taken, and granted what there is.
        for qos in 0..3 {
            let suback = scene.ask(client, &subscribe(V5, 1, &[("t", qos)]));
            let Packet::Suback { reasons, .. } = suback else { panic!("{suback:?}") };
            assert_eq!(reasons, [qos.min(maximum)]);
        }
    }
}

fn publish_above_maximum_qos() {
    for maximum in 0..2 {
        let mut scene = scene(|config| config.maximum_qos = maximum);
        for qos in 0..3 {
            let client = scene.client(V5, "c");
            let bytes = Publish::new(V5, "t", "p").at(qos, 1).encode();
            if qos > maximum {
                scene.offend(client, &bytes, 0x9B);
            } else {
                scene.exchange(client, &bytes);
                scene.lives(client);
            }
        }
    }
}

fn will_above_maximum_qos() {
    let mut scene = scene(|config| config.maximum_qos = 1);
    let connect = |qos| Connect::new(V5, "c").will(Will::new("will", "gone").qos(qos));
    scene.refused(V5, &connect(2).encode(), Some(0x9B));
    scene.open(&connect(1));
}

fn retained_will() {
    let mut scene = scene(|config| config.retain_available = false);
    let connect = Connect::new(V5, "c").will(Will::new("will", "gone").retained());
    scene.refused(V5, &connect.encode(), Some(0x9A));
    let (_, connack) = scene.open(&Connect::new(V5, "c").will(Will::new("will", "gone")));
    assert_eq!(connack.number(wire::RETAIN_AVAILABLE), Some(0));
}

fn retained_publish() {
    let mut scene = scene(|config| config.retain_available = false);
    for qos in 0..3 {
        let client = scene.client(V5, "c");
        scene.offend(client, &Publish::new(V5, "t", "p").at(qos, 1).retained().encode(), 0x9A);
    }
}

fn no_wildcards() {
    let mut scene = scene(|config| config.wildcard_subscriptions = false);
    let client = scene.client(V311, "c");
    let filters = [("a/+", 0), ("a", 1), ("#", 2)];
    let suback = scene.ask(client, &subscribe(V311, 1, &filters));
    let Packet::Suback { reasons, .. } = suback else { panic!("{suback:?}") };
    assert_eq!(reasons, [0x80, 1, 0x80]);
    scene.publish(client, "a/b", "p");
    scene.nothing(client);
}

/// MQTT 5.0 sections 3.2.2.3.11 to 3.2.2.3.13: a Protocol Error, each with its own reason.
fn not_supported() {
    let mut scene = scene(|config| {
        config.wildcard_subscriptions = false;
        config.shared_subscriptions = false;
        config.subscription_identifiers = false;
    });
    let (_, connack) = scene.open(&Connect::new(V5, "c"));
    let told =
        [WILDCARD_AVAILABLE, IDENTIFIERS_AVAILABLE, SHARED_AVAILABLE].map(|given| connack.number(given));
    assert_eq!(told, [Some(0); 3]);
    let wrong = [
        (subscribe(V5, 1, &[("t", 0), ("a/+", 0)]), 0xA2),
        (subscribe(V5, 1, &[("$share/g/t", 0)]), 0x9E),
        (subscribe_with(V5, 1, &wire::subscription_identifier(1), &[("t", 0)]), 0xA1),
    ];
    for (bytes, reason) in wrong {
        let client = scene.client(V5, "c");
        scene.offend(client, &bytes, reason);
    }
    scene.subscriber(V5, "c", "t", 2);
}
