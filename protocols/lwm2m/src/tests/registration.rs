use gateway_model::{Close, Outcome, Reason};
use serde_json::json;

use super::*;

pub(super) fn update(location: &str, query: &[&str]) -> Packet {
    let mut packet = request(Code::POST, ["rd", location]);
    for text in query {
        packet.add_option(CoapOption::UriQuery, text.as_bytes().to_vec());
    }
    packet
}

#[test]
fn int_101_initial_registration() {
    let mut bench = Bench::new(Config::default());
    assert!(bench.ask(registration(PLAIN)).is_empty(), "not before the session is open");
    let (_, Request::Open(open)) = &bench.out.requests[0] else { panic!() };
    assert_eq!(open.client_id, Some(ClientId::parse("lwm2m/ep1").unwrap()));
    assert_eq!((open.expiry, open.receive_maximum), (Expiry::After(Duration::from_secs(300)), 1));
    let replies = bench.open(Ok(()));
    assert_eq!(replies.len(), 1);
    assert_eq!(location(&replies[0]).len(), 10);
    let Some((_, Request::Subscribe(subscriptions))) = bench.out.requests.pop_front() else { panic!() };
    assert_eq!(subscriptions[0].filter.as_str(), "lwm2m/ep1/cmd/#");
    let published = bench.published();
    assert_eq!(published[0].0, "event/register");
    assert_eq!((published[1].0.as_str(), published[1].2), ("status", true));
    let status: Json = serde_json::from_str(&published[1].1).unwrap();
    assert_eq!(
        status,
        json!({"state": "online", "ep": "ep1", "lwm2m": "1.1", "lifetime": 300, "binding": "U", "queue": false,
            "sms": null, "address": "127.0.0.1:56830",
            "objects": {"1": {"ver": "1.1", "instances": [0]}, "3": {"instances": [0]}, "31024": {"instances": []}}})
    );
}

#[test]
fn int_101_a_retransmitted_registration_gets_the_same_location() {
    let mut bench = Bench::new(Config::default());
    let first = bench.register(PLAIN);
    bench.message_id -= 1;
    assert_eq!(bench.ask(registration(PLAIN)), [first]);
}

#[test]
fn registrations_that_are_refused() {
    for (query, code, wanted) in [
        (&["lt=60", "lwm2m=1.1"][..], "4.00", "ep is missing"),
        (&["ep=", "lwm2m=1.1"], "4.00", "ep is missing"),
        (&["ep=a/b", "lwm2m=1.1"], "4.00", "ep is longer"),
        (&["ep=a+", "lwm2m=1.1"], "4.00", "ep is longer"),
        (&["ep=a#", "lwm2m=1.1"], "4.00", "ep is longer"),
        (&["ep=a\0", "lwm2m=1.1"], "4.00", "ep is longer"),
        (&["ep=a"], "4.00", "lwm2m is missing"),
        (&["ep=a", "lwm2m=2.0"], "4.12", "lwm2m version 2.0 is not supported"),
        (&["ep=a", "lwm2m=1.1", "lt=soon"], "4.00", "lt is not a number"),
        (&["ep=a", "lwm2m=1.1", "lt=-1"], "4.00", "lt is not a number"),
        (&["ep=a", "lwm2m=1.1", "lt=99999999"], "4.00", "lt is above the limit of 2592000 s"),
    ] {
        let mut bench = Bench::new(Config::default());
        let replies = bench.ask(registration(query));
        assert_eq!(code_of(&replies[0]).to_string(), code, "{query:?}");
        assert!(text(&replies[0]).starts_with(wanted), "{}", text(&replies[0]));
        assert!(bench.out.requests.is_empty());
    }
    let mut bench = Bench::new(Config::default());
    let mut packet = registration(PLAIN);
    packet.payload = b"</3/0".to_vec();
    assert_eq!(code_of(&bench.ask(packet)[0]), Code::BAD_REQUEST);
    let mut packet = registration(PLAIN);
    packet.set_option(CoapOption::ContentFormat, [vec![50]].into_iter().collect());
    assert_eq!(code_of(&bench.ask(packet)[0]), Code::UNSUPPORTED_CONTENT_FORMAT);
}

