//! CONNECT: every byte of flags, every level, every length.

use crate::Version::{self, V5, V31};
use crate::sequences::{Case, Expected};
use crate::wire::{self, Connect, Will, packet, sized};

pub fn cases(version: Version) -> Vec<Case> {
    let mut cases = flags(version);
    cases.extend(levels());
    cases.extend(cut(version));
    cases
}

/// A refusal as malformed: 3.1.1 has no word for it.
fn malformed(version: Version) -> Expected {
    Expected::Refused(if version == V5 { &[0x81, 0x82] } else { &[] })
}

fn flags(version: Version) -> Vec<Case> {
    let case = |flags: u8| {
        let mut payload = sized("flags");
        let has_will = flags & 0x04 != 0;
        if has_will {
            if version == V5 {
                payload.push(0);
            }
            payload.extend([sized("will"), sized("gone")].concat());
        }
        let (name, password) = (flags & 0x80 != 0, flags & 0x40 != 0);
        [name, password].iter().filter(|given| **given).for_each(|_| payload.extend(sized("x")));
        let will_bits = flags & 0x38;
        let expected = match flags {
            _ if flags & 0x01 != 0 => malformed(version),
            _ if !has_will && will_bits != 0 => malformed(version),
            _ if flags & 0x18 == 0x18 => malformed(version),
            _ if password && !name && version != V5 => malformed(version),
            // Nobody has this name.
            _ if name => Expected::Refused(if version == V5 { &[0x86, 0x87] } else { &[0x04, 0x05] }),
            _ => Expected::LetIn,
        };
        Case::new(
            format!("flags {flags:#010b}"),
            Connect::new(version, "").encode_with(flags, &payload),
            expected,
        )
    };
    // MQTT 3.1 section 3.1 leaves open what becomes of flags that are reserved or go with a will.
    let is_said =
        |flags: &u8| version != V31 || flags & 0x01 == 0 && (flags & 0x04 != 0 || flags & 0x38 == 0);
    (0..=u8::MAX).filter(is_said).map(case).collect()
}

fn levels() -> Vec<Case> {
    let mut cases = Vec::new();
    for name in ["MQTT", "MQIsdp", "mqtt", "MQTt", "MQTT ", "MQ", ""] {
        for level in 0..=u8::MAX {
            let mut body = sized(name);
            body.extend([level, 2, 0, 0]);
            if level == 5 {
                body.push(0);
            }
            body.extend(sized("named"));
            let expected = match (name, level) {
                ("MQTT", 4 | 5) | ("MQIsdp", 3) => Expected::LetIn,
                _ => Expected::Refused(&[0x01, 0x84]),
            };
            cases.push(Case::new(format!("{name:?} level {level}"), packet(0x10, &body), expected));
        }
    }
    // All bytes of an unknown level count for nothing: its format is not known.
    cases.push(Case::new(
        "level 9 and nothing else",
        packet(0x10, b"\0\x04MQTT\x09"),
        Expected::Refused(&[0x01, 0x84, 0x81]),
    ));
    cases
}

/// Cut at every byte, and stretched.
fn cut(version: Version) -> Vec<Case> {
    let will = Will::new("will", "gone").qos(2).retained();
    let mut connects = vec![
        ("plain", Connect::new(version, "cut")),
        ("with a will", Connect::new(version, "cut").will(will.clone())),
    ];
    if version == V5 {
        let properties = [
            wire::four(wire::SESSION_EXPIRY, 9),
            wire::two(wire::RECEIVE_MAXIMUM, 9),
            wire::four(wire::MAXIMUM_PACKET, 999),
            wire::two(wire::TOPIC_ALIAS_MAXIMUM, 9),
            wire::byte(wire::REQUEST_RESPONSE, 1),
            wire::byte(wire::REQUEST_PROBLEM, 1),
            wire::user("k", "v"),
        ]
        .concat();
        let will = will.with(wire::four(wire::WILL_DELAY, 1)).with(wire::text(wire::CONTENT_TYPE, "x"));
        connects.push(("with properties", Connect::new(version, "cut").with(properties).will(will)));
    }
    let mut cases = Vec::new();
    for (name, connect) in connects {
        let bytes = connect.encode();
        let body = &bytes[2..];
        for len in 0..body.len() {
            let expected = match len {
                // Not even the name and level are there: whose words would a refusal be in?
                0..=6 => Expected::Refused(&[0x81]),
                _ => malformed(version),
            };
            cases.push(Case::new(
                format!("CONNECT {name}, cut to {len}"),
                packet(0x10, &body[..len]),
                expected,
            ));
        }
        cases.push(Case::new(format!("CONNECT {name}"), bytes.clone(), Expected::LetIn));
        for more in [&b"\0"[..], b"\0\0", b"\0\x01x"] {
            let long = packet(0x10, &[body, more].concat());
            cases.push(Case::new(format!("CONNECT {name} and {more:02x?}"), long, malformed(version)));
        }
    }
    cases
}
