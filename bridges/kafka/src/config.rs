use std::collections::BTreeMap;

use bridge_template::Template;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use serde::Deserialize;

/// A `[[bridge]]` of kind `kafka`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Bootstrap servers, each `host:port`.
    pub servers: Vec<String>,
    /// The Kafka topic. What a message fills in is made a legal name: `/` becomes `.`, any other
    /// illegal character `_`. An empty name, or one of Kafka's own (`__...`), is poison.
    pub topic: Template,
    /// The record's key, which decides its partition. Records of one key keep their order. The
    /// default is the message's topic: that is the order which a subscriber sees, compaction then
    /// keeps the last value of a topic, and it holds for CoAP devices whose client identifiers
    /// change. An empty key spreads records over partitions without order.
    pub key: Template,
    /// Further headers: name and template.
    pub headers: BTreeMap<String, Template>,
    /// Add the headers `mqtt-topic`, `mqtt-clientid`, `mqtt-qos`, `mqtt-retain`, `content-type`, and
    /// `user.NAME` for each user property.
    pub mqtt_headers: bool,
    /// Whose acknowledgement makes a record delivered.
    pub acks: Acks,
    /// Let Kafka recognise records that are sent again. Needs `acks = "all"`.
    pub idempotence: bool,
    pub compression: Compression,
    /// How long a record waits for company in its batch, in milliseconds.
    pub linger_millis: u32,
    /// Largest batch of one partition, in bytes.
    pub batch_bytes_max: u32,
    /// Largest record, in bytes; anything larger is poison. Kafka's own limit is `max.message.bytes`.
    pub message_bytes_max: u32,
    /// Messages handed to the client library and not yet acknowledged. The bridge's session reads
    /// the same key; the lower of both defaults is what holds.
    pub in_flight_max: u32,
    pub security_protocol: SecurityProtocol,
    pub sasl: Option<Sasl>,
    /// Anything else that librdkafka understands, by its own names.
    pub properties: BTreeMap<String, PropertyValue>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Acks {
    /// All in-sync replicas.
    All,
    Leader,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecurityProtocol {
    Plaintext,
    Ssl,
    SaslPlaintext,
    SaslSsl,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sasl {
    pub mechanism: Mechanism,
    pub username: String,
    pub password: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum Mechanism {
    #[serde(rename = "plain")]
    Plain,
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

/// librdkafka takes text for everything; a configuration file need not quote numbers.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub enum PropertyValue {
    Flag(bool),
    Number(i64),
    Text(String),
}

/// Why a bridge cannot be started with this configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("servers is empty: name at least one \"host:port\"")]
    NoServers,
    #[error("topic is empty")]
    NoTopic,
    #[error("{0} must be at least 1")]
    Zero(&'static str),
    #[error("idempotence needs acks = \"all\"; set idempotence = false to run with less")]
    IdempotenceNeedsAcksAll,
    #[error("security_protocol \"{0}\" needs a [sasl] table, and no other protocol may have one")]
    SaslMismatch(&'static str),
    #[error("{key} \"{value}\" needs a gateway built with the cargo feature bridge-kafka/tls")]
    NeedsTls { key: &'static str, value: &'static str },
    #[error("properties: \"{key}\" belongs to the bridge: {instead}")]
    OwnedProperty { key: String, instead: &'static str },
    /// librdkafka's own words.
    #[error("properties: \"{key}\" = \"{value}\": {reason}")]
    Property { key: String, value: String, reason: String },
    #[error("librdkafka: {0}")]
    Client(String),
    #[error("cannot start the bridge's thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Properties that the bridge sets itself, and what to do instead of setting them.
const OWNED: [(&str, &str); 20] = [
    ("bootstrap.servers", "use servers"),
    ("metadata.broker.list", "use servers"),
    ("acks", "use acks"),
    ("request.required.acks", "use acks"),
    ("enable.idempotence", "use idempotence"),
    ("message.timeout.ms", "it never gives up"),
    ("delivery.timeout.ms", "it never gives up"),
    ("retries", "it never gives up"),
    ("message.send.max.retries", "it never gives up"),
    ("transactional.id", "it does not use transactions"),
    ("compression.type", "use compression"),
    ("compression.codec", "use compression"),
    ("linger.ms", "use linger_millis"),
    ("queue.buffering.max.ms", "use linger_millis"),
    ("batch.size", "use batch_bytes_max"),
    ("message.max.bytes", "use message_bytes_max"),
    ("queue.buffering.max.messages", "use in_flight_max"),
    ("security.protocol", "use security_protocol"),
    ("sasl.mechanism", "use sasl"),
    ("sasl.mechanisms", "use sasl"),
];

/// Bytes that librdkafka may hold, whatever `in_flight_max` allows, in KiB. `properties` may say
/// otherwise (`queue.buffering.max.kbytes`).
const BUFFER_KIB_MIN: u32 = 32 * 1024;

impl Default for Config {
    fn default() -> Self {
        let literal = |text: &str| text.parse::<Template>().expect("a constant template");
        Self {
            servers: Vec::new(),
            topic: literal(""),
            key: literal("${topic}"),
            headers: BTreeMap::new(),
            mqtt_headers: true,
            acks: Acks::All,
            idempotence: true,
            // The gateway's own CPU is the scarcer good; `lz4` where the network is.
            compression: Compression::None,
            linger_millis: 5,
            batch_bytes_max: 1_000_000,
            message_bytes_max: 1_000_000,
            in_flight_max: 10_000,
            security_protocol: SecurityProtocol::Plaintext,
            sasl: None,
            properties: BTreeMap::new(),
        }
    }
}

impl Config {
    /// What can be said without librdkafka.
    ///
    /// # Errors
    /// The first setting that cannot be served.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.servers.iter().all(|server| server.trim().is_empty()) {
            return Err(ConfigError::NoServers);
        }
        if self.topic.as_literal().is_some_and(str::is_empty) {
            return Err(ConfigError::NoTopic);
        }
        let positive = [("in_flight_max", self.in_flight_max), ("message_bytes_max", self.message_bytes_max)];
        if let Some((name, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError::Zero(name));
        }
        if self.idempotence && self.acks != Acks::All {
            return Err(ConfigError::IdempotenceNeedsAcksAll);
        }
        let protocol = self.security_protocol;
        let sasl = matches!(protocol, SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl);
        if sasl != self.sasl.is_some() {
            return Err(ConfigError::SaslMismatch(protocol.as_str()));
        }
        if !cfg!(feature = "tls") {
            if matches!(protocol, SecurityProtocol::Ssl | SecurityProtocol::SaslSsl) {
                return Err(ConfigError::NeedsTls { key: "security_protocol", value: protocol.as_str() });
            }
            if let Some(sasl) = self.sasl.as_ref().filter(|sasl| sasl.mechanism != Mechanism::Plain) {
                let value = sasl.mechanism.as_str();
                return Err(ConfigError::NeedsTls { key: "sasl.mechanism", value });
            }
        }
        for (key, instead) in OWNED {
            if self.properties.contains_key(key) {
                return Err(ConfigError::OwnedProperty { key: key.into(), instead });
            }
        }
        Ok(())
    }

    /// The same in librdkafka's words.
    pub(crate) fn to_client_config(&self, name: &str) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", self.servers.join(","))
            .set("client.id", format!("tidegate-{name}"))
            .set("acks", self.acks.as_str())
            .set("enable.idempotence", if self.idempotence { "true" } else { "false" })
            // 0 is never: the session is the buffer, and it decides what is too old.
            .set("message.timeout.ms", "0")
            .set("compression.type", self.compression.as_str())
            .set("linger.ms", self.linger_millis.to_string())
            .set("batch.size", self.batch_bytes_max.to_string())
            .set("message.max.bytes", self.message_bytes_max.to_string())
            .set("queue.buffering.max.messages", self.in_flight_max.to_string())
            .set("queue.buffering.max.kbytes", self.buffer_kib().to_string())
            // What Java's producer does, so that joins with its topics meet in one partition.
            .set("partitioner", "murmur2_random")
            .set("statistics.interval.ms", "5000")
            .set("security.protocol", self.security_protocol.as_str());
        if !self.idempotence {
            // Two requests on their way could be retried in the wrong order.
            client.set("max.in.flight.requests.per.connection", "1");
        }
        if let Some(sasl) = &self.sasl {
            client
                .set("sasl.mechanism", sasl.mechanism.as_str())
                .set("sasl.username", &sasl.username)
                .set("sasl.password", &sasl.password);
        }
        for (key, value) in &self.properties {
            client.set(key, value.to_text());
        }
        client
    }

    /// librdkafka's buffer: the largest record must fit.
    fn buffer_kib(&self) -> u32 {
        BUFFER_KIB_MIN.max(self.message_bytes_max.div_ceil(1024).saturating_mul(2))
    }
}

impl ConfigError {
    /// The key that is wrong, within the bridge's table; empty if it is none in particular.
    pub fn key(&self) -> &'static str {
        match self {
            Self::NoServers => "servers",
            Self::NoTopic => "topic",
            Self::Zero(key) | Self::NeedsTls { key, .. } => key,
            Self::IdempotenceNeedsAcksAll => "idempotence",
            Self::SaslMismatch(_) => "security_protocol",
            Self::OwnedProperty { .. } | Self::Property { .. } => "properties",
            Self::Client(_) | Self::Thread(_) => "",
        }
    }

    pub(crate) fn from_kafka(error: KafkaError) -> Self {
        match error {
            KafkaError::ClientConfig(_, reason, key, value) => {
                let secret = key.contains("password") || key.contains("secret") || key.ends_with(".pem");
                Self::Property { key, value: if secret { "***".into() } else { value }, reason }
            }
            KafkaError::ClientCreation(reason) => Self::Client(reason),
            other => Self::Client(other.to_string()),
        }
    }
}

impl Acks {
    fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Leader => "1",
            Self::None => "0",
        }
    }
}

