use std::fmt;

use protocol_coap::random::Random;

/// Where a registration is: the part after `rd/`, which nobody guesses. 10 characters of 32 make 50 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Location(u64);

/// The locations that one address gives away, one after the other.
pub(crate) struct Locations(Random);

const LEN: usize = 10;
/// Each character says 5 bits, the lowest first.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

impl Locations {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Random::new(seed))
    }

    pub(crate) fn next(&mut self) -> Location {
        Location(self.0.next() & ((1 << (5 * LEN)) - 1))
    }
}

impl Location {
    /// `None` if it is none of ours.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let letters: [u8; LEN] = text.as_bytes().try_into().ok()?;
        let number = |letter| ALPHABET.iter().position(|known| *known == letter);
        let mut numbers = letters.into_iter().rev().map(number);
        numbers.try_fold(0, |sum, number| Some(sum << 5 | number? as u64)).map(Self)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = |place: usize| ALPHABET.get((self.0 >> (5 * place)) as usize & 31).copied();
        let letters: [u8; LEN] = std::array::from_fn(|place| letter(place).unwrap_or(b'a'));
        f.write_str(std::str::from_utf8(&letters).unwrap_or_default())
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_differ_and_come_back() {
        let mut locations = Locations::new(1);
        let location = locations.next();
        assert_ne!(locations.next(), location);
        assert_ne!(Locations::new(2).next(), location);
        assert_eq!(Location::parse(&location.to_string()), Some(location));
        assert_eq!(Location::parse("abcdefghij").unwrap().to_string(), "abcdefghij");
        for other in ["", "abcdefghi", "abcdefghijk", "abcdefghi/", "abcdefghi\u{e9}", "abcdefghi0"] {
            assert_eq!(Location::parse(other), None, "{other}");
        }
    }
}
