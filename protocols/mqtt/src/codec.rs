//! The packets of MQTT 5.0, 3.1.1 and 3.1, in both directions: a server decodes what a client
//! encodes and the other way round, and both are here.
//!
//! Decoding borrows: texts, properties and payloads are slices of the input. Cut the stream with
//! [`Header::parse`], then hand the body to [`Packet::decode`], or to the decoder of one packet
//! where the type is already known. Encoding appends to a vector.
//!
//! ```
//! use gateway_model::Reason;
//! use protocol_mqtt::codec::{Connect, Header, Packet, Properties, Version};
//!
//! let mut bytes = Vec::new();
//! let connect = Connect {
//!     version: Version::V5,
//!     clean_start: true,
//!     keep_alive_secs: 60,
//!     properties: Properties::default(),
//!     client_id: "",
//!     will: None,
//!     username: None,
//!     password: None,
//! };
//! connect.encode(&mut bytes);
//! assert_eq!(bytes, b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00");
//!
//! let answer = b"\x20\x03\x00\x00\x00";
//! let header = Header::parse(answer).unwrap().expect("complete");
//! let body = &answer[header.header_len..header.frame_len()];
//! let Ok(Packet::Connack(connack)) = Packet::decode(Version::V5, header.first, body) else { panic!() };
//! assert_eq!(connack.reason, Reason::Success);
//! ```

mod acknowledgement;
mod connack;
mod connect;
mod disconnect;
mod error;
mod frame;
mod property;
mod publish;
mod reader;
mod subscribe;
#[cfg(test)]
mod tests;
mod writer;

pub use acknowledgement::Acknowledgement;
pub use connack::Connack;
pub(crate) use connack::is_connack_reason;
pub use connect::{Connect, ConnectError, LastWill};
pub(crate) use disconnect::is_disconnect_reason;
pub use disconnect::{Auth, Disconnect};
pub use error::PacketError;
pub use frame::{Header, PacketType};
pub use property::{Properties, Property, PropertyBuffer};
pub use publish::Publish;
pub(crate) use publish::{PublishHead, flags as publish_flags};
pub use subscribe::{RequestedFilter, Suback, Subscribe, Unsuback, Unsubscribe};
pub(crate) use writer::{put_variable, variable_len};

/// The versions of the protocol, by their level in CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Version {
    V31 = 3,
    V311 = 4,
    V5 = 5,
}

impl Version {
    /// As a metric label and log word.
    pub fn name(self) -> &'static str {
        match self {
            Self::V31 => "mqtt31",
            Self::V311 => "mqtt311",
            Self::V5 => "mqtt5",
        }
    }
}

/// Any packet.
#[derive(Clone, Debug, PartialEq)]
pub enum Packet<'a> {
    Connect(Box<Connect<'a>>),
    Connack(Connack<'a>),
    Publish(Publish<'a>),
    Puback(Acknowledgement<'a>),
    Pubrec(Acknowledgement<'a>),
    Pubrel(Acknowledgement<'a>),
    Pubcomp(Acknowledgement<'a>),
    Subscribe(Subscribe<'a>),
    Suback(Suback<'a>),
    Unsubscribe(Unsubscribe<'a>),
    Unsuback(Unsuback<'a>),
    Pingreq,
    Pingresp,
    Disconnect(Disconnect<'a>),
    Auth(Auth<'a>),
}

impl<'a> Packet<'a> {
    /// Decodes the body that follows the fixed header whose first byte is `first`. A CONNECT
    /// carries its own version; `version` is what was agreed for everything else.
    pub fn decode(version: Version, first: u8, body: &'a [u8]) -> Result<Self, PacketError> {
        let packet_type = PacketType::of(version, first)?;
        Ok(match packet_type {
            PacketType::Connect => {
                Self::Connect(Box::new(Connect::decode(body).map_err(|failed| failed.error)?))
            }
            PacketType::Connack => Self::Connack(Connack::decode(version, body)?),
            PacketType::Publish => Self::Publish(Publish::decode(version, first, body)?),
            PacketType::Puback => Self::Puback(Acknowledgement::decode(version, packet_type, body)?),
            PacketType::Pubrec => Self::Pubrec(Acknowledgement::decode(version, packet_type, body)?),
            PacketType::Pubrel => Self::Pubrel(Acknowledgement::decode(version, packet_type, body)?),
            PacketType::Pubcomp => Self::Pubcomp(Acknowledgement::decode(version, packet_type, body)?),
            PacketType::Subscribe => Self::Subscribe(Subscribe::decode(version, body, usize::MAX)?),
            PacketType::Suback => Self::Suback(Suback::decode(version, body)?),
            PacketType::Unsubscribe => Self::Unsubscribe(Unsubscribe::decode(version, body, usize::MAX)?),
            PacketType::Unsuback => Self::Unsuback(Unsuback::decode(version, body)?),
            PacketType::Pingreq => empty(body, Self::Pingreq)?,
            PacketType::Pingresp => empty(body, Self::Pingresp)?,
            PacketType::Disconnect => Self::Disconnect(Disconnect::decode(version, body)?),
            PacketType::Auth => Self::Auth(Auth::decode(body)?),
        })
    }

    /// Appends the whole packet. Texts are cut at 65,535 bytes, which is all that fits.
    pub fn encode(&self, version: Version, into: &mut Vec<u8>) {
        match self {
            Self::Connect(packet) => packet.encode(into),
            Self::Connack(packet) => packet.encode(version, into),
            Self::Publish(packet) => packet.encode(version, into),
            Self::Puback(packet) => packet.encode(version, PacketType::Puback, into),
            Self::Pubrec(packet) => packet.encode(version, PacketType::Pubrec, into),
            Self::Pubrel(packet) => packet.encode(version, PacketType::Pubrel, into),
            Self::Pubcomp(packet) => packet.encode(version, PacketType::Pubcomp, into),
            Self::Subscribe(packet) => packet.encode(version, into),
            Self::Suback(packet) => packet.encode(version, into),
            Self::Unsubscribe(packet) => packet.encode(version, into),
            Self::Unsuback(packet) => packet.encode(version, into),
            Self::Pingreq => into.extend_from_slice(&[PacketType::Pingreq.first_byte(), 0]),
            Self::Pingresp => into.extend_from_slice(&[PacketType::Pingresp.first_byte(), 0]),
            Self::Disconnect(packet) => packet.encode(version, into),
            Self::Auth(packet) => packet.encode(into),
        }
    }
}

fn empty<T>(body: &[u8], packet: T) -> Result<T, PacketError> {
    if body.is_empty() { Ok(packet) } else { Err(PacketError::Malformed("PING with a body")) }
}
