use gateway_model::{Outcome, Qos, Reason, Reply, Request, RetainHandling, Ticket};

use super::{Bench, CONNECT_5, connect_5};
use crate::Config;
use crate::codec::Property;

/// Sends a packet that becomes one request.
fn request(bench: &mut Bench, bytes: &[u8]) -> (Ticket, Request) {
    assert_eq!(bench.exchange(bytes), b"");
    let request = bench.out.requests.pop_front().expect("a request");
    assert!(bench.out.requests.is_empty());
    request
}

#[test]
fn mqtt_3_8_4_a_subscribe_is_one_request_and_one_suback() {
    let mut bench = Bench::open_311();
    let (ticket, Request::Subscribe(subscriptions)) =
        request(&mut bench, b"\x82\x0c\x00\x09\x00\x01#\x01\x00\x03a/+\x02")
    else {
        panic!()
    };
    let asked: Vec<_> = subscriptions.iter().map(|s| (s.filter.as_str(), s.qos)).collect();
    assert_eq!(asked, [("#", Qos::AtLeastOnce), ("a/+", Qos::ExactlyOnce)]);
    bench.reply(ticket, Reply::Subscribed(vec![Reason::GrantedQos1, Reason::NotAuthorized]));
    assert_eq!(bench.out.take_bytes(), b"\x90\x04\x00\x09\x01\x80");
}

#[test]
fn options_and_identifier_of_5_0_are_passed_on() {
    let mut bench = Bench::open_5();
    let (ticket, Request::Subscribe(subscriptions)) =
        request(&mut bench, b"\x82\x0a\x00\x02\x03\x0b\xff\x01\x00\x01a\x2d")
    else {
        panic!()
    };
    let subscription = &subscriptions[0];
    assert_eq!(subscription.identifier.unwrap().get(), 255);
    assert!(subscription.no_local && subscription.retain_as_published);
    assert_eq!((subscription.qos, subscription.retain_handling), (Qos::AtLeastOnce, RetainHandling::Never));
    bench.reply(ticket, Reply::Subscribed(vec![Reason::NotAuthorized]));
    assert_eq!(bench.out.take_bytes(), b"\x90\x04\x00\x02\x00\x87");
}

#[test]
fn invalid_filters_are_refused_one_by_one() {
    let mut bench = Bench::open_5();
    let packet = b"\x82\x11\x00\x02\x00\x00\x02a#\x00\x00\x01a\x00\x00\x02#/\x01";
    let (ticket, Request::Subscribe(subscriptions)) = request(&mut bench, packet) else { panic!() };
    assert_eq!(subscriptions.len(), 1);
    bench.reply(ticket, Reply::Subscribed(vec![Reason::Success]));
    assert_eq!(bench.out.take_bytes(), b"\x90\x06\x00\x02\x00\x8f\x00\x8f");

    let (ticket, Request::Unsubscribe(filters)) =
        request(&mut bench, b"\xa2\x0a\x00\x03\x00\x00\x02a#\x00\x01a")
    else {
        panic!()
    };
    assert_eq!(filters.len(), 1);
    bench.reply(ticket, Reply::Unsubscribed(vec![Reason::NoSubscriptionExisted]));
    assert_eq!(bench.out.take_bytes(), b"\xb0\x05\x00\x03\x00\x8f\x11");
}

#[test]
fn if_all_filters_are_invalid_nothing_is_asked() {
    assert_eq!(Bench::open_5().exchange(b"\x82\x08\x00\x02\x00\x00\x02a#\x00"), b"\x90\x04\x00\x02\x00\x8f");
    assert_eq!(Bench::open_311().exchange(b"\x82\x07\x00\x02\x00\x02a#\x00"), b"\x90\x03\x00\x02\x80");
    assert_eq!(Bench::open_311().exchange(b"\x82\x05\x00\x02\x00\x00\x00"), b"\x90\x03\x00\x02\x80");
    assert_eq!(Bench::open_5().exchange(b"\xa2\x07\x00\x02\x00\x00\x02a#"), b"\xb0\x04\x00\x02\x00\x8f");
    assert_eq!(Bench::open_311().exchange(b"\xa2\x06\x00\x02\x00\x02a#"), b"\xb0\x02\x00\x02");
}

