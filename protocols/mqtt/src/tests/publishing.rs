use std::num::NonZeroU16;
use std::time::Duration;

use gateway_model::{Adapter, ClientId, Expiry, Opened, Outcome, PayloadFormat, Qos, Reason, Reply, Ticket};

use super::{Bench, CONNECT_5, CONNECT_5_TERSE, CONNECT_311};
use crate::Config;

const NO_MATCH: Outcome = Outcome::Done(Reason::NoMatchingSubscribers);

/// The connection violated a rule: what it was told, and why it closed.
fn violated(bench: &mut Bench, bytes: &[u8]) -> (Vec<u8>, Reason) {
    let published = bench.out.published.len();
    bench.receive(bytes);
    assert_eq!(bench.out.published.len(), published);
    (bench.out.take_bytes(), bench.closed_because().expect("closed"))
}

#[test]
fn qos_0_is_published_and_not_answered() {
    let mut bench = Bench::open_311();
    assert_eq!(bench.exchange(b"\x31\x05\x00\x01ahi\x30\x04\x00\x01b!"), b"");
    let published = bench.published();
    assert_eq!((&*published[0].topic, &published[0].payload[..]), ("a", &b"hi"[..]));
    assert_eq!((published[0].qos, published[0].retain), (Qos::AtMostOnce, true));
    assert_eq!((&*published[1].topic, published[1].retain), ("b", false));
}

#[test]
fn a_repeated_topic_is_parsed_once() {
    let mut bench = Bench::open_311();
    bench.exchange(b"\x30\x03\x00\x01a\x30\x03\x00\x01a\x30\x03\x00\x01b");
    let published = bench.published();
    assert!(published[0].topic.is_same(&published[1].topic));
    assert_eq!(&*published[2].topic, "b");
}

#[test]
fn mqtt_4_3_2_qos_1_is_acknowledged_at_once_when_it_is_safe() {
    let mut bench = Bench::open_311();
    bench.out.publish_outcome = NO_MATCH;
    assert_eq!(bench.exchange(b"\x32\x06\x00\x01a\x12\x34x"), b"\x40\x02\x12\x34");
    let mut bench = Bench::open_5();
    assert_eq!(bench.exchange(b"\x32\x07\x00\x01a\x12\x34\x00x"), b"\x40\x02\x12\x34");
    bench.out.publish_outcome = NO_MATCH;
    assert_eq!(bench.exchange(b"\x32\x07\x00\x01a\x12\x34\x00x"), b"\x40\x03\x12\x34\x10");
}

#[test]
fn mqtt_4_6_0_2_acknowledgements_keep_the_order_of_the_publishes() {
    let mut bench = Bench::open_311();
    bench.out.publish_outcome = Outcome::Later;
    assert_eq!(bench.exchange(b"\x32\x05\x00\x01a\x00\x01\x34\x05\x00\x01a\x00\x02"), b"");
    bench.out.publish_outcome = Outcome::Done(Reason::Success);
    assert_eq!(bench.exchange(b"\x32\x05\x00\x01a\x00\x03"), b"");
    bench.out.publish_outcome = Outcome::Later;
    assert_eq!(bench.exchange(b"\x30\x03\x00\x01a\x32\x05\x00\x01a\x00\x04"), b"");
    let tickets: Vec<_> = bench.out.published.iter().map(|(ticket, _)| *ticket).collect();

    bench.reply(tickets[1], Reply::Published(Reason::Success));
    assert_eq!(bench.out.take_bytes(), b"");
    bench.reply(tickets[3], Reply::Published(Reason::Success)); // QoS 0: nothing waits for it
    assert_eq!(bench.out.take_bytes(), b"");
    bench.reply(tickets[0], Reply::Published(Reason::Success));
    assert_eq!(bench.out.take_bytes(), b"\x40\x02\x00\x01\x50\x02\x00\x02\x40\x02\x00\x03");
    bench.reply(tickets[4], Reply::Published(Reason::Success));
    assert_eq!(bench.out.take_bytes(), b"\x40\x02\x00\x04");
    bench.reply(tickets[4], Reply::Published(Reason::Success));
    assert_eq!(bench.out.take_bytes(), b"");
}

