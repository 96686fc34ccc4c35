use std::net::IpAddr;
use std::time::Duration;

use clap::{Args, Subcommand};
use gateway_model::{Qos, Topic, TopicFilter};
use ipnet::IpNet;

use super::pattern::Pattern;
use super::stamp::Stamp;
use crate::client::{BrokerOptions, ClientError, qos, seconds};

/// Measure a broker: any MQTT broker, with many clients
#[derive(Args, Clone, Debug)]
pub struct BenchOptions {
    #[command(subcommand)]
    pub command: BenchCommand,
}

#[derive(Clone, Debug, Subcommand)]
pub enum BenchCommand {
    /// Connect many clients, and hold them
    Connect(Box<ConnectBench>),
    /// Publish with many clients
    Pub(Box<PublishBench>),
    /// Subscribe with many clients: what `bench pub` sends on this machine is checked and timed
    Sub(Box<SubscribeBench>),
    /// Publish and subscribe: pairs of clients, or many to few and few to many
    #[command(name = "p2p")]
    PointToPoint(Box<PointToPointBench>),
}

/// For the end of `--help`.
const OUTPUT: &str = "\
Standard error has a line each second; standard output has the summary, or one JSON object. Ctrl-C
ends early, with the summary. In topics %i is the number of the client, %c its identifier, %u its user.
Exit codes: 0 everything that had to arrive has arrived, 1 it has not, 2 wrong usage";

const SHAPES: &str = "\
Shapes:
  -c 100               100 pairs; publisher and subscriber number i share the topic bench/i
  --pubs 500 --subs 4  each publisher has a topic of its own, the subscribers share the topics out
                       evenly (fan-in): each message is delivered once
  --pubs 1 --subs 100  more subscribers than topics: several have the same topic (fan-out), here each
                       message is delivered 100 times
  -t news              a topic without %i or %c is one for all: every subscriber gets every message
  --share group        a shared subscription: each message goes to one of the subscribers

Loops:
  --window W           closed: of each publisher at most W messages are unacknowledged or undelivered,
                       at QoS 0 too. Shows what a broker can carry; the times contain the wait in it
  --rate R             open: each publisher sends R a second whatever the broker does. Times count from
                       when a message was due, so that a stall shows in full

";

#[derive(Args, Clone, Debug)]
#[command(disable_help_flag = true, args_override_self = true, after_help = OUTPUT)]
pub struct ConnectBench {
    /// Each client subscribes to this, such as bench/%i
    #[arg(short, long, value_name = "FILTER")]
    pub topic: Option<String>,
    /// QoS of the subscription
    #[arg(short, long, default_value = "0", value_parser = qos)]
    pub qos: Qos,
    /// Seconds to hold the connections when all are there
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub hold: Duration,
    #[command(flatten)]
    pub clients: ClientOptions,
}

#[derive(Args, Clone, Debug)]
#[command(disable_help_flag = true, args_override_self = true, after_help = OUTPUT)]
pub struct PublishBench {
    /// Topic of each client
    #[arg(short, long, default_value = "bench/%i")]
    pub topic: String,
    #[command(flatten)]
    pub flow: FlowOptions,
    #[command(flatten)]
    pub clients: ClientOptions,
}

#[derive(Args, Clone, Debug)]
#[command(disable_help_flag = true, args_override_self = true, after_help = OUTPUT)]
pub struct SubscribeBench {
    /// Filter of each client
    #[arg(short, long, value_name = "FILTER", default_value = "bench/%i")]
    pub topic: String,
    /// QoS of the subscription
    #[arg(short, long, default_value = "0", value_parser = qos)]
    pub qos: Qos,
    /// End when all clients together have received this many; fewer are a failure
    #[arg(long, value_name = "MESSAGES")]
    pub count: Option<u64>,
    /// End after this many seconds [default: Ctrl-C, or --count]
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    pub duration: Option<Duration>,
    #[command(flatten)]
    pub clients: ClientOptions,
}

