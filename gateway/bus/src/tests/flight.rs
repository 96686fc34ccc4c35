use std::collections::HashSet;

use gateway_model::{Expiry, Open, Outgoing, Qos, Settlement};

use super::scene::{Client, Scene, lasting, text, transient};
use crate::{Counter, DropReason, Limits};

const ONE: Qos = Qos::AtLeastOnce;

fn receiving(receive_maximum: u16) -> Open {
    Open { receive_maximum, ..lasting(Expiry::Never) }
}

/// A publisher, and a receiver of `#` that may have so many deliveries unsettled.
fn pair(scene: &Scene, receive_maximum: u16) -> (Client, Client) {
    let publisher = scene.open("publisher", transient());
    let client = scene.open("a", receiving(receive_maximum));
    scene.subscribe(&client, "#", Qos::ExactlyOnce);
    (publisher, client)
}

fn send_all(scene: &mut Scene, publisher: &Client, texts: &[&str], qos: Qos) {
    for text in texts {
        scene.publish(publisher, "t", text, qos);
    }
}

fn texts(taken: &[Outgoing]) -> Vec<String> {
    taken.iter().map(text).collect()
}

/// MQTT 5.0 section 3.3.4 [MQTT-3.3.4-9].
#[test]
fn no_more_than_the_window_is_unsettled() {
    let mut scene = Scene::new();
    let (publisher, client) = pair(&scene, 2);
    send_all(&mut scene, &publisher, &["1", "2", "3", "4"], ONE);
    let taken = scene.take(&client);
    assert_eq!(texts(&taken), ["1", "2"]);
    assert!(scene.take(&client).is_empty());
    assert!(scene.settle(&client, taken[1].id.unwrap(), Settlement::Delivered));
    assert_eq!(scene.take_texts(&client), ["3"]);
    assert!(scene.settle(&client, taken[0].id.unwrap(), Settlement::Dropped("refused")));
    assert_eq!(scene.take_texts(&client), ["4"]);
    assert_eq!((scene.count(Counter::Delivered), scene.dropped(DropReason::Refused)), (1, 1));
}

#[test]
fn the_gateway_bounds_the_window_as_well() {
    let mut scene = Scene::with(Limits { in_flight_max: 1, ..Limits::default() });
    let (publisher, client) = pair(&scene, 100);
    send_all(&mut scene, &publisher, &["1", "2"], ONE);
    assert_eq!(scene.take_texts(&client), ["1"]);
}

/// An exactly-once delivery holds its place in the window until PUBCOMP (MQTT 5.0 section 4.9).
#[test]
fn received_keeps_the_place_in_the_window() {
    let mut scene = Scene::new();
    let (publisher, client) = pair(&scene, 1);
    send_all(&mut scene, &publisher, &["1", "2"], Qos::ExactlyOnce);
    let id = scene.take(&client)[0].id.unwrap();
    assert!(scene.settle(&client, id, Settlement::Received));
    assert!(scene.take(&client).is_empty());
    assert!(scene.settle(&client, id, Settlement::Delivered));
    assert_eq!(scene.take_texts(&client), ["2"]);
}

#[test]
fn unknown_identifiers_settle_nothing() {
    let mut scene = Scene::new();
    let (publisher, client) = pair(&scene, 10);
    send_all(&mut scene, &publisher, &["1"], ONE);
    let id = scene.take(&client)[0].id.unwrap();
    let other = id.checked_add(1).unwrap();
    for settlement in
        [Settlement::Delivered, Settlement::Received, Settlement::Dropped("refused"), Settlement::Returned]
    {
        assert!(!scene.settle(&client, other, settlement));
    }
    assert!(scene.settle(&client, id, Settlement::Delivered));
    assert!(!scene.settle(&client, id, Settlement::Delivered), "only once");
    assert_eq!(scene.count(Counter::Delivered), 1);
}

/// MQTT 5.0 section 4.3: a PUBACK does not settle what was sent at QoS 2, nor a PUBREC or PUBCOMP
/// what was sent at QoS 1; a PUBCOMP comes after a PUBREC.
#[test]
fn an_acknowledgement_settles_what_it_fits() {
    let mut scene = Scene::new();
    let (publisher, client) = pair(&scene, 10);
    send_all(&mut scene, &publisher, &["1"], ONE);
    send_all(&mut scene, &publisher, &["2"], Qos::ExactlyOnce);
    let ids: Vec<_> = scene.take(&client).iter().filter_map(|taken| taken.id).collect();
    for settlement in [Settlement::Received, Settlement::Completed, Settlement::Refused(Qos::ExactlyOnce)] {
        assert!(!scene.settle(&client, ids[0], settlement), "{settlement:?} of QoS 1");
    }
    for settlement in [Settlement::Acknowledged, Settlement::Completed, Settlement::Refused(ONE)] {
        assert!(!scene.settle(&client, ids[1], settlement), "{settlement:?} of QoS 2");
    }
    assert!(scene.settle(&client, ids[0], Settlement::Acknowledged));
    assert!(scene.settle(&client, ids[1], Settlement::Received));
    assert!(scene.settle(&client, ids[1], Settlement::Received), "said twice");
    assert!(!scene.settle(&client, ids[1], Settlement::Acknowledged));
    assert!(scene.settle(&client, ids[1], Settlement::Completed));
    assert_eq!(scene.count(Counter::Delivered), 2);
    send_all(&mut scene, &publisher, &["3"], ONE);
    send_all(&mut scene, &publisher, &["4"], Qos::ExactlyOnce);
    for taken in scene.take(&client) {
        assert!(scene.settle(&client, taken.id.unwrap(), Settlement::Refused(taken.qos)));
    }
    assert_eq!(scene.dropped(DropReason::Refused), 2);
}

