use std::net::IpAddr;

use gateway_model::Placeholders;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::bind::Bind;
use crate::limits::{at_least_one, zero_is_unlimited};
use crate::tls::ListenerTls;

/// `[listener.NAME]`: an address at which a protocol is spoken.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    #[serde(skip)]
    pub name: String,
    /// What is spoken: a name from the catalog of protocols.
    pub protocol: String,
    /// IP:PORT or unix:PATH; the port 0 lets the system choose.
    pub bind: Bind,
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Peers at a time; who comes later is refused. Unlimited is `u32::MAX`, 0 in the file.
    #[serde(default = "connections_max", deserialize_with = "zero_is_unlimited")]
    pub connections_max: u32,
    /// New connections per second; beyond it they are closed at once. Unlimited is `u32::MAX`.
    #[serde(default = "unlimited", deserialize_with = "zero_is_unlimited")]
    pub connect_rate_max: u32,
    /// Seconds that PROXY header, TLS and WebSocket may take together before the protocol begins.
    #[serde(default = "handshake_timeout_secs", deserialize_with = "at_least_one")]
    pub handshake_timeout_secs: u16,
    #[serde(default)]
    pub proxy_protocol: ProxyProtocol,
    /// Who may say for whom it speaks, by a PROXY header or X-Forwarded-For.
    #[serde(default, deserialize_with = "networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// Permissions of the file of a Unix socket.
    #[serde(default = "unix_mode", deserialize_with = "octal")]
    pub unix_mode: u32,
    /// Encryption; none without it.
    #[serde(default)]
    pub tls: Option<ListenerTls>,
    /// What stands before all topics of its clients, with a `/` at its end; they do not see it. None is
    /// an empty text in the file.
    #[serde(default, deserialize_with = "mountpoint")]
    pub mountpoint: Option<Placeholders>,
    /// Who may connect here without a user name; `None`: whom `access.anonymous` says.
    #[serde(default)]
    pub anonymous: Option<Anonymous>,
}

/// Who may connect without a user name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Anonymous {
    /// Clients on this machine, through a listener that is bound to it.
    #[default]
    Loopback,
    Never,
    /// Everybody who reaches a listener.
    Always,
}

/// Whether connections begin with a PROXY header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    #[default]
    Off,
    /// Version 1 or 2; a connection without one is closed.
    Required,
}

fn yes() -> bool {
    true
}

fn connections_max() -> u32 {
    100_000
}

fn unlimited() -> u32 {
    u32::MAX
}

fn mountpoint<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Placeholders>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let error = |words: &dyn std::fmt::Display| Err(de::Error::custom(format!("{text:?}: {words}")));
    match Placeholders::parse(&text) {
        _ if text.is_empty() => Ok(None),
        _ if text.contains(['+', '#', '\0']) => error(&"holds a wildcard or U+0000"),
        // Topics that begin with $ are the gateway's.
        _ if text.starts_with('$') && !text.starts_with("${") => error(&"begins with $"),
        _ if !text.ends_with('/') => error(&"must end with /"),
        Ok(mountpoint) => Ok(Some(mountpoint)),
        Err(problem) => error(&problem),
    }
}

fn handshake_timeout_secs() -> u16 {
    10
}

fn unix_mode() -> u32 {
    0o660
}

/// Deserializes addresses and networks in CIDR notation.
fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let parse = |text: String| {
        let address = text.parse::<IpAddr>().map(IpNet::from);
        let network = address.or_else(|_| text.parse::<IpNet>().map(|network| network.trunc()));
        network.map_err(|_| {
            de::Error::custom(format!("{text:?} is neither an address nor a network such as 10.0.0.0/8"))
        })
    };
    Vec::<String>::deserialize(deserializer)?.into_iter().map(parse).collect()
}

/// Deserializes permissions as `chmod` writes them.
fn octal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let text = String::deserialize(deserializer)?;
    let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| de::Error::custom("is not a mode; write three octal digits, such as \"0660\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mountpoint_is_the_beginning_of_a_topic() {
        let read = |text: &str| {
            mountpoint(&figment::value::Value::from(text))
                .map(|mountpoint| mountpoint.map(|mountpoint| mountpoint.as_str().to_owned()))
                .map_err(|error: figment::Error| error.to_string())
        };
        for good in ["site-a/", "${username}/x/", "a/${clientid}/"] {
            assert_eq!(read(good), Ok(Some(good.to_owned())));
        }
        assert_eq!(read(""), Ok(None));
        for (bad, words) in
            [("a", "must end"), ("a/+/", "wildcard"), ("$a/", "begins with $"), ("a/${x}/", "${clientid}")]
        {
            assert!(read(bad).unwrap_err().contains(words), "{bad}");
        }
    }
}
