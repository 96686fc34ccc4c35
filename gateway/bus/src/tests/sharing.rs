//! MQTT 5.0 section 4.8.2.

use gateway_model::{Expiry, Qos, Reason, Subscription};

use super::scene::{Client, Scene, filter, lasting, transient};
use crate::{DropReason, Limits, Sharing};

const ONE: Qos = Qos::AtLeastOnce;

fn members(scene: &Scene, names: [&str; 3], path: &str) -> [Client; 3] {
    names.map(|name| {
        let member = scene.open(name, lasting(Expiry::Never));
        scene.subscribe(&member, path, ONE);
        member
    })
}

fn send(scene: &mut Scene, publisher: &Client, count: usize) {
    for number in 0..count {
        scene.publish(publisher, "t", &number.to_string(), ONE);
    }
}

fn received(scene: &Scene, members: &[&Client]) -> Vec<Vec<String>> {
    members.iter().map(|member| scene.receive(member)).collect()
}

#[test]
fn each_message_goes_to_one_member_in_turn() {
    let mut scene = Scene::new();
    let publisher = scene.open("publisher", transient());
    let [a, b, c] = members(&scene, ["a", "b", "c"], "$share/g/t");
    send(&mut scene, &publisher, 6);
    assert_eq!(received(&scene, &[&a, &b, &c]), [["0", "3"], ["1", "4"], ["2", "5"]]);
}

#[test]
fn groups_and_plain_subscriptions_do_not_mind_each_other() {
    let mut scene = Scene::new();
    let publisher = scene.open("publisher", transient());
    let [a, b, c] = members(&scene, ["a", "b", "c"], "$share/g/+");
    let [x, y, z] = members(&scene, ["x", "y", "z"], "$share/h/t");
    scene.subscribe(&a, "t", ONE);
    send(&mut scene, &publisher, 3);
    assert_eq!(scene.receive(&a).len(), 3 + 1, "its own and its share");
    assert_eq!(received(&scene, &[&b, &c]), [["1"], ["2"]]);
    assert_eq!(received(&scene, &[&x, &y, &z]), [["0"], ["1"], ["2"]]);
}

#[test]
fn members_that_are_away_are_passed_over() {
    let mut scene = Scene::new();
    let publisher = scene.open("publisher", transient());
    let [a, b, c] = members(&scene, ["a", "b", "c"], "$share/g/t");
    scene.lose(&b);
    send(&mut scene, &publisher, 4);
    assert_eq!(received(&scene, &[&a, &c]), [["0", "2"], ["1", "3"]]);
    let b = scene.open("b", lasting(Expiry::Never));
    assert!(scene.take(&b).is_empty());
    send(&mut scene, &publisher, 3);
    let shares = received(&scene, &[&a, &b, &c]);
    assert!(shares.iter().all(|share| share.len() == 1), "{shares:?}");
}

/// As for one session: who comes first gets what waits, in order.
#[test]
fn if_all_are_away_the_first_to_come_back_gets_what_waits() {
    let mut scene = Scene::new();
    let publisher = scene.open("publisher", transient());
    let clients = members(&scene, ["a", "b", "c"], "$share/g/t");
    clients.iter().for_each(|client| scene.lose(client));
    send(&mut scene, &publisher, 6);
    scene.publish(&publisher, "t", "qos 0", Qos::AtMostOnce);
    assert_eq!(scene.dropped(DropReason::Offline), 1);
    let c = scene.open("c", lasting(Expiry::Never));
    assert_eq!(c.bell.rung(), 1);
    assert_eq!(scene.receive(&c), ["0", "1", "2", "3", "4", "5"]);
    for name in ["a", "b"] {
        assert!(scene.receive(&scene.open(name, lasting(Expiry::Never))).is_empty());
    }
}

