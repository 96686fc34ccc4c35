//! Section 3.2: CONNACK.

use crate::Version::{self, V5};
use crate::packet::{Packet, Value};
use crate::scene::{Scene, Setup};
use crate::wire::{self, Connect, Publish, four, subscribe, two};

conformance! {
    mqtt5_3_1_4_4_clean_start_is_carried_out also "3.1.2-4", "3.2.2-2": clean(V5);
    mqtt311_3_1_4_3_clean_session_is_carried_out also "3.1.2-6", "3.2.2-1": clean(V311);
    mqtt5_3_1_2_5_a_session_is_taken_up also "3.1.2-23", "3.2.2-3", "3.1.3-2": taken_up(V5);
    mqtt311_3_1_2_4_a_session_is_taken_up also "3.1.2-5", "3.2.2-2", "3.1.3-2": taken_up(V311);
    mqtt5_3_1_2_6_without_a_session_there_is_a_new_one: begun(V5);
    mqtt311_3_2_2_3_without_a_session_there_is_a_new_one: begun(V311);
    mqtt5_3_1_4_5_an_accepted_connect_gets_connack also "3.2.0-1", "3.2.0-2", "3.2.2-1": acknowledged(V5);
    mqtt311_3_1_4_4_an_accepted_connect_gets_connack also "3.2.0-1": acknowledged(V311);
    mqtt5_3_2_2_6_a_refusal_has_no_session_present also "3.2.2-7", "3.2.2-8": refusals(V5, &[0x85, 0x86]);
    mqtt311_3_2_2_4_a_refusal_has_no_session_present also "3.2.2-5": refusals(V311, &[0x02, 0x04]);
    mqtt5_3_2_2_15_a_packet_over_the_maximum_is_refused: maximum_packet();
    mqtt5_3_2_2_17_an_alias_over_the_maximum_is_refused also "3.3.2-9": alias_over_maximum();
    mqtt5_3_2_2_18_an_alias_without_a_maximum_is_refused: alias_without_maximum();
    mqtt5_3_2_2_19_connack_fits_the_client also "3.2.2-20": fits();
    mqtt5_3_2_2_21_the_server_keep_alive_counts: server_keep_alive();
    mqtt5_3_2_2_22_without_it_the_clients_own_counts: own_keep_alive();
    mqtt5_3_1_2_28_no_response_information_unasked: response_information();
}

fn is_present(connack: &Packet) -> bool {
    matches!(connack, Packet::Connack { session_present: true, .. })
}

fn clean(version: Version) {
    let mut scene = Scene::new();
    let (first, _) = scene.open(&Connect::new(version, "c").resuming());
    scene.subscribe(first, "t", 1);
    scene.cut(first);
    let publisher = scene.client(version, "publisher");
    scene.ask(publisher, &Publish::new(version, "t", "for the first").qos(1, 1).encode());
    let (second, connack) = scene.open(&Connect::new(version, "c"));
    assert!(!is_present(&connack));
    scene.publish(publisher, "t", "for nobody");
    scene.lives(second);
    // Nor is anything of the second one left.
    scene.subscribe(second, "u", 1);
    scene.cut(second);
    let (_, connack) = scene.open(&Connect { clean: false, ..Connect::new(version, "c") });
    assert!(!is_present(&connack));
}

fn taken_up(version: Version) {
    let mut scene = Scene::new();
    let connect = Connect::new(version, "c").resuming();
    let (first, _) = scene.open(&connect);
    scene.subscribe(first, "t", 2);
    scene.leave(first);
    let publisher = scene.client(version, "publisher");
    for (qos, payload) in [(1, "one"), (2, "two")] {
        scene.ask(publisher, &Publish::new(version, "t", payload).qos(qos, qos.into()).encode());
    }
    scene.wait(3000);
    let other = Connect { client_id: "other".into(), ..connect.clone() };
    assert!(!is_present(&scene.open(&other).1), "the name tells sessions apart");
    let client = scene.dial(version);
    let packets = scene.exchange(client, &connect.encode());
    assert!(is_present(&packets[0]));
    let texts: Vec<String> = packets[1..].iter().map(|packet| packet.publish().text()).collect();
    assert_eq!(texts, ["one", "two"]);
    // Its subscriptions are there, too.
    scene.publish(publisher, "t", "three");
    assert_eq!(scene.texts(client), ["three"]);
}

fn begun(version: Version) {
    let mut scene = Scene::new();
    let (client, connack) = scene.open(&Connect::new(version, "c").resuming());
    assert!(!is_present(&connack));
    scene.subscribe(client, "t", 0);
    scene.publish(client, "t", "x");
    assert_eq!(scene.texts(client), ["x"]);
}

fn acknowledged(version: Version) {
    let mut scene = Scene::new();
    let connect = Connect::new(version, "c").resuming();
    let (client, _) = scene.open(&connect);
    scene.subscribe(client, "t", 1);
    scene.cut(client);
    let publisher = scene.client(version, "publisher");
    scene.ask(publisher, &Publish::new(version, "t", "queued").qos(1, 1).encode());
    // All in one read, and a delivery waits: CONNACK is first, and there is one of it.
    let client = scene.dial(version);
    let bytes = [connect.encode(), wire::PINGREQ.to_vec(), subscribe(version, 1, &[("u", 0)])].concat();
    let packets = scene.exchange(client, &bytes);
    assert_eq!(packets.len(), 4, "{packets:?}");
    assert!(is_present(&packets[0]));
    let connacks = packets.iter().filter(|packet| matches!(packet, Packet::Connack { .. }));
    assert_eq!(connacks.count(), 1);
    // The bits beside Session Present are 0, and so is the reason.
    let client = scene.dial(version);
    scene.send(client, &connect.encode());
    assert_eq!(scene.bench.received(client.line)[2..4], [1, 0]);
    let client = scene.dial(version);
    scene.send(client, &Connect::new(version, "d").encode());
    assert_eq!(scene.bench.received(client.line)[2..4], [0, 0]);
}

