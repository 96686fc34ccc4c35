use std::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;
use gateway_model::{Expiry, Open, Qos, Reason, RetainHandling, Subscription};

use super::{ONE, TWO, appended, brief, open, resume, scene};
use crate::tests::scene::{Scene, filter, id, lasting, publish, secs_of, topic, with_will};
use crate::{DropReason, Limits, QueueLimits, SessionOptions};

fn number(value: u16) -> NonZeroU16 {
    NonZeroU16::new(value).unwrap()
}

#[test]
fn a_session_comes_back_with_its_subscriptions_to_the_last_option() {
    let mut scene = scene();
    let client = open(&scene, "a");
    let subscription = Subscription {
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::IfNew,
        identifier: NonZeroU32::new(77),
        ..Subscription::new(filter("t/+"), ONE)
    };
    scene.subscribe_as(&client, subscription.clone());
    scene.subscribe(&client, "x", TWO);
    scene.subscribe(&client, "y", ONE);
    scene.unsubscribe(&client, "y");
    scene.commit();
    let recovered = scene.crash(0);
    assert_eq!((recovered.sessions, recovered.subscriptions), (1, 2));
    let client = resume(&scene, "a");
    let mut record = client.attachment.session.record(scene.moment).subscriptions;
    record.sort_by_key(|one| one.filter.to_string());
    assert_eq!(record, [subscription, Subscription::new(filter("x"), TWO)]);
    let publisher = brief(&scene, "p");
    scene.publish(&publisher, "t/1", "one", ONE);
    scene.publish(&client, "t/1", "own", ONE);
    scene.publish(&publisher, "y", "none", ONE);
    let taken = scene.take(&client);
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].identifiers.as_slice(), [77]);
}

#[test]
fn what_was_not_durable_was_not_promised() {
    let mut scene = scene();
    let (_, opened) = scene
        .bus
        .open(scene.moment, id("a"), lasting(Expiry::Never), SessionOptions::default(), super::bell().into())
        .unwrap();
    assert!(!scene.is_kept(opened.place), "nobody has written it yet");
    assert_eq!(scene.crash(0).sessions, 0);
    open(&scene, "a");
    scene.commit();
    assert_eq!(scene.crash(0).sessions, 1);
}

#[test]
fn who_ends_with_his_connection_never_touches_the_disk() {
    let mut scene = scene();
    let before = appended(&scene);
    let (subscriber, publisher) = (brief(&scene, "s"), brief(&scene, "p"));
    scene.subscribe(&subscriber, "t", TWO);
    scene.subscribe(&subscriber, "$share/g/t", TWO);
    for qos in [Qos::AtMostOnce, ONE, TWO] {
        scene.publish(&publisher, "t", "x", qos);
        let held = Some(number(5));
        let sent = publish("t", "x", qos);
        let promise = scene.bus.publish(scene.moment, &publisher.attachment, sent, held, &mut scene.cache);
        assert!(scene.is_kept(promise.place));
        let _ = scene.bus.release(&publisher.attachment, number(5));
    }
    assert_eq!(scene.receive(&subscriber).len(), 12);
    scene.unsubscribe(&subscriber, "t");
    scene.lose(&subscriber);
    scene.lose(&publisher);
    scene.pass(10);
    assert_eq!(appended(&scene), before);
}

#[test]
fn a_topic_that_no_durable_party_wants_never_touches_the_disk() {
    let mut scene = scene();
    let (durable, subscriber, publisher) = (open(&scene, "d"), brief(&scene, "s"), open(&scene, "p"));
    scene.subscribe(&durable, "other", ONE);
    scene.subscribe(&durable, "t", Qos::AtMostOnce);
    scene.subscribe(&subscriber, "t", ONE);
    let before = appended(&scene);
    scene.publish(&publisher, "t", "x", TWO);
    scene.publish(&publisher, "other", "x", Qos::AtMostOnce);
    scene.publish(&publisher, "nobody", "x", ONE);
    assert_eq!(appended(&scene), before);
    assert_eq!([scene.receive(&durable).len(), scene.receive(&subscriber).len()], [2, 1]);
    assert_eq!(appended(&scene), before);
}

