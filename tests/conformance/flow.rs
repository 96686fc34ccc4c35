//! Section 4.9: flow control, and Receive Maximum towards the client.

use crate::Version::V5;
use crate::packet::Packet;
use crate::scene::{Client, Scene, Setup};
use crate::wire::{self, Connect, Publish, subscribe, two};

conformance! {
    mqtt5_3_3_4_9_the_clients_receive_maximum_is_kept also "4.9.0-1", "4.9.0-2": window(1);
    mqtt5_4_9_0_1_a_quota_is_the_receive_maximum_at_most: window(3);
    mqtt5_3_3_4_10_everything_but_publishes_goes_on also "4.9.0-3": everything_else();
    mqtt5_4_9_0_2_without_a_receive_maximum_the_gateways_own_holds: own_window();
}

fn publish(scene: &mut Scene, sender: Client, from: u16, count: u16) {
    let bytes: Vec<u8> = (from..from + count)
        .flat_map(|id| Publish::new(V5, "t", format!("{id}")).qos(1 + (id % 2) as u8, id).encode())
        .collect();
    scene.send(sender, &bytes);
    scene.send(sender, &(from..from + count).flat_map(wire::pubrel).collect::<Vec<u8>>());
    scene.take(sender);
}

fn window(maximum: u16) {
    let mut scene = Scene::new();
    let connect = Connect::new(V5, "c").resuming().with(two(wire::RECEIVE_MAXIMUM, maximum));
    let (client, _) = scene.open(&connect);
    scene.subscribe(client, "t", 2);
    let sender = scene.client(V5, "sender");
    publish(&mut scene, sender, 1, 10);
    let mut came = scene.publishes(client);
    let mut texts = Vec::new();
    while !came.is_empty() {
        assert!(came.len() <= maximum.into(), "{came:?}");
        let first = came.remove(0);
        texts.push(first.text());
        let next = if first.qos == 1 {
            scene.send(client, &wire::puback(first.id));
            scene.take(client)
        } else {
            // PUBREC leaves the place taken; PUBCOMP frees it.
            let pubrel = scene.ask(client, &wire::pubrec(first.id));
            assert_eq!(pubrel.acknowledgement().kind, 6);
            scene.send(client, &wire::pubcomp(first.id));
            scene.take(client)
        };
        assert!(next.len() <= 1);
        came.extend(next.iter().map(|packet| packet.publish().clone()));
    }
    assert_eq!(texts, ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"]);
    // QoS 0 has no part in it.
    publish(&mut scene, sender, 1, maximum);
    scene.take(client);
    scene.publish(sender, "t", "at most once");
    assert_eq!(scene.texts(client), ["at most once"]);
    // A resumed session has the window of its new connection.
    scene.cut(client);
    let client = scene.dial(V5);
    let packets = scene.exchange(client, &connect.encode());
    assert_eq!(packets.len() - 1, usize::from(maximum));
}

fn everything_else() {
    let mut scene = Scene::new();
    let connect = Connect::new(V5, "c").with(two(wire::RECEIVE_MAXIMUM, 1));
    let (client, _) = scene.open(&connect);
    scene.subscribe(client, "t", 1);
    let sender = scene.client(V5, "sender");
    publish(&mut scene, sender, 1, 5);
    assert_eq!(scene.publishes(client).len(), 1);
    scene.lives(client);
    let suback = scene.ask(client, &subscribe(V5, 1, &[("u", 0)]));
    assert!(matches!(suback, Packet::Suback { .. }));
    let puback = scene.ask(client, &Publish::new(V5, "v", "p").qos(1, 9).encode());
    assert_eq!(puback.acknowledgement().kind, 4);
    let pubrec = scene.ask(client, &Publish::new(V5, "v", "p").qos(2, 9).encode());
    assert_eq!(pubrec.acknowledgement().kind, 5);
    assert_eq!(scene.ask(client, &wire::pubrel(9)).acknowledgement().kind, 7);
    let unsuback = scene.ask(client, &wire::unsubscribe(V5, 1, &["u"]));
    assert!(matches!(unsuback, Packet::Unsuback { .. }));
}

fn own_window() {
    let limits = gateway_bus::Limits { in_flight_max: 4, ..Default::default() };
    let mut scene = Scene::with(Setup { limits, ..Default::default() });
    let client = scene.subscriber(V5, "c", "t", 2);
    let sender = scene.client(V5, "sender");
    publish(&mut scene, sender, 1, 10);
    assert_eq!(scene.publishes(client).len(), 4);
}
