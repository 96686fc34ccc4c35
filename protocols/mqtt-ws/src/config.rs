use serde::{Deserialize, Serialize};

/// Which WebSocket upgrades a listener accepts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The path of the resource, beginning with `/`, without a query.
    pub path: String,
    /// Origins from which a browser may connect, such as `https://example.org`, compared without
    /// regard to case. Empty: any. Clients that send no Origin are not browsers and always may.
    pub origins: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self { path: "/mqtt".into(), origins: Vec::new() }
    }
}
