//! MQTT 5.0 section 2.2.2: every property in every packet, once, twice, out of range, cut off.

use crate::Version::V5;
use crate::sequences::{Case, EITHER, Expected, MALFORMED, PROTOCOL_ERROR};
use crate::wire::{self, Connect, Will, packet, sized, variable};

/// Where properties stand.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Connect,
    Will,
    Publish,
    Puback,
    Pubrec,
    Pubrel,
    Pubcomp,
    Subscribe,
    Unsubscribe,
    Disconnect,
    Auth,
}

const PLACES: [Place; 11] = [
    Place::Connect,
    Place::Will,
    Place::Publish,
    Place::Puback,
    Place::Pubrec,
    Place::Pubrel,
    Place::Pubcomp,
    Place::Subscribe,
    Place::Unsubscribe,
    Place::Disconnect,
    Place::Auth,
];

/// Table 2-4: an identifier, a value that is right, values that are not, and where it may stand.
struct Known {
    identifier: u8,
    right: &'static [u8],
    /// Out of range.
    wrong: &'static [&'static [u8]],
    places: &'static [Place],
}

const fn known(
    identifier: u8,
    right: &'static [u8],
    wrong: &'static [&'static [u8]],
    places: &'static [Place],
) -> Known {
    Known { identifier, right, wrong, places }
}

/// Neither text nor whole.
const BAD_TEXTS: &[&[u8]] = &[b"\0\x01\xFF", b"\0\x01\0", b"\0\x03\xED\xA0\x80", b"\0\x02\xC0\x80"];

const KNOWN: [Known; 27] = {
    use Place::{Auth, Connect, Disconnect, Puback, Pubcomp, Publish, Pubrec, Pubrel, Subscribe, Will};
    const MESSAGE: &[Place] = &[Publish, Will];
    const TEXT: &[u8] = b"\0\x01a";
    [
        known(0x01, b"\x01", &[b"\x02", b"\xFF"], MESSAGE),
        known(0x02, b"\0\0\0\x09", &[], MESSAGE),
        known(0x03, TEXT, BAD_TEXTS, MESSAGE),
        known(0x08, TEXT, BAD_TEXTS, MESSAGE),
        known(0x09, b"\0\x02\0\xFF", &[], MESSAGE),
        known(0x0B, b"\x01", &[b"\0", b"\x81\x00", b"\x80\x80\x80\x80\x01"], &[Subscribe]),
        known(0x11, b"\0\0\0\x09", &[], &[Connect, Disconnect]),
        known(0x12, TEXT, BAD_TEXTS, &[]),
        known(0x13, b"\0\x09", &[], &[]),
        known(0x15, TEXT, BAD_TEXTS, &[Connect, Auth]),
        known(0x16, TEXT, &[], &[Connect, Auth]),
        known(0x17, b"\x01", &[b"\x02", b"\xFF"], &[Connect]),
        known(0x18, b"\0\0\0\x09", &[], &[Will]),
        known(0x19, b"\x01", &[b"\x02", b"\xFF"], &[Connect]),
        known(0x1A, TEXT, BAD_TEXTS, &[]),
        known(0x1C, TEXT, BAD_TEXTS, &[Disconnect]),
        known(0x1F, TEXT, BAD_TEXTS, &[Puback, Pubrec, Pubrel, Pubcomp, Disconnect, Auth]),
        known(0x21, b"\0\x09", &[b"\0\0"], &[Connect]),
        known(0x22, b"\0\x09", &[], &[Connect]),
        known(0x23, b"\0\x01", &[b"\0\0"], &[Publish]),
        known(0x24, b"\x01", &[b"\x02"], &[]),
        known(0x25, b"\x01", &[b"\x02"], &[]),
        known(
            0x26,
            b"\0\x01k\0\x01v",
            &[b"\0\x01\xFF\0\x01v", b"\0\x01k\0\x01\xFF", b"\0\x01\0\0\0"],
            &PLACES,
        ),
        known(0x27, b"\0\0\x01\0", &[b"\0\0\0\0"], &[Connect]),
        known(0x28, b"\x01", &[b"\x02"], &[]),
        known(0x29, b"\x01", &[b"\x02"], &[]),
        known(0x2A, b"\x01", &[b"\x02"], &[]),
    ]
};

/// What there is no property of; the last is one that takes two bytes.
const UNKNOWN: [&[u8]; 12] = [
    b"\x00",
    b"\x04",
    b"\x05",
    b"\x0A",
    b"\x0C",
    b"\x10",
    b"\x14",
    b"\x1B",
    b"\x1D",
    b"\x2B",
    b"\x7F",
    b"\x81\x01",
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for place in PLACES {
        for property in &KNOWN {
            cases.extend(of(place, property));
        }
        for identifier in UNKNOWN {
            let bytes = [identifier, b"\0\x01a"].concat();
            cases.push(case(place, format!("no property {identifier:02x?}"), &bytes, MALFORMED));
        }
        cases.extend(lengths(place));
    }
    cases
}

