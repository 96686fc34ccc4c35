//! Section 3.3 as a subscriber meets it: topics, properties, overlapping subscriptions, and packets
//! that are no larger than it takes.

use crate::Version::{self, V5, V311};
use crate::packet::Value;
use crate::scene::{Client, Scene};
use crate::wire::{self, Connect, Publish, byte, four, subscribe, subscribe_with, text, two, user};

conformance! {
    mqtt5_3_1_2_24_no_packet_is_larger_than_the_client_takes also "3.1.2-25": too_large();
    mqtt5_3_1_2_26_aliases_keep_to_the_clients_maximum also "3.3.2-11": aliases(2);
    mqtt5_3_1_2_27_no_aliases_without_a_maximum: no_aliases();
    mqtt5_3_3_2_3_only_matching_topics_are_delivered: matching(V5);
    mqtt311_3_3_2_3_only_matching_topics_are_delivered: matching(V311);
    mqtt5_3_3_2_4_the_payload_format_is_passed_on: payload_format();
    mqtt5_3_3_2_5_what_has_expired_is_not_delivered: expired();
    mqtt5_3_3_2_6_the_expiry_is_reduced_by_the_wait: expiry_is_counted_down();
    mqtt5_3_3_2_15_the_response_topic_is_passed_on: passed_on(text(wire::RESPONSE_TOPIC, "a/b"), Value::Text("a/b".into()));
    mqtt5_3_3_2_16_the_correlation_data_is_passed_on: passed_on(text(wire::CORRELATION_DATA, b"\0\xFF"), Value::Data(b"\0\xFF".to_vec()));
    mqtt5_3_3_2_17_user_properties_are_passed_on_in_order also "3.3.2-18": user_properties();
    mqtt5_3_3_2_20_the_content_type_is_passed_on: passed_on(text(wire::CONTENT_TYPE, "x/ü"), Value::Text("x/ü".into()));
    mqtt5_3_3_4_2_overlapping_subscriptions_deliver_at_the_highest_qos: overlapping(V5);
    mqtt311_3_3_5_1_overlapping_subscriptions_deliver_at_the_highest_qos: overlapping(V311);
    mqtt5_3_3_4_3_subscription_identifiers_come_along also "3.3.4-4": identifiers();
    mqtt5_3_8_4_8_a_delivery_has_the_lower_qos: lower_qos(V5);
    mqtt311_3_8_4_6_a_delivery_has_the_lower_qos: lower_qos(V311);
    mqtt5_4_5_0_1_every_matching_session_gets_a_copy: every_session(V5);
    mqtt311_4_5_0_1_every_matching_session_gets_a_copy: every_session(V311);
}

fn too_large() {
    const MAXIMUM: u32 = 100;
    let mut scene = Scene::new();
    let connect = Connect::new(V5, "c").resuming().with(four(wire::MAXIMUM_PACKET, MAXIMUM));
    let (client, _) = scene.open(&connect.clone().with(two(wire::RECEIVE_MAXIMUM, 1)));
    scene.subscribe(client, "t", 1);
    let publisher = scene.client(V5, "publisher");
    let send = |scene: &mut Scene, qos, payload: usize| {
        scene.send(publisher, &Publish::new(V5, "t", "x".repeat(payload)).at(qos, 1).encode());
        scene.take(publisher);
    };
    // 2 bytes of header, 3 of topic, 1 of properties; 2 more of identifier above QoS 0.
    send(&mut scene, 0, 94);
    send(&mut scene, 0, 95);
    send(&mut scene, 1, 93);
    let lens: Vec<usize> = scene.publishes(client).iter().map(|publish| publish.len).collect();
    assert_eq!(lens, [100]);
    // It counts as sent: it has no place in the window, and does not come back.
    send(&mut scene, 1, 92);
    let fits = scene.publishes(client).remove(0);
    assert_eq!(fits.len, 100);
    scene.send(client, &wire::puback(fits.id));
    send(&mut scene, 1, 1);
    assert_eq!(scene.texts(client), ["x"]);
    scene.cut(client);
    let client = scene.dial(V5);
    let packets = scene.exchange(client, &connect.encode());
    assert_eq!(packets.len(), 2, "the unacknowledged one only: {packets:?}");
    // The client's own SUBACK and the like fit as well.
    let many: Vec<(String, u8)> = (0..10).map(|n| (format!("f/{n}"), 0)).collect();
    let many: Vec<(&str, u8)> = many.iter().map(|(filter, qos)| (filter.as_str(), *qos)).collect();
    scene.ask(client, &subscribe(V5, 2, &many));
}

