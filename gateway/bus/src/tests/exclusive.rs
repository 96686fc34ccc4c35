//! `$exclusive/{filter}`: one session at a time.

use gateway_model::{Expiry, Open, Qos, Reason};

use super::scene::{Client, Scene, lasting, transient};

const ONE: Qos = Qos::AtLeastOnce;

fn scene() -> (Scene, Client, Client, Client) {
    let scene = Scene::new();
    let publisher = scene.open("publisher", transient());
    let [a, b] = ["a", "b"].map(|name| scene.open(name, lasting(Expiry::Never)));
    (scene, publisher, a, b)
}

#[test]
fn one_session_at_a_time_may_have_it() {
    let (mut scene, publisher, a, b) = scene();
    for path in ["t", "t/#"] {
        let exclusive = format!("$exclusive/{path}");
        assert_eq!(scene.subscribe(&a, &exclusive, ONE), Reason::GrantedQos1);
        assert_eq!(scene.subscribe(&b, &exclusive, ONE), Reason::QuotaExceeded);
        assert_eq!(scene.subscribe(&a, &exclusive, Qos::AtMostOnce), Reason::Success, "its own again");
        scene.publish(&publisher, "t", "x", ONE);
        assert_eq!((scene.receive(&a).len(), scene.receive(&b).len()), (1, 0));
        assert_eq!(scene.unsubscribe(&b, &exclusive), Reason::NoSubscriptionExisted);
        assert_eq!(scene.unsubscribe(&a, &exclusive), Reason::Success);
        assert_eq!(scene.subscribe(&b, &exclusive, ONE), Reason::GrantedQos1);
        assert_eq!(scene.unsubscribe(&b, &exclusive), Reason::Success);
    }
}

#[test]
fn others_may_subscribe_to_the_same_filter_plainly() {
    let (mut scene, publisher, a, b) = scene();
    scene.subscribe(&a, "$exclusive/t", ONE);
    assert_eq!(scene.subscribe(&b, "t", ONE), Reason::GrantedQos1);
    assert_eq!(scene.subscribe(&b, "$exclusive/t/#", ONE), Reason::GrantedQos1, "another filter");
    scene.publish(&publisher, "t", "x", ONE);
    assert_eq!((scene.receive(&a).len(), scene.receive(&b).len()), (1, 1));
}

/// Both subscriptions are one session's: it gets one copy, and loses one without the other.
#[test]
fn a_session_may_have_it_both_ways() {
    let (mut scene, publisher, a, _) = scene();
    scene.subscribe(&a, "t", ONE);
    scene.subscribe(&a, "$exclusive/t", Qos::ExactlyOnce);
    scene.publish(&publisher, "t", "x", Qos::ExactlyOnce);
    let taken = scene.take(&a);
    assert_eq!((taken.len(), taken[0].qos), (1, Qos::ExactlyOnce));
    assert_eq!(scene.unsubscribe(&a, "t"), Reason::Success);
    scene.publish(&publisher, "t", "x", Qos::ExactlyOnce);
    assert_eq!(scene.take(&a).len(), 1);
    assert_eq!(scene.unsubscribe(&a, "$exclusive/t"), Reason::Success);
    assert_eq!(scene.publish(&publisher, "t", "x", ONE), Reason::NoMatchingSubscribers);
}

#[test]
fn it_is_kept_as_long_as_the_session() {
    let (mut scene, _, a, b) = scene();
    scene.subscribe(&a, "$exclusive/t", ONE);
    scene.goodbye(&a, Some(Expiry::After(super::scene::secs_of(5))));
    assert_eq!(scene.subscribe(&b, "$exclusive/t", ONE), Reason::QuotaExceeded);
    scene.pass(5);
    assert_eq!(scene.subscribe(&b, "$exclusive/t", ONE), Reason::GrantedQos1);
    scene.open("b", Open { clean_start: true, ..lasting(Expiry::Never) });
    assert_eq!(scene.subscribe(&scene.open("c", transient()), "$exclusive/t", ONE), Reason::GrantedQos1);
}

#[test]
fn it_gets_retained_messages_as_a_plain_subscription_does() {
    let (mut scene, publisher, a, _) = scene();
    scene.retain(&publisher, "t", "kept", ONE);
    scene.subscribe(&a, "$exclusive/+", ONE);
    assert_eq!(scene.receive(&a), ["kept"]);
}
