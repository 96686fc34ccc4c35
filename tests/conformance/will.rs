//! Wills: sections 3.1.2.5 to 3.1.2.7 and 3.1.3.2.

use crate::Version::{self, V5, V311};
use crate::packet::Value;
use crate::scene::Scene;
use crate::wire::{self, Connect, Will, four};

conformance! {
    mqtt5_3_1_2_7_a_will_is_stored_and_published also "3.1.2-8": published(V5);
    mqtt311_3_1_2_8_a_will_is_stored_and_published: published(V311);
    mqtt5_3_1_2_8_a_will_waits_for_its_delay_or_the_end_of_the_session: delayed();
    mqtt5_3_1_2_10_a_will_is_gone_when_published_or_taken_back also "3.14.4-3": gone(V5);
    mqtt311_3_1_2_10_a_will_is_gone_when_published_or_taken_back also "3.14.4-3": gone(V311);
    mqtt311_3_1_2_12_without_a_will_there_is_none: none();
    mqtt5_3_1_2_14_a_will_is_not_retained_unasked: retained(V5, false);
    mqtt311_3_1_2_16_a_will_is_not_retained_unasked: retained(V311, false);
    mqtt5_3_1_2_15_a_will_is_retained: retained(V5, true);
    mqtt311_3_1_2_17_a_will_is_retained: retained(V311, true);
    mqtt5_3_1_3_9_who_comes_back_in_time_is_not_dead: back_in_time();
    mqtt5_3_1_3_10_user_properties_of_a_will_keep_their_order: properties();
}

fn will() -> Will {
    Will::new("will", "gone").qos(1)
}

/// However the connection ends but by a goodbye.
fn published(version: Version) {
    let mut scene = Scene::new();
    let watcher = scene.subscriber(version, "watcher", "will", 2);
    for qos in 0..3 {
        for way in ["cut", "violation", "takeover", "silence"] {
            println!("QoS {qos}, {way}");
            let connect = Connect::new(version, "c").keep_alive(10).will(Will::new("will", "gone").qos(qos));
            let (client, _) = scene.open(&connect);
            scene.nothing(watcher);
            match way {
                "cut" => scene.cut(client),
                "violation" => scene.send(client, &connect.encode()),
                "takeover" => {
                    scene.client(version, "c");
                }
                _ => scene.wait(15),
            }
            let came = scene.publishes(watcher);
            assert_eq!(came.len(), 1, "{came:?}");
            assert_eq!((came[0].text().as_str(), came[0].qos, came[0].retain), ("gone", qos, false));
            acknowledge(&mut scene, watcher, &came[0]);
        }
    }
    // MQTT 5.0 has a goodbye that asks for the will.
    if version == V5 {
        let (client, _) = scene.open(&Connect::new(V5, "c").will(will()));
        scene.send(client, &wire::disconnect(0x04, &[]));
        assert_eq!(scene.texts(watcher), ["gone"]);
    }
}

fn acknowledge(scene: &mut Scene, client: crate::scene::Client, publish: &crate::packet::Publish) {
    match publish.qos {
        1 => scene.send(client, &wire::puback(publish.id)),
        2 => {
            scene.ask(client, &wire::pubrec(publish.id));
            scene.send(client, &wire::pubcomp(publish.id));
        }
        _ => {}
    }
    scene.nothing(client);
}

fn delayed() {
    let mut scene = Scene::new();
    let watcher = scene.subscriber(V5, "watcher", "will", 0);
    let connect = |expiry: u32, delay: u32| {
        Connect { clean: false, ..Connect::new(V5, "c") }
            .with(four(wire::SESSION_EXPIRY, expiry))
            .will(will().with(four(wire::WILL_DELAY, delay)))
    };
    for (expiry, delay, moment) in [(100, 10, 10), (10, 100, 10), (0, 100, 0)] {
        let (client, _) = scene.open(&connect(expiry, delay));
        scene.cut(client);
        if moment > 0 {
            scene.wait_millis(moment * 1000 - 1);
            scene.nothing(watcher);
            scene.wait_millis(1);
        }
        assert_eq!(scene.texts(watcher), ["gone"], "expiry {expiry}, delay {delay}");
        scene.wait(200);
        scene.nothing(watcher);
    }
    // The session ends because a clean one takes its place: so does the wait.
    let (client, _) = scene.open(&connect(100, 50));
    scene.cut(client);
    scene.client(V5, "c");
    assert_eq!(scene.texts(watcher), ["gone"]);
}

