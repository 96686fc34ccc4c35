//! A segment: one file of the log. It begins with a header, batches follow, and then zeros.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | magic |
//! | 4 | version of the format |
//! | 4 | number of the segment |
//! | 4 | the store's salt |
//! | 4 | CRC-32 of the above |

pub(crate) const HEADER: usize = 24;

/// Of the format that this program writes. One that is higher it does not touch.
pub(crate) const VERSION: u32 = 1;

const MAGIC: [u8; 8] = *b"\x93TGLOG\r\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub version: u32,
    pub number: u32,
    pub salt: u32,
}

impl Header {
    pub fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..8].copy_from_slice(&MAGIC);
        for (index, number) in [self.version, self.number, self.salt].into_iter().enumerate() {
            out[8 + 4 * index..][..4].copy_from_slice(&number.to_le_bytes());
        }
        let crc = crc32fast::hash(&out[..20]);
        out[20..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; HEADER] = bytes.first_chunk()?;
        let number = |at: usize| u32::from_le_bytes(*bytes[at..].first_chunk().expect("4 of 24"));
        let right = bytes[..8] == MAGIC && crc32fast::hash(&bytes[..20]) == number(20);
        right.then(|| Self { version: number(8), number: number(12), salt: number(16) })
    }
}

/// The name of its file; names sort as the numbers do.
pub(crate) fn name(number: u32) -> String {
    format!("{number:08x}.log")
}

pub(crate) fn number_of(name: &str) -> Option<u32> {
    let number = u32::from_str_radix(name.strip_suffix(".log")?, 16).ok()?;
    (NUMBERS.contains(&number) && self::name(number) == name).then_some(number)
}

/// The number of a new store's first segment.
pub(crate) const FIRST: u32 = 1;

/// A file with another number is none of the store's: there would be no next one.
const NUMBERS: std::ops::Range<u32> = FIRST..u32::MAX / 2;

/// What is known of a segment while the store is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Bytes of its file; 0 as long as there is none.
    pub size: u64,
    /// Bytes of it that are in use.
    pub used: u32,
    /// Bytes of messages, in frames.
    pub message_bytes: u64,
    /// Who held these messages in the beginning, and who still does.
    pub holders_ever: u64,
    pub holders: u64,
}

impl Segment {
    /// About how many of its bytes somebody still needs.
    pub fn live_bytes(&self) -> u64 {
        match self.holders_ever {
            0 => 0,
            ever => (u128::from(self.message_bytes) * u128::from(self.holders) / u128::from(ever)) as u64,
        }
    }
}
