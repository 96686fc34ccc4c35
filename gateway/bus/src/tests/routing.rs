use std::num::NonZeroU32;

use gateway_model::{Qos, Reason, RetainHandling, Subscription};

use super::scene::{Client, QOS, Scene, filter, lasting, publish, transient};
use crate::{Counter, Limits};

const ONE: Qos = Qos::AtLeastOnce;

fn scene() -> (Scene, Client, Client) {
    let scene = Scene::new();
    let publisher = scene.open("publisher", transient());
    let client = scene.open("a", transient());
    (scene, publisher, client)
}

fn identified(path: &str, qos: Qos, identifier: u32) -> Subscription {
    let identifier = NonZeroU32::new(identifier);
    Subscription { identifier, ..Subscription::new(filter(path), qos) }
}

/// MQTT 5.0 section 3.8.4: the lower of the publisher's and the subscription's.
#[test]
fn the_lower_qos_counts() {
    let (mut scene, publisher, client) = scene();
    for subscribed in QOS {
        scene.subscribe(&client, "t", subscribed);
        for published in QOS {
            scene.publish(&publisher, "t", "x", published);
            let taken = scene.take(&client);
            assert_eq!(taken.len(), 1);
            assert_eq!(taken[0].qos, published.min(subscribed));
            assert_eq!(taken[0].id.is_some(), taken[0].qos > Qos::AtMostOnce);
        }
    }
}

#[test]
fn publishes_are_answered_and_counted() {
    let (mut scene, publisher, client) = scene();
    assert_eq!(scene.publish(&publisher, "t", "x", ONE), Reason::NoMatchingSubscribers);
    scene.subscribe(&client, "t", ONE);
    assert_eq!(scene.publish(&publisher, "t", "x", ONE), Reason::Success);
    let counts = [Counter::Accepted, Counter::Unrouted, Counter::Matched].map(|counter| scene.count(counter));
    assert_eq!(counts, [2, 1, 1]);
}

/// MQTT 5.0 section 3.8.3.1 [MQTT-3.8.3-3].
#[test]
fn no_local_leaves_out_what_the_session_published() {
    let (mut scene, publisher, client) = scene();
    scene.subscribe_as(&client, Subscription { no_local: true, ..Subscription::new(filter("t"), ONE) });
    assert_eq!(scene.publish(&client, "t", "own", ONE), Reason::NoMatchingSubscribers);
    assert_eq!(scene.retain(&client, "t", "own", ONE), Reason::NoMatchingSubscribers);
    assert_eq!(scene.publish(&publisher, "t", "other", ONE), Reason::Success);
    assert_eq!(scene.receive(&client), ["other"]);
    scene.subscribe(&client, "+", ONE);
    scene.publish(&client, "t", "by the other filter", ONE);
    assert_eq!(scene.receive(&client).last().unwrap(), "by the other filter");
}

#[test]
fn no_local_goes_by_the_name_of_the_publisher() {
    let (mut scene, publisher, client) = scene();
    let no_local = || Subscription { no_local: true, ..Subscription::new(filter("t"), ONE) };
    scene.lose(&client);
    scene.retain(&publisher, "t", "kept", ONE);
    let with_will = super::scene::with_will(lasting(gateway_model::Expiry::Never), "t", 0);
    let client = scene.open("a", with_will);
    scene.subscribe_as(&client, no_local());
    assert_eq!(scene.receive(&client), ["kept"]);
    scene.retain(&client, "t", "own", ONE);
    scene.subscribe_as(&client, no_local());
    scene.lose(&client);
    let client = scene.open("a", lasting(gateway_model::Expiry::Never));
    assert!(scene.take(&client).is_empty(), "neither what it retained nor its will");
}

/// MQTT 5.0 section 3.3.1.3 [MQTT-3.3.1-12] and [MQTT-3.3.1-13].
#[test]
fn retain_is_shown_only_as_subscribed() {
    let (mut scene, publisher, client) = scene();
    for retain_as_published in [false, true] {
        let handling = RetainHandling::Never;
        let subscription = Subscription {
            retain_as_published,
            retain_handling: handling,
            ..Subscription::new(filter("t"), ONE)
        };
        scene.subscribe_as(&client, subscription);
        scene.retain(&publisher, "t", "x", ONE);
        assert_eq!(scene.take(&client)[0].retain, retain_as_published);
        scene.publish(&publisher, "t", "x", ONE);
        assert!(!scene.take(&client)[0].retain);
    }
}

