use gateway_model::{Expiry, Outgoing, Settled, Settlement};
use gateway_store::Store;

use super::{ONE, TWO, ZERO, brief, open, resume, scene};
use crate::tests::scene::{Client, Scene, lasting, publish, text, transient};
use crate::{Counter, DropPolicy, DropReason, Limits, QueueLimits};

/// What a receiver sees of a delivery.
fn sight(outgoing: &Outgoing) -> (String, u16, bool, bool) {
    let id = outgoing.id.map_or(0, u16::from);
    (text(outgoing), id, outgoing.duplicate, outgoing.released)
}

fn sights(scene: &Scene, client: &Client) -> Vec<(String, u16, bool, bool)> {
    scene.take(client).iter().map(sight).collect()
}

fn own(text: &str, id: u16, duplicate: bool, released: bool) -> (String, u16, bool, bool) {
    (text.to_owned(), id, duplicate, released)
}

#[test]
fn a_queue_comes_back_in_order() {
    let mut scene = scene();
    let publisher = brief(&scene, "p");
    let client = open(&scene, "a");
    scene.subscribe(&client, "t", TWO);
    scene.lose(&client);
    for count in 0..100 {
        let qos = if count % 3 == 0 { TWO } else { ONE };
        let sent = publish("t", &count.to_string(), qos);
        let promise = scene.bus.publish(scene.moment, &publisher.attachment, sent, None, &mut scene.cache);
        assert!(!scene.is_kept(promise.place));
    }
    scene.publish(&publisher, "t", "qos 0", ZERO);
    scene.commit();
    let recovered = scene.crash(0);
    assert_eq!((recovered.copies, recovered.unreadable), (100, 0));
    assert_eq!(scene.count(Counter::Recovered), 100);
    let client = resume(&scene, "a");
    let expected: Vec<String> = (0..100).map(|count: u32| count.to_string()).collect();
    let taken = scene.take(&client);
    assert!(taken.iter().all(|outgoing| !outgoing.duplicate), "none of them was ever sent");
    assert_eq!(taken.iter().map(text).collect::<Vec<_>>(), expected);
}

#[test]
fn what_was_in_flight_has_the_same_identifiers_and_is_a_duplicate() {
    let mut scene = scene();
    let publisher = brief(&scene, "p");
    let client = scene.open("a", gateway_model::Open { receive_maximum: 4, ..lasting(Expiry::Never) });
    scene.subscribe(&client, "t", TWO);
    for (count, qos) in [ONE, TWO, ONE, TWO, ONE, TWO].into_iter().enumerate() {
        scene.publish(&publisher, "t", &count.to_string(), qos);
    }
    scene.commit();
    let before = sights(&scene, &client);
    assert_eq!(before.len(), 4);
    let ids: Vec<_> = before.iter().map(|sight| sight.1).collect();
    let id = |place: usize| std::num::NonZeroU16::new(ids[place]).unwrap();
    assert!(scene.settle(&client, id(0), Settlement::Acknowledged));
    let received = scene.bus.settle(&client.attachment, id(1), Settlement::Received);
    assert_eq!(received.value, Settled::Done);
    assert!(!scene.is_kept(received.place), "the release waits for it");
    scene.commit();
    assert!(scene.is_kept(received.place));
    scene.crash(0);
    let client = resume(&scene, "a");
    let after = sights(&scene, &client);
    let expected =
        [own("1", ids[1], false, true), own("2", ids[2], true, false), own("3", ids[3], true, false)];
    assert_eq!(after[..3], expected);
    let rest: Vec<_> = after[3..].iter().map(|sight| (sight.0.as_str(), sight.1)).collect();
    assert_eq!(rest, [("4", ids[3] + 1), ("5", ids[3] + 2)], "in order, with the identifiers to come");
}

