use std::num::NonZeroU16;
use std::time::Duration;

use gateway_model::{Expiry, Placeholders, Qos};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use crate::codec::Header;

/// What a listener allows its MQTT clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The largest packet a client may send, in bytes with its header. At most 268,435,460.
    pub packet_bytes_max: u32,
    /// The largest CONNECT, in bytes with its header: what a stranger may make the gateway hold.
    pub connect_bytes_max: u32,
    /// How many filters a SUBSCRIBE or UNSUBSCRIBE may hold.
    pub packet_filters_max: u16,
    /// How many publishes above QoS 0 a client may have unacknowledged (Receive Maximum). A client
    /// older than MQTT 5.0 cannot be told: it is not read from while it has that many.
    pub receive_maximum: NonZeroU16,
    /// How many topics a client may give a number of its own (Topic Alias Maximum); 0: none.
    pub topic_alias_maximum: u16,
    /// How many topics are given a number towards a client that allows it; 0: none. The smaller one
    /// of this and the client's own Topic Alias Maximum holds.
    pub topic_alias_maximum_outbound: u16,
    /// The highest QoS of a publish: 0, 1 or 2. Subscriptions above are granted this one.
    #[serde(deserialize_with = "qos")]
    pub maximum_qos: u8,
    /// Whether clients may publish retained messages.
    pub retain_available: bool,
    /// Whether filters may hold `+` and `#`.
    pub wildcard_subscriptions: bool,
    /// Whether clients may subscribe to `$share/{group}/{filter}`.
    pub shared_subscriptions: bool,
    /// Whether subscriptions may carry an identifier (MQTT 5.0 only).
    pub subscription_identifiers: bool,
    /// Where an MQTT 5.0 client that asks for Response Information may expect answers;
    /// `${clientid}` and `${username}` stand for its names. A client whose name is not one level of
    /// a topic is not told, and nobody if it is empty.
    #[serde(deserialize_with = "placeholders")]
    pub response_information: String,
    /// After this many of its keep-alive periods without a packet a client is gone. 1.5 is what
    /// MQTT-3.1.2-22 (5.0) says; below 1 counts as 1.
    pub keep_alive_multiplier: f32,
    /// The longest keep-alive an MQTT 5.0 client gets, in seconds; 0: whatever it asks for.
    /// Older clients cannot be told and keep theirs.
    pub keep_alive_secs_max: u16,
    /// How long a connection may take to send its CONNECT, and to answer the questions of an
    /// authentication method, in seconds; 0: for ever.
    pub connect_timeout_secs: u32,
    /// How long the session of an MQTT 3.1 or 3.1.1 client with clean_session=0 outlives its
    /// connection, in seconds; 4,294,967,295: for ever.
    pub session_expiry_secs_default: u32,
    /// Where clients go when this gateway shuts down, as `host:port`; several with blanks between
    /// them (MQTT 5.0 section 4.11). Empty: they are not told.
    pub server_reference: String,
    /// Whether they are to stay there (Server moved) or to come back (Use another server).
    pub server_moved: bool,
}

impl Default for Config {
    fn default() -> Self {
        const fn maximum(value: u16) -> NonZeroU16 {
            NonZeroU16::new(value).unwrap()
        }
        Self {
            packet_bytes_max: 1024 * 1024,
            connect_bytes_max: 128 * 1024,
            packet_filters_max: 4096,
            receive_maximum: const { maximum(1024) },
            topic_alias_maximum: 16,
            topic_alias_maximum_outbound: 16,
            maximum_qos: 2,
            retain_available: true,
            wildcard_subscriptions: true,
            shared_subscriptions: true,
            subscription_identifiers: true,
            response_information: String::new(),
            keep_alive_multiplier: 1.5,
            keep_alive_secs_max: 0,
            connect_timeout_secs: 10,
            session_expiry_secs_default: 2 * 60 * 60,
            server_reference: String::new(),
            server_moved: false,
        }
    }
}

/// The largest packet there can be, with its fixed header.
pub(crate) const FRAME_LEN_MAX: u32 = Header::BODY_LEN_MAX as u32 + 5;

impl Config {
    pub(crate) fn frame_len_max(&self) -> usize {
        self.packet_bytes_max.min(FRAME_LEN_MAX) as usize
    }

