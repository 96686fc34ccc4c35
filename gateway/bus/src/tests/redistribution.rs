//! What becomes of a shared message when the member that holds it goes, hangs or is full: MQTT 5.0
//! section 4.8.2.

use gateway_model::{Expiry, Open, Outgoing, Qos, Reason, Settlement};

use super::scene::{Client, Scene, lasting, text, transient};
use crate::{Counter, DropPolicy, DropReason, Limits, QueueLimits};

const ONE: Qos = Qos::AtLeastOnce;
const TWO: Qos = Qos::ExactlyOnce;

/// A publisher and two members that stay.
fn scene_with(limits: Limits) -> (Scene, Client, Client, Client) {
    let scene = Scene::with(limits);
    let publisher = scene.open("publisher", transient());
    let [a, b] = ["a", "b"].map(|name| {
        let member = scene.open(name, lasting(Expiry::Never));
        scene.subscribe(&member, "$share/g/#", TWO);
        member
    });
    (scene, publisher, a, b)
}

fn scene() -> (Scene, Client, Client, Client) {
    scene_with(Limits::default())
}

fn send(scene: &mut Scene, publisher: &Client, texts: std::ops::Range<usize>, qos: Qos) {
    for number in texts {
        scene.publish(publisher, "t", &number.to_string(), qos);
    }
}

fn texts(taken: &[Outgoing]) -> Vec<String> {
    taken.iter().map(text).collect()
}

fn back(scene: &Scene, name: &str) -> Client {
    scene.open(name, lasting(Expiry::Never))
}

#[test]
fn what_a_lost_connection_left_unacknowledged_goes_to_another_in_order() {
    let (mut scene, publisher, a, b) = scene();
    send(&mut scene, &publisher, 0..8, ONE);
    assert_eq!(texts(&scene.take_at_most(&a, 2)), ["0", "2"]);
    scene.lose(&a);
    scene.assert_balanced();
    let taken = scene.take(&b);
    assert_eq!(texts(&taken), ["0", "1", "2", "3", "4", "5", "6", "7"]);
    assert!(taken.iter().all(|outgoing| !outgoing.duplicate), "new to this member");
    assert!(scene.take(&back(&scene, "a")).is_empty());
    assert_eq!(scene.count(Counter::Matched), 8);
}

#[test]
fn what_an_ended_session_left_goes_to_another() {
    for ends_by_clean_start in [false, true] {
        let (mut scene, publisher, a, b) = scene();
        send(&mut scene, &publisher, 0..6, ONE);
        scene.take_at_most(&a, 1);
        if ends_by_clean_start {
            assert!(scene.receive(&scene.open("a", transient())).is_empty());
        } else {
            scene.goodbye(&a, Some(Expiry::Immediately));
        }
        assert_eq!(scene.receive(&b), ["0", "1", "2", "3", "4", "5"]);
        assert_eq!(scene.dropped(DropReason::SessionEnded), 0);
    }
}

#[test]
fn a_session_that_expires_leaves_its_share_to_members_that_are_away() {
    let (mut scene, publisher, a, b) = scene();
    scene.goodbye(&a, Some(Expiry::After(super::scene::secs_of(5))));
    scene.goodbye(&b, None);
    send(&mut scene, &publisher, 0..3, ONE);
    scene.publish(&publisher, "t", "qos 0", Qos::AtMostOnce);
    scene.pass(6);
    scene.assert_balanced();
    assert_eq!(scene.receive(&back(&scene, "b")), ["0", "1", "2"]);
}

/// [MQTT-4.8.2-4]: delivery is completed when the client reconnects.
#[test]
fn mqtt_4_8_2_4_what_was_sent_at_qos_2_waits_for_its_receiver() {
    let (mut scene, publisher, a, b) = scene();
    send(&mut scene, &publisher, 0..6, TWO);
    let first = scene.take_at_most(&a, 2);
    assert!(scene.settle(&a, first[1].id.unwrap(), Settlement::Received));
    scene.lose(&a);
    assert_eq!(texts(&scene.take(&b)), ["1", "3", "4", "5"], "what was not sent moves");
    let again = scene.take(&back(&scene, "a"));
    assert_eq!(texts(&again), ["0", "2"]);
    assert_eq!((again[0].duplicate, again[1].released), (true, true));
    assert_eq!((again[0].id, again[1].id), (first[0].id, first[1].id));
}

/// [MQTT-4.8.2-5]: it is not sent to anybody else if the session ends before.
#[test]
fn mqtt_4_8_2_5_what_was_sent_at_qos_2_goes_with_its_session() {
    let (mut scene, publisher, a, b) = scene();
    send(&mut scene, &publisher, 0..4, TWO);
    scene.take_at_most(&a, 1);
    scene.goodbye(&a, Some(Expiry::Immediately));
    assert_eq!(scene.receive(&b), ["1", "2", "3"]);
    assert_eq!(scene.dropped(DropReason::SessionEnded), 1);
}

