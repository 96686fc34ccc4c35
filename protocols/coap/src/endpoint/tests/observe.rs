use std::time::Duration;

use coap_lite::{CoapOption, MessageType, Packet};
use gateway_model::{Adapter, Message, Qos, Reason, RetainHandling, Settlement};

use super::peer::*;
use crate::message::Code;
use crate::{Config, NotifyType, ObserveQueue};

fn sequence(packet: &Packet) -> u32 {
    uint_option(packet, number::OBSERVE).expect("an Observe option")
}

fn text(packet: &Packet) -> &str {
    std::str::from_utf8(&packet.payload).unwrap()
}

fn qos0(payload: &str) -> Message {
    message("a", payload.as_bytes(), Qos::AtMostOnce)
}

fn qos1(payload: &str) -> Message {
    message("a", payload.as_bytes(), Qos::AtLeastOnce)
}

fn settled(peer: &mut Peer) -> Vec<(u16, Settlement)> {
    std::mem::take(&mut peer.out.settled).into_iter().map(|(id, settlement)| (id.get(), settlement)).collect()
}

#[test]
fn td_coap_obs_01_registration_carries_the_retained_value_and_con_notifications_follow() {
    let mut peer = Peer::new();
    peer.store("a", b"0", 0);
    let first = peer.observe("ps/a", 5);
    assert_eq!((code(&first), text(&first)), (Code::CONTENT, "0"));
    let subscription = peer.subscriptions[0].clone();
    assert_eq!((subscription.qos, subscription.retain_handling), (Qos::AtLeastOnce, RetainHandling::Never));
    assert!(subscription.identifier.is_some());
    let mut last = sequence(&first);
    for payload in ["1", "2"] {
        let sent = peer.deliver(qos1(payload));
        assert_eq!((sent.len(), text(&sent[0]), sent[0].get_token()), (1, payload, &[5][..]));
        assert_eq!(sent[0].header.get_type(), MessageType::Confirmable);
        assert!(sequence(&sent[0]) > last, "RFC 7641 section 4.4: increasing");
        last = sequence(&sent[0]);
        assert!(settled(&mut peer).is_empty(), "not before it is acknowledged");
        peer.ack(&sent[0]);
        assert_eq!(settled(&mut peer).len(), 1);
    }
}

#[test]
fn td_coap_obs_02_qos_0_is_non_confirmable() {
    let mut peer = Peer::new();
    assert_eq!(text(&peer.observe("ps/a", 5)), "", "nothing retained: an empty first answer");
    assert_eq!(peer.deliver(qos0("1"))[0].header.get_type(), MessageType::NonConfirmable);
    for (notify_type, qos, kind) in [
        (NotifyType::Con, Qos::AtMostOnce, MessageType::Confirmable),
        (NotifyType::Non, Qos::ExactlyOnce, MessageType::NonConfirmable),
    ] {
        let mut peer = Peer::with(Config { notify_type, subscribe_qos: 2, ..Config::default() });
        peer.observe("ps/a", 5);
        assert_eq!(peer.deliver(message("a", b"1", qos))[0].header.get_type(), kind);
    }
}

#[test]
fn a_message_between_subscribing_and_the_first_answer_is_not_lost() {
    let mut peer = Peer::new();
    peer.con(ask_with(Code::POST, "ps/warm-up", b""));
    let get = peer.encode(MessageType::Confirmable, observing("ps/a", 5, 0));
    peer.endpoint.receive(peer.now, &get, &mut peer.out);
    // The subscription is granted, the retained message not yet read.
    let (ticket, request) = peer.out.requests.pop_front().unwrap();
    let gateway_model::Request::Subscribe(subscriptions) = request else { panic!("{request:?}") };
    peer.subscriptions.extend(subscriptions);
    let granted = gateway_model::Reply::Subscribed(vec![Reason::GrantedQos1]);
    peer.endpoint.handle(peer.now, gateway_model::Event::Reply(ticket, granted), &mut peer.out);
    peer.queue(qos1("live"));
    peer.endpoint.deliver(peer.now, &mut peer.outbox, &mut peer.out);
    assert!(peer.sent().is_empty(), "it waits for the first answer");
    peer.serve();
    let sent = peer.sent();
    assert_eq!(sent.iter().map(text).collect::<Vec<_>>(), ["", "live"]);
    assert!(sequence(&sent[1]) > sequence(&sent[0]));
}

