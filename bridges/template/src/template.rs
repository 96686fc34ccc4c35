use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use crate::View;

/// A parsed template. Reads from a configuration as a string.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Template {
    source: Box<str>,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Box<str>),
    Variable(Variable),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    Topic,
    /// Counted from 0.
    Level(usize),
    ClientId,
    Payload,
    /// At least one step.
    Field(Box<[Box<str>]>),
    Qos,
    Retain,
    Timestamp,
    ContentType,
    User(Box<str>),
}

/// Why a text is not a template. Positions count characters from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("template \"{template}\": the ${{ at position {position} has no closing brace")]
    Unclosed { template: Box<str>, position: usize },
    #[error(
        "template \"{template}\": unknown variable ${{{variable}}} at position {position}; there are \
         topic, topic[N], clientid, payload, payload.FIELD, qos, retain, timestamp, user.NAME, content_type"
    )]
    UnknownVariable { template: Box<str>, variable: Box<str>, position: usize },
}

impl Template {
    /// Appends the template filled in with a message. A missing value leaves nothing.
    pub fn render(&self, view: &View<'_>, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Variable(variable) => view.write(variable, out),
            }
        }
    }

    /// As `render`, but what comes from the message passes through `escape`; the template's own
    /// text does not.
    pub fn render_escaped(&self, view: &View<'_>, out: &mut Vec<u8>, escape: impl Fn(&[u8], &mut Vec<u8>)) {
        let mut value = Vec::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Variable(variable) => {
                    value.clear();
                    view.write(variable, &mut value);
                    escape(&value, out);
                }
            }
        }
    }

    /// The text, if there is no variable in it.
    pub fn as_literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The text before the first variable.
    pub fn prefix(&self) -> &str {
        match self.parts.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.source
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(source: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = source;
        while let Some(at) = rest.find("${") {
            let (before, tail) = rest.split_at(at);
            let after = &tail[2..];
            if let Some(before) = before.strip_suffix('$') {
                text.push_str(before);
                text.push_str("${");
                rest = after;
                continue;
            }
            text.push_str(before);
            let start = source.len() - tail.len();
            let position = source[..start].chars().count() + 1;
            let Some(end) = after.find('}') else {
                return Err(TemplateError::Unclosed { template: source.into(), position });
            };
            let (name, tail) = after.split_at(end);
            let Some(variable) = variable(name) else {
                let (template, variable) = (source.into(), name.into());
                return Err(TemplateError::UnknownVariable { template, variable, position });
            };
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text).into()));
            }
            parts.push(Part::Variable(variable));
            rest = &tail[1..];
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text.into()));
        }
        Ok(Self { source: source.into(), parts })
    }
}

impl TryFrom<String> for Template {
    type Error = TemplateError;

    fn try_from(source: String) -> Result<Self, TemplateError> {
        source.parse()
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.source, f)
    }
}

