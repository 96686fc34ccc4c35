use std::time::Duration;

use gateway_model::{Adapter, Close, Event, Expiry, Reason};

use super::{Bench, CONNECT_5, CONNECT_311, connect_5};
use crate::Config;
use crate::codec::Property;

const MILLISECOND: Duration = Duration::from_millis(1);

#[test]
fn mqtt_3_1_2_24_keep_alive_expires_after_one_and_a_half_periods() {
    let mut bench = Bench::open_311();
    bench.wait(Duration::from_secs(15) - MILLISECOND);
    assert_eq!(bench.exchange(b"\xc0\x00"), b"\xd0\x00");
    bench.wait(Duration::from_secs(15) - MILLISECOND);
    assert_eq!(bench.closed_because(), None);
    bench.wait(MILLISECOND);
    assert_eq!(bench.out.closed, Some(Close::because(Reason::KeepAliveTimeout)));
    assert_eq!(bench.out.take_bytes(), b"");

    let mut bench = Bench::open_5();
    bench.wait(Duration::from_secs(15));
    assert_eq!(bench.out.take_bytes(), b"\xe0\x01\x8d");
}

#[test]
fn half_a_packet_keeps_nobody_alive() {
    let mut bench = Bench::open_311();
    bench.wait(Duration::from_secs(14));
    assert_eq!(bench.receive(b"\x30\x05\x00"), 0);
    bench.wait(Duration::from_secs(1));
    assert_eq!(bench.closed_because(), Some(Reason::KeepAliveTimeout));
}

#[test]
fn time_spent_opening_the_session_is_not_held_against_the_client() {
    let mut bench = Bench::new(Config::default());
    bench.connect(CONNECT_311);
    assert_eq!(bench.connection.next_timeout(), None);
    bench.wait(Duration::from_secs(60));
    bench.opened();
    assert_eq!(bench.connection.next_timeout(), Some(bench.now + Duration::from_secs(15)));
}

#[test]
fn a_timeout_that_comes_early_is_ignored() {
    let mut bench = Bench::open_311();
    bench.now += Duration::from_secs(1);
    bench.handle(Event::Timeout);
    assert_eq!(bench.closed_because(), None);
}

#[test]
fn mqtt_3_1_2_10_keep_alive_0_is_none() {
    let connect = b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01c";
    assert_eq!(Bench::open(connect).connection.next_timeout(), None);
}

#[test]
fn mqtt_3_2_2_21_the_servers_keep_alive_counts() {
    let config = Config { keep_alive_secs_max: 4, keep_alive_multiplier: 2.0, ..Config::default() };
    let bench = Bench::open_with(config.clone(), CONNECT_5);
    assert_eq!(bench.connection.next_timeout(), Some(bench.now + Duration::from_secs(8)));
    let bench = Bench::open_with(config, CONNECT_311);
    assert_eq!(bench.connection.next_timeout(), Some(bench.now + Duration::from_secs(20)));
}

#[test]
fn a_connect_has_to_come_in_time() {
    let mut bench = Bench::new(Config::default());
    bench.wait(Duration::from_secs(9));
    bench.receive(&CONNECT_311[..9]);
    assert_eq!(bench.closed_because(), None);
    bench.wait(Duration::from_secs(1));
    assert_eq!(bench.closed_because(), Some(Reason::KeepAliveTimeout));
    assert!(bench.out.wire.is_empty());
    let patient = Bench::new(Config { connect_timeout_secs: 0, ..Config::default() });
    assert_eq!(patient.connection.next_timeout(), None);
}

#[test]
fn mqtt_3_14_4_3_disconnect_takes_the_will_back() {
    for mut bench in [Bench::open_311(), Bench::open_5()] {
        assert_eq!(bench.exchange(b"\xe0\x00"), b"");
        assert_eq!(bench.out.closed, Some(Close::GOODBYE));
    }
}

#[test]
fn mqtt_3_14_2_1_disconnect_with_will_keeps_it() {
    let mut bench = Bench::open_5();
    bench.exchange(b"\xe0\x01\x04");
    assert_eq!(bench.out.closed, Some(Close::because(Reason::DisconnectWithWill)));
}

