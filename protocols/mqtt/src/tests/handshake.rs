use std::time::Duration;

use gateway_model::{Adapter, Event, Expiry, Qos, Reason, Refusal, Reply, Ticket};

use super::{Bench, CONNECT_5, CONNECT_311, connect_5};
use crate::Config;
use crate::codec::Property;

/// A refused connection: what it was answered, and why it closed.
fn refused(connect: &[u8]) -> (Vec<u8>, Reason) {
    let mut bench = Bench::new(Config::default());
    bench.receive(connect);
    assert!(bench.out.requests.is_empty());
    (bench.out.take_bytes(), bench.closed_because().expect("closed"))
}

fn refused_by_gateway(connect: &[u8], reason: Reason) -> Vec<u8> {
    let mut bench = Bench::new(Config::default());
    bench.connect(connect);
    bench.reply(Ticket(0), Reply::Opened(Err(Refusal { reason, text: "no".into() })));
    assert_eq!(bench.closed_because(), Some(reason));
    bench.out.take_bytes()
}

#[test]
fn all_three_versions_are_told_apart_on_one_port() {
    for (connect, label, connack) in [
        (&b"\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x01a"[..], "mqtt31", &b"\x20\x02\x00\x00"[..]),
        (CONNECT_311, "mqtt311", b"\x20\x02\x00\x00"),
        (CONNECT_5, "mqtt5", b"\x20\x0e\x00\x00\x0b\x21\x04\x00\x27\x00\x10\x00\x00\x22\x00\x10"),
    ] {
        let mut bench = Bench::new(Config::default());
        assert_eq!(bench.connection.protocol(), "mqtt");
        bench.connect(connect);
        assert_eq!(bench.connection.protocol(), label);
        assert!(bench.out.wire.is_empty());
        bench.opened();
        assert_eq!(bench.out.take_bytes(), connack, "{label}");
    }
}

#[test]
fn nothing_is_consumed_while_the_session_is_being_opened() {
    let mut bench = Bench::new(Config::default());
    let bytes = [CONNECT_311, b"\xc0\x00\x30\x04\x00\x01ax"].concat();
    assert_eq!(bench.receive(&bytes), CONNECT_311.len());
    assert_eq!(bench.receive(&bytes[CONNECT_311.len()..]), 0);
    bench.opened();
    bench.out.take_bytes();
    assert_eq!(bench.exchange(&bytes[CONNECT_311.len()..]), b"\xd0\x00");
    assert_eq!(bench.published().len(), 1);
}

#[test]
fn a_connect_may_come_byte_by_byte() {
    let mut bench = Bench::new(Config::default());
    for len in 0..CONNECT_5.len() {
        assert_eq!(bench.receive(&CONNECT_5[..len]), 0);
    }
    bench.connect(CONNECT_5);
}

#[test]
fn open_carries_what_connect_says() {
    let mut bench = Bench::new(Config::default());
    let open = bench.connect(
        b"\x10\x4b\x00\x04MQTT\x05\xee\x00\x3c\x08\x11\x00\x00\x00\x0a\x21\x00\x14\x00\x02id\
          \x25\x01\x01\x02\x00\x00\x00\x09\x03\x00\x04json\x08\x00\x03r/1\x09\x00\x02\xff\x00\x18\x00\x00\x00\x05\
          \x26\x00\x01k\x00\x01v\
          \x00\x01w\x00\x03bye\x00\x01u\x00\x01p",
    );
    assert_eq!(open.client_id.unwrap().as_str(), "id");
    assert_eq!(open.credentials.username.as_deref(), Some("u"));
    assert_eq!(open.credentials.password.as_deref(), Some(&b"p"[..]));
    assert_eq!((open.clean_start, open.receive_maximum), (true, 20));
    assert_eq!(open.expiry, Expiry::After(Duration::from_secs(10)));
    let will = open.will.unwrap().will();
    assert_eq!(will.delay, Duration::from_secs(5));
    assert_eq!((&*will.publish.topic, &will.publish.payload[..]), ("w", &b"bye"[..]));
    assert_eq!((will.publish.qos, will.publish.retain), (Qos::AtLeastOnce, true));
    assert_eq!(will.publish.expiry, Some(Duration::from_secs(9)));
    let properties = will.publish.properties.unwrap();
    assert_eq!(properties.content_type.as_deref(), Some("json"));
    assert_eq!(properties.response_topic.as_deref(), Some("r/1"));
    assert_eq!(properties.user_properties, [("k".into(), "v".into())]);
}

