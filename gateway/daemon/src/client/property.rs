//! `-D`: the properties of MQTT 5 by their names in the standard.

use std::ffi::OsString;

use gateway_model::{PayloadFormat, Topic};
use protocol_mqtt::codec::{Property, PropertyBuffer};

/// The packets that a client may put properties into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Connect,
    Publish,
    Subscribe,
    Unsubscribe,
    Disconnect,
    Will,
}

/// Between the words of a property that came as several arguments: none can contain it.
const SEPARATOR: &str = "\0";

const USER_PROPERTY: &str = "user-property";

impl Command {
    pub const ALL: [Self; 6] =
        [Self::Connect, Self::Publish, Self::Subscribe, Self::Unsubscribe, Self::Disconnect, Self::Will];

    fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Publish => "publish",
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Disconnect => "disconnect",
            Self::Will => "will",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|command| command.name() == text)
    }

    /// Besides user-property, which all take (MQTT 5.0 table 2-4).
    fn properties(self) -> &'static [&'static str] {
        match self {
            Self::Connect => &[
                "authentication-data",
                "authentication-method",
                "maximum-packet-size",
                "receive-maximum",
                "request-problem-information",
                "request-response-information",
                "session-expiry-interval",
                "topic-alias-maximum",
            ],
            Self::Publish => &[
                "content-type",
                "correlation-data",
                "message-expiry-interval",
                "payload-format-indicator",
                "response-topic",
                "topic-alias",
            ],
            Self::Subscribe => &["subscription-identifier"],
            Self::Unsubscribe => &[],
            Self::Disconnect => &["session-expiry-interval"],
            Self::Will => &[
                "content-type",
                "correlation-data",
                "message-expiry-interval",
                "payload-format-indicator",
                "response-topic",
                "will-delay-interval",
            ],
        }
    }
}

/// Makes one argument of `-D COMMAND NAME VALUE [VALUE]`, the form of mosquitto_pub, which has as
/// many arguments as the property has values.
pub fn fold_properties(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut folded: Vec<OsString> = Vec::new();
    let mut arguments = arguments.into_iter().peekable();
    while let Some(argument) = arguments.next() {
        let is_value = folded.last().is_some_and(|last| last == "-m" || last == "--message");
        let is_property = argument == "-D" || argument == "--property";
        folded.push(argument);
        let command = arguments.peek().and_then(|next| Command::parse(next.to_str()?));
        if !is_property || is_value || command.is_none() {
            continue;
        }
        let mut words: Vec<OsString> = arguments.by_ref().take(3).collect();
        if words.get(1).is_some_and(|name| name == USER_PROPERTY) {
            words.extend(arguments.next());
        }
        folded.push(words.join(SEPARATOR.as_ref()));
    }
    folded
}

/// The properties of one kind of packet among all that were asked for.
pub fn properties(texts: &[String], command: Command) -> Result<PropertyBuffer, String> {
    let mut buffer = PropertyBuffer::default();
    let mut seen = Vec::new();
    for text in texts {
        let (of, name, values) = words(text)?;
        if of != command {
            continue;
        }
        if name != USER_PROPERTY && seen.contains(&name) {
            return Err(format!("-D {}: {name} is given twice", command.name()));
        }
        seen.push(name);
        buffer.push(property(command, name, &values)?);
    }
    Ok(buffer)
}

/// The command, the name and the values of `publish NAME VALUE...` or `NAME=VALUE`.
fn words(text: &str) -> Result<(Command, &str, Vec<&str>), String> {
    if let Some((command, rest)) = text.split_once(SEPARATOR) {
        let mut words = rest.split(SEPARATOR);
        let name = words.next().unwrap_or_default();
        let command = Command::parse(command).unwrap_or(Command::Publish);
        return Ok((command, name, words.collect()));
    }
    let Some((name, value)) = text.split_once('=') else {
        return Err(format!(
            "-D {text}: write COMMAND NAME VALUE, as in `-D publish content-type text/plain`"
        ));
    };
    let values = match name {
        USER_PROPERTY => value.split_once('=').map_or(vec![value], |(name, value)| vec![name, value]),
        _ => vec![value],
    };
    Ok((Command::Publish, name, values))
}

