use std::fmt::Write;

use protocol_mqtt::codec::{Property, Publish};
use serde_json::{Value, json};

use super::format::hex;
use super::moment::Moment;

/// A message as one JSON object, with the names and the order of mosquitto_sub.
///
/// A payload that is not text is in `payload-hex`; a user property that comes more than once has a
/// list of its values.
pub fn of(message: &Publish<'_>, now: Moment, payload_is_json: bool, pretty: bool) -> String {
    let mut members = vec![
        ("tst", json!(now.iso_8601_with_micros())),
        ("topic", json!(String::from_utf8_lossy(message.topic))),
        ("qos", json!(message.qos as u8)),
        ("retain", json!(u8::from(message.retain))),
        ("payloadlen", json!(message.payload.len())),
    ];
    if let Some(id) = message.packet_id {
        members.push(("mid", json!(id.get())));
    }
    if message.dup {
        members.push(("dup", json!(1)));
    }
    let properties = properties(message);
    if !properties.is_empty() {
        members.push(("properties", Value::Object(properties)));
    }
    let as_json = payload_is_json.then(|| serde_json::from_slice(message.payload).ok()).flatten();
    members.push(match (as_json, std::str::from_utf8(message.payload)) {
        (Some(value), _) => ("payload", value),
        (None, Ok(text)) => ("payload", json!(text)),
        (None, Err(_)) => ("payload-hex", json!(hex(message.payload))),
    });
    written(&members, pretty)
}

fn properties(message: &Publish<'_>) -> serde_json::Map<String, Value> {
    let mut object = serde_json::Map::new();
    let mut users = serde_json::Map::new();
    for property in message.properties.iter() {
        let (name, value) = match property {
            Property::PayloadFormat(format) => ("payload-format-indicator", json!(format as u8)),
            Property::ContentType(text) => ("content-type", json!(text)),
            Property::ResponseTopic(text) => ("response-topic", json!(text)),
            Property::CorrelationData(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => ("correlation-data", json!(text)),
                Err(_) => ("correlation-data-hex", json!(hex(bytes))),
            },
            Property::MessageExpirySecs(secs) => ("message-expiry-interval", json!(secs)),
            Property::TopicAlias(alias) => ("topic-alias", json!(alias)),
            Property::SubscriptionIdentifier(identifier) => {
                insert(&mut object, "subscription-identifier", json!(identifier));
                continue;
            }
            Property::User(name, value) => {
                insert(&mut users, name, json!(value));
                continue;
            }
            _ => continue,
        };
        object.insert(name.to_owned(), value);
    }
    if !users.is_empty() {
        object.insert("user-properties".to_owned(), Value::Object(users));
    }
    object
}

/// The second value of a name makes a list.
fn insert(object: &mut serde_json::Map<String, Value>, name: &str, value: Value) {
    match object.get_mut(name) {
        Some(Value::Array(values)) => values.push(value),
        Some(first) => {
            let first_value = first.take();
            *first = Value::Array(vec![first_value, value]);
        }
        None => {
            object.insert(name.to_owned(), value);
        }
    }
}

/// Written by hand, because the order of the members is kept.
fn written(members: &[(&str, Value)], pretty: bool) -> String {
    let mut text = "{".to_owned();
    for (index, (name, value)) in members.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        // Writing into a text does not fail.
        let _ = match pretty {
            false => write!(text, "{comma}\"{name}\":{value}"),
            true => write!(text, "{comma}\n  \"{name}\": {}", format!("{value:#}").replace('\n', "\n  ")),
        };
    }
    text.push_str(if pretty { "\n}" } else { "}" });
    text
}

#[cfg(test)]
mod tests {
    use gateway_model::Qos;
    use protocol_mqtt::codec::{Properties, PropertyBuffer};

    use super::*;

    fn told(properties: Properties<'_>, payload: &[u8], payload_is_json: bool, pretty: bool) -> Value {
        let message = Publish {
            dup: false,
            qos: Qos::AtLeastOnce,
            retain: true,
            topic: b"a/b",
            packet_id: std::num::NonZeroU16::new(7),
            properties,
            payload,
        };
        serde_json::from_str(&of(&message, Moment::now(), payload_is_json, pretty)).unwrap()
    }

    #[test]
    fn json_holds_everything() {
        let mut buffer = PropertyBuffer::default();
        buffer
            .push(Property::ContentType("text/plain"))
            .push(Property::CorrelationData(b"\xff"))
            .push(Property::SubscriptionIdentifier(7))
            .push(Property::User("k", "v"))
            .push(Property::User("site", "north"))
            .push(Property::User("k", "w"));
        for pretty in [false, true] {
            let value = told(buffer.as_properties(), b"h\"i", false, pretty);
            assert_eq!(value["topic"], "a/b");
            assert_eq!((&value["qos"], &value["retain"], &value["mid"]), (&json!(1), &json!(1), &json!(7)));
            assert_eq!((&value["payload"], &value["payloadlen"]), (&json!("h\"i"), &json!(3)));
            assert_eq!(
                value["properties"],
                json!({
                    "content-type": "text/plain",
                    "correlation-data-hex": "ff",
                    "subscription-identifier": 7,
                    "user-properties": {"k": ["v", "w"], "site": "north"},
                })
            );
        }
    }

    #[test]
    fn a_payload_is_json_text_or_hex() {
        let none = Properties::default();
        assert_eq!(told(none, b"{\"x\":1}", true, false)["payload"], json!({"x": 1}));
        assert_eq!(told(none, b"{\"x\":1}", false, false)["payload"], json!("{\"x\":1}"));
        assert_eq!(told(none, b"plain", true, false)["payload"], json!("plain"));
        assert_eq!(told(none, b"\xff\x01", true, false)["payload-hex"], json!("ff01"));
    }
}
