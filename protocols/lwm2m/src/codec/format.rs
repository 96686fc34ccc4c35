use bytes::Bytes;

use super::{CodecError, Reading, Written, json, senml_cbor, senml_json, text, tlv};
use crate::codec::cbor;
use crate::objects;
use crate::path::Path;
use crate::value::Value;

/// A data format by its CoAP Content-Format number (OMA LwM2M Core 1.1 section 7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Opaque,
    Cbor,
    SenmlJson,
    SenmlCbor,
    Tlv,
    Json,
}

impl Format {
    /// Link format (RFC 6690), for registrations and discovery; not a data format.
    pub const LINK: u16 = 40;

    /// `None` for numbers that carry no LwM2M data. 1542 and 1543 are what TLV and JSON were
    /// called before their registration; old devices still send them.
    pub fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            0 => Self::Text,
            42 => Self::Opaque,
            60 => Self::Cbor,
            110 => Self::SenmlJson,
            112 => Self::SenmlCbor,
            1542 | 11542 => Self::Tlv,
            1543 | 11543 => Self::Json,
            _ => return None,
        })
    }

    pub fn number(self) -> u16 {
        match self {
            Self::Text => 0,
            Self::Opaque => 42,
            Self::Cbor => 60,
            Self::SenmlJson => 110,
            Self::SenmlCbor => 112,
            Self::Tlv => 11542,
            Self::Json => 11543,
        }
    }

    /// What `payload`, the answer for `base`, says.
    ///
    /// # Errors
    /// If it is malformed, or if it speaks of something outside `base`.
    pub fn decode(self, base: Path, payload: &Bytes) -> Result<Vec<Reading>, CodecError> {
        let readings = match self {
            Self::Text => vec![one(base, text_or_string(base, payload)?)?],
            Self::Opaque => {
                let value = objects::kind(base).and_then(|kind| tlv::value(payload, kind));
                vec![one(base, value.unwrap_or_else(|| Value::Opaque(payload.clone())))?]
            }
            Self::Cbor => {
                let value = cbor::decode(payload)?.into_value()?;
                vec![one(base, objects::typed(base, value))?]
            }
            Self::SenmlJson => senml_json::decode(payload)?,
            Self::SenmlCbor => senml_cbor::decode(payload)?,
            Self::Tlv => tlv::readings(base, &tlv::decode(payload)?)?,
            Self::Json => json::decode(base, payload)?,
        };
        match readings.iter().all(|reading| reading.path.is_within(base)) {
            true => Ok(readings),
            false => Err(CodecError::OtherPath),
        }
    }

    /// The payload that writes `written`.
    ///
    /// # Errors
    /// `Unsupported` if this format cannot carry it: text and opaque hold one value only, and only
    /// TLV can create an instance without naming it.
    pub fn encode(self, written: &Written) -> Result<Bytes, CodecError> {
        let unsupported = CodecError::Unsupported(self.number());
        match self {
            Self::Text => written.single().map(text::encode).ok_or(unsupported),
            Self::Opaque => match written.single() {
                Some(Value::Opaque(bytes)) => Ok(bytes.clone()),
                _ => Err(unsupported),
            },
            Self::SenmlJson if written.target().depth() == 1 && written.created_instance().is_none() => {
                Err(unsupported)
            }
            Self::SenmlJson => Ok(senml_json::encode(written)?.into()),
            Self::Tlv => Ok(tlv::encode_written(written)?.into()),
            Self::Cbor | Self::SenmlCbor | Self::Json => Err(unsupported),
        }
    }
}

/// Formats of a single value: only a resource or its instance has one.
fn one(base: Path, value: Value) -> Result<Reading, CodecError> {
    if base.depth() < 3 { Err(CodecError::OtherPath) } else { Ok(Reading::new(base, value)) }
}

/// Text that does not spell a value of the type in the table is still text.
fn text_or_string(base: Path, payload: &Bytes) -> Result<Value, CodecError> {
    match text::decode(payload, objects::kind(base)) {
        Ok(value) => Ok(value),
        Err(_) => Ok(text::decode(payload, None)?),
    }
}
