//! Chapters 1 and 2: text, numbers, flags and packet identifiers.

use crate::Version::{self, V5};
use crate::scene::{Client, Scene};
use crate::wire::{self, Connect, Publish, Will, packet, sized, subscribe, unsubscribe};

conformance! {
    mqtt5_1_5_4_1_ill_formed_text_is_malformed: everywhere(V5, ILL_FORMED);
    mqtt311_1_5_3_1_ill_formed_text_ends_the_connection: everywhere(V311, ILL_FORMED);
    mqtt5_1_5_4_2_text_with_u_0000_is_malformed: everywhere(V5, &[b"\0", b"a\0b"]);
    mqtt311_1_5_3_2_text_with_u_0000_ends_the_connection: everywhere(V311, &[b"\0", b"a\0b"]);
    mqtt5_1_5_4_3_a_byte_order_mark_is_a_character: byte_order_mark(V5);
    mqtt311_1_5_3_3_a_byte_order_mark_is_a_character: byte_order_mark(V311);
    mqtt5_1_5_5_1_numbers_are_not_padded: padded_numbers();
    mqtt5_1_5_7_1_both_halves_of_a_pair_are_text: pairs();
    mqtt5_2_1_3_1_reserved_flags_are_as_listed: reserved_flags(V5);
    mqtt311_2_2_2_1_reserved_flags_are_as_listed also "2.2.2-2": reserved_flags(V311);
    mqtt5_2_2_1_2_no_identifier_at_qos_0: no_identifier(V5);
    mqtt311_2_3_1_5_no_identifier_at_qos_0: no_identifier(V311);
    mqtt5_2_2_1_3_no_identifier_is_0: identifier_0(V5);
    mqtt311_2_3_1_1_no_identifier_is_0: identifier_0(V311);
    mqtt5_2_2_1_4_identifiers_of_deliveries_are_unused also "4.3.2-1", "4.3.3-1": unused_identifiers(V5);
    mqtt311_2_3_1_4_identifiers_of_deliveries_are_unused: unused_identifiers(V311);
    mqtt5_2_2_1_5_acknowledgements_name_their_publish: acknowledgements(V5);
    mqtt311_2_3_1_6_acknowledgements_name_their_publish: acknowledgements(V311);
    mqtt5_2_2_1_6_suback_and_unsuback_name_their_request: replies(V5);
    mqtt311_2_3_1_7_suback_and_unsuback_name_their_request: replies(V311);
    mqtt5_2_2_2_1_no_properties_are_a_length_of_0: property_length();
}

/// A stray byte, a cut character, an overlong one, both halves of a surrogate pair, one too high.
pub const ILL_FORMED: &[&[u8]] = &[
    b"a\xFF",
    b"\x80",
    b"\xE2\x82",
    b"\xC0\x80",
    b"\xE0\x80\xAF",
    b"\xED\xA0\x80",
    b"a\xED\xBF\xBFb",
    b"\xF4\x90\x80\x80",
];

/// Packets with a text that the client chose, in a CONNECT or after it.
pub fn texts(version: Version, text: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let connect = Connect::new(version, "texts");
    let will = |topic: &[u8]| Will { topic: topic.to_vec(), ..Will::new("t", "p") };
    let mut packets = vec![
        ("client identifier", connect.encode_with(connect.flags(), &sized(text))),
        ("will topic", connect.clone().will(will(text)).encode()),
        ("user name", Connect { username: Some(text.to_vec()), ..connect.clone() }.encode()),
        ("topic", Publish { topic: text.to_vec(), ..Publish::new(version, "", "p") }.encode()),
    ];
    let properties: &[u8] = if version == V5 { &[0] } else { &[] };
    let request = |first, tail: &[u8]| packet(first, &[&[0, 9], properties, &sized(text), tail].concat());
    packets.push(("filter to subscribe to", request(0x82, &[0])));
    packets.push(("filter to unsubscribe from", request(0xA2, &[])));
    if version == V5 {
        let published = |property| Publish::new(V5, "t", "p").with(property).encode();
        let pair = |key: &[u8], value: &[u8]| [vec![wire::USER], sized(key), sized(value)].concat();
        let reason = wire::text(wire::REASON_STRING, text);
        packets.extend([
            ("content type", published(wire::text(wire::CONTENT_TYPE, text))),
            ("response topic", published(wire::text(wire::RESPONSE_TOPIC, text))),
            ("key of a user property", published(pair(text, b"v"))),
            ("value of a user property", published(pair(b"k", text))),
            ("user property of CONNECT", connect.clone().with(pair(b"k", text)).encode()),
            (
                "user property of a will",
                connect.clone().will(Will::new("t", "p").with(pair(text, b""))).encode(),
            ),
            ("content type of a will", {
                let will = Will::new("t", "p").with(wire::text(wire::CONTENT_TYPE, text));
                connect.clone().will(will).encode()
            }),
            ("authentication method", connect.with(wire::text(wire::AUTHENTICATION_METHOD, text)).encode()),
            ("reason string", wire::disconnect(0, &reason)),
            ("reason string of PUBACK", wire::acknowledgement(0x40, 1, 0, &reason)),
        ]);
    }
    packets
}

