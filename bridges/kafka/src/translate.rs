use std::sync::Arc;

use bridge_template::{Template, View};
use gateway_model::Message;
use rdkafka::types::RDKafkaErrorCode;

use crate::config::Config;

/// Kafka's longest topic name in bytes (`org.apache.kafka.common.internals.Topic`).
const TOPIC_LEN_MAX: usize = 249;

/// Makes records of messages, as the configuration says.
pub(crate) struct Translator {
    topic: Template,
    /// The topic if no variable is in it: the common case costs one reference count.
    fixed_topic: Option<Result<Arc<str>, Untranslatable>>,
    key: Template,
    headers: Vec<(String, Template)>,
    mqtt_headers: bool,
    scratch: Vec<u8>,
}

/// A record without its value, which is the message's payload. Reused from message to message.
#[derive(Default)]
pub(crate) struct Record {
    pub topic: Arc<str>,
    /// Empty is no key.
    pub key: Vec<u8>,
    pub headers: Headers,
}

/// Names and values one after the other in one buffer.
#[derive(Default)]
pub(crate) struct Headers {
    bytes: Vec<u8>,
    /// Where each name and each value ends.
    ends: Vec<(usize, usize)>,
}

/// Why a message has no record, ever.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Untranslatable {
    #[error("the topic template renders to nothing")]
    EmptyTopic,
    #[error("the topic template renders to {0:?}, which no Kafka topic can be called")]
    IllegalTopic(Box<str>),
}

/// What an error means for the record that it struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Never acceptable; but Kafka rejects whole batches, so only a record sent alone is convicted.
    Poison,
    /// To be sent again.
    Transient,
}

impl Translator {
    pub fn new(config: Config) -> Self {
        Self {
            fixed_topic: config.topic.as_literal().map(|name| topic_name(name.as_bytes())),
            topic: config.topic,
            key: config.key,
            headers: config.headers.into_iter().collect(),
            mqtt_headers: config.mqtt_headers,
            scratch: Vec::new(),
        }
    }

    pub fn translate(&mut self, message: &Message, record: &mut Record) -> Result<(), Untranslatable> {
        let view = View::new(message);
        match &self.fixed_topic {
            Some(fixed) => record.topic = fixed.clone()?,
            None => {
                self.scratch.clear();
                self.topic.render(&view, &mut self.scratch);
                record.topic = topic_name(&self.scratch)?;
            }
        }
        record.key.clear();
        self.key.render(&view, &mut record.key);
        record.headers.clear();
        if self.mqtt_headers {
            mqtt_headers(message, &mut record.headers);
        }
        for (name, value) in &self.headers {
            record.headers.push_with(name, |out| value.render(&view, out));
        }
        Ok(())
    }
}

impl Headers {
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|(_, value_end)| *value_end));
        starts.zip(&self.ends).map(|(start, (name_end, value_end))| {
            let name = std::str::from_utf8(&self.bytes[start..*name_end]).expect("pushed from a str");
            (name, &self.bytes[*name_end..*value_end])
        })
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    fn push(&mut self, name: &[&str], value: &[u8]) {
        for piece in name {
            self.bytes.extend_from_slice(piece.as_bytes());
        }
        let name_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((name_end, self.bytes.len()));
    }

    fn push_with(&mut self, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.extend_from_slice(name.as_bytes());
        let name_end = self.bytes.len();
        value(&mut self.bytes);
        self.ends.push((name_end, self.bytes.len()));
    }
}

pub(crate) fn fate(code: RDKafkaErrorCode) -> Fate {
    use RDKafkaErrorCode::*;
    match code {
        MessageSizeTooLarge | MessageBatchTooLarge | InvalidMessageSize | InvalidMessage | InvalidRecord
        | InvalidTimestamp | InvalidTopic | BadMessage => Fate::Poison,
        // Whatever else it is, an operator can repair it: an outage, rights, a topic to be made.
        _ => Fate::Transient,
    }
}

/// Device data may choose among topics but not leave the set of legal names.
fn topic_name(rendered: &[u8]) -> Result<Arc<str>, Untranslatable> {
    let name: String = String::from_utf8_lossy(rendered)
        .chars()
        .map(|symbol| match symbol {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '_' | '-' => symbol,
            '/' => '.',
            _ => '_',
        })
        .collect();
    if name.is_empty() {
        return Err(Untranslatable::EmptyTopic);
    }
    // `__consumer_offsets` and the like are Kafka's own.
    if name.len() > TOPIC_LEN_MAX || name.starts_with("__") || name == "." || name == ".." {
        return Err(Untranslatable::IllegalTopic(name.into()));
    }
    Ok(name.into())
}

