use std::time::Duration;

use clap::Args;
use gateway_model::{Qos, RetainHandling, TopicFilter};
use protocol_mqtt::codec::{RequestedFilter, Version};

use super::error::{ClientError, EXIT_CODES};
use super::format::Format;
use super::options::{ConnectOptions, qos, seconds};

/// For `--help`.
const LETTERS: &str = "\
Format (-F):
  %t topic, %p payload, %x %X payload in hex, %l its length, %q QoS, %r retain, %d duplicate,
  %m packet identifier, %j all as JSON, %J the same with the payload as JSON
  MQTT 5: %A topic alias, %C content type, %D correlation data, %E expiry, %F payload format,
  %P user properties, %R response topic, %S subscription identifiers
  Time (UTC): %I ISO 8601, %U since 1970; @Y @m @d @H @M @S @N and others as in date(1)
  %% @@ \\n \\t \\r \\0 \\a \\e \\v \\\\; a width as in %-20t or %06l, a precision as in %.10p";

#[derive(Args, Clone, Debug)]
#[command(disable_help_flag = true, args_override_self = true, after_help = format!("{LETTERS}\n\n{EXIT_CODES}"))]
pub struct SubscribeOptions {
    /// Topic filters, instead of -t
    #[arg(value_name = "FILTER")]
    pub positional: Vec<String>,
    /// Topic filter to subscribe to; may be repeated
    #[arg(short = 't', long = "topic", value_name = "FILTER")]
    pub topics: Vec<String>,
    /// Do not print messages on topics that match; may be repeated
    #[arg(short = 'T', long, value_name = "FILTER")]
    pub filter_out: Vec<String>,
    /// Unsubscribe, as from a filter of a kept session; may be repeated
    #[arg(short = 'U', long, value_name = "FILTER")]
    pub unsubscribe: Vec<String>,
    /// Highest quality of service to receive with
    #[arg(short, long, default_value = "0", value_parser = qos)]
    pub qos: Qos,
    /// End after this many messages
    #[arg(short = 'C', long, value_name = "COUNT")]
    pub count: Option<u64>,
    /// End with exit code 27 if this many seconds go by before -C is reached
    #[arg(short = 'W', long, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
    /// End as soon as the subscriptions are acknowledged
    #[arg(short = 'E')]
    pub end_when_subscribed: bool,
    /// Print the topic before the payload
    #[arg(short, long, conflicts_with = "format")]
    pub verbose: bool,
    /// How to print a message, as in '%t %p'; the letters are below
    #[arg(short = 'F', long)]
    pub format: Option<String>,
    /// %j and %J over several lines
    #[arg(long)]
    pub pretty: bool,
    /// No line end after a message
    #[arg(short = 'N')]
    pub no_line_end: bool,
    /// Do not print messages that were retained before the subscription
    #[arg(short = 'R', long, conflicts_with_all = ["retained_only", "remove_retained"])]
    pub no_retained: bool,
    /// Print retained messages only, and end with the first that is not
    #[arg(long)]
    pub retained_only: bool,
    /// Clear the retained messages that come; -T excepts some
    #[arg(long)]
    pub remove_retained: bool,
    /// Keep the retain mark as it was published (MQTT 5)
    #[arg(long)]
    pub retain_as_published: bool,
    /// When to send retained messages: always, new (not to a kept subscription) or never (MQTT 5)
    #[arg(long, value_name = "WHEN", value_parser = retain_handling)]
    pub retain_handling: Option<RetainHandling>,
    /// Leave out what this very client publishes, as its will (MQTT 5)
    #[arg(long)]
    pub no_local: bool,
    #[command(flatten)]
    pub connect: ConnectOptions,
}

impl SubscribeOptions {
    /// What to subscribe to.
    pub fn filters(&self) -> Result<Vec<TopicFilter>, ClientError> {
        let texts = self.topics.iter().chain(&self.positional).map(String::as_str);
        let filters = parsed(texts.chain(self.connect.broker.url_topic()))?;
        if filters.is_empty() && self.unsubscribe.is_empty() {
            return Err(ClientError::Usage("name a topic filter: tidegate sub 'demo/#'".to_owned()));
        }
        Ok(filters)
    }

