use coap_lite::Packet;
use gateway_model::Qos;

use super::peer::*;
use crate::Config;
use crate::block::Block;
use crate::message::{Code, uint};

fn block(number: u32, more: bool, szx: u8) -> Vec<u8> {
    uint(Block { number, more, szx }.value())
}

fn answered(packet: &Packet, option_number: u16) -> Block {
    Block::parse(&option(packet, option_number).expect("a block option")).unwrap()
}

fn body(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 % 251) as u8).collect()
}

#[test]
fn td_coap_block_01_and_06_large_get_with_early_negotiation() {
    let mut peer = Peer::new();
    peer.store("large", &body(3000), 42);
    for szx in [6u8, 2, 0] {
        let (mut whole, mut number, mut etag) = (Vec::<u8>::new(), 0, None);
        loop {
            let get = with(ask(Code::GET, "ps/large"), number::BLOCK2, &block(number, false, szx));
            let reply = peer.con(get);
            assert_eq!(code(&reply), Code::CONTENT);
            let got = answered(&reply, number::BLOCK2);
            assert_eq!((got.number, got.szx), (number, szx));
            assert_eq!(uint_option(&reply, number::SIZE2), (number == 0).then_some(3000));
            let this = option(&reply, number::ETAG);
            assert!(etag.is_none() || etag == this, "RFC 7959 section 2.4: a stable ETag");
            etag = this;
            whole.extend(&reply.payload);
            number += 1;
            if !got.more {
                break;
            }
        }
        assert_eq!(whole, body(3000));
    }
}

#[test]
fn td_coap_block_02_large_get_with_late_negotiation() {
    let mut peer = Peer::new();
    peer.store("large", &body(3000), 42);
    let first = peer.con(ask(Code::GET, "ps/large"));
    assert_eq!(answered(&first, number::BLOCK2), Block { number: 0, more: true, szx: 6 });
    let next = peer.con(with(ask(Code::GET, "ps/large"), number::BLOCK2, &block(16, false, 2)));
    assert_eq!((next.payload.len(), &next.payload[..]), (64, &body(3000)[1024..1088]));
    let beyond = peer.con(with(ask(Code::GET, "ps/large"), number::BLOCK2, &block(0xFFFFF, false, 6)));
    assert_eq!(code(&beyond), Code::BAD_REQUEST);
    let reserved = peer.con(with(ask(Code::GET, "ps/large"), number::BLOCK2, &[7]));
    assert_eq!(code(&reserved), Code::BAD_REQUEST, "szx 7");
}

#[test]
fn td_coap_block_03_large_put() {
    let mut peer = Peer::new();
    let whole = body(2500);
    for (number, chunk) in whole.chunks(1024).enumerate() {
        let more = number < 2;
        let put = with(ask_with(Code::PUT, "ps/up", chunk), number::BLOCK1, &block(number as u32, more, 6));
        let reply = peer.con(put);
        assert_eq!(code(&reply), if more { Code::CONTINUE } else { Code::CHANGED });
        assert_eq!(answered(&reply, number::BLOCK1), Block { number: number as u32, more, szx: 6 });
    }
    assert_eq!((peer.out.published.len(), &peer.out.published[0].1.payload[..]), (1, &whole[..]));
}

#[test]
fn rfc7959_2_9_2_a_missing_block_is_4_08() {
    let mut peer = Peer::new();
    let put =
        |number, more| with(ask_with(Code::POST, "ps/up", &[1; 64]), number::BLOCK1, &block(number, more, 2));
    assert_eq!(code(&peer.con(put(0, true))), Code::CONTINUE);
    assert_eq!(code(&peer.con(put(2, true))), Code::REQUEST_ENTITY_INCOMPLETE);
    assert_eq!(code(&peer.con(put(3, false))), Code::REQUEST_ENTITY_INCOMPLETE, "an orphan last block");
    assert!(peer.out.published.is_empty());
}

#[test]
fn rfc7959_2_9_3_too_large_is_4_13_with_size1() {
    let mut peer = Peer::with(Config { body_bytes_max: 100, block_size: 64, ..Config::default() });
    let whole = peer.con(ask_with(Code::PUT, "ps/up", &[0; 101]));
    assert_eq!(
        (code(&whole), uint_option(&whole, number::SIZE1)),
        (Code::REQUEST_ENTITY_TOO_LARGE, Some(100))
    );
    let put =
        |number, more| with(ask_with(Code::PUT, "ps/up", &[1; 64]), number::BLOCK1, &block(number, more, 2));
    assert_eq!(code(&peer.con(put(0, true))), Code::CONTINUE);
    assert_eq!(code(&peer.con(put(1, false))), Code::REQUEST_ENTITY_TOO_LARGE);
    let large = peer.con(with(ask_with(Code::PUT, "ps/b", &[0; 1024]), number::BLOCK1, &block(0, true, 6)));
    assert_eq!(code(&large), Code::REQUEST_ENTITY_TOO_LARGE);
}

#[test]
fn td_coap_obs_13_a_large_notification_is_its_first_block() {
    let mut peer = Peer::new();
    peer.store("large", &body(3000), 42);
    let first = peer.observe("ps/large", 5);
    assert_eq!(answered(&first, number::BLOCK2), Block { number: 0, more: true, szx: 6 });
    assert!(option(&first, number::OBSERVE).is_some());
    peer.store("large", &body(2000), 42);
    let sent = peer.deliver(message("large", &body(2000), Qos::AtLeastOnce));
    assert_eq!((sent[0].payload.len(), answered(&sent[0], number::BLOCK2).more), (1024, true));
    let rest = peer.con(with(ask(Code::GET, "ps/large"), number::BLOCK2, &block(1, false, 6)));
    assert_eq!((option(&rest, number::OBSERVE), &rest.payload[..]), (None, &body(2000)[1024..]));
}

#[test]
fn rfc7959_2_6_the_rest_of_a_large_event_can_be_fetched() {
    let mut peer = Peer::new();
    peer.observe("ps/+", 5);
    let sent = peer.deliver(message("event", &body(1500), Qos::AtLeastOnce));
    let etag = option(&sent[0], number::ETAG);
    let fetch = || with(ask(Code::GET, "ps/event"), number::BLOCK2, &block(1, false, 6));
    let rest = peer.con(fetch());
    assert_eq!((option(&rest, number::ETAG), &rest.payload[..]), (etag, &body(1500)[1024..]));
    peer.ack(&sent[0]);
    assert_eq!(code(&peer.con(ask(Code::GET, "ps/event"))), Code::NOT_FOUND, "it was not retained");
    peer.advance_secs(247);
    assert_eq!(code(&peer.con(fetch())), Code::NOT_FOUND);
}
