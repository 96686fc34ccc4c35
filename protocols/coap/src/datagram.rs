//! A strict, allocation-free view of one datagram: the gate in front of coap-lite.
//!
//! coap-lite accepts what RFC 7252 forbids (other versions, Empty messages with a body, a payload
//! marker without payload, reserved codes) and joins what it should not. Whatever passes here is a
//! message as sections 3 and 4 define it; everything else is named, together with how to answer.

use coap_lite::{MessageType, Packet};

use crate::message::{Code, Token, number, parse_uint};

/// The most options a message may carry. A topic of 100 levels fits.
pub const OPTIONS_MAX: usize = 128;

/// One well-formed message. Borrows the datagram.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    pub kind: MessageType,
    pub code: Code,
    pub message_id: u16,
    pub token: Token,
    pub payload: &'a [u8],
    options: &'a [u8],
    bytes: &'a [u8],
}

/// What is wrong with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Defect {
    #[error("shorter than a header")]
    TooShort,
    #[error("not version 1")]
    Version,
    #[error("token length 9 to 15, or beyond the end")]
    TokenLength,
    #[error("an option is malformed")]
    Option,
    #[error("more than {OPTIONS_MAX} options")]
    TooManyOptions,
    #[error("payload marker without payload")]
    EmptyPayload,
    #[error("an Empty message with token, options or payload")]
    NotEmpty,
    #[error("a code that its message type may not carry")]
    Code,
}

/// A datagram that is not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    pub defect: Defect,
    /// Answer with a Reset of this message ID; else ignore in silence (RFC 7252 sections 4.2, 4.3).
    pub reset: Option<u16>,
}

impl<'a> Datagram<'a> {
    /// # Errors
    /// [`Malformed`], which also says whether to answer with a Reset.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let silent = |defect| Malformed { defect, reset: None };
        let (&[first, code, high, low], body) =
            bytes.split_first_chunk::<4>().ok_or(silent(Defect::TooShort))?;
        // RFC 7252 section 3: "Messages with unknown version numbers MUST be silently ignored".
        if first >> 6 != 1 {
            return Err(silent(Defect::Version));
        }
        let kind = match first >> 4 & 3 {
            0 => MessageType::Confirmable,
            1 => MessageType::NonConfirmable,
            2 => MessageType::Acknowledgement,
            _ => MessageType::Reset,
        };
        let (code, message_id) = (Code(code), u16::from_be_bytes([high, low]));
        let reset = (kind == MessageType::Confirmable).then_some(message_id);
        let malformed = |defect| Malformed { defect, reset };

        check_code(kind, code).map_err(malformed)?;
        let token_len = usize::from(first & 0x0F);
        if code == Code::EMPTY && (token_len > 0 || !body.is_empty()) {
            return Err(malformed(Defect::NotEmpty));
        }
        let (token, rest) = body.split_at_checked(token_len).ok_or(malformed(Defect::TokenLength))?;
        let token = Token::new(token).ok_or(malformed(Defect::TokenLength))?;
        let (options, payload) = split_options(rest).map_err(malformed)?;
        Ok(Self { kind, code, message_id, token, payload, options, bytes })
    }

    /// The options in ascending order of number.
    pub fn options(&self) -> Options<'a> {
        Options { rest: self.options, number: 0 }
    }

    /// The values of one option, in order.
    pub fn values(&self, number: u16) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.options()
            .skip_while(move |(n, _)| *n < number)
            .map_while(move |(n, value)| (n == number).then_some(value))
    }

    /// The first value of an option of format `uint`, at most `len_max` bytes long. A longer one is
    /// as good as absent (RFC 7252 section 5.4.3), which is right for elective options; see
    /// [`check_options`] for critical ones.
    pub fn uint(&self, number: u16, len_max: usize) -> Option<u32> {
        let value = self.values(number).next()?;
        if value.len() > len_max { None } else { parse_uint(value) }
    }

    /// Uri-Path or Uri-Query or Location-Path as text; what is not UTF-8 ends the iteration, so
    /// call [`check_options`] first.
    pub fn texts(&self, number: u16) -> impl Iterator<Item = &'a str> + use<'a> {
        self.values(number).map_while(|value| std::str::from_utf8(value).ok())
    }

    /// The message as coap-lite has it.
    ///
    /// # Errors
    /// None is known for a datagram that passed [`Datagram::parse`].
    pub fn packet(&self) -> Result<Packet, coap_lite::error::MessageError> {
        Packet::from_bytes(self.bytes)
    }

    /// The whole datagram.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// RFC 7252 section 4.3 and table 1: which codes a type may carry.
