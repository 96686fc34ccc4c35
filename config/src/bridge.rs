use gateway_model::TopicFilter;
use serde::de::{self, DeserializeOwned};
use serde::{Deserialize, Deserializer};

use crate::limits::{at_least_one, zero_is_unlimited};
use crate::section::Section;
use crate::tree::Tree;
use crate::{Key, Problems, QueueDrop};

/// `[[bridge]]`: messages that are carried on to a sink. The keys that every kind has; those of
/// the kind are read with [`BridgeEntry::extract`].
#[derive(Clone)]
pub struct BridgeEntry {
    pub keys: BridgeKeys,
    key: Key,
    tree: Tree,
}

/// What every bridge has, whatever its kind.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BridgeKeys {
    /// Names its session and its metrics: letters, digits, `-` and `_`.
    pub name: String,
    /// A name from the catalog of bridges.
    pub kind: String,
    /// What it carries; at least one filter.
    #[serde(deserialize_with = "filters")]
    pub topics: Vec<TopicFilter>,
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Messages that wait while the sink is away; unlimited is `u32::MAX`, 0 in the file.
    #[serde(default = "queue_messages_max", deserialize_with = "zero_is_unlimited")]
    pub queue_messages_max: u32,
    /// Bytes of those messages; unlimited is `u32::MAX`, 0 in the file.
    #[serde(default = "queue_bytes_max", deserialize_with = "zero_is_unlimited")]
    pub queue_bytes_max: u32,
    /// Which message goes when the queue is full.
    #[serde(default)]
    pub queue_drop: QueueDrop,
    /// Whether QoS 0 messages wait while the sink is away.
    #[serde(default = "yes")]
    pub queue_qos0: bool,
    /// Messages handed to the sink and not yet confirmed, at most; 1 to 65535.
    #[serde(default = "in_flight_max", deserialize_with = "at_least_one")]
    pub in_flight_max: u16,
}

impl BridgeKeys {
    /// The names of these keys. A kind that has a key of the same name reads it too.
    pub const NAMES: &'static [&'static str] = &[
        "name",
        "kind",
        "topics",
        "enabled",
        "queue_messages_max",
        "queue_bytes_max",
        "queue_drop",
        "queue_qos0",
        "in_flight_max",
    ];

    /// The names that a kind with these fields leaves to us.
    pub(crate) fn names_beside(fields: &[&str]) -> Vec<&'static str> {
        Self::NAMES.iter().filter(|name| !fields.contains(name)).copied().collect()
    }
}

impl BridgeEntry {
    pub(crate) fn new(keys: BridgeKeys, key: Key, tree: Tree) -> Self {
        Self { keys, key, tree }
    }

    /// The keys that only this kind has, as the kind's own type.
    pub fn extract<T: DeserializeOwned>(&self) -> Result<T, Problems> {
        let mut problems = Problems::default();
        let ours = BridgeKeys::names_beside(crate::fields::<T>());
        let section = Section::at(&self.tree, self.key.clone()).without(ours);
        section.read(&mut problems).ok_or(problems)
    }
}

impl std::ops::Deref for BridgeEntry {
    type Target = BridgeKeys;
    fn deref(&self) -> &BridgeKeys {
        &self.keys
    }
}

impl std::fmt::Debug for BridgeEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.keys.fmt(f)
    }
}

fn filters<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TopicFilter>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    if texts.is_empty() {
        return Err(de::Error::custom("name at least one topic filter, such as \"plant/#\""));
    }
    let parse = |text: &String| {
        TopicFilter::parse(text).map_err(|error| de::Error::custom(format!("{text:?}: {error}")))
    };
    texts.iter().map(parse).collect()
}

fn yes() -> bool {
    true
}

fn queue_messages_max() -> u32 {
    100_000
}

fn queue_bytes_max() -> u32 {
    64 * 1024 * 1024
}

fn in_flight_max() -> u16 {
    1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_the_fields() {
        assert_eq!(crate::fields::<BridgeKeys>(), BridgeKeys::NAMES);
    }
}
