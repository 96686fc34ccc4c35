//! Limits of the gateway. Where the file may say 0 for "unlimited", the field holds the largest
//! number there is, so that whoever compares need not know.

use std::collections::BTreeMap;

use gateway_model::TopicFilter;
use serde::{Deserialize, Deserializer, Serialize, de};

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

/// `[shared]`: shared subscriptions.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shared {
    /// To which member of a group a message goes.
    pub strategy: Strategy,
    /// Seconds after which a member that takes nothing is passed over; `u32::MAX` is never.
    #[serde(deserialize_with = "zero_is_unlimited")]
    pub stall_secs: u32,
    /// Seconds after which what a member did not acknowledge goes to another; `u32::MAX` is never.
    #[serde(deserialize_with = "zero_is_unlimited")]
    pub ack_secs: u32,
}

impl Default for Shared {
    fn default() -> Self {
        Self { strategy: Strategy::RoundRobin, stall_secs: 1, ack_secs: 30 }
    }
}

/// To which member of a group a message goes, if several can take it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// One after the other.
    #[default]
    RoundRobin,
    Random,
    /// The same one until it goes.
    Sticky,
    /// The one with the fewest messages queued and in flight.
    LeastInFlight,
    /// By the name of the publisher.
    HashClient,
    HashTopic,
}

/// `[delayed]`: publishes that wait for their time, `$delayed/{seconds}/{topic}`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Delayed {
    #[serde(deserialize_with = "zero_is_unlimited")]
    pub messages_max: u32,
    /// Bytes of those messages.
    #[serde(deserialize_with = "zero_is_unlimited")]
    pub bytes_max: u64,
}

impl Default for Delayed {
    fn default() -> Self {
        Self { messages_max: 10_000, bytes_max: 64 * 1024 * 1024 }
    }
}

/// `[retained]`: the last message of each topic.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retained {
    /// Topics with a retained message.
    #[serde(deserialize_with = "zero_is_unlimited")]
    pub messages_max: u32,
    /// Bytes of all retained messages.
    #[serde(deserialize_with = "zero_is_unlimited")]
    pub bytes_max: u64,
    /// Bytes of one retained payload.
    #[serde(deserialize_with = "zero_is_unlimited")]
    pub payload_bytes_max: u32,
    /// Seconds a retained message is kept at most; `u32::MAX` is for ever.
    #[serde(deserialize_with = "zero_is_unlimited")]
    pub expiry_secs_max: u32,
}

impl Default for Retained {
    fn default() -> Self {
        Self {
            messages_max: 1_000_000,
            bytes_max: 256 * 1024 * 1024,
            payload_bytes_max: 1024 * 1024,
            expiry_secs_max: u32::MAX,
        }
    }
}

/// `[limits]`: what clients may ask for.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Levels (`a/b/c` has three) of a topic or filter.
    #[serde(deserialize_with = "zero_is_unlimited")]
    pub topic_levels_max: u16,
    /// Bytes of a topic or filter, 1 to 65535.
    #[serde(deserialize_with = "at_least_one")]
    pub topic_bytes_max: u16,
    /// Filters of one session.
    #[serde(deserialize_with = "zero_is_unlimited")]
    pub subscriptions_max: u32,
    /// Bytes of a client identifier, 1 to 65535.
    #[serde(deserialize_with = "at_least_one")]
    pub client_id_bytes_max: u16,
    /// Sessions, connected or not.
    #[serde(deserialize_with = "zero_is_unlimited")]
    pub sessions_max: u32,
    /// Logins whose password is being checked; one more is refused as busy.
    #[serde(deserialize_with = "zero_is_unlimited")]
    pub logins_pending_max: u32,
    /// Publishes per second of one client.
    #[serde(deserialize_with = "zero_is_unlimited")]
    pub message_rate_max: u32,
    /// Bytes per second of one client.
    #[serde(deserialize_with = "zero_is_unlimited")]
    pub byte_rate_max: u32,
    /// Seconds that a client's socket may take nothing while bytes wait for it; `u32::MAX` is for ever.
    #[serde(deserialize_with = "zero_is_unlimited")]
    pub write_stall_secs: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            topic_levels_max: 128,
            topic_bytes_max: u16::MAX,
            subscriptions_max: 100_000,
            client_id_bytes_max: 1024,
            sessions_max: 1_000_000,
            logins_pending_max: 1000,
            message_rate_max: u32::MAX,
            byte_rate_max: u32::MAX,
            write_stall_secs: 60,
        }
    }
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

/// Reads a limit; 0 becomes the largest number of the type.
pub(crate) fn zero_is_unlimited<'de, D, N>(deserializer: D) -> Result<N, D::Error>
where
    D: Deserializer<'de>,
    N: Deserialize<'de> + Default + PartialEq + Largest,
{
    let limit = N::deserialize(deserializer)?;
    Ok(if limit == N::default() { N::LARGEST } else { limit })
}

pub(crate) trait Largest {
    const LARGEST: Self;
}

impl Largest for u16 {
    const LARGEST: Self = u16::MAX;
}

impl Largest for u32 {
    const LARGEST: Self = u32::MAX;
}

impl Largest for u64 {
    const LARGEST: Self = u64::MAX;
}

pub(crate) fn at_least_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    match u16::deserialize(deserializer)? {
        0 => Err(de::Error::custom("is not a whole number from 1 to 65535")),
        number => Ok(number),
    }
}
