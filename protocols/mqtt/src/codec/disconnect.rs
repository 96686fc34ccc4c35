use gateway_model::Reason;

use super::property::Allowed;
use super::reader::Reader;
use super::writer::put_packet;
use super::{PacketError, PacketType, Properties, Version};

/// DISCONNECT (MQTT 5.0 section 3.14). Before 5.0 it is empty and only a client sends it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Disconnect<'a> {
    pub reason: Reason,
    pub properties: Properties<'a>,
}

impl<'a> Disconnect<'a> {
    pub fn decode(version: Version, body: &'a [u8]) -> Result<Self, PacketError> {
        if version != Version::V5 && !body.is_empty() {
            return Err(PacketError::Malformed("DISCONNECT with a body"));
        }
        let (reason, properties) = read_reason(body, Allowed::DISCONNECT, is_disconnect_reason)?;
        Ok(Self { reason, properties })
    }

    pub fn encode(&self, version: Version, into: &mut Vec<u8>) {
        match version {
            Version::V5 => put_reason(into, PacketType::Disconnect, self.reason, self.properties),
            _ => into.extend_from_slice(&[PacketType::Disconnect.first_byte(), 0]),
        }
    }
}

/// AUTH (MQTT 5.0 section 3.15).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Auth<'a> {
    pub reason: Reason,
    pub properties: Properties<'a>,
}

impl<'a> Auth<'a> {
    pub fn decode(body: &'a [u8]) -> Result<Self, PacketError> {
        let (reason, properties) =
            read_reason(body, Allowed::AUTH, |reason| matches!(reason.code(), 0x00 | 0x18 | 0x19))?;
        Ok(Self { reason, properties })
    }

    pub fn encode(&self, into: &mut Vec<u8>) {
        put_reason(into, PacketType::Auth, self.reason, self.properties);
    }
}

/// MQTT 5.0 table 3-10 and, for 0x8C, section 2.4; both directions.
pub(crate) fn is_disconnect_reason(reason: Reason) -> bool {
    matches!(reason.code(), 0x00 | 0x04 | 0x80..=0x83 | 0x87 | 0x89 | 0x8B..=0x90 | 0x93..=0xA2)
}

fn read_reason(
    body: &[u8],
    allowed: Allowed,
    is_legal: impl Fn(Reason) -> bool,
) -> Result<(Reason, Properties<'_>), PacketError> {
    let mut reader = Reader::new(body);
    if reader.is_empty() {
        return Ok((Reason::Success, Properties::default()));
    }
    let reason = Reason::from_code(reader.u8()?)
        .filter(|reason| is_legal(*reason))
        .ok_or(PacketError::Malformed("reason code not of this packet"))?;
    if reader.is_empty() {
        return Ok((reason, Properties::default()));
    }
    let properties = Properties::read(Version::V5, &mut reader, allowed)?;
    if !reader.is_empty() {
        return Err(PacketError::Malformed("bytes after the properties"));
    }
    Ok((reason, properties))
}

fn put_reason(into: &mut Vec<u8>, packet_type: PacketType, reason: Reason, properties: Properties<'_>) {
    put_packet(into, packet_type, |body| {
        if reason != Reason::Success || !properties.is_empty() {
            body.push(reason.code());
        }
        if !properties.is_empty() {
            properties.write(Version::V5, body);
        }
    });
}
