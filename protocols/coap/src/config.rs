use std::time::Duration;

use gateway_model::Qos;
use serde::Deserialize;

use crate::block::{UploadLimits, szx_for};
use crate::exchange::{EXCHANGE_LIFETIME, Transmission};

/// How CoAP peers are served.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Whether `PUT` stores the payload as the topic's retained message unless the request says
    /// `?retain=`. `POST` never does by itself.
    pub put_retain: bool,
    /// The highest QoS an observation is delivered with unless its request says `?qos=`; 0 to 2.
    pub subscribe_qos: u8,
    /// How notifications are sent.
    pub notify_type: NotifyType,
    /// What waits while a notification is unacknowledged.
    pub observe_queue: ObserveQueue,
    /// Notifications that may wait per observation, in messages; the oldest makes way.
    pub observe_waiting_max: usize,
    /// Observations per peer. Beyond it, a `GET` is answered without the Observe option.
    pub observations_max: usize,
    /// The largest block sent or asked for, in bytes: 16 to 1024, rounded down to a power of two.
    pub block_size: usize,
    /// The largest request body, in bytes.
    pub body_bytes_max: usize,
    /// Block-wise request bodies under way per peer.
    pub uploads_max: usize,
    /// Requests per peer that may wait for the gateway's answer; beyond it, 5.03.
    pub pending_max: usize,
    /// A peer without observations is forgotten after this long without a request, in seconds.
    /// Above 247 (EXCHANGE_LIFETIME) late duplicates are still recognised.
    pub idle_secs: u64,
    /// ACK_TIMEOUT in milliseconds (RFC 7252 section 4.8).
    pub ack_timeout_millis: u64,
    /// MAX_RETRANSMIT (RFC 7252 section 4.8).
    pub max_retransmit: u8,
    /// NSTART: unacknowledged messages per peer (RFC 7252 section 4.8).
    pub nstart: usize,
    /// Messages per peer remembered to recognise duplicates.
    pub duplicates_max: usize,
    /// Bytes of replies per peer kept to answer duplicates.
    pub duplicates_bytes_max: usize,
    /// Retained topics listed in `/.well-known/core` and `/ps`.
    pub discovery_topics_max: usize,
}

/// How notifications are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NotifyType {
    /// QoS 0 Non-confirmable, QoS 1 and 2 Confirmable.
    #[default]
    Qos,
    /// All Confirmable.
    Con,
    /// All Non-confirmable, except one a day (RFC 7641 section 4.5).
    Non,
}

/// What waits while a Confirmable notification is unacknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObserveQueue {
    /// Only the latest state of each topic (RFC 7641 section 4.5.2).
    #[default]
    Latest,
    /// Every message, in order; above QoS 0 they wait in the session's outbox.
    All,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            put_retain: true,
            subscribe_qos: 1,
            notify_type: NotifyType::Qos,
            observe_queue: ObserveQueue::Latest,
            observe_waiting_max: 64,
            observations_max: 64,
            block_size: 1024,
            body_bytes_max: 1024 * 1024,
            uploads_max: 4,
            pending_max: 256,
            idle_secs: 300,
            ack_timeout_millis: 2000,
            max_retransmit: 4,
            nstart: 1,
            duplicates_max: 64,
            duplicates_bytes_max: 16 * 1024,
            discovery_topics_max: 256,
        }
    }
}

impl Config {
    pub(crate) fn subscribe_qos(&self) -> Qos {
        Qos::from_u8(self.subscribe_qos).unwrap_or(Qos::ExactlyOnce)
    }

    pub(crate) fn szx(&self) -> u8 {
        szx_for(self.block_size)
    }

    pub(crate) fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_secs)
    }

    /// How long a request may wait for the gateway before it is acknowledged on its own: well
    /// before the peer would retransmit.
    pub(crate) fn separate_after(&self) -> Duration {
        Duration::from_millis(self.ack_timeout_millis / 4)
    }

    pub(crate) fn transmission(&self) -> Transmission {
        Transmission {
            ack_timeout: Duration::from_millis(self.ack_timeout_millis.max(1)),
            max_retransmit: self.max_retransmit.min(20),
            nstart: self.nstart,
            recent_max: self.duplicates_max,
            recent_bytes_max: self.duplicates_bytes_max,
            ..Transmission::default()
        }
    }

    pub(crate) fn upload_limits(&self) -> UploadLimits {
        UploadLimits {
            bytes_max: self.body_bytes_max,
            count_max: self.uploads_max,
            lifetime: EXCHANGE_LIFETIME,
            szx_max: self.szx(),
        }
    }
}
