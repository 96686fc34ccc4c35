use std::num::NonZeroU16;

use gateway_model::{Expiry, Open, Publish, Qos, Reason};

use super::scene::{Scene, lasting, publish, secs_of, transient};
use crate::{Counter, DropReason, Limits, SessionOptions};

const NEVER: Expiry = Expiry::Never;

#[test]
fn a_session_is_resumed_with_its_subscriptions_and_queue() {
    let mut scene = Scene::new();
    let publisher = scene.open("publisher", transient());
    let first = scene.open("a", lasting(NEVER));
    assert!(!first.opened.session_present);
    scene.subscribe(&first, "t/#", Qos::AtLeastOnce);
    scene.goodbye(&first, None);
    scene.publish(&publisher, "t/1", "one", Qos::AtLeastOnce);
    let second = scene.open("a", lasting(NEVER));
    assert!(second.opened.session_present);
    assert_eq!(second.bell.rung(), 1, "what waits is told at once");
    assert_eq!(scene.receive(&second), ["one"]);
    scene.publish(&publisher, "t/2", "two", Qos::AtLeastOnce);
    assert_eq!(scene.receive(&second), ["two"]);
    assert_eq!(scene.count(Counter::SessionsResumed), 1);
}

#[test]
fn clean_start_discards_the_earlier_session() {
    let mut scene = Scene::new();
    let publisher = scene.open("publisher", transient());
    let first = scene.open("a", lasting(NEVER));
    scene.subscribe(&first, "t", Qos::AtLeastOnce);
    first.attachment.hold(NonZeroU16::new(9).unwrap());
    scene.lose(&first);
    scene.publish(&publisher, "t", "one", Qos::AtLeastOnce);
    let second = scene.open("a", Open { clean_start: true, ..lasting(NEVER) });
    assert!(!second.opened.session_present);
    assert_eq!(scene.count(Counter::SessionsDiscarded), 1);
    assert!(second.opened.held.is_empty());
    assert!(scene.receive(&second).is_empty());
    assert_eq!(scene.dropped(DropReason::SessionEnded), 1);
    assert_eq!(scene.bus.subscription_count(), 0);
    assert_eq!(scene.publish(&publisher, "t", "two", Qos::AtLeastOnce), Reason::NoMatchingSubscribers);
}

#[test]
fn a_session_with_many_filters_ends_with_all_of_them() {
    let scene = Scene::new();
    let client = scene.open("a", transient());
    (0..1000).for_each(|number| {
        scene.subscribe(&client, &format!("t/{number}/{}", ["x", "#", "+"][number % 3]), Qos::AtMostOnce);
    });
    assert_eq!(scene.bus.subscription_count(), 1000);
    scene.lose(&client);
    assert_eq!((scene.bus.subscription_count(), scene.bus.totals().filters), (0, 0));
}

/// Or whoever knows a client identifier could read what another user subscribed to.
#[test]
fn another_owner_begins_anew() {
    let mut scene = Scene::new();
    let owned_by = |owner| SessionOptions { owner, ..SessionOptions::default() };
    let publisher = scene.open("publisher", transient());
    scene.options(owned_by(1));
    let first = scene.open("a", lasting(NEVER));
    scene.subscribe(&first, "t", Qos::AtLeastOnce);
    scene.publish(&publisher, "t", "one", Qos::AtLeastOnce);
    scene.options(owned_by(2));
    let second = scene.open("a", lasting(NEVER));
    assert!(!second.opened.session_present);
    assert_eq!(first.attachment.evicted(), Some(Reason::SessionTakenOver));
    assert!(scene.receive(&second).is_empty());
    assert_eq!(scene.bus.subscription_count(), 0);
    assert!(scene.open("a", lasting(NEVER)).opened.session_present, "it is the second one's now");
    scene.options(owned_by(1));
    assert!(!scene.open("a", lasting(NEVER)).opened.session_present);
}