#[test]
fn mqtt_3_10_4_unsubscribe_is_acknowledged() {
    let mut bench = Bench::open_311();
    let (ticket, Request::Unsubscribe(filters)) = request(&mut bench, b"\xa2\x05\x00\x01\x00\x01#") else {
        panic!()
    };
    assert_eq!(filters[0].as_str(), "#");
    bench.reply(ticket, Reply::Unsubscribed(vec![Reason::Success]));
    assert_eq!(bench.out.take_bytes(), b"\xb0\x02\x00\x01");
}

#[test]
fn mqtt_3_1_2_24_an_answer_larger_than_the_client_takes_ends_the_connection() {
    let small = connect_5(&[Property::MaximumPacketBytes(16)]);
    let twelve = |first: &[u8], filter: &[u8]| [first, &filter.repeat(12)].concat();
    let subscribe = twelve(b"\x82\x33\x00\x02\x00", b"\x00\x01a\x00");
    let unsubscribe = twelve(b"\xa2\x27\x00\x02\x00", b"\x00\x01a");
    for (packet, reply) in [
        (subscribe, Reply::Subscribed(vec![Reason::Success; 12])),
        (unsubscribe, Reply::Unsubscribed(vec![Reason::Success; 12])),
    ] {
        let mut bench = Bench::new(Config::default());
        bench.connect(&small);
        bench.opened();
        bench.out.take_bytes();
        let (ticket, _) = request(&mut bench, &packet);
        bench.reply(ticket, reply);
        assert_eq!(bench.out.take_bytes(), b"\xe0\x01\x95");
        assert_eq!(bench.closed_because(), Some(Reason::PacketTooLarge));
    }
}

#[test]
fn mqtt_3_8_4_1_a_subscribe_is_answered_before_what_follows_it_is_read() {
    let mut bench = Bench::open_311();
    let both = b"\x82\x06\x00\x01\x00\x01a\x00\xe0\x00";
    assert_eq!(bench.receive(both), 8);
    assert_eq!(bench.receive(&both[8..]), 0);
    let (ticket, _) = bench.out.requests.pop_front().unwrap();
    bench.reply(ticket, Reply::Subscribed(vec![Reason::Success]));
    assert_eq!(bench.out.take_bytes(), b"\x90\x03\x00\x01\x00");
    assert_eq!((bench.receive(&both[8..]), bench.closed_because()), (2, Some(Reason::Success)));
}

#[test]
fn mqtt_3_8_3_4_no_local_on_a_shared_subscription_is_a_protocol_error() {
    let mut bench = Bench::open_5();
    let told = bench.exchange(b"\x82\x10\x00\x01\x00\x00\x0a$share/g/a\x04");
    assert_eq!((told[0], told[2], bench.closed_because()), (0xE0, 0x82, Some(Reason::ProtocolError)));
}

#[test]
fn more_filters_than_a_packet_may_hold_are_refused() {
    let config = Config { packet_filters_max: 2, ..Config::default() };
    let three: [(&[u8], &[u8]); 2] = [
        (b"\x82\x0f\x00\x01\x00", b"\x00\x01a\x00\x00\x01b\x00\x00\x01c\x00"),
        (b"\xa2\x0c\x00\x01\x00", b"\x00\x01a\x00\x01b\x00\x01c"),
    ];
    for (head, filters) in three {
        let mut bench = Bench::open_with(config.clone(), CONNECT_5);
        let told = bench.exchange(&[head, filters].concat());
        assert_eq!((told[0], told[2], bench.closed_because()), (0xE0, 0x97, Some(Reason::QuotaExceeded)));
    }
}

#[test]
fn mqtt_3_8_3_2_an_empty_subscribe_is_a_protocol_error() {
    let mut bench = Bench::open_5();
    assert_eq!(bench.exchange(b"\x82\x03\x00\x01\x00")[2], 0x82);
    let mut bench = Bench::open_311();
    assert_eq!(bench.exchange(b"\x82\x02\x00\x01"), b"");
    assert_eq!(bench.closed_because(), Some(Reason::ProtocolError));
}