/// [MQTT-4.8.2-6]: what a client refuses is discarded.
#[test]
fn mqtt_4_8_2_6_what_was_refused_is_sent_to_nobody_else() {
    for qos in [ONE, TWO] {
        let (mut scene, publisher, a, b) = scene();
        send(&mut scene, &publisher, 0..1, qos);
        let id = scene.take(&a)[0].id.unwrap();
        assert!(scene.settle(&a, id, Settlement::Refused(qos)));
        scene.goodbye(&a, Some(Expiry::Immediately));
        assert!(scene.take(&b).is_empty());
        assert_eq!(scene.dropped(DropReason::Refused), 1);
    }
}

#[test]
fn if_nobody_else_is_there_it_stays_where_it_was_sent() {
    let (mut scene, publisher, a, b) = scene();
    scene.lose(&b);
    send(&mut scene, &publisher, 0..2, ONE);
    let first = scene.take_at_most(&a, 1);
    scene.lose(&a);
    let again = scene.take(&back(&scene, "a"));
    assert_eq!(texts(&again), ["0", "1"]);
    assert_eq!((again[0].duplicate, again[0].id), (true, first[0].id), "[MQTT-4.4.0-1]");
}

#[test]
fn who_comes_back_first_also_gets_what_another_did_not_acknowledge() {
    let (mut scene, publisher, a, b) = scene();
    scene.lose(&b);
    send(&mut scene, &publisher, 0..2, ONE);
    scene.take_at_most(&a, 1);
    scene.lose(&a);
    send(&mut scene, &publisher, 2..4, ONE);
    assert_eq!(scene.receive(&back(&scene, "b")), ["0", "1", "2", "3"]);
    assert!(scene.take(&back(&scene, "a")).is_empty());
}

#[test]
fn who_unsubscribes_keeps_what_was_sent_only() {
    let (mut scene, publisher, a, b) = scene();
    send(&mut scene, &publisher, 0..6, ONE);
    let taken = scene.take_at_most(&a, 1);
    assert_eq!(scene.unsubscribe(&a, "$share/g/#"), Reason::Success);
    assert_eq!(scene.receive(&b), ["1", "2", "3", "4", "5"]);
    assert!(scene.take(&a).is_empty());
    assert!(scene.settle(&a, taken[0].id.unwrap(), Settlement::Acknowledged), "[MQTT-3.10.4-3]");
}

#[test]
fn the_last_member_keeps_what_waits_until_its_session_ends() {
    let (mut scene, publisher, a, b) = scene();
    scene.goodbye(&b, Some(Expiry::Immediately));
    send(&mut scene, &publisher, 0..3, ONE);
    assert_eq!(scene.unsubscribe(&a, "$share/g/#"), Reason::Success);
    assert_eq!(texts(&scene.take_at_most(&a, 1)), ["0"]);
    scene.goodbye(&a, Some(Expiry::Immediately));
    assert_eq!(scene.dropped(DropReason::SessionEnded), 3);
}

#[test]
fn qos_0_that_was_not_sent_moves_as_well() {
    let (mut scene, publisher, a, b) = scene();
    send(&mut scene, &publisher, 0..4, Qos::AtMostOnce);
    scene.lose(&a);
    assert_eq!(scene.receive(&b), ["0", "1", "2", "3"]);
    send(&mut scene, &publisher, 4..6, Qos::AtMostOnce);
    scene.lose(&b);
    assert_eq!(scene.dropped(DropReason::Offline), 2);
}

#[test]
fn a_member_gets_what_moves_as_it_subscribed() {
    let (mut scene, publisher, a, _) = scene();
    let c = scene.open("c", transient());
    let identifier = std::num::NonZeroU32::new(9);
    let filter = super::scene::filter("$share/g/#");
    let subscription =
        gateway_model::Subscription { identifier, ..gateway_model::Subscription::new(filter, ONE) };
    scene.subscribe_as(&c, subscription);
    send(&mut scene, &publisher, 0..1, TWO);
    scene.unsubscribe(&scene.open("b", lasting(Expiry::Never)), "$share/g/#");
    scene.lose(&a);
    let taken = scene.take(&c);
    assert_eq!((taken[0].qos, taken[0].identifiers.as_slice()), (ONE, &[9][..]));
}

#[test]
fn a_full_queue_is_passed_over() {
    let queue = QueueLimits { messages_max: 2, drop: DropPolicy::Newest, ..QueueLimits::default() };
    let (mut scene, publisher, a, b) = scene_with(Limits { queue, ..Limits::default() });
    send(&mut scene, &publisher, 0..3, ONE);
    assert_eq!(scene.receive(&b), ["1"]);
    send(&mut scene, &publisher, 3..5, ONE);
    assert_eq!(scene.dropped(DropReason::QueueFull), 0);
    assert_eq!((scene.receive(&b).len(), scene.receive(&a).len()), (2, 2));
}

