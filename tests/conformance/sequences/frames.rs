//! Packets that end too early or too late.

use crate::Version::{self, V5};
use crate::sequences::{Case, EITHER, Expected, MALFORMED};
use crate::wire::{self, packet, sized};

/// A packet in pieces; its body may end behind some of them.
struct Template {
    name: &'static str,
    first: u8,
    pieces: Vec<Vec<u8>>,
    /// Behind so many pieces the packet is whole, and what becomes of it then.
    whole: Vec<(usize, Expected)>,
    /// More bytes are no error: they are payload.
    is_open_ended: bool,
}

pub fn cases(version: Version) -> Vec<Case> {
    templates(version).iter().flat_map(|template| of(version, template)).collect()
}

fn of(version: Version, template: &Template) -> Vec<Case> {
    let Template { name, first, pieces, .. } = template;
    let body = pieces.concat();
    let mut cases = Vec::new();
    let ends: Vec<(usize, Expected)> =
        template.whole.iter().map(|(count, expected)| (pieces[..*count].concat().len(), *expected)).collect();
    for len in 0..=body.len() {
        let whole = ends.iter().find(|(end, _)| *end == len);
        let in_payload = template.is_open_ended && ends.iter().any(|(end, _)| *end < len);
        let expected = match whole {
            Some((_, expected)) => *expected,
            None if in_payload => Expected::Alive,
            None => MALFORMED,
        };
        cases.push(Case::new(
            format!("{name}, cut to {len} of {}", body.len()),
            packet(*first, &body[..len]),
            expected,
        ));
    }
    // Bytes behind the end.
    for (len, expected) in &ends {
        if template.is_open_ended || *len < body.len() {
            continue;
        }
        for more in [&b"\0"[..], b"x", b"\xFF\xFF", b"\0\x02t"] {
            let bytes = packet(*first, &[&body[..*len], more].concat());
            let name = format!("{name} and {more:02x?}");
            // In an acknowledgement of 5.0 nothing may follow the properties.
            cases.push(Case::new(
                name,
                bytes,
                if matches!(expected, Expected::Alive | Expected::Goodbye) { MALFORMED } else { EITHER },
            ));
        }
    }
    // Identifier 0, where there is one.
    let has_id = matches!(first >> 4, 4..=8 | 10);
    if has_id {
        let zero = [&[0, 0], &body[2..]].concat();
        cases.push(Case::new(format!("{name} with identifier 0"), packet(*first, &zero), EITHER));
    }
    if version == V5 {
        cases.extend(padded(template, &body));
    }
    cases
}

/// Remaining lengths in more bytes than they need (MQTT-1.5.5-1).
fn padded(template: &Template, body: &[u8]) -> Vec<Case> {
    let len = body.len() as u8;
    let case = |more: usize| {
        let mut length = vec![len | 0x80];
        length.extend(vec![0x80; more - 1]);
        length.push(0);
        let bytes = [&[template.first][..], &length, body].concat();
        Case::new(format!("{} with a length of {} bytes", template.name, more + 1), bytes, MALFORMED)
    };
    (1..4).map(case).collect()
}

fn templates(version: Version) -> Vec<Template> {
    let none: Vec<u8> = if version == V5 { vec![0] } else { Vec::new() };
    let id = || vec![0, 7];
    let publish = |first, id: Option<Vec<u8>>, properties: &[u8]| {
        let mut pieces = vec![sized("a/topic")];
        pieces.extend(id);
        if version == V5 {
            pieces.push([&wire::variable(properties.len() as u32)[..], properties].concat());
        }
        let whole = vec![(pieces.len(), Expected::Alive)];
        pieces.push(b"payload".to_vec());
        Template { name: "PUBLISH", first, pieces, whole, is_open_ended: true }
    };
    let all = [
        wire::byte(wire::PAYLOAD_FORMAT, 1),
        wire::four(wire::MESSAGE_EXPIRY, 9),
        wire::text(wire::CONTENT_TYPE, "ct"),
        wire::text(wire::RESPONSE_TOPIC, "rt"),
        wire::text(wire::CORRELATION_DATA, "cd"),
        wire::two(wire::TOPIC_ALIAS, 3),
        wire::user("k", "v"),
    ]
    .concat();
    let mut templates = vec![
        publish(0x30, None, &[]),
        publish(0x31, None, &all),
        publish(0x32, Some(id()), &all),
        publish(0x3C, Some(id()), &[]),
    ];
    for (name, first) in [("PUBACK", 0x40), ("PUBREC", 0x50), ("PUBREL", 0x62), ("PUBCOMP", 0x70)] {
        let mut pieces = vec![id()];
        if version == V5 {
            let properties = [wire::text(wire::REASON_STRING, "why"), wire::user("k", "v")].concat();
            pieces.extend([vec![0], [vec![properties.len() as u8], properties].concat()]);
        }
        let whole = (1..=pieces.len()).map(|count| (count, Expected::Alive)).collect();
        templates.push(Template { name, first, pieces, whole, is_open_ended: false });
    }
    let no_filter = (1, EITHER);
    let filter = |options: bool| if options { [sized("f/+"), vec![1]].concat() } else { sized("f/+") };
    for (name, first, options) in [("SUBSCRIBE", 0x82, true), ("UNSUBSCRIBE", 0xA2, false)] {
        let head = [id(), none.clone()].concat();
        let pieces = vec![head, filter(options), filter(options)];
        let whole = vec![no_filter, (2, Expected::Alive), (3, Expected::Alive)];
        templates.push(Template { name, first, pieces, whole, is_open_ended: false });
    }
    let ping = vec![(0, Expected::Alive)];
    templates.push(Template {
        name: "PINGREQ",
        first: 0xC0,
        pieces: Vec::new(),
        whole: ping,
        is_open_ended: false,
    });
    let mut goodbye = Vec::new();
    if version == V5 {
        let properties =
            [wire::four(wire::SESSION_EXPIRY, 5), wire::text(wire::REASON_STRING, "so long")].concat();
        goodbye = vec![vec![0], [vec![properties.len() as u8], properties].concat()];
    }
    let whole = (0..=goodbye.len()).map(|count| (count, Expected::Goodbye)).collect();
    templates.push(Template {
        name: "DISCONNECT",
        first: 0xE0,
        pieces: goodbye,
        whole,
        is_open_ended: false,
    });
    templates
}
