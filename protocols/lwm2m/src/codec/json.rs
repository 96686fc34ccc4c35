//! The JSON of LwM2M 1.0 (Content-Format 11543): OMA LwM2M 1.0.2 section 6.4.4.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Number;

use super::{CodecError, Reading, text};
use crate::objects;
use crate::path::Path;
use crate::value::{Kind, Value};

#[derive(Deserialize)]
struct Pack {
    #[serde(default)]
    bn: Option<Box<str>>,
    #[serde(default)]
    bt: Option<f64>,
    e: Vec<Record>,
}

#[derive(Deserialize)]
struct Record {
    #[serde(default)]
    n: Box<str>,
    #[serde(default)]
    t: Option<f64>,
    v: Option<Number>,
    bv: Option<bool>,
    sv: Option<Box<str>>,
    ov: Option<Box<str>>,
}

/// What `payload` says; without a base name, names are relative to `base`.
pub fn decode(base: Path, payload: &[u8]) -> Result<Vec<Reading>, CodecError> {
    let pack: Pack =
        serde_json::from_slice(payload).map_err(|error| CodecError::Json(error.to_string().into()))?;
    let base_name = pack.bn.unwrap_or_else(|| base.to_string().into());
    let mut readings = Vec::with_capacity(pack.e.len());
    for record in pack.e {
        let Some(value) = value_of(&record)? else { continue };
        let path = join(&base_name, &record.n)?;
        if path.depth() < 3 {
            return Err(CodecError::Nesting);
        }
        let seconds = match (pack.bt, record.t) {
            (None, None) => None,
            (base, own) => Some(base.unwrap_or(0.0) + own.unwrap_or(0.0)),
        };
        readings.push(Reading { path, value: typed(path, value), seconds });
    }
    readings.sort_by(|a, b| a.seconds.unwrap_or(0.0).total_cmp(&b.seconds.unwrap_or(0.0)));
    Ok(readings)
}

/// Clients differ in whether the base name ends with the slash.
fn join(base: &str, name: &str) -> Result<Path, CodecError> {
    let slash = if name.is_empty() || base.ends_with('/') || name.starts_with('/') { "" } else { "/" };
    Ok(Path::parse(&format!("{base}{slash}{name}"))?)
}

fn value_of(record: &Record) -> Result<Option<Value>, CodecError> {
    Ok(match record {
        Record { v: Some(number), .. } => Some(Value::from_json(&number.clone().into(), None)?),
        Record { bv: Some(value), .. } => Some(Value::Boolean(*value)),
        Record { sv: Some(text), .. } => Some(Value::String(text.clone())),
        Record { ov: Some(link), .. } => Some(text::link(link).ok_or(CodecError::Field("ov"))?),
        _ => None,
    })
}

/// Opaque values travel as base64 in `sv` (section 6.4.4): only the table can tell.
fn typed(path: Path, value: Value) -> Value {
    match (objects::kind(path), &value) {
        (Some(Kind::Opaque), Value::String(text)) => {
            STANDARD.decode(&**text).map_or(value, |bytes| Value::Opaque(bytes.into()))
        }
        _ => objects::typed(path, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn oma_example_of_the_device_object() {
        let pack = br#"{"bn":"/3/0/","e":[{"n":"0","sv":"Open Mobile Alliance"},{"n":"6/1","v":5},{"n":"9","v":100},{"n":"13","v":1367491215}]}"#;
        let readings = decode(Path::parse("/3/0").unwrap(), pack).unwrap();
        assert_eq!(readings.len(), 4);
        assert_eq!(readings[3], Reading::new(Path::parse("/3/0/13").unwrap(), Value::Time(1_367_491_215)));
    }

    #[test]
    fn names_are_relative_to_what_was_asked() {
        let readings = decode(Path::parse("/3/0").unwrap(), br#"{"e":[{"n":"9","v":100}]}"#).unwrap();
        assert_eq!(readings[0].path.to_string(), "/3/0/9");
        let readings = decode(Path::parse("/3/0/9").unwrap(), br#"{"bn":"/3/0/9","e":[{"v":100}]}"#).unwrap();
        assert_eq!(readings[0].path.to_string(), "/3/0/9");
        assert!(decode(Path::ROOT, br#"{"e":[{"n":"9","v":100}]}"#).is_err());
    }
}