fn of(place: Place, property: &Known) -> Vec<Case> {
    let name = format!("{:#04x}", property.identifier);
    let with = |value: &[u8]| [&[property.identifier], value].concat();
    let once = with(property.right);
    if !property.places.contains(&place) {
        // A Subscription Identifier is one of PUBLISH, but not of one that a client sends.
        let expected =
            if property.identifier == 0x0B && place == Place::Publish { PROTOCOL_ERROR } else { MALFORMED };
        return vec![case(place, format!("{name}, not allowed"), &once, expected)];
    }
    let mut cases = vec![case(place, format!("{name} once"), &once, accepted(place, property.identifier))];
    let twice = [&once[..], &once].concat();
    let expected = if property.identifier == 0x26 { accepted(place, 0x26) } else { PROTOCOL_ERROR };
    cases.push(case(place, format!("{name} twice"), &twice, expected));
    for wrong in property.wrong {
        let expected = match property.identifier {
            // MQTT 5.0 section 3.3.2.3.4: 0x94 is its own reason.
            0x23 => Expected::Dismissed(&[0x94, 0x82]),
            _ if wrong.len() > 1 && property.right.len() > 2 && property.identifier != 0x27 => MALFORMED,
            _ => EITHER,
        };
        cases.push(case(place, format!("{name} = {wrong:02x?}"), &with(wrong), expected));
    }
    // Cut off, though the packet goes on.
    for len in 0..property.right.len() {
        cases.push(case(
            place,
            format!("{name}, {len} bytes of it"),
            &with(&property.right[..len]),
            MALFORMED,
        ));
    }
    cases
}

/// What a packet with a property that is right leads to.
fn accepted(place: Place, identifier: u8) -> Expected {
    match (place, identifier) {
        // Nobody knows the method; data without one is an error.
        (Place::Connect, 0x15) => Expected::Refused(&[0x8C, 0x87]),
        (Place::Connect, 0x16) => Expected::Refused(&[0x82]),
        (Place::Connect | Place::Will, _) => Expected::LetIn,
        (Place::Disconnect, _) => Expected::Goodbye,
        (Place::Auth, _) => PROTOCOL_ERROR,
        _ => Expected::Alive,
    }
}

/// A packet with these properties. What is expected of it is turned into what a CONNECT gets.
fn case(place: Place, name: String, properties: &[u8], expected: Expected) -> Case {
    let expected = match (place, expected) {
        (Place::Connect | Place::Will, Expected::Dismissed(reasons)) => Expected::Refused(reasons),
        // An AUTH is an error here whatever it holds; which of the two comes first is free.
        (Place::Auth, _) => EITHER,
        (_, expected) => expected,
    };
    let length = variable(properties.len() as u32);
    Case::new(format!("{place:?}: {name}"), whole(place, &[&length[..], properties].concat()), expected)
}

/// The packet with its properties, which bring their length along.
fn whole(place: Place, properties: &[u8]) -> Vec<u8> {
    let connect = Connect::new(V5, "properties");
    let acknowledgement = |first| packet(first, &[b"\0\x07\0", properties].concat());
    match place {
        Place::Connect => {
            let body = [&sized("MQTT")[..], &[5, 2, 0, 0], properties, &connect.payload()].concat();
            packet(0x10, &body)
        }
        Place::Will => {
            let payload = [&sized("properties")[..], properties, &sized("will"), &sized("gone")].concat();
            connect.will(Will::new("will", "gone")).encode_with(0x06, &payload)
        }
        Place::Publish => packet(0x30, &[&sized("t")[..], properties, b"p"].concat()),
        Place::Puback => acknowledgement(0x40),
        Place::Pubrec => acknowledgement(0x50),
        Place::Pubrel => acknowledgement(0x62),
        Place::Pubcomp => acknowledgement(0x70),
        Place::Subscribe => packet(0x82, &[b"\0\x07", properties, &sized("t"), b"\0"].concat()),
        Place::Unsubscribe => packet(0xA2, &[b"\0\x07", properties, &sized("t")].concat()),
        Place::Disconnect => packet(0xE0, &[b"\0", properties].concat()),
        Place::Auth => packet(0xF0, &[b"\x19", properties].concat()),
    }
}

/// Property Lengths that do not fit what follows.
fn lengths(place: Place) -> Vec<Case> {
    let user = wire::user("k", "v");
    let mut cases = Vec::new();
    let mut push = |name: &str, bytes: Vec<u8>| {
        let mut case = case(place, name.to_owned(), &[], MALFORMED);
        case.bytes = whole(place, &bytes);
        cases.push(case);
    };
    push("length beyond the packet", [&variable(10_000)[..], &user].concat());
    push("length that cuts a property", [&[user.len() as u8 - 1][..], &user].concat());
    push("length of 1", [&[1][..], &user].concat());
    push("padded length", [&[user.len() as u8 | 0x80, 0][..], &user].concat());
    push("length of five bytes", [&b"\x80\x80\x80\x80\x01"[..], &user].concat());
    cases
}
