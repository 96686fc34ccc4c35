use std::time::Duration;

use coap_lite::MessageType;
use gateway_model::{Adapter, Event, Outcome, Properties, Qos, Reason, Reply};

use super::peer::*;
use crate::Config;
use crate::message::{Code, with_code};

#[test]
fn td_coap_core_01_con_get() {
    let mut peer = Peer::new();
    peer.store("a/b", b"21.5", 50);
    let reply = peer.con(ask(Code::GET, "ps/a/b"));
    assert_eq!((code(&reply), &reply.payload[..]), (Code::CONTENT, &b"21.5"[..]));
    assert_eq!(uint_option(&reply, number::CONTENT_FORMAT), Some(50));
    assert_eq!(option(&reply, number::ETAG).map(|etag| etag.len()), Some(8));
    assert_eq!(code(&peer.con(ask(Code::GET, "ps/none"))), Code::NOT_FOUND);
}

#[test]
fn td_coap_core_02_con_delete() {
    let mut peer = Peer::new();
    peer.store("a", b"1", 0);
    assert_eq!(code(&peer.con(ask(Code::DELETE, "ps/a"))), Code::DELETED);
    let (_, publish) = &peer.out.published[0];
    assert!(publish.retain && publish.payload.is_empty());
    assert_eq!(code(&peer.con(ask(Code::GET, "ps/a"))), Code::NOT_FOUND);
}

#[test]
fn td_coap_core_03_con_put_is_a_retained_state() {
    let mut peer = Peer::new();
    let reply = peer.con(with(ask_with(Code::PUT, "ps/a/b", b"{}"), number::CONTENT_FORMAT, &[50]));
    assert_eq!(code(&reply), Code::CHANGED);
    let (_, publish) = &peer.out.published[0];
    assert_eq!((publish.topic.as_str(), &publish.payload[..]), ("a/b", &b"{}"[..]));
    assert_eq!((publish.qos, publish.retain), (Qos::AtLeastOnce, true));
    let expected = Properties { content_type: Some("application/json".into()), ..Properties::default() };
    assert_eq!(publish.properties.as_deref(), Some(&expected));
    let mut peer = Peer::with(Config { put_retain: false, ..Config::default() });
    peer.con(ask_with(Code::PUT, "ps/a", b"1"));
    assert!(!peer.out.published[0].1.retain);
}

#[test]
fn td_coap_core_04_con_post_is_an_event() {
    let mut peer = Peer::new();
    assert_eq!(code(&peer.con(ask_with(Code::POST, "ps/a", b"1"))), Code::CHANGED);
    assert_eq!((peer.out.published[0].1.qos, peer.out.published[0].1.retain), (Qos::AtLeastOnce, false));
    peer.con(ask_with(Code::POST, "ps/a?qos=2&retain=true&expiry=30", b"1"));
    let publish = &peer.out.published[1].1;
    assert_eq!((publish.qos, publish.retain), (Qos::ExactlyOnce, true));
    assert_eq!(publish.expiry, Some(Duration::from_secs(30)));
}

#[test]
fn td_coap_core_05_to_08_the_same_non_confirmable() {
    let mut peer = Peer::new();
    assert_eq!(code(&peer.non(ask_with(Code::PUT, "ps/a", b"1"))), Code::CHANGED);
    assert_eq!(peer.out.published[0].1.qos, Qos::AtMostOnce);
    assert_eq!(code(&peer.non(ask(Code::GET, "ps/a"))), Code::CONTENT);
    assert_eq!(code(&peer.non(ask_with(Code::POST, "ps/a", b"1"))), Code::CHANGED);
    assert_eq!(code(&peer.non(ask(Code::DELETE, "ps/a"))), Code::DELETED);
}

