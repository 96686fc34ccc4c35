/// The first byte of a record: what kind it is of. Fixed for ever, as it is written to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Message = 1,
    Settled = 2,
    Received = 3,
    Session = 4,
    Attached = 5,
    Away = 6,
    Willed = 7,
    Ended = 8,
    Subscribed = 9,
    Unsubscribed = 10,
    Held = 11,
    Released = 12,
    Kept = 13,
    Cleared = 14,
    Undelayed = 15,
    /// Of the log itself: no record of what happened.
    Oldest = 16,
}

impl Kind {
    pub fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Message,
            2 => Self::Settled,
            3 => Self::Received,
            4 => Self::Session,
            5 => Self::Attached,
            6 => Self::Away,
            7 => Self::Willed,
            8 => Self::Ended,
            9 => Self::Subscribed,
            10 => Self::Unsubscribed,
            11 => Self::Held,
            12 => Self::Released,
            13 => Self::Kept,
            14 => Self::Cleared,
            15 => Self::Undelayed,
            16 => Self::Oldest,
            _ => return None,
        })
    }
}

/// Bits of the byte behind [`Kind::Message`]. The lowest two are the QoS.
pub(crate) mod message {
    pub const RETAIN: u8 = 1 << 2;
    pub const EXPIRES: u8 = 1 << 3;
    pub const PROPERTIES: u8 = 1 << 4;
    pub const RETAINED: u8 = 1 << 5;
    pub const DELAYED: u8 = 1 << 6;
    pub const HELD: u8 = 1 << 7;
}

/// Bits of the first byte of a copy. The lowest two are the QoS, the two above the state.
pub(crate) mod copy {
    pub const STATE_SHIFT: u8 = 2;
    pub const RETAIN: u8 = 1 << 4;
    pub const PRIORITY: u8 = 1 << 5;
    pub const IDENTIFIERS: u8 = 1 << 6;
    pub const SHARED: u8 = 1 << 7;
}

/// Bits of the first byte of properties. The lowest two are the payload format.
pub(crate) mod properties {
    pub const CONTENT_TYPE: u8 = 1 << 2;
    pub const RESPONSE_TOPIC: u8 = 1 << 3;
    pub const CORRELATION_DATA: u8 = 1 << 4;
    pub const USER_PROPERTIES: u8 = 1 << 5;
}

/// Bits of the first byte of a subscription. The lowest two are the QoS, the two above how it
/// fetches retained messages.
pub(crate) mod subscription {
    pub const RETAIN_SHIFT: u8 = 2;
    pub const NO_LOCAL: u8 = 1 << 4;
    pub const RETAIN_AS_PUBLISHED: u8 = 1 << 5;
    pub const IDENTIFIER: u8 = 1 << 6;
}

/// Bits of the first byte of a will. The lowest two are the QoS.
pub(crate) mod will {
    pub const RETAIN: u8 = 1 << 2;
    pub const EXPIRES: u8 = 1 << 3;
    pub const PROPERTIES: u8 = 1 << 4;
}
