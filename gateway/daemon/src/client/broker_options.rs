use std::path::PathBuf;

use clap::{ArgAction, Args};
use protocol_mqtt::codec::Version;

use super::error::ClientError;
use super::tls::TlsOptions;
use super::url::Url;

/// Where the broker is, how to reach it, and who is there. The letters are those of mosquitto_pub.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub struct BrokerOptions {
    /// Host or address of the broker
    #[arg(short = 'h', long, default_value = "127.0.0.1", conflicts_with = "url")]
    pub host: String,
    /// Port of the broker [default: 1883, with TLS 8883, with --ws 8083, with both 8084]
    #[arg(short, long, conflicts_with = "url")]
    pub port: Option<u16>,
    /// All in one: mqtt://, mqtts://USER:PASSWORD@HOST:PORT/TOPIC; with ws:// and wss:// the path is
    /// the WebSocket's
    #[arg(short = 'L', long, value_parser = Url::parse)]
    pub url: Option<Url>,
    /// Connect to this Unix socket
    #[arg(long, value_name = "PATH", conflicts_with_all = ["url", "host", "port", "ws", "ws_path"])]
    pub unix: Option<PathBuf>,
    /// MQTT over WebSocket [path: /mqtt]
    #[arg(long, value_name = "PATH", num_args = 0..=1, require_equals = true, default_missing_value = "/mqtt", conflicts_with = "url")]
    pub ws: Option<String>,
    /// Path of the WebSocket; the same as --ws=PATH
    #[arg(long, value_name = "PATH", conflicts_with = "url")]
    pub ws_path: Option<String>,
    /// User name [default: the environment's TIDEGATE_USERNAME]
    #[arg(short, long)]
    pub username: Option<String>,
    /// Password, or file://PATH to read it from [default: the environment's TIDEGATE_PASSWORD]
    #[arg(short = 'P', long)]
    pub password: Option<String>,
    /// MQTT version: 5, 311 or 31
    #[arg(short = 'V', long = "protocol-version", default_value = "5", value_parser = version)]
    pub version: Version,
    /// Seconds between signs of life
    #[arg(short, long, default_value_t = 60, value_name = "SECS")]
    pub keep_alive: u16,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    pub tls: TlsOptions,
}

/// Who the client says it is.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    pub username: Option<String>,
    pub password: Option<String>,
}

impl BrokerOptions {
    /// Finds what the packet could not say, and options without effect.
    pub fn check(&self) -> Result<(), ClientError> {
        let Credentials { username, password } = self.credentials()?;
        if self.version != Version::V5 && password.is_some() && username.is_none() {
            let text = "before MQTT 5 a password needs a user name (-u)";
            return Err(ClientError::Usage(text.to_owned()));
        }
        self.tls.check(self.is_tls())
    }

    pub fn is_tls(&self) -> bool {
        self.tls.is_asked_for()
            || self.url.as_ref().is_some_and(|url| url.tls)
            || (self.port == Some(8883) && self.unix.is_none())
    }

    /// The path of the WebSocket, if it is to be one.
    pub fn web_path(&self) -> Option<&str> {
        match &self.url {
            Some(url) if url.web && url.path.is_empty() => Some("/mqtt"),
            Some(url) => url.web.then_some(url.path.as_str()),
            None => self.ws_path.as_deref().or(self.ws.as_deref()),
        }
    }

    pub fn host(&self) -> &str {
        self.url.as_ref().map_or(&self.host, |url| &url.host)
    }

    pub fn port(&self) -> u16 {
        let default = match (self.is_tls(), self.web_path().is_some()) {
            (false, false) => 1883,
            (true, false) => 8883,
            (false, true) => 8083,
            (true, true) => 8084,
        };
        self.url.as_ref().map_or(self.port, |url| url.port).unwrap_or(default)
    }

    /// The topic that the URL names.
    pub fn url_topic(&self) -> Option<&str> {
        let url = self.url.as_ref().filter(|url| !url.web)?;
        url.path.strip_prefix('/').filter(|topic| !topic.is_empty())
    }

    /// The command line, else the URL, else the environment.
    pub fn credentials(&self) -> Result<Credentials, ClientError> {
        let of_url = |part: fn(&Url) -> Option<&String>| self.url.as_ref().and_then(part).cloned();
        let environment = |name| std::env::var(name).ok();
        let username = self.username.clone().or_else(|| of_url(|url| url.username.as_ref()));
        let password = self.password.clone().or_else(|| of_url(|url| url.password.as_ref()));
        let password = match password.or_else(|| environment("TIDEGATE_PASSWORD")) {
            Some(text) => Some(secret(text)?),
            None => None,
        };
        Ok(Credentials { username: username.or_else(|| environment("TIDEGATE_USERNAME")), password })
    }
}

/// The text, or what is in the file that it names, without the newline that editors leave.
fn secret(text: String) -> Result<String, ClientError> {
    let Some(path) = text.strip_prefix("file://") else { return Ok(text) };
    let text = std::fs::read_to_string(path)
        .map_err(|error| ClientError::Input(format!("the password from {path}: {error}")))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

fn version(text: &str) -> Result<Version, String> {
    match text {
        "5" | "v5" | "mqttv5" => Ok(Version::V5),
        "311" | "3.1.1" | "4" | "mqttv311" => Ok(Version::V311),
        "31" | "3.1" | "3" | "mqttv31" => Ok(Version::V31),
        _ => Err("write 5, 311 or 31".to_owned()),
    }
}
