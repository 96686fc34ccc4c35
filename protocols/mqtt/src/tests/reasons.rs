//! What clients are told: reason strings, and where to go.

use std::time::Duration;

use gateway_model::{Event, Outcome, Reason, Refusal, Reply, Ticket};

use super::{Bench, CONNECT_5, CONNECT_5_TERSE, CONNECT_311, connect_5};
use crate::Config;
use crate::codec::{Header, Packet, Property, Version};

/// The reason and the reason string of the only packet in `bytes`.
fn told(bytes: &[u8]) -> (u8, Option<String>) {
    let header = Header::parse(bytes).unwrap().unwrap();
    assert_eq!(header.frame_len(), bytes.len());
    let (reason, properties) = match Packet::decode(Version::V5, header.first, &bytes[header.header_len..]) {
        Ok(Packet::Connack(packet)) => (packet.reason, packet.properties),
        Ok(Packet::Puback(packet) | Packet::Pubrec(packet)) => (packet.reason, packet.properties),
        Ok(Packet::Suback(packet)) => (packet.reasons[0], packet.properties),
        Ok(Packet::Unsuback(packet)) => (packet.reasons[0], packet.properties),
        Ok(Packet::Disconnect(packet)) => (packet.reason, packet.properties),
        other => panic!("{other:?}"),
    };
    let text = properties.iter().find_map(|property| match property {
        Property::ReasonString(text) => Some(text.to_owned()),
        _ => None,
    });
    (reason.code(), text)
}

/// An exchange that is refused, with a client that connected so.
fn refused(connect: &[u8], packet: &[u8]) -> (u8, Option<String>) {
    let mut bench = Bench::open(connect);
    bench.out.publish_outcome = Outcome::Done(Reason::QuotaExceeded);
    let answer = bench.exchange(packet);
    told(&answer)
}

const PUBLISH_1: &[u8] = b"\x32\x06\x00\x01a\x00\x01\x00";
const PUBLISH_2: &[u8] = b"\x34\x06\x00\x01a\x00\x01\x00";
const SUBSCRIBE: &[u8] = b"\x82\x08\x00\x02\x00\x00\x02a#\x00";
const UNSUBSCRIBE: &[u8] = b"\xa2\x07\x00\x02\x00\x00\x02a#";
const ALIAS_0: &[u8] = b"\x30\x07\x00\x01a\x03\x23\x00\x00";

#[test]
fn refusals_say_which_setting_to_change() {
    for (packet, code, word) in [
        (PUBLISH_1, 0x97, "[retained]"),
        (PUBLISH_2, 0x97, "[delayed]"),
        (SUBSCRIBE, 0x8F, "limits.topic_levels_max"),
        (UNSUBSCRIBE, 0x8F, "filter"),
        (ALIAS_0, 0x94, "mqtt.topic_alias_maximum"),
    ] {
        let (reason, text) = refused(CONNECT_5, packet);
        assert_eq!(reason, code);
        assert!(text.is_some_and(|text| text.contains(word)), "{packet:02x?}");
    }
}

#[test]
fn mqtt_3_1_2_29_no_reason_strings_for_those_that_do_not_want_them() {
    for packet in [PUBLISH_1, PUBLISH_2, SUBSCRIBE, UNSUBSCRIBE, ALIAS_0] {
        assert_eq!(refused(CONNECT_5_TERSE, packet).1, None);
    }
}

#[test]
fn mqtt_3_4_2_2_a_reason_string_never_makes_a_packet_too_large() {
    let with_text = |connect: &[u8], packet| refused(connect, packet).1.is_some();
    for packet in [PUBLISH_1, PUBLISH_2, SUBSCRIBE, UNSUBSCRIBE, ALIAS_0] {
        let limited = |maximum| connect_5(&[Property::MaximumPacketBytes(maximum)]);
        let smallest = (16..200).find(|maximum| with_text(&limited(*maximum), packet)).unwrap();
        let mut bench = Bench::open(&limited(smallest));
        bench.out.publish_outcome = Outcome::Done(Reason::QuotaExceeded);
        assert_eq!(bench.exchange(packet).len(), smallest as usize);
    }
}