/// MQTT 5.0 section 4.4 [MQTT-4.4.0-1] and section 4.6 [MQTT-4.6.0-1].
#[test]
fn a_resume_sends_again_in_the_original_order_before_what_is_new() {
    let mut scene = Scene::new();
    let (publisher, client) = pair(&scene, 10);
    send_all(&mut scene, &publisher, &["1", "2", "3", "4"], Qos::ExactlyOnce);
    let first = scene.take_at_most(&client, 3);
    assert!(first.iter().all(|outgoing| !outgoing.duplicate && !outgoing.released));
    assert!(scene.settle(&client, first[1].id.unwrap(), Settlement::Received));
    scene.lose(&client);
    let client = scene.open("a", receiving(10));
    assert_eq!(client.bell.rung(), 1);
    let again = scene.take(&client);
    assert_eq!(texts(&again), ["1", "2", "3", "4"]);
    let ids = |taken: &[Outgoing]| taken.iter().filter_map(|outgoing| outgoing.id).collect::<Vec<_>>();
    assert_eq!(ids(&again)[..3], ids(&first)[..]);
    let flags: Vec<_> = again.iter().map(|outgoing| (outgoing.duplicate, outgoing.released)).collect();
    assert_eq!(flags, [(true, false), (false, true), (true, false), (false, false)]);
    assert!(scene.take(&client).is_empty(), "once for each connection");
}

/// [MQTT-3.3.4-9] counts what is sent on this connection; a PUBREL is not counted (section 4.9).
#[test]
fn a_resume_with_a_smaller_window_sends_no_more_than_it() {
    let mut scene = Scene::new();
    let (publisher, client) = pair(&scene, 10);
    send_all(&mut scene, &publisher, &["1", "2", "3", "4", "5"], Qos::ExactlyOnce);
    let first = scene.take_at_most(&client, 4);
    scene.lose(&client);
    let client = scene.open("a", receiving(2));
    assert_eq!(scene.take_texts(&client), ["1", "2"]);
    assert!(scene.settle(&client, first[0].id.unwrap(), Settlement::Delivered));
    assert_eq!(scene.take_texts(&client), ["3"]);
    assert!(scene.take(&client).is_empty());
    for outgoing in &first[1..3] {
        assert!(scene.settle(&client, outgoing.id.unwrap(), Settlement::Delivered));
    }
    assert_eq!(scene.take_texts(&client), ["4", "5"]);
}

#[test]
fn a_takeover_sends_again_as_a_resume_does() {
    let mut scene = Scene::new();
    let (publisher, client) = pair(&scene, 10);
    send_all(&mut scene, &publisher, &["1", "2"], ONE);
    scene.take_at_most(&client, 1);
    let client = scene.open("a", receiving(10));
    let flags: Vec<_> = scene.take(&client).iter().map(|taken| (text(taken), taken.duplicate)).collect();
    assert_eq!(flags, [("1".to_owned(), true), ("2".to_owned(), false)]);
}

#[test]
fn what_was_returned_comes_again_before_what_was_never_sent() {
    let mut scene = Scene::new();
    let (publisher, client) = pair(&scene, 3);
    send_all(&mut scene, &publisher, &["1", "2", "3", "4"], ONE);
    let first = scene.take(&client);
    client.bell.rung();
    for index in [2, 0, 0] {
        assert!(scene.settle(&client, first[index].id.unwrap(), Settlement::Returned));
    }
    assert_eq!(client.bell.rung(), 1, "there is something to do again");
    let again = scene.take(&client);
    assert_eq!(texts(&again), ["1", "3"]);
    assert!(again.iter().all(|outgoing| outgoing.duplicate));
    assert!(scene.settle(&client, first[0].id.unwrap(), Settlement::Delivered));
    assert_eq!(scene.take_texts(&client), ["4"]);
}

#[test]
fn what_was_returned_may_be_settled_without_being_sent_again() {
    let mut scene = Scene::new();
    let (publisher, client) = pair(&scene, 3);
    send_all(&mut scene, &publisher, &["1", "2"], ONE);
    let first = scene.take(&client);
    assert!(scene.settle(&client, first[0].id.unwrap(), Settlement::Returned));
    assert!(scene.settle(&client, first[0].id.unwrap(), Settlement::Dropped("poison")));
    assert!(scene.take(&client).is_empty());
    assert_eq!(scene.dropped(DropReason::Poison), 1);
}

