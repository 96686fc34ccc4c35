use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::path::Path;

/// What a listener offers its LwM2M devices, and how their data appear on topics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The first level(s) of all topics: `{topic_prefix}/{endpoint}/...`.
    pub topic_prefix: String,
    /// Stands before the endpoint name in the session's name, so that a device and an MQTT client
    /// do not take each other's session by accident.
    pub client_id_prefix: String,
    /// The shortest lifetime kept, in seconds: a device that asks for less is kept this long.
    pub lifetime_secs_min: u32,
    /// The longest lifetime granted, in seconds; a device that asks for more gets 4.00, one that
    /// asks for 0 (for ever) gets this.
    pub lifetime_secs_max: u32,
    /// The lifetime of a device that does not name one, in seconds (OMA LwM2M Core 1.1 section 6.2.1).
    pub lifetime_secs_default: u32,
    /// How long a device in queue mode listens after it was last heard, in seconds. 93 is
    /// MAX_TRANSMIT_WAIT (OMA LwM2M Core 1.1 section 6.5).
    pub awake_secs: u32,
    /// How long a device may take to answer a command once it was sent, in seconds. Commands that
    /// wait in the queue end by their own message expiry.
    pub command_timeout_secs: u32,
    /// How resource values are spelled on their topics.
    pub payload_mode: PayloadMode,
    /// Paths that are observed after each registration, if the device has them: `["/3/0/9"]`.
    pub auto_observe: Vec<String>,
    /// The largest body put together from blocks, in bytes: registrations, sends, read values.
    pub body_bytes_max: usize,
    /// How many links a registration may list.
    pub links_max: usize,
    /// How many observations a device may have at a time.
    pub observations_max: usize,
    /// The size of the blocks that long writes are cut into, in bytes: 16, 32, ... 1024.
    pub block_bytes: usize,
    /// Whether a device may update or end its registration from another IP address. Another port of
    /// the same address is always allowed. Without security a stranger who has seen or guessed a
    /// location could otherwise take the device's commands.
    pub update_from_other_address: bool,
}

/// How a value is spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayloadMode {
    /// Bare: `60`, `true`, text, base64 for opaque.
    Value,
    /// `{"v":93,"n":"Battery Level","type":"integer","src":"notify"}`.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            topic_prefix: "lwm2m".into(),
            client_id_prefix: "lwm2m/".into(),
            lifetime_secs_min: 15,
            lifetime_secs_max: 30 * 86_400,
            lifetime_secs_default: 86_400,
            awake_secs: 93,
            command_timeout_secs: 93,
            payload_mode: PayloadMode::Value,
            auto_observe: Vec::new(),
            body_bytes_max: 64 * 1024,
            links_max: 512,
            observations_max: 64,
            block_bytes: 1024,
            update_from_other_address: false,
        }
    }
}

/// A setting that cannot be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("topic_prefix {0:?} holds +, # or U+0000, or is empty")]
    TopicPrefix(String),
    #[error("client_id_prefix {0:?} holds U+0000 or begins with $")]
    ClientIdPrefix(String),
    #[error("lifetime_secs_min {min} is above lifetime_secs_max {max}")]
    Lifetimes { min: u32, max: u32 },
    #[error("auto_observe {0:?} is not a path like /3/0/9")]
    AutoObserve(String),
}

impl ConfigError {
    /// The key that is wrong, within the section.
    pub fn key(&self) -> &'static str {
        match self {
            Self::TopicPrefix(_) => "topic_prefix",
            Self::ClientIdPrefix(_) => "client_id_prefix",
            Self::Lifetimes { .. } => "lifetime_secs_min",
            Self::AutoObserve(_) => "auto_observe",
        }
    }
}

impl Config {
    /// # Errors
    /// The first setting that cannot be served.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.topic_prefix.is_empty() || self.topic_prefix.contains(['+', '#', '\0']) {
            return Err(ConfigError::TopicPrefix(self.topic_prefix.clone()));
        }
        if self.client_id_prefix.contains('\0') || self.client_id_prefix.starts_with('$') {
            return Err(ConfigError::ClientIdPrefix(self.client_id_prefix.clone()));
        }
        if self.lifetime_secs_min > self.lifetime_secs_max {
            return Err(ConfigError::Lifetimes { min: self.lifetime_secs_min, max: self.lifetime_secs_max });
        }
        let is_path = |text: &&String| Path::parse(text).is_ok_and(|path| path.depth() > 0);
        match self.auto_observe.iter().find(|text| !is_path(text)) {
            Some(bad) => Err(ConfigError::AutoObserve(bad.clone())),
            None => Ok(()),
        }
    }

    pub(crate) fn awake(&self) -> Duration {
        Duration::from_secs(self.awake_secs.into())
    }

    /// What cannot be parsed was refused by [`Config::check`].
    pub(crate) fn auto_observed(&self) -> impl Iterator<Item = Path> + '_ {
        self.auto_observe.iter().filter_map(|text| Path::parse(text).ok()).filter(|path| path.depth() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_settings_are_named() {
        assert_eq!(Config::default().check(), Ok(()));
        let config = Config { topic_prefix: "a/#".into(), ..Config::default() };
        assert_eq!(config.check(), Err(ConfigError::TopicPrefix("a/#".into())));
        let config = Config { lifetime_secs_min: 2, lifetime_secs_max: 1, ..Config::default() };
        assert_eq!(config.check(), Err(ConfigError::Lifetimes { min: 2, max: 1 }));
        let config = Config { auto_observe: vec!["/3/x".into()], ..Config::default() };
        assert_eq!(config.check(), Err(ConfigError::AutoObserve("/3/x".into())));
    }
}