#[test]
fn td_coap_obs_05_a_silent_client_is_given_up() {
    let mut peer = Peer::new();
    peer.observe("ps/a", 5);
    let first = peer.deliver(qos1("1"));
    let again = peer.advance_secs(100);
    assert_eq!(again.len(), 4, "MAX_RETRANSMIT");
    assert!(again.iter().all(|sent| *sent == first[0]));
    assert_eq!(settled(&mut peer), [(1, Settlement::Dropped("timeout"))]);
    assert_eq!(peer.unsubscribed.len(), 1);
    assert!(peer.deliver(qos1("2")).is_empty());
}

#[test]
fn td_coap_obs_06_reset_cancels_con_and_non() {
    for (event, expected) in [(qos1("1"), vec![(1, Settlement::Dropped("unobserved"))]), (qos0("1"), vec![])]
    {
        let mut peer = Peer::new();
        peer.observe("ps/a", 5);
        let sent = peer.deliver(event);
        assert!(peer.reset(&sent[0]).is_empty());
        assert_eq!(peer.unsubscribed.len(), 1);
        assert_eq!(settled(&mut peer), expected);
        assert!(peer.endpoint.observations.list.is_empty());
    }
}

#[test]
fn td_coap_obs_12_observe_1_cancels_by_token() {
    let mut peer = Peer::new();
    peer.store("a", b"0", 0);
    peer.observe("ps/a", 5);
    peer.observe("ps/a", 6);
    let reply = peer.con(observing("ps/a", 5, 1));
    assert_eq!((text(&reply), option(&reply, number::OBSERVE)), ("0", None));
    assert!(peer.unsubscribed.is_empty(), "the other observation keeps the subscription");
    let sent = peer.deliver(qos1("1"));
    assert_eq!(sent.iter().map(|sent| sent.get_token()[0]).collect::<Vec<_>>(), [6]);
    peer.ack(&sent[0]);
    peer.con(observing("ps/a", 6, 1));
    assert_eq!(peer.unsubscribed.len(), 1);
    assert_eq!(code(&peer.con(observing("ps/a/+", 6, 1))), Code::CONTENT, "nothing to cancel");
}

#[test]
fn td_coap_obs_07_deletion_ends_the_observation_with_4_04() {
    let mut peer = Peer::new();
    peer.store("a", b"0", 0);
    peer.observe("ps/a", 5);
    let mut cleared = qos1("");
    cleared.retain = true;
    let sent = peer.deliver(cleared);
    assert_eq!((code(&sent[0]), option(&sent[0], number::OBSERVE)), (Code::NOT_FOUND, None));
    assert_eq!(peer.unsubscribed.len(), 1);
    let mut peer = Peer::new();
    peer.observe("ps/a", 5);
    let sent = peer.deliver(qos1(""));
    assert_eq!(code(&sent[0]), Code::CONTENT, "an empty event deletes nothing");
}

#[test]
fn td_coap_obs_08_a_changed_content_format_ends_an_observation_that_accepts_another() {
    let mut peer = Peer::new();
    peer.store("a", b"{}", 50);
    peer.con(with(observing("ps/a", 5, 0), number::ACCEPT, &[50]));
    let sent = peer.deliver(qos1("text"));
    assert_eq!(code(&sent[0]), Code::NOT_ACCEPTABLE);
    assert!(peer.endpoint.observations.list.is_empty());
}

#[test]
fn td_coap_obs_10_a_get_does_not_cancel() {
    let mut peer = Peer::new();
    peer.store("a", b"0", 0);
    peer.observe("ps/a", 5);
    let mut get = ask(Code::GET, "ps/a");
    get.set_token(vec![5]);
    assert_eq!(option(&peer.con(get), number::OBSERVE), None);
    assert_eq!(peer.deliver(qos1("1")).len(), 1);
}

