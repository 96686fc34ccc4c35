use gateway_model::{Reason, TopicError};

use crate::codec::PacketError;

/// What a client did that ends its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) reason: Reason,
    /// For logs and MQTT 5.0 reason strings.
    pub(crate) text: &'static str,
}

impl Violation {
    pub(crate) fn new(reason: Reason, text: &'static str) -> Self {
        Self { reason, text }
    }

    pub(crate) fn protocol(text: &'static str) -> Self {
        Self::new(Reason::ProtocolError, text)
    }
}

impl From<PacketError> for Violation {
    fn from(error: PacketError) -> Self {
        Self::new(error.reason(), error.text())
    }
}

impl From<TopicError> for Violation {
    fn from(error: TopicError) -> Self {
        match error {
            TopicError::Empty => Self::protocol("topic is empty"),
            TopicError::NotUtf8 => Self::new(Reason::MalformedPacket, "topic is not UTF-8"),
            TopicError::Nul => Self::new(Reason::MalformedPacket, "topic holds U+0000"),
            TopicError::TooLong => Self::new(Reason::TopicNameInvalid, "topic is too long"),
            TopicError::Wildcard => Self::new(Reason::TopicNameInvalid, "topic holds a wildcard"),
        }
    }
}
