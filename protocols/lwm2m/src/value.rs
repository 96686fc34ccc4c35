use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Number, Value as Json};

/// What a resource holds (OMA LwM2M Core 1.1 appendix C).
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    String(Box<str>),
    Integer(i64),
    Unsigned(u64),
    Float(f64),
    Boolean(bool),
    Opaque(Bytes),
    /// Seconds since 1970.
    Time(i64),
    /// Object and object instance; 65535:65535 is the null link.
    ObjectLink(u16, u16),
    CoreLink(Box<str>),
}

/// The type of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    String,
    Integer,
    Unsigned,
    Float,
    Boolean,
    Opaque,
    Time,
    #[serde(rename = "objlnk")]
    ObjectLink,
    #[serde(rename = "corelnk")]
    CoreLink,
}

/// Why something is not a value of the wanted type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("not a value of type {0}")]
    Mismatch(Kind),
    #[error("not UTF-8")]
    NotUtf8,
    #[error("null, arrays and objects are no values")]
    NotAValue,
}

impl Value {
    pub fn kind(&self) -> Kind {
        match self {
            Self::String(_) => Kind::String,
            Self::Integer(_) => Kind::Integer,
            Self::Unsigned(_) => Kind::Unsigned,
            Self::Float(_) => Kind::Float,
            Self::Boolean(_) => Kind::Boolean,
            Self::Opaque(_) => Kind::Opaque,
            Self::Time(_) => Kind::Time,
            Self::ObjectLink(..) => Kind::ObjectLink,
            Self::CoreLink(_) => Kind::CoreLink,
        }
    }

    /// A value of `kind` from JSON; without a kind, of the type that the JSON itself has. Numbers
    /// and booleans may come as strings, opaque ones come in base64.
    pub fn from_json(json: &Json, kind: Option<Kind>) -> Result<Self, ValueError> {
        let Some(kind) = kind else {
            return match json {
                Json::Bool(value) => Ok(Self::Boolean(*value)),
                Json::Number(number) => Ok(Self::from_number(number)),
                Json::String(text) => Ok(Self::String(text.as_str().into())),
                _ => Err(ValueError::NotAValue),
            };
        };
        let mismatch = ValueError::Mismatch(kind);
        match json {
            Json::String(text) => crate::codec::text::decode(text.as_bytes(), Some(kind)),
            Json::Bool(value) => match kind {
                Kind::Boolean => Ok(Self::Boolean(*value)),
                _ => Err(mismatch),
            },
            Json::Number(number) => match kind {
                Kind::Integer => whole(number).map(Self::Integer).ok_or(mismatch),
                Kind::Time => whole(number).map(Self::Time).ok_or(mismatch),
                Kind::Unsigned => number.as_u64().map(Self::Unsigned).ok_or(mismatch),
                Kind::Float => number.as_f64().map(Self::Float).ok_or(mismatch),
                Kind::Boolean if number.as_u64() == Some(0) => Ok(Self::Boolean(false)),
                Kind::Boolean if number.as_u64() == Some(1) => Ok(Self::Boolean(true)),
                Kind::String => Ok(Self::String(number.to_string().into())),
                _ => Err(mismatch),
            },
            _ => Err(ValueError::NotAValue),
        }
    }