#[test]
fn a_refused_session_is_4_03_or_4_01_with_the_reason() {
    for (reason, code) in
        [(Reason::NotAuthorized, Code::FORBIDDEN), (Reason::BadUserNameOrPassword, Code::UNAUTHORIZED)]
    {
        let mut bench = Bench::new(Config::default());
        bench.ask(registration(PLAIN));
        let replies = bench.open(Err(Refusal { reason, text: "set allow_anonymous".into() }));
        assert_eq!((code_of(&replies[0]), text(&replies[0])), (code, "set allow_anonymous"));
        assert!(bench.out.closed.is_some());
    }
}

#[test]
fn a_registration_without_content_format_and_with_defaults() {
    let mut bench = Bench::new(Config::default());
    let mut packet = registration(&["ep=ep1", "lwm2m=1.0"]);
    packet.clear_option(CoapOption::ContentFormat);
    bench.ask(packet);
    bench.open(Ok(()));
    assert_eq!(bench.json("status")["lifetime"], 86_400);
}

#[test]
fn int_102_and_105_registration_update() {
    let (mut bench, location) = Bench::registered(PLAIN, Config::default());
    assert_eq!(code_of(&bench.ask(update(&location, &[]))[0]), Code::CHANGED);
    let published = bench.published();
    assert_eq!(published.iter().map(|p| p.0.as_str()).collect::<Vec<_>>(), ["event/update"]);
    let mut packet = update(&location, &["lt=20", "b=UQ"]);
    packet.payload = b"</3/0>,</4/0>".to_vec();
    assert_eq!(code_of(&bench.ask(packet)[0]), Code::CHANGED);
    let status = bench.json("status");
    assert_eq!((&status["lifetime"], &status["queue"]), (&json!(20), &json!(true)));
    assert_eq!(status["objects"], json!({"3": {"instances": [0]}, "4": {"instances": [0]}}));
    assert_eq!(code_of(&bench.ask(update("aaaaaaaaaa", &[]))[0]), Code::NOT_FOUND);
    assert_eq!(code_of(&bench.ask(update(&location, &["lt=x"]))[0]), Code::BAD_REQUEST);
}

