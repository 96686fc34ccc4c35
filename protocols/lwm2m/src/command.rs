//! Commands as they come by messages: `lwm2m/{endpoint}/cmd/{operation}/{path...}`.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use crate::codec::{Entry, Written};
use crate::objects;
use crate::path::{Path, PathError};
use crate::value::{Kind, Value, ValueError};

/// What a device is asked to do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Command {
    pub action: Action,
    /// Where the request goes.
    pub path: Path,
    /// Comes back in the answer.
    pub id: Option<Json>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Read,
    Discover,
    Observe,
    Cancel,
    Write {
        written: Written,
        replace: bool,
    },
    Create(Written),
    Execute(Box<str>),
    Delete,
    /// Query strings: `pmin=1`, or `pmin` to unset.
    Attributes(Vec<String>),
}

/// What is wrong with a command.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommandError {
    #[error(
        "unknown operation {0:?}: use read, write, execute, create, delete, discover, attributes, observe or cancel"
    )]
    Operation(Box<str>),
    #[error("path: {0}")]
    Path(#[from] PathError),
    #[error("{0} needs a path of {1}")]
    Depth(&'static str, &'static str),
    #[error("the payload is not UTF-8")]
    NotUtf8,
    #[error("the payload must be a JSON object: {0}")]
    NotAnObject(&'static str),
    #[error("key {0:?} is not a resource identifier")]
    Key(Box<str>),
    #[error("{0}: {1}")]
    Value(Path, ValueError),
    #[error("type {0:?} is none of string, integer, unsigned, float, boolean, opaque, time, objlnk, corelnk")]
    Type(Box<str>),
    #[error("attribute {0:?} is unknown, or its value is not a number, a string or null")]
    Attribute(Box<str>),
}

/// A payload: bare text, or a JSON object with `value` and settings.
struct Payload<'a> {
    text: &'a str,
    /// The JSON, if it is an object.
    object: Option<Map<String, Json>>,
}

impl Command {
    /// `words` is what follows `cmd/` in the topic: operation and path.
    pub(crate) fn parse(words: &str, payload: &[u8]) -> Result<Self, CommandError> {
        let (operation, path) = words.split_once('/').unwrap_or((words, ""));
        let payload = Payload::parse(payload)?;
        let path = Path::parse(path)?;
        let action = match operation {
            "read" => at("read", path, 1..=4, "one to four identifiers", Action::Read)?,
            "discover" => at("discover", path, 1..=3, "one to three identifiers", Action::Discover)?,
            "observe" => at("observe", path, 1..=4, "one to four identifiers", Action::Observe)?,
            "cancel" => at("cancel", path, 1..=4, "one to four identifiers", Action::Cancel)?,
            "delete" => at("delete", path, 2..=2, "object and instance", Action::Delete)?,
            "execute" => execute(path, &payload)?,
            "write" => write(path, &payload)?,
            "create" => create(path, &payload)?,
            "attributes" => Action::Attributes(attributes(path, &payload)?),
            other => return Err(CommandError::Operation(other.into())),
        };
        let path = if let Action::Create(written) = &action { written.target() } else { path };
        Ok(Self { action, path, id: payload.id().cloned() })
    }
}

impl<'a> Payload<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, CommandError> {
        let text = std::str::from_utf8(bytes).map_err(|_| CommandError::NotUtf8)?;
        let object = if text.trim_start().starts_with('{') { serde_json::from_str(text).ok() } else { None };
        Ok(Self { text, object })
    }

    fn setting(&self, name: &str) -> Option<&Json> {
        self.object.as_ref()?.get(name)
    }

    fn id(&self) -> Option<&Json> {
        self.setting("id")
    }

    /// The type that the payload itself names.
    fn kind(&self) -> Result<Option<Kind>, CommandError> {
        let Some(name) = self.setting("type") else { return Ok(None) };
        let bad = || CommandError::Type(name.as_str().unwrap_or("").into());
        serde_json::from_value(name.clone()).map(Some).map_err(|_| bad())
    }
}

fn at(
    operation: &'static str,
    path: Path,
    depths: std::ops::RangeInclusive<usize>,
    wanted: &'static str,
    action: Action,
) -> Result<Action, CommandError> {
    if depths.contains(&path.depth()) { Ok(action) } else { Err(CommandError::Depth(operation, wanted)) }
}

