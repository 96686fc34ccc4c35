//! What a listener is told not to offer.

use gateway_model::{Qos, Reason, Reply, Request};

use super::{Bench, CONNECT_5_TERSE, CONNECT_311};
use crate::Config;

fn bare() -> Config {
    Config {
        receive_maximum: u16::MAX.try_into().unwrap(),
        packet_bytes_max: u32::MAX,
        topic_alias_maximum: 0,
        ..Config::default()
    }
}

fn connack(config: Config) -> Vec<u8> {
    let mut bench = Bench::new(config);
    bench.connect(CONNECT_5_TERSE);
    bench.opened();
    bench.out.take_bytes()
}

/// What a client of each version is told, and why it is closed.
fn both(config: &Config, packet_5: &[u8], packet_311: &[u8]) -> [(Vec<u8>, Option<Reason>); 2] {
    [(CONNECT_5_TERSE, packet_5), (CONNECT_311, packet_311)].map(|(connect, packet)| {
        let mut bench = Bench::open_with(config.clone(), connect);
        let answer = bench.exchange(packet);
        assert!(bench.out.published.is_empty() && bench.out.requests.is_empty());
        (answer, bench.closed_because())
    })
}

#[test]
fn mqtt_3_2_2_9_the_connack_announces_what_is_not_the_default() {
    assert_eq!(connack(bare()), b"\x20\x03\x00\x00\x00");
    for (config, property) in [
        (Config { maximum_qos: 1, ..bare() }, b"\x24\x01"),
        (Config { maximum_qos: 0, ..bare() }, b"\x24\x00"),
        (Config { retain_available: false, ..bare() }, b"\x25\x00"),
        (Config { wildcard_subscriptions: false, ..bare() }, b"\x28\x00"),
        (Config { subscription_identifiers: false, ..bare() }, b"\x29\x00"),
        (Config { shared_subscriptions: false, ..bare() }, b"\x2a\x00"),
    ] {
        assert_eq!(connack(config), [&b"\x20\x05\x00\x00\x02"[..], property].concat());
    }
}

#[test]
fn mqtt_3_2_2_11_a_publish_above_the_maximum_qos_is_a_protocol_error() {
    let config = Config { maximum_qos: 1, ..Config::default() };
    let reason = Some(Reason::QosNotSupported);
    assert_eq!(
        both(&config, b"\x34\x06\x00\x01a\x00\x01\x00", b"\x34\x05\x00\x01a\x00\x01"),
        [(b"\xe0\x01\x9b".to_vec(), reason), (Vec::new(), reason)]
    );
    let mut bench = Bench::open_with(config, CONNECT_5_TERSE);
    assert_eq!(bench.exchange(b"\x32\x06\x00\x01a\x00\x01\x00"), b"\x40\x02\x00\x01");
    let config = Config { maximum_qos: 0, ..Config::default() };
    assert_eq!(both(&config, b"\x32\x06\x00\x01a\x00\x01\x00", b"\x32\x05\x00\x01a\x00\x01")[0].1, reason);
}

#[test]
fn mqtt_3_2_2_10_a_subscribe_above_the_maximum_qos_is_granted_less() {
    let config = Config { maximum_qos: 1, ..Config::default() };
    let mut bench = Bench::open_with(config, CONNECT_311);
    bench.exchange(b"\x82\x0a\x00\x01\x00\x01a\x02\x00\x01b\x00");
    let Some((ticket, Request::Subscribe(asked))) = bench.out.requests.pop_front() else { panic!() };
    assert_eq!([asked[0].qos, asked[1].qos], [Qos::AtLeastOnce, Qos::AtMostOnce]);
    bench.reply(ticket, Reply::Subscribed(vec![Reason::GrantedQos1, Reason::Success]));
    assert_eq!(bench.out.take_bytes(), b"\x90\x04\x00\x01\x01\x00");
}

