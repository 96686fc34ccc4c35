//! MQTT 5.0 section 3.3.1.3 and section 3.8.3.1.

use gateway_model::{Publish, Qos, Reason, RetainHandling, Subscription};

use super::scene::{Client, QOS, Scene, filter, publish, secs_of, text, transient};
use crate::{Counter, Limits};

const ONE: Qos = Qos::AtLeastOnce;

fn scene_with(limits: Limits) -> (Scene, Client, Client) {
    let scene = Scene::with(limits);
    let publisher = scene.open("publisher", transient());
    let client = scene.open("a", transient());
    (scene, publisher, client)
}

fn scene() -> (Scene, Client, Client) {
    scene_with(Limits::default())
}

#[test]
fn a_new_subscription_gets_the_last_message_of_each_topic() {
    let (mut scene, publisher, client) = scene();
    for (topic, text) in [("t/1", "old"), ("t/2", "two"), ("t/1", "one"), ("u", "other")] {
        scene.retain(&publisher, topic, text, ONE);
    }
    scene.publish(&publisher, "t/1", "not kept", ONE);
    scene.subscribe(&client, "t/+", ONE);
    let taken = scene.take(&client);
    assert_eq!(taken.iter().map(text).collect::<Vec<_>>(), ["one", "two"]);
    assert!(taken.iter().all(|outgoing| outgoing.retain && !outgoing.duplicate));
}

#[test]
fn retained_messages_come_with_the_lower_qos_and_the_identifier() {
    let (mut scene, publisher, client) = scene();
    scene.retain(&publisher, "t", "x", ONE);
    for qos in QOS {
        let identifier = std::num::NonZeroU32::new(3);
        scene.subscribe_as(&client, Subscription { identifier, ..Subscription::new(filter("t"), qos) });
        let taken = scene.take(&client);
        assert_eq!(taken[0].qos, qos.min(ONE));
        assert_eq!(taken[0].identifiers.as_slice(), [3]);
    }
}

/// [MQTT-3.3.1-9] to [MQTT-3.3.1-11].
#[test]
fn retain_handling_decides_when_they_come() {
    let (mut scene, publisher, client) = scene();
    scene.retain(&publisher, "t", "x", ONE);
    let subscribe = |retain_handling| {
        scene.subscribe_as(&client, Subscription { retain_handling, ..Subscription::new(filter("t"), ONE) });
        scene.receive(&client).len()
    };
    assert_eq!(subscribe(RetainHandling::Never), 0);
    assert_eq!(subscribe(RetainHandling::IfNew), 0);
    assert_eq!(subscribe(RetainHandling::Always), 1);
    assert_eq!(subscribe(RetainHandling::Always), 1);
    scene.unsubscribe(&client, "t");
    let if_new =
        Subscription { retain_handling: RetainHandling::IfNew, ..Subscription::new(filter("t"), ONE) };
    scene.subscribe_as(&client, if_new);
    assert_eq!(scene.receive(&client).len(), 1);
}

/// [MQTT-3.3.1-6], [MQTT-3.3.1-7].
#[test]
fn an_empty_payload_clears_and_is_itself_not_kept() {
    let (mut scene, publisher, client) = scene();
    scene.subscribe(&client, "t", ONE);
    scene.retain(&publisher, "t", "x", ONE);
    scene.retain(&publisher, "t", "", ONE);
    scene.retain(&publisher, "never", "", ONE);
    assert_eq!(scene.receive(&client), ["x", ""], "subscribers see the clearing");
    assert_eq!(scene.bus.retained_size(), (0, 0));
    assert!(scene.retained_texts("#").is_empty());
}

#[test]
fn reading_finds_what_the_filter_matches_in_order_of_topics() {
    let (mut scene, publisher, _) = scene();
    let topics = ["a", "a-b", "a/b", "a/b/c", "a0", "b", "/", "/a", "$SYS/a", "a//c"];
    for topic in topics {
        scene.retain(&publisher, topic, topic, ONE);
    }
    let parsed = topics.map(super::scene::topic);
    for path in ["#", "+", "a", "a/#", "a/+", "a/+/c", "+/b", "/#", "/+", "+/+", "$SYS/#", "a/b/#", "x/#"] {
        let mut expected: Vec<String> =
            parsed.iter().filter(|topic| filter(path).matches(topic)).map(ToString::to_string).collect();
        expected.sort();
        assert_eq!(scene.retained_texts(path), expected, "{path}");
    }
    let limited = scene.bus.retained(scene.moment.instant, &filter("#"), 2);
    assert_eq!(limited.len(), 2);
}

