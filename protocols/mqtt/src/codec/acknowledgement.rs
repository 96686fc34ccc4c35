use std::num::NonZeroU16;

use gateway_model::Reason;

use super::property::Allowed;
use super::reader::Reader;
use super::writer::put_packet;
use super::{PacketError, PacketType, Properties, Version};

/// PUBACK, PUBREC, PUBREL or PUBCOMP (MQTT 5.0 sections 3.4 to 3.7): they differ in their type
/// only. Before 5.0 the reason is always success.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Acknowledgement<'a> {
    pub packet_id: NonZeroU16,
    pub reason: Reason,
    pub properties: Properties<'a>,
}

impl<'a> Acknowledgement<'a> {
    pub fn new(packet_id: NonZeroU16, reason: Reason) -> Self {
        Self { packet_id, reason, properties: Properties::default() }
    }

    #[inline]
    pub fn decode(version: Version, packet_type: PacketType, body: &'a [u8]) -> Result<Self, PacketError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        if reader.is_empty() {
            return Ok(Self::new(packet_id, Reason::Success));
        }
        if version != Version::V5 {
            return Err(PacketError::Malformed("bytes after the packet identifier"));
        }
        let reason = Reason::from_code(reader.u8()?)
            .filter(|reason| is_reason_of(packet_type, *reason))
            .ok_or(PacketError::Malformed("reason code not of this packet"))?;
        let properties = if reader.is_empty() {
            Properties::default()
        } else {
            Properties::read(version, &mut reader, Allowed::ACKNOWLEDGEMENT)?
        };
        if !reader.is_empty() {
            return Err(PacketError::Malformed("bytes after the properties"));
        }
        Ok(Self { packet_id, reason, properties })
    }

    /// In the shortest form: the reason is left out if it is success, empty properties always
    /// (MQTT 5.0 sections 3.4.2.1 and 3.4.2.2.1).
    #[inline]
    pub fn encode(&self, version: Version, packet_type: PacketType, into: &mut Vec<u8>) {
        let [high, low] = self.packet_id.get().to_be_bytes();
        let first = packet_type.first_byte();
        if version != Version::V5 || (self.reason == Reason::Success && self.properties.is_empty()) {
            into.extend_from_slice(&[first, 2, high, low]);
        } else if self.properties.is_empty() {
            into.extend_from_slice(&[first, 3, high, low, self.reason.code()]);
        } else {
            put_packet(into, packet_type, |body| {
                body.extend_from_slice(&[high, low, self.reason.code()]);
                self.properties.write(version, body);
            });
        }
    }
}

/// MQTT 5.0 tables 3-4 to 3-7.
fn is_reason_of(packet_type: PacketType, reason: Reason) -> bool {
    match packet_type {
        PacketType::Puback | PacketType::Pubrec => {
            matches!(reason.code(), 0x00 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99)
        }
        _ => matches!(reason, Reason::Success | Reason::PacketIdentifierNotFound),
    }
}
