use std::num::NonZeroU16;

use gateway_model::{Qos, Reason, RetainHandling};

use super::property::Allowed;
use super::reader::Reader;
use super::writer::{put_packet, put_text, put_u16};
use super::{PacketError, PacketType, Properties, Version};

/// SUBSCRIBE (MQTT 5.0 section 3.8).
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe<'a> {
    pub packet_id: NonZeroU16,
    pub properties: Properties<'a>,
    /// At least one.
    pub filters: Vec<RequestedFilter<'a>>,
}

/// One filter of a SUBSCRIBE with its options. Before 5.0 only the QoS is there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RequestedFilter<'a> {
    /// Text, but not yet known to be a filter.
    pub filter: &'a str,
    pub qos: Qos,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
}

impl<'a> RequestedFilter<'a> {
    pub fn new(filter: &'a str, qos: Qos) -> Self {
        Self {
            filter,
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Always,
        }
    }

    fn read(version: Version, reader: &mut Reader<'a>) -> Result<Self, PacketError> {
        let filter = reader.text()?;
        let options = reader.u8()?;
        let reserved = if version == Version::V5 { 0xC0 } else { 0xFC };
        if options & reserved != 0 {
            return Err(PacketError::Malformed("reserved bits in the subscription options"));
        }
        Ok(Self {
            filter,
            qos: Qos::from_u8(options & 0x03).ok_or(PacketError::Protocol("QoS of the subscription is 3"))?,
            no_local: options & 0x04 != 0,
            retain_as_published: options & 0x08 != 0,
            retain_handling: match options >> 4 & 0x03 {
                0 => RetainHandling::Always,
                1 => RetainHandling::IfNew,
                2 => RetainHandling::Never,
                _ => return Err(PacketError::Protocol("retain handling is 3")),
            },
        })
    }

    fn write(&self, version: Version, into: &mut Vec<u8>) {
        put_text(into, self.filter);
        let retain_handling = match self.retain_handling {
            RetainHandling::Always => 0,
            RetainHandling::IfNew => 1,
            RetainHandling::Never => 2,
        };
        into.push(match version {
            Version::V5 => {
                self.qos as u8
                    | u8::from(self.no_local) << 2
                    | u8::from(self.retain_as_published) << 3
                    | retain_handling << 4
            }
            _ => self.qos as u8,
        });
    }
}

impl<'a> Subscribe<'a> {
    /// Takes at most `filters_max` filters, each of which costs more memory than its bytes here.
    pub fn decode(version: Version, body: &'a [u8], filters_max: usize) -> Result<Self, PacketError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let properties = Properties::read(version, &mut reader, Allowed::SUBSCRIBE)?;
        let mut filters = Vec::new();
        while !reader.is_empty() {
            if filters.len() == filters_max {
                return Err(PacketError::Quota("too many filters in one packet"));
            }
            filters.push(RequestedFilter::read(version, &mut reader)?);
        }
        if filters.is_empty() {
            return Err(PacketError::Protocol("SUBSCRIBE without a filter")); // MQTT-3.8.3-2
        }
        Ok(Self { packet_id, properties, filters })
    }

    pub fn encode(&self, version: Version, into: &mut Vec<u8>) {
        put_packet(into, PacketType::Subscribe, |body| {
            put_u16(body, self.packet_id.get());
            self.properties.write(version, body);
            for filter in &self.filters {
                filter.write(version, body);
            }
        });
    }
}

/// UNSUBSCRIBE (MQTT 5.0 section 3.10).
#[derive(Clone, Debug, PartialEq)]
pub struct Unsubscribe<'a> {
    pub packet_id: NonZeroU16,
    pub properties: Properties<'a>,
    /// At least one; text, but not yet known to be filters.
    pub filters: Vec<&'a str>,
}

