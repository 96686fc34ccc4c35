use std::time::Duration;

use clap::Args;
use gateway_model::{Qos, Topic};
use protocol_mqtt::codec::{Property, PropertyBuffer, Version};

use super::broker_options::{BrokerOptions, Credentials};
use super::error::ClientError;
use super::property::{Command, properties};
use super::report::Report;
use super::scram;

/// How to connect. The letters are those of mosquitto_pub and mosquitto_sub.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connection")]
pub struct ConnectOptions {
    #[command(flatten)]
    pub broker: BrokerOptions,
    /// Client identifier [default: the broker assigns one]
    #[arg(short, long)]
    pub id: Option<String>,
    /// Client identifier that begins like this and ends with the process number
    #[arg(short = 'I', long, value_name = "PREFIX", conflicts_with = "id")]
    pub id_prefix: Option<String>,
    /// Log in by a method of MQTT 5 that does not send the password: SCRAM-SHA-256
    #[arg(long, value_name = "METHOD", value_parser = [scram::METHOD])]
    pub auth_method: Option<String>,
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
    #[command(flatten)]
    pub will: WillOptions,
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

impl ConnectOptions {
    /// Finds what the packet could not say or the broker would only refuse.
    pub fn check(&self) -> Result<(), ClientError> {
        let usage = |text: &str| Err(ClientError::Usage(text.to_owned()));
        let is_v5 = self.broker.version == Version::V5;
        let has_id = self.id.is_some() || self.id_prefix.is_some();
        if self.keep_session && !has_id {
            return usage("-c needs -i: a session is found again by its client identifier");
        }
        if self.session_expiry == Some(u32::MAX) && !has_id {
            return usage("-x -1 needs -i: a session is found again by its client identifier");
        }
        let Credentials { username, password } = self.broker.credentials()?;
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
        self.broker.check()
    }

    /// What to ask for in CONNECT, unless a property says it: -x, or for ever if the session is kept.
    pub fn session_expiry_secs(&self) -> Result<Option<u32>, ClientError> {
        if self.broker.version != Version::V5 || self.names_session_expiry()? {
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

    /// Empty: the broker is to assign one.
    pub fn client_id(&self) -> String {
        let number = std::process::id();
        match (&self.id, &self.id_prefix) {
            (Some(id), _) => id.clone(),
            (None, Some(prefix)) => format!("{prefix}{number}"),
            // MQTT 3.1 section 3.1 knows no empty client identifier.
            (None, None) if self.broker.version == Version::V31 => format!("tidegate-{number}"),
            (None, None) => String::new(),
        }
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
            let broker = options(line).broker;
            assert_eq!((broker.host(), broker.port(), broker.web_path()), (host, port, path), "{line}");
        }
        assert!(options("pub -p 8883").broker.is_tls());
        assert!(Client::try_parse_from(["pub", "-L", "mqtt://a", "-p", "1"]).is_err());
    }

    #[test]
    fn the_user_is_that_of_the_command_line_or_the_url() {
        let known = |line: &str| options(line).broker.credentials().unwrap();
        let expected = Credentials { username: Some("me".to_owned()), password: Some("a word".to_owned()) };
        assert_eq!(known("pub -L mqtt://me:a%20word@broker/a"), expected);
        assert_eq!(known("pub -L mqtt://you@broker -u me -P word").username.as_deref(), Some("me"));
        let file = std::env::temp_dir().join(format!("tidegate-password-{}", std::process::id()));
        std::fs::write(&file, "a word\n").unwrap();
        assert_eq!(known(&format!("pub -u me -P file://{}", file.display())), expected);
        std::fs::remove_file(&file).unwrap();
    }
}
