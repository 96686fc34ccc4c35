//! Limits. Where the file may say 0 for "unlimited", the field holds the largest number there is,
//! so that whoever compares need not know.

use serde::{Deserialize, Deserializer, Serialize, de};

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
