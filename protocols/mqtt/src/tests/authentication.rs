//! Enhanced authentication (MQTT 5.0 section 4.12).

use std::time::Duration;

use bytes::Bytes;
use gateway_model::{
    Adapter, Authentication, ClientId, Close, Event, Expiry, Opened, Reason, Refusal, Reply, Request, Ticket,
};

use super::{Bench, CONNECT_311, connect_5};
use crate::Config;
use crate::codec::Property;

/// With the method `m`, the data `hi`, and no wish for reason strings.
fn connect() -> Vec<u8> {
    connect_5(&[
        Property::AuthenticationMethod("m"),
        Property::AuthenticationData(b"hi"),
        Property::RequestProblemInformation(false),
    ])
}

/// AUTH 0x18 with the method `m` and the data `abc`, in both directions.
const CONTINUE: &[u8] = b"\xf0\x0c\x18\x0a\x15\x00\x01m\x16\x00\x03abc";
const CONTINUE_WITHOUT_DATA: &[u8] = b"\xf0\x06\x18\x04\x15\x00\x01m";
const ANEW: &[u8] = b"\xf0\x0c\x19\x0a\x15\x00\x01m\x16\x00\x03new";
const ANEW_OTHER_METHOD: &[u8] = b"\xf0\x06\x19\x04\x15\x00\x01n";

fn challenge() -> Reply {
    Reply::Challenge(Bytes::from_static(b"abc"))
}

fn opened(data: Option<&'static [u8]>) -> Reply {
    Reply::Opened(Ok(Opened {
        client_id: ClientId::parse("c").unwrap(),
        session_present: false,
        expiry: Expiry::Immediately,
        held: Vec::new(),
        authentication_data: data.map(Bytes::from_static),
    }))
}

fn refusal(reason: Reason) -> Refusal {
    Refusal { reason, text: "no".into() }
}

/// At the point where the client owes an answer.
fn challenged() -> Bench {
    let mut bench = Bench::new(Config::default());
    bench.connect(&connect());
    bench.reply(Ticket(0), challenge());
    assert_eq!(bench.out.take_bytes(), CONTINUE);
    bench
}

/// In an open session.
fn authenticated() -> Bench {
    let mut bench = Bench::new(Config::default());
    bench.connect(&connect());
    bench.reply(Ticket(0), opened(None));
    bench.out.take_bytes();
    bench
}

/// Sends an AUTH that becomes a request.
fn request(bench: &mut Bench, bytes: &[u8]) -> (Ticket, Request) {
    assert_eq!(bench.exchange(bytes), b"");
    bench.out.requests.pop_front().expect("a request")
}

#[test]
fn mqtt_4_12_0_5_connect_challenge_answer_connack() {
    let mut bench = Bench::new(Config { topic_alias_maximum: 0, ..Config::default() });
    let open = bench.connect(&connect());
    let asked = Authentication { method: "m".into(), data: Some(Bytes::from_static(b"hi")) };
    assert_eq!(open.authentication, Some(asked));
    for _ in 0..2 {
        bench.reply(Ticket(0), challenge());
        assert_eq!(bench.out.take_bytes(), CONTINUE);
        let (_, Request::Authenticate(data)) = request(&mut bench, CONTINUE) else { panic!() };
        assert_eq!(&data[..], b"abc");
        assert_eq!(bench.receive(b"\xc0\x00"), 0, "nothing is consumed while the gateway thinks");
    }
    bench.reply(Ticket(0), opened(Some(b"ok")));
    let connack = b"\x20\x14\x00\x00\x11\x21\x04\x00\x27\x00\x10\x00\x00\x15\x00\x01m\x16\x00\x02ok";
    assert_eq!(bench.out.take_bytes(), connack);
    assert_eq!(bench.exchange(b"\xc0\x00"), b"\xd0\x00");
}