#[test]
fn a_takeover_voids_the_old_attachment_and_tells_it() {
    let mut scene = Scene::new();
    let publisher = scene.open("publisher", transient());
    let old = scene.open("a", lasting(NEVER));
    scene.subscribe(&old, "t", Qos::AtLeastOnce);
    old.bell.rung();
    let new = scene.open("a", lasting(NEVER));
    assert!(new.opened.session_present);
    assert_eq!(old.bell.rung(), 1);
    assert_eq!(old.attachment.evicted(), Some(Reason::SessionTakenOver));
    assert_eq!(new.attachment.evicted(), None);
    assert_eq!(scene.bus.deliver(&old.attachment, |_| panic!("void")), Err(Reason::SessionTakenOver));
    assert!(scene.subscribe(&old, "other", Qos::AtMostOnce).is_error());
    assert_eq!(scene.unsubscribe(&old, "t"), Reason::NoSubscriptionExisted);
    scene.goodbye(&old, Some(Expiry::Immediately));
    scene.publish(&publisher, "t", "one", Qos::AtLeastOnce);
    assert_eq!(old.bell.rung(), 0);
    let taken = scene.take(&new);
    assert!(!scene.settle(&old, taken[0].id.unwrap(), gateway_model::Settlement::Delivered));
    assert!(scene.settle(&new, taken[0].id.unwrap(), gateway_model::Settlement::Delivered));
    assert_eq!(scene.count(Counter::SessionsTakenOver), 1);
}

#[test]
fn a_takeover_with_clean_start_ends_the_session_that_was_held() {
    let scene = Scene::new();
    let old = scene.open("a", lasting(NEVER));
    scene.subscribe(&old, "t", Qos::AtLeastOnce);
    old.bell.rung();
    let new = scene.open("a", transient());
    assert!(!new.opened.session_present);
    assert_eq!(old.bell.rung(), 1);
    assert_eq!(old.attachment.evicted(), Some(Reason::SessionTakenOver));
    assert_eq!(scene.bus.subscription_count(), 0);
    assert_eq!(scene.count(Counter::SessionsTakenOver), 1);
    assert_eq!(scene.count(Counter::SessionsEnded), 1);
}

/// MQTT 3.1.1 [MQTT-3.1.2-6]: state of a session with CleanSession 1 is not reused; MQTT 5.0
/// section 3.1.2.11.2: such a session ends with its connection.
#[test]
fn a_takeover_does_not_resume_a_session_that_was_to_end_with_its_connection() {
    let scene = Scene::new();
    let old = scene.open("a", transient());
    scene.subscribe(&old, "t", Qos::AtLeastOnce);
    let new = scene.open("a", lasting(NEVER));
    assert!(!new.opened.session_present);
    assert_eq!(scene.bus.subscription_count(), 0);
    assert_eq!(old.attachment.evicted(), Some(Reason::SessionTakenOver));
}

#[test]
fn expiry_immediately_ends_the_session_with_its_connection() {
    let scene = Scene::new();
    let client = scene.open("a", Open { clean_start: false, ..transient() });
    scene.subscribe(&client, "t", Qos::AtLeastOnce);
    scene.lose(&client);
    assert!(scene.bus.sessions().is_empty());
    assert_eq!(scene.bus.subscription_count(), 0);
    assert!(!scene.open("a", lasting(NEVER)).opened.session_present);
}

#[test]
fn expiry_after_ends_the_session_not_earlier_and_not_later() {
    let mut scene = Scene::new();
    let client = scene.open("a", lasting(Expiry::After(secs_of(10))));
    scene.lose(&client);
    let due = scene.pass(9);
    assert_eq!(due, Some(scene.moment.instant + secs_of(1)), "poll tells when to come again");
    assert_eq!(scene.bus.sessions().len(), 1);
    assert_eq!(scene.pass(1), None);
    assert!(scene.bus.sessions().is_empty());
}

#[test]
fn a_return_restarts_the_expiry() {
    let mut scene = Scene::new();
    let ten = Expiry::After(secs_of(10));
    let client = scene.open("a", lasting(ten));
    scene.lose(&client);
    scene.pass(9);
    let client = scene.open("a", lasting(ten));
    assert!(client.opened.session_present);
    scene.pass(100);
    assert_eq!(scene.bus.sessions().len(), 1, "a connected session does not expire");
    scene.lose(&client);
    scene.pass(9);
    assert_eq!(scene.bus.sessions().len(), 1);
    scene.pass(1);
    assert!(scene.bus.sessions().is_empty());
}

