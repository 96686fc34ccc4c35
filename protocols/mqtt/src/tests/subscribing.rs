use gateway_model::{Qos, Reason, Reply, Request, RetainHandling, Ticket};

use super::{Bench, CONNECT_5};
use crate::Config;

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
