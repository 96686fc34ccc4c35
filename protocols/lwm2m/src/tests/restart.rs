//! What a device is told is kept, and a gateway that is started anew knows it again.

use gateway_model::{Close, Outcome, Reason};
use serde_json::json;

use super::registration::{observe, observed, update};
use super::*;
use crate::endpoint::ANSWERS_WAITING_MAX;
use crate::kept::Kept;

const ADDRESS: &str = "127.0.0.1:56830";

/// Another gateway that begins with what `bench` has kept, and a device that speaks to it from there.
pub(super) fn restarted(bench: &Bench, address: &str) -> (Lwm2m, Bench) {
    let protocol = restored("lwm2m/ep1", bench.kept.as_ref().expect("something was kept"));
    let bench = Bench::at(&protocol, address, 99);
    (protocol, bench)
}

fn restored(client_id: &str, kept: &Bytes) -> Lwm2m {
    let protocol = Lwm2m::new(Config { auto_observe: vec!["/1".into()], ..Config::default() });
    protocol.restore(Instant::now(), &ClientId::parse(client_id).unwrap(), kept);
    protocol
}

pub(super) fn send(value: &str) -> Packet {
    let mut packet = request(Code::POST, ["dp"]);
    add_uint(&mut packet, number::CONTENT_FORMAT, 110);
    packet.payload = format!(r#"[{{"n":"/3303/0/5700","v":{value}}}]"#).into_bytes();
    packet
}

fn topics(bench: &mut Bench) -> Vec<String> {
    bench.published().into_iter().map(|(topic, _, _)| topic).collect()
}

#[test]
fn int_101_created_leaves_when_the_registration_is_kept() {
    let mut bench = Bench::new(Config::default());
    bench.slow = true;
    assert!(bench.ask(registration(PLAIN)).is_empty());
    bench.queue("read/3/0/9", "", None);
    assert!(bench.open(Ok(())).is_empty(), "open, but not kept");
    assert!(bench.deliver().is_empty(), "it does not know that it is registered");
    let requests: Vec<_> = bench.out.requests.iter().map(|(_, request)| request).collect();
    assert!(matches!(requests[..], [Request::Subscribe(_), Request::Keep(_)]), "{requests:?}");
    let location = location(&bench.keep()[0]);
    let kept = Kept::decode("lwm2m", &bench.kept.take().unwrap()).unwrap();
    assert_eq!((kept.location.to_string(), kept.registration.endpoint()), (location, "ep1"));
    assert_eq!(kept.registration.address, ADDRESS.parse().unwrap());
    assert_eq!(path(&bench.deliver()[0]), "0.01 /3/0/9");
}

#[test]
fn int_102_changed_leaves_when_the_change_is_kept() {
    let (mut bench, location) = Bench::registered(PLAIN, Config::default());
    bench.slow = true;
    let before = bench.keeps;
    assert_eq!(code_of(&bench.ask(update(&location, &[]))[0]), Code::CHANGED, "it is alive: nothing to keep");
    assert!(bench.ask(update(&location, &["lt=1000"])).is_empty());
    assert!(bench.ask(update(&location, &[])).is_empty(), "its lifetime is not kept yet");
    let replies = bench.keep();
    assert_eq!(replies.iter().map(code_of).collect::<Vec<_>>(), [Code::CHANGED; 2]);
    assert_eq!(bench.keeps, before + 1);
    // Two changes under way: the first being kept does not answer for the second.
    assert!(bench.ask(update(&location, &["lt=2000"])).is_empty());
    let (first, _) = bench.out.requests.pop_back().unwrap();
    assert!(bench.ask(update(&location, &["lt=1000"])).is_empty());
    bench.adapter.handle(bench.now, Event::Reply(first, Reply::Kept), &mut bench.out);
    assert_eq!(code_of(&bench.datagrams()[0]), Code::CHANGED);
    assert!(bench.ask(update(&location, &[])).is_empty());
    assert_eq!(bench.keep().len(), 2);
    let kept = Kept::decode("lwm2m", &bench.kept.take().unwrap()).unwrap();
    assert_eq!(kept.registration.lifetime_secs, 1000);
    assert!(bench.ask(request(Code::DELETE, ["rd", &location])).is_empty());
    assert_eq!(bench.out.closed, None, "its session ends when that is kept");
    assert_eq!(code_of(&bench.keep()[0]), Code::DELETED);
    assert_eq!(bench.out.closed, Some(Close { expiry: Some(Expiry::Immediately), ..Close::GOODBYE }));
    assert_eq!(bench.kept, Some(Bytes::new()));
}

#[test]
fn the_answers_that_wait_for_the_store_are_bounded() {
    let (mut bench, location) = Bench::registered(PLAIN, Config::default());
    bench.slow = true;
    bench.out.publish_outcome = Outcome::Later;
    for number in 0..ANSWERS_WAITING_MAX {
        let packet = match number % 3 {
            0 => update(&location, &[&format!("lt={}", 1000 + number)]),
            1 => send("1"),
            _ => update(&location, &[]),
        };
        assert!(bench.ask(packet).is_empty());
    }
    let published = bench.out.published.len();
    for packet in [update(&location, &["lt=3000"]), registration(PLAIN), send("1")] {
        let refused = &bench.ask(packet)[0];
        assert_eq!((code_of(refused), uint(refused, number::MAX_AGE)), (Code::SERVICE_UNAVAILABLE, Some(5)));
    }
    assert_eq!(bench.out.published.len(), published, "nothing is taken that is not answered");
    assert!(!bench.keep().is_empty());
    assert_eq!(code_of(&bench.ask(update(&location, &[]))[0]), Code::CHANGED);
}

#[test]
fn an_update_after_a_restart_goes_on_as_if_nothing_had_happened() {
    let (mut bench, location) = Bench::registered(PLAIN, Config::default());
    bench.ask(update(&location, &["lt=1000"]));
    let (protocol, mut again) = restarted(&bench, ADDRESS);
    again.queue("read/3/0/9", "", None);
    assert!(again.ask(update(&location, &[])).is_empty(), "not before the session is open");
    let (_, Request::Open(open)) = &again.out.requests[0] else { panic!() };
    assert_eq!(open.client_id, Some(ClientId::parse("lwm2m/ep1").unwrap()));
    assert_eq!((open.expiry, open.clean_start), (Expiry::After(Duration::from_secs(1000)), false));
    let packets = again.open(Ok(()));
    assert_eq!((code_of(&packets[0]), path(&packets[1])), (Code::CHANGED, "0.01 /1".into()));
    assert_eq!(topics(&mut again), ["event/update", "status"]);
    again.respond(&packets[1], answer(Code::CONTENT, Some(0), b"1"));
    assert_eq!(path(&again.deliver()[0]), "0.01 /3/0/9", "the queued command");
    assert_eq!(protocol.registry.len(), (1, 0));
    let kept = Kept::decode("lwm2m", &again.kept.take().unwrap()).unwrap();
    assert_eq!((kept.location.to_string(), kept.registration.lifetime_secs), (location, 1000));
}

#[test]
fn an_update_after_a_restart_comes_from_the_same_host() {
    let (bench, location) = Bench::registered(PLAIN, Config::default());
    let (protocol, mut stranger) = restarted(&bench, "127.0.0.2:56830");
    assert_eq!(code_of(&stranger.ask(update(&location, &[]))[0]), Code::NOT_FOUND);
    let mut again = Bench::at(&protocol, "127.0.0.1:1", 3);
    assert!(again.ask(update(&location, &[])).is_empty());
    again.open(Ok(()));
    let kept = Kept::decode("lwm2m", &again.kept.take().unwrap()).unwrap();
    assert_eq!(kept.registration.address, "127.0.0.1:1".parse().unwrap(), "it is kept where it is now");
}

#[test]
fn a_send_after_a_restart_is_taken() {
    let (bench, location) = Bench::registered(PLAIN, Config::default());
    let (protocol, mut again) = restarted(&bench, ADDRESS);
    let mut other = Bench::at(&protocol, "127.0.0.1:1", 3);
    assert_eq!(code_of(&other.ask(send("20.5"))[0]), Code::NOT_FOUND, "who is that?");
    assert!(again.ask(send("20.5")).is_empty());
    let packets = again.open(Ok(()));
    assert!(packets.iter().any(|packet| code_of(packet) == Code::CHANGED), "{packets:?}");
    let published = again.published();
    assert!(published[0].1.contains(r#""state":"online""#), "{published:?}");
    assert_eq!((&*published[1].0, &*published[1].1), ("r/3303/0/5700", "20.5"));
    assert_eq!(code_of(&again.ask(update(&location, &[]))[0]), Code::CHANGED);
    assert_eq!(protocol.registry.len(), (1, 0));
}

#[test]
fn a_goodbye_after_a_restart_is_heard_and_not_forgotten_by_the_next() {
    let (bench, location) = Bench::registered(PLAIN, Config::default());
    let (protocol, mut again) = restarted(&bench, ADDRESS);
    assert!(again.ask(request(Code::DELETE, ["rd", &location])).is_empty());
    assert_eq!(code_of(&again.open(Ok(()))[0]), Code::DELETED);
    assert_eq!(topics(&mut again), ["event/deregister", "status"]);
    assert_eq!(again.out.closed, Some(Close { expiry: Some(Expiry::Immediately), ..Close::GOODBYE }));
    assert_eq!(protocol.registry.len(), (0, 0));
    let (_, mut third) = restarted(&again, ADDRESS);
    assert_eq!(code_of(&third.ask(update(&location, &[]))[0]), Code::NOT_FOUND);
}

#[test]
fn a_device_that_registers_anew_after_a_restart_has_one_registration() {
    let (bench, old) = Bench::registered(PLAIN, Config::default());
    let (protocol, mut again) = restarted(&bench, ADDRESS);
    assert!(again.ask(registration(PLAIN)).is_empty());
    let packets = again.open(Ok(()));
    assert_ne!(location(&packets[0]), old);
    assert_eq!(protocol.registry.len(), (1, 0));
    assert_eq!(code_of(&again.ask(update(&old, &[]))[0]), Code::NOT_FOUND);
}

#[test]
fn a_device_that_does_not_come_back_within_its_lifetime_is_unknown() {
    let (bench, location) = Bench::registered(PLAIN, Config::default());
    for (secs, code) in [(299, None), (301, Some(Code::NOT_FOUND))] {
        for packet in [update(&location, &[]), send("1")] {
            let (protocol, mut late) = restarted(&bench, ADDRESS);
            late.now += Duration::from_secs(secs);
            assert_eq!(late.ask(packet).first().map(code_of), code, "{secs}");
            assert_eq!(protocol.registry.len(), (0, usize::from(code.is_none())));
        }
    }
}

#[test]
fn a_registration_that_is_over_does_not_come_back() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    bench.pass(300);
    assert_eq!(topics(&mut bench), ["event/expire", "status"]);
    assert_eq!(bench.kept, Some(Bytes::new()), "its lifetime is over");
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    assert!(bench.ask(registration(&["ep=ep2", "lwm2m=1.1"])).is_empty());
    assert_eq!(bench.kept, Some(Bytes::new()), "another device is at its address");
}

#[test]
fn observations_are_made_again_after_a_restart() {
    let config = Config { auto_observe: vec!["/1".into()], ..Config::default() };
    let mut bench = Bench::new(config);
    assert!(bench.ask(registration(PLAIN)).is_empty());
    let packets = bench.open(Ok(()));
    let location = location(&packets[0]);
    let keeps = bench.keeps;
    bench.respond(&packets[1], observed());
    assert_eq!(bench.keeps, keeps, "that begins by itself");
    observe(&mut bench, "observe/3/0/9");
    observe(&mut bench, "observe/3/0/0");
    observe(&mut bench, "observe/3/0/9");
    assert_eq!(bench.keeps, keeps + 2, "it was observed before");
    let cancelled = bench.command("cancel/3/0/0", "");
    bench.respond(&cancelled[0], answer(Code::CONTENT, Some(0), b"1"));
    assert_eq!(bench.keeps, keeps + 3);

    let (_, mut again) = restarted(&bench, ADDRESS);
    assert!(again.ask(update(&location, &[])).is_empty());
    let packets = again.open(Ok(()));
    assert_eq!((path(&packets[1]), uint(&packets[1], number::OBSERVE)), ("0.01 /1".into(), Some(0)));
    let packets = again.respond(&packets[1], observed());
    assert_eq!((path(&packets[0]), uint(&packets[0], number::OBSERVE)), ("0.01 /3/0/9".into(), Some(0)));
    assert!(again.respond(&packets[0], observed()).is_empty());
}

#[test]
fn what_was_kept_by_others_is_let_be() {
    let (bench, _) = Bench::registered(PLAIN, Config::default());
    let kept = bench.kept.unwrap();
    assert_eq!(restored("lwm2m/ep1", &kept).registry.len(), (0, 1));
    for (client_id, kept) in [
        ("ep1", &kept[..]),
        ("lwm2m/ep2", &kept[..]),
        ("lwm2m/ep1", b""),
        ("lwm2m/ep1", b"\x02abc"),
        ("lwm2m/ep1", &kept[..20]),
    ] {
        let kept = Bytes::copy_from_slice(kept);
        assert_eq!(restored(client_id, &kept).registry.len(), (0, 0), "{client_id} {kept:?}");
    }
}

#[test]
fn an_evicted_device_s_session_lasts_as_long_as_its_registration() {
    let (mut bench, location) = Bench::registered(PLAIN, Config::default());
    bench.ask(update(&location, &["lt=1000"]));
    bench.adapter.handle(bench.now, Event::Evicted(Reason::ServerShuttingDown), &mut bench.out);
    let expiry = Some(Expiry::After(Duration::from_secs(1000)));
    assert_eq!(bench.out.closed, Some(Close { expiry, ..Close::because(Reason::ServerShuttingDown) }));
    let (_, mut again) = restarted(&bench, ADDRESS);
    assert!(again.ask(update(&location, &[])).is_empty(), "it is known");
    again.open(Ok(()));
    let status = again.json("status");
    assert_eq!((&status["state"], &status["lifetime"]), (&json!("online"), &json!(1000)));
}
