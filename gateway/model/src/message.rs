use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{ClientId, Qos, Topic, UnixMillis};

/// What a client asks to have published. The broker makes a [`Message`] of it.
#[derive(Clone, Debug)]
pub struct Publish {
    pub topic: Topic,
    pub payload: Bytes,
    pub qos: Qos,
    /// Store it as the topic's retained message; an empty payload clears what is stored.
    pub retain: bool,
    /// How long it is worth delivering, from now.
    pub expiry: Option<Duration>,
    /// Most messages have none, and many share what they have.
    pub properties: Option<Arc<Properties>>,
}

impl Publish {
    /// A plain message: at most once, not retained, without properties.
    pub fn new(topic: Topic, payload: impl Into<Bytes>) -> Self {
        Self {
            topic,
            payload: payload.into(),
            qos: Qos::AtMostOnce,
            retain: false,
            expiry: None,
            properties: None,
        }
    }
}

/// A published message. Immutable and shared: a fan-out copies the reference, never the payload.
#[derive(Debug)]
pub struct Message {
    pub topic: Topic,
    pub payload: Bytes,
    pub properties: Option<Arc<Properties>>,
    /// Who published it. The gateway's own messages carry a name that begins with `$`.
    pub publisher: ClientId,
    /// Wall-clock time of acceptance, in milliseconds since 1970 (for bridges and people).
    pub accepted_unix_millis: UnixMillis,
    /// When it stops being worth delivering (MQTT 5.0 section 3.3.2.3.3).
    pub expires_at: Option<Instant>,
    pub qos: Qos,
    /// The retain flag as published.
    pub retain: bool,
    pub stored: Stored,
}

/// Where the store has a message, as the store's own number; 0 is nowhere. It changes when the store
/// tidies up.
#[derive(Debug, Default)]
pub struct Stored(AtomicU64);

impl Stored {
    pub fn at(place: u64) -> Self {
        Self(AtomicU64::new(place))
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub fn set(&self, place: u64) {
        self.0.store(place, Ordering::Relaxed);
    }
}

impl Message {
    /// What is left of its life, in whole seconds rounded up; `None` if it never expires.
    pub fn expiry_secs_left(&self, now: Instant) -> Option<u32> {
        let left = self.expires_at?.saturating_duration_since(now);
        Some(u32::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u32::MAX))
    }

    pub fn is_expired(&self, now: Instant) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// What the smallest message is accounted with.
    pub const SIZE_MIN: usize = size_of::<Message>() + 2 * size_of::<usize>();

    /// Bytes it is accounted with in limits: what it holds, not what the allocator rounds it to.
    pub fn size(&self) -> usize {
        Self::SIZE_MIN
            + self.topic.len()
            + self.payload.len()
            + self.properties.as_ref().map_or(0, |p| p.size())
    }
}

/// What may travel with a payload (the publish properties of MQTT 5.0 section 3.3.2.3, in terms
/// that other protocols share).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties {
    pub payload_format: Option<PayloadFormat>,
    /// A media type, e.g. `application/json`; CoAP's Content-Format is translated to and from it.
    pub content_type: Option<Box<str>>,
    pub response_topic: Option<Topic>,
    pub correlation_data: Option<Bytes>,
    /// In the order of arrival, duplicates kept (MQTT 5.0 section 3.3.2.3.7).
    pub user_properties: Vec<(Box<str>, Box<str>)>,
}

impl Properties {
    /// What an empty user property is accounted with.
    pub const USER_PROPERTY_SIZE_MIN: usize = 32;

    pub fn size(&self) -> usize {
        size_of::<Self>()
            + self.content_type.as_ref().map_or(0, |text| text.len())
            + self.response_topic.as_ref().map_or(0, |topic| topic.len())
            + self.correlation_data.as_ref().map_or(0, |data| data.len())
            + self.user_properties.iter().map(user_property_size).sum::<usize>()
    }
}

fn user_property_size((key, value): &(Box<str>, Box<str>)) -> usize {
    Properties::USER_PROPERTY_SIZE_MIN + key.len() + value.len()
}

/// MQTT 5.0 section 3.3.2.3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadFormat {
    Unspecified,
    Utf8,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Allocators have a fast way for small blocks: up to 120 bytes with glibc.
    #[test]
    fn a_message_is_a_small_allocation() {
        const { assert!(Message::SIZE_MIN <= 120) };
    }
}