#[test]
fn mqtt_4_3_3_qos_2_is_published_once_until_it_is_released() {
    let mut bench = Bench::open_5();
    bench.out.publish_outcome = NO_MATCH;
    assert_eq!(bench.exchange(b"\x34\x07\x00\x01a\x00\x07\x00x"), b"\x50\x03\x00\x07\x10");
    assert_eq!(bench.exchange(b"\x3c\x07\x00\x01a\x00\x07\x00x"), b"\x50\x02\x00\x07");
    assert_eq!(bench.published().len(), 1);
    assert_eq!(bench.exchange(b"\x62\x02\x00\x07"), b"\x70\x02\x00\x07");
    assert_eq!(bench.exchange(b"\x62\x02\x00\x07"), b"\x70\x03\x00\x07\x92");
    bench.exchange(b"\x34\x07\x00\x01a\x00\x07\x00y");
    assert_eq!(bench.published().len(), 2);
}

#[test]
fn mqtt_4_3_3_qos_2_is_published_once_also_across_a_reconnect() {
    let mut bench = Bench::open_311();
    bench.exchange(b"\x34\x05\x00\x01a\x00\x07");
    let held = bench.out.held.clone();
    assert_eq!(held, [NonZeroU16::new(7).unwrap()]);

    let mut again = Bench::new(Config::default());
    again.connect(CONNECT_311);
    let client_id = ClientId::parse("c").unwrap();
    let opened =
        Opened { client_id, session_present: true, expiry: Expiry::Never, held, authentication_data: None };
    again.reply(Ticket(0), Reply::Opened(Ok(opened)));
    again.out.take_bytes();
    assert_eq!(again.exchange(b"\x3c\x05\x00\x01a\x00\x07"), b"\x50\x02\x00\x07");
    assert_eq!(again.published().len(), 0);
    assert_eq!(again.exchange(b"\x62\x02\x00\x07"), b"\x70\x02\x00\x07");
    assert_eq!(again.out.held, []);
}

#[test]
fn a_repeated_qos_2_publish_does_not_overtake_its_own_durability() {
    let mut bench = Bench::open_311();
    bench.out.publish_outcome = Outcome::Later;
    assert_eq!(bench.exchange(b"\x34\x05\x00\x01a\x00\x01\x3c\x05\x00\x01a\x00\x01"), b"");
    let ticket = bench.out.published[0].0;
    bench.reply(ticket, Reply::Published(Reason::Success));
    assert_eq!(bench.out.take_bytes(), b"\x50\x02\x00\x01");
    assert_eq!(bench.published().len(), 1);
}

#[test]
fn pubrel_without_publish_is_completed_in_3_1_1() {
    assert_eq!(Bench::open_311().exchange(b"\x62\x02\x00\x07"), b"\x70\x02\x00\x07");
}

#[test]
fn mqtt_4_3_3_9_a_refused_qos_2_publish_frees_its_identifier() {
    let mut bench = Bench::open_5();
    bench.out.publish_outcome = Outcome::Done(Reason::QuotaExceeded);
    assert_eq!(bench.exchange(b"\x34\x06\x00\x01a\x00\x07\x00"), b"\x50\x03\x00\x07\x97");
    bench.out.publish_outcome = Outcome::Done(Reason::Success);
    assert_eq!(bench.exchange(b"\x34\x06\x00\x01a\x00\x07\x00"), b"\x50\x02\x00\x07");
    assert_eq!(bench.published().len(), 2);
}

#[test]
fn mqtt_3_3_5_2_a_refusal_in_3_1_1_is_acknowledged_only_if_it_is_final() {
    let mut bench = Bench::open_311();
    bench.out.publish_outcome = Outcome::Done(Reason::NotAuthorized);
    assert_eq!(bench.exchange(b"\x32\x05\x00\x01a\x00\x01"), b"\x40\x02\x00\x01");
    bench.out.publish_outcome = Outcome::Done(Reason::QuotaExceeded);
    bench.exchange(b"\x30\x03\x00\x01a");
    assert_eq!(bench.closed_because(), None);
    assert_eq!(bench.exchange(b"\x32\x05\x00\x01a\x00\x02"), b"");
    assert_eq!(bench.closed_because(), Some(Reason::QuotaExceeded));
}

