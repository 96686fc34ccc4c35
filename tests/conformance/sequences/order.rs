//! Packets that are right, in every order of two, and split at every byte.

use crate::Version;
use crate::format::proper;
use crate::sequences::{Case, Expected, PROTOCOL_ERROR};
use crate::wire::{self, Connect, GOODBYE, Publish};

pub fn cases(version: Version) -> Vec<Case> {
    let mut packets = proper(version);
    packets.retain(|(name, _)| *name != "AUTH" && *name != "DISCONNECT");
    packets.extend([
        ("PUBLISH at 0", Publish::new(version, "t", "p").encode()),
        ("PUBLISH at 1", Publish::new(version, "t", "p").qos(1, 7).encode()),
        ("PUBLISH at 2", Publish::new(version, "t", "p").qos(2, 7).encode()),
    ]);
    let mut cases = Vec::new();
    let connect = Connect::new(version, "second").encode();
    let from_server = wire::packet(0xD0, b"");
    for (first_name, first) in &packets {
        for (second_name, second) in &packets {
            let bytes = [&first[..], second].concat();
            cases.push(Case::new(format!("{first_name}, {second_name}"), bytes, Expected::Alive));
        }
        let case =
            |name: &str, bytes: Vec<u8>, expected| Case::new(format!("{first_name}{name}"), bytes, expected);
        cases.push(case(", CONNECT", [&first[..], &connect].concat(), PROTOCOL_ERROR));
        cases.push(case(", PINGRESP", [&first[..], &from_server].concat(), PROTOCOL_ERROR));
        cases.push(case(" behind a goodbye", [GOODBYE, first].concat(), Expected::Goodbye));
        cases.push(case(" behind an error", [&from_server[..], first].concat(), PROTOCOL_ERROR));
        // The first part of a packet is not an error: the rest may come.
        for len in 1..first.len() {
            let rest = [&first[..], &first[..len]].concat();
            let waiting = Expected::Alive;
            let whole = [&rest[..], &first[len..]].concat();
            cases.push(case(&format!(" in parts of {len}"), whole, waiting));
        }
        cases.push(case(" before CONNECT", [&first[..], &connect].concat(), Expected::Refused(&[])));
    }
    cases
}