#[test]
fn held_identifiers_and_what_is_kept_come_back() {
    let mut scene = scene();
    let client = open(&scene, "a");
    let sent = |scene: &mut Scene, topic: &str, held| {
        let publish = publish(topic, "x", TWO);
        scene.bus.publish(scene.moment, &client.attachment, publish, Some(number(held)), &mut scene.cache)
    };
    scene.subscribe(&client, "t", TWO);
    for (topic, held) in [("t", 3), ("nobody", 9)] {
        let promise = sent(&mut scene, topic, held);
        assert!(!scene.is_kept(promise.place), "with and without a message to store");
    }
    let _ = sent(&mut scene, "t", 65_535);
    let released = scene.bus.release(&client.attachment, number(3));
    assert!(!scene.is_kept(released.place));
    let kept = scene.bus.keep(&client.attachment, Bytes::from_static(b"one"));
    assert!(!scene.is_kept(kept.place));
    let _ = scene.bus.keep(&client.attachment, Bytes::from_static(b"two"));
    scene.commit();
    assert!(scene.is_kept(kept.place) && scene.is_kept(released.place));
    scene.crash(0);
    assert_eq!(scene.bus.kept(), [(id("a"), Bytes::from_static(b"two"))]);
    assert_eq!(resume(&scene, "a").opened.held, [number(9), number(65_535)]);
}

#[test]
fn expiry_runs_on_while_the_gateway_is_down() {
    let mut scene = scene();
    let names = ["away-5", "away-50", "attached-50", "never"];
    let expiries = [5, 50, 50, 0].map(|secs| match secs {
        0 => Expiry::Never,
        secs => Expiry::After(secs_of(secs)),
    });
    let clients = [0, 1, 2, 3].map(|place| scene.open(names[place], lasting(expiries[place])));
    clients[..2].iter().for_each(|client| scene.lose(client));
    scene.commit();
    assert_eq!(scene.crash(10).sessions, 4, "they end when somebody looks");
    let present = |scene: &Scene| {
        let mut names: Vec<_> =
            scene.bus.sessions().iter().map(|view| view.client_id.as_str().to_owned()).collect();
        names.sort();
        names
    };
    scene.pass(0);
    assert_eq!(present(&scene), ["attached-50", "away-50", "never"]);
    scene.pass(39);
    assert_eq!(present(&scene), ["attached-50", "away-50", "never"]);
    scene.pass(1);
    assert_eq!(present(&scene), ["attached-50", "never"], "50 s with 10 s of being down");
    // A second crash does not give it its time once more.
    scene.commit();
    scene.crash(9);
    scene.pass(0);
    assert_eq!(present(&scene), ["attached-50", "never"]);
    scene.pass(1);
    assert_eq!(present(&scene), ["never"]);
}

#[test]
fn an_end_is_an_end() {
    let mut scene = scene();
    let publisher = brief(&scene, "p");
    for (name, how) in [("goodbye", 0), ("clean", 1), ("owner", 2)] {
        let client = open(&scene, name);
        scene.subscribe(&client, "t", ONE);
        scene.publish(&publisher, "t", "x", ONE);
        match how {
            0 => scene.goodbye(&client, Some(Expiry::Immediately)),
            1 => drop(scene.open(name, Open { clean_start: true, ..lasting(Expiry::Never) })),
            _ => {
                scene.options(SessionOptions { owner: 7, ..SessionOptions::default() });
                drop(open(&scene, name));
            }
        }
    }
    scene.commit();
    let recovered = scene.crash(0);
    assert_eq!((recovered.sessions, recovered.copies, recovered.subscriptions), (2, 0, 0));
    scene.options(SessionOptions::default());
    assert!(!open(&scene, "owner").opened.session_present, "it is somebody else's");
    assert!(!open(&scene, "goodbye").opened.session_present);
    assert!(open(&scene, "clean").opened.session_present);
}

