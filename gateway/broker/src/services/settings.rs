use serde::Deserialize;

/// The `[sys]` section: what the gateway publishes about itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SysSettings {
    /// Seconds between two publications of statistics and metrics; 0: never.
    pub interval_secs: u32,
    /// Seconds between two publications of uptime and date; 0: never.
    pub heartbeat_secs: u32,
    /// Whether clients that come and go are published.
    pub client_events: bool,
}

impl Default for SysSettings {
    fn default() -> Self {
        Self { interval_secs: 60, heartbeat_secs: 30, client_events: true }
    }
}

/// One `[[rewrite]]`: topics that are something else on the bus.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RewriteSettings {
    #[serde(default)]
    pub action: RewriteAction,
    /// The topic filter that a topic must match.
    pub source: String,
    /// The regular expression that it must match too.
    pub pattern: String,
    /// What it becomes; `$1` is the first group of the pattern.
    pub target: String,
}

/// Where a rewrite rule holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RewriteAction {
    /// Publishes and wills.
    Publish,
    /// Subscribing and unsubscribing.
    Subscribe,
    #[default]
    All,
}

/// One `[[auto_subscribe]]`: a subscription that clients get without asking.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoSubscribeSettings {
    /// A topic filter with `${clientid}` and `${username}`.
    pub topic: String,
    #[serde(default)]
    pub qos: u8,
    #[serde(default)]
    pub no_local: bool,
    #[serde(default)]
    pub retain_as_published: bool,
    /// 0: retained messages always come, 1: if the subscription is new, 2: never.
    #[serde(default)]
    pub retain_handling: u8,
    /// Clients of which protocols; `mqtt` is all its versions.
    #[serde(default = "protocols")]
    pub protocols: Vec<String>,
}

fn protocols() -> Vec<String> {
    vec!["mqtt".to_owned()]
}
