//! Every way to lose a message has a reason and a client.

use gateway_model::{Expiry, Publish, Qos, Settlement};

use super::scene::{QOS, Scene, id, lasting, publish, secs_of, transient, with_will};
use crate::{ClientDrops, DropReason, Limits, QueueLimits};

const ONE: Qos = Qos::AtLeastOnce;

/// Who lost how many for which reason, in order of name.
fn told(scene: &Scene) -> Vec<(String, Vec<(DropReason, u64)>)> {
    let lost = |client: ClientDrops| (client.client_id.to_string(), counts(&client));
    scene.bus.collect_drops(scene.moment).into_iter().map(lost).collect()
}

fn counts(client: &ClientDrops) -> Vec<(DropReason, u64)> {
    client.drops.iter().map(|dropped| (dropped.reason, dropped.count)).collect()
}

fn lost(name: &str, reason: DropReason, count: u64) -> Vec<(String, Vec<(DropReason, u64)>)> {
    vec![(name.to_owned(), vec![(reason, count)])]
}

#[test]
fn a_drop_names_its_client_and_its_reason() {
    let mut scene = Scene::with_queue(QueueLimits { messages_max: 2, ..QueueLimits::default() });
    let publisher = scene.open("publisher", transient());
    let client = scene.open("a", lasting(Expiry::After(secs_of(60))));
    scene.subscribe(&client, "#", Qos::ExactlyOnce);
    assert_eq!(told(&scene), []);
    scene.publish(&publisher, "t", "0", QOS[0]);
    scene.lose(&client);
    assert_eq!(told(&scene), lost("a", DropReason::Offline, 1), "waited at QoS 0");
    scene.publish(&publisher, "t/away", "0", QOS[0]);
    let drops = scene.bus.collect_drops(scene.moment);
    assert_eq!(drops[0].drops[0].topic.as_deref(), Some("t/away"));
    for _ in 0..5 {
        scene.publish(&publisher, "t", "1", ONE);
    }
    assert_eq!(told(&scene), lost("a", DropReason::QueueFull, 3));
    scene.pass(60);
    assert_eq!(told(&scene), lost("a", DropReason::SessionEnded, 2));
    let (all, omitted) = scene.bus.drops(scene.moment);
    let reasons = [(DropReason::Offline, 2), (DropReason::QueueFull, 3), (DropReason::SessionEnded, 2)];
    assert_eq!((counts(&all[0]), omitted), (reasons.to_vec(), 0));
    assert_eq!(all[0].last_unix_millis, scene.moment.unix_millis);
}

#[test]
fn what_its_receiver_does_not_want_is_told() {
    let mut scene = Scene::new();
    let publisher = scene.open("publisher", transient());
    let client = scene.open("a", transient());
    scene.subscribe(&client, "#", Qos::ExactlyOnce);
    let settlements = [
        (Settlement::Refused(ONE), DropReason::Refused),
        (Settlement::Dropped("timeout"), DropReason::Timeout),
        (Settlement::Dropped("no word of ours"), DropReason::Other),
    ];
    for (settlement, reason) in settlements {
        scene.publish(&publisher, "t", "1", ONE);
        let taken = scene.take(&client);
        let _ = scene.bus.settle(&client.attachment, taken[0].id.unwrap(), settlement);
        assert_eq!(told(&scene), lost("a", reason, 1));
    }
    let brief = Publish { expiry: Some(secs_of(1)), ..publish("t", "1", ONE) };
    scene.send(&publisher, brief);
    scene.pass(1);
    assert!(scene.take(&client).is_empty());
    assert_eq!(told(&scene), lost("a", DropReason::Expired, 1));
}

#[test]
fn what_is_never_published_is_its_publishers_loss() {
    let limits = Limits { retained_messages_max: 1, delayed_messages_max: 2, ..Limits::default() };
    let mut scene = Scene::with(limits);
    let publisher = scene.open("publisher", transient());
    scene.retain(&publisher, "kept", "1", ONE);
    // There is no room for it among the retained messages when its time has come.
    let retained = Publish { retain: true, ..publish("t", "1", ONE) };
    let brief = Publish { expiry: Some(secs_of(1)), ..publish("t", "1", ONE) };
    for publish in [retained, brief] {
        let _ = scene.bus.publish_delayed(scene.moment, &id("publisher"), secs_of(2), publish, None);
    }
    let device = scene.open("device", with_will(transient(), "$delayed/5/t", 0));
    scene.lose(&device);
    assert_eq!(told(&scene), lost("device", DropReason::Unpublished, 1), "too much is held back");
    scene.pass(2);
    let reasons = vec![(DropReason::Unpublished, 1), (DropReason::DelayedExpired, 1)];
    assert_eq!(told(&scene), [("publisher".to_owned(), reasons)]);
}

#[test]
fn a_retained_message_that_expires_is_counted_once() {
    let mut scene = Scene::new();
    let publisher = scene.open("publisher", transient());
    for topic in ["a", "b", "c"] {
        let brief = Publish { retain: true, expiry: Some(secs_of(1)), ..publish(topic, "1", ONE) };
        scene.send(&publisher, brief);
    }
    scene.pass(1);
    let client = scene.open("client", transient());
    scene.subscribe(&client, "a", ONE);
    scene.subscribe(&client, "#", ONE);
    scene.subscribe(&client, "#", ONE);
    assert_eq!(told(&scene), lost("publisher", DropReason::RetainedExpired, 3));
}
