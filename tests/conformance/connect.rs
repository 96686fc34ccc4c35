//! Section 3.1: CONNECT. Wills have their own file.

use crate::Version::{self, V5, V311};
use crate::packet::Packet;
use crate::scene::{NAME, PASSWORD, Scene};
use crate::wire::{self, Connect, Publish, Will, four, packet, sized};

conformance! {
    mqtt5_3_1_0_1_the_first_packet_is_connect: the_first_packet(V5);
    mqtt311_3_1_0_1_the_first_packet_is_connect: the_first_packet(V311);
    mqtt5_3_1_0_2_a_second_connect_is_a_protocol_error: a_second_connect(V5);
    mqtt311_3_1_0_2_a_second_connect_ends_the_connection: a_second_connect(V311);
    mqtt5_3_1_2_1_another_protocol_name_is_not_served: protocol_name(V5);
    mqtt311_3_1_2_1_another_protocol_name_is_not_served: protocol_name(V311);
    mqtt5_3_1_2_2_another_version_is_not_served: level(V5);
    mqtt311_3_1_2_2_another_level_is_answered_with_1: level(V311);
    mqtt5_3_1_2_3_the_reserved_flag_is_malformed: reserved_flag(V5);
    mqtt311_3_1_2_3_the_reserved_flag_ends_the_connection: reserved_flag(V311);
    mqtt5_3_1_2_9_a_will_flag_without_a_will: will_flag_without_will(V5);
    mqtt311_3_1_2_9_a_will_flag_without_a_will: will_flag_without_will(V311);
    mqtt5_3_1_2_11_will_qos_without_a_will also "3.1.2-13": will_bits_without_will(V5);
    mqtt311_3_1_2_11_will_bits_or_fields_without_a_will also "3.1.2-13", "3.1.2-15": will_bits_without_will(V311);
    mqtt5_3_1_2_12_will_qos_3: will_qos_3(V5);
    mqtt311_3_1_2_14_will_qos_3: will_qos_3(V311);
    mqtt5_3_1_2_16_no_user_name_without_its_flag also "3.1.2-18": fields_without_flags(V5);
    mqtt311_3_1_2_18_no_user_name_without_its_flag also "3.1.2-20": fields_without_flags(V311);
    mqtt5_3_1_2_17_a_user_name_with_its_flag also "3.1.2-19": flags_without_fields(V5);
    mqtt311_3_1_2_19_a_user_name_with_its_flag also "3.1.2-21": flags_without_fields(V311);
    mqtt311_3_1_2_22_no_password_without_a_user_name: password_alone_311();
    mqtt5_3_1_2_19_a_password_may_stand_alone: password_alone_5();
    mqtt5_3_1_2_22_silence_is_one_and_a_half_keep_alives: keep_alive(V5);
    mqtt311_3_1_2_24_silence_is_one_and_a_half_keep_alives: keep_alive(V311);
    mqtt5_3_1_3_1_the_payload_has_its_order: payload_order(V5);
    mqtt311_3_1_3_1_the_payload_has_its_order: payload_order(V311);
    mqtt5_3_1_3_3_the_client_identifier_is_there: no_client_id_field(V5);
    mqtt311_3_1_3_3_the_client_identifier_is_there: no_client_id_field(V311);
    mqtt5_3_1_3_4_the_client_identifier_is_text: ill_formed(V5, "client identifier");
    mqtt311_3_1_3_4_the_client_identifier_is_text: ill_formed(V311, "client identifier");
    mqtt5_3_1_3_11_the_will_topic_is_text: ill_formed(V5, "will topic");
    mqtt311_3_1_3_10_the_will_topic_is_text: ill_formed(V311, "will topic");
    mqtt5_3_1_3_12_the_user_name_is_text: ill_formed(V5, "user name");
    mqtt311_3_1_3_11_the_user_name_is_text: ill_formed(V311, "user name");
    mqtt5_3_1_3_5_letters_and_digits_are_client_identifiers: letters_and_digits(V5);
    mqtt311_3_1_3_5_letters_and_digits_are_client_identifiers: letters_and_digits(V311);
    mqtt5_3_1_3_6_an_unnamed_client_gets_a_name also "3.1.3-7", "3.2.2-16": unnamed_5();
    mqtt311_3_1_3_6_an_unnamed_client_is_served: unnamed_311();
    mqtt311_3_1_3_7_an_unnamed_client_must_start_clean also "3.1.3-8": unnamed_not_clean();
    mqtt5_3_1_3_8_a_refused_client_identifier_is_named: refused_client_id(V5, 0x85);
    mqtt311_3_1_3_9_a_refused_client_identifier_is_named: refused_client_id(V311, 0x02);
    mqtt5_3_1_4_1_a_wrong_connect_ends_the_connection: wrong_connects(V5);
    mqtt311_3_1_4_1_a_wrong_connect_is_not_answered also "3.2.2-6": wrong_connects(V311);
    mqtt5_3_1_4_2_who_fails_a_check_is_refused: wrong_password(V5, 0x86);
    mqtt5_3_1_4_3_the_earlier_connection_is_told_and_closed: takeover(V5);
    mqtt311_3_1_4_2_the_earlier_connection_is_closed: takeover(V311);
    mqtt5_3_1_4_6_nothing_is_handled_after_a_refusal: after_a_refusal(V5, 0x85);
    mqtt311_3_1_4_5_nothing_is_handled_after_a_refusal: after_a_refusal(V311, 0x02);
}

