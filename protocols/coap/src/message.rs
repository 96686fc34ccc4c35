//! The words of a CoAP message, and building one on [`coap_lite::Packet`].

use std::fmt;

use coap_lite::{CoapOption, MessageClass, MessageType, Packet};

/// A code: `c.dd` in one byte (RFC 7252 section 3).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u8);

impl Code {
    pub const EMPTY: Code = Code(0);
    pub const GET: Code = Code::new(0, 1);
    pub const POST: Code = Code::new(0, 2);
    pub const PUT: Code = Code::new(0, 3);
    pub const DELETE: Code = Code::new(0, 4);
    pub const FETCH: Code = Code::new(0, 5);
    pub const PATCH: Code = Code::new(0, 6);
    pub const IPATCH: Code = Code::new(0, 7);
    pub const CREATED: Code = Code::new(2, 1);
    pub const DELETED: Code = Code::new(2, 2);
    pub const VALID: Code = Code::new(2, 3);
    pub const CHANGED: Code = Code::new(2, 4);
    pub const CONTENT: Code = Code::new(2, 5);
    pub const CONTINUE: Code = Code::new(2, 31);
    pub const BAD_REQUEST: Code = Code::new(4, 0);
    pub const UNAUTHORIZED: Code = Code::new(4, 1);
    pub const BAD_OPTION: Code = Code::new(4, 2);
    pub const FORBIDDEN: Code = Code::new(4, 3);
    pub const NOT_FOUND: Code = Code::new(4, 4);
    pub const METHOD_NOT_ALLOWED: Code = Code::new(4, 5);
    pub const NOT_ACCEPTABLE: Code = Code::new(4, 6);
    pub const REQUEST_ENTITY_INCOMPLETE: Code = Code::new(4, 8);
    pub const CONFLICT: Code = Code::new(4, 9);
    pub const PRECONDITION_FAILED: Code = Code::new(4, 12);
    pub const REQUEST_ENTITY_TOO_LARGE: Code = Code::new(4, 13);
    pub const UNSUPPORTED_CONTENT_FORMAT: Code = Code::new(4, 15);
    pub const UNPROCESSABLE_ENTITY: Code = Code::new(4, 22);
    pub const TOO_MANY_REQUESTS: Code = Code::new(4, 29);
    pub const INTERNAL_SERVER_ERROR: Code = Code::new(5, 0);
    pub const NOT_IMPLEMENTED: Code = Code::new(5, 1);
    pub const SERVICE_UNAVAILABLE: Code = Code::new(5, 3);
    pub const GATEWAY_TIMEOUT: Code = Code::new(5, 4);
    pub const PROXYING_NOT_SUPPORTED: Code = Code::new(5, 5);

    pub const fn new(class: u8, detail: u8) -> Self {
        Self(class << 5 | detail & 0x1F)
    }

    pub const fn class(self) -> u8 {
        self.0 >> 5
    }

    pub const fn detail(self) -> u8 {
        self.0 & 0x1F
    }

    pub const fn is_request(self) -> bool {
        self.class() == 0 && self.0 != 0
    }

    /// Classes 2 to 5; 1, 6 and 7 are reserved (RFC 7252 section 3).
    pub const fn is_response(self) -> bool {
        matches!(self.class(), 2..=5)
    }

    pub const fn is_success(self) -> bool {
        self.class() == 2
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.class(), self.detail())
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What matches a response to its request: 0 to 8 bytes (RFC 7252 section 5.3.1).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    len: u8,
    bytes: [u8; 8],
}