#[derive(Args, Clone, Debug)]
#[command(disable_help_flag = true, args_override_self = true, before_help = SHAPES, after_help = OUTPUT)]
pub struct PointToPointBench {
    /// Topic of each publisher
    #[arg(short, long, default_value = "bench/%i")]
    pub topic: String,
    /// Publishers [default: --clients]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub pubs: Option<u32>,
    /// Subscribers [default: --clients]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub subs: Option<u32>,
    /// The subscribers are members of this shared subscription: each message goes to one of them
    #[arg(long, value_name = "GROUP", value_parser = group)]
    pub share: Option<String>,
    #[command(flatten)]
    pub flow: FlowOptions,
    #[command(flatten)]
    pub clients: ClientOptions,
}

/// What is published, and how fast.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Messages")]
pub struct FlowOptions {
    /// Quality of service: 0 at most once, 1 at least once, 2 exactly once
    #[arg(short, long, default_value = "0", value_parser = qos)]
    pub qos: Qos,
    /// Bytes of each payload; it begins with 28 that tell who sent it, which one it is, and when
    #[arg(short, long, value_name = "BYTES", default_value_t = 64, value_parser = clap::value_parser!(u32).range(Stamp::LEN as i64..=PAYLOAD_BYTES_MAX))]
    pub size: u32,
    /// Retain the messages
    #[arg(short, long)]
    pub retain: bool,
    /// Messages that each publisher has under way at most
    #[arg(short, long, value_name = "MESSAGES", default_value_t = 16, conflicts_with_all = ["rate", "interval_of_msg"], value_parser = clap::value_parser!(u16).range(1..))]
    pub window: u16,
    /// Messages per second of each publisher, instead of --window
    #[arg(long, value_name = "PER_SECOND", value_parser = positive, conflicts_with = "interval_of_msg")]
    pub rate: Option<f64>,
    /// The same: milliseconds between two messages of a publisher
    #[arg(short = 'I', long, value_name = "MILLIS", value_parser = positive)]
    pub interval_of_msg: Option<f64>,
    /// End when each publisher has sent this many
    #[arg(long, value_name = "MESSAGES", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// Seconds to publish, 0 until Ctrl-C [default: 10, with --count until that]
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    pub duration: Option<Duration>,
    /// Seconds to publish before rates and times are measured; losses count from the beginning
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = seconds)]
    pub warmup: Duration,
    /// Seconds without any progress until what is still under way counts as lost
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    pub drain: Duration,
}

/// How many clients, from where, and what is told about them.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Clients")]
pub struct ClientOptions {
    /// Clients (p2p: pairs)
    #[arg(short, long = "clients", alias = "connections", value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub clients: u32,
    /// What client identifiers begin with; the number follows [default: bench-PID-]
    #[arg(long, value_name = "TEXT")]
    pub prefix: Option<String>,
    /// Number of the first client
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 0)]
    pub startnumber: u32,
    /// New connections per second [default: as many as --concurrency lets]
    #[arg(short = 'R', long = "connrate", value_name = "PER_SECOND", value_parser = positive, conflicts_with = "interval")]
    pub connect_rate: Option<f64>,
    /// The same: milliseconds between two new connections
    #[arg(short, long, value_name = "MILLIS", value_parser = positive)]
    pub interval: Option<f64>,
    /// Connections that are being opened at a time
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub concurrency: u32,
    /// Seconds until a connection has to stand
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub connect_timeout: Duration,
    /// Address of this machine to connect from, or a network whose addresses take turns: each has about
    /// 28,000 ports towards one port of a broker. 127.0.0.0/8 for a broker on this machine
    #[arg(long, value_name = "ADDRESS[/PREFIX]", value_parser = network)]
    pub source: Option<IpNet>,
    /// Threads of the generator, each with its share of the clients
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: u16,
    /// Process of a broker on this machine (Linux): tell its CPU time, memory and threads too
    #[arg(long, value_name = "PID")]
    pub pid: Option<u32>,
    /// Print the summary as one JSON object
    #[arg(long)]
    pub json: bool,
    /// No line each second, and no errors as they come; the summary has them
    #[arg(long)]
    pub quiet: bool,
    #[command(flatten)]
    pub broker: BrokerOptions,
}

/// MQTT 5.0 section 2.1.4, less the longest topic and what else stands in a packet.
const PAYLOAD_BYTES_MAX: i64 = 268_435_455 - 65_535 - 16;