#[test]
fn reasons_that_puback_cannot_carry_become_the_nearest() {
    let mut bench = Bench::open_5();
    for (reason, code) in [
        (Reason::NotAuthorized, 0x87),
        (Reason::MessageRateTooHigh, 0x97),
        (Reason::ServerBusy, 0x97),
        (Reason::ServerUnavailable, 0x83),
    ] {
        bench.out.publish_outcome = Outcome::Done(reason);
        assert_eq!(bench.exchange(b"\x32\x06\x00\x01a\x00\x01\x00"), [0x40, 3, 0, 1, code]);
    }
}

#[test]
fn mqtt_3_3_4_9_more_than_receive_maximum_is_a_violation() {
    let config = Config { receive_maximum: 2.try_into().unwrap(), ..Config::default() };
    let mut bench = Bench::open_with(config.clone(), CONNECT_5);
    bench.out.publish_outcome = Outcome::Later;
    bench.exchange(b"\x32\x06\x00\x01a\x00\x01\x00\x30\x04\x00\x01a\x00");
    let ticket = bench.out.published[0].0;
    bench.exchange(b"\x34\x06\x00\x01a\x00\x02\x00");
    bench.reply(ticket, Reply::Published(Reason::Success));
    bench.exchange(b"\x32\x06\x00\x01a\x00\x03\x00\x30\x04\x00\x01a\x00");
    let (told, reason) = violated(&mut bench, b"\x32\x06\x00\x01a\x00\x04\x00");
    assert_eq!((told[2], reason), (0x93, Reason::ReceiveMaximumExceeded));
}

#[test]
fn before_5_0_a_client_over_the_maximum_is_not_read_from() {
    let config = Config { receive_maximum: 2.try_into().unwrap(), ..Config::default() };
    let mut bench = Bench::open_with(config, CONNECT_311);
    bench.out.publish_outcome = Outcome::Later;
    let bytes = b"\x32\x05\x00\x01a\x00\x01\x32\x05\x00\x01a\x00\x02\x32\x05\x00\x01a\x00\x03";
    assert_eq!(bench.receive(bytes), 14);
    assert_eq!(bench.receive(&bytes[14..]), 0);
    let ticket = bench.out.published[0].0;
    bench.reply(ticket, Reply::Published(Reason::Success));
    assert_eq!(bench.receive(&bytes[14..]), 7);
}

#[test]
fn mqtt_3_3_2_3_properties_travel_with_the_message() {
    let mut bench = Bench::open_5();
    bench.exchange(
        b"\x31\x2c\x00\x01t\x27\x01\x01\x02\x00\x00\x00\x09\x03\x00\x04json\x08\x00\x03r/1\x09\x00\x02\xff\x00\
          \x26\x00\x01k\x00\x01v\x26\x00\x01k\x00\x01w!",
    );
    let publish = bench.published()[0];
    assert_eq!((publish.expiry, &publish.payload[..]), (Some(Duration::from_secs(9)), &b"!"[..]));
    let properties = publish.properties.as_ref().unwrap();
    assert_eq!(properties.payload_format, Some(PayloadFormat::Utf8));
    assert_eq!(properties.content_type.as_deref(), Some("json"));
    assert_eq!(properties.response_topic.as_deref(), Some("r/1"));
    assert_eq!(properties.correlation_data.as_deref(), Some(&b"\xff\x00"[..]));
    assert_eq!(properties.user_properties, [("k".into(), "v".into()), ("k".into(), "w".into())]);
}

#[test]
fn a_message_with_an_expiry_only_needs_no_properties() {
    let mut bench = Bench::open_5();
    bench.exchange(b"\x30\x09\x00\x01t\x05\x02\x00\x00\x00\x09");
    assert!(bench.published()[0].properties.is_none());
}

