//! A batch: the frames that one commit writes.
//!
//! Its header says where it is, and up to where the log had been synced when it was written. What is
//! invalid before that place has been damaged; what is invalid after the last such place is a torn
//! tail, which nobody was told of.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | magic |
//! | 4 | the store's salt |
//! | 4 | number of the segment |
//! | 4 | offset in it |
//! | 4 | bytes of the frames |
//! | 8 | everything before this place is synced |
//! | 4 | CRC-32 of the above |

use crate::Place;

pub(crate) const HEADER: usize = 32;

const MAGIC: [u8; 4] = *b"\x93TGB";

/// Frames in the making, with room for the header.
pub(crate) struct Batch {
    pub segment: u32,
    pub offset: u32,
    /// How large its segment has to be.
    pub segment_size: u32,
    pub bytes: Vec<u8>,
}

impl Batch {
    /// A buffer of before is used again.
    pub fn new(place: Place, segment_size: u32, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.resize(HEADER, 0);
        Self { segment: place.segment(), offset: place.offset(), segment_size, bytes: buffer }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.len() == HEADER
    }

    pub fn end(&self) -> Place {
        Place::new(self.segment, self.offset + self.bytes.len() as u32)
    }

    /// What is there from a place on, if it is in here.
    pub fn get(&self, place: Place) -> Option<&[u8]> {
        let inside = place.offset().checked_sub(self.offset)? as usize;
        (place.segment() == self.segment && inside >= HEADER).then(|| self.bytes.get(inside..))?
    }

    /// Writes the header.
    pub fn seal(&mut self, salt: u32, synced: Place) {
        let length = (self.bytes.len() - HEADER) as u32;
        let header = Header { salt, segment: self.segment, offset: self.offset, length, synced };
        self.bytes[..HEADER].copy_from_slice(&header.encode());
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub salt: u32,
    pub segment: u32,
    pub offset: u32,
    pub length: u32,
    pub synced: Place,
}

impl Header {
    pub fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..4].copy_from_slice(&MAGIC);
        for (index, number) in [self.salt, self.segment, self.offset, self.length].into_iter().enumerate() {
            out[4 + 4 * index..][..4].copy_from_slice(&number.to_le_bytes());
        }
        out[20..28].copy_from_slice(&self.synced.number().to_le_bytes());
        let crc = crc32fast::hash(&out[..28]);
        out[28..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The header at an offset of the bytes of a segment, if there is one and its batch is within
    /// them.
    pub fn decode(segment_bytes: &[u8], segment: u32, offset: usize) -> Option<Self> {
        let bytes: &[u8; HEADER] = segment_bytes.get(offset..)?.first_chunk()?;
        if bytes[..4] != MAGIC || crc32fast::hash(&bytes[..28]).to_le_bytes() != bytes[28..] {
            return None;
        }
        let number = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().expect("4 of 32"));
        let header = Self {
            salt: number(4),
            segment: number(8),
            offset: number(12),
            length: number(16),
            synced: Place::from_number(u64::from_le_bytes(*bytes[20..].first_chunk().expect("8 of 32"))),
        };
        let fits = segment_bytes.len() - offset - HEADER >= header.length as usize;
        (fits && header.segment == segment && header.offset as usize == offset).then_some(header)
    }

    /// The next one at or after an offset that this store has written.
    pub fn find(segment_bytes: &[u8], segment: u32, from: usize, salt: Option<u32>) -> Option<Self> {
        let mut from = from;
        loop {
            let rest = segment_bytes.get(from..)?;
            from += rest.iter().position(|byte| *byte == MAGIC[0])?;
            let header = Self::decode(segment_bytes, segment, from);
            if let Some(header) = header.filter(|header| salt.is_none_or(|salt| header.salt == salt)) {
                return Some(header);
            }
            from += 1;
        }
    }

    pub fn frames(&self) -> std::ops::Range<usize> {
        let start = self.offset as usize + HEADER;
        start..start + self.length as usize
    }
}
