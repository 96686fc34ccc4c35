//! The fixed header: every first byte, and lengths that cannot be.

use crate::Version::{self, V5, V31};
use crate::sequences::{Case, EITHER, Expected, MALFORMED, PROTOCOL_ERROR};
use crate::wire::{Connect, Publish, packet};

pub fn cases(version: Version) -> Vec<Case> {
    let mut cases = Vec::new();
    for first in 0..=u8::MAX {
        // MQTT 3.1 has flags that are not used, but does not say what becomes of those who do.
        if version == V31 && !is_said_in_31(first) {
            continue;
        }
        let bytes = proper_body(version, first);
        cases.push(Case::new(
            format!("first byte {first:#04x}"),
            bytes.clone(),
            after_connect(version, first),
        ));
        let before = if first == 0x10 { Expected::LetIn } else { Expected::Refused(&[]) };
        cases.push(Case::new(format!("first byte {first:#04x} before CONNECT"), bytes, before));
        // Without any body, most are cut off.
        let empty = match (first, version) {
            (0xC0, _) => Expected::Alive,
            (0xE0, _) => Expected::Goodbye,
            // A publish without a topic; 0x81 or an error of its flags.
            _ if first >> 4 == 1 => EITHER,
            _ => broken(version, first),
        };
        cases.push(Case::new(format!("first byte {first:#04x}, no body"), vec![first, 0], empty));
    }
    cases.extend(lengths());
    cases
}

/// A packet that is right but perhaps for its first byte.
fn proper_body(version: Version, first: u8) -> Vec<u8> {
    let is_v5 = version == V5;
    let properties: &[u8] = if is_v5 { &[0] } else { &[] };
    let method = b"\x19\x06\x15\0\x03abc";
    let body = match first >> 4 {
        1 => return [&[first][..], &Connect::new(version, "second").encode()[1..]].concat(),
        2 => [b"\0\0", properties].concat(),
        3 => {
            let publish = Publish::new(version, "t", "p");
            let publish = if first & 6 == 0 { publish } else { Publish { id: Some(1), ..publish } };
            return [&[first][..], &publish.encode()[1..]].concat();
        }
        4..=7 => b"\0\x01".to_vec(),
        8 => [b"\0\x01", properties, b"\0\x01t\0"].concat(),
        9 => [b"\0\x01", properties, b"\0"].concat(),
        10 => [b"\0\x01", properties, b"\0\x01t"].concat(),
        11 => [&b"\0\x01"[..], properties, if is_v5 { &[0][..] } else { &[] }].concat(),
        15 if is_v5 => method.to_vec(),
        _ => Vec::new(),
    };
    packet(first, &body)
}

/// MQTT 3.1 sections 2.1, 3.6, 3.8 and 3.10: what is sent again may have DUP.
fn is_said_in_31(first: u8) -> bool {
    let usual = [0x10, 0x20, 0x40, 0x50, 0x62, 0x70, 0x82, 0x90, 0xA2, 0xB0, 0xC0, 0xD0, 0xE0];
    let again = [0x6A, 0x8A, 0xAA];
    let publish = matches!(first, 0x30..=0x3F) && first & 0x0E != 0x08;
    usual.contains(&first) || again.contains(&first) || publish
}

/// Table 2-2 of 5.0 and 3.1.1, and who may send what (table 2-1).
fn after_connect(version: Version, first: u8) -> Expected {
    match first {
        // No DUP at QoS 0, no QoS 3.
        0x38 | 0x39 | 0x36 | 0x37 | 0x3E | 0x3F => MALFORMED,
        0x30..=0x3F | 0x40 | 0x50 | 0x62 | 0x70 | 0x82 | 0xA2 | 0xC0 => Expected::Alive,
        0x6A | 0x8A | 0xAA if version == V31 => Expected::Alive,
        0xE0 => Expected::Goodbye,
        0x10 | 0x20 | 0x90 | 0xB0 | 0xD0 => PROTOCOL_ERROR,
        // Authentication was not asked for.
        0xF0 if version == V5 => PROTOCOL_ERROR,
        _ => broken(version, first),
    }
}

fn broken(version: Version, first: u8) -> Expected {
    match (first >> 4, version) {
        // Type 0 is forbidden, and so is type 15 in 3.1.1; only a server sends these: the flags are
        // wrong, and so is the sender.
        (0 | 1 | 2 | 9 | 11 | 13, _) => EITHER,
        // An AUTH without a body is one with reason 0x00, which only a server sends.
        (15, V5) if first == 0xF0 => EITHER,
        _ => MALFORMED,
    }
}

fn lengths() -> Vec<Case> {
    let mut cases = Vec::new();
    for first in [0x30, 0x40, 0x82, 0xA2, 0xC0, 0xE0] {
        for length in
            [&b"\x80\x80\x80\x80"[..], b"\xFF\xFF\xFF\xFF", b"\xFF\xFF\xFF\xFF\x7F", b"\x80\x80\x80\x80\x01"]
        {
            let bytes = [&[first], length].concat();
            cases.push(Case::new(
                format!("{first:#04x} with a length of five bytes"),
                bytes.clone(),
                MALFORMED,
            ));
            cases.push(Case::new("the same before CONNECT", bytes, Expected::Refused(&[])));
        }
        // The longest there is: more than anybody agreed to.
        let longest = [&[first][..], b"\xFF\xFF\xFF\x7F"].concat();
        cases.push(Case::new(format!("{first:#04x}, 256 MiB"), longest, Expected::Dismissed(&[0x95, 0x81])));
    }
    cases.push(Case::new(
        "CONNECT of 256 MiB",
        b"\x10\xFF\xFF\xFF\x7F".to_vec(),
        Expected::Refused(&[0x95, 0x81]),
    ));
    cases
}