#[test]
fn clean_session_of_3_1_1_is_an_expiry() {
    let mut bench = Bench::new(Config::default());
    let open = bench.connect(CONNECT_311);
    assert_eq!((open.clean_start, open.expiry), (true, Expiry::Immediately));
    assert_eq!(open.receive_maximum, u16::MAX, "as many as the gateway allows");
    let persistent = b"\x10\x0d\x00\x04MQTT\x04\x00\x00\x0a\x00\x01c";
    for (secs, expiry) in [
        (7200, Expiry::After(Duration::from_secs(7200))),
        (u32::MAX, Expiry::Never),
        (0, Expiry::Immediately),
    ] {
        let mut bench = Bench::new(Config { session_expiry_secs_default: secs, ..Config::default() });
        let open = bench.connect(persistent);
        assert_eq!((open.clean_start, open.expiry), (false, expiry));
    }
}

#[test]
fn mqtt_3_2_2_session_present_is_told_from_3_1_1_on() {
    for (connect, answer) in [
        (&b"\x10\x0f\x00\x06MQIsdp\x03\x00\x00\x3c\x00\x01a"[..], &b"\x20\x02\x00\x00"[..]),
        (CONNECT_311, b"\x20\x02\x01\x00"),
        (CONNECT_5, b"\x20\x0e\x01\x00"),
    ] {
        let mut bench = Bench::new(Config::default());
        bench.connect(connect);
        bench.opened_as("c", true, Expiry::Immediately);
        assert_eq!(bench.out.take_bytes()[..4], *answer);
    }
}

#[test]
fn connack_tells_only_what_differs() {
    let config = Config {
        packet_bytes_max: u32::MAX,
        receive_maximum: u16::MAX.try_into().unwrap(),
        topic_alias_maximum: 0,
        keep_alive_secs_max: 30,
        ..Config::default()
    };
    let mut bench = Bench::new(config.clone());
    bench.connect(CONNECT_5);
    bench.opened();
    assert_eq!(bench.out.take_bytes(), b"\x20\x03\x00\x00\x00");

    // Unnamed, keep-alive 0 and an expiry for ever: each is answered.
    let mut bench = Bench::new(config);
    let open = bench.connect(b"\x10\x12\x00\x04MQTT\x05\x02\x00\x00\x05\x11\xff\xff\xff\xff\x00\x00");
    assert_eq!((open.client_id, open.expiry), (None, Expiry::Never));
    bench.opened_as("x1", false, Expiry::After(Duration::from_secs(50)));
    assert_eq!(bench.out.take_bytes(), b"\x20\x10\x00\x00\x0d\x11\x00\x00\x00\x32\x12\x00\x02x1\x13\x00\x1e");
}

#[test]
fn mqtt_3_1_2_2_unsupported_levels_get_their_connack() {
    let level_2 = b"\x10\x0d\x00\x04MQTT\x02\x02\x00\x0a\x00\x01c";
    assert_eq!(refused(level_2), (b"\x20\x02\x00\x01".to_vec(), Reason::UnsupportedProtocolVersion));
    let bridge = b"\x10\x0d\x00\x04MQTT\x84\x02\x00\x0a\x00\x01c";
    assert_eq!(refused(bridge), (b"\x20\x02\x00\x01".to_vec(), Reason::UnsupportedProtocolVersion));
    let level_6 = b"\x10\x0d\x00\x04MQTT\x06\x02\x00\x0a\x00\x01c";
    let (answer, reason) = refused(level_6);
    assert_eq!((&answer[2..4], reason), (&b"\x00\x84"[..], Reason::UnsupportedProtocolVersion));
}

#[test]
fn mqtt_3_1_0_1_what_is_not_a_connect_is_closed_without_a_word() {
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"\xc0\x00", b"\x30", b"\x16\x03\x01", b"\x00", b"\x11\x00"] {
        assert_eq!(refused(bytes), (Vec::new(), Reason::ProtocolError), "{bytes:02x?}");
    }
    let wrong_name = b"\x10\x0d\x00\x04MQTX\x04\x02\x00\x0a\x00\x01c";
    assert_eq!(refused(wrong_name), (Vec::new(), Reason::ProtocolError));
}

