//! OMA-TLV (Content-Format 11542, before registration 1542): OMA LwM2M Core 1.1 section 7.4.3.
//!
//! ```text
//!   type byte   7 6  kind   00 object instance  01 resource instance  10 multiple resource  11 resource
//!               5    identifier is 16 bits (else 8)
//!               4 3  length is 00 in bits 2-0, 01 8 bits, 10 16 bits, 11 24 bits
//! ```

use bytes::Bytes;

use super::{CodecError, Entry, Reading, Written};
use crate::objects;
use crate::path::Path;
use crate::value::{Kind, Value};

/// Object instance, resource, resource instance: nothing legal is deeper.
const DEPTH_MAX: usize = 3;
/// A 24-bit length.
const LENGTH_MAX: usize = 0x00FF_FFFF;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tlv {
    ObjectInstance(u16, Vec<Tlv>),
    MultipleResource(u16, Vec<Tlv>),
    ResourceInstance(u16, Bytes),
    Resource(u16, Bytes),
}

/// Decodes a whole payload.
pub fn decode(payload: &Bytes) -> Result<Vec<Tlv>, CodecError> {
    decode_nested(payload, DEPTH_MAX)
}

fn decode_nested(payload: &Bytes, depth_left: usize) -> Result<Vec<Tlv>, CodecError> {
    if depth_left == 0 {
        return Err(CodecError::TooDeep);
    }
    let mut rest = payload.clone();
    let mut items = Vec::new();
    while !rest.is_empty() {
        items.push(decode_one(&mut rest, depth_left)?);
    }
    Ok(items)
}

fn decode_one(rest: &mut Bytes, depth_left: usize) -> Result<Tlv, CodecError> {
    let kind = take_number(rest, 1)?;
    let id = take_number(rest, if kind & 0x20 == 0 { 1 } else { 2 })?;
    let id = u16::try_from(id).map_err(|_| CodecError::Truncated)?;
    let len = match (kind >> 3) & 0b11 {
        0 => kind & 0b111,
        bytes => take_number(rest, bytes)?,
    };
    if rest.len() < len {
        return Err(CodecError::Truncated);
    }
    let value = rest.split_to(len);
    Ok(match kind >> 6 {
        0b00 => Tlv::ObjectInstance(id, decode_nested(&value, depth_left - 1)?),
        0b01 => Tlv::ResourceInstance(id, value),
        0b10 => Tlv::MultipleResource(id, decode_nested(&value, depth_left - 1)?),
        _ => Tlv::Resource(id, value),
    })
}

