use std::time::Duration;

use clap::Args;
use gateway_model::{Qos, Topic};

use super::error::{ClientError, EXIT_CODES};
use super::options::{ConnectOptions, qos, seconds};

#[derive(Args, Clone, Debug)]
#[command(disable_help_flag = true, args_override_self = true, after_help = EXIT_CODES)]
pub struct PublishOptions {
    /// Topic and message, instead of -t and -m
    #[arg(value_name = "TOPIC [MESSAGE]")]
    pub positional: Vec<String>,
    /// Topic to publish on
    #[arg(short, long)]
    pub topic: Option<String>,
    /// The message
    #[arg(short, long, group = "payload", allow_hyphen_values = true)]
    pub message: Option<String>,
    /// Each line of standard input is a message; a lost connection is made anew
    #[arg(short = 'l', long = "stdin-line", alias = "stdin-lines", group = "payload")]
    pub lines: bool,
    /// All of standard input is the message
    #[arg(short = 's', long = "stdin-file", group = "payload")]
    pub stdin: bool,
    /// The message is the contents of a file; - is standard input
    #[arg(short, long, group = "payload", value_name = "FILE")]
    pub file: Option<String>,
    /// An empty message; with -r it clears the retained one
    #[arg(short, long = "null-message", alias = "null", group = "payload")]
    pub null: bool,
    /// Quality of service: 0 at most once, 1 at least once, 2 exactly once
    #[arg(short, long, default_value = "0", value_parser = qos)]
    pub qos: Qos,
    /// Retain the message
    #[arg(short, long)]
    pub retain: bool,
    /// Publish the message this many times
    #[arg(long, value_name = "COUNT", default_value_t = 1, conflicts_with = "lines")]
    pub repeat: u64,
    /// Seconds between repetitions
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    pub repeat_delay: Duration,
    #[command(flatten)]
    pub connect: ConnectOptions,
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
        let named = self.topic.as_deref().or(self.connect.broker.url_topic());
        let (topic, message) = match (named, self.positional.as_slice()) {
            (Some(topic), []) => (topic, None),
            (Some(topic), [message]) => (topic, Some(message)),
            (None, [topic]) => (topic.as_str(), None),
            (None, [topic, message]) => (topic.as_str(), Some(message)),
            (None, []) => {
                return Err(usage("name a topic: tidegate pub TOPIC MESSAGE, or -t TOPIC -m MESSAGE"));
            }
            (Some(_), [_, _]) => return Err(usage("the topic is given twice")),
            (_, [.., last]) => {
                let text =
                    format!("too much at {last:?}; a message with spaces goes into quotes: 'hello world'");
                return Err(usage(&text));
            }
        };
        let topic = Topic::parse(topic).map_err(|error| usage(&format!("{topic:?}: {error}")))?;
        let others = self.lines || self.null || self.stdin || self.file.is_some();
        let payload = match (message.or(self.message.as_ref()), &self.file) {
            (Some(_), _) if others || (message.is_some() && self.message.is_some()) => {
                return Err(usage("the message is given twice"));
            }
            (Some(message), _) => Payload::One(message.clone().into_bytes()),
            (None, Some(file)) => Payload::File(file.clone()),
            (None, None) if self.stdin => Payload::File("-".to_owned()),
            (None, None) if self.lines => Payload::Lines,
            (None, None) if self.null => Payload::One(Vec::new()),
            (None, None) => {
                return Err(usage(
                    "give a message: -m TEXT, -f FILE, -s (standard input), -l (its lines) or -n (none)",
                ));
            }
        };
        Ok((topic, payload))
    }
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

    fn subject(line: &str) -> Result<(String, Payload), String> {
        let parsed = Publisher::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{error}"));
        let subject = parsed.options.subject();
        subject.map(|(topic, payload)| (topic.to_string(), payload)).map_err(|error| error.to_string())
    }

    #[test]
    fn topic_and_message_come_by_name_or_by_place() {
        let hello = || Payload::One(b"hello".to_vec());
        for line in [
            "pub a hello",
            "pub -t a -m hello",
            "pub -t a hello",
            "pub a -m hello",
            "pub -L mqtt://b/a -m hello",
            "pub -L mqtt://b/a hello",
        ] {
            assert_eq!(subject(line), Ok(("a".to_owned(), hello())), "{line}");
        }
        assert_eq!(subject("pub -t a -m -5"), Ok(("a".to_owned(), Payload::One(b"-5".to_vec()))));
        assert_eq!(subject("pub a -l"), Ok(("a".to_owned(), Payload::Lines)));
        assert_eq!(subject("pub a -s"), Ok(("a".to_owned(), Payload::File("-".to_owned()))));
        assert_eq!(subject("pub a -f -"), Ok(("a".to_owned(), Payload::File("-".to_owned()))));
        assert_eq!(subject("pub a -n -r"), Ok(("a".to_owned(), Payload::One(Vec::new()))));
        for (line, text) in [
            ("pub", "name a topic"),
            ("pub a", "give a message"),
            ("pub a b -m c", "given twice"),
            ("pub a b -l", "given twice"),
            ("pub -t a b c", "given twice"),
            ("pub a hello world", "quotes"),
            ("pub -t a hello big world", "quotes"),
            ("pub a/+ b", "wildcard"),
        ] {
            assert!(subject(line).unwrap_err().contains(text), "{line}");
        }
    }
}
