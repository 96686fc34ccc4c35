//! Sections 3.15 and 4.12: AUTH and enhanced authentication, with SCRAM-SHA-256 for a method.

use crate::Version::V5;
use crate::packet::{Packet, Value};
use crate::scene::{Client, NAME, PASSWORD, Scene};
use crate::scram::{METHOD, Scram};
use crate::wire::{self, Connect, PINGREQ, Publish, auth, byte, four, subscribe, text};

conformance! {
    mqtt5_3_1_2_30_while_it_authenticates_a_client_says_nothing_else: nothing_else();
    mqtt5_3_15_1_1_the_flags_of_auth_are_0: flags();
    mqtt5_3_15_2_1_reasons_of_auth_are_those_defined: reasons();
    mqtt5_3_15_2_2_auth_fits_the_client also "3.15.2-3": fits();
    mqtt5_4_12_0_1_an_unknown_method_is_refused: unknown_method();
    mqtt5_4_12_0_2_a_challenge_says_continue also "4.12.0-5": let_in();
    mqtt5_4_12_0_3_an_answer_says_continue: answers_continue();
    mqtt5_4_12_0_4_authentication_may_fail_at_any_step: fails();
    mqtt5_4_12_0_5_all_packets_name_the_method: another_method();
    mqtt5_4_12_0_6_without_a_method_there_is_no_auth: no_method();
    mqtt5_4_12_0_7_auth_without_a_method_is_an_error: auth_without_method();
    mqtt5_4_12_1_1_the_method_stays_the_same: again_by_another_method();
    mqtt5_4_12_1_2_failing_again_ends_the_connection: fails_again();
}

fn method(name: &str) -> Vec<u8> {
    text(wire::AUTHENTICATION_METHOD, name)
}

fn data(data: &str) -> Vec<u8> {
    text(wire::AUTHENTICATION_DATA, data)
}

fn connect(first: &str) -> Connect {
    Connect::new(V5, "c").with(method(METHOD)).with(data(first))
}

/// The data of a packet that names the method, as every one has to.
#[track_caller]
fn data_of(packet: &Packet) -> String {
    assert_eq!(packet.value(wire::AUTHENTICATION_METHOD), Some(&Value::Text(METHOD.into())), "{packet:?}");
    match packet.value(wire::AUTHENTICATION_DATA) {
        Some(Value::Data(data)) => String::from_utf8(data.clone()).expect("text"),
        other => panic!("no data: {other:?}"),
    }
}

/// A client that was asked for its proof, and the challenge.
#[track_caller]
fn challenged(scene: &mut Scene, scram: &Scram) -> (Client, String) {
    let client = scene.dial(V5);
    let challenge = scene.ask(client, &connect(&scram.first()).encode());
    assert!(matches!(challenge, Packet::Auth { reason: 0x18, .. }), "{challenge:?}");
    (client, data_of(&challenge))
}

/// A client that has proved itself.
#[track_caller]
fn proved(scene: &mut Scene) -> Client {
    let mut scram = Scram::new(NAME, PASSWORD);
    let (client, challenge) = challenged(scene, &scram);
    let answer = auth(0x18, &[method(METHOD), data(&scram.last(&challenge))].concat());
    let connack = scene.ask(client, &answer);
    assert!(matches!(connack, Packet::Connack { reason: 0, .. }), "{connack:?}");
    assert_eq!(data_of(&connack), scram.signature);
    client
}

fn let_in() {
    let mut scene = Scene::new();
    let client = proved(&mut scene);
    scene.lives(client);
    // And again, while the session goes on.
    let mut scram = Scram::new(NAME, PASSWORD);
    scene.subscribe(client, "t", 0);
    let challenge = scene.ask(client, &auth(0x19, &[method(METHOD), data(&scram.first())].concat()));
    assert!(matches!(challenge, Packet::Auth { reason: 0x18, .. }), "{challenge:?}");
    scene.publish(client, "t", "meanwhile");
    assert_eq!(scene.texts(client), ["meanwhile"]);
    let last = scram.last(&data_of(&challenge));
    let done = scene.ask(client, &auth(0x18, &[method(METHOD), data(&last)].concat()));
    assert!(matches!(done, Packet::Auth { reason: 0x00, .. }), "{done:?}");
    assert_eq!(data_of(&done), scram.signature);
    scene.lives(client);
}