fn check_code(kind: MessageType, code: Code) -> Result<(), Defect> {
    let legal = match kind {
        MessageType::Confirmable => code == Code::EMPTY || code.is_request() || code.is_response(),
        MessageType::NonConfirmable => code.is_request() || code.is_response(),
        MessageType::Acknowledgement => code == Code::EMPTY || code.is_response(),
        MessageType::Reset => code == Code::EMPTY,
    };
    if legal { Ok(()) } else { Err(Defect::Code) }
}

/// Walks the options once; returns them and the payload behind the marker.
fn split_options(bytes: &[u8]) -> Result<(&[u8], &[u8]), Defect> {
    let mut rest = bytes;
    let mut number = 0u16;
    for _ in 0..=OPTIONS_MAX {
        let consumed = bytes.len() - rest.len();
        match rest.first() {
            None => return Ok((bytes, &[])),
            Some(0xFF) => {
                let (options, payload) = bytes.split_at_checked(consumed).ok_or(Defect::Option)?;
                return match payload.get(1..) {
                    // RFC 7252 section 3: a marker followed by nothing is a message format error.
                    None | Some([]) => Err(Defect::EmptyPayload),
                    Some(payload) => Ok((options, payload)),
                };
            }
            Some(_) => (number, _, rest) = next_option(number, rest).ok_or(Defect::Option)?,
        }
    }
    Err(Defect::TooManyOptions)
}

/// One option: its number, its value, and what follows it.
fn next_option(previous: u16, bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (head, rest) = bytes.split_first()?;
    let (delta, rest) = extended(head >> 4, rest)?;
    let (len, rest) = extended(head & 0x0F, rest)?;
    let number = u16::try_from(u32::from(previous) + delta).ok()?;
    let (value, rest) = rest.split_at_checked(len as usize)?;
    Some((number, value, rest))
}

/// A delta or a length with its extension bytes (RFC 7252 section 3.1); 15 is reserved.
fn extended(nibble: u8, rest: &[u8]) -> Option<(u32, &[u8])> {
    match nibble {
        0..=12 => Some((u32::from(nibble), rest)),
        13 => rest.split_first().map(|(byte, rest)| (u32::from(*byte) + 13, rest)),
        14 => rest
            .split_first_chunk::<2>()
            .map(|(bytes, rest)| (u32::from(u16::from_be_bytes(*bytes)) + 269, rest)),
        _ => None,
    }
}

/// Iterates over `(number, value)`.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    rest: &'a [u8],
    number: u16,
}

impl<'a> Iterator for Options<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let (number, value, rest) = next_option(self.number, self.rest)?;
        (self.number, self.rest) = (number, rest);
        Some((number, value))
    }
}

/// An option that makes a request unacceptable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionDefect {
    /// Critical and not understood, of a length that it may not have, or once too often
    /// (RFC 7252 sections 5.4.1, 5.4.3 and 5.4.5).
    #[error("option {0} not understood")]
    NotUnderstood(u16),
    /// RFC 7252 section 3.2: a `string` is UTF-8.
    #[error("option {0} is not UTF-8")]
    NotUtf8(u16),
    /// Proxy-Uri or Proxy-Scheme (RFC 7252 section 5.7.2).
    #[error("proxying is not supported")]
    Proxy,
}

impl OptionDefect {
    /// The code to answer a request with.
    pub fn code(self) -> Code {
        match self {
            Self::NotUnderstood(_) => Code::BAD_OPTION,
            Self::NotUtf8(_) => Code::BAD_REQUEST,
            Self::Proxy => Code::PROXYING_NOT_SUPPORTED,
        }
    }
}

