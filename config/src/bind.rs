use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    Internet(SocketAddr),
    /// The file of a Unix socket.
    Unix(PathBuf),
}

impl Bind {
    /// Whether only this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Internet(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// 0 for a file.
    pub fn port(&self) -> u16 {
        match self {
            Self::Internet(address) => address.port(),
            Self::Unix(_) => 0,
        }
    }

    /// Whether two addresses cannot both be listened on.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Internet(one), Self::Internet(other)) => overlap(*one, *other),
            (Self::Unix(one), Self::Unix(other)) => one == other,
            _ => false,
        }
    }
}

impl From<SocketAddr> for Bind {
    fn from(address: SocketAddr) -> Self {
        Self::Internet(address)
    }
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Internet(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Serialize for Bind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => {
                Err(de::Error::custom("is not an address; write a whole path, such as unix:/run/mqtt.sock"))
            }
            None => parse(&text).map(Self::Internet).map_err(de::Error::custom),
        }
    }
}

/// Deserializes IP:PORT, with an error that says how to write one.
pub(crate) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

fn parse(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let port_only = text.strip_prefix(':').unwrap_or(text).parse::<u16>().ok();
        let host_port = text.strip_prefix("localhost:").or_else(|| text.strip_prefix("*:"));
        let example = match (port_only, host_port.and_then(|port| port.parse::<u16>().ok())) {
            (Some(port), _) => format!("127.0.0.1:{port} (this machine) or 0.0.0.0:{port} (everybody)"),
            (_, Some(port)) if text.starts_with('*') => format!("0.0.0.0:{port}"),
            (_, Some(port)) => format!("127.0.0.1:{port}"),
            _ => "127.0.0.1:1883 or [::1]:1883".to_owned(),
        };
        format!("is not an address; write IP:PORT, such as {example}")
    })
}

fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let same_family = one.is_ipv4() == other.is_ipv4();
    let same_ip = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && same_family && same_ip
}

#[cfg(test)]
mod tests {
    use super::*;

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