#[test]
fn a_malformed_connect_is_answered_in_5_0_only() {
    let reserved_flag_311 = b"\x10\x0d\x00\x04MQTT\x04\x03\x00\x0a\x00\x01c";
    assert_eq!(refused(reserved_flag_311), (Vec::new(), Reason::MalformedPacket));
    let reserved_flag_5 = b"\x10\x0e\x00\x04MQTT\x05\x03\x00\x0a\x00\x00\x01c";
    let (answer, reason) = refused(reserved_flag_5);
    assert_eq!((&answer[2..4], reason), (&b"\x00\x81"[..], Reason::MalformedPacket));
}

#[test]
fn mqtt_3_1_3_8_an_unnamed_client_of_3_1_1_must_start_clean() {
    let invalid = Reason::ClientIdentifierNotValid;
    assert_eq!(
        refused(b"\x10\x0c\x00\x04MQTT\x04\x00\x00\x0a\x00\x00"),
        (b"\x20\x02\x00\x02".to_vec(), invalid)
    );
    let mqtt_31 = b"\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x00";
    assert_eq!(refused(mqtt_31), (b"\x20\x02\x00\x02".to_vec(), invalid));
    let mut bench = Bench::new(Config::default());
    assert_eq!(bench.connect(b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x0a\x00\x00").client_id, None);
}

#[test]
fn names_of_the_gateway_are_refused() {
    let (answer, reason) = refused(b"\x10\x0f\x00\x04MQTT\x05\x02\x00\x0a\x00\x00\x02$x");
    assert_eq!((&answer[2..4], reason), (&b"\x00\x85"[..], Reason::ClientIdentifierNotValid));
    let (answer, _) = refused(b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x0a\x00\x02$x");
    assert_eq!(answer, b"\x20\x02\x00\x02");
}

#[test]
fn a_bad_will_is_refused() {
    let (answer, _) = refused(b"\x10\x14\x00\x04MQTT\x05\x06\x00\x0a\x00\x00\x01c\x00\x00\x01#\x00\x00");
    assert_eq!(answer[2..4], *b"\x00\x90");
    let (answer, _) =
        refused(b"\x10\x17\x00\x04MQTT\x05\x06\x00\x0a\x00\x00\x01c\x02\x01\x01\x00\x01w\x00\x01\xff");
    assert_eq!(answer[2..4], *b"\x00\x99");
    let before_5 = refused(b"\x10\x12\x00\x04MQTT\x04\x06\x00\x0a\x00\x01c\x00\x01#\x00\x00");
    assert_eq!(before_5, (Vec::new(), Reason::TopicNameInvalid));
}

#[test]
fn refusals_become_the_return_codes_of_3_1_1() {
    for (reason, code) in [
        (Reason::ClientIdentifierNotValid, 2),
        (Reason::ServerUnavailable, 3),
        (Reason::ServerBusy, 3),
        (Reason::BadUserNameOrPassword, 4),
        (Reason::NotAuthorized, 5),
        (Reason::Banned, 5),
    ] {
        assert_eq!(refused_by_gateway(CONNECT_311, reason), [0x20, 2, 0, code], "{reason}");
    }
}

#[test]
fn mqtt_3_1_2_29_reason_strings_only_where_they_are_wanted() {
    let with = refused_by_gateway(CONNECT_5, Reason::NotAuthorized);
    assert_eq!(with, b"\x20\x08\x00\x87\x05\x1f\x00\x02no");
    let unwanted = b"\x10\x10\x00\x04MQTT\x05\x02\x00\x0a\x02\x17\x00\x00\x01c";
    assert_eq!(refused_by_gateway(unwanted, Reason::NotAuthorized), b"\x20\x03\x00\x87\x00");
    // MQTT-3.2.2-19: not if the packet becomes larger than the client takes.
    for (maximum, connack) in [(10, &b"\x20\x08\x00\x87\x05\x1f\x00\x02no"[..]), (9, b"\x20\x03\x00\x87\x00")]
    {
        let connect = connect_5(&[Property::MaximumPacketBytes(maximum)]);
        assert_eq!(refused_by_gateway(&connect, Reason::NotAuthorized), connack);
    }
}

#[test]
fn an_eviction_while_opening_is_a_refusal() {
    let mut bench = Bench::new(Config::default());
    bench.connect(CONNECT_311);
    bench.handle(Event::Evicted(Reason::ServerShuttingDown));
    assert_eq!(bench.out.take_bytes(), b"\x20\x02\x00\x03");
    assert_eq!(bench.closed_because(), Some(Reason::ServerShuttingDown));
}

#[test]
fn a_connect_larger_than_strangers_may_send_is_refused_by_its_header() {
    let config = Config { connect_bytes_max: 100, ..Config::default() };
    let mut bench = Bench::new(config);
    bench.receive(b"\x10\x63");
    assert_eq!((bench.out.take_bytes(), bench.closed_because()), (Vec::new(), Some(Reason::PacketTooLarge)));
}

#[test]
fn mqtt_3_1_2_24_a_connack_larger_than_the_client_takes_is_not_sent() {
    let mut bench = Bench::new(Config::default());
    bench.connect(&connect_5(&[Property::MaximumPacketBytes(15)]));
    bench.opened();
    assert_eq!(bench.out.take_bytes(), b"");
    assert_eq!(bench.closed_because(), Some(Reason::PacketTooLarge));
}

#[test]
fn mqtt_3_1_2_28_response_information_only_for_those_that_ask() {
    let config = Config {
        response_information: "response/${clientid}".into(),
        receive_maximum: u16::MAX.try_into().unwrap(),
        packet_bytes_max: u32::MAX,
        topic_alias_maximum: 0,
        ..Config::default()
    };
    let answer = |config: &Config, properties: &[Property<'_>]| {
        let mut bench = Bench::new(config.clone());
        bench.connect(&connect_5(properties));
        bench.opened();
        bench.out.take_bytes()
    };
    let told = b"\x20\x10\x00\x00\x0d\x1a\x00\x0aresponse/c";
    assert_eq!(answer(&config, &[Property::RequestResponseInformation(true)]), told);
    assert_eq!(answer(&config, &[Property::RequestResponseInformation(false)]), b"\x20\x03\x00\x00\x00");
    assert_eq!(answer(&config, &[]), b"\x20\x03\x00\x00\x00");
    let silent = Config { response_information: String::new(), ..config };
    assert_eq!(answer(&silent, &[Property::RequestResponseInformation(true)]), b"\x20\x03\x00\x00\x00");
}

#[test]
fn mqtt_3_1_0_2_a_connect_is_the_first_packet_and_the_only_one() {
    let mut bench = Bench::open_5();
    assert_eq!(bench.exchange(CONNECT_5), b"\xe0\x01\x82");
}

#[test]
fn names_longer_than_3_1_allows_are_accepted() {
    // MQTT 3.1 section 3.1: 1 to 23 characters; no peer insists, and 3.1.1 took the limit away.
    let connect = [&b"\x10\x2c\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x1e"[..], &[b'n'; 30]].concat();
    assert_eq!(Bench::new(Config::default()).connect(&connect).client_id.unwrap().as_str().len(), 30);
}

#[test]
fn mqtt_3_1_2_2_unknown_levels_by_name() {
    let level_3_of_mqtt = b"\x10\x0d\x00\x04MQTT\x03\x02\x00\x0a\x00\x01c";
    assert_eq!(refused(level_3_of_mqtt), (b"\x20\x02\x00\x01".to_vec(), Reason::UnsupportedProtocolVersion));
    let level_4_of_mqisdp = b"\x10\x0f\x00\x06MQIsdp\x04\x02\x00\x0a\x00\x01c";
    assert_eq!(
        refused(level_4_of_mqisdp),
        (b"\x20\x02\x00\x01".to_vec(), Reason::UnsupportedProtocolVersion)
    );
}

#[test]
fn mqtt_3_1_2_22_a_password_alone_is_for_5_0_only() {
    let before = b"\x10\x10\x00\x04MQTT\x04\x42\x00\x0a\x00\x01c\x00\x01p";
    assert_eq!(refused(before), (Vec::new(), Reason::MalformedPacket));
    let connect = b"\x10\x11\x00\x04MQTT\x05\x42\x00\x0a\x00\x00\x01c\x00\x01p";
    let open = Bench::new(Config::default()).connect(connect);
    assert_eq!((open.credentials.username, open.credentials.password.as_deref()), (None, Some(&b"p"[..])));
}

#[test]
fn a_will_without_a_topic_is_refused() {
    let (answer, _) = refused(b"\x10\x13\x00\x04MQTT\x05\x06\x00\x0a\x00\x00\x01c\x00\x00\x00\x00\x00");
    assert_eq!(answer[2..4], *b"\x00\x90");
}