#[test]
fn wills_of_connections_that_the_crash_ended_are_published() {
    let mut scene = scene();
    let watcher = open(&scene, "watcher");
    scene.subscribe(&watcher, "will/#", ONE);
    open_with_will(&scene, "now", 0);
    open_with_will(&scene, "later", 30);
    let away = open_with_will(&scene, "away", 30);
    scene.lose(&away);
    let gone = open_with_will(&scene, "gone", 0);
    scene.lose(&gone);
    let polite = open_with_will(&scene, "polite", 0);
    scene.goodbye(&polite, None);
    let back = open_with_will(&scene, "back", 0);
    drop(open(&scene, "back"));
    drop(back);
    assert_eq!(scene.receive(&watcher), ["will", "will"], "of `gone` and, by the takeover, of `back`");
    scene.commit();
    scene.crash(10);
    scene.pass(0);
    let watcher = resume(&scene, "watcher");
    let topics = |scene: &Scene| {
        let taken = scene.take(&watcher);
        taken.iter().map(|outgoing| outgoing.message.topic.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(topics(&scene), ["will/now"]);
    scene.pass(20);
    assert_eq!(topics(&scene), ["will/away"], "the gateway was down for 10 of its 30 s");
    scene.pass(9);
    assert!(topics(&scene).is_empty());
    scene.pass(1);
    assert_eq!(topics(&scene), ["will/later"]);
    // Once and no more.
    scene.commit();
    scene.crash(0);
    scene.pass(100);
    let watcher = resume(&scene, "watcher");
    assert_eq!(scene.receive(&watcher).len(), 3, "they were not acknowledged");
}

#[test]
fn a_will_to_a_delayed_topic_waits_in_the_log() {
    let mut scene = scene();
    let watcher = open(&scene, "watcher");
    scene.subscribe(&watcher, "t", ONE);
    let client = scene.open("a", with_will(lasting(Expiry::Never), "$delayed/20/t", 0));
    scene.lose(&client);
    scene.commit();
    assert_eq!(scene.crash(5).delayed, 1);
    scene.pass(14);
    let watcher = resume(&scene, "watcher");
    assert!(scene.take(&watcher).is_empty());
    scene.pass(1);
    assert_eq!(scene.receive(&watcher), ["will"]);
}

#[test]
fn subscriptions_promise_and_answer() {
    let scene = scene();
    let client = open(&scene, "a");
    let wanted = vec![Subscription::new(filter("t"), ONE)];
    let promise = scene.bus.subscribe(scene.moment.instant, &client.attachment, wanted);
    assert_eq!(promise.value, [Reason::GrantedQos1]);
    assert!(!scene.is_kept(promise.place));
    let promise = scene.bus.unsubscribe(&client.attachment, &[filter("t")]);
    assert!(!scene.is_kept(promise.place));
    scene.commit();
    assert!(scene.is_kept(promise.place));
    let promise = scene.bus.unsubscribe(&client.attachment, &[filter("t")]);
    assert!(scene.is_kept(promise.place), "there was nothing to do");
    let _ = topic("t");
}

fn open_with_will(scene: &Scene, name: &str, delay_secs: u64) -> crate::tests::scene::Client {
    let will = format!("will/{name}");
    scene.open(name, with_will(lasting(Expiry::Never), &will, delay_secs))
}

/// However fast its client comes back.
#[test]
fn what_is_overdue_is_not_undone_by_a_client_that_comes_first() {
    let mut scene = scene();
    let watcher = open(&scene, "watcher");
    scene.subscribe(&watcher, "will/+", ONE);
    open_with_will(&scene, "at once", 0);
    let waits = open_with_will(&scene, "waits", 5);
    scene.lose(&waits);
    open_with_will(&scene, "later", 5);
    let brief = scene.open("brief", with_will(lasting(Expiry::After(secs_of(5))), "will/brief", 60));
    scene.lose(&brief);
    scene.commit();
    scene.crash(5);
    for name in ["at once", "waits", "later"] {
        resume(&scene, name);
    }
    let ended = scene.open("brief", lasting(Expiry::After(secs_of(5))));
    assert!(!ended.opened.session_present, "its time was over");
    scene.pass(100);
    assert_eq!(scene.receive(&resume(&scene, "watcher")), ["will", "will", "will"]);
    assert_eq!(scene.count(crate::Counter::SessionsDiscarded), 0);
}

/// Who begins anew, for a connection only, is told when nothing of before can come back.
#[test]
fn a_clean_start_is_told_when_the_old_session_is_gone_for_ever() {
    let mut scene = scene();
    open(&scene, "a");
    scene.commit();
    let (_, opened) = scene
        .bus
        .open(scene.moment, id("a"), Open::transient(), SessionOptions::default(), super::bell().into())
        .unwrap();
    assert!(!scene.is_kept(opened.place), "a crash would bring the old one back");
    scene.commit();
    assert!(scene.is_kept(opened.place));
    assert_eq!(scene.crash(0).sessions, 0);
}

#[test]
fn a_clean_start_leaves_nothing_of_a_long_queue() {
    let queue = QueueLimits { messages_max: 10_000, ..QueueLimits::default() };
    let mut scene = Scene::durable(Limits { queue, ..Limits::default() });
    let (publisher, client) = (brief(&scene, "p"), open(&scene, "a"));
    scene.subscribe(&client, "t", ONE);
    scene.lose(&client);
    for _ in 0..3000 {
        let _ = scene.publish(&publisher, "t", "x", ONE);
    }
    scene.commit();
    let clean = scene.open("a", Open { clean_start: true, ..lasting(Expiry::Never) });
    assert!(!clean.opened.session_present && scene.receive(&clean).is_empty());
    assert_eq!(scene.dropped(DropReason::SessionEnded), 3000);
    scene.assert_balanced();
    scene.commit();
    assert_eq!(scene.crash(0).copies, 0);
}