/// Each way of going away has its own expiry; what an earlier one left behind does not count.
#[test]
fn only_the_last_goodbye_counts() {
    let mut scene = Scene::new();
    for secs in [30, 5, 20, 3, 10] {
        let client = scene.open("a", lasting(Expiry::After(secs_of(secs))));
        scene.lose(&client);
        scene.pass(1);
    }
    scene.pass(8);
    assert_eq!(scene.bus.sessions().len(), 1);
    let client = scene.open("a", lasting(NEVER));
    scene.lose(&client);
    scene.pass(1000);
    let client = scene.open("a", lasting(Expiry::After(secs_of(10))));
    assert!(client.opened.session_present);
    scene.lose(&client);
    scene.pass(9);
    assert_eq!(scene.bus.sessions().len(), 1);
    scene.pass(1);
    assert!(scene.bus.sessions().is_empty());
}

#[test]
fn expiry_never_outlives_everything() {
    let mut scene = Scene::new();
    let client = scene.open("a", lasting(NEVER));
    scene.lose(&client);
    assert_eq!(scene.pass(1_000_000_000), None);
    assert!(scene.open("a", lasting(NEVER)).opened.session_present);
}

/// MQTT 5.0 section 3.14.2.2.2.
#[test]
fn the_goodbye_may_change_the_expiry() {
    let mut scene = Scene::new();
    let client = scene.open("shorter", lasting(NEVER));
    scene.goodbye(&client, Some(Expiry::After(secs_of(5))));
    let client = scene.open("longer", lasting(Expiry::After(secs_of(5))));
    scene.goodbye(&client, Some(NEVER));
    let client = scene.open("none", lasting(NEVER));
    scene.goodbye(&client, Some(Expiry::After(secs_of(0))));
    assert_eq!(scene.bus.sessions().len(), 2);
    scene.pass(5);
    let left = scene.bus.sessions();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].client_id.as_str(), "longer");
}

#[test]
fn expiry_is_cut_to_the_limit_and_the_client_is_told() {
    let limits = Limits { session_expiry_max: Some(secs_of(60)), ..Limits::default() };
    let mut scene = Scene::with(limits);
    let minute = Expiry::After(secs_of(60));
    let client = scene.open("a", lasting(NEVER));
    assert_eq!(client.opened.expiry, minute);
    assert_eq!(scene.open("b", lasting(Expiry::After(secs_of(61)))).opened.expiry, minute);
    let five = Expiry::After(secs_of(5));
    assert_eq!(scene.open("c", lasting(five)).opened.expiry, five);
    // The limit is for clients; the queue of a bridge stays however long the gateway is switched off.
    let bridge = scene.open("$bridge/b", lasting(NEVER));
    assert_eq!(bridge.opened.expiry, NEVER);
    scene.goodbye(&client, Some(NEVER));
    scene.goodbye(&bridge, None);
    scene.pass(60);
    assert_eq!(scene.bus.sessions().len(), 3);
}

#[test]
fn sessions_are_limited_and_a_known_client_is_always_let_in() {
    let scene = Scene::with(Limits { sessions_max: 2, ..Limits::default() });
    let first = scene.open("a", lasting(NEVER));
    scene.open("b", lasting(NEVER));
    assert_eq!(scene.try_open("c", transient()).err(), Some(Reason::QuotaExceeded));
    assert!(scene.open("a", lasting(NEVER)).opened.session_present);
    let first = {
        scene.lose(&first);
        scene.open("a", transient())
    };
    scene.lose(&first);
    scene.open("c", transient());
}