/// MQTT 5.0 section 3.3.4 [MQTT-3.3.4-2] to [MQTT-3.3.4-5].
#[test]
fn overlapping_subscriptions_give_one_copy_with_all_identifiers() {
    let (mut scene, publisher, client) = scene();
    scene.subscribe_as(&client, identified("a/b", Qos::AtMostOnce, 1));
    scene.subscribe_as(&client, identified("a/+", Qos::ExactlyOnce, 2));
    scene.subscribe_as(&client, identified("#", ONE, 3));
    scene.subscribe(&client, "+/b", ONE);
    scene.publish(&publisher, "a/b", "x", Qos::ExactlyOnce);
    let taken = scene.take(&client);
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].qos, Qos::ExactlyOnce);
    let mut identifiers = taken[0].identifiers.as_slice().to_vec();
    identifiers.sort();
    assert_eq!(identifiers, [1, 2, 3]);
    scene.unsubscribe(&client, "a/+");
    scene.publish(&publisher, "a/b", "x", Qos::ExactlyOnce);
    let taken = scene.take(&client);
    assert_eq!(taken[0].qos, ONE);
    assert_eq!(scene.count(Counter::Matched), 2);
}

#[test]
fn each_session_gets_its_own_copy() {
    let (mut scene, publisher, client) = scene();
    let other = scene.open("b", transient());
    for client in [&client, &other] {
        scene.subscribe(client, "a/+", ONE);
        scene.subscribe(client, "a/b", ONE);
    }
    scene.publish(&publisher, "a/b", "x", ONE);
    assert_eq!(scene.receive(&client), ["x"]);
    assert_eq!(scene.receive(&other), ["x"]);
}

/// MQTT 5.0 section 3.8.4 [MQTT-3.8.4-3].
#[test]
fn the_same_filter_again_replaces_the_subscription() {
    let (mut scene, publisher, client) = scene();
    for path in ["t", "t/#"] {
        scene.subscribe_as(&client, identified(path, Qos::ExactlyOnce, 1));
        scene.subscribe_as(&client, identified(path, Qos::AtMostOnce, 9));
        scene.publish(&publisher, "t", "x", ONE);
        let taken = scene.take(&client);
        assert_eq!((taken.len(), taken[0].qos), (1, Qos::AtMostOnce));
        assert_eq!(taken[0].identifiers.as_slice(), [9]);
        assert_eq!(scene.bus.subscription_count(), 1);
        scene.unsubscribe(&client, path);
    }
}

/// MQTT 5.0 section 4.7.2 [MQTT-4.7.2-1].
#[test]
fn wildcards_at_the_first_level_do_not_match_reserved_topics() {
    let (mut scene, publisher, client) = scene();
    for path in ["#", "+/x", "+/+"] {
        scene.subscribe(&client, path, ONE);
    }
    assert_eq!(scene.publish(&publisher, "$SYS/x", "x", ONE), Reason::NoMatchingSubscribers);
    scene.subscribe(&client, "$SYS/#", ONE);
    assert_eq!(scene.publish(&publisher, "$SYS/x", "x", ONE), Reason::Success);
    assert_eq!(scene.receive(&client), ["x"]);
}

#[test]
fn the_cache_follows_every_change_of_the_routes() {
    let (mut scene, publisher, client) = scene();
    let unheard = Reason::NoMatchingSubscribers;
    for path in ["a/b", "a/+", "#", "$share/g/a/b"] {
        assert_eq!(scene.publish(&publisher, "a/b", "x", ONE), unheard);
        scene.subscribe(&client, path, ONE);
        assert_eq!(scene.publish(&publisher, "a/b", "x", ONE), Reason::Success, "{path}");
        scene.unsubscribe(&client, path);
        assert_eq!(scene.publish(&publisher, "a/b", "x", ONE), unheard, "{path}");
        let brief = scene.open("brief", transient());
        scene.subscribe(&brief, path, ONE);
        assert_eq!(scene.publish(&publisher, "a/b", "x", ONE), Reason::Success, "{path}");
        scene.lose(&brief);
        assert_eq!(scene.publish(&publisher, "a/b", "x", ONE), unheard, "{path}");
    }
}

