use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use protocol_mqtt::codec::{Property, Publish};
use serde_json::{Map, Value, json};

/// How a message is printed: texts and fields in turn.
#[derive(Debug, PartialEq, Eq)]
pub struct Format(Vec<Piece>);

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Topic,
    Payload,
    Hex,
    Len,
    Qos,
    Retain,
    Duplicate,
    Json,
    UnixTime,
}

impl Format {
    /// The payload alone, a line each.
    pub fn payload() -> Self {
        Self(vec![Piece::Payload, Piece::Text("\n".to_owned())])
    }

    /// Topic and payload.
    pub fn verbose() -> Self {
        Self(vec![Piece::Topic, Piece::Text(" ".to_owned()), Piece::Payload, Piece::Text("\n".to_owned())])
    }

    /// Parses `%t` and the like; a line end is added.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            let piece = match character {
                '%' => match characters.next() {
                    Some('%') => {
                        plain.push('%');
                        continue;
                    }
                    Some('t') => Piece::Topic,
                    Some('p') => Piece::Payload,
                    Some('x') => Piece::Hex,
                    Some('l') => Piece::Len,
                    Some('q') => Piece::Qos,
                    Some('r') => Piece::Retain,
                    Some('d') => Piece::Duplicate,
                    Some('j') => Piece::Json,
                    Some('U') => Piece::UnixTime,
                    Some(other) => {
                        return Err(format!("-F: unknown %{other}; known: %t %p %x %l %q %r %d %j %U %%"));
                    }
                    None => return Err("-F: a percent sign at the end; write %%".to_owned()),
                },
                '\\' => {
                    plain.push(match characters.next() {
                        Some('n') => '\n',
                        Some('t') => '\t',
                        Some('0') => '\0',
                        Some('\\') => '\\',
                        _ => return Err("-F: known after a backslash: \\n \\t \\0 \\\\".to_owned()),
                    });
                    continue;
                }
                other => {
                    plain.push(other);
                    continue;
                }
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(piece);
        }
        plain.push('\n');
        pieces.push(Piece::Text(plain));
        Ok(Self(pieces))
    }

    pub fn write(&self, message: &Publish<'_>, into: &mut impl Write) -> io::Result<()> {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => into.write_all(text.as_bytes())?,
                Piece::Topic => into.write_all(message.topic)?,
                Piece::Payload => into.write_all(message.payload)?,
                Piece::Hex => message.payload.iter().try_for_each(|byte| write!(into, "{byte:02x}"))?,
                Piece::Len => write!(into, "{}", message.payload.len())?,
                Piece::Qos => write!(into, "{}", message.qos as u8)?,
                Piece::Retain => write!(into, "{}", u8::from(message.retain))?,
                Piece::Duplicate => write!(into, "{}", u8::from(message.dup))?,
                Piece::Json => write!(into, "{}", as_json(message))?,
                Piece::UnixTime => {
                    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                    write!(into, "{}.{:03}", now.as_secs(), now.subsec_millis())?;
                }
            }
        }
        Ok(())
    }
}

/// A message as one JSON object; a payload that is not UTF-8 is in `payload_hex`.
fn as_json(message: &Publish<'_>) -> Value {
    let mut object = Map::new();
    object.insert("topic".to_owned(), json!(String::from_utf8_lossy(message.topic)));
    match std::str::from_utf8(message.payload) {
        Ok(text) => object.insert("payload".to_owned(), json!(text)),
        Err(_) => object.insert("payload_hex".to_owned(), json!(hex(message.payload))),
    };
    object.insert("qos".to_owned(), json!(message.qos as u8));
    object.insert("retain".to_owned(), json!(message.retain));
    object.insert("duplicate".to_owned(), json!(message.dup));
    let mut user_properties = Vec::new();
    for property in message.properties.iter() {
        let (name, value) = match property {
            Property::ContentType(text) => ("content_type", json!(text)),
            Property::ResponseTopic(text) => ("response_topic", json!(text)),
            Property::CorrelationData(bytes) => ("correlation_data_hex", json!(hex(bytes))),
            Property::MessageExpirySecs(secs) => ("message_expiry_secs", json!(secs)),
            Property::PayloadFormat(format) => ("payload_format", json!(format as u8)),
            Property::User(name, value) => {
                user_properties.push(json!([name, value]));
                continue;
            }
            _ => continue,
        };
        object.insert(name.to_owned(), value);
    }
    if !user_properties.is_empty() {
        // Pairs, not an object: names may repeat and their order counts.
        object.insert("user_properties".to_owned(), Value::Array(user_properties));
    }
    Value::Object(object)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use gateway_model::Qos;
    use protocol_mqtt::codec::{Properties, PropertyBuffer};

    use super::*;

    fn written(format: &str, properties: Properties<'_>, payload: &[u8]) -> String {
        let message = Publish {
            dup: false,
            qos: Qos::AtLeastOnce,
            retain: true,
            topic: b"a/b",
            packet_id: std::num::NonZeroU16::new(1),
            properties,
            payload,
        };
        let mut bytes = Vec::new();
        Format::parse(format).unwrap().write(&message, &mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn fields_stand_where_the_format_says() {
        let none = Properties::default();
        assert_eq!(written("%t|%p|%x|%l|%q|%r|%d", none, b"hi"), "a/b|hi|6869|2|1|1|0\n");
        assert_eq!(written("100%%\\t%p\\\\", none, b"x"), "100%\tx\\\n");
    }

    #[test]
    fn json_holds_everything() {
        let mut properties = PropertyBuffer::default();
        properties.push(Property::ContentType("text/plain")).push(Property::User("k", "v"));
        let text = written("%j", properties.as_properties(), b"h\"i");
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["payload"], "h\"i");
        assert_eq!(value["content_type"], "text/plain");
        assert_eq!(value["user_properties"], json!([["k", "v"]]));
        let value: Value = serde_json::from_str(&written("%j", Properties::default(), b"\xff\x01")).unwrap();
        assert_eq!(value["payload_hex"], "ff01");
    }

    #[test]
    fn wrong_formats_are_refused() {
        for wrong in ["%y", "%", "\\x", "\\"] {
            assert!(Format::parse(wrong).is_err(), "{wrong}");
        }
    }
}