#[test]
fn what_is_settled_does_not_come_back() {
    let mut scene = scene();
    let publisher = brief(&scene, "p");
    let client = open(&scene, "a");
    scene.subscribe(&client, "t", TWO);
    for (count, qos) in [ONE, TWO, ONE].into_iter().enumerate() {
        scene.publish(&publisher, "t", &count.to_string(), qos);
    }
    scene.commit();
    let ids: Vec<_> = scene.take(&client).iter().map(|outgoing| outgoing.id.unwrap()).collect();
    assert!(scene.settle(&client, ids[0], Settlement::Refused(ONE)));
    assert!(scene.settle(&client, ids[1], Settlement::Received));
    assert!(scene.settle(&client, ids[1], Settlement::Completed));
    scene.commit();
    assert_eq!(scene.crash(0).copies, 1);
    let client = resume(&scene, "a");
    assert_eq!(scene.receive(&client), ["2"]);
}

#[test]
fn qos_2_is_not_sent_before_it_is_durable() {
    let mut scene = scene();
    let publisher = brief(&scene, "p");
    let client = open(&scene, "a");
    scene.subscribe(&client, "t", TWO);
    scene.publish(&publisher, "t", "one", ONE);
    scene.publish(&publisher, "t", "two", TWO);
    let mut taken = Vec::new();
    let now = scene.moment.instant;
    let deliver = |taken: &mut Vec<String>| {
        let drained = scene.bus.deliver(&client.attachment, |outbox| {
            taken.extend(std::iter::from_fn(|| outbox.next(now)).map(|outgoing| text(&outgoing)));
        });
        drained.unwrap().waits_for
    };
    let waits_for = deliver(&mut taken);
    assert_eq!(taken, ["one"], "at QoS 1 a crash gives a duplicate at worst");
    assert!(!scene.is_kept(waits_for));
    scene.commit();
    assert!(scene.is_kept(waits_for));
    assert!(scene.is_kept(deliver(&mut taken)));
    assert_eq!(taken, ["one", "two"]);
}

#[test]
fn one_message_is_stored_once_for_all() {
    let mut scene = scene();
    let publisher = brief(&scene, "p");
    let clients: Vec<_> = (0..20)
        .map(|number| {
            let client = open(&scene, &format!("c{number}"));
            scene.subscribe(&client, "t", ONE);
            scene.lose(&client);
            client
        })
        .collect();
    let before = super::appended(&scene);
    scene.publish(&publisher, "t", &"x".repeat(10_000), ONE);
    let bytes = super::appended(&scene) - before;
    assert!(bytes < 11_000, "{bytes}");
    scene.commit();
    assert_eq!(scene.crash(0).copies, clients.len());
    let views = scene.bus.sessions();
    assert!(views.iter().all(|view| view.queued == usize::from(view.client_id.as_str() != "p")));
}

#[test]
fn what_made_room_is_not_there_after_a_crash() {
    for (drop, expected) in [(DropPolicy::Oldest, ["2", "3"]), (DropPolicy::Newest, ["0", "1"])] {
        let queue = QueueLimits { messages_max: 2, drop, ..QueueLimits::default() };
        let mut scene = Scene::durable(Limits { queue, ..Limits::default() });
        let publisher = brief(&scene, "p");
        let client = open(&scene, "a");
        scene.subscribe(&client, "t", ONE);
        scene.lose(&client);
        for count in 0..4 {
            scene.publish(&publisher, "t", &count.to_string(), ONE);
        }
        assert_eq!(scene.dropped(DropReason::QueueFull), 2);
        scene.commit();
        assert_eq!(scene.crash(0).copies, 2);
        let client = resume(&scene, "a");
        assert_eq!(scene.receive(&client), expected);
    }
}

