//! Sections 3.4 to 3.7, 3.9 and 3.11: acknowledgements, their reasons, and what makes them larger.

use crate::Version::{self, V5};
use crate::packet::Packet;
use crate::scene::{Client, Scene};
use crate::wire::{self, Connect, Publish, acknowledgement, byte, four, packet, subscribe, unsubscribe};

conformance! {
    mqtt5_3_1_2_29_no_reasons_in_words_if_not_wanted: not_wanted();
    mqtt5_3_4_2_2_puback_fits_the_client also "3.4.2-3": fits(Kind::Puback);
    mqtt5_3_5_2_2_pubrec_fits_the_client also "3.5.2-3": fits(Kind::Pubrec);
    mqtt5_3_6_2_2_pubrel_fits_the_client also "3.6.2-3": fits(Kind::Pubrel);
    mqtt5_3_7_2_2_pubcomp_fits_the_client also "3.7.2-3": fits(Kind::Pubcomp);
    mqtt5_3_9_2_1_suback_fits_the_client also "3.9.2-2": fits(Kind::Suback);
    mqtt5_3_11_2_1_unsuback_fits_the_client also "3.11.2-2": fits(Kind::Unsuback);
    mqtt5_3_14_2_3_disconnect_fits_the_client also "3.14.2-4": fits(Kind::Disconnect);
    mqtt5_3_4_2_1_an_undefined_reason_of_puback_is_refused: undefined(0x40, &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]);
    mqtt5_3_5_2_1_an_undefined_reason_of_pubrec_is_refused: undefined(0x50, &[0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99]);
    mqtt5_3_6_2_1_an_undefined_reason_of_pubrel_is_refused: undefined(0x62, &[0x00, 0x92]);
    mqtt5_3_7_2_1_an_undefined_reason_of_pubcomp_is_refused: undefined(0x70, &[0x00, 0x92]);
    mqtt5_3_6_1_1_the_flags_of_pubrel_are_0010: flags(V5);
    mqtt311_3_6_1_1_the_flags_of_pubrel_are_0010: flags(V311);
    mqtt5_3_6_2_1_pubrel_says_whether_the_message_is_known also "3.7.2-1": unknown_identifiers();
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Puback,
    Pubrec,
    Pubrel,
    Pubcomp,
    Suback,
    Unsuback,
    Disconnect,
}

const KINDS: [Kind; 7] =
    [Kind::Puback, Kind::Pubrec, Kind::Pubrel, Kind::Pubcomp, Kind::Suback, Kind::Unsuback, Kind::Disconnect];

impl Kind {
    /// Bytes that are answered by such a packet with an error, if the kind has one.
    fn provocation(self) -> Vec<u8> {
        match self {
            Self::Puback => Publish::new(V5, "$SYS/x", "p").qos(1, 1).encode(),
            Self::Pubrec => Publish::new(V5, "$SYS/x", "p").qos(2, 1).encode(),
            Self::Pubrel => wire::pubrec(77),
            Self::Pubcomp => wire::pubrel(77),
            Self::Suback => subscribe(V5, 1, &[("a/#/b", 0)]),
            Self::Unsuback => unsubscribe(V5, 1, &["a/#/b"]),
            Self::Disconnect => Connect::new(V5, "second").encode(),
        }
    }
}

fn provoke(scene: &mut Scene, kind: Kind, connect: &Connect) -> (Packet, usize) {
    let (client, _) = scene.open(connect);
    scene.send(client, &kind.provocation());
    let bytes = scene.bench.received(client.line);
    assert!(!bytes.is_empty(), "{kind:?} was not sent");
    let packet = Packet::parse(V5, bytes[0], &bytes[2..]);
    (packet, bytes.len())
}

fn not_wanted() {
    let mut scene = Scene::new();
    for kind in KINDS {
        let connect = Connect::new(V5, "c").with(byte(wire::REQUEST_PROBLEM, 0));
        let (packet, _) = provoke(&mut scene, kind, &connect);
        // DISCONNECT may have them, but need not.
        let wordless = !packet.has(wire::REASON_STRING) && !packet.has(wire::USER);
        assert!(wordless || kind == Kind::Disconnect, "{packet:?}");
    }
}

