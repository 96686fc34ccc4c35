//! A frame: one record on the disk.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | length of the record |
//! | 2 | check of the length |
//! | 4 | CRC-32 of the record |
//! | | the record |
//!
//! Both checks depend on the frame's place and on the store's salt. So bytes at a wrong place are no
//! frame, and nobody can send a payload that looks like one to a search through damaged bytes.

use crc32fast::Hasher;

use crate::Place;

pub(crate) const OVERHEAD: usize = 10;

/// Begins a frame at the end of `out`; the record is to be appended to it.
pub(crate) fn begin(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0; OVERHEAD]);
}

/// Completes the frame that fills `bytes`.
pub(crate) fn finish(bytes: &mut [u8], salt: u32, place: Place) {
    let (head, record) = bytes.split_at_mut(OVERHEAD);
    let length = u32::try_from(record.len()).expect("a segment is below 4 GiB");
    let seed = seed(salt, place);
    head[..4].copy_from_slice(&length.to_le_bytes());
    head[4..6].copy_from_slice(&check(length, seed).to_le_bytes());
    head[6..].copy_from_slice(&crc(record, seed).to_le_bytes());
}

/// The length of the record in the frame that begins here, if this is one.
pub(crate) fn length(bytes: &[u8], salt: u32, place: Place) -> Option<usize> {
    let length = u32::from_le_bytes(*bytes.first_chunk()?);
    let found = u16::from_le_bytes(*bytes.get(4..)?.first_chunk()?);
    (length > 0 && found == check(length, seed(salt, place))).then_some(length as usize)
}

/// The record in the frame that begins here, if all of it is right.
pub(crate) fn record(bytes: &[u8], salt: u32, place: Place) -> Option<&[u8]> {
    let length = length(bytes, salt, place)?;
    let record = bytes.get(OVERHEAD..)?.get(..length)?;
    let found = u32::from_le_bytes(*bytes[6..].first_chunk()?);
    (found == crc(record, seed(salt, place))).then_some(record)
}

fn seed(salt: u32, place: Place) -> u32 {
    let mixed = (place.number() ^ u64::from(salt) << 16).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 32) as u32 ^ salt
}

fn check(length: u32, seed: u32) -> u16 {
    ((length ^ seed).wrapping_mul(0x9E37_79B1) >> 16) as u16
}

fn crc(record: &[u8], seed: u32) -> u32 {
    let mut hasher = Hasher::new_with_initial(seed);
    hasher.update(record);
    hasher.finalize()
}