/// A CONNECT with another name or level than the version's.
fn connect_as(version: Version, name: &str, level: u8) -> Vec<u8> {
    let mut body = sized(name);
    body.extend([level, 2, 0, 0]);
    if version == V5 {
        body.push(0);
    }
    body.extend(sized("named"));
    packet(0x10, &body)
}

fn the_first_packet(version: Version) {
    let mut scene = Scene::new();
    let mut others = crate::format::proper(version);
    others.extend([
        ("PUBLISH", Publish::new(version, "t", "p").encode()),
        ("CONNACK", packet(0x20, b"\0\0")),
        ("SUBACK", packet(0x90, b"\0\x01\0")),
        ("UNSUBACK", packet(0xB0, b"\0\x01")),
        ("PINGRESP", packet(0xD0, b"")),
        ("type 0", packet(0x00, b"")),
        ("type 15", packet(0xF0, b"")),
    ]);
    let reader = scene.subscriber(version, "reader", "t", 0);
    for (name, bytes) in others {
        println!("{name}");
        scene.refused(version, &bytes, None);
    }
    scene.nothing(reader);
}

fn a_second_connect(version: Version) {
    let mut scene = Scene::new();
    for name in ["c", "another"] {
        let client = scene.client(version, "c");
        scene.offend(client, &Connect::new(version, name).encode(), 0x82);
    }
}

fn protocol_name(version: Version) {
    let mut scene = Scene::new();
    for name in ["mqtt", "MQTX", "MQTTT", "MQT", "", "HTTP"] {
        let client = scene.dial(version);
        scene.send(client, &connect_as(version, name, version.level()));
        let answer = scene.bench.received(client.line);
        assert!(answer.is_empty() || answer == b"\x20\x03\x00\x84\x00", "{name}: {answer:02x?}");
        assert!(scene.is_closed(client));
    }
}

fn level(version: Version) {
    let mut scene = Scene::new();
    for level in [0, 2, 6, 7, 0x7F, 0xFF] {
        let client = scene.dial(version);
        scene.send(client, &connect_as(version, "MQTT", level));
        let answer = scene.bench.received(client.line);
        // Whoever speaks 3.1.1 only must be told in its own words; 5.0 may be told in its.
        let told_5 = level > 5 && answer.starts_with(b"\x20") && answer[2..4] == [0, 0x84];
        assert!(told_5 || answer == b"\x20\x02\x00\x01", "{level}: {answer:02x?}");
        assert!(scene.is_closed(client));
    }
}

fn reserved_flag(version: Version) {
    let mut scene = Scene::new();
    let connect = Connect::new(version, "c");
    let bytes = connect.encode_with(connect.flags() | 1, &connect.payload());
    scene.refused(version, &bytes, (version == V5).then_some(0x81));
}

/// A CONNECT whose flags and payload do not fit each other.
fn misfit(scene: &mut Scene, version: Version, flags: u8, payload: &[u8]) {
    println!("{flags:#010b}");
    let bytes = Connect::new(version, "misfit").encode_with(flags, payload);
    scene.refused(version, &bytes, (version == V5).then_some(0x81));
}

fn will_flag_without_will(version: Version) {
    let mut scene = Scene::new();
    let full = Connect::new(version, "c").will(Will::new("will", "gone"));
    let payload = full.payload();
    // Every part of it may be what is missing.
    for len in sized("c").len()..payload.len() {
        misfit(&mut scene, version, full.flags(), &payload[..len]);
    }
    scene.open(&full);
}

fn will_bits_without_will(version: Version) {
    let mut scene = Scene::new();
    for bits in [0x08, 0x10, 0x18, 0x20, 0x28] {
        misfit(&mut scene, version, 0x02 | bits, &sized("c"));
    }
    let full = Connect::new(version, "c").will(Will::new("will", "gone"));
    misfit(&mut scene, version, 0x02, &full.payload());
}