fn gone(version: Version) {
    let mut scene = Scene::new();
    let watcher = scene.subscriber(version, "watcher", "will", 0);
    let connect = Connect::new(version, "c").resuming();
    let (client, _) = scene.open(&connect.clone().will(will()));
    scene.leave(client);
    scene.wait(10_000);
    scene.nothing(watcher);
    // Published once: the next connection of the session has none of its own.
    let (client, _) = scene.open(&connect.clone().will(will()));
    scene.cut(client);
    assert_eq!(scene.texts(watcher), ["gone"]);
    let (client, _) = scene.open(&connect);
    scene.cut(client);
    scene.wait(10_000);
    scene.nothing(watcher);
}

fn none() {
    let mut scene = Scene::new();
    let watcher = scene.subscriber(V311, "watcher", "#", 0);
    let client = scene.client(V311, "c");
    scene.cut(client);
    let (client, _) = scene.open(&Connect::new(V311, "c").keep_alive(1));
    scene.wait(2);
    assert!(scene.is_closed(client));
    scene.nothing(watcher);
}

fn retained(version: Version, retain: bool) {
    let mut scene = Scene::new();
    let will = if retain { will().retained() } else { will() };
    let (client, _) = scene.open(&Connect::new(version, "c").will(will));
    scene.cut(client);
    let late = scene.client(version, "late");
    let packets = scene.subscribe(late, "will", 1);
    let texts: Vec<String> = packets.iter().map(|packet| packet.publish().text()).collect();
    let expected: &[&str] = if retain { &["gone"] } else { &[] };
    assert_eq!(texts, expected);
    assert!(packets.iter().all(|packet| packet.publish().retain));
}

fn back_in_time() {
    let mut scene = Scene::new();
    let watcher = scene.subscriber(V5, "watcher", "will", 0);
    let connect = Connect::new(V5, "c").resuming();
    let delayed = connect.clone().will(will().with(four(wire::WILL_DELAY, 10)));
    for is_cut in [true, false] {
        let (client, _) = scene.open(&delayed);
        if is_cut {
            scene.cut(client);
            scene.wait_millis(9_999);
        }
        // Otherwise the new connection takes the session over.
        scene.open(&connect);
        scene.wait(100);
        scene.nothing(watcher);
    }
    // Without a delay, or if the session is thrown away, a takeover publishes the will.
    scene.open(&connect.clone().will(will()));
    scene.open(&connect);
    assert_eq!(scene.texts(watcher), ["gone"]);
    scene.open(&delayed);
    scene.client(V5, "c");
    assert_eq!(scene.texts(watcher), ["gone"]);
}

fn properties() {
    let mut scene = Scene::new();
    let watcher = scene.subscriber(V5, "watcher", "will", 0);
    let pairs = [("b", "1"), ("a", "2"), ("b", "3"), ("", ""), ("a", "2")];
    let will = pairs.iter().fold(will(), |will, (key, value)| will.with(wire::user(key, value)));
    let will = will
        .with(wire::byte(wire::PAYLOAD_FORMAT, 1))
        .with(wire::text(wire::CONTENT_TYPE, "text/plain"))
        .with(wire::text(wire::RESPONSE_TOPIC, "answer"))
        .with(wire::text(wire::CORRELATION_DATA, b"\0\xFF"))
        .with(four(wire::MESSAGE_EXPIRY, 60));
    let (client, _) = scene.open(&Connect::new(V5, "c").will(will));
    scene.cut(client);
    let came = scene.publishes(watcher).remove(0);
    let expected: Vec<Value> =
        pairs.iter().map(|(key, value)| Value::Pair((*key).into(), (*value).into())).collect();
    assert_eq!(came.all(wire::USER), expected);
    assert_eq!(came.all(wire::PAYLOAD_FORMAT), [Value::Number(1)]);
    assert_eq!(came.all(wire::CONTENT_TYPE), [Value::Text("text/plain".into())]);
    assert_eq!(came.all(wire::RESPONSE_TOPIC), [Value::Text("answer".into())]);
    assert_eq!(came.all(wire::CORRELATION_DATA), [Value::Data(b"\0\xFF".to_vec())]);
    assert_eq!(came.all(wire::MESSAGE_EXPIRY), [Value::Number(60)]);
    assert!(came.all(wire::WILL_DELAY).is_empty());
}
