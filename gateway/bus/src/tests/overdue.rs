//! What a member of a group does not acknowledge, though its connection stands, goes to another.

use gateway_model::{Expiry, Open, Outgoing, Qos, Reason, Settlement};

use super::scene::{Client, Scene, lasting, secs_of, text, transient};
use crate::{Counter, DropReason, Limits};

const ONE: Qos = Qos::AtLeastOnce;
const TWO: Qos = Qos::ExactlyOnce;
const ACK_SECS: u64 = 5;

/// A publisher and members that stay.
fn scene<const COUNT: usize>(names: [&str; COUNT]) -> (Scene, Client, [Client; COUNT]) {
    let scene = Scene::with(Limits { sharing_ack: Some(secs_of(ACK_SECS)), ..Limits::default() });
    let publisher = scene.open("publisher", transient());
    let members = names.map(|name| {
        let member = scene.open(name, lasting(Expiry::Never));
        scene.subscribe(&member, "$share/g/#", TWO);
        member
    });
    (scene, publisher, members)
}

fn send(scene: &mut Scene, publisher: &Client, texts: std::ops::Range<usize>, qos: Qos) {
    for number in texts {
        scene.publish(publisher, "t", &number.to_string(), qos);
    }
}

fn texts(taken: &[Outgoing]) -> Vec<String> {
    taken.iter().map(text).collect()
}

fn acknowledge(scene: &Scene, client: &Client, outgoing: &Outgoing) -> bool {
    scene.settle(client, outgoing.id.unwrap(), Settlement::Acknowledged)
}

/// Lets time pass in steps, as the gateway does.
fn pass(scene: &mut Scene, secs: u64) {
    for _ in 0..secs {
        assert!(scene.pass(1).is_some(), "it is looked at again");
        scene.assert_balanced();
    }
}

fn in_flight(scene: &Scene, name: &str) -> usize {
    let views = scene.bus.sessions();
    views.iter().find(|view| view.client_id.as_str() == name).unwrap().in_flight
}

#[test]
fn what_is_not_acknowledged_in_time_goes_to_another_in_order() {
    let (mut scene, publisher, [a, b]) = scene(["a", "b"]);
    send(&mut scene, &publisher, 0..6, ONE);
    let late = scene.take(&a);
    assert_eq!(
        (texts(&late), scene.receive(&b)),
        (vec!["0".into(), "2".into(), "4".into()], vec!["1".into(), "3".into(), "5".into()])
    );
    pass(&mut scene, ACK_SECS);
    assert!(scene.take(&b).is_empty(), "not before its time");
    pass(&mut scene, 1);
    assert_eq!((b.bell.rung() > 0, in_flight(&scene, "a")), (true, 0));
    let taken = scene.take(&b);
    assert_eq!(texts(&taken), ["0", "2", "4"]);
    assert!(taken.iter().all(|outgoing| !outgoing.duplicate), "new to this member");
    taken.iter().for_each(|outgoing| assert!(acknowledge(&scene, &b, outgoing)));
    assert_eq!(scene.count(Counter::Delivered), 6);
    for outgoing in &late {
        assert!(acknowledge(&scene, &a, outgoing), "a late answer is no error");
        assert!(!acknowledge(&scene, &a, outgoing), "but there is one only");
        scene.assert_balanced();
    }
    assert_eq!((scene.count(Counter::Matched), scene.count(Counter::Delivered)), (6, 6));
    scene.pass(1);
    assert_eq!(scene.pass(1), None, "nobody is looked at any more");
}

/// However late an acknowledgement is, it names no other message.
#[test]
fn what_was_withdrawn_keeps_its_identifier_and_its_place_in_the_window() {
    let (mut scene, publisher, [_, b]) = scene(["a", "b"]);
    let a = scene.open("a", Open { receive_maximum: 2, ..lasting(Expiry::Never) });
    send(&mut scene, &publisher, 0..3, ONE);
    let late = scene.take(&a);
    scene.receive(&b);
    pass(&mut scene, ACK_SECS + 1);
    assert_eq!(scene.receive(&b), ["0", "2"]);
    scene.subscribe(&a, "own", ONE);
    scene.publish(&publisher, "own", "x", ONE);
    assert!(scene.take(&a).is_empty(), "its window is full");
    assert!(acknowledge(&scene, &a, &late[1]));
    let taken = scene.take(&a);
    assert_eq!(texts(&taken), ["x"]);
    assert!(late.iter().all(|outgoing| outgoing.id != taken[0].id));
    assert!(!scene.settle(&a, late[0].id.unwrap(), Settlement::Received), "it does not fit");
    assert!(scene.settle(&a, late[0].id.unwrap(), Settlement::Refused(ONE)));
    assert_eq!(scene.dropped(DropReason::Refused), 0, "it is another's");
    assert!(acknowledge(&scene, &a, &taken[0]));
}

