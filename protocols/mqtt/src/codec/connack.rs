use gateway_model::Reason;

use super::property::Allowed;
use super::reader::Reader;
use super::writer::put_packet;
use super::{PacketError, PacketType, Properties, Version};

/// CONNACK (MQTT 5.0 section 3.2). The return codes of 3.1.1 are read into and written from the
/// reasons of 5.0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Connack<'a> {
    pub session_present: bool,
    pub reason: Reason,
    pub properties: Properties<'a>,
}

impl<'a> Connack<'a> {
    pub fn decode(version: Version, body: &'a [u8]) -> Result<Self, PacketError> {
        let mut reader = Reader::new(body);
        let flags = reader.u8()?;
        if flags & 0xFE != 0 {
            return Err(PacketError::Malformed("reserved CONNACK flags"));
        }
        let code = reader.u8()?;
        let reason = match version {
            Version::V5 => Reason::from_code(code).filter(|reason| is_connack_reason(*reason)),
            _ => from_return_code(code),
        };
        let reason = reason.ok_or(PacketError::Malformed("unknown CONNACK code"))?;
        let properties = Properties::read(version, &mut reader, Allowed::CONNACK)?;
        if !reader.is_empty() {
            return Err(PacketError::Malformed("bytes after the CONNACK"));
        }
        Ok(Self { session_present: flags == 1, reason, properties })
    }

    pub fn encode(&self, version: Version, into: &mut Vec<u8>) {
        put_packet(into, PacketType::Connack, |body| {
            body.push(u8::from(self.session_present));
            match version {
                Version::V5 => body.push(self.reason.code()),
                _ => body.push(return_code(self.reason)),
            }
            self.properties.write(version, body);
        });
    }
}

/// MQTT 3.1.1 table 3.1. What has no code of its own is "server unavailable".
fn return_code(reason: Reason) -> u8 {
    match reason {
        Reason::Success => 0,
        Reason::UnsupportedProtocolVersion => 1,
        Reason::ClientIdentifierNotValid => 2,
        Reason::BadUserNameOrPassword | Reason::BadAuthenticationMethod => 4,
        Reason::NotAuthorized | Reason::Banned => 5,
        // Of a will: trying again would not help.
        Reason::QosNotSupported | Reason::RetainNotSupported => 5,
        _ => 3,
    }
}

fn from_return_code(code: u8) -> Option<Reason> {
    Some(match code {
        0 => Reason::Success,
        1 => Reason::UnsupportedProtocolVersion,
        2 => Reason::ClientIdentifierNotValid,
        3 => Reason::ServerUnavailable,
        4 => Reason::BadUserNameOrPassword,
        5 => Reason::NotAuthorized,
        _ => return None,
    })
}

/// MQTT 5.0 table 3-1.
pub(crate) fn is_connack_reason(reason: Reason) -> bool {
    matches!(reason.code(), 0x00 | 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99..=0x9D | 0x9F)
}