impl FlowOptions {
    /// Messages per second of each publisher, if the loop is to be open.
    pub fn rate(&self) -> Option<f64> {
        self.rate.or(self.interval_of_msg.map(|millis| 1000.0 / millis))
    }

    /// `None`: until something else ends it.
    pub fn duration(&self) -> Option<Duration> {
        match (self.duration, self.count) {
            (Some(Duration::ZERO), _) | (None, Some(_)) => None,
            (None, None) => Some(Duration::from_secs(10)),
            (given, _) => given,
        }
    }
}

impl ClientOptions {
    /// New connections per second, if that is limited.
    pub fn rate(&self) -> Option<f64> {
        self.connect_rate.or(self.interval.map(|millis| 1000.0 / millis))
    }

    pub fn prefix(&self) -> String {
        self.prefix.clone().unwrap_or_else(|| format!("bench-{}-", std::process::id()))
    }
}

/// A topic that may be published to once the marks are replaced.
pub fn topic(text: &str) -> Result<Pattern, ClientError> {
    let pattern = Pattern::new(text);
    Topic::parse(&pattern.expand(0, "c", "u"))
        .map_err(|error| ClientError::Usage(format!("-t {text:?}: {error}")))?;
    Ok(pattern)
}

/// The same for a filter.
pub fn filter(text: &str) -> Result<Pattern, ClientError> {
    let pattern = Pattern::new(text);
    TopicFilter::parse(&pattern.expand(0, "c", "u"))
        .map_err(|error| ClientError::Usage(format!("-t {text:?}: {error}")))?;
    Ok(pattern)
}

fn group(text: &str) -> Result<String, String> {
    if text.contains('/') {
        return Err("the name of a group is one level".to_owned());
    }
    let filter = format!("$share/{text}/a");
    TopicFilter::parse(&filter).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok(number),
        _ => Err("write a number above 0".to_owned()),
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let alone = text.parse::<IpAddr>().map(IpNet::from);
    alone.or_else(|_| text.parse()).map_err(|_| "write an address, or one as 127.0.0.0/8".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Bench {
        #[command(flatten)]
        options: BenchOptions,
    }

    fn parse(line: &str) -> Result<BenchCommand, String> {
        let parsed = Bench::try_parse_from(line.split(' '));
        parsed.map(|bench| bench.options.command).map_err(|error| error.to_string())
    }

    #[test]
    fn the_letters_are_those_of_other_generators() {
        let line = "bench pub -h broker -p 99 -u me -P word -V 311 -c 7 -i 10 -I 50 -t a/%c -s 100 -q 1 -r";
        let Ok(BenchCommand::Pub(bench)) = parse(line) else { panic!("{:?}", parse(line)) };
        let broker = &bench.clients.broker;
        assert_eq!((broker.host(), broker.port(), bench.clients.clients), ("broker", 99, 7));
        assert_eq!((bench.clients.rate(), bench.flow.rate()), (Some(100.0), Some(20.0)));
        assert_eq!((bench.flow.size, bench.flow.qos, bench.flow.retain), (100, Qos::AtLeastOnce, true));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for line in [
            "bench p2p -w 1 --rate 5",
            "bench p2p --rate 0",
            "bench p2p --rate nan",
            "bench p2p -s 27",
            "bench p2p -c 0",
            "bench p2p --pubs 0",
            "bench p2p --share a/b",
            "bench p2p -R 5 -i 5",
            "bench connect --source 127.0.0.0/33",
            "bench",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert!(topic("a/#").is_err() && filter("a/#/b").is_err() && topic("").is_err());
        assert!(filter("$share/g/a/%i/#").is_ok());
    }

    #[test]
    fn a_count_ends_it_or_ten_seconds_or_nothing() {
        let duration = |line: &str| match parse(line) {
            Ok(BenchCommand::PointToPoint(bench)) => bench.flow.duration(),
            other => panic!("{other:?}"),
        };
        assert_eq!(duration("bench p2p"), Some(Duration::from_secs(10)));
        assert_eq!(duration("bench p2p --count 5"), None);
        assert_eq!(duration("bench p2p -d 0"), None);
        assert_eq!(duration("bench p2p --count 5 -d 2.5"), Some(Duration::from_millis(2500)));
    }
}