    pub(crate) fn connect_timeout(&self) -> Option<Duration> {
        (self.connect_timeout_secs > 0).then(|| Duration::from_secs(u64::from(self.connect_timeout_secs)))
    }

    /// Milliseconds of silence that a keep-alive allows; 0 if it allows any.
    pub(crate) fn silence_millis_max(&self, keep_alive_secs: u16) -> u32 {
        (f64::from(keep_alive_secs) * 1000.0 * f64::from(self.keep_alive_multiplier.max(1.0))) as u32
    }

    /// The keep-alive an MQTT 5.0 client gets for the one it asks for, in seconds.
    pub(crate) fn keep_alive_secs(&self, asked: u16) -> u16 {
        match (self.keep_alive_secs_max, asked) {
            (0, asked) => asked,
            (max, 0) => max,
            (max, asked) => asked.min(max),
        }
    }

    /// What a subscription is granted of the QoS it asks for (MQTT-3.2.2-10).
    pub(crate) fn granted_qos(&self, asked: Qos) -> Qos {
        Qos::from_u8(self.maximum_qos).map_or(asked, |maximum| asked.min(maximum))
    }

    /// The Response Information for this client; `None` if there is none.
    pub(crate) fn response_information_for(&self, client_id: &str, username: Option<&str>) -> Option<String> {
        let filled = Placeholders::parse(&self.response_information).ok()?.fill(client_id, username, |_| "");
        filled.ok().filter(|filled| !filled.is_empty())
    }

    /// The expiry of an older client's session.
    pub(crate) fn session_expiry_before_v5(&self, clean_session: bool) -> Expiry {
        if clean_session { Expiry::Immediately } else { session_expiry(self.session_expiry_secs_default) }
    }
}

/// MQTT 5.0 section 3.1.2.11.2.
pub(crate) fn session_expiry(secs: u32) -> Expiry {
    match secs {
        0 => Expiry::Immediately,
        u32::MAX => Expiry::Never,
        secs => Expiry::After(Duration::from_secs(u64::from(secs))),
    }
}

/// The way back; what does not fit is "for ever".
pub(crate) fn expiry_secs(expiry: Expiry) -> u32 {
    match expiry {
        Expiry::Immediately => 0,
        Expiry::After(duration) => u32::try_from(duration.as_secs()).unwrap_or(u32::MAX),
        Expiry::Never => u32::MAX,
    }
}

fn qos<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    match u8::deserialize(deserializer)? {
        qos @ 0..=2 => Ok(qos),
        other => Err(D::Error::custom(format!("maximum_qos is 0, 1 or 2, not {other}"))),
    }
}

fn placeholders<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    Placeholders::parse(&text).map_err(|error| D::Error::custom(format!("response_information: {error}")))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_and_a_maximum_of_0_are_mistakes() {
        assert_eq!(serde_json::from_str::<Config>("{}").unwrap(), Config::default());
        let given = serde_json::from_str::<Config>(r#"{"receive_maximum": 7}"#).unwrap();
        assert_eq!(given.receive_maximum.get(), 7);
        for bad in [r#"{"recieve_maximum": 7}"#, r#"{"receive_maximum": 0}"#, r#"{"maximum_qos": 3}"#] {
            assert!(serde_json::from_str::<Config>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn response_information_is_filled_in_or_not_given() {
        let with = |text: &str| Config { response_information: text.into(), ..Config::default() };
        let config = with("r/${clientid}/${username}");
        assert_eq!(config.response_information_for("c1", Some("u")).as_deref(), Some("r/c1/u"));
        assert_eq!(config.response_information_for("c1", None), None);
        assert_eq!(config.response_information_for("c/+", Some("u")), None);
        assert_eq!(with("r").response_information_for("c/+", None).as_deref(), Some("r"));
        assert_eq!(with("").response_information_for("c1", None), None);
        assert!(serde_json::from_str::<Config>(r#"{"response_information": "r/${client}"}"#).is_err());
    }

    #[test]
    fn silence_is_never_shorter_than_the_keep_alive() {
        for (multiplier, millis) in [(1.5, 15_000), (2.0, 20_000), (0.1, 10_000), (f32::NAN, 10_000)] {
            let config = Config { keep_alive_multiplier: multiplier, ..Config::default() };
            assert_eq!(config.silence_millis_max(10), millis);
        }
        assert_eq!(Config::default().silence_millis_max(u16::MAX), 98_302_500);
    }
}