#[test]
fn td_coap_core_09_and_11_separate_response_when_durability_takes_long() {
    let mut peer = Peer::new();
    peer.con(ask_with(Code::PUT, "ps/a", b"0"));
    peer.out.publish_outcome = Outcome::Later;
    let put = peer.encode(MessageType::Confirmable, ask_with(Code::PUT, "ps/a", b"1"));
    assert!(peer.datagram(&put).is_empty(), "no acknowledgement before it is durable");
    assert!(peer.advance(Duration::from_millis(499)).is_empty());
    let sent = peer.advance(Duration::from_millis(1));
    assert_eq!((code(&sent[0]), sent[0].header.message_id.to_be_bytes()), (Code::EMPTY, [put[2], put[3]]));
    let published = Event::Reply(peer.out.published[1].0, Reply::Published(Reason::Success));
    peer.endpoint.handle(peer.now, published, &mut peer.out);
    let sent = peer.sent();
    assert_eq!((code(&sent[0]), sent[0].get_token()), (Code::CHANGED, &[0x7A][..]));
    assert_eq!(sent[0].header.get_type(), MessageType::Confirmable);
    let again = peer.advance_secs(3);
    assert_eq!(again[0], sent[0], "retransmitted until acknowledged");
    assert!(peer.ack(&sent[0]).is_empty());
    assert!(peer.advance_secs(100).is_empty());
}

#[test]
fn td_coap_core_10_and_12_tokens_of_0_to_8_bytes() {
    let mut peer = Peer::new();
    for len in 0..=8u8 {
        let token = vec![0xEE; usize::from(len)];
        let bytes = [&[0x40 | len, 3, 9, len][..], &token, b"\xb2ps\x01a\xff1"].concat();
        let sent = peer.datagram(&bytes);
        assert_eq!((code(&sent[0]), sent[0].get_token()), (Code::CHANGED, &token[..]));
    }
}

#[test]
fn td_coap_core_13_segments_are_levels() {
    let mut peer = Peer::new();
    peer.con(ask_with(Code::POST, "ps/seg1/seg2//seg3", b"1"));
    assert_eq!(peer.out.published[0].1.topic.as_str(), "seg1/seg2//seg3");
    for segment in [&b"a/b"[..], b"a\0b", b"\xff", b"+", b"#", b""] {
        let reply = peer.con(with(ask_with(Code::PUT, "ps", b"1"), number::URI_PATH, segment));
        assert_eq!(code(&reply), Code::BAD_REQUEST, "{segment:?}");
    }
    assert_eq!(peer.out.published.len(), 1);
}

#[test]
fn td_coap_core_14_garbage_in_the_query_is_refused_with_a_diagnostic() {
    let mut peer = Peer::new();
    for query in ["qos=3", "qos=x", "retain=maybe", "expiry=-1", "expiry=99999999999"] {
        let reply = peer.con(ask_with(Code::PUT, &format!("ps/a?{query}"), b"1"));
        assert_eq!(code(&reply), Code::BAD_REQUEST);
        assert!(std::str::from_utf8(&reply.payload).unwrap().starts_with(query.split('=').next().unwrap()));
    }
    assert_eq!(code(&peer.con(ask_with(Code::PUT, "ps/a?first=1&second=2", b"1"))), Code::CHANGED);
}

#[test]
fn td_coap_core_15_a_lost_acknowledgement_does_not_publish_twice() {
    let mut peer = Peer::new();
    let post = peer.encode(MessageType::Confirmable, ask_with(Code::POST, "ps/a", b"1"));
    let first = peer.datagram(&post);
    peer.advance_secs(2);
    assert_eq!(peer.datagram(&post), first);
    assert_eq!(peer.out.published.len(), 1);
}

