use gateway_model::{Expiry, Publish, Qos};

use super::scene::{Client, QOS, Scene, lasting, publish, secs_of, transient};
use crate::{Counter, Drained, DropPolicy, DropReason, Limits, QueueLimits, SessionOptions};

const ONE: Qos = Qos::AtLeastOnce;

/// A publisher, and a subscriber to `#` that is away.
fn away(scene: &Scene) -> Client {
    let publisher = scene.open("publisher", transient());
    let client = scene.open("a", lasting(Expiry::Never));
    scene.subscribe(&client, "#", Qos::ExactlyOnce);
    scene.lose(&client);
    publisher
}

fn back(scene: &Scene) -> Vec<String> {
    let client = scene.open("a", lasting(Expiry::Never));
    scene.receive(&client)
}

#[test]
fn a_full_queue_drops_the_oldest() {
    let mut scene = Scene::with_queue(QueueLimits { messages_max: 3, ..QueueLimits::default() });
    let publisher = away(&scene);
    for text in ["1", "2", "3", "4", "5"] {
        scene.publish(&publisher, "t", text, ONE);
        scene.assert_balanced();
    }
    assert_eq!(scene.dropped(DropReason::QueueFull), 2);
    assert_eq!(back(&scene), ["3", "4", "5"]);
}

#[test]
fn a_full_queue_drops_the_newest() {
    let drop = DropPolicy::Newest;
    let mut scene = Scene::with_queue(QueueLimits { messages_max: 3, drop, ..QueueLimits::default() });
    let publisher = away(&scene);
    for text in ["1", "2", "3", "4", "5"] {
        scene.publish(&publisher, "t", text, ONE);
        scene.assert_balanced();
    }
    assert_eq!(scene.dropped(DropReason::QueueFull), 2);
    assert_eq!(back(&scene), ["1", "2", "3"]);
}

#[test]
fn bytes_are_limited_as_well_as_messages() {
    for (drop, expected) in [(DropPolicy::Oldest, ["b", "c"]), (DropPolicy::Newest, ["a", "b"])] {
        let mut scene = Scene::with_queue(QueueLimits { bytes_max: 5000, drop, ..QueueLimits::default() });
        let publisher = away(&scene);
        for text in ["a", "b", "c"] {
            scene.publish(&publisher, "t", &text.repeat(2000), ONE);
        }
        let view = scene.bus.sessions().into_iter().find(|view| !view.connected).unwrap();
        assert!((4000..=5000).contains(&view.queue_bytes), "{}", view.queue_bytes);
        assert_eq!(scene.dropped(DropReason::QueueFull), 1);
        assert_eq!(back(&scene), expected.map(|text| text.repeat(2000)));
    }
}

#[test]
fn a_large_message_drops_as_many_as_it_needs() {
    let mut scene = Scene::with_queue(QueueLimits { bytes_max: 5000, ..QueueLimits::default() });
    let publisher = away(&scene);
    for text in ["a", "b", "c"] {
        scene.publish(&publisher, "t", &text.repeat(1000), ONE);
    }
    scene.publish(&publisher, "t", &"d".repeat(3000), ONE);
    assert_eq!(scene.dropped(DropReason::QueueFull), 2);
    assert_eq!(back(&scene), ["c".repeat(1000), "d".repeat(3000)]);
}

#[test]
fn a_message_that_never_fits_costs_no_other() {
    let mut scene = Scene::with_queue(QueueLimits { bytes_max: 5000, ..QueueLimits::default() });
    let publisher = away(&scene);
    scene.publish(&publisher, "t", "small", ONE);
    scene.publish(&publisher, "t", &"x".repeat(5000), ONE);
    assert_eq!(scene.dropped(DropReason::QueueFull), 1);
    assert_eq!(back(&scene), ["small"]);
}

#[test]
fn a_queue_of_nothing_drops_everything() {
    for drop in [DropPolicy::Oldest, DropPolicy::Newest] {
        let mut scene = Scene::with_queue(QueueLimits { messages_max: 0, drop, ..QueueLimits::default() });
        let publisher = away(&scene);
        scene.publish(&publisher, "t", "1", ONE);
        assert_eq!(scene.dropped(DropReason::QueueFull), 1);
        assert!(back(&scene).is_empty());
    }
}

