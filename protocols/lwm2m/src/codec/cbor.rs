//! The part of CBOR (RFC 8949) that SenML and single values use: one item, read strictly.

use bytes::{Buf, Bytes};

use super::CodecError;
use crate::value::Value;

/// Arrays of maps of values: SenML is three deep; tags and links may add a little.
const DEPTH_MAX: usize = 8;

/// A decoded item. Tags are dropped: those that LwM2M uses (time, base64 hints) do not change it.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    Unsigned(u64),
    /// `-1 - n`, if it fits.
    Negative(i64),
    Bytes(Bytes),
    Text(Box<str>),
    Array(Vec<Item>),
    Map(Vec<(Item, Item)>),
    Boolean(bool),
    Float(f64),
    Null,
}

/// Decodes exactly one item.
pub fn decode(payload: &Bytes) -> Result<Item, CodecError> {
    let mut rest = payload.clone();
    let item = item(&mut rest, DEPTH_MAX)?;
    if rest.is_empty() { Ok(item) } else { Err(CodecError::Cbor) }
}

impl Item {
    /// The value of a resource.
    pub fn into_value(self) -> Result<Value, CodecError> {
        Ok(match self {
            Self::Unsigned(number) => i64::try_from(number).map_or(Value::Unsigned(number), Value::Integer),
            Self::Negative(number) => Value::Integer(number),
            Self::Bytes(bytes) => Value::Opaque(bytes),
            Self::Text(text) => Value::String(text),
            Self::Boolean(value) => Value::Boolean(value),
            Self::Float(number) => Value::Float(number),
            Self::Array(_) | Self::Map(_) | Self::Null => return Err(CodecError::Cbor),
        })
    }

    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Unsigned(number) => Some(*number as f64),
            Self::Negative(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }
}

/// The initial byte's argument (RFC 8949 section 3).
enum Argument {
    Number(u64),
    Indefinite,
}

fn item(rest: &mut Bytes, depth_left: usize) -> Result<Item, CodecError> {
    let depth_left = depth_left.checked_sub(1).ok_or(CodecError::TooDeep)?;
    let initial = rest.try_get_u8().map_err(|_| CodecError::Truncated)?;
    let (major, info) = (initial >> 5, initial & 0x1F);
    if major == 7 {
        return simple(rest, info);
    }
    let argument = argument(rest, info)?;
    match (major, argument) {
        (0, Argument::Number(number)) => Ok(Item::Unsigned(number)),
        (1, Argument::Number(number)) => {
            let number = i64::try_from(number).map_err(|_| CodecError::Cbor)?;
            Ok(Item::Negative(-1 - number))
        }
        (2, Argument::Number(len)) => Ok(Item::Bytes(take(rest, len)?)),
        (3, Argument::Number(len)) => text(&take(rest, len)?).map(Item::Text),
        (2 | 3, Argument::Indefinite) => chunks(rest, major),
        (4, argument) => array(rest, argument, depth_left),
        (5, argument) => map(rest, argument, depth_left),
        (6, Argument::Number(_)) => item(rest, depth_left),
        _ => Err(CodecError::Cbor),
    }
}

fn argument(rest: &mut Bytes, info: u8) -> Result<Argument, CodecError> {
    let number = match info {
        0..=23 => Some(u64::from(info)),
        24 => rest.try_get_u8().ok().map(u64::from),
        25 => rest.try_get_u16().ok().map(u64::from),
        26 => rest.try_get_u32().ok().map(u64::from),
        27 => rest.try_get_u64().ok(),
        31 => return Ok(Argument::Indefinite),
        _ => return Err(CodecError::Cbor),
    };
    number.map(Argument::Number).ok_or(CodecError::Truncated)
}

fn simple(rest: &mut Bytes, info: u8) -> Result<Item, CodecError> {
    let truncated = |_| CodecError::Truncated;
    Ok(match info {
        20 => Item::Boolean(false),
        21 => Item::Boolean(true),
        22 | 23 => Item::Null,
        25 => Item::Float(half(rest.try_get_u16().map_err(truncated)?)),
        26 => {
            let number = rest.try_get_f32().map_err(truncated)?;
            Item::Float(number.to_string().parse().unwrap_or(f64::from(number)))
        }
        27 => Item::Float(rest.try_get_f64().map_err(truncated)?),
        _ => return Err(CodecError::Cbor),
    })
}

/// RFC 8949 appendix D.
fn half(bits: u16) -> f64 {
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1F), f64::from(bits & 0x3FF));
    let magnitude = match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    };
    if bits & 0x8000 == 0 { magnitude } else { -magnitude }
}

