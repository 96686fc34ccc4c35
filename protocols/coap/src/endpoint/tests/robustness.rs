use std::time::Duration;

use coap_lite::{MessageType, Packet};
use gateway_model::{Adapter, Event, Outcome, Qos, Reason, Reply};

use super::peer::*;
use crate::datagram::Datagram;
use crate::message::Code;
use crate::random::Random;

#[test]
fn a_datagram_with_more_than_1280_bytes_of_options_is_served() {
    let mut peer = Peer::new();
    let mut packet = with(ask_with(Code::POST, "ps/a", b"x"), number::BLOCK1, &[0x06]);
    for _ in 0..6 {
        packet = with(packet, number::URI_QUERY, &[b'q'; 250]);
    }
    assert_eq!(code(&peer.con(packet)), Code::CHANGED);
}

#[test]
fn a_uri_query_of_1129_bytes_is_a_bad_option() {
    let mut peer = Peer::new();
    let packet = with(ask_with(Code::POST, "ps/a", b"x"), number::BLOCK1, &[0x0E]);
    let reply = peer.con(with(packet, number::URI_QUERY, &[b'q'; 1129]));
    assert_eq!(code(&reply), Code::BAD_OPTION, "RFC 7252 section 5.10: at most 255");
}

#[test]
fn a_datagram_of_65_kilobytes_and_one_of_none() {
    let mut peer = Peer::new();
    assert_eq!(code(&peer.con(ask_with(Code::PUT, "ps/a", &vec![b'x'; 65_000]))), Code::CHANGED);
    assert!(peer.datagram(&[]).is_empty());
}

#[test]
fn token_lengths_9_to_15_are_reset() {
    let mut peer = Peer::new();
    for tkl in 9..=15u8 {
        let sent = peer.datagram(&[&[0x40 | tkl, 1, 1, tkl][..], &[0; 20]].concat());
        assert_eq!(sent[0].header.get_type(), MessageType::Reset);
        assert!(peer.datagram(&[&[0x50 | tkl, 1, 1, tkl][..], &[0; 20]].concat()).is_empty());
    }
}

#[test]
fn message_ids_may_be_used_again_after_their_lifetime() {
    let mut peer = Peer::new();
    peer.observe("ps/stay", 1);
    let post = peer.encode(MessageType::Confirmable, ask_with(Code::POST, "ps/a", b"1"));
    for round in 1..=3 {
        assert_eq!(code(&peer.datagram(&post)[0]), Code::CHANGED);
        peer.advance_secs(246);
        assert_eq!(code(&peer.datagram(&post)[0]), Code::CHANGED, "the same reply again");
        assert_eq!(peer.out.published.len(), round);
        peer.advance_secs(1);
    }
}

/// Random and mutated datagrams, with time passing and messages arriving: nothing panics, every
/// reply is well-formed, and memory stays bounded.
#[test]
fn random_and_mutated_datagrams_never_panic() {
    let mut random = Random::new(42);
    let mut peer = Peer::new();
    let seeds = corpus(&mut peer);
    for round in 0..40_000u32 {
        let bytes = mutate(&seeds, &mut random);
        let later = random.next().is_multiple_of(4);
        peer.out.publish_outcome = if later { Outcome::Later } else { Outcome::Done(Reason::Success) };
        peer.endpoint.receive(peer.now, &bytes, &mut peer.out);
        peer.serve();
        for (ticket, _) in std::mem::take(&mut peer.out.published) {
            let reply = Reply::Published(Reason::Success);
            peer.endpoint.handle(peer.now, Event::Reply(ticket, reply), &mut peer.out);
        }
        if round % 16 == 0 {
            peer.queue(message("a/b", b"x", Qos::from_u8((random.next() % 3) as u8).unwrap()));
            peer.drain();
            peer.advance(Duration::from_millis(random.next() % 500));
        }
        for sent in peer.out.take_datagrams() {
            assert!(Datagram::parse(&sent).is_ok(), "round {round}: {sent:x?}");
        }
        peer.out.settled.clear();
        peer.out.closed = None;
        peer.unsubscribed.clear();
        peer.retained.retain(|topic, _| topic.len() < 4);
    }
    let observations = &peer.endpoint.observations;
    assert!(
        observations.list.len() <= 64
            && observations.parcels.as_ref().map_or(0, |parcels| parcels.len()) <= 64 * 65
    );
}

fn corpus(peer: &mut Peer) -> Vec<Vec<u8>> {
    let packets: Vec<Packet> = vec![
        ask_with(Code::PUT, "ps/a/b?qos=1&retain=true", b"hello"),
        with(ask_with(Code::POST, "ps/a", &[1; 16]), number::BLOCK1, &[0x08]),
        with(ask_with(Code::PUT, "ps/a", &[1; 16]), number::IF_MATCH, b"12345678"),
        observing("ps/a/b", 1, 0),
        observing("ps/a/#", 2, 0),
        observing("ps/a/b", 1, 1),
        with(ask(Code::GET, "ps/a"), number::BLOCK2, &[0x10]),
        ask(Code::GET, ".well-known/core?rt=core.*"),
        ask(Code::DELETE, "ps/a"),
    ];
    packets.into_iter().map(|packet| peer.encode(MessageType::Confirmable, packet)).collect()
}

fn mutate(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut below = |limit: usize| (random.next() % limit.max(1) as u64) as usize;
    if below(8) == 0 {
        return (0..below(64)).map(|_| below(256) as u8).collect();
    }
    let mut bytes = seeds[below(seeds.len())].clone();
    (bytes[2], bytes[3]) = (below(256) as u8, below(256) as u8);
    for _ in 0..below(4) {
        let at = below(bytes.len());
        match below(4) {
            0 => bytes[at] = below(256) as u8,
            1 => bytes[at] ^= 1 << below(8),
            2 => bytes.truncate(at.max(4)),
            _ => bytes.insert(at, below(256) as u8),
        }
    }
    bytes
}