#[test]
fn illegal_subscribes_of_5_0() {
    for (packet, code) in [
        (&b"\x82\x09\x00\x01\x02\x0b\x00\x00\x01a\x00"[..], 0x82), // subscription identifier 0
        (b"\x82\x0c\x00\x01\x05\x0b\x80\x80\x80\x80\x00\x01a\x00", 0x81), // and one of five bytes
        (b"\x82\x0b\x00\x01\x04\x0b\x01\x0b\x02\x00\x01a\x00", 0x82), // twice
        (b"\x82\x07\x00\x01\x00\x00\x01a\x03", 0x82),              // QoS 3
        (b"\x82\x07\x00\x01\x00\x00\x01a\x30", 0x82),              // retain handling 3
        (b"\x82\x07\x00\x01\x00\x00\x01a\x40", 0x81),              // MQTT-3.8.3-5
        (b"\x82\x07\x00\x01\x00\x00\x01a\x80", 0x81),
        (b"\x82\x07\x00\x00\x00\x00\x01a\x00", 0x82), // packet identifier 0
        (b"\x82\x03\x00\x01\x00", 0x82),              // no filter
        (b"\x82\x06\x00\x01\x00\x00\x01a", 0x81),     // no options
        (b"\x80\x07\x00\x01\x00\x00\x01a\x00", 0x81), // flags
        (b"\xa2\x03\x00\x01\x00", 0x82),              // MQTT-3.10.3-2
        (b"\xa2\x06\x00\x00\x00\x00\x01a", 0x82),
        (b"\xa0\x06\x00\x01\x00\x00\x01a", 0x81),
    ] {
        let mut bench = Bench::open_5();
        assert_eq!(bench.exchange(packet), [0xE0, 1, code], "{packet:02x?}");
        assert!(bench.out.requests.is_empty());
    }
}

#[test]
fn the_largest_subscription_identifier_is_legal() {
    let mut bench = Bench::open_5();
    let (_, Request::Subscribe(asked)) =
        request(&mut bench, b"\x82\x0c\x00\x01\x05\x0b\xff\xff\xff\x7f\x00\x01a\x00")
    else {
        panic!()
    };
    assert_eq!(asked[0].identifier.unwrap().get(), 268_435_455);
}

#[test]
fn illegal_subscribes_before_5_0() {
    for packet in [
        &b"\x82\x06\x00\x01\x00\x01a\x03"[..], // QoS 3
        b"\x82\x06\x00\x01\x00\x01a\x04",      // MQTT-3.8.3-4 (3.1.1)
        b"\x82\x02\x00\x01",
        b"\xa2\x02\x00\x01",
    ] {
        let mut bench = Bench::open_311();
        assert_eq!(bench.exchange(packet), b"");
        assert!(bench.out.closed.is_some() && bench.out.requests.is_empty());
    }
}

#[test]
fn mqtt_2_2_1_3_an_identifier_of_a_publish_is_in_use() {
    let mut bench = Bench::open_5();
    bench.exchange(b"\x34\x06\x00\x01a\x00\x07\x00");
    bench.out.publish_outcome = Outcome::Later;
    bench.exchange(b"\x32\x06\x00\x01a\x00\x08\x00");
    for number in [7, 8] {
        let subscribe = [b"\x82\x0b\x00", &[number][..], b"\x00\x00\x01a\x00\x00\x01b\x00"].concat();
        assert_eq!(bench.exchange(&subscribe), [0x90, 5, 0, number, 0, 0x91, 0x91]);
        let unsubscribe = [b"\xa2\x06\x00", &[number][..], b"\x00\x00\x01a"].concat();
        assert_eq!(bench.exchange(&unsubscribe), [0xB0, 4, 0, number, 0, 0x91]);
    }
    assert!(bench.out.requests.is_empty());
    assert_eq!(bench.exchange(b"\x82\x07\x00\x09\x00\x00\x01a\x00"), b"");
    assert_eq!(bench.out.requests.len(), 1);
}

#[test]
fn a_reply_that_is_not_due_is_ignored() {
    let mut bench = Bench::open_5();
    let (ticket, _) = request(&mut bench, b"\x82\x07\x00\x09\x00\x00\x01a\x00");
    bench.reply(ticket, Reply::Subscribed(vec![Reason::Success]));
    bench.out.take_bytes();
    bench.reply(ticket, Reply::Subscribed(vec![Reason::Success]));
    assert_eq!(bench.out.take_bytes(), b"");
}
