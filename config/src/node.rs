use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::bind::address;

/// `[node]`: this gateway.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Node {
    /// What the gateway calls itself in logs, metrics and `$SYS`.
    pub name: String,
    /// Where everything durable is kept; made at the start if it is missing.
    pub data_dir: PathBuf,
    /// Threads that serve connections; 0 is one per core.
    pub workers: u16,
}

impl Default for Node {
    fn default() -> Self {
        Self { name: "tidegate".to_owned(), data_dir: PathBuf::from("./data"), workers: 0 }
    }
}

/// `[admin]`: the HTTP endpoint for `/healthz`, `/readyz`, `/metrics` and `/api/v1/drops`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    pub enabled: bool,
    /// IP:PORT (TCP).
    #[serde(deserialize_with = "address")]
    pub bind: SocketAddr,
}

impl Default for Admin {
    fn default() -> Self {
        Self { enabled: true, bind: SocketAddr::from(([127, 0, 0, 1], 18083)) }
    }
}

/// `[log]`: what is written to standard error.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// The least important that is written.
    pub level: LogLevel,
    pub format: LogFormat,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// As filters of `tracing` spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object per line, for collectors.
    Json,
}