/// A big-endian number of `width` bytes, at most 3.
fn take_number(rest: &mut Bytes, width: usize) -> Result<usize, CodecError> {
    if rest.len() < width {
        return Err(CodecError::Truncated);
    }
    Ok(rest.split_to(width).iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

/// Encodes items in order.
///
/// # Errors
/// `TooLong` for contents of 16 MiB and more.
pub fn encode(items: &[Tlv]) -> Result<Vec<u8>, CodecError> {
    let mut out = Vec::new();
    for item in items {
        match item {
            Tlv::ObjectInstance(id, children) => put(&mut out, 0b00, *id, &encode(children)?)?,
            Tlv::ResourceInstance(id, value) => put(&mut out, 0b01, *id, value)?,
            Tlv::MultipleResource(id, children) => put(&mut out, 0b10, *id, &encode(children)?)?,
            Tlv::Resource(id, value) => put(&mut out, 0b11, *id, value)?,
        }
    }
    Ok(out)
}

fn put(out: &mut Vec<u8>, kind: u8, id: u16, value: &[u8]) -> Result<(), CodecError> {
    let len = u32::try_from(value.len()).map_err(|_| CodecError::TooLong)?;
    let [_, len_high, len_middle, len_low] = len.to_be_bytes();
    let [id_high, id_low] = id.to_be_bytes();
    let length_bits = match value.len() {
        0..=7 => len_low,
        8..=0xFF => 1 << 3,
        0x100..=0xFFFF => 2 << 3,
        0x1_0000..=LENGTH_MAX => 3 << 3,
        _ => return Err(CodecError::TooLong),
    };
    out.push(kind << 6 | u8::from(id_high != 0) << 5 | length_bits);
    if id_high != 0 {
        out.push(id_high);
    }
    out.push(id_low);
    match length_bits >> 3 {
        0 => {}
        1 => out.push(len_low),
        2 => out.extend([len_middle, len_low]),
        _ => out.extend([len_high, len_middle, len_low]),
    }
    out.extend_from_slice(value);
    Ok(())
}

/// What `items`, the answer to a request for `base`, say.
///
/// Two deviations of real clients are understood: an object's only instance without its wrapper,
/// and an instance wrapped although it was asked for by name.
pub fn readings(base: Path, items: &[Tlv]) -> Result<Vec<Reading>, CodecError> {
    let mut out = Vec::new();
    for item in items {
        match (item, base.depth()) {
            (Tlv::ObjectInstance(id, children), 1) => collect(base.child(*id)?, children, &mut out)?,
            (Tlv::ObjectInstance(id, children), 2) if base.instance() == Some(*id) => {
                collect(base, children, &mut out)?;
            }
            (_, 1) => collect(base.child(0)?, std::slice::from_ref(item), &mut out)?,
            (_, 2) => collect(base, std::slice::from_ref(item), &mut out)?,
            (Tlv::ResourceInstance(id, value), 3) => out.push(reading(base.child(*id)?, value)),
            (Tlv::ResourceInstance(id, value), 4) if base.resource_instance() == Some(*id) => {
                out.push(reading(base, value));
            }
            (_, 3 | 4) => {
                let instance = instance_of(base)?;
                collect(instance, std::slice::from_ref(item), &mut out)?;
            }
            _ => return Err(CodecError::OtherPath),
        }
    }
    if out.iter().all(|reading| reading.path.is_within(base)) { Ok(out) } else { Err(CodecError::OtherPath) }
}

/// Resources of one object instance.
fn collect(instance: Path, items: &[Tlv], out: &mut Vec<Reading>) -> Result<(), CodecError> {
    for item in items {
        match item {
            Tlv::Resource(id, value) => out.push(reading(instance.child(*id)?, value)),
            Tlv::MultipleResource(id, children) => {
                let resource = instance.child(*id)?;
                for child in children {
                    let Tlv::ResourceInstance(id, value) = child else { return Err(CodecError::Nesting) };
                    out.push(reading(resource.child(*id)?, value));
                }
            }
            Tlv::ObjectInstance(..) | Tlv::ResourceInstance(..) => return Err(CodecError::Nesting),
        }
    }
    Ok(())
}

fn instance_of(path: Path) -> Result<Path, CodecError> {
    match (path.object(), path.instance()) {
        (Some(object), Some(instance)) => Ok(Path::ROOT.child(object)?.child(instance)?),
        _ => Err(CodecError::OtherPath),
    }
}

/// TLV says nothing about types: what the table does not know, or what does not fit it, stays
/// opaque, so that nothing is lost.
fn reading(path: Path, bytes: &Bytes) -> Reading {
    let value = objects::kind(path).and_then(|kind| value(bytes, kind));
    Reading { path, value: value.unwrap_or_else(|| Value::Opaque(bytes.clone())), seconds: None }
}

/// The value that `bytes` hold in a resource of `kind`; `None` if they cannot.
pub fn value(bytes: &Bytes, kind: Kind) -> Option<Value> {
    Some(match kind {
        Kind::String => Value::String(std::str::from_utf8(bytes).ok()?.into()),
        Kind::CoreLink => Value::CoreLink(std::str::from_utf8(bytes).ok()?.into()),
        Kind::Integer => Value::Integer(integer(bytes)?),
        Kind::Time => Value::Time(integer(bytes)?),
        Kind::Unsigned => Value::Unsigned(unsigned(bytes)?),
        Kind::Float => Value::Float(float(bytes)?),
        Kind::Boolean => Value::Boolean(match bytes.as_ref() {
            [0] => false,
            [1] => true,
            _ => return None,
        }),
        Kind::Opaque => Value::Opaque(bytes.clone()),
        Kind::ObjectLink => match *bytes.as_ref() {
            [a, b, c, d] => Value::ObjectLink(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
            _ => return None,
        },
    })
}

/// Two's complement of 1, 2, 4 or 8 bytes.
fn integer(bytes: &[u8]) -> Option<i64> {
    Some(match *bytes {
        [a] => i64::from(i8::from_be_bytes([a])),
        [a, b] => i64::from(i16::from_be_bytes([a, b])),
        [a, b, c, d] => i64::from(i32::from_be_bytes([a, b, c, d])),
        [a, b, c, d, e, f, g, h] => i64::from_be_bytes([a, b, c, d, e, f, g, h]),
        _ => return None,
    })
}

fn unsigned(bytes: &[u8]) -> Option<u64> {
    matches!(bytes.len(), 1 | 2 | 4 | 8)
        .then(|| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// A 32-bit float is widened by its shortest decimal text: 0.1 stays 0.1.
fn float(bytes: &[u8]) -> Option<f64> {
    match *bytes {
        [a, b, c, d] => f32::from_be_bytes([a, b, c, d]).to_string().parse().ok(),
        [a, b, c, d, e, f, g, h] => Some(f64::from_be_bytes([a, b, c, d, e, f, g, h])),
        _ => None,
    }
}

/// The bytes of a value in the shortest form that holds it.
pub fn bytes(value: &Value) -> Bytes {
    match value {
        Value::String(text) | Value::CoreLink(text) => Bytes::copy_from_slice(text.as_bytes()),
        Value::Integer(number) | Value::Time(number) => integer_bytes(*number),
        Value::Unsigned(number) => match number {
            0..=0xFF => Bytes::copy_from_slice(&(*number as u8).to_be_bytes()),
            0x100..=0xFFFF => Bytes::copy_from_slice(&(*number as u16).to_be_bytes()),
            0x1_0000..=0xFFFF_FFFF => Bytes::copy_from_slice(&(*number as u32).to_be_bytes()),
            _ => Bytes::copy_from_slice(&number.to_be_bytes()),
        },
        Value::Float(number) => Bytes::copy_from_slice(&number.to_be_bytes()),
        Value::Boolean(value) => Bytes::copy_from_slice(&[u8::from(*value)]),
        Value::Opaque(bytes) => bytes.clone(),
        Value::ObjectLink(object, instance) => {
            let ([a, b], [c, d]) = (object.to_be_bytes(), instance.to_be_bytes());
            Bytes::copy_from_slice(&[a, b, c, d])
        }
    }
}

fn integer_bytes(number: i64) -> Bytes {
    if let Ok(number) = i8::try_from(number) {
        Bytes::copy_from_slice(&number.to_be_bytes())
    } else if let Ok(number) = i16::try_from(number) {
        Bytes::copy_from_slice(&number.to_be_bytes())
    } else if let Ok(number) = i32::try_from(number) {
        Bytes::copy_from_slice(&number.to_be_bytes())
    } else {
        Bytes::copy_from_slice(&number.to_be_bytes())
    }
}

/// Encodes the resources of one instance, or one resource, to be written at `base`.
///
/// On an object (`/3303`, to create) the resources stand bare: the device chooses the instance.
pub fn encode_written(written: &Written) -> Result<Vec<u8>, CodecError> {
    let items = written
        .resources()
        .map(|(id, entry)| match entry {
            Entry::Single(value) => match written.target().resource_instance() {
                Some(instance) => Tlv::ResourceInstance(instance, bytes(value)),
                None => Tlv::Resource(id, bytes(value)),
            },
            Entry::Multiple(values) => Tlv::MultipleResource(
                id,
                values.iter().map(|(id, value)| Tlv::ResourceInstance(*id, bytes(value))).collect(),
            ),
        })
        .collect::<Vec<_>>();
    match written.created_instance() {
        Some(instance) => encode(&[Tlv::ObjectInstance(instance, items)]),
        None => encode(&items),
    }
}

#[cfg(test)]
#[path = "tlv_tests.rs"]
mod tests;
