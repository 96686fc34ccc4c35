use std::sync::Arc;

use gateway_model::testing::{Outbox, Recorder};
use gateway_model::{ClientId, Expiry, Identifiers, Message, Opened, Outgoing, Topic};

use super::*;

fn open() -> (Connection, Recorder) {
    let (mut connection, mut recorder, now) = (Connection::Fresh, Recorder::default(), Instant::now());
    assert_eq!(connection.receive(now, b"SUB a", &mut recorder), 0);
    assert!(matches!(recorder.requests.pop_front(), Some((_, Request::Open(_)))));
    let opened = Opened {
        client_id: ClientId::parse("lines-1").unwrap(),
        session_present: false,
        expiry: Expiry::Immediately,
        held: Vec::new(),
        authentication_data: None,
    };
    connection.handle(now, Event::Reply(Ticket(0), Reply::Opened(Ok(opened))), &mut recorder);
    (connection, recorder)
}

#[test]
fn lines_publish_and_subscribe_however_they_are_cut() {
    let (mut connection, mut recorder) = open();
    let (now, bytes) = (Instant::now(), b"SUB plant/+\nPUB plant/7 level 42\nPUB a");
    assert_eq!(connection.receive(now, bytes, &mut recorder), 12);
    let Some((ticket, Request::Subscribe(subscriptions))) = recorder.requests.pop_front() else { panic!() };
    assert_eq!(subscriptions[0].filter, TopicFilter::parse("plant/+").unwrap());
    let granted = Reply::Subscribed(vec![Reason::Success]);
    connection.handle(now, Event::Reply(ticket, granted), &mut recorder);
    assert_eq!(connection.receive(now, &bytes[12..], &mut recorder), bytes.len() - 12 - 5);
    let (_, publish) = &recorder.published[0];
    assert_eq!((&*publish.topic, &publish.payload[..]), ("plant/7", &b"level 42"[..]));
    assert_eq!(recorder.take_bytes(), b"OK\nOK\n");
    assert_eq!(recorder.closed, None);
}

#[test]
fn ok_means_that_it_is_safe() {
    for (reason, answer) in [(Reason::Success, &b"OK\n"[..]), (Reason::QuotaExceeded, b"")] {
        let (mut connection, mut recorder) = open();
        recorder.publish_outcome = Outcome::Later;
        let bytes = b"PUB a 1\nPUB a 2\n";
        assert_eq!(connection.receive(Instant::now(), bytes, &mut recorder), 8);
        assert_eq!(connection.receive(Instant::now(), &bytes[8..], &mut recorder), 0);
        assert_eq!(recorder.take_bytes(), b"");
        let published = Event::Reply(recorder.published[0].0, Reply::Published(reason));
        connection.handle(Instant::now(), published, &mut recorder);
        assert_eq!(recorder.take_bytes(), answer);
        assert_eq!(recorder.closed.map(|close| close.reason), reason.is_error().then_some(reason));
    }
}

#[test]
fn deliveries_are_lines() {
    let (mut connection, mut recorder) = open();
    let message = Arc::new(Message {
        topic: Topic::parse("plant/7").unwrap(),
        payload: "open".into(),
        properties: None,
        publisher: ClientId::parse("c").unwrap(),
        accepted_unix_millis: 0.into(),
        expires_at: None,
        qos: Qos::AtMostOnce,
        retain: false,
        stored: Default::default(),
    });
    let (qos, identifiers) = (Qos::AtMostOnce, Identifiers::None);
    let outgoing = Outgoing {
        message,
        id: None,
        qos,
        retain: false,
        duplicate: false,
        released: false,
        identifiers,
        mount_len: 0,
    };
    let mut outbox = Outbox([outgoing].into(), 0);
    connection.deliver(Instant::now(), &mut outbox, &mut recorder);
    assert_eq!(recorder.take_bytes(), b"plant/7 open\n");
}

#[test]
fn anything_else_ends_the_connection() {
    let endless = vec![b'x'; LINE_LEN_MAX + 1];
    for (bytes, reason) in [
        (&b"GET / HTTP/1.1\r\n"[..], Reason::MalformedPacket),
        (b"\n", Reason::MalformedPacket),
        (b"PUB a/+ x\n", Reason::TopicNameInvalid),
        (b"SUB a#\n", Reason::TopicFilterInvalid),
        (&endless, Reason::PacketTooLarge),
    ] {
        let (mut connection, mut recorder) = open();
        connection.receive(Instant::now(), bytes, &mut recorder);
        assert_eq!(recorder.closed.map(|close| close.reason), Some(reason));
    }
}
