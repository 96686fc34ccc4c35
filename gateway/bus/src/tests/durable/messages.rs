use std::num::NonZeroU16;
use std::time::Duration;

use gateway_model::{Publish, Qos, Reason};
use gateway_store::Store;

use super::{ONE, TWO, ZERO, appended, open, resume, scene};
use crate::Limits;
use crate::tests::scene::{Scene, publish, secs_of, transient};

#[test]
fn retained_messages_above_qos_0_come_back() {
    let mut scene = scene();
    let publisher = scene.open("p", transient());
    for (topic, text) in [("a", "old"), ("a", "new"), ("b", "x"), ("c", "x"), ("c", "")] {
        let retained = Publish { retain: true, ..publish(topic, text, ONE) };
        let promise =
            scene.bus.publish(scene.moment, &publisher.attachment, retained, None, &mut scene.cache);
        assert!(!scene.is_kept(promise.place), "{topic} {text}");
    }
    let brief = Publish { retain: true, expiry: Some(secs_of(10)), ..publish("d", "x", TWO) };
    scene.send(&publisher, brief.clone());
    scene.send(&publisher, Publish { topic: super::topic("e"), expiry: Some(secs_of(30)), ..brief });
    scene.commit();
    assert_eq!(scene.crash(10).retained, 3);
    assert_eq!(scene.retained_texts("#"), ["new", "x", "x"]);
    scene.pass(20);
    assert_eq!(scene.retained_texts("#"), ["new", "x"]);
}

#[test]
fn retained_messages_may_not_be_kept_longer_than_the_limit_by_a_restart() {
    let limits = Limits { retained_expiry_max: Some(secs_of(60)), ..Limits::default() };
    let mut scene = Scene::durable(limits);
    let publisher = scene.open("p", transient());
    scene.retain(&publisher, "a", "x", ONE);
    scene.commit();
    scene.crash(59);
    assert_eq!(scene.retained_texts("#"), ["x"]);
    scene.pass(1);
    assert!(scene.retained_texts("#").is_empty());
    scene.commit();
    assert_eq!(scene.crash(0).retained, 0);
}

#[test]
fn retained_messages_at_qos_0_are_written_late_and_once() {
    let limits = Limits { retained_qos0_write: Some(secs_of(10)), ..Limits::default() };
    let mut scene = Scene::durable(limits);
    let publisher = scene.open("p", transient());
    let before = appended(&scene);
    for count in 0..100 {
        scene.retain(&publisher, "a", &format!("{count}{}", "x".repeat(1000)), ZERO);
    }
    scene.retain(&publisher, "b", "x", ZERO);
    scene.retain(&publisher, "b", "", ZERO);
    assert_eq!(scene.pass(9), Some(scene.moment.instant + secs_of(1)));
    assert_eq!(appended(&scene), before);
    assert_eq!(scene.pass(1), None);
    let bytes = appended(&scene) - before;
    assert!((1000..1500).contains(&bytes), "{bytes}");
    scene.pass(100);
    assert_eq!(appended(&scene) - before, bytes, "nothing new");
    scene.commit();
    assert_eq!(scene.crash(0).retained, 1);
    assert!(scene.retained_texts("a")[0].starts_with("99x"));
    // What is cleared at QoS 0 is cleared late as well.
    let publisher = scene.open("p", transient());
    scene.retain(&publisher, "a", "", ZERO);
    scene.pass(10);
    scene.commit();
    assert_eq!(scene.crash(0).retained, 0);
}

#[test]
fn a_gateway_that_ends_in_order_writes_what_is_retained_at_qos_0() {
    let limits = Limits { retained_qos0_write: Some(secs_of(10)), ..Limits::default() };
    let mut scene = Scene::durable(limits);
    let publisher = scene.open("p", transient());
    scene.retain(&publisher, "a", "x", ZERO);
    assert_eq!(scene.bus.write_retained_now(scene.moment), None);
    scene.commit();
    assert_eq!(scene.crash(0).retained, 1);
    assert_eq!(scene.retained_texts("a"), ["x"]);
}

#[test]
fn the_gateway_s_own_and_what_is_never_to_be_written_is_not() {
    let limits = Limits { retained_qos0_write: None, ..Limits::default() };
    let mut scene = Scene::durable(limits);
    let publisher = scene.open("p", transient());
    scene.retain(&publisher, "a", "x", ONE);
    scene.retain(&publisher, "b", "x", ONE);
    let before = appended(&scene);
    scene.retain(&publisher, "c", "x", ZERO);
    scene.pass(100);
    assert_eq!(appended(&scene), before);
    // But what took the place of something stored must not bring that back.
    scene.retain(&publisher, "a", "y", ZERO);
    scene.pass(100);
    scene.commit();
    assert_eq!(scene.crash(0).retained, 1);
    assert_eq!(scene.retained_texts("#"), ["x"]);
    let mut scene = Scene::durable(Limits::default());
    let before = appended(&scene);
    let own = Publish { retain: true, ..publish("$SYS/uptime", "1", ZERO) };
    scene.bus.publish_as(scene.moment, &crate::tests::scene::id("$sys"), own);
    scene.pass(100);
    assert_eq!(appended(&scene), before);
}