fn will_qos_3(version: Version) {
    let mut scene = Scene::new();
    let full = Connect::new(version, "c").will(Will::new("will", "gone"));
    for retain in [0, 0x20] {
        misfit(&mut scene, version, 0x02 | 0x04 | 0x18 | retain, &full.payload());
    }
}

fn fields_without_flags(version: Version) {
    let mut scene = Scene::new();
    let login = Connect::new(version, "c").login("u", "p");
    misfit(&mut scene, version, 0x02, &login.payload());
    misfit(&mut scene, version, 0x82, &login.payload());
    let name_only = [sized("c"), sized("u")].concat();
    misfit(&mut scene, version, 0x02, &name_only);
}

fn flags_without_fields(version: Version) {
    let mut scene = Scene::new();
    misfit(&mut scene, version, 0x82, &sized("c"));
    misfit(&mut scene, version, 0xC2, &sized("c"));
    misfit(&mut scene, version, 0xC2, &[sized("c"), sized("u")].concat());
    misfit(&mut scene, version, 0xC2, &[sized("c"), sized("u"), vec![0, 5, b'p']].concat());
}

fn password_alone_311() {
    let mut scene = Scene::new();
    misfit(&mut scene, V311, 0x42, &[sized("c"), sized("p")].concat());
}

fn password_alone_5() {
    let mut scene = Scene::new();
    let connect = Connect { password: Some(b"p".to_vec()), ..Connect::new(V5, "c") };
    scene.open(&connect);
}

fn keep_alive(version: Version) {
    let mut scene = Scene::new();
    let watcher = scene.subscriber(version, "watcher", "will", 0);
    let will = Will::new("will", "gone");
    let connect = |id: &str| Connect::new(version, id).keep_alive(10).will(will.clone());
    let (client, _) = scene.open(&connect("c"));
    scene.wait_millis(14_999);
    scene.nothing(client);
    assert!(!scene.is_closed(client));
    scene.wait_millis(1);
    scene.dismissed(client, 0x8D);
    // As if the network had failed: the will is published.
    assert_eq!(scene.texts(watcher), ["gone"]);

    // Any packet counts, a part of one does not.
    let (client, _) = scene.open(&connect("c"));
    for packet in [wire::PINGREQ.to_vec(), Publish::new(version, "t", "p").encode(), wire::puback(9)] {
        scene.wait_millis(14_999);
        scene.send(client, &packet);
    }
    scene.take(client);
    scene.wait_millis(14_999);
    scene.send(client, &wire::PINGREQ[..1]);
    scene.wait_millis(1);
    scene.dismissed(client, 0x8D);

    // Without a keep-alive silence may last.
    let client = scene.client(version, "silent");
    scene.wait(1_000_000);
    scene.lives(client);
}

fn payload_order(version: Version) {
    let mut scene = Scene::new();
    let watcher = scene.open(&Connect::new(version, "watcher").login(NAME, PASSWORD)).0;
    scene.subscribe(watcher, "topic", 0);
    let connect = Connect::new(version, "c").will(Will::new("topic", "message")).login(NAME, PASSWORD);
    let (client, _) = scene.open(&connect);
    scene.cut(client);
    assert_eq!(scene.texts(watcher), ["message"]);
    // In another order they are other fields: the password is wrong.
    let swapped = [sized("c"), sized(PASSWORD), sized(NAME)].concat();
    let refusal = if version == V5 { 0x86 } else { 0x04 };
    scene.refused(version, &connect.encode_with(0xC2, &swapped), Some(refusal));
}

fn no_client_id_field(version: Version) {
    let mut scene = Scene::new();
    misfit(&mut scene, version, 0x02, b"");
    misfit(&mut scene, version, 0x02, b"\0");
}

fn ill_formed(version: Version, place: &str) {
    let mut scene = Scene::new();
    for text in crate::format::ILL_FORMED {
        let packets = crate::format::texts(version, text);
        let (_, bytes) = packets.iter().find(|(name, _)| *name == place).expect("a place");
        scene.refused(version, bytes, (version == V5).then_some(0x81));
    }
}

fn letters_and_digits(version: Version) {
    let mut scene = Scene::new();
    let all = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for start in 0..all.len() {
        let name: String = all.chars().cycle().skip(start).take(1 + start % 23).collect();
        scene.client(version, &name);
    }
    scene.client(version, &all[..23]);
}

