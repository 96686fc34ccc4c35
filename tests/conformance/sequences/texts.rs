//! Every place of a text, with everything that is none.

use crate::Version::{self, V5};
use crate::sequences::{Case, Expected, MALFORMED};

/// Each class of ill-formed UTF-8 (Unicode table 3-7), at the start, in the middle and at the end.
const BAD: [&[u8]; 16] = [
    b"\0",
    b"\x80",
    b"\xBF",
    b"\xC0\x80",
    b"\xC1\xBF",
    b"\xC3",
    b"\xC3(",
    b"\xE0\x80\x80",
    b"\xE0\x9F\xBF",
    b"\xE2\x82",
    b"\xED\xA0\x80",
    b"\xED\xBF\xBF",
    b"\xF0\x8F\xBF\xBF",
    b"\xF4\x90\x80\x80",
    b"\xF8\x88\x80\x80\x80",
    b"\xFF",
];

/// Well-formed, if odd: no reason to refuse anything.
const GOOD: [&str; 6] = ["\u{FEFF}", "\u{D7FF}\u{E000}", "\u{10FFFF}", "a b", "\u{7F}", "\u{FFFD}"];

pub fn cases(version: Version) -> Vec<Case> {
    let mut cases = Vec::new();
    for bad in BAD {
        for text in [bad.to_vec(), [b"ab", bad].concat(), [bad, b"ab"].concat(), [b"a", bad, b"b"].concat()] {
            for (place, bytes) in crate::format::texts(version, &text) {
                let refused = if version == V5 { &[0x81][..] } else { &[] };
                let expected = if bytes[0] == 0x10 { Expected::Refused(refused) } else { MALFORMED };
                cases.push(Case::new(format!("{place}: {text:02x?}"), bytes, expected));
            }
        }
    }
    for good in GOOD {
        for (place, bytes) in crate::format::texts(version, good.as_bytes()) {
            let expected = match place {
                "user name" => Expected::Refused(if version == V5 { &[0x86] } else { &[0x04] }),
                "authentication method" => Expected::Refused(&[0x8C]),
                "reason string" => Expected::Goodbye,
                _ if bytes[0] == 0x10 => Expected::LetIn,
                _ => Expected::Alive,
            };
            cases.push(Case::new(format!("{place}: {good:?}"), bytes, expected));
        }
    }
    cases
}