    pub fn filtered_out(&self) -> Result<Vec<TopicFilter>, ClientError> {
        parsed(self.filter_out.iter().map(String::as_str))
    }

    pub fn format(&self) -> Result<Format, ClientError> {
        let format = match (&self.format, self.verbose) {
            (Some(format), _) => Format::parse(format).map_err(ClientError::Usage)?,
            (None, true) => Format::verbose(),
            (None, false) => Format::payload(),
        };
        Ok(format.with_line_end(!self.no_line_end).pretty(self.pretty))
    }

    pub fn check(&self) -> Result<(), ClientError> {
        let needs_v5 = [
            ("--retain-as-published", self.retain_as_published),
            ("--retain-handling", self.retain_handling.is_some()),
            ("--no-local", self.no_local),
        ];
        match needs_v5
            .into_iter()
            .find(|(_, is_given)| *is_given && self.connect.broker.version != Version::V5)
        {
            Some((name, _)) => Err(ClientError::Usage(format!("{name} needs MQTT 5 (-V 5)"))),
            None => Ok(()),
        }
    }

    /// A filter with the options of this run.
    pub fn requested<'a>(&self, filter: &'a str) -> RequestedFilter<'a> {
        let handling = self.retain_handling.unwrap_or(match self.no_retained {
            true => RetainHandling::Never,
            false => RetainHandling::Always,
        });
        RequestedFilter {
            // MQTT-3.8.3-4: not together with a shared subscription.
            no_local: self.no_local && !filter.starts_with("$share/"),
            retain_as_published: self.retain_as_published,
            retain_handling: handling,
            ..RequestedFilter::new(filter, self.qos)
        }
    }
}

fn parsed<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<TopicFilter>, ClientError> {
    let parse = |text: &str| {
        TopicFilter::parse(text).map_err(|error| ClientError::Usage(format!("{text:?}: {error}")))
    };
    texts.map(parse).collect()
}

fn retain_handling(text: &str) -> Result<RetainHandling, String> {
    match text {
        "always" => Ok(RetainHandling::Always),
        "new" => Ok(RetainHandling::IfNew),
        "never" => Ok(RetainHandling::Never),
        _ => Err("write always, new or never".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Subscriber {
        #[command(flatten)]
        options: SubscribeOptions,
    }

    fn options(line: &str) -> SubscribeOptions {
        Subscriber::try_parse_from(line.split(' ')).unwrap_or_else(|error| panic!("{error}")).options
    }

    #[test]
    fn filters_come_by_name_by_place_and_by_url() {
        let filters = |line: &str| {
            let filters = options(line).filters().unwrap();
            filters.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(filters("sub -t a -t b/+ c"), ["a", "b/+", "c"]);
        assert_eq!(filters("sub -L mqtt://host/a/%23"), ["a/#"]);
        assert_eq!(filters("sub -U a"), Vec::<String>::new());
        assert!(options("sub").filters().is_err());
        assert!(options("sub a/#/b").filters().is_err());
        assert!(options("sub a -T b#").filtered_out().is_err());
    }

    #[test]
    fn the_options_of_a_subscription_are_said() {
        let requested = options("sub a -q 1 -R --retain-as-published --no-local").requested("a");
        assert!(requested.retain_as_published && requested.no_local);
        assert_eq!(requested.retain_handling, RetainHandling::Never);
        assert_eq!(requested.qos, Qos::AtLeastOnce);
        let shared = options("sub x --no-local --retain-handling new").requested("$share/g/a");
        assert_eq!((shared.no_local, shared.retain_handling), (false, RetainHandling::IfNew));
    }

    #[test]
    fn what_needs_mqtt_5_says_so() {
        for option in ["--no-local", "--retain-as-published", "--retain-handling new"] {
            assert!(options(&format!("sub a -V 311 {option}")).check().is_err(), "{option}");
            assert!(options(&format!("sub a {option}")).check().is_ok(), "{option}");
        }
    }
}
