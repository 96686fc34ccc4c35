use gateway_model::{Identifiers, Qos};
use gateway_store::{CopyState, Place};

use super::reference::Reference;

/// The reference before: of each only the difference to it is written.
#[derive(Clone, Copy, Default)]
pub(super) struct Previous {
    place: u64,
    ordinal: u64,
}

const RETAIN: u8 = 1 << 2;
const MAY_BE_KNOWN: u8 = 1 << 3;
const REPLAYED: u8 = 1 << 4;
const MOVED: u8 = 1 << 5;
const SHARED: u8 = 1 << 6;
const IDENTIFIERS: u8 = 1 << 7;

/// Six bytes for nearly all of them.
pub(super) fn encode(reference: &Reference, previous: &mut Previous, out: &mut Vec<u8>) {
    let flag = |flag: u8, is_set: bool| if is_set { flag } else { 0 };
    let identifiers = reference.identifiers.as_slice();
    out.push(
        reference.qos as u8
            | flag(RETAIN, reference.retain)
            | flag(MAY_BE_KNOWN, reference.may_be_known)
            | flag(REPLAYED, reference.state == CopyState::Replayed)
            | flag(MOVED, reference.state == CopyState::Moved)
            | flag(SHARED, reference.group > 0)
            | flag(IDENTIFIERS, !identifiers.is_empty()),
    );
    let place = reference.place.number();
    put(zigzag(place.wrapping_sub(previous.place)), out);
    put(zigzag(reference.ordinal.wrapping_sub(previous.ordinal).wrapping_sub(1)), out);
    put(reference.size.into(), out);
    if reference.group > 0 {
        put(reference.group.into(), out);
        put(reference.ticket.into(), out);
    }
    if !identifiers.is_empty() {
        put(identifiers.len() as u64, out);
        identifiers.iter().for_each(|identifier| put((*identifier).into(), out));
    }
    *previous = Previous { place, ordinal: reference.ordinal };
}

/// Reads the reference at the beginning of `bytes`; `None` if there is none.
pub(super) fn decode(bytes: &mut &[u8], previous: &mut Previous) -> Option<Reference> {
    let flags = take_byte(bytes)?;
    let is_set = |flag: u8| flags & flag != 0;
    let qos = match flags & 3 {
        0 => Qos::AtMostOnce,
        1 => Qos::AtLeastOnce,
        2 => Qos::ExactlyOnce,
        _ => return None,
    };
    let state = match (is_set(REPLAYED), is_set(MOVED)) {
        (false, false) => CopyState::Waiting,
        (true, false) => CopyState::Replayed,
        (false, true) => CopyState::Moved,
        (true, true) => return None,
    };
    let place = previous.place.wrapping_add(unzigzag(take(bytes)?));
    let ordinal = previous.ordinal.wrapping_add(1).wrapping_add(unzigzag(take(bytes)?));
    let size = take_number(bytes)?;
    let (mut group, mut ticket) = (0, 0);
    if is_set(SHARED) {
        (group, ticket) = (take_number(bytes)?, take_number(bytes)?);
    }
    let identifiers = if is_set(IDENTIFIERS) { take_identifiers(bytes)? } else { Identifiers::None };
    *previous = Previous { place, ordinal };
    Some(Reference {
        place: Place::from_number(place),
        ordinal,
        identifiers,
        size,
        group,
        ticket,
        qos,
        retain: is_set(RETAIN),
        state,
        may_be_known: is_set(MAY_BE_KNOWN),
    })
}

fn take_identifiers(bytes: &mut &[u8]) -> Option<Identifiers> {
    let count = take_number(bytes)? as usize;
    // Each is a byte at least: what is damaged must not allocate more than there is.
    if count > bytes.len() {
        return None;
    }
    let all: Option<Vec<u32>> = (0..count).map(|_| take_number(bytes)).collect();
    Some(all?.into())
}

/// Seven bits a byte, the lowest first; the highest bit says that there are more.
fn put(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take_byte(bytes)?;
        number |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn take_number(bytes: &mut &[u8]) -> Option<u32> {
    u32::try_from(take(bytes)?).ok()
}

fn take_byte(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

/// A small number for a small difference, whichever way it goes.
fn zigzag(difference: u64) -> u64 {
    difference << 1 ^ ((difference as i64) >> 63) as u64
}

fn unzigzag(number: u64) -> u64 {
    number >> 1 ^ (number & 1).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn reference(place: u64, ordinal: u64) -> Reference {
        Reference {
            place: Place::from_number(place),
            ordinal,
            identifiers: Identifiers::None,
            size: 200,
            group: 0,
            ticket: 0,
            qos: Qos::AtLeastOnce,
            retain: false,
            state: CopyState::Waiting,
            may_be_known: false,
        }
    }

    fn samples() -> Vec<Reference> {
        let many = Identifiers::Many(Arc::new(vec![1, 300, u32::MAX]));
        let plain = reference(1 << 32 | 24, 7);
        vec![
            plain.clone(),
            Reference { qos: Qos::AtMostOnce, retain: true, ..reference(1 << 32 | 200, 8) },
            Reference { qos: Qos::ExactlyOnce, may_be_known: true, ..reference(3, 0) },
            Reference { state: CopyState::Replayed, identifiers: Identifiers::One(9), ..plain.clone() },
            Reference { state: CopyState::Moved, group: 5, ticket: u32::MAX, ..reference(u64::MAX, 1 << 62) },
            Reference { identifiers: many, size: u32::MAX, ..reference(0, u64::MAX >> 1) },
        ]
    }

    fn read(mut bytes: &[u8]) -> Vec<Reference> {
        let mut previous = Previous::default();
        std::iter::from_fn(|| decode(&mut bytes, &mut previous)).collect()
    }

    #[test]
    fn references_come_back() {
        let (mut bytes, mut previous) = (Vec::new(), Previous::default());
        samples().iter().for_each(|reference| encode(reference, &mut previous, &mut bytes));
        assert_eq!(read(&bytes), samples());
        // What is cut short is read as far as it goes.
        for length in 0..bytes.len() {
            let some = read(&bytes[..length]);
            assert_eq!(some, samples()[..some.len()]);
        }
    }

    #[test]
    fn most_references_take_six_bytes() {
        let (mut bytes, mut previous) = (Vec::new(), Previous::default());
        (0..1000).for_each(|number| encode(&reference(150 * number, number), &mut previous, &mut bytes));
        assert!(bytes.len() <= 6000, "{}", bytes.len());
    }

    #[test]
    fn bad_bytes_are_no_references() {
        let mut number = 1u64;
        for _ in 0..20_000 {
            number = number.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
            let bytes: Vec<u8> = (0..number >> 58).map(|at| (number >> (at % 57)) as u8).collect();
            read(&bytes);
        }
    }
}