fn unnamed_5() {
    let mut scene = Scene::new();
    let mut names = std::collections::HashSet::new();
    for clean in [true, false, true] {
        let connect = Connect { clean, ..Connect::new(V5, "") }.with(four(wire::SESSION_EXPIRY, 60));
        let (client, connack) = scene.open(&connect);
        let Some(crate::packet::Value::Text(name)) = connack.value(wire::ASSIGNED_CLIENT_ID) else {
            panic!("no name: {connack:?}");
        };
        assert!(!name.is_empty());
        assert!(names.insert(name.clone()), "{name} twice");
        // It is as if the client had sent it: under that name its session is found again.
        scene.subscribe(client, "t", 1);
        scene.cut(client);
        let again = Connect { clean: false, ..Connect::new(V5, name) };
        let (_, connack) = scene.open(&again);
        assert!(matches!(connack, Packet::Connack { session_present: true, .. }), "{connack:?}");
        assert!(!connack.has(wire::ASSIGNED_CLIENT_ID), "it has a name");
    }
}

fn unnamed_311() {
    let mut scene = Scene::new();
    let (first, _) = scene.open(&Connect::new(V311, ""));
    let (second, _) = scene.open(&Connect::new(V311, ""));
    scene.subscribe(first, "t", 0);
    scene.publish(second, "t", "x");
    assert_eq!(scene.texts(first), ["x"]);
    // Two names: neither took the other's place.
    scene.lives(first);
    scene.lives(second);
}

fn unnamed_not_clean() {
    let mut scene = Scene::new();
    let connect = Connect { clean: false, ..Connect::new(V311, "") };
    scene.refused(V311, &connect.encode(), Some(0x02));
}

fn refused_client_id(version: Version, reason: u8) {
    let mut scene = Scene::new();
    for name in ["x".repeat(1025), "$SYS".into()] {
        scene.refused(version, &Connect::new(version, &name).encode(), Some(reason));
    }
    scene.client(version, &"x".repeat(1024));
}

fn wrong_connects(version: Version) {
    let mut scene = Scene::new();
    let right = Connect::new(version, "c").will(Will::new("will", "gone")).login("u", "p");
    let payload = right.payload();
    let mut wrong = vec![right.encode_with(right.flags(), &[&payload[..], b"x"].concat())];
    wrong.extend((0..payload.len()).map(|len| right.encode_with(right.flags(), &payload[..len])));
    // Cut off within the variable header, the flags and keep-alive.
    let header = &right.encode()[2..];
    wrong.extend((0..10).map(|len| packet(0x10, &header[..len])));
    for bytes in wrong {
        let client = scene.dial(version);
        let packets = scene.exchange(client, &bytes);
        match &packets[..] {
            [] => {}
            [Packet::Connack { reason: 0x81, .. }] if version == V5 => {}
            _ => panic!("{packets:?} to {bytes:02x?}"),
        }
        assert!(scene.is_closed(client), "{bytes:02x?}");
    }
    if version == V5 {
        let zero = [
            wire::two(wire::RECEIVE_MAXIMUM, 0),
            four(wire::MAXIMUM_PACKET, 0),
            wire::byte(wire::REQUEST_PROBLEM, 2),
            wire::byte(wire::REQUEST_RESPONSE, 2),
            [four(wire::SESSION_EXPIRY, 1), four(wire::SESSION_EXPIRY, 1)].concat(),
            wire::text(wire::AUTHENTICATION_DATA, "without a method"),
        ];
        for property in zero {
            scene.refused(V5, &Connect::new(V5, "c").with(property).encode(), Some(0x82));
        }
    }
}

fn wrong_password(version: Version, reason: u8) {
    let mut scene = Scene::new();
    for (name, password) in [(NAME, "wrong"), ("unknown", PASSWORD), (NAME, "")] {
        scene.refused(version, &Connect::new(version, "c").login(name, password).encode(), Some(reason));
    }
    scene.open(&Connect::new(version, "c").login(NAME, PASSWORD));
}

fn takeover(version: Version) {
    let mut scene = Scene::new();
    let first = scene.client(version, "same");
    let second = scene.client(version, "same");
    scene.dismissed(first, 0x8E);
    scene.lives(second);
    // Also one whose socket is stuck.
    let reader = scene.subscriber(version, "reader", "t", 0);
    scene.bench.stall(reader.line, true);
    scene.publish(second, "t", &"x".repeat(1000));
    let next = scene.client(version, "reader");
    scene.lives(next);
    scene.bench.stall(reader.line, false);
    assert!(scene.is_closed(reader));
}

fn after_a_refusal(version: Version, reason: u8) {
    let mut scene = Scene::new();
    let reader = scene.subscriber(version, "reader", "t", 0);
    let mut bytes = Connect::new(version, &"x".repeat(1025)).encode();
    bytes.extend(Publish::new(version, "t", "smuggled").encode());
    bytes.extend(wire::PINGREQ);
    scene.refused(version, &bytes, Some(reason));
    scene.nothing(reader);
}