/// After 65,535 deliveries identifiers begin anew; those that were withdrawn are left out.
#[test]
fn identifiers_go_round_those_of_what_was_withdrawn() {
    let (mut scene, publisher, [a, b]) = scene(["a", "b"]);
    send(&mut scene, &publisher, 0..1, ONE);
    let late = scene.take(&a).remove(0);
    pass(&mut scene, ACK_SECS + 1);
    assert_eq!(scene.receive(&b), ["0"]);
    scene.subscribe(&a, "own", ONE);
    for _ in 0..70_000 {
        scene.publish(&publisher, "own", "x", ONE);
        for outgoing in scene.take(&a).into_iter().filter(|outgoing| &*outgoing.message.topic == "own") {
            assert_ne!(outgoing.id, late.id);
            assert!(acknowledge(&scene, &a, &outgoing));
        }
        scene.receive(&b);
    }
    assert!(acknowledge(&scene, &a, &late));
}

#[test]
fn a_session_that_is_resumed_is_not_sent_what_was_withdrawn() {
    for is_taken_over in [false, true] {
        let (mut scene, publisher, [a, b]) = scene(["a", "b"]);
        send(&mut scene, &publisher, 0..2, ONE);
        let late = scene.take(&a);
        scene.receive(&b);
        pass(&mut scene, ACK_SECS + 1);
        assert_eq!(scene.receive(&b), ["0"]);
        if !is_taken_over {
            scene.lose(&a);
            scene.assert_balanced();
        }
        let a = scene.open("a", lasting(Expiry::Never));
        assert!(scene.take(&a).is_empty());
        assert!(!acknowledge(&scene, &a, &late[0]), "unknown on this connection");
        send(&mut scene, &publisher, 2..4, ONE);
        assert_eq!((scene.receive(&a).len(), scene.receive(&b).len()), (1, 1), "it takes part again");
    }
}

#[test]
fn a_session_that_ends_has_nothing_left_of_what_was_withdrawn() {
    let (mut scene, publisher, [a, b]) = scene(["a", "b"]);
    send(&mut scene, &publisher, 0..2, ONE);
    scene.take(&a);
    pass(&mut scene, ACK_SECS + 1);
    scene.goodbye(&a, Some(Expiry::Immediately));
    assert_eq!(scene.dropped(DropReason::SessionEnded), 0);
    assert_eq!(scene.receive(&b), ["0", "1"]);
}

#[test]
fn if_nobody_else_can_take_it_it_stays_until_somebody_can() {
    let (mut scene, publisher, [a]) = scene(["a"]);
    send(&mut scene, &publisher, 0..2, ONE);
    let late = scene.take(&a);
    pass(&mut scene, 3 * ACK_SECS);
    assert_eq!(in_flight(&scene, "a"), 2);
    let b = scene.open("b", lasting(Expiry::Never));
    scene.subscribe(&b, "$share/g/#", ONE);
    assert!(scene.take(&b).is_empty());
    pass(&mut scene, 1);
    assert_eq!(scene.receive(&b), ["0", "1"]);
    send(&mut scene, &publisher, 2..5, ONE);
    assert_eq!(scene.receive(&b), ["2", "3", "4"], "who does not answer is passed over");
    assert!(acknowledge(&scene, &a, &late[0]));
    send(&mut scene, &publisher, 5..7, ONE);
    assert_eq!((scene.receive(&a).len(), scene.receive(&b).len()), (1, 1), "it takes part again");
}

/// Nobody is given what he would not answer either.
#[test]
fn nothing_moves_between_members_that_all_hang() {
    let (mut scene, publisher, members) = scene(["a", "b", "c"]);
    send(&mut scene, &publisher, 0..6, ONE);
    members.iter().for_each(|member| assert_eq!(scene.take(member).len(), 2));
    pass(&mut scene, 4 * ACK_SECS);
    members.iter().for_each(|member| assert!(scene.take(member).is_empty()));
    assert!(["a", "b", "c"].iter().all(|name| in_flight(&scene, name) == 2));
}

/// Those that acknowledge do so in order [MQTT-4.6.0-2]: as long as the oldest changes, they work.
#[test]
fn a_member_that_is_slow_keeps_what_it_has() {
    let (mut scene, publisher, [a, b]) = scene(["a", "b"]);
    send(&mut scene, &publisher, 0..8, ONE);
    let taken = scene.take(&a);
    scene.receive(&b);
    for outgoing in &taken {
        pass(&mut scene, ACK_SECS);
        assert!(acknowledge(&scene, &a, outgoing));
    }
    assert!(scene.take(&b).is_empty());
    assert_eq!(scene.count(Counter::Delivered), 8);
}