/// The topics as they are meant: aliases resolved by their rules.
fn resolved(publishes: &[crate::packet::Publish], maximum: u32) -> Vec<String> {
    let mut known = std::collections::HashMap::new();
    let resolve = |publish: &crate::packet::Publish| match publish.all(wire::TOPIC_ALIAS)[..] {
        [] => publish.topic.clone(),
        [Value::Number(alias)] => {
            assert!((1..=maximum).contains(&alias), "alias {alias} of {maximum}");
            match publish.topic.as_str() {
                "" => known.get(&alias).cloned().expect("a known alias"),
                topic => {
                    known.insert(alias, topic.to_owned());
                    topic.to_owned()
                }
            }
        }
        _ => panic!("{publish:?}"),
    };
    publishes.iter().map(resolve).collect()
}

fn aliases(maximum: u16) {
    let mut scene = Scene::new();
    let (client, _) = scene.open(&Connect::new(V5, "c").with(two(wire::TOPIC_ALIAS_MAXIMUM, maximum)));
    scene.subscribe(client, "#", 0);
    let publisher = scene.client(V5, "publisher");
    let topics: Vec<String> =
        [1, 1, 2, 2, 1, 3, 3, 3, 1, 2, 3, 4, 4].iter().map(|n| format!("some/longer/topic/{n}")).collect();
    topics.iter().for_each(|topic| scene.publish(publisher, topic, "p"));
    let publishes = scene.publishes(client);
    assert!(publishes.iter().any(|publish| publish.topic.is_empty()), "aliases are used");
    assert_eq!(resolved(&publishes, maximum.into()), topics);
}

fn no_aliases() {
    let mut scene = Scene::new();
    let connects = [Connect::new(V5, "a"), Connect::new(V5, "b").with(two(wire::TOPIC_ALIAS_MAXIMUM, 0))];
    let publisher = scene.client(V5, "publisher");
    for connect in connects {
        let (client, _) = scene.open(&connect);
        scene.subscribe(client, "#", 0);
        (0..5).for_each(|_| scene.publish(publisher, "some/longer/topic", "p"));
        for publish in scene.publishes(client) {
            assert_eq!(publish.topic, "some/longer/topic");
            assert!(publish.all(wire::TOPIC_ALIAS).is_empty());
        }
    }
}

fn matching(version: Version) {
    let mut scene = Scene::new();
    let topics = ["a", "a/b", "a/b/c", "A", "/a", "a/", "b", "a//b", " a"];
    let expected: [(&str, &[&str]); 9] = [
        ("a", &["a"]),
        ("a/b", &["a/b"]),
        ("a/+", &["a/b", "a/"]),
        ("a/#", &["a", "a/b", "a/b/c", "a/", "a//b"]),
        ("+", &["a", "A", "b", " a"]),
        ("+/+", &["a/b", "/a", "a/"]),
        ("/+", &["/a"]),
        ("a/+/b", &["a//b"]),
        ("#", &topics),
    ];
    let publisher = scene.client(version, "publisher");
    for (filter, expected) in expected {
        let client = scene.subscriber(version, "c", filter, 0);
        topics.iter().for_each(|topic| scene.publish(publisher, topic, "p"));
        let came: Vec<String> = scene.publishes(client).into_iter().map(|publish| publish.topic).collect();
        assert_eq!(came, expected, "{filter}");
    }
}

