/// What a measured payload begins with: who sent it, which one it is, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Which run of `bench`, so that one does not count what another has sent or left retained.
    pub run: u32,
    pub publisher: u32,
    /// From 0, without gaps.
    pub sequence: u64,
    /// Nanoseconds since 1970 by the clock of the sender, see [`super::clock::Clock`]. Where a rate
    /// was asked for it is the time at which the message was due, not the one at which it left.
    pub at: u64,
}

/// No text begins like this, so that a foreign payload is seldom taken for one of ours.
const MAGIC: [u8; 4] = *b"\xF7TGB";

impl Stamp {
    /// Magic, then the fields in network byte order.
    pub const LEN: usize = 28;

    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&self.run.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.publisher.to_be_bytes());
        bytes[12..20].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[20..].copy_from_slice(&self.at.to_be_bytes());
        bytes
    }

    /// `None`: the payload is not one of ours.
    #[inline]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let bytes = payload.first_chunk::<{ Self::LEN }>()?;
        if bytes[..4] != MAGIC {
            return None;
        }
        let quad = |at: usize| bytes[at..].first_chunk().map(|bytes| u32::from_be_bytes(*bytes));
        let octet = |at: usize| bytes[at..].first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
        Some(Self { run: quad(4)?, publisher: quad(8)?, sequence: octet(12)?, at: octet(20)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_as_it_was_written() {
        let stamp = Stamp { run: 0xDEAD_BEEF, publisher: 70_000, sequence: 1 << 40, at: u64::MAX - 1 };
        let mut payload = stamp.encode().to_vec();
        assert_eq!(Stamp::decode(&payload), Some(stamp));
        payload.extend_from_slice(b"filler");
        assert_eq!(Stamp::decode(&payload), Some(stamp));
    }

    #[test]
    fn other_payloads_have_none() {
        let stamp = Stamp { run: 1, publisher: 2, sequence: 3, at: 4 };
        let mut bytes = stamp.encode();
        assert_eq!(Stamp::decode(&bytes[..Stamp::LEN - 1]), None);
        assert_eq!(Stamp::decode(b""), None);
        bytes[0] = b'{';
        assert_eq!(Stamp::decode(&bytes), None);
    }
}
