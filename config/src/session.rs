use std::collections::BTreeMap;

use gateway_model::TopicFilter;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::limits::{at_least_one, zero_is_unlimited};

/// `[session]`: what one session may hold, and for how long.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Session {
    /// Messages that wait for an absent or slow client.
    #[serde(deserialize_with = "zero_is_unlimited")]
    pub queue_messages_max: u32,
    /// Bytes of those messages.
    #[serde(deserialize_with = "zero_is_unlimited")]
    pub queue_bytes_max: u32,
    /// Bytes of what waits for all sessions together.
    #[serde(deserialize_with = "zero_is_unlimited")]
    pub queues_bytes_max: u64,
    /// Which message goes when the queue is full.
    pub queue_drop: QueueDrop,
    /// Whether QoS 0 messages wait for an absent client.
    pub queue_qos0: bool,
    /// Topic filters and the priorities of their topics in queues, 1 to 255.
    #[serde(deserialize_with = "priorities")]
    pub queue_priorities: BTreeMap<String, u8>,
    /// Where all other topics stand, if there are priorities.
    pub queue_priority_default: PriorityDefault,
    /// Deliveries above QoS 0 that may be unacknowledged at a time; 1 to 65535. A client may ask for fewer.
    #[serde(deserialize_with = "at_least_one")]
    pub in_flight_max: u16,
    /// Seconds a session outlives its connection, at most; `u32::MAX` is for ever. A client may ask
    /// for less.
    #[serde(deserialize_with = "zero_is_unlimited")]
    pub expiry_secs_max: u32,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            queue_messages_max: 10_000,
            queue_bytes_max: 16 * 1024 * 1024,
            queues_bytes_max: u64::MAX,
            queue_drop: QueueDrop::Oldest,
            queue_qos0: false,
            queue_priorities: BTreeMap::new(),
            queue_priority_default: PriorityDefault::Lowest,
            in_flight_max: 256,
            expiry_secs_max: 7 * 24 * 60 * 60,
        }
    }
}

/// Which message goes when a queue is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueDrop {
    /// The one that has waited longest: for state, where the newest value counts.
    #[default]
    Oldest,
    /// The one that comes in: for events, where the beginning counts.
    Newest,
}

/// Where topics without a priority of their own stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum PriorityDefault {
    /// Behind those that have one.
    #[default]
    Lowest,
    /// With those of priority 255.
    Highest,
}

fn priorities<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, u8>, D::Error> {
    let table = BTreeMap::<String, i64>::deserialize(deserializer)?;
    let read = |(text, priority): (String, i64)| {
        let fail = |why: &str| Err(de::Error::custom(format!("{text:?}: {why}")));
        match (TopicFilter::parse(&text), u8::try_from(priority)) {
            (Err(error), _) => fail(&error.to_string()),
            (Ok(filter), _) if filter.path() != text => fail("is not a plain topic filter"),
            (_, Err(_) | Ok(0)) => fail("a priority is a whole number from 1 to 255"),
            (_, Ok(priority)) => Ok((text, priority)),
        }
    };
    table.into_iter().map(read).collect()
}