fn execute(path: Path, payload: &Payload<'_>) -> Result<Action, CommandError> {
    let arguments = match payload.setting("value") {
        Some(Json::String(text)) => text.as_str(),
        Some(_) => return Err(CommandError::Value(path, ValueError::Mismatch(Kind::String))),
        None if payload.object.is_some() => "",
        None => payload.text,
    };
    let action = Action::Execute(arguments.into());
    at("execute", path, 3..=3, "object, instance and resource", action)
}

fn write(path: Path, payload: &Payload<'_>) -> Result<Action, CommandError> {
    let replace = payload.setting("replace").and_then(Json::as_bool).unwrap_or(false);
    let written = match path.depth() {
        2 => Written::instance(path, resources(path, payload)?),
        3 | 4 => {
            let kind = payload.kind()?.or_else(|| objects::kind(path));
            let entry = match payload.setting("value") {
                Some(json) => entry(path, json, kind)?,
                None => bare(path, payload.text, kind)?,
            };
            let depth = || CommandError::Depth("write", "a resource");
            Written::resource(path, entry).ok_or_else(depth)?
        }
        _ => return Err(CommandError::Depth("write", "instance, resource or resource instance")),
    };
    Ok(Action::Write { written, replace })
}

/// `create/3303` lets the device choose the instance, `create/3303/5` names it.
fn create(path: Path, payload: &Payload<'_>) -> Result<Action, CommandError> {
    let depth = || CommandError::Depth("create", "object, or object and instance");
    if !(1..=2).contains(&path.depth()) {
        return Err(depth());
    }
    let object = Path::ROOT.child(path.object().ok_or_else(depth)?)?;
    // Types are the same in every instance.
    let typed = if path.depth() == 2 { path } else { object.child(0)? };
    let resources = if payload.text.trim().is_empty() { BTreeMap::new() } else { resources(typed, payload)? };
    Ok(Action::Create(Written::create(object, path.instance(), resources)))
}

/// `{"1":60,"6":true}`, or the same as `value` beside other settings.
fn resources(instance: Path, payload: &Payload<'_>) -> Result<BTreeMap<u16, Entry>, CommandError> {
    const WANTED: &str = "resources by identifier, like {\"1\":60,\"6\":true}";
    let object = payload.object.as_ref().ok_or(CommandError::NotAnObject(WANTED))?;
    let nested = match object.get("value") {
        Some(Json::Object(nested)) => Some(nested),
        Some(_) => return Err(CommandError::NotAnObject(WANTED)),
        None => None,
    };
    let mut resources = BTreeMap::new();
    for (key, json) in nested.unwrap_or(object) {
        if nested.is_none() && matches!(key.as_str(), "id" | "replace") {
            continue;
        }
        let id = identifier(key)?;
        let path = instance.child(id)?;
        resources.insert(id, entry(path, json, objects::kind(path))?);
    }
    Ok(resources)
}

fn identifier(key: &str) -> Result<u16, CommandError> {
    let path = Path::parse(key).map_err(|_| CommandError::Key(key.into()))?;
    path.object().filter(|_| path.depth() == 1).ok_or_else(|| CommandError::Key(key.into()))
}

/// A value, or an object of values by resource instance.
fn entry(path: Path, json: &Json, kind: Option<Kind>) -> Result<Entry, CommandError> {
    let value = |json: &Json| Value::from_json(json, kind).map_err(|error| CommandError::Value(path, error));
    match json {
        Json::Object(instances) if path.depth() == 3 => instances
            .iter()
            .map(|(key, json)| Ok((identifier(key)?, value(json)?)))
            .collect::<Result<_, _>>()
            .map(Entry::Multiple),
        _ => value(json).map(Entry::Single),
    }
}

/// Bare text: read by the table's type; without one as JSON would read it, else as a string.
fn bare(path: Path, text: &str, kind: Option<Kind>) -> Result<Entry, CommandError> {
    let value = match kind {
        Some(kind) => crate::codec::text::decode(text.as_bytes(), Some(kind)),
        None => Ok(serde_json::from_str(text)
            .ok()
            .and_then(|json| Value::from_json(&json, None).ok())
            .unwrap_or_else(|| Value::String(text.into()))),
    };
    value.map(Entry::Single).map_err(|error| CommandError::Value(path, error))
}