/// A property that goes to every subscriber as it came, now and from a queue and the retained store.
fn passed_on(property: Vec<u8>, value: Value) {
    let identifier = property[0];
    let mut scene = Scene::new();
    let (first, second) = (scene.subscriber(V5, "1", "t", 0), scene.subscriber(V5, "2", "t", 1));
    let connect = Connect::new(V5, "away").resuming();
    let (away, _) = scene.open(&connect);
    scene.subscribe(away, "t", 1);
    scene.cut(away);
    let old = scene.subscriber(V311, "old", "t", 0);
    let publisher = scene.client(V5, "publisher");
    scene.send(publisher, &Publish::new(V5, "t", "p").qos(1, 1).retained().with(property).encode());
    let late = scene.client(V5, "late");
    scene.send(late, &subscribe(V5, 1, &[("t", 0)]));
    let away = scene.dial(V5);
    scene.send(away, &connect.encode());
    for client in [first, second, late, away] {
        let packets = scene.take(client);
        let publish = packets.last().expect("a delivery").publish();
        assert_eq!(publish.all(identifier), std::slice::from_ref(&value));
    }
    // Who speaks 3.1.1 gets the message without it.
    assert_eq!(scene.texts(old), ["p"]);
}

fn payload_format() {
    passed_on(byte(wire::PAYLOAD_FORMAT, 1), Value::Number(1));
    passed_on(byte(wire::PAYLOAD_FORMAT, 0), Value::Number(0));
}

fn user_properties() {
    let mut scene = Scene::new();
    let client = scene.subscriber(V5, "c", "t", 0);
    let pairs = [("b", "1"), ("a", "2"), ("b", "1"), ("", ""), ("a", "\u{10FFFF}")];
    let publish = pairs.iter().fold(Publish::new(V5, "t", "p"), |publish, (key, value)| {
        // Others between them do not change it.
        publish.with(user(key, value))
    });
    scene.send(client, &publish.with(text(wire::CONTENT_TYPE, "x")).encode());
    let expected: Vec<Value> =
        pairs.iter().map(|(key, value)| Value::Pair((*key).into(), (*value).into())).collect();
    assert_eq!(scene.publishes(client)[0].all(wire::USER), expected);
    passed_on(user("k", "v"), Value::Pair("k".into(), "v".into()));
}

fn expired() {
    let mut scene = Scene::new();
    let connect = Connect::new(V5, "away").resuming();
    let (away, _) = scene.open(&connect);
    scene.subscribe(away, "t", 1);
    scene.cut(away);
    let publisher = scene.client(V5, "publisher");
    for (id, secs) in [(1, 10), (2, 11), (3, 0)] {
        let text = format!("{secs} s");
        let publish = Publish::new(V5, "t", text).qos(1, id).with(four(wire::MESSAGE_EXPIRY, secs));
        scene.ask(publisher, &publish.retained().encode());
        scene.ask(publisher, &Publish::new(V5, "t", "for ever").qos(1, id).encode());
    }
    scene.wait(10);
    let away = scene.dial(V5);
    let packets = scene.exchange(away, &connect.encode());
    let texts: Vec<String> = packets[1..].iter().map(|packet| packet.publish().text()).collect();
    assert_eq!(texts, ["for ever", "11 s", "for ever", "for ever"]);
    // The same for what is retained: the last one had no time at all.
    let late = scene.client(V5, "late");
    assert!(scene.subscribe(late, "t", 0).is_empty());
}

fn expiry_is_counted_down() {
    let mut scene = Scene::new();
    let connect = Connect::new(V5, "away").resuming();
    let (away, _) = scene.open(&connect);
    scene.subscribe(away, "t", 1);
    scene.cut(away);
    let publisher = scene.client(V5, "publisher");
    let publish = Publish::new(V5, "t", "p").qos(1, 1).retained().with(four(wire::MESSAGE_EXPIRY, 100));
    scene.ask(publisher, &publish.encode());
    scene.wait(40);
    let away = scene.dial(V5);
    let packets = scene.exchange(away, &connect.encode());
    assert_eq!(packets[1].number(wire::MESSAGE_EXPIRY), Some(60));
    scene.wait(10);
    let late = scene.client(V5, "late");
    assert_eq!(scene.subscribe(late, "t", 0)[0].number(wire::MESSAGE_EXPIRY), Some(50));
    // What does not wait has all of it.
    let now = scene.subscriber(V5, "now", "u", 0);
    scene.send(publisher, &Publish::new(V5, "u", "p").with(four(wire::MESSAGE_EXPIRY, 7)).encode());
    assert_eq!(scene.one(now).number(wire::MESSAGE_EXPIRY), Some(7));
}