#[test]
fn mqtt_3_3_2_3_4_topic_aliases_stand_for_topics() {
    let mut bench = Bench::open_5();
    bench.exchange(b"\x30\x07\x00\x01a\x03\x23\x00\x10\x30\x07\x00\x01b\x03\x23\x00\x01");
    bench.exchange(b"\x30\x06\x00\x00\x03\x23\x00\x10\x30\x06\x00\x00\x03\x23\x00\x01");
    bench.exchange(b"\x30\x07\x00\x01c\x03\x23\x00\x01\x30\x06\x00\x00\x03\x23\x00\x01");
    let topics: Vec<_> = bench.published().iter().map(|publish| publish.topic.as_str()).collect();
    assert_eq!(topics, ["a", "b", "a", "b", "c", "c"]);
}

#[test]
fn mqtt_3_3_2_8_bad_aliases_are_violations() {
    for (bytes, reason) in [
        (&b"\x30\x07\x00\x01a\x03\x23\x00\x00"[..], Reason::TopicAliasInvalid),
        (b"\x30\x07\x00\x01a\x03\x23\x00\x11", Reason::TopicAliasInvalid),
        (b"\x30\x06\x00\x00\x03\x23\xff\xff", Reason::TopicAliasInvalid),
        (b"\x30\x06\x00\x00\x03\x23\x00\x01", Reason::ProtocolError),
        (b"\x30\x03\x00\x00\x00", Reason::ProtocolError),
    ] {
        let (told, why) = violated(&mut Bench::open_5(), bytes);
        assert_eq!((told[0], told[2], why), (0xE0, reason.code(), reason), "{bytes:02x?}");
    }
}

#[test]
fn mqtt_3_3_2_2_bad_topics_are_violations() {
    for (topic, reason) in [
        (&b"+"[..], Reason::TopicNameInvalid),
        (b"#", Reason::TopicNameInvalid),
        (b"\xff", Reason::MalformedPacket),
        (b"\x00", Reason::MalformedPacket),
    ] {
        let packet_5 = [b"\x30\x04\x00\x01", topic, b"\x00"].concat();
        let (told, why) = violated(&mut Bench::open_5(), &packet_5);
        assert_eq!((told[2], why), (reason.code(), reason));
        let packet_311 = [b"\x30\x03\x00\x01", topic].concat();
        assert_eq!(violated(&mut Bench::open_311(), &packet_311), (Vec::new(), reason));
    }
}

#[test]
fn mqtt_3_3_2_14_and_3_3_4_6_properties_a_client_may_not_send() {
    for bytes in [&b"\x30\x08\x00\x01a\x04\x08\x00\x01#"[..], b"\x30\x06\x00\x01a\x02\x0b\x01"] {
        let (told, why) = violated(&mut Bench::open_5(), bytes);
        assert_eq!((told[2], why), (0x82, Reason::ProtocolError));
    }
}

#[test]
fn a_payload_that_is_not_the_text_it_claims_is_refused() {
    let mut bench = Bench::open_5();
    assert_eq!(bench.exchange(b"\x32\x09\x00\x01a\x00\x01\x02\x01\x01\xff"), b"\x40\x03\x00\x01\x99");
    assert_eq!(bench.exchange(b"\x34\x09\x00\x01a\x00\x01\x02\x01\x01\xff"), b"\x50\x03\x00\x01\x99");
    assert_eq!(bench.exchange(b"\x32\x09\x00\x01a\x00\x01\x02\x01\x00\xff"), b"\x40\x02\x00\x01");
    assert_eq!(bench.published().len(), 1);
    let (told, why) = violated(&mut bench, b"\x30\x07\x00\x01a\x02\x01\x01\xff");
    assert_eq!((told[2], why), (0x99, Reason::PayloadFormatInvalid));
}

#[test]
fn a_packet_too_large_is_known_by_its_header() {
    let config = Config { packet_bytes_max: 20, ..Config::default() };
    let mut bench = Bench::open_with(config.clone(), CONNECT_5);
    bench.exchange(b"\x30\x12\x00\x01a\x0001234567890123");
    assert_eq!(bench.published().len(), 1);
    let (told, why) = violated(&mut bench, b"\x30\x13");
    assert_eq!((told[0], told[2], why), (0xE0, 0x95, Reason::PacketTooLarge));
    let mut bench = Bench::open_with(config, CONNECT_311);
    assert_eq!(violated(&mut bench, b"\x30\xff\xff\xff\x7f"), (Vec::new(), Reason::PacketTooLarge));
}

