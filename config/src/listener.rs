use std::net::SocketAddr;

use gateway_model::Placeholders;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::limits::zero_is_unlimited;

/// `[listener.NAME]`: an address at which a protocol is spoken.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    #[serde(skip)]
    pub name: String,
    /// What is spoken: a name from the catalog of protocols.
    pub protocol: String,
    /// IP:PORT; the port 0 lets the system choose.
    #[serde(deserialize_with = "address")]
    pub bind: SocketAddr,
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Peers at a time; who comes later is refused. Unlimited is `u32::MAX`, 0 in the file.
    #[serde(default = "connections_max", deserialize_with = "zero_is_unlimited")]
    pub connections_max: u32,
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

fn yes() -> bool {
    true
}

fn connections_max() -> u32 {
    100_000
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

/// Whether two addresses cannot both be listened on.
pub(crate) fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let same_family = one.is_ipv4() == other.is_ipv4();
    let same_ip = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && same_family && same_ip
}

/// Deserializes IP:PORT, with an error that says how to write one.
pub(crate) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        let port_only = text.strip_prefix(':').unwrap_or(&text).parse::<u16>().ok();
        let host_port = text.strip_prefix("localhost:").or_else(|| text.strip_prefix("*:"));
        let example = match (port_only, host_port.and_then(|port| port.parse::<u16>().ok())) {
            (Some(port), _) => format!("127.0.0.1:{port} (this machine) or 0.0.0.0:{port} (everybody)"),
            (_, Some(port)) if text.starts_with('*') => format!("0.0.0.0:{port}"),
            (_, Some(port)) => format!("127.0.0.1:{port}"),
            _ => "127.0.0.1:1883 or [::1]:1883".to_owned(),
        };
        de::Error::custom(format!("is not an address; write IP:PORT, such as {example}"))
    })
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

    #[test]
    fn addresses_overlap_by_port_and_family() {
        let overlap = |one: &str, other: &str| overlap(one.parse().unwrap(), other.parse().unwrap());
        assert!(overlap("127.0.0.1:1", "127.0.0.1:1") && overlap("0.0.0.0:1", "127.0.0.1:1"));
        assert!(overlap("[::]:1", "[::1]:1"));
        assert!(!overlap("127.0.0.1:1", "127.0.0.1:2") && !overlap("127.0.0.1:1", "127.0.0.2:1"));
        assert!(!overlap("127.0.0.1:0", "127.0.0.1:0"), "the system chooses two ports");
        assert!(!overlap("0.0.0.0:1", "[::1]:1"));
    }
}
