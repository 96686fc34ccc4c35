//! A device's words as topics and payloads.

use std::fmt;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use gateway_model::{
    FilterError, PayloadFormat, Properties, Publish, Qos, Sink, Topic, TopicError, TopicFilter,
};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Map, Value as Json};

use crate::codec::Reading;
use crate::config::PayloadMode;
use crate::object_list::{Instances, Listed, ObjectList};
use crate::objects;
use crate::path::Path;
use crate::registration::Registration;

const JSON: &str = "application/json";
/// Times below are relative to now (RFC 8428 section 4.5.3).
const ABSOLUTE_SECS_MIN: f64 = 268_435_456.0;

/// The topics of one device: `{prefix}/{endpoint}/...`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Topics<'a> {
    prefix: &'a str,
    endpoint: &'a str,
}

/// How a value came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Read,
    Notify,
    Send,
}

/// Whether the device can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Online,
    Asleep,
    Offline,
}

impl<'a> Topics<'a> {
    pub(crate) fn new(prefix: &'a str, endpoint: &'a str) -> Self {
        Self { prefix, endpoint }
    }

    pub(crate) fn status(&self) -> Result<Topic, TopicError> {
        Topic::parse(&format!("{}/{}/status", self.prefix, self.endpoint))
    }

    pub(crate) fn event(&self, name: &str, out: &mut dyn Sink) -> Result<Topic, TopicError> {
        self.topic(format_args!("event/{name}"), out)
    }

    /// `/3/0/9` is at `.../r/3/0/9`.
    pub(crate) fn resource(&self, path: Path, out: &mut dyn Sink) -> Result<Topic, TopicError> {
        self.topic(format_args!("r{path}"), out)
    }

    pub(crate) fn response(&self, words: &str, out: &mut dyn Sink) -> Result<Topic, TopicError> {
        self.topic(format_args!("resp/{words}"), out)
    }

    pub(crate) fn commands(&self) -> Result<TopicFilter, FilterError> {
        TopicFilter::parse(&format!("{}/{}/cmd/#", self.prefix, self.endpoint))
    }

    /// What follows `cmd/`: operation and path.
    pub(crate) fn command_words<'t>(&self, topic: &'t Topic) -> Option<&'t str> {
        let rest = topic.as_str().strip_prefix(self.prefix)?.strip_prefix('/')?;
        rest.strip_prefix(self.endpoint)?.strip_prefix("/cmd/")
    }

    fn topic(&self, rest: fmt::Arguments<'_>, out: &mut dyn Sink) -> Result<Topic, TopicError> {
        out.topic(format!("{}/{}/{rest}", self.prefix, self.endpoint).as_bytes())
    }
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Notify => "notify",
            Self::Send => "send",
        }
    }
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Asleep => "asleep",
            Self::Offline => "offline",
        }
    }
}

/// A value as its retained message.
pub(crate) fn value(topic: Topic, reading: &Reading, source: Source, mode: PayloadMode) -> Publish {
    match mode {
        PayloadMode::Value => {
            let payload = reading.value.to_string();
            retained(topic, payload, reading.value.content_type())
        }
        PayloadMode::Json => {
            let mut object = Map::new();
            object.insert("v".into(), reading.value.to_json());
            object.insert("type".into(), reading.value.kind().name().into());
            object.insert("src".into(), source.name().into());
            if let Some(resource) = objects::resource(reading.path) {
                object.insert("n".into(), resource.name.into());
            }
            match reading.seconds {
                Some(at) if at >= ABSOLUTE_SECS_MIN => object.insert("t".into(), at.into()),
                Some(relative) => object.insert("age".into(), (0.0 - relative).into()),
                None => None,
            };
            retained(topic, Json::Object(object).to_string(), JSON)
        }
    }
}

/// The retained state of a device.
pub(crate) fn status(registration: &Registration, state: State) -> Publish {
    let description = Description { registration, state: Some(state) };
    retained(registration.status.clone(), text_of(&description), JSON)
}

/// An event: what happened to a device.
pub(crate) fn event(topic: Topic, payload: &impl Serialize) -> Publish {
    with_type(topic, text_of(payload), JSON)
}

/// The answer to a command.
pub(crate) fn answer(topic: Topic, payload: &Json, correlation: Option<Bytes>) -> Publish {
    let mut publish = with_type(topic, payload.to_string(), JSON);
    if let Some(properties) = &mut publish.properties {
        Arc::make_mut(properties).correlation_data = correlation;
    }
    publish
}

/// What a registration says, for people and programs; its keys are sorted.
pub(crate) struct Description<'a> {
    pub(crate) registration: &'a Registration,
    /// With its address, if it is a status and no event.
    pub(crate) state: Option<State>,
}

impl Serialize for Description<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { registration, state } = self;
        let said = registration.said();
        let mut map = serializer.serialize_map(None)?;
        if state.is_some() {
            map.serialize_entry("address", &registration.address)?;
        }
        map.serialize_entry("binding", said.binding)?;
        map.serialize_entry("ep", registration.endpoint())?;
        map.serialize_entry("lifetime", &registration.lifetime_secs)?;
        map.serialize_entry("lwm2m", registration.version.name())?;
        map.serialize_entry("objects", &said.objects)?;
        map.serialize_entry("queue", &registration.queue_mode)?;
        map.serialize_entry("sms", &said.sms)?;
        if let Some(state) = state {
            map.serialize_entry("state", state.name())?;
        }
        map.end()
    }
}

/// By identifier.
impl Serialize for ObjectList<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.objects().map(|object| (object.id, object)))
    }
}

impl Serialize for Listed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("instances", &self.instances)?;
        if let Some(version) = self.version {
            map.serialize_entry("ver", version)?;
        }
        map.end()
    }
}

impl Serialize for Instances<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(*self)
    }
}

fn text_of(payload: &impl Serialize) -> String {
    serde_json::to_string(payload).expect("texts, numbers and keys that are texts are JSON")
}

/// The properties of a text. Those of a million retained statuses are the same.
fn properties_of(content_type: &str) -> Arc<Properties> {
    static OF_JSON: LazyLock<Arc<Properties>> = LazyLock::new(|| make_properties(JSON));
    if content_type == JSON { OF_JSON.clone() } else { make_properties(content_type) }
}

fn make_properties(content_type: &str) -> Arc<Properties> {
    let content_type = Some(content_type.into());
    Arc::new(Properties { payload_format: Some(PayloadFormat::Utf8), content_type, ..Properties::default() })
}

fn retained(topic: Topic, payload: String, content_type: &str) -> Publish {
    Publish { retain: true, ..with_type(topic, payload, content_type) }
}

fn with_type(topic: Topic, payload: String, content_type: &str) -> Publish {
    Publish {
        qos: Qos::AtLeastOnce,
        properties: Some(properties_of(content_type)),
        // What is retained stays: a copy has its size from the beginning, where a longer piece that is cut
        // may keep what was too much.
        ..Publish::new(topic, Bytes::copy_from_slice(payload.as_bytes()))
    }
}