impl Token {
    /// `None` above 8 bytes: coap-lite would panic or write an invalid message.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut token = Self { len: u8::try_from(bytes.len()).ok()?, bytes: [0; 8] };
        token.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(token)
    }

    pub fn as_slice(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_slice().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Option numbers that coap-lite has no name for.
pub mod number {
    pub const IF_MATCH: u16 = 1;
    pub const URI_HOST: u16 = 3;
    pub const ETAG: u16 = 4;
    pub const IF_NONE_MATCH: u16 = 5;
    pub const OBSERVE: u16 = 6;
    pub const URI_PORT: u16 = 7;
    pub const LOCATION_PATH: u16 = 8;
    pub const OSCORE: u16 = 9;
    pub const URI_PATH: u16 = 11;
    pub const CONTENT_FORMAT: u16 = 12;
    pub const MAX_AGE: u16 = 14;
    pub const URI_QUERY: u16 = 15;
    /// RFC 8768.
    pub const HOP_LIMIT: u16 = 16;
    pub const ACCEPT: u16 = 17;
    /// RFC 9177.
    pub const Q_BLOCK1: u16 = 19;
    pub const LOCATION_QUERY: u16 = 20;
    pub const BLOCK2: u16 = 23;
    pub const BLOCK1: u16 = 27;
    pub const SIZE2: u16 = 28;
    /// RFC 9177.
    pub const Q_BLOCK2: u16 = 31;
    pub const PROXY_URI: u16 = 35;
    pub const PROXY_SCHEME: u16 = 39;
    pub const SIZE1: u16 = 60;
    /// RFC 9175.
    pub const ECHO: u16 = 252;
    pub const NO_RESPONSE: u16 = 258;
    /// RFC 9175.
    pub const REQUEST_TAG: u16 = 292;
}

/// A message with that code and nothing else. Type, message ID and token are set when it is sent.
pub fn with_code(code: Code) -> Packet {
    let mut packet = Packet::new();
    packet.header.code = MessageClass::from(code.0);
    packet
}

/// A message with a payload.
pub fn with_payload(code: Code, payload: impl Into<Vec<u8>>) -> Packet {
    let mut packet = with_code(code);
    packet.payload = payload.into();
    packet
}

/// A request for a path of segments, e.g. `["3", "0", "9"]`.
pub fn request<'a>(method: Code, path: impl IntoIterator<Item = &'a str>) -> Packet {
    let mut packet = with_code(method);
    for segment in path {
        packet.add_option(CoapOption::UriPath, segment.as_bytes().to_vec());
    }
    packet
}

/// The code of a packet, without coap-lite's folding of unnamed codes.
pub fn code_of(packet: &Packet) -> Code {
    Code(packet.header.code.into())
}

/// Adds an option of format `uint` in its shortest form (RFC 7252 section 3.2).
pub fn add_uint(packet: &mut Packet, number: u16, value: u32) {
    packet.add_option(CoapOption::from(number), uint(value));
}

/// The shortest form of a `uint`: zero is no bytes at all (RFC 7252 section 3.2).
pub fn uint(value: u32) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let zeros = (value.leading_zeros() / 8) as usize;
    bytes.get(zeros..).unwrap_or_default().to_vec()
}

/// A `uint` of at most four bytes; leading zeros are legal (RFC 7252 section 3.2).
pub fn parse_uint(value: &[u8]) -> Option<u32> {
    (value.len() <= 4).then(|| value.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
}

/// Sets type, message ID and token, and appends the encoded message to `bytes`.
pub(crate) fn encode(
    packet: &mut Packet,
    kind: MessageType,
    message_id: u16,
    token: Token,
    bytes: &mut Vec<u8>,
) {
    packet.header.set_version(1);
    packet.header.set_type(kind);
    packet.header.message_id = message_id;
    packet.set_token(token.as_slice().to_vec());
    // Without a size limit coap-lite has no error left to give for a message that it can hold.
    bytes.extend_from_slice(&packet.to_bytes_unlimited().unwrap_or_default());
}

/// Appends a message that is nothing but a header and a token: the commonest replies, 20 times
/// cheaper than by way of a packet.
pub(crate) fn encode_bare(kind: MessageType, code: Code, message_id: u16, token: Token, bytes: &mut Vec<u8>) {
    let kind = match kind {
        MessageType::Confirmable => 0u8,
        MessageType::NonConfirmable => 1,
        MessageType::Acknowledgement => 2,
        MessageType::Reset => 3,
    };
    let [high, low] = message_id.to_be_bytes();
    bytes.extend_from_slice(&[1 << 6 | kind << 4 | token.len, code.0, high, low]);
    bytes.extend_from_slice(token.as_slice());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc7252_3_2_uint_is_shortest() {
        for (value, bytes) in
            [(0, &[][..]), (1, &[1]), (255, &[255]), (256, &[1, 0]), (1 << 24, &[1, 0, 0, 0])]
        {
            assert_eq!(uint(value), bytes);
            assert_eq!(parse_uint(bytes), Some(value));
        }
        assert_eq!(parse_uint(&[0, 0, 7]), Some(7));
        assert_eq!(parse_uint(&[0; 5]), None);
    }

    #[test]
    fn a_bare_message_equals_the_codec_s() {
        let token = Token::new(&[1, 2, 3]).unwrap();
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        encode_bare(MessageType::Acknowledgement, Code::CHANGED, 0xABCD, token, &mut ours);
        encode(&mut with_code(Code::CHANGED), MessageType::Acknowledgement, 0xABCD, token, &mut theirs);
        assert_eq!(ours, theirs);
    }

    #[test]
    fn tokens_hold_at_most_eight_bytes() {
        assert_eq!(Token::new(&[0; 9]), None);
        assert_eq!(Token::new(&[7; 8]).unwrap().as_slice(), [7; 8]);
    }
}