#[test]
fn mqtt_4_12_0_5_a_method_of_one_step_is_named_in_the_connack() {
    let mut bench = Bench::new(Config { topic_alias_maximum: 0, ..Config::default() });
    bench.connect(&connect());
    bench.reply(Ticket(0), opened(None));
    let connack = b"\x20\x0f\x00\x00\x0c\x21\x04\x00\x27\x00\x10\x00\x00\x15\x00\x01m";
    assert_eq!(bench.out.take_bytes(), connack);
}

#[test]
fn an_answer_may_have_no_data() {
    let (_, Request::Authenticate(data)) = request(&mut challenged(), CONTINUE_WITHOUT_DATA) else {
        panic!()
    };
    assert!(data.is_empty());
}

#[test]
fn mqtt_4_12_0_4_authentication_may_be_refused_at_any_point() {
    for steps in 0..2 {
        let mut bench = Bench::new(Config::default());
        bench.connect(&connect());
        for _ in 0..steps {
            bench.reply(Ticket(0), challenge());
            bench.out.take_bytes();
            request(&mut bench, CONTINUE);
        }
        bench.reply(Ticket(0), Reply::Opened(Err(refusal(Reason::BadAuthenticationMethod))));
        assert_eq!(bench.out.take_bytes(), b"\x20\x03\x00\x8c\x00");
        assert_eq!(bench.closed_because(), Some(Reason::BadAuthenticationMethod));
    }
}

#[test]
fn mqtt_3_1_2_30_only_auth_and_disconnect_may_precede_the_connack() {
    for (packet, code) in [
        (&b"\xc0\x00"[..], 0x82),                 // PINGREQ
        (b"\x30\x04\x00\x01a\x00", 0x82),         // PUBLISH
        (b"\xf0\x00", 0x82),                      // AUTH 0x00, no method
        (b"\xf0\x06\x00\x04\x15\x00\x01m", 0x82), // AUTH 0x00 is the server's
        (b"\xf0\x02\x18\x00", 0x82),              // no method
        (ANEW, 0x82),                             // nothing to repeat yet
        (b"\xf0\x06\x18\x04\x15\x00\x01n", 0x8C), // another method
        (b"\xf1\x00", 0x81),                      // reserved flags
        (b"\xf0\x01\x87", 0x81),                  // a reason that AUTH has not
        (b"\xe0\x01\x0f", 0x81),                  // nor DISCONNECT
    ] {
        let mut bench = challenged();
        assert_eq!(bench.exchange(packet), [0x20, 3, 0, code, 0], "{packet:02x?}");
        assert_eq!(bench.closed_because().map(Reason::code), Some(code));
        assert!(bench.out.requests.is_empty() && bench.out.published.is_empty());
    }
    let mut bench = challenged();
    assert_eq!(bench.exchange(b"\xe0\x00"), b"");
    let farewell = Close { reason: Reason::Success, publish_will: false, expiry: None };
    assert_eq!(bench.out.closed, Some(farewell));
}

#[test]
fn a_stranger_that_authenticates_may_send_no_more_than_a_stranger() {
    let mut bench = Bench::new(Config { connect_bytes_max: 64, ..Config::default() });
    bench.connect(&connect());
    bench.reply(Ticket(0), challenge());
    bench.out.take_bytes();
    bench.receive(b"\xf0\x40");
    assert_eq!(bench.out.take_bytes(), b"\x20\x03\x00\x95\x00");
}

#[test]
fn mqtt_4_12_0_7_auth_without_a_method_in_connect_is_a_protocol_error() {
    for packet in [&b"\xf0\x00"[..], CONTINUE, ANEW] {
        let mut bench = Bench::open_5();
        assert_eq!(bench.exchange(packet), b"\xe0\x01\x82");
    }
    let mut bench = Bench::open_311();
    assert_eq!(bench.exchange(b"\xf0\x00"), b"");
    assert_eq!(bench.closed_because(), Some(Reason::MalformedPacket));
    assert_eq!(Bench::new(Config::default()).connect(CONNECT_311).authentication, None);
}

