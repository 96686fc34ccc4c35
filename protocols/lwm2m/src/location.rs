use std::fmt;

/// Where a registration is: the part after `rd/`, which nobody guesses. 10 characters of 32 make 50 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Location([u8; LEN]);

const LEN: usize = 10;
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

impl Location {
    /// The `serial`-th of an address.
    pub(crate) fn new(seed: u64, serial: u32) -> Self {
        // SplitMix64's output function over seed and serial.
        let serial = u64::from(serial).wrapping_add(1);
        let mut mixed = seed.wrapping_add(serial.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        let letter = |place: usize| ALPHABET.get((mixed >> (5 * place)) as usize & 31).copied();
        Self(std::array::from_fn(|place| letter(place).unwrap_or(b'a')))
    }

    /// `None` if it is none of ours.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; LEN] = text.as_bytes().try_into().ok()?;
        bytes.iter().all(|byte| ALPHABET.contains(byte)).then_some(Self(bytes))
    }

    pub(crate) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_differ_and_come_back() {
        assert_ne!(Location::new(1, 0), Location::new(1, 1));
        assert_ne!(Location::new(1, 0), Location::new(2, 0));
        let location = Location::new(1, 0);
        assert_eq!(Location::parse(location.as_str()), Some(location));
        for other in ["", "abcdefghi", "abcdefghijk", "abcdefghi/", "abcdefghi\u{e9}", "abcdefghi0"] {
            assert_eq!(Location::parse(other), None, "{other}");
        }
    }
}
