//! SenML JSON (Content-Format 110): RFC 8428 section 5, OMA LwM2M Core 1.1 section 7.4.4.

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use base64::engine::{DecodePaddingMode, general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde_json::{Map, Value as Json, json};

use super::senml::{self, Record, VERSION_MAX};
use super::{CodecError, Entry, Reading, Written, text};
use crate::value::Value;

/// RFC 8428 section 4.3 wants no padding; some devices pad.
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

pub fn decode(payload: &[u8]) -> Result<Vec<Reading>, CodecError> {
    let records: Vec<Map<String, Json>> =
        serde_json::from_slice(payload).map_err(|error| CodecError::Json(error.to_string().into()))?;
    senml::resolve(records.iter().map(record).collect::<Result<_, _>>()?)
}

fn record(fields: &Map<String, Json>) -> Result<Record, CodecError> {
    let mut record = Record::default();
    for (key, field) in fields {
        match key.as_str() {
            "bn" => record.base_name = Some(string(field, "bn")?),
            "n" => record.name = Some(string(field, "n")?),
            "bt" => record.base_time = Some(number(field, "bt")?),
            "t" => record.time = Some(number(field, "t")?),
            "bv" => record.base_value = Some(number(field, "bv")?),
            "bver" if number(field, "bver")? > VERSION_MAX => {
                return Err(CodecError::UnknownField("bver".into()));
            }
            "v" if field.is_number() => record.value = Some(Value::from_json(field, None)?),
            "v" => return Err(CodecError::Field("v")),
            "vs" => record.value = Some(Value::String(string(field, "vs")?)),
            "vb" => record.value = Some(Value::Boolean(field.as_bool().ok_or(CodecError::Field("vb"))?)),
            "vd" => {
                let bytes = BASE64_URL.decode(&*string(field, "vd")?).map_err(|_| CodecError::Field("vd"))?;
                record.value = Some(Value::Opaque(Bytes::from(bytes)));
            }
            "vlo" => {
                let link = text::link(&string(field, "vlo")?);
                record.value = Some(link.ok_or(CodecError::Field("vlo"))?);
            }
            unknown if unknown.ends_with('_') => return Err(CodecError::UnknownField(unknown.into())),
            _ => {}
        }
    }
    Ok(record)
}

fn string(field: &Json, name: &'static str) -> Result<Box<str>, CodecError> {
    field.as_str().map(Into::into).ok_or(CodecError::Field(name))
}

fn number(field: &Json, name: &'static str) -> Result<f64, CodecError> {
    field.as_f64().ok_or(CodecError::Field(name))
}

/// A pack whose first record carries the base name of the object instance.
pub fn encode(written: &Written) -> Result<Vec<u8>, CodecError> {
    let target = written.target();
    let instance = target.instance().or(written.created_instance()).ok_or(CodecError::Unsupported(110))?;
    let base_name = format!("/{}/{instance}/", target.object().ok_or(CodecError::Unsupported(110))?);
    let mut pack = Vec::new();
    for (id, entry) in written.resources() {
        match (entry, target.resource_instance()) {
            (Entry::Single(value), Some(instance)) => pack.push(field(format!("{id}/{instance}"), value)),
            (Entry::Single(value), None) => pack.push(field(id.to_string(), value)),
            (Entry::Multiple(values), _) => {
                pack.extend(values.iter().map(|(instance, value)| field(format!("{id}/{instance}"), value)));
            }
        }
    }
    if let Some(Json::Object(first)) = pack.first_mut() {
        first.insert("bn".into(), base_name.into());
    }
    Ok(Json::Array(pack).to_string().into_bytes())
}

fn field(name: String, value: &Value) -> Json {
    match value {
        Value::String(text) | Value::CoreLink(text) => json!({"n": name, "vs": text}),
        Value::Boolean(value) => json!({"n": name, "vb": value}),
        Value::Opaque(bytes) => json!({"n": name, "vd": URL_SAFE_NO_PAD.encode(bytes)}),
        Value::ObjectLink(..) => json!({"n": name, "vlo": value.to_string()}),
        Value::Integer(_) | Value::Unsigned(_) | Value::Float(_) | Value::Time(_) => {
            json!({"n": name, "v": value.to_json()})
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::path::Path;

    fn path(text: &str) -> Path {
        Path::parse(text).unwrap()
    }

    /// OMA LwM2M Core 1.1 section 7.4.4, the Device object.
    const DEVICE: &str = r#"[{"bn":"/3/0/","n":"0","vs":"Open Mobile Alliance"},
        {"n":"1","vs":"Lightweight M2M Client"},{"n":"2","vs":"345000123"},{"n":"6/0","v":1},{"n":"6/1","v":5},
        {"n":"7/0","v":3800},{"n":"7/1","v":5000},{"n":"8/0","v":125},{"n":"8/1","v":900},{"n":"9","v":100},
        {"n":"10","v":15},{"n":"11/0","v":0},{"n":"13","v":1367491215},{"n":"14","vs":"+02:00"},{"n":"16","vs":"U"}]"#;

    #[test]
    fn oma_example_of_the_device_object() {
        let readings = decode(DEVICE.as_bytes()).unwrap();
        assert_eq!(readings.len(), 15);
        assert_eq!(readings[0], Reading::new(path("/3/0/0"), Value::String("Open Mobile Alliance".into())));
        assert_eq!(readings[4], Reading::new(path("/3/0/6/1"), Value::Integer(5)));
        assert_eq!(readings[12], Reading::new(path("/3/0/13"), Value::Time(1_367_491_215)));
    }

    #[test]
    fn oma_example_of_a_series_in_time_arrives_oldest_first() {
        let pack = r#"[{"bn":"/72/","bt":25462634,"n":"1/2","v":22.4,"t":-5},{"n":"1/2","v":22.9,"t":-30},{"n":"1/2","v":24.1,"t":-50}]"#;
        let readings = decode(pack.as_bytes()).unwrap();
        let values: Vec<_> = readings.iter().map(|r| (r.value.clone(), r.seconds.unwrap())).collect();
        assert_eq!(
            values,
            [
                (Value::Float(24.1), 25_462_584.0),
                (Value::Float(22.9), 25_462_604.0),
                (Value::Float(22.4), 25_462_629.0)
            ]
        );
    }

    #[test]
    fn oma_example_of_object_links() {
        let pack = r#"[{"bn":"/","n":"65/0/0/0","vlo":"66:0"},{"n":"65/0/0/1","vlo":"66:1"},{"n":"65/0/1","vs":"8613800755500"},{"n":"65/0/2","v":1}]"#;
        let readings = decode(pack.as_bytes()).unwrap();
        assert_eq!(readings[1], Reading::new(path("/65/0/0/1"), Value::ObjectLink(66, 1)));
        assert_eq!(readings[3], Reading::new(path("/65/0/2"), Value::Integer(1)));
    }

    #[test]
    fn base_values_opaque_data_and_unknown_fields() {
        let readings =
            decode(br#"[{"bn":"/3303/0/5700","bv":20,"v":1.5,"u":"Cel"},{"bn":"/5/0/0","vd":"_-8="}]"#);
        assert_eq!(
            readings.unwrap(),
            [
                Reading::new(path("/3303/0/5700"), Value::Float(21.5)),
                Reading::new(path("/5/0/0"), Value::Opaque(Bytes::from_static(&[0xFF, 0xEF])))
            ]
        );
        for (bad, error) in [
            (r#"[{"n":"/3/0/9","x_":1}]"#, CodecError::UnknownField("x_".into())),
            (r#"[{"n":"/3/0/9","v":"1"}]"#, CodecError::Field("v")),
            (r#"[{"n":"/3/0","v":1}]"#, CodecError::Nesting),
            (r#"[{"bver":11,"n":"/3/0/9","v":1}]"#, CodecError::UnknownField("bver".into())),
        ] {
            assert_eq!(decode(bad.as_bytes()), Err(error), "{bad}");
        }
        assert!(matches!(decode(b"{}"), Err(CodecError::Json(_))));
    }

    #[test]
    fn writes_read_back() {
        let resources = BTreeMap::from([
            (1, Entry::Single(Value::Integer(60))),
            (6, Entry::Single(Value::Boolean(true))),
            (9, Entry::Multiple(BTreeMap::from([(0, Value::Opaque(Bytes::from_static(b"\xff")))]))),
        ]);
        let bytes = encode(&Written::instance(path("/1/0"), resources)).unwrap();
        assert_eq!(
            String::from_utf8(bytes.clone()).unwrap(),
            r#"[{"bn":"/1/0/","n":"1","v":60},{"n":"6","vb":true},{"n":"9/0","vd":"_w"}]"#
        );
        assert_eq!(decode(&bytes).unwrap().len(), 3);
    }
}
