//! Section 3.3.1.3: RETAIN, and the options of subscriptions that are about it.

use crate::Version::{self, V5};
use crate::packet::Packet;
use crate::scene::{Client, Scene};
use crate::wire::{self, Connect, Publish, subscribe};

conformance! {
    mqtt5_3_3_1_5_a_retained_message_replaces_the_last: replaced(V5);
    mqtt311_3_3_1_5_a_retained_message_is_stored_with_its_qos also "3.3.1-6", "3.3.1-8": replaced(V311);
    mqtt311_3_3_1_7_a_retained_message_at_qos_0_replaces_the_last: at_qos_0(V311);
    mqtt5_3_3_1_6_an_empty_message_removes_what_was_retained also "3.3.1-7": removed(V5);
    mqtt311_3_3_1_10_an_empty_message_removes_what_was_retained also "3.3.1-11": removed(V311);
    mqtt5_3_3_1_8_without_retain_nothing_is_touched: untouched(V5);
    mqtt311_3_3_1_12_without_retain_nothing_is_touched: untouched(V311);
    mqtt5_3_3_1_9_retain_handling_0_sends_what_is_retained: handling(0, true, true);
    mqtt5_3_3_1_10_retain_handling_1_sends_it_to_new_subscriptions: handling(1, true, false);
    mqtt5_3_3_1_11_retain_handling_2_sends_nothing: handling(2, false, false);
    mqtt5_3_3_1_12_retain_as_published_0_clears_the_flag: as_published(V5, 0);
    mqtt311_3_3_1_9_the_flag_is_cleared_for_established_subscriptions: as_published(V311, 0);
    mqtt5_3_3_1_13_retain_as_published_1_keeps_the_flag: as_published(V5, 0x08);
    mqtt311_3_1_2_7_retained_messages_outlive_the_session: outlives(V311);
    mqtt5_3_3_1_5_retained_messages_outlive_the_session: outlives(V5);
}

/// What a new subscriber gets: topic, payload, QoS and RETAIN.
fn found(scene: &mut Scene, version: Version, filter: &str) -> Vec<(String, String, u8, bool)> {
    let late = scene.client(version, "late");
    let packets = scene.subscribe(late, filter, 2);
    let one = |packet: &Packet| {
        let publish = packet.publish();
        (publish.topic.clone(), publish.text(), publish.qos, publish.retain)
    };
    packets.iter().map(one).collect()
}

fn publish(scene: &mut Scene, client: Client, publish: &Publish) {
    scene.send(client, &publish.encode());
    scene.take(client);
}

fn replaced(version: Version) {
    let mut scene = Scene::new();
    let client = scene.client(version, "c");
    for qos in 0..3 {
        let text = format!("at {qos}");
        publish(&mut scene, client, &Publish::new(version, "a/b", &text).at(qos, 1).retained());
        let one = ("a/b".to_owned(), text, qos, true);
        for filter in ["a/b", "a/+", "#", "+/b"] {
            assert_eq!(found(&mut scene, version, filter), std::slice::from_ref(&one));
        }
        scene.send(client, &wire::pubrel(1));
        scene.take(client);
    }
    assert!(found(&mut scene, version, "a").is_empty());
    assert!(found(&mut scene, version, "+").is_empty());
    // Each topic has its own.
    publish(&mut scene, client, &Publish::new(version, "a/c", "c").retained());
    assert_eq!(found(&mut scene, version, "a/#").len(), 2);
}

fn at_qos_0(version: Version) {
    let mut scene = Scene::new();
    let client = scene.client(version, "c");
    scene.retain(client, "t", "at 1");
    publish(&mut scene, client, &Publish::new(version, "t", "at 0").retained());
    assert_eq!(found(&mut scene, version, "t"), [("t".to_owned(), "at 0".to_owned(), 0, true)]);
}

fn removed(version: Version) {
    let mut scene = Scene::new();
    let reader = scene.subscriber(version, "reader", "t", 0);
    let client = scene.client(version, "c");
    for qos in 0..3 {
        scene.retain(client, "t", "kept");
        assert_eq!(found(&mut scene, version, "t").len(), 1);
        publish(&mut scene, client, &Publish::new(version, "t", "").at(qos, 1).retained());
        assert!(found(&mut scene, version, "t").is_empty(), "QoS {qos}");
        // It was delivered all the same, with RETAIN 0.
        let came = scene.publishes(reader);
        assert_eq!(
            came.iter().map(|p| (p.text(), p.retain)).collect::<Vec<_>>(),
            [("kept".to_owned(), false), (String::new(), false)]
        );
        scene.send(client, &wire::pubrel(1));
        scene.take(client);
    }
}

fn untouched(version: Version) {
    let mut scene = Scene::new();
    let client = scene.client(version, "c");
    scene.publish(client, "fresh", "x");
    assert!(found(&mut scene, version, "fresh").is_empty());
    scene.retain(client, "t", "kept");
    for payload in ["other", ""] {
        for qos in 0..3 {
            publish(&mut scene, client, &Publish::new(version, "t", payload).at(qos, 1));
            scene.send(client, &wire::pubrel(1));
            scene.take(client);
        }
    }
    assert_eq!(found(&mut scene, version, "t"), [("t".to_owned(), "kept".to_owned(), 1, true)]);
}

fn handling(handling: u8, first: bool, second: bool) {
    let mut scene = Scene::new();
    let publisher = scene.client(V5, "publisher");
    scene.retain(publisher, "t", "kept");
    let connect = Connect::new(V5, "c").resuming();
    let (client, _) = scene.open(&connect);
    let asked = |scene: &mut Scene, client| !scene.subscribe(client, "t", handling << 4).is_empty();
    assert_eq!(asked(&mut scene, client), first);
    assert_eq!(asked(&mut scene, client), second);
    // A resumed session has its subscription still.
    scene.cut(client);
    let (client, _) = scene.open(&connect);
    scene.nothing(client);
    assert_eq!(asked(&mut scene, client), second);
    // After UNSUBSCRIBE it is new again.
    scene.ask(client, &wire::unsubscribe(V5, 1, &["t"]));
    assert_eq!(asked(&mut scene, client), first);
    // 3 is no value: a Protocol Error (section 3.8.3.1).
    scene.offend(client, &subscribe(V5, 1, &[("t", 0x30)]), 0x82);
}

fn as_published(version: Version, option: u8) {
    let mut scene = Scene::new();
    let reader = scene.subscriber(version, "reader", "t", 2 | option);
    let client = scene.client(version, "c");
    for qos in 0..3u8 {
        publish(
            &mut scene,
            client,
            &Publish::new(version, "t", "kept").at(qos, 1 + u16::from(qos)).retained(),
        );
        publish(&mut scene, client, &Publish::new(version, "t", "not").at(qos, 11 + u16::from(qos)));
    }
    let flags: Vec<bool> = scene.publishes(reader).iter().map(|publish| publish.retain).collect();
    let kept = option != 0;
    assert_eq!(flags, [kept, false, kept, false, kept, false]);
    // What comes because of a subscription has the flag whatever the option.
    let late = scene.client(version, "late");
    assert!(scene.subscribe(late, "t", option)[0].publish().retain);
}

fn outlives(version: Version) {
    let mut scene = Scene::new();
    let client = scene.client(version, "c");
    scene.retain(client, "t", "kept");
    scene.cut(client);
    scene.wait(1_000_000);
    scene.client(version, "c");
    assert_eq!(found(&mut scene, version, "t").len(), 1);
}
