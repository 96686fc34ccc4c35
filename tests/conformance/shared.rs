//! Section 4.8.2: shared subscriptions.

use crate::Version::V5;
use crate::packet::Packet;
use crate::scene::{Client, Scene};
use crate::wire::{self, Connect, Publish, acknowledgement, subscribe};

conformance! {
    mqtt5_4_8_2_1_a_shared_filter_has_a_name: named();
    mqtt5_4_8_2_2_the_name_holds_no_wildcards_and_a_filter_follows: well_formed();
    mqtt5_4_8_2_2_a_shared_subscription_brings_nothing_retained: retained();
    mqtt5_4_8_2_3_each_member_has_its_own_qos: own_qos();
    mqtt5_4_8_2_4_a_qos_2_delivery_is_completed_later: completed_later();
    mqtt5_4_8_2_5_a_qos_2_delivery_that_has_begun_goes_to_nobody_else: session_ends();
    mqtt5_4_8_2_6_what_a_member_refuses_goes_to_nobody_else: refused();
}

fn reasons(scene: &mut Scene, filter: &str) -> Vec<u8> {
    let client = scene.client(V5, "asking");
    match scene.ask(client, &subscribe(V5, 1, &[(filter, 1)])) {
        Packet::Suback { reasons, .. } => reasons,
        other => panic!("{filter}: {other:?}"),
    }
}

fn named() {
    let mut scene = Scene::new();
    for filter in ["$share/", "$share//t", "$share", "$share//"] {
        let reasons = reasons(&mut scene, filter);
        // `$share` alone is a filter like others, if an odd one.
        assert!(reasons == [0x8F] || filter == "$share", "{filter}: {reasons:02x?}");
    }
    assert_eq!(reasons(&mut scene, "$share/g/t"), [1]);
}

fn well_formed() {
    let mut scene = Scene::new();
    for filter in
        ["$share/g", "$share/g/", "$share/g+/t", "$share/+/t", "$share/#/t", "$share/g#/t", "$share/g/a#"]
    {
        assert_eq!(reasons(&mut scene, filter), [0x8F], "{filter}");
    }
    for filter in ["$share/g/#", "$share/g/+", "$share/g//", "$share/g/a/b", "$share/\u{fc} /t"] {
        assert_eq!(reasons(&mut scene, filter), [1], "{filter}");
    }
    // The name is no part of what is matched, and a group shares.
    let members = [scene.subscriber(V5, "1", "$share/g/t", 0), scene.subscriber(V5, "2", "$share/g/t", 0)];
    let publisher = scene.client(V5, "publisher");
    for _ in 0..10 {
        scene.publish(publisher, "t", "p");
    }
    let counts = members.map(|member| scene.texts(member).len());
    assert_eq!(counts.iter().sum::<usize>(), 10);
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

/// Section 4.8.2: what is retained is not for groups, whatever the Retain Handling.
fn retained() {
    let mut scene = Scene::new();
    let publisher = scene.client(V5, "publisher");
    scene.retain(publisher, "t", "kept");
    for handling in [0x00, 0x10, 0x20] {
        let member = scene.client(V5, "member");
        assert!(scene.subscribe(member, "$share/g/t", handling).is_empty());
    }
}

fn own_qos() {
    let mut scene = Scene::new();
    let members: Vec<Client> =
        (0..3).map(|qos| scene.subscriber(V5, &format!("at {qos}"), "$share/g/t", qos)).collect();
    let publisher = scene.client(V5, "publisher");
    for id in 1..=30 {
        scene.send(publisher, &Publish::new(V5, "t", "p").qos(2, id).encode());
        scene.send(publisher, &wire::pubrel(id));
    }
    for (granted, member) in (0..).zip(members) {
        let came = scene.publishes(member);
        assert!(!came.is_empty() && came.iter().all(|publish| publish.qos == granted), "{came:?}");
    }
}

/// Two members with sessions that stay, and a QoS 2 message that one of them has got.
struct Begun {
    scene: Scene,
    /// Who has got it, and how that one connects.
    receiver: Client,
    connect: Connect,
    other: Client,
    id: u16,
}

fn begin(qos: u8) -> Begun {
    let mut scene = Scene::new();
    let connects = ["1", "2"].map(|name| Connect::new(V5, name).resuming());
    let members = [scene.open(&connects[0]).0, scene.open(&connects[1]).0];
    for member in members {
        scene.subscribe(member, "$share/g/t", 2);
    }
    let publisher = scene.client(V5, "publisher");
    scene.send(publisher, &Publish::new(V5, "t", "p").qos(qos, 1).encode());
    let came = members.map(|member| scene.publishes(member));
    let receiver = usize::from(came[0].is_empty());
    assert_eq!(came[0].len() + came[1].len(), 1);
    Begun {
        receiver: members[receiver],
        connect: connects[receiver].clone(),
        other: members[1 - receiver],
        id: came[receiver][0].id,
        scene,
    }
}

fn completed_later() {
    let Begun { mut scene, receiver, connect, other, id } = begin(2);
    scene.cut(receiver);
    scene.nothing(other);
    scene.wait(60);
    let receiver = scene.dial(V5);
    let packets = scene.exchange(receiver, &connect.encode());
    assert_eq!((packets[1].publish().id, packets[1].publish().duplicate, packets.len()), (id, true, 2));
    assert_eq!(scene.ask(receiver, &wire::pubrec(id)).acknowledgement().kind, 6);
    scene.cut(receiver);
    let receiver = scene.dial(V5);
    let packets = scene.exchange(receiver, &connect.encode());
    assert_eq!((packets[1].acknowledgement().kind, packets.len()), (6, 2));
    scene.send(receiver, &wire::pubcomp(id));
    scene.nothing(other);
}

fn session_ends() {
    let Begun { mut scene, receiver, other, .. } = begin(2);
    scene.cut(receiver);
    scene.wait(100_000);
    scene.nothing(other);
    scene.lives(other);
}

fn refused() {
    for (qos, first) in [(1, 0x40), (2, 0x50)] {
        let Begun { mut scene, receiver, connect, other, id } = begin(qos);
        scene.send(receiver, &acknowledgement(first, id, 0x83, &[]));
        scene.nothing(other);
        scene.cut(receiver);
        scene.nothing(other);
        let receiver = scene.dial(V5);
        assert_eq!(scene.exchange(receiver, &connect.encode()).len(), 1, "it is done with");
    }
}
