use gateway_model::PayloadFormat;

use super::reader::Reader;
use super::writer::{fitting, put_binary, put_text, put_u16, put_u32, put_variable, variable_len};
use super::{PacketError, Version};

/// One property (MQTT 5.0 section 2.2.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property<'a> {
    PayloadFormat(PayloadFormat),
    MessageExpirySecs(u32),
    ContentType(&'a str),
    ResponseTopic(&'a str),
    CorrelationData(&'a [u8]),
    SubscriptionIdentifier(u32),
    SessionExpirySecs(u32),
    AssignedClientId(&'a str),
    ServerKeepAliveSecs(u16),
    AuthenticationMethod(&'a str),
    AuthenticationData(&'a [u8]),
    RequestProblemInformation(bool),
    WillDelaySecs(u32),
    RequestResponseInformation(bool),
    ResponseInformation(&'a str),
    ServerReference(&'a str),
    ReasonString(&'a str),
    ReceiveMaximum(u16),
    TopicAliasMaximum(u16),
    TopicAlias(u16),
    /// 0 or 1; absent means 2.
    MaximumQos(u8),
    RetainAvailable(bool),
    User(&'a str, &'a str),
    MaximumPacketBytes(u32),
    WildcardAvailable(bool),
    IdentifiersAvailable(bool),
    SharedAvailable(bool),
}

impl<'a> Property<'a> {
    /// Its identifier (MQTT 5.0 table 2-4). All are below 64 and fit one byte.
    pub fn identifier(&self) -> u8 {
        match self {
            Self::PayloadFormat(_) => 0x01,
            Self::MessageExpirySecs(_) => 0x02,
            Self::ContentType(_) => 0x03,
            Self::ResponseTopic(_) => 0x08,
            Self::CorrelationData(_) => 0x09,
            Self::SubscriptionIdentifier(_) => 0x0B,
            Self::SessionExpirySecs(_) => 0x11,
            Self::AssignedClientId(_) => 0x12,
            Self::ServerKeepAliveSecs(_) => 0x13,
            Self::AuthenticationMethod(_) => 0x15,
            Self::AuthenticationData(_) => 0x16,
            Self::RequestProblemInformation(_) => 0x17,
            Self::WillDelaySecs(_) => 0x18,
            Self::RequestResponseInformation(_) => 0x19,
            Self::ResponseInformation(_) => 0x1A,
            Self::ServerReference(_) => 0x1C,
            Self::ReasonString(_) => 0x1F,
            Self::ReceiveMaximum(_) => 0x21,
            Self::TopicAliasMaximum(_) => 0x22,
            Self::TopicAlias(_) => 0x23,
            Self::MaximumQos(_) => 0x24,
            Self::RetainAvailable(_) => 0x25,
            Self::User(..) => 0x26,
            Self::MaximumPacketBytes(_) => 0x27,
            Self::WildcardAvailable(_) => 0x28,
            Self::IdentifiersAvailable(_) => 0x29,
            Self::SharedAvailable(_) => 0x2A,
        }
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, PacketError> {
        Ok(match reader.variable()? {
            0x01 => Self::PayloadFormat(match flag(reader)? {
                false => PayloadFormat::Unspecified,
                true => PayloadFormat::Utf8,
            }),
            0x02 => Self::MessageExpirySecs(reader.u32()?),
            0x03 => Self::ContentType(reader.text()?),
            0x08 => Self::ResponseTopic(reader.text()?),
            0x09 => Self::CorrelationData(reader.binary()?),
            0x0B => match reader.variable()? {
                0 => return Err(PacketError::Protocol("subscription identifier is 0")),
                identifier => Self::SubscriptionIdentifier(identifier),
            },
            0x11 => Self::SessionExpirySecs(reader.u32()?),
            0x12 => Self::AssignedClientId(reader.text()?),
            0x13 => Self::ServerKeepAliveSecs(reader.u16()?),
            0x15 => Self::AuthenticationMethod(reader.text()?),
            0x16 => Self::AuthenticationData(reader.binary()?),
            0x17 => Self::RequestProblemInformation(flag(reader)?),
            0x18 => Self::WillDelaySecs(reader.u32()?),
            0x19 => Self::RequestResponseInformation(flag(reader)?),
            0x1A => Self::ResponseInformation(reader.text()?),
            0x1C => Self::ServerReference(reader.text()?),
            0x1F => Self::ReasonString(reader.text()?),
            0x21 => match reader.u16()? {
                0 => return Err(PacketError::Protocol("receive maximum is 0")),
                maximum => Self::ReceiveMaximum(maximum),
            },
            0x22 => Self::TopicAliasMaximum(reader.u16()?),
            // 0 has its own reason code (MQTT-3.3.2-8), which the connection answers with.
            0x23 => Self::TopicAlias(reader.u16()?),
            0x24 => Self::MaximumQos(u8::from(flag(reader)?)),
            0x25 => Self::RetainAvailable(flag(reader)?),
            0x26 => Self::User(reader.text()?, reader.text()?),
            0x27 => match reader.u32()? {
                0 => return Err(PacketError::Protocol("maximum packet size is 0")),
                maximum => Self::MaximumPacketBytes(maximum),
            },
            0x28 => Self::WildcardAvailable(flag(reader)?),
            0x29 => Self::IdentifiersAvailable(flag(reader)?),
            0x2A => Self::SharedAvailable(flag(reader)?),
            _ => return Err(PacketError::Malformed("unknown property")),
        })
    }

    /// Bytes it takes on the wire, identifier included.
    pub(crate) fn wire_len(&self) -> usize {
        match *self {
            Self::PayloadFormat(_)
            | Self::RequestProblemInformation(_)
            | Self::RequestResponseInformation(_)
            | Self::RetainAvailable(_)
            | Self::WildcardAvailable(_)
            | Self::IdentifiersAvailable(_)
            | Self::SharedAvailable(_)
            | Self::MaximumQos(_) => 2,
            Self::ServerKeepAliveSecs(_)
            | Self::ReceiveMaximum(_)
            | Self::TopicAliasMaximum(_)
            | Self::TopicAlias(_) => 3,
            Self::MessageExpirySecs(_)
            | Self::SessionExpirySecs(_)
            | Self::WillDelaySecs(_)
            | Self::MaximumPacketBytes(_) => 5,
            Self::SubscriptionIdentifier(value) => 1 + variable_len(value as usize),
            Self::CorrelationData(data) | Self::AuthenticationData(data) => {
                3 + data.len().min(usize::from(u16::MAX))
            }
            Self::ContentType(text)
            | Self::ResponseTopic(text)
            | Self::AssignedClientId(text)
            | Self::AuthenticationMethod(text)
            | Self::ResponseInformation(text)
            | Self::ServerReference(text)
            | Self::ReasonString(text) => 3 + fitting(text).len(),
            Self::User(key, value) => 5 + fitting(key).len() + fitting(value).len(),
        }
    }

    pub(crate) fn write(&self, into: &mut Vec<u8>) {
        into.push(self.identifier());
        match *self {
            Self::PayloadFormat(format) => into.push(u8::from(format == PayloadFormat::Utf8)),
            Self::RequestProblemInformation(value)
            | Self::RequestResponseInformation(value)
            | Self::RetainAvailable(value)
            | Self::WildcardAvailable(value)
            | Self::IdentifiersAvailable(value)
            | Self::SharedAvailable(value) => into.push(u8::from(value)),
            Self::MaximumQos(value) => into.push(value),
            Self::ServerKeepAliveSecs(value)
            | Self::ReceiveMaximum(value)
            | Self::TopicAliasMaximum(value)
            | Self::TopicAlias(value) => put_u16(into, value),
            Self::MessageExpirySecs(value)
            | Self::SessionExpirySecs(value)
            | Self::WillDelaySecs(value)
            | Self::MaximumPacketBytes(value) => put_u32(into, value),
            Self::SubscriptionIdentifier(value) => put_variable(into, value as usize),
            Self::CorrelationData(value) | Self::AuthenticationData(value) => put_binary(into, value),
            Self::ContentType(text)
            | Self::ResponseTopic(text)
            | Self::AssignedClientId(text)
            | Self::AuthenticationMethod(text)
            | Self::ResponseInformation(text)
            | Self::ServerReference(text)
            | Self::ReasonString(text) => put_text(into, text),
            Self::User(key, value) => {
                put_text(into, key);
                put_text(into, value);
            }
        }
    }
}

/// A packet's properties: a slice of the input that has been checked, walked with [`iter`].
///
/// [`iter`]: Properties::iter
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Properties<'a>(&'a [u8]);

impl<'a> Properties<'a> {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = Property<'a>> + use<'a> {
        let mut reader = Reader::new(self.0);
        // Checked when it was made, so an error cannot come; the end of the slice can.
        std::iter::from_fn(move || if reader.is_empty() { None } else { Property::read(&mut reader).ok() })
    }

    /// Reads and checks the properties of a packet; MQTT before 5.0 has none.
    #[inline]
    pub(crate) fn read(
        version: Version,
        reader: &mut Reader<'a>,
        allowed: Allowed,
    ) -> Result<Self, PacketError> {
        if version != Version::V5 {
            return Ok(Self::default());
        }
        let len = reader.variable()?;
        if len == 0 {
            return Ok(Self::default());
        }
        Self::check(reader.take(len as usize)?, allowed)
    }

    fn check(raw: &'a [u8], allowed: Allowed) -> Result<Self, PacketError> {
        let mut reader = Reader::new(raw);
        let mut seen = 0u64;
        while !reader.is_empty() {
            let property = Property::read(&mut reader)?;
            let bit = 1u64 << property.identifier();
            // MQTT 5.0 section 2.2.2.2: an identifier not valid for its packet type is malformed.
            if (allowed.once | allowed.often) & bit == 0 {
                return Err(PacketError::Malformed("property not allowed in this packet"));
            }
            if seen & bit & !allowed.often != 0 {
                return Err(PacketError::Protocol("property given twice"));
            }
            seen |= bit;
        }
        const METHOD: u64 = 1 << 0x15;
        const DATA: u64 = 1 << 0x16;
        if seen & (METHOD | DATA) == DATA {
            return Err(PacketError::Protocol("authentication data without a method"));
        }
        Ok(Self(raw))
    }

    pub(crate) fn write(&self, version: Version, into: &mut Vec<u8>) {
        if version == Version::V5 {
            put_variable(into, self.0.len());
            into.extend_from_slice(self.0);
        }
    }
}

/// Collects properties for a packet that is to be encoded.
#[derive(Clone, Debug, Default)]
pub struct PropertyBuffer(Vec<u8>);

impl PropertyBuffer {
    pub fn push(&mut self, property: Property<'_>) -> &mut Self {
        property.write(&mut self.0);
        self
    }

    pub fn as_properties(&self) -> Properties<'_> {
        Properties(&self.0)
    }
}

/// Which properties a packet may carry, as bits by identifier (MQTT 5.0 table 2-4).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed {
    once: u64,
    often: u64,
}

impl Allowed {
    pub(crate) const CONNECT: Self = Self::of(&[0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x27], &[0x26]);
    pub(crate) const WILL: Self = Self::of(&[0x01, 0x02, 0x03, 0x08, 0x09, 0x18], &[0x26]);
    pub(crate) const CONNACK: Self = Self::of(
        &[0x11, 0x12, 0x13, 0x15, 0x16, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x27, 0x28, 0x29, 0x2A],
        &[0x26],
    );
    pub(crate) const PUBLISH: Self = Self::of(&[0x01, 0x02, 0x03, 0x08, 0x09, 0x23], &[0x0B, 0x26]);
    pub(crate) const SUBSCRIBE: Self = Self::of(&[0x0B], &[0x26]);
    pub(crate) const UNSUBSCRIBE: Self = Self::of(&[], &[0x26]);
    /// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK.
    pub(crate) const ACKNOWLEDGEMENT: Self = Self::of(&[0x1F], &[0x26]);
    pub(crate) const DISCONNECT: Self = Self::of(&[0x11, 0x1C, 0x1F], &[0x26]);
    pub(crate) const AUTH: Self = Self::of(&[0x15, 0x16, 0x1F], &[0x26]);

    const fn of(once: &[u8], often: &[u8]) -> Self {
        Self { once: bits(once), often: bits(often) }
    }
}

const fn bits(identifiers: &[u8]) -> u64 {
    let mut bits = 0;
    let mut index = 0;
    while index < identifiers.len() {
        bits |= 1 << identifiers[index];
        index += 1;
    }
    bits
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, PacketError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(PacketError::Protocol("property is neither 0 nor 1")),
    }
}
