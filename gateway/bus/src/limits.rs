use std::time::Duration;

use gateway_model::TopicFilter;

use crate::PriorityDefault;

/// Every limit of the engine. What is over a limit is refused or dropped with a counted reason.
#[derive(Clone, Debug)]
pub struct Limits {
    pub queue: QueueLimits,
    /// Bytes of what waits for all sessions together, in memory or on the disk. Once they are reached
    /// a queue longer than 64 KiB does not grow: it drops as if it were full.
    pub queues_bytes_max: u64,
    /// Deliveries above QoS 0 that may be unsettled per session; the client's own receive maximum
    /// lowers it.
    pub in_flight_max: u16,
    /// Subscriptions per session; one more is refused with `QuotaExceeded`.
    pub subscriptions_max: usize,
    /// A session may outlive its connection at most this long; longer wishes are cut.
    pub session_expiry_max: Option<Duration>,
    /// Sessions, connected or not; one more is refused with `QuotaExceeded`.
    pub sessions_max: usize,
    /// Retained messages; one more is refused with `QuotaExceeded`.
    pub retained_messages_max: usize,
    /// Bytes of all retained messages; what goes over it is refused with `QuotaExceeded`.
    pub retained_bytes_max: usize,
    /// Bytes of one retained payload; a larger one is refused with `QuotaExceeded`.
    pub retained_payload_bytes_max: usize,
    /// How long a retained message is kept at most, from its publishing; it may ask for less.
    pub retained_expiry_max: Option<Duration>,
    /// How long the store may not know of a retained message that was published at QoS 0; only the last
    /// of a topic is written then. `None`: they are never stored.
    pub retained_qos0_write: Option<Duration>,
    /// Publishes held back by `$delayed/`; one more is refused with `QuotaExceeded`.
    pub delayed_messages_max: usize,
    /// Bytes of those; what goes over it is refused with `QuotaExceeded`.
    pub delayed_bytes_max: usize,
    /// Topics with a place in queues of their own, 1 to 255; the highest of all matching filters
    /// counts. Nothing else has a priority if it is empty.
    pub queue_priorities: Vec<(TopicFilter, u8)>,
    pub queue_priority_default: PriorityDefault,
    /// To which member of a group a message goes.
    pub sharing: Sharing,
    /// A member of a group that took nothing for so long, though messages waited, is passed over,
    /// and what waits goes to others.
    pub sharing_stall: Option<Duration>,
    /// What a member of a group did not acknowledge for so long goes to another.
    pub sharing_ack: Option<Duration>,
    /// Topics a publisher thread remembers the route of.
    pub route_cache_topics_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue: QueueLimits::default(),
            queues_bytes_max: u64::MAX,
            in_flight_max: 256,
            subscriptions_max: 100_000,
            session_expiry_max: None,
            sessions_max: 1_000_000,
            retained_messages_max: 1_000_000,
            retained_bytes_max: 256 * 1024 * 1024,
            retained_payload_bytes_max: 1024 * 1024,
            retained_expiry_max: None,
            retained_qos0_write: Some(Duration::from_secs(10)),
            delayed_messages_max: 10_000,
            delayed_bytes_max: 64 * 1024 * 1024,
            queue_priorities: Vec::new(),
            queue_priority_default: PriorityDefault::Lowest,
            sharing: Sharing::RoundRobin,
            sharing_stall: Some(Duration::from_secs(1)),
            sharing_ack: Some(Duration::from_secs(30)),
            route_cache_topics_max: 16 * 1024,
        }
    }
}

/// The limits of one session's queue (the seed's mqueue).
#[derive(Clone, Copy, Debug)]
pub struct QueueLimits {
    pub messages_max: u32,
    pub bytes_max: u32,
    pub drop: DropPolicy,
    /// Keep QoS 0 messages for a session that is away.
    pub store_qos0: bool,
    /// Deliver with the subscription's QoS even where the message was published with a lower one.
    /// Bridges do, so that every message is acknowledged by their sink.
    pub upgrade_qos: bool,
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self {
            messages_max: 10_000,
            bytes_max: 16 * 1024 * 1024,
            drop: DropPolicy::Oldest,
            store_qos0: false,
            upgrade_qos: false,
        }
    }
}

/// Which message of the lowest priority goes when a queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropPolicy {
    Oldest,
    Newest,
}

/// To which member of a group a message goes, if several can take it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// One after the other.
    #[default]
    RoundRobin,
    /// Any, by the seed.
    Random,
    /// Always the same one.
    Sticky,
    /// The one with the fewest messages queued and in flight; in turn among equals.
    LeastInFlight,
    /// By the name of the publisher.
    HashClient,
    HashTopic,
}
