use clap::{ArgAction, Args};
use gateway_model::{PayloadFormat, Qos, Topic, TopicFilter};
use protocol_mqtt::codec::{Property, PropertyBuffer, Version};

use super::error::{ClientError, EXIT_CODES};

/// How to reach the broker, and as whom.
#[derive(Args, Clone, Debug)]
pub struct ConnectOptions {
    /// Host or address of the broker
    #[arg(short = 'h', long, default_value = "127.0.0.1")]
    pub host: String,
    /// Port of the broker [default: 1883, with --ws 8083]
    #[arg(short, long)]
    pub port: Option<u16>,
    /// Client identifier [default: the broker assigns one]
    #[arg(short, long)]
    pub id: Option<String>,
    /// User name
    #[arg(short, long)]
    pub username: Option<String>,
    /// Password
    #[arg(short = 'P', long)]
    pub password: Option<String>,
    /// MQTT version: 5, 311 or 31
    #[arg(short = 'V', long = "protocol-version", default_value = "5", value_parser = version)]
    pub version: Version,
    /// Seconds between signs of life
    #[arg(short, long, default_value_t = 60)]
    pub keep_alive: u16,
    /// Keep the session when the client ends (needs --id)
    #[arg(short = 'c', long)]
    pub keep_session: bool,
    /// Seconds the session outlives the connection [default: with -c as long as the broker allows]
    #[arg(short = 'x', long, value_name = "SECS")]
    pub session_expiry: Option<u32>,
    /// MQTT over WebSocket
    #[arg(long)]
    pub ws: bool,
    /// Path of the WebSocket
    #[arg(long, default_value = "/mqtt", value_name = "PATH")]
    pub ws_path: String,
    /// Topic of the will: what the broker publishes if the client vanishes
    #[arg(long, value_name = "TOPIC")]
    pub will_topic: Option<String>,
    /// Payload of the will
    #[arg(long, value_name = "TEXT", requires = "will_topic")]
    pub will_payload: Option<String>,
    /// QoS of the will
    #[arg(long, value_name = "QOS", default_value = "0", value_parser = qos)]
    pub will_qos: Qos,
    /// Retain the will
    #[arg(long, requires = "will_topic")]
    pub will_retain: bool,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

impl ConnectOptions {
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(if self.ws { 8083 } else { 1883 })
    }

    /// Finds what the packet could not say or the broker would only refuse.
    pub fn check(&self) -> Result<(), ClientError> {
        let usage = |text: &str| Err(ClientError::Usage(text.to_owned()));
        if self.keep_session && self.id.is_none() {
            return usage("--keep-session needs --id: a session is found again by its client identifier");
        }
        if self.version != Version::V5 && self.password.is_some() && self.username.is_none() {
            return usage("before MQTT 5 a password needs a user name (-u)");
        }
        if self.version != Version::V5 && self.session_expiry.is_some() {
            return usage("--session-expiry needs MQTT 5");
        }
        if let Some(topic) = &self.will_topic {
            Topic::parse(topic).map_err(|error| ClientError::Usage(format!("--will-topic: {error}")))?;
        }
        Ok(())
    }
}

#[derive(Args, Clone, Debug)]
#[command(disable_help_flag = true, after_help = EXIT_CODES)]
pub struct PublishOptions {
    /// Topic and message, instead of -t and -m
    #[arg(value_name = "TOPIC [MESSAGE]", num_args = 0..=2)]
    pub positional: Vec<String>,
    #[command(flatten)]
    pub connect: ConnectOptions,
    /// Topic to publish on
    #[arg(short, long)]
    pub topic: Option<String>,
    /// The message
    #[arg(short, long, group = "payload", allow_hyphen_values = true)]
    pub message: Option<String>,
    /// Each line of standard input is a message
    #[arg(short = 'l', long = "stdin-lines", group = "payload")]
    pub lines: bool,
    /// The message is the contents of a file; - is standard input
    #[arg(short, long, group = "payload", value_name = "FILE")]
    pub file: Option<String>,
    /// An empty message; with -r it clears the retained one
    #[arg(short, long, group = "payload")]
    pub null: bool,
    /// Quality of service: 0 at most once, 1 at least once, 2 exactly once
    #[arg(short, long, default_value = "0", value_parser = qos)]
    pub qos: Qos,
    /// Retain the message
    #[arg(short, long)]
    pub retain: bool,
    /// MQTT 5 property: content-type, response-topic, correlation-data, message-expiry-interval,
    /// payload-format-indicator, or user-property=NAME=VALUE; may be repeated
    #[arg(short = 'D', long = "property", value_name = "NAME=VALUE")]
    pub properties: Vec<String>,
}

