use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args};
use gateway_model::{Qos, Topic};
use protocol_mqtt::codec::{Property, PropertyBuffer, Version};

use super::error::ClientError;
use super::property::{Command, properties};
use super::report::Report;
use super::scram;
use super::tls::TlsOptions;
use super::url::Url;

/// How to reach the broker, and as whom. The letters are those of mosquitto_pub and mosquitto_sub.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub struct ConnectOptions {
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
    /// Client identifier [default: the broker assigns one]
    #[arg(short, long)]
    pub id: Option<String>,
    /// Client identifier that begins like this and ends with the process number
    #[arg(short = 'I', long, value_name = "PREFIX", conflicts_with = "id")]
    pub id_prefix: Option<String>,
    /// User name [default: the environment's TIDEGATE_USERNAME]
    #[arg(short, long)]
    pub username: Option<String>,
    /// Password, or file://PATH to read it from [default: the environment's TIDEGATE_PASSWORD]
    #[arg(short = 'P', long)]
    pub password: Option<String>,
    /// Log in by a method of MQTT 5 that does not send the password: SCRAM-SHA-256
    #[arg(long, value_name = "METHOD", value_parser = [scram::METHOD])]
    pub auth_method: Option<String>,
    /// MQTT version: 5, 311 or 31
    #[arg(short = 'V', long = "protocol-version", default_value = "5", value_parser = version)]
    pub version: Version,
    /// Seconds between signs of life
    #[arg(short, long, default_value_t = 60, value_name = "SECS")]
    pub keep_alive: u16,
    /// Keep the session when the client ends (needs -i)
    #[arg(short = 'c', long, alias = "disable-clean-session")]
    pub keep_session: bool,
    /// Seconds the session outlives the connection, -1 for ever [default: 0, with -c for ever]
    #[arg(short = 'x', long, value_name = "SECS", value_parser = session_expiry, allow_hyphen_values = true)]
    pub session_expiry: Option<u32>,
    /// Seconds until a lost connection is made anew; each next try waits twice as long, 30 s at most
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub retry_delay: Duration,
    /// MQTT 5 property: COMMAND NAME VALUE, as in `publish content-type text/plain` or
    /// `publish user-property NAME VALUE`; COMMAND is connect, publish, subscribe, unsubscribe,
    /// disconnect or will. For publish also NAME=VALUE, and user-property=NAME=VALUE
    #[arg(short = 'D', long = "property", value_name = "PROPERTY")]
    pub properties: Vec<String>,
    /// Tell on standard error what is sent and received
    #[arg(short, long)]
    pub debug: bool,
    /// No errors on standard error: the exit code tells
    #[arg(long)]
    pub quiet: bool,
    /// Accepted: small packets are never held back
    #[arg(long, hide = true)]
    nodelay: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    pub will: WillOptions,
    #[command(flatten)]
    pub tls: TlsOptions,
}

/// What the broker is to publish if the client vanishes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Will")]
pub struct WillOptions {
    /// Topic of the will: what the broker publishes if the client vanishes
    #[arg(long = "will-topic", value_name = "TOPIC", id = "will_topic")]
    pub topic: Option<String>,
    /// Payload of the will
    #[arg(long = "will-payload", value_name = "TEXT", requires = "will_topic", id = "will_payload")]
    pub payload: Option<String>,
    /// QoS of the will
    #[arg(long = "will-qos", value_name = "QOS", default_value = "0", value_parser = qos, id = "will_qos")]
    pub qos: Qos,
    /// Retain the will
    #[arg(long = "will-retain", requires = "will_topic", id = "will_retain")]
    pub retain: bool,
}

/// Who the client says it is.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    pub username: Option<String>,
    pub password: Option<String>,
}

impl ConnectOptions {
    /// Finds what the packet could not say or the broker would only refuse.
    pub fn check(&self) -> Result<(), ClientError> {
        let usage = |text: &str| Err(ClientError::Usage(text.to_owned()));
        let is_v5 = self.version == Version::V5;
        let has_id = self.id.is_some() || self.id_prefix.is_some();
        if self.keep_session && !has_id {
            return usage("-c needs -i: a session is found again by its client identifier");
        }
        if self.session_expiry == Some(u32::MAX) && !has_id {
            return usage("-x -1 needs -i: a session is found again by its client identifier");
        }
        let Credentials { username, password } = self.credentials()?;
        if !is_v5 && password.is_some() && username.is_none() {
            return usage("before MQTT 5 a password needs a user name (-u)");
        }
        if self.auth_method.is_some() && !(is_v5 && username.is_some() && password.is_some()) {
            return usage("--auth-method needs MQTT 5, a user name (-u) and a password (-P)");
        }
        if !is_v5 && self.session_expiry.is_some() {
            return usage("-x needs MQTT 5 (-V 5)");
        }
        if !is_v5 && !self.properties.is_empty() {
            return usage("properties (-D) need MQTT 5 (-V 5)");
        }
        if self.session_expiry.is_some() && self.names_session_expiry()? {
            return usage("the session expiry is given twice: -x and -D connect session-expiry-interval");
        }
        if let Some(topic) = &self.will.topic {
            Topic::parse(topic).map_err(|error| ClientError::Usage(format!("--will-topic: {error}")))?;
        }
        for command in Command::ALL {
            let known = self.properties(command)?;
            if command == Command::Will && !known.as_properties().is_empty() && self.will.topic.is_none() {
                return usage("-D will needs --will-topic");
            }
        }
        self.tls.check(self.is_tls())
    }