#[test]
fn qos_0_is_not_stored_for_a_session_that_is_away() {
    let mut scene = Scene::new();
    let publisher = away(&scene);
    for (text, qos) in ["0", "1", "2"].into_iter().zip(QOS) {
        scene.publish(&publisher, "t", text, qos);
    }
    assert_eq!(scene.dropped(DropReason::Offline), 1);
    assert_eq!(back(&scene), ["1", "2"]);
}

#[test]
fn qos_0_is_stored_where_it_is_configured() {
    let mut scene = Scene::with_queue(QueueLimits { store_qos0: true, ..QueueLimits::default() });
    let publisher = away(&scene);
    for (text, qos) in ["0", "1", "2"].into_iter().zip(QOS) {
        scene.publish(&publisher, "t", text, qos);
    }
    assert_eq!(scene.dropped(DropReason::Offline), 0);
    assert_eq!(back(&scene), ["0", "1", "2"]);
}

#[test]
fn qos_0_that_waited_when_the_connection_was_lost_goes_with_it() {
    let mut scene = Scene::new();
    let publisher = scene.open("publisher", transient());
    let client = scene.open("a", lasting(Expiry::Never));
    scene.subscribe(&client, "#", Qos::ExactlyOnce);
    for (text, qos) in ["0", "1", "0", "2"].into_iter().zip([QOS[0], QOS[1], QOS[0], QOS[2]]) {
        scene.publish(&publisher, "t", text, qos);
    }
    scene.lose(&client);
    assert_eq!(scene.dropped(DropReason::Offline), 2);
    let size: usize = scene.bus.sessions().iter().map(|view| view.queue_bytes).sum();
    assert_eq!(back(&scene), ["1", "2"]);
    assert!(size > 0);
    assert_eq!(scene.bus.sessions().iter().map(|view| view.queue_bytes).sum::<usize>(), 0);
}

#[test]
fn expired_messages_are_skipped_and_counted() {
    let mut scene = Scene::new();
    let publisher = away(&scene);
    for (text, secs) in [("short", 1), ("long", 100), ("shorter", 1)] {
        let expiry = Some(secs_of(secs));
        scene.send(&publisher, Publish { expiry, ..publish("t", text, ONE) });
    }
    scene.pass(1);
    assert_eq!(back(&scene), ["long"]);
    assert_eq!(scene.dropped(DropReason::Expired), 2);
}

#[test]
fn a_message_lives_until_its_moment() {
    let mut scene = Scene::new();
    let publisher = away(&scene);
    scene.send(&publisher, Publish { expiry: Some(secs_of(10)), ..publish("t", "x", ONE) });
    scene.pass(9);
    let client = scene.open("a", lasting(Expiry::Never));
    let taken = scene.take(&client);
    assert_eq!(taken[0].message.expiry_secs_left(scene.moment.instant), Some(1));
}

#[test]
fn the_end_of_a_session_counts_what_it_takes_along() {
    let mut scene = Scene::new();
    let publisher = scene.open("publisher", transient());
    let client = scene.open("a", transient());
    scene.subscribe(&client, "#", ONE);
    for text in ["1", "2", "3"] {
        scene.publish(&publisher, "t", text, ONE);
    }
    scene.take_at_most(&client, 2);
    scene.lose(&client);
    assert_eq!(scene.dropped(DropReason::SessionEnded), 3);
    assert_eq!(scene.count(Counter::Matched), 3);
}

#[test]
fn a_session_may_have_limits_of_its_own() {
    let mut scene = Scene::new();
    let queue = QueueLimits { messages_max: 1, upgrade_qos: true, ..QueueLimits::default() };
    scene.options(SessionOptions { queue: Some(queue), in_flight_max: Some(1), owner: 0 });
    let publisher = away(&scene);
    scene.publish(&publisher, "t", "1", Qos::AtMostOnce);
    scene.publish(&publisher, "t", "2", Qos::AtMostOnce);
    assert_eq!(scene.dropped(DropReason::QueueFull), 1, "upgraded, so stored, so limited");
    let client = scene.open("a", lasting(Expiry::Never));
    let taken = scene.take(&client);
    scene.publish(&publisher, "t", "3", ONE);
    assert!(scene.take(&client).is_empty(), "a window of one");
    assert_eq!(taken[0].qos, Qos::ExactlyOnce);
    assert_eq!(taken[0].message.qos, Qos::AtMostOnce);
}

