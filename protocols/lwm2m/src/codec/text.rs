//! `text/plain` (Content-Format 0): one value as text (OMA LwM2M Core 1.1 section 7.4.2).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use crate::value::{Kind, Value, ValueError};

/// The value that `bytes` spell. Without a kind it is a string: text says nothing about types.
pub fn decode(bytes: &[u8], kind: Option<Kind>) -> Result<Value, ValueError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ValueError::NotUtf8)?;
    let kind = kind.unwrap_or(Kind::String);
    let trimmed = text.trim();
    let value = match kind {
        Kind::String => Some(Value::String(text.into())),
        Kind::CoreLink => Some(Value::CoreLink(text.into())),
        Kind::Integer => trimmed.parse().ok().map(Value::Integer),
        Kind::Time => trimmed.parse().ok().map(Value::Time),
        Kind::Unsigned => trimmed.parse().ok().map(Value::Unsigned),
        Kind::Float => trimmed.parse().ok().map(Value::Float),
        Kind::Boolean => match trimmed {
            "1" | "true" => Some(Value::Boolean(true)),
            "0" | "false" => Some(Value::Boolean(false)),
            _ => None,
        },
        Kind::Opaque => STANDARD.decode(trimmed).ok().map(|bytes| Value::Opaque(bytes.into())),
        Kind::ObjectLink => link(trimmed),
    };
    value.ok_or(ValueError::Mismatch(kind))
}

/// The text of a value; booleans are `1` and `0` here.
pub fn encode(value: &Value) -> Bytes {
    match value {
        Value::Boolean(true) => Bytes::from_static(b"1"),
        Value::Boolean(false) => Bytes::from_static(b"0"),
        other => other.to_string().into_bytes().into(),
    }
}

/// `66:0`: object and object instance (OMA LwM2M Core 1.1 appendix C).
pub(crate) fn link(text: &str) -> Option<Value> {
    let (object, instance) = text.split_once(':')?;
    Some(Value::ObjectLink(object.parse().ok()?, instance.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_reads_and_writes() {
        let cases: [(&str, Kind, Value); 8] = [
            ("Open Mobile Alliance", Kind::String, Value::String("Open Mobile Alliance".into())),
            ("-5", Kind::Integer, Value::Integer(-5)),
            ("22.5", Kind::Float, Value::Float(22.5)),
            ("1", Kind::Boolean, Value::Boolean(true)),
            ("1367491215", Kind::Time, Value::Time(1_367_491_215)),
            ("AQI=", Kind::Opaque, Value::Opaque(Bytes::from_static(&[1, 2]))),
            ("66:0", Kind::ObjectLink, Value::ObjectLink(66, 0)),
            ("18446744073709551615", Kind::Unsigned, Value::Unsigned(u64::MAX)),
        ];
        for (text, kind, value) in cases {
            assert_eq!(decode(text.as_bytes(), Some(kind)), Ok(value.clone()), "{text}");
            assert_eq!(encode(&value), text.as_bytes());
        }
    }

    #[test]
    fn nonsense_is_refused_with_the_type() {
        for kind in [Kind::Integer, Kind::Float, Kind::Boolean, Kind::Opaque, Kind::ObjectLink] {
            assert_eq!(decode(b"no!", Some(kind)), Err(ValueError::Mismatch(kind)));
        }
        assert_eq!(decode(b"\xff", None), Err(ValueError::NotUtf8));
    }
}