fn overlapping(version: Version) {
    let mut scene = Scene::new();
    let client = scene.client(version, "c");
    scene.ask(client, &subscribe(version, 1, &[("a/#", 0), ("a/+", 2), ("a/b", 1)]));
    let publisher = scene.client(version, "publisher");
    for (qos, highest) in [(0, 0), (1, 1), (2, 2)] {
        scene.send(publisher, &Publish::new(version, "a/b", "p").at(qos, 1).encode());
        let came = scene.publishes(client);
        assert_eq!(came.iter().map(|publish| publish.qos).max(), Some(highest));
        // One copy, or one for each: here it is one.
        assert_eq!(came.len(), 1);
    }
}

fn identifiers() {
    let mut scene = Scene::new();
    let client = scene.client(V5, "c");
    let with = wire::subscription_identifier;
    scene.ask(client, &subscribe_with(V5, 1, &with(1), &[("a/b", 1), ("c", 0)]));
    scene.ask(client, &subscribe_with(V5, 2, &with(268_435_455), &[("a/+", 0)]));
    scene.ask(client, &subscribe(V5, 3, &[("a/#", 0)]));
    let publisher = scene.client(V5, "publisher");
    for (topic, expected) in
        [("a/b", &[1, 268_435_455][..]), ("a/x", &[268_435_455]), ("c", &[1]), ("a", &[])]
    {
        scene.publish(publisher, topic, "p");
        let mut numbers: Vec<u32> = scene
            .publishes(client)
            .iter()
            .flat_map(|publish| publish.all(wire::SUBSCRIPTION_IDENTIFIER))
            .map(|value| match value {
                Value::Number(number) => number,
                other => panic!("{other:?}"),
            })
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, expected, "{topic}");
    }
    // The last SUBSCRIBE decides on the identifier, also that there is none.
    scene.ask(client, &subscribe(V5, 4, &[("c", 0)]));
    scene.publish(publisher, "c", "p");
    assert!(scene.publishes(client)[0].all(wire::SUBSCRIPTION_IDENTIFIER).is_empty());
    // 0 is none (section 3.8.2.1.2).
    scene.offend(client, &subscribe_with(V5, 5, &with(0), &[("c", 0)]), 0x82);
}

fn lower_qos(version: Version) {
    let mut scene = Scene::new();
    let publisher = scene.client(version, "publisher");
    for granted in 0..3 {
        let client = scene.subscriber(version, "c", "t", granted);
        for qos in 0..3 {
            scene.send(publisher, &Publish::new(version, "t", "p").at(qos, 1).encode());
            scene.send(publisher, &wire::pubrel(1));
            assert_eq!(scene.publishes(client)[0].qos, qos.min(granted), "{qos} of {granted}");
        }
    }
}

fn every_session(version: Version) {
    let mut scene = Scene::new();
    let connect = Connect::new(version, "away").resuming();
    let (away, _) = scene.open(&connect);
    scene.subscribe(away, "a/+", 1);
    scene.cut(away);
    let readers: Vec<Client> =
        (0..20).map(|n| scene.subscriber(version, &format!("r{n}"), "a/#", n % 3)).collect();
    let publisher = scene.subscriber(version, "publisher", "a/b", 1);
    scene.send(publisher, &Publish::new(version, "a/b", "p").qos(1, 1).encode());
    for reader in readers {
        assert_eq!(scene.texts(reader), ["p"]);
    }
    let away = scene.dial(version);
    let packets = scene.exchange(away, &connect.encode());
    assert_eq!(packets[1].publish().text(), "p");
    // The publisher is a subscriber like any other.
    assert_eq!(scene.take(publisher).len(), 2);
}