#[test]
fn td_coap_core_20_accept() {
    let mut peer = Peer::new();
    peer.store("a", b"{}", 50);
    let accepting = |format: &[u8]| with(ask(Code::GET, "ps/a"), number::ACCEPT, format);
    assert_eq!(code(&peer.con(accepting(&[50]))), Code::CONTENT);
    assert_eq!(code(&peer.con(accepting(&[41]))), Code::NOT_ACCEPTABLE);
    peer.con(ask_with(Code::PUT, "ps/plain", b"x"));
    let plain = |format: &[u8]| with(ask(Code::GET, "ps/plain"), number::ACCEPT, format);
    assert_eq!(uint_option(&peer.con(plain(&[])), number::CONTENT_FORMAT), Some(0), "text is text");
    assert_eq!(uint_option(&peer.con(plain(&[42])), number::CONTENT_FORMAT), Some(42));
    assert_eq!(code(&peer.con(plain(&[50]))), Code::NOT_ACCEPTABLE);
}

#[test]
fn td_coap_core_21_etag_revalidates() {
    let mut peer = Peer::new();
    peer.store("a", b"1", 0);
    let etag = option(&peer.con(ask(Code::GET, "ps/a")), number::ETAG).unwrap();
    let valid = peer.con(with(ask(Code::GET, "ps/a"), number::ETAG, &etag));
    assert_eq!((code(&valid), valid.payload.len()), (Code::VALID, 0));
    assert_eq!(option(&valid, number::ETAG), Some(etag.clone()));
    peer.store("a", b"2", 0);
    assert_eq!(code(&peer.con(with(ask(Code::GET, "ps/a"), number::ETAG, &etag))), Code::CONTENT);
}

#[test]
fn td_coap_core_22_if_match() {
    let mut peer = Peer::new();
    peer.store("a", b"1", 0);
    let etag = option(&peer.con(ask(Code::GET, "ps/a")), number::ETAG).unwrap();
    let put = |etag: &[u8]| with(ask_with(Code::PUT, "ps/a", b"2"), number::IF_MATCH, etag);
    assert_eq!(code(&peer.con(put(b"other"))), Code::PRECONDITION_FAILED);
    assert_eq!(code(&peer.con(put(&etag))), Code::CHANGED);
    assert_eq!(code(&peer.con(put(&etag))), Code::PRECONDITION_FAILED, "the value has changed");
    assert_eq!(code(&peer.con(put(b""))), Code::CHANGED, "empty: any existing value");
    let missing = with(ask_with(Code::PUT, "ps/none", b"2"), number::IF_MATCH, b"");
    assert_eq!(code(&peer.con(missing)), Code::PRECONDITION_FAILED);
}

#[test]
fn td_coap_core_23_if_none_match() {
    let mut peer = Peer::new();
    let put = || with(ask_with(Code::PUT, "ps/a", b"1"), number::IF_NONE_MATCH, b"");
    assert_eq!(code(&peer.con(put())), Code::CREATED);
    assert_eq!(code(&peer.con(put())), Code::PRECONDITION_FAILED);
    assert_eq!(peer.out.published.len(), 1);
}

#[test]
fn td_coap_core_31_ping() {
    let mut peer = Peer::new();
    let sent = peer.datagram(&[0x40, 0, 0x12, 0x34]);
    assert_eq!(sent[0].header.get_type(), MessageType::Reset);
    assert_eq!(peer.opens, 0, "a ping opens no session");
}

#[test]
fn rfc7252_5_4_1_unknown_critical_options() {
    let mut peer = Peer::new();
    let put = || ask_with(Code::PUT, "ps/a", b"1");
    assert_eq!(code(&peer.con(with(ask(Code::GET, "ps/a"), 2049, b"x"))), Code::BAD_OPTION);
    let non = peer.encode(MessageType::NonConfirmable, with(put(), 2049, b""));
    let sent = peer.datagram(&non);
    assert_eq!(sent[0].header.get_type(), MessageType::Reset);
    assert_eq!(code(&peer.con(with(put(), 2050, b"x"))), Code::CHANGED, "elective");
    let q_block = with(put(), number::Q_BLOCK1, b"");
    assert_eq!(code(&peer.con(q_block)), Code::BAD_OPTION, "RFC 9177 section 4.1");
    let proxy = with(ask(Code::GET, "ps/a"), number::PROXY_SCHEME, b"coap");
    assert_eq!(code(&peer.con(proxy)), Code::PROXYING_NOT_SUPPORTED);
    let addressed = with(with(put(), number::URI_HOST, b"gw"), number::URI_PORT, &[22, 51]);
    assert_eq!(code(&peer.con(with(addressed, number::HOP_LIMIT, &[16]))), Code::CHANGED);
}