fn mqtt_headers(message: &Message, headers: &mut Headers) {
    headers.push(&["mqtt-topic"], message.topic.as_bytes());
    headers.push(&["mqtt-clientid"], message.publisher.as_str().as_bytes());
    headers.push(&["mqtt-qos"], &[b'0' + message.qos as u8]);
    headers.push(&["mqtt-retain"], if message.retain { b"true" } else { b"false" });
    let Some(properties) = &message.properties else { return };
    if let Some(content_type) = &properties.content_type {
        headers.push(&["content-type"], content_type.as_bytes());
    }
    for (name, value) in &properties.user_properties {
        // The prefix keeps a device from forging the headers above.
        headers.push(&["user.", name], value.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use gateway_model::{ClientId, Properties, Qos, Topic};

    use super::*;

    fn message() -> Message {
        Message {
            topic: Topic::parse("plant/7/temp erature").unwrap(),
            payload: "{\"site\":\"north\"}".into(),
            properties: Some(Arc::new(Properties {
                content_type: Some("application/json".into()),
                user_properties: vec![("mqtt-topic".into(), "forged".into())],
                ..Properties::default()
            })),
            publisher: ClientId::parse("sensor-1").unwrap(),
            accepted_unix_millis: 17.into(),
            expires_at: None,
            qos: Qos::ExactlyOnce,
            retain: false,
            stored: Default::default(),
        }
    }

    fn translate(json: &str) -> Result<Record, Untranslatable> {
        let mut record = Record::default();
        Translator::new(serde_json::from_str(json).unwrap()).translate(&message(), &mut record)?;
        Ok(record)
    }

    #[test]
    fn a_message_becomes_a_record() {
        let record =
            translate(r#"{"topic":"plant","headers":{"site":"${payload.site}","none":"${user.x}"}}"#)
                .unwrap();
        assert_eq!(&*record.topic, "plant");
        assert_eq!(record.key, b"plant/7/temp erature");
        let headers: Vec<_> = record.headers.iter().collect();
        assert_eq!(headers.len(), record.headers.len());
        let expected: [(&str, &[u8]); 8] = [
            ("mqtt-topic", b"plant/7/temp erature"),
            ("mqtt-clientid", b"sensor-1"),
            ("mqtt-qos", b"2"),
            ("mqtt-retain", b"false"),
            ("content-type", b"application/json"),
            ("user.mqtt-topic", b"forged"),
            ("none", b""),
            ("site", b"north"),
        ];
        assert_eq!(headers, expected);
        assert_eq!(translate(r#"{"topic":"t","mqtt_headers":false}"#).unwrap().headers.len(), 0);
    }

    #[test]
    fn a_rendered_topic_is_made_legal_or_refused() {
        let topic = |template: &str| translate(&format!("{{\"topic\":\"{template}\"}}")).map(|r| r.topic);
        assert_eq!(&*topic("in.${topic}").unwrap(), "in.plant.7.temp_erature");
        assert_eq!(topic("${user.none}"), Err(Untranslatable::EmptyTopic));
        assert_eq!(topic("__${topic[1]}"), Err(Untranslatable::IllegalTopic("__7".into())));
        assert!(topic(&"${topic}".repeat(20)).is_err());
    }

    #[test]
    fn only_what_no_operator_can_repair_is_poison() {
        for code in [RDKafkaErrorCode::MessageSizeTooLarge, RDKafkaErrorCode::InvalidRecord] {
            assert_eq!(fate(code), Fate::Poison);
        }
        for code in [
            RDKafkaErrorCode::UnknownTopicOrPartition,
            RDKafkaErrorCode::UnknownTopic,
            RDKafkaErrorCode::TopicAuthorizationFailed,
            RDKafkaErrorCode::NotEnoughReplicas,
            RDKafkaErrorCode::PurgeQueue,
            RDKafkaErrorCode::Fatal,
            RDKafkaErrorCode::Unknown,
        ] {
            assert_eq!(fate(code), Fate::Transient);
        }
    }
}
