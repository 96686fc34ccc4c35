//! What SenML packs mean, whatever they are written in (RFC 8428 section 4).

use super::{CodecError, Reading};
use crate::objects;
use crate::path::Path;
use crate::value::Value;

/// One record with the fields that LwM2M uses; units and sums are of no interest here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    pub base_name: Option<Box<str>>,
    pub base_time: Option<f64>,
    pub base_value: Option<f64>,
    pub name: Option<Box<str>>,
    pub time: Option<f64>,
    pub value: Option<Value>,
}

/// The highest version this reads (RFC 8428 section 4.4).
pub const VERSION_MAX: f64 = 10.0;

/// A CoAP path is at most this long in practice; names beyond it only cost memory.
const NAME_LEN_MAX: usize = 255;

/// Applies base fields; the results are in the order of time, so that the last is the newest.
pub fn resolve(records: Vec<Record>) -> Result<Vec<Reading>, CodecError> {
    let mut base_name: Box<str> = "".into();
    let (mut base_time, mut base_value) = (None, 0.0);
    let mut readings = Vec::with_capacity(records.len());
    for record in records {
        base_name = record.base_name.unwrap_or(base_name);
        base_time = record.base_time.or(base_time);
        base_value = record.base_value.unwrap_or(base_value);
        let Some(value) = record.value else { continue };
        let name = record.name.as_deref().unwrap_or("");
        if base_name.len() + name.len() > NAME_LEN_MAX {
            return Err(CodecError::NameTooLong);
        }
        let path = Path::parse(&format!("{base_name}{name}"))?;
        if path.depth() < 3 {
            return Err(CodecError::Nesting);
        }
        let seconds = match (base_time, record.time) {
            (None, None) => None,
            (base, own) => Some(base.unwrap_or(0.0) + own.unwrap_or(0.0)),
        };
        readings.push(Reading { path, value: objects::typed(path, with_base(value, base_value)), seconds });
    }
    readings.sort_by(|a, b| a.seconds.unwrap_or(0.0).total_cmp(&b.seconds.unwrap_or(0.0)));
    Ok(readings)
}

fn with_base(value: Value, base: f64) -> Value {
    if base == 0.0 {
        return value;
    }
    match value {
        Value::Integer(number) => Value::Float(number as f64 + base),
        Value::Unsigned(number) => Value::Float(number as f64 + base),
        Value::Float(number) => Value::Float(number + base),
        other => other,
    }
}
