use super::{Header, PacketType};

/// How many bytes a Variable Byte Integer takes (MQTT 5.0 section 1.5.5).
#[inline]
pub(crate) fn variable_len(value: usize) -> usize {
    match value {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    }
}

#[inline]
pub(crate) fn put_variable(into: &mut Vec<u8>, mut value: usize) {
    debug_assert!(value <= Header::BODY_LEN_MAX);
    while value > 0x7F {
        into.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

pub(crate) fn put_u16(into: &mut Vec<u8>, value: u16) {
    into.extend_from_slice(&value.to_be_bytes());
}

pub(crate) fn put_u32(into: &mut Vec<u8>, value: u32) {
    into.extend_from_slice(&value.to_be_bytes());
}

/// Binary data with its two-byte length; what does not fit is cut off.
pub(crate) fn put_binary(into: &mut Vec<u8>, bytes: &[u8]) {
    let fitting = bytes.get(..usize::from(u16::MAX)).unwrap_or(bytes);
    put_u16(into, fitting.len() as u16);
    into.extend_from_slice(fitting);
}

pub(crate) fn put_text(into: &mut Vec<u8>, text: &str) {
    put_binary(into, fitting(text).as_bytes());
}

/// The part of a text that a two-byte length can carry.
#[inline]
pub(crate) fn fitting(text: &str) -> &str {
    if text.len() <= usize::from(u16::MAX) {
        return text;
    }
    text.get(..text.floor_char_boundary(usize::from(u16::MAX))).unwrap_or_default()
}

/// Writes a packet whose body's length is known only once it is written: the body goes behind a
/// one-byte length, and moves over in the rare case that the length needs more.
pub(crate) fn put_packet(into: &mut Vec<u8>, packet_type: PacketType, body: impl FnOnce(&mut Vec<u8>)) {
    into.push(packet_type.first_byte());
    let len_at = into.len();
    into.push(0);
    body(into);
    let body_len = into.len() - len_at - 1;
    if body_len < 0x80 {
        into[len_at] = body_len as u8;
        return;
    }
    let mut encoded = Vec::with_capacity(4);
    put_variable(&mut encoded, body_len);
    into.splice(len_at..=len_at, encoded);
}