#[test]
fn expired_ones_are_gone() {
    let (mut scene, publisher, client) = scene();
    for (topic, secs) in [("t/1", 1), ("t/2", 100), ("t/3", 1)] {
        let expiry = Some(secs_of(secs));
        scene.send(&publisher, Publish { expiry, retain: true, ..publish(topic, topic, ONE) });
    }
    scene.pass(1);
    assert!(scene.retained_texts("t/1").is_empty());
    scene.subscribe(&client, "t/#", ONE);
    assert_eq!(scene.receive(&client), ["t/2"]);
    assert_eq!(scene.bus.retained_size().0, 1, "removed on the way");
}

#[test]
fn the_number_of_retained_messages_is_limited() {
    let (mut scene, publisher, client) = scene_with(Limits { retained_messages_max: 2, ..Limits::default() });
    scene.subscribe(&client, "#", ONE);
    for topic in ["1", "2"] {
        assert_eq!(scene.retain(&publisher, topic, topic, ONE), Reason::Success);
    }
    assert_eq!(scene.retain(&publisher, "3", "3", ONE), Reason::QuotaExceeded);
    assert_eq!(scene.count(Counter::Refused), 1);
    assert_eq!(scene.retain(&publisher, "2", "new", ONE), Reason::Success);
    assert_eq!(scene.receive(&client), ["1", "2", "new"], "what is refused is not delivered");
    scene.retain(&publisher, "1", "", ONE);
    assert_eq!(scene.retain(&publisher, "3", "3", ONE), Reason::Success);
    assert_eq!(scene.retained_texts("#"), ["new", "3"]);
}

#[test]
fn expired_ones_make_room_without_being_read() {
    for limits in [
        Limits { retained_messages_max: 2, ..Limits::default() },
        Limits { retained_bytes_max: 5000, ..Limits::default() },
    ] {
        let (mut scene, publisher, _) = scene_with(limits);
        let text = "x".repeat(2000);
        for (topic, secs) in [("1", 1), ("2", 100)] {
            let expiry = Some(secs_of(secs));
            scene.send(&publisher, Publish { expiry, retain: true, ..publish(topic, &text, ONE) });
        }
        assert_eq!(scene.retain(&publisher, "3", &text, ONE), Reason::QuotaExceeded);
        scene.pass(1);
        assert_ne!(scene.retain(&publisher, "3", &text, ONE), Reason::QuotaExceeded);
        assert_eq!(scene.retain(&publisher, "4", &text, ONE), Reason::QuotaExceeded);
        assert_eq!(scene.bus.retained_size().0, 2);
        scene.pass(99);
        assert_ne!(scene.retain(&publisher, "4", &text, ONE), Reason::QuotaExceeded);
    }
}

#[test]
fn the_bytes_of_retained_messages_are_limited() {
    let limits = Limits { retained_bytes_max: 5000, retained_payload_bytes_max: 3000, ..Limits::default() };
    let (mut scene, publisher, _) = scene_with(limits);
    let mut retain = |topic: &str, len: usize| scene.retain(&publisher, topic, &"x".repeat(len), ONE);
    assert_eq!(retain("1", 3001), Reason::QuotaExceeded);
    assert_ne!(retain("1", 3000), Reason::QuotaExceeded);
    assert_eq!(retain("2", 2000), Reason::QuotaExceeded);
    assert_ne!(retain("2", 1000), Reason::QuotaExceeded);
    assert_eq!(retain("2", 2500), Reason::QuotaExceeded, "the replaced one is counted off, no more");
    assert_ne!(retain("1", 1), Reason::QuotaExceeded);
    assert_ne!(retain("2", 2500), Reason::QuotaExceeded);
    let (count, bytes) = scene.bus.retained_size();
    assert_eq!(count, 2);
    assert!((2501..5000).contains(&bytes));
}