/// A refusal before the session is open: CONNACK with one of these reasons and a close.
#[track_caller]
fn not_let_in(scene: &mut Scene, client: Client, bytes: &[u8], reasons: &[u8]) {
    let packets = scene.exchange(client, bytes);
    match &packets[..] {
        [Packet::Connack { reason, session_present: false, .. }] => {
            assert!(reasons.contains(reason), "{reason:#04x}");
        }
        _ => panic!("{packets:?}"),
    }
    assert!(scene.is_closed(client));
}

fn nothing_else() {
    let mut scene = Scene::new();
    let reader = scene.open(&Connect::new(V5, "reader").login(NAME, PASSWORD)).0;
    scene.subscribe(reader, "t", 0);
    let others = [
        PINGREQ.to_vec(),
        Publish::new(V5, "t", "smuggled").encode(),
        subscribe(V5, 1, &[("t", 0)]),
        Connect::new(V5, "c").encode(),
        wire::puback(1),
    ];
    for bytes in others {
        let (client, _) = challenged(&mut scene, &Scram::new(NAME, PASSWORD));
        not_let_in(&mut scene, client, &bytes, &[0x81, 0x82]);
    }
    // It may give up.
    let (client, _) = challenged(&mut scene, &Scram::new(NAME, PASSWORD));
    scene.leave(client);
    scene.nothing(reader);
}

fn answers_continue() {
    let mut scene = Scene::new();
    for reason in [0x00, 0x19] {
        let mut scram = Scram::new(NAME, PASSWORD);
        let (client, challenge) = challenged(&mut scene, &scram);
        let answer = auth(reason, &[method(METHOD), data(&scram.last(&challenge))].concat());
        not_let_in(&mut scene, client, &answer, &[0x81, 0x82]);
    }
}

fn fails() {
    let mut scene = Scene::new();
    // At the first step,
    for first in ["", "nonsense", "y,,n=name,r=x", "p=tls-unique,,n=name,r=x"] {
        let client = scene.dial(V5);
        let packets = scene.exchange(client, &connect(first).encode());
        if let [Packet::Auth { reason: 0x18, .. }] = packets[..] {
            assert_eq!(first, "y,,n=name,r=x", "{first} was taken");
            continue;
        }
        assert!(matches!(packets[..], [Packet::Connack { reason: 0x80.., .. }]), "{first}: {packets:?}");
        assert!(scene.is_closed(client));
    }
    // and at the last.
    for (name, password) in [(NAME, "wrong"), ("unknown", PASSWORD)] {
        let mut scram = Scram::new(name, password);
        let (client, challenge) = challenged(&mut scene, &scram);
        let answer = auth(0x18, &[method(METHOD), data(&scram.last(&challenge))].concat());
        not_let_in(&mut scene, client, &answer, &[0x86, 0x87]);
    }
    // Silence is no answer either.
    let (client, _) = challenged(&mut scene, &Scram::new(NAME, PASSWORD));
    scene.wait(60);
    assert!(scene.is_closed(client));
}

fn another_method() {
    let mut scene = Scene::new();
    for named in [method("PLAIN"), method("scram-sha-256"), Vec::new()] {
        let mut scram = Scram::new(NAME, PASSWORD);
        let (client, challenge) = challenged(&mut scene, &scram);
        let last = scram.last(&challenge);
        // Data without a method is an error of its own; so only the method may be missing.
        let properties = if named.is_empty() { Vec::new() } else { [named, data(&last)].concat() };
        not_let_in(&mut scene, client, &auth(0x18, &properties), &[0x82, 0x8C]);
    }
}

