//! The properties of PUBLISH and of wills, to and from those of a message.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gateway_model::{Identifiers, Message, Outgoing, PayloadFormat, Properties, Reason, Topic, TopicError};

use crate::codec::{self, Property, variable_len};
use crate::violation::Violation;

/// What the properties of a PUBLISH or of a will say.
#[derive(Debug, Default)]
pub(crate) struct Translated {
    pub(crate) properties: Option<Arc<Properties>>,
    pub(crate) expiry: Option<Duration>,
    pub(crate) topic_alias: Option<u16>,
    pub(crate) will_delay: Duration,
}

/// Reads the properties; `topic` makes a topic of a Response Topic.
pub(crate) fn properties(
    wire: codec::Properties<'_>,
    mut topic: impl FnMut(&[u8]) -> Result<Topic, TopicError>,
) -> Result<Translated, Violation> {
    let mut translated = Translated::default();
    let Translated { properties, expiry, topic_alias, will_delay } = &mut translated;
    for property in wire.iter() {
        match property {
            Property::TopicAlias(alias) => *topic_alias = Some(alias),
            Property::MessageExpirySecs(secs) => *expiry = Some(Duration::from_secs(u64::from(secs))),
            Property::WillDelaySecs(secs) => *will_delay = Duration::from_secs(u64::from(secs)),
            // MQTT-3.3.4-6; the codec also serves clients, to which it may be sent.
            Property::SubscriptionIdentifier(_) => {
                return Err(Violation::protocol("a client sent a subscription identifier"));
            }
            Property::PayloadFormat(format) => {
                Arc::make_mut(properties.get_or_insert_default()).payload_format = Some(format);
            }
            Property::ContentType(text) => {
                Arc::make_mut(properties.get_or_insert_default()).content_type = Some(text.into());
            }
            Property::ResponseTopic(text) => {
                // MQTT-3.3.2-14: it must not hold wildcards.
                let response = topic(text.as_bytes())
                    .map_err(|_| Violation::protocol("response topic is not a topic"))?;
                Arc::make_mut(properties.get_or_insert_default()).response_topic = Some(response);
            }
            Property::CorrelationData(data) => {
                Arc::make_mut(properties.get_or_insert_default()).correlation_data =
                    Some(Bytes::copy_from_slice(data));
            }
            Property::User(key, value) => {
                Arc::make_mut(properties.get_or_insert_default())
                    .user_properties
                    .push((key.into(), value.into()));
            }
            _ => {}
        }
    }
    Ok(translated)
}

/// Whether a payload is what its format indicator says (MQTT 5.0 section 3.3.2.3.2).
pub(crate) fn check_payload(properties: Option<&Properties>, payload: &[u8]) -> Result<(), Reason> {
    let is_text = properties.is_some_and(|p| p.payload_format == Some(PayloadFormat::Utf8));
    if is_text && std::str::from_utf8(payload).is_err() {
        return Err(Reason::PayloadFormatInvalid);
    }
    Ok(())
}

/// The properties of an outgoing PUBLISH: first counted, then written.
pub(crate) struct OutgoingProperties<'a> {
    properties: Option<&'a Properties>,
    /// As the receiver sees it.
    response_topic: Option<&'a str>,
    identifiers: &'a [u32],
    expiry_secs: Option<u32>,
    alias: Option<u16>,
    len: usize,
}

impl<'a> OutgoingProperties<'a> {
    /// `None` if there are none, as is common.
    #[inline]
    pub(crate) fn of(outgoing: &'a Outgoing, now: Instant) -> Option<Self> {
        let message = &*outgoing.message;
        let is_plain = message.properties.is_none()
            && message.expires_at.is_none()
            && matches!(outgoing.identifiers, Identifiers::None);
        if is_plain { None } else { Some(Self::new(outgoing, now)) }
    }

    pub(crate) fn new(outgoing: &'a Outgoing, now: Instant) -> Self {
        let message: &Message = &outgoing.message;
        let identifiers = outgoing.identifiers.as_slice();
        // MQTT-3.3.2-6: what is left of it, not what it was published with.
        let expiry_secs = message.expiry_secs_left(now);
        let properties = message.properties.as_deref();
        let response_topic = properties.and_then(|_| outgoing.response_topic());
        let len = identifiers.iter().map(|id| 1 + variable_len(*id as usize)).sum::<usize>()
            + expiry_secs.map_or(0, |_| 5)
            + properties.map_or(0, |properties| properties_len(properties, response_topic));
        Self { properties, response_topic, identifiers, expiry_secs, alias: None, len }
    }

    /// Adds a Topic Alias, or takes it away.
    pub(crate) fn set_alias(&mut self, alias: Option<u16>) {
        let len = |alias: Option<u16>| alias.map_or(0, |alias| Property::TopicAlias(alias).wire_len());
        self.len = self.len - len(self.alias) + len(alias);
        self.alias = alias;
    }

    /// Bytes on the wire, with the length field.
    #[inline]
    pub(crate) fn wire_len(&self) -> usize {
        variable_len(self.len) + self.len
    }

    #[inline]
    pub(crate) fn encode(&self, into: &mut Vec<u8>) {
        codec::put_variable(into, self.len);
        if self.len == 0 {
            return;
        }
        if let Some(alias) = self.alias {
            Property::TopicAlias(alias).write(into);
        }
        if let Some(properties) = self.properties {
            each(properties, self.response_topic, |property| property.write(into));
        }
        if let Some(secs) = self.expiry_secs {
            Property::MessageExpirySecs(secs).write(into);
        }
        for identifier in self.identifiers {
            Property::SubscriptionIdentifier(*identifier).write(into);
        }
    }
}

fn properties_len(properties: &Properties, response_topic: Option<&str>) -> usize {
    let mut len = 0;
    each(properties, response_topic, |property| len += property.wire_len());
    len
}

/// The properties that travel with a message, in the order they are written.
fn each(properties: &Properties, response_topic: Option<&str>, mut visit: impl FnMut(Property<'_>)) {
    if let Some(format) = properties.payload_format {
        visit(Property::PayloadFormat(format));
    }
    if let Some(content_type) = &properties.content_type {
        visit(Property::ContentType(content_type));
    }
    if let Some(topic) = response_topic {
        visit(Property::ResponseTopic(topic));
    }
    if let Some(data) = &properties.correlation_data {
        visit(Property::CorrelationData(data));
    }
    for (key, value) in &properties.user_properties {
        visit(Property::User(key, value));
    }
}
