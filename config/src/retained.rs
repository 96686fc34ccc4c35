use serde::{Deserialize, Serialize};

use crate::limits::zero_is_unlimited;

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
    /// A retained message that was published at QoS 0 is stored after so many seconds, if no newer one has
    /// taken its place; `u32::MAX` is never.
    #[serde(deserialize_with = "zero_is_unlimited")]
    pub qos0_write_secs: u32,
}

impl Default for Retained {
    fn default() -> Self {
        Self {
            messages_max: 1_000_000,
            bytes_max: 256 * 1024 * 1024,
            payload_bytes_max: 1024 * 1024,
            expiry_secs_max: u32::MAX,
            qos0_write_secs: 10,
        }
    }
}