#[test]
fn a_receiver_is_told_once_until_it_takes() {
    let mut scene = Scene::new();
    let publisher = scene.open("publisher", transient());
    let client = scene.open("a", transient());
    scene.subscribe(&client, "t", ONE);
    assert_eq!(client.bell.rung(), 0);
    scene.publish(&publisher, "t", "1", ONE);
    scene.publish(&publisher, "t", "2", ONE);
    assert_eq!(client.bell.rung(), 1);
    assert_eq!(scene.receive(&client), ["1", "2"]);
    scene.publish(&publisher, "t", "3", Qos::AtMostOnce);
    assert_eq!(client.bell.rung(), 1);
}

#[test]
fn a_refused_qos_0_delivery_is_a_drop() {
    let mut scene = Scene::new();
    let publisher = scene.open("publisher", transient());
    let client = scene.open("a", transient());
    scene.subscribe(&client, "t", ONE);
    scene.publish(&publisher, "t", "1", Qos::AtMostOnce);
    scene.publish(&publisher, "t", "2", Qos::AtMostOnce);
    let now = scene.moment.instant;
    let drained = scene.bus.deliver(&client.attachment, |outbox| {
        assert_eq!(outbox.backlog(), 2);
        outbox.next(now).unwrap();
        outbox.refuse_last("packet_too_large");
    });
    assert!(matches!(drained, Ok(Drained { left: 1, sent: [0, 0, 0], .. })));
    assert_eq!(scene.dropped(DropReason::PacketTooLarge), 1);
    assert_eq!(scene.count(Counter::Delivered), 0);
    assert_eq!(scene.receive(&client), ["2"]);
}

/// Together they are over the budget: who piles up stops, and whoever reads goes on.
#[test]
fn all_queues_together_have_a_budget() {
    let message = "x".repeat(10_000);
    for (drop, last) in [(DropPolicy::Oldest, "last"), (DropPolicy::Newest, message.as_str())] {
        let queue = QueueLimits { drop, ..QueueLimits::default() };
        let queues_bytes_max = 1024 * 1024;
        let mut scene = Scene::with(Limits { queue, queues_bytes_max, ..Limits::default() });
        let publisher = scene.open("p", transient());
        let heavy: Vec<_> =
            (0..4).map(|number| scene.open(&format!("heavy {number}"), transient())).collect();
        let light = scene.open("light", transient());
        for client in &heavy {
            scene.subscribe(client, "t", Qos::AtLeastOnce);
        }
        scene.subscribe(&light, "u", Qos::AtLeastOnce);
        for _ in 0..100 {
            scene.publish(&publisher, "t", &message, Qos::AtLeastOnce);
        }
        let bytes =
            |scene: &Scene| -> usize { scene.bus.sessions().iter().map(|view| view.queue_bytes).sum() };
        let before = bytes(&scene);
        assert!(
            (queues_bytes_max as usize..queues_bytes_max as usize + 4 * 80_000).contains(&before),
            "{before}"
        );
        scene.publish(&publisher, "t", "last", Qos::AtLeastOnce);
        assert!(bytes(&scene) <= before);
        assert!(scene.dropped(DropReason::QueueFull) > 4 * 50);
        scene.publish(&publisher, "u", "x", Qos::AtLeastOnce);
        assert_eq!(scene.receive(&light), ["x"], "a short queue is not touched");
        assert_eq!(scene.receive(&heavy[0]).last().map(String::as_str), Some(last));
        // What was read is free again.
        scene.publish(&publisher, "t", "more", Qos::AtLeastOnce);
        assert_eq!(scene.receive(&heavy[0]), ["more"]);
        heavy.iter().for_each(|client| scene.goodbye(client, None));
        assert!(!scene.bus.budget.is_spent());
    }
}
