use std::time::Duration;

use coap_lite::MessageType;
use gateway_model::{Adapter, Event, Outcome, Reason, Reply};

use super::peer::*;
use crate::Config;
use crate::message::Code;

impl Peer {
    /// The store is done with the publish of that index.
    fn published(&mut self, index: usize, reason: Reason) -> Vec<coap_lite::Packet> {
        let event = Event::Reply(self.out.published[index].0, Reply::Published(reason));
        self.endpoint.handle(self.now, event, &mut self.out);
        self.sent()
    }
}

/// With a session, and a store that is slow from now on.
fn slow(config: Config) -> Peer {
    let mut peer = Peer::with(config);
    peer.con(ask(Code::GET, ".well-known/core"));
    peer.out.publish_outcome = Outcome::Later;
    peer
}

#[test]
fn rfc_7252_5_2_1_what_is_durable_soon_is_answered_in_the_acknowledgement() {
    let mut peer = slow(Config::default());
    let methods = [(Code::PUT, Code::CHANGED), (Code::POST, Code::CHANGED), (Code::DELETE, Code::DELETED)];
    for (index, (method, answer)) in methods.into_iter().enumerate() {
        let asked = peer.encode(MessageType::Confirmable, ask_with(method, "ps/a", b"1"));
        assert!(peer.datagram(&asked).is_empty(), "not before it is durable");
        assert!(peer.advance(Duration::from_millis(400)).is_empty());
        let sent = peer.published(index, Reason::Success);
        assert_eq!((sent.len(), code(&sent[0])), (1, answer));
        assert_eq!(sent[0].header.get_type(), MessageType::Acknowledgement);
        assert!(peer.advance_secs(3).is_empty());
    }
    let create = with(ask_with(Code::PUT, "ps/new", b"1"), number::IF_NONE_MATCH, b"");
    let create = peer.encode(MessageType::Confirmable, create);
    assert!(peer.datagram(&create).is_empty());
    assert_eq!(code(&peer.published(3, Reason::Success)[0]), Code::CREATED);
}

#[test]
fn a_non_confirmable_request_is_answered_when_it_is_durable_too() {
    let mut peer = slow(Config::default());
    let put = peer.encode(MessageType::NonConfirmable, ask_with(Code::PUT, "ps/a?qos=1", b"1"));
    assert!(peer.datagram(&put).is_empty());
    assert!(peer.advance_secs(3).is_empty(), "nothing to acknowledge");
    let sent = peer.published(0, Reason::Success);
    assert_eq!((code(&sent[0]), sent[0].header.get_type()), (Code::CHANGED, MessageType::NonConfirmable));
}

#[test]
fn a_request_that_waits_is_not_carried_out_twice_whatever_came_meanwhile() {
    let mut peer = slow(Config { duplicates_max: 4, ..Config::default() });
    let post = peer.encode(MessageType::Confirmable, ask_with(Code::POST, "ps/a", b"1"));
    let others = |peer: &mut Peer| {
        for _ in 0..8 {
            peer.con(ask(Code::GET, "ps/none"));
        }
    };
    assert!(peer.datagram(&post).is_empty());
    others(&mut peer);
    assert!(peer.datagram(&post).is_empty(), "it waits, and is not acknowledged yet");
    let acknowledged = peer.advance(Duration::from_millis(500));
    assert_eq!(code(&acknowledged[0]), Code::EMPTY);
    others(&mut peer);
    assert_eq!(peer.datagram(&post), acknowledged, "the acknowledgement was lost");
    assert_eq!(peer.out.published.len(), 1);
    let sent = peer.published(0, Reason::Success);
    assert_eq!((code(&sent[0]), sent[0].header.get_type()), (Code::CHANGED, MessageType::Confirmable));
    assert!(peer.ack(&sent[0]).is_empty());
}

#[test]
fn a_full_store_is_5_03_and_says_when_to_try_again() {
    for later in [false, true] {
        for kind in [MessageType::Confirmable, MessageType::NonConfirmable] {
            let mut peer = slow(Config::default());
            let put = peer.encode(kind, ask_with(Code::PUT, "ps/a", b"1"));
            if !later {
                peer.out.publish_outcome = Outcome::Done(Reason::QuotaExceeded);
            }
            let mut sent = peer.datagram(&put);
            if later {
                assert!(sent.is_empty());
                sent = peer.published(0, Reason::QuotaExceeded);
            }
            assert_eq!((sent.len(), code(&sent[0])), (1, Code::SERVICE_UNAVAILABLE));
            assert_eq!(uint_option(&sent[0], number::MAX_AGE), Some(5));
        }
    }
}