/// What CONNACK takes here: who takes less is not let in.
const CONNACK_LEN: u32 = 20;

fn fits(kind: Kind) {
    let mut scene = Scene::new();
    let (_, free) = provoke(&mut scene, kind, &Connect::new(V5, "c"));
    println!("{kind:?}: {free} bytes");
    for maximum in CONNACK_LEN..=(free as u32).max(CONNACK_LEN) + 1 {
        let connect = Connect::new(V5, "c").with(four(wire::MAXIMUM_PACKET, maximum));
        let (packet, len) = provoke(&mut scene, kind, &connect);
        assert!(len as u32 <= maximum, "{len} bytes of {maximum}: {packet:?}");
    }
}

/// The reasons that are not among `defined` end the connection; these do not.
fn undefined(first: u8, defined: &[u8]) {
    let mut scene = Scene::new();
    for reason in 0..=u8::MAX {
        let client = scene.client(V5, "c");
        // Something that it may be about.
        scene.subscribe(client, "t", if first == 0x40 { 1 } else { 2 });
        scene.send(client, &Publish::new(V5, "t", "p").qos(2, 1).encode());
        if first == 0x70 {
            let id = the_delivery(&mut scene, client);
            scene.send(client, &wire::pubrec(id));
        }
        scene.take(client);
        scene.send(client, &acknowledgement(first, 1, reason, &[]));
        assert_eq!(scene.is_closed(client), !defined.contains(&reason), "{reason:#04x}");
        if scene.is_closed(client) {
            let packets = scene.take(client);
            let [Packet::Disconnect { reason: 0x81 | 0x82, .. }] = packets[..] else { panic!("{packets:?}") };
        }
    }
}

fn the_delivery(scene: &mut Scene, client: Client) -> u16 {
    let packets = scene.take(client);
    let id = packets.iter().find_map(|packet| match packet {
        Packet::Publish(publish) => Some(publish.id),
        _ => None,
    });
    id.unwrap_or_else(|| panic!("no delivery: {packets:?}"))
}

fn flags(version: Version) {
    let mut scene = Scene::new();
    for flags in (0..16).filter(|flags| *flags != 2) {
        let client = scene.client(version, "c");
        scene.ask(client, &Publish::new(version, "t", "p").qos(2, 1).encode());
        scene.offend(client, &packet(0x60 | flags, &[0, 1]), 0x81);
    }
    let client = scene.client(version, "c");
    scene.ask(client, &Publish::new(version, "t", "p").qos(2, 1).encode());
    assert_eq!(scene.ask(client, &wire::pubrel(1)).acknowledgement().kind, 7);
    // What the gateway sends has them, too.
    let client = scene.subscriber(version, "d", "t", 2);
    scene.send(client, &Publish::new(version, "t", "p").qos(2, 1).encode());
    let id = the_delivery(&mut scene, client);
    scene.send(client, &wire::pubrec(id));
    assert_eq!(scene.bench.received(client.line)[0], 0x62);
}

/// 0x92 is for those that are not known (MQTT 5.0 sections 3.6.2.1 and 3.7.2.1).
fn unknown_identifiers() {
    let mut scene = Scene::new();
    let client = scene.subscriber(V5, "c", "t", 2);
    assert_eq!(scene.ask(client, &wire::pubrec(9)).acknowledgement().reason, 0x92);
    assert_eq!(scene.ask(client, &wire::pubrel(9)).acknowledgement().reason, 0x92);
    scene.send(client, &Publish::new(V5, "t", "p").qos(2, 9).encode());
    let id = the_delivery(&mut scene, client);
    assert_eq!(scene.ask(client, &wire::pubrec(id)).acknowledgement().reason, 0x00);
    assert_eq!(scene.ask(client, &wire::pubrel(9)).acknowledgement().reason, 0x00);
}