#[test]
fn rfc7641_3_4_the_observe_value_has_24_bits() {
    let mut peer = Peer::new();
    peer.observe("ps/a", 5);
    peer.endpoint.observations.list[0].sequence = (1 << 24) - 2;
    let mut values = Vec::new();
    for _ in 0..3 {
        let sent = peer.deliver(qos0("1"));
        assert!(option(&sent[0], number::OBSERVE).unwrap().len() <= 3);
        values.push(sequence(&sent[0]));
    }
    assert_eq!(values, [(1 << 24) - 1, 0, 1]);
}

#[test]
fn rfc7641_4_1_the_same_token_refreshes() {
    let mut peer = Peer::new();
    let first = peer.observe("ps/a", 5);
    let again = peer.observe("ps/a", 5);
    assert!(sequence(&again) > sequence(&first));
    assert_eq!((peer.endpoint.observations.list.len(), peer.subscriptions.len()), (1, 1));
    let sent = peer.deliver(qos1("1"));
    assert_eq!(sent.len(), 1);
    peer.observe("ps/b", 5);
    assert_eq!(peer.endpoint.observations.list.len(), 1, "another resource replaces it");
    assert_eq!(peer.unsubscribed[0].as_str(), "a");
    assert!(peer.advance_secs(100).is_empty(), "what the old one had in flight is withdrawn");
}

#[test]
fn rfc7641_4_1_without_room_it_is_an_ordinary_get() {
    let mut peer = Peer::with(Config { observations_max: 1, ..Config::default() });
    peer.store("b", b"0", 0);
    peer.observe("ps/a", 5);
    let reply = peer.observe("ps/b", 6);
    assert_eq!((code(&reply), text(&reply), option(&reply, number::OBSERVE)), (Code::CONTENT, "0", None));
    assert_eq!(code(&peer.observe("ps/+", 7)), Code::SERVICE_UNAVAILABLE);
}

#[test]
fn rfc7641_4_5_at_least_one_con_a_day() {
    let mut peer = Peer::new();
    peer.observe("ps/a", 5);
    peer.advance_secs(86_399);
    assert_eq!(peer.deliver(qos0("1"))[0].header.get_type(), MessageType::NonConfirmable);
    peer.advance_secs(1);
    let sent = peer.deliver(qos0("1"));
    assert_eq!(sent[0].header.get_type(), MessageType::Confirmable);
    peer.ack(&sent[0]);
    assert_eq!(peer.deliver(qos0("1"))[0].header.get_type(), MessageType::NonConfirmable);
}

#[test]
fn rfc7641_4_5_2_only_the_latest_state_waits() {
    let mut peer = Peer::new();
    peer.observe("ps/a", 5);
    let first = peer.deliver(qos1("1"));
    for payload in ["2", "3", "4"] {
        assert!(peer.deliver(qos1(payload)).is_empty());
    }
    let superseded = Settlement::Dropped("superseded");
    assert_eq!(settled(&mut peer), [(2, superseded), (3, superseded)]);
    let next = peer.ack(&first[0]);
    assert_eq!(next.iter().map(text).collect::<Vec<_>>(), ["4"]);
    peer.ack(&next[0]);
    assert_eq!(settled(&mut peer), [(1, Settlement::Delivered), (4, Settlement::Delivered)]);
}

#[test]
fn what_an_observer_is_not_told_at_qos_0_is_counted() {
    let mut peer = Peer::new();
    peer.observe("ps/a", 5);
    let first = peer.deliver(qos1("1"));
    ["2", "3", "4"].into_iter().for_each(|payload| assert!(peer.deliver(qos0(payload)).is_empty()));
    assert_eq!(peer.outbox.1, 2, "two were superseded");
    assert_eq!(peer.ack(&first[0]).iter().map(text).collect::<Vec<_>>(), ["4"]);
}

#[test]
fn with_observe_queue_all_every_message_arrives_in_order() {
    let mut peer = Peer::with(Config { observe_queue: ObserveQueue::All, ..Config::default() });
    peer.observe("ps/a", 5);
    ["1", "2", "3", "4", "5"].into_iter().for_each(|payload| peer.queue(qos1(payload)));
    let (mut sent, mut seen) = (peer.drain(), Vec::new());
    while let Some(notification) = sent.pop() {
        seen.push(text(&notification).to_owned());
        sent = peer.ack(&notification);
        sent.extend(peer.drain());
    }
    assert_eq!(seen, ["1", "2", "3", "4", "5"]);
    assert_eq!(settled(&mut peer), [1, 2, 3, 4, 5].map(|id| (id, Settlement::Delivered)));
}