fn refusals(version: Version, reasons: &[u8]) {
    let mut scene = Scene::new();
    // There is a session that would be present.
    let connect = Connect::new(version, "c").resuming();
    let (client, _) = scene.open(&connect);
    scene.cut(client);
    let too_long = Connect { client_id: "x".repeat(1025), ..connect.clone() };
    scene.refused(version, &too_long.encode(), Some(reasons[0]));
    scene.refused(version, &connect.login("nobody", "word").encode(), Some(reasons[1]));
}

fn maximum_packet() {
    let mqtt = protocol_mqtt::Config { packet_bytes_max: 1000, ..Default::default() };
    let mut scene = Scene::with(Setup { mqtt, ..Default::default() });
    let (client, connack) = scene.open(&Connect::new(V5, "c"));
    assert_eq!(connack.number(wire::MAXIMUM_PACKET), Some(1000));
    scene.subscribe(client, "t", 0);
    // With its fixed header of 3 bytes and 4 before the payload it is just small enough.
    scene.publish(client, "t", &"x".repeat(993));
    assert_eq!(scene.publishes(client)[0].len, 1000);
    scene.offend(client, &Publish::new(V5, "t", "x".repeat(994)).encode(), 0x95);
}

fn alias_over_maximum() {
    let mut scene = Scene::new();
    let (client, connack) = scene.open(&Connect::new(V5, "c"));
    let maximum = connack.number(wire::TOPIC_ALIAS_MAXIMUM).expect("a maximum") as u16;
    scene.send(client, &Publish::new(V5, "t", "p").with(two(wire::TOPIC_ALIAS, maximum)).encode());
    scene.lives(client);
    let over = Publish::new(V5, "t", "p").with(two(wire::TOPIC_ALIAS, maximum + 1));
    scene.offend(client, &over.encode(), 0x94);
}

fn alias_without_maximum() {
    let mqtt = protocol_mqtt::Config { topic_alias_maximum: 0, ..Default::default() };
    let mut scene = Scene::with(Setup { mqtt, ..Default::default() });
    let (client, connack) = scene.open(&Connect::new(V5, "c"));
    assert_eq!(connack.number(wire::TOPIC_ALIAS_MAXIMUM).unwrap_or(0), 0);
    scene.offend(client, &Publish::new(V5, "t", "p").with(two(wire::TOPIC_ALIAS, 1)).encode(), 0x94);
}

/// Whatever a refusal has to say, it is not larger than the client takes.
fn fits() {
    let mut scene = Scene::new();
    let refused =
        |maximum| Connect::new(V5, &"x".repeat(1025)).with(four(wire::MAXIMUM_PACKET, maximum)).encode();
    let mut spoke = false;
    for maximum in (5..300).rev() {
        let client = scene.dial(V5);
        scene.send(client, &refused(maximum));
        let bytes = scene.bench.received(client.line);
        assert!(bytes.len() as u32 <= maximum, "{} bytes of {maximum}", bytes.len());
        assert_eq!(bytes[3], 0x85);
        spoke |= bytes.len() > 5;
    }
    assert!(spoke, "there was a reason string where it fits");
    // The same for one that lets in: who takes so little gets nothing larger.
    for maximum in 1..60 {
        let client = scene.dial(V5);
        scene.send(client, &Connect::new(V5, "").with(four(wire::MAXIMUM_PACKET, maximum)).encode());
        let bytes = scene.bench.received(client.line);
        assert!(bytes.len() as u32 <= maximum, "{} bytes of {maximum}: {bytes:02x?}", bytes.len());
        assert!(!bytes.is_empty() || scene.is_closed(client), "neither answered nor closed");
    }
}

fn server_keep_alive() {
    let mqtt = protocol_mqtt::Config { keep_alive_secs_max: 10, ..Default::default() };
    let mut scene = Scene::with(Setup { mqtt, ..Default::default() });
    for asked in [60, 0] {
        let (client, connack) = scene.open(&Connect::new(V5, "c").keep_alive(asked));
        assert_eq!(connack.number(wire::SERVER_KEEP_ALIVE), Some(10));
        scene.wait_millis(14_999);
        scene.lives(client);
        scene.wait_millis(15_000);
        scene.dismissed(client, 0x8D);
    }
}

fn own_keep_alive() {
    let mut scene = Scene::new();
    let (client, connack) = scene.open(&Connect::new(V5, "c").keep_alive(7));
    assert!(!connack.has(wire::SERVER_KEEP_ALIVE));
    scene.wait_millis(10_499);
    scene.lives(client);
    scene.wait_millis(10_500);
    scene.dismissed(client, 0x8D);
}

fn response_information() {
    let mqtt =
        protocol_mqtt::Config { response_information: "answers/${clientid}".into(), ..Default::default() };
    let mut scene = Scene::with(Setup { mqtt, ..Default::default() });
    let asking = |value| Connect::new(V5, "c").with(wire::byte(wire::REQUEST_RESPONSE, value));
    for connect in [Connect::new(V5, "c"), asking(0)] {
        let (_, connack) = scene.open(&connect);
        assert!(!connack.has(wire::RESPONSE_INFORMATION), "{connack:?}");
    }
    let (_, connack) = scene.open(&asking(1));
    assert_eq!(connack.value(wire::RESPONSE_INFORMATION), Some(&Value::Text("answers/c".into())));
}