impl<'a> Unsubscribe<'a> {
    /// Takes at most `filters_max` filters, each of which costs more memory than its bytes here.
    pub fn decode(version: Version, body: &'a [u8], filters_max: usize) -> Result<Self, PacketError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let properties = Properties::read(version, &mut reader, Allowed::UNSUBSCRIBE)?;
        let mut filters = Vec::new();
        while !reader.is_empty() {
            if filters.len() == filters_max {
                return Err(PacketError::Quota("too many filters in one packet"));
            }
            filters.push(reader.text()?);
        }
        if filters.is_empty() {
            return Err(PacketError::Protocol("UNSUBSCRIBE without a filter")); // MQTT-3.10.3-2
        }
        Ok(Self { packet_id, properties, filters })
    }

    pub fn encode(&self, version: Version, into: &mut Vec<u8>) {
        put_packet(into, PacketType::Unsubscribe, |body| {
            put_u16(body, self.packet_id.get());
            self.properties.write(version, body);
            for filter in &self.filters {
                put_text(body, filter);
            }
        });
    }
}

/// SUBACK (MQTT 5.0 section 3.9).
#[derive(Clone, Debug, PartialEq)]
pub struct Suback<'a> {
    pub packet_id: NonZeroU16,
    pub properties: Properties<'a>,
    /// One per filter, in order: the granted QoS or an error.
    pub reasons: Vec<Reason>,
}

impl<'a> Suback<'a> {
    pub fn decode(version: Version, body: &'a [u8]) -> Result<Self, PacketError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let properties = Properties::read(version, &mut reader, Allowed::ACKNOWLEDGEMENT)?;
        let reasons = read_reasons(&reader, |code| match version {
            // MQTT 5.0 table 3-8.
            Version::V5 => {
                matches!(code, 0..=2 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2)
            }
            _ => matches!(code, 0..=2 | 0x80),
        })?;
        Ok(Self { packet_id, properties, reasons })
    }

    pub fn encode(&self, version: Version, into: &mut Vec<u8>) {
        put_packet(into, PacketType::Suback, |body| {
            put_u16(body, self.packet_id.get());
            self.properties.write(version, body);
            body.extend(self.reasons.iter().map(|reason| match version {
                Version::V5 => reason.code(),
                // MQTT 3.1.1 section 3.9.3 knows one failure.
                _ => reason.code().min(Reason::UnspecifiedError.code()),
            }));
        });
    }
}

/// UNSUBACK (MQTT 5.0 section 3.11).
#[derive(Clone, Debug, PartialEq)]
pub struct Unsuback<'a> {
    pub packet_id: NonZeroU16,
    pub properties: Properties<'a>,
    /// One per filter, in order; none before 5.0.
    pub reasons: Vec<Reason>,
}

impl<'a> Unsuback<'a> {
    pub fn decode(version: Version, body: &'a [u8]) -> Result<Self, PacketError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let properties = Properties::read(version, &mut reader, Allowed::ACKNOWLEDGEMENT)?;
        let reasons = match version {
            // MQTT 5.0 table 3-9.
            Version::V5 => {
                read_reasons(&reader, |code| matches!(code, 0x00 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91))?
            }
            _ if reader.is_empty() => Vec::new(),
            _ => return Err(PacketError::Malformed("bytes after the packet identifier")),
        };
        Ok(Self { packet_id, properties, reasons })
    }

    pub fn encode(&self, version: Version, into: &mut Vec<u8>) {
        put_packet(into, PacketType::Unsuback, |body| {
            put_u16(body, self.packet_id.get());
            self.properties.write(version, body);
            if version == Version::V5 {
                body.extend(self.reasons.iter().map(|reason| reason.code()));
            }
        });
    }
}

fn read_reasons(reader: &Reader<'_>, is_legal: impl Fn(u8) -> bool) -> Result<Vec<Reason>, PacketError> {
    if reader.is_empty() {
        return Err(PacketError::Protocol("acknowledgement without a reason code"));
    }
    reader
        .remainder()
        .iter()
        .map(|&code| Reason::from_code(code).filter(|_| is_legal(code)))
        .collect::<Option<_>>()
        .ok_or(PacketError::Malformed("reason code not of this packet"))
}