#[test]
fn the_connect_timeout_covers_the_exchange_but_not_the_gateways_part() {
    const SECOND: Duration = Duration::from_secs(1);
    let mut bench = Bench::new(Config::default());
    bench.wait(3 * SECOND);
    bench.connect(&connect());
    assert_eq!(bench.connection.next_timeout(), None);
    bench.wait(60 * SECOND);
    bench.reply(Ticket(0), challenge());
    assert_eq!(bench.connection.next_timeout(), Some(bench.now + 7 * SECOND));
    bench.wait(4 * SECOND);
    bench.out.take_bytes();
    request(&mut bench, CONTINUE);
    bench.reply(Ticket(0), challenge());
    bench.out.take_bytes();
    assert_eq!(bench.connection.next_timeout(), Some(bench.now + 3 * SECOND));
    bench.wait(3 * SECOND);
    assert_eq!(bench.out.take_bytes(), b"\x20\x03\x00\x87\x00");
    assert_eq!(bench.closed_because(), Some(Reason::NotAuthorized));
}

#[test]
fn an_eviction_while_authenticating_is_a_refusal() {
    let mut bench = challenged();
    bench.handle(Event::Evicted(Reason::ServerShuttingDown));
    assert_eq!(bench.out.take_bytes(), b"\x20\x03\x00\x88\x00");
    assert_eq!(bench.closed_because(), Some(Reason::ServerShuttingDown));
}

#[test]
fn mqtt_4_12_1_1_reauthentication_while_other_packets_go_on() {
    let mut bench = authenticated();
    for _ in 0..2 {
        let (ticket, Request::Reauthenticate(authentication)) = request(&mut bench, ANEW) else { panic!() };
        let asked = Authentication { method: "m".into(), data: Some(Bytes::from_static(b"new")) };
        assert_eq!(authentication, asked);
        bench.reply(ticket, challenge());
        assert_eq!(bench.out.take_bytes(), CONTINUE);
        assert_eq!(bench.exchange(b"\xc0\x00"), b"\xd0\x00");
        let (ticket, Request::Authenticate(data)) = request(&mut bench, CONTINUE) else { panic!() };
        assert_eq!(&data[..], b"abc");
        assert_eq!(bench.exchange(b"\x32\x06\x00\x01a\x00\x01\x00"), b"\x40\x02\x00\x01");
        bench.reply(ticket, Reply::Reauthenticated(Ok(Some(Bytes::from_static(b"ok")))));
        assert_eq!(bench.out.take_bytes(), b"\xf0\x0b\x00\x09\x15\x00\x01m\x16\x00\x02ok");
        assert_eq!(bench.closed_because(), None);
    }
}

#[test]
fn mqtt_4_12_1_2_a_failed_reauthentication_ends_the_connection() {
    for (reason, code) in [
        (Reason::NotAuthorized, 0x87),
        (Reason::BadUserNameOrPassword, 0x87),
        (Reason::BadAuthenticationMethod, 0x8C),
        (Reason::ServerUnavailable, 0x80),
    ] {
        let mut bench = authenticated();
        let (ticket, _) = request(&mut bench, ANEW);
        bench.reply(ticket, Reply::Reauthenticated(Err(refusal(reason))));
        assert_eq!(bench.out.take_bytes(), [0xE0, 1, code], "{reason}");
        assert!(bench.out.closed.is_some_and(|close| close.publish_will));
    }
}

#[test]
fn auth_out_of_turn_is_a_protocol_error() {
    // Nothing to continue; the server's word; another method.
    for (packet, code) in
        [(CONTINUE, 0x82), (b"\xf0\x06\x00\x04\x15\x00\x01m", 0x82), (ANEW_OTHER_METHOD, 0x8C)]
    {
        let mut bench = authenticated();
        assert_eq!(bench.exchange(packet), [0xE0, 1, code], "{packet:02x?}");
    }
    // Twice, and an answer before the challenge.
    for packet in [ANEW, CONTINUE] {
        let mut bench = authenticated();
        request(&mut bench, ANEW);
        assert_eq!(bench.exchange(packet), b"\xe0\x01\x82");
    }
}