/// What those that are there have no room for waits with those that are away, and moves when there
/// is room.
#[test]
fn what_waits_for_room_moves_when_there_is_some() {
    let queue = QueueLimits { messages_max: 2, ..QueueLimits::default() };
    let (mut scene, publisher, a, b) = scene_with(Limits { queue, ..Limits::default() });
    scene.lose(&a);
    send(&mut scene, &publisher, 0..4, ONE);
    assert_eq!(scene.dropped(DropReason::QueueFull), 0);
    assert!(scene.pass(1).is_some(), "it is looked at again");
    assert_eq!(scene.receive(&b), ["0", "1"]);
    assert!(scene.take(&b).is_empty());
    scene.pass(1);
    assert_eq!(scene.receive(&b), ["2", "3"]);
    scene.pass(1);
    assert_eq!(scene.pass(1), None, "nothing waits any more");
}

#[test]
fn a_member_that_acknowledges_nothing_is_passed_over() {
    let (mut scene, publisher, _, b) = scene();
    let a = scene.open("a", Open { receive_maximum: 1, ..lasting(Expiry::Never) });
    send(&mut scene, &publisher, 0..1, ONE);
    let stuck = scene.take(&a);
    send(&mut scene, &publisher, 1..6, ONE);
    assert_eq!(scene.receive(&b), ["1", "3", "5"], "in turn, as long as it may only be slow");
    scene.pass(0);
    scene.pass(1);
    assert_eq!(scene.receive(&b), ["2", "4"], "what was not sent moves");
    for round in 6..9 {
        send(&mut scene, &publisher, round..round + 1, ONE);
        assert_eq!(scene.receive(&b), [round.to_string()]);
        scene.pass(1);
    }
    assert!(scene.take(&a).is_empty());
    assert!(scene.settle(&a, stuck[0].id.unwrap(), Settlement::Acknowledged));
    send(&mut scene, &publisher, 9..11, ONE);
    assert_eq!((scene.receive(&a).len(), scene.receive(&b).len()), (1, 1), "it takes part again");
    scene.pass(1);
    assert_eq!(scene.pass(1), None);
}

#[test]
fn a_member_that_does_not_read_is_passed_over() {
    let (mut scene, publisher, a, b) = scene();
    send(&mut scene, &publisher, 0..6, Qos::AtMostOnce);
    assert_eq!(scene.receive(&b), ["1", "3", "5"]);
    scene.pass(0);
    assert!(scene.pass(1).is_some());
    assert_eq!(scene.receive(&b), ["0", "2", "4"]);
    assert_eq!(scene.pass(1), None);
    send(&mut scene, &publisher, 6..8, Qos::AtMostOnce);
    assert_eq!((scene.receive(&a).len(), scene.receive(&b).len()), (1, 1), "nothing is held against it");
}

#[test]
fn a_member_that_is_slow_is_not_passed_over() {
    let (mut scene, publisher, _, b) = scene();
    let a = scene.open("a", Open { receive_maximum: 1, ..lasting(Expiry::Never) });
    send(&mut scene, &publisher, 0..8, ONE);
    assert_eq!(scene.receive(&b), ["1", "3", "5", "7"]);
    for expected in ["0", "2", "4"] {
        let taken = scene.take(&a);
        assert_eq!(texts(&taken), [expected]);
        scene.pass(1);
        assert!(scene.settle(&a, taken[0].id.unwrap(), Settlement::Acknowledged));
    }
    assert_eq!((scene.receive(&a).len(), scene.receive(&b).len()), (1, 0));
}

#[test]
fn if_all_hang_they_are_all_served_in_turn() {
    let (mut scene, publisher, ..) = scene();
    let clients =
        ["a", "b"].map(|name| scene.open(name, Open { receive_maximum: 1, ..lasting(Expiry::Never) }));
    for round in 0..4 {
        send(&mut scene, &publisher, round * 4..round * 4 + 4, ONE);
        clients.iter().for_each(|client| drop(scene.take(client)));
        scene.pass(1);
    }
    let waiting: Vec<_> = scene.bus.sessions().iter().map(|view| view.queued + view.in_flight).collect();
    assert_eq!(waiting.iter().sum::<usize>(), 16);
    assert!(waiting.iter().all(|count| [0, 8].contains(count)), "{waiting:?}");
}

#[test]
fn what_is_left_of_several_groups_goes_to_the_members_of_each() {
    let (mut scene, publisher, a, b) = scene();
    let c = scene.open("c", transient());
    for client in [&a, &c] {
        scene.subscribe(client, "$queue/+", ONE);
    }
    send(&mut scene, &publisher, 0..4, ONE);
    scene.lose(&a);
    assert_eq!(scene.receive(&b), ["0", "1", "2", "3"]);
    assert_eq!(scene.receive(&c), ["0", "1", "2", "3"]);
    assert_eq!(scene.count(Counter::Matched), 8);
}
