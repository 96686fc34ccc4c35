use serde::{Deserialize, Serialize};

use crate::limits::zero_is_unlimited;

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
