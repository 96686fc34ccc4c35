//! MQTT 5.0 sections 3.1.2.5 and 3.1.3.2.2.

use gateway_model::{Expiry, Open, Qos};

use super::scene::{Client, Scene, lasting, secs_of, transient, with_will};
use crate::Counter;

const NEVER: Expiry = Expiry::Never;

fn witnessed() -> (Scene, Client) {
    let scene = Scene::new();
    let witness = scene.open("witness", transient());
    scene.subscribe(&witness, "wills/#", Qos::AtLeastOnce);
    (scene, witness)
}

#[test]
fn a_will_without_delay_is_published_when_the_connection_is_lost() {
    let (scene, witness) = witnessed();
    let client = scene.open("a", with_will(transient(), "wills/a", 0));
    let stays = scene.open("b", with_will(lasting(NEVER), "wills/b", 0));
    scene.lose(&client);
    scene.lose(&stays);
    let taken = scene.take(&witness);
    let topics: Vec<&str> = taken.iter().map(|outgoing| outgoing.message.topic.as_str()).collect();
    assert_eq!(topics, ["wills/a", "wills/b"]);
    assert_eq!(taken[0].message.publisher.as_str(), "a");
    assert_eq!(scene.count(Counter::WillsPublished), 2);
}

#[test]
fn a_goodbye_discards_the_will() {
    let (mut scene, witness) = witnessed();
    for expiry in [Expiry::Immediately, NEVER] {
        let client = scene.open("a", with_will(lasting(expiry), "wills/a", 3));
        scene.goodbye(&client, None);
    }
    scene.pass(1000);
    assert!(scene.take(&witness).is_empty());
}

#[test]
fn a_delayed_will_waits_for_its_time() {
    let (mut scene, witness) = witnessed();
    let client = scene.open("a", with_will(lasting(NEVER), "wills/a", 10));
    scene.lose(&client);
    let due = scene.pass(9);
    assert_eq!(due, Some(scene.moment.instant + secs_of(1)));
    assert!(scene.take(&witness).is_empty());
    scene.pass(1);
    assert_eq!(scene.receive(&witness), ["will"]);
    scene.pass(1000);
    assert!(scene.take(&witness).is_empty(), "once");
}

#[test]
fn a_return_in_time_cancels_a_delayed_will() {
    let (mut scene, witness) = witnessed();
    let client = scene.open("a", with_will(lasting(NEVER), "wills/a", 10));
    scene.lose(&client);
    scene.pass(9);
    let client = scene.open("a", lasting(NEVER));
    scene.pass(1000);
    scene.lose(&client);
    scene.pass(1000);
    assert!(scene.take(&witness).is_empty());
}

/// The return brings a will of its own; the timer of the earlier one must not publish it.
#[test]
fn a_return_with_another_will_starts_its_own_delay() {
    let (mut scene, witness) = witnessed();
    let client = scene.open("a", with_will(lasting(NEVER), "wills/old", 10));
    scene.lose(&client);
    scene.pass(9);
    let client = scene.open("a", with_will(lasting(NEVER), "wills/new", 10));
    scene.lose(&client);
    scene.pass(5);
    assert!(scene.take(&witness).is_empty());
    scene.pass(5);
    let taken = scene.take(&witness);
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].message.topic.as_str(), "wills/new");
}

#[test]
fn the_end_of_the_session_does_not_wait_for_the_delay() {
    let (mut scene, witness) = witnessed();
    let immediate = scene.open("a", with_will(transient(), "wills/a", 100));
    scene.lose(&immediate);
    assert_eq!(scene.receive(&witness).len(), 1);
    let shorter = scene.open("b", with_will(lasting(Expiry::After(secs_of(5))), "wills/b", 100));
    scene.lose(&shorter);
    scene.pass(4);
    assert!(scene.take(&witness).is_empty());
    scene.pass(1);
    assert_eq!(scene.receive(&witness).len(), 1);
    assert_eq!(scene.bus.sessions().len(), 1, "the witness");
    let cleaned = scene.open("c", with_will(lasting(NEVER), "wills/c", 100));
    scene.lose(&cleaned);
    scene.open("c", transient());
    assert_eq!(scene.receive(&witness).len(), 1, "a clean start ends the session");
    assert_eq!(scene.count(Counter::WillsPublished), 3);
}

#[test]
fn a_takeover_publishes_a_will_that_may_not_wait() {
    let (mut scene, witness) = witnessed();
    scene.open("a", with_will(lasting(NEVER), "wills/now", 0));
    scene.open("a", lasting(NEVER));
    assert_eq!(scene.receive(&witness).len(), 1);
    scene.open("b", with_will(lasting(NEVER), "wills/later", 10));
    scene.open("b", lasting(NEVER));
    scene.pass(1000);
    assert!(scene.take(&witness).is_empty(), "the client is back before the delay has passed");
    scene.open("c", with_will(lasting(NEVER), "wills/ended", 10));
    scene.open("c", Open { clean_start: true, ..lasting(NEVER) });
    assert_eq!(scene.receive(&witness).len(), 1, "the session has ended");
}

#[test]
fn the_expiry_given_with_the_goodbye_bounds_the_delay() {
    let (mut scene, witness) = witnessed();
    let client = scene.open("a", with_will(lasting(NEVER), "wills/a", 100));
    scene.bus.detach(scene.moment, &client.attachment, true, Some(Expiry::After(secs_of(2))));
    scene.pass(2);
    assert_eq!(scene.receive(&witness).len(), 1);
}

#[test]
fn a_will_may_be_retained_and_reach_its_own_session() {
    let mut scene = Scene::new();
    let mut open = with_will(lasting(NEVER), "wills/a", 0);
    let mut will = open.will.unwrap().will();
    will.publish.retain = true;
    open.will = Some(will.into());
    let client = scene.open("a", open);
    scene.subscribe(&client, "wills/a", Qos::AtLeastOnce);
    scene.lose(&client);
    assert_eq!(scene.retained_texts("wills/+"), ["will"]);
    scene.pass(1);
    let client = scene.open("a", lasting(NEVER));
    assert_eq!(scene.receive(&client), ["will"]);
}

#[test]
fn a_client_that_comes_and_goes_does_not_pile_up_timers() {
    let (mut scene, _witness) = witnessed();
    for _ in 0..3000 {
        let client = scene.open("a", with_will(lasting(Expiry::After(secs_of(1_000_000))), "wills/a", 1));
        scene.lose(&client);
        scene.pass(2);
    }
    assert_eq!(scene.count(Counter::WillsPublished), 3000);
    assert_eq!(scene.bus.timer_count(), 1, "its expiry");
    scene.pass(1_000_001);
    assert_eq!(scene.bus.sessions().len(), 1, "only the witness");
}