#[test]
fn retained_messages_may_outnumber_the_queue() {
    let queue = crate::QueueLimits { messages_max: 2, ..Default::default() };
    let (mut scene, publisher, client) = scene_with(Limits { queue, ..Limits::default() });
    for number in 0..10 {
        scene.retain(&publisher, &format!("t/{number}"), &number.to_string(), ONE);
    }
    scene.subscribe(&client, "t/#", ONE);
    for text in ["a", "b", "c"] {
        scene.publish(&publisher, "t/live", text, ONE);
    }
    assert_eq!(scene.dropped(crate::DropReason::QueueFull), 1, "a live one, not one of them");
    let received = scene.receive(&client);
    assert_eq!((received.len(), &received[10..]), (12, &["b".to_owned(), "c".to_owned()][..]));
}

#[test]
fn the_gateway_itself_may_publish_and_retain() {
    let (scene, _, client) = scene();
    scene.subscribe(&client, "$SYS/#", ONE);
    let gateway = super::scene::id("$gateway");
    let retained = Publish { retain: true, ..publish("$SYS/version", "1", ONE) };
    scene.bus.publish_as(scene.moment, &gateway, retained);
    scene.bus.publish_as(scene.moment, &gateway, publish("$SYS/uptime", "2", ONE));
    let taken = scene.take(&client);
    assert_eq!(taken.iter().map(text).collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(taken[0].message.publisher.as_str(), "$gateway");
    assert_eq!(taken[0].message.accepted_unix_millis.get(), scene.moment.unix_millis);
    assert_eq!(scene.retained_texts("$SYS/#"), ["1"]);
}

#[test]
fn no_more_retained_messages_are_read_than_the_queue_can_hold() {
    let queue = crate::QueueLimits { bytes_max: 3000, ..crate::QueueLimits::default() };
    let (mut scene, publisher, client) = scene_with(Limits { queue, ..Limits::default() });
    (0..500).for_each(|number| {
        scene.retain(&publisher, &format!("t/{number:03}"), "x", ONE);
    });
    let before = scene.count(Counter::Matched);
    scene.subscribe(&client, "t/#", ONE);
    scene.subscribe(&client, "+/#", ONE);
    let read = scene.count(Counter::Matched) - before;
    assert!(read < 100, "{read} copies made for a queue of 3,000 bytes");
    let waiting = scene.take(&client).len() as u64;
    assert!(waiting > 0);
    assert_eq!(read, waiting + scene.dropped(crate::DropReason::QueueFull), "the others are counted");
}

#[test]
fn retained_messages_are_kept_for_a_limited_time() {
    let limits = Limits { retained_expiry_max: Some(secs_of(10)), ..Limits::default() };
    let (mut scene, publisher, client) = scene_with(limits);
    for (topic, secs) in [("t/1", None), ("t/2", Some(100)), ("t/3", Some(5))] {
        let expiry = secs.map(secs_of);
        scene.send(&publisher, Publish { expiry, retain: true, ..publish(topic, topic, ONE) });
    }
    scene.pass(9);
    scene.subscribe(&client, "t/+", ONE);
    let taken = scene.take(&client);
    assert_eq!(taken.iter().map(text).collect::<Vec<_>>(), ["t/1", "t/2"]);
    let left = taken.iter().map(|outgoing| outgoing.message.expiry_secs_left(scene.moment.instant));
    assert_eq!(left.collect::<Vec<_>>(), [None, Some(91)], "the messages themselves live on");
    scene.retain(&publisher, "t/2", "again", ONE);
    scene.pass(1);
    assert!(scene.retained_texts("t/1").is_empty());
    assert_eq!(scene.retained_texts("t/#"), ["again"]);
    scene.pass(9);
    assert!(scene.retained_texts("t/#").is_empty());
    assert_eq!(scene.bus.retained_size(), (0, 0));
}

/// MQTT 5.0 section 4.7.2: a wildcard at the first level does not fetch what begins with `$`.
#[test]
fn wildcards_at_the_first_level_fetch_nothing_of_the_gateway() {
    let (mut scene, publisher, client) = scene();
    scene.retain(&publisher, "$SYS/a", "x", ONE);
    for path in ["#", "+/a", "+/#"] {
        scene.subscribe(&client, path, ONE);
    }
    assert!(scene.receive(&client).is_empty());
    scene.subscribe(&client, "$SYS/+", ONE);
    assert_eq!(scene.receive(&client), ["x"]);
}