/// A stale route may be met by a second thread's cache; a clean start must not leak into it.
#[test]
fn a_session_that_was_replaced_gets_nothing_through_an_old_route() {
    let (mut scene, publisher, client) = scene();
    scene.subscribe(&client, "t", ONE);
    scene.publish(&publisher, "t", "1", ONE);
    let replaced = scene.open("a", transient());
    assert_eq!(scene.publish(&publisher, "t", "2", ONE), Reason::NoMatchingSubscribers);
    assert!(scene.take(&replaced).is_empty());
}

#[test]
fn a_cache_of_any_size_gives_the_same_routes_and_shares_topics() {
    for topics_max in [0, 1, 64, 1000] {
        let mut scene = Scene::with(Limits { route_cache_topics_max: topics_max, ..Limits::default() });
        let publisher = scene.open("publisher", transient());
        let client = scene.open("a", lasting(gateway_model::Expiry::Never));
        for number in (0..2000).step_by(2) {
            scene.subscribe(&client, &format!("t/{number}"), ONE);
        }
        for round in 0..3 {
            for number in 0..2000 {
                let topic = scene.cache.topic(format!("t/{number}").as_bytes()).unwrap();
                let again = scene.cache.topic(topic.as_bytes()).unwrap();
                assert!(topic.is_same(&again), "one allocation");
                let reason = if round == 1 {
                    scene.publish(&publisher, &topic, "x", ONE)
                } else {
                    let publish = gateway_model::Publish { topic, ..publish("unused", "x", ONE) };
                    scene.send(&publisher, publish)
                };
                assert_eq!(reason == Reason::Success, number % 2 == 0, "{number} of {topics_max}");
            }
        }
        assert_eq!(scene.receive(&client).len(), 3000);
        scene.lose(&client);
        scene.open("a", transient());
        scene.bus.trim(&mut scene.cache);
        assert_eq!(scene.publish(&publisher, "t/0", "x", ONE), Reason::NoMatchingSubscribers);
    }
}

#[test]
fn a_trimmed_cache_lets_go_of_ended_sessions() {
    let (mut scene, publisher, client) = scene();
    scene.subscribe(&client, "t", ONE);
    scene.publish(&publisher, "t", "x", ONE);
    let session = std::sync::Arc::downgrade(&client.attachment.session);
    scene.lose(&client);
    drop(client);
    assert!(session.upgrade().is_some(), "held by the cached route");
    scene.bus.trim(&mut scene.cache);
    assert!(session.upgrade().is_none());
}

#[test]
fn bytes_that_are_no_topic_are_not_remembered() {
    let mut scene = Scene::new();
    for raw in [&b""[..], b"a/+", b"#", b"a\0", b"\xff"] {
        assert!(scene.cache.topic(raw).is_err());
        assert!(scene.cache.topic(raw).is_err());
    }
    assert_eq!(scene.cache.topic(b"a").unwrap().as_str(), "a");
}

#[test]
fn it_is_known_what_is_wanted_and_how_much_there_is() {
    let (scene, _publisher, client) = scene();
    let filters = ["t", "a/+", "a/#", "$share/g/a/+", "$SYS/+/x"];
    for filter in filters {
        scene.subscribe(&client, filter, ONE);
        scene.subscribe(&client, filter, ONE);
    }
    let totals = scene.bus.totals();
    assert_eq!((totals.sessions, totals.retained), (2, 0));
    assert_eq!((totals.subscriptions, totals.shared_subscriptions, totals.filters), (5, 1, 4));
    for (topic, wanted) in
        [("t", true), ("a/b", true), ("a", true), ("b", false), ("$SYS/a/x", true), ("$SYS/a/y", false)]
    {
        assert_eq!(scene.bus.is_wanted(topic), wanted, "{topic}");
    }
    filters.iter().for_each(|filter| assert_eq!(scene.unsubscribe(&client, filter), Reason::Success));
    let totals = scene.bus.totals();
    assert_eq!((totals.subscriptions, totals.shared_subscriptions, totals.filters), (0, 0, 0));
    scene.subscribe(&client, "#", ONE);
    assert!(!scene.bus.is_wanted("$SYS/a/x"), "wildcards do not match it (MQTT 5.0 section 4.7.2)");
}
