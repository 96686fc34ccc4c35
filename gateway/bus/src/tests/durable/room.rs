use std::num::NonZeroU16;

use gateway_model::{Expiry, Publish, Reason};
use gateway_store::{Options, Room, Store};

use super::{ONE, TWO, ZERO, open};
use crate::tests::scene::{Scene, lasting, publish, secs_of, transient};
use crate::{Counter, Limits, SessionOptions};

/// A store that is full, with an empty session and one whose queue has filled it.
fn full() -> Scene {
    let options = Options { segment_bytes: 64 * 1024, bytes_max: 256 * 1024, ..Options::default() };
    let mut scene = Scene::stored(Limits::default(), 3, options);
    let publisher = scene.open("p", transient());
    for name in ["empty", "filled"] {
        let client = open(&scene, name);
        scene.subscribe(&client, name, TWO);
    }
    for _ in 0..1000 {
        if scene.disk().room() == Room::Full {
            return scene;
        }
        scene.publish(&publisher, "filled", &"x".repeat(1000), ONE);
        scene.commit();
    }
    panic!("the store is never full");
}

#[test]
fn a_full_store_refuses_before_anything_changes() {
    let mut scene = full();
    let publisher = scene.open("p", transient());
    let durable = open(&scene, "empty");
    let state = |scene: &Scene| {
        let views = scene.bus.sessions();
        let mut views: Vec<_> =
            views.into_iter().map(|view| (view.client_id, view.queued, view.subscriptions)).collect();
        views.sort();
        let counts = [Counter::Accepted, Counter::Matched, Counter::SessionsEnded];
        (views, counts.map(|counter| scene.count(counter)), scene.bus.totals(), super::appended(scene))
    };
    let before = state(&scene);
    let refused = scene.count(Counter::Refused);
    for qos in [ONE, TWO] {
        assert_eq!(scene.publish(&publisher, "empty", "x", qos), Reason::QuotaExceeded);
        assert_eq!(scene.retain(&publisher, "nobody", "x", qos), Reason::QuotaExceeded);
        let delayed = publish("nobody", "x", qos);
        let name = publisher.attachment.client_id();
        let promise = scene.bus.publish_delayed(scene.moment, name, secs_of(5), delayed, None);
        assert_eq!(promise.value, Reason::QuotaExceeded);
    }
    let hold = NonZeroU16::new(4);
    let held = publish("nobody", "x", TWO);
    let promise = scene.bus.publish(scene.moment, &durable.attachment, held, hold, &mut scene.cache);
    assert_eq!(promise.value, Reason::QuotaExceeded);
    assert_eq!(scene.count(Counter::Refused), refused + 7);
    assert_eq!(scene.subscribe(&durable, "more", ONE), Reason::QuotaExceeded);
    let new = scene.try_open("new", lasting(Expiry::Never));
    assert_eq!(new.err(), Some(Reason::QuotaExceeded));
    assert_eq!(state(&scene), before);
    assert_eq!(scene.bus.delayed_size(), (0, 0));
    assert!(scene.retained_texts("#").is_empty());
}

#[test]
fn a_full_store_lets_everything_else_go_on() {
    let mut scene = full();
    let publisher = scene.open("p", transient());
    let subscriber = scene.open("s", transient());
    scene.subscribe(&subscriber, "t", TWO);
    scene.subscribe(&subscriber, "empty", TWO);
    assert_eq!(scene.publish(&publisher, "t", "1", TWO), Reason::Success);
    assert_eq!(scene.publish(&publisher, "empty", "2", ZERO), Reason::Success);
    assert_eq!(scene.receive(&subscriber), ["1", "2"]);
    // Who knows the gateway comes in, gets what waits, and so makes room.
    let filled = open(&scene, "filled");
    assert!(filled.opened.session_present);
    // Most clients subscribe anew whenever they come.
    assert_eq!(scene.subscribe(&filled, "filled", TWO), Reason::GrantedQos2);
    assert_eq!(scene.subscribe(&filled, "filled", ONE), Reason::QuotaExceeded, "that would be another one");
    assert!(!scene.receive(&filled).is_empty());
    assert_eq!(scene.unsubscribe(&filled, "filled"), Reason::Success);
    for _ in 0..100 {
        scene.commit();
        scene.bus.clean();
    }
    scene.commit();
    assert_eq!(scene.disk().room(), Room::Open, "it has recovered by itself");
    assert_eq!(scene.publish(&publisher, "empty", "x", ONE), Reason::Success);
    scene.commit();
    assert_eq!(scene.crash(0).copies, 1);
    let _ = SessionOptions::default();
}

/// Where nobody fetches anything: retained messages leave the disk when they are cleared.
#[test]
fn a_store_full_of_retained_messages_is_left_when_they_are_cleared() {
    let options = Options { segment_bytes: 64 * 1024, bytes_max: 256 * 1024, ..Options::default() };
    let mut scene = Scene::stored(Limits::default(), 3, options);
    let publisher = scene.open("p", transient());
    let mut count = 0;
    while scene.disk().room() != Room::Full {
        scene.retain(&publisher, &format!("t/{count}"), &"x".repeat(1000), ONE);
        scene.commit();
        count += 1;
    }
    let clean = |scene: &Scene| {
        for _ in 0..100 {
            scene.commit();
            scene.bus.clean();
        }
    };
    clean(&scene);
    assert_eq!(scene.disk().room(), Room::Full, "all of it is held");
    for number in 0..count / 2 {
        let reason = scene.retain(&publisher, &format!("t/{number}"), "", ONE);
        assert_eq!(reason, Reason::NoMatchingSubscribers);
    }
    clean(&scene);
    assert_eq!(scene.disk().room(), Room::Open);
    assert_eq!(scene.retain(&publisher, "new", "x", ONE), Reason::NoMatchingSubscribers);
}

#[test]
fn wills_and_what_is_delayed_are_not_lost_while_there_is_no_room() {
    let mut scene = full();
    let watcher = open(&scene, "empty");
    let will = crate::tests::scene::with_will(transient(), "empty", 0);
    let dying = scene.open("dying", will);
    scene.lose(&dying);
    scene.commit();
    assert_eq!(scene.take_texts(&watcher), ["will"]);
    scene.crash(0);
    let watcher = open(&scene, "empty");
    assert_eq!(scene.receive(&watcher), ["will"]);
    let _ = Publish::new(super::topic("t"), "");
}

/// A bridge that is configured while the disk is full is there when the gateway starts.
#[test]
fn a_full_store_has_room_for_the_gateway_s_own_sessions() {
    let mut scene = full();
    let bridge = open(&scene, "$bridge/new");
    assert_eq!(scene.subscribe(&bridge, "t", ONE), Reason::GrantedQos1);
    scene.commit();
    scene.crash(0);
    assert_eq!(super::resume(&scene, "$bridge/new").attachment.session.view().subscriptions, 1);
}

/// Those that were recovered may be as many as there may be before the first bridge is opened.
#[test]
fn the_gateway_s_own_sessions_are_not_too_many() {
    let scene = Scene::durable(Limits { sessions_max: 1, ..Limits::default() });
    open(&scene, "a");
    assert_eq!(scene.try_open("b", lasting(Expiry::Never)).err(), Some(Reason::QuotaExceeded));
    open(&scene, "$bridge/new");
}
