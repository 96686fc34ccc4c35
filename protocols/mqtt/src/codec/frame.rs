use super::{PacketError, Version};

/// The fixed header (MQTT 5.0 section 2.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Packet type and flags.
    pub first: u8,
    /// Bytes of the header itself: 2 to 5.
    pub header_len: usize,
    /// The Remaining Length.
    pub body_len: usize,
}

impl Header {
    /// The largest Remaining Length (MQTT 5.0 section 1.5.5).
    pub const BODY_LEN_MAX: usize = 268_435_455;

    /// `None`: more bytes are needed to know.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, PacketError> {
        let (first, len) = match *bytes {
            [first, len, ..] => (first, len),
            _ => return Ok(None),
        };
        if len < 0x80 {
            return Ok(Some(Self { first, header_len: 2, body_len: usize::from(len) }));
        }
        let mut body_len = usize::from(len & 0x7F);
        for (index, &byte) in bytes.iter().enumerate().skip(2).take(3) {
            body_len |= usize::from(byte & 0x7F) << (7 * (index - 1));
            if byte < 0x80 {
                return Ok(Some(Self { first, header_len: index + 1, body_len }));
            }
        }
        if bytes.len() >= 5 {
            return Err(PacketError::Malformed("remaining length is longer than four bytes"));
        }
        Ok(None)
    }

    /// Bytes of the whole packet.
    #[inline]
    pub fn frame_len(&self) -> usize {
        self.header_len + self.body_len
    }

    /// Whether the length took more bytes than needed, which MQTT 5.0 forbids (MQTT-1.5.5-1) and
    /// some small 3.1.1 clients do.
    pub fn is_padded(&self) -> bool {
        self.header_len > 2 && self.body_len < 1 << (7 * (self.header_len - 2))
    }
}

/// The packet types (MQTT 5.0 section 2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum PacketType {
    Connect = 1,
    Connack = 2,
    Publish = 3,
    Puback = 4,
    Pubrec = 5,
    Pubrel = 6,
    Pubcomp = 7,
    Subscribe = 8,
    Suback = 9,
    Unsubscribe = 10,
    Unsuback = 11,
    Pingreq = 12,
    Pingresp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketType {
    /// The type in a header's first byte, with the reserved flags checked (MQTT-2.1.3-1).
    #[inline]
    pub fn of(version: Version, first: u8) -> Result<Self, PacketError> {
        let packet_type = match first >> 4 {
            1 => Self::Connect,
            2 => Self::Connack,
            // Its flags have meanings and are checked with the packet.
            3 => return Ok(Self::Publish),
            4 => Self::Puback,
            5 => Self::Pubrec,
            6 => Self::Pubrel,
            7 => Self::Pubcomp,
            8 => Self::Subscribe,
            9 => Self::Suback,
            10 => Self::Unsubscribe,
            11 => Self::Unsuback,
            12 => Self::Pingreq,
            13 => Self::Pingresp,
            14 => Self::Disconnect,
            15 if version == Version::V5 => Self::Auth,
            _ => return Err(PacketError::Malformed("reserved packet type")),
        };
        // MQTT 3.1 sections 3.6, 3.8 and 3.10: these three may be sent again with DUP set.
        let dup_allowed = version == Version::V31 && packet_type.flags() != 0;
        let flags = if dup_allowed { first & 0x07 } else { first & 0x0F };
        if flags != packet_type.flags() {
            return Err(PacketError::Malformed("reserved flags in the fixed header"));
        }
        Ok(packet_type)
    }

    /// The first byte of a packet of this type (for PUBLISH: without flags).
    #[inline]
    pub fn first_byte(self) -> u8 {
        (self as u8) << 4 | self.flags()
    }

    fn flags(self) -> u8 {
        match self {
            Self::Pubrel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        }
    }
}
