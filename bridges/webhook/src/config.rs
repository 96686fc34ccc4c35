use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bridge_template::Template;
use http::Uri;
use serde::Deserialize;

use crate::retry::Backoff;
use crate::signature::SecretError;
use crate::translate::Translator;

/// A `[[bridge]]` of kind `webhook`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to POST, `http://` or `https://`. Variables may stand in path and query only, and are
    /// percent-encoded: a device cannot choose the server, nor climb out of its path segment.
    pub url: Template,
    pub body: Body,
    /// Further headers: name and template. Characters that a header may not hold become spaces.
    pub headers: BTreeMap<String, Template>,
    /// Signs requests (Standard Webhooks 1.0, scheme `v1`): `whsec_` and 24 to 64 bytes in base64.
    /// Several during a rotation: requests then carry one signature of each. None: unsigned.
    pub secret: Secrets,
    /// Messages of one key arrive in order. The default, the topic, is the order that a subscriber
    /// sees; an empty key asks for none.
    pub key: Template,
    /// Requests that may be outstanding at a time, one per lane.
    pub lanes: u8,
    /// Messages waiting in one lane.
    pub lane_queue_max: u16,
    /// For one attempt, from connecting to the head of the answer, in seconds.
    pub timeout_secs: u16,
    /// Delay before the first retry, in milliseconds; doubles with every further one.
    pub retry_delay_min_millis: u32,
    /// Longest delay between retries, in milliseconds.
    pub retry_delay_max_millis: u32,
    /// PEM file of the certificate authorities to trust in place of the system's.
    pub ca_file: Option<PathBuf>,
}

/// The shape of the JSON object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// `id topic clientid qos retain payload timestamp content_type properties`.
    #[default]
    Standard,
    /// `message_publish` of the web hook plug-in of EMQ X 3 and 4.
    Emqx3,
}

/// One secret or several; never printed.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub enum Secrets {
    One(String),
    Several(Vec<String>),
}

/// Why a bridge cannot be started with this configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("url \"{url}\": {reason}")]
    Url { url: Box<str>, reason: &'static str },
    #[error("headers: \"{name}\" {reason}")]
    Header { name: Box<str>, reason: &'static str },
    #[error("secret: {0}")]
    Secret(#[from] SecretError),
    #[error("{0} must be at least 1")]
    Zero(&'static str),
    #[error("retry_delay_min_millis is larger than retry_delay_max_millis")]
    RetryDelays,
    #[error("ca_file {path}: {reason}")]
    Authorities { path: PathBuf, reason: String },
    #[error("the system's certificate authorities: {0}; name a PEM file in ca_file")]
    SystemAuthorities(std::io::Error),
}

impl ConfigError {
    /// The key that is wrong, within the bridge's table.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Url { .. } => "url",
            Self::Header { .. } => "headers",
            Self::Secret(_) => "secret",
            Self::Zero(key) => key,
            Self::RetryDelays => "retry_delay_min_millis",
            Self::Authorities { .. } | Self::SystemAuthorities(_) => "ca_file",
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let literal = |text: &str| text.parse::<Template>().expect("a constant template");
        Self {
            url: literal(""),
            body: Body::Standard,
            headers: BTreeMap::new(),
            secret: Secrets::Several(Vec::new()),
            key: literal("${topic}"),
            lanes: 8,
            lane_queue_max: 64,
            timeout_secs: 15,
            retry_delay_min_millis: 500,
            retry_delay_max_millis: 30_000,
            ca_file: None,
        }
    }
}

impl Config {
    /// What can be said without opening a file or a connection.
    ///
    /// # Errors
    /// The first setting that cannot be served.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_url()?;
        for (name, value) in [
            ("lanes", u32::from(self.lanes)),
            ("lane_queue_max", self.lane_queue_max.into()),
            ("timeout_secs", self.timeout_secs.into()),
        ] {
            if value == 0 {
                return Err(ConfigError::Zero(name));
            }
        }
        if self.retry_delay_min_millis > self.retry_delay_max_millis {
            return Err(ConfigError::RetryDelays);
        }
        // Headers and secrets.
        Translator::new(self).map(drop)
    }

    pub(crate) fn backoff(&self) -> Backoff {
        Backoff {
            min: Duration::from_millis(self.retry_delay_min_millis.into()),
            max: Duration::from_millis(self.retry_delay_max_millis.into()),
        }
    }

    /// Whether the endpoint is reached by TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.url.prefix().starts_with("https://")
    }

    fn check_url(&self) -> Result<(), ConfigError> {
        let wrong = |reason| Err(ConfigError::Url { url: self.url.source().into(), reason });
        let prefix = self.url.prefix();
        let Some(rest) = prefix.strip_prefix("http://").or_else(|| prefix.strip_prefix("https://")) else {
            return wrong("must begin with http:// or https://");
        };
        if self.is_https() && !cfg!(feature = "tls") {
            return wrong("https needs a gateway built with the cargo feature bridge-webhook/tls");
        }
        if self.url.as_literal().is_none() && !rest.contains(['/', '?']) {
            return wrong("variables may stand in path and query only");
        }
        match prefix.parse::<Uri>() {
            Ok(uri) => match uri.authority() {
                Some(authority) if authority.as_str().contains('@') => {
                    wrong("holds credentials; put them into headers, as authorization")
                }
                Some(authority) if !authority.host().is_empty() => Ok(()),
                _ => wrong("names no host"),
            },
            Err(_) => wrong("is not a URL"),
        }
    }
}

impl Secrets {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &str> {
        let all = match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(several) => several,
        };
        all.iter().map(String::as_str).filter(|secret| !secret.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> Result<(), String> {
        let config: Config = serde_json::from_str(json).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())
    }

    #[test]
    fn urls() {
        for url in ["http://h", "http://h:1/a?b=c", "http://h/${topic}", "http://h?x=${clientid}"] {
            check(&format!("{{\"url\":\"{url}\"}}")).unwrap();
        }
        for (url, word) in [
            ("", "must begin"),
            ("ftp://h", "must begin"),
            ("${topic}", "must begin"),
            ("http://${topic}/", "path and query only"),
            ("http://h${topic}/", "path and query only"),
            ("http://", "not a URL"),
            ("http://u:p@h/", "credentials"),
            ("http://h/ /", "not a URL"),
            ("http://h/${nope}", "unknown variable"),
        ] {
            let refusal = check(&format!("{{\"url\":\"{url}\"}}")).unwrap_err();
            assert!(refusal.contains(word), "{url}: {refusal}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (more, word) in [
            (r#""lanes":0"#, "lanes"),
            (r#""timeout_secs":0"#, "timeout_secs"),
            (r#""secret":"whsec_short""#, "secret"),
            (r#""headers":{"a b":"c"}"#, "headers"),
            (r#""retry_delay_min_millis":9,"retry_delay_max_millis":3"#, "retry_delay"),
            (r#""lane":3"#, "unknown field"),
            (r#""body":"xml""#, "unknown variant"),
        ] {
            let refusal = check(&format!("{{\"url\":\"http://h\",{more}}}")).unwrap_err();
            assert!(refusal.contains(word), "{more}: {refusal}");
        }
    }

    #[test]
    fn one_secret_or_several() {
        let secrets = |json: &str| -> Vec<String> {
            let config: Config = serde_json::from_str(json).unwrap();
            config.secret.iter().map(Into::into).collect()
        };
        assert_eq!(secrets(r#"{"secret":"a"}"#), ["a"]);
        assert_eq!(secrets(r#"{"secret":["a","b"]}"#), ["a", "b"]);
        assert!(secrets(r#"{"secret":""}"#).is_empty());
    }
}
