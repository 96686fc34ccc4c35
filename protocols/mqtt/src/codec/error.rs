use gateway_model::Reason;

/// Why a packet is refused (MQTT 5.0 section 4.13.1 draws the line between the first two).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// It cannot be parsed.
    #[error("malformed packet: {0}")]
    Malformed(&'static str),
    /// It can be parsed, but the standard does not allow it.
    #[error("protocol error: {0}")]
    Protocol(&'static str),
    /// It is legal but more than we take.
    #[error("quota exceeded: {0}")]
    Quota(&'static str),
}

impl PacketError {
    pub fn reason(self) -> Reason {
        match self {
            Self::Malformed(_) => Reason::MalformedPacket,
            Self::Protocol(_) => Reason::ProtocolError,
            Self::Quota(_) => Reason::QuotaExceeded,
        }
    }

    /// What is wrong, for logs and reason strings.
    pub fn text(self) -> &'static str {
        match self {
            Self::Malformed(text) | Self::Protocol(text) | Self::Quota(text) => text,
        }
    }
}