/// Sends a packet, on a connection of its own or, if it is a CONNECT, as its first.
fn offer(scene: &mut Scene, version: Version, bytes: &[u8], reason: u8) {
    if bytes[0] == 0x10 {
        return scene.refused(version, bytes, (version == V5).then_some(reason));
    }
    let client = scene.client(version, "offering");
    scene.offend(client, bytes, reason);
}

fn everywhere(version: Version, bad: &[&[u8]]) {
    let mut scene = Scene::new();
    let other = scene.subscriber(version, "other", "#", 0);
    for text in bad {
        for (place, bytes) in texts(version, text) {
            println!("{place}: {text:02x?}");
            offer(&mut scene, version, &bytes, 0x81);
        }
    }
    scene.lives(other);
}

fn byte_order_mark(version: Version) {
    let mut scene = Scene::new();
    let marked = scene.subscriber(version, "marked", "\u{FEFF}a", 0);
    let plain = scene.subscriber(version, "plain", "a", 0);
    scene.publish(marked, "\u{FEFF}a", "x");
    assert_eq!(scene.publishes(marked)[0].topic.as_bytes(), b"\xEF\xBB\xBFa");
    scene.nothing(plain);
}

fn padded_numbers() {
    let mut scene = Scene::new();
    let padded: [&[u8]; 5] = [
        b"\xC0\x80\x00",
        b"\xC0\x80\x80\x80\x00",
        // The length of the packet, then that of the properties, then a subscription identifier.
        b"\x30\x84\x00\x00\x01t\x00",
        b"\x30\x05\x00\x01t\x80\x00",
        b"\x82\x0A\x00\x01\x03\x0B\x81\x00\x00\x01t\x00",
    ];
    for bytes in padded {
        let client = scene.client(V5, "padding");
        scene.offend(client, bytes, 0x81);
    }
    // Five bytes are none at all.
    let client = scene.client(V5, "padding");
    scene.offend(client, b"\x30\xFF\xFF\xFF\xFF\x01", 0x81);
    // What the gateway sends is not padded either: 127 and 128 bytes of body.
    for len in [122, 123, 16_377, 16_378] {
        let client = scene.subscriber(V5, "reading", "t", 0);
        scene.publish(client, "t", &"x".repeat(len));
        let bytes = scene.bench.received(client.line);
        let body = len + 4;
        assert_eq!(bytes[1..].to_vec()[..wire::variable(body as u32).len()], wire::variable(body as u32)[..]);
        assert_eq!(bytes.len(), 1 + wire::variable(body as u32).len() + body);
    }
}

fn pairs() {
    let mut scene = Scene::new();
    for text in ILL_FORMED.iter().chain([&&b"\0"[..]]) {
        for (key, value) in [(*text, &b"v"[..]), (b"k", *text)] {
            let pair = [vec![wire::USER], sized(key), sized(value)].concat();
            offer(&mut scene, V5, &Publish::new(V5, "t", "p").with(pair.clone()).encode(), 0x81);
            offer(&mut scene, V5, &Connect::new(V5, "pairs").with(pair).encode(), 0x81);
        }
    }
    // And what is passed on is still a pair.
    let client = scene.subscriber(V5, "c", "t", 0);
    scene.send(client, &Publish::new(V5, "t", "p").with(wire::user("\u{FEFF}k", "ü")).encode());
    let values = scene.publishes(client)[0].all(wire::USER);
    assert_eq!(values, [crate::packet::Value::Pair("\u{FEFF}k".into(), "ü".into())]);
}

/// What a client may send after CONNECT, with a body that is right.
pub fn proper(version: Version) -> Vec<(&'static str, Vec<u8>)> {
    let mut packets = vec![
        ("PUBACK", wire::puback(7)),
        ("PUBREC", wire::pubrec(7)),
        ("PUBREL", wire::pubrel(7)),
        ("PUBCOMP", wire::pubcomp(7)),
        ("SUBSCRIBE", subscribe(version, 7, &[("t", 0)])),
        ("UNSUBSCRIBE", unsubscribe(version, 7, &["t"])),
        ("PINGREQ", wire::PINGREQ.to_vec()),
        ("DISCONNECT", wire::GOODBYE.to_vec()),
    ];
    if version == V5 {
        packets.push(("AUTH", wire::auth(0x19, &wire::text(wire::AUTHENTICATION_METHOD, "m"))));
    }
    packets
}

fn reserved_flags(version: Version) {
    let mut scene = Scene::new();
    for (name, bytes) in proper(version) {
        for flags in (0..16).filter(|flags| bytes[0] & 0x0F != *flags) {
            println!("{name} with {flags:#06b}");
            let mut wrong = bytes.clone();
            wrong[0] = wrong[0] & 0xF0 | flags;
            let client = scene.client(version, "flags");
            scene.offend(client, &wrong, 0x81);
        }
    }
    for flags in 1..16 {
        let mut connect = Connect::new(version, "flags").encode();
        connect[0] |= flags;
        scene.refused(version, &connect, None);
    }
}