/// MQTT 5.0 section 2.2.1: an identifier is free again only after its acknowledgement. One
/// delivery is never settled while the others go round all 65,535 identifiers twice.
#[test]
fn identifiers_in_flight_are_never_given_again() {
    let mut scene = Scene::new();
    let (publisher, client) = pair(&scene, 3);
    send_all(&mut scene, &publisher, &["stuck", "stuck too"], ONE);
    let mut in_flight: HashSet<_> = scene.take(&client).iter().filter_map(|stuck| stuck.id).collect();
    let mut seen = HashSet::new();
    for _ in 0..2 * 65_535 + 10 {
        scene.publish(&publisher, "t", "x", ONE);
        let id = scene.take(&client)[0].id.unwrap();
        assert!(in_flight.insert(id), "{id} is in flight");
        seen.insert(id);
        assert!(scene.settle(&client, id, Settlement::Delivered));
        in_flight.remove(&id);
    }
    assert_eq!(seen.len(), 65_535 - 2, "all others are used");
}

#[test]
fn the_whole_space_of_identifiers_may_be_in_flight() {
    let mut scene = Scene::with(Limits { in_flight_max: u16::MAX, ..Limits::default() });
    let queue = crate::QueueLimits { messages_max: 70_000, bytes_max: u32::MAX, ..Default::default() };
    scene.options(crate::SessionOptions { queue: Some(queue), in_flight_max: None, owner: 0 });
    let (publisher, client) = pair(&scene, u16::MAX);
    for _ in 0..65_540 {
        scene.publish(&publisher, "t", "x", ONE);
    }
    let ids: Vec<_> = scene.take(&client).iter().filter_map(|outgoing| outgoing.id).collect();
    assert_eq!(ids.len(), 65_535);
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 65_535);
    assert!(scene.settle(&client, ids[1000], Settlement::Delivered));
    let next = scene.take(&client);
    assert_eq!(next.len(), 1);
    assert_eq!(next[0].id, Some(ids[1000]), "the only one that is free");
}

/// Or who acknowledges nothing holds a window of the largest messages there are.
#[test]
fn large_deliveries_are_in_flight_within_the_bytes_of_the_queue() {
    let mut scene = Scene::new();
    let queue = crate::QueueLimits { bytes_max: 350_000, ..Default::default() };
    scene.options(crate::SessionOptions { queue: Some(queue), ..Default::default() });
    let (publisher, client) = pair(&scene, 100);
    let large = "x".repeat(100_000);
    let mut taken: Vec<_> = Vec::new();
    for _ in 0..6 {
        scene.publish(&publisher, "t", &large, ONE);
        taken.extend(scene.take(&client));
    }
    scene.publish(&publisher, "t", "light", ONE);
    taken.extend(scene.take(&client));
    assert_eq!(taken.len(), 3, "the others wait, in order");
    assert!(scene.settle(&client, taken[1].id.unwrap(), Settlement::Delivered));
    assert_eq!(scene.take(&client).len(), 1);
    for taken in &taken {
        scene.settle(&client, taken.id.unwrap(), Settlement::Delivered);
    }
    assert_eq!(texts(&scene.take(&client))[2], "light");
}

#[test]
fn qos_0_needs_no_identifier_and_keeps_its_place() {
    let mut scene = Scene::new();
    let (publisher, client) = pair(&scene, 1);
    for (text, qos) in [("0", Qos::AtMostOnce), ("1", ONE), ("2", Qos::AtMostOnce), ("3", ONE)] {
        scene.publish(&publisher, "t", text, qos);
    }
    let taken = scene.take(&client);
    assert_eq!(texts(&taken), ["0", "1", "2"]);
    assert_eq!(taken[0].id, None);
    assert!(taken[1].id.is_some());
    assert_eq!(scene.count(Counter::Delivered), 2);
}

/// What was sent is owed even if it expires meanwhile: it has a place in the receiver's state.
#[test]
fn what_is_in_flight_does_not_expire() {
    let mut scene = Scene::new();
    let (publisher, client) = pair(&scene, 1);
    let expiry = Some(super::scene::secs_of(1));
    scene.send(&publisher, gateway_model::Publish { expiry, ..super::scene::publish("t", "1", ONE) });
    scene.take(&client);
    scene.lose(&client);
    scene.pass(100);
    let client = scene.open("a", receiving(1));
    assert_eq!(scene.receive(&client), ["1"]);
}

#[test]
fn one_by_one_is_the_same_outbox() {
    let mut scene = Scene::new();
    let (publisher, client) = pair(&scene, 2);
    send_all(&mut scene, &publisher, &["1", "2", "3"], ONE);
    let next = || scene.bus.next(&client.attachment, scene.moment.instant).unwrap();
    assert_eq!(next().as_ref().map(text).as_deref(), Some("1"));
    assert_eq!(next().as_ref().map(text).as_deref(), Some("2"));
    assert!(next().is_none());
}
