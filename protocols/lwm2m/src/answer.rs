//! What a device answered, as JSON for whoever gave the command.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use protocol_coap::link_format;
use protocol_coap::message::Code;
use serde_json::{Map, Value as Json};

use crate::codec::Reading;
use crate::path::Path;

/// `{"id":..,"code":"2.05","ok":true,"value":..}`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    fields: Map<String, Json>,
}

impl Answer {
    pub(crate) fn coded(code: Code) -> Self {
        Self::new(&code.to_string(), code.is_success())
    }

    /// The device or the gateway did not do it; `word` stands where a code would.
    pub(crate) fn failed(word: &str, error: impl ToString) -> Self {
        Self::new(word, false).error(error)
    }

    fn new(code: &str, ok: bool) -> Self {
        let mut fields = Map::new();
        fields.insert("code".into(), code.into());
        fields.insert("ok".into(), ok.into());
        Self { fields }
    }

    pub(crate) fn error(mut self, error: impl ToString) -> Self {
        self.fields.insert("ok".into(), false.into());
        self.fields.insert("error".into(), error.to_string().into());
        self
    }

    pub(crate) fn with(mut self, name: &str, value: Json) -> Self {
        self.fields.insert(name.into(), value);
        self
    }

    /// A payload that nobody here understands: handed on rather than dropped.
    pub(crate) fn raw(self, content_format: u16, payload: &[u8]) -> Self {
        self.with("content_format", content_format.into()).with("raw", STANDARD.encode(payload).into())
    }

    pub(crate) fn into_json(mut self, id: Option<Json>) -> Json {
        if let Some(id) = id {
            self.fields.insert("id".into(), id);
        }
        Json::Object(self.fields)
    }
}

/// The readings below `base`, as one value or as objects by identifier.
pub(crate) fn tree(base: Path, readings: &[Reading]) -> Json {
    if let [only] = readings
        && only.path == base
    {
        return only.value.to_json();
    }
    let mut root = Map::new();
    for reading in readings {
        let below = reading.path.ids().get(base.depth()..).unwrap_or(&[]);
        insert(&mut root, below, reading.value.to_json());
    }
    Json::Object(root)
}

fn insert(object: &mut Map<String, Json>, ids: &[u16], value: Json) {
    let Some((first, rest)) = ids.split_first() else { return };
    let key = first.to_string();
    if rest.is_empty() {
        object.insert(key, value);
        return;
    }
    let entry = object.entry(key).or_insert_with(|| Json::Object(Map::new()));
    if !entry.is_object() {
        *entry = Json::Object(Map::new());
    }
    if let Json::Object(nested) = entry {
        insert(nested, rest, value);
    }
}

/// The links of a Discover: `[{"path":"/3/0/9","pmin":"10"}]`.
pub(crate) fn links(payload: &[u8], links_max: usize) -> Result<Json, link_format::LinkFormatError> {
    let describe = |link: link_format::Link| {
        let mut fields = Map::new();
        fields.insert("path".into(), link.target.into());
        for (name, value) in link.attributes {
            fields.insert(name, value.map_or(Json::Bool(true), Json::String));
        }
        Json::Object(fields)
    };
    Ok(link_format::parse(payload, links_max)?.into_iter().map(describe).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;
    use serde_json::json;

    #[test]
    fn trees() {
        let path = |text| Path::parse(text).unwrap();
        let readings = [
            Reading::new(path("/3/0/9"), Value::Integer(100)),
            Reading::new(path("/3/0/6/0"), Value::Integer(1)),
            Reading::new(path("/3/0/6/1"), Value::Integer(5)),
        ];
        assert_eq!(tree(path("/3/0"), &readings), json!({"9": 100, "6": {"0": 1, "1": 5}}));
        assert_eq!(tree(path("/3/0/9"), &readings[..1]), json!(100));
        assert_eq!(tree(path("/3/0/6"), &readings[1..]), json!({"0": 1, "1": 5}));
    }
}