#[test]
fn with_observe_queue_all_the_outbox_keeps_what_cannot_go() {
    let mut peer = Peer::with(Config { observe_queue: ObserveQueue::All, ..Config::default() });
    peer.observe("ps/a", 5);
    (0..100).for_each(|number| peer.queue(qos1(&number.to_string())));
    assert_eq!(peer.drain().len(), 1);
    assert!(peer.outbox.0.len() >= 98);
}

#[test]
fn a_wildcard_observation_names_the_topic_as_location_path() {
    let mut peer = Peer::new();
    let first = peer.observe("ps/+/temp/#", 5);
    assert_eq!((code(&first), first.payload.len()), (Code::CONTENT, 0));
    assert_eq!(peer.subscriptions[0].filter.as_str(), "+/temp/#");
    assert_eq!(peer.subscriptions[0].retain_handling, RetainHandling::Always);
    let sent = peer.deliver(message("kitchen/temp/1", b"21", Qos::AtLeastOnce));
    let location: Vec<_> = sent[0].get_option(CoapOption::LocationPath).unwrap().iter().cloned().collect();
    assert_eq!(location, [&b"ps"[..], b"kitchen", b"temp", b"1"]);
    // Two topics are two states: both wait.
    peer.deliver(message("kitchen/temp/2", b"22", Qos::AtLeastOnce));
    peer.deliver(message("hall/temp", b"23", Qos::AtLeastOnce));
    let next = peer.ack(&sent[0]);
    assert_eq!(text(&next[0]), "22");
    assert_eq!(text(&peer.ack(&next[0])[0]), "23");
    assert_eq!(code(&peer.observe("ps/a+/b", 6)), Code::BAD_REQUEST);
}

#[test]
fn a_delivery_for_several_observations_is_settled_once_by_the_last() {
    let mut peer = Peer::new();
    peer.observe("ps/a", 5);
    peer.observe("ps/+", 6);
    peer.observe("ps/a", 7);
    let (mut sent, mut tokens) = (peer.deliver(qos1("1")), Vec::new());
    while let Some(notification) = sent.pop() {
        assert!(settled(&mut peer).is_empty());
        tokens.push(notification.get_token()[0]);
        sent = if tokens.len() == 2 { peer.reset(&notification) } else { peer.ack(&notification) };
    }
    tokens.sort_unstable();
    assert_eq!(tokens, [5, 6, 7]);
    assert_eq!(settled(&mut peer), [(1, Settlement::Delivered)]);
}

#[test]
fn a_refused_subscription_is_4_03() {
    let mut peer = Peer::new();
    peer.granted = Reason::NotAuthorized;
    assert_eq!(code(&peer.observe("ps/a", 5)), Code::FORBIDDEN);
    assert!(peer.endpoint.observations.list.is_empty());
}

#[test]
fn an_expired_message_is_not_sent() {
    let mut peer = Peer::new();
    peer.observe("ps/a", 5);
    let first = peer.deliver(qos1("1"));
    let mut short = qos1("2");
    short.expires_at = Some(peer.now + Duration::from_secs(1));
    peer.deliver(short);
    peer.advance(Duration::from_millis(1500));
    assert!(peer.ack(&first[0]).is_empty());
    assert!(settled(&mut peer).contains(&(2, Settlement::Dropped("expired"))));
}

#[test]
fn an_observer_s_memory_is_bounded() {
    let mut peer = Peer::new();
    peer.observe("ps/#", 5);
    for index in 0..1000 {
        peer.deliver(message(&format!("t/{index}"), b"1", Qos::AtLeastOnce));
    }
    assert_eq!(peer.endpoint.observations.list[0].waiting.len(), 64);
    assert_eq!(settled(&mut peer).len(), 1000 - 64 - 1);
}