#[test]
fn mqtt_1_5_5_1_a_padded_length_is_malformed_in_5_0_only() {
    let (told, why) = violated(&mut Bench::open_5(), b"\x30\x84\x00\x00\x01a\x00");
    assert_eq!((told[2], why), (0x81, Reason::MalformedPacket));
    let mut bench = Bench::open_311();
    bench.exchange(b"\x30\x83\x00\x00\x01a");
    assert_eq!(bench.published().len(), 1);
}

#[test]
fn what_follows_a_violation_is_swallowed() {
    let mut bench = Bench::open_311();
    assert_eq!(bench.receive(b"\x36\x05\x00\x01a\x00\x01\x30\x03\x00\x01a"), 12);
    assert!(bench.published().is_empty());
    assert_eq!(bench.receive(b"\x30\x03\x00\x01a"), 5);
    assert!(bench.published().is_empty() && bench.connection.next_timeout().is_none());
}

#[test]
fn mqtt_4_9_the_receive_maximum_counts_what_is_not_answered_or_released() {
    let config = Config { receive_maximum: 2.try_into().unwrap(), ..Config::default() };
    let mut bench = Bench::open_with(config, CONNECT_5_TERSE);
    let publish = |number: u8| [b"\x34\x06\x00\x01a\x00", &[number, 0][..]].concat();
    // A PUBREC with an error gives the place back, as PUBCOMP does; the same message again takes none.
    bench.out.publish_outcome = Outcome::Done(Reason::QuotaExceeded);
    for number in 1..5 {
        assert_eq!(bench.exchange(&publish(number)), [0x50, 3, 0, number, 0x97]);
    }
    bench.out.publish_outcome = Outcome::Done(Reason::Success);
    for number in [1, 2, 2, 1] {
        assert_eq!(bench.exchange(&publish(number)), [0x50, 2, 0, number]);
    }
    assert_eq!(bench.exchange(b"\x62\x02\x00\x01"), b"\x70\x02\x00\x01");
    bench.exchange(&publish(3));
    assert_eq!(violated(&mut bench, &publish(4)).0, b"\xe0\x01\x93");
}

#[test]
fn mqtt_4_9_the_receive_maximum_starts_anew_with_each_connection() {
    let config = Config { receive_maximum: 2.try_into().unwrap(), ..Config::default() };
    let mut bench = Bench::new(config);
    bench.connect(CONNECT_5_TERSE);
    let client_id = ClientId::parse("c").unwrap();
    let held = [7, 8, 9].map(|number| NonZeroU16::new(number).unwrap()).to_vec();
    let opened =
        Opened { client_id, session_present: true, expiry: Expiry::Never, held, authentication_data: None };
    bench.reply(Ticket(0), Reply::Opened(Ok(opened)));
    bench.out.take_bytes();
    // One that is sent again takes a place; three that are not take none.
    assert_eq!(bench.exchange(b"\x3c\x06\x00\x01a\x00\x07\x00"), b"\x50\x02\x00\x07");
    assert_eq!(bench.exchange(b"\x34\x06\x00\x01a\x00\x01\x00"), b"\x50\x02\x00\x01");
    assert_eq!(bench.exchange(b"\x62\x02\x00\x08"), b"\x70\x02\x00\x08");
    assert_eq!(bench.published().len(), 1);
    assert_eq!(violated(&mut bench, b"\x34\x06\x00\x01a\x00\x02\x00").0, b"\xe0\x01\x93");
}

#[test]
fn mqtt_2_2_1_3_an_identifier_of_an_unreleased_publish_is_in_use() {
    let mut bench = Bench::open_5();
    bench.exchange(b"\x34\x06\x00\x01a\x00\x07\x00");
    assert_eq!(bench.exchange(b"\x32\x06\x00\x01a\x00\x07\x00"), b"\x40\x03\x00\x07\x91");
    assert_eq!(bench.published().len(), 1);
    bench.exchange(b"\x62\x02\x00\x07");
    assert_eq!(bench.exchange(b"\x32\x06\x00\x01a\x00\x07\x00"), b"\x40\x02\x00\x07");
    // Before 5.0 there is no word for it, and nothing is lost by taking the message.
    let mut bench = Bench::open_311();
    bench.exchange(b"\x34\x05\x00\x01a\x00\x07");
    assert_eq!(bench.exchange(b"\x32\x05\x00\x01a\x00\x07"), b"\x40\x02\x00\x07");
    assert_eq!(bench.published().len(), 2);
}