#[test]
fn a_new_member_gets_what_waits_for_the_group() {
    let mut scene = Scene::new();
    let publisher = scene.open("publisher", transient());
    let [a, _, _] = members(&scene, ["a", "b", "c"], "$queue/t").map(|client| {
        scene.lose(&client);
        client
    });
    send(&mut scene, &publisher, 2);
    let other = scene.open("other", transient());
    scene.subscribe(&other, "$share/$queue/t", ONE);
    assert!(scene.receive(&other).is_empty(), "another group, whatever its name");
    scene.subscribe(&other, "$queue/t", ONE);
    assert_eq!(scene.receive(&other), ["0", "1"]);
    assert!(scene.take(&scene.open(a.opened.client_id.as_str(), lasting(Expiry::Never))).is_empty());
}

#[test]
fn members_may_leave_at_any_turn() {
    let mut scene = Scene::new();
    let publisher = scene.open("publisher", transient());
    let [a, b, c] = members(&scene, ["a", "b", "c"], "$share/g/t");
    send(&mut scene, &publisher, 2);
    assert_eq!(scene.unsubscribe(&c, "$share/g/t"), Reason::Success);
    send(&mut scene, &publisher, 2);
    assert_eq!(received(&scene, &[&a, &b, &c]).iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 0]);
    scene.goodbye(&a, Some(Expiry::Immediately));
    send(&mut scene, &publisher, 2);
    assert_eq!(scene.receive(&b), ["0", "1"]);
    assert_eq!(scene.unsubscribe(&b, "$share/other/t"), Reason::NoSubscriptionExisted);
    assert_eq!(scene.unsubscribe(&b, "$share/g/t"), Reason::Success);
    assert_eq!(scene.publish(&publisher, "t", "x", ONE), Reason::NoMatchingSubscribers);
}

#[test]
fn a_member_that_subscribes_again_changes_its_options() {
    let mut scene = Scene::new();
    let publisher = scene.open("publisher", transient());
    let client = scene.open("a", transient());
    let identifier = std::num::NonZeroU32::new(5);
    scene.subscribe(&client, "$share/g/t", Qos::AtMostOnce);
    let again = Subscription { identifier, ..Subscription::new(filter("$share/g/t"), ONE) };
    scene.subscribe_as(&client, again);
    scene.publish(&publisher, "t", "x", Qos::ExactlyOnce);
    let taken = scene.take(&client);
    assert_eq!((taken.len(), taken[0].qos), (1, ONE));
    assert_eq!(taken[0].identifiers.as_slice(), [5]);
}

/// MQTT 5.0 section 3.8.4: no retained messages for a shared subscription.
#[test]
fn a_shared_subscription_gets_no_retained_messages() {
    let mut scene = Scene::new();
    let publisher = scene.open("publisher", transient());
    scene.retain(&publisher, "t", "kept", ONE);
    let client = scene.open("a", transient());
    scene.subscribe(&client, "$share/g/t", ONE);
    assert!(scene.take(&client).is_empty());
}

fn scene_of(sharing: Sharing) -> Scene {
    Scene::with(Limits { sharing, ..Limits::default() })
}

#[test]
fn round_robin_is_exactly_even() {
    let mut scene = Scene::new();
    let publisher = scene.open("publisher", transient());
    let clients = ["a", "b", "c", "d", "e"].map(|name| scene.open(name, lasting(Expiry::Never)));
    clients.iter().for_each(|client| assert!(!scene.subscribe(client, "$share/g/#", ONE).is_error()));
    let mut counts = [0; 5];
    let mut receive = |scene: &Scene| {
        for (count, client) in counts.iter_mut().zip(&clients) {
            *count += scene.receive(client).len();
        }
        counts
    };
    // Whatever the topics are and however they come in.
    for number in 0..1000 {
        let topic = ["t", "u/v", "w"][number % 3];
        scene.publish(&publisher, topic, "x", [Qos::AtMostOnce, ONE][number % 2]);
        if number % 17 == 0 {
            receive(&scene);
        }
    }
    assert_eq!(receive(&scene), [200; 5]);
    // Who leaves does not cost anybody a turn, and who is away none.
    send(&mut scene, &publisher, 2);
    assert_eq!(receive(&scene), [201, 201, 200, 200, 200]);
    scene.unsubscribe(&clients[0], "$share/g/#");
    send(&mut scene, &publisher, 1);
    assert_eq!(receive(&scene), [201, 201, 201, 200, 200], "who was next is next");
    scene.lose(&clients[3]);
    send(&mut scene, &publisher, 9);
    let clients = [&clients[1], &clients[2], &clients[4]];
    assert_eq!(received(&scene, &clients).iter().map(Vec::len).collect::<Vec<_>>(), [3; 3]);
}

