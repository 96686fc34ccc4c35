use gateway_model::Qos;

use super::property::Allowed;
use super::reader::Reader;
use super::writer::{put_binary, put_packet, put_text, put_u16};
use super::{PacketError, PacketType, Properties, Version};

/// CONNECT (MQTT 5.0 section 3.1).
#[derive(Clone, Debug, PartialEq)]
pub struct Connect<'a> {
    pub version: Version,
    /// Clean Start; before 5.0 Clean Session.
    pub clean_start: bool,
    /// 0: none.
    pub keep_alive_secs: u16,
    pub properties: Properties<'a>,
    /// Empty: the server is to assign one.
    pub client_id: &'a str,
    pub will: Option<LastWill<'a>>,
    pub username: Option<&'a str>,
    pub password: Option<&'a [u8]>,
}

/// The will in a CONNECT (MQTT 5.0 section 3.1.3.2 to 3.1.3.4).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LastWill<'a> {
    pub qos: Qos,
    pub retain: bool,
    pub properties: Properties<'a>,
    pub topic: &'a str,
    pub payload: &'a [u8],
}

/// Why a CONNECT is refused, and in which version to say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectError {
    /// `None` if the bytes are not MQTT at all: then nothing is to be answered.
    pub version: Option<Version>,
    /// The level is none of ours; `version` is the nearest one whose CONNACK can say so.
    pub unsupported_level: bool,
    pub error: PacketError,
}

const CLEAN: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USERNAME: u8 = 0x80;

impl<'a> Connect<'a> {
    pub fn decode(body: &'a [u8]) -> Result<Self, ConnectError> {
        let mut reader = Reader::new(body);
        let version = read_version(&mut reader)?;
        Self::decode_rest(version, reader).map_err(|error| ConnectError {
            version: Some(version),
            unsupported_level: false,
            error,
        })
    }

    fn decode_rest(version: Version, mut reader: Reader<'a>) -> Result<Self, PacketError> {
        let flags = reader.u8()?;
        // MQTT-3.1.2-3; MQTT 3.1 left the bit unused without demanding that it be 0.
        if flags & 0x01 != 0 && version != Version::V31 {
            return Err(PacketError::Malformed("reserved connect flag is set"));
        }
        // MQTT 3.1.1, MQTT-3.1.2-22; MQTT 5.0 allows a password alone.
        if version != Version::V5 && flags & (PASSWORD | USERNAME) == PASSWORD {
            return Err(PacketError::Malformed("password without a user name"));
        }
        let will_qos =
            Qos::from_u8(flags >> 3 & 0x03).ok_or(PacketError::Malformed("QoS of the will is 3"))?;
        let will_retain = flags & WILL_RETAIN != 0;
        if flags & WILL == 0 && (will_qos != Qos::AtMostOnce || will_retain) {
            return Err(PacketError::Malformed("will flags without a will"));
        }
        let keep_alive_secs = reader.u16()?;
        let properties = Properties::read(version, &mut reader, Allowed::CONNECT)?;
        let client_id = reader.text()?;
        let will = match flags & WILL {
            0 => None,
            _ => Some(LastWill {
                qos: will_qos,
                retain: will_retain,
                properties: Properties::read(version, &mut reader, Allowed::WILL)?,
                topic: reader.text()?,
                payload: reader.binary()?,
            }),
        };
        let username = if flags & USERNAME != 0 { Some(reader.text()?) } else { None };
        let password = if flags & PASSWORD != 0 { Some(reader.binary()?) } else { None };
        if !reader.is_empty() {
            return Err(PacketError::Malformed("bytes after the CONNECT payload"));
        }
        let clean_start = flags & CLEAN != 0;
        Ok(Self { version, clean_start, keep_alive_secs, properties, client_id, will, username, password })
    }

    pub fn encode(&self, into: &mut Vec<u8>) {
        put_packet(into, PacketType::Connect, |body| {
            put_text(body, if self.version == Version::V31 { "MQIsdp" } else { "MQTT" });
            body.push(self.version as u8);
            let will_flags = self
                .will
                .map_or(0, |will| WILL | (will.qos as u8) << 3 | if will.retain { WILL_RETAIN } else { 0 });
            body.push(
                will_flags
                    | if self.clean_start { CLEAN } else { 0 }
                    | if self.username.is_some() { USERNAME } else { 0 }
                    | if self.password.is_some() { PASSWORD } else { 0 },
            );
            put_u16(body, self.keep_alive_secs);
            self.properties.write(self.version, body);
            put_text(body, self.client_id);
            if let Some(will) = &self.will {
                will.properties.write(self.version, body);
                put_text(body, will.topic);
                put_binary(body, will.payload);
            }
            if let Some(username) = self.username {
                put_text(body, username);
            }
            if let Some(password) = self.password {
                put_binary(body, password);
            }
        });
    }
}

/// Protocol name and level (MQTT 5.0 sections 3.1.2.1 and 3.1.2.2).
fn read_version(reader: &mut Reader<'_>) -> Result<Version, ConnectError> {
    let not_mqtt = |error| ConnectError { version: None, unsupported_level: false, error };
    let name = reader.binary().map_err(not_mqtt)?;
    let level = reader.u8().map_err(not_mqtt)?;
    match (name, level) {
        (b"MQTT", 5) => Ok(Version::V5),
        (b"MQTT", 4) => Ok(Version::V311),
        (b"MQIsdp", 3) => Ok(Version::V31),
        // MQTT-3.1.2-2: in the words of 5.0 to whoever is newer, of 3.1.1 to whoever is older. With
        // the top bit set it is a bridge of mosquitto, which tries again without on that answer.
        (b"MQTT" | b"MQIsdp", _) => Err(ConnectError {
            version: Some(if (6..0x80).contains(&level) { Version::V5 } else { Version::V311 }),
            unsupported_level: true,
            error: PacketError::Protocol("unsupported protocol level"),
        }),
        _ => Err(not_mqtt(PacketError::Protocol("not MQTT"))),
    }
}