#[test]
fn subscriptions_are_limited_and_a_known_one_may_be_changed() {
    let scene = Scene::with(Limits { subscriptions_max: 2, ..Limits::default() });
    let client = scene.open("a", transient());
    assert_eq!(scene.subscribe(&client, "1", Qos::AtMostOnce), Reason::Success);
    assert_eq!(scene.subscribe(&client, "2/+", Qos::AtLeastOnce), Reason::GrantedQos1);
    assert_eq!(scene.subscribe(&client, "3", Qos::AtMostOnce), Reason::QuotaExceeded);
    assert_eq!(scene.subscribe(&client, "1", Qos::ExactlyOnce), Reason::GrantedQos2);
    assert_eq!(scene.unsubscribe(&client, "2/+"), Reason::Success);
    assert_eq!(scene.unsubscribe(&client, "2/+"), Reason::NoSubscriptionExisted);
    assert_eq!(scene.subscribe(&client, "3", Qos::AtMostOnce), Reason::Success);
}

#[test]
fn held_identifiers_come_back_with_the_session() {
    let scene = Scene::new();
    let number = |value| NonZeroU16::new(value).unwrap();
    let client = scene.open("a", lasting(NEVER));
    for value in [1, 2, 2, 3] {
        client.attachment.hold(number(value));
    }
    client.attachment.release(number(1));
    scene.lose(&client);
    client.attachment.hold(number(4));
    let mut held = scene.open("a", lasting(NEVER)).opened.held;
    held.sort();
    assert_eq!(held, [number(2), number(3)]);
}

/// Bytes of a connection that was taken over may be read after the client has come back, and sent the same
/// message there again.
#[test]
fn what_comes_late_from_an_old_connection_is_not_published_exactly_once_twice() {
    let mut scene = Scene::new();
    let reader = scene.open("reader", transient());
    scene.subscribe(&reader, "t", Qos::ExactlyOnce);
    let old = scene.open("a", lasting(NEVER));
    let new = scene.open("a", lasting(NEVER));
    let id = NonZeroU16::new(5);
    for retain in [false, true] {
        for (client, reason) in [(&old, Reason::SessionTakenOver), (&new, Reason::Success)] {
            let publish = Publish { retain, ..publish("t", "one", Qos::ExactlyOnce) };
            let promise = scene.bus.publish(scene.moment, &client.attachment, publish, id, &mut scene.cache);
            assert_eq!(promise.value, reason);
        }
        assert_eq!(scene.receive(&reader), ["one"]);
    }
    let publish = publish("t", "late", Qos::ExactlyOnce);
    let hold = id.map(|id| (&old.attachment, id));
    let promise =
        scene.bus.publish_delayed(scene.moment, old.attachment.client_id(), secs_of(1), publish, hold);
    assert_eq!(promise.value, Reason::SessionTakenOver);
    scene.pass(2);
    assert!(scene.receive(&reader).is_empty());
}

#[test]
fn views_tell_what_there_is() {
    let mut scene = Scene::new();
    let client = scene.open("a", lasting(NEVER));
    scene.subscribe(&client, "t", Qos::ExactlyOnce);
    for name in ["one", "two", "three"] {
        scene.publish(&client, "t", name, Qos::AtLeastOnce);
    }
    scene.take_at_most(&client, 1);
    let view = &scene.bus.sessions()[0];
    assert!(view.connected);
    assert_eq!((view.subscriptions, view.queued, view.in_flight), (1, 2, 1));
    assert!(view.queue_bytes > "twothree".len());
    scene.lose(&client);
    assert!(!scene.bus.sessions()[0].connected);
}

#[test]
fn who_opens_and_who_leaves_learns_whether_a_connection_was_there() {
    let scene = Scene::new();
    for (expiry, clean_start) in [(NEVER, false), (NEVER, true), (Expiry::Immediately, true)] {
        let open = || Open { clean_start, ..lasting(expiry) };
        let first = scene.open("a", open());
        assert!(!first.attachment.took_over);
        let second = scene.open("a", open());
        assert!(second.attachment.took_over, "{expiry:?} {clean_start}");
        let detach =
            |client: &super::scene::Client| scene.bus.detach(scene.moment, &client.attachment, false, None);
        assert!(!detach(&first));
        assert!(detach(&second) && !detach(&second));
        let third = scene.open("a", open());
        assert!(!third.attachment.took_over);
        scene.goodbye(&third, Some(Expiry::Immediately));
    }
}
