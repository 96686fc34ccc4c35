use std::num::NonZeroU16;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway_model::{
    ClientId, DeliveryId, Identifiers, Message, Outgoing, PayloadFormat, Properties, Qos, Reason, Settled,
    Settlement, Topic, WireBuffer,
};

use super::{Bench, CONNECT_5, CONNECT_311};
use crate::codec::{Header, Packet, Property, Version};

fn id(number: u16) -> DeliveryId {
    NonZeroU16::new(number).unwrap()
}

pub(super) fn message(payload: impl Into<Bytes>) -> Message {
    Message {
        topic: Topic::parse("t/1").unwrap(),
        payload: payload.into(),
        properties: None,
        publisher: ClientId::parse("p").unwrap(),
        accepted_unix_millis: 0.into(),
        expires_at: None,
        qos: Qos::AtMostOnce,
        retain: false,
        stored: Default::default(),
    }
}

pub(super) fn outgoing(message: Message) -> Outgoing {
    Outgoing {
        message: Arc::new(message),
        id: None,
        qos: Qos::AtMostOnce,
        retain: false,
        duplicate: false,
        released: false,
        mount_len: 0,
        identifiers: Identifiers::None,
    }
}

pub(super) fn numbered(message: Message, number: u16, qos: Qos) -> Outgoing {
    Outgoing { id: Some(id(number)), qos, ..outgoing(message) }
}

#[test]
fn deliveries_are_publishes() {
    let mut bench = Bench::open_311();
    assert_eq!(bench.deliver([outgoing(message("hi"))]), b"\x30\x07\x00\x03t/1hi");
    assert_eq!(
        bench.deliver([numbered(message("hi"), 7, Qos::AtLeastOnce)]),
        b"\x32\x09\x00\x03t/1\x00\x07hi"
    );
    let again = Outgoing { duplicate: true, retain: true, ..numbered(message("hi"), 7, Qos::ExactlyOnce) };
    assert_eq!(bench.deliver([again]), b"\x3d\x09\x00\x03t/1\x00\x07hi");
    let mut bench = Bench::open_5();
    assert_eq!(bench.deliver([outgoing(message("hi"))]), b"\x30\x08\x00\x03t/1\x00hi");
}

#[test]
fn large_payloads_are_kept_by_reference() {
    let mut bench = Bench::open_311();
    let payload = Bytes::from(vec![7; WireBuffer::PIECE_LEN_MIN]);
    let bytes = bench.deliver([outgoing(message(payload.clone())), outgoing(message("hi"))]);
    assert_eq!(bytes[..8], *b"\x30\x85\x40\x00\x03t/1");
    assert_eq!(bytes[8..8 + payload.len()], payload);
    assert_eq!(bytes[8 + payload.len()..], *b"\x30\x07\x00\x03t/1hi");
}

#[test]
fn mqtt_2_1_4_lengths_are_right_around_every_border() {
    for connect in [CONNECT_311, CONNECT_5] {
        let version = if connect == CONNECT_5 { Version::V5 } else { Version::V311 };
        for border in [128usize, 16_384, 2_097_152] {
            for payload_len in border - 20..border + 4 {
                let mut bench = Bench::open(connect);
                let properties = Properties { content_type: Some("x".into()), ..Properties::default() };
                let payload = vec![7; payload_len];
                let message = Message { properties: Some(Arc::new(properties)), ..message(payload) };
                let bytes = bench.deliver([numbered(message, 1, Qos::AtLeastOnce)]);
                let header = Header::parse(&bytes).unwrap().unwrap();
                assert_eq!((header.frame_len(), header.is_padded()), (bytes.len(), false));
                let body = &bytes[header.header_len..];
                let Ok(Packet::Publish(publish)) = Packet::decode(version, header.first, body) else {
                    panic!("{payload_len}")
                };
                assert_eq!(publish.payload.len(), payload_len);
                let mut again = Vec::new();
                publish.encode(version, &mut again);
                assert_eq!(again, bytes);
            }
        }
    }
}

#[test]
fn mqtt_3_3_2_6_properties_and_what_is_left_of_the_expiry() {
    let mut bench = Bench::open_5();
    let properties = Properties {
        payload_format: Some(PayloadFormat::Utf8),
        content_type: Some("json".into()),
        response_topic: Some(Topic::parse("r").unwrap()),
        correlation_data: Some(Bytes::from_static(b"\x01\x02")),
        user_properties: vec![("k".into(), "v".into()), ("k".into(), "w".into())],
    };
    let expires_at = Some(bench.now + Duration::from_millis(8_500));
    let message = Message { properties: Some(Arc::new(properties)), expires_at, ..message("hi") };
    let identifiers = Identifiers::from(vec![1, 300]);
    let bytes = bench.deliver([Outgoing { identifiers, ..outgoing(message) }]);
    let header = Header::parse(&bytes).unwrap().unwrap();
    assert_eq!(header.frame_len(), bytes.len());
    let Ok(Packet::Publish(publish)) = Packet::decode(Version::V5, header.first, &bytes[header.header_len..])
    else {
        panic!("{bytes:02x?}")
    };
    assert_eq!(publish.payload, b"hi");
    assert_eq!(
        publish.properties.iter().collect::<Vec<_>>(),
        [
            Property::PayloadFormat(PayloadFormat::Utf8),
            Property::ContentType("json"),
            Property::ResponseTopic("r"),
            Property::CorrelationData(b"\x01\x02"),
            Property::User("k", "v"),
            Property::User("k", "w"),
            Property::MessageExpirySecs(9),
            Property::SubscriptionIdentifier(1),
            Property::SubscriptionIdentifier(300),
        ]
    );
}