#[test]
fn sticky_keeps_to_one_member_until_it_goes() {
    let mut scene = scene_of(Sharing::Sticky);
    let publisher = scene.open("publisher", transient());
    let [a, b, c] = members(&scene, ["a", "b", "c"], "$share/g/t");
    send(&mut scene, &publisher, 3);
    assert_eq!(received(&scene, &[&a, &b, &c]).iter().map(Vec::len).collect::<Vec<_>>(), [3, 0, 0]);
    scene.lose(&a);
    send(&mut scene, &publisher, 3);
    let a = scene.open("a", lasting(Expiry::Never));
    send(&mut scene, &publisher, 3);
    assert_eq!(received(&scene, &[&a, &b, &c]).iter().map(Vec::len).collect::<Vec<_>>(), [0, 6, 0]);
    scene.unsubscribe(&b, "$share/g/t");
    send(&mut scene, &publisher, 3);
    assert_eq!(received(&scene, &[&a, &b, &c]).iter().map(Vec::len).collect::<Vec<_>>(), [0, 0, 3]);
}

#[test]
fn random_reaches_all_and_depends_on_the_seed_only() {
    let shares = || {
        let mut scene = scene_of(Sharing::Random);
        let publisher = scene.open("publisher", transient());
        let [a, b, c] = members(&scene, ["a", "b", "c"], "$share/g/t");
        send(&mut scene, &publisher, 300);
        received(&scene, &[&a, &b, &c])
    };
    let first = shares();
    assert!(first.iter().all(|share| (60..140).contains(&share.len())), "{first:?}");
    assert_eq!(first, shares());
}

#[test]
fn least_in_flight_goes_to_who_has_the_least_to_do() {
    let mut scene = scene_of(Sharing::LeastInFlight);
    let publisher = scene.open("publisher", transient());
    let [a, b, c] = members(&scene, ["a", "b", "c"], "$share/g/t");
    send(&mut scene, &publisher, 6);
    scene.take(&a);
    scene.receive(&b);
    scene.take_at_most(&c, 1);
    send(&mut scene, &publisher, 2);
    assert_eq!(scene.receive(&b).len(), 2);
    scene.lose(&b);
    send(&mut scene, &publisher, 4);
    let loads: Vec<_> = scene.bus.sessions().iter().map(|view| view.queued + view.in_flight).collect();
    assert_eq!(loads.iter().filter(|load| **load == 4).count(), 2, "{loads:?}");
}

#[test]
fn hashes_keep_a_publisher_or_a_topic_with_one_member() {
    for sharing in [Sharing::HashClient, Sharing::HashTopic] {
        let mut scene = scene_of(sharing);
        let [a, b, c] = members(&scene, ["a", "b", "c"], "$share/g/#");
        for publisher in 0..20 {
            let client = scene.open(&format!("p{publisher}"), transient());
            (0..20).for_each(|topic| {
                scene.publish(&client, &format!("t{topic}"), &format!("p{publisher} t{topic}"), ONE);
            });
        }
        let word = usize::from(sharing == Sharing::HashTopic);
        let shares = received(&scene, &[&a, &b, &c]);
        let keys = |share: &Vec<String>| -> std::collections::BTreeSet<String> {
            share.iter().map(|text| text.split(' ').nth(word).unwrap().to_owned()).collect()
        };
        let keys: Vec<_> = shares.iter().map(keys).collect();
        assert!(keys.iter().all(|keys| !keys.is_empty()));
        assert_eq!(keys.iter().map(std::collections::BTreeSet::len).sum::<usize>(), 20, "each with one");
    }
}