    /// What to ask for in CONNECT, unless a property says it: -x, or for ever if the session is kept.
    pub fn session_expiry_secs(&self) -> Result<Option<u32>, ClientError> {
        if self.version != Version::V5 || self.names_session_expiry()? {
            return Ok(None);
        }
        Ok(self.session_expiry.or(self.keep_session.then_some(u32::MAX)))
    }

    fn names_session_expiry(&self) -> Result<bool, ClientError> {
        let properties = self.properties(Command::Connect)?;
        let is_expiry = |property| matches!(property, Property::SessionExpirySecs(_));
        Ok(properties.as_properties().iter().any(is_expiry))
    }

    pub fn report(&self) -> Report {
        Report { quiet: self.quiet, debug: self.debug }
    }

    /// What `-D` says of one kind of packet.
    pub fn properties(&self, command: Command) -> Result<PropertyBuffer, ClientError> {
        properties(&self.properties, command).map_err(ClientError::Usage)
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

    /// Empty: the broker is to assign one.
    pub fn client_id(&self) -> String {
        let number = std::process::id();
        match (&self.id, &self.id_prefix) {
            (Some(id), _) => id.clone(),
            (None, Some(prefix)) => format!("{prefix}{number}"),
            // MQTT 3.1 section 3.1 knows no empty client identifier.
            (None, None) if self.version == Version::V31 => format!("tidegate-{number}"),
            (None, None) => String::new(),
        }
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

pub fn qos(text: &str) -> Result<Qos, String> {
    text.parse().ok().and_then(Qos::from_u8).ok_or_else(|| "write 0, 1 or 2".to_owned())
}

/// The largest number is for ever (MQTT 5.0 section 3.1.2.11.2).
fn session_expiry(text: &str) -> Result<u32, String> {
    match text {
        "-1" | "∞" => Ok(u32::MAX),
        number => number.parse().map_err(|_| "write seconds, or -1 for ever".to_owned()),
    }
}

/// A time of the command line, in seconds with a fraction.
pub fn seconds(text: &str) -> Result<Duration, String> {
    let secs: f64 = text.parse().map_err(|_| "write seconds".to_owned())?;
    Duration::try_from_secs_f64(secs).map_err(|_| "write seconds".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::property::fold_properties;
    use super::*;

    #[derive(Parser)]
    #[command(disable_help_flag = true)]
    struct Client {
        #[command(flatten)]
        connect: ConnectOptions,
    }

    fn options(line: &str) -> ConnectOptions {
        let arguments = fold_properties(line.split(' ').map(Into::into));
        Client::try_parse_from(arguments).unwrap_or_else(|error| panic!("{error}")).connect
    }

    #[test]
    fn what_cannot_work_is_refused_before_connecting() {
        for line in [
            "pub -c",
            "pub -x -1",
            "pub -V 311 -u me -P word -D publish content-type x",
            "pub -V 311 -P word",
            "pub -V 31 -x 5",
            "pub -x 5 -D connect session-expiry-interval 5",
            "pub --will-topic a/#",
            "pub -D will content-type x",
            "pub --cert cert.pem --key key.pem",
            "pub --insecure",
            "pub --auth-method SCRAM-SHA-256 -u me",
            "pub --auth-method SCRAM-SHA-256 -u me -P word -V 311",
            "pub -P file:///nowhere/at/all",
        ] {
            assert!(options(line).check().is_err(), "{line}");
        }
        assert!(options("pub -c -i x -u me -P word").check().is_ok());
        assert!(options("pub -x ∞ -I x").check().is_ok());
    }

    #[test]
    fn the_port_is_that_of_the_transport() {
        for (line, host, port, path) in [
            ("pub", "127.0.0.1", 1883, None),
            ("pub -h broker --tls", "broker", 8883, None),
            ("pub --ws", "127.0.0.1", 8083, Some("/mqtt")),
            ("pub --ws=/other --cafile ca.pem", "127.0.0.1", 8084, Some("/other")),
            ("pub --ws-path /other", "127.0.0.1", 8083, Some("/other")),
            ("pub -L mqtts://broker", "broker", 8883, None),
            ("pub -L mqtt://broker:99/a/b", "broker", 99, None),
            ("pub -L wss://[::1]/live", "::1", 8084, Some("/live")),
            ("pub -L ws://broker:80", "broker", 80, Some("/mqtt")),
        ] {
            let options = options(line);
            assert_eq!((options.host(), options.port(), options.web_path()), (host, port, path), "{line}");
        }
        assert!(options("pub -p 8883").is_tls());
        assert!(Client::try_parse_from(["pub", "-L", "mqtt://a", "-p", "1"]).is_err());
    }

    #[test]
    fn the_user_is_that_of_the_command_line_or_the_url() {
        let known = |line: &str| options(line).credentials().unwrap();
        let expected = Credentials { username: Some("me".to_owned()), password: Some("a word".to_owned()) };
        assert_eq!(known("pub -L mqtt://me:a%20word@broker/a"), expected);
        assert_eq!(known("pub -L mqtt://you@broker -u me -P word").username.as_deref(), Some("me"));
        let file = std::env::temp_dir().join(format!("tidegate-password-{}", std::process::id()));
        std::fs::write(&file, "a word\n").unwrap();
        assert_eq!(known(&format!("pub -u me -P file://{}", file.display())), expected);
        std::fs::remove_file(&file).unwrap();
    }
}