#[test]
fn mqtt_4_3_2_5_after_its_puback_the_same_identifier_is_a_new_message() {
    let mut bench = Bench::open_5();
    bench.exchange(b"\x32\x06\x00\x01a\x00\x07\x00");
    assert_eq!(bench.exchange(b"\x3a\x06\x00\x01a\x00\x07\x00"), b"\x40\x02\x00\x07");
    assert_eq!(bench.published().len(), 2);
}

#[test]
fn mqtt_3_3_1_2_dup_at_qos_0_is_malformed_from_3_1_1_on() {
    assert_eq!(violated(&mut Bench::open_5(), b"\x38\x04\x00\x01a\x00").0, b"\xe0\x01\x81");
    assert_eq!(violated(&mut Bench::open_311(), b"\x38\x03\x00\x01a"), (Vec::new(), Reason::MalformedPacket));
    let mut bench = Bench::open(b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01a");
    bench.exchange(b"\x38\x03\x00\x01a");
    assert_eq!(bench.published().len(), 1);
}

#[test]
fn mqtt_3_3_1_4_qos_3_is_malformed() {
    assert_eq!(violated(&mut Bench::open_5(), b"\x36\x06\x00\x01a\x00\x01\x00").0, b"\xe0\x01\x81");
}

#[test]
fn mqtt_2_2_1_2_packet_identifier_0_is_a_protocol_error() {
    assert_eq!(violated(&mut Bench::open_5(), b"\x32\x06\x00\x01a\x00\x00\x00").0, b"\xe0\x01\x82");
}

#[test]
fn mqtt_1_5_4_texts_are_utf_8_without_surrogates_and_u_0000() {
    for (text, is_legal) in [
        (&b"\xef\xbf\xbf"[..], true), // U+FFFF, a noncharacter: MAY be refused, is not
        (b"\xef\xbb\xbf", true),      // U+FEFF is never a byte order mark here (MQTT-1.5.4-3)
        (b"\xf4\x8f\xbf\xbf", true),  // U+10FFFF
        (b"\x01", true),              // a control character
        (b"\x00", false),             // MQTT-1.5.4-2
        (b"\xed\xa0\x80", false),     // U+D800 (MQTT-1.5.4-1)
        (b"\xed\xbf\xbf", false),     // U+DFFF
        (b"\xc0\x80", false),         // overlong
        (b"\xf4\x90\x80\x80", false), // beyond U+10FFFF
    ] {
        let len = text.len() as u8;
        let topic = [&[0x30, 3 + len, 0, len][..], text, &[0]].concat();
        let content_type = [&[0x30, 7 + len, 0, 1, b'a', 3 + len, 3, 0, len][..], text].concat();
        let user = [&[0x30, 10 + len, 0, 1, b'a', 6 + len, 0x26, 0, 1, b'k', 0, len][..], text].concat();
        for packet in [topic, content_type, user] {
            let mut bench = Bench::open_5();
            let answer = bench.exchange(&packet);
            let expected = if is_legal { &b""[..] } else { b"\xe0\x01\x81" };
            assert_eq!(
                (answer, bench.published().len()),
                (expected.to_vec(), usize::from(is_legal)),
                "{packet:02x?}"
            );
        }
    }
}

#[test]
fn mqtt_1_5_5_1_padded_lengths_and_cut_properties_are_malformed() {
    for packet in [
        &b"\x30\x05\x00\x01a\x80\x00"[..],    // length of the properties
        b"\x30\x07\x00\x01a\x80\x80\x80\x80", // longer than four bytes
        b"\x30\x07\x00\x01a\x03\x81\x00\x01", // an identifier
        b"\x30\x06\x00\x01a\x09\x01\x00",     // longer than the packet
        b"\x30\x06\x00\x01a\x02\x02\x00",     // a property that ends early
    ] {
        assert_eq!(violated(&mut Bench::open_5(), packet).0, b"\xe0\x01\x81", "{packet:02x?}");
    }
}
