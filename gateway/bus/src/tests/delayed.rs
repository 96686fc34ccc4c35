//! `$delayed/{seconds}/{topic}`, as the bus sees it.

use gateway_model::{Expiry, Publish, Qos, Reason, Subscription};

use super::scene::{Client, QOS, Scene, filter, lasting, publish, secs_of, text, transient, with_will};
use crate::{Counter, Limits};

fn scene_with(limits: Limits) -> (Scene, Client, Client) {
    let scene = Scene::with(limits);
    let publisher = scene.open("publisher", transient());
    let client = scene.open("a", transient());
    scene.subscribe(&client, "#", Qos::ExactlyOnce);
    (scene, publisher, client)
}

fn delay(scene: &Scene, publisher: &Client, secs: u64, publish: Publish) -> Reason {
    let publisher = publisher.attachment.client_id();
    scene.bus.publish_delayed(scene.moment, publisher, secs_of(secs), publish, None).value
}

#[test]
fn a_publish_waits_for_its_time() {
    let (mut scene, publisher, client) = scene_with(Limits::default());
    let accepted = scene.moment.unix_millis;
    for (secs, topic, qos) in [(5, "t/5", QOS[1]), (3, "t/3", QOS[2]), (5, "t/5", QOS[0])] {
        assert_eq!(delay(&scene, &publisher, secs, publish(topic, topic, qos)), Reason::Success);
    }
    let begin = scene.moment.instant;
    assert_eq!(scene.pass(2), Some(begin + secs_of(3)));
    assert!(scene.take(&client).is_empty());
    assert_eq!(scene.bus.delayed_size().0, 3);
    assert_eq!(scene.count(Counter::Accepted), 0);
    assert_eq!(scene.pass(1), Some(begin + secs_of(5)));
    let taken = scene.take(&client);
    assert_eq!((text(&taken[0]), taken[0].qos), ("t/3".to_owned(), QOS[2]));
    assert_eq!(taken[0].message.publisher.as_str(), "publisher");
    assert_eq!(taken[0].message.accepted_unix_millis.get(), accepted);
    assert_eq!(scene.pass(10), None);
    let qos: Vec<_> = scene.take(&client).iter().map(|outgoing| outgoing.qos).collect();
    assert_eq!(qos, [QOS[1], QOS[0]], "of one moment in their order");
    assert_eq!(scene.bus.delayed_size(), (0, 0));
    assert_eq!((scene.count(Counter::Delayed), scene.count(Counter::DelayedReleased)), (3, 3));
    assert_eq!(scene.count(Counter::Accepted), 3);
}

/// The delay of the will and that of its topic come one after the other.
#[test]
fn a_will_waits_for_its_time_too() {
    let (mut scene, _, client) = scene_with(Limits::default());
    let device = scene.open("device", with_will(lasting(Expiry::Never), "$delayed/5/t", 2));
    scene.lose(&device);
    scene.pass(2);
    assert_eq!((scene.count(Counter::WillsPublished), scene.count(Counter::Delayed)), (1, 1));
    scene.pass(4);
    assert!(scene.take(&client).is_empty());
    scene.pass(1);
    let taken = scene.take(&client);
    assert_eq!((taken.len(), &*taken[0].message.topic, text(&taken[0])), (1, "t", "will".to_owned()));
    assert_eq!(taken[0].message.publisher.as_str(), "device");
}

#[test]
fn no_delay_is_now() {
    let (scene, publisher, client) = scene_with(Limits::default());
    assert_eq!(delay(&scene, &publisher, 0, publish("t", "x", QOS[1])), Reason::Success);
    assert_eq!(scene.receive(&client), ["x"]);
    scene.unsubscribe(&client, "#");
    let reason = delay(&scene, &publisher, 0, publish("t", "x", QOS[1]));
    assert_eq!(reason, Reason::NoMatchingSubscribers);
}

#[test]
fn its_life_counts_from_its_acceptance() {
    let (mut scene, publisher, client) = scene_with(Limits::default());
    for (text, secs) in [("dead", 5), ("alive", 8)] {
        let expiry = Some(secs_of(secs));
        delay(&scene, &publisher, 5, Publish { expiry, ..publish("t", text, QOS[1]) });
    }
    scene.pass(5);
    let taken = scene.take(&client);
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].message.expiry_secs_left(scene.moment.instant), Some(3));
    assert_eq!((scene.count(Counter::DelayedReleased), scene.count(Counter::DelayedExpired)), (1, 1));
}

#[test]
fn it_is_retained_when_it_is_released() {
    let (mut scene, publisher, client) = scene_with(Limits::default());
    let no_local = Subscription { no_local: true, ..Subscription::new(filter("t"), QOS[1]) };
    scene.subscribe_as(&publisher, no_local);
    delay(&scene, &publisher, 1, Publish { retain: true, ..publish("t", "x", QOS[1]) });
    assert!(scene.retained_texts("t").is_empty());
    scene.pass(1);
    assert_eq!(scene.retained_texts("t"), ["x"]);
    assert_eq!(scene.receive(&client), ["x"]);
    assert!(scene.receive(&publisher).is_empty(), "its own");
}

#[test]
fn its_number_and_bytes_are_limited() {
    for limits in [
        Limits { delayed_messages_max: 2, ..Limits::default() },
        Limits { delayed_bytes_max: 5000, ..Limits::default() },
    ] {
        let (mut scene, publisher, client) = scene_with(limits);
        let text = "x".repeat(2000);
        let reasons = [1, 2, 3].map(|secs| delay(&scene, &publisher, secs, publish("t", &text, QOS[1])));
        assert_eq!(reasons, [Reason::Success, Reason::Success, Reason::QuotaExceeded]);
        assert_eq!(scene.count(Counter::Refused), 1);
        scene.pass(1);
        assert_eq!(delay(&scene, &publisher, 3, publish("t", &text, QOS[1])), Reason::Success);
        scene.pass(3);
        assert_eq!(scene.receive(&client).len(), 3);
    }
}