/// Where the messages of `pub` come from.
#[derive(Debug, PartialEq, Eq)]
pub enum Payload {
    One(Vec<u8>),
    /// A file by name, `-` for standard input.
    File(String),
    Lines,
}

impl PublishOptions {
    /// The topic and where the payload comes from.
    pub fn subject(&self) -> Result<(Topic, Payload), ClientError> {
        let usage = |text: &str| ClientError::Usage(text.to_owned());
        let (topic, message) = match (&self.topic, self.positional.as_slice()) {
            (Some(topic), []) => (topic, None),
            (Some(topic), [message]) => (topic, Some(message)),
            (None, [topic]) => (topic, None),
            (None, [topic, message]) => (topic, Some(message)),
            (None, _) => {
                return Err(usage("name a topic: tidegate pub TOPIC MESSAGE, or -t TOPIC -m MESSAGE"));
            }
            (Some(_), _) => return Err(usage("the topic is given twice")),
        };
        let topic = Topic::parse(topic).map_err(|error| usage(&format!("{topic:?}: {error}")))?;
        let others = self.lines || self.null || self.file.is_some();
        let payload = match (message.or(self.message.as_ref()), &self.file) {
            (Some(_), _) if others || (message.is_some() && self.message.is_some()) => {
                return Err(usage("the message is given twice"));
            }
            (Some(message), _) => Payload::One(message.clone().into_bytes()),
            (None, Some(file)) => Payload::File(file.clone()),
            (None, None) if self.lines => Payload::Lines,
            (None, None) if self.null => Payload::One(Vec::new()),
            (None, None) => {
                return Err(usage("give a message: -m TEXT, -f FILE, -l (lines from standard input) or -n"));
            }
        };
        Ok((topic, payload))
    }

    /// The properties of every message.
    pub fn properties(&self) -> Result<PropertyBuffer, ClientError> {
        let mut buffer = PropertyBuffer::default();
        if self.connect.version != Version::V5 && !self.properties.is_empty() {
            return Err(ClientError::Usage("properties (-D) need MQTT 5".to_owned()));
        }
        for text in &self.properties {
            let property = property(text).map_err(ClientError::Usage)?;
            buffer.push(property);
        }
        Ok(buffer)
    }
}

#[derive(Args, Clone, Debug)]
#[command(disable_help_flag = true, after_help = EXIT_CODES)]
pub struct SubscribeOptions {
    /// Topic filters, instead of -t
    #[arg(value_name = "FILTER")]
    pub positional: Vec<String>,
    #[command(flatten)]
    pub connect: ConnectOptions,
    /// Topic filter to subscribe to; may be repeated
    #[arg(short = 't', long = "topic", value_name = "FILTER")]
    pub topics: Vec<String>,
    /// Highest quality of service to receive with
    #[arg(short, long, default_value = "0", value_parser = qos)]
    pub qos: Qos,
    /// End after this many messages
    #[arg(short = 'C', long, value_name = "COUNT")]
    pub count: Option<u64>,
    /// End with exit code 27 if this many seconds go by before -C is reached
    #[arg(short = 'W', long, value_name = "SECONDS")]
    pub timeout: Option<f64>,
    /// Print the topic before the payload
    #[arg(short, long, conflicts_with = "format")]
    pub verbose: bool,
    /// How to print: %t topic, %p payload, %x payload in hex, %l its length, %q QoS, %r retain,
    /// %d duplicate, %j all as JSON, %U unix time, %% percent, \n \t \\
    #[arg(short = 'F', long)]
    pub format: Option<String>,
    /// Leave out messages that were retained before the subscription
    #[arg(short = 'R', long)]
    pub no_retained: bool,
}

impl SubscribeOptions {
    pub fn filters(&self) -> Result<Vec<TopicFilter>, ClientError> {
        let texts: Vec<_> = self.topics.iter().chain(&self.positional).collect();
        if texts.is_empty() {
            return Err(ClientError::Usage("name a topic filter: tidegate sub 'demo/#'".to_owned()));
        }
        let parse = |text: &&String| {
            TopicFilter::parse(text).map_err(|error| ClientError::Usage(format!("{text:?}: {error}")))
        };
        texts.iter().map(parse).collect()
    }
}

