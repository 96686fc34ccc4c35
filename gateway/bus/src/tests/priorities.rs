use gateway_model::{Expiry, Qos, Settlement};

use super::scene::{Client, Scene, filter, lasting, transient};
use crate::{DropPolicy, DropReason, Limits, PriorityDefault, QueueLimits};

const ONE: Qos = Qos::AtLeastOnce;

/// A publisher, and a subscriber to everything that is away.
fn away(others: PriorityDefault, messages_max: u32, drop: DropPolicy) -> (Scene, Client) {
    let scene = Scene::with(Limits {
        queue: QueueLimits { messages_max, drop, ..QueueLimits::default() },
        queue_priorities: vec![(filter("alarms/#"), 10), (filter("+/low"), 2), (filter("alarms/fire"), 255)],
        queue_priority_default: others,
        ..Limits::default()
    });
    let publisher = scene.open("publisher", transient());
    let client = scene.open("a", lasting(Expiry::Never));
    scene.subscribe(&client, "#", ONE);
    scene.lose(&client);
    (scene, publisher)
}

fn send(scene: &mut Scene, publisher: &Client, topics: &[&str]) {
    for (number, topic) in topics.iter().enumerate() {
        scene.publish(publisher, topic, &format!("{topic} {number}"), ONE);
    }
}

fn back(scene: &Scene) -> Vec<String> {
    scene.receive(&scene.open("a", lasting(Expiry::Never)))
}

const TOPICS: [&str; 7] = ["x", "alarms/low", "alarms/fire", "y", "b/low", "alarms/a", "alarms/fire"];

#[test]
fn the_highest_priority_goes_first_and_order_within_one_is_kept() {
    let (mut scene, publisher) = away(PriorityDefault::Lowest, 100, DropPolicy::Oldest);
    send(&mut scene, &publisher, &TOPICS);
    let expected = ["alarms/fire 2", "alarms/fire 6", "alarms/low 1", "alarms/a 5", "b/low 4", "x 0", "y 3"];
    assert_eq!(back(&scene), expected, "of several filters the highest counts");
}

#[test]
fn other_topics_may_go_first() {
    let (mut scene, publisher) = away(PriorityDefault::Highest, 100, DropPolicy::Oldest);
    send(&mut scene, &publisher, &TOPICS);
    let expected = ["x 0", "alarms/fire 2", "y 3", "alarms/fire 6", "alarms/low 1", "alarms/a 5", "b/low 4"];
    assert_eq!(back(&scene), expected);
}

#[test]
fn a_full_queue_drops_the_oldest_of_the_lowest() {
    let (mut scene, publisher) = away(PriorityDefault::Lowest, 3, DropPolicy::Oldest);
    send(&mut scene, &publisher, &["alarms/a", "x", "y", "z", "alarms/b"]);
    assert_eq!(scene.dropped(DropReason::QueueFull), 2);
    send(&mut scene, &publisher, &["alarms/fire", "x"]);
    assert_eq!(scene.dropped(DropReason::QueueFull), 4, "z, and x itself, as nothing is lower");
    assert_eq!(back(&scene), ["alarms/fire 0", "alarms/a 0", "alarms/b 4"]);
}

#[test]
fn a_full_queue_drops_the_newest_of_the_lowest() {
    let (mut scene, publisher) = away(PriorityDefault::Lowest, 3, DropPolicy::Newest);
    send(&mut scene, &publisher, &["x", "y", "z", "w", "alarms/a"]);
    assert_eq!(scene.dropped(DropReason::QueueFull), 2);
    assert_eq!(back(&scene), ["alarms/a 4", "x 0", "y 1"]);
}

#[test]
fn what_is_in_flight_is_not_overtaken() {
    let (mut scene, publisher) = away(PriorityDefault::Lowest, 100, DropPolicy::Oldest);
    send(&mut scene, &publisher, &["x", "y"]);
    let client = scene.open("a", lasting(Expiry::Never));
    let first = scene.take_at_most(&client, 1);
    send(&mut scene, &publisher, &["alarms/fire"]);
    let client = scene.open("a", lasting(Expiry::Never));
    assert_eq!(scene.take_texts(&client), ["x 0", "alarms/fire 0", "y 1"]);
    assert!(scene.settle(&client, first[0].id.unwrap(), Settlement::Acknowledged));
}

#[test]
fn retained_messages_have_priorities_too() {
    let (mut scene, publisher) = away(PriorityDefault::Lowest, 100, DropPolicy::Oldest);
    for topic in ["a", "alarms/a", "b/low"] {
        scene.retain(&publisher, topic, topic, ONE);
    }
    let client = scene.open("other", transient());
    scene.subscribe(&client, "#", ONE);
    assert_eq!(scene.receive(&client), ["alarms/a", "b/low", "a"]);
}