#[test]
fn mqtt_3_14_2_2_2_disconnect_replaces_the_expiry() {
    let persistent = b"\x10\x13\x00\x04MQTT\x05\x02\x00\x0a\x05\x11\x00\x00\x00\x0a\x00\x01c";
    for (secs, expiry) in
        [(0u32, Expiry::Immediately), (30, Expiry::After(Duration::from_secs(30))), (u32::MAX, Expiry::Never)]
    {
        let mut bench = Bench::open_with(Config::default(), persistent);
        let packet = [&b"\xe0\x07\x00\x05\x11"[..], &secs.to_be_bytes()].concat();
        assert_eq!(bench.exchange(&packet), b"");
        assert_eq!(bench.out.closed, Some(Close { expiry: Some(expiry), ..Close::GOODBYE }));
    }
    let mut bench = Bench::open_5();
    assert_eq!(bench.exchange(b"\xe0\x07\x00\x05\x11\x00\x00\x00\x01")[2], 0x82);
    assert_eq!(bench.out.closed, Some(Close::because(Reason::ProtocolError)));
}

#[test]
fn evicted_clients_are_told_why_in_5_0() {
    for (reason, told) in [
        (Reason::SessionTakenOver, 0x8E),
        (Reason::ServerShuttingDown, 0x8B),
        (Reason::AdministrativeAction, 0x98),
        (Reason::BadUserNameOrPassword, 0x80),
    ] {
        let mut bench = Bench::open_5();
        bench.handle(Event::Evicted(reason));
        assert_eq!(bench.out.take_bytes(), [0xE0, 1, told]);
        assert_eq!(bench.closed_because(), Some(reason));
        let mut bench = Bench::open_311();
        bench.handle(Event::Evicted(reason));
        assert_eq!(bench.out.take_bytes(), b"");
        assert_eq!(bench.closed_because(), Some(reason));
    }
}

#[test]
fn packets_out_of_place_are_protocol_errors() {
    let packets: [&[u8]; 6] = [
        CONNECT_5,                   // MQTT-3.1.0-2: a second one
        b"\x20\x03\x00\x00\x00",     // CONNACK
        b"\x90\x04\x00\x01\x00\x00", // SUBACK
        b"\xb0\x04\x00\x01\x00\x00", // UNSUBACK
        b"\xd0\x00",                 // PINGRESP
        b"\xf0\x00",                 // AUTH
    ];
    for packet in packets {
        let mut bench = Bench::open_5();
        let told = bench.exchange(packet);
        assert_eq!((told[0], told[2]), (0xE0, 0x82), "{packet:02x?}");
        assert_eq!(bench.closed_because(), Some(Reason::ProtocolError));
    }
    let mut bench = Bench::open_311();
    assert_eq!(bench.exchange(CONNECT_311), b"");
    assert_eq!(bench.closed_because(), Some(Reason::ProtocolError));
}

#[test]
fn a_closed_connection_does_nothing_more() {
    let mut bench = Bench::open_5();
    bench.handle(Event::Closed);
    bench.handle(Event::Evicted(Reason::ServerShuttingDown));
    bench.handle(Event::Timeout);
    assert_eq!(bench.exchange(b"\xc0\x00"), b"");
    assert_eq!(bench.out.closed, None);
}

#[test]
fn mqtt_3_14_2_1_reasons_that_only_a_server_has_are_protocol_errors() {
    let clients = [0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x8C, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99];
    let servers = [0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2];
    for code in 0..=u8::MAX {
        let mut bench = Bench::open_5();
        let answer = bench.exchange(&[0xE0, 1, code]);
        let expected = match code {
            code if clients.contains(&code) => &b""[..],
            code if servers.contains(&code) => b"\xe0\x01\x82",
            _ => b"\xe0\x01\x81",
        };
        assert_eq!(answer, expected, "{code:#x}");
        assert_eq!(bench.out.closed.map(|close| close.publish_will), Some(code != 0));
    }
}

#[test]
fn mqtt_3_12_pingreq_is_empty() {
    let mut bench = Bench::open_5();
    assert_eq!(bench.exchange(b"\xc0\x01\x00"), b"\xe0\x01\x81");
    let mut bench = Bench::open_5();
    assert_eq!(bench.exchange(b"\xc4\x00"), b"\xe0\x01\x81");
}

#[test]
fn mqtt_3_14_2_2_2_an_expiry_for_ever_is_one() {
    let mut bench = Bench::new(Config::default());
    assert_eq!(bench.connect(&connect_5(&[Property::SessionExpirySecs(u32::MAX)])).expiry, Expiry::Never);
    let mut bench = Bench::new(Config::default());
    let longest = bench.connect(&connect_5(&[Property::SessionExpirySecs(u32::MAX - 1)])).expiry;
    assert_eq!(longest, Expiry::After(Duration::from_secs(4_294_967_294)));
}