#[test]
fn mqtt_3_2_2_14_a_retained_publish_is_a_protocol_error_where_there_is_no_retain() {
    let config = Config { retain_available: false, ..Config::default() };
    let reason = Some(Reason::RetainNotSupported);
    assert_eq!(
        both(&config, b"\x31\x05\x00\x01a\x00x", b"\x31\x04\x00\x01ax"),
        [(b"\xe0\x01\x9a".to_vec(), reason), (Vec::new(), reason)]
    );
}

#[test]
fn mqtt_3_2_2_12_and_13_a_will_that_is_not_supported_refuses_the_connection() {
    let qos_2 = |first: &[u8], level: u8, properties: &[u8]| {
        [
            first,
            b"\x00\x04MQTT",
            &[level, 0x16, 0, 10],
            properties,
            b"\x00\x01c",
            properties,
            b"\x00\x01w\x00\x00",
        ]
        .concat()
    };
    let retained = |mut connect: Vec<u8>| {
        connect[9] = 0x26;
        connect
    };
    let (connect_5, connect_311) = (qos_2(b"\x10\x14", 5, b"\x00"), qos_2(b"\x10\x12", 4, b""));
    for (config, connect, answer) in [
        (Config { maximum_qos: 1, ..bare() }, connect_5.clone(), &b"\x00\x9b"[..]),
        (Config { maximum_qos: 1, ..bare() }, connect_311.clone(), b"\x00\x05"),
        (Config { retain_available: false, ..bare() }, retained(connect_5.clone()), b"\x00\x9a"),
        (Config { retain_available: false, ..bare() }, retained(connect_311.clone()), b"\x00\x05"),
    ] {
        let mut bench = Bench::new(config);
        bench.receive(&connect);
        assert_eq!(&bench.out.take_bytes()[2..4], answer);
        assert!(bench.out.closed.is_some() && bench.out.requests.is_empty());
    }
    for connect in [connect_5.clone(), connect_311, retained(connect_5)] {
        assert!(Bench::new(bare()).connect(&connect).will.is_some());
    }
}

#[test]
fn subscriptions_that_are_not_supported_are_protocol_errors_with_reasons_of_their_own() {
    let shared = Config { shared_subscriptions: false, ..Config::default() };
    let wildcard = Config { wildcard_subscriptions: false, ..Config::default() };
    let identifiers = Config { subscription_identifiers: false, ..Config::default() };
    for (config, packet, code) in [
        (&shared, &b"\x82\x10\x00\x01\x00\x00\x0a$share/g/a\x00"[..], 0x9E),
        (&wildcard, b"\x82\x07\x00\x01\x00\x00\x01#\x00", 0xA2),
        (&wildcard, b"\x82\x0d\x00\x01\x00\x00\x01a\x00\x00\x03a/+\x00", 0xA2),
        (&identifiers, b"\x82\x09\x00\x01\x02\x0b\x01\x00\x01a\x00", 0xA1),
    ] {
        let mut bench = Bench::open_with(config.clone(), CONNECT_5_TERSE);
        assert_eq!(bench.exchange(packet), [0xE0, 1, code], "{packet:02x?}");
        assert!(bench.out.requests.is_empty());
    }
    // What they do not concern passes.
    for config in [&shared, &wildcard, &identifiers] {
        let mut bench = Bench::open_with(config.clone(), CONNECT_5_TERSE);
        assert_eq!(bench.exchange(b"\x82\x07\x00\x01\x00\x00\x01a\x00"), b"");
        assert_eq!(bench.out.requests.len(), 1);
    }
}

#[test]
fn before_5_0_the_one_filter_is_refused() {
    let config = Config { shared_subscriptions: false, wildcard_subscriptions: false, ..Config::default() };
    let mut bench = Bench::open_with(config, CONNECT_311);
    bench.exchange(b"\x82\x17\x00\x01\x00\x0a$share/g/a\x00\x00\x01a\x00\x00\x01#\x00");
    let Some((ticket, Request::Subscribe(asked))) = bench.out.requests.pop_front() else { panic!() };
    assert_eq!(asked.len(), 1);
    bench.reply(ticket, Reply::Subscribed(vec![Reason::Success]));
    assert_eq!(bench.out.take_bytes(), b"\x90\x05\x00\x01\x80\x00\x80");
}
