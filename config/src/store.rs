use serde::{Deserialize, Deserializer, Serialize, de};

/// `[store]`: what comes through a restart or a crash, and what it may cost.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// When something counts as safe.
    pub durability: Durability,
    /// For `interval`: after so many milliseconds at most what was written is on the disk.
    #[serde(deserialize_with = "interval_millis")]
    pub interval_millis: u32,
    /// Bytes of one file of the log.
    #[serde(deserialize_with = "segment_bytes")]
    pub segment_bytes: u32,
    /// Bytes of all files of the log; 0 is 80 % of the file system.
    #[serde(deserialize_with = "bytes_max")]
    pub bytes_max: u64,
    /// Bytes that may wait for the disk before their publishers are not read any more.
    #[serde(deserialize_with = "pending_bytes_max")]
    pub pending_bytes_max: u32,
}

/// When something counts as safe, and its sender is told so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// It is on the disk: it survives a power loss.
    #[default]
    Sync,
    /// The system has it: it survives a crash of the gateway, and after a while a power loss.
    Interval,
    /// Never: everything is in memory.
    Memory,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            durability: Durability::Sync,
            interval_millis: 200,
            segment_bytes: 8 * 1024 * 1024,
            bytes_max: 0,
            pending_bytes_max: 8 * 1024 * 1024,
        }
    }
}

const SEGMENT_BYTES_MIN: u32 = 64 * 1024;

fn interval_millis<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    within(deserializer, 1, 60_000)
}

/// Below, a segment is hardly more than its header; above, places in it would not fit their number.
fn segment_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    within(deserializer, SEGMENT_BYTES_MIN, 1024 * 1024 * 1024)
}

/// Below four of the smallest segments there is no room to tidy up in, and the store is full for ever.
fn bytes_max<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    const MIN: u64 = 4 * SEGMENT_BYTES_MIN as u64;
    match u64::deserialize(deserializer)? {
        number if number == 0 || number >= MIN => Ok(number),
        _ => Err(de::Error::custom(format!("is neither 0 nor a whole number from {MIN} on"))),
    }
}

fn pending_bytes_max<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    within(deserializer, 64 * 1024, 1024 * 1024 * 1024)
}

fn within<'de, D: Deserializer<'de>>(deserializer: D, min: u32, max: u32) -> Result<u32, D::Error> {
    match u64::deserialize(deserializer)? {
        number if (u64::from(min)..=u64::from(max)).contains(&number) => Ok(number as u32),
        _ => Err(de::Error::custom(format!("is not a whole number from {min} to {max}"))),
    }
}