    fn from_number(number: &Number) -> Self {
        match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => Self::Integer(value),
            (None, Some(value)) => Self::Unsigned(value),
            (None, None) => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
        }
    }

    /// The JSON of it; opaque in base64, links as `object:instance`, and the floats that JSON has
    /// no word for as strings.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Integer(value) | Self::Time(value) => Json::from(*value),
            Self::Unsigned(value) => Json::from(*value),
            Self::Float(value) => {
                Number::from_f64(*value).map_or_else(|| Json::from(value.to_string()), Json::Number)
            }
            Self::Boolean(value) => Json::from(*value),
            _ => Json::from(self.to_string()),
        }
    }

    /// The media type of the bare text that `Display` yields.
    pub fn content_type(&self) -> &'static str {
        match self {
            Self::Opaque(_) => "application/octet-stream;encoding=base64",
            Self::CoreLink(_) => "application/link-format",
            _ => "text/plain;charset=utf-8",
        }
    }

    /// The same value in a wider or narrower type if nothing is lost: what a table knows better
    /// than the format that carried it.
    pub fn into_kind(self, kind: Kind) -> Self {
        match (self, kind) {
            (Self::Integer(value), Kind::Time) => Self::Time(value),
            (Self::Integer(value), Kind::Float) => Self::Float(value as f64),
            (Self::Integer(value), Kind::Unsigned) if value >= 0 => Self::Unsigned(value.unsigned_abs()),
            (Self::Integer(0), Kind::Boolean) => Self::Boolean(false),
            (Self::Integer(1), Kind::Boolean) => Self::Boolean(true),
            (Self::Float(value), Kind::Integer) if is_whole(value) => Self::Integer(value as i64),
            (Self::Float(value), Kind::Time) if is_whole(value) => Self::Time(value as i64),
            (Self::String(text), Kind::CoreLink) => Self::CoreLink(text),
            (value, _) => value,
        }
    }
}

/// Bare and readable: `60`, `true`, text as it is, base64, `66:0`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::String(text) | Self::CoreLink(text) => f.write_str(text),
            Self::Integer(value) | Self::Time(value) => fmt::Display::fmt(value, f),
            Self::Unsigned(value) => fmt::Display::fmt(value, f),
            Self::Float(value) => fmt::Display::fmt(value, f),
            Self::Boolean(value) => fmt::Display::fmt(value, f),
            Self::Opaque(bytes) => f.write_str(&STANDARD.encode(bytes)),
            Self::ObjectLink(object, instance) => write!(f, "{object}:{instance}"),
        }
    }
}

impl Kind {
    /// The word in payloads and errors.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Integer => "integer",
            Self::Unsigned => "unsigned",
            Self::Float => "float",
            Self::Boolean => "boolean",
            Self::Opaque => "opaque",
            Self::Time => "time",
            Self::ObjectLink => "objlnk",
            Self::CoreLink => "corelnk",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An integer, also when it was written `60.0`.
fn whole(number: &Number) -> Option<i64> {
    number.as_i64().or_else(|| number.as_f64().filter(|value| is_whole(*value)).map(|value| value as i64))
}

/// Whether the cast to `i64` loses nothing: floats are exact integers up to 2^53.
fn is_whole(value: f64) -> bool {
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    value.fract() == 0.0 && value.abs() <= EXACT_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn json_becomes_the_wanted_type() {
        let typed = |json: Json, kind| Value::from_json(&json, Some(kind));
        assert_eq!(typed(json!(60), Kind::Integer), Ok(Value::Integer(60)));
        assert_eq!(typed(json!(60.0), Kind::Integer), Ok(Value::Integer(60)));
        assert_eq!(typed(json!(60.5), Kind::Integer), Err(ValueError::Mismatch(Kind::Integer)));
        assert_eq!(typed(json!("60"), Kind::Integer), Ok(Value::Integer(60)));
        assert_eq!(typed(json!(1), Kind::Boolean), Ok(Value::Boolean(true)));
        assert_eq!(typed(json!("AQI="), Kind::Opaque), Ok(Value::Opaque(Bytes::from_static(&[1, 2]))));
        assert_eq!(typed(json!("66:0"), Kind::ObjectLink), Ok(Value::ObjectLink(66, 0)));
        assert_eq!(typed(json!([1]), Kind::Integer), Err(ValueError::NotAValue));
        assert_eq!(Value::from_json(&json!(2.5), None), Ok(Value::Float(2.5)));
        assert_eq!(Value::from_json(&json!(u64::MAX), None), Ok(Value::Unsigned(u64::MAX)));
    }

    #[test]
    fn bare_values_are_readable() {
        assert_eq!(Value::Opaque(Bytes::from_static(&[1, 2])).to_string(), "AQI=");
        assert_eq!(Value::Float(22.5).to_string(), "22.5");
        assert_eq!(Value::Boolean(true).to_string(), "true");
        assert_eq!(Value::ObjectLink(66, 0).to_json(), json!("66:0"));
        assert_eq!(Value::Float(f64::NAN).to_json(), json!("NaN"));
    }
}
