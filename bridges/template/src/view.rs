use std::cell::OnceCell;

use gateway_model::Message;
use serde_json::Value;

use crate::template::Variable;

/// A message as templates see it. Make one per message: a JSON payload is parsed at most once,
/// and only when a template asks for a field.
pub struct View<'a> {
    message: &'a Message,
    /// `None` inside if the payload is not JSON.
    json: OnceCell<Option<Value>>,
}

impl<'a> View<'a> {
    pub fn new(message: &'a Message) -> Self {
        Self { message, json: OnceCell::new() }
    }

    pub fn message(&self) -> &'a Message {
        self.message
    }

    /// Appends the variable's value; nothing if the message does not have it.
    pub(crate) fn write(&self, variable: &Variable, out: &mut Vec<u8>) {
        let message = self.message;
        match variable {
            Variable::Topic => out.extend_from_slice(message.topic.as_bytes()),
            Variable::Level(index) => {
                out.extend_from_slice(message.topic.levels().nth(*index).unwrap_or_default().as_bytes());
            }
            Variable::ClientId => out.extend_from_slice(message.publisher.as_str().as_bytes()),
            Variable::Payload => out.extend_from_slice(&message.payload),
            Variable::Field(path) => self.write_field(path, out),
            Variable::Qos => out.push(b'0' + message.qos as u8),
            Variable::Retain => out.extend_from_slice(if message.retain { b"true" } else { b"false" }),
            Variable::Timestamp => {
                out.extend_from_slice(message.accepted_unix_millis.get().to_string().as_bytes());
            }
            Variable::ContentType => {
                let properties = message.properties.as_ref();
                let text = properties.and_then(|properties| properties.content_type.as_deref());
                out.extend_from_slice(text.unwrap_or_default().as_bytes());
            }
            Variable::User(name) => {
                let mut all = message.properties.iter().flat_map(|properties| &properties.user_properties);
                if let Some((_, value)) = all.find(|(key, _)| key == name) {
                    out.extend_from_slice(value.as_bytes());
                }
            }
        }
    }

    fn write_field(&self, path: &[Box<str>], out: &mut Vec<u8>) {
        let json = self.json.get_or_init(|| serde_json::from_slice(&self.message.payload).ok());
        let field = path.iter().try_fold(json.as_ref(), |at, step| {
            Some(match at? {
                Value::Object(fields) => fields.get(&**step),
                Value::Array(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)),
                _ => None,
            })
        });
        match field.flatten() {
            None | Some(Value::Null) => {}
            // Without the quotes: `${payload.site}` is for keys and names, not for building JSON.
            Some(Value::String(text)) => out.extend_from_slice(text.as_bytes()),
            Some(value) => out.extend_from_slice(value.to_string().as_bytes()),
        }
    }
}
