use std::time::Duration;

use coap_lite::MessageType;
use gateway_model::{Adapter, Close, Event, Outcome, Reason, Refusal, Request};

use super::peer::*;
use crate::Config;
use crate::message::Code;

#[test]
fn the_first_request_opens_a_transient_session_and_is_then_served() {
    let mut peer = Peer::new();
    let put = peer.encode(MessageType::Confirmable, ask_with(Code::PUT, "ps/a", b"1"));
    peer.endpoint.receive(peer.now, &put, &mut peer.out);
    assert!(peer.out.published.is_empty() && peer.sent().is_empty());
    let Some((_, Request::Open(open))) = peer.out.requests.front() else { panic!() };
    assert!(open.client_id.is_none() && open.clean_start && open.credentials.username.is_none());
    peer.serve();
    assert_eq!((code(&peer.sent()[0]), peer.out.published.len()), (Code::CHANGED, 1));
    peer.con(ask_with(Code::PUT, "ps/a", b"2"));
    assert_eq!(peer.opens, 1);
}

#[test]
fn credentials_in_the_query_open_the_session() {
    for query in ["clientid=dev1&username=ann&password=secret", "c=dev1&u=ann&p=secret"] {
        let mut peer = Peer::new();
        let put = ask_with(Code::PUT, &format!("ps/a?{query}"), b"1");
        let bytes = peer.encode(MessageType::Confirmable, put);
        peer.endpoint.receive(peer.now, &bytes, &mut peer.out);
        let Some((_, Request::Open(open))) = peer.out.requests.front() else { panic!() };
        assert_eq!(open.client_id.as_ref().map(|id| id.as_str()), Some("dev1"));
        assert_eq!(open.credentials.username.as_deref(), Some("ann"));
        assert_eq!(open.credentials.password.as_deref(), Some(&b"secret"[..]));
        peer.serve();
        assert_eq!(code(&peer.sent()[0]), Code::CHANGED);
        assert_eq!(code(&peer.con(ask_with(Code::PUT, &format!("ps/a?{query}"), b"1"))), Code::CHANGED);
        assert_eq!(code(&peer.con(ask_with(Code::PUT, "ps/a", b"1"))), Code::CHANGED);
        let other = peer.con(ask_with(Code::PUT, "ps/a?u=bob&p=x", b"1"));
        assert_eq!(code(&other), Code::UNAUTHORIZED, "one address, one identity");
    }
}

#[test]
fn a_refusal_is_4_01_with_its_text_and_another_try_is_possible() {
    let mut peer = Peer::new();
    peer.refusal = Some(Refusal { reason: Reason::NotAuthorized, text: "set access.anonymous".into() });
    let reply = peer.con(ask_with(Code::PUT, "ps/a", b"1"));
    assert_eq!((code(&reply), &reply.payload[..]), (Code::UNAUTHORIZED, &b"set access.anonymous"[..]));
    let reply = peer.con(ask(Code::GET, ".well-known/core"));
    assert_eq!((code(&reply), &reply.payload[..]), (Code::CONTENT, &b"</ps>;rt=\"core.ps\";ct=40"[..]));
    peer.refusal = Some(Refusal { reason: Reason::ServerBusy, text: "busy".into() });
    assert_eq!(code(&peer.con(ask_with(Code::PUT, "ps/a", b"1"))), Code::SERVICE_UNAVAILABLE);
    peer.refusal = None;
    assert_eq!(code(&peer.con(ask_with(Code::PUT, "ps/a?u=ann&p=right", b"1"))), Code::CHANGED);
    assert_eq!(peer.opens, 4);
}

#[test]
fn requests_that_wait_for_the_session_are_kept_in_order_and_acknowledged() {
    let mut peer = Peer::new();
    for payload in [b"1", b"2", b"3"] {
        let post = peer.encode(MessageType::Confirmable, ask_with(Code::POST, "ps/a", payload));
        peer.endpoint.receive(peer.now, &post, &mut peer.out);
    }
    assert_eq!(peer.out.requests.len(), 1);
    peer.now += Duration::from_millis(500);
    peer.endpoint.handle(peer.now, Event::Timeout, &mut peer.out);
    assert!(peer.sent().iter().all(|sent| code(sent) == Code::EMPTY));
    peer.serve();
    let payloads: Vec<_> = peer.out.published.iter().map(|(_, publish)| publish.payload.clone()).collect();
    assert_eq!(payloads, [&b"1"[..], b"2", b"3"]);
    let (mut sent, mut answered) = (peer.sent(), 0);
    while let Some(separate) = sent.pop() {
        assert_eq!(code(&separate), Code::CHANGED);
        answered += 1;
        sent.extend(peer.ack(&separate));
    }
    assert_eq!(answered, 3, "separate responses, one at a time (NSTART)");
}

#[test]
fn the_number_of_waiting_requests_is_bounded() {
    let mut peer = Peer::with(Config { pending_max: 64, ..Config::default() });
    let mut refused = 0;
    for _ in 0..100 {
        let post = peer.encode(MessageType::Confirmable, ask_with(Code::POST, "ps/a", b"1"));
        peer.endpoint.receive(peer.now, &post, &mut peer.out);
        refused += peer.sent().iter().filter(|sent| code(sent) == Code::SERVICE_UNAVAILABLE).count();
    }
    assert_eq!(refused, 100 - 64);
    peer.out.publish_outcome = Outcome::Later;
    peer.serve();
    assert_eq!(peer.out.published.len(), 64);
    let post = peer.encode(MessageType::Confirmable, ask_with(Code::POST, "ps/a", b"1"));
    assert_eq!(
        code(&peer.datagram(&post)[0]),
        Code::SERVICE_UNAVAILABLE,
        "nothing is published beyond the bound"
    );
    assert_eq!(peer.out.published.len(), 64);
}

#[test]
fn an_idle_peer_is_forgotten_unless_it_observes() {
    let mut peer = Peer::new();
    peer.con(ask_with(Code::PUT, "ps/a", b"1"));
    peer.advance_secs(299);
    assert_eq!(peer.out.closed, None);
    peer.advance_secs(1);
    assert_eq!(peer.out.closed, Some(Close::GOODBYE));
    let mut peer = Peer::new();
    peer.observe("ps/a", 1);
    peer.advance_secs(100_000);
    assert_eq!((peer.out.closed, peer.endpoint.next_timeout()), (None, None), "no timer while it observes");
    peer.con(observing("ps/a", 1, 1));
    peer.advance_secs(300);
    assert_eq!(peer.out.closed, Some(Close::GOODBYE));
}

#[test]
fn an_evicted_peer_s_observers_are_told() {
    let mut peer = Peer::new();
    peer.observe("ps/a", 1);
    peer.observe("ps/b", 2);
    peer.endpoint.handle(peer.now, Event::Evicted(Reason::ServerShuttingDown), &mut peer.out);
    let sent = peer.sent();
    assert_eq!(sent.iter().map(|sent| sent.get_token()[0]).collect::<Vec<_>>(), [1, 2]);
    assert!(sent.iter().all(|sent| code(sent) == Code::SERVICE_UNAVAILABLE));
    assert!(sent.iter().all(|sent| option(sent, number::OBSERVE).is_none()));
    assert_eq!(peer.out.closed, Some(Close::because(Reason::ServerShuttingDown)));
}