#[test]
fn a_replaced_retained_message_is_the_last_one_whatever_the_qos() {
    let mut scene = scene();
    let publisher = scene.open("p", transient());
    let steps = [(ONE, "1"), (ZERO, "2"), (ONE, "3"), (ZERO, "4"), (ZERO, ""), (ONE, "5")];
    for (qos, text) in steps {
        scene.retain(&publisher, "a", text, qos);
    }
    scene.commit();
    scene.crash(0);
    assert_eq!(scene.retained_texts("a"), ["5"]);
    scene.pass(100);
    scene.commit();
    scene.crash(0);
    assert_eq!(scene.retained_texts("a"), ["5"]);
}

#[test]
fn what_is_delayed_comes_at_its_time() {
    let mut scene = scene();
    let publisher = open(&scene, "p");
    let client = open(&scene, "a");
    scene.subscribe(&client, "t", TWO);
    let delayed = |scene: &mut Scene, secs, text: &str, qos: Qos, held| {
        let hold = NonZeroU16::new(held).map(|id| (&publisher.attachment, id));
        let name = publisher.attachment.client_id();
        scene.bus.publish_delayed(scene.moment, name, secs_of(secs), publish("t", text, qos), hold)
    };
    let promise = delayed(&mut scene, 20, "20", ONE, 0);
    assert_eq!(promise.value, Reason::Success);
    assert!(!scene.is_kept(promise.place));
    let _ = delayed(&mut scene, 10, "10", TWO, 7);
    let _ = delayed(&mut scene, 5, "5", ONE, 0);
    let _ = delayed(&mut scene, 10, "lost", ZERO, 0);
    scene.pass(5);
    assert_eq!(scene.take_texts(&client), ["5"]);
    scene.commit();
    let recovered = scene.crash(2);
    assert_eq!((recovered.delayed, recovered.copies), (2, 1));
    assert_eq!(resume(&scene, "p").opened.held.len(), 1);
    let client = resume(&scene, "a");
    assert_eq!(scene.receive(&client), ["5"]);
    scene.pass(3);
    scene.commit();
    assert_eq!(scene.receive(&client), ["10"]);
    scene.pass(10);
    assert_eq!(scene.receive(&client), ["20"]);
    scene.commit();
    let recovered = scene.crash(0);
    assert_eq!((recovered.delayed, recovered.copies), (0, 0));
}

#[test]
fn a_session_that_was_sent_nothing_new_does_not_write() {
    let mut scene = scene();
    let client = open(&scene, "a");
    scene.subscribe(&client, "t", ONE);
    scene.commit();
    let before = appended(&scene);
    for _ in 0..100 {
        scene.pass(60);
        scene.take(&client);
        assert!(scene.bus.poll(scene.moment).is_none());
    }
    assert_eq!(appended(&scene), before);
    let _ = Duration::ZERO;
}

/// Fills segments with what nobody holds any more, and has them given back.
fn turn_over(scene: &mut Scene) {
    let (publisher, client) = (scene.open("filler", transient()), open(scene, "filled"));
    scene.subscribe(&client, "filler", ONE);
    for _ in 0..1000 {
        scene.publish(&publisher, "filler", &"x".repeat(1000), ONE);
        scene.receive(&client);
        scene.commit();
    }
    let before = scene.disk().figures().bytes_cleaned;
    for _ in 0..100 {
        scene.bus.clean();
        scene.commit();
    }
    assert!(scene.disk().figures().bytes_cleaned > before, "something was cleaned");
    assert!(scene.disk().figures().segments < 6);
}

/// What was published at QoS 0 in its place is not in the log yet: a crash may bring the old one back, but
/// must not leave nothing.
#[test]
fn what_was_acknowledged_goes_only_when_what_replaced_it_is_written() {
    let mut scene = scene();
    let publisher = scene.open("p", transient());
    for topic in ["a", "b", "c"] {
        scene.retain(&publisher, topic, "old", ONE);
    }
    scene.commit();
    scene.retain(&publisher, "a", "new", ZERO);
    scene.retain(&publisher, "b", "", ZERO);
    scene.retain(&publisher, "c", "new", ZERO);
    scene.retain(&publisher, "c", "newest", ONE);
    turn_over(&mut scene);
    scene.crash(0);
    assert_eq!(scene.retained_texts("a"), ["old"]);
    assert_eq!(scene.retained_texts("b"), ["old"]);
    assert_eq!(scene.retained_texts("c"), ["newest"]);
    let publisher = scene.open("p", transient());
    scene.retain(&publisher, "a", "new", ZERO);
    scene.retain(&publisher, "b", "", ZERO);
    scene.pass(10);
    scene.commit();
    turn_over(&mut scene);
    scene.crash(0);
    assert_eq!(scene.retained_texts("#"), ["new", "newest"]);
}

/// A round of writing ends, however fast new ones come.
#[test]
fn what_is_retained_at_qos_0_meanwhile_waits_for_the_next_round() {
    let limits = Limits { retained_qos0_write: Some(secs_of(10)), ..Limits::default() };
    let mut scene = Scene::durable(limits);
    let publisher = scene.open("p", transient());
    for number in 0..1000 {
        scene.retain(&publisher, &format!("t/{number}"), "x", ZERO);
    }
    assert_eq!(scene.pass(10), None);
    for topic in ["a", "z"] {
        scene.retain(&publisher, topic, "x", ZERO);
    }
    assert_eq!(scene.pass(9), Some(scene.moment.instant + secs_of(1)));
    assert_eq!(scene.pass(1), None);
    scene.commit();
    assert_eq!(scene.crash(0).retained, 1002);
}