impl Compression {
    fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

impl SecurityProtocol {
    fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Ssl => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslSsl => "sasl_ssl",
        }
    }
}

impl Mechanism {
    fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

impl PropertyValue {
    fn to_text(&self) -> String {
        match self {
            Self::Flag(flag) => flag.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Config {
        serde_json::from_str(json).unwrap()
    }

    fn refusal(json: &str) -> String {
        parse(json).check().unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_lose_nothing() {
        let config = parse(r#"{"servers":["a:9092","b:9092"],"topic":"plant"}"#);
        config.check().unwrap();
        let client = config.to_client_config("plant");
        for (key, value) in [
            ("bootstrap.servers", "a:9092,b:9092"),
            ("acks", "all"),
            ("enable.idempotence", "true"),
            ("message.timeout.ms", "0"),
            ("compression.type", "none"),
        ] {
            assert_eq!(client.get(key), Some(value), "{key}");
        }
        assert_eq!(config.key.source(), "${topic}");
    }

    #[test]
    fn properties_need_no_quotes() {
        let config = parse(
            r#"{"properties":{"socket.keepalive.enable":true,"socket.timeout.ms":7000,"client.rack":"r"}}"#,
        );
        let client = config.to_client_config("x");
        assert_eq!(client.get("socket.keepalive.enable"), Some("true"));
        assert_eq!(client.get("socket.timeout.ms"), Some("7000"));
        assert_eq!(client.get("client.rack"), Some("r"));
    }

    #[test]
    fn mistakes_are_named() {
        for (json, word) in [
            (r#"{"topic":"t"}"#, "servers"),
            (r#"{"servers":["a"]}"#, "topic"),
            (r#"{"servers":["a"],"topic":"t","in_flight_max":0}"#, "in_flight_max"),
            (r#"{"servers":["a"],"topic":"t","acks":"leader"}"#, "idempotence"),
            (r#"{"servers":["a"],"topic":"t","security_protocol":"sasl_plaintext"}"#, "sasl_plaintext"),
            (r#"{"servers":["a"],"topic":"t","properties":{"message.timeout.ms":5}}"#, "message.timeout.ms"),
        ] {
            assert!(refusal(json).contains(word), "{json}: {}", refusal(json));
        }
        assert!(serde_json::from_str::<Config>(r#"{"servrs":[]}"#).is_err());
        assert!(serde_json::from_str::<Config>(r#"{"topic":"${tpic}"}"#).is_err());
    }

    #[cfg(not(feature = "tls"))]
    #[test]
    fn without_tls_the_error_says_what_to_build() {
        assert!(
            refusal(r#"{"servers":["a"],"topic":"t","security_protocol":"ssl"}"#)
                .contains("bridge-kafka/tls")
        );
        let scram = r#"{"servers":["a"],"topic":"t","security_protocol":"sasl_plaintext",
            "sasl":{"mechanism":"scram-sha-256","username":"u","password":"p"}}"#;
        assert!(refusal(scram).contains("SCRAM-SHA-256"));
    }
}