#[test]
fn what_expired_or_was_cut_down_by_qos_0_is_gone_from_the_log() {
    let queue = QueueLimits { messages_max: 2, ..QueueLimits::default() };
    let mut scene = Scene::durable(Limits { queue, ..Limits::default() });
    let publisher = brief(&scene, "p");
    let client = open(&scene, "a");
    scene.subscribe(&client, "t", ONE);
    let expiry = Some(crate::tests::scene::secs_of(5));
    scene.send(&publisher, gateway_model::Publish { expiry, ..publish("t", "brief", ONE) });
    scene.publish(&publisher, "t", "long", ONE);
    scene.pass(5);
    assert_eq!(scene.take_texts(&client), ["long"]);
    scene.publish(&publisher, "t", "first", ONE);
    scene.publish(&publisher, "t", "second", ONE);
    scene.publish(&publisher, "t", "third", ZERO);
    assert_eq!(scene.dropped(DropReason::QueueFull), 1);
    scene.commit();
    assert_eq!(scene.crash(0).copies, 2);
    let client = resume(&scene, "a");
    assert_eq!(scene.receive(&client), ["long", "second"]);
}

#[test]
fn a_group_goes_on_where_it_was() {
    let mut scene = scene();
    let publisher = scene.open("p", transient());
    let members = ["a", "b"].map(|name| {
        let member = open(&scene, name);
        scene.subscribe(&member, "$share/g/t", ONE);
        member
    });
    for count in 0..4 {
        scene.publish(&publisher, "t", &count.to_string(), ONE);
    }
    // What `a` had goes to `b`, which is there.
    scene.lose(&members[0]);
    scene.commit();
    assert_eq!(scene.crash(0).copies, 4);
    let b = resume(&scene, "b");
    assert_eq!(scene.receive(&b), ["0", "1", "2", "3"]);
    let publisher = scene.open("p", transient());
    scene.publish(&publisher, "t", "4", ONE);
    assert_eq!(scene.receive(&b), ["4"]);
    scene.commit();
    assert_eq!(scene.crash(0).copies, 0);
}

#[test]
fn what_waits_for_a_group_waits_for_it_after_a_crash() {
    let mut scene = scene();
    let publisher = scene.open("p", transient());
    let keeper = open(&scene, "keeper");
    scene.subscribe(&keeper, "$share/g/t", ONE);
    scene.lose(&keeper);
    for count in 0..3 {
        scene.publish(&publisher, "t", &count.to_string(), ONE);
    }
    scene.commit();
    assert_eq!(scene.crash(0).copies, 3);
    let publisher = scene.open("p", transient());
    scene.publish(&publisher, "t", "3", ONE);
    let worker = scene.open("worker", transient());
    scene.subscribe(&worker, "$share/g/t", ONE);
    assert_eq!(scene.receive(&worker), ["0", "1", "2", "3"], "in order, though one came after the crash");
    scene.commit();
    assert_eq!(scene.crash(0).copies, 0, "he who had them settled them");
}

#[test]
fn what_a_member_leaves_is_inherited_in_the_log_too() {
    let mut scene = scene();
    let publisher = scene.open("p", transient());
    let [a, b] = ["a", "b"].map(|name| {
        let member = open(&scene, name);
        scene.subscribe(&member, "$share/g/t", TWO);
        member
    });
    for count in 0..4 {
        scene.publish(&publisher, "t", &count.to_string(), TWO);
    }
    scene.lose(&b);
    scene.goodbye(&a, Some(Expiry::Immediately));
    scene.commit();
    assert_eq!(scene.crash(0).copies, 4);
    let b = resume(&scene, "b");
    assert_eq!(scene.receive(&b), ["0", "1", "2", "3"]);
}

/// What was sent at QoS 2 may have arrived: nobody else gets it (MQTT-4.8.2-4).
#[test]
fn what_a_member_may_have_at_qos_2_stays_with_it() {
    let mut scene = scene();
    let publisher = scene.open("p", transient());
    let [a, b] = ["a", "b"].map(|name| {
        let member = open(&scene, name);
        scene.subscribe(&member, "$share/g/t", TWO);
        member
    });
    for count in 0..4 {
        scene.publish(&publisher, "t", &count.to_string(), TWO);
    }
    scene.commit();
    let sent = [scene.take(&a), scene.take(&b)].map(|taken| taken.iter().map(text).collect::<Vec<_>>());
    assert_eq!(sent.each_ref().map(Vec::len), [2, 2]);
    assert_eq!(scene.crash(0).copies, 4);
    let b = resume(&scene, "b");
    assert_eq!(scene.receive(&b), sent[1]);
    let a = resume(&scene, "a");
    assert_eq!(scene.receive(&a), sent[0]);
}

