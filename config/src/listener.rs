use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::bind::Bind;
use crate::limits::{at_least_one, zero_is_unlimited};
use crate::tls::ListenerTls;

/// `[listener.NAME]`: an address at which a protocol is spoken.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
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