#[test]
fn the_driver_says_when_to_stop() {
    let mut bench = Bench::open_311();
    bench.out.room = 10;
    let two = bench.deliver([0; 5].map(|_| outgoing(message("hi"))));
    assert_eq!(two, b"\x30\x07\x00\x03t/1hi\x30\x07\x00\x03t/1hi");
}

#[test]
fn nothing_is_delivered_before_the_session_is_open() {
    let mut bench = Bench::new(crate::Config::default());
    assert_eq!(bench.deliver([outgoing(message("hi"))]), b"");
    bench.connect(CONNECT_5);
    assert_eq!(bench.deliver([outgoing(message("hi"))]), b"");
}

#[test]
fn mqtt_4_3_2_puback_settles() {
    let mut bench = Bench::open_5();
    bench.exchange(b"\x40\x02\x00\x07\x40\x03\x00\x08\x10\x40\x03\x00\x09\x97");
    assert_eq!(
        bench.out.settled,
        [
            (id(7), Settlement::Acknowledged),
            (id(8), Settlement::Acknowledged),
            (id(9), Settlement::Refused(Qos::AtLeastOnce))
        ]
    );
}

#[test]
fn mqtt_4_3_3_pubrec_is_released_and_pubcomp_settles() {
    for mut bench in [Bench::open_311(), Bench::open_5()] {
        assert_eq!(bench.exchange(b"\x50\x02\x00\x07"), b"\x62\x02\x00\x07");
        assert_eq!(bench.exchange(b"\x70\x02\x00\x07"), b"");
        assert_eq!(bench.out.settled, [(id(7), Settlement::Received), (id(7), Settlement::Completed)]);
    }
    let mut bench = Bench::open_5();
    assert_eq!(bench.exchange(b"\x50\x03\x00\x07\x87"), b"");
    assert_eq!(bench.out.settled, [(id(7), Settlement::Refused(Qos::ExactlyOnce))]);
}

#[test]
fn pubrec_for_an_unknown_identifier_is_told_so_in_5_0() {
    for (mut bench, answer) in
        [(Bench::open_311(), &b"\x62\x02\x00\x07"[..]), (Bench::open_5(), b"\x62\x03\x00\x07\x92")]
    {
        bench.out.settles = Settled::Unknown;
        assert_eq!(bench.exchange(b"\x50\x02\x00\x07"), answer);
    }
}

#[test]
fn an_acknowledgement_of_another_qos_or_step_is_a_protocol_error() {
    for packet in [b"\x40\x02\x00\x07", b"\x50\x02\x00\x07", b"\x70\x02\x00\x07"] {
        for (mut bench, told) in [(Bench::open_5(), &b"\xe0\x01\x82"[..]), (Bench::open_311(), b"")] {
            bench.out.settles = Settled::Misfit;
            assert_eq!(bench.exchange(packet), told);
            assert_eq!(bench.closed_because(), Some(Reason::ProtocolError));
        }
    }
}

#[test]
fn acknowledgements_of_what_is_not_in_flight_are_ignored() {
    let mut bench = Bench::open_5();
    bench.out.settles = Settled::Unknown;
    assert_eq!(bench.exchange(b"\x40\x02\x00\x07\x70\x03\x00\x07\x92"), b"");
    assert_eq!(bench.closed_because(), None);
}

#[test]
fn mqtt_4_4_0_1_what_was_received_before_is_only_released() {
    let mut bench = Bench::open_5();
    let released = Outgoing { released: true, ..numbered(message("hi"), 7, Qos::ExactlyOnce) };
    assert_eq!(bench.deliver([released]), b"\x62\x02\x00\x07");
}

#[test]
fn mqtt_3_1_2_24_nothing_larger_than_the_client_takes_is_sent() {
    let tiny = b"\x10\x13\x00\x04MQTT\x05\x02\x00\x0a\x05\x27\x00\x00\x00\x10\x00\x01c";
    let mut bench = Bench::open(tiny);
    let sent = bench.deliver([
        outgoing(message("12345678")),
        outgoing(message("123456789")),
        numbered(message("1234567"), 1, Qos::AtLeastOnce),
        outgoing(message("ok")),
    ]);
    assert_eq!(sent, b"\x30\x0e\x00\x03t/1\x0012345678\x30\x08\x00\x03t/1\x00ok");
    assert_eq!(bench.out.settled, [(id(1), Settlement::Dropped("packet_too_large"))]);
}

#[test]
fn expired_time_never_runs_below_zero() {
    let bench_now = Instant::now();
    let message = Message { expires_at: Some(bench_now), ..message("hi") };
    assert_eq!(message.expiry_secs_left(bench_now + Duration::from_secs(9)), Some(0));
}