fn unknown_method() {
    let mut scene = Scene::new();
    for name in ["unknown", "", "PLAIN", "scram-sha-256"] {
        scene.refused(V5, &Connect::new(V5, "c").with(method(name)).encode(), Some(0x8C));
    }
}

fn no_method() {
    let mut scene = Scene::new();
    let (client, connack) = scene.open(&Connect::new(V5, "c").login(NAME, PASSWORD));
    assert!(!connack.has(wire::AUTHENTICATION_METHOD) && !connack.has(wire::AUTHENTICATION_DATA));
    scene.lives(client);
}

fn auth_without_method() {
    let mut scene = Scene::new();
    for reason in [0x00, 0x18, 0x19] {
        let client = scene.client(V5, "c");
        scene.offend(client, &auth(reason, &method(METHOD)), 0x82);
        let client = scene.client(V5, "c");
        scene.offend(client, &auth(reason, &[]), 0x82);
    }
}

#[track_caller]
fn dismissed(scene: &mut Scene, client: Client, bytes: &[u8], reasons: &[u8]) {
    let packets = scene.exchange(client, bytes);
    match packets[..] {
        [Packet::Disconnect { reason, .. }] => assert!(reasons.contains(&reason), "{reason:#04x}"),
        _ => panic!("{packets:?}"),
    }
    assert!(scene.is_closed(client));
}

fn again_by_another_method() {
    let mut scene = Scene::new();
    for named in [method("PLAIN"), method("unknown"), Vec::new()] {
        let client = proved(&mut scene);
        dismissed(&mut scene, client, &auth(0x19, &named), &[0x82, 0x8C]);
    }
}

fn fails_again() {
    let mut scene = Scene::new();
    let client = proved(&mut scene);
    let mut scram = Scram::new(NAME, "wrong");
    let challenge = scene.ask(client, &auth(0x19, &[method(METHOD), data(&scram.first())].concat()));
    let last = scram.last(&data_of(&challenge));
    dismissed(&mut scene, client, &auth(0x18, &[method(METHOD), data(&last)].concat()), &[0x86, 0x87]);
    // An answer that nobody waits for is an error, too.
    let client = proved(&mut scene);
    dismissed(&mut scene, client, &auth(0x18, &method(METHOD)), &[0x82]);
}

fn flags() {
    let mut scene = Scene::new();
    for flags in 1..16 {
        let client = scene.client(V5, "c");
        let mut bytes = auth(0x19, &method(METHOD));
        bytes[0] |= flags;
        scene.offend(client, &bytes, 0x81);
    }
}

fn reasons() {
    let mut scene = Scene::new();
    for reason in (0..=u8::MAX).filter(|reason| ![0x00, 0x18, 0x19].contains(reason)) {
        let client = proved_once(&mut scene, reason);
        dismissed(&mut scene, client, &auth(reason, &method(METHOD)), &[0x81, 0x82]);
    }
    // The gateway's own are 0x18 and 0x00: `let_in` has seen both.
    let_in();
}

/// Proving takes time, so most clients here have only logged in.
fn proved_once(scene: &mut Scene, reason: u8) -> Client {
    match reason {
        0x01 => proved(scene),
        _ => scene.open(&Connect::new(V5, "c").login(NAME, PASSWORD)).0,
    }
}

fn fits() {
    let mut scene = Scene::new();
    let scram = Scram::new(NAME, PASSWORD);
    for maximum in [100, 150, 200, 300, 1000] {
        for problem in [0, 1] {
            let limits = [four(wire::MAXIMUM_PACKET, maximum), byte(wire::REQUEST_PROBLEM, problem)].concat();
            let client = scene.dial(V5);
            scene.send(client, &connect(&scram.first()).with(limits).encode());
            let bytes = scene.bench.received(client.line);
            assert!(bytes.len() as u32 <= maximum, "{} bytes of {maximum}", bytes.len());
            if bytes.first() == Some(&0xF0) {
                let packet = Packet::parse(V5, bytes[0], &bytes[2..]);
                assert!(!packet.has(wire::REASON_STRING) && !packet.has(wire::USER), "{packet:?}");
            }
        }
    }
}