#[test]
fn rfc7252_5_8_methods_and_paths() {
    let mut peer = Peer::new();
    for method in [Code::FETCH, Code::PATCH, Code::IPATCH, Code(0x1F)] {
        assert_eq!(code(&peer.con(ask(method, "ps/a"))), Code::METHOD_NOT_ALLOWED);
    }
    assert_eq!(code(&peer.con(ask(Code::PUT, ".well-known/core"))), Code::METHOD_NOT_ALLOWED);
    assert_eq!(code(&peer.con(ask(Code::POST, "ps"))), Code::METHOD_NOT_ALLOWED);
    for path in ["other", "PS/a", ".well-known", ".well-known/core/x"] {
        assert_eq!(code(&peer.con(ask(Code::GET, path))), Code::NOT_FOUND);
    }
    assert_eq!(code(&peer.con(with_code(Code::GET))), Code::NOT_FOUND, "no path at all");
    assert_eq!(peer.opens, 0);
}

#[test]
fn rfc7967_no_response() {
    let mut peer = Peer::new();
    let cases = [
        (2, false, true),
        (8, false, false),
        (8, true, true),
        (2, true, false),
        (26, true, true),
        (0, false, false),
    ];
    for (bitmap, refused, silent) in cases {
        let path = if refused { "ps/a?qos=9" } else { "ps/a" };
        let packet = with(ask_with(Code::PUT, path, b"1"), number::NO_RESPONSE, &[bitmap]);
        let bytes = peer.encode(MessageType::Confirmable, packet.clone());
        let sent = peer.datagram(&bytes);
        assert_eq!((sent.len(), code(&sent[0]) == Code::EMPTY), (1, silent), "CON {bitmap} {refused}");
        let bytes = peer.encode(MessageType::NonConfirmable, packet);
        assert_eq!(peer.datagram(&bytes).is_empty(), silent, "NON {bitmap} {refused}");
    }
}

#[test]
fn rfc7252_5_10_5_max_age_is_what_is_left() {
    let mut peer = Peer::new();
    peer.con(ask_with(Code::PUT, "ps/a?expiry=100", b"1"));
    peer.advance_secs(30);
    assert_eq!(uint_option(&peer.con(ask(Code::GET, "ps/a")), number::MAX_AGE), Some(70));
    peer.advance_secs(70);
    assert_eq!(code(&peer.con(ask(Code::GET, "ps/a"))), Code::NOT_FOUND);
    peer.store("b", b"1", 0);
    assert_eq!(option(&peer.con(ask(Code::GET, "ps/b")), number::MAX_AGE), None, "60 by default");
}

#[test]
fn refused_publishes_say_why() {
    let mut peer = Peer::new();
    for (reason, expected, again) in [
        (Reason::NotAuthorized, Code::FORBIDDEN, false),
        (Reason::QuotaExceeded, Code::SERVICE_UNAVAILABLE, true),
        (Reason::ServerBusy, Code::SERVICE_UNAVAILABLE, true),
        (Reason::MessageRateTooHigh, Code::TOO_MANY_REQUESTS, true),
        (Reason::PacketTooLarge, Code::REQUEST_ENTITY_TOO_LARGE, false),
        (Reason::NoMatchingSubscribers, Code::CHANGED, false),
    ] {
        peer.out.publish_outcome = Outcome::Done(reason);
        let reply = peer.con(ask_with(Code::POST, "ps/a", b"1"));
        assert_eq!((code(&reply), option(&reply, number::MAX_AGE).is_some()), (expected, again), "{reason}");
        assert_eq!(reply.payload.is_empty(), expected == Code::CHANGED);
    }
}