fn version(text: &str) -> Result<Version, String> {
    match text {
        "5" | "v5" | "mqttv5" => Ok(Version::V5),
        "311" | "3.1.1" | "4" | "mqttv311" => Ok(Version::V311),
        "31" | "3.1" | "3" | "mqttv31" => Ok(Version::V31),
        _ => Err("write 5, 311 or 31".to_owned()),
    }
}

fn qos(text: &str) -> Result<Qos, String> {
    text.parse().ok().and_then(Qos::from_u8).ok_or_else(|| "write 0, 1 or 2".to_owned())
}

fn property(text: &str) -> Result<Property<'_>, String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("-D {text}: write NAME=VALUE"))?;
    let number = || value.parse::<u32>().map_err(|_| format!("-D {name}: {value:?} is not a whole number"));
    Ok(match name {
        "content-type" => Property::ContentType(value),
        "response-topic" => match Topic::parse(value) {
            Ok(_) => Property::ResponseTopic(value),
            Err(error) => return Err(format!("-D {name}: {error}")),
        },
        "correlation-data" => Property::CorrelationData(value.as_bytes()),
        "message-expiry-interval" => Property::MessageExpirySecs(number()?),
        "payload-format-indicator" => match value {
            "0" => Property::PayloadFormat(PayloadFormat::Unspecified),
            "1" => Property::PayloadFormat(PayloadFormat::Utf8),
            _ => return Err(format!("-D {name}: write 0 (bytes) or 1 (UTF-8)")),
        },
        "user-property" => match value.split_once('=') {
            Some((name, value)) => Property::User(name, value),
            None => return Err("-D user-property: write user-property=NAME=VALUE".to_owned()),
        },
        _ => {
            return Err(format!(
                "-D {name}: unknown property; known: content-type, response-topic, correlation-data, \
                 message-expiry-interval, payload-format-indicator, user-property"
            ));
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Publisher {
        #[command(flatten)]
        options: PublishOptions,
    }

    fn options(line: &str) -> PublishOptions {
        Publisher::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{error}")).options
    }

    fn subject(line: &str) -> Result<(String, Payload), String> {
        let subject = options(line).subject();
        subject.map(|(topic, payload)| (topic.to_string(), payload)).map_err(|error| error.to_string())
    }

    #[test]
    fn topic_and_message_come_by_name_or_by_place() {
        let hello = || Payload::One(b"hello".to_vec());
        for line in ["pub a hello", "pub -t a -m hello", "pub -t a hello", "pub a -m hello"] {
            assert_eq!(subject(line), Ok(("a".to_owned(), hello())), "{line}");
        }
        assert_eq!(subject("pub -t a -m -5"), Ok(("a".to_owned(), Payload::One(b"-5".to_vec()))));
        assert_eq!(subject("pub a -l"), Ok(("a".to_owned(), Payload::Lines)));
        assert_eq!(subject("pub a -f -"), Ok(("a".to_owned(), Payload::File("-".to_owned()))));
        assert_eq!(subject("pub a -n -r"), Ok(("a".to_owned(), Payload::One(Vec::new()))));
        for (line, text) in [
            ("pub", "name a topic"),
            ("pub a", "give a message"),
            ("pub a b -m c", "given twice"),
            ("pub a b -l", "given twice"),
            ("pub -t a b c", "given twice"),
            ("pub a/+ b", "wildcard"),
        ] {
            assert!(subject(line).unwrap_err().contains(text), "{line}");
        }
    }

    #[test]
    fn properties_are_parsed_by_their_names_in_the_standard() {
        let line = "pub a b -D content-type=text/plain -D user-property=k=v=w -D message-expiry-interval=9";
        let buffer = options(line).properties().unwrap();
        let properties: Vec<_> = buffer.as_properties().iter().collect();
        assert_eq!(
            properties,
            [Property::ContentType("text/plain"), Property::User("k", "v=w"), Property::MessageExpirySecs(9)]
        );
        for wrong in
            ["content", "message-expiry-interval=soon", "response-topic=a/#", "x=y", "user-property=k"]
        {
            assert!(options(&format!("pub a b -D {wrong}")).properties().is_err(), "{wrong}");
        }
        assert!(options("pub a b -V 311 -D content-type=x").properties().is_err());
    }

    #[test]
    fn what_cannot_work_is_refused_before_connecting() {
        for line in ["pub a b -c", "pub a b -V 311 -P word", "pub a b -V 31 -x 5", "pub a b --will-topic a/#"]
        {
            assert!(matches!(options(line).connect.check(), Err(ClientError::Usage(_))), "{line}");
        }
        assert!(options("pub a b -c -i x -u me -P word").connect.check().is_ok());
    }
}
