use serde_json::json;

use super::*;

fn notification(token: &[u8], sequence: u32, payload: &[u8]) -> Packet {
    let mut packet = answer(Code::CONTENT, Some(0), payload);
    add_uint(&mut packet, number::OBSERVE, sequence);
    packet.set_token(token.to_vec());
    packet
}

/// Observes /3/0/9; the token.
fn observe(bench: &mut Bench) -> Vec<u8> {
    let asked = bench.command("observe/3/0/9", "");
    assert_eq!((path(&asked[0]), uint(&asked[0], number::OBSERVE)), ("0.01 /3/0/9".into(), Some(0)));
    bench.respond(&asked[0], notification(&[], 1, b"100"));
    asked[0].get_token().to_vec()
}

fn values(bench: &mut Bench) -> Vec<String> {
    bench.published().into_iter().filter(|p| p.0 == "r/3/0/9").map(|p| p.1).collect()
}

#[test]
fn int_301_observation_and_notification() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    let token = observe(&mut bench);
    let answered = bench.out.published.pop().unwrap().1;
    let answered: Json = serde_json::from_slice(&answered.payload).unwrap();
    assert_eq!(answered, json!({"code": "2.05", "ok": true, "observing": true, "value": 100}));
    assert_eq!(values(&mut bench), ["100"]);
    for (sequence, payload) in [(2, b"99"), (3, b"98")] {
        let replies = bench.ask_as(notification(&token, sequence, payload));
        assert_eq!(code_of(&replies[0]), Code::EMPTY);
    }
    assert_eq!(values(&mut bench), ["99", "98"]);
}

#[test]
fn rfc7641_3_4_an_old_notification_does_not_replace_a_newer() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    let token = observe(&mut bench);
    bench.ask_as(notification(&token, 5, b"5"));
    bench.ask_as(notification(&token, 4, b"4"));
    assert_eq!(values(&mut bench), ["100", "5"]);
    bench.pass(129);
    bench.ask_as(notification(&token, 4, b"44"));
    assert_eq!(values(&mut bench), ["44"], "after 128 s anything is new");
}

#[test]
fn int_302_a_notification_of_an_unknown_observation_is_reset() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    let replies = bench.ask_as(notification(&[1, 2], 5, b"5"));
    assert_eq!(replies[0].header.get_type(), MessageType::Reset);
    let token = observe(&mut bench);
    bench.ask(registration(PLAIN));
    let replies = bench.ask_as(notification(&token, 5, b"5"));
    assert_eq!(replies[0].header.get_type(), MessageType::Reset, "a new registration forgets observations");
}

#[test]
fn int_303_cancel_by_observe_1() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    let token = observe(&mut bench);
    let asked = bench.command("cancel/3/0/9", "");
    assert_eq!((path(&asked[0]), uint(&asked[0], number::OBSERVE)), ("0.01 /3/0/9".into(), Some(1)));
    assert_eq!(asked[0].get_token(), token, "RFC 7641 section 3.6: the same token");
    bench.out.published.clear();
    bench.respond(&asked[0], answer(Code::CONTENT, Some(0), b"97"));
    assert_eq!(bench.json("resp/cancel/3/0/9"), json!({"code": "2.05", "ok": true, "value": 97}));
    let replies = bench.ask_as(notification(&token, 9, b"5"));
    assert_eq!(replies[0].header.get_type(), MessageType::Reset);
}

#[test]
fn an_error_ends_an_observation() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    let token = observe(&mut bench);
    let mut gone = answer(Code::NOT_FOUND, None, b"");
    gone.set_token(token.clone());
    assert_eq!(code_of(&bench.ask_as(gone)[0]), Code::EMPTY);
    let replies = bench.ask_as(notification(&token, 9, b"5"));
    assert_eq!(replies[0].header.get_type(), MessageType::Reset);
}

#[test]
fn configured_paths_are_observed_after_each_registration() {
    let config = Config { auto_observe: vec!["/3/0/9".into(), "/6/0/0".into()], ..Config::default() };
    let mut bench = Bench::new(config);
    bench.ask(registration(PLAIN));
    let packets = bench.open(Ok(()));
    assert_eq!(packets.len(), 2, "the 2.01, and one request: the device has no object 6");
    assert_eq!((path(&packets[1]), uint(&packets[1], number::OBSERVE)), ("0.01 /3/0/9".into(), Some(0)));
    bench.queue("read/3/0/10", "", None);
    assert!(bench.deliver().is_empty(), "one at a time");
    bench.respond(&packets[1], notification(&[], 1, b"100"));
    assert_eq!(values(&mut bench), ["100"]);
    assert_eq!(bench.deliver().len(), 1);
}

#[test]
fn a_long_notification_is_read_in_whole() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    let token = observe(&mut bench);
    let mut long = notification(&token, 2, &[b'1'; 16]);
    add_uint(&mut long, number::BLOCK2, 8);
    let packets = bench.ask_as(long);
    assert_eq!((packets.len(), path(&packets[1])), (2, "0.01 /3/0/9".into()));
    assert_eq!(uint(&packets[1], number::OBSERVE), None);
}

#[test]
fn notifications_wake_a_device_in_queue_mode() {
    let (mut bench, _) = Bench::registered(QUEUE, Config::default());
    let token = observe(&mut bench);
    bench.published();
    bench.pass(93);
    assert_eq!(bench.json("status")["state"], "asleep");
    bench.ask_as(notification(&token, 2, b"5"));
    assert_eq!(bench.json("status")["state"], "online");
}