#[test]
fn retained_messages_for_a_new_subscription_are_copies_like_any() {
    let mut scene = scene();
    let publisher = scene.open("p", transient());
    for (topic, qos) in [("r/0", ZERO), ("r/1", ONE), ("r/2", TWO)] {
        scene.retain(&publisher, topic, topic, qos);
    }
    let client = open(&scene, "a");
    scene.subscribe(&client, "r/#", TWO);
    scene.lose(&client);
    scene.retain(&publisher, "r/1", "", ONE);
    scene.commit();
    let recovered = scene.crash(0);
    assert_eq!((recovered.copies, recovered.retained), (3, 1));
    let client = resume(&scene, "a");
    let taken = scene.take(&client);
    assert_eq!(taken.iter().map(text).collect::<Vec<_>>(), ["r/1", "r/2", ""]);
    assert!(taken[..2].iter().all(|outgoing| outgoing.retain), "the last one is not retained");
}

#[test]
fn what_was_in_flight_is_over_the_limit_after_a_crash_and_stays() {
    let queue = QueueLimits { messages_max: 4, ..QueueLimits::default() };
    let mut scene = Scene::durable(Limits { queue, ..Limits::default() });
    let publisher = brief(&scene, "p");
    let client = open(&scene, "a");
    scene.subscribe(&client, "t", ONE);
    let mut count = 0..;
    let mut publish = |scene: &mut Scene, publisher: &Client, number| {
        for count in count.by_ref().take(number) {
            scene.publish(publisher, "t", &count.to_string(), ONE);
        }
    };
    publish(&mut scene, &publisher, 4);
    assert_eq!(scene.take(&client).len(), 4);
    publish(&mut scene, &publisher, 4);
    scene.commit();
    scene.crash(0);
    let publisher = brief(&scene, "p");
    publish(&mut scene, &publisher, 1);
    assert_eq!(scene.dropped(DropReason::QueueFull), 1, "one for one");
    let client = resume(&scene, "a");
    assert_eq!(scene.receive(&client), ["1", "2", "3", "4", "5", "6", "7", "8"]);
}

#[test]
fn what_cannot_be_read_is_dropped_and_counted() {
    let mut scene = scene();
    let publisher = scene.open("p", transient());
    let client = open(&scene, "a");
    scene.subscribe(&client, "t", ONE);
    scene.lose(&client);
    for count in 0..3 {
        scene.publish(&publisher, "t", &format!("message {count}"), ONE);
    }
    scene.commit();
    let (name, offset) = super::find(&scene, b"message 1");
    let recovered = scene.restart_on(|simulated| simulated.flip(&name, offset, 3));
    assert_eq!(recovered.copies, 3, "nobody has read what is in the queue of a session that is away");
    let client = resume(&scene, "a");
    assert_eq!(scene.receive(&client), ["message 0", "message 2"]);
    assert_eq!(scene.dropped(DropReason::Damaged), 1);
    scene.commit();
    assert_eq!(scene.crash(0).copies, 0);
}

/// Room in the log is kept for those whom it lists, not for everybody.
#[test]
fn who_is_not_in_the_log_takes_no_room_there() {
    let mut scene = scene();
    let publisher = super::brief(&scene, "p");
    let client = open(&scene, "a");
    scene.subscribe(&client, "t", ONE);
    for number in 0..2000 {
        let brief = super::brief(&scene, &format!("brief-{number}"));
        scene.subscribe(&brief, "t", ONE);
    }
    for _ in 0..20 {
        scene.publish(&publisher, "t", "x", ONE);
        scene.commit();
    }
    let figures = scene.disk().figures();
    assert!(figures.segments <= 3 && figures.bytes_on_disk <= 3 * 64 * 1024, "{figures:?}");
}