fn no_identifier(version: Version) {
    let mut scene = Scene::new();
    let client = scene.subscriber(version, "c", "t", 2);
    // What would be an identifier is payload.
    scene.publish(client, "t", "\0\u{1}x");
    let properties: &[u8] = if version == V5 { &[0] } else { &[] };
    let body = [b"\x00\x01t", properties, b"\0\x01x"].concat();
    assert_eq!(scene.bench.received(client.line), packet(0x30, &body));
}

fn identifier_0(version: Version) {
    let mut scene = Scene::new();
    let packets = [
        subscribe(version, 0, &[("t", 0)]),
        unsubscribe(version, 0, &["t"]),
        Publish::new(version, "t", "p").qos(1, 0).encode(),
        Publish::new(version, "t", "p").qos(2, 0).encode(),
    ];
    let reader = scene.subscriber(version, "reader", "t", 0);
    for bytes in packets {
        let client = scene.client(version, "zero");
        scene.offend(client, &bytes, 0x82);
    }
    scene.nothing(reader);
}

/// All 65,535 identifiers go by while one of them stays in use.
fn unused_identifiers(version: Version) {
    const BATCH: u16 = 200;
    let mut scene = Scene::new();
    let receiver = scene.subscriber(version, "receiver", "t", 2);
    let sender = scene.client(version, "sender");
    scene.send(sender, &Publish::new(version, "t", "kept").qos(1, 1).encode());
    let kept = scene.publishes(receiver)[0].id;
    assert_ne!(kept, 0);
    let mut seen = std::collections::HashSet::new();
    let batch: Vec<u8> =
        (1..=BATCH).flat_map(|id| Publish::new(version, "t", "x").qos(1, id).encode()).collect();
    for _ in 0..=65_536 / u32::from(BATCH) {
        scene.send(sender, &batch);
        let ids: Vec<u16> = scene.publishes(receiver).iter().map(|publish| publish.id).collect();
        assert_eq!(ids.len(), usize::from(BATCH));
        let unique: std::collections::HashSet<u16> = ids.iter().copied().collect();
        assert_eq!(unique.len(), ids.len(), "given twice at a time");
        assert!(!unique.contains(&kept), "{kept} is still in use");
        seen.extend(unique);
        let acknowledgements: Vec<u8> = ids.into_iter().flat_map(wire::puback).collect();
        scene.send(receiver, &acknowledgements);
    }
    assert!(seen.len() > 256, "{} identifiers", seen.len());
}

fn acknowledgements(version: Version) {
    let mut scene = Scene::new();
    let client = scene.subscriber(version, "c", "t", 2);
    let id = |packet: crate::packet::Packet, kind| {
        let acknowledgement = packet.acknowledgement().clone();
        assert_eq!(acknowledgement.kind, kind);
        acknowledgement.id
    };
    for used in [1, 0x1234, u16::MAX] {
        assert_eq!(id(scene.ask(client, &Publish::new(version, "u", "p").qos(1, used).encode()), 4), used);
        assert_eq!(id(scene.ask(client, &Publish::new(version, "u", "p").qos(2, used).encode()), 5), used);
        assert_eq!(id(scene.ask(client, &wire::pubrel(used)), 7), used);
    }
    scene.send(client, &Publish::new(version, "t", "p").qos(2, 5).encode());
    let delivered = delivered(&mut scene, client);
    assert_eq!(id(scene.ask(client, &wire::pubrec(delivered)), 6), delivered);
}

/// The identifier of the one delivery among what has come.
fn delivered(scene: &mut Scene, client: Client) -> u16 {
    let packets = scene.take(client);
    let ids: Vec<u16> = packets
        .iter()
        .filter_map(|packet| match packet {
            crate::packet::Packet::Publish(publish) => Some(publish.id),
            _ => None,
        })
        .collect();
    assert_eq!(ids.len(), 1, "{packets:?}");
    ids[0]
}

fn replies(version: Version) {
    use crate::packet::Packet::{Suback, Unsuback};
    let mut scene = Scene::new();
    let client = scene.client(version, "c");
    for used in [1, 0x1234, u16::MAX] {
        let Suback { id, .. } = scene.ask(client, &subscribe(version, used, &[("t", 0)])) else { panic!() };
        assert_eq!(id, used);
        let Unsuback { id, .. } = scene.ask(client, &unsubscribe(version, used, &["t"])) else { panic!() };
        assert_eq!(id, used);
    }
}

fn property_length() {
    let mut scene = Scene::new();
    let client = scene.client(V5, "c");
    scene.send(client, &subscribe(V5, 1, &[("t", 0)]));
    assert_eq!(scene.bench.received(client.line), b"\x90\x04\x00\x01\x00\x00");
    scene.send(client, &Publish::new(V5, "t", "p").encode());
    assert_eq!(scene.bench.received(client.line), b"\x30\x05\x00\x01t\x00p");
    scene.send(client, &unsubscribe(V5, 2, &["t"]));
    assert_eq!(scene.bench.received(client.line), b"\xB0\x04\x00\x02\x00\x00");
    // A client that leaves it out has sent a packet that is too short.
    scene.offend(client, b"\x30\x03\x00\x01t", 0x81);
}
