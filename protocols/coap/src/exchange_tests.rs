use std::time::Duration;

use super::*;
use crate::message::{request, with_code};

const A: &[u8] = &[1, 2];

fn exchanges() -> Exchanges {
    Exchanges::new(Transmission::default(), 7)
}

fn message(kind: MessageType, code: Code, id: u16, token: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(&mut with_code(code), kind, id, Token::new(token).unwrap(), &mut bytes);
    bytes
}

fn take(wire: &mut WireBuffer) -> Vec<Vec<u8>> {
    let datagrams = wire.datagrams().map(<[u8]>::to_vec).collect();
    wire.clear();
    datagrams
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn rfc7252_4_3_a_ping_is_answered_with_reset() {
    let (mut exchanges, mut wire, now) = (exchanges(), WireBuffer::default(), Instant::now());
    assert!(matches!(exchanges.receive(now, &[0x40, 0, 0xAB, 0xCD], &mut wire), Received::Handled));
    assert_eq!(take(&mut wire), [vec![0x70, 0, 0xAB, 0xCD]]);
    assert!(matches!(exchanges.receive(now, &[0x49, 1, 0, 1], &mut wire), Received::Handled));
    assert_eq!(take(&mut wire), [vec![0x70, 0, 0, 1]], "malformed CON");
    assert!(matches!(exchanges.receive(now, &[0x70, 0, 0, 1], &mut wire), Received::Handled));
    assert!(take(&mut wire).is_empty(), "a Reset is never answered");
}

#[test]
fn rfc7252_4_5_a_duplicate_con_gets_the_same_reply_for_247_seconds() {
    let (mut exchanges, mut wire, now) = (exchanges(), WireBuffer::default(), Instant::now());
    let post = message(MessageType::Confirmable, Code::POST, 5, A);
    let Received::Request(datagram) = exchanges.receive(now, &post, &mut wire) else { panic!() };
    let origin = Origin::of(&datagram);
    assert!(matches!(exchanges.receive(now, &post, &mut wire), Received::Handled), "while it is handled");
    assert!(take(&mut wire).is_empty());
    exchanges.reply_bare(now, origin, Code::CHANGED, &mut wire);
    let reply = take(&mut wire);
    assert_eq!(reply, [vec![0x62, 0x44, 0, 5, 1, 2]]);
    assert!(matches!(exchanges.receive(now + secs(246), &post, &mut wire), Received::Handled));
    assert_eq!(take(&mut wire), reply);
    assert!(matches!(exchanges.receive(now + secs(247), &post, &mut wire), Received::Request(_)), "ID reuse");
}

#[test]
fn rfc7252_4_5_a_duplicate_non_is_ignored_for_145_seconds() {
    let (mut exchanges, mut wire, now) = (exchanges(), WireBuffer::default(), Instant::now());
    let post = message(MessageType::NonConfirmable, Code::POST, 5, A);
    let Received::Request(datagram) = exchanges.receive(now, &post, &mut wire) else { panic!() };
    exchanges.reply_bare(now, Origin::of(&datagram), Code::CHANGED, &mut wire);
    let reply = take(&mut wire);
    assert_eq!(reply[0][0], 0x52, "a NON is answered with a NON");
    assert!(matches!(exchanges.receive(now + secs(144), &post, &mut wire), Received::Handled));
    assert!(take(&mut wire).is_empty());
    assert!(matches!(exchanges.receive(now + secs(145), &post, &mut wire), Received::Request(_)));
}

#[test]
fn rfc7252_5_2_2_separate_response() {
    let (mut exchanges, mut wire, now) = (exchanges(), WireBuffer::default(), Instant::now());
    let get = message(MessageType::Confirmable, Code::GET, 9, A);
    let Received::Request(datagram) = exchanges.receive(now, &get, &mut wire) else { panic!() };
    let mut origin = Origin::of(&datagram);
    exchanges.acknowledge(&mut origin, &mut wire);
    assert_eq!(take(&mut wire), [vec![0x60, 0, 0, 9]]);
    exchanges.reply(now, origin, &mut with_code(Code::CONTENT), &mut wire);
    let separate = take(&mut wire).remove(0);
    assert_eq!((separate[0], separate[1], &separate[4..]), (0x42, 0x45, A), "CON with the request's token");
    exchanges.receive(now, &get, &mut wire);
    assert_eq!(take(&mut wire), [vec![0x60, 0, 0, 9]], "a duplicate is acknowledged again");
    exchanges.receive(now, &[0x60, 0, separate[2], separate[3]], &mut wire);
    assert!(exchanges.is_idle() && take(&mut wire).is_empty());
}

#[test]
fn rfc7252_4_2_retransmission_doubles_and_gives_up() {
    let (mut exchanges, mut wire, mut now) = (exchanges(), WireBuffer::default(), Instant::now());
    let start = now;
    exchanges.confirm(now, Token::default(), &mut with_code(Code::CONTENT), Some(Tag(3)), &mut wire).unwrap();
    let mut sent = vec![now];
    let first = take(&mut wire);
    let lost = loop {
        now = exchanges.next_timeout().unwrap();
        if let Some(tag) = exchanges.handle_timeout(now, &mut wire) {
            break tag;
        }
        assert_eq!(take(&mut wire), first, "the same bytes");
        sent.push(now);
    };
    assert_eq!((lost, sent.len()), (Tag(3), 5));
    let initial = sent[1] - sent[0];
    assert!(initial >= secs(2) && initial <= secs(3));
    assert_eq!(sent[4] - sent[0], initial * 15, "MAX_TRANSMIT_SPAN");
    assert_eq!(now - start, initial * 31, "MAX_TRANSMIT_WAIT");
    assert_eq!(exchanges.next_timeout(), None);
}

#[test]
fn rfc7252_4_7_nstart_limits_what_is_in_flight() {
    let (mut exchanges, mut wire, now) = (exchanges(), WireBuffer::default(), Instant::now());
    for tag in 0..33 {
        exchanges
            .confirm(now, Token::default(), &mut with_code(Code::CONTENT), Some(Tag(tag)), &mut wire)
            .unwrap();
    }
    let full = exchanges.confirm(now, Token::default(), &mut with_code(Code::CONTENT), None, &mut wire);
    assert_eq!(full, Err(QueueFull));
    for tag in 0..33 {
        let sent = take(&mut wire);
        assert_eq!(sent.len(), 1);
        let ack = [0x60, 0, sent[0][2], sent[0][3]];
        let got = exchanges.receive(now, &ack, &mut wire);
        assert!(matches!(got, Received::Acknowledged(t) if t == Tag(tag)));
        assert!(matches!(exchanges.receive(now, &ack, &mut wire), Received::Handled), "only once");
    }
    assert!(exchanges.is_idle());
}

#[test]
fn a_request_of_ours_gets_its_response_piggybacked_or_separate() {
    let (mut exchanges, mut wire, now) = (exchanges(), WireBuffer::default(), Instant::now());
    let token = exchanges.request(now, &mut request(Code::GET, ["3"]), Tag(1), false, &mut wire).unwrap();
    let sent = take(&mut wire).remove(0);
    let id = u16::from_be_bytes([sent[2], sent[3]]);
    let wrong = message(MessageType::Acknowledgement, Code::CONTENT, id.wrapping_add(1), token.as_slice());
    assert!(matches!(exchanges.receive(now, &wrong, &mut wire), Received::Handled), "5.3.2: ID must match");
    let response = message(MessageType::Acknowledgement, Code::CONTENT, id, token.as_slice());
    let got = exchanges.receive(now, &response, &mut wire);
    assert!(matches!(got, Received::Response { tag: Tag(1), observing: false, .. }));
    assert!(exchanges.is_idle());

    let token = exchanges.request(now, &mut request(Code::GET, ["3"]), Tag(2), false, &mut wire).unwrap();
    let sent = take(&mut wire).remove(0);
    assert!(matches!(
        exchanges.receive(now, &[0x60, 0, sent[2], sent[3]], &mut wire),
        Received::Acknowledged(Tag(2))
    ));
    let response = message(MessageType::Confirmable, Code::CONTENT, 77, token.as_slice());
    assert!(matches!(exchanges.receive(now, &response, &mut wire), Received::Response { tag: Tag(2), .. }));
    assert_eq!(take(&mut wire), [vec![0x60, 0, 0, 77]]);
    assert!(matches!(exchanges.receive(now, &response, &mut wire), Received::Handled), "duplicate");
    assert_eq!(take(&mut wire), [vec![0x60, 0, 0, 77]]);
    let unknown = message(MessageType::Confirmable, Code::CONTENT, 78, token.as_slice());
    assert!(matches!(exchanges.receive(now, &unknown, &mut wire), Received::Handled));
    assert_eq!(take(&mut wire), [vec![0x70, 0, 0, 78]], "an unexpected response is rejected");
}

#[test]
fn a_request_of_ours_times_out_without_response() {
    let (mut exchanges, mut wire, now) = (exchanges(), WireBuffer::default(), Instant::now());
    exchanges.request(now, &mut request(Code::GET, ["3"]), Tag(1), false, &mut wire).unwrap();
    let sent = take(&mut wire).remove(0);
    exchanges.receive(now, &[0x60, 0, sent[2], sent[3]], &mut wire);
    assert_eq!(exchanges.next_timeout(), Some(now + secs(93)));
    assert_eq!(exchanges.handle_timeout(now + secs(93), &mut wire), Some(Tag(1)));
    assert_eq!(exchanges.handle_timeout(now + secs(93), &mut wire), None);
    assert!(exchanges.is_idle());
}

#[test]
fn rfc7641_an_observation_of_ours_keeps_its_token_until_forgotten() {
    let (mut exchanges, mut wire, now) = (exchanges(), WireBuffer::default(), Instant::now());
    let token = exchanges.request(now, &mut request(Code::GET, ["3"]), Tag(1), true, &mut wire).unwrap();
    let sent = take(&mut wire).remove(0);
    let notification = |kind, id| {
        let mut packet = with_code(Code::CONTENT);
        crate::message::add_uint(&mut packet, number::OBSERVE, 1);
        let mut bytes = Vec::new();
        encode(&mut packet, kind, id, token, &mut bytes);
        bytes
    };
    let first = notification(MessageType::Acknowledgement, u16::from_be_bytes([sent[2], sent[3]]));
    let got = exchanges.receive(now, &first, &mut wire);
    assert!(matches!(got, Received::Response { tag: Tag(1), observing: true, .. }));
    assert_eq!(exchanges.next_timeout(), None, "it lasts");
    let second = notification(MessageType::NonConfirmable, 1);
    let got = exchanges.receive(now, &second, &mut wire);
    assert!(matches!(got, Received::Response { tag: Tag(1), observing: true, .. }));
    exchanges.forget(token);
    let third = notification(MessageType::Confirmable, 2);
    assert!(matches!(exchanges.receive(now, &third, &mut wire), Received::Handled));
    assert_eq!(take(&mut wire), [vec![0x70, 0, 0, 2]]);
}

#[test]
fn rfc7641_3_6_a_reset_names_the_message_even_if_it_was_unreliable() {
    let (mut exchanges, mut wire, now) = (exchanges(), WireBuffer::default(), Instant::now());
    for tag in 0..20 {
        exchanges.send(Token::default(), &mut with_code(Code::CONTENT), Tag(tag), &mut wire);
    }
    let sent = take(&mut wire);
    let mut reset = |index: usize| {
        let reset = [0x70, 0, sent[index][2], sent[index][3]];
        let got = exchanges.receive(now, &reset, &mut wire);
        matches!(got, Received::Reset(Tag(tag)) if tag == index as u64)
    };
    assert!(reset(19) && reset(4) && !reset(3), "the last 16 are remembered");
}

/// Loss, duplication and reordering between two peers, one of which asks 50 times: every request is
/// executed exactly once and every response arrives exactly once.
#[test]
fn a_lossy_link_delivers_every_exchange_exactly_once() {
    for seed in 0..20u64 {
        let mut random = Random::new(seed);
        let settings = Transmission {
            max_retransmit: 12,
            queue_max: 64,
            response_timeout: secs(100_000),
            ..Default::default()
        };
        let (mut client, mut server) = (Exchanges::new(settings, seed), Exchanges::new(settings, !seed));
        let (mut to_server, mut to_client) = (Vec::new(), Vec::new());
        let (mut executed, mut answered) = (vec![0; 50], vec![0; 50]);
        let mut wire = WireBuffer::default();
        let mut now = Instant::now();
        let end = now + secs(100_000);
        for tag in 0..50u64 {
            let mut packet = crate::message::with_payload(Code::POST, [tag as u8]);
            client.request(now, &mut packet, Tag(tag), false, &mut wire).unwrap();
        }
        carry(&mut wire, &mut to_server, &mut random);
        while answered.contains(&0) && now < end {
            let batch = std::mem::take(&mut to_server);
            for bytes in batch {
                if let Received::Request(datagram) = server.receive(now, &bytes, &mut wire) {
                    let mut origin = Origin::of(&datagram);
                    executed[usize::from(datagram.payload[0])] += 1;
                    if random.next().is_multiple_of(2) {
                        server.acknowledge(&mut origin, &mut wire);
                    }
                    server.reply(now, origin, &mut with_code(Code::CHANGED), &mut wire);
                }
            }
            carry(&mut wire, &mut to_client, &mut random);
            for bytes in std::mem::take(&mut to_client) {
                if let Received::Response { tag, .. } = client.receive(now, &bytes, &mut wire) {
                    answered[tag.0 as usize] += 1;
                }
            }
            carry(&mut wire, &mut to_server, &mut random);
            if to_server.is_empty() {
                let next = [client.next_timeout(), server.next_timeout()].into_iter().flatten().min();
                now = now.max(next.expect("something is still under way"));
                assert_eq!(client.handle_timeout(now, &mut wire), None, "seed {seed}");
                carry(&mut wire, &mut to_server, &mut random);
                server.handle_timeout(now, &mut wire);
                carry(&mut wire, &mut to_client, &mut random);
                for bytes in std::mem::take(&mut to_client) {
                    if let Received::Response { tag, .. } = client.receive(now, &bytes, &mut wire) {
                        answered[tag.0 as usize] += 1;
                    }
                }
                carry(&mut wire, &mut to_server, &mut random);
            }
        }
        assert!(
            executed.iter().chain(&answered).all(|count| *count == 1),
            "seed {seed}: {executed:?} {answered:?}"
        );
    }
}

fn carry(wire: &mut WireBuffer, to: &mut Vec<Vec<u8>>, random: &mut Random) {
    for datagram in take(wire) {
        for _ in 0..[0, 1, 1, 1, 2][(random.next() % 5) as usize] {
            let at = (random.next() as usize) % (to.len() + 1);
            to.insert(at, datagram.clone());
        }
    }
}