/// OMA LwM2M Core 1.1 section 5.1.2, and those that 1.2 adds.
const ATTRIBUTES: [&str; 10] = ["pmin", "pmax", "gt", "lt", "st", "epmin", "epmax", "edge", "con", "hqmax"];

fn attributes(path: Path, payload: &Payload<'_>) -> Result<Vec<String>, CommandError> {
    if path.depth() == 0 {
        return Err(CommandError::Depth("attributes", "one to four identifiers"));
    }
    let wanted = "attributes, like {\"pmin\":1,\"pmax\":60}";
    let object = payload.object.as_ref().ok_or(CommandError::NotAnObject(wanted))?;
    let object = match object.get("value") {
        Some(Json::Object(nested)) => nested,
        _ => object,
    };
    let mut queries = Vec::new();
    for (name, json) in object.iter().filter(|(name, _)| *name != "id") {
        let unknown = || CommandError::Attribute(name.as_str().into());
        if !ATTRIBUTES.contains(&name.as_str()) {
            return Err(unknown());
        }
        queries.push(match json {
            Json::Null => name.clone(),
            Json::Number(number) => format!("{name}={number}"),
            Json::String(text) if text.parse::<f64>().is_ok() => format!("{name}={text}"),
            _ => return Err(unknown()),
        });
    }
    Ok(queries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str, payload: &str) -> Result<Command, String> {
        Command::parse(words, payload.as_bytes()).map_err(|error| error.to_string())
    }

    fn written(words: &str, payload: &str) -> Vec<(u16, Entry)> {
        match parse(words, payload).unwrap().action {
            Action::Write { written, .. } | Action::Create(written) => {
                written.resources().map(|(id, entry)| (id, entry.clone())).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn payloads_are_bare_or_json() {
        let sixty = vec![(1, Entry::Single(Value::Integer(60)))];
        assert_eq!(written("write/1/0/1", "60"), sixty);
        assert_eq!(written("write/1/0/1", r#"{"value":60,"id":"abc"}"#), sixty);
        assert_eq!(written("write/1/0/1", r#"{"value":"60","type":"integer"}"#), sixty);
        assert_eq!(
            written("write/1/0", r#"{"1":60,"6":true,"id":7}"#),
            [sixty[0].clone(), (6, Entry::Single(Value::Boolean(true)))]
        );
        assert_eq!(written("write/31024/0/1", "2.5"), [(1, Entry::Single(Value::Float(2.5)))]);
        assert_eq!(written("write/31024/0/1", "hello"), [(1, Entry::Single(Value::String("hello".into())))]);
        let links = Entry::Multiple(BTreeMap::from([(127, Value::Integer(7))]));
        assert_eq!(written("write/2/0/2", r#"{"value":{"127":7}}"#), [(2, links)]);
        assert_eq!(written("create/3303/5", r#"{"5700":20}"#), [(5700, Entry::Single(Value::Float(20.0)))]);
        assert_eq!(parse("read/3/0", r#"{"id":"abc"}"#).unwrap().id, Some("abc".into()));
        assert_eq!(parse("execute/3/0/4", "0='a'").unwrap().action, Action::Execute("0='a'".into()));
    }

    #[test]
    fn errors_name_what_is_wrong() {
        for (words, payload, wanted) in [
            ("reed/3/0", "", "unknown operation \"reed\""),
            ("read/3/x", "", "path: an identifier is a number"),
            ("read", "", "read needs a path of one to four identifiers"),
            ("write/1/0/1", "soon", "/1/0/1: not a value of type integer"),
            ("write/1/0", "60", "the payload must be a JSON object"),
            ("write/1/0", r#"{"x":1}"#, "key \"x\" is not a resource identifier"),
            ("write/1/0/1", r#"{"value":1,"type":"int"}"#, "type \"int\" is none of string, integer"),
            ("attributes/3/0/9", r#"{"min":1}"#, "attribute \"min\" is unknown"),
            ("delete/3", "", "delete needs a path of object and instance"),
        ] {
            let error = parse(words, payload).unwrap_err();
            assert!(error.starts_with(wanted), "{words}: {error}");
        }
    }

    #[test]
    fn attributes_become_queries() {
        let command = parse("attributes/3/0/9", r#"{"pmin":1,"pmax":"60","st":null}"#).unwrap();
        assert_eq!(command.action, Action::Attributes(vec!["pmax=60".into(), "pmin=1".into(), "st".into()]));
    }
}