fn variable(name: &str) -> Option<Variable> {
    Some(match name {
        "topic" => Variable::Topic,
        "clientid" => Variable::ClientId,
        "payload" => Variable::Payload,
        "qos" => Variable::Qos,
        "retain" => Variable::Retain,
        "timestamp" => Variable::Timestamp,
        "content_type" => Variable::ContentType,
        _ => {
            if let Some(index) = name.strip_prefix("topic[").and_then(|rest| rest.strip_suffix(']')) {
                Variable::Level(index.parse().ok()?)
            } else if let Some(path) = name.strip_prefix("payload.") {
                let steps: Box<[Box<str>]> = path.split('.').map(Into::into).collect();
                if steps.iter().any(|step| step.is_empty()) {
                    return None;
                }
                Variable::Field(steps)
            } else {
                let user = name.strip_prefix("user.").filter(|name| !name.is_empty())?;
                Variable::User(user.into())
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use gateway_model::{ClientId, Message, Properties, Qos, Topic};

    use super::*;

    fn message(payload: impl Into<Bytes>) -> Message {
        Message {
            topic: Topic::parse("plant/7/temperature").unwrap(),
            payload: payload.into(),
            properties: Some(Arc::new(Properties {
                content_type: Some("application/json".into()),
                user_properties: vec![("site".into(), "north".into()), ("site".into(), "south".into())],
                ..Properties::default()
            })),
            publisher: ClientId::parse("sensor-1").unwrap(),
            accepted_unix_millis: 1_700_000_000_123.into(),
            expires_at: None,
            qos: Qos::AtLeastOnce,
            retain: true,
            stored: Default::default(),
        }
    }

    fn render(template: &str, message: &Message) -> String {
        let mut out = Vec::new();
        template.parse::<Template>().unwrap().render(&View::new(message), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_variable_renders() {
        let message = message(r#"{"a":{"b":21.5,"list":["x",{"y":true}]},"name":"n","none":null}"#);
        for (template, expected) in [
            ("", ""),
            ("plain", "plain"),
            ("${topic}", "plant/7/temperature"),
            ("${topic[0]}-${topic[1]}", "plant-7"),
            ("${topic[9]}", ""),
            ("${clientid}", "sensor-1"),
            ("${qos}${retain}", "1true"),
            ("${timestamp}", "1700000000123"),
            ("${content_type}", "application/json"),
            ("${user.site}", "north"),
            ("${user.other}", ""),
            ("${payload.name}", "n"),
            ("${payload.a.b}", "21.5"),
            ("${payload.a.list.0}", "x"),
            ("${payload.a.list.1.y}", "true"),
            ("${payload.a.list.7}", ""),
            ("${payload.none}", ""),
            ("${payload.a.b.c}", ""),
            ("${payload.name}/${payload.a.list}", r#"n/["x",{"y":true}]"#),
            ("costs 5$ {ok}", "costs 5$ {ok}"),
            ("$${topic}=${topic[1]}", "${topic}=7"),
        ] {
            assert_eq!(render(template, &message), expected, "{template}");
        }
    }

    #[test]
    fn a_payload_is_copied_byte_for_byte_and_has_no_fields_unless_it_is_json() {
        let message = message(vec![0xff, 0x00, b'$']);
        let mut out = Vec::new();
        "<${payload}|${payload.a}>".parse::<Template>().unwrap().render(&View::new(&message), &mut out);
        assert_eq!(out, b"<\xff\x00$|>");
    }

    #[test]
    fn only_values_are_escaped() {
        let mut out = Vec::new();
        let template: Template = "a/${topic[1]}/".parse().unwrap();
        template.render_escaped(&View::new(&message("")), &mut out, |value, out| {
            out.extend(value.iter().map(|_| b'*'));
        });
        assert_eq!(out, b"a/*/");
    }

    #[test]
    fn a_mistake_names_the_template_and_the_position() {
        let error = "é-${topic".parse::<Template>().unwrap_err();
        assert_eq!(error.to_string(), "template \"é-${topic\": the ${ at position 3 has no closing brace");
        let error = "${clientid}/${client}".parse::<Template>().unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with("template \"${clientid}/${client}\": unknown variable ${client} at position 13")
        );
        for wrong in
            ["${}", "${topic[]}", "${topic[-1]}", "${topic[x]}", "${payload.}", "${payload.a..b}", "${user.}"]
        {
            assert!(wrong.parse::<Template>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn literals_and_prefixes() {
        let parse = |text: &str| text.parse::<Template>().unwrap();
        assert_eq!(parse("abc").as_literal(), Some("abc"));
        assert_eq!(parse("").as_literal(), Some(""));
        assert_eq!(parse("a${topic}").as_literal(), None);
        assert_eq!(parse("a${topic}").prefix(), "a");
        assert_eq!(parse("${topic}a").prefix(), "");
    }

    #[test]
    fn reads_from_a_configuration() {
        let template: Template = serde_json::from_str("\"x-${qos}\"").unwrap();
        assert_eq!(template.source(), "x-${qos}");
        assert!(serde_json::from_str::<Template>("\"${nope}\"").unwrap_err().to_string().contains("nope"));
    }
}
