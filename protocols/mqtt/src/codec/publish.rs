use std::num::NonZeroU16;

use gateway_model::{Qos, WireBuffer};

use super::property::Allowed;
use super::reader::Reader;
use super::writer::put_variable;
use super::{PacketError, PacketType, Properties, Version, variable_len};

/// PUBLISH (MQTT 5.0 section 3.3), borrowed from the input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Publish<'a> {
    pub dup: bool,
    pub qos: Qos,
    pub retain: bool,
    /// As it came: not yet known to be a topic. Empty if a topic alias stands for it.
    pub topic: &'a [u8],
    /// Present exactly above QoS 0.
    pub packet_id: Option<NonZeroU16>,
    pub properties: Properties<'a>,
    pub payload: &'a [u8],
}

/// MQTT 5.0 section 2.1.1: a byte, and a length of one to four.
const FIXED_HEADER_LEN_MAX: usize = 5;
const DUP: u8 = 0x08;
const RETAIN: u8 = 0x01;

/// The first byte of a PUBLISH.
#[inline]
pub(crate) fn flags(dup: bool, qos: Qos, retain: bool) -> u8 {
    PacketType::Publish.first_byte() | u8::from(dup) << 3 | (qos as u8) << 1 | u8::from(retain)
}

impl<'a> Publish<'a> {
    #[inline]
    pub fn decode(version: Version, first: u8, body: &'a [u8]) -> Result<Self, PacketError> {
        let qos = match first >> 1 & 0x03 {
            0 => Qos::AtMostOnce,
            1 => Qos::AtLeastOnce,
            2 => Qos::ExactlyOnce,
            _ => return Err(PacketError::Malformed("QoS is 3")), // MQTT-3.3.1-4
        };
        let dup = first & DUP != 0;
        // MQTT-3.3.1-2; MQTT 3.1 does not forbid it.
        if dup && qos == Qos::AtMostOnce && version != Version::V31 {
            return Err(PacketError::Malformed("DUP at QoS 0"));
        }
        let mut reader = Reader::new(body);
        let topic = reader.binary()?;
        let packet_id = if qos == Qos::AtMostOnce { None } else { Some(reader.packet_id()?) };
        let properties = Properties::read(version, &mut reader, Allowed::PUBLISH)?;
        let payload = reader.remainder();
        Ok(Self { dup, qos, retain: first & RETAIN != 0, topic, packet_id, properties, payload })
    }

    /// Appends the packet, payload included.
    pub fn encode(&self, version: Version, into: &mut Vec<u8>) {
        let mut properties = Vec::new();
        self.properties.write(version, &mut properties);
        PublishHead {
            first: flags(self.dup, self.qos, self.retain),
            topic: self.topic,
            packet_id: self.packet_id,
            properties_len: properties.len(),
            payload_len: self.payload.len(),
        }
        .encode(into);
        into.extend_from_slice(&properties);
        into.extend_from_slice(self.payload);
    }
}

/// What stands before the properties of a PUBLISH. The caller appends those, with their length,
/// and the payload: so the hot path copies nothing twice.
pub(crate) struct PublishHead<'a> {
    pub(crate) first: u8,
    pub(crate) topic: &'a [u8],
    pub(crate) packet_id: Option<NonZeroU16>,
    /// With their length field; 0 before MQTT 5.0.
    pub(crate) properties_len: usize,
    pub(crate) payload_len: usize,
}

impl PublishHead<'_> {
    #[inline]
    fn body_len(&self) -> usize {
        let packet_id_len = if self.packet_id.is_some() { 2 } else { 0 };
        2 + self.topic.len() + packet_id_len + self.properties_len + self.payload_len
    }

    /// Bytes of the whole packet.
    #[inline]
    pub(crate) fn frame_len(&self) -> usize {
        let body_len = self.body_len();
        1 + variable_len(body_len) + body_len
    }

    #[inline(always)]
    pub(crate) fn encode(&self, into: &mut Vec<u8>) {
        let body_len = self.body_len();
        // A large payload is kept by reference and needs no room.
        let referenced = self.payload_len >= WireBuffer::PIECE_LEN_MIN;
        let payload_room = if referenced { 0 } else { self.payload_len };
        into.reserve(FIXED_HEADER_LEN_MAX + body_len - self.payload_len + payload_room);
        let topic_len = (self.topic.len() as u16).to_be_bytes();
        if body_len < 0x80 {
            into.extend_from_slice(&[self.first, body_len as u8, topic_len[0], topic_len[1]]);
        } else {
            into.push(self.first);
            put_variable(into, body_len);
            into.extend_from_slice(&topic_len);
        }
        into.extend_from_slice(self.topic);
        if let Some(packet_id) = self.packet_id {
            into.extend_from_slice(&packet_id.get().to_be_bytes());
        }
    }
}