/// Checks the critical options of a request: that all are among the defined ones (and accepted by
/// `understood`, which is asked only about those), of legal length, not repeated where that is not
/// allowed, and UTF-8 where they are text. Elective options never fail.
///
/// # Errors
/// The first option that is not acceptable.
pub fn check_options(datagram: &Datagram<'_>, understood: impl Fn(u16) -> bool) -> Result<(), OptionDefect> {
    let mut previous = None;
    for (number, value) in datagram.options() {
        let repeated = previous.replace(number) == Some(number);
        if number & 1 == 0 {
            continue;
        }
        if matches!(number, number::PROXY_URI | number::PROXY_SCHEME) {
            return Err(OptionDefect::Proxy);
        }
        let Some(law) = critical_law(number).filter(|_| understood(number)) else {
            return Err(OptionDefect::NotUnderstood(number));
        };
        if !law.lengths.contains(&value.len()) || repeated && !law.repeatable {
            return Err(OptionDefect::NotUnderstood(number));
        }
        if law.text && std::str::from_utf8(value).is_err() {
            return Err(OptionDefect::NotUtf8(number));
        }
    }
    Ok(())
}

struct Law {
    lengths: std::ops::RangeInclusive<usize>,
    repeatable: bool,
    text: bool,
}

/// RFC 7252 table 4 and RFC 7959 section 2.1.
fn critical_law(number: u16) -> Option<Law> {
    let law = |lengths, repeatable, text| Some(Law { lengths, repeatable, text });
    match number {
        number::IF_MATCH => law(0..=8, true, false),
        number::URI_HOST => law(1..=255, false, true),
        number::IF_NONE_MATCH => law(0..=0, false, false),
        number::URI_PORT => law(0..=2, false, false),
        number::URI_PATH => law(0..=255, true, true),
        number::URI_QUERY => law(0..=255, true, true),
        number::ACCEPT => law(0..=2, false, false),
        number::BLOCK2 | number::BLOCK1 => law(0..=3, false, false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defect(bytes: &[u8]) -> (Defect, Option<u16>) {
        let malformed = Datagram::parse(bytes).expect_err("malformed");
        (malformed.defect, malformed.reset)
    }

    #[test]
    fn rfc7252_3_unknown_versions_are_silently_ignored() {
        for version in [0u8, 2, 3] {
            assert_eq!(defect(&[version << 6, 1, 0, 1]), (Defect::Version, None));
        }
        assert_eq!(defect(&[]), (Defect::TooShort, None));
        assert_eq!(defect(&[0x40, 1, 0]), (Defect::TooShort, None));
    }

    #[test]
    fn rfc7252_3_token_lengths_9_to_15_are_a_format_error() {
        for tkl in 9..=15 {
            let mut bytes = vec![0x40 | tkl, 1, 0, 9];
            bytes.extend([0; 20]);
            assert_eq!(defect(&bytes), (Defect::TokenLength, Some(9)));
            bytes[0] |= 0x10;
            assert_eq!(defect(&bytes), (Defect::TokenLength, None), "NON is ignored");
        }
        assert_eq!(defect(&[0x44, 1, 0, 9, 1, 2, 3]), (Defect::TokenLength, Some(9)), "cut short");
    }

    #[test]
    fn rfc7252_3_a_marker_without_payload_is_a_format_error() {
        assert_eq!(defect(&[0x40, 1, 0, 9, 0xFF]), (Defect::EmptyPayload, Some(9)));
        assert_eq!(Datagram::parse(&[0x40, 1, 0, 9, 0xFF, 0xFF]).unwrap().payload, [0xFF]);
    }

    #[test]
    fn rfc7252_4_1_an_empty_message_is_four_bytes() {
        assert_eq!(defect(&[0x41, 0, 0, 9, 1]), (Defect::NotEmpty, Some(9)));
        assert_eq!(defect(&[0x40, 0, 0, 9, 0xFF, 1]), (Defect::NotEmpty, Some(9)));
        assert_eq!(defect(&[0x71, 0, 0, 9, 1]), (Defect::NotEmpty, None), "RST with token");
        assert!(Datagram::parse(&[0x40, 0, 0, 9]).is_ok());
    }

    #[test]
    fn rfc7252_4_2_and_4_3_codes_by_message_type() {
        assert_eq!(defect(&[0x60, 1, 0, 9]), (Defect::Code, None), "ACK with a request");
        assert_eq!(defect(&[0x70, 0x45, 0, 9]), (Defect::Code, None), "RST with a response");
        assert_eq!(defect(&[0x50, 0, 0, 9]), (Defect::Code, None), "NON may not be Empty");
        for code in [0x20, 0x3F, 0xC0, 0xE1, 0xFF] {
            assert_eq!(defect(&[0x40, code, 0, 9]), (Defect::Code, Some(9)), "reserved class");
        }
        assert!(Datagram::parse(&[0x40, 0x1F, 0, 9]).is_ok(), "an unknown method is for 4.05");
    }

    #[test]
    fn rfc7252_3_1_options_stay_within_the_datagram() {
        for options in [&[0xF0u8][..], &[0x0F], &[0xD0], &[0xE0, 1], &[0x0D], &[0x0E, 0], &[0x01], &[0x0D, 0]]
        {
            let bytes = [&[0x40, 1, 0, 9][..], options].concat();
            assert_eq!(defect(&bytes), (Defect::Option, Some(9)), "{options:x?}");
        }
        // 65,535 + 269 is no option number.
        assert_eq!(defect(&[0x40, 1, 0, 9, 0xE0, 0xFF, 0xFF]), (Defect::Option, Some(9)));
        let many = [&[0x40u8, 1, 0, 9][..], &[0; OPTIONS_MAX + 1]].concat();
        assert_eq!(defect(&many), (Defect::TooManyOptions, Some(9)));
        assert!(Datagram::parse(&many[..many.len() - 1]).is_ok());
    }

    #[test]
    fn options_agree_with_the_codec() {
        let mut packet = crate::message::request(Code::PUT, ["ps", "a"]);
        packet.add_option(coap_lite::CoapOption::UriQuery, vec![b'q'; 300]);
        packet.add_option(coap_lite::CoapOption::Unknown(2048), vec![1; 20]);
        packet.payload = vec![9];
        let bytes = packet.to_bytes_unlimited().unwrap();
        let datagram = Datagram::parse(&bytes).unwrap();
        let numbers: Vec<_> = datagram.options().map(|(number, value)| (number, value.len())).collect();
        assert_eq!(numbers, [(11, 2), (11, 1), (15, 300), (2048, 20)]);
        assert_eq!(datagram.texts(number::URI_PATH).collect::<Vec<_>>(), ["ps", "a"]);
        assert_eq!(datagram.packet().unwrap(), packet);
    }

    #[test]
    fn rfc7252_5_4_critical_options() {
        let check = |build: &dyn Fn(&mut Packet)| {
            let mut packet = crate::message::request(Code::GET, ["ps"]);
            build(&mut packet);
            let bytes = packet.to_bytes_unlimited().unwrap();
            check_options(&Datagram::parse(&bytes).unwrap(), |_| true)
        };
        let add = |number: u16, value: &'static [u8]| {
            check(&move |packet| packet.add_option(number.into(), value.to_vec()))
        };
        assert_eq!(add(9, b""), Err(OptionDefect::NotUnderstood(9)));
        assert_eq!(add(2049, b""), Err(OptionDefect::NotUnderstood(2049)));
        assert_eq!(add(2050, b""), Ok(()), "elective");
        assert_eq!(add(number::URI_PORT, b"\x16\x33"), Ok(()));
        assert_eq!(add(number::URI_HOST, b"localhost"), Ok(()));
        assert_eq!(add(number::ACCEPT, b"\0\0\x2a"), Err(OptionDefect::NotUnderstood(17)), "5.4.3");
        assert_eq!(add(number::URI_PATH, b"\xff"), Err(OptionDefect::NotUtf8(11)));
        assert_eq!(add(number::PROXY_URI, b"coap://x"), Err(OptionDefect::Proxy));
        assert_eq!(add(number::Q_BLOCK1, b""), Err(OptionDefect::NotUnderstood(19)));
        let twice = check(&|packet| {
            packet.add_option(17.into(), vec![]);
            packet.add_option(17.into(), vec![40]);
        });
        assert_eq!(twice, Err(OptionDefect::NotUnderstood(17)), "5.4.5: supernumerary");
    }
}