#[test]
fn success_needs_no_text() {
    let mut bench = Bench::open(CONNECT_5);
    assert_eq!(bench.exchange(PUBLISH_1), b"\x40\x02\x00\x01");
    bench.exchange(b"\x82\x07\x00\x02\x00\x00\x01a\x00");
    let (ticket, _) = bench.out.requests.pop_front().unwrap();
    bench.reply(ticket, Reply::Subscribed(vec![Reason::Success]));
    assert_eq!(bench.out.take_bytes(), b"\x90\x04\x00\x02\x00\x00");
}

fn drained(config: &Config, connect: &[u8]) -> Vec<u8> {
    let mut bench = Bench::open_with(config.clone(), connect);
    bench.handle(Event::Evicted(Reason::ServerShuttingDown));
    assert_eq!(bench.closed_because(), Some(Reason::ServerShuttingDown));
    bench.out.take_bytes()
}

fn turned_away(config: &Config, connect: &[u8]) -> Vec<u8> {
    let mut bench = Bench::new(config.clone());
    bench.connect(connect);
    let refusal = Refusal { reason: Reason::ServerShuttingDown, text: "".into() };
    bench.reply(Ticket(0), Reply::Opened(Err(refusal)));
    bench.out.take_bytes()
}

#[test]
fn mqtt_4_11_a_gateway_that_shuts_down_says_where_to_go() {
    let other = Config { server_reference: "b:1883".into(), ..Config::default() };
    assert_eq!(drained(&other, CONNECT_5), b"\xe0\x0b\x9c\x09\x1c\x00\x06b:1883");
    assert_eq!(turned_away(&other, CONNECT_5), b"\x20\x0c\x00\x9c\x09\x1c\x00\x06b:1883");
    let moved = Config { server_moved: true, ..other.clone() };
    assert_eq!(drained(&moved, CONNECT_5), b"\xe0\x0b\x9d\x09\x1c\x00\x06b:1883");
    assert_eq!(turned_away(&moved, CONNECT_5), b"\x20\x0c\x00\x9d\x09\x1c\x00\x06b:1883");
    // A client that cannot take the reference is told the rest.
    let mut bench = Bench::open_with(
        Config { server_reference: "b".repeat(20), ..other.clone() },
        &connect_5(&[Property::MaximumPacketBytes(16)]),
    );
    bench.handle(Event::Evicted(Reason::ServerShuttingDown));
    assert_eq!(bench.out.take_bytes(), b"\xe0\x01\x9c");
    // 3.1.1 has no DISCONNECT from the server.
    assert_eq!(drained(&other, CONNECT_311), b"");
    assert_eq!(turned_away(&other, CONNECT_311), b"\x20\x02\x00\x03");
}

#[test]
fn without_a_reference_a_shutdown_is_just_that() {
    let moved = Config { server_moved: true, ..Config::default() };
    for config in [Config::default(), moved] {
        assert_eq!(drained(&config, CONNECT_5), b"\xe0\x01\x8b");
        assert_eq!(turned_away(&config, CONNECT_5), b"\x20\x03\x00\x88\x00");
    }
}

#[test]
fn other_reasons_lead_nowhere() {
    let config = Config { server_reference: "b:1883".into(), ..Config::default() };
    let mut bench = Bench::open_with(config, CONNECT_5_TERSE);
    bench.handle(Event::Evicted(Reason::SessionTakenOver));
    assert_eq!(bench.out.take_bytes(), b"\xe0\x01\x8e");
}

#[test]
fn a_client_that_did_nothing_wrong_is_told_what_happened() {
    let mut bench = Bench::open(CONNECT_5);
    bench.handle(Event::Evicted(Reason::SessionTakenOver));
    let (code, text) = told(&bench.out.take_bytes());
    assert_eq!((code, text.as_deref()), (0x8E, Some("another connection has the same client identifier")));
    let mut bench = Bench::open(CONNECT_5);
    bench.wait(Duration::from_secs(15));
    let (code, text) = told(&bench.out.take_bytes());
    assert!(code == 0x8D && text.is_some_and(|text| text.contains("mqtt.keep_alive_multiplier")));
}