fn take(rest: &mut Bytes, len: u64) -> Result<Bytes, CodecError> {
    match usize::try_from(len) {
        Ok(len) if len <= rest.len() => Ok(rest.split_to(len)),
        _ => Err(CodecError::Truncated),
    }
}

fn text(bytes: &[u8]) -> Result<Box<str>, CodecError> {
    std::str::from_utf8(bytes).map(Into::into).map_err(|_| CodecError::Cbor)
}

/// Whether the break that ends an indefinite length comes next; takes it if so.
fn take_break(rest: &mut Bytes) -> Result<bool, CodecError> {
    let next = *rest.first().ok_or(CodecError::Truncated)?;
    if next == 0xFF {
        rest.advance(1);
    }
    Ok(next == 0xFF)
}

/// A string in pieces (RFC 8949 section 3.2.3).
fn chunks(rest: &mut Bytes, major: u8) -> Result<Item, CodecError> {
    let mut whole = Vec::new();
    while !take_break(rest)? {
        let initial = rest.try_get_u8().map_err(|_| CodecError::Truncated)?;
        match argument(rest, initial & 0x1F)? {
            Argument::Number(len) if initial >> 5 == major => whole.extend_from_slice(&take(rest, len)?),
            _ => return Err(CodecError::Cbor),
        }
    }
    if major == 2 { Ok(Item::Bytes(whole.into())) } else { text(&whole).map(Item::Text) }
}

/// Lengths are not trusted with memory: the vector grows as elements really come.
fn array(rest: &mut Bytes, len: Argument, depth_left: usize) -> Result<Item, CodecError> {
    let mut items = Vec::new();
    loop {
        let ended = match len {
            Argument::Number(len) => items.len() as u64 == len,
            Argument::Indefinite => take_break(rest)?,
        };
        if ended {
            return Ok(Item::Array(items));
        }
        items.push(item(rest, depth_left)?);
    }
}

fn map(rest: &mut Bytes, len: Argument, depth_left: usize) -> Result<Item, CodecError> {
    let mut entries = Vec::new();
    loop {
        let ended = match len {
            Argument::Number(len) => entries.len() as u64 == len,
            Argument::Indefinite => take_break(rest)?,
        };
        if ended {
            return Ok(Item::Map(entries));
        }
        entries.push((item(rest, depth_left)?, item(rest, depth_left)?));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Item, CodecError> {
        decode(&Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn rfc_8949_appendix_a_examples() {
        assert_eq!(read(&[0x18, 0x64]), Ok(Item::Unsigned(100)));
        assert_eq!(read(&[0x39, 0x03, 0xE7]), Ok(Item::Negative(-1000)));
        assert_eq!(read(&[0xF9, 0x3E, 0x00]), Ok(Item::Float(1.5)));
        assert_eq!(read(&[0xF9, 0x00, 0x01]), Ok(Item::Float(5.960_464_477_539_063e-8)));
        assert_eq!(read(&[0xFA, 0x47, 0xC3, 0x50, 0x00]), Ok(Item::Float(100_000.0)));
        assert_eq!(read(&[0xC1, 0x1A, 0x51, 0x4B, 0x67, 0xB0]), Ok(Item::Unsigned(1_363_896_240)));
        assert_eq!(read(&[0x64, 0x49, 0x45, 0x54, 0x46]), Ok(Item::Text("IETF".into())));
        assert_eq!(read(&[0x5F, 0x41, 1, 0x41, 2, 0xFF]), Ok(Item::Bytes(Bytes::from_static(&[1, 2]))));
        assert_eq!(read(&[0x9F, 0x01, 0xFF]), Ok(Item::Array(vec![Item::Unsigned(1)])));
        assert_eq!(read(&[0xA1, 0x01, 0xF5]), Ok(Item::Map(vec![(Item::Unsigned(1), Item::Boolean(true))])));
    }

    #[test]
    fn hostile_lengths_and_depths_are_refused() {
        assert_eq!(read(&[0x9B, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]), Err(CodecError::Truncated));
        assert_eq!(read(&[0x5B, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]), Err(CodecError::Truncated));
        assert_eq!(read(&[0x81; 1000]), Err(CodecError::TooDeep));
        assert_eq!(read(&[0xC1; 1000]), Err(CodecError::TooDeep));
        assert_eq!(read(&[0x01, 0x01]), Err(CodecError::Cbor));
    }
}
