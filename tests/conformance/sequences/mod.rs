//! Beyond the statements: every packet of all versions, broken in every way there is, with what
//! the standards say must become of it. The expectations are written from the standards and not
//! from our code; where they leave a choice, all of it is allowed.

mod connects;
mod frames;
mod headers;
mod order;
mod properties;
mod texts;

use crate::Version::{self, V5, V31, V311};
use crate::packet::Packet;
use crate::scene::{Client, Scene};
use crate::wire::{self, Connect};

/// Bytes of a client, and what becomes of them.
pub struct Case {
    pub name: String,
    pub bytes: Vec<u8>,
    pub expected: Expected,
}

#[derive(Clone, Copy, Debug)]
pub enum Expected {
    /// A CONNECT that is accepted.
    LetIn,
    /// Bytes on a new connection that are refused: closed, by CONNACK with one of these reasons or
    /// without a word.
    Refused(&'static [u8]),
    /// After CONNECT: it goes on.
    Alive,
    /// After CONNECT: a goodbye, which is not answered.
    Goodbye,
    /// After CONNECT: closed, by DISCONNECT with one of these reasons.
    Dismissed(&'static [u8]),
}

pub const MALFORMED: Expected = Expected::Dismissed(&[0x81]);
pub const PROTOCOL_ERROR: Expected = Expected::Dismissed(&[0x82]);
/// Where the standard calls it an error without saying which of the two, or both apply.
pub const EITHER: Expected = Expected::Dismissed(&[0x81, 0x82]);

impl Case {
    pub fn new(name: impl Into<String>, bytes: Vec<u8>, expected: Expected) -> Self {
        Self { name: name.into(), bytes, expected }
    }
}

macro_rules! sequences {
    ($($name:ident: $cases:expr;)+) => {
        mod run {
            use super::*;
            $(
                #[test]
                fn $name() {
                    run($cases.0, $cases.1);
                }
            )+
        }
    };
}

sequences! {
    mqtt5_first_bytes: (V5, headers::cases(V5));
    mqtt311_first_bytes: (V311, headers::cases(V311));
    mqtt31_first_bytes: (V31, headers::cases(V31));
    mqtt5_cut_and_stretched_packets: (V5, frames::cases(V5));
    mqtt311_cut_and_stretched_packets: (V311, frames::cases(V311));
    mqtt31_cut_and_stretched_packets: (V31, frames::cases(V31));
    mqtt5_properties: (V5, properties::cases());
    mqtt5_texts: (V5, texts::cases(V5));
    mqtt311_texts: (V311, texts::cases(V311));
    mqtt5_connects: (V5, connects::cases(V5));
    mqtt311_connects: (V311, connects::cases(V311));
    mqtt31_connects: (V31, connects::cases(V31));
    mqtt5_order_of_packets: (V5, order::cases(V5));
    mqtt311_order_of_packets: (V311, order::cases(V311));
    mqtt31_order_of_packets: (V31, order::cases(V31));
}

/// A public suite has 1,761 of them.
#[test]
fn there_are_enough() {
    let all = [V5, V311, V31].map(|version| {
        let common = [headers::cases(version), frames::cases(version), texts::cases(version)];
        let others = [connects::cases(version), order::cases(version)];
        common.iter().chain(&others).map(Vec::len).sum::<usize>()
    });
    let count = all.iter().sum::<usize>() + properties::cases().len();
    println!("{count} sequences");
    assert!(count > 1761, "{count}");
}

/// Bytes of all cases that end an open connection.
pub fn broken_bytes(version: Version) -> Vec<Vec<u8>> {
    let mut cases = headers::cases(version);
    cases.extend(frames::cases(version));
    let broken = cases.into_iter().filter(|case| matches!(case.expected, Expected::Dismissed(_)));
    broken.map(|case| case.bytes).collect()
}

fn run(version: Version, cases: Vec<Case>) {
    let mut scene = Scene::new();
    let other = scene.subscriber(version, "other", "other/#", 1);
    let mut findings = Vec::new();
    for case in &cases {
        if let Err(text) = check(&mut scene, version, case) {
            findings.push(format!(
                "{}: {text}\n    {:02x?}",
                case.name,
                &case.bytes[..case.bytes.len().min(80)]
            ));
        }
        // Whatever became of that one, others do not notice.
        scene.lives(other);
    }
    scene.publish(other, "other/topic", "still there");
    assert_eq!(scene.texts(other), ["still there"]);
    let shown = findings.iter().take(40).map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(findings.is_empty(), "{} of {}:\n{shown}", findings.len(), cases.len());
}

fn check(scene: &mut Scene, version: Version, case: &Case) -> Result<(), String> {
    match case.expected {
        Expected::LetIn | Expected::Refused(_) => {
            let client = scene.dial(version);
            scene.send(client, &case.bytes);
            first(scene, client, case.expected)
        }
        Expected::Alive | Expected::Goodbye | Expected::Dismissed(_) => {
            let (client, _) = scene.open(&Connect::new(version, "case").resuming());
            scene.send(client, &case.bytes);
            let result = later(scene, client, case.expected);
            scene.cut(client);
            // The session is thrown away: the next case begins anew.
            let next = scene.client(version, "case");
            scene.leave(next);
            result
        }
    }
}

fn first(scene: &mut Scene, client: Client, expected: Expected) -> Result<(), String> {
    let bytes = scene.bench.received(client.line);
    let closed = scene.is_closed(client);
    let answer = match bytes[..] {
        [] => None,
        // As the version says it that the CONNECT named; the name may not have been understood.
        [0x20, _, 0, reason, ..] => Some(reason),
        _ => return Err(format!("answered {bytes:02x?}")),
    };
    let fits = match expected {
        Expected::LetIn => answer == Some(0) && !closed,
        Expected::Refused(reasons) => {
            closed && answer.is_none_or(|answer| answer != 0 && reasons.contains(&answer))
        }
        _ => unreachable!("after CONNECT"),
    };
    scene.cut(client);
    if fits { Ok(()) } else { Err(format!("{answer:02x?}, closed: {closed}, expected {expected:02x?}")) }
}

fn later(scene: &mut Scene, client: Client, expected: Expected) -> Result<(), String> {
    let packets = scene.take(client);
    let closed = scene.is_closed(client);
    let farewell = match packets.last() {
        Some(Packet::Disconnect { reason, .. }) => Some(*reason),
        _ => None,
    };
    let fits = match expected {
        Expected::Alive => {
            farewell.is_none() && !closed && {
                scene.send(client, wire::PINGREQ);
                scene.take(client).last() == Some(&Packet::Pingresp)
            }
        }
        Expected::Goodbye => packets.is_empty() && closed,
        Expected::Dismissed(reasons) => {
            closed
                && match client.version {
                    V5 => farewell.is_some_and(|reason| reasons.contains(&reason)),
                    _ => farewell.is_none(),
                }
        }
        _ => unreachable!("the first packet"),
    };
    if fits { Ok(()) } else { Err(format!("{packets:02x?}, closed: {closed}, expected {expected:02x?}")) }
}