/// A worker that fails with one message takes the others.
#[test]
fn what_is_left_out_moves_alone() {
    let (mut scene, publisher, [a, b]) = scene(["a", "b"]);
    send(&mut scene, &publisher, 0..4, ONE);
    let taken = scene.take(&a);
    scene.receive(&b);
    assert!(acknowledge(&scene, &a, &taken[1]));
    pass(&mut scene, 2);
    send(&mut scene, &publisher, 4..6, ONE);
    let young = scene.take(&a);
    scene.receive(&b);
    pass(&mut scene, ACK_SECS - 1);
    assert_eq!(scene.receive(&b), ["0"], "the other is not as old");
    assert!(acknowledge(&scene, &a, &young[0]));
    send(&mut scene, &publisher, 6..8, ONE);
    assert_eq!((scene.receive(&a).len(), scene.receive(&b).len()), (1, 1));
}

/// Who did not answer once is tried again later, though it has never answered.
#[test]
fn who_was_passed_over_is_tried_again() {
    let (mut scene, publisher, [a, b]) = scene(["a", "b"]);
    send(&mut scene, &publisher, 0..1, ONE);
    scene.take(&a);
    pass(&mut scene, ACK_SECS + 1);
    assert_eq!(scene.receive(&b), ["0"]);
    send(&mut scene, &publisher, 1..4, ONE);
    assert_eq!((scene.receive(&a).len(), scene.receive(&b).len()), (0, 3));
    scene.pass(ACK_SECS);
    send(&mut scene, &publisher, 4..6, ONE);
    assert_eq!((scene.receive(&a).len(), scene.receive(&b).len()), (1, 1));
}

/// Else a job that takes longer than the limit would go round for ever.
#[test]
fn it_moves_once_until_its_connection_ends() {
    let (mut scene, publisher, [a, b]) = scene(["a", "b"]);
    send(&mut scene, &publisher, 0..1, ONE);
    let late = scene.take(&a);
    pass(&mut scene, ACK_SECS + 1);
    assert_eq!(scene.take(&b).len(), 1);
    assert!(acknowledge(&scene, &a, &late[0]));
    for _ in 0..3 * ACK_SECS {
        scene.pass(1);
        assert!(scene.take(&a).is_empty());
    }
    scene.lose(&b);
    assert_eq!(scene.receive(&a), ["0"]);
}

/// [MQTT-4.8.2-4] and [MQTT-4.8.2-5] have it wait for its receiver even without a connection.
#[test]
fn what_was_sent_at_qos_2_stays() {
    let (mut scene, publisher, [a, b]) = scene(["a", "b"]);
    send(&mut scene, &publisher, 0..6, TWO);
    let taken = scene.take(&a);
    assert!(scene.settle(&a, taken[1].id.unwrap(), Settlement::Received));
    scene.receive(&b);
    for _ in 0..3 * ACK_SECS {
        scene.pass(1);
        assert!(scene.take(&b).is_empty());
    }
    assert_eq!(in_flight(&scene, "a"), 3);
}

/// What a client has of its own, or has of a group that it left, is nobody else's.
#[test]
fn only_messages_of_the_group_move() {
    let (mut scene, publisher, [a, b]) = scene(["a", "b"]);
    scene.subscribe(&a, "own", ONE);
    scene.publish(&publisher, "own", "x", ONE);
    scene.receive(&b);
    assert_eq!(texts(&scene.take(&a)), ["x", "x"]);
    assert_eq!(scene.unsubscribe(&a, "$share/g/#"), Reason::Success);
    for _ in 0..3 * ACK_SECS {
        scene.pass(1);
        assert!(scene.take(&b).is_empty());
    }
}

#[test]
fn a_new_connection_has_its_own_time() {
    let (mut scene, publisher, [a]) = scene(["a"]);
    send(&mut scene, &publisher, 0..1, ONE);
    scene.take(&a);
    pass(&mut scene, ACK_SECS);
    let a = scene.open("a", lasting(Expiry::Never));
    let b = scene.open("b", lasting(Expiry::Never));
    scene.subscribe(&b, "$share/g/#", ONE);
    let again = scene.take(&a);
    assert!(again[0].duplicate);
    pass(&mut scene, ACK_SECS);
    assert!(scene.take(&b).is_empty());
    pass(&mut scene, 1);
    assert_eq!(scene.receive(&b), ["0"]);
    assert!(acknowledge(&scene, &a, &again[0]));
}

#[test]
fn without_a_limit_it_stays() {
    let mut scene = Scene::with(Limits { sharing_ack: None, ..Limits::default() });
    let publisher = scene.open("publisher", transient());
    let [a, b] = ["a", "b"].map(|name| {
        let member = scene.open(name, lasting(Expiry::Never));
        scene.subscribe(&member, "$share/g/#", ONE);
        member
    });
    send(&mut scene, &publisher, 0..2, ONE);
    scene.take(&a);
    scene.receive(&b);
    for _ in 0..100 {
        scene.pass(1);
    }
    assert!(scene.take(&b).is_empty());
}
