//! SenML CBOR (Content-Format 112): RFC 8428 section 6, OMA LwM2M Core 1.1 section 7.4.5.
//! What clients of version 1.2 send unless asked otherwise.

use bytes::Bytes;

use super::cbor::{self, Item};
use super::senml::{self, Record, VERSION_MAX};
use super::{CodecError, Reading, text};
use crate::value::Value;

pub fn decode(payload: &Bytes) -> Result<Vec<Reading>, CodecError> {
    let Item::Array(items) = cbor::decode(payload)? else { return Err(CodecError::Cbor) };
    senml::resolve(items.into_iter().map(record).collect::<Result<_, _>>()?)
}

/// The labels of RFC 8428 section 6, table 4; `vlo` has none and stays text.
fn record(item: Item) -> Result<Record, CodecError> {
    let Item::Map(fields) = item else { return Err(CodecError::Cbor) };
    let mut record = Record::default();
    for (label, field) in fields {
        match label {
            Item::Negative(-2) => record.base_name = Some(string(field, "bn")?),
            Item::Negative(-3) => record.base_time = Some(number(&field, "bt")?),
            Item::Negative(-5) => record.base_value = Some(number(&field, "bv")?),
            Item::Negative(-1) if number(&field, "bver")? > VERSION_MAX => {
                return Err(CodecError::UnknownField("bver".into()));
            }
            Item::Unsigned(0) => record.name = Some(string(field, "n")?),
            Item::Unsigned(6) => record.time = Some(number(&field, "t")?),
            Item::Unsigned(2) if field.as_number().is_some() => record.value = Some(field.into_value()?),
            Item::Unsigned(2) => return Err(CodecError::Field("v")),
            Item::Unsigned(3) => record.value = Some(Value::String(string(field, "vs")?)),
            Item::Unsigned(4) if matches!(field, Item::Boolean(_)) => {
                record.value = Some(field.into_value()?)
            }
            Item::Unsigned(8) if matches!(field, Item::Bytes(_)) => record.value = Some(field.into_value()?),
            Item::Unsigned(4) => return Err(CodecError::Field("vb")),
            Item::Unsigned(8) => return Err(CodecError::Field("vd")),
            Item::Text(name) if &*name == "vlo" => {
                record.value = Some(text::link(&string(field, "vlo")?).ok_or(CodecError::Field("vlo"))?);
            }
            Item::Text(name) if name.ends_with('_') => return Err(CodecError::UnknownField(name)),
            _ => {}
        }
    }
    Ok(record)
}

fn string(field: Item, name: &'static str) -> Result<Box<str>, CodecError> {
    match field {
        Item::Text(text) => Ok(text),
        _ => Err(CodecError::Field(name)),
    }
}

fn number(field: &Item, name: &'static str) -> Result<f64, CodecError> {
    field.as_number().ok_or(CodecError::Field(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path::Path;

    /// OMA LwM2M Core 1.1 section 7.4.5: the beginning of the Device object.
    #[test]
    fn oma_example_of_the_device_object() {
        let mut bytes = vec![0x82, 0xA3, 0x21, 0x65];
        bytes.extend_from_slice(b"/3/0/");
        bytes.extend_from_slice(&[0x00, 0x61, b'0', 0x03, 0x74]);
        bytes.extend_from_slice(b"Open Mobile Alliance");
        bytes.extend_from_slice(&[0xA2, 0x00, 0x61, b'9', 0x02, 0x18, 0x64]);
        let readings = decode(&bytes.into()).unwrap();
        assert_eq!(
            readings,
            [
                Reading::new(Path::parse("/3/0/0").unwrap(), Value::String("Open Mobile Alliance".into())),
                Reading::new(Path::parse("/3/0/9").unwrap(), Value::Integer(100)),
            ]
        );
    }

    #[test]
    fn fields_of_the_wrong_type_are_named() {
        let read = |bytes: &[u8]| decode(&Bytes::copy_from_slice(bytes));
        assert_eq!(read(&[0x81, 0xA1, 0x02, 0x61, b'x']), Err(CodecError::Field("v")));
        assert_eq!(read(&[0x81, 0xA1, 0x04, 0x01]), Err(CodecError::Field("vb")));
        assert_eq!(read(&[0xA0]), Err(CodecError::Cbor));
    }
}