fn property<'a>(command: Command, name: &str, values: &[&'a str]) -> Result<Property<'a>, String> {
    let of = command.name();
    if name == USER_PROPERTY {
        return match values {
            [name, value] => Ok(Property::User(name, value)),
            _ => Err(format!("-D {of} {USER_PROPERTY}: write its NAME and its VALUE")),
        };
    }
    if !command.properties().contains(&name) {
        let mut known = command.properties().to_vec();
        known.push(USER_PROPERTY);
        return Err(format!("-D {of} {name}: unknown property; known: {}", known.join(", ")));
    }
    let [value] = values else { return Err(format!("-D {of} {name}: its value is missing")) };
    let wrong = |what: &str| format!("-D {of} {name}: {value:?} is not {what}");
    let number = || value.parse::<u32>().map_err(|_| wrong("a whole number"));
    let small = || value.parse::<u16>().map_err(|_| wrong("a whole number up to 65535"));
    let positive = |number: u16| if number == 0 { Err(wrong("above 0")) } else { Ok(number) };
    let truth = || match *value {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(wrong("0 or 1")),
    };
    Ok(match name {
        "authentication-method" => Property::AuthenticationMethod(value),
        "authentication-data" => Property::AuthenticationData(value.as_bytes()),
        "maximum-packet-size" => match number()? {
            0 => return Err(wrong("above 0")),
            size => Property::MaximumPacketBytes(size),
        },
        "receive-maximum" => Property::ReceiveMaximum(positive(small()?)?),
        "request-problem-information" => Property::RequestProblemInformation(truth()?),
        "request-response-information" => Property::RequestResponseInformation(truth()?),
        "session-expiry-interval" => Property::SessionExpirySecs(number()?),
        "topic-alias-maximum" => Property::TopicAliasMaximum(small()?),
        "topic-alias" => Property::TopicAlias(positive(small()?)?),
        "content-type" => Property::ContentType(value),
        "correlation-data" => Property::CorrelationData(value.as_bytes()),
        "message-expiry-interval" => Property::MessageExpirySecs(number()?),
        "payload-format-indicator" => Property::PayloadFormat(match truth()? {
            true => PayloadFormat::Utf8,
            false => PayloadFormat::Unspecified,
        }),
        "response-topic" => match Topic::parse(value) {
            Ok(_) => Property::ResponseTopic(value),
            Err(error) => return Err(format!("-D {of} {name}: {error}")),
        },
        // MQTT 5.0 section 3.8.2.1.2: 1 to 268,435,455.
        "subscription-identifier" => match number()? {
            identifier @ 1..=0x0FFF_FFFF => Property::SubscriptionIdentifier(identifier),
            _ => return Err(wrong("a number from 1 to 268435455")),
        },
        _ => Property::WillDelaySecs(number()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As one argument, with the separator between the words.
    fn joined(text: &str) -> String {
        text.replace('|', SEPARATOR)
    }

    fn folded(line: &str) -> Vec<String> {
        let folded = fold_properties(line.split(' ').map(OsString::from));
        folded.into_iter().map(|argument| argument.into_string().unwrap().replace(SEPARATOR, "|")).collect()
    }

    #[test]
    fn a_property_takes_as_many_arguments_as_it_has_values() {
        assert_eq!(
            folded("pub -D publish user-property k v a hello --property connect receive-maximum -5"),
            [
                "pub",
                "-D",
                "publish|user-property|k|v",
                "a",
                "hello",
                "--property",
                "connect|receive-maximum|-5"
            ]
        );
        assert_eq!(folded("pub -D content-type=x a"), ["pub", "-D", "content-type=x", "a"]);
        assert_eq!(folded("pub -m -D publish a b"), ["pub", "-m", "-D", "publish", "a", "b"]);
        assert_eq!(folded("pub -D publish"), ["pub", "-D", "publish"]);
    }

    #[test]
    fn each_packet_has_its_own() {
        let texts = [
            "content-type=text/plain",
            "user-property=k=v=w",
            "publish|message-expiry-interval|9",
            "connect|session-expiry-interval|7",
            "disconnect|session-expiry-interval|0",
            "subscribe|subscription-identifier|3",
            "will|will-delay-interval|5",
            "unsubscribe|user-property|a|b",
        ]
        .map(joined);
        let of = |command| {
            let buffer = properties(&texts, command).unwrap();
            format!("{:?}", buffer.as_properties().iter().collect::<Vec<_>>())
        };
        assert_eq!(
            of(Command::Publish),
            "[ContentType(\"text/plain\"), User(\"k\", \"v=w\"), MessageExpirySecs(9)]"
        );
        assert_eq!(of(Command::Connect), "[SessionExpirySecs(7)]");
        assert_eq!(of(Command::Disconnect), "[SessionExpirySecs(0)]");
        assert_eq!(of(Command::Subscribe), "[SubscriptionIdentifier(3)]");
        assert_eq!(of(Command::Will), "[WillDelaySecs(5)]");
        assert_eq!(of(Command::Unsubscribe), "[User(\"a\", \"b\")]");
    }

    #[test]
    fn wrong_ones_are_refused() {
        for wrong in [
            "content",
            "message-expiry-interval=soon",
            "response-topic=a/#",
            "x=y",
            "user-property=k",
            "publish|user-property|k",
            "publish|content-type",
            "publish|will-delay-interval|5",
            "publish|topic-alias|0",
            "publish|payload-format-indicator|2",
        ] {
            assert!(properties(&[joined(wrong)], Command::Publish).is_err(), "{wrong}");
        }
        let twice = ["content-type=a", "content-type=b"].map(str::to_owned);
        assert!(properties(&twice, Command::Publish).is_err());
    }
}