#[test]
fn int_103_deregistration() {
    let (mut bench, location) = Bench::registered(PLAIN, Config::default());
    assert_eq!(code_of(&bench.ask(request(Code::DELETE, ["rd", "aaaaaaaaaa"]))[0]), Code::NOT_FOUND);
    assert_eq!(code_of(&bench.ask(request(Code::DELETE, ["rd", &location]))[0]), Code::DELETED);
    let published = bench.published();
    assert_eq!(published[0].0, "event/deregister");
    assert!(published[1].1.contains(r#""state":"offline""#) && published[1].2);
    assert_eq!(bench.out.closed, Some(Close { expiry: Some(Expiry::Immediately), ..Close::GOODBYE }));
    assert_eq!(bench.adapter.next_timeout(), None);
}

#[test]
fn int_103_deregistration_from_another_port_of_the_same_host() {
    let protocol = Lwm2m::new(Config::default());
    let mut bench = Bench::at(&protocol, "127.0.0.1:56830", 7);
    let location = location(&bench.register(PLAIN));
    let delete = || request(Code::DELETE, ["rd", &location]);
    let mut stranger = Bench::at(&protocol, "127.0.0.2:1", 8);
    assert_eq!(code_of(&stranger.ask(delete())[0]), Code::NOT_FOUND);
    let mut other = Bench::at(&protocol, "127.0.0.1:1", 9);
    assert!(other.ask(delete()).is_empty());
    assert_eq!(code_of(&other.open(Ok(()))[0]), Code::DELETED);
    assert_eq!(other.published()[0].0, "event/deregister");
    assert_eq!(other.out.closed, Some(Close { expiry: Some(Expiry::Immediately), ..Close::GOODBYE }));
    bench.adapter.handle(bench.now, Event::Evicted(Reason::SessionTakenOver), &mut bench.out);
    let mut late = Bench::at(&protocol, "127.0.0.1:2", 10);
    assert_eq!(code_of(&late.ask(delete())[0]), Code::NOT_FOUND, "it is gone");
}

#[test]
fn int_102_an_update_from_another_port_moves_the_registration_there() {
    let protocol = Lwm2m::new(Config { auto_observe: vec!["/3/0".into()], ..Config::default() });
    let mut bench = Bench::at(&protocol, "127.0.0.1:56830", 7);
    let location = location(&bench.register(PLAIN));
    let auto = bench.pass(0);
    assert!(auto.is_empty(), "it went out with the registration");
    let mut moved = Bench::at(&protocol, "127.0.0.1:1", 8);
    assert!(moved.ask(update(&location, &["lt=1000"])).is_empty(), "not before the session is open");
    let (_, Request::Open(open)) = &moved.out.requests[0] else { panic!() };
    assert_eq!(open.client_id, Some(ClientId::parse("lwm2m/ep1").unwrap()));
    assert_eq!((open.expiry, open.clean_start), (Expiry::After(Duration::from_secs(1000)), false));
    let packets = moved.open(Ok(()));
    assert_eq!(code_of(&packets[0]), Code::CHANGED);
    assert_eq!(path(&packets[1]), "0.01 /3/0", "observed again from here");
    let published = moved.published();
    assert_eq!(published.iter().map(|p| p.0.as_str()).collect::<Vec<_>>(), ["event/update", "status"]);
    let status: Json = serde_json::from_str(&published[1].1).unwrap();
    assert_eq!((&status["address"], &status["lifetime"]), (&json!("127.0.0.1:1"), &json!(1000)));
    assert_eq!(status["objects"]["3"], json!({"instances": [0]}), "what it registered with stays");

    bench.published();
    bench.adapter.handle(bench.now, Event::Evicted(Reason::SessionTakenOver), &mut bench.out);
    assert!(bench.published().is_empty() && bench.out.closed.is_some_and(|close| !close.publish_will));
    assert!(bench.adapter.next_timeout().is_none(), "it does not expire there");
    drop(bench);
    assert_eq!(code_of(&moved.ask(update(&location, &[]))[0]), Code::CHANGED, "the location stays");
    assert_eq!(code_of(&moved.ask(request(Code::DELETE, ["rd", &location]))[0]), Code::DELETED);
    let mut late = Bench::at(&protocol, "127.0.0.1:2", 9);
    drop(moved);
    assert_eq!(code_of(&late.ask(update(&location, &[]))[0]), Code::NOT_FOUND, "it is gone");
}

#[test]
fn a_move_waits_for_the_store_after_the_old_address_has_lost_the_session() {
    for goodbye in [false, true] {
        let protocol = Lwm2m::new(Config::default());
        let mut bench = Bench::at(&protocol, "127.0.0.1:56830", 7);
        let location = location(&bench.register(PLAIN));
        let mut moved = Bench::at(&protocol, "127.0.0.1:1", 8);
        let packet = if goodbye { request(Code::DELETE, ["rd", &location]) } else { update(&location, &[]) };
        assert!(moved.ask(packet).is_empty());
        bench.adapter.handle(bench.now, Event::Evicted(Reason::SessionTakenOver), &mut bench.out);
        drop(bench);
        let code = if goodbye { Code::DELETED } else { Code::CHANGED };
        assert_eq!(code_of(&moved.open(Ok(()))[0]), code);
        drop(moved);
        assert_eq!(protocol.registry.len(), (0, 0));
    }
    // And if the session is refused, nothing stays behind.
    let protocol = Lwm2m::new(Config::default());
    let mut bench = Bench::at(&protocol, "127.0.0.1:56830", 7);
    let location = location(&bench.register(PLAIN));
    let mut moved = Bench::at(&protocol, "127.0.0.1:1", 8);
    moved.ask(update(&location, &[]));
    drop(bench);
    moved.open(Err(Refusal { reason: Reason::NotAuthorized, text: "no".into() }));
    assert_eq!(protocol.registry.len(), (0, 0));
}

#[test]
fn a_moved_registration_keeps_its_updates_and_observations_over_every_move() {
    let protocol = Lwm2m::new(Config::default());
    let mut bench = Bench::at(&protocol, "127.0.0.1:56830", 7);
    let location = location(&bench.register(PLAIN));
    let mut objects = update(&location, &["lt=50"]);
    objects.payload = b"</3/0>,</4/0>".to_vec();
    assert_eq!(code_of(&bench.ask(objects)[0]), Code::CHANGED);
    for words in ["observe/3/0/9", "observe/4/0/1", "observe/4/0/2"] {
        observe(&mut bench, words);
    }
    let cancelled = bench.command("cancel/4/0/1", "");
    bench.respond(&cancelled[0], answer(Code::CONTENT, Some(0), b"1"));
    // It moves twice, the second time before all is observed again.
    for (port, answered) in [(1, 1), (2, 2)] {
        let mut moved = Bench::at(&protocol, &format!("127.0.0.1:{port}"), port);
        assert!(moved.ask(update(&location, &[])).is_empty());
        let mut packets = moved.open(Ok(()));
        assert_eq!(code_of(&packets[0]), Code::CHANGED);
        let status = moved.json("status");
        assert_eq!((&status["lifetime"], &status["objects"]["4"]), (&json!(50), &json!({"instances": [0]})));
        let mut paths = Vec::new();
        for _ in 0..answered {
            let asked = packets.pop().expect("an observation");
            paths.push(path(&asked));
            packets = moved.respond(&asked, observed());
        }
        if answered == 2 {
            assert_eq!(paths, ["0.01 /3/0/9", "0.01 /4/0/2"]);
            assert!(packets.is_empty(), "{packets:?}");
        }
        bench.adapter.handle(bench.now, Event::Evicted(Reason::SessionTakenOver), &mut bench.out);
        bench = moved;
    }
    assert_eq!(path(&bench.command("read/3/0/0", "")[0]), "0.01 /3/0/0", "it is asked at its new address");
}

#[test]
fn an_update_from_another_host_is_refused_unless_it_is_allowed() {
    for (allowed, code) in [(false, Some(Code::NOT_FOUND)), (true, None)] {
        let config = Config { update_from_other_address: allowed, ..Config::default() };
        let protocol = Lwm2m::new(config);
        let mut bench = Bench::at(&protocol, "127.0.0.1:56830", 7);
        let location = location(&bench.register(PLAIN));
        let mut other = Bench::at(&protocol, "127.0.0.2:56830", 8);
        let replies = other.ask(update(&location, &[]));
        assert_eq!(replies.first().map(code_of), code);
        if allowed {
            assert_eq!(code_of(&other.open(Ok(()))[0]), Code::CHANGED);
            assert_eq!(code_of(&bench.ask(update(&location, &[]))[0]), Code::CHANGED, "not yet evicted");
        }
    }
}

#[test]
fn a_move_that_is_refused_or_too_late_leaves_nothing_behind() {
    let protocol = Lwm2m::new(Config::default());
    let mut bench = Bench::at(&protocol, "127.0.0.1:56830", 7);
    let location = location(&bench.register(PLAIN));
    let mut moved = Bench::at(&protocol, "127.0.0.1:1", 8);
    assert_eq!(code_of(&moved.ask(update(&location, &["lt=x"]))[0]), Code::BAD_REQUEST);
    assert!(moved.out.requests.is_empty());
    assert!(moved.ask(update(&location, &[])).is_empty());
    assert_eq!(code_of(&moved.ask(update(&location, &[]))[0]), Code::SERVICE_UNAVAILABLE, "one at a time");
    assert_eq!(code_of(&bench.ask(request(Code::DELETE, ["rd", &location]))[0]), Code::DELETED);
    assert_eq!(code_of(&moved.open(Ok(()))[0]), Code::NOT_FOUND);
    assert!(moved.out.closed.is_some() && moved.published().is_empty());
}

/// Sends an observe command, which the device accepts.
pub(super) fn observe(bench: &mut Bench, words: &str) {
    let asked = bench.command(words, "");
    bench.respond(&asked[0], observed());
}

pub(super) fn observed() -> Packet {
    let mut packet = answer(Code::CONTENT, Some(0), b"1");
    add_uint(&mut packet, number::OBSERVE, 1);
    packet
}

#[test]
fn int_107_extending_the_lifetime() {
    let (mut bench, location) = Bench::registered(PLAIN, Config::default());
    bench.pass(299);
    assert_eq!(code_of(&bench.ask(update(&location, &["lt=1000"]))[0]), Code::CHANGED);
    bench.published();
    bench.pass(999);
    assert!(bench.out.closed.is_none() && bench.published().is_empty());
    bench.pass(1);
    let published = bench.published();
    assert_eq!(published[0].0, "event/expire");
    assert!(published[1].1.contains(r#""state":"offline""#));
    let closed = bench.out.closed.unwrap();
    assert_eq!((closed.reason, closed.publish_will), (Reason::KeepAliveTimeout, false));
}

#[test]
fn lifetimes_are_kept_within_the_limits() {
    let config = Config { lifetime_secs_min: 100, lifetime_secs_max: 1000, ..Config::default() };
    for (lt, kept) in [("lt=5", 100), ("lt=0", 1000), ("lt=1000", 1000), ("x=1", 1000)] {
        let mut bench = Bench::new(config.clone());
        bench.register(&["ep=ep1", "lwm2m=1.1", lt]);
        assert_eq!(bench.json("status")["lifetime"], kept, "{lt}");
    }
}

#[test]
fn registering_again_replaces_the_registration() {
    let (mut bench, old) = Bench::registered(PLAIN, Config::default());
    let asked = bench.command("read/3/0/9", "");
    assert_eq!(asked.len(), 1);
    let replies = bench.ask(registration(QUEUE));
    let new = location(&replies[0]);
    assert_ne!(old, new);
    assert_eq!(bench.settled(), [Settlement::Returned], "a restarted device knows of no request");
    assert_eq!(code_of(&bench.ask(update(&old, &[]))[0]), Code::NOT_FOUND);
    assert_eq!(code_of(&bench.ask(update(&new, &[]))[0]), Code::CHANGED);
}

#[test]
fn another_device_at_the_address_gets_a_new_adapter() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    assert!(bench.ask(registration(&["ep=ep2", "lwm2m=1.1"])).is_empty());
    assert!(bench.out.closed.is_some_and(|close| close.publish_will));
}

#[test]
fn int_108_and_109_queue_mode() {
    let (mut bench, location) = Bench::registered(QUEUE, Config::default());
    bench.pass(92);
    assert_eq!(bench.command("read/3/0/9", "").len(), 1, "still awake");
    let packets = bench.pass(93);
    assert_eq!(packets.len(), 4, "retransmissions");
    assert_eq!(bench.settled(), [Settlement::Dropped("timeout")]);
    let published = bench.published();
    assert!(published[0].1.contains(r#""code":"timeout""#), "{published:?}");
    assert!(published[1].1.contains(r#""state":"asleep""#), "{published:?}");
    bench.queue("read/3/0/9", "", None);
    assert!(bench.deliver().is_empty(), "it stays in the queue");
    assert_eq!(bench.outbox.0.len(), 1);
    assert_eq!(code_of(&bench.ask(update(&location, &[]))[0]), Code::CHANGED);
    assert_eq!(bench.json("status")["state"], "online");
    assert_eq!(path(&bench.deliver()[0]), "0.01 /3/0/9");
}

#[test]
fn a_large_registration_comes_in_blocks() {
    let mut bench = Bench::new(Config::default());
    let body: Vec<u8> = (0..100).map(|id| format!("</3303/{id}>")).collect::<Vec<_>>().join(",").into_bytes();
    let blocks: Vec<_> = body.chunks(512).collect();
    for (index, chunk) in blocks.iter().enumerate() {
        let mut packet = registration(PLAIN);
        packet.payload = chunk.to_vec();
        let more = index + 1 < blocks.len();
        add_uint(&mut packet, number::BLOCK1, (index as u32) << 4 | u32::from(more) << 3 | 5);
        let replies = bench.ask(packet);
        if more {
            assert_eq!(code_of(&replies[0]), Code::CONTINUE);
        }
    }
    let replies = bench.open(Ok(()));
    location(&replies[0]);
    assert_eq!(uint(&replies[0], number::BLOCK1), Some((blocks.len() as u32 - 1) << 4 | 5));
    assert_eq!(bench.json("status")["objects"]["3303"]["instances"].as_array().unwrap().len(), 100);
}

#[test]
fn paths_and_methods_of_others() {
    let mut bench = Bench::new(Config::default());
    assert_eq!(code_of(&bench.ask(request(Code::GET, ["rd"]))[0]), Code::METHOD_NOT_ALLOWED);
    assert_eq!(code_of(&bench.ask(request(Code::POST, ["bs"]))[0]), Code::NOT_FOUND);
    assert_eq!(code_of(&bench.ask(request(Code::POST, ["rd", "a", "b"]))[0]), Code::NOT_FOUND);
    assert_eq!(code_of(&bench.ask(request(Code::POST, ["dp"]))[0]), Code::NOT_FOUND, "unregistered");
    bench.pass(60);
    assert!(bench.out.closed.is_some(), "an address without registration is forgotten");
}

#[test]
fn a_device_that_moved_is_not_called_offline_by_its_old_address() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    bench.adapter.handle(bench.now, Event::Evicted(Reason::SessionTakenOver), &mut bench.out);
    assert!(bench.published().is_empty());
    assert!(bench.out.closed.is_some_and(|close| !close.publish_will));
}

#[test]
fn int_306_send() {
    let (mut bench, _) = Bench::registered(PLAIN, Config::default());
    let send = |format: u32, payload: &[u8]| {
        let mut packet = request(Code::POST, ["dp"]);
        add_uint(&mut packet, number::CONTENT_FORMAT, format);
        packet.payload = payload.to_vec();
        packet
    };
    let pack = br#"[{"bn":"/3303/0/","n":"5700","v":20.5},{"n":"5701","vs":"Cel"}]"#;
    assert_eq!(code_of(&bench.ask(send(110, pack))[0]), Code::CHANGED);
    let wanted = [
        ("r/3303/0/5700".to_owned(), "20.5".to_owned(), true),
        ("r/3303/0/5701".to_owned(), "Cel".to_owned(), true),
    ];
    assert_eq!(bench.published(), wanted);

    bench.out.publish_outcome = Outcome::Later;
    assert!(bench.ask(send(110, pack)).is_empty(), "not acknowledged before it is safe");
    let ticket = bench.out.published[0].0;
    let published = |reason| Event::Reply(ticket, Reply::Published(reason));
    bench.adapter.handle(bench.now, published(Reason::Success), &mut bench.out);
    assert!(bench.packets().is_empty());
    bench.adapter.handle(bench.now, published(Reason::Success), &mut bench.out);
    assert_eq!(code_of(&bench.packets()[0]), Code::CHANGED);

    bench.out.publish_outcome = Outcome::Done(Reason::QuotaExceeded);
    let full = &bench.ask(send(110, pack))[0];
    assert_eq!((code_of(full), uint(full, number::MAX_AGE)), (Code::SERVICE_UNAVAILABLE, Some(5)));
    bench.out.publish_outcome = Outcome::Done(Reason::NotAuthorized);
    assert_eq!(code_of(&bench.ask(send(110, pack))[0]), Code::FORBIDDEN);
    assert_eq!(code_of(&bench.ask(send(110, b"[{"))[0]), Code::BAD_REQUEST);
    assert_eq!(code_of(&bench.ask(send(0, b"1"))[0]), Code::UNSUPPORTED_CONTENT_FORMAT);
}
